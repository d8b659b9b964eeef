-- SPDX-License-Identifier: MIT
-- Messages to the connections of all workers of one nginx, which share no memory
-- but a lua_shared_dict: a ring of the last messages is kept there, and every
-- worker looks for new ones. Nothing can wake another worker by itself.
--
--   "last"          number of the last message, of all topics
--   1 .. slots      "number kind length topic data"; the next round overwrites
--
-- The fraction of the numbers tells one numbering from the next, should something
-- else empty the dict. What has no room pushes out the oldest messages, never
-- "last", which nginx would do.
--
-- All workers see the same order. What they are sent is what came after they had
-- subscribed; what is lost is counted: see docs/hosts.md.

local broadcast = require "duplex.broadcast"
local core = require "duplex.core"
local failure = require "duplex.failure"
local tasks = require "duplex.host.ngx_tasks"

local ngx = rawget(_G, "ngx")

local INTERVAL = 0.02 -- seconds between two looks
local SLOTS = 1024
local UNFINISHED = 0.05 -- seconds that a message may take from its number to its slot
local SHARE = 8 -- no message is larger than this part of the dict
local ROUNDS = 10 -- of subscribers that publish, before others have their turn

local bus = {}
local metatable = { __index = bus, __name = "duplex.bus" }

local function log_failure(problem)
  if problem then tasks.log("error", "duplex.bus: " .. tostring(problem)) end
end

local function last_number(self)
  local dict = self.dict
  local last = dict:get("last")
  if type(last) == "number" then return last end
  if last ~= nil then dict:delete("last") end
  dict:add("last", math.floor(tasks.now() * 1e6) % 4096 / 4096) -- unless another was faster
  last = dict:get("last")
  return type(last) == "number" and last or self.seen
end

local function slot_of(self, number) return math.floor(number) % self.slots + 1 end

local function pack(number, topic, data, kind)
  return ("%.17g %s %d %s%s"):format(number, kind, #topic, topic, data)
end

-- -> number, topic, data, kind; nothing if something else has written there
local function unpack_slot(value)
  if type(value) ~= "string" then return end
  local number, kind, length, from = value:match("^([%d.]+) ([btx]) (%d+) ()")
  local rest = number and from + tonumber(length)
  if not rest or rest > #value + 1 then return end
  return tonumber(number), value:sub(from, rest - 1), value:sub(rest), kind
end

-- Fills a slot; the oldest messages make room.
local function store(self, number, value)
  local dict, slot = self.dict, slot_of(self, number)
  if number % 1 ~= self.numbering then self.numbering, self.oldest = number % 1, 0 end
  local oldest = math.max(self.oldest, math.floor(number) - self.slots + 1)
  local ok, problem = dict:safe_set(slot, value)
  while not ok and problem == "no memory" and oldest < math.floor(number) do
    dict:delete(slot_of(self, oldest))
    oldest = oldest + 1
    ok, problem = dict:safe_set(slot, value)
  end
  self.oldest = oldest
  return ok, problem
end

local function after(number, last) return number > last or number % 1 ~= last % 1 end

-- Those of a set who had subscribed when the number was given.
local function joined(set, number)
  local list = {}
  for to, last in pairs(set) do
    if after(number, last) then list[to] = true end
  end
  return list
end

local function deliver(self, number, topic, data, kind)
  local subscribers = self.topics[topic]
  if not subscribers then return end
  local connections = subscribers.connections
  if not after(number, subscribers.newest) then connections = joined(connections, number) end
  if next(connections) then self.delivered = self.delivered + broadcast.send(connections, data, kind) end
  for fn in pairs(joined(subscribers.functions, number)) do
    if subscribers.functions[fn] then -- still
      local fine, problem = pcall(fn, data, kind)
      if not fine then tasks.log("error", "subscriber failed: " .. tostring(problem)) end
    end
  end
end

-- Delivers what is new. One that has a number but is not in its slot is waited
-- for: the worker that sends it may just be doing so. All up to 'given' had their
-- numbers at 'since', so that a gap costs one wait, however wide it is.
local function catch_up(self)
  local last = last_number(self)
  if last < self.seen or (last - self.seen) % 1 ~= 0 then -- the dict was emptied
    self.lost = self.lost + math.max(1, self.given - self.seen) -- what it had is not known
    self.seen, self.given = last % 1, last % 1
  end
  if last - self.seen > self.slots then
    self.lost = self.lost + last - self.seen - self.slots
    self.seen = last - self.slots
  end
  while self.seen < last do
    local wanted = self.seen + 1
    local number, topic, data, kind = unpack_slot(self.dict:get(slot_of(self, wanted)))
    if number ~= wanted then
      if wanted > self.given then self.since, self.given = tasks.now(), last end
      if tasks.now() < self.since + UNFINISHED then return end
      self.lost = self.lost + 1
    end
    self.seen = wanted
    if number == wanted and kind ~= "x" then
      deliver(self, number, topic, data, kind == "b" and "binary" or "text")
    end
  end
end

-- A subscriber that publishes gets here again: its message has to wait until all
-- have the one before.
local function look(self)
  self.again = true
  if self.looking then return end
  self.looking = true
  for _ = 1, ROUNDS do
    if not self.again then break end
    self.again = false
    local fine, problem = pcall(catch_up, self)
    if not fine then log_failure(problem) end
  end
  self.looking = false
end

local function watch(self)
  while not ngx.worker.exiting() do
    look(self)
    ngx.sleep(self.interval)
  end
end

local function start(self)
  if self.watching then return end
  self.watching, self.seen = true, last_number(self)
  self.given = self.seen
  tasks.brief(watch, function(problem, me)
    log_failure(problem)
    me.watching = false
  end, self)
end

local function of_topic(self, topic)
  if type(topic) ~= "string" then error("the topic must be a string, got " .. type(topic), 3) end
  local subscribers = self.topics[topic]
  if not subscribers then
    subscribers = { connections = {}, functions = {}, newest = 0 }
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
  local last = last_number(self) -- what came before is for others
  subscribers.newest = last
  if type(to) == "function" then
    subscribers.functions[to] = subscribers.functions[to] or last
  elseif not subscribers.connections[to] then
    subscribers.connections[to] = last
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
---@return true|nil ok, string? message, string? id "TOO_BIG": topic and data are more
---  than an eighth of the dict; "FULL": it has no room
function bus:publish(topic, data, kind)
  if type(topic) ~= "string" then error("the topic must be a string, got " .. type(topic), 2) end
  core.prepare(data, kind) -- raises for what could not be sent
  if #topic + #data > self.limit then
    return failure.of("TOO_BIG", ("lua_shared_dict: more than %d bytes"):format(self.limit))
  end
  last_number(self) -- there is one
  local number, problem = self.dict:incr("last", 1)
  local ok = false
  if number then
    ok, problem = store(self, number, pack(number, topic, data, kind == "binary" and "b" or "t"))
    if not ok then store(self, number, pack(number, "", "", "x")) end -- nobody need wait for it
  end
  if self.watching then look(self) end
  if not ok then return failure.of("FULL", "lua_shared_dict: " .. tostring(problem)) end
  return true
end

--- Numbers of this worker, since its first subscription.
---@return { delivered: integer, lost: integer, last: integer }
function bus:stats()
  return { delivered = self.delivered, lost = self.lost, last = math.floor(last_number(self)) }
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
    limit = math.floor(dict:capacity() / SHARE), oldest = 0, numbering = 0, topics = {}, delivered = 0, lost = 0,
    watching = false, looking = false, again = false, seen = 0, given = 0, since = 0,
  }, metatable)
  return buses[name]
end
