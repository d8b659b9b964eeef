-- SPDX-License-Identifier: MIT
-- How a host ends what it serves, and what was connected from it.

local core = require "duplex.core"

local stopping = {}

--- The connections made here that are not over.
---@param host table
---@return duplex.Connection[]
function stopping.clients(host)
  local list = {}
  for _, ws in pairs(host.clients) do
    if core.state(ws) ~= "closed" then list[#list + 1] = ws end
  end
  return list
end

local function close(ws, grace) ws:close(1001, "", grace) end
local function call(fn, grace) fn(grace) end

--- Stops all servers, closes all clients with 1001, calls what else is to be called
--- then, and waits for that.
---@param host table
---@param grace number seconds for each of them
---@param timeout? number seconds to wait, default: until all are done
function stopping.everything(host, grace, timeout)
  local left, all = 1, host.event()
  local function done(problem)
    host.log_failure(problem)
    left = left - 1
    if left == 0 then all:set() end
  end
  local function begin(stop, what)
    left = left + 1
    host.brief(stop, done, what, grace)
  end
  for server in pairs(host.servers) do begin(server.stop, server) end
  for _, ws in ipairs(stopping.clients(host)) do begin(close, ws) end
  for _, fn in pairs(host.stoppers) do begin(call, fn) end
  done()
  all:wait(timeout)
end

return stopping
