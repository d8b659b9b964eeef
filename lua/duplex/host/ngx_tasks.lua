-- SPDX-License-Identifier: MIT
-- Tasks, events and time in nginx. What belongs to no request, as one may be
-- gone before it is done, is done by light threads of one timer of the worker:
-- they are used again, because nginx frees none before its timer ends.

local core = require "duplex.core"
local failure = require "duplex.failure"
local log = require "duplex.log"
local options = require "duplex.options"
local semaphore = require "ngx.semaphore"

local ngx = rawget(_G, "ngx")

local FOREVER = 1000000 -- seconds
local HELD, UNUSED = 1, 0.1 -- seconds between looks whether the pool can end
local LATE = 1 -- seconds after which a timer that has not begun was dropped
local NAP = 1 -- seconds: whoever sleeps longer is told that the worker is to exit, ...
local SLICE = 10 -- and looks that often, should it not have been
local SHORTEST = 0.001 -- seconds: nginx knows nothing shorter
local TURN = 0.1 -- seconds to wait for one that has nothing to do but begin
local LEVELS = { debug = ngx.DEBUG, info = ngx.INFO, warning = ngx.WARN, error = ngx.ERR }

-- Where nginx has no light threads, and nothing can wait.
local NO_TASKS = { init = true, init_worker = true, set = true, header_filter = true, body_filter = true,
  balancer = true, log = true, ssl_session_store = true, exit_worker = true }

-- nginx's own clock is behind while it does not look at events, and costs more.
local tasks = { exiting = ngx.worker.exiting, now = core.now }

--- Can the running code wait?
function tasks.can_wait() return not NO_TASKS[ngx.get_phase()] end

--- Raises where it cannot, nor start a task.
function tasks.check_wait()
  local phase = ngx.get_phase()
  if not NO_TASKS[phase] then return end
  error(("nginx has no tasks in %s_by_lua: what waits belongs into content_by_lua or a timer (ngx.timer.at)")
    :format(phase), 0)
end

--- Raises in the master process, which has no timers: its workers would inherit
--- what is to be done.
function tasks.check_worker()
  if ngx.get_phase() == "init" then tasks.check_wait() end
end

--- Waits for a semaphore. Seconds become whole milliseconds: less than one would
--- be none, and no wait.
---@param sema table of ngx.semaphore
---@param seconds number|nil
function tasks.await(sema, seconds)
  return sema:wait(seconds and (math.ceil(seconds * 1000) + 0.5) / 1000 or FOREVER)
end

--- Logs as programs in nginx do.
function tasks.log(level, message, fields)
  ngx.log(LEVELS[level], log.line(level, message, fields))
end
log.default = tasks.log

function tasks.log_failure(problem) log.failure(tasks.log, "task failed", problem) end

-- ---- events ----

local event = {}
local event_class = { __index = event, __name = "duplex.event" }

function event:wait(timeout)
  local deadline, turn = timeout and tasks.now() + timeout, self.turn
  while not self.on and self.turn == turn do
    local left = deadline and deadline - tasks.now()
    if left and left <= 0 then return failure.timed_out() end
    tasks.check_wait() -- or this would turn for ever
    self.sema = self.sema or semaphore.new()
    self.waiting = self.waiting + 1
    tasks.await(self.sema, left)
    self.waiting = self.waiting - 1
  end
  return true
end

function event:set()
  self.on = true
  if self.waiting == 0 then return tasks.begin() end -- who is to wait may not have begun
  self.turn = self.turn + 1
  self.sema:post(self.waiting)
end

function event:clear() self.on = false end

function tasks.event() return setmetatable({ on = false, waiting = 0, turn = 0 }, event_class) end

-- ---- tasks ----

local function traceback(problem) return debug.traceback(failure.raised(problem), 2) end

--- Calls fn(...), then done(failure, ...).
function tasks.call(fn, done, ...)
  local fine, problem = xpcall(fn, traceback, ...)
  done(not fine and problem or nil, ...)
end

--- The same as a light thread of this request.
function tasks.spawn(...)
  tasks.check_wait()
  ngx.thread.spawn(tasks.call, ...)
end

local jobs, first, last = {}, 1, 0
local ready = semaphore.new() -- posted for idle threads of the pool
local ending = semaphore.new() -- posted when the pool may have to end
local idle, busy, held = 0, 0, 0
local pool, asked = false, nil -- has it begun; when its timer has to begin

-- A light thread of the pool. One is always left idle, for what requests have to
-- have done: they cannot start another.
local function work()
  while true do
    local job = jobs[first]
    if job then
      jobs[first], first, busy = nil, first + 1, busy + 1
      if idle == 0 then ngx.thread.spawn(work) end
      tasks.call(unpack(job, 1, job.n))
      busy = busy - 1
    elseif not pool then
      return
    else
      idle = idle + 1
      tasks.await(ready)
      idle = idle - 1
    end
  end
end

--- What the host does every second while something holds the pool.
function tasks.look() end

-- The timer of the pool. It ends when it was not used for a while: a worker that
-- exits waits for its timers, and so does the Lua state of a request where
-- lua_code_cache is off.
local function keep()
  if pool then return end
  pool, asked = true, nil
  ngx.thread.spawn(work)
  local seen
  repeat
    seen = last
    tasks.await(ending, held > 0 and HELD or UNUSED)
    if held > 0 then tasks.look() end
  until busy == 0 and held == 0 and last == seen and first > last
  pool = false
  if idle > 0 then ready:post(idle) end
end

--- Asks nginx for a timer, and again when it has dropped the one before: of more
--- than lua_max_running_timers it only logs that.
---@param due number|nil when the one that was asked for had to begin
---@return number|nil due
function tasks.timer(due, delay, fn)
  local now = tasks.now()
  if due and now < due + LATE then return due end
  return ngx.timer.at(delay, fn) and now + delay or nil
end

--- Sees to it that tasks of the worker begin.
function tasks.begin()
  if not pool and jobs[first] then asked = tasks.timer(asked, 0, keep) end
end

--- The same as a task of the worker.
function tasks.brief(...)
  tasks.check_worker()
  last = last + 1
  jobs[last] = { n = select("#", ...), ... }
  if pool and idle > 0 then return ready:post(1) end
  tasks.begin()
end

--- While something holds the pool, it does not end.
---@param by integer 1 or -1
function tasks.hold(by)
  held = held + by
  if held == 0 and pool then ending:post(1) end
end

-- ---- sleeping ----

-- Waits until nginx has looked at its events: ngx.sleep(0) logs a warning where
-- nginx lacks a patch of OpenResty's, and who only posts semaphores starves them.
local turn
local function turn_over(_, mine)
  mine:set()
  if turn == mine then turn = nil end
end

local function next_turn()
  local mine = turn or tasks.event()
  if not turn then
    if not ngx.timer.at(0, turn_over, mine) then return ngx.sleep(0.001) end
    turn = mine
  end
  if not mine:wait(TURN) and turn == mine then turn = nil end
end

--- Set when the worker is to exit: thousands may sleep, and none has to look.
tasks.exit = tasks.event()

--- What the host does so that it is.
function tasks.watch() end

function tasks.sleep(seconds)
  options.seconds(seconds, "seconds must be a number")
  tasks.check_wait()
  local deadline = tasks.now() + seconds
  if seconds <= 0 then next_turn() end
  while seconds > 0 and not ngx.worker.exiting() do
    if seconds > NAP then tasks.watch() end
    tasks.exit:wait(math.min(seconds, SLICE))
    seconds = deadline - tasks.now()
  end
  if seconds > 0 then ngx.sleep(SHORTEST) end -- no sleep is over at once
  if not ngx.worker.exiting() then return true end
  return failure.of("STOPPED", "the worker of nginx is stopping")
end

return tasks
