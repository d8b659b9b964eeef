-- SPDX-License-Identifier: MIT
-- What cases.lua gets on every host: t.ok, t.same, t.task. Without Busted, as
-- some of these hosts run where that does not.

local PATIENCE = 15 -- seconds that a case, or a task of it, may take

local function show(value)
  if type(value) ~= "table" then return type(value) == "string" and ("%q"):format(value) or tostring(value) end
  local parts = {}
  for i = 1, 8 do parts[i] = show(value[i]) end
  return "{ " .. table.concat(parts, ", ") .. " }"
end

--- For a library that is bound to a host.
return function(duplex)
  local t = { patience = PATIENCE, show = show }

  function t.ok(value, why) return value or error(tostring(why or "it is not so"), 2) end

  function t.same(expected, got)
    if show(expected) ~= show(got) then
      error(("expected %s, got %s"):format(show(expected), show(got)), 2)
    end
  end

  --- Runs fn as a task; the result waits for it.
  function t.task(fn, ...)
    local over, results = duplex.event(), nil
    duplex.spawn(function(...)
      results = { pcall(fn, ...) }
      over:set()
    end, ...)
    return function()
      assert(over:wait(PATIENCE), "a task hangs")
      assert(results[1], results[2])
      return results[2], results[3], results[4]
    end
  end

  return t
end
