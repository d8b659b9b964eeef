-- SPDX-License-Identifier: MIT
-- The host for programs that live in cqueues. Names are looked up by its own
-- resolver, which reads /etc/hosts and asks the name servers.

local condition = require "cqueues.condition"
local cqueues = require "cqueues"
local dns = require "cqueues.dns"
local errno = require "cqueues.errno"
local socket = require "cqueues.socket"
local sockets = require "duplex.sockets"
local streams = require "duplex.streams"

local failure, timed_out = sockets.failure, sockets.timed_out

local now = cqueues.monotime
local loop = { name = "cqueues", now = now, lacks = { "fd", "backlog" } }
local controller -- the one that run() turns
local asides = setmetatable({}, { __mode = "k" }) -- tasks of each that run does not wait for

-- ---- tasks ----

function loop.start(fn, aside)
  controller = controller or cqueues.running() or cqueues.new()
  local own = cqueues.running() or controller
  if not aside then return own:wrap(fn) end
  asides[own] = (asides[own] or 0) + 1
  own:wrap(function()
    fn()
    asides[own] = asides[own] - 1
  end)
end

function loop.can_wait() return select(2, cqueues.running()) == true end

function loop.park(waiter, timeout)
  waiter.condition = waiter.condition or condition.new()
  return waiter.condition:wait(timeout) == true
end

function loop.wake(waiter)
  if waiter.condition then waiter.condition:signal() end
end

function loop.run()
  local mine = controller
  controller = nil
  -- There may be coroutines of the program's own, too.
  repeat assert(mine:step()) until mine:count() <= (asides[mine] or 0)
end

-- ---- sockets ----

local own, stream = {}, nil

-- Errors are returned, as numbers.
local function open(class, so, path)
  so:onerror(function(_, _, why) return why end)
  so:setmode("bn", "bn")
  return setmetatable({ socket = so, path = path, parked = condition.new() }, class)
end

-- A descriptor is there once the socket is bound, connected or accepted.
local function watched(self)
  local fd = self.socket:pollfd()
  self.read_end, self.write_end = { pollfd = fd, events = "r" }, { pollfd = fd, events = "w" }
  return self
end

function own:receive(max)
  local bytes, why = self.socket:recv(-max, "bn")
  if bytes then return bytes end
  if self.socket:eof("r") then return nil, sockets.EOF end
  return nil, why == errno.EAGAIN and sockets.AGAIN or errno.strerror(why)
end

-- What does not fit into the kernel may be kept in a buffer of the socket.
function own:send(bytes)
  local count, why = self.socket:send(bytes, 1, #bytes, "bn")
  if why and why ~= errno.EAGAIN then return nil, errno.strerror(why) end
  return count or 0, why ~= nil
end

function own:accepted()
  local so, why = self.socket:accept({ nodelay = true }, 0)
  if so then return watched(open(stream, so, self.path)) end
  local again = why == errno.ETIMEDOUT or why == errno.EAGAIN
  return nil, again and sockets.AGAIN or errno.strerror(why)
end

function own:await(mode, timeout)
  if mode == "write" then
    cqueues.poll(self.write_end, timeout)
  else
    cqueues.poll(self.read_end, self.parked, timeout)
  end
end

function own:unpark() self.parked:signal() end

function own:shutdown() self.socket:shutdown("w") end

function own:finish()
  cqueues.cancel(self.read_end.pollfd)
  self.socket:close()
end

function own:names(far)
  local _, address, port = self.socket[far and "peername" or "localname"](self.socket)
  return address, port
end

local listener
stream, listener = sockets.classes(now, own)

function loop.connect(address, port, timeout)
  local self = open(stream, socket.connect(port
    and { host = address, port = port, nodelay = true } or { path = address }),
    not port and address)
  local ok, why = self.socket:connect(timeout)
  if ok then return watched(self) end
  self.socket:close()
  if why == errno.ETIMEDOUT and timeout then return timed_out() end
  return failure("CONNECT", errno.strerror(why))
end

function loop.listen(place, port, options)
  local self = open(listener, socket.listen(port and {
    host = place, port = port, nodelay = true, v6only = true, reuseport = options.reuseport,
  } or { path = place }), not port and place)
  local ok, why = self.socket:listen(0)
  if ok then return watched(self) end
  self.socket:close()
  return nil, errno.strerror(why), why == errno.EADDRNOTAVAIL or why == errno.EAFNOSUPPORT
end

-- ---- names ----

function loop.resolve(name, timeout)
  local list, problem = {}, "no such name"
  for _, kind in ipairs { "AAAA", "A" } do
    local answer, why = dns.query(name, kind, "IN", timeout)
    if why == errno.ETIMEDOUT then return timed_out() end
    if answer then
      for record in answer:grep { section = "answer", type = kind } do
        list[#list + 1] = record:addr()
      end
    else
      problem = errno.strerror(why)
    end
  end
  if list[1] then return list end
  return failure("DNS", problem)
end

return streams.host(loop)
