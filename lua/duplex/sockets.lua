-- SPDX-License-Identifier: MIT
-- Streams and listeners (see stream.lua, streams.lua) over sockets that never
-- block, for hosts that can wait for one. A socket of such a host has these
-- methods; those for which it has better ones keep theirs.
--
--   s:receive(max)        -> bytes | nil, AGAIN | nil, EOF | nil, what is wrong
--   s:send(bytes)         -> count, true if some of these wait in the socket still
--                          | nil, what is wrong
--   s:accepted()          -> socket | nil, AGAIN | nil, what is wrong  (listeners)
--   s:await(mode, timeout) waits until it may be ready to "read" or to "write"
--   s:unpark()            ends an await to read
--   s:finish()            closes it
--   s:names(far)          -> address, port of the far end, or of this one
--   s.path                of a Unix socket, whose names are of no use

local failure = require "duplex.failure"

local sockets = {}

sockets.AGAIN, sockets.EOF = "nothing yet", "the peer sends no more"
local AGAIN, EOF = sockets.AGAIN, sockets.EOF

sockets.failure, sockets.timed_out = failure.of, failure.timed_out
local CLOSED = "this side is closed"

local stream, listener = {}, {}

-- Calls step(self, ...) until it says something else than AGAIN. A wake-up that
-- came before counts too: it only costs another look.
local function retry(self, id, now, timeout, step, ...)
  local deadline = timeout and now() + timeout
  while not self.closed do
    local result, why = step(self, ...)
    if result then return result end
    if why ~= AGAIN then return failure.of(why == EOF and "EOF" or id, why) end
    local left = deadline and deadline - now()
    if left and left <= 0 or self.woken then
      self.woken = nil
      return failure.timed_out()
    end
    self:await("read", left)
  end
  return failure.of(id, CLOSED)
end

function stream:read(max, timeout)
  return retry(self, "LOST", self.now, timeout, self.receive, max)
end

function stream:offer(bytes)
  if self.closed then return failure.of("LOST", CLOSED) end
  local count, held = self:send(bytes)
  if count then return count, held end
  return failure.of("LOST", held)
end

function stream:write(bytes, timeout)
  local deadline = timeout and self.now() + timeout
  local at = 1
  while true do
    local count, held, id = self:offer(at == 1 and bytes or bytes:sub(at))
    if not count then return nil, held, id end
    at = at + count
    if at > #bytes and not held then return true end
    local left = deadline and deadline - self.now()
    if left and left <= 0 then return failure.timed_out() end
    self:await("write", left)
  end
end

function stream:wake()
  self.woken = true
  self:unpark()
end

function listener:accept()
  local s, message, id = retry(self, "LIMIT", self.now, nil, self.accepted)
  if self.closed then return failure.of("CLOSED", CLOSED) end
  return s, message, id
end

function stream:peer()
  if self.path then return "unix" end
  return self:names(true)
end

function listener:address()
  if self.path then return self.path end
  return self:names(false)
end

local function close(self)
  if self.closed then return end
  self.closed = true
  self:unpark()
  self:finish()
end
stream.close, listener.close = close, close

--- The classes of a host's sockets: what is above, and what they have themselves.
---@param now fun(): number
---@param own table methods
---@return table stream, table listener metatables
function sockets.classes(now, own)
  local function class(shared)
    local methods = { now = now }
    for name, method in pairs(shared) do methods[name] = method end
    for name, method in pairs(own) do methods[name] = method end
    return { __index = methods }
  end
  return class(stream), class(listener)
end

return sockets
