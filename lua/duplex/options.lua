-- SPDX-License-Identifier: MIT
-- Checks options against their rows (option_rows.lua), fills in defaults, and
-- makes docs/options.md.

local forwarded = require "duplex.forwarded"
local origin = require "duplex.origin"
local types = require "duplex.option_types"

local options = { nearest = types.nearest }
local read = types.read

---@type duplex.option[]
options.rows = require "duplex.option_rows"

local function bad_protocol(name) -- RFC 7301 3.1
  return (#name < 1 or #name > 255 or name:find("%c")) and "is not of 1..255 bytes without control characters" or nil
end

-- By option: what is wrong with an entry of its list, nil if nothing.
local BAD_ENTRY = {
  origins = origin.problem, proxies = forwarded.problem, subprotocols = types.bad_token, ["tls.alpn"] = bad_protocol,
}

-- Rows by the table that they are for: "" and "tls."; row.key is the name there.
local levels = {}
for _, row in ipairs(options.rows) do
  local level, key = row.name:match("^(.-)([^.]+)$")
  row.key, row.bad_entry = key, BAD_ENTRY[row.name]
  levels[level] = levels[level] or {}
  table.insert(levels[level], row)
end

-- Roles that "both" means; others are those of helpers, such as "hub".
local CONNECTS = { server = true, client = true }

local function hint(prefix, name, known)
  local near = type(name) == "string" and options.nearest(name, known)
  return near and (" (did you mean '%s%s'?)"):format(prefix, near) or ""
end

local function unknown(rows, prefix, role, name, known)
  for _, row in ipairs(rows) do
    if row.key == name and CONNECTS[role] then
      return ("option '%s%s' is not for the %s"):format(prefix, name, role)
    elseif row.key == name and role == "reconnect" and (row.role == "client" or row.role == "both") then
      return ("option '%s' is one of duplex.connect: write connect = { %s = ... }"):format(name, name)
    end
  end
  return ("unknown option '%s%s'%s"):format(prefix, tostring(name), hint(prefix, name, known))
end

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
    local problem, kept = types.check(prefix, row, value, role)
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

-- What the core is to know of them.
local function plan_compression(role, given)
  if given.compressor == "shared" then
    given[role .. "_no_context_takeover"] = true
    -- Contexts of clients would be kept for each connection, too.
    if role == "server" then given.client_no_context_takeover = true end
  end
  given.any_server_bits = given.server_max_window_bits == nil
  given.server_max_window_bits = given.server_max_window_bits or 12
  return given
end

read["table of compression options"] = function(value, row, role)
  if type(value) ~= "table" and value ~= true then return true end
  local problem, checked = check_table("compression.", row.name .. ".", role,
    value == true and {} or value)
  return problem, checked and plan_compression(role, checked), problem ~= nil
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
  return types.out_of_range(row, #list), list
end

-- Headers that are the handshake's own.
local RESERVED = {
  host = true, upgrade = true, connection = true, ["content-length"] = true,
  ["transfer-encoding"] = true, ["sec-websocket-key"] = true,
  ["sec-websocket-version"] = true, ["sec-websocket-extensions"] = true,
  ["sec-websocket-protocol"] = true,
}

local POLICY = "duplex.heartbeat" -- the name of what that makes, which is fine

-- What is wrong with the option heartbeat; puts what was checked in its place.
local function bad_heartbeat(checked, given)
  local policy = checked.heartbeat
  if policy == nil then return nil end
  if given.ping_interval ~= nil or given.ping_timeout ~= nil then
    return "option 'heartbeat' excludes 'ping_interval' and 'ping_timeout': it says both"
  end
  local class = getmetatable(policy)
  if not policy or type(class) == "table" and class.__name == POLICY then return nil end
  local problem
  problem, checked.heartbeat = check_table("", "heartbeat.", "heartbeat", policy)
  for _, name in ipairs { "adaptive", "minimum", "patience", "clock" } do
    -- It would be forgotten before it has learned anything.
    if not problem and policy[name] ~= nil and checked.heartbeat[name] ~= false then
      problem = ("option 'heartbeat.%s' is for a policy that connections share: make one with duplex.heartbeat")
        :format(name)
    end
  end
  return problem
end

-- What is wrong with options of connect or serve that are fine one by one.
local function bad_together(checked, given)
  for name in pairs(checked.headers or {}) do
    if RESERVED[name:lower()] then
      return ("header '%s' belongs to the handshake and cannot be set"):format(name)
    end
  end
  if checked.proxy and checked.unix then return "options 'proxy' and 'unix' exclude each other" end
  return bad_heartbeat(checked, given)
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
  problem = problem or CONNECTS[role] and bad_together(checked, given)
  if problem then error(problem, level) end
  if (given.unix or given.fd) and given.port or given.unix and given.fd then
    error("options 'port', 'unix' and 'fd' exclude each other", level)
  end
  if checked.proxy_protocol and #(checked.proxies or "") == 0 then
    error("option 'proxy_protocol' needs proxies: who may say whose connection it is", level)
  end
  return checked
end

--- What is wrong with the names in a table that has no rows.
---@param given table
---@param names string[] those that there are
---@param text string of what is wrong; %s is the name
---@return string|nil problem with the nearest name
function options.bad_name(given, names, text)
  for name in pairs(given) do
    local known = false
    for _, other in ipairs(names) do known = known or name == other end
    if not known then return text:format(tostring(name)) .. hint("", name, names) end
  end
end

--- Is it a connection, of whatever host?
---@param value any
---@return boolean
function options.is_connection(value)
  local class = debug.getmetatable(value)
  return type(value) == "userdata" and class ~= nil and class.__name == "duplex.connection"
end

--- Checks a close code that is to be sent (RFC 6455 7.4.1); raises in the name of the
--- caller's caller.
---@param code any
function options.close_code(code)
  if type(code) == "number" and code % 1 == 0 and (code >= 1000 and code <= 1003
    or code >= 1007 and code <= 1014 or code >= 3000 and code <= 4999) then return end
  error(("close code must be 1000..1003, 1007..1014 or 3000..4999, got %s"):format(tostring(code)), 3)
end

--- When a time to wait is up; raises in the name of the caller's caller unless it is
--- seconds, 0 or more.
---@param timeout number|nil nil = never
---@param now fun(): number seconds
---@return number|nil seconds
function options.deadline(timeout, now)
  if timeout == nil then return nil end
  options.seconds(timeout, "timeout must be a number of seconds", 3)
  return now() + timeout
end

--- What is left of a time to wait, for calls that wait several times.
---@param deadline number|nil of options.deadline
---@param now fun(): number seconds
---@return number|nil seconds 0 when it is up; nil = no end
function options.left(deadline, now) return deadline and math.max(0, deadline - now()) end

--- Checks an argument that is a time to wait: raises unless it is seconds, 0 or more.
---@param value any
---@param must string how the text begins: "grace must be seconds"
---@param level? integer 1 blames the caller of seconds, 2 (default) its caller
function options.seconds(value, must, level)
  if type(value) == "number" and value >= 0 then return end
  local got = type(value) == "number" and ("%.14g"):format(value) or "a " .. type(value)
  error(("%s, 0 or more, got %s"):format(must, got), (level or 2) + 1)
end

-- Headings of docs/options.md by role.
local CONNECTIONS = "Servers and clients"
local TITLES = {
  server = CONNECTIONS, client = CONNECTIONS, both = CONNECTIONS,
  heartbeat = "duplex.heartbeat", json = "duplex.json", rpc = "duplex.rpc",
  reconnect = "duplex.reconnect", hub = "duplex.hub", subscription = "hub:subscribe",
}

--- docs/options.md, made from the rows.
---@return string markdown ends with a line break
function options.markdown()
  local lines = { "# Options", "",
    "<!-- Made from lua/duplex/option_rows.lua: change the rows there. -->" }
  local sections, seen = {}, {}
  for _, row in ipairs(options.rows) do
    local title = TITLES[row.role]
    local section = seen[title]
    if not section then
      section = { "", "## " .. title, "",
        "| option | for | type | default | range | meaning |",
        "| --- | --- | --- | --- | --- | --- |" }
      seen[title], sections[#sections + 1] = section, section
    end
    local default = row.default == nil and "-"
      or type(row.default) == "table" and table.concat(row.default, ", ")
      or tostring(row.default)
    section[#section + 1] = ("| `%s` | %s | %s | %s | %s | %s |"):format(row.name,
      row.role, row.type, default, row.min and types.range(row) or "-",
      row.text)
  end
  for _, section in ipairs(sections) do
    for _, line in ipairs(section) do lines[#lines + 1] = line end
  end
  return table.concat(lines, "\n") .. "\n"
end

return options
