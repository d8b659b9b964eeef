-- SPDX-License-Identifier: MIT
-- The option heartbeat. What it says about time becomes limits of the core, which
-- pings by itself; only what the core does not do, payloads of one's own, functions
-- to call and intervals that change, is done here, by a task for each connection.

local heartbeat = require "duplex.heartbeat"

local beat = {}

local LONGEST_PAYLOAD = 125 -- bytes, RFC 6455 5.5
local SHORTEST = 0.001 -- seconds to sleep; clocks and timers differ a little

--- Puts what options say about heartbeats into the rows that the core knows.
---@param checked table options, of which ping_interval and ping_timeout are set
---@return duplex.Heartbeat|nil policy for start, if the core alone cannot do it
function beat.plan(checked)
  local policy = checked.heartbeat
  if policy == nil then return nil end
  if policy == false then
    checked.ping_interval = false
    return nil
  end
  if not heartbeat.is(policy) then policy = heartbeat.policy(policy) end
  local needs_task = policy:needs_task()
  checked.ping_interval = not needs_task and policy.interval
  checked.ping_timeout = policy.timeout
  return needs_task and policy or nil
end

-- What the next ping carries; nil is a number of the core's.
local function payload_of(ws, policy, write_log)
  local payload = policy.payload
  if type(payload) ~= "function" then return payload end
  local fine, text = pcall(payload, ws)
  if fine and type(text) == "string" and #text <= LONGEST_PAYLOAD then return text end
  write_log("error", "heartbeat: " .. (fine
    and "payload must return a string of at most 125 bytes" or "payload failed: " .. tostring(text)),
    { connection = ws.id })
  return nil
end

local function report(ws, policy, seconds, write_log)
  if not policy.on_latency then return end
  local fine, problem = pcall(policy.on_latency, ws, seconds)
  if fine then return end
  write_log("error", "heartbeat: on_latency failed: " .. tostring(problem), { connection = ws.id })
end

-- Pings if it is time. Returns seconds until it may be time again, nil at the end.
local function look(ws, policy, state, write_log)
  if ws.state ~= "open" then return nil end
  local left = policy.interval - ws.idle
  if left > 0 then return left end
  state.silence = ws.idle
  -- The limits of the core end the wait, and the connection with it.
  local seconds, _, id = ws:ping(not policy.timeout and policy.interval or nil,
    payload_of(ws, policy, write_log))
  if id == "TIMEOUT" then return 0 end
  if not seconds then return nil end
  state.silence = nil
  policy:answered()
  report(ws, policy, seconds, write_log)
  return policy.interval
end

local function follow(ws, ...)
  local _, state = ...
  local left = look(ws, ...)
  while left do
    state.over:wait(math.max(SHORTEST, left))
    left = look(ws, ...)
  end
end

--- Pings a connection as a policy says, until it is over.
---@param host table
---@param ws duplex.Connection
---@param policy duplex.Heartbeat
---@param write_log fun(level: string, message: string, fields: table?)
function beat.start(host, ws, policy, write_log)
  local state = { over = host.event() }
  ws:on_close(function(ended)
    state.over:set()
    local why = ended.close_error
    if why and why:find("^LOST") then policy:lost(state.silence or ended.idle) end
  end)
  -- In nginx it belongs to the worker, elsewhere run does not wait for it.
  local spawn = host.run and host.background or host.brief
  spawn(follow, host.log_failure, ws, policy, state, write_log)
end

--- A handler before which the heartbeat starts.
---@param host table
---@param policy duplex.Heartbeat
---@param write_log fun(level: string, message: string, fields: table?)
---@param handler fun(ws: duplex.Connection)
---@return fun(ws: duplex.Connection)
function beat.before(host, policy, write_log, handler)
  return function(ws)
    beat.start(host, ws, policy, write_log)
    return handler(ws)
  end
end

return beat
