-- SPDX-License-Identifier: MIT
-- Which proxy a client goes through: the one of its options, or else of the
-- environment. Going through it is in tunnel.lua.

local address = require "duplex.address"
local failure = require "duplex.failure"
local url = require "duplex.url"

local proxy = {}

local PORTS = { http = 80, https = 443, socks5 = 1080, socks5h = 1080 }

-- Without HTTP_PROXY: in a CGI program that is what the header "Proxy" of
-- somebody's request says ("httpoxy", CVE-2016-5385).
local VARIABLES = {
  ws = { "ws_proxy", "WS_PROXY", "http_proxy", "all_proxy", "ALL_PROXY" },
  wss = { "wss_proxy", "WSS_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy",
    "ALL_PROXY" },
}

---@class duplex.proxy
---@field scheme "http"|"https"|"socks5"|"socks5h"
---@field host string lower case; an IPv6 address without its brackets
---@field port integer
---@field user? string percent-decoded
---@field password? string

local function fail(from, what)
  return failure.of("PROXY", ("%s (%s)"):format(what, from))
end

local function bad_socks_user(parts) -- RFC 1929 2
  local user, password = parts.user, parts.password
  return user and (#user < 1 or #user > 255 or #password < 1 or #password > 255)
    and "SOCKS5 needs both user and password, of 1..255 bytes each"
end

--- Takes the URL of a proxy apart.
---@param text string "http://user:password@host:port"; without "//": http
---@param from string where it is written, for error texts
---@return duplex.proxy|nil via
---@return string? message shows no credentials
---@return "PROXY"? id
function proxy.parse(text, from)
  local scheme, rest = text:match("^([A-Za-z][A-Za-z0-9+.-]*)://(.*)$")
  scheme, rest = scheme and scheme:lower() or "http", rest or text
  if not PORTS[scheme] then
    return fail(from, ('a proxy is http, https, socks5 or socks5h, not "%s"')
      :format(scheme))
  end
  local parts, message = url.parse("http://" .. rest)
  if not parts then
    local what = failure.text(message):gsub('"http://', '"' .. scheme .. "://", 1)
    return fail(from, what)
  end
  local problem = parts.target ~= "/" and "a path in the URL of a proxy"
    or scheme:find("^socks") and bad_socks_user(parts)
  if problem then return fail(from, problem) end
  local has_port = rest:match("^[^/]*"):find(":%d+$")
  return { scheme = scheme, host = parts.host,
    port = has_port and parts.port or PORTS[scheme],
    user = parts.user, password = parts.password }
end

-- Does an entry of no_proxy name this host, whose bytes are given if it is an
-- address?
local function names(entry, host, bytes)
  local network, bits = entry:match("^(.*)/(%d+)$")
  network = address.bytes(network or entry)
  if network then
    return bytes ~= nil and address.same(bytes, network, tonumber(bits) or #network * 8)
  end
  local name = entry:gsub("^%*?%.+", ""):gsub("%.$", "")
  if name == "" or bytes then return false end
  return ("." .. host):sub(-#name - 1) == "." .. name
end

--- Does a no_proxy list name a host? Its entries have commas or spaces between
--- them: "*", a domain (which stands for all below it, too), an address, a
--- range of addresses as 10.0.0.0/8; all but "*" and ranges may have a port.
---@param list string
---@param host string in lower case, without brackets
---@param port integer
---@return boolean
function proxy.bypassed(list, host, port)
  local bytes = address.bytes(host)
  host = host:gsub("%.$", "")
  for entry in list:lower():gmatch("[^,%s]+") do
    local inner, rest = entry:match("^%[(.-)%](.*)$")
    if not inner and not entry:find(":.*:") then
      inner, rest = entry:match("^([^:]*)(.*)$")
    end
    local only = rest and rest:match("^:(%d+)$")
    local fits = not rest or rest == "" or tonumber(only) == port
    if entry == "*" or fits and names(inner or entry, host, bytes) then return true end
  end
  return false
end

-- The first of these variables that says something.
local function variable(list, getenv)
  for _, name in ipairs(list) do
    local value = getenv(name)
    if value and value ~= "" then return value, name end
  end
end

--- The proxy for a URL.
---@param parts duplex.url where to
---@param given table checked options: proxy, unix
---@param getenv fun(name: string): string|nil
---@return duplex.proxy|nil via nil without a message: none
---@return string? message
---@return "PROXY"? id
function proxy.choose(parts, given, getenv)
  if given.proxy then return proxy.parse(given.proxy, "option 'proxy'") end
  if given.proxy == false or given.unix then return nil end
  local text, name = variable(VARIABLES[parts.scheme], getenv)
  if not text or address.is_loopback(parts.host) then return nil end
  local exceptions = variable({ "no_proxy", "NO_PROXY" }, getenv)
  if exceptions and proxy.bypassed(exceptions, parts.host, parts.port) then return nil end
  return proxy.parse(text, "environment variable " .. name)
end

return proxy
