-- SPDX-License-Identifier: MIT
-- Reaching a server: names, several addresses, one deadline.

local core = require "duplex.core"

local dial = {}

local STAGGER = 0.25 -- seconds before the next address is tried, RFC 8305 5

--- The failure of an attempt whose time is up.
---@param attempt table
---@param what string "no connection to ..."
function dial.timed_out(attempt, what)
  return nil, ("TIMEOUT: %s within open_timeout (%g s)"):format(what,
    attempt.options.open_timeout), "TIMEOUT"
end

--- Seconds left for an attempt, nil without a limit.
---@param attempt table
---@return number|nil
function dial.left(attempt)
  return attempt.deadline and math.max(0, attempt.deadline - attempt.host.now())
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
  local ok, message = attempt.host.connect(ws, address, attempt.port, dial.left(attempt))
  race.running = race.running - 1
  if not ok then
    table.insert(race.failures, ("%s (%s port %d)"):format(
      message:gsub("^%u+: ", ""), address, attempt.port))
  elseif race.winner or race.over then
    core.close(ws, 1000, "", attempt.host.now())
  else
    race.winner = ws
  end
  race.event:set()
end

local function dial_all(attempt, addresses)
  local host = attempt.host
  local race = { attempt = attempt, running = 0, failures = {}, event = host.event() }
  local tried = 0
  while not race.winner do
    local timeout = dial.left(attempt)
    if timeout == 0 then break end
    if tried < #addresses then
      tried, race.running = tried + 1, race.running + 1
      host.spawn(try, host.log_failure, race, addresses[tried])
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
  if race.running > 0 then return dial.timed_out(attempt, "no address answered") end
  return nil, "CONNECT: " .. table.concat(race.failures, "; "), "CONNECT"
end

--- A connection to where the URL, or options.unix, points.
---@param attempt table { host, parts, options, settings, deadline }
---@return duplex.Connection|nil ws, string? message, string? id
function dial.connect(attempt)
  local host, parts, given = attempt.host, attempt.parts, attempt.options
  local address, port = given.unix, nil
  if not address then
    local addresses, message, id = host.resolve(parts.host, dial.left(attempt))
    if not addresses then
      if id == "TIMEOUT" then return dial.timed_out(attempt, parts.host .. " was not resolved") end
      return nil, ("DNS: %s: %s"):format(parts.host, message:gsub("^%u+: ", "")), "DNS"
    end
    attempt.port = parts.port
    if #addresses > 1 then return dial_all(attempt, interleave(addresses)) end
    address, port = addresses[1], parts.port
  end
  local ws = new_connection(attempt)
  local ok, message, id = host.connect(ws, address, port, dial.left(attempt))
  if ok then return ws end
  if id == "TIMEOUT" then return dial.timed_out(attempt, "no connection to " .. address) end
  return nil, ("CONNECT: %s (%s)"):format(message:gsub("^%u+: ", ""),
    port and address .. " port " .. port or address), "CONNECT"
end

return dial
