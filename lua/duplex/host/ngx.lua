-- SPDX-License-Identifier: MIT
-- The host for programs that run in nginx with its Lua module (OpenResty): what
-- the others are made of is in ngx_tasks.lua and ngx_stream.lua.

local connection = require "duplex.connection"
local core = require "duplex.core"
local failure = require "duplex.failure"
local new_stream = require "duplex.host.ngx_stream"
local stream = require "duplex.stream"
local tasks = require "duplex.host.ngx_tasks"

local ngx = rawget(_G, "ngx")

local LOOK = 10 -- seconds between looks for requests that were cut off
local GRACE = 10 -- seconds, as of stop on other hosts; worker_shutdown_timeout is not known
-- Sockets of other programs that wait for their next use are not for us.
local POOL = { pool = "duplex, never reused" }

local host = { name = "nginx", pcall = pcall }
for _, name in ipairs { "now", "event", "spawn", "brief", "sleep", "exiting", "call",
  "log_failure", "can_wait", "check_wait" } do
  host[name] = tasks[name]
end

-- Connections made here, by id. Weak keys would show finalized ones too.
host.clients = setmetatable({}, { __mode = "v" })

-- What is its request's alone as yet is for that to end.
function host.brief(fn, done, link, ...)
  local s = type(link) == "table" and link.stream
  if s and s.alone and s:mine() then return tasks.spawn(fn, done, link, ...) end
  return tasks.brief(fn, done, link, ...)
end

local transport = stream.transport(host)
host.transport, host.unsent = transport, transport.unsent
transport.secure, transport.tls = nil, nil -- OpenSSL is nginx's own

local function stream_of(ws) return connection.extra(ws).link.stream end

--- Who made the request that runs.
---@return string address, integer|nil port
function host.remote()
  local address = ngx.var.remote_addr
  return address == "unix:" and "unix" or address, tonumber(ngx.var.remote_port)
end

-- Before its upgrade a connection has no stream.
local peer = transport.peer
function transport.peer(ws)
  local address, port = peer(ws)
  if address or ngx.get_phase() ~= "content" then return address, port end
  return host.remote()
end

host.class = connection.class(host, transport)

-- ---- connections that live ----

local live, looks = {}, nil -- streams by connection; when watch is due

local function go_away(ws)
  core.close(ws, 1001, "", host.now())
  connection.flush(ws)
end

-- A request can end at any time, and its light threads with it: nothing tells
-- but that its table is garbage.
local function bury(ws, s)
  core.fail(ws, "LOST")
  s:close()
  connection.flush(ws)
end

local function all_go_away()
  tasks.exit:set()
  for key, fn in pairs(host.stoppers) do
    host.stoppers[key] = nil -- looked at every second: once is enough
    host.brief(fn, tasks.log_failure, GRACE)
  end
  for ws in pairs(live) do go_away(ws) end
  tasks.hold(0)
end

-- Timers are called early when the worker is about to stop, but before it looks
-- at events again: what wakes tasks now has no effect before one comes.
local function watch(premature)
  if premature then return ngx.timer.at(0, all_go_away) end
  for ws, s in pairs(live) do
    if s.gone then bury(ws, s) end
  end
  tasks.begin()
  if looks and looks < tasks.now() + LOOK / 2 then looks = nil end -- it was this one
  if next(live) or next(host.stoppers) or tasks.exit.waiting > 0 then tasks.watch() else looks = nil end
end

function tasks.watch() looks = tasks.timer(looks, LOOK, watch) end

-- What else to call when the worker exits. A client that waits to connect again
-- has no connection that would have it watched.
host.stoppers = setmetatable({}, { __newindex = function(stoppers, key, fn)
  tasks.check_worker()
  rawset(stoppers, key, fn)
  if fn then tasks.watch() end
end })

-- Should nginx have dropped one of these timers.
function tasks.look()
  if host.exiting() then return all_go_away() end
  tasks.watch()
end

--- A stream over a cosocket of this request becomes that of a connection.
function host.attach(ws, socket, fields)
  local over = fields.over
  function fields.over(s)
    if live[ws] then
      live[ws] = nil
      tasks.hold(-1)
    end
    if over then over(s) end
  end
  transport.attach(ws, new_stream(socket, fields))
end

--- From now on all requests of this worker may use it.
function host.opened(ws)
  local s = stream_of(ws)
  s:share(core.send_timeout(ws))
  live[ws] = s
  tasks.hold(1)
  tasks.watch()
  if host.exiting() then go_away(ws) end -- watch has been called, for the last time
end

-- ---- clients ----

--- nginx looks names up when it connects.
function host.resolve(name)
  return name:lower() == "localhost" and { "127.0.0.1", "::1" } or { name }
end

function host.connect(ws, address, port, timeout)
  tasks.check_wait()
  local socket = ngx.socket.tcp()
  local ok, why
  socket:settimeout(timeout and math.max(1, math.ceil(timeout * 1000)) or 1000000000)
  if port then
    local name = address:find(":", 1, true) and "[" .. address .. "]" or address
    ok, why = socket:connect(name, port, POOL)
  else
    ok, why = socket:connect("unix:" .. address, POOL)
  end
  if not ok and why == "timeout" then return failure.timed_out() end
  if not ok then return failure.of(why:find("resolve") and "DNS" or "CONNECT", why) end
  host.attach(ws, socket, { address = port and address or "unix", port = port,
    finish = function(s) s.socket:close() end })
  return true
end

--- TLS is nginx's: what it trusts is in nginx.conf, lua_ssl_trusted_certificate.
function host.secure(attempt, ws, name, port, given)
  local s = stream_of(ws)
  if core.secure(ws) or s.secure then return failure.of("TLS", "host 'nginx' has no TLS within TLS") end
  s.secure = true
  local left = attempt.deadline and math.max(0.001, attempt.deadline - host.now())
  s.socket:settimeout(left and math.ceil(left * 1000) or 1000000000)
  local ok, why = s.socket:sslhandshake(false, given and given.server_name or name,
    not given or given.verify)
  if not ok then return failure.of("TLS", ("%s port %d: %s"):format(name, port, why)) end
  core.secure(ws, true)
  return true
end

return host
