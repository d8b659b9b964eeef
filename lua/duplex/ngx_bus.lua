-- SPDX-License-Identifier: MIT
-- Messages to the connections of all workers of one nginx, which share no memory
-- but a lua_shared_dict: a ring of the last messages is kept there, and every
-- worker looks for new ones. Nothing can wake another worker by itself.
--
--   "last"          number of the last message, of all topics
--   1 .. slots      "number kind length topic data"; the next round overwrites
--
-- All workers see the same order. What they are sent is what came after they had
-- subscribed; what is lost is counted: see docs/hosts.md.

local broadcast = require "duplex.broadcast"
local core = require "duplex.core"
local log = require "duplex.log"
local tasks = require "duplex.host.ngx_tasks"

local ngx = rawget(_G, "ngx")

local INTERVAL = 0.02 -- seconds between two looks
local SLOTS = 1024
local UNFINISHED = 1 -- seconds that a message may take from its number to its slot

local bus = {}
local metatable = { __index = bus, __name = "duplex.bus" }

local function pack(number, topic, data, kind)
  return ("%d %s %d %s%s"):format(number, kind == "binary" and "b" or "t", #topic, topic, data)
end

-- -> number, topic, data, kind
local function unpack_slot(value)
  local number, kind, length, from = value:match("^(%d+) (%a) (%d+) ()")
  local rest = from + tonumber(length)
  return tonumber(number), value:sub(from, rest - 1), value:sub(rest), kind == "b" and "binary" or "text"
end

local function deliver(self, topic, data, kind)
  local subscribers = self.topics[topic]
  if not subscribers then return end
  if next(subscribers.connections) then
    self.delivered = self.delivered + broadcast.send(subscribers.connections, data, kind)
  end
  for fn in pairs(subscribers.functions) do
    local fine, problem = pcall(fn, data, kind)
    if not fine then ngx.log(ngx.ERR, log.line("error", "subscriber failed: " .. tostring(problem))) end
  end
end

-- Delivers what is new. One that has a number but is not in its slot is waited
-- for: the worker that sends it may just be doing so.
local function look(self)
  local dict, last = self.dict, self.dict:get("last") or 0
  if last < self.seen then self.seen = 0 end -- nginx has got a new dict
  if last - self.seen > self.slots then
    self.lost = self.lost + last - self.seen - self.slots
    self.seen = last - self.slots
  end
  while self.seen < last do
    local wanted = self.seen + 1
    local value = dict:get(wanted % self.slots + 1)
    local number, topic, data, kind
    if value then number, topic, data, kind = unpack_slot(value) end
    if number ~= wanted then
      if not number or number < wanted then
        self.since = self.since or tasks.now()
        if tasks.now() < self.since + UNFINISHED then return end
      end
      self.lost = self.lost + 1
    end
    self.seen, self.since = wanted, nil
    if number == wanted then deliver(self, topic, data, kind) end
  end
end

local function watch(self)
  while not ngx.worker.exiting() do
    look(self)
    ngx.sleep(self.interval)
  end
end

local function log_failure(problem)
  if problem then ngx.log(ngx.ERR, log.line("error", "duplex.bus: " .. problem)) end
end

local function start(self)
  if self.watching then return end
  self.watching, self.seen = true, self.dict:get("last") or 0
  tasks.brief(watch, function(problem, me)
    log_failure(problem)
    me.watching = false
  end, self)
end

local function of_topic(self, topic)
  if type(topic) ~= "string" then error("the topic must be a string, got " .. type(topic), 3) end
  local subscribers = self.topics[topic]
  if not subscribers then
    subscribers = { connections = {}, functions = {} }
    self.topics[topic] = subscribers
  end
  return subscribers
end

--- Messages of a topic go to this connection until it is over, or to this function.
---@param topic string
---@param to duplex.Connection|fun(data: string, kind: string) must not wait
function bus:subscribe(topic, to)
  local subscribers = of_topic(self, topic)
  start(self)
  if type(to) == "function" then
    subscribers.functions[to] = true
  elseif not subscribers.connections[to] then
    subscribers.connections[to] = true
    to:on_close(function(ws) self:unsubscribe(topic, ws) end)
  end
end

---@param topic string
---@param to duplex.Connection|function
function bus:unsubscribe(topic, to)
  local subscribers = of_topic(self, topic)
  subscribers.connections[to], subscribers.functions[to] = nil, nil
  if not next(subscribers.connections) and not next(subscribers.functions) then
    self.topics[topic] = nil
  end
end

--- Sends a message to the subscribers of all workers. Never waits; those of this
--- worker have it at once.
---@param topic string
---@param data string
---@param kind? "text"|"binary" default "text"
---@return true|nil ok, string? message, string? id "FULL": the dict has no room
function bus:publish(topic, data, kind)
  if type(topic) ~= "string" then error("the topic must be a string, got " .. type(topic), 2) end
  core.encode(data, kind) -- raises what could not be sent
  local number, problem = self.dict:incr("last", 1, 0)
  local ok = false
  if number then
    ok, problem = self.dict:set(number % self.slots + 1, pack(number, topic, data, kind))
  end
  if not ok then return nil, "FULL: lua_shared_dict: " .. tostring(problem), "FULL" end
  if self.watching then look(self) end
  return true
end

--- Numbers of this worker, since its first subscription.
---@return { delivered: integer, lost: integer, last: integer }
function bus:stats()
  return { delivered = self.delivered, lost = self.lost, last = self.dict:get("last") or 0 }
end

local buses = {} -- by name of the dict: one a worker

--- The bus over a lua_shared_dict. All workers have to give the same options.
---@param name string of the dict
---@param options? { slots: integer, interval: number } messages kept, default 1024;
---  seconds between two looks of another worker, default 0.02
return function(name, options)
  if buses[name] then return buses[name] end
  local dict = ngx.shared[name]
  if not dict then error(("nginx.conf has no 'lua_shared_dict %s'"):format(tostring(name)), 2) end
  options = options or {}
  buses[name] = setmetatable({
    dict = dict, slots = options.slots or SLOTS, interval = options.interval or INTERVAL,
    topics = {}, seen = 0, delivered = 0, lost = 0, watching = false,
  }, metatable)
  return buses[name]
end
