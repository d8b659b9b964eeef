-- SPDX-License-Identifier: MIT
-- Every option once: its name, type, unit, range, default and meaning. What
-- the rows say is what is checked, and docs/options.md is made from them.

local origin = require "duplex.origin"

local options = {}

---@class duplex.option
---@field name string
---@field role "server"|"client"|"both"
---@field type string as in error texts; "number or false": 0 and false = off
---@field default any nil = none
---@field min? number of a string or list: bytes or elements
---@field max? number
---@field unit? string
---@field text string its meaning
---@field needs? string what this version lacks to honour it

local COLUMNS =
  { "name", "role", "type", "default", "min", "max", "unit", "text", "needs" }
local DAY, INT, TIB = 86400, 2147483647, 1099511627776

---@type duplex.option[]
options.rows = {
  -- luacheck: no max line length
  { "host",             "server", "string",            "127.0.0.1", 1,   255,     "bytes",           'Address or name to listen on; "*" = every address of this machine.' },
  { "port",             "server", "integer",           0,           0,   65535,   nil,               "TCP port; 0 = any free one, see server.port." },
  { "unix",             "server", "string",            nil,         1,   107,     "bytes",           "Path of a Unix socket to listen on, instead of host and port." },
  { "fd",               "server", "integer",           nil,         0,   INT,     nil,               "A listening socket that is open already, instead of host and port." },
  { "reuseport",        "server", "boolean",           false,       nil, nil,     nil,               "Share the port with other processes that set this too (SO_REUSEPORT)." },
  { "backlog",          "server", "integer",           1024,        1,   65535,   "connections",     "Connections that the kernel holds until they are accepted; it may cap this itself." },
  { "tls",              "server", "table or false",    false,       nil, nil,     nil,               "Certificate and key for wss.", "duplex.tls" },
  { "origins",          "server", "list or function",  nil,         0,   1000,    "entries",         'Web pages that may connect, such as "https://*.example.com", or a function; default: those of the same host.' },
  { "subprotocols",     "server", "list or function",  nil,         0,   100,     "entries",         "Subprotocols spoken here, best first, or a function that chooses one." },
  { "max_connections",  "server", "integer",           nil,         1,   INT,     "connections",     "More are answered with 503; default: RLIMIT_NOFILE less 64." },
  { "on_request",       "server", "function",          nil,         nil, nil,     nil,               "Called before the upgrade: returns nothing to go on, or status, body, headers; an error is answered with 500." },
  { "unix",             "client", "string",            nil,         1,   107,     "bytes",           "Path of a Unix socket to connect to; the URL then only gives the Host header and the path." },
  { "headers",          "client", "table of headers",  nil,         nil, nil,     nil,               "Headers of the handshake request: { Name = value } or { Name = { value, value } }." },
  { "subprotocols",     "client", "list",              nil,         0,   100,     "entries",         "Subprotocols to offer, best first." },
  { "tls",              "client", "table or false",    false,       nil, nil,     nil,               "Trusted and own certificates for wss.", "duplex.tls" },
  { "proxy",            "client", "string or false",   false,       nil, nil,     nil,               "URL of an HTTP proxy; false = none.", "proxy support" },
  { "redirects",        "client", "integer",           5,           0,   20,      "redirects",       "Redirects to follow; never from wss to ws, and credentials stay with their origin; 0 = none." },
  { "compression",      "both",   "boolean or table",  false,       nil, nil,     nil,               "Compression of messages (RFC 7692).", "permessage-deflate" },
  { "log",              "both",   "function or false", nil,         nil, nil,     nil,               "function(level, message, fields); false = silence; default: lines on stderr." },
  { "open_timeout",     "both",   "number or false",   10,          0,   DAY,     "seconds",         "From connecting or accepting to the end of the handshake; 0 or false = no limit." },
  { "ping_interval",    "both",   "number or false",   20,          0,   DAY,     "seconds",         "Silence of the peer before a ping is sent; 0 or false = no pings. Proxies often cut at 60." },
  { "ping_timeout",     "both",   "number or false",   20,          0,   DAY,     "seconds",         "Silence after that ping before the connection is LOST; counts while this side reads; 0 or false = no limit." },
  { "close_timeout",    "both",   "number",            10,          0,   DAY,     "seconds",         "To wait for the peer's close frame after ours; 0 = cut without waiting." },
  { "send_timeout",     "both",   "number or false",   30,          0,   DAY,     "seconds",         "A peer that takes no byte for this long while some wait is LOST; 0 or false = no limit." },
  { "max_message",      "both",   "integer",           1048576,     1,   TIB,     "bytes",           "A larger message, after inflation, closes the connection with 1009." },
  { "max_fragments",    "both",   "integer",           131072,      1,   INT,     "frames",          "Frames of one message; more close the connection. A fragment costs no memory of its own." },
  { "max_header_bytes", "both",   "integer",           16384,       256, 1048576, "bytes",           "Size of the peer's handshake; a larger one is refused." },
  { "max_headers",      "both",   "integer",           100,         1,   10000,   "lines",           "Header lines of the peer's handshake; more are refused." },
  { "max_queue",        "both",   "integer",           16,          1,   65536,   "messages",        "Messages decoded before the program asks for them; reading then stops until it does." },
  { "max_queue_bytes",  "both",   "integer",           1048576,     1,   TIB,     "bytes",           "The same in bytes; one message always fits." },
  { "high_mark",        "both",   "integer",           65536,       1,   TIB,     "bytes",           "send waits while more than this waits to leave." },
  { "max_outbox",       "both",   "integer",           1048576,     1,   TIB,     "bytes",           "When more would wait to leave, try_send returns FULL and broadcast closes with 1013; one message always fits." },
  { "max_control_rate", "both",   "integer",           10000,       1,   1000000, "frames a second", "Pings, pongs and closes from the peer; more close the connection." },
}

for _, row in ipairs(options.rows) do
  for i, column in ipairs(COLUMNS) do row[column], row[i] = row[i], nil end
end

-- Letters to change, add or leave out to make 'b' of 'a' (Levenshtein).
local function distance(a, b)
  local last = {}
  for j = 0, #b do last[j] = j end
  for i = 1, #a do
    local row = { [0] = i }
    for j = 1, #b do
      local change = a:byte(i) == b:byte(j) and 0 or 1
      row[j] = math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + change)
    end
    last = row
  end
  return last[#b]
end

--- The candidate that was probably meant, for "did you mean".
---@param name string
---@param candidates string[] the first of equally near ones wins
---@return string|nil nearest nil when none is near: two letters, or a third
function options.nearest(name, candidates)
  local size, best = #name, nil
  if size > 64 then return nil end -- the cost is the product of the lengths
  local least = math.min(math.ceil(size / 2), math.max(2, size / 3)) + 1
  for _, candidate in ipairs(candidates) do
    local d = distance(name:lower(), candidate:lower())
    if d < least then best, least = candidate, d end
  end
  return best
end

local function bad_token(text) -- RFC 9110 5.6.2
  local fine = text:find("^[A-Za-z0-9!#$%%&'*+.^_`|~-]+$")
  return not fine and "is no token (letters, digits, - . _ and the like)" or nil
end

local NAMED = "has '%s', which %s"
local LACKS = "needs %s, which is not built into this version"
local BAD_ENTRY = { origins = origin.problem, subprotocols = bad_token }

local function range(row)
  return ("%.0f..%.0f%s"):format(row.min, row.max, row.unit and " " .. row.unit or "")
end

local function out_of_range(row, number)
  if number >= row.min and number <= row.max then return nil end
  return ("must be %s, got %.14g"):format(range(row), number)
end

-- One function a type: returns nil and the value to keep, which is never a
-- table of the caller's, or what is wrong; true is just "another type".
local read = {}

for _, kind in ipairs { "boolean", "function", "table" } do
  read[kind] = function(value) return type(value) ~= kind or nil, value end
end
read["false"] = function(value) return value ~= false or nil, value end

function read.number(value, row)
  if type(value) ~= "number" or value ~= value then return true end
  return out_of_range(row, value), value
end

function read.integer(value, row)
  local problem = read.number(value, row)
  -- floor makes the 8080.0 of 5.3 and later an integer.
  return problem or value % 1 ~= 0 or nil, not problem and math.floor(value)
end

function read.string(value, row)
  if type(value) ~= "string" then return true end
  local control = value:find("%c") and "has a control character"
  return control or out_of_range(row, #value), value
end

function read.list(value, row)
  if type(value) ~= "table" then return true end
  local copy, seen, count = {}, {}, 0
  for i, entry in ipairs(value) do
    local problem = type(entry) ~= "string" and "is no string"
      or seen[entry] and "is there twice" or BAD_ENTRY[row.name](entry)
    if problem then return NAMED:format(tostring(entry), problem) end
    copy[i], seen[entry] = entry, true
  end
  for _ in pairs(value) do count = count + 1 end
  if #copy ~= count then return "must be a list: { first, second }" end
  return out_of_range(row, count), copy
end

read["table of headers"] = function(value) -- as lists by name
  if type(value) ~= "table" then return true end
  local copy = {}
  for name, lines in pairs(value) do
    copy[name] = {}
    for i, line in ipairs(type(lines) == "table" and lines or { lines }) do
      -- A line break would add header lines of somebody else's choice.
      local problem = (type(name) ~= "string" or type(line) ~= "string")
        and "is no string or has a value that is none" or bad_token(name)
        or line:gsub("\t", " "):find("%c") and "has a control character"
      if problem then return NAMED:format(tostring(name), problem) end
      copy[name][i] = line
    end
  end
  return nil, copy
end

-- The error text, or nil and the value to keep.
local function read_value(row, value)
  local name, problem = ("option '%s' "):format(row.name), nil
  if row.needs and value then return name .. LACKS:format(row.needs) end
  for kind in (row.type .. " or "):gmatch("(.-) or ") do
    local wrong, kept = read[kind](value, row)
    if not wrong then
      -- 0 means "do not wait" to other calls: off must not look like it.
      if kept == 0 and row.type == "number or false" then kept = false end
      return nil, kept
    end
    problem = wrong ~= true and wrong or problem
  end
  local got = value ~= value and "nan" or type(value)
  if got == "number" then got = ("%.14g"):format(value) end
  return name .. (problem or ("must be %s %s, got %s"):format(
    row.type:find("^[aeiou]") and "an" or "a", row.type, got))
end

local function unknown(role, name, known)
  for _, row in ipairs(options.rows) do
    if row.name == name then
      return ("option '%s' is not for the %s"):format(name, role)
    end
  end
  local near = type(name) == "string" and options.nearest(name, known)
  return ("unknown option '%s'"):format(tostring(name))
    .. (near and (" (did you mean '%s'?)"):format(near) or "")
end

--- Checks options and fills in defaults; keeps and changes no table given.
--- Raises on an unknown name, a wrong type or a value out of range.
---@param role "server"|"client"
---@param given? table<string, any> default {}
---@param level? integer 1 blames the caller of check, 2 (default) its caller
---@return table<string, any> checked off is false; headers: lists by name
function options.check(role, given, level)
  local checked, by_name, known = {}, {}, {}
  level = (level or 2) + 1
  given = given == nil and {} or given
  if type(given) ~= "table" then
    error("options must be a table, got " .. type(given), level)
  end
  for _, row in ipairs(options.rows) do
    if row.role == role or row.role == "both" then
      known[#known + 1] = row.name
      by_name[row.name], checked[row.name] = row, row.default
    end
  end
  for name, value in pairs(given) do
    local row = by_name[name]
    if not row then error(unknown(role, name, known), level) end
    local problem, kept = read_value(row, value)
    if problem then error(problem, level) end
    checked[name] = kept
  end
  if (given.unix or given.fd) and given.port or given.unix and given.fd then
    error("options 'port', 'unix' and 'fd' exclude each other", level)
  end
  return checked
end

--- docs/options.md, made from the rows.
---@return string markdown ends with a line break
function options.markdown()
  local lines = { "# Options", "",
    "<!-- Made from lua/duplex/options.lua: change the rows there. -->", "",
    "| option | for | type | default | range | meaning |",
    "| --- | --- | --- | --- | --- | --- |" }
  for _, row in ipairs(options.rows) do
    local default = row.default == nil and "-" or tostring(row.default)
    lines[#lines + 1] = ("| `%s` | %s | %s | %s | %s | %s |"):format(row.name,
      row.role, row.type, default, row.min and range(row) or "-",
      row.text .. (row.needs and " Not in this version." or ""))
  end
  return table.concat(lines, "\n") .. "\n"
end

return options
