-- SPDX-License-Identifier: MIT
-- The native host as a program's own loop: run, stop, and Ctrl-C.

local core = require "duplex.core"
local loop = require "duplex.loop"
local options = require "duplex.options"

local pack = table.pack or function(...) return { n = select("#", ...), ... } end
local unpack = table.unpack or unpack

--- Adds what runs and stops the loop to the native host.
---@param native table
return function(native)
  local SETTLE = 0.1 -- seconds for main to end after everything else has

  local running, stopping = false, false
  local main_ended -- an event, while run() runs a main

  -- The loop may be run again.
  local function over()
    running, stopping, main_ended = false, false, nil
    loop.stopping(false)
  end

  --- Is the loop on its way out?
  function native.exiting() return stopping end

  local function close_clients(grace)
    local open, event = 0, loop.event()
    local function close(ws)
      ws:close(1001, "", grace)
    end
    local function closed()
      open = open - 1
      if open == 0 then event:set() end
    end
    for _, ws in pairs(native.clients) do
      if core.state(ws) ~= "closed" then
        open = open + 1
        loop.brief(close, closed, ws)
      end
    end
    if open > 0 then event:wait(grace) end
  end

  local function count_open()
    local open = 0
    for server in pairs(native.servers) do
      for _ in pairs(server.connections) do open = open + 1 end
    end
    for _, ws in pairs(native.clients) do
      if core.state(ws) ~= "closed" then open = open + 1 end
    end
    return open
  end

  local function stop_all(grace)
    local left, event = 1, loop.event()
    local function done(problem)
      native.log_failure(problem)
      left = left - 1
      if left == 0 then event:set() end
    end
    for server in pairs(native.servers) do
      left = left + 1
      loop.brief(server.stop, done, server, grace)
    end
    close_clients(grace)
    done()
    event:wait(grace)
    -- Whoever just learned of it may still say goodbye.
    if main_ended then main_ended:wait(SETTLE) end
    loop.quit()
  end

  --- Stops what runs: servers stop, clients close with 1001, sleepers and later
  --- connects get STOPPED; run returns within the grace.
  ---@param grace? number seconds, default 10
  function native.stop(grace)
    if grace ~= nil then options.seconds(grace, "grace must be seconds") end
    if stopping then return end
    stopping = true
    loop.stopping(true)
    loop.brief(stop_all, native.log_failure, grace or 10)
    if not running and loop.can_wait() then
      loop.run()
      over()
    end
  end

  -- Twice is once more than politeness asks for.
  local function interrupted(number)
    if stopping then
      loop.raise(number)
      return
    end
    local open = count_open()
    io.stderr:write(("closing %d connection%s\n"):format(open, open == 1 and "" or "s"))
    native.stop()
  end

  --- Runs main as a task, and the loop until no server, task or timer is left,
  --- or stop(). SIGINT and SIGTERM stop; the second one kills.
  ---@param main? fun(): ...
  ---@return any ... what main returned
  function native.run(main)
    local results, problem = { n = 0 }, nil
    if running then error("the loop is running already", 2) end
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
