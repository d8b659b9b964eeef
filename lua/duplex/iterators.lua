-- SPDX-License-Identifier: MIT
-- Iterators that wait. In tasks of PUC Lua 5.1 none can; at top level, outside any
-- coroutine, the loop is turned instead, so there it can.

local puc51 = require "duplex.puc51"

local iterators = {}

--- Raises where an iterator cannot wait, in the name of the caller of the function
--- that is about to give one.
---@param name string of that function
---@param instead string what to write
function iterators.check(name, instead)
  if not puc51 or not coroutine.running() then return end
  error(("%s() cannot wait in PUC Lua 5.1, as no iterator can there: write %s")
    :format(name, instead), 3)
end

return iterators
