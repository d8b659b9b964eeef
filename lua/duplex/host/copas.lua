-- SPDX-License-Identifier: MIT
-- The host for programs that live in Copas, old or new. All waiting is done by
-- its select, on waiters: objects with a descriptor, which can also say "look
-- at me" (dirty, as sockets with a buffer do) when they were woken or their time
-- is up. LuaSocket looks names up while everybody waits.

local copas = require "copas" -- before LuaSocket, as it wants
local socket = require "socket"
local core = require "duplex.core"
local sockets = require "duplex.sockets"
local streams = require "duplex.streams"

local _, unix = pcall(function() return require "socket.unix" end) -- not everywhere
local now, failure = core.now, sockets.failure
local loop = { name = "copas", now = now, lacks = { "fd" } }

-- Select cannot watch more.
function loop.descriptors() return socket._SETSIZE end

-- ---- tasks ----

local waiter = {}
local waiter_class = { __index = waiter }
local nowhere = (socket.udp4 or socket.udp)() -- a descriptor on which nothing happens

function waiter:getfd()
  local fd = self.socket and self.socket:getfd() or -1
  return fd >= 0 and fd or nowhere:getfd() -- or nobody would look at a closed one
end
function waiter:dirty() return self.woken or self.deadline ~= nil and now() >= self.deadline end
function waiter.close() end -- copas closes what a thread waited for last

-- The sets that copas selects are what it yields for a socket that is not ready.
local function queue_of(call)
  local function not_ready() return nil, "timeout", 0 end
  local fake = setmetatable({ receive = not_ready, send = not_ready }, waiter_class)
  local step = coroutine.wrap(call)
  local object, queue
  repeat object, queue = step(fake, "*a") until object == fake
  return queue
end
local reading, writing = queue_of(copas.receive), queue_of(copas.send)

-- Somebody has to see that select does not wait beyond the first deadline.
local timed, first, watcher = {}, math.huge, nil

local function find_first()
  first = math.huge
  for w in pairs(timed) do first = math.min(first, w.deadline) end
  return first
end

-- Copas 1 has no timers: this one waits in the place of its select.
local clock = setmetatable({}, waiter_class)
function clock:dirty()
  if self.selecting then return false end
  self.selecting = next(timed) ~= nil
  if self.selecting then
    socket.select(reading, writing, math.max(0, math.min(find_first() - now(), 60)))
  end
  self.selecting = false
  return next(timed) == nil or now() >= first
end

local function watch_clock()
  while next(timed) do
    if copas.pause then
      copas.pause(math.max(0, math.min(find_first() - now(), 1)))
    else
      coroutine.yield(clock, reading)
    end
  end
  watcher = nil
end

local function park(w, timeout)
  if timeout then
    w.deadline, timed[w] = now() + timeout, true
    if not watcher then
      watcher = true
      watcher = copas.addthread(watch_clock)
    elseif w.deadline < first and copas.wakeup then
      copas.wakeup(watcher)
    end
  end
  coroutine.yield(w, reading)
  local woken = w.woken
  timed[w], w.deadline, w.woken = nil, nil, nil
  return woken == true
end

function loop.park(w, timeout) return park(setmetatable(w, waiter_class), timeout) end
function loop.wake(w) w.woken = true end

function loop.start(fn)
  copas.addthread(function()
    loop.park({}, 0)
    fn()
  end)
end

-- LuaSocket asks only those that read whether they are dirty: who waits to write
-- waits among them, for a thread that is not in a hurry.
local function park_to_write(so, timeout)
  local w = setmetatable({}, waiter_class)
  copas.addthread(function()
    coroutine.yield(setmetatable({ socket = so }, waiter_class), writing)
    w.woken = true
  end)
  park(w, timeout)
end

function loop.run(alive)
  repeat copas.step() until not alive()
end

-- ---- sockets ----

local own, stream = {}, nil

local function open(class, so, path)
  so:settimeout(0)
  if not path and class == stream then so:setoption("tcp-nodelay", true) end
  return setmetatable({ socket = so, path = path,
    read_end = setmetatable({ socket = so }, waiter_class) }, class)
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
  if mode == "write" then return park_to_write(self.socket, timeout) end
  park(self.read_end, timeout)
end

function own:unpark() loop.wake(self.read_end) end
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
    if why == "timeout" and (not left or left > 0) then
      park_to_write(so, left)
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
