-- SPDX-License-Identifier: MIT
-- How tasks wait in Copas, old or new: by its select, on waiters. These are
-- objects with a descriptor that can also say "look at me" (dirty, as sockets
-- with a buffer do), when they were woken or their time is up.

local copas = require "copas" -- before LuaSocket, as it wants
local socket = require "socket"
local core = require "duplex.core"

local now = core.now
local tasks = {}

local waiter = {}
local waiter_class = { __index = waiter }
local nowhere = (socket.udp4 or socket.udp)() -- a descriptor on which nothing happens

function waiter:getfd()
  local fd = self.socket and self.socket:getfd() or -1
  return fd >= 0 and fd or nowhere:getfd() -- or nobody would look at a closed one
end
function waiter:dirty() return self.woken or self.deadline ~= nil and now() >= self.deadline end
function waiter.close() end -- copas closes what a thread waited for last

-- The sets that copas selects are what it yields for a socket that is not ready.
local function queue_of(call)
  local function not_ready() return nil, "timeout", 0 end
  local fake = setmetatable({ receive = not_ready, send = not_ready }, waiter_class)
  local step = coroutine.wrap(call)
  local object, queue
  repeat object, queue = step(fake, "*a") until object == fake
  return queue
end
local reading, writing = queue_of(copas.receive), queue_of(copas.send)

-- Somebody has to see that select does not wait beyond the first deadline.
local timed, first, watcher = {}, math.huge, nil

local function find_first()
  first = math.huge
  for w in pairs(timed) do first = math.min(first, w.deadline) end
  return first
end

-- Copas 1 has no timers: this one waits in the place of its select.
local clock = setmetatable({}, waiter_class)
function clock:dirty()
  if self.selecting then return false end
  self.selecting = next(timed) ~= nil
  if self.selecting then
    socket.select(reading, writing, math.max(0, math.min(find_first() - now(), 60)))
  end
  self.selecting = false
  return next(timed) == nil or now() >= first
end

local function watch_clock()
  while next(timed) do
    if copas.pause then
      copas.pause(math.max(0, math.min(find_first() - now(), 1)))
    else
      coroutine.yield(clock, reading)
    end
  end
  watcher = nil
end

--- Waits with w, see streams.lua.
function tasks.park(w, timeout)
  setmetatable(w, waiter_class)
  if timeout then
    w.deadline, timed[w] = now() + timeout, true
    if not watcher then
      watcher = true
      watcher = copas.addthread(watch_clock)
    elseif w.deadline < first and copas.wakeup then
      copas.wakeup(watcher)
    end
  end
  coroutine.yield(w, reading)
  local woken = w.woken
  timed[w], w.deadline, w.woken = nil, nil, nil
  return woken == true
end

function tasks.wake(w) w.woken = true end

function tasks.start(fn)
  copas.addthread(function()
    tasks.park({}, 0)
    fn()
  end)
end

--- Waits until a socket may be written to. LuaSocket asks only those that read
--- whether they are dirty: so this one waits among them, for a thread that is not
--- in a hurry.
function tasks.park_to_write(so, timeout)
  local w = {}
  copas.addthread(function()
    coroutine.yield(setmetatable({ socket = so }, waiter_class), writing)
    w.woken = true
  end)
  tasks.park(w, timeout)
end

function tasks.run(alive)
  repeat copas.step() until not alive()
end

return tasks
