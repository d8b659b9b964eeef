-- SPDX-License-Identifier: MIT
-- How tasks wait in libuv. An error in one of its callbacks ends the program:
-- they only note what happened and resume tasks, which are guarded (streams.lua).

local sockets = require "duplex.sockets"

local vim = rawget(_G, "vim")
local uv = vim and (vim.uv or vim.loop) or package.loaded.uv or require "luv"

local tasks = { uv = uv }

local ready, turn, timers = {}, nil, {} -- timers that wait to be used again

-- Tasks do not raise (streams.lua); a coroutine of the program's own may.
local function resume(co, result)
  local fine, problem = coroutine.resume(co, result)
  if not fine then io.stderr:write(debug.traceback(co, tostring(problem)), "\n") end
end

local function run_ready()
  local list = ready
  ready = {}
  for _, co in ipairs(list) do resume(co, true) end
end

local function make_ready(co)
  ready[#ready + 1] = co
  turn = turn or uv.new_timer()
  if #ready == 1 then turn:start(0, 0, run_ready) end
end

function tasks.start(fn) make_ready(coroutine.create(fn)) end

-- Who waited goes on: straight from an event (resume), or soon (make_ready).
local function unpark(waiter, go_on, result)
  local co = waiter.co
  waiter.co = nil
  if co then go_on(co, result) end
end

function tasks.wake(waiter) unpark(waiter, make_ready) end

function tasks.park(waiter, timeout)
  local timer
  waiter.co = coroutine.running()
  if timeout and timeout < 1e9 then
    timer = table.remove(timers) or uv.new_timer()
    uv.update_time()
    timer:start(math.ceil(timeout * 1000), 0, function() unpark(waiter, resume, false) end)
  end
  local woken = coroutine.yield()
  if timer then
    timer:stop()
    timers[#timers + 1] = timer
  end
  return woken
end

--- Who waits goes on straight from an event.
function tasks.resume(waiter) unpark(waiter, resume, true) end

--- Begins something that calls back with nil or the name of an error, and waits.
function tasks.await(timeout, id, begin, ...)
  local waiter, over, problem = {}, false, nil
  local function done(why)
    over, problem = true, why
    unpark(waiter, make_ready)
  end
  local fine, ok, _, name = pcall(begin, done, ...)
  if not fine or not ok then return sockets.failure(id, fine and name or ok) end
  if not over and not tasks.park(waiter, timeout) then return sockets.timed_out() end
  if problem then return sockets.failure(id, problem) end
  return true
end

return tasks
