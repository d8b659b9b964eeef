-- SPDX-License-Identifier: MIT
-- A peer on a real socket that speaks bytes, in tasks of the native loop: what
-- a connection is before its handshake, and this one never has any.

local core = require "duplex.core"
local loop = require "duplex.loop"
local native = require "duplex.host.native"
local options = require "duplex.options"
local PATIENCE = require "spec.support.patience"

local peer = {}
local methods = {}
local metatable = { __index = methods }

local GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
local settings = core.settings(options.check("client", {
  open_timeout = false, send_timeout = false,
}))

peer.request = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
  .. "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"

local function new(role) return core.connection(role, settings, native.class, loop.now()) end

local function wrap(c) return setmetatable({ c = c, bytes = "" }, metatable) end

--- Connects to a port of this machine, or to another address, or to a path.
function peer.connect(port, address)
  local c = new("client")
  assert(loop.connect(c, address or "127.0.0.1", port, PATIENCE))
  return wrap(c)
end

--- Listens; answer(p) runs in a task for each that connects.
--- -> port, listener
function peer.listen(answer)
  local listener = assert(loop.listen("127.0.0.1", 0, 16))
  local _, port = listener:address()
  loop.spawn(function()
    while true do
      local c = new("server")
      if not listener:accept(c) then return end
      loop.spawn(function() answer(wrap(c)) end, native.log_failure)
    end
  end, native.log_failure)
  return port, listener
end

--- Sends bytes; waits while the other end takes none.
function methods:send(bytes)
  assert(core.put_raw(self.c, bytes))
  while core.outbox(self.c) > 0 do
    if not loop.wait(self.c, "drain", PATIENCE) then return nil end
  end
  return self
end

-- Waits for more bytes; nil at the end, or when none come in time.
local function more(self, timeout)
  while true do
    local bytes, _, id = core.take(self.c, 65536)
    if bytes and bytes ~= "" then
      self.bytes = self.bytes .. bytes
      return true
    end
    id = id or core.state(self.c) == "closed"
    if id or not loop.wait(self.c, "input", timeout or PATIENCE) then
      return nil, id and "end" or "silence"
    end
  end
end

--- n bytes | nil, "end" or "silence"
function methods:read(n, timeout)
  while #self.bytes < n do
    local ok, why = more(self, timeout)
    if not ok then return nil, why end
  end
  local bytes = self.bytes:sub(1, n)
  self.bytes = self.bytes:sub(n + 1)
  return bytes
end

--- All up to and with 'text' | nil, "end" or "silence"
function methods:read_to(text, timeout)
  while true do
    local _, stop = self.bytes:find(text, 1, true)
    if stop then return self:read(stop) end
    local ok, why = more(self, timeout)
    if not ok then return nil, why end
  end
end

--- All that comes until the other end hangs up, "end" or "silence".
function methods:rest(timeout)
  local why
  repeat
    local ok
    ok, why = more(self, timeout)
  until not ok
  local bytes = self.bytes
  self.bytes = ""
  return bytes, why
end

--- One HTTP answer with a Content-Length: head, body.
function methods:answer(without_body)
  local head, why = self:read_to("\r\n\r\n")
  if not head then return nil, why end
  local length = head:lower():match("\r\ncontent%-length: (%d+)")
  if without_body or not length then return head, "" end
  return head, self:read(tonumber(length))
end

--- Becomes a WebSocket by the request of a raw client, checked by nobody.
function methods:upgrade()
  self:send(peer.request)
  local head = assert(self:read_to("\r\n\r\n"))
  assert(head:find("^HTTP/1.1 101 "), head)
  return self
end

--- What a server answers to the request of a client.
function peer.accept(request)
  local key = request:match("\r\nSec%-WebSocket%-Key: (%S+)")
  return core.base64(core.sha1(key .. GUID))
end

--- Becomes a WebSocket by the answer of a raw server; 'extra' are more lines.
function methods:accept(extra)
  local head = assert(self:read_to("\r\n\r\n"))
  self:send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
    .. "Connection: Upgrade\r\nSec-WebSocket-Accept: " .. peer.accept(head)
    .. "\r\n" .. (extra or "") .. "\r\n")
  return self, head
end

--- Hangs up as a program does that ends.
function methods:close() core.fail(self.c, "LOST") end

return peer
