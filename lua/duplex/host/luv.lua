-- SPDX-License-Identifier: MIT
-- The host for programs that live in libuv by luv, as in Neovim and Luvit. How
-- tasks wait there is in luv_tasks.lua.

local sockets = require "duplex.sockets"
local streams = require "duplex.streams"
local tasks = require "duplex.host.luv_tasks"

local await, uv = tasks.await, tasks.uv

local HIGH = 65536 -- bytes that were read and nobody took: then reading stops
local PIECE = 64 -- bytes that a piece of them counts for, besides its own

local loop = {
  name = "luv", lacks = { "reuseport" },
  start = tasks.start, park = tasks.park, wake = tasks.wake, run = tasks.run,
}
function loop.now() return uv.hrtime() / 1e9 end

-- ---- sockets ----

local own, stream = {}, nil

local function open(class, handle, path)
  return setmetatable({ handle = handle, path = path, pieces = {}, size = 0 }, class)
end

-- Writing to a peer that is gone must not kill the program, as SIGPIPE would.
local broken_pipe = uv.new_signal()
broken_pipe:start("sigpipe", function() end)
broken_pipe:unref()

local function new(unix) return unix and uv.new_pipe(false) or uv.new_tcp() end

function own:receive(max)
  if self.size == 0 then return nil, self.ended or sockets.AGAIN end
  local bytes = table.concat(self.pieces)
  local rest = #bytes > max and bytes:sub(max + 1) or nil
  self.pieces, self.size = { rest }, rest and #rest + PIECE or 0
  return rest and bytes:sub(1, max) or bytes
end

function own:send(bytes)
  local count, _, name = self.handle:try_write(bytes)
  if count or name == "EAGAIN" then return count or 0 end
  return nil, name
end

function own:write(bytes, timeout)
  if self.closed then return sockets.failure("LOST", "ECANCELED") end
  return await(timeout, "LOST", function(done) return self.handle:write(bytes, done) end)
end

-- libuv reads for us, until too much lies here that nobody took. A peer may send
-- byte by byte, and each piece takes memory of its own.
function own:await(_, timeout)
  self.came = self.came or function(problem, bytes)
    if bytes then
      self.size = self.size + #bytes + PIECE
      self.pieces[#self.pieces + 1] = bytes
      if self.size > HIGH then self.handle:read_stop() end
    else
      self.ended = problem or sockets.EOF
    end
    tasks.resume(self)
  end
  if not self.listens then self.handle:read_start(self.came) end
  local aside = tasks.aside()
  if aside ~= (self.aside or false) then
    self.aside = aside
    self.handle[aside and "unref" or "ref"](self.handle)
  end
  loop.park(self, timeout)
end

function own:unpark() loop.wake(self) end

function own:accepted()
  local s = open(stream, new(self.path), self.path)
  local ok, _, name = self.handle:accept(s.handle)
  if ok and not self.path then s.handle:nodelay(true) end
  if ok then return s end
  s.handle:close()
  return nil, name == "EAGAIN" and sockets.AGAIN or name
end

function own:shutdown() self.handle:shutdown() end

function own:finish() self.handle:close() end

function own:names(far)
  local handle = self.handle
  local address = far and handle:getpeername() or not far and handle:getsockname() or {}
  return address.ip, address.port
end

local listener
stream, listener = sockets.classes(loop.now, own)

function loop.connect(address, port, timeout)
  local handle = new(not port)
  local ok, message, id = await(timeout, "CONNECT", function(done)
    if port then return handle:connect(address, port, done) end
    return handle:connect(address, done)
  end, function() handle:close() end)
  if ok and port then handle:nodelay(true) end
  if ok then return open(stream, handle, not port) end
  handle:close()
  return nil, message, id
end

function loop.listen(place, port, options)
  local unix = type(place) == "string" and not port and place
  local self = open(listener, new(unix), unix)
  self.listens = true
  local function listen()
    local ok, message, name
    if type(place) == "number" then
      -- libuv would close what it cannot use: it may be somebody's, even its own.
      if uv.guess_handle(place) ~= "tcp" then return nil, "the descriptor is no TCP socket" end
      ok, message, name = self.handle:open(place)
    elseif unix then
      ok, message, name = self.handle:bind(place)
    else
      ok, message, name = self.handle:bind(place, port, { ipv6only = place:find(":") ~= nil })
    end
    if not ok then return ok, message, name end
    return self.handle:listen(options.backlog, function() loop.wake(self) end)
  end
  local fine, ok, message, name = pcall(listen)
  if fine and ok then return self end
  self.handle:close()
  return nil, (tostring(fine and message or ok):gsub("^E%u+: ", "")),
    name == "EADDRNOTAVAIL" or name == "EAFNOSUPPORT"
end

-- ---- names ----

function loop.resolve(name, timeout)
  local list, request = {}, nil
  local function cancel() uv.cancel(request) end -- those that wait for a thread
  local ok, message, id = await(timeout, "DNS", function(done)
    request = uv.getaddrinfo(name, nil, { socktype = "stream" }, function(problem, found)
      for i, one in ipairs(found or {}) do list[i] = one.addr end
      done(problem)
    end)
    return request
  end, cancel)
  if ok then return list end
  return nil, message, id
end

return streams.host(loop)
