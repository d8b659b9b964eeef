-- SPDX-License-Identifier: MIT
-- The task of a client that stays connected: attempts, what happens when one
-- succeeds, and waiting between them.
--
--   connecting -> open -> waiting -> connecting ...
--        |          |        |
--        +----------+--------+--> closed, for good
--
-- One task a client walks this circle. Whoever wants something of it leaves a
-- note in client.own and sets own.wake; whoever waits for it waits for
-- own.changed, which is a new event after each change, so that nobody misses one.

local backoff = require "duplex.reconnect.backoff"
local time_left = require("duplex.options").left
local raised = require("duplex.failure").raised
local verdict = require "duplex.reconnect.verdict"

--- Makes the functions for a bound table.
---@param duplex duplex
---@return table keep
return function(duplex)
  local keep = {}

  local function changed(client)
    local event = client.own.changed
    client.own.changed = duplex.event()
    event:set()
  end

  local function set_state(client, state)
    client.state = state
    changed(client)
  end

  -- What the program gave us to call may raise, and may wait; only not for what
  -- waits for it. One function of a client runs at a time.
  local function guarded(client, fn, ...)
    local own = client.own
    local function outside(...)
      own.inside = nil
      return ...
    end
    local function inside(...)
      own.inside = coroutine.running()
      return fn(...)
    end
    return outside(duplex.pcall(inside, ...))
  end

  local function call(client, name, ...)
    local fn = client.own[name]
    if not fn then return true end
    local fine, problem = guarded(client, fn, ...)
    if fine then return true end
    problem = raised(problem)
    client.own.log("error", name .. " failed: " .. problem)
    return false, problem
  end

  --- Ends a client.
  ---@param client duplex.Client
  ---@param failure? duplex.Failure why; nil: because the program wants it
  function keep.finish(client, failure)
    local own = client.own
    if own.failure then return end
    own.failure = failure or { id = "CLOSED", message = "CLOSED: the client is closed" }
    client.error = failure and failure.message
    client.retry_at = nil
    own.forget()
    set_state(client, "closed")
    own.wake:set()
  end

  --- The connection that is used, nil while there is none.
  ---@param client duplex.Client
  ---@return duplex.Connection|nil
  function keep.live(client)
    local current = client.own.current
    if client.state ~= "open" or current.gone or current.ws.state ~= "open" then return nil end
    return current.ws
  end

  --- Waits for a change of the client.
  ---@param client duplex.Client
  ---@param deadline? number
  ---@return true|nil ok, string? message, string? id "TIMEOUT"
  function keep.wait(client, deadline)
    local inside = client.own.inside
    if inside and inside == coroutine.running() and not deadline then
      error("this would wait for ever: the client goes on when the function that it called returns", 0)
    end
    return client.own.changed:wait(time_left(deadline, duplex.now))
  end

  --- Goes on without this connection. Nobody waits for the server's goodbye: it
  --- may be that it does not answer any more.
  function keep.leave(client)
    local current = client.own.current
    current.left, current.gone = true, true
    duplex.spawn(current.ws.close, current.ws)
    client.own.wake:set()
  end

  -- ---- connecting ----

  local function fail(id, message, final)
    return nil, { id = id, message = ("%s: %s"):format(id, message), final = final }
  end

  -- The URL and the options of the next attempt | nil, failure
  local function target(client)
    local own = client.own
    if type(own.url) == "string" then return own.url, own.connect end
    local fine, url, given = guarded(client, own.url, client)
    -- What gets a token may raise because the network is down: not final.
    if not fine then return fail("ERROR", "the function for the URL: " .. raised(url)) end
    if url == nil then return fail("URL", given and raised(given) or "none was given", true) end
    if given == nil then return url, own.connect end
    if type(given) ~= "table" then
      return fail("ERROR", "the function for the URL must return a table of options, got "
        .. type(given), true)
    end
    local options = {}
    for name, value in pairs(own.connect) do options[name] = value end
    for name, value in pairs(given) do options[name] = value end
    return url, options
  end

  -- A connection | nil, failure
  local function connect(client)
    local url, options = target(client)
    if not url then return nil, options end
    local fine, ws, message, id, response = duplex.pcall(duplex.connect, url, options)
    -- Bad options, most likely; they will not be better next time.
    if not fine then return fail("ERROR", "duplex.connect: " .. raised(ws), true) end
    if ws then return ws end
    return nil, { id = id, message = message, response = response,
      status = response and response.status }
  end

  -- A task of its own, so that it can be left alone when it takes long.
  local function try(client, attempt)
    attempt.ws, attempt.failure = connect(client)
    attempt.done = true
    client.own.wake:set()
    if attempt.given_up and attempt.ws then attempt.ws:close() end
  end

  -- Waits until somebody wants something of this task.
  local function await(own, timeout)
    own.wake:wait(timeout)
    own.wake:clear()
  end

  local function attempt_once(client)
    local own, attempt = client.own, {}
    own.hurry = false
    client.retry_at = nil
    set_state(client, "connecting")
    duplex.background(try, client, attempt)
    while not attempt.done and not own.failure do await(own) end
    if not own.failure then return attempt.ws, attempt.failure end
    attempt.given_up = true
    if attempt.ws then attempt.ws:close() end
  end

  -- ---- connected ----

  local function flush(client, current)
    local own = client.own
    local queue = own.queue
    while queue.count > 0 and not current.gone and not own.failure do
      -- It stays in the queue until it was taken: what fails is sent next time.
      if not current.ws:send(queue:peek()) then break end
      queue:pop()
    end
    own.flushing = false
    changed(client)
  end

  local function ending(current, problem)
    local ws = current.ws
    local failure = { code = ws.close_code, reason = ws.close_reason,
      uptime = duplex.now() - current.since, left = current.left }
    if problem then
      failure.id, failure.message = "ERROR", "ERROR: on_open failed: " .. problem
    elseif current.left then
      failure.id, failure.message = "CLOSED", "CLOSED: the program left the connection"
    elseif ws.close_error then
      failure.id, failure.message = ws.close_error:match("^[%u%d_]+"), ws.close_error
    else
      failure.id = "CLOSED"
      failure.message = ("CLOSED: the connection was closed with %s%s"):format(
        tostring(failure.code), (failure.reason or "") ~= "" and ": " .. failure.reason or "")
    end
    return failure
  end

  -- From the handshake to the end of a connection; returns why it ended.
  local function stay(client, ws)
    local own = client.own
    local current = { ws = ws, since = duplex.now(), gone = false }
    own.current, client.ws = current, ws
    ws:on_close(function()
      current.gone = true
      own.wake:set()
    end)
    local fine, problem = call(client, "on_open", ws, client)
    if not fine then
      current.gone = true
      duplex.spawn(ws.close, ws, 1011)
    elseif not current.gone and not own.failure then
      own.flushing = true
      -- Who receives may not have taken all that the one before had brought.
      own.reading = own.reading or ws
      set_state(client, "open")
      flush(client, current)
    end
    while not current.gone and not own.failure do await(own) end
    if not own.failure then client.ws, client.state = nil, "waiting" end
    return ending(current, problem)
  end

  -- ---- between ----

  -- Seconds to wait, or nil to give up.
  local function judge(client, failure)
    local own = client.own
    if failure.uptime and failure.uptime >= own.min_uptime then client.attempts = 0 end
    -- What client:reconnect() ends has not failed.
    if not (failure.left and own.hurry) then client.attempts = client.attempts + 1 end
    failure.failures = client.attempts
    if not failure.left then
      local fine, final = guarded(client, verdict.final, failure, own.final, own.retryable)
      if not fine then
        own.log("error", "final or retryable failed: " .. raised(final))
        final = verdict.final(failure)
      end
      if final or failure.final or client.attempts >= (own.attempts or math.huge) then return nil end
    end
    if own.hurry then return 0 end
    local delay = backoff.delay(client.attempts, own.random(), own)
    local asked = failure.response
      and backoff.retry_after(failure.response.headers, os.time())
    -- Behind the time that the server told everybody, the clients spread too.
    return delay + math.min(asked or 0, own.max_retry_after)
  end

  local function wait(client)
    local own = client.own
    while not own.failure and not own.hurry do
      local left = client.retry_at - duplex.now()
      if left <= 0 then return end
      await(own, left)
    end
  end

  --- The task.
  ---@param client duplex.Client
  function keep.run(client)
    local own = client.own
    while not own.failure do
      local ws, failure = attempt_once(client)
      if ws then failure = stay(client, ws) end
      if own.failure then return end
      local delay = judge(client, failure)
      if own.failure then return end -- closed meanwhile
      if own.detail then
        own.detail("debug", delay and "connecting again" or "gave up",
          { error = failure.message, delay = delay, failures = failure.failures })
      end
      if not delay then
        keep.finish(client, failure)
        if failure.id ~= "STOPPED" then call(client, "on_give_up", failure) end
        return
      end
      client.retry_at = duplex.now() + delay
      set_state(client, "waiting")
      call(client, "on_close", failure, delay)
      wait(client)
    end
  end

  return keep
end
