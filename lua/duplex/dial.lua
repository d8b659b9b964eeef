-- SPDX-License-Identifier: MIT
-- Reaching a server or a proxy: names, several addresses, one deadline.

local connection = require "duplex.connection"
local core = require "duplex.core"
local failure = require "duplex.failure"

local dial = {}

local STAGGER = 0.25 -- seconds before the next address is tried, RFC 8305 5

--- The failure of an attempt whose time is up.
---@param attempt table
---@param what string "no connection to ..."
function dial.timed_out(attempt, what)
  return failure.of("TIMEOUT", ("%s within open_timeout (%g s)"):format(what,
    attempt.options.open_timeout))
end

--- Seconds left for an attempt, nil without a limit.
---@param attempt table
---@return number|nil
function dial.left(attempt)
  return attempt.deadline and math.max(0, attempt.deadline - attempt.host.now())
end

--- Waits for input of a connection in its handshake.
---@param attempt table
---@param ws duplex.Connection
---@return boolean|nil more, string? message, string? id "LOST" when it is over
function dial.input(attempt, ws)
  local ok, message, id = attempt.host.transport.wait(ws, "input", dial.left(attempt))
  if ok and core.state(ws) == "closed" then return failure.of("LOST", "it is over") end
  return ok, message, id
end

--- What to return when a peer does not answer.
---@param attempt table
---@param peer table { id, name, silence }: "PROXY", "the proxy", "no answer ..."
---@param message string why there is nothing to read
---@param id string
function dial.no_answer(attempt, peer, message, id)
  if id == "TIMEOUT" then return dial.timed_out(attempt, peer.silence) end
  -- With TLS 1.3 a server refuses our certificate after the handshake.
  if id == "TLS" and peer.id == "HANDSHAKE" then return nil, message, id end
  local what = id == "LOST" and peer.name .. " hung up before it answered"
    or failure.text(message)
  return nil, peer.id .. ": " .. what, peer.id
end

--- Gives up a connection: without a word before its handshake is done.
---@param attempt table
---@param ws duplex.Connection
---@param code? integer default 1000
function dial.drop(attempt, ws, code)
  core.close(ws, code or 1000, "", attempt.host.now())
  connection.flush(ws)
end

-- IPv6 and IPv4 take turns, beginning with the family the system prefers, so
-- that one broken family costs a quarter of a second (RFC 8305 4).
local function interleave(addresses)
  local families = { {}, {} }
  local first_is_v6 = addresses[1] and addresses[1]:find(":", 1, true) ~= nil
  for _, address in ipairs(addresses) do
    local is_v6 = address:find(":", 1, true) ~= nil
    table.insert(families[is_v6 == first_is_v6 and 1 or 2], address)
  end
  local list = {}
  for i = 1, math.max(#families[1], #families[2]) do
    list[#list + 1] = families[1][i]
    list[#list + 1] = families[2][i]
  end
  return list
end

local function new_connection(attempt)
  return core.connection("client", attempt.settings, attempt.host.class, attempt.host.now())
end

-- One of several attempts; the first to connect wins.
local function try(race, address)
  local attempt = race.attempt
  local ws = new_connection(attempt)
  local ok, message = attempt.host.connect(ws, address, race.port, dial.left(attempt))
  race.running = race.running - 1
  if not ok then
    table.insert(race.failures, ("%s (%s port %d)"):format(
      failure.text(message), address, race.port))
  elseif race.winner or race.over then
    dial.drop(attempt, ws)
  else
    race.winner = ws
  end
  race.event:set()
end

local function dial_all(attempt, addresses, port, what)
  local host = attempt.host
  local race =
    { attempt = attempt, port = port, running = 0, failures = {}, event = host.event() }
  local tried = 0
  while not race.winner do
    local timeout = dial.left(attempt)
    if timeout == 0 then break end
    if tried < #addresses then
      tried, race.running = tried + 1, race.running + 1
      -- Nobody waits for those that lose.
      local spawn = host.background or host.spawn
      spawn(try, host.log_failure, race, addresses[tried])
      timeout = math.min(timeout or STAGGER, STAGGER)
    elseif race.running == 0 then
      break
    end
    -- A failure starts the next attempt at once.
    race.event:clear()
    race.event:wait(timeout)
  end
  race.over = true
  if race.winner then return race.winner end
  if race.running > 0 then
    return dial.timed_out(attempt, ("no address of %s answered"):format(what))
  end
  local why = table.concat(race.failures, "; ")
  return nil, "CONNECT: " .. why, "CONNECT", why
end

local function dial_one(attempt, address, port, what)
  local ws = new_connection(attempt)
  local ok, message, id = attempt.host.connect(ws, address, port, dial.left(attempt))
  if ok then return ws end
  if id == "TIMEOUT" then return dial.timed_out(attempt, "no connection to " .. what) end
  local why = failure.text(message)
  -- Hosts that connect to names may find out only then.
  if id == "DNS" then return nil, ("DNS: %s: %s"):format(what, why), "DNS", why end
  return nil, ("CONNECT: %s (%s)"):format(why,
    port and address .. " port " .. port or address), "CONNECT", why
end

--- The numeric addresses of a host, in the order to try them in.
---@param attempt table
---@param name string
---@param role? string
---@return string[]|nil addresses, string? message, string? id, string? why
function dial.resolve(attempt, name, role)
  local addresses, message, id = attempt.host.resolve(name, dial.left(attempt))
  if addresses then return interleave(addresses) end
  if id == "TIMEOUT" then
    return dial.timed_out(attempt, (role or "") .. name .. " was not resolved")
  end
  local why = failure.text(message)
  return nil, ("DNS: %s: %s"):format(name, why), "DNS", why
end

--- A connection to one of the addresses of a host.
---@param attempt table see client.lua
---@param name string host: a name or an address
---@param port integer
---@param role? string "the proxy ", for error texts
---@return duplex.Connection|nil ws, string? message, string? id
---@return string? why the reason alone, but for a timeout
function dial.connect(attempt, name, port, role)
  local addresses, message, id, why = dial.resolve(attempt, name, role)
  if not addresses then return nil, message, id, why end
  local what = (role or "") .. name
  if #addresses > 1 then return dial_all(attempt, addresses, port, what) end
  return dial_one(attempt, addresses[1], port, what)
end

--- A connection to a Unix socket.
---@param attempt table see client.lua
---@param path string
---@return duplex.Connection|nil ws, string? message, string? id
function dial.connect_unix(attempt, path) return dial_one(attempt, path, nil, path) end

return dial
