-- SPDX-License-Identifier: MIT
-- Specs that wait: it("does x", run(function() ... end)) runs the body as a
-- task of the native loop. What is left over at the end is stopped, and a body
-- that hangs fails instead.

local duplex = require "duplex"

local DEADLINE = 3 * require "spec.support.patience"

return function(body)
  return function()
    local finished
    duplex.run(function()
      duplex.spawn(function()
        local stopped = not duplex.sleep(DEADLINE)
        if stopped or finished then return end
        io.stderr:write(debug.traceback("a spec hangs"), "\n")
        duplex.stop(0)
      end)
      body()
      finished = true
      duplex.stop(2)
    end)
    assert(finished, "the spec did not finish in time")
  end
end
