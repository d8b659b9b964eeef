-- SPDX-License-Identifier: MIT
-- The host for programs that run in nginx with its Lua module (OpenResty).
-- Tasks are light threads; what is one request's stays with it, see
-- ngx_stream.lua. What no request has to do is done by light threads of one
-- timer of the worker, as a request may be gone before it is done.

local connection = require "duplex.connection"
local log = require "duplex.log"
local semaphore = require "ngx.semaphore"
local stream = require "duplex.stream"

local ngx = rawget(_G, "ngx")
local monotonic = require("resty.core.time").monotonic_msec

local FOREVER = 1000000 -- seconds
local WAITS = { rewrite = true, access = true, content = true, timer = true }
local LEVELS = { debug = ngx.DEBUG, info = ngx.INFO, warning = ngx.WARN, error = ngx.ERR }

local host = { name = "nginx", pcall = pcall, exiting = ngx.worker.exiting }

-- Connections made here, by id. Weak keys would show finalized ones too.
host.clients = setmetatable({}, { __mode = "v" })

local function failure(id, what) return nil, ("%s: %s"):format(id, what), id end

--- Seconds, as of the last time that nginx looked at its events.
function host.now() return monotonic() / 1000 end

--- Can the running code wait?
function host.can_wait() return WAITS[ngx.get_phase()] == true end

--- Logs as programs in nginx do.
function host.log(level, message, fields)
  ngx.log(LEVELS[level], log.line(level, message, fields))
end

function host.log_failure(problem)
  if not problem then return end
  local first, rest = log.split(problem)
  host.log("error", "task failed: " .. first, { traceback = rest })
end

-- ---- events ----

local event = {}
local event_class = { __index = event, __name = "duplex.event" }

function event:wait(timeout)
  local deadline, turn = timeout and host.now() + timeout, self.turn
  while not self.on and self.turn == turn do
    local left = deadline and deadline - host.now() or FOREVER
    if left <= 0 then return failure("TIMEOUT", "timed out") end
    self.sema = self.sema or semaphore.new()
    self.waiting = self.waiting + 1
    self.sema:wait(left)
    self.waiting = self.waiting - 1
  end
  return true
end

function event:set()
  self.on = true
  if self.waiting == 0 then return end
  self.turn = self.turn + 1
  self.sema:post(self.waiting)
end

function event:clear() self.on = false end

function host.event() return setmetatable({ on = false, waiting = 0, turn = 0 }, event_class) end

-- ---- tasks ----

local function traceback(problem) return debug.traceback(tostring(problem), 2) end

function host.run(fn, done, ...)
  local fine, problem = xpcall(fn, traceback, ...)
  done(not fine and problem or nil, ...)
end

--- Runs fn(...) as a task of this request, then done(failure, ...).
function host.spawn(fn, done, ...) ngx.thread.spawn(host.run, fn, done, ...) end

local jobs, first, last = {}, 1, 0
local ready = semaphore.new() -- posted for idle threads of the pool
local idle, busy, pool, keeping = 0, 0, false, 0

-- A light thread of the pool. One that is idle is always left, for what other
-- requests have to have done: they cannot start another.
local function work()
  while true do
    local job = jobs[first]
    if job then
      jobs[first], first, busy = nil, first + 1, busy + 1
      if idle == 0 then ngx.thread.spawn(work) end
      host.run(unpack(job, 1, job.n))
      busy = busy - 1
    elseif busy == 0 and keeping == 0 and ngx.worker.exiting() then
      pool = false
      if idle > 0 then ready:post(idle) end
      return
    else
      idle = idle + 1
      ready:wait(FOREVER)
      idle = idle - 1
    end
  end
end

local function in_timer(premature, fn) if not premature or fn == work then fn(premature) end end

--- Runs fn(...) as a task of the worker, then done(failure, ...).
function host.brief(...)
  last = last + 1
  jobs[last] = { n = select("#", ...), ... }
  if not pool then
    pool = true
    assert(ngx.timer.at(0, in_timer, work))
  elseif idle > 0 then
    ready:post(1)
  end
end

-- Waits until nginx has looked at its events: ngx.sleep(0) logs a warning where
-- nginx lacks a patch of OpenResty's, and posting semaphores starves others.
local turn
local function turn_over()
  turn:set()
  turn = nil
end

local function next_turn()
  if not turn then
    if not ngx.timer.at(0, turn_over) then return ngx.sleep(0.001) end
    turn = host.event()
  end
  turn:wait()
end

function host.sleep(seconds)
  if type(seconds) ~= "number" or seconds < 0 or seconds ~= seconds then
    error("seconds must be a number, 0 or more, got " .. tostring(seconds), 2)
  end
  if seconds > 0 then ngx.sleep(seconds) else next_turn() end
  if not ngx.worker.exiting() then return true end
  return failure("STOPPED", "the worker of nginx is stopping")
end

-- ---- connections ----

host.transport = stream.transport(host)
host.unsent = host.transport.unsent

-- Before its upgrade a connection has no stream.
local peer = host.transport.peer
function host.transport.peer(ws)
  local address, port = peer(ws)
  if address or ngx.get_phase() ~= "content" then return address, port end
  return ngx.var.remote_addr, tonumber(ngx.var.remote_port)
end

host.class = connection.class(host, host.transport)

return host
