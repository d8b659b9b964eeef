-- SPDX-License-Identifier: MIT
-- What a WebSocket connection can do, for any host: calls that wait are built
-- here from those of duplex.core, which never wait, and from one primitive of
-- the transport:
--
--   transport.wait(ws, what, timeout, pieces) -> true: look again | nil, message, id
--     what = "input": the one reader waits for bytes; raises if another task does;
--            with 'pieces' messages are taken in pieces meanwhile
--            "drain": the outbox may take more
--            "room": it may take more of the message that is being sent
--            "change": anything, input included
--            "end": the connection is over
--   transport.flush(ws)      there may be something to send (optional)
--   transport.on_end(ws, fn) fn() once ws is over, where it must not wait
--   transport.peer(ws)       address, port
--   transport.tls(ws)        what TLS agreed on, nil without TLS (optional)
--   transport.methods(send_source)  faster twins of methods below (optional)

local broadcast = require "duplex.broadcast"
local core = require "duplex.core"
local iterators = require "duplex.iterators"
local options = require "duplex.options"
local pieces = require "duplex.pieces"
local puc51 = require "duplex.puc51"
local request = require "duplex.request"

local connection = {}

local deadline_of, left = options.deadline, options.left

local NO_CODE = 1005 -- RFC 6455 7.1.5
local TOLD_BEFORE = 0.001 -- seconds before an end is reported again

-- User values of a connection, see csrc/lua/lconn.h.
local EXTRA, DATA = 1, 2

--- What few connections need, made when it is needed: until then its place
--- holds the head of the request, as most programs never look into it.
---@param ws duplex.Connection
---@return table
function connection.extra(ws)
  local value = core.value(ws, EXTRA)
  if type(value) == "table" then return value end
  return core.value(ws, EXTRA, { head = value })
end

local extra = connection.extra

---@class duplex.Stats
---@field bytes_in integer of the WebSocket and its handshake
---@field bytes_out integer
---@field messages_in integer
---@field messages_out integer
---@field queued integer messages that nobody took yet
---@field outbox integer bytes that wait to be sent
---@field latency number|nil seconds of the last answered ping
---@field payload_in integer|nil with compression: bytes of messages that came, inflated
---@field wire_in integer|nil the same as frames carried them
---@field payload_out integer|nil bytes of messages that were sent
---@field wire_out integer|nil the same as frames carry them

---@class duplex.Connection
---@field id integer unique in this process
---@field state "open"|"closing"|"closed"
---@field subprotocol string|nil the one agreed on
---@field extensions string what was agreed on, such as "permessage-deflate"; "" for nothing
---@field address string|nil of the peer, or of the client that a proxy names; "unix" for
---  a Unix socket
---@field port integer|nil the same's; nil when a proxy did not tell
---@field proxy string|nil address of the proxy, when that named the client
---@field latency number|nil seconds of the last answered ping
---@field idle number seconds since the last byte came, or since this side went on reading
---@field outbox integer bytes that wait to be sent
---@field tls table|nil of a connection over TLS: { version, cipher, alpn, server_name,
---  resumed, subject, issuer, fingerprint }, the last three of the peer's certificate
---@field request duplex.Request|nil what the client asked for (servers)
---@field response table|nil { status, headers } of the handshake (clients)
---@field data any yours; starts as request.data
---@field close_code integer|nil received; 1005 none given, 1006 none came
---@field close_reason string|nil received
---@field close_error string|nil why it ended, nil when cleanly
local getters = {
  id = core.id,
  latency = core.latency,
  outbox = core.outbox,
  extensions = core.extensions,
  close_code = core.close_code,
  close_reason = core.close_reason,
  close_error = core.close_error,
}

function getters.state(ws)
  local state = core.state(ws)
  return state == "handshake" and "open" or state
end

function getters.data(ws) return core.value(ws, DATA) end

function getters.request(ws)
  local e = extra(ws)
  if not e.request and e.head then
    e.request, e.head = request.new(e.head, ws), nil
  end
  return e.request
end

function getters.subprotocol(ws)
  local e = core.value(ws, EXTRA)
  return type(e) == "table" and e.subprotocol or nil
end

function getters.response(ws)
  local e = core.value(ws, EXTRA)
  return type(e) == "table" and e.response or nil
end

local function nothing() end

-- messages() where no iterator can wait.
local function without_iterator(messages)
  return function(ws)
    iterators.check("messages", "'local data, kind = ws:receive()' and 'while data do ... end'")
    return messages(ws)
  end
end

local function check_function(value, name)
  if type(value) ~= "function" then
    error(name .. " must be a function, got " .. type(value), 3)
  end
end

--- A class of connections for one host and one kind of transport.
---@param host table
---@param transport table
---@return table metatable for core.connection
function connection.class(host, transport)
  local now, wait = host.now, transport.wait
  local flush = transport.flush or nothing
  ---@class duplex.Connection
  local methods = {}

  local own_getters = setmetatable({}, { __index = getters })
  for name, getter in pairs(getters) do own_getters[name] = getter end
  function own_getters.address(ws) return core.client(ws) or (transport.peer(ws)) end
  function own_getters.port(ws)
    local address, port = core.client(ws)
    if not address then address, port = transport.peer(ws) end
    return address and port
  end
  function own_getters.proxy(ws) return core.client(ws) and (transport.peer(ws)) or nil end

  function own_getters.tls(ws)
    if not transport.tls or not core.secure(ws) then return nil end
    local e = extra(ws)
    e.tls = e.tls or transport.tls(ws)
    return e.tls
  end

  function own_getters.idle(ws) return core.idle(ws, now()) end

  local parts = pieces(host, transport, extra)
  local drain, send_source = parts.drain, parts.send_source
  local take_turns, took = parts.take_turns, parts.took

  -- The end is reported at once; but whoever asks again and again, in a loop
  -- that does not look at the results, must let the others run.
  local function report_end(ws, message, id)
    local e = extra(ws)
    if e.told and host.sleep and host.can_wait() then host.sleep(TOLD_BEFORE) end
    e.told = true
    return nil, message, id
  end

  --- The next whole message.
  ---@param ws duplex.Connection
  ---@param timeout? number seconds; nil = no limit, 0 = poll. A timeout loses
  ---  nothing: call again.
  ---@return string|nil data, string kind_or_message, string|nil id
  function methods.receive(ws, timeout)
    local deadline = deadline_of(timeout, now)
    while true do
      take_turns()
      local data, kind, last = core.next(ws, now())
      if data then
        took(#data)
        if not last then
          error("this message was begun with receive_to, which has to finish it", 2)
        end
        flush(ws)
        return data, kind
      end
      flush(ws)
      if last then return report_end(ws, kind, last) end
      local ok, message, id = wait(ws, "input", left(deadline, now))
      if not ok then return nil, message, id end
    end
  end

  local function next_message(ws) return methods.receive(ws) end

  --- Iterates over messages until the end of the connection, whatever it is;
  --- ws.close_error tells. In PUC Lua 5.1 no iterator can wait: this raises in
  --- tasks there, use receive.
  ---@param ws duplex.Connection
  ---@return fun(): string?, string? , duplex.Connection
  function methods.messages(ws) return next_message, ws end

  --- The next message in pieces, as they come; it is never whole in memory.
  --- After a timeout call again with the same sink to go on.
  ---@param ws duplex.Connection
  ---@param sink fun(piece: string) may wait
  ---@param timeout? number seconds to wait for a piece
  ---@return integer|nil bytes of the message, string kind_or_message, string|nil id
  methods.receive_to = parts.receive_to

  --- Queues a message. Waits only while more than high_mark bytes wait to
  --- leave; nothing is dropped silently.
  ---@param ws duplex.Connection
  ---@param data string|duplex.Message|fun(): string? a message, a prepared one, or
  ---  a source of pieces that become one fragmented message; when it raises, the
  ---  connection ends (1011)
  ---@param kind? "text"|"binary" default "text"; a prepared message has its own
  ---@param given? { compress: boolean? } where compression was agreed on: false
  ---  sends it as it is, true compresses what is short, too
  ---@return true|nil ok, string? message, string? id
  function methods.send(ws, data, kind, given)
    if type(data) == "function" then return send_source(ws, data, kind, given) end
    local waits, ok, message, id = core.high(ws), true, nil, nil
    if waits then
      core.hold(ws, data, kind, given)
      ok, message, id = drain(ws)
    end
    if ok then ok, message, id = core.put(ws, data, kind, given) end
    if waits then core.release(ws) end
    flush(ws)
    if id then return report_end(ws, message, id) end
    return ok, message, id
  end

  --- Queues a message if it fits, and never waits.
  ---@param ws duplex.Connection
  ---@param data string|duplex.Message
  ---@param kind? "text"|"binary" default "text"
  ---@param given? { compress: boolean? } as those of send
  ---@return true|nil ok, string? message, string? id "FULL" when more than
  ---  max_outbox bytes would wait; an empty outbox takes any message
  function methods.try_send(ws, data, kind, given)
    local ok, message, id = core.try_put(ws, data, kind, given)
    flush(ws)
    return ok, message, id
  end

  --- Sends a ping and waits for its pong (RFC 6455 5.5.2).
  ---@param ws duplex.Connection
  ---@param timeout? number seconds
  ---@param payload? string at most 125 bytes, which the pong brings back; default:
  ---  a number
  ---@return number|nil seconds of the round trip, string? message, string? id
  function methods.ping(ws, timeout, payload)
    if payload ~= nil and (type(payload) ~= "string" or #payload > 125) then
      error("the payload of a ping must be a string of at most 125 bytes", 2)
    end
    local began, deadline = now(), deadline_of(timeout, now)
    local number, message, id = core.ping(ws, payload)
    if not number then return nil, message, id end
    flush(ws)
    while not core.answered(ws, number) do
      local ended
      ended, message, id = core.ended(ws)
      if id then return ended, message, id end
      local ok
      ok, message, id = wait(ws, "change", left(deadline, now))
      if not ok then return nil, message, id end
    end
    return now() - began
  end

  --- Closes: sends a close frame and waits for the peer's. Whoever waits to
  --- receive gets CLOSED. May be called again, by anyone.
  ---@param ws duplex.Connection
  ---@param code? integer|false default 1000; 1000..1003, 1007..1014, 3000..4999;
  ---  false: a close frame without a code, which the peer sees as 1005
  ---@param reason? string cut at 123 bytes
  ---@param timeout? number seconds to wait, default close_timeout; 0 = cut
  ---@return true
  function methods.close(ws, code, reason, timeout)
    local deadline = deadline_of(timeout, now)
    if code then options.close_code(code) end
    core.close(ws, code == false and NO_CODE or code or 1000, reason or "", now())
    flush(ws)
    while core.state(ws) ~= "closed" do
      local at = math.min(deadline or math.huge, core.due(ws))
      if at <= now() or not wait(ws, "end", at - now()) then
        if at < math.huge and at <= now() then
          core.fail(ws, timeout == 0 and "CLOSED" or "LOST_CLOSE")
          flush(ws)
        end
      end
    end
    return true
  end

  --- Waits for the end without reading messages.
  ---@param ws duplex.Connection
  ---@param timeout? number seconds
  ---@return integer|nil code, string reason_or_message, string? id
  function methods.wait_closed(ws, timeout)
    local deadline = deadline_of(timeout, now)
    while true do
      core.settle(ws, now())
      flush(ws)
      if core.state(ws) == "closed" then
        return core.close_code(ws), core.close_reason(ws)
      end
      local ok, message, id = wait(ws, "change", left(deadline, now))
      if not ok then return nil, message, id end
    end
  end

  local function run_closers(ws)
    local e = extra(ws)
    local list = e.on_close
    e.on_close = nil
    -- Each in a task of its own: one that fails must not stop the others.
    for _, fn in ipairs(list or {}) do host.brief(fn, host.log_failure, ws) end
  end

  --- Calls fn(ws) once when the connection is over, however it ended; at once
  --- if it already is. fn must not wait for this connection.
  ---@param ws duplex.Connection
  ---@param fn fun(ws: duplex.Connection)
  function methods.on_close(ws, fn)
    check_function(fn, "on_close")
    local e = extra(ws)
    if e.on_close then
      table.insert(e.on_close, fn)
      return
    end
    e.on_close = { fn }
    transport.on_end(ws, function() run_closers(ws) end)
  end

  --- Numbers of this connection since it began.
  ---@param ws duplex.Connection
  ---@return duplex.Stats
  function methods.stats(ws)
    local bytes_in, bytes_out, messages_in, messages_out, queued, outbox = core.numbers(ws)
    local payload_in, wire_in, payload_out, wire_out = core.compression(ws)
    return {
      bytes_in = bytes_in, bytes_out = bytes_out,
      messages_in = messages_in, messages_out = messages_out,
      queued = queued, outbox = outbox, latency = core.latency(ws),
      payload_in = payload_in, wire_in = wire_in,
      payload_out = payload_out, wire_out = wire_out,
    }
  end

  if transport.methods then
    for name, method in pairs(transport.methods(send_source)) do methods[name] = method end
  end
  if puc51 then methods.messages = without_iterator(methods.messages) end
  local class = core.class(methods, own_getters)
  -- "local ws <close> = ...": waits for the peer where that is possible.
  function class.__close(ws, failure)
    methods.close(ws, failure and 1011 or 1000, "", not host.can_wait() and 0 or nil)
  end
  broadcast.flushers[class] = flush
  return class
end

--- Tells the transport that there may be something to send, or an end: for
--- what was done with functions of duplex.core.
---@param ws duplex.Connection
function connection.flush(ws) broadcast.flushers[debug.getmetatable(ws)](ws) end

--- Keeps the request of a connection: its head, or what it was made into.
---@param ws duplex.Connection
---@param value string|duplex.Request
function connection.set_request(ws, value)
  local is_head = type(value) == "string"
  if is_head and type(core.value(ws, EXTRA)) ~= "table" then
    core.value(ws, EXTRA, value)
  else
    extra(ws)[is_head and "head" or "request"] = value
  end
end

return connection
