-- SPDX-License-Identifier: MIT
-- A host made of what an event loop gives: tasks, a clock, and byte streams.
-- What is here is the same for all of them. A loop has these functions:
--
--   name               for error texts
--   now()              seconds of a monotonic clock
--   start(fn, aside)   runs fn() as a task, soon but not at once; fn never raises;
--                      aside: it is no reason for run to go on
--   can_wait()         is this a task, which may wait? (any coroutine, without it)
--   park(w, timeout)   waits: true when woken, false when it took too long;
--                      w is a new table, for what the loop has to remember;
--                      for 0 seconds it waits too, until the others had a turn
--   wake(w)            wakes who waits with w, soon; nothing if nobody does
--   connect(address, port or nil, timeout) -> stream | nil, message, id
--   listen(address or path, port or nil, options) -> listener | nil, message,
--                      true if this machine has no such address
--     listener:accept()  -> stream | nil, message, id: "CLOSED", "LIMIT"
--     listener:address() -> address, port | path
--     listener:close()   who waits in accept gets CLOSED
--   resolve(name, timeout) -> list of addresses | nil, message, id
--   run(alive)         turns the loop while alive() (optional)
--   descriptors()      how many sockets it can watch (optional)
--   lacks              names of options that it cannot honour (optional)
--
-- Streams are explained in stream.lua; sockets.lua helps to make them.

local connection = require "duplex.connection"
local failure = require "duplex.failure"
local listening = require "duplex.listening"
local log = require "duplex.log"
local options = require "duplex.options"
local puc51 = require "duplex.puc51"
local stopping = require "duplex.stopping"
local stream = require "duplex.stream"
local varargs = require "duplex.varargs"

local streams = {}

local AT_ONCE = 0.001 -- seconds: while stopping no sleep is over at once
local SETTLE = 0.1 -- seconds for tasks to learn that all is being stopped
local PATIENCE = 1 -- seconds, to find out whether anybody listens on a path
local pack, unpack = varargs.pack, varargs.unpack

-- ---- events ----

local event = {}
local event_class = { __index = event, __name = "duplex.event" }

function event:wait(timeout)
  if self.on then return true end
  local waiter = {}
  self[#self + 1] = waiter
  -- Whoever sets the event forgets who waited.
  if self.park(waiter, timeout) then return true end
  for i, other in ipairs(self) do
    if other == waiter then table.remove(self, i) end
  end
  return failure.timed_out()
end

function event:set()
  self.on = true
  for i = 1, #self do
    self.wake(self[i])
    self[i] = nil
  end
end

function event:clear() self.on = false end

-- ---- names ----

--- A numeric address needs no looking up, and "localhost" is this machine
--- whatever anybody says (RFC 6761 6.3).
local function known(name)
  if name:find("^%x*:[%x:.]+$") or name:find("^%d+%.%d+%.%d+%.%d+$") then return { name } end
  if name:lower() == "localhost" then return { "127.0.0.1", "::1" } end
end

-- ---- the host ----

local function in_coroutine()
  local co, main = coroutine.running()
  return co ~= nil and not main
end

local function traceback(problem) return debug.traceback(failure.raised(problem), 2) end

-- What a task does: fn, then done, which also gets what fn died of.
local function run_task(fn, done, args)
  local fine, problem = xpcall(fn, traceback, unpack(args, 1, args.n))
  done(not fine and problem or nil, args[1])
end

local function log_failure(problem) log.failure(log.stderr, "task failed", problem) end

-- Functions that stop what runs; see native.lua, whose meaning they have.
local function add_running(host, loop, sleepers)
  local exiting, tasks = false, 0
  local alone -- an event, while what stops all waits for the other tasks
  host.stops = 0
  function host.exiting() return exiting end

  local function start(counts, fn, done, ...)
    local args = pack(...)
    tasks = tasks + counts
    loop.start(function()
      local fine, problem = xpcall(run_task, traceback, fn, done, args)
      tasks = tasks - counts
      if alone and tasks == 1 then alone:set() end
      if not fine then log_failure(problem) end
    end, counts == 0)
  end

  function host.spawn(...) start(1, ...) end
  function host.background(...) start(0, ...) end
  host.brief = host.spawn

  local function stop_all(grace)
    local deadline = host.now() + grace
    stopping.everything(host, grace)
    -- Who learned of it from a connection that ended may want to sleep now, and
    -- to connect again: to them it is stopping still.
    alone = host.event()
    if tasks > 1 then alone:wait(math.max(SETTLE, deadline - host.now())) end
    exiting, alone = false, nil
  end

  function host.stop(grace)
    if grace ~= nil then options.seconds(grace, "grace must be seconds") end
    if exiting then return end
    exiting, host.stops = true, host.stops + 1
    for waiter in pairs(sleepers) do loop.wake(waiter) end
    host.spawn(stop_all, log_failure, grace or 10)
  end

  if not loop.run then return end
  local running = false
  function host.run(main)
    local results, problem = { n = 0 }, nil
    if running or loop.can_wait and loop.can_wait() then
      error("the loop is running already", 2)
    elseif main ~= nil and type(main) ~= "function" then
      error("main must be a function, got " .. type(main), 2)
    end
    host.spawn(function() if main then results = pack(main()) end end, function(failed)
      problem = failed
      if failed then host.stop(0) end
    end)
    running = true
    local fine, broken = pcall(loop.run, function() return tasks > 0 end)
    running = false
    if not fine then error(broken, 0) end
    if problem then error(problem, 0) end
    return unpack(results, 1, results.n)
  end
end

--- The host, see docs/design.md.
---@param loop table see above
---@return table host
function streams.host(loop)
  if puc51 then
    error(("host '%s' needs LuaJIT or Lua 5.3: PUC Lua 5.1 cannot wait inside of xpcall")
      :format(tostring(loop.name)), 2)
  end
  local sleepers, lacks = {}, {}
  for _, name in ipairs(loop.lacks or {}) do lacks[name] = true end
  local can_wait = loop.can_wait or in_coroutine
  local host = {
    name = loop.name, now = loop.now, can_wait = can_wait, pcall = pcall,
    log_failure = log_failure, clients = setmetatable({}, { __mode = "v" }), servers = {},
    stoppers = {},
  }

  function host.check_wait()
    if can_wait() then return end
    error("this waits, so it must be called in a task of " .. loop.name, 0)
  end

  local function cannot(name, level)
    error(("host '%s' cannot honour the option '%s'"):format(loop.name, name), level)
  end

  local function park(waiter, timeout)
    host.check_wait()
    return loop.park(waiter, timeout)
  end

  function host.event() return setmetatable({ park = park, wake = loop.wake }, event_class) end

  function host.sleep(seconds)
    options.seconds(seconds, "seconds must be a number")
    local waiter, stops = {}, not host.exiting() and host.stops
    sleepers[waiter] = true
    park(waiter, stops and seconds or AT_ONCE)
    sleepers[waiter] = nil
    if stops == host.stops then return true end -- none has begun meanwhile
    return failure.of("STOPPED", "the loop is stopping")
  end

  add_running(host, loop, sleepers)
  host.transport = stream.transport(host)
  host.unsent, host.descriptors = host.transport.unsent, loop.descriptors
  host.class = connection.class(host, host.transport)

  function host.resolve(name, timeout)
    local list = known(name)
    if list then return list end
    host.check_wait()
    return loop.resolve(name, timeout)
  end

  function host.connect(ws, address, port, timeout)
    host.check_wait()
    if not port and lacks.unix then cannot("unix", 0) end
    local s, message, id = loop.connect(address, port, timeout)
    if not s then return nil, message, id end
    host.transport.attach(ws, s)
    return true
  end

  local function accept(self, ws)
    local s, message, id = self.listener:accept()
    if not s then return nil, message, id end
    host.transport.attach(ws, s)
    return true
  end

  -- The path of a Unix socket that nobody listens on any more is taken over.
  local function listen(place, port, given)
    local listener, message, absent = loop.listen(place, port, given)
    local is_path = type(place) == "string" and not port
    if not listener and is_path and can_wait() then
      local s, _, id = loop.connect(place, nil, PATIENCE)
      if s then s:close() end
      if id == "CONNECT" and os.remove(place) then
        listener, message, absent = loop.listen(place, nil, given)
      end
    end
    if not listener then return nil, message, absent end
    local function close()
      listener:close()
      if is_path then os.remove(place) end
    end
    local function address() return listener:address() end
    return { listener = listener, accept = accept, address = address, close = close }
  end

  function host.listen(given)
    for _, row in ipairs(options.rows) do
      if lacks[row.name] and given[row.name] ~= row.default then
        cannot(row.name, 5)
      end
    end
    return listening.open(given, host.resolve, listen)
  end

  return host
end

return streams
