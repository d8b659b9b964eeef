-- SPDX-License-Identifier: MIT
-- The WebSocket object of browsers (WHATWG WebSockets), for those who know it.
-- Nothing in it waits: what is sent is queued, and what happens is an event. All
-- events of a socket come from one task, so each waits for the listeners of the
-- one before.

local events = require "duplex.browser.events"
local failure = require "duplex.failure"
local log = require "duplex.log"
local options = require "duplex.options"
local rules = require "duplex.browser.rules"

local throw = rules.throw

local CONNECTING, OPEN, CLOSING, CLOSED = 0, 1, 2, 3
local NAMES = { [CONNECTING] = "CONNECTING", "OPEN", "CLOSING", "CLOSED" }
local TYPES = { onopen = "open", onmessage = "message", onerror = "error", onclose = "close" }
local BINARY_TYPES = { blob = true, arraybuffer = true }
local STATE = {} -- the key of what is not for everybody

---@class duplex.browser.WebSocket
---@field CONNECTING 0
---@field OPEN 1
---@field CLOSING 2
---@field CLOSED 3
---@field readyState 0|1|2|3
---@field url string as the standard serializes it
---@field protocol string the subprotocol agreed on, "" for none
---@field extensions string those agreed on, "" for none
---@field bufferedAmount integer bytes that send() was given and that have not left
---@field binaryType "blob"|"arraybuffer" kept for programs that set it; binary messages are
---  strings, with kind "binary" in their event
---@field onopen fun(event: duplex.browser.Event)|nil
---@field onmessage fun(event: table)|nil data, kind, origin
---@field onerror fun(event: table)|nil message: why
---@field onclose fun(event: table)|nil code, reason, wasClean
local methods = { CONNECTING = CONNECTING, OPEN = OPEN, CLOSING = CLOSING, CLOSED = CLOSED }

-- Bytes that the connection was given and that have not left.
local function leaving(s) return s.connection and math.min(s.handed, s.connection.outbox) or 0 end

local getters = {
  readyState = function(s) return s.state end,
  url = function(s) return s.url end,
  protocol = function(s) return s.protocol end,
  extensions = function(s) return s.extensions end,
  binaryType = function(s) return s.binary_type end,
  bufferedAmount = function(s) return s.waiting + s.never + leaving(s) end,
}

local class = { __name = "duplex.browser.WebSocket" }

function class.__index(ws, name)
  if methods[name] ~= nil then return methods[name] end
  local s = rawget(ws, STATE)
  if getters[name] then return getters[name](s) end
  if TYPES[name] then return s.listeners:handler(TYPES[name]) end
end

function class.__newindex(ws, name, value)
  local s = rawget(ws, STATE)
  if TYPES[name] then
    if value ~= nil and type(value) ~= "function" then
      throw("TypeError", name .. " must be a function or nil, got " .. type(value), 2)
    end
    s.listeners:set_handler(TYPES[name], value)
  elseif name == "binaryType" then
    if not BINARY_TYPES[value] then
      throw("TypeError", 'binaryType must be "blob" or "arraybuffer"', 2)
    end
    s.binary_type = value
  elseif getters[name] or methods[name] ~= nil then
    throw("TypeError", name .. " cannot be set", 2)
  else
    rawset(ws, name, value)
  end
end

function class.__tostring(ws)
  local s = ws[STATE]
  return ("WebSocket %s (%s)"):format(s.origin, NAMES[s.state])
end

local function state_of(ws)
  local s = type(ws) == "table" and rawget(ws, STATE)
  return s or throw("TypeError", "this is a method: write ws:send(data), with a colon", 3)
end

-- ---- events ----

local function fire(s, fields) s.listeners:dispatch(events.event(fields)) end

-- The last two events.
local function ended(s, code, reason, problem)
  s.state = CLOSED
  s.never, s.handed = s.never + leaving(s), 0 -- from now on it only grows
  if problem then fire(s, { type = "error", message = problem }) end
  fire(s, { type = "close", code = code, reason = reason, wasClean = not problem and code ~= 1006 })
end

local function is_callback(value)
  return type(value) == "function" or type(value) == "table" and type(value.handleEvent) == "function"
end

--- Calls listener(event) for events of a type, unless it is there already.
---@param event_type string
---@param listener function|{ handleEvent: function }|nil
---@param given? { once: boolean? }|boolean
function methods:addEventListener(event_type, listener, given)
  local s = state_of(self)
  if type(event_type) ~= "string" then
    throw("TypeError", "the type of an event must be a string, got " .. type(event_type), 2)
  end
  if listener == nil then return end
  if not is_callback(listener) then
    throw("TypeError", "a listener must be a function or have a function handleEvent", 2)
  end
  s.listeners:add(event_type, listener, type(given) == "table" and given.once or nil)
end

--- Undoes addEventListener; in a listener for the event that it is called with, too.
---@param event_type string
---@param listener function|{ handleEvent: function }|nil
function methods:removeEventListener(event_type, listener)
  state_of(self).listeners:remove(event_type, listener)
end

--- Calls the listeners of event.type now.
---@param event table
---@return true
function methods:dispatchEvent(event)
  local s = state_of(self)
  if type(event) ~= "table" or type(event.type) ~= "string" then
    throw("TypeError", "an event must be a table with a string 'type'", 2)
  end
  s.listeners:dispatch(events.event(event))
  return true
end

-- ---- output ----

-- Sends what is queued, and then closes if that was asked for.
local function drain(s)
  local queue = s.queue
  while queue[s.first] do
    local item = queue[s.first]
    if item.close then
      s.connection:close(item.code or false, item.reason)
    elseif s.connection:send(item) then
      s.handed = s.handed + #item
    else
      break -- the rest is never sent
    end
    queue[s.first] = nil
    s.first = s.first + 1
    s.waiting = s.waiting - (item.close and 0 or #item)
  end
  s.draining = nil
end

local function enqueue(s, item)
  s.last = s.last + 1
  s.queue[s.last] = item
  if s.draining then return end
  s.draining = true
  s.duplex.detach(drain, s) -- the request that sends may be gone before all is sent
end

--- Sends a message. Never waits.
---@param data string
---@param kind? "text"|"binary" default "text"
function methods:send(data, kind)
  local s = state_of(self)
  if s.state == CONNECTING then
    throw("InvalidStateError", "it is still connecting: wait for the event 'open'", 2)
  end
  local fine, message = pcall(s.duplex.prepare, data, kind)
  if not fine then throw("TypeError", failure.said(message), 2) end
  if s.state ~= OPEN then
    s.never = s.never + #message
    return
  end
  if not s.draining then
    if s.connection.outbox == 0 then s.handed = 0 end
    local ok, _, id = s.connection:try_send(message)
    if ok then
      s.handed = s.handed + #message
      return
    elseif id ~= "FULL" then -- it is over, which nobody was told yet
      s.never = s.never + #message
      return
    end
  end
  s.waiting = s.waiting + #message
  enqueue(s, message)
end

local function give_up(s)
  s.duplex.sleep(0)
  ended(s, 1006, "", "it was closed before it was open")
end

--- Closes, after what was sent has left. Never waits.
---@param code? integer 1000 or 3000..4999; none: a close frame without a code
---@param reason? string at most 123 bytes
function methods:close(code, reason)
  local s = state_of(self)
  rules.close(code, reason, 2)
  if reason and not pcall(s.duplex.prepare, reason) then
    throw("TypeError", "the reason is not valid UTF-8", 2)
  end
  if s.state == OPEN then
    s.state = CLOSING
    enqueue(s, { close = true, code = code, reason = code and reason })
  elseif s.state == CONNECTING then
    s.state = CLOSING
    s.duplex.detach(give_up, s)
  end
end

-- ---- life ----

-- Messages, until there are no more.
local function receive(s)
  while true do
    local data, kind, id = s.connection:receive()
    if id then return end
    if s.state == OPEN then
      fire(s, { type = "message", data = data, kind = kind, origin = s.origin, lastEventId = "" })
    end
  end
end

-- What connect raises here is about this host, which lacks something.
local function connect(s, given)
  local fine, connection, problem = s.duplex.pcall(s.duplex.connect, s.url, given)
  if fine then return connection, problem end
  return nil, failure.said(connection)
end

local function live(s, given)
  s.duplex.sleep(0) -- no event before whoever made it could listen
  local connection, problem
  if s.state == CONNECTING then connection, problem = connect(s, given) end
  if connection and given.subprotocols[1] and not connection.subprotocol then
    -- RFC 6455 4.1 lets this pass, browsers do not.
    connection:close(1002, "a subprotocol was asked for", 0)
    connection, problem = nil, "HANDSHAKE: the server has chosen no subprotocol"
  end
  if s.state ~= CONNECTING then -- closed meanwhile
    if connection then connection:close(1001, "", 0) end
    return
  elseif not connection then
    return ended(s, 1006, "", problem)
  end
  s.connection, s.state = connection, OPEN
  s.protocol, s.extensions = connection.subprotocol or "", connection.extensions
  fire(s, { type = "open" })
  receive(s)
  local code, reason = connection:wait_closed()
  ended(s, code, reason, connection.close_error)
end

return function(duplex)
  local WebSocket = { CONNECTING = CONNECTING, OPEN = OPEN, CLOSING = CLOSING, CLOSED = CLOSED }

  --- Begins to connect. Events tell what comes of it, none of them before the
  --- caller waits.
  ---@param address string ws, wss, http or https
  ---@param protocols? string|string[]
  ---@param given? duplex.ClientOptions an addition to the standard
  ---@return duplex.browser.WebSocket
  local function new(_, address, protocols, given)
    local url, origin = rules.url(address, 2)
    local list = rules.protocols(protocols, 2)
    local all = { redirects = 0 } -- as in browsers
    options.check("client", given, 2)
    for name, value in pairs(given or {}) do all[name] = value end
    if all.subprotocols then
      error("subprotocols are the second argument, not an option here", 2)
    end
    all.subprotocols = list
    local write = log.writer(all.log)
    local ws, s = {}, {
      duplex = duplex, url = url, origin = origin, state = CONNECTING, protocol = "", extensions = "",
      binary_type = "blob", queue = {}, first = 1, last = 0,
      waiting = 0, -- bytes in the queue
      handed = 0, -- to the connection, since its outbox was empty
      never = 0, -- given when it was too late
    }
    ws[STATE] = s
    s.listeners = events.target(ws, duplex.pcall, function(event_type, problem)
      write("error", ("a listener for '%s' failed: %s"):format(event_type, tostring(problem)))
    end)
    setmetatable(ws, class)
    duplex.spawn(live, s, all)
    return ws
  end

  return { WebSocket = setmetatable(WebSocket, { __call = new }) }
end
