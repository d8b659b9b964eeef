-- SPDX-License-Identifier: MIT
-- Specs of what not every Lua can do. Where it cannot, such a spec is not run
-- and not counted; a line says so, with the reason, and tools/test counts these.

local applies = {}

--- The name of this Lua, "Lua 5.1" being PUC's alone.
applies.lua = jit and "LuaJIT" or _VERSION

--- Can this Lua wait inside iterators, pcall and metamethods?
applies.waits_anywhere = not (_VERSION == "Lua 5.1" and not jit)

--- Says that a spec is not applicable.
---@param name string
---@param reason string
function applies.note(name, reason)
  print(("\nnot applicable to %s: %s: %s"):format(applies.lua, name, reason))
end

--- A function to be used as busted's 'it' or 'describe'.
---@param can any can this Lua do it?
---@param reason string why not, if it cannot
---@param it function
function applies.where(can, reason, it)
  if can then return it end
  return function(name) applies.note(name, reason) end
end

return applies
