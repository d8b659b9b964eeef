-- SPDX-License-Identifier: MIT
-- Who is behind a proxy, as the proxy tells in a request: X-Forwarded-For,
-- -Proto and -Host, or else Forwarded (RFC 7239). A client can write the same
-- lines, so they are looked at only when the one who sends them is trusted.
--
-- A proxy adds whom it speaks for at the end of the list. So the list is walked
-- from there, over those who are trusted as well; the first who is not is the
-- client, and what stands before it is the client's own story.

local address = require "duplex.address"
local core = require "duplex.core"

local forwarded = {}

local MAX_HOPS = 32 -- proxies in a row; what comes before them is not looked at
local SECURE = { https = true, wss = true, http = false, ws = false }

-- ---- who is trusted ----

-- The bytes of an entry's address, and how many bits of them count.
local function range(entry)
  local network, bits = entry:match("^(.*)/(%d+)$")
  local bytes = address.bytes(network or entry)
  if not bytes then return nil end
  local size = #bytes * 8
  bits = bits and tonumber(bits) or size
  if bits <= size then return bytes, bits end
end

--- What is wrong with an entry of the option "proxies".
---@param entry string
---@return string|nil problem nil when the entry is good
function forwarded.problem(entry)
  if entry == "unix" or range(entry) then return nil end
  return 'is no address: write "10.1.2.3", "10.0.0.0/8", "::1" or "unix"'
end

--- Who is a proxy of ours?
---@param list string[] the option "proxies"
---@return fun(who: string|nil): boolean trusted of an address, or "unix"
function forwarded.trust(list)
  local unix, ranges = false, {}
  for _, entry in ipairs(list) do
    local bytes, bits = range(entry)
    if bytes then ranges[#ranges + 1] = { bytes, bits } else unix = true end
  end
  return function(who)
    local bytes = who and address.bytes(who)
    if not bytes then return unix and who == "unix" end
    for _, one in ipairs(ranges) do
      if address.same(bytes, one[1], one[2]) then return true end
    end
    return false
  end
end

-- ---- what they say ----

local function trimmed(text) return text:match("^[ \t]*(.-)[ \t]*$") end

-- Elements of a header with commas; nil for none.
local function split(text)
  if not text then return nil end
  local list = {}
  for one in (text .. ","):gmatch("([^,]*),") do list[#list + 1] = trimmed(one) end
  return list
end

-- "1.2.3.4", "1.2.3.4:5", "::1", "[::1]" or "[::1]:5" -> address, port or nil
local function node(text)
  local host, port = text:match("^%[([%x:.]+)%]$"), nil
  if not host then host, port = text:match("^%[([%x:.]+)%]:(%d+)$") end
  if not host then host, port = text:match("^([%d.]+):(%d+)$") end
  port = tonumber(port or 0)
  if port > 65535 or not address.bytes(host or text) then return nil end
  return host or text, port > 0 and port or nil
end

-- One pair of Forwarded behind 'from': name, value, where it ends.
local function pair(text, from)
  local name, at = text:match("^[ \t]*([%w!#$%%&'*+.^_`|~-]+)=()", from)
  if not name then return nil end
  local value, stop = text:match("^([%w!#$%%&'*+.^_`|~-]+)()", at)
  if not value then
    value, stop = text:match('^"([^"\\]*)"()', at) -- no address has a backslash
  end
  return value and name:lower(), value, stop
end

-- The elements of Forwarded (RFC 7239 4) as tables; nil when it is malformed: a
-- quotation mark that is left open would swallow what a proxy added.
local function elements(text)
  local list, one, at = {}, {}, 1
  while true do
    local name, value, stop = pair(text, at)
    if not name or one[name] then return nil end
    one[name] = value
    local mark, behind = text:match("^[ \t]*([;,]?)()", stop)
    if mark ~= ";" then
      list[#list + 1], one = one, {}
      if mark == "" then return behind > #text and list or nil end
    end
    at = behind
  end
end

-- Lists of whom, how and where to, in the order of the proxies.
local function told(headers)
  local list = { whom = split(headers["x-forwarded-for"]), how = split(headers["x-forwarded-proto"]),
    where = split(headers["x-forwarded-host"]) }
  if next(list) or not headers.forwarded then return list end
  local all = elements(headers.forwarded)
  if not all then return list end
  list = { whom = {}, how = {}, where = {} }
  for i, one in ipairs(all) do
    list.whom[i], list.how[i], list.where[i] = one["for"] or "", one.proto or "", one.host or ""
  end
  return list
end

-- The i-th from the end, or the first, if a proxy replaces what was there.
local function nth(list, i)
  return list and list[math.max(1, #list - i + 1)]
end

--- Who a trusted sender says the request is from. Of X-Forwarded-* and
--- Forwarded the former win: proxies that write them often pass on the other,
--- which then is the client's.
---@param headers table<string, string> names in lower case
---@param trusted fun(who: string): boolean
---@return string|nil address nil when it is not told
---@return integer|nil port
---@return boolean|nil secure what the browser speaks with the first proxy
---@return string|nil host what the browser asked for, as in a Host header
function forwarded.client(headers, trusted)
  local list = told(headers)
  local count, found, port = 1, nil, nil
  for i = 1, math.min(MAX_HOPS, list.whom and #list.whom or 0) do
    local host, its_port = node(nth(list.whom, i))
    count = i
    if not host then break end -- "unknown", or nonsense
    found, port = host, its_port
    if not trusted(host) then break end
  end
  local secure, host = SECURE[(nth(list.how, count) or ""):lower()], nth(list.where, count)
  return found, port, secure, host ~= "" and host or nil
end

-- ---- for a server ----

--- Whose requests may say so? To be asked once for a connection.
---@param ws duplex.Connection whose PROXY header, if there had to be one, is read
---@param options table of the server
---@param trusted nil|fun(who: string): boolean
---@return table|nil source for forwarded.apply; nil: nobody is believed
function forwarded.source(ws, options, trusted)
  if not trusted then return nil end
  local who, port, secure = ws.address, nil, nil
  if options.proxy_protocol then
    -- A header that names no address may speak for anybody.
    who, port, secure = core.client(ws)
    if not who or who == "unix" then return nil end
  end
  if not who or not trusted(who) then return nil end
  return { trusted = trusted, bytes = options.proxy_protocol and address.bytes(who) or nil,
    port = port, secure = secure }
end

--- Takes the client's address and scheme from the head of a request.
---@param ws duplex.Connection
---@param source table
---@param raw string
---@return string|nil host that the browser asked for, if told
function forwarded.apply(ws, source, raw)
  local _, _, headers = core.parse_request(raw)
  local who, port, secure, host = forwarded.client(headers, source.trusted)
  if secure == nil then secure = source.secure end
  if who then
    core.set_client(ws, address.bytes(who), port, secure)
  else
    core.set_client(ws, source.bytes, source.port, secure)
  end
  return host
end

return forwarded
