-- SPDX-License-Identifier: MIT
-- Two connections joined in memory: the real protocol without a socket, for
-- tests and for talking to a handler inside one program.

local connection = require "duplex.connection"
local core = require "duplex.core"
local options = require "duplex.options"
local secure = require "duplex.secure"

local pair = {}

local PIECE = 65536 -- bytes moved at a time: so back-pressure is felt as usual

-- Bytes as they arrive, after what TLS does to them on the way.
local function through(from, to, bytes)
  local engine = connection.extra(from).engine
  if not engine then return bytes end
  local other = connection.extra(to).engine
  engine:write(bytes)
  other:feed(engine:output())
  return other:read(2 * PIECE)
end

-- Bytes go from one outbox to the other's input. Returns whether any did.
local function move(from, to, now)
  if not core.hungry(to) then return false end
  local bytes = core.output(from, now, PIECE)
  if bytes ~= "" then
    core.feed(to, through(from, to, bytes), now)
  elseif core.state(from) == "closed" and core.state(to) ~= "closed" then
    core.eof(to, now)
  else
    return false
  end
  core.pump(to, now)
  return true
end

local function run_closer(e, ws)
  local fn = e.on_end
  if fn and core.state(ws) == "closed" then
    e.on_end = nil
    fn()
  end
end

--- The transport between two connections of one program.
---@param host table
---@return table
local function transport(host)
  local now, extra = host.now, connection.extra
  local t = {}

  -- Whether this end looks other than when it was last looked at.
  local function ended(e, ws)
    local state = core.state(ws)
    local changed = e.state ~= state
    e.state = state
    return changed
  end

  function t.flush(ws)
    local e = extra(ws)
    local peer = e.peer
    local other = extra(peer)
    local time = now()
    local any = false
    repeat
      core.pump(ws, time)
      core.pump(peer, time)
      local moved = move(ws, peer, time)
      moved = move(peer, ws, time) or moved
      any = any or moved
    until not moved
    any = ended(e, ws) or any
    any = ended(other, peer) or any
    -- Only news wake: two that wait would wake each other for ever.
    if any then
      e.changed:set()
      other.changed:set()
    end
    run_closer(e, ws)
    run_closer(other, peer)
  end

  function t.wait(ws, what, timeout, pieces)
    local e = extra(ws)
    if what == "input" then
      if e.reading then error("another task is receiving from this connection", 0) end
      e.reading = true
      if pieces then core.pieces(ws, true) end
    end
    e.changed:clear()
    local ok, message, id = e.changed:wait(timeout)
    if what == "input" then e.reading = nil end
    return ok, message, id
  end

  function t.on_end(ws, fn)
    extra(ws).on_end = fn
    run_closer(extra(ws), ws)
  end

  function t.peer() end

  function t.tls(ws)
    local engine = extra(ws).engine
    return engine and engine:info()
  end

  return t
end

local FIELDS = { "path", "headers", "data", "tls", "compression" }

local function check_request(given)
  if type(given) ~= "table" then
    error("the request must be a table, got " .. type(given), 3)
  end
  local problem = options.bad_name(given, FIELDS, "unknown field '%s' of the request")
  if problem then error(problem, 3) end
end

-- Requests are made of what the caller gives, as a real client would.
local function head_lines(headers)
  local lines = {}
  for name, value in pairs(headers or {}) do
    if not core.header_ok(name, value) then
      error(("header '%s' cannot be sent as it is"):format(name), 4)
    end
    lines[#lines + 1] = name .. ": " .. value .. "\r\n"
  end
  return table.concat(lines)
end

local function settings(role, request)
  return core.settings(options.check(role, {
    -- In memory nobody vanishes, and silence is nothing to worry about.
    ping_interval = false, open_timeout = false, send_timeout = false,
    compression = request.compression,
  }, 3))
end

---@class duplex.PairRequest
---@field path? string default "/"
---@field headers? table<string, string>
---@field data? any becomes the data of the server's connection
---@field tls? { server: table, client: table } TLS options of both
---@field compression? boolean|table the option compression of both

--- A function that makes pairs for a host.
---@param host table
---@return fun(request?: duplex.PairRequest): duplex.Connection, duplex.Connection
function pair.new(host)
  local class
  return function(request)
    request = request or {}
    check_request(request)
    local ours, theirs, id
    if request.tls then
      if type(request.tls) ~= "table" then
        error("tls of the request must be { server = ..., client = ... }", 2)
      end
      ours, theirs, id = secure.pair(request.tls, 2)
      if not ours then return nil, theirs, id end
    end
    local t = transport(host)
    class = class or connection.class(host, t)
    local now = host.now()
    local client = core.connection("client", settings("client", request), class, now)
    local server = core.connection("server", settings("server", request), class, now)
    local accept = core.request(client, "pair", request.path or "/", nil,
      head_lines(request.headers))
    core.feed(server, core.output(client, now), now)
    local raw = core.head(server)
    connection.set_request(server, raw)
    core.accept(server, raw, now)
    core.feed(client, core.output(server, now), now)
    assert(core.verify(client, core.head(client), accept, ""))
    core.open(client, now)
    local a, b = connection.extra(client), connection.extra(server)
    a.peer, b.peer = server, client
    a.engine, b.engine = theirs, ours
    core.secure(client, ours ~= nil)
    core.secure(server, ours ~= nil)
    a.changed, b.changed = host.event(), host.event()
    server.data = request.data
    return client, server
  end
end

return pair
