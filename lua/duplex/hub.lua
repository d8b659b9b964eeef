-- SPDX-License-Identifier: MIT
-- Topics: who subscribes gets what is published, encoded once for all.
--
-- Nothing here waits but a backend's publish, so each call finds and leaves
-- everything as it should be. Functions of the program are called last.

local backend = require "duplex.hub.backend"
local check_publish = require "duplex.hub.check_publish"
local failure = require "duplex.failure"
local history = require "duplex.hub.history"
local log = require "duplex.log"
local make_delivery = require "duplex.hub.delivery"
local metrics = require "duplex.hub.metrics"
local names = require "duplex.hub.names"
local options = require "duplex.options"
local presence = require "duplex.hub.presence"
local prometheus = require "duplex.prometheus"
local receivers = require "duplex.hub.receivers"
local recovery = require "duplex.hub.recovery"
local topics = require "duplex.hub.topics"

---@class duplex.hub.Subscription
---@field pattern string
---@field offset integer|nil of the last message before the subscription
---@field epoch string|nil of that offset
---@field recovered boolean|nil whether all since 'since' was sent; nil when it was not asked for
---@field replayed integer messages that were sent because of 'since' or 'last'
---@field lost integer messages dropped so far

return function(duplex)
  local delivery, prepare = make_delivery(duplex), duplex.prepare

  ---@class duplex.Hub
  local methods = {}
  local metatable = { __index = methods, __name = "duplex.Hub" }

  -- Calls a function of the program, which must not wait.
  local function caller(write)
    return function(name, fn, ...)
      local fine, problem = pcall(fn, ...)
      if not fine then write("error", name .. " failed: " .. tostring(problem)) end
    end
  end

  -- Tells who has joined or left. What is called may change that and get here again:
  -- what was before is then told before.
  local function tell(self)
    local name, topic, member = self.presence:next_event()
    while name do
      local fn = self.options[name]
      if fn then self.call(name, fn, topic, member) end
      name, topic, member = self.presence:next_event()
    end
  end

  local function set_wanted(self, pattern, wanted)
    local wants = self.backend.wants
    if wants then self.call("backend:wants", wants, self.backend, pattern, wanted) end
  end

  -- Undoes a subscription but for presence.
  local function take_out(self, ws, connection, subscription)
    connection.subscriptions[subscription.pattern] = nil
    connection.count, self.subscriptions = connection.count - 1, self.subscriptions - 1
    local last = self.receivers:remove(ws, subscription)
    if last and not self.history then set_wanted(self, subscription.pattern, false) end
  end

  local function leave_all(self, ws)
    local connection = self.connections[ws]
    if not connection then return end
    self.connections[ws], self.by_id[ws.id] = nil, nil
    if connection.pending then self.lagging = self.lagging - 1 end
    connection.pending = nil
    for pattern, subscription in pairs(connection.subscriptions) do
      take_out(self, ws, connection, subscription)
      self.presence:set(pattern, ws, nil)
    end
    tell(self)
  end

  local function connection_of(self, ws)
    local connection = self.connections[ws]
    if not connection then
      connection = { subscriptions = {}, count = 0 }
      self.connections[ws], self.by_id[ws.id] = connection, ws
      ws:on_close(function() leave_all(self, ws) end)
    end
    return connection
  end

  -- What there is of subscriptions: nothing.
  local function begin(self)
    local trie = topics.trie()
    self.trie, self.receivers, self.presence = trie, receivers.new(trie), presence.new()
    self.connections, self.by_id, self.subscriptions, self.lagging = {}, {}, 0, 0
  end

  -- Makes a subscription take effect, in place of an older one of the same name.
  local function put_in(self, ws, connection, subscription)
    local pattern = subscription.pattern
    local old = connection.subscriptions[pattern]
    connection.subscriptions[pattern] = subscription
    if old then
      self.receivers:remove(ws, old)
    else
      connection.count, self.subscriptions = connection.count + 1, self.subscriptions + 1
    end
    local first = self.receivers:add(ws, subscription, connection.pending ~= nil)
    if first and not old and not self.history then set_wanted(self, pattern, true) end
  end

  -- While the backend reads, what is published is pending; what was read goes
  -- before it. Returns whether it worked out, or nil, message, id.
  local function read_backend(self, ws, connection, subscription, asked)
    delivery.hold(self, ws, connection)
    put_in(self, ws, connection, subscription)
    local fine, entries, problem, id = duplex.pcall(recovery.from_backend, self, connection, subscription, asked)
    if not fine then entries, problem = nil, entries end
    if self.connections[ws] ~= connection then
      return failure.of("CLOSED", self.closed and "the hub is closed" or "the connection is over")
    end
    local still = connection.subscriptions[subscription.pattern] == subscription
    if still and entries then
      connection.pending:put_missed(subscription.pattern, subscription.epoch, entries, 1)
    end
    if still and not entries then take_out(self, ws, connection, subscription) end
    delivery.release(self, ws, connection)
    if entries then return still end
    -- Where it stands for an older one that had made somebody a member.
    if still then self.presence:set(subscription.pattern, ws, nil) end
    tell(self)
    if not fine then error(problem, 0) end
    return nil, problem, id
  end

  -- What is wrong with a call of subscribe; what a peer may have chosen.
  local function refused(self, ws, pattern, asked)
    local limits = self.options
    if self.closed then return "CLOSED", "the hub is closed" end
    local problem, is_pattern = topics.problem(pattern, limits.max_topic_bytes, true)
    if not problem and is_pattern and (asked.since ~= nil or asked.last) then
      problem = "a pattern has no history, only topics do"
    end
    if problem then return "TOPIC", problem end
    if ws.state ~= "open" then return "CLOSED", "the connection is over" end
    local connection = connection_of(self, ws)
    if not connection.subscriptions[pattern] and connection.count >= limits.max_topics then
      return "TOO_MANY", ("a connection may subscribe to %d topics (max_topics)"):format(limits.max_topics)
    end
    return nil, connection, is_pattern
  end

  local function check_connection(name, ws)
    if options.is_connection(ws) then return end
    error(("%s takes a connection, got %s"):format(name, type(ws)), 3)
  end

  --- Subscribes a connection to a topic or a pattern, or changes how it is
  --- subscribed. It is unsubscribed from all when it ends. Waits only for a backend
  --- that keeps the history.
  ---@param ws duplex.Connection
  ---@param pattern string may come from the peer
  ---@param given? duplex.SubscriptionOptions
  ---@return duplex.hub.Subscription|nil subscription, string? message, string? id
  ---  ids: TOPIC TOO_MANY CLOSED, or the backend's
  function methods.subscribe(self, ws, pattern, given)
    check_connection("subscribe", ws)
    local asked, limits = options.check("subscription", given, 2), self.options
    local id, connection, is_pattern = refused(self, ws, pattern, asked)
    if id then return failure.of(id, connection) end
    self.number = self.number + 1
    local subscription = {
      pattern = pattern, number = self.number, replayed = 0, lost = 0,
      slow = asked.slow or limits.slow, above = asked.above or limits.above or math.huge,
      on_drop = asked.on_drop,
    }
    if self.backend.read and not is_pattern then
      local still, message, problem = read_backend(self, ws, connection, subscription, asked)
      if still == nil then return nil, message, problem end
      if not still then return subscription end -- another call has replaced or ended it
    else
      if not is_pattern then
        local entries = recovery.from_history(self, connection, subscription, asked)
        delivery.replay(self, ws, connection, subscription, entries)
      end
      put_in(self, ws, connection, subscription)
    end
    self.presence:set(pattern, ws, asked.info, ws.id)
    tell(self)
    return subscription
  end

  --- Unsubscribes a connection. What is on its way to it still comes.
  ---@param ws duplex.Connection
  ---@param pattern string as it was subscribed to
  ---@return boolean was it subscribed?
  function methods.unsubscribe(self, ws, pattern)
    check_connection("unsubscribe", ws)
    local connection = self.connections[ws]
    local subscription = connection and connection.subscriptions[pattern]
    if not subscription then return false end
    take_out(self, ws, connection, subscription)
    self.presence:set(pattern, ws, nil)
    tell(self)
    return true
  end

  -- What is sent: a prepared message; or nil, message, id.
  local function encoded(self, topic, message)
    if message.prepared then return message.prepared end
    local data, kind = message.data, message.kind
    if self.options.encode then
      local fine, text, other = pcall(self.options.encode, topic, data, message.offset, message.epoch, kind)
      if not fine then return failure.of("ENCODE", tostring(text)) end
      data, kind = text, other or kind
    end
    local fine, prepared = pcall(prepare, data, kind)
    if fine then return prepared end
    return failure.of("ENCODE", failure.said(prepared))
  end

  -- What the backend calls for each message, ours too.
  local function deliver(self, topic, message)
    if self.closed then return 0 end
    local prepared, problem, id = encoded(self, topic, message)
    local numbered = self.history and not self.options.backend
    if prepared and numbered and self.history:reached(topic, message.epoch, message.offset) then
      prepared, problem, id = failure.of("ENCODE", "encode has waited, or published to its own topic")
    end
    if not prepared then
      self.log("error", problem, { topic = topic })
      return nil, problem, id
    end
    local out = {
      topic = topic, message = prepared, data = prepared.data, kind = prepared.kind,
      key = message.key == nil and topic or topic .. " " .. tostring(message.key),
      offset = message.offset, epoch = message.epoch,
    }
    if message.offset then recovery.keep(self, out) end
    local name, ws_id = tostring(message.except):match("^(.*):(%d+)$")
    return delivery.send(self, out, name == self.name and self.by_id[tonumber(ws_id)] or nil)
  end

  --- Publishes to all who subscribe to the topic. Waits only when the backend does.
  ---@param topic string may come from a peer
  ---@param data any a string; with the option 'encode' what that takes
  ---@param kind? "text"|"binary" default "text"
  ---@param given? { except: duplex.Connection?, key: string|number? }
  ---@return integer|true|nil count of connections here that have it or will get it;
  ---  true when the backend does not know
  ---@return string? message, string? id TOPIC ENCODE CLOSED, or the backend's
  function methods.publish(self, topic, data, kind, given)
    check_publish(self.options, data, kind, given or {})
    local problem = topics.problem(topic, self.options.max_topic_bytes, false)
    if problem then return failure.of("TOPIC", problem) end
    if self.closed then return failure.of("CLOSED", "the hub is closed") end
    local message = { data = data, kind = kind or "text", key = given and given.key }
    if not self.options.encode then message.prepared = prepare(data, kind) end
    local except = given and given.except
    if except then
      self.name = self.name or self.new_name()
      message.except = self.name .. ":" .. except.id
    end
    self.counters.publishes = self.counters.publishes + 1
    return self.backend:publish(topic, message)
  end

  --- Who is a member of a topic: those who subscribed to it with 'info'.
  ---@param topic string
  ---@return { id: any, info: table, connections: integer }[] members in no particular order
  function methods.who(self, topic) return self.presence:list(topic) end

  --- Numbers since the beginning, and of this moment.
  ---@param format? "prometheus"
  ---@return duplex.HubMetrics|string
  function methods.metrics(self, format)
    prometheus.check(format)
    if self.history then self.history:expire(self.clock()) end
    return format and metrics.text(self) or metrics.numbers(self)
  end

  --- Ends all subscriptions, not the connections. Nobody leaves: there are no
  --- calls of on_leave. Other calls give CLOSED from now on.
  function methods.close(self)
    if self.closed then return end
    self.closed, self.history = true, nil
    for _, connection in pairs(self.connections) do connection.pending = nil end
    begin(self)
    if self.backend.close then self.call("backend:close", self.backend.close, self.backend) end
  end

  --- A hub: topics, who subscribes to them, and what they have missed.
  ---@param given? duplex.HubOptions
  ---@return duplex.Hub
  return function(given)
    local checked = options.check("hub", given, 2)
    local problem = checked.backend and backend.problem(checked.backend)
    if problem then error(problem, 2) end
    local name, write = names(duplex.now), log.writer(checked.log)
    local self = setmetatable({
      options = checked, clock = checked.clock or duplex.now, log = write, call = caller(write),
      encoded = encoded,
      new_name = name, number = 0,
      history = checked.history > 0 and not (checked.backend and checked.backend.read)
        and history.new(checked, not checked.backend and name or function() end) or nil,
      counters = { publishes = 0, deliveries = 0, drops = 0, coalesced = 0, disconnected = 0 },
    }, metatable)
    begin(self)
    self.backend = checked.backend or backend.new(function(topic)
      if not self.history then return end
      local offset, epoch = self.history:position(topic, self.clock())
      return offset + 1, epoch
    end)
    self.backend:subscribe(function(topic, message) return deliver(self, topic, message) end,
      function(topic) recovery.lost(self, topic) end)
    -- What is not delivered for a while would be a gap that nobody notices.
    if self.history then set_wanted(self, ">", true) end
    return self
  end
end
