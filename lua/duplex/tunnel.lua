-- SPDX-License-Identifier: MIT
-- Through a proxy to a server: HTTP CONNECT (RFC 9110 9.3.6) or SOCKS5.

local core = require "duplex.core"
local dial = require "duplex.dial"
local failure = require "duplex.failure"
local response = require "duplex.response"
local secure = require "duplex.secure"
local socks = require "duplex.socks"

local tunnel = {}

local PROXY =
  { id = "PROXY", name = "the proxy", silence = "no answer of the proxy to CONNECT" }

-- A connection to the proxy itself.
local function reach(attempt, via)
  local ws, message, id, why = dial.connect(attempt, via.host, via.port, "the proxy ")
  if not ws then
    if id == "TIMEOUT" then return nil, message, id end
    return failure.of("PROXY", ("cannot reach the proxy %s port %d: %s")
      :format(via.host, via.port, why))
  elseif via.scheme ~= "https" then
    return ws
  end
  local ok
  ok, message, id = secure.client(attempt, ws, via.host, via.port, attempt.options.proxy_tls)
  if ok then
    core.secure(ws, false) -- that was the proxy: the server is not reached yet
    return ws
  end
  dial.drop(attempt, ws)
  if id ~= "TLS" then return nil, message, id end
  return failure.of("PROXY", ("no TLS with the proxy %s port %d: %s")
    :format(via.host, via.port, failure.text(message)))
end

-- What CONNECT says about who asks.
local function credentials(attempt, via)
  for name, values in pairs(attempt.headers) do
    if name:lower() == "proxy-authorization" then return values[1] end
  end
  return via.user and "Basic " .. core.base64(via.user .. ":" .. via.password)
end

local function http_connect(attempt, via)
  local ws, message, id = reach(attempt, via)
  if not ws then return nil, message, id end
  local place = attempt.parts.origin:match("//(.*)$") -- the port always
  local lines = { "CONNECT " .. place .. " HTTP/1.1", "Host: " .. place,
    "User-Agent: lua-duplex/" .. core.version }
  local who = credentials(attempt, via)
  if who then lines[#lines + 1] = "Proxy-Authorization: " .. who end
  core.put_raw(ws, table.concat(lines, "\r\n") .. "\r\n\r\n")
  local raw, status, reason, headers = response.head(attempt, ws, PROXY)
  if not raw then
    dial.drop(attempt, ws)
    return nil, status, reason
  end
  -- A Content-Length here means nothing: what follows is the server's.
  if status >= 200 and status < 300 then return ws end
  local text, answer =
    response.refusal(attempt, ws, PROXY.name, status, reason, headers)
  return nil, "PROXY: " .. text, "PROXY", answer
end

local function socks_connect(attempt, via)
  local parts, message, id = attempt.parts, nil, nil
  local addresses = { parts.host }
  if via.scheme == "socks5" then
    addresses, message, id = dial.resolve(attempt, parts.host)
    if not addresses then return nil, message, id end
  end
  for _, address in ipairs(addresses) do
    local ws, ok, elsewhere
    ws, message, id = reach(attempt, via)
    if not ws then break end
    ok, message, id, elsewhere = socks.open(attempt, ws, via, address, parts.port)
    if ok then return ws end
    dial.drop(attempt, ws)
    if not elsewhere then break end
  end
  return nil, message, id
end

--- A connection through a proxy to where the URL points.
---@param attempt table see client.lua
---@param via duplex.proxy
---@return duplex.Connection|nil ws, string? message, string? id
---@return table? response of an HTTP proxy that refused
function tunnel.open(attempt, via)
  if via.scheme:find("^socks") then return socks_connect(attempt, via) end
  return http_connect(attempt, via)
end

return tunnel
