-- SPDX-License-Identifier: MIT
-- Real proxies on free ports of this machine, with throw-away configurations.
-- Each start_*(...) returns a child with .place, "127.0.0.1:PORT".

local child = require "spec.support.child"
local PATIENCE = require "spec.support.patience"
local ports = require "spec.support.ports"
local socket = require "socket"

local program = {}

local function accepts(port)
  local sock = assert(socket.tcp4())
  local ok = sock:connect("127.0.0.1", port)
  sock:close()
  return ok ~= nil
end

-- Starts one; they do not all say when they are ready.
local function start(port, ...)
  local self = child.start(...)
  self.place = "127.0.0.1:" .. port
  local deadline = socket.gettime() + PATIENCE
  while not accepts(port) do
    if socket.gettime() > deadline then
      self:stop()
      error((...) .. " does not listen:\n" .. table.concat(self.lines, "\n"), 2)
    end
    socket.sleep(0.005)
  end
  return self
end

-- Starts one with a file of these lines, which is gone when it has read it.
local function configured(port, lines, ...)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(table.concat(lines, "\n"), "\n")
  file:close()
  local words = { ... }
  words[#words + 1] = path
  local self = start(port, (unpack or table.unpack)(words))
  os.remove(path)
  return self
end

--- HTTP CONNECT to these ports only.
---@param targets integer[]
---@param user? string "user password", without which nobody gets in
function program.start_tinyproxy(targets, user)
  local port = ports.free()
  local lines = { "Listen 127.0.0.1", "Port " .. port, "Timeout 60", "LogLevel Critical" }
  for _, one in ipairs(targets) do lines[#lines + 1] = "ConnectPort " .. one end
  if user then lines[#lines + 1] = "BasicAuth " .. user end
  return configured(port, lines, "tinyproxy", "-d", "-c")
end

--- SOCKS5, without or with authentication.
function program.start_microsocks(user, password)
  local port = ports.free()
  if not user then return start(port, "microsocks", "-i", "127.0.0.1", "-p", tostring(port)) end
  return start(port, "microsocks", "-i", "127.0.0.1", "-p", tostring(port), "-u", user, "-P", password)
end

--- SOCKS5 without authentication, and not to the port 'closed'.
function program.start_dante(closed)
  local port = ports.free()
  return configured(port, {
    "errorlog: stderr", ("internal: 127.0.0.1 port = %d"):format(port), "external: lo",
    "external.rotation: route",
    "clientmethod: none", "socksmethod: none",
    "client pass { from: 127.0.0.0/8 to: 0.0.0.0/0 }",
    ("socks block { from: 127.0.0.0/8 to: 127.0.0.0/8 port = %d }"):format(closed),
    "socks pass { from: 127.0.0.0/8 to: 0/0 }",
  }, "/usr/sbin/danted", "-f")
end

--- TLS before another proxy.
---@param place string of that one
---@param pair table of pki.certificate
function program.start_stunnel(place, pair)
  local port = ports.free()
  return configured(port, {
    "foreground = yes", "pid =", "debug = 3", "[proxy]", "accept = 127.0.0.1:" .. port,
    "connect = " .. place, "cert = " .. pair.certificate, "key = " .. pair.key,
  }, "stunnel")
end

return program
