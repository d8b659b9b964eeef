-- SPDX-License-Identifier: MIT
-- A client: from a URL to an open connection, or to a reason why not.

local beat = require "duplex.beat"
local connection = require "duplex.connection"
local core = require "duplex.core"
local dial = require "duplex.dial"
local failure = require "duplex.failure"
local log = require "duplex.log"
local options = require "duplex.options"
local proxy = require "duplex.proxy"
local report = require "duplex.report"
local response = require "duplex.response"
local secure = require "duplex.secure"
local tunnel = require "duplex.tunnel"
local url = require "duplex.url"

local client = {}

local SERVER =
  { id = "HANDSHAKE", name = "the server", silence = "no answer to the handshake" }

local function header_lines(attempt)
  local lines, given = {}, {}
  local function add(name, value) lines[#lines + 1] = name .. ": " .. value .. "\r\n" end
  for name, values in pairs(attempt.headers) do
    local lower = name:lower()
    given[lower] = true
    -- The proxy gets it from tunnel.lua; no server is to know.
    if lower ~= "proxy-authorization" then
      for _, value in ipairs(values) do add(name, value) end
    end
  end
  local parts = attempt.parts
  if parts.user and not given.authorization then
    add("Authorization", "Basic " .. core.base64(parts.user .. ":" .. (parts.password or "")))
  end
  if not given["user-agent"] then add("User-Agent", "lua-duplex/" .. core.version) end
  return table.concat(lines)
end

local REDIRECTS = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }

-- TLS options for another origin: who we are, and who has to answer, was said of
-- the one that they were given for.
local function anonymous(tls)
  if not tls then return tls end
  local kept = {}
  for name, value in pairs(tls) do kept[name] = value end
  kept.certificate, kept.key, kept.passphrase, kept.server_name = nil, nil, nil, nil
  return kept
end

-- The attempt that a redirect leads to, or nil and why it is not followed.
local function follow(attempt, status, headers)
  local location = headers.location
  if not REDIRECTS[status] or not location or attempt.redirects <= 0 then return nil end
  local parts, message = url.resolve(attempt.parts, location)
  if not parts then return nil, message end
  if attempt.parts.secure and not parts.secure then
    return nil, "would lead from wss to ws"
  end
  local headers_kept = {}
  local same = parts.origin == attempt.parts.origin
  for name, values in pairs(attempt.headers) do
    -- Credentials are for the origin they were given for.
    local lower = name:lower()
    if same or lower ~= "authorization" and lower ~= "cookie" then
      headers_kept[name] = values
    end
  end
  return setmetatable({
    parts = parts, headers = headers_kept, redirects = attempt.redirects - 1,
    tls = same and attempt.tls or anonymous(attempt.tls),
  }, { __index = attempt })
end

-- A connection on which the handshake can begin, or nil, message, id, response.
local function reach(attempt)
  local given, parts = attempt.options, attempt.parts
  local via, message, id = proxy.choose(parts, given, os.getenv)
  if message then return nil, message, id end
  local ws, answer
  if via then
    ws, message, id, answer = tunnel.open(attempt, via)
  elseif given.unix then
    ws, message, id = dial.connect_unix(attempt, given.unix)
  else
    ws, message, id = dial.connect(attempt, parts.host, parts.port)
  end
  if not ws or not parts.secure then return ws, message, id, answer end
  local ok
  ok, message, id = secure.client(attempt, ws, parts.host, parts.port, attempt.tls)
  if ok then return ws end
  dial.drop(attempt, ws)
  return nil, message, id
end

local function refused(attempt, ws, status, reason, headers)
  local next_attempt, why = follow(attempt, status, headers)
  if next_attempt then
    dial.drop(attempt, ws)
    return nil, next_attempt
  end
  local message, answer =
    response.refusal(attempt, ws, SERVER.name, status, reason, headers)
  if why then message = message .. " (redirect not followed: " .. why .. ")" end
  return nil, nil, "HTTP: " .. message, "HTTP", answer
end

-- ws | nil, attempt to make instead | nil, nil, message, id, response
local function handshake(attempt, ws)
  local protocols = table.concat(attempt.options.subprotocols or {}, ", ")
  local accept, message, id = core.request(ws, attempt.parts.authority,
    attempt.parts.target, protocols, header_lines(attempt))
  if not accept then return nil, nil, message, id end
  local raw, status, reason, headers = response.head(attempt, ws, SERVER)
  if not raw then
    dial.drop(attempt, ws)
    return nil, nil, status, reason
  end
  if status ~= 101 then return refused(attempt, ws, status, reason, headers) end
  local answer = { status = status, headers = headers, body = "" }
  local protocol, problem = core.verify(ws, raw, accept, protocols)
  if not protocol then
    dial.drop(attempt, ws)
    return nil, nil, "HANDSHAKE: " .. problem, "HANDSHAKE", answer
  end
  core.open(ws, attempt.host.now())
  local e = connection.extra(ws)
  e.response = answer
  if protocol ~= "" then e.subprotocol = protocol end
  return ws
end

-- Goes where the URL points, and where that leads to.
local function make(attempt)
  local host = attempt.host
  while true do
    local ws, answer, instead, message, id
    ws, message, id, answer = reach(attempt)
    if not ws then return nil, message, id, answer end
    ws, instead, message, id, answer = handshake(attempt, ws)
    -- Where the loop goes on afterwards, it may have been stopped meanwhile.
    if ws and (host.exiting() or host.stops ~= attempt.stops) then
      dial.drop(attempt, ws, 1001)
      return failure.of("STOPPED", "the loop is stopping")
    elseif ws then
      host.clients[core.id(ws)] = ws
      if host.opened then host.opened(ws) end
      if attempt.policy then beat.start(host, ws, attempt.policy, attempt.log) end
      return ws
    end
    if not instead then return nil, message, id, answer end
    attempt = instead
  end
end

--- Connects.
---@param host table the event loop
---@param address string ws://user:password@host:port/path?query
---@param given? table options, see docs/options.md
---@return duplex.Connection|nil ws, string? message, string? id, table? response
function client.connect(host, address, given)
  if type(address) ~= "string" then
    error("the URL must be a string, got " .. type(address), 3)
  end
  local checked = options.check("client", given, 3)
  local policy = beat.plan(checked)
  local parts, message, id = url.parse(address)
  if not parts then return nil, message, id end
  if host.exiting() then
    host.sleep(0) -- so that trying again and again lets the loop stop
    return failure.of("STOPPED", "the loop is stopping")
  end
  -- What it takes to get there. dial.lua and its users read it, nobody changes
  -- it: a redirect leads to another one, see follow.
  local write, detail = log.writer(checked.log)
  local attempt = {
    host = host, stops = host.stops, options = checked, parts = parts, tls = checked.tls,
    settings = core.settings(checked), policy = policy, log = write,
    headers = checked.headers or {}, redirects = checked.redirects,
    deadline = checked.open_timeout and host.now() + checked.open_timeout,
  }
  if not detail then return make(attempt) end
  return report.connecting(attempt, make)
end

return client
