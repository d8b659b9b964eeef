-- SPDX-License-Identifier: MIT
-- WebSocket URLs (RFC 6455 3, RFC 3986) taken apart, and redirects. Error
-- texts hide all that stands before the "@", a password or, as often, a token,
-- and what is asked with: they get into logs.

local address = require "duplex.address"
local failure = require "duplex.failure"

local url = {}

local MAX_BYTES = 8192 -- servers and proxies refuse longer request lines
local SHOWN_BYTES = 200 -- of a URL in an error text
-- As in the WHATWG constructor: an http URL stands for the same ws one.
local SCHEMES = { ws = "ws", wss = "wss", http = "ws", https = "wss" }
local PORTS = { ws = 80, wss = 443 }
local SCHEME = "^([A-Za-z][A-Za-z0-9+.-]*):"
-- What RFC 3986 3.3 and 3.4 let stand as it is; the rest is percent-encoded.
local NOT_PATH = "[^A-Za-z0-9%-._~!$&'()*+,;=:@/%%]"
local NOT_QUERY = "[^A-Za-z0-9%-._~!$&'()*+,;=:@/?%%]"

---@class duplex.url
---@field scheme "ws"|"wss"
---@field secure boolean true for wss
---@field host string lower case; an IPv6 address without its brackets
---@field port integer 1..65535
---@field target string path and query, as sent in the request line
---@field path string as sent, still percent-encoded; begins with "/"
---@field query? string as sent, without "?"; nil without a "?"
---@field user? string percent-decoded
---@field password? string percent-decoded; "" when only a user is given
---@field authority string for the Host header: no port when it is the default
---@field origin string "ws://host:port" with the port always, to compare

-- The URL for an error text: no credentials, no control bytes, not too long.
local function show(text)
  local start = text:match("^[A-Za-z][A-Za-z0-9+.-]*://()") or 1
  local rest = text:sub(start)
  -- A raw "/", "?" or "#" in a password ends the authority too early: then
  -- all up to the last "@" goes, unless what is there reads as host:port.
  local plain = rest:find("^[^/?#]*@")
    or (rest .. "/"):find("^[^:/?#]*:?%d*/")
  rest = rest:gsub(plain and "^[^/?#]*@" or "^.*@", "***@"):gsub("([?#]).+$", "%1***")
  local shown = text:sub(1, start - 1) .. rest
  if #shown > SHOWN_BYTES then shown = shown:sub(1, SHOWN_BYTES) .. "..." end
  return (shown:gsub("%c", function(c) return ("\\%03d"):format(c:byte()) end))
end

local function fail(text, what)
  return failure.of("URL", ('%s in "%s"'):format(what, show(text)))
end

-- The first "%" that two hexadecimal digits do not follow, or nil.
local function bad_escape(text)
  for at in text:gmatch("()%%") do
    if not text:find("^%x%x", at + 1) then return text:sub(at, at + 2) end
  end
end

local function escape_byte(byte) return ("%%%02X"):format(byte:byte()) end
local function from_hex(digits) return string.char(tonumber(digits, 16)) end

--- Percent-decodes. "+" stays as it is.
---@param text string
---@return string|nil decoded nil when a "%" has no two hexadecimal digits
function url.decode(text)
  if bad_escape(text) then return nil end
  return (text:gsub("%%(%x%x)", from_hex))
end

--- The parameters of a query: the first value of each name, "+" as space.
--- A malformed escape is kept as it is: what a peer sends cannot fail here.
---@param text? string without the "?"; default ""
---@return table<string, string> values "" for a name without "="
function url.query(text)
  local values = {}
  for pair in (text or ""):gmatch("[^&]+") do
    local name, value = pair:gsub("%+", " "):match("^([^=]*)=?(.*)$")
    name, value = url.decode(name) or name, url.decode(value) or value
    if values[name] == nil then values[name] = value end
  end
  return values
end

-- What is wrong with a host, or nil.
local function bad_host(host, bracketed)
  local label = host:match("([^.]*)%.?$")
  if bracketed then
    local zone = host:find("%", 1, true)
    return zone and "an IPv6 zone id (a URL cannot have one)"
      or not (host:find(":", 1, true) and address.bytes(host)) and "a malformed IPv6 address" or nil
  elseif host == "" then
    return "no host"
  elseif host:find("[\128-\255]") then
    return "a host that is not ASCII (write it in punycode: xn--...)"
  elseif host:find("[^A-Za-z0-9%-._~]") then
    return "an illegal character in the host"
  elseif #host > 253 or host:find("%.%.") or host:find("^%.") then
    return "a host with an empty label or longer than 253 bytes"
  elseif (label:find("^%d+$") or label:find("^0[xX]%x*$"))
    and not address.bytes(host) then
    -- "127.1" and "0x7f.1" reach 127.0.0.1 through some resolvers: what
    -- ends like a number must be an address in the one usual form.
    return "a malformed IPv4 address"
  end
end

-- These and the next set fields of 'parts' and return what is wrong, or nil.
local function read_user(parts, userinfo)
  local user, password = userinfo:match("^([^:]*):?(.*)$")
  user, password = url.decode(user), url.decode(password)
  if not user or not password then
    return "a malformed percent-escape before the @"
  elseif user:find("[:%c]") or password:find("%c") then
    -- RFC 7617 2: Basic authentication cannot carry these.
    return "a colon in the user or a control character before the @"
  elseif user ~= "" or password ~= "" then
    parts.user, parts.password = user, password
  end
end

local function read_authority(parts, authority)
  -- The last "@" ends the credentials, as in browsers.
  local userinfo, place = authority:match("^(.*)@([^@]*)$")
  place = place or authority
  local inner, port = place:match("^%[([^%]]*)%](.*)$")
  local host = inner
  if not inner then host, port = place:match("^([^:]*)(.*)$") end
  local problem = userinfo and read_user(parts, userinfo)
    or port:find(":.*:") and "an IPv6 address without brackets ([::1])"
    or bad_host(host, inner)
  if problem then return problem end
  local default = PORTS[parts.scheme]
  local number = tonumber(port:match("^:(%d+)$"))
  if port == "" or port == ":" then number = default end
  if not number or number < 1 or number > 65535 then
    return "a port that is not a number 1..65535"
  end
  parts.host, parts.port = host:lower(), number
  local name = inner and "[" .. parts.host .. "]" or parts.host
  parts.origin = ("%s://%s:%d"):format(parts.scheme, name, number)
  parts.authority = number == default and name or ("%s:%d"):format(name, number)
end

--- Takes a ws, wss, http or https URL apart. Spaces, non-ASCII and other
--- illegal bytes of path and query are percent-encoded; a fragment, a
--- malformed escape or an illegal host is refused.
---@param text string at most 8,192 bytes
---@return duplex.url|nil parts
---@return string? message what is wrong and where; credentials are not shown
---@return "URL"? id
function url.parse(text)
  assert(type(text) == "string", "the URL must be a string")
  local problem = #text > MAX_BYTES and ("more than %d bytes"):format(MAX_BYTES)
    or text:find("%c") and "a control character" -- could add header lines
    or text:match("^ ?(.-) ?$") ~= text and "a space at the start or the end"
  if problem then return fail(text, problem) end
  local scheme, rest = text:match(SCHEME .. "//(.*)$")
  if text:find("^ws%+unix:") then
    return fail(text, 'a Unix socket: use "ws://localhost/" with the option unix')
  elseif not scheme then
    local place = text:gsub("^wss?:", ""):gsub("^/+", "")
    return fail(text, ('no "ws://" (write ws://%s)'):format(show(place)))
  end
  local parts = { scheme = SCHEMES[scheme:lower()] }
  parts.secure = parts.scheme == "wss"
  local authority, path, query = rest:match("^([^/?]*)([^?]*)(.*)$")
  local escape = bad_escape(path .. query)
  problem = not parts.scheme and "a scheme that is not ws or wss"
    or rest:find("#", 1, true)
    and 'a fragment (RFC 6455 3 forbids it; write "#" as %23)'
    -- Browsers read "\" as "/", others as a part of the name.
    or (authority .. path):find("\\", 1, true) and "a backslash"
    or read_authority(parts, authority)
    or escape and ('the malformed percent-escape "%s"'):format(escape)
  if problem then return fail(text, problem) end
  parts.path = path == "" and "/" or path:gsub(NOT_PATH, escape_byte)
  query = query:gsub(NOT_QUERY, escape_byte)
  parts.target, parts.query = parts.path .. query, query:match("^%?(.*)$")
  return parts
end

-- RFC 3986 5.2.4, with "%2e" as a dot as in browsers.
local function remove_dots(path)
  local kept, plain = {}, nil
  for segment in path:gmatch("/([^/]*)") do
    plain = segment:gsub("%%2[eE]", ".")
    if plain == ".." then
      kept[#kept] = nil
    elseif plain ~= "." then
      kept[#kept + 1] = segment
    end
  end
  if plain == "." or plain == ".." then kept[#kept + 1] = "" end
  return "/" .. table.concat(kept, "/")
end

--- Where a redirect leads (RFC 3986 5.2). Only a location without a host
--- keeps the credentials of the base; whether wss may become ws or another
--- host is fine is for the caller to decide (compare .secure and .origin).
---@param base duplex.url
---@param location string the Location header: whole or relative
---@return duplex.url|nil parts
---@return string? message
---@return "URL"? id
function url.resolve(base, location)
  -- A Location may have a fragment (RFC 9110 10.2.2); it is never sent.
  local text, here = location:gsub("#.*$", ""), false
  if text:find("^//") then
    text = base.scheme .. ":" .. text
  elseif not text:find(SCHEME) then
    if text == "" then
      text = base.target
    elseif text:find("^%?") then
      text = base.path .. text
    elseif not text:find("^/") then
      text = base.path:match("^.*/") .. text
    end
    text, here = base.origin .. text, true
  end
  local parts, message, id = url.parse(text)
  if not parts then return nil, message, id end
  local query = parts.target:match("%?.*") or ""
  parts.path = remove_dots(parts.path)
  parts.target = parts.path .. query
  if here then parts.user, parts.password = base.user, base.password end
  return parts
end

return url
