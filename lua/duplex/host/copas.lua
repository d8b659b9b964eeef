-- SPDX-License-Identifier: MIT
-- The host for programs that live in Copas. How tasks wait there is in
-- copas_tasks.lua; LuaSocket looks names up while everybody waits.

local tasks = require "duplex.host.copas_tasks" -- before LuaSocket, as Copas wants
local socket = require "socket"
local core = require "duplex.core"
local sockets = require "duplex.sockets"
local streams = require "duplex.streams"

local _, unix = pcall(function() return require "socket.unix" end) -- not everywhere
local now, failure = core.now, sockets.failure
local loop = {
  name = "copas", now = now, lacks = { "fd" },
  start = tasks.start, park = tasks.park, wake = tasks.wake, run = tasks.run,
}

-- Select cannot watch more.
function loop.descriptors() return socket._SETSIZE end

-- ---- sockets ----

local own, stream = {}, nil

local function open(class, so, path)
  so:settimeout(0)
  if not path and class == stream then so:setoption("tcp-nodelay", true) end
  return setmetatable({ socket = so, path = path, waiter = { socket = so } }, class)
end

local function again(why) return why == "timeout" and sockets.AGAIN or why end

function own:receive(max)
  local bytes, why, part = self.socket:receive(max)
  if bytes or part ~= "" then return bytes or part end
  return nil, why == "closed" and sockets.EOF or again(why)
end

function own:send(bytes)
  local last, why, part = self.socket:send(bytes)
  if last or why == "timeout" then return last or part end
  return nil, why
end

function own:accepted()
  local so, why = self.socket:accept()
  if not so then return nil, again(why) end
  if so:getfd() < socket._SETSIZE then return open(stream, so, self.path) end
  so:close()
  return nil, "more sockets than select can watch"
end

function own:await(mode, timeout)
  if mode == "write" then return tasks.park_to_write(self.socket, timeout) end
  tasks.park(self.waiter, timeout)
end

function own:unpark() tasks.wake(self.waiter) end
function own:shutdown() self.socket:shutdown("send") end
function own:finish() self.socket:close() end

function own:names(far)
  local address, port = self.socket[far and "getpeername" or "getsockname"](self.socket)
  return address, tonumber(port)
end

local listener
stream, listener = sockets.classes(now, own)

local function new(place, port)
  if port then return (place:find(":") and socket.tcp6 or socket.tcp4 or socket.tcp)() end
  if type(unix) == "function" then return unix() end
  return type(unix) == "table" and unix.stream() or nil, "LuaSocket was built without Unix sockets"
end

function loop.connect(place, port, timeout)
  local so, why = new(place, port)
  if not so then return failure("CONNECT", why) end
  local deadline = timeout and now() + timeout
  so:settimeout(0)
  repeat
    local ok, problem = so:connect(place, port)
    why = problem
    if ok or why == "already connected" then return open(stream, so, not port and place) end
    local left = deadline and deadline - now()
    if why == "Operation already in progress" then why = "timeout" end -- asked again
    if why == "timeout" and (not left or left > 0) then
      tasks.park_to_write(so, left)
    end
  until why ~= "timeout" or left and left <= 0
  so:close()
  if why == "timeout" then return sockets.timed_out() end
  return failure("CONNECT", why)
end

function loop.listen(place, port, options)
  local so, why = new(place, port)
  if not so then return nil, why end
  so:setoption("reuseaddr", true)
  if port and place:find(":") then so:setoption("ipv6-v6only", true) end
  if port and options.reuseport then so:setoption("reuseport", true) end
  local ok
  ok, why = so:bind(place, port)
  if ok then ok, why = so:listen(options.backlog) end
  if ok then return open(listener, so, not port and place) end
  so:close()
  return nil, why, why == "cannot assign requested address"
end

-- ---- names ----

function loop.resolve(name)
  local found, why = socket.dns.getaddrinfo(name)
  if not found then return failure("DNS", why) end
  local list = {}
  for i, one in ipairs(found) do list[i] = one.addr end
  return list
end

return streams.host(loop)
