-- SPDX-License-Identifier: MIT
-- Is this PUC Lua 5.1? Nothing can wait there inside pcall, an iterator or a
-- metamethod; all later versions and LuaJIT can.

return _VERSION == "Lua 5.1" and rawget(_G, "jit") == nil
