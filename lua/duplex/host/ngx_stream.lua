-- SPDX-License-Identifier: MIT
-- A stream (stream.lua) over a cosocket of nginx, which belongs to the request
-- or the timer that made it: nobody else may touch it. So that all others can
-- read and write too, light threads of that request do it for them, once the
-- connection is open:
--
--   guard   starts the other two, and stops them at the end: nothing else wakes
--           a reader, and only who started a light thread can stop it
--   reader  takes what comes, as long as somebody wants it
--   writer  sends what others than that request want to send
--
-- They live as long as the stream: nginx frees no light thread before its
-- request ends. Until the connection is open the stream is its task's alone.

local semaphore = require "ngx.semaphore"
local tasks = require "duplex.host.ngx_tasks"

local ngx = rawget(_G, "ngx")
local get_request = require("resty.core.base").get_request

local AHEAD = 65536 -- bytes to read before somebody wants them
local SILENCE = 1000000000 -- milliseconds, twelve days: what is too long, others say

-- Milliseconds; 0 would be nginx's default.
local function milliseconds(timeout)
  return timeout and math.max(1, math.ceil(timeout * 1000)) or SILENCE
end

local stream = {}
local metatable = { __index = stream }

local function failure(id, what) return nil, ("%s: %s"):format(id, what), id end

-- Waits for 'sema', which is posted by signal when the field 'name' is true.
local function await(self, sema, name, timeout)
  self[name] = true
  tasks.await(sema, timeout)
  self[name] = nil
end

local function signal(self, sema, name)
  if not self[name] then return end
  self[name] = nil
  sema:post(1)
end

-- ---- light threads of the request ----

local function read_on(self)
  local socket, chunks = self.socket, self.chunks
  while true do
    local bytes, why = socket:receiveany(AHEAD)
    if not bytes then
      if why ~= "timeout" then
        self.ended = why
        return signal(self, self.input, "reading")
      end
    else
      local n = #chunks + 1
      chunks[n], self.ahead = bytes, self.ahead + #bytes
      signal(self, self.input, "reading")
      while self.ahead >= AHEAD do await(self, self.room, "full") end
    end
  end
end

local function send(self, bytes)
  self.busy = true
  local socket = self.socket
  local fine, ok, why = pcall(socket.send, socket, bytes)
  if not fine then ok, why = nil, "the request is over" end
  self.busy = nil
  if not ok then self.lost = why end
  signal(self, self.free, "queueing")
  return ok, why
end

local function write_on(self)
  while true do
    while not self.queue do await(self, self.output, "idle") end
    local bytes = self.queue
    self.queue = nil
    send(self, bytes)
  end
end

local function guard(self)
  local reader = ngx.thread.spawn(read_on, self)
  local writer = ngx.thread.spawn(write_on, self)
  while not self.closed do await(self, self.ending, "guarding") end
  ngx.thread.kill(reader)
  ngx.thread.kill(writer)
  self:finish()
end

--- From now on all tasks may use it.
---@param send_timeout number|nil seconds that the peer may take no byte
function stream:share(send_timeout)
  self.alone = nil
  self.input, self.room = semaphore.new(), semaphore.new()
  self.output, self.free = semaphore.new(), semaphore.new()
  self.ending = semaphore.new()
  self.socket:settimeouts(SILENCE, milliseconds(send_timeout), SILENCE)
  ngx.thread.spawn(guard, self)
end

-- ---- for everybody ----

--- Does the running task belong to the same request? The address of one that was
--- cut off may have become another's: then nginx raises, see send.
function stream:mine() return get_request() == self.request end

local function ended(why)
  if why == "closed" then return failure("EOF", "the peer sends no more") end
  return failure("LOST", why)
end

function stream:read(max, timeout)
  if self.closed then return failure("LOST", "this side is closed") end
  if self.alone then
    self.socket:settimeouts(SILENCE, SILENCE, milliseconds(timeout))
    local bytes, why = self.socket:receiveany(max)
    if bytes then return bytes end
    if why == "timeout" then return failure("TIMEOUT", "timed out") end
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
  return failure("TIMEOUT", "timed out")
end

function stream:wake()
  self.woken = true
  if self.input then signal(self, self.input, "reading") end
end

--- 'waits': this task may wait for the peer a little.
function stream:offer(bytes, waits)
  if self.lost or self.closed then return failure("LOST", self.lost or "closed") end
  if self.busy or self.queue then return 0 end
  if waits and self:mine() then
    local ok, why = send(self, bytes)
    if not ok then return failure(why == "timeout" and "TIMEOUT" or "LOST", why) end
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
    return send(self, bytes)
  end
  local deadline = timeout and tasks.now() + timeout
  while true do
    local count, message, id = self:offer(bytes, true)
    if not count or count > 0 then return count and true, message, id end
    local left = deadline and deadline - tasks.now()
    if left and left <= 0 then return failure("TIMEOUT", "timed out") end
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
  signal(self, self.ending, "guarding")
end

-- What stands for a request. Nothing but its ctx holds the userdata, which so
-- becomes garbage with it, whatever ended it.
local function here()
  local ctx = ngx.ctx
  if not ctx.duplex then
    local owner, witness = {}, rawget(_G, "newproxy")(true)
    getmetatable(witness).__gc = function() owner.gone = true end
    ctx.duplex = { owner = owner, witness = witness }
  end
  return ctx.duplex.owner
end

--- A stream over a cosocket of the request that runs.
---@param socket table
---@param fields table address, port; over(s): called at the end, from anywhere;
---  finish(s): what is then left to do, by a task of the request
---@return table stream
return function(socket, fields)
  fields.socket, fields.owner, fields.request = socket, here(), get_request()
  fields.alone, fields.chunks, fields.ahead = true, {}, 0
  return setmetatable(fields, metatable)
end
