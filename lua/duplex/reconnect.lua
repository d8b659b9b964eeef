-- SPDX-License-Identifier: MIT
-- A client that stays connected: it connects again, with growing delays, when
-- its connection ends or does not come about.

local failure = require "duplex.failure"
local iterators = require "duplex.iterators"
local log = require "duplex.log"
local make_keep = require "duplex.reconnect.keep"
local options = require "duplex.options"
local queue = require "duplex.reconnect.queue"
local random = require "duplex.reconnect.random"
local verdict = require "duplex.reconnect.verdict"

---@class duplex.Client
---@field state "connecting"|"open"|"waiting"|"closed"
---@field ws duplex.Connection|nil the present connection
---@field error string|nil why it gave up; nil while it goes on, and after close
---@field attempts integer that failed in a row, or whose connection did not last
---  min_uptime
---@field retry_at number|nil when the next attempt begins, in seconds of duplex.now()
---@field queued integer messages that wait for a connection
---@field dropped integer messages that a full queue has dropped so far
local getters = {}

function getters.queued(client) return client.own.queue.count end
function getters.dropped(client) return client.own.queue.dropped end

---@param duplex duplex
return function(duplex)
  local keep = make_keep(duplex)
  ---@class duplex.Client
  local methods = {}
  local class = { __name = "duplex.client" }

  function class.__index(client, name)
    local getter = getters[name]
    if getter then return getter(client) end
    return methods[name]
  end

  local now, deadline_of, left = duplex.now, options.deadline, options.left

  local function report(client)
    local why = client.own.failure
    return nil, why.message, why.id
  end

  -- ---- connections ----

  --- Waits until there is a connection.
  ---@param timeout? number seconds
  ---@return duplex.Connection|nil ws, string? message, string? id "TIMEOUT", or why
  ---  it gave up
  function methods:wait_open(timeout)
    local deadline = deadline_of(timeout, now)
    while true do
      local ws = keep.live(self)
      if ws then return ws end
      if self.own.failure then return report(self) end
      local ok, message, id = keep.wait(self, deadline)
      if not ok then return nil, message, id end
    end
  end

  --- The next connection: the first one, or one that was not returned before. The
  --- one returned before is closed, if it is still open.
  ---@param timeout? number seconds
  ---@return duplex.Connection|nil ws, string? message, string? id
  function methods:next(timeout)
    local own, deadline = self.own, deadline_of(timeout, now)
    local current = own.current
    if current and own.given == current.ws and keep.live(self) then keep.leave(self) end
    while true do
      local ws = keep.live(self)
      if ws and ws ~= own.given then
        own.given = ws
        return ws
      end
      if own.failure then return report(self) end
      local ok, message, id = keep.wait(self, deadline)
      if not ok then return nil, message, id end
    end
  end

  local function next_connection(client) return client:next() end

  --- Iterates over connections until the client is closed or gives up; why is in
  --- client.error. Whoever leaves the body while a connection is open closes it.
  ---@return fun(client: duplex.Client): duplex.Connection?, duplex.Client
  function methods:connections()
    iterators.check("connections", "'local ws = client:next()' and 'while ws do ... end'")
    return next_connection, self
  end

  -- ---- messages ----

  --- The next message, of whatever connection.
  ---@param timeout? number seconds; nil = no limit, 0 = poll
  ---@return string|nil data, string kind_or_message, string|nil id
  function methods:receive(timeout)
    local own, deadline = self.own, deadline_of(timeout, now)
    while true do
      if not own.reading then
        local ws, message, id = self:wait_open(left(deadline, now))
        if not ws then return nil, message, id end
        own.reading = ws
      end
      local ws = own.reading
      local data, kind, id = ws:receive(left(deadline, now))
      if data then return data, kind end
      if id == "TIMEOUT" then return nil, kind, id end
      local live = keep.live(self)
      own.reading = live ~= ws and live or nil
    end
  end

  local function next_message(client) return client:receive() end

  --- Iterates over messages until the client is closed or gives up.
  ---@return fun(client: duplex.Client): string?, string?
  ---@return duplex.Client
  function methods:messages()
    iterators.check("messages", "'local data, kind = client:receive()' and 'while data do ... end'")
    return next_message, self
  end

  local message_class = getmetatable(duplex.prepare(""))

  -- What is wrong with a message is said at once, not when it is sent; and it is
  -- encoded once, however often it has to be tried.
  local function prepare(data, kind)
    if getmetatable(data) == message_class and kind == nil then return data end
    return duplex.prepare(data, kind)
  end

  -- Puts a message by until there is a connection, or what waits has been sent.
  local function put_by(client, data, kind, flushing)
    local own = client.own
    if own.failure then return report(client) end
    local message = prepare(data, kind)
    if flushing and not own.queue:fits(#message) then
      return failure.of("FULL", "the queue is full, and is being sent")
    end
    if own.queue:push(message, #message) then return true end
    return failure.of("FULL", "the queue is full, and there is no connection")
  end

  --- Sends a message, or puts it by until there is a connection.
  ---@param data string|duplex.Message
  ---@param kind? "text"|"binary" default "text"
  ---@param given? table options of ws:send
  ---@return true|nil ok, string? message, string? id "FULL", or why it gave up
  function methods:send(data, kind, given)
    if type(data) == "function" then
      error("a source of pieces cannot wait for a connection: send it by that of client:wait_open()", 2)
    end
    local ws, before
    repeat
      while self.own.flushing and keep.live(self) do keep.wait(self) end
      before, ws = ws, keep.live(self)
      if not ws or ws == before then
        local ok, message, id = put_by(self, data, kind)
        return ok, message, id
      end
      -- When it was waited for room in vain there may be another one already,
      -- which has sent what had been put by.
    until ws:send(data, kind, given)
    return true
  end

  --- The same, but never waits.
  ---@param data string|duplex.Message
  ---@param kind? "text"|"binary" default "text"
  ---@return true|nil ok, string? message, string? id "FULL"
  function methods:try_send(data, kind)
    local own, ws = self.own, keep.live(self)
    local ok, message, id
    if ws and not own.flushing then
      ok, message, id = ws:try_send(data, kind)
      if ok or id == "FULL" then return ok, message, id end
    end
    ok, message, id = put_by(self, data, kind, ws and own.flushing)
    return ok, message, id
  end

  --- Sends a ping and waits for its pong; first for a connection.
  ---@param timeout? number seconds
  ---@return number|nil seconds, string? message, string? id
  function methods:ping(timeout)
    local deadline = deadline_of(timeout, now)
    local ws, message, id = self:wait_open(timeout)
    if not ws then return nil, message, id end
    return ws:ping(left(deadline, now))
  end

  -- ---- ending ----

  --- Connects again now: at once in place of waiting, or in place of the present
  --- connection, which is closed.
  ---@return true|nil ok, string? message, string? id
  function methods:reconnect()
    if self.own.failure then return report(self) end
    if self.state == "connecting" then return true end
    self.own.hurry = true
    if keep.live(self) then keep.leave(self) else self.own.wake:set() end
    return true
  end

  local function reason_ok(reason)
    return type(reason) == "string" and (pcall(duplex.prepare, reason))
  end

  --- Ends the client, whatever it is doing. Whoever waits for it gets CLOSED.
  ---@param code? integer default 1000
  ---@param reason? string
  ---@param timeout? number seconds to wait for the server's close frame
  ---@return true
  function methods:close(code, reason, timeout)
    local ws = self.ws
    -- What ws:close raises for is to be raised before anything has happened.
    if code ~= nil then options.close_code(code) end
    if reason ~= nil and not reason_ok(reason) then error("close reason must be a string of UTF-8", 2) end
    deadline_of(timeout, now)
    keep.finish(self)
    if ws then ws:close(code, reason, timeout) end
    return true
  end

  function class.__close(client, problem) client:close(problem and 1011 or 1000) end

  -- ---- making one ----

  local function check(given, level)
    local checked = options.check("reconnect", given, level + 1)
    options.check("client", checked.connect, level + 1)
    for _, name in ipairs { "final", "retryable" } do
      local test, problem = verdict.test(name, checked[name])
      if problem then error(problem, level + 1) end
      checked[name] = test
    end
    return checked
  end

  --- Connects, and connects again.
  ---@param url string|fun(client: duplex.Client): string?, table|string|nil a function
  ---  is called before each attempt, and may wait: it returns a URL and options of
  ---  connect, or nil and why it gives up
  ---@param given? duplex.ReconnectOptions
  ---@return duplex.Client
  return function(url, given)
    if type(url) ~= "string" and type(url) ~= "function" then
      error("the URL must be a string or a function, got " .. type(url), 2)
    end
    local own = check(given, 2)
    local connect = {}
    for name, value in pairs(own.connect or {}) do connect[name] = value end
    own.url, own.connect = url, connect
    own.log, own.detail = log.writer(own.log)
    own.random = own.random or random.generator(random.seed())
    own.queue = queue.new(own.queue, own.queue_bytes, own.queue_policy)
    own.wake, own.changed = duplex.event(), duplex.event()
    local client = setmetatable({ own = own, state = "connecting", attempts = 0 }, class)
    function own.forget() end
    duplex.spawn(keep.run, client) -- raises where there are no tasks, and may run at once
    if own.failure then return client end
    own.forget = duplex.on_stop(function()
      keep.finish(client, { id = "STOPPED", message = "STOPPED: the loop is stopping" })
    end)
    return client
  end
end
