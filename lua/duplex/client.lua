-- SPDX-License-Identifier: MIT
-- A client: from a URL to an open connection, or to a reason why not.

local body = require "duplex.body"
local connection = require "duplex.connection"
local core = require "duplex.core"
local dial = require "duplex.dial"
local http = require "duplex.http"
local options = require "duplex.options"
local request = require "duplex.request"
local url = require "duplex.url"

local client = {}

local MAX_BODY = 1048576 -- bytes kept of a refusal

-- Headers that are the handshake's own.
local RESERVED = {
  host = true, upgrade = true, connection = true, ["content-length"] = true,
  ["transfer-encoding"] = true, ["sec-websocket-key"] = true,
  ["sec-websocket-version"] = true, ["sec-websocket-extensions"] = true,
  ["sec-websocket-protocol"] = true,
}

local function header_lines(attempt)
  local lines, given = {}, {}
  local function add(name, value) lines[#lines + 1] = name .. ": " .. value .. "\r\n" end
  for name, values in pairs(attempt.headers) do
    given[name:lower()] = true
    for _, value in ipairs(values) do add(name, value) end
  end
  local parts = attempt.parts
  if parts.user and not given.authorization then
    add("Authorization", "Basic " .. core.base64(parts.user .. ":" .. (parts.password or "")))
  end
  if not given["user-agent"] then add("User-Agent", "lua-duplex/" .. core.version) end
  return table.concat(lines)
end

-- The next head that is not only an announcement (1xx, RFC 9110 15.2).
local function read_head(attempt, ws)
  while true do
    local raw, message, id = core.head(ws)
    if raw then
      local status, reason, headers = core.parse_response(raw)
      if not status then return nil, "HANDSHAKE: the server's answer: " .. reason, "HANDSHAKE" end
      if status == 101 or status >= 200 then return raw, status, request.headers(headers) end
    else
      if not id then
        local ok
        ok, message, id = attempt.host.transport.wait(ws, "input", dial.left(attempt))
        if ok and core.state(ws) ~= "closed" then id = nil else id = id or "LOST" end
      end
      if id == "TIMEOUT" then return dial.timed_out(attempt, "no answer to the handshake") end
      if id then
        local what = id == "LOST" and "the server hung up before it answered"
          or message:gsub("^%u+: ", "")
        return nil, "HANDSHAKE: " .. what, "HANDSHAKE"
      end
    end
  end
end

-- The body of a refusal, or as much of it as comes.
local function read_body(attempt, ws, status, headers)
  local decoder = body.decoder(headers, "GET", status, MAX_BODY)
  while not decoder.done do
    local bytes, _, id = core.take(ws, 65536)
    if bytes and bytes ~= "" then
      if decoder:feed(bytes) == nil then break end
    elseif id or not attempt.host.transport.wait(ws, "input", dial.left(attempt))
      or core.state(ws) == "closed" then
      break
    end
  end
  decoder:finish()
  return decoder.text
end

local REDIRECTS = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }

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
    if same or (lower ~= "authorization" and lower ~= "cookie"
        and lower ~= "proxy-authorization") then
      headers_kept[name] = values
    end
  end
  if not same and not location:find("@", 1, true) then parts.user, parts.password = nil, nil end
  return setmetatable({
    parts = parts, headers = headers_kept, redirects = attempt.redirects - 1,
  }, { __index = attempt })
end

local function refused(attempt, ws, status, reason_head, headers)
  local next_attempt, why = follow(attempt, status, headers)
  if next_attempt then
    core.close(ws, 1000, "", attempt.host.now())
    return nil, next_attempt
  end
  local text = read_body(attempt, ws, status, headers)
  core.close(ws, 1000, "", attempt.host.now())
  local response = { status = status, headers = headers, body = text }
  local reason = reason_head ~= "" and reason_head or http.reason(status)
  local message = ("HTTP: the server answered %d %s"):format(status, reason)
  if why then message = message .. " (redirect not followed: " .. why .. ")" end
  return nil, nil, message, "HTTP", response
end

-- ws | nil, attempt to make instead | nil, nil, message, id, response
local function handshake(attempt, ws)
  local protocols = table.concat(attempt.options.subprotocols or {}, ", ")
  local accept, message, id = core.request(ws, attempt.parts.authority,
    attempt.parts.target, protocols, header_lines(attempt))
  if not accept then return nil, nil, message, id end
  local raw, status, headers = read_head(attempt, ws)
  if not raw then
    core.close(ws, 1000, "", attempt.host.now())
    return nil, nil, status, headers
  end
  if status ~= 101 then
    local _, reason = core.parse_response(raw)
    return refused(attempt, ws, status, reason, headers)
  end
  local protocol, problem = core.verify(raw, accept, protocols)
  if not protocol then
    core.close(ws, 1000, "", attempt.host.now())
    return nil, nil, "HANDSHAKE: " .. problem, "HANDSHAKE",
      { status = status, headers = headers, body = "" }
  end
  core.open(ws, attempt.host.now())
  local e = connection.extra(ws)
  e.response = { status = status, headers = headers, body = "" }
  if protocol ~= "" then e.subprotocol = protocol end
  return ws
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
  for name in pairs(checked.headers or {}) do
    if RESERVED[name:lower()] then
      error(("header '%s' belongs to the handshake and cannot be set"):format(name), 3)
    end
  end
  local parts, message, id = url.parse(address)
  if not parts then return nil, message, id end
  if host.exiting() then
    host.sleep(0) -- so that trying again and again lets the loop stop
    return nil, "STOPPED: the loop is stopping", "STOPPED"
  end
  local attempt = {
    host = host, options = checked, parts = parts,
    settings = core.settings(checked),
    headers = checked.headers or {}, redirects = checked.redirects,
    deadline = checked.open_timeout and host.now() + checked.open_timeout,
  }
  while true do
    if attempt.parts.secure then
      return nil, "TLS: wss:// needs duplex.tls, which is not built into this version", "TLS"
    end
    local ws, response, instead
    ws, message, id = dial.connect(attempt)
    if not ws then return nil, message, id end
    ws, instead, message, id, response = handshake(attempt, ws)
    if ws and host.exiting() then
      core.close(ws, 1001, "", host.now())
      return nil, "STOPPED: the loop is stopping", "STOPPED"
    elseif ws then
      host.clients[core.id(ws)] = ws
      return ws
    end
    if not instead then return nil, message, id, response end
    attempt = instead
  end
end

return client
