-- SPDX-License-Identifier: MIT
-- TLS over any stream (stream.lua): a stream that passes all bytes through an
-- engine of duplex.tls.

local failure = require "duplex.failure"

local tls_stream = {}

local PIECE = 65536 -- bytes of ciphertext read at a time
local PATIENCE = 10 -- seconds to take what reading has to answer
local GOODBYE = 1 -- seconds to say that no more will come

local methods = {}

-- Sends all that the engine has to send.
local function flush(self, timeout)
  if self.writing then return true end
  self.writing = true
  local ok, message, id = true, nil, nil
  while ok do
    local bytes = self.rest or self.engine:output()
    self.rest = nil
    if bytes == "" then break end
    ok, message, id = self.stream:write(bytes, timeout)
  end
  self.writing = nil
  return ok, message, id
end

-- Sends what reading made, without waiting if that can be: both sides may be
-- sending, and neither would read. What does not go now goes before the next
-- bytes that are written, or with those that somebody is writing.
local function answer(self)
  if self.writing or self.rest then return end
  if not self.stream.offer then return flush(self, PATIENCE) end
  local bytes = self.engine:output()
  local count = bytes ~= "" and self.stream:offer(bytes) or #bytes
  if count < #bytes then self.rest = bytes:sub(count + 1) end
end

-- Encrypts. An engine that takes nothing now, as the peer is in the middle of
-- a handshake message, does when that has come.
local function seal(self, bytes)
  if self.held then bytes = self.held .. bytes end
  local taken, message = self.engine:write(bytes)
  self.held = not taken and bytes or nil
  if taken == nil then return nil, message, "LOST" end
  return true
end

-- What the engine can say now, nil when it needs more to read. The end of the
-- handshake is news too: the other side may be the one that waits.
local function next_bytes(self, max)
  local bytes, message, id = self.engine:read(max)
  if self.held and bytes then seal(self, "") end
  if bytes == nil then
    return nil, message, id == "LOST" and "EOF" or "LOST"
  elseif bytes ~= "" then
    return bytes
  elseif not self.ready and self.engine:ready() then
    self.ready = true
    return failure.of("TIMEOUT", "the handshake is done")
  end
end

function methods:read(max, timeout)
  local deadline, came = timeout and self.now() + timeout, false
  while true do
    local bytes, message, id = next_bytes(self, max)
    answer(self)
    if bytes or id then return bytes, message, id end
    if came then return "" end -- a part of a record, which is a sign of life
    local left = deadline and math.max(0, deadline - self.now())
    bytes, message, id = self.stream:read(PIECE, left)
    if not bytes then return nil, message, id end
    self.engine:feed(bytes)
    came = true
  end
end

function methods:write(bytes, timeout)
  if bytes ~= "" then
    local ok, message, id = seal(self, bytes)
    if not ok then return nil, message, id end
  end
  return flush(self, timeout)
end

function methods:offer(bytes)
  if self.writing or self.rest then return 0, true end
  local ok, message, id = seal(self, bytes)
  if not ok then return nil, message, id end
  local sealed = self.engine:output()
  local count, held
  count, held, id = self.stream:offer(sealed)
  if not count then return nil, held, id end
  if count < #sealed then self.rest = sealed:sub(count + 1) end
  return #bytes, held or self.rest ~= nil
end

function methods:wake() self.stream:wake() end

function methods:shutdown()
  self.engine:finish()
  if flush(self, GOODBYE) then self.stream:shutdown() end
end

function methods:close() self.stream:close() end
function methods:peer() return self.stream:peer() end

--- A stream like the one below it, which must not be used any more.
---@param stream table
---@param engine userdata of duplex.tls
---@param now fun(): number
---@return table
function tls_stream.wrap(stream, engine, now)
  local self = { stream = stream, engine = engine, now = now }
  for name, method in pairs(methods) do
    if stream[name] then self[name] = method end -- it can do what that one can
  end
  return self
end

return tls_stream
