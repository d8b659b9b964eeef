-- SPDX-License-Identifier: MIT
-- A server: listeners, the tasks of its connections, and a graceful end. What
-- comes before a WebSocket is open is in handshake.lua.

local beat = require "duplex.beat"
local connection = require "duplex.connection"
local core = require "duplex.core"
local forwarded = require "duplex.forwarded"
local handshake = require "duplex.handshake"
local log = require "duplex.log"
local metrics = require "duplex.metrics"
local options = require "duplex.options"
local report = require "duplex.report"
local secure = require "duplex.secure"

local server = {}

local STOP_GRACE = 10 -- seconds
local SPARE_DESCRIPTORS = 64 -- for files, listeners, and to refuse politely
local RETRY_ACCEPT = 0.1 -- seconds, when descriptors or memory are short

---@class duplex.Server
---@field port integer|nil bound
---@field url string where it listens, "ws://127.0.0.1:8080" or "wss://..."
---@field connections table<duplex.Connection, number> whose handlers run; since when, in
---  seconds of duplex.now()
local methods = {}
local metatable = { __index = methods, __name = "duplex.server" }

-- ---- life of a connection ----

local function leave(self, ws)
  self.connections[ws] = nil
  self.count = self.count - 1
  if self.stopping and self.count == 0 then self.empty:set() end
end

local function failed(self, what, failure, ws)
  local failures = self.counts.failures
  failures[what] = failures[what] + 1
  log.failure(self.log, what == "handlers" and "handler failed" or "handshake failed", failure,
    report.who(ws))
end

-- What the scheduler calls when a handler, or a handshake, is over.
local function callbacks(self)
  local now = self.host.now
  local function handled(failure, ws)
    if failure then failed(self, "handlers", failure, ws) end
    ws:close(failure and 1011 or 1000)
    metrics.closed(self.counts, ws)
    report.closed(self.detail, ws, now() - (self.connections[ws] or now()))
    leave(self, ws)
  end
  -- Its first request has come, or never will.
  local function arrived(ws)
    if not self.fresh[ws] then return end
    self.fresh[ws] = nil
    self.handshakes = self.handshakes - 1
    self.room:set()
  end
  local function served(failure, ws)
    arrived(ws)
    if failure then failed(self, "hooks", failure, ws) end
    if self.connections[ws] then return end
    -- Answered, or gone: what is still to be sent is, in the background.
    core.close(ws, 1000, "", now())
    connection.flush(ws)
    leave(self, ws)
  end
  return handled, served, arrived
end

local function fail(ws, name)
  core.fail(ws, name)
  connection.flush(ws)
end

-- Handshakes cost memory and, with TLS, time: more of them wait in the kernel.
local function await_room(self)
  while self.handshakes >= self.options.max_handshakes do
    self.room:clear()
    self.room:wait()
  end
end

local function take(self, ws)
  if self.tls and not self.options.proxy_protocol then
    local ok, message = secure.server(self.transport, self.tls, ws)
    if not ok then
      self.log("error", "cannot accept: " .. message)
      fail(ws, "NO_MEMORY")
      return
    end
  end
  self.count = self.count + 1
  self.handshakes = self.handshakes + 1
  self.fresh[ws] = true
  self.host.brief(handshake, self.served, ws, self)
end

local function accept_loop(listener, self)
  local ws
  while true do
    await_room(self)
    ws = ws or core.connection("server", self.settings, self.class, self.host.now())
    local ok, message, id = listener:accept(ws)
    if ok then
      take(self, ws)
      ws = nil
    elseif id == "CLOSED" then
      return
    else
      self.log("error", "cannot accept: " .. message)
      -- Descriptors come back when connections end; spinning would not help.
      if not self.host.sleep(RETRY_ACCEPT) then return end
    end
  end
end

-- ---- the server ----

--- Stops: no new connections, handshakes get 503, open connections are closed
--- with 1001; waits until handlers are done.
---@param grace? number seconds, default 10; then connections are cut
---@return true
function methods:stop(grace)
  local host = self.host
  if grace ~= nil then options.seconds(grace, "grace must be seconds") end
  local began = host.now()
  local deadline = began + (grace or STOP_GRACE)
  local first = not self.stopping
  if first then
    self.stopping = true
    if self.detail then
      self.detail("debug", "stopping", { url = self.url, connections = self.count })
    end
    for _, listener in ipairs(self.listeners) do listener:close() end
    if self.count == 0 then self.empty:set() end
    for ws, state in pairs(self.waiting) do
      -- Whoever has begun a request gets an answer.
      if state == "idle" or core.numbers(ws) == 0 then
        core.close(ws, 1000, "", host.now())
        connection.flush(ws)
      end
    end
    for ws in pairs(self.connections) do
      core.close(ws, 1001, "", host.now())
      connection.flush(ws)
    end
  end
  if not self.empty:wait(math.max(0, deadline - host.now())) then
    for ws in pairs(self.waiting) do fail(ws, "CLOSED") end
    for ws in pairs(self.connections) do fail(ws, "LOST_CLOSE") end
  end
  self.stopped:set()
  self.registry[self] = nil
  if first and self.detail then
    self.detail("debug", "stopped", { url = self.url, duration = report.rounded(host.now() - began) })
  end
  return true
end

--- Reads the certificates again. Connections that live go on with the old ones;
--- when the new ones cannot be used, the server goes on with the old ones too.
---@param given? table TLS options, default: those of before
---@return true|nil ok, string? message, string? id "TLS"
function methods:reload_tls(given)
  local checked = self.options.tls
  if not checked then error("this server has no option 'tls'", 2) end
  if given ~= nil then
    checked = options.check("server", { tls = given }, 2).tls
    if not checked then error("TLS cannot be switched off", 2) end
  end
  local context, message, id = secure.context("server", checked)
  if not context then return nil, message, id end
  self.tls, self.options.tls = context, checked
  return true
end

--- Waits until the server has stopped.
---@return true
function methods:wait() return self.stopped:wait() end

--- Numbers of this server.
---@return { connections: integer, handshakes: integer, max_connections: number }
function methods:stats()
  local open = 0
  for _ in pairs(self.connections) do open = open + 1 end
  return {
    connections = open, handshakes = self.handshakes,
    max_connections = self.max_connections,
  }
end

--- What it has done since it began, and does now.
---@param format? "prometheus" for text, see duplex.prometheus
---@return duplex.Metrics|string
function methods:metrics(format)
  local all = metrics.report(self, format) -- no tail call: who made it would be forgotten
  return all
end

function metatable:__tostring() return "duplex.server " .. self.url end
function metatable:__close() if self.host.can_wait() then self:stop() end end

local function host_in_url(host)
  return host:find(":", 1, true) and "[" .. host .. "]" or host
end

--- Serves.
---@param host table the event loop
---@param given table options, see docs/options.md
---@param handler fun(ws: duplex.Connection) run as a task for each
---@return duplex.Server|nil server, string? message, string? id "ADDRESS" or "TLS"
function server.serve(host, given, handler)
  local checked = options.check("server", given, 3)
  if type(handler) ~= "function" then
    error("handler must be a function, got " .. type(handler), 3)
  end
  local tls, message, id
  if checked.tls then
    if not host.transport.secure then
      error(("host '%s' has no TLS"):format(tostring(host.name)), 3)
    end
    tls, message, id = secure.context("server", checked.tls)
    if not tls then return nil, message, id end
  end
  local policy = beat.plan(checked)
  local write_log, detail = log.writer(checked.log)
  local descriptors = host.descriptors and host.descriptors() or math.huge
  local self = setmetatable({
    host = host,
    transport = host.transport,
    options = checked,
    tls = tls,
    settings = core.settings(checked),
    class = host.class,
    handler = policy and beat.before(host, policy, write_log, handler) or handler,
    trusted = checked.proxies and forwarded.trust(checked.proxies),
    log = write_log,
    detail = detail,
    counts = metrics.new(),
    max_connections = checked.max_connections
      or math.max(1, descriptors - SPARE_DESCRIPTORS),
    connections = {},
    waiting = {}, -- for a head: "first" or "idle"
    count = 0, -- of connections, handshakes included
    handshakes = 0, -- of these, without a first request yet
    fresh = {}, -- the set of these
    room = host.event(), -- for another handshake
    empty = host.event(),
    stopped = host.event(),
    registry = host.servers,
  }, metatable)
  self.handled, self.served, self.arrived = callbacks(self)
  local listeners
  listeners, message, id = host.listen(checked)
  if not listeners then return nil, message, id end
  self.listeners = listeners
  local address, port = listeners[1]:address()
  self.port = port
  local scheme = tls and "wss" or "ws"
  self.url = port and ("%s://%s:%d"):format(scheme, host_in_url(
    checked.host == "*" and "127.0.0.1" or address), port)
    or ("%s+unix:%s"):format(scheme, address)
  for _, listener in ipairs(listeners) do
    host.spawn(accept_loop, host.log_failure, listener, self)
  end
  host.servers[self] = true
  if self.detail then self.detail("debug", "listening", { url = self.url }) end
  return self
end

return server
