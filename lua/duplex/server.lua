-- SPDX-License-Identifier: MIT
-- A server: listeners, the HTTP that comes before a WebSocket, handlers, and
-- a graceful end.
--
-- Each connection has a brief task until it is open, then the handler's own:
--   head -> on_request -> answer -> head ...     (plain HTTP, keep-alive)
--   head -> on_request -> origin -> subprotocol -> open -> handler

local connection = require "duplex.connection"
local core = require "duplex.core"
local http = require "duplex.http"
local log = require "duplex.log"
local options = require "duplex.options"
local origin = require "duplex.origin"
local request = require "duplex.request"

local server = {}

local STOP_GRACE = 10 -- seconds
local SPARE_DESCRIPTORS = 64 -- for files, listeners, and to refuse politely
local RETRY_ACCEPT = 0.1 -- seconds, when descriptors or memory are short

---@class duplex.Server
---@field port integer|nil bound
---@field url string where it listens, "ws://127.0.0.1:8080"
---@field connections table<duplex.Connection, true> whose handlers run
local methods = {}
local metatable = { __index = methods, __name = "duplex.server" }

-- ---- HTTP ----

-- Who pipelines requests and reads no answers is not answered further.
local function put(self, ws, bytes)
  while core.high(ws) do
    if not self.transport.wait(ws, "drain") then return nil end
  end
  return core.put_raw(ws, bytes)
end

-- Sends what a source gives. Returns whether it is as long as was announced:
-- what comes after anything else would not be understood.
local function put_source(self, ws, source, length)
  for piece in source do
    length = length - #piece
    if length < 0 then piece = piece:sub(1, length - 1) end
    if not put(self, ws, piece) then return false end
    if length < 0 then break end
  end
  if length ~= 0 then
    self.log("error", "the body of an answer is not as long as its Content-Length")
  end
  return length == 0
end

-- Sends a whole answer. Returns whether the connection can be used again.
local function respond(self, ws, answer)
  local fine, head, length = pcall(http.head, answer) -- nothing in there waits
  if not fine then
    self.log("error", "on_request: " .. head)
    answer = http.answer(500)
    answer.close = true
    head = http.head(answer)
  end
  local is_source = type(answer.body) == "function"
  if not is_source and not answer.head_only then head = head .. (answer.body or "") end
  local ok = put(self, ws, head)
  if ok and is_source and not answer.head_only then
    ok = put_source(self, ws, answer.body, length)
  end
  return ok and not answer.close
end

-- A bad head is answered too, if the peer may still be listening.
local HEAD_FAILURES = {
  LOST = false,
  TIMEOUT = 408,
  HANDSHAKE = 400,
}

local function refuse_head(self, ws, message, id, first)
  local status = HEAD_FAILURES[id]
  if not status or (id == "TIMEOUT" and not first) then return end
  if message:find("max_header_bytes", 1, true) then status = 431 end
  local answer = http.answer(status, (message:gsub("^%u+: ", "")))
  answer.close = true
  respond(self, ws, answer)
end

-- The next head on a connection, or nil when there will be none.
local function read_head(self, ws, first)
  while true do
    local raw, message, id = core.head(ws)
    if raw then return raw end
    if not id then
      local ok
      self.waiting[ws] = first and "first" or "idle"
      ok, message, id = self.transport.wait(ws, "input")
      self.waiting[ws] = nil
      if ok and core.state(ws) ~= "closed" then id = nil else id = id or "LOST" end
    end
    if id then
      refuse_head(self, ws, message or "", id, first)
      return nil
    end
  end
end

-- on_request decides: nil to go on, or an answer.
local function ask(self, ws, req)
  local hook = self.options.on_request
  if not hook then return nil end
  local fine, status, body, headers = self.host.pcall(hook, req)
  if not fine then
    self.log("error", "on_request failed: " .. tostring(status),
      { address = ws.address })
    return http.answer(500)
  end
  if status == nil then return nil end
  if type(status) ~= "number" or status % 1 ~= 0 or status < 200 or status > 599
    or (body ~= nil and type(body) ~= "string" and type(body) ~= "function")
    or (headers ~= nil and type(headers) ~= "table") then
    self.log("error", "on_request must return nothing, or status (200..599), "
      .. "body (string or source), headers (table)")
    return http.answer(500)
  end
  return { status = status, body = body or "", headers = headers }
end

-- Returns whether another request may come on this connection.
local function plain(self, ws, raw, keep_alive, has_body)
  local req = request.new(raw, ws)
  local answer = ask(self, ws, req) or http.answer(426,
    "This is a WebSocket server: connect with a WebSocket client.")
  answer.head_only = req.method == "HEAD"
  -- A body was not read, so the next request cannot be found behind it.
  answer.close = not keep_alive or has_body or self.stopping
  return respond(self, ws, answer)
end

local function allowed(self, host_header, from)
  if from == nil then return true end
  local rule = self.options.origins
  if type(rule) == "function" then
    local fine, yes = self.host.pcall(rule, from)
    if not fine then self.log("error", "origins failed: " .. tostring(yes)) end
    return fine and yes
  end
  return origin.allowed(rule, from, host_header, false)
end

-- The subprotocol to speak: the first of ours that is offered.
local function choose(self, raw)
  local ours = self.options.subprotocols
  if not ours then return "" end
  local offered = core.offered(raw)
  if type(ours) == "function" then
    local fine, chosen = self.host.pcall(ours, offered)
    if not fine then return nil, "subprotocols failed: " .. tostring(chosen) end
    for _, name in ipairs(offered) do
      if name == chosen then return chosen end
    end
    if chosen == nil then return "" end
    return nil, ("subprotocols chose %q, which was not offered"):format(tostring(chosen))
  end
  for _, name in ipairs(ours) do
    for _, other in ipairs(offered) do
      if name == other then return name end
    end
  end
  return ""
end

-- An answer that refuses the upgrade, or nil when the WebSocket is open.
local function upgrade(self, ws, raw, host_header, from)
  if self.stopping then return http.answer(503, "The server is stopping.") end
  if self.count > self.max_connections then
    return http.answer(503, "The server has as many connections as it takes.")
  end
  local req
  if self.options.on_request then
    req = request.new(raw, ws)
    local answer = ask(self, ws, req)
    if answer then return answer end
  end
  local ok, fix = allowed(self, host_header, from)
  if not ok then
    self.log("warning", fix and ("refused a page of another site; to let it in: " .. fix)
      or "refused a page of another site", { origin = from, address = ws.address })
    return http.answer(403, "This page may not connect here (Origin).")
  end
  local protocol, problem = choose(self, raw)
  if not protocol then
    self.log("error", problem)
    return http.answer(500)
  end
  if self.stopping then return http.answer(503, "The server is stopping.") end
  -- A hook that waited too long used up the time for the handshake.
  if not core.accept(ws, raw, self.host.now(), protocol) then return http.answer(408) end
  connection.set_request(ws, req or raw)
  if protocol ~= "" then connection.extra(ws).subprotocol = protocol end
  if req and req.data ~= nil then ws.data = req.data end
  return nil
end

-- A connection from its first byte to its handler.
local function serve(ws, self)
  local first = true
  while true do
    local raw = read_head(self, ws, first)
    if not raw then return end
    local kind, a, b = core.examine(raw, self.options.max_headers)
    if kind == "upgrade" then
      local refusal = upgrade(self, ws, raw, a, b)
      if not refusal then
        self.connections[ws] = true
        self.host.spawn(self.handler, self.handled, ws)
        return true
      end
      -- What follows may be frames already: nothing more can be read here.
      refusal.close = true
      respond(self, ws, refusal)
      return
    elseif kind == "bad" then
      local answer = http.answer(a, b)
      answer.close = true
      respond(self, ws, answer)
      return
    elseif not plain(self, ws, raw, a, b) then
      return
    end
    first = false
    core.again(ws, self.host.now())
  end
end

-- ---- life of a connection ----

local function leave(self, ws)
  self.connections[ws] = nil
  self.count = self.count - 1
  if self.stopping and self.count == 0 then self.empty:set() end
end

local function log_failure(self, what, failure, ws)
  local first, rest = log.split(failure)
  self.log("error", what .. ": " .. first,
    { connection = ws.id, address = ws.address, traceback = rest })
end

-- What the scheduler calls when a handler, or a handshake, is over.
local function callbacks(self)
  local now = self.host.now
  local function handled(failure, ws)
    if failure then log_failure(self, "handler failed", failure, ws) end
    ws:close(failure and 1011 or 1000)
    leave(self, ws)
  end
  local function served(failure, ws)
    if failure then log_failure(self, "handshake failed", failure, ws) end
    if self.connections[ws] then return end
    -- Answered, or gone: what is still to be sent is, in the background.
    core.close(ws, 1000, "", now())
    leave(self, ws)
  end
  return handled, served
end

local function accept_loop(listener, self)
  local ws
  while true do
    ws = ws or core.connection("server", self.settings, self.class, self.host.now())
    local ok, message, id = listener:accept(ws)
    if ok then
      self.count = self.count + 1
      self.host.brief(serve, self.served, ws, self)
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
  local deadline = host.now() + (grace or STOP_GRACE)
  if not self.stopping then
    self.stopping = true
    for _, listener in ipairs(self.listeners) do listener:close() end
    if self.count == 0 then self.empty:set() end
    for ws, state in pairs(self.waiting) do
      -- Whoever has begun a request gets an answer.
      if state == "idle" or core.numbers(ws) == 0 then
        core.close(ws, 1000, "", host.now())
      end
    end
    for ws in pairs(self.connections) do core.close(ws, 1001, "", host.now()) end
  end
  if not self.empty:wait(math.max(0, deadline - host.now())) then
    for ws in pairs(self.waiting) do core.fail(ws, "CLOSED") end
    for ws in pairs(self.connections) do core.fail(ws, "LOST_CLOSE") end
  end
  self.stopped:set()
  self.registry[self] = nil
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
    connections = open, handshakes = self.count - open,
    max_connections = self.max_connections,
  }
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
---@return duplex.Server|nil server, string? message, string? id "ADDRESS"
function server.serve(host, given, handler)
  local checked = options.check("server", given, 3)
  if type(handler) ~= "function" then
    error("handler must be a function, got " .. type(handler), 3)
  end
  local descriptors = host.descriptors and host.descriptors() or math.huge
  local self = setmetatable({
    host = host,
    transport = host.transport,
    options = checked,
    settings = core.settings(checked),
    class = host.class,
    handler = handler,
    log = log.writer(checked.log),
    max_connections = checked.max_connections
      or math.max(1, descriptors - SPARE_DESCRIPTORS),
    connections = {},
    waiting = {}, -- for a head: "first" or "idle"
    count = 0, -- of connections, handshakes included
    empty = host.event(),
    stopped = host.event(),
    registry = host.servers,
  }, metatable)
  self.handled, self.served = callbacks(self)
  local listeners, message, id = host.listen(checked)
  if not listeners then return nil, message, id end
  self.listeners = listeners
  local address, port = listeners[1]:address()
  self.port = port
  self.url = port and ("ws://%s:%d"):format(host_in_url(
    checked.host == "*" and "127.0.0.1" or address), port) or "ws+unix:" .. address
  for _, listener in ipairs(listeners) do
    host.spawn(accept_loop, host.log_failure, listener, self)
  end
  host.servers[self] = true
  return self
end

return server
