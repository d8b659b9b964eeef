-- SPDX-License-Identifier: MIT
-- The native host as a program's own loop: run, stop, and Ctrl-C.

local loop = require "duplex.loop"
local options = require "duplex.options"
local stopping = require "duplex.stopping"
local varargs = require "duplex.varargs"

local pack, unpack = varargs.pack, varargs.unpack

--- Adds what runs and stops the loop to the native host.
---@param native table
return function(native)
  local SETTLE = 0.1 -- seconds for main to end, and for tasks to learn that all is being stopped

  local running, exiting = false, false
  local main_ended -- an event, while run() runs a main

  -- The loop may be run again.
  local function over()
    running, exiting, main_ended = false, false, nil
    loop.stopping(false)
  end

  --- Is the loop on its way out?
  function native.exiting() return exiting end

  local function stop_all(grace)
    stopping.everything(native, grace, grace)
    -- Whoever just learned of it may still say goodbye; and who turns the loop by
    -- step, or a wait at top level, goes on with tasks that should learn of it.
    local settled = main_ended or not running and loop.event()
    if settled then settled:wait(SETTLE) end
    if running then loop.quit() else over() end
  end

  --- Stops what runs: servers stop, clients close with 1001, sleepers and later
  --- connects get STOPPED; run returns within the grace.
  ---@param grace? number seconds, default 10
  function native.stop(grace)
    if grace ~= nil then options.seconds(grace, "grace must be seconds") end
    if exiting then return end
    exiting = true
    loop.stopping(true)
    loop.brief(stop_all, native.log_failure, grace or 10)
    if not loop.turning() and loop.can_wait() then
      running = true
      loop.run()
      over()
    end
  end

  -- Twice is once more than politeness asks for.
  local function interrupted(number)
    if exiting then
      loop.raise(number)
      return
    end
    local open = #stopping.clients(native)
    for server in pairs(native.servers) do open = open + server:stats().connections end
    io.stderr:write(("closing %d connection%s\n"):format(open, open == 1 and "" or "s"))
    native.stop()
  end

  --- Runs main as a task, and the loop until no server, task or timer is left,
  --- or stop(). SIGINT and SIGTERM stop; the second one kills.
  ---@param main? fun(): ...
  ---@return any ... what main returned
  function native.run(main)
    local results, problem = { n = 0 }, nil
    if loop.turning() then error("the loop is running already", 2) end
    if main ~= nil then
      if type(main) ~= "function" then
        error("main must be a function, got " .. type(main), 2)
      end
      local ended = loop.event()
      main_ended = ended
      loop.spawn(function() results = pack(main()) end, function(failed)
        ended:set()
        if not failed then return end
        problem = failed
        native.stop(0)
      end)
    end
    running = true
    loop.interrupts(interrupted)
    loop.run()
    loop.interrupts(nil)
    over()
    if problem then error(problem, 0) end
    return unpack(results, 1, results.n)
  end
end
