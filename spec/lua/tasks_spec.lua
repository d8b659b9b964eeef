-- SPDX-License-Identifier: MIT
local duplex = require "duplex"
local memory = require "spec.support.memory"

describe("duplex.on_stop", function()
  it("calls a function with the grace when everything stops, and waits for it", function()
    local grace, done
    duplex.run(function()
      duplex.on_stop(function(seconds)
        grace = seconds
        local event = duplex.event()
        event:wait(0.02) -- as when it says goodbye to somebody
        done = true
      end)
      duplex.spawn(duplex.stop, 3)
    end)
    assert.equal(3, grace)
    assert.is_true(done)
  end)

  it("does not call it when it is not needed any more", function()
    local called = false
    duplex.run(function()
      local forget = duplex.on_stop(function() called = true end)
      forget()
      forget()
      duplex.stop()
    end)
    assert.is_false(called)
  end)

  it("calls the same function as often as it was given", function()
    local calls = 0
    local function count() calls = calls + 1 end
    local forget
    duplex.run(function()
      forget = { duplex.on_stop(count), duplex.on_stop(count) }
      duplex.stop()
    end)
    forget[1]()
    forget[2]()
    assert.equal(2, calls)
  end)

  it("raises for what is no function, and on a host that lacks what it needs", function()
    assert.has_error(function() duplex.on_stop(1) end, "on_stop must be given a function, got number")
    local host = memory.host()
    host.stoppers = nil
    assert.error_matches(function() duplex.bind(host).on_stop(print) end,
      "host 'memory' has no stoppers, which on_stop needs", 1, true)
  end)
end)

describe("duplex.background", function()
  it("runs a task that run does not wait for, and that goes on with the next run", function()
    local go, done, seen = duplex.event(), duplex.event(), nil
    duplex.run(function()
      duplex.background(function(...)
        seen = { ... }
        go:wait()
        duplex.sleep(0.001)
        done:set()
      end, "a", "b")
      duplex.sleep(0)
    end)
    assert.same({ "a", "b" }, seen)
    duplex.run(function()
      go:set()
      assert.is_true(done:wait(5))
    end)
  end)

  it("is not counted twice, whatever it does", function()
    duplex.run(function()
      duplex.background(function() error("on purpose") end)
      duplex.background(function() end)
      duplex.sleep(0.01)
    end)
    local over = false
    duplex.run(function()
      duplex.spawn(function()
        duplex.sleep(0.02)
        over = true
      end)
    end)
    assert.is_true(over)
  end)

  it("raises for what is no function", function()
    assert.has_error(function() duplex.background("x") end, "a task must be a function, got string")
  end)
end)
