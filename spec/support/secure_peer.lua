-- SPDX-License-Identifier: MIT
-- A peer that speaks TLS in tasks of the native loop, and whose records a spec
-- holds in its hands: they leave when it says so, cut as it likes.

local bytes = require "spec.support.bytes"
local options = require "duplex.options"
local peer = require "spec.support.peer"
local pki = require "spec.support.pki"
local tls = require "duplex.tls"

local secure = {}
local methods = {}
local metatable = { __index = methods }

local MASK = "\55\250\33\61"

--- A context that trusts, or is, what the specs do.
---@param role "client"|"server"
---@param changes? table TLS options
function secure.context(role, changes)
  local o = role == "client" and { ca = pki.ca } or { certificate = pki.certificate().certificate, key = pki.certificate().key }
  for name, value in pairs(changes or {}) do o[name] = value end
  return assert(tls.context(role, options.check(role, { tls = o }).tls))
end

--- A peer.lua peer becomes one end; nothing is sent yet.
function secure.wrap(raw, role, changes)
  return setmetatable({
    raw = raw, engine = secure.context(role, changes):engine(role == "client" and "localhost" or nil),
    key = role == "client" and MASK or nil, bytes = "",
    received = 0, -- bytes of ciphertext
  }, metatable)
end

--- A client that has connected, before its handshake.
function secure.connect(port, changes)
  return secure.wrap(peer.connect(port), "client", changes)
end

--- Listens; answer(p) runs in a task for each that connects.
function secure.listen(answer, changes)
  return peer.listen(function(raw) answer(secure.wrap(raw, "server", changes)) end)
end

--- Sends what the engine has to send, in pieces of 'chop' bytes.
function methods:push(chop)
  while true do
    local output = self.engine:output()
    if output == "" then return self end
    for at = 1, #output, chop or #output do
      assert(self.raw:send(output:sub(at, at + (chop or #output) - 1)))
    end
  end
end

--- Feeds the engine what has come, or comes. -> true | nil, "end" or "silence"
function methods:pull(timeout)
  local first, why = self.raw:read(1, timeout)
  if not first then return nil, why end
  local all = first .. self.raw.bytes
  self.raw.bytes = ""
  self.received = self.received + #all
  self.engine:feed(all)
  return true
end

--- -> self | nil, what the engine or the socket says
function methods:handshake(chop)
  while true do
    local ready, problem = self.engine:ready()
    self:push(chop)
    if ready then return self end
    if ready == nil then return nil, problem end
    local ok, why = self:pull()
    if not ok then return nil, why end
  end
end

--- Encrypts and sends bytes.
function methods:send(data, chop)
  assert(self.engine:write(data))
  return self:push(chop)
end

-- More plaintext; nil at the end, with what the engine says of it.
local function more(self, timeout)
  while true do
    local data, message, id = self.engine:read()
    self:push() -- answers of TLS itself
    if not data then return nil, message, id end
    if data ~= "" then
      self.bytes = self.bytes .. data
      return true
    end
    local ok, why = self:pull(timeout)
    if not ok then return nil, why end
  end
end

--- n bytes | nil, problem, id
function methods:read(n, timeout)
  while #self.bytes < n do
    local ok, message, id = more(self, timeout)
    if not ok then return nil, message, id end
  end
  local data = self.bytes:sub(1, n)
  self.bytes = self.bytes:sub(n + 1)
  return data
end

--- All up to and with 'text' | nil, problem
function methods:read_to(text)
  while true do
    local _, stop = self.bytes:find(text, 1, true)
    if stop then return self:read(stop) end
    local ok, message = more(self)
    if not ok then return nil, message end
  end
end

--- All bytes until the end, and how it came.
function methods:rest(timeout)
  local ok, message, id
  repeat ok, message, id = more(self, timeout) until not ok
  local data = self.bytes
  self.bytes = ""
  return data, message, id
end

--- The next frame: first byte, payload | nil, problem
function methods:frame()
  local first, payload, key = bytes.read_frame(function(n) return self:read(n) end)
  if not first then return nil, payload end
  return first, key and bytes.mask(payload, key) or payload
end

--- Sends one frame.
function methods:put(first, payload, chop) return self:send(bytes.frame(first, payload, self.key), chop) end

--- A round trip.
function methods:alive(text)
  text = text or "still here"
  self:put(0x81, text)
  local first, payload = self:frame()
  return first == 0x81 and payload == text
end

--- Becomes a WebSocket: as a client by a request, as a server by an answer.
function methods:upgrade()
  if self.key then
    self:send(peer.request)
    local head = assert(self:read_to("\r\n\r\n"))
    assert(head:find("^HTTP/1.1 101 "), head)
  else
    local head = assert(self:read_to("\r\n\r\n"))
    self:send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
      .. "Connection: Upgrade\r\nSec-WebSocket-Accept: " .. peer.accept(head) .. "\r\n\r\n")
  end
  return self
end

--- close_notify, then the end of the stream.
function methods:finish()
  self.engine:finish()
  self:push()
  self:close()
end

--- The end of the stream without a word.
function methods:close() self.raw:close() end

return secure
