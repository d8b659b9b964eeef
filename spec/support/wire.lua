-- SPDX-License-Identifier: MIT
-- Drives duplex.core directly: bytes in, events out, bytes out, time in.

local bytes = require "spec.support.bytes"
local core = require "duplex.core"
local options = require "duplex.options"

local wire = {}
local class = core.class({}, {})
local REQUEST = "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
  .. "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
local RESPONSE = "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
  .. "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Extensions: %s\r\n\r\n"

--- An open connection whose handshake left nothing behind.
---@param role "server"|"client"
---@param limits? table options that differ from the defaults
---@param now? number
---@param extensions? string what the other side offers, or as a server answers
function wire.open(role, limits, now, extensions)
  now = now or 0
  local settings = core.settings(options.check(role, limits))
  local c = core.connection(role, settings, class, now)
  if role == "server" then
    core.feed(c, REQUEST .. (extensions and "Sec-WebSocket-Extensions: " .. extensions .. "\r\n" or "")
      .. "\r\n", now)
    assert(core.accept(c, assert(core.head(c)), now))
  else
    local accept = core.request(c, "h", "/")
    if extensions then assert(core.verify(c, RESPONSE:format(accept, extensions), accept, "")) end
    core.open(c, now)
  end
  core.output(c, now)
  return c
end

--- Calls check(pieces) for the whole input, byte by byte, and every 2-way cut.
function wire.every_cut(data, check)
  check { data }
  local single = {}
  for i = 1, #data do single[i] = data:sub(i, i) end
  check(single)
  for i = 1, #data - 1 do check { data:sub(1, i), data:sub(i + 1) } end
end

--- What waits to be sent, as "81 'payload'" lines, unmasked.
function wire.sent(c, now)
  local list = {}
  for i, frame in ipairs(bytes.frames(core.output(c, now or 0))) do
    list[i] = frame[2] and ("%02x %s"):format(frame[1], bytes.to_hex(frame[2])) or frame[1]
  end
  return list
end

--- Takes all that is to be had: "text 6869" lines, then "= PROTOCOL: ..." at
--- the end. With 'echo' each message is sent back at once.
function wire.take(c, log, echo, now)
  while true do
    local data, kind, id = core.next(c, now or 0)
    if not data then
      if id and log[#log] ~= "= " .. kind then log[#log + 1] = "= " .. kind end
      return log
    end
    log[#log + 1] = kind .. " " .. bytes.to_hex(data)
    if echo then core.put(c, data, kind) end
  end
end

--- Feeds pieces to a new connection: log of events, lines that it sent.
function wire.run(role, limits, pieces, echo, extensions)
  local c, log = wire.open(role, limits, nil, extensions), {}
  for _, piece in ipairs(pieces) do
    if core.hungry(c) then
      core.feed(c, piece, 0)
      wire.take(c, log, echo)
    end
  end
  return log, wire.sent(c), c
end

return wire
