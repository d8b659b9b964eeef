-- SPDX-License-Identifier: MIT
-- 'openssl s_client' and 's_server' as peers that type, while the loop of the
-- spec goes on.

local duplex = require "duplex"
local PATIENCE = require "spec.support.patience"
local peer = require "spec.support.peer"
local pki = require "spec.support.pki"

local command = {}
local methods = {}
local metatable = { __index = methods }

local function start(words)
  local out = pki.path(".out")
  -- The shell reads on when it has ended: typing must not raise SIGPIPE.
  local pipe = assert(io.popen(("timeout 20 openssl %s >%s 2>&1; echo ENDED >>%s; cat >/dev/null")
    :format(words, out, out), "w"))
  pipe:setvbuf("no")
  return setmetatable({ pipe = pipe, out = out }, metatable)
end

--- A client; more words are options of it.
function command.s_client(port, ...)
  return start(("s_client -connect 127.0.0.1:%d -CAfile %s %s"):format(port, pki.ca, table.concat({ ... }, " ")))
end

--- A server for one client; self.port is where.
function command.s_server(...)
  local pair = pki.certificate()
  local self = start(("s_server -accept 127.0.0.1:0 -naccept 1 -cert %s -key %s %s"):format(
    pair.certificate, pair.key, table.concat({ ... }, " ")))
  self.port = tonumber(self:expect("ACCEPT 127%.0%.0%.1:(%d+)"))
  return self
end

--- What it wrote so far.
function methods:output()
  local file = io.open(self.out, "rb")
  local text = file and file:read("*a") or ""
  if file then file:close() end
  return text
end

--- Waits for its output to match, and returns what the pattern captures.
function methods:expect(pattern)
  local deadline = duplex.now() + PATIENCE
  while not self:output():find(pattern) do
    if duplex.now() > deadline then error(("openssl never says %q, but:\n%s"):format(pattern, self:output()), 2) end
    duplex.sleep(0.002)
  end
  return self:output():match(pattern)
end

--- Types. Some first letters are commands to openssl itself: Q, R, r, K, k, B.
function methods:type(text) self.pipe:write(text) end

--- Becomes a WebSocket.
function methods:upgrade()
  if self.port then
    local request = self:expect("GET / HTTP/1.1\r\n.-\r\n\r\n")
    self:type("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
      .. "Connection: Upgrade\r\nSec-WebSocket-Accept: " .. peer.accept(request) .. "\r\n\r\n")
  else
    self:type(peer.request)
    self:expect("HTTP/1.1 101 ")
  end
end

--- A close frame is typed, as a client. Waits for its end; what it wrote.
function methods:finish()
  if self.pipe then
    self:type("\136\128\0\0\0\0")
    self:expect("ENDED\n")
    self.pipe:close()
    self.pipe = nil
  end
  return self:output()
end

return command
