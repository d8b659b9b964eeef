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
