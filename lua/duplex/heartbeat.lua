-- SPDX-License-Identifier: MIT
-- When to ping: a policy that connections share, so that one may learn from what
-- became of those before it. It knows no connection and never waits: beat.lua
-- asks it and tells it. The interval of one that adapts:
--
--   longest --lost after t seconds of silence--> t / 2, at least minimum
--   shorter --answered for patience seconds----> GROWTH times that, at most longest

local options = require "duplex.options"

local heartbeat = {}

local GROWTH = 1.5 -- of an interval that has served for a while
local LONGEST_PATIENCE = 86400 -- seconds

---@class duplex.Heartbeat
---@field interval number|false seconds of silence before the next ping; false = no pings
---@field timeout number|false seconds that a ping may stay unanswered
---@field cutoff number|nil seconds of silence that last cost a connection, if it adapts
---@field payload string|fun(ws: duplex.Connection): string|nil
---@field on_latency fun(ws: duplex.Connection, seconds: number)|nil
local methods = {}
local class = { __index = methods, __name = "duplex.heartbeat" }

--- A ping was answered.
function methods:answered()
  if not self.adaptive or self.interval >= self.longest then return end
  local time = self.clock()
  self.served = self.served or time -- since when this interval has served
  if time - self.served < self.patience then return end
  self.interval = math.min(self.longest, self.interval * GROWTH)
  self.served = time
end

--- A connection was lost without a word.
---@param silence number seconds that the peer had said nothing, when it was lost or
---  when the ping left that nobody answered
function methods:lost(silence)
  -- What was lost while it talked says nothing, nor what was pinged often enough.
  if not self.adaptive or silence < self.minimum or silence / 2 >= self.interval then return end
  -- Connections that are lost together are one loss: nothing was tried between.
  if self.cutoff and self.served then self.patience = math.min(LONGEST_PATIENCE, self.patience * 2) end
  self.cutoff = silence
  self.interval = math.max(self.minimum, silence / 2)
  self.served = nil
end

function class:__tostring()
  return ("duplex.heartbeat (interval %s)"):format(tostring(self.interval))
end

--- Is a task needed to follow it, or do limits of the core suffice?
---@return boolean
function methods:needs_task()
  return self.interval and (self.adaptive or self.payload ~= nil or self.on_latency ~= nil) or false
end

--- Was it made by duplex.heartbeat?
---@param value table
---@return boolean
function heartbeat.is(value) return getmetatable(value) == class end

--- A policy of what was checked.
---@param checked table
---@param now? fun(): number seconds; those that adapt need it
---@return duplex.Heartbeat
function heartbeat.policy(checked, now)
  return setmetatable({
    interval = checked.interval, longest = checked.interval, timeout = checked.timeout,
    payload = checked.payload, on_latency = checked.on_latency, adaptive = checked.adaptive,
    minimum = checked.minimum, patience = checked.patience, clock = checked.clock or now,
  }, class)
end

---@class duplex.HeartbeatOptions
---@field interval? number|false seconds of silence before a ping, default 20
---@field timeout? number|false seconds that it may stay unanswered, default 20
---@field payload? string|fun(ws: duplex.Connection): string at most 125 bytes
---@field on_latency? fun(ws: duplex.Connection, seconds: number) must not wait
---@field adaptive? boolean default false: learn after what silence connections are cut
---@field minimum? number seconds, default 1
---@field patience? number seconds, default 600
---@field clock? fun(): number for tests

--- duplex.heartbeat: makes policies.
---@param duplex duplex
---@return fun(given?: duplex.HeartbeatOptions): duplex.Heartbeat
function heartbeat.maker(duplex)
  return function(given)
    local checked = options.check("heartbeat", given, 2)
    if checked.adaptive and (not checked.interval or checked.interval < checked.minimum) then
      error("option 'adaptive' needs an interval of at least minimum", 2)
    end
    return heartbeat.policy(checked, duplex.now)
  end
end

return heartbeat
