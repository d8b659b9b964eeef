-- SPDX-License-Identifier: MIT
-- Tables of Lua keep the room that they once needed, whatever is taken out. What may
-- have had very many entries, as peers choose names, is copied when most of them are
-- gone; so seldom that this costs next to nothing for each that went.

local sparse = {}

local MANY, PART = 1024, 8

--- Is it time to copy tables?
---@param most integer entries that they had since they were copied last
---@param count integer entries that they have
---@return boolean
function sparse.is(most, count) return most > MANY and count * PART < most end

--- A table of the same entries, with no room for others.
---@generic K, V
---@param map table<K, V>
---@return table<K, V>
function sparse.copy(map)
  local new = {}
  for key, value in pairs(map) do new[key] = value end
  return new
end

return sparse
