-- SPDX-License-Identifier: MIT
-- A stream (stream.lua) over a cosocket of nginx, which belongs to the request
-- or the timer that made it: nobody else may touch it. So that all others can
-- read and write too, light threads of that request (ngx_threads.lua) do it for
-- them, once the connection is open; until then it is its task's alone.

local failure = require "duplex.failure"
local tasks = require "duplex.host.ngx_tasks"
local threads = require "duplex.host.ngx_threads"

local get_request = require("resty.core.base").get_request
local await, signal, send = threads.await, threads.signal, threads.send

local SILENCE = 1000000000 -- milliseconds, twelve days: what is too long, others say

-- Milliseconds; 0 would be nginx's default.
local function milliseconds(timeout)
  return timeout and math.max(1, math.ceil(timeout * 1000)) or SILENCE
end

local stream = {}
local metatable = { __index = stream }

-- What stands for a request: a userdata that only a light thread of it holds, and
-- which so becomes garbage with it, whatever ended it.
local function witness(self)
  local userdata = rawget(_G, "newproxy")(true)
  getmetatable(userdata).__gc = function() self.gone = true end
  return userdata
end

--- From now on all tasks may use it.
---@param send_timeout number|nil seconds that the peer may take no byte
function stream:share(send_timeout)
  self.alone = nil
  self.socket:settimeouts(SILENCE, milliseconds(send_timeout), SILENCE)
  threads.start(self, witness(self))
end

--- Does the running task belong to the same request? The address of one that was
--- cut off may have become another's: then nginx raises, see send.
function stream:mine() return get_request() == self.request end

local function broken(why)
  return failure.of(why == "timeout" and "TIMEOUT" or "LOST", why)
end

local function ended(why)
  if why == "closed" then return failure.of("EOF", "the peer sends no more") end
  return failure.of("LOST", why)
end

function stream:read(max, timeout)
  if self.closed then return failure.of("LOST", "this side is closed") end
  if self.alone then
    self.socket:settimeouts(SILENCE, SILENCE, milliseconds(timeout))
    local bytes, why = self.socket:receiveany(max)
    if bytes then return bytes end
    if why == "timeout" then return failure.timed_out() end
    return ended(why)
  end
  local chunks = self.chunks
  if not chunks[1] and not self.ended and not self.woken then
    await(self, self.input, "reading", timeout)
  end
  self.woken = nil
  if chunks[1] then
    local bytes = chunks[2] and table.concat(chunks) or chunks[1]
    for i = #chunks, 1, -1 do chunks[i] = nil end
    self.ahead = 0
    signal(self, self.room, "full")
    return bytes
  end
  if self.ended then return ended(self.ended) end
  return failure.timed_out()
end

function stream:wake()
  self.woken = true
  if self.input then signal(self, self.input, "reading") end
end

--- 'waits': this task may wait for the peer a little.
function stream:offer(bytes, waits)
  if self.lost or self.closed then return broken(self.lost or "closed") end
  if self.busy or self.queue then return 0 end
  if waits and self:mine() then
    local ok, why = send(self, bytes)
    if not ok then return broken(why) end
  elseif self.alone then
    return 0
  else
    self.queue = bytes
    signal(self, self.output, "idle")
  end
  return #bytes
end

function stream:write(bytes, timeout)
  if self.alone then
    self.socket:settimeouts(SILENCE, milliseconds(timeout), SILENCE)
    local ok, why = send(self, bytes)
    if ok then return true end
    return broken(why)
  end
  local deadline = timeout and tasks.now() + timeout
  while true do
    local count, message, id = self:offer(bytes, true)
    if not count or count > 0 then return count and true, message, id end
    local left = deadline and deadline - tasks.now()
    if left and left <= 0 then return failure.timed_out() end
    await(self, self.free, "queueing", left)
  end
end

function stream:peer() return self.address, self.port end

function stream:close()
  if self.closed then return end
  self.closed = true
  self:wake()
  self:over()
  if self.alone then return self:finish() end
  signal(self, self.free, "queueing")
  signal(self, self.ending, "guarding")
end

--- A stream over a cosocket of the request that runs.
---@param socket table
---@param fields table address, port; over(s): called at the end, from anywhere;
---  finish(s): what is then left to do, by a task of the request
---@return table stream
return function(socket, fields)
  fields.socket, fields.request = socket, get_request()
  fields.alone, fields.chunks, fields.ahead = true, {}, 0
  return setmetatable(fields, metatable)
end
