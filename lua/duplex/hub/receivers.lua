-- SPDX-License-Identifier: MIT
-- Who gets what is published to a topic: sets of connections as broadcast takes
-- them, one for each limit on the outbox, and those that lag apart. A connection
-- is in them once, however many of its patterns match.
--
-- A topic that one pattern matches has the sets of that pattern. What several
-- match is put together once and kept until a connection comes to or leaves one
-- of these patterns, or a pattern comes or goes.

local receivers = {}

-- What is kept of topics with several patterns.
local MAX_TOPICS, MAX_MEMBERS = 1024, 200000

---@class duplex.hub.Receivers
---@field sets table<integer, table<duplex.Connection, duplex.hub.Subscription>> by 'above'
---@field lagging table<duplex.Connection, duplex.hub.Subscription>

---@class duplex.hub.Group: duplex.hub.Receivers of one pattern
---@field pattern string
---@field count integer subscriptions

local methods = {}
local metatable = { __index = methods }

--- Nobody, so far.
---@param trie duplex.hub.Trie holds the groups by pattern
function receivers.new(trie)
  return setmetatable({ trie = trie, merged = {}, topics = 0, members = 0, used = {} }, metatable)
end

local function forget_all(self)
  self.merged, self.topics, self.members = {}, 0, 0
  for group in pairs(self.used) do group.topics = nil end
  self.used = {}
end

local function forget(self, topic)
  local merged = self.merged[topic]
  if not merged then return end
  self.topics, self.members = self.topics - 1, self.members - merged.members
  self.merged[topic] = nil
  for _, group in ipairs(merged.groups) do group.topics[topic] = nil end
end

-- The topics that this group is part of have to be put together again.
local function changed(self, group)
  for topic in pairs(group.topics or {}) do forget(self, topic) end
end

local function put(to, ws, subscription, lags)
  if lags then
    to.lagging[ws] = subscription
    return
  end
  local set = to.sets[subscription.above]
  if not set then
    set = {}
    to.sets[subscription.above] = set
  end
  set[ws] = subscription
end

local function take(from, ws, subscription)
  from.lagging[ws] = nil
  local set = from.sets[subscription.above]
  if not set then return end
  set[ws] = nil
  if next(set) == nil then from.sets[subscription.above] = nil end
end

--- Adds a subscription of a pattern that this connection has none of.
---@param subscription duplex.hub.Subscription
---@param lags boolean
---@return boolean first is it the first one of its pattern?
function methods:add(ws, subscription, lags)
  local trie, pattern = self.trie, subscription.pattern
  local group = trie:get(pattern)
  local first = not group
  if first then
    group = { pattern = pattern, count = 0, sets = {}, lagging = {} }
    trie:add(pattern, group)
    -- What was put together without it: one topic, or any.
    if pattern:find("[*>]") then forget_all(self) else forget(self, pattern) end
  end
  group.count = group.count + 1
  put(group, ws, subscription, lags)
  changed(self, group)
  return first
end

--- Takes a subscription out.
---@param subscription duplex.hub.Subscription
---@return boolean last was it the last one of its pattern?
function methods:remove(ws, subscription)
  local group = self.trie:get(subscription.pattern)
  group.count = group.count - 1
  take(group, ws, subscription)
  changed(self, group)
  if group.count > 0 then return false end
  self.used[group] = nil
  self.trie:remove(subscription.pattern)
  return true
end

--- Moves a subscription to those that lag, or back.
---@param subscription duplex.hub.Subscription
---@param lags boolean
function methods:move(ws, subscription, lags)
  local group = self.trie:get(subscription.pattern)
  take(group, ws, subscription)
  put(group, ws, subscription, lags)
  changed(self, group)
end

-- The subscription made first decides, so that it does not depend on chance.
local function merge(groups)
  local all, members = {}, 0
  local lagging = {}
  local function look(ws, subscription, lags)
    local other = all[ws]
    if not other then members = members + 1 end
    if not other or subscription.number < other.number then all[ws] = subscription end
    lagging[ws] = lags
  end
  for _, group in ipairs(groups) do
    for _, set in pairs(group.sets) do
      for ws, subscription in pairs(set) do look(ws, subscription, nil) end
    end
    for ws, subscription in pairs(group.lagging) do look(ws, subscription, true) end
  end
  local merged = { sets = {}, lagging = {}, members = members, groups = groups }
  for ws, subscription in pairs(all) do put(merged, ws, subscription, lagging[ws]) end
  return merged
end

--- Who gets what is published to a topic.
---@param topic string
---@return duplex.hub.Receivers|nil nil for nobody
function methods:of(topic)
  local merged = self.merged[topic]
  if merged then return merged end
  local groups = self.trie:match(topic)
  if #groups <= 1 then return groups[1] end
  merged = merge(groups)
  if self.topics >= MAX_TOPICS or self.members + merged.members > MAX_MEMBERS then forget_all(self) end
  self.merged[topic] = merged
  self.topics, self.members = self.topics + 1, self.members + merged.members
  for _, group in ipairs(groups) do
    group.topics = group.topics or {}
    group.topics[topic] = true
    self.used[group] = true
  end
  return merged
end

return receivers
