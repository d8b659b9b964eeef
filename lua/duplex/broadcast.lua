-- SPDX-License-Identifier: MIT
-- One message to many connections.

local core = require "duplex.core"

local broadcast = {}

-- What broadcast calls for connections of each class.
broadcast.flushers = setmetatable({}, { __mode = "k" })

--- Sends one message to many connections without waiting. It is encoded once;
--- those that are over are skipped, and one whose outbox is full is closed
--- with 1013, so that it cannot hold up memory or the others.
---@param set table<duplex.Connection, any> the connections are the keys
---@param data string
---@param kind? "text"|"binary" default "text"
---@return integer count of connections that got it
function broadcast.send(set, data, kind)
  if type(set) ~= "table" then
    error("the set must be a table, got " .. type(set), 2)
  end
  local frame, count = core.encode(data, kind), 0
  local flushers = broadcast.flushers
  for ws in pairs(set) do
    local flush = flushers[debug.getmetatable(ws)]
    if not flush then
      error("the keys of the set must be connections, got " .. type(ws), 2)
    end
    local ok, _, id = core.broadcast_put(ws, frame, data, kind)
    if ok then
      count = count + 1
    elseif id == "FULL" then
      core.fail(ws, "TOO_SLOW")
    end
    flush(ws)
  end
  return count
end

return broadcast
