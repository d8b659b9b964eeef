-- SPDX-License-Identifier: MIT
-- A peer for conformance specs: blocking LuaSocket and frames made by hand, so
-- that it can say anything, right or wrong. Everything has a deadline.

local bytes = require "spec.support.bytes"
local socket = require "socket"
local PATIENCE = require "spec.support.patience"

local raw = {}
local peer = {}
local metatable = { __index = peer }

local GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

-- The example of RFC 6455 1.3.
raw.KEY = "dGhlIHNhbXBsZSBub25jZQ=="
raw.ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
-- And the masking key of RFC 6455 5.7.
raw.MASK = "\55\250\33\61"

--- The lines of a good request, to be changed or added to.
function raw.request(changes)
  local lines = { "GET / HTTP/1.1", "Host: 127.0.0.1", "Upgrade: websocket",
    "Connection: Upgrade", "Sec-WebSocket-Key: " .. raw.KEY,
    "Sec-WebSocket-Version: 13" }
  for name, value in pairs(changes or {}) do
    local found
    for i, line in ipairs(lines) do
      if line:lower():find(name:lower() .. ":", 1, true) == 1 then
        found = i
        lines[i] = value and name .. ": " .. value or nil
        if not value then table.remove(lines, i) end
        break
      end
    end
    if not found and value then lines[#lines + 1] = name .. ": " .. value end
  end
  return table.concat(lines, "\r\n") .. "\r\n\r\n"
end

local function wrap(sock, key)
  sock:settimeout(PATIENCE)
  sock:setoption("tcp-nodelay", true)
  return setmetatable({ sock = sock, key = key, client = key ~= nil }, metatable)
end

--- A connection before its handshake.
function raw.tcp(port, small)
  local sock = assert(socket.tcp4())
  if small then sock:setoption("recv-buffer-size", small) end
  sock:settimeout(PATIENCE)
  assert(sock:connect("127.0.0.1", port))
  return wrap(sock, raw.MASK)
end

--- A client whose handshake is done.
function raw.connect(port, changes, small)
  local self = raw.tcp(port, small)
  self:write(raw.request(changes))
  local head = self:head()
  assert(head and head:find("^HTTP/1.1 101 "), head or "no answer")
  assert(head:find("Sec-WebSocket-Accept: " .. raw.ACCEPT, 1, true), head)
  return self
end

--- A listening socket; listener:accept() gives a server's end whose handshake
--- is done, tcp() one whose is not.
function raw.listen()
  local listener = { sock = assert(socket.bind("127.0.0.1", 0)) }
  listener.sock:settimeout(PATIENCE)
  local _, port = listener.sock:getsockname()
  listener.url = "ws://127.0.0.1:" .. port .. "/"
  function listener:tcp() return wrap(assert(self.sock:accept()), nil) end
  function listener:accept(extra)
    local self_end = self:tcp()
    local request = assert(self_end:head())
    self_end:write(raw.response(request, extra))
    return self_end, request
  end
  function listener:close() self.sock:close() end
  return listener
end

--- A good response to a request; SHA-1 and base64 have C tests of their own.
function raw.response(request, extra)
  local core = require "duplex.core"
  local key = request:match("Sec%-WebSocket%-Key: ([^\r]+)")
  return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
    .. "Connection: Upgrade\r\nSec-WebSocket-Accept: "
    .. core.base64(core.sha1(key .. GUID)) .. "\r\n" .. (extra or "") .. "\r\n"
end

--- Writes bytes, in parts of 'chop' bytes if given. -> true | nil, problem
function peer:write(data, chop)
  for i = 1, #data, chop or math.max(1, #data) do
    local ok, problem = self.sock:send(data, i, chop and math.min(#data, i + chop - 1) or #data)
    if not ok then return nil, problem end
  end
  return true
end

--- Sends one frame; a client masks it. See bytes.mask for 'unit'.
function peer:send(first, payload, chop, unit)
  return self:write(bytes.frame(first, payload, self.key, unit), chop)
end

function peer:read(n) return self.sock:receive(n) end

--- One HTTP head, through its empty line. LuaSocket drops every CR.
function peer:head()
  local lines = {}
  while true do
    local line, problem = self.sock:receive("*l")
    if not line then return nil, problem end
    lines[#lines + 1] = line .. "\r\n"
    if line == "" then return table.concat(lines) end
  end
end

--- The status of the answer and its whole text, until the end.
function peer:answer()
  local text, problem, part = self.sock:receive("*a")
  text = text or part
  return tonumber(text:match("^HTTP/1.1 (%d+)")), text, problem
end

--- The next frame: first byte, payload | nil, "closed" or "timeout". Its mask
--- must be what the role of the sender wants (RFC 6455 5.1).
function peer:frame(unit)
  local first, payload, key = bytes.read_frame(function(n) return self.sock:receive(n) end)
  if not first then return nil, payload end
  assert((key ~= nil) == not self.client, "masked by the wrong side")
  return first, key and bytes.mask(payload, key, unit) or payload
end

--- Reads frames until a close frame: its code (1005 for none) and the list of
--- the frames before it; code nil with a problem when the connection ended.
function peer:until_close()
  local before = {}
  while true do
    local first, payload = self:frame()
    if not first then return nil, payload, before end
    if first == 0x88 then
      local code = #payload > 1 and payload:byte(1) * 256 + payload:byte(2) or 1005
      return code, payload:sub(3), before
    end
    before[#before + 1] = { first, payload }
  end
end

--- Waits for the end of the stream. -> "closed" when it came without a byte
--- before it
function peer:eof(timeout)
  self.sock:settimeout(timeout or PATIENCE)
  local data, problem = self.sock:receive(1)
  self.sock:settimeout(PATIENCE)
  return data and "data" or problem
end

--- Is closed with this code and a reason that has this text, and hung up on.
function peer:refused(code, text)
  local got, reason = self:until_close()
  assert(got == code, ("%s instead of %s: %s"):format(tostring(got), tostring(code), tostring(reason)))
  assert(not text or reason:find(text, 1, true), reason)
  assert(self:eof() == "closed", "it is not hung up on")
  self:close()
end

--- Is something there to read within 'timeout' seconds?
function peer:readable(timeout)
  local list = socket.select({ self.sock }, nil, timeout)
  return #list > 0
end

--- A round trip shows that all before it was dealt with.
function peer:alive(text)
  text = text or "still here"
  self:send(0x81, text)
  local first, payload = self:frame()
  while first == 0x89 do -- on a slow machine it was pinged meanwhile
    self:send(0x8a, payload)
    first, payload = self:frame()
  end
  return first == 0x81 and payload == text
end

function peer:finish_writing() self.sock:shutdown("send") end

function peer:close() self.sock:close() end

--- Ends the connection with a reset instead of a goodbye.
function peer:reset()
  self.sock:setoption("linger", { on = true, timeout = 0 })
  self.sock:close()
end

return raw
