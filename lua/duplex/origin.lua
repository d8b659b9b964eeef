-- SPDX-License-Identifier: MIT
-- May this web page connect? Browsers let any page open a WebSocket to any
-- host, with the user's cookies, and only tell us where the page came from:
-- the server has to look (RFC 6455 10.2, RFC 6454).

local origin = {}

local PORTS = { http = "80", https = "443" }
local MAX_BYTES = 300 -- a longer Origin has no host name in it

-- Scheme, host and port of an origin or of an entry, or nil. The schemes of
-- browser extensions and app shells ("app://", "capacitor://") are fine too.
-- Only an entry may have a "*", as a part of the host or as the port.
local function split(text, is_entry)
  if #text > MAX_BYTES or not is_entry and text:find("*", 1, true) then
    return nil
  end
  local scheme, place = text:lower():match("^([a-z][a-z0-9+.-]*)://(.+)$")
  if not scheme then return nil end
  local host, port = place:match("^(%[[%x:.]+%])(.*)$")
  if not host then host, port = place:match("^([a-z0-9%-._~*]+)(.*)$") end
  if not host then return nil end
  if port == "" then return scheme, host, PORTS[scheme] or "" end
  port = port:match("^:(%d+)$") or port:match("^:(%*)$")
  return port and scheme, host, port
end

local function has_suffix(text, suffix)
  return #text > #suffix and text:sub(-#suffix) == suffix
end

-- Does one entry of the list allow this origin? Plain comparisons only: an
-- entry never becomes a Lua pattern, and each costs one pass.
local function matches(entry, text)
  if entry == "*" or entry == text then return true end
  local scheme, host, port = split(entry, true)
  local its_scheme, its_host, its_port = split(text)
  if not scheme or scheme ~= its_scheme then return false end
  if port ~= "*" and port ~= its_port then return false end
  return host == its_host
    or host:sub(1, 2) == "*." and has_suffix(its_host, host:sub(2))
end

-- The option text that would allow this origin too; nil when only "*" would.
-- It goes into a log line: only what split() knows to be harmless gets there.
local function fix_for(origins, text)
  if text ~= "null" and not split(text) then return nil end
  local entries = {}
  for i, entry in ipairs(origins or {}) do entries[i] = ("%q"):format(entry) end
  entries[#entries + 1] = ("%q"):format(text)
  return "origins = { " .. table.concat(entries, ", ") .. " }"
end

-- The default: the page came from the host that it connects to. What the browser
-- speaks with that host may not be known, for behind a proxy that ends TLS an
-- https page reaches us in plain text. So a Host without a port means the default
-- port of the page's own scheme then.
local function same_host(text, host_header, own_scheme)
  local scheme, host, port = split(text)
  if not PORTS[scheme] or not host_header then return false end
  local _, own_host, own_port = split((own_scheme or scheme) .. "://" .. host_header)
  return host == own_host and port == own_port
end

--- Is the request's Origin allowed? One without an Origin is: it does not come
--- from a browser, which is all that this check can protect. A list replaces
--- the default, and is what also keeps out a name that an attacker points at
--- this server's address (DNS rebinding). "*" in front of the host stands for
--- one label or more ("https://*.example.com"), as the port for any port
--- ("http://localhost:*"), alone for everything; "null" is what sandboxed
--- frames and file: pages send. Case does not matter.
---@param origins? string[] nil = the same host as in the Host header
---@param text? string the Origin header; nil when there is none
---@param host_header? string the host that the browser asked for, with its port
---@param scheme? "http"|"https" what the browser speaks with it; nil: not known
---@return boolean allowed
---@return string? fix the option that would allow it, as text, when refused;
--- nil when no entry but "*" would
function origin.allowed(origins, text, host_header, scheme)
  if text == nil then return true end
  if origins then
    for _, entry in ipairs(origins) do
      if matches(entry, text) then return true end
    end
  elseif same_host(text, host_header, scheme) then
    return true
  end
  return false, fix_for(origins, text)
end

--- What is wrong with an entry of the list, which could then never match.
---@param entry string
---@return string|nil problem nil when the entry is good
function origin.problem(entry)
  if entry == "*" or entry == "null" then return nil end
  local scheme, host = split(entry, true)
  if scheme == "ws" or scheme == "wss" then
    return "is no origin: pages come from http:// or https://"
  elseif not scheme then
    return 'is no origin: write "https://example.com", without a path'
  elseif (host:gsub("^%*%.", "")):find("*", 1, true) then
    return 'may have "*" only in front: "https://*.example.com"'
  end
end

return origin
