-- SPDX-License-Identifier: MIT
-- The light threads of a stream of nginx: they belong to the request whose
-- cosocket it is, and so may touch it.
--
--   guard   starts the other two, and stops them at the end: nothing else wakes
--           a reader, and only who started a light thread can stop it
--   reader  takes what comes, as long as somebody wants it
--   writer  sends what others than that request want to send
--
-- They live as long as the stream: nginx frees no light thread before its
-- request ends.

local semaphore = require "ngx.semaphore"
local tasks = require "duplex.host.ngx_tasks"

local ngx = rawget(_G, "ngx")

local AHEAD = 65536 -- bytes to read before somebody wants them
local LINGER = 10 -- seconds that a peer has, after the end, to take what is left

local threads = {}

--- Waits for 'sema', which is posted by signal when the field 'name' is true.
function threads.await(self, sema, name, timeout)
  self[name] = true
  tasks.await(sema, timeout)
  self[name] = nil
end

function threads.signal(self, sema, name)
  if not self[name] then return end
  self[name] = nil
  sema:post(1)
end

local await, signal = threads.await, threads.signal

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

--- Sends bytes. One task at a time.
---@return true|nil ok, string? why
function threads.send(self, bytes)
  self.busy = true
  local socket = self.socket
  local fine, ok, why = pcall(socket.send, socket, bytes)
  if not fine then ok, why = nil, "the request is over" end
  self.busy = nil
  if not ok then
    self.lost = why
    self:wake() -- whoever reads learns of it
  end
  signal(self, self.free, "queueing")
  signal(self, self.ending, "draining")
  return ok, why
end

local function write_on(self)
  while true do
    while not self.queue do await(self, self.output, "idle") end
    local bytes = self.queue
    self.queue = nil
    threads.send(self, bytes)
  end
end

-- Waits until what was to be sent is.
local function drain(self)
  local deadline = tasks.now() + LINGER
  while (self.busy or self.queue) and not self.lost do
    local left = deadline - tasks.now()
    if left <= 0 then return end
    await(self, self.ending, "draining", left)
  end
end

-- Nobody else holds the witness: see ngx_stream.lua.
local function guard(self, witness)
  local reader = ngx.thread.spawn(read_on, self)
  local writer = ngx.thread.spawn(write_on, self)
  while not self.closed do await(self, self.ending, "guarding") end
  drain(self)
  ngx.thread.kill(reader)
  ngx.thread.kill(writer)
  self:finish()
  return witness
end

--- Starts them.
function threads.start(self, witness)
  self.input, self.room = semaphore.new(), semaphore.new()
  self.output, self.free = semaphore.new(), semaphore.new()
  self.ending = semaphore.new()
  ngx.thread.spawn(guard, self, witness)
end

return threads
