-- SPDX-License-Identifier: MIT
-- Where the modules of hosts are. Debian has Copas, which is pure Lua, in the
-- folders of two versions only.

package.path = package.path .. ";/usr/share/lua/5.2/?.lua;/usr/share/lua/5.1/?.lua"

--- The module that a host needs, and whose package has it.
return {
  native = { module = "duplex.loop", package = "libuv1-dev" },
  cqueues = { module = "cqueues", package = "lua-cqueues" },
  copas = { module = "copas", package = "lua-copas" },
  luv = { module = "luv", package = "lua-luv" },
}
