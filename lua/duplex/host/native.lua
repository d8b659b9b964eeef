-- SPDX-License-Identifier: MIT
-- The host that Duplex brings along: its own event loop on libuv, in C. What
-- a host is, is written down in docs/design.md.

local connection = require "duplex.connection"
local core = require "duplex.core"
local listening = require "duplex.listening"
local log = require "duplex.log"
local loop = require "duplex.loop"
local running = require "duplex.host.native_running"
local puc51 = require "duplex.puc51"
local varargs = require "duplex.varargs"

local pack, unpack = varargs.pack, varargs.unpack

if core.stamp ~= loop.stamp then
  error(("duplex.core (%s) and duplex.loop (%s) are not of one build")
    :format(core.stamp, loop.stamp))
end

local native = {
  name = "native",
  now = loop.now,
  spawn = loop.spawn,
  brief = loop.brief,
  sleep = loop.sleep,
  event = loop.event,
  resolve = loop.resolve,
  connect = loop.connect,
  signal = loop.signal,
  step = loop.step,
  fd = loop.fd,
  timeout = loop.timeout,
  can_wait = loop.can_wait,
  unsent = loop.unsent,
  pcall = pcall,
  servers = {}, -- running ones
  stoppers = {}, -- what else to call when everything stops
  -- Connections made here, by id. Weak keys would show finalized ones too.
  clients = setmetatable({}, { __mode = "v" }),
}

-- Where nothing can wait inside pcall a task of its own is what can fail.
if puc51 then
  local function call(state, fn, ...)
    if not state.counts then loop.counts(false) end
    state.results = pack(fn(...))
  end
  local function called(_, state, raised)
    state.raised = raised
    state.over:set()
  end

  function native.pcall(fn, ...)
    if not coroutine.running() then return pcall(fn, ...) end -- can wait as it is
    local state = { over = loop.event(), counts = loop.counts() }
    loop.brief(call, called, state, fn, ...)
    state.over:wait()
    local results = state.results
    if results then return true, unpack(results, 1, results.n) end
    return false, state.raised
  end
end

native.transport = {
  wait = loop.wait,
  on_end = loop.on_end,
  peer = loop.peer,
  methods = loop.methods,
  secure = loop.secure,
}

--- What TLS agreed on.
function native.transport.tls(ws)
  local tls = package.loaded["duplex.tls"]
  return tls and tls.info(ws)
end

native.class = connection.class(native, native.transport)

--- What a task died of, for want of anybody who cares.
function native.log_failure(failure)
  log.failure(log.stderr, "task failed", failure)
end

local function aside(fn, ...)
  loop.counts(false)
  return fn(...)
end

--- As spawn, but run does not wait for it.
function native.background(fn, done, ...) loop.spawn(aside, done, fn, ...) end

--- Descriptors that this process may have.
function native.descriptors() return loop.descriptors(false) end

-- ---- listening ----

local function listen(place, port, options)
  local listener, message, _, absent =
    loop.listen(place, port, options.backlog, options.reuseport)
  return listener, message, absent
end

--- Listeners for checked options of a server.
---@param options table
---@return table[]|nil listeners, string? message, string? id "ADDRESS"
function native.listen(options) return listening.open(options, loop.resolve, listen) end

running(native)

return native
