-- SPDX-License-Identifier: MIT
-- tools/layers.lua: who may use whom (docs/design.md, "Layers"). Reads every
-- #include and every require, and prints those that point the wrong way.

local function set(words)
  local result = {}
  for word in words:gmatch("%S+") do result[word] = true end
  return result
end

-- What the protocol core may see of libc: no stdio, no time, no sockets.
local CORE = [[ctype.h errno.h fcntl.h inttypes.h limits.h math.h stdarg.h
  stdatomic.h stdbool.h stddef.h stdint.h stdlib.h string.h unistd.h sys/mman.h
  sys/random.h immintrin.h arm_neon.h ]]
local SYSTEM = CORE .. [[assert.h malloc.h netdb.h poll.h signal.h stdio.h time.h
  arpa/inet.h netinet/in.h netinet/tcp.h sys/resource.h sys/socket.h sys/stat.h
  sys/types.h sys/uio.h sys/un.h ]]

local OPENSSL = "openssl/err.h openssl/pem.h openssl/ssl.h openssl/x509v3.h"

local C = { -- folders below csrc, and headers in angle brackets
  core = { layers = set "core", headers = set(CORE) },
  net = { layers = set "core net", headers = set(SYSTEM .. "uv.h " .. OPENSSL) },
  lua = { layers = set "core net lua",
    headers = set(SYSTEM .. "dlfcn.h lua.h lauxlib.h lualib.h " .. OPENSSL) },
}

-- Files of lua/duplex by layer; what is not named is the host-free middle.
local LAYER = { init = "top" }
for name in pairs(set "reconnect json rpc hub browser") do
  LAYER[name] = "helper"
end
for name in pairs(set "address iterators options log failure varargs prometheus heartbeat puc51 url") do
  LAYER[name] = "shared"
end
for name in pairs(set "bind ngx ngx_bus cqueues copas luv") do LAYER[name] = "top" end
for name in pairs(set "core socket tls loop secure") do LAYER[name] = name end

local LUA = {
  core = {},
  -- Of connections only the table that it is given, with the public API.
  helper = set "helper shared",
  -- The middle's, but good for helpers too: it knows of no connection.
  shared = set "middle shared",
  middle = set "middle shared core secure",
  -- The one place that loads OpenSSL, and only when somebody needs it.
  secure = set "middle shared core tls",
  -- Binds the middle to a host, and helpers to what that gives.
  top = set "middle shared core secure host top helper",
  -- The one place that may use modules of others: those of its event loop.
  host = set "middle shared core host socket tls loop other",
  command = set "top shared command core loop",
}

-- Headers for one file alone.
local ONLY = { ["csrc/core/deflate.c"] = set "zlib.h libdeflate.h" }

local problems = 0
local function problem(file, line, text, ...)
  problems = problems + 1
  print(("%s:%d: " .. text):format(file, line, ...))
end

local function each_line(file, check)
  local number = 0
  for line in io.lines(file) do
    number = number + 1
    check(line, number)
  end
end

local function check_c(file, folder)
  local rule = C[folder]
  if not rule then return problem(file, 1, "csrc/%s has no rule", folder) end
  each_line(file, function(line, number)
    local header = line:match("^%s*#%s*include%s*<(.-)>")
    if header and not rule.headers[header] and not (ONLY[file] and ONLY[file][header]) then
      problem(file, number, "csrc/%s must not use <%s>", folder, header)
    end
    local name = line:match('^%s*#%s*include%s*"(.-)"')
    local used = name and (name:match("^%.%./(%w+)/[%w_]+%.%w+$")
      or not name:find("/") and folder)
    if name and not rule.layers[used or ""] then
      problem(file, number, "csrc/%s must not use %s", folder, name)
    end
  end)
end

--- The layer of a module: "lua.duplex.x" as a name or a path without suffix.
local function layer_of(name)
  if name == "duplex" then return "top" end
  local first, rest = name:match("^duplex[./]([%w_]+)(.*)$")
  if not first then return "other" end
  if rest ~= "" then -- host/native, command/echo, hub/topics
    return LAYER[first] == "helper" and "helper" or first
  end
  return LAYER[first] or first == "command" and first or "middle"
end

-- Modules of others that single files may use.
local EXCEPTIONS = { ["lua/duplex/json/codec.lua"] = set "cjson.safe" }

local function check_lua(file)
  local layer = layer_of(file:match("^lua/(.*)%.lua$"))
  local rule = LUA[layer]
  if not rule then return problem(file, 1, "no rule for layer %s", layer) end
  each_line(file, function(line, number)
    if line:match("^%s*%-%-") then return end
    for name in line:gmatch("require%s*%(?%s*[\"']([%w_.]+)[\"']") do
      if not rule[layer_of(name)] and not (EXCEPTIONS[file] or {})[name] then
        problem(file, number, "a %s file must not require %s", layer, name)
      end
    end
    if line:find("%f[%w]require%f[%W]%s*%(?%s*[^%s\"'(]") and layer ~= "command"
      and layer ~= "top" then
      problem(file, number, "a computed require: nobody can check its layer")
    end
  end)
end

local list = io.popen("find csrc lua -name '*.[ch]' -o -name '*.def' -o -name '*.lua'")
local files = {}
for file in list:lines() do files[#files + 1] = file end
list:close()
table.sort(files)
for _, file in ipairs(files) do
  local folder = file:match("^csrc/(%w+)/")
  if folder then check_c(file, folder) else check_lua(file) end
end
os.exit(problems == 0)
