-- SPDX-License-Identifier: MIT
-- table.pack and table.unpack, which Lua 5.1 lacks or calls unpack.

return {
  pack = table.pack or function(...) return { n = select("#", ...), ... } end,
  unpack = table.unpack or unpack,
}
