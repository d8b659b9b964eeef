-- SPDX-License-Identifier: MIT
-- Checks options against their rows (option_rows.lua), fills in defaults, and
-- makes docs/options.md.

local forwarded = require "duplex.forwarded"
local origin = require "duplex.origin"

local options = {}

---@type duplex.option[]
options.rows = require "duplex.option_rows"

-- Rows by the table that they are for: "" and "tls."; row.key is the name there.
local levels = {}
for _, row in ipairs(options.rows) do
  local level, key = row.name:match("^(.-)([^.]+)$")
  row.key = key
  levels[level] = levels[level] or {}
  table.insert(levels[level], row)
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
local function bad_protocol(name) -- RFC 7301 3.1
  return (#name < 1 or #name > 255 or name:find("%c")) and "is not of 1..255 bytes without control characters" or nil
end

local BAD_ENTRY = {
  origins = origin.problem, proxies = forwarded.problem, subprotocols = bad_token, ["tls.alpn"] = bad_protocol,
}

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
for kind, literal in pairs {
  ["false"] = false, ['"1.2"'] = "1.2", ['"1.3"'] = "1.3",
  ['"required"'] = "required", ['"optional"'] = "optional",
} do
  read[kind] = function(value) return value ~= literal or nil, value end
end

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

read.path = read.string

read["PEM text"] = function(value)
  return type(value) ~= "string" or not value:find("-----BEGIN ", 1, true) or nil, value
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
local function read_value(prefix, row, value, role)
  local name = ("option '%s%s' "):format(prefix, row.name:match("[^.]+$"))
  local problem
  if row.needs and value then return name .. LACKS:format(row.needs) end
  for kind in (row.type .. " or "):gmatch("(.-) or ") do
    local wrong, kept, whole = read[kind](value, row, role)
    if whole then return wrong end
    if not wrong then
      -- 0 means "do not wait" to other calls: off must not look like it.
      if kept == 0 and row.type == "number or false" then kept = false end
      return nil, kept
    end
    problem = wrong ~= true and wrong or problem
  end
  local got = value ~= value and "nan" or type(value)
  if got == "number" then got = ("%.14g"):format(value) end
  local article = row.type:find("^[aeiou]") and "an " or "a "
  if row.type:find('^"') then -- one of several texts
    article = ""
    if got == "string" then got = ('"%s"'):format(value:sub(1, 40)) end
  end
  return name .. (problem or ("must be %s%s, got %s"):format(article, row.type, got))
end

local function unknown(rows, prefix, role, name, known)
  for _, row in ipairs(rows) do
    if row.key == name then
      return ("option '%s%s' is not for the %s"):format(prefix, name, role)
    end
  end
  local near = type(name) == "string" and options.nearest(name, known)
  return ("unknown option '%s%s'"):format(prefix, tostring(name))
    .. (near and (" (did you mean '%s%s'?)"):format(prefix, near) or "")
end

-- Roles that "both" means; others are those of helpers, such as "hub".
local CONNECTS = { server = true, client = true }

-- Checks a table against the rows of a level: "" is the outermost, "tls." that
-- of the table tls. Returns the error text, or nil and the checked copy.
local function check_table(level, prefix, role, given)
  local checked, by_name, known = {}, {}, {}
  for _, row in ipairs(levels[level]) do
    if row.role == role or row.role == "both" and CONNECTS[role] then
      known[#known + 1] = row.key
      by_name[row.key], checked[row.key] = row, row.default
    end
  end
  for name, value in pairs(given) do
    local row = by_name[name]
    if not row then return unknown(levels[level], prefix, role, name, known) end
    local problem, kept = read_value(prefix, row, value, role)
    if problem then return problem end
    checked[name] = kept
  end
  return nil, checked
end

-- What is wrong with TLS options that are fine one by one.
local function bad_tls(role, given)
  if role == "server" and not given.certificate and not given.certificates then
    return "%scertificate' is missing"
  elseif given.key and not given.certificate then
    return "%skey' needs a certificate"
  elseif given.client_certificates and not given.ca then
    return "%sclient_certificates' needs ca: who issues them"
  elseif role == "server" and given.ca and not given.client_certificates then
    return "%sca' is for clients' certificates: it needs client_certificates"
  elseif given.maximum_version and given.maximum_version < given.minimum_version then
    return "%smaximum_version' is less than minimum_version"
  end
end

read["table of TLS options"] = function(value, row, role)
  if type(value) ~= "table" then return true end
  local prefix = row.name .. "."
  local problem, checked = check_table("tls.", prefix, role, value)
  local bad = checked and bad_tls(role, checked)
  problem = problem or bad and bad:format("option '" .. prefix)
  return problem, checked, problem ~= nil
end

-- What an entry of tls.certificates may have.
local IDENTITY = { "certificate", "key", "passphrase", "ocsp" }

read["list of tables"] = function(value, row, role)
  if type(value) ~= "table" then return true end
  local list = {}
  for i, entry in ipairs(value) do
    local prefix = ("%s[%d]."):format(row.name, i)
    local copy = {}
    if type(entry) ~= "table" then return "must be a list of tables" end
    local problem, checked = check_table("tls.", prefix, role, entry)
    for _, name in ipairs(IDENTITY) do copy[name] = checked and checked[name] end
    for name in pairs(entry) do
      if not problem and copy[name] == nil then
        problem = ("option '%s%s' has no meaning for one certificate"):format(prefix, name)
      end
    end
    if not problem and not entry.certificate then
      problem = ("option '%scertificate' is missing"):format(prefix)
    end
    if problem then return problem, nil, true end
    list[i] = copy
  end
  return out_of_range(row, #list), list
end

--- TLS options that were not given: the defaults.
---@param role "server"|"client"
---@return table<string, any>
function options.tls_defaults(role)
  local _, checked = check_table("tls.", "tls.", role, {})
  return checked
end

--- Checks options and fills in defaults; keeps and changes no table given.
--- Raises on an unknown name, a wrong type or a value out of range.
---@param role "server"|"client"
---@param given? table<string, any> default {}
---@param level? integer 1 blames the caller of check, 2 (default) its caller
---@return table<string, any> checked off is false; headers: lists by name
function options.check(role, given, level)
  level = (level or 2) + 1
  given = given == nil and {} or given
  if type(given) ~= "table" then
    error("options must be a table, got " .. type(given), level)
  end
  local problem, checked = check_table("", "", role, given)
  if problem then error(problem, level) end
  if (given.unix or given.fd) and given.port or given.unix and given.fd then
    error("options 'port', 'unix' and 'fd' exclude each other", level)
  end
  if checked.proxy_protocol and #(checked.proxies or "") == 0 then
    error("option 'proxy_protocol' needs proxies: who may say whose connection it is", level)
  end
  return checked
end

--- Checks an argument that is a time to wait: raises unless it is seconds, 0 or more.
---@param value any
---@param must string how the text begins: "grace must be seconds"
---@param level? integer 1 blames the caller of seconds, 2 (default) its caller
function options.seconds(value, must, level)
  if type(value) == "number" and value >= 0 then return end
  error(("%s, 0 or more, got %s"):format(must, tostring(value)), (level or 2) + 1)
end

--- docs/options.md, made from the rows.
---@return string markdown ends with a line break
function options.markdown()
  local lines = { "# Options", "",
    "<!-- Made from lua/duplex/option_rows.lua: change the rows there. -->", "",
    "| option | for | type | default | range | meaning |",
    "| --- | --- | --- | --- | --- | --- |" }
  for _, row in ipairs(options.rows) do
    local default = row.default == nil and "-"
      or type(row.default) == "table" and table.concat(row.default, ", ")
      or tostring(row.default)
    lines[#lines + 1] = ("| `%s` | %s | %s | %s | %s | %s |"):format(row.name,
      row.role, row.type, default, row.min and range(row) or "-",
      row.text .. (row.needs and " Not in this version." or ""))
  end
  return table.concat(lines, "\n") .. "\n"
end

return options
