-- SPDX-License-Identifier: MIT
-- The last messages of each topic, numbered. The number of a message, its
-- offset, counts from one; the epoch is a text that belongs to the numbering and
-- is another one when it begins anew. Who was away names both, and gets what it
-- missed, or learns that it cannot.
--
-- All is bounded: messages and bytes of a topic, bytes of all, topics, and time.
-- Topics are in a list by when they were last used; those at its front go first.

local history = {}

local ENTRY = 100 -- bytes that a message costs besides its data, about

---@class duplex.hub.Entry
---@field data string as it was sent
---@field kind "text"|"binary"
---@field key any for coalescing
---@field offset integer
---@field at number seconds

---@class duplex.hub.History
---@field topics integer
---@field messages integer
---@field bytes integer
local methods = {}
local metatable = { __index = methods }

--- Histories of topics; there are none at first.
---@param limits { history: integer, history_bytes: integer, history_ttl: number, history_topics: integer, history_total: integer }
---@param epoch fun(): string|nil a new one at each call; nil: it comes with the messages
---@return duplex.hub.History
function history.new(limits, epoch)
  local ends = {}
  ends.after, ends.before = ends, ends
  return setmetatable({
    limits = limits, new_epoch = epoch, by_topic = {}, ends = ends,
    topics = 0, messages = 0, bytes = 0,
  }, metatable)
end

local function unlink(one) one.before.after, one.after.before = one.after, one.before end

-- The newest are before 'ends', the oldest after it.
local function touch(self, one, now)
  if one.after then unlink(one) end
  local ends = self.ends
  one.before, one.after, one.used = ends.before, ends, now
  one.before.after, ends.before = one, one
end

local function drop_first(self, one)
  local entry = one[one.first]
  one[one.first], one.first = nil, one.first + 1
  local cost = #entry.data + ENTRY
  one.bytes, self.bytes, self.messages = one.bytes - cost, self.bytes - cost, self.messages - 1
end

local function clear(self, one)
  while one.first <= one.offset do drop_first(self, one) end
end

local function forget(self, one)
  clear(self, one)
  unlink(one)
  self.by_topic[one.topic], self.topics = nil, self.topics - 1
end

-- Drops what is too old, or too much, but for what 'keep' is.
local function trim(self, now, keep)
  local limits, ends = self.limits, self.ends
  while true do
    local oldest = ends.after
    if oldest == ends or oldest == keep then return end
    if oldest.used + limits.history_ttl > now and self.topics <= limits.history_topics
      and self.bytes <= limits.history_total then
      return
    end
    forget(self, oldest)
  end
end

local function expire(self, one, now)
  while one.first <= one.offset and one[one.first].at + self.limits.history_ttl <= now do
    drop_first(self, one)
  end
end

-- The topic's own table: entries by offset, from 'first' to 'offset'.
local function of(self, topic, now)
  trim(self, now)
  local one = self.by_topic[topic]
  if not one then
    one = { topic = topic, epoch = self.new_epoch(), offset = 0, first = 1, bytes = 0 }
    self.by_topic[topic], self.topics = one, self.topics + 1
    touch(self, one, now)
    trim(self, now, one)
  end
  expire(self, one, now)
  return one
end

--- The number of the topic's last message, and its epoch; both begin here when
--- the topic has none.
---@param topic string
---@param now number seconds
---@return integer|nil offset, string|nil epoch nil: they come with the first message
function methods:position(topic, now)
  local one = of(self, topic, now)
  return one.epoch and one.offset, one.epoch
end

--- Keeps a message. Its offset follows that of the last one, or else what was
--- kept before it goes, as there is a gap.
---@param topic string
---@param epoch string
---@param entry duplex.hub.Entry
---@param now number seconds
function methods:add(topic, epoch, entry, now)
  local one = of(self, topic, now)
  if one.epoch ~= epoch or entry.offset ~= one.offset + 1 then
    clear(self, one)
    one.epoch, one.first = epoch, entry.offset
  end
  local cost = #entry.data + ENTRY
  one[entry.offset], one.offset = entry, entry.offset
  one.bytes, self.bytes, self.messages = one.bytes + cost, self.bytes + cost, self.messages + 1
  local limits = self.limits
  -- What is more than all may have would cost it all it has, and its numbers.
  local most = math.min(limits.history_bytes, limits.history_total)
  while one.offset - one.first >= limits.history or one.bytes > most and one.first <= one.offset do
    drop_first(self, one)
  end
  touch(self, one, now)
  trim(self, now, one)
end

--- Is something missing between the topic's last message and one of that number?
---@param topic string
---@param epoch string
---@param offset integer
---@return boolean
function methods:lacks(topic, epoch, offset)
  local one = self.by_topic[topic]
  return one ~= nil and one.epoch ~= nil and (one.epoch ~= epoch or one.offset + 1 ~= offset)
end

--- Does the topic have a message of that number by now?
---@param topic string
---@param epoch string
---@param offset integer
---@return boolean
function methods:reached(topic, epoch, offset)
  local one = self.by_topic[topic]
  return one ~= nil and one.epoch == epoch and one.offset >= offset
end

--- What came after an offset.
---@param topic string
---@param offset any as it came from a peer
---@param epoch any the same
---@param now number seconds
---@return duplex.hub.Entry[]|nil missed oldest first; nil when it is not known
function methods:since(topic, offset, epoch, now)
  local one = of(self, topic, now)
  if not one.epoch or epoch ~= one.epoch or type(offset) ~= "number" or offset % 1 ~= 0
    or offset + 1 < one.first or offset > one.offset then
    return nil
  end
  local list = {}
  for i = offset + 1, one.offset do list[#list + 1] = one[i] end
  return list
end

--- The last messages of a topic.
---@param topic string
---@param count integer
---@param now number seconds
---@return duplex.hub.Entry[] last oldest first, at most 'count'
function methods:last(topic, count, now)
  local one, list = of(self, topic, now), {}
  for i = math.max(one.first, one.offset - count + 1), one.offset do list[#list + 1] = one[i] end
  return list
end

--- Forgets a topic, or all.
---@param topic string|nil
function methods:forget(topic)
  if not topic then
    while self.topics > 0 do forget(self, self.ends.after) end
  elseif self.by_topic[topic] then
    forget(self, self.by_topic[topic])
  end
end

--- Drops what is too old.
---@param now number seconds
function methods:expire(now) trim(self, now) end

return history
