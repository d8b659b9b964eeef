-- SPDX-License-Identifier: MIT
-- A host whose connections are byte streams in memory, on the native loop: what
-- the transport for streams does can be seen without sockets.
--
-- host.made lists the ends of its connections: { client =, server = }.
-- memory.host { plain = true } gives streams without offer, wake and shutdown.

local connection = require "duplex.connection"
local native = require "duplex.host.native"
local stream = require "duplex.stream"

local memory = {}

local CAPACITY = 100000 -- bytes on their way, as in a socket's buffers

-- ---- one direction ----

local function pipe()
  return { pieces = {}, size = 0, changed = native.event() }
end

local function news(p)
  p.changed:set()
  p.changed:clear()
end

local function put(p, bytes)
  p.pieces[#p.pieces + 1] = bytes
  p.size = p.size + #bytes
  news(p)
end

-- ---- streams ----

local methods = {}

--- At most max bytes, and no more than s.cut if that is set.
function methods:read(max, timeout)
  assert(not self.reading, "two tasks read")
  assert(not self.closed, "read after close")
  local p, began = self.input, native.now()
  self.reading = true
  local woken = true
  while woken and p.size == 0 and not p.ended and not p.lost do
    self.woken = nil
    local left = timeout and math.max(0, began + timeout - native.now())
    woken = p.changed:wait(left) and not self.woken
  end
  self.reading = nil
  if p.lost then return nil, "LOST: reset", "LOST" end
  if p.size == 0 and p.ended then return nil, "EOF: no more", "EOF" end
  if p.size == 0 then return nil, "TIMEOUT: timed out", "TIMEOUT" end
  local all = table.concat(p.pieces)
  local bytes = all:sub(1, math.min(max, self.cut or max))
  p.pieces, p.size = { all:sub(#bytes + 1) }, #all - #bytes
  self.reads = (self.reads or 0) + 1
  news(p)
  return bytes
end

function methods:offer(bytes)
  local p = self.output
  if p.lost then return nil, "LOST: reset", "LOST" end
  assert(not p.ended, "written after shutdown")
  local count = math.min(#bytes, CAPACITY - p.size)
  if count > 0 then put(p, bytes:sub(1, count)) end
  self.writes = (self.writes or 0) + 1
  return count
end

function methods:write(bytes, timeout)
  assert(not self.writing, "two tasks write")
  self.writing = true
  local deadline = native.now() + (timeout or math.huge)
  local at = 1
  while at <= #bytes do
    local count, message, id = methods.offer(self, bytes:sub(at))
    at = at + (count or 0)
    if count == 0 and not self.output.changed:wait(timeout and deadline - native.now()) then
      count, message, id = nil, "TIMEOUT: timed out", "TIMEOUT"
    elseif count == 0 and self.output.ended then -- by another task, meanwhile
      count, message, id = nil, "LOST: shut down", "LOST"
    end
    self.writing = count and true
    if not count then return nil, message, id end
  end
  self.writing = nil
  return true
end

function methods:wake()
  self.woken = true
  news(self.input)
end

function methods:shutdown()
  self.output.ended = true
  news(self.output)
end

function methods:close()
  self.closed = true
  methods.shutdown(self)
  self.input.lost = true -- whoever writes to it now has lost us
  news(self.input)
end

--- As a peer that crashes.
function methods:reset()
  self.input.lost, self.output.lost = true, true
  news(self.input)
  news(self.output)
end

function methods:peer() return self.address, self.port end

--- Two joined streams.
function memory.streams(plain)
  local a, b = pipe(), pipe()
  local index = setmetatable({}, { __index = methods })
  if plain then
    index = {
      read = methods.read, write = methods.write, close = methods.close,
      peer = methods.peer, reset = methods.reset,
    }
  end
  local class = { __index = index }
  return setmetatable({ input = a, output = b, address = "memory", port = 1 }, class),
    setmetatable({ input = b, output = a, address = "memory", port = 2 }, class)
end

-- ---- the host ----

--- A host.
---@param options? { plain: boolean? }
function memory.host(options)
  local host, listeners, last = {}, {}, 0
  for name, value in pairs(native) do host[name] = value end
  host.name, host.made = "memory", {}
  host.servers = setmetatable({}, { __mode = "k" })
  function host.check_wait() end -- the native loop's waits do
  host.transport = stream.transport(host)
  host.class = connection.class(host, host.transport)
  host.unsent = host.transport.unsent

  function host.resolve(name) return { name } end

  function host.connect(ws, _, port)
    local listener = listeners[port]
    if not listener then return nil, "CONNECT: nobody listens", "CONNECT" end
    local a, b = memory.streams(options and options.plain)
    table.insert(host.made, { client = a, server = b })
    table.insert(listener.backlog, b)
    listener.came:set()
    host.transport.attach(ws, a)
    return true
  end

  function host.listen()
    local listener = { backlog = {}, came = native.event() }
    last = last + 1
    local port = last
    listeners[port] = listener
    function listener:accept(ws)
      while not self.backlog[1] do
        if not listeners[port] then return nil, "CLOSED: stopped", "CLOSED" end
        self.came:clear()
        self.came:wait()
      end
      host.transport.attach(ws, table.remove(self.backlog, 1))
      return true
    end
    function listener.address() return "memory", port end
    function listener:close()
      listeners[port] = nil
      self.came:set()
    end
    return { listener }
  end

  return host
end

return memory
