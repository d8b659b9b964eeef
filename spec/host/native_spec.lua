-- SPDX-License-Identifier: MIT
local duplex = require "duplex"
local applies = require "spec.support.applies"
local process = require "spec.support.process"
local run = require "spec.support.run"

-- What fn() writes on standard error.
local function stderr_of(fn)
  local stderr, lines = io.stderr, {}
  io.stderr = { write = function(_, ...) lines[#lines + 1] = table.concat { ... } end }
  local fine, problem = duplex.pcall(fn)
  io.stderr = stderr
  assert(fine, problem)
  return table.concat(lines)
end

describe("duplex.run", function()
  it("lets others have their turn when one connection has many messages at once", run(function()
    local started, handled, count = duplex.event(), 0, 60
    local server = assert(duplex.serve({ log = false }, function(ws)
      local text = ws:receive()
      while text do
        if text == "work" then
          local done = os.clock() + 0.002
          while os.clock() < done do end
          handled = handled + 1
          started:set()
        else
          ws:send(text)
        end
        text = ws:receive()
      end
    end))
    local busy, other = duplex.connect(server.url), duplex.connect(server.url)
    for _ = 1, count do busy:send("work") end
    started:wait()
    other:send("hello")
    assert.equal("hello", (other:receive()))
    assert.is_true(handled < count)
    while handled < count do duplex.sleep(0.01) end
  end))

  it("returns what main returns", function()
    assert.same({ n = 3, 1, nil, "three" }, table.pack(duplex.run(function() return 1, nil, "three" end)))
    assert.same({ n = 0 }, table.pack(duplex.run(function() end)))
    assert.same({ n = 0 }, table.pack(duplex.run()))
  end)

  it("goes on until no task is left", function()
    local order = {}
    duplex.run(function()
      duplex.spawn(function()
        duplex.sleep(0.02)
        order[#order + 1] = "task"
      end)
      order[#order + 1] = "main"
    end)
    assert.same({ "main", "task" }, order)
  end)

  it("ends with stop, and may be run again", function()
    for i = 1, 3 do
      local result = duplex.run(function()
        assert(duplex.serve({ log = false }, function() end))
        duplex.spawn(function() duplex.sleep(100) end)
        duplex.stop(1)
        return i
      end)
      assert.equal(i, result)
    end
  end)

  it("returns within the grace, whatever handlers do", function()
    local began = duplex.now()
    duplex.run(function()
      local server = assert(duplex.serve({ log = false }, function()
        while true do duplex.event():wait(10) end
      end))
      assert(duplex.connect(server.url))
      duplex.stop(0.05)
    end)
    assert.is_true(duplex.now() - began < 1)
  end)

  it("raises an error in main again, after stopping", function()
    local fine, problem = pcall(duplex.run, function()
      assert(duplex.serve({ log = false }, function() end))
      duplex.sleep(0.001)
      error("in main")
    end)
    assert.is_false(fine)
    assert.matches("native_spec.lua:%d+: in main", problem)
    assert.matches("stack traceback", problem)
    assert.equal(5, duplex.run(function() return 5 end))
  end)

  it("raises for main that is no function", function()
    assert.error_matches(function() duplex.run(5) end, "main must be a function, got number")
  end)

  it("raises inside a task, and its main does not run", run(function()
    local ran = false
    assert.error_matches(function() duplex.run(function() ran = true end) end, "is running already")
    duplex.sleep(0.01)
    assert.is_false(ran)
    assert.error_matches(function() duplex.step() end, "is running already")
  end))
end)

describe("duplex.spawn", function()
  it("passes arguments on, nil included", run(function()
    local got
    duplex.spawn(function(...) got = table.pack(...) end, 1, nil, 3, nil)
    duplex.sleep(0)
    duplex.sleep(0)
    assert.same({ n = 4, 1, nil, 3, nil }, got)
  end))

  it("logs an error with its traceback, and nothing else is disturbed", run(function()
    local finished = false
    local written = stderr_of(function()
      duplex.spawn(function()
        duplex.sleep(0.001)
        error("in a task")
      end)
      duplex.spawn(function() error({}) end)
      duplex.spawn(function()
        duplex.sleep(0.01)
        finished = true
      end)
      duplex.sleep(0.03)
    end)
    assert.matches("duplex: error: task failed: .*native_spec.lua:%d+: in a task\n\tstack traceback", written)
    assert.is_true(finished)
    assert.error_matches(function() duplex.spawn("x") end, "a task must be a function, got string")
    assert.error_matches(function() duplex.detach() end, "a task must be a function, got nil")
  end))

  it("runs many tasks, fairly", run(function()
    local count, turns = 0, {}
    for i = 1, 10000 do
      duplex.spawn(function()
        duplex.sleep(0)
        count = count + 1
        turns[#turns + 1] = i
      end)
    end
    while count < 10000 do duplex.sleep(0) end
    assert.equal(10000, #turns)
  end))
end)

describe("duplex.sleep", function()
  it("sleeps at least so long, and wakes in order", run(function()
    local order = {}
    for _, ms in ipairs { 30, 10, 20, 5, 0, 25 } do
      duplex.spawn(function()
        local began = duplex.now()
        assert(duplex.sleep(ms / 1000) == true)
        assert(duplex.now() - began >= ms / 1000)
        order[#order + 1] = ms
      end)
    end
    duplex.sleep(0.05)
    assert.same({ 0, 5, 10, 20, 25, 30 }, order)
    assert.has_error(function() duplex.sleep() end)
    assert.has_error(function() duplex.sleep("x") end)
    assert.error_matches(function() duplex.sleep(-1) end, "must not be negative")
  end))

  it("works at top level", function()
    local began = duplex.now()
    assert.is_true(duplex.sleep(0.01))
    assert.is_true(duplex.now() - began >= 0.01)
  end)
end)

describe("duplex.event", function()
  it("wakes all that wait, and lets pass until it is cleared", run(function()
    local event, woken = duplex.event(), 0
    for _ = 1, 5 do
      duplex.spawn(function()
        assert(event:wait())
        woken = woken + 1
      end)
    end
    duplex.sleep(0.001)
    assert.equal(0, woken)
    event:set()
    duplex.sleep(0.001)
    assert.equal(5, woken)
    assert.is_true(event:wait())
    event:clear()
    assert.same({ nil, "TIMEOUT: timed out", "TIMEOUT" }, { event:wait(0.001) })
    assert.equal("TIMEOUT", select(3, event:wait(0)))
  end))
end)

describe("a call that waits", function()
  local places = {
    { "string.gsub", function() string.gsub("x", "x", function() duplex.sleep(0) end) end,
      "cannot wait here: inside a function written in C" },
    { "table.sort", function() table.sort({ 2, 1 }, function() duplex.sleep(0) end) end,
      "cannot wait here: inside a function written in C" },
    { "require", function()
      package.preload.waits_while_loading = function() duplex.sleep(0) end
      require "waits_while_loading"
    end, "cannot wait here: inside a function written in C" },
    { "a coroutine of one's own", function()
      local fine, problem = coroutine.resume(coroutine.create(function() duplex.sleep(0) end))
      if not fine then error(problem, 0) end
    end, "cannot wait here: this coroutine was not started by duplex.run or duplex.spawn" },
  }
  for _, place in ipairs(places) do
    it("raises one clear text in " .. place[1], run(function()
      assert.error_matches(place[2], place[3])
      assert.is_true(duplex.sleep(0), "the task goes on")
    end))
  end

  it("raises in a foreign coroutine for every call that waits", run(function()
    local server = assert(duplex.serve({ log = false }, function(ws) ws:wait_closed() end))
    local ws = assert(duplex.connect(server.url))
    local event = duplex.event()
    for i, call in ipairs {
      function() ws:receive() end, function() ws:ping() end, function() ws:wait_closed() end,
      function() ws:receive_to(print) end, function() event:wait() end,
      function() duplex.connect(server.url) end, function() duplex.signal("SIGUSR1") end,
      function() ws:close() end,
    } do
      local fine, problem = coroutine.resume(coroutine.create(call))
      assert.is_false(fine, i)
      assert.matches("cannot wait here", problem)
    end
    assert.equal("closing", ws.state)
  end))

  local it = applies.where(applies.waits_anywhere, "it cannot yield across C", it)

  it("works inside pcall, xpcall and iterators", run(function()
    assert.is_true(pcall(duplex.sleep, 0))
    assert.is_true((xpcall(function() return duplex.sleep(0) end, print)))
    local turns = 0
    for _ in function() return turns < 3 and duplex.sleep(0) or nil end do turns = turns + 1 end
    assert.equal(3, turns)
  end))
end)

describe("duplex.pcall", function()
  it("is pcall in which calls may wait", run(function()
    assert.same({ n = 4, true, 1, nil, 3 }, table.pack(duplex.pcall(function(...)
      duplex.sleep(0.001)
      return ...
    end, 1, nil, 3)))
    local fine, problem = duplex.pcall(function()
      duplex.sleep(0.001)
      error("in the call", 0)
    end)
    assert.same({ false, "in the call" }, { fine, problem })
    for _, raised in ipairs { {}, print, false, setmetatable({}, { __tostring = error }) } do
      fine, problem = duplex.pcall(function()
        duplex.sleep(0)
        error(raised)
      end)
      assert.is_false(fine)
      assert.is_true(raised == problem)
    end
    assert.same({ n = 2, false, nil }, table.pack(duplex.pcall(error)))
    fine, problem = duplex.pcall(function()
      assert(not duplex.pcall(error, "inner"))
      assert(duplex.pcall(duplex.sleep, 0))
      error("outer")
    end)
    assert.is_false(fine)
    assert.matches("native_spec.lua:%d+: outer$", problem)
  end))

  it("works at top level too, outside any task", function()
    assert.same({ true, true }, { duplex.pcall(duplex.sleep, 0.001) })
    assert.same({ false, "no" }, { duplex.pcall(error, "no", 0) })
  end)
end)

describe("a task that computes", function()
  -- Signals were only noted for the next turn of the loop, the second one too.
  it("is killed by the second signal", function()
    local program = process.lua { "-e", [[
      local duplex = require "duplex"
      duplex.run(function()
        print "computing"
        io.stdout:flush()
        while true do end
      end)]] }
    assert.equal("computing", program:line())
    for _, name in ipairs { "INT", "TERM" } do os.execute(("kill -%s %d"):format(name, program.pid)) end
    assert.is_nil(program:line()) -- the end of its output
    assert.equal("signal", (program:kill()))
  end)

  it("is not disturbed by the first one, and has the loop stop behind it", function()
    local go = os.tmpname()
    os.remove(go)
    local program = process.lua { "-e", (([[
      local duplex = require "duplex"
      duplex.run(function()
        print "computing"
        io.stdout:flush()
        repeat local file = io.open(GO) until file
        print "done"
        local _, _, id = duplex.sleep(5)
        print(id)
      end)]]):gsub("GO", ("%q"):format(go))) }
    assert.equal("computing", program:line())
    os.execute(("kill -INT %d"):format(program.pid))
    io.open(go, "w"):close()
    assert.equal("done", program:line())
    assert.equal("STOPPED", program:line())
    assert.is_nil(program:line())
    assert.same({ "exit", 0 }, { program:kill() })
    os.remove(go)
  end)
end)

describe("nesting the loop", function()
  it("step handles what there is, and says whether something is left", function()
    local done = false
    duplex.spawn(function()
      duplex.sleep(0.005)
      done = true
    end)
    assert.is_true(duplex.step())
    assert.is_false(done)
    local steps = 0
    while duplex.step(1) and steps < 100 do steps = steps + 1 end
    assert.is_true(done)
    assert.is_false(duplex.step())
    local began = duplex.now()
    duplex.step(0.02)
    assert.is_true(duplex.now() - began < 1)
  end)

  it("a task may stop all, and what is refused there does no harm", function()
    local stopped, refused, ended, slept
    local server = assert(duplex.serve({ log = false }, function(ws) ended = select(3, ws:receive()) end))
    duplex.spawn(function()
      local ws = assert(duplex.connect(server.url))
      refused = { pcall(duplex.run, print) }
      stopped = { pcall(duplex.stop, 5) }
      ws:receive()
      slept = select(3, duplex.sleep(60))
    end)
    for _ = 1, 1000 do
      if not duplex.step(0.01) then break end
    end
    assert.same({ false, "the loop is running already" }, refused)
    assert.same({ true }, stopped)
    assert.equal("CLOSED", ended)
    assert.equal("STOPPED", slept)
    assert.equal("afterwards", duplex.run(function() return duplex.sleep(0) and "afterwards" end))
  end)

  it("fd and timeout say when to step", function()
    assert.is_true(duplex.fd() > 2)
    while duplex.step() do end
    duplex.spawn(duplex.sleep, 2)
    assert.equal(0, duplex.timeout())
    duplex.step()
    local timeout = duplex.timeout()
    assert.is_true(timeout > 0 and timeout <= 2, timeout)
    duplex.run(function() duplex.stop(0) end)
  end)
end)

describe("duplex.bind", function()
  it("names the host and what it lacks", function()
    local other = duplex.bind { name = "bare" }
    assert.error_matches(function() other.sleep(1) end, "host 'bare' has no sleep")
    assert.error_matches(function() other.connect("ws://x") end, "host 'bare' has no .*connect needs")
    assert.equal(duplex.version, other.version)
    assert.is_function(other.broadcast)
  end)
end)
