-- SPDX-License-Identifier: MIT
-- Who is there: members of topics. A member with several connections joins with
-- the first of them and leaves with the last.

local sparse = require "duplex.hub.sparse"

local presence = {}

---@class duplex.hub.Member
---@field id any info.id, or the id of the connection
---@field info table as the newest connection gave it
---@field connections integer

local methods = {}
local metatable = { __index = methods }

--- Nobody is anywhere yet.
function presence.new()
  return setmetatable({ by_topic = {}, topics = 0, most = 0, members = 0, events = {} }, metatable)
end

local function begin(self, topic)
  local there = { by_key = {}, by_ws = {} }
  self.by_topic[topic], self.topics = there, self.topics + 1
  self.most = math.max(self.most, self.topics)
  return there
end

local function finish(self, topic)
  self.by_topic[topic], self.topics = nil, self.topics - 1
  if sparse.is(self.most, self.topics) then
    self.by_topic, self.most = sparse.copy(self.by_topic), self.topics
  end
end

-- Takes the connection from its member; returns who is gone with that.
local function take(self, there, ws)
  local member = there.by_ws[ws]
  there.by_ws[ws] = nil
  member.connections = member.connections - 1
  if member.connections > 0 then return nil end
  there.by_key[member.key] = nil
  self.members = self.members - 1
  return member
end

--- Says who a connection is in a topic. A member joins unless it was there already,
--- and leaves unless another connection of it is still there.
---@param topic string
---@param ws any
---@param info table|nil nil: nobody; a connection that is nobody yet may stay so
---@param id any of the connection, for members whose info has none
function methods:set(topic, ws, info, id)
  local there, joined, left = self.by_topic[topic], nil, nil
  if not there then
    if not info then return end
    there = begin(self, topic)
  end
  local own = info and info.id
  if own ~= own then own = nil end -- a NaN, which no table takes
  -- The connection itself as a key, so that no id of the program's is the same.
  local key = info and (own == nil and ws or own)
  local before = there.by_ws[ws]
  if before and before.key ~= key then left = take(self, there, ws) end
  if info then
    local member = there.by_key[key]
    if not member then
      member = { key = key, id = own == nil and id or own, connections = 0 }
      there.by_key[key], joined = member, member
      self.members = self.members + 1
    end
    if there.by_ws[ws] ~= member then
      there.by_ws[ws], member.connections = member, member.connections + 1
    end
    member.info = info
  elseif next(there.by_key) == nil then
    finish(self, topic)
  end
  local events = self.events
  if left then events[#events + 1] = { "on_leave", topic, left } end
  if joined then events[#events + 1] = { "on_join", topic, joined } end
end

--- The oldest of what has happened and nobody was told.
---@return "on_join"|"on_leave"|nil name, string? topic, duplex.hub.Member? member
function methods:next_event()
  local event = table.remove(self.events, 1) or {}
  return event[1], event[2], event[3]
end

--- The members of a topic.
---@param topic string
---@return { id: any, info: table, connections: integer }[] members in no particular order
function methods:list(topic)
  local list, there = {}, self.by_topic[topic]
  for _, member in pairs(there and there.by_key or {}) do
    list[#list + 1] = { id = member.id, info = member.info, connections = member.connections }
  end
  return list
end

return presence
