-- SPDX-License-Identifier: MIT
-- What waits for one connection that cannot take it yet, in the order in which
-- it was published. A message with a key takes the place of the older one with
-- the same key, but at the end: nothing overtakes.

local pending = {}

local ENTRY = 64 -- bytes that a message costs besides its data, about

---@class duplex.hub.Pending
---@field count integer messages
---@field bytes integer
---@field sending duplex.hub.Item|nil what was taken last, until it is sent
local methods = {}
local metatable = { __index = methods }

--- An empty queue.
---@return duplex.hub.Pending
function pending.new()
  return setmetatable({ count = 0, bytes = 0, first = 1, last = 0, by_key = {} }, metatable)
end

local function take_out(self, i)
  local item = self[i]
  self[i] = nil
  self.count, self.bytes = self.count - 1, self.bytes - #item.data - ENTRY
  if item.key ~= nil and self.by_key[item.key] == i then self.by_key[item.key] = nil end
  return item
end

-- Closes the holes, when there are more of them than messages.
local function compact(self)
  if self.last - self.first < 2 * self.count + 32 then return end
  local to = self.first
  for i = self.first, self.last do
    local item = self[i]
    if item then
      self[i] = nil
      self[to] = item
      if item.key ~= nil then self.by_key[item.key] = to end
      to = to + 1
    end
  end
  self.last = to - 1
end

--- Would a message fit?
---@param data string
---@param key any nil for none
---@param max integer bytes
---@return boolean
function methods:fits(data, key, max)
  local old = key ~= nil and self.by_key[key]
  return self.bytes + #data + ENTRY - (old and #self[old].data + ENTRY or 0) <= max
end

---@class duplex.hub.Item
---@field message any what is to be sent
---@field data string of it
---@field kind "text"|"binary"|nil nil: the message is a prepared one
---@field key any nil: it is kept whatever comes
---@field topic string|nil
---@field offset integer|nil of the topic
---@field epoch string|nil

--- Appends a message.
---@param item duplex.hub.Item
---@return boolean replaced an older one went
function methods:put(item)
  local key = item.key
  local old = key ~= nil and self.by_key[key]
  if old then take_out(self, old) end
  self.last = self.last + 1
  self[self.last] = item
  if key ~= nil then self.by_key[key] = self.last end
  self.count, self.bytes = self.count + 1, self.bytes + #item.data + ENTRY
  compact(self)
  return old and true or false
end

-- Takes out what is of a topic, from one offset to another. Returns the place of the
-- first one left that is newer: what is of another epoch is taken for that.
local function take_range(self, topic, epoch, first, newest)
  local newer
  for i = self.first, self.last do
    local item = self[i]
    if item and item.topic == topic and item.offset then
      local known = item.epoch == epoch
      if known and item.offset >= first and item.offset <= newest then
        take_out(self, i)
      elseif not known or item.offset > newest then
        newer = newer or i
      end
    end
  end
  return newer or self.last + 1
end

--- Puts messages that were missed where they belong: behind older ones of their topic,
--- before newer ones. None is there twice then, nor beside what is being sent.
---@param topic string
---@param epoch string|nil
---@param entries duplex.hub.Entry[] without gaps, oldest first
---@param from integer index of the first of them to be put
function methods:put_missed(topic, epoch, entries, from)
  if not entries[from] then return end
  local at = take_range(self, topic, epoch, entries[from].offset, entries[#entries].offset)
  local later = {}
  for i = at, self.last do later[#later + 1] = self[i] and take_out(self, i) end
  self.last = at - 1
  local now = self.sending
  for i = from, #entries do
    local entry = entries[i]
    if not (now and now.topic == topic and now.epoch == epoch and now.offset == entry.offset) then
      self:put { message = entry.data, data = entry.data, kind = entry.kind,
        topic = topic, offset = entry.offset, epoch = epoch }
    end
  end
  for _, item in ipairs(later) do self:put(item) end
end

--- Takes the oldest message.
---@return duplex.hub.Item|nil
function methods:take()
  while self.first <= self.last do
    local i = self.first
    self.first = i + 1
    if self[i] then return take_out(self, i) end
  end
end

return pending
