-- SPDX-License-Identifier: MIT
-- attacked.lua [NAME=NUMBER|true ...]: a server to attack. The path chooses what its
-- handler does; options may be given smaller than any sane server has them.
-- With DUPLEX_HOST in the environment it runs on that event loop.

require "spec.hosts.path"
local host = os.getenv("DUPLEX_HOST")
local duplex = require(host and "duplex." .. host or "duplex")

local handlers = {}

handlers["/"] = require "spec.support.each"
handlers["/raise"] = function(ws)
  ws:receive()
  error("boom\27[2J")
end
handlers["/raise-table"] = function() error({}) end
handlers["/close"] = function(ws) ws:close(4001, "bye") end
handlers["/wait"] = function(ws) ws:wait_closed() end
handlers["/deaf"] = function() duplex.sleep(60) end
handlers["/flood"] = function(ws)
  local piece = ("x"):rep(65536)
  while ws:send(piece, "binary") do end -- luacheck: ignore 542
end
-- Goes on although the connection is over: its own fault, nobody else's.
handlers["/stubborn"] = function(ws)
  for _ = 1, 2000 do
    ws:send("again")
    duplex.sleep(0)
  end
end

local options = { port = 0, subprotocols = { "chat", "superchat" } }
for _, word in ipairs(arg) do
  local name, value = word:match("^(.-)=(.*)$")
  options[name] = tonumber(value) or value == "true"
end

-- Over plain HTTP: a body without an end.
function options.on_request(request)
  if request.path ~= "/endless" then return nil end
  local piece = ("x"):rep(65536)
  return 200, function() return piece end, { ["Content-Length"] = "99999999999" }
end

duplex.run(function()
  local server = assert(duplex.serve(options, function(ws)
    return handlers[ws.request.path](ws)
  end))
  print("listening on " .. server.url)
  io.stdout:flush()
end)
