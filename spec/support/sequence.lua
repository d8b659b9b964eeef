-- SPDX-License-Identifier: MIT
-- Numbers that look random, and are the same on every Lua.

--- A function that gives an integer of 1..n at each call.
---@param seed integer
return function(seed)
  local state = seed
  return function(n)
    state = (state * 16807) % 2147483647 -- Lehmer, exact in doubles
    return state % n + 1
  end
end
