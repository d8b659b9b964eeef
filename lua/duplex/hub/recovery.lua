-- SPDX-License-Identifier: MIT
-- What is kept for those who miss something, and what a subscriber has missed, or
-- the last messages: from the history of the hub, or from a backend that keeps one.

local ENTRY = 100 -- bytes that a message costs besides its data, about
local MAX_EPOCH = 255 -- bytes

local recovery = {}

local function size_of(entries)
  local bytes = 0
  for _, entry in ipairs(entries) do bytes = bytes + #entry.data + ENTRY end
  return bytes
end

local function room_of(hub, connection)
  return hub.options.pending_bytes - (connection.pending and connection.pending.bytes or 0)
end

local function count_of(last) return last == true and 1 or last or 0 end

-- The oldest make room: of the last messages, those that fit.
local function newest(entries, room)
  local first = #entries + 1
  while first > 1 do
    room = room - #entries[first - 1].data - ENTRY
    if room < 0 then break end
    first = first - 1
  end
  local kept = {}
  for i = first, #entries do kept[#kept + 1] = entries[i] end
  return kept
end

--- What is to be sent from the hub's own history. Writes down in the subscription
--- what it is.
---@return duplex.hub.Entry[] entries oldest first
function recovery.from_history(hub, connection, subscription, asked)
  local kept, now, topic = hub.history, hub.clock(), subscription.pattern
  local room, entries = room_of(hub, connection), nil
  if asked.since ~= nil then
    entries = kept and kept:since(topic, asked.since, asked.epoch, now)
    if entries and size_of(entries) > room then entries = nil end
    subscription.recovered = entries ~= nil
  end
  if not kept then return {} end
  entries = entries or newest(kept:last(topic, count_of(asked.last), now), room)
  subscription.offset, subscription.epoch = kept:position(topic, now)
  subscription.replayed = #entries
  return entries
end

-- Messages of the backend as they are sent; false when one cannot be.
local function entries_of(hub, topic, messages)
  local entries = {}
  for i, message in ipairs(messages or {}) do
    local prepared, problem = hub:encoded(topic, message)
    if not prepared then
      hub.log("error", problem, { topic = topic })
      return false
    end
    entries[i] = { data = prepared.data, kind = prepared.kind, offset = message.offset }
  end
  return messages and entries
end

-- A peer may have chosen both: a backend gets what it could have given.
local function could_be(offset, epoch)
  return type(offset) == "number" and offset % 1 == 0 and offset >= 0 and offset < 2 ^ 53
    and type(epoch) == "string" and #epoch <= MAX_EPOCH
end

--- The same from the backend, which may wait.
---@return duplex.hub.Entry[]|nil entries oldest first
---@return string? message, string? id of the backend's failure
function recovery.from_backend(hub, connection, subscription, asked)
  local backend, topic, since, epoch = hub.backend, subscription.pattern, asked.since, asked.epoch
  local messages, offset, current, entries
  if could_be(since, epoch) then
    -- What comes as JSON may be 3.0, which as a text is no integer.
    messages, offset, current = backend:read(topic, math.floor(since), epoch, nil)
    if messages == nil then return nil, offset, current end
    entries = entries_of(hub, topic, messages)
    if entries and size_of(entries) > room_of(hub, connection) then entries = false end
  end
  if since ~= nil then subscription.recovered = entries and true or false end
  if not entries then
    messages, offset, current = backend:read(topic, nil, nil, count_of(asked.last))
    if messages == nil then return nil, offset, current end
    entries = newest(entries_of(hub, topic, messages) or {}, room_of(hub, connection))
  end
  subscription.offset, subscription.epoch, subscription.replayed = offset, current, #entries
  return entries
end

-- Whose subscriptions these are: { ws, topic }.
local function concerned(hub, topic)
  local list = {}
  local to = topic and hub.receivers:of(topic)
  for _, set in pairs(to and to.sets or {}) do
    for ws in pairs(set) do list[#list + 1] = { ws, topic } end
  end
  for ws in pairs(to and to.lagging or {}) do list[#list + 1] = { ws, topic } end
  for ws, connection in pairs(topic and {} or hub.connections) do
    for pattern in pairs(connection.subscriptions) do list[#list + 1] = { ws, pattern } end
  end
  return list
end

--- The backend has lost messages of a topic, or of all. What came before them cannot
--- be completed any more, and subscribers are told.
---@param topic string|nil
function recovery.lost(hub, topic)
  if hub.closed then return end
  hub.log("warning", "the backend has lost messages", { topic = topic })
  if hub.history then hub.history:forget(topic) end
  local on_gap = hub.options.on_gap
  for _, one in ipairs(on_gap and concerned(hub, topic) or {}) do
    hub.call("on_gap", on_gap, one[1], one[2])
  end
end

--- Keeps a message that is delivered, if the hub has a history.
---@param out { topic: string, data: string, kind: string, offset: integer, epoch: string }
function recovery.keep(hub, out)
  local lacks = hub.history and hub.history:lacks(out.topic, out.epoch, out.offset)
  if lacks then recovery.lost(hub, out.topic) end
  if not hub.history then return end -- any more, if on_gap has closed the hub
  local now = hub.clock()
  hub.history:add(out.topic, out.epoch, { data = out.data, kind = out.kind, offset = out.offset, at = now }, now)
end

return recovery
