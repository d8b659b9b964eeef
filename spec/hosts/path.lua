-- SPDX-License-Identifier: MIT
-- Where the modules of hosts are. Debian has Copas, which is pure Lua, in the
-- folders of two versions only.

package.path = package.path .. ";/usr/share/lua/5.2/?.lua;/usr/share/lua/5.1/?.lua"

local function exists(module, path)
  for template in path:gmatch("[^;]+") do
    local file = io.open((template:gsub("%?", (module:gsub("%.", "/")))))
    if file then
      file:close()
      return true
    end
  end
end

-- PUC Lua 5.1 cannot wait inside of the xpcall that guards a task.
local PUC51 = _VERSION == "Lua 5.1" and not rawget(_G, "jit")

local function host(module, package_name)
  local found = exists(module, package.path) or exists(module, package.cpath)
  return {
    module = module, package = package_name,
    lacks = not found and "it needs the package " .. package_name
      or PUC51 and "what is tried here waits inside of xpcall" or nil,
  }
end

--- What a host needs; lacks is why it cannot be here.
return {
  native = host("duplex.loop", "libuv1-dev"),
  cqueues = host("cqueues", "lua-cqueues"),
  copas = host("copas", "lua-copas"),
  luv = host("luv", "lua-luv"),
}
