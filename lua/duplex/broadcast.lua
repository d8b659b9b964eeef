-- SPDX-License-Identifier: MIT
-- One message to many connections.

local core = require "duplex.core"
local options = require "duplex.options"

---@class duplex.Message a message that is prepared once; # is its bytes
---@field data string
---@field kind "text"|"binary"

local broadcast = {}

-- What tells the transport, for connections of each class.
broadcast.flushers = setmetatable({}, { __mode = "k" })

local NAMES = { "full", "above" }

local function check(given)
  if type(given) ~= "table" then
    error("the options must be a table, got " .. type(given), 3)
  end
  local problem = options.bad_name(given, NAMES, "unknown option '%s' of broadcast")
  if problem then error(problem, 3) end
  local full, above = given.full, given.above
  if full ~= nil and type(full) ~= "function" then
    error("option 'full' must be a function, got " .. type(full), 3)
  end
  if above ~= nil and (type(above) ~= "number" or above < 0 or above ~= above) then
    error("option 'above' must be a number of bytes, got " .. tostring(above), 3)
  end
  return full, above
end

-- Calls full(ws) for each of a list; what one of these calls raises is raised when
-- all are told.
local function tell(full, list)
  local fine, problem = true, nil
  for _, ws in ipairs(list) do
    local told, raised = pcall(full, ws)
    if fine and not told then fine, problem = false, raised end
  end
  if not fine then error(problem, 0) end
end

--- Sends one message to many connections without waiting. It is checked and
--- encoded once; those that are over are skipped, and one whose outbox is full
--- is closed with 1013, so that it cannot hold up memory or the others.
---@param set table<duplex.Connection, any> the connections are the keys; metamethods
---  of the table are not asked
---@param data string|duplex.Message
---@param kind? "text"|"binary" default "text"
---@param given? { full: fun(ws: duplex.Connection)?, above: number? }
---  full: called for each that is full, when all others have the message, and then
---  that one is not closed; must not wait; above: bytes, an outbox that would have more is full,
---  default and at most max_outbox
---@return integer count of connections that got it
function broadcast.send(set, data, kind, given)
  if type(set) ~= "table" then
    error("the set must be a table, got " .. type(set), 2)
  end
  local full, above
  if given ~= nil then full, above = check(given) end
  local count, touched, slow, wrong = core.broadcast(set, data, kind, above, full ~= nil)
  for _, ws in ipairs(touched or {}) do broadcast.flushers[debug.getmetatable(ws)](ws) end
  if slow then tell(full, slow) end
  if wrong then error("the keys of the set must be connections, got " .. wrong, 2) end
  return count
end

return broadcast
