-- SPDX-License-Identifier: MIT
-- How tasks wait in libuv. An error in one of its callbacks ends the program:
-- they only note what happened and resume tasks, which are guarded (streams.lua).

local sockets = require "duplex.sockets"

local vim = rawget(_G, "vim")
local uv = vim and (vim.uv or vim.loop) or package.loaded.uv or require "luv"

local tasks = { uv = uv }

local ready, timers = {}, {} -- timers that wait to be used again
local check, idle
-- Coroutines that run does not wait for, and what ends requests of theirs: libuv
-- waits for those whatever is done.
local asides, requests = setmetatable({}, { __mode = "k" }), {}
-- The other tasks, and a handle for which libuv runs while there are some: what they
-- wait for may be up to one that run does not wait for.
local count, keeper = 0, nil
local turning = false -- by tasks.run

-- Tasks do not raise (streams.lua); a coroutine of the program's own may.
local function resume(co, result)
  local fine, problem = coroutine.resume(co, result)
  if not fine then io.stderr:write(debug.traceback(co, tostring(problem)), "\n") end
end

local function run_ready()
  local list = ready
  ready = {}
  for _, co in ipairs(list) do resume(co, true) end
  if ready[1] then return end
  check:stop()
  idle:stop()
end

local function nothing() end

-- Ready tasks run behind the poll for events, which does not wait while something
-- is idle; who becomes ready then runs behind the next one. A timer of 0 ms that
-- is set by a timer would run before it, and tasks that do so keep events away.
local function make_ready(co)
  ready[#ready + 1] = co
  if ready[2] then return end
  check, idle = check or uv.new_check(), idle or uv.new_idle()
  check:start(run_ready)
  idle:start(nothing)
end

-- Is nothing left but requests of those that run does not wait for?
local function in_vain()
  if not turning or count > 0 then return false end
  local more = false
  uv.walk(function(handle)
    more = more or handle ~= check and handle ~= idle and handle:is_active() and handle:has_ref()
  end)
  return not more
end

local function add(by)
  count = count + by
  keeper = keeper or uv.new_async(nothing)
  if count > 0 then return keeper:ref() end
  keeper:unref()
  if not in_vain() then return end
  for waiter, abandon in pairs(requests) do
    requests[waiter], waiter.co = nil, nil -- nobody is told: it would try again
    abandon()
  end
end

function tasks.start(fn, aside)
  if not aside then add(1) end
  local co = coroutine.create(aside and fn or function()
    fn()
    add(-1)
  end)
  asides[co] = aside or nil
  make_ready(co)
end

--- Is the running task one that run does not wait for?
function tasks.aside() return asides[coroutine.running()] == true end

-- Who waited goes on: straight from an event (resume), or soon (make_ready).
local function unpark(waiter, go_on, result)
  local co = waiter.co
  if waiter.turn ~= nil then waiter.turn = true end
  waiter.co = nil
  if co then go_on(co, result) end
end

function tasks.wake(waiter) unpark(waiter, make_ready) end

-- Waits until the others had a turn.
local function pause(waiter)
  waiter.turn = false
  make_ready(coroutine.running())
  coroutine.yield()
  local woken = waiter.turn
  waiter.turn = nil
  return woken
end

function tasks.park(waiter, timeout)
  if timeout and timeout <= 0 then return pause(waiter) end
  local timer, aside
  waiter.co = coroutine.running()
  if timeout and timeout < 1e9 then
    timer = table.remove(timers) or uv.new_timer()
    aside = asides[waiter.co]
    if aside then timer:unref() end
    uv.update_time()
    timer:start(math.ceil(timeout * 1000), 0, function() unpark(waiter, resume, false) end)
  end
  local woken = coroutine.yield()
  if timer then
    timer:stop()
    if aside then timer:ref() end
    timers[#timers + 1] = timer
  end
  return woken
end

--- Who waits goes on straight from an event.
function tasks.resume(waiter) unpark(waiter, resume, true) end

--- Begins something that calls back with nil or the name of an error, and waits;
--- abandon() ends it before.
function tasks.await(timeout, id, begin, abandon)
  local waiter, over, problem = {}, false, nil
  local function done(why)
    over, problem = true, why
    unpark(waiter, make_ready)
  end
  local aside = tasks.aside()
  if aside and in_vain() then coroutine.yield() end -- for ever
  local fine, ok, _, name = pcall(begin, done)
  if not fine or not ok then return sockets.failure(id, fine and name or ok) end
  requests[waiter] = aside and abandon or nil
  local in_time = over or tasks.park(waiter, timeout)
  requests[waiter] = nil
  if not in_time then return sockets.timed_out() end
  if problem then return sockets.failure(id, problem) end
  return true
end

--- Turns the loop while there are tasks, or something of the program's own goes on,
--- or until that stops it.
function tasks.run()
  turning = true
  uv.run()
  turning = false
end

return tasks
