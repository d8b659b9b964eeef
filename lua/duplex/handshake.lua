-- SPDX-License-Identifier: MIT
-- A server's side of a connection from its first byte until it is a WebSocket:
-- plain HTTP, who may connect, the upgrade (RFC 6455 4.2). In a brief task:
--
--   head -> on_request -> answer -> head ...     (plain HTTP, keep-alive)
--   head -> on_request -> origin -> subprotocol -> open -> handler's own task
--
-- With proxy_protocol a header of that comes before, and before TLS.

local connection = require "duplex.connection"
local core = require "duplex.core"
local failure = require "duplex.failure"
local forwarded = require "duplex.forwarded"
local http = require "duplex.http"
local origin = require "duplex.origin"
local report = require "duplex.report"
local request = require "duplex.request"
local secure = require "duplex.secure"

-- Who pipelines requests and reads no answers is not answered further.
local function put(self, ws, bytes)
  while core.high(ws) do
    if not self.transport.wait(ws, "drain") then return nil end
  end
  local ok = core.put_raw(ws, bytes)
  connection.flush(ws)
  return ok
end

-- A function of the program failed, or what it returned is of no use.
local function hook_failed(self, text, fields)
  self.log("error", text, fields)
  if self.counts then self.counts.failures.hooks = self.counts.failures.hooks + 1 end
end

-- Sends what a source gives. Returns whether it is as long as was announced:
-- what comes after anything else would not be understood.
local function put_source(self, ws, source, length)
  local piece = source() -- it may wait, as an iterator of Lua 5.1 could not
  while piece do
    length = length - #piece
    if length < 0 then piece = piece:sub(1, length - 1) end
    if not put(self, ws, piece) then return false end
    if length < 0 then break end
    piece = source()
  end
  if length ~= 0 then
    hook_failed(self, "the body of an answer is not as long as its Content-Length")
  end
  return length == 0
end

-- Sends a whole answer. Returns whether the connection can be used again.
local function respond(self, ws, answer)
  local fine, head, length = pcall(http.head, answer) -- nothing in there waits
  if not fine then
    hook_failed(self, "on_request: " .. head)
    answer = http.answer(500)
    answer.close = true
    head = http.head(answer)
  end
  if self.counts then
    local answers, status = self.counts.answers, answer.status
    answers[status] = (answers[status] or 0) + 1
  end
  -- Where something else has read the request, that has to answer it.
  if self.respond then return self.respond(answer) end
  local is_source = type(answer.body) == "function"
  if not is_source and not answer.head_only then head = head .. (answer.body or "") end
  local ok = put(self, ws, head)
  if ok and is_source and not answer.head_only then
    ok = put_source(self, ws, answer.body, length)
  end
  return ok and not answer.close
end

-- Counts how a handshake went.
local function count(self, outcome)
  if not self.counts then return end
  local handshakes = self.counts.handshakes
  handshakes[outcome] = handshakes[outcome] + 1
end

local function refused(self, ws, outcome, status, head, why)
  count(self, outcome)
  report.refused(self.detail, ws, outcome, status, head, why)
end

-- Fields of a log line: who it is about.
local function who(ws, from)
  local fields = report.who(ws)
  fields.origin = from and core.excerpt(from)
  return fields
end

-- There will be no first request.
local OUTCOMES = { TIMEOUT = "timeout", HANDSHAKE = "bad_request", TLS = "tls", PROXY = "proxy" }

local function no_request(self, ws, message, id, status)
  local outcome = self.stopping and "stopping" or OUTCOMES[id] or "lost"
  refused(self, ws, outcome, status, nil, message)
end

-- A bad head is answered too, if the peer may still be listening.
local HEAD_FAILURES = {
  LOST = false,
  TIMEOUT = 408,
  HANDSHAKE = 400,
}

local function refuse_head(self, ws, message, id, first)
  local status = HEAD_FAILURES[id]
  -- Whoever scans ports could fill stderr: only a program's function is told.
  if id == "TLS" and self.detail then self.detail("info", message, who(ws)) end
  if message:find("max_header_bytes", 1, true) then status = 431 end
  if first then no_request(self, ws, message, id, status) end
  if not status or (id == "TIMEOUT" and not first) then return end
  local answer = http.answer(status, failure.text(message))
  answer.close = true
  respond(self, ws, answer)
end

-- What 'read' finds in the input, as soon as it does; or nil, message, id.
local function await(self, ws, read, state)
  while true do
    local found, message, id = read(ws)
    if found or id then return found, message, id end
    self.waiting[ws] = state
    local ok
    ok, message, id = self.transport.wait(ws, "input")
    self.waiting[ws] = nil
    if not ok or core.state(ws) == "closed" then return nil, message, id or "LOST" end
  end
end

-- The next head on a connection, or nil when there will be none.
local function read_head(self, ws, first)
  local raw, message, id = await(self, ws, core.head, first and "first" or "idle")
  if raw then return raw end
  refuse_head(self, ws, message or "", id, first)
end

-- The header of the PROXY protocol, and what comes behind it. Whoever sends none
-- gets no answer: it is no client who could make sense of one. Returns whether
-- there is a client.
local function read_proxy_header(self, ws)
  if not self.trusted(ws.address) then
    self.log("warning", "refused a connection that comes from none of the proxies", who(ws))
    count(self, "proxy")
    return false
  end
  local ok, message, id = await(self, ws, core.proxy_header, "idle")
  if id and id ~= "LOST" then self.log("warning", message, who(ws)) end
  if ok and self.tls then
    ok, message, id = secure.server(self.transport, self.tls, ws, true)
  end
  if not ok then no_request(self, ws, message, id == "HANDSHAKE" and "PROXY" or id) end
  return ok
end

-- on_request decides: nil to go on, or an answer and the outcome that it is.
local function ask(self, ws, req)
  local hook = self.options.on_request
  if not hook then return nil end
  local fine, status, body, headers = self.host.pcall(hook, req)
  if not fine then
    hook_failed(self, "on_request failed: " .. tostring(status), who(ws))
    return http.answer(500), "error"
  end
  if status == nil then return nil end
  if type(status) ~= "number" or status % 1 ~= 0 or status < 200 or status > 599
    or (body ~= nil and type(body) ~= "string" and type(body) ~= "function")
    or (headers ~= nil and type(headers) ~= "table") then
    hook_failed(self, "on_request must return nothing, or status (200..599), "
      .. "body (string or source), headers (table)")
    return http.answer(500), "error"
  end
  return { status = status, body = body or "", headers = headers }, "on_request"
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

local function allowed(self, ws, host, from)
  if from == nil then return true end
  local rule = self.options.origins
  if type(rule) == "function" then
    local fine, yes = self.host.pcall(rule, from)
    if not fine then hook_failed(self, "origins failed: " .. tostring(yes)) end
    return fine and yes
  end
  local _, _, https = core.client(ws) -- as a trusted proxy says
  if https == nil then https = core.secure(ws) or nil end
  return origin.allowed(rule, from, host, https and "https" or https == false and "http" or nil)
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

-- An answer that refuses the upgrade and the outcome that it is, or nil when the
-- WebSocket is open.
local function upgrade(self, ws, raw, host, from)
  if self.stopping then return http.answer(503, "The server is stopping."), "stopping" end
  -- Those that are over but still being sent to hold memory and descriptors too.
  local unsent = self.host.unsent and self.host.unsent() or 0
  if self.count + unsent > self.max_connections then
    return http.answer(503, "The server has as many connections as it takes."), "full"
  end
  local req
  if self.options.on_request then
    req = request.new(raw, ws)
    local answer, outcome = ask(self, ws, req)
    if answer then return answer, outcome end
  end
  local ok, fix = allowed(self, ws, host, from)
  if not ok then
    self.log("warning", fix and ("refused a page of another site; to let it in: " .. fix)
      or "refused a page of another site", who(ws, from))
    return http.answer(403, "This page may not connect here (Origin)."), "origin"
  end
  local protocol, problem = choose(self, raw)
  if not protocol then
    hook_failed(self, problem)
    return http.answer(500), "error"
  end
  if self.stopping then return http.answer(503, "The server is stopping."), "stopping" end
  -- A hook that waited too long used up the time for the handshake.
  if not core.accept(ws, raw, self.host.now(), protocol) then
    return http.answer(408), "timeout"
  end
  connection.flush(ws)
  connection.set_request(ws, req or raw)
  if protocol ~= "" then connection.extra(ws).subprotocol = protocol end
  if req and req.data ~= nil then ws.data = req.data end
  return nil
end

-- A connection from its first byte to its handler.
return function(ws, self)
  local first = true
  local announced = not self.options.proxy_protocol or read_proxy_header(self, ws)
  local source = announced and forwarded.source(ws, self.options, self.trusted)
  while true do
    local raw = announced and read_head(self, ws, first)
    if first then self.arrived(ws) end
    if not raw then return end
    local kind, a, b = core.examine(raw, self.options.max_headers)
    local host = source and kind ~= "bad" and forwarded.apply(ws, source, raw)
    if kind == "upgrade" then
      local refusal, outcome = upgrade(self, ws, raw, host or a, b)
      if not refusal then
        self.connections[ws] = self.host.now()
        count(self, "accepted")
        report.accepted(self.detail, ws, raw, b)
        self.host.spawn(self.handler, self.handled, ws)
        return
      end
      -- What follows may be frames already: nothing more can be read here.
      refusal.close = true
      refused(self, ws, outcome, refusal.status, raw)
      respond(self, ws, refusal)
      return
    elseif kind == "bad" then
      local answer = http.answer(a, b)
      answer.close = true
      if first then refused(self, ws, "bad_request", a, raw, b) end
      respond(self, ws, answer)
      return
    elseif not plain(self, ws, raw, a, b) then
      return
    end
    first = false
    core.again(ws, self.host.now())
  end
end
