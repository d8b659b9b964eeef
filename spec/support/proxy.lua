-- SPDX-License-Identifier: MIT
-- Proxies for specs, on real sockets: after what a spec lets one say it is the
-- server itself, which greets with a message.

local duplex = require "duplex"
local bytes = require "spec.support.bytes"
local peer = require "spec.support.peer"

local proxy = {}

--- A proxy that is played by script(p, number) for each connection: with false
--- it hangs up then, else it is the server.
--- -> port, list of the heads of the requests that the server got
function proxy.serve(script)
  local count, heads = 0, {}
  local port = peer.listen(function(p)
    count = count + 1
    if script(p, count) == false then return p:close() end
    local _, head = p:accept()
    heads[#heads + 1] = head
    p:send(bytes.frame(0x81, "at once"))
    p:rest(1)
  end)
  return port, heads
end

--- Sends bytes, each by itself if 'chop'.
function proxy.send(p, data, chop)
  if not chop then return p:send(data) end
  for byte in data:gmatch(".") do
    p:send(byte)
    duplex.sleep(0)
  end
end

--- Connects, waits for the greeting, hangs up. -> true | what connect returned
function proxy.reach(connect, ...)
  local ws, message, id, response = connect(...)
  if not ws then return nil, message, id, response end
  local greeting = ws:receive(1)
  ws:close(1000, "", 0)
  return assert(greeting == "at once", greeting)
end

--- Runs the body with these variables instead of those of the environment.
function proxy.with_environment(env, body)
  local real = os.getenv
  os.getenv = function(name) return env[name] end -- luacheck: ignore 122
  local fine, problem = duplex.pcall(body)
  os.getenv = real -- luacheck: ignore 122
  assert(fine, problem)
end

return proxy
