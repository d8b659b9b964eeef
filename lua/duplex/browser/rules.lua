-- SPDX-License-Identifier: MIT
-- What the WebSocket object of browsers refuses, and as which exception. Pure.

local address = require "duplex.address"
local url = require "duplex.url"

local rules = {}

local MAX_REASON = 123 -- bytes, RFC 6455 5.5
local MAPPED = ("\0"):rep(10) .. "\255\255" -- IPv4 as IPv6
local NOT_USERINFO = "[^A-Za-z0-9%-._~!$&'()*+,%%]" -- URL, 1.3

---@class duplex.browser.Exception what is raised; tostring() has all of it
---@field name "SyntaxError"|"InvalidStateError"|"InvalidAccessError"|"TypeError"
---@field message string
---@field where string "file.lua:12: ", or "" when that is not known
local exception = { __name = "duplex.browser.Exception" }

function exception:__tostring() return ("%s%s: %s"):format(self.where, self.name, self.message) end

--- Raises an exception.
---@param name string
---@param message string
---@param level integer whom to blame, as for error
function rules.throw(name, message, level)
  local at = debug.getinfo(level + 1, "Sl")
  local where = at and at.currentline > 0 and ("%s:%d: "):format(at.short_src, at.currentline) or ""
  error(setmetatable({ name = name, message = message, where = where }, exception), 0)
end

local throw = rules.throw

-- Groups without leading zeros, the longest run of zeros as "::" (URL, 3.5).
local function ipv6(text)
  local bytes, groups = address.bytes(text), {}
  if #bytes == 4 then bytes = MAPPED .. bytes end
  for i = 1, 15, 2 do
    local high, low = bytes:byte(i, i + 1)
    groups[#groups + 1] = ("%x"):format(high * 256 + low)
  end
  local whole = ":" .. table.concat(groups, ":") .. ":"
  for count = 8, 2, -1 do
    local from, to = whole:find((":0"):rep(count) .. ":", 1, true)
    if from then return whole:sub(2, from - 1) .. "::" .. whole:sub(to + 1, -2) end
  end
  return whole:sub(2, -2)
end

local function escape(byte) return ("%%%02X"):format(byte:byte()) end

local function credentials(text)
  local user, password = text:match("^([^:]*):?(.*)$")
  if user == "" and password == "" then return "" end
  password = password ~= "" and ":" .. password:gsub(NOT_USERINFO, escape) or ""
  return user:gsub(NOT_USERINFO, escape) .. password .. "@"
end

--- A URL as the standard serializes it, but for path and query, where more is
--- percent-encoded (RFC 3986); and its origin.
---@param text any
---@param level integer
---@return string url, string origin
function rules.url(text, level)
  if type(text) ~= "string" then
    throw("TypeError", "the URL must be a string, got " .. type(text), level + 1)
  end
  text = text:gsub("^[%z\1- ]+", ""):gsub("[%z\1- ]+$", ""):gsub("[\t\r\n]", "")
  local parts, message = url.parse(text)
  if parts then parts, message = url.resolve(parts, text) end
  if not parts then throw("SyntaxError", (message:gsub("^URL: ", "")), level + 1) end
  local place = parts.authority:gsub("^%[(.*)%]", function(host) return "[" .. ipv6(host) .. "]" end)
  local who = credentials(text:match("^[^/]*//([^/?]*)@") or "")
  local origin = parts.scheme .. "://" .. place
  return parts.scheme .. "://" .. who .. place .. parts.target, origin
end

local function is_token(text) return text:find("^[%w!#$%%&'*+.^_`|~-]+$") ~= nil end

--- The list of subprotocols.
---@param given any a string, a list of strings or nil
---@param level integer
---@return string[]
function rules.protocols(given, level)
  local list, seen = {}, {}
  if given == nil then return list end
  if type(given) ~= "string" and type(given) ~= "table" then
    throw("TypeError", "protocols must be a string or a list, got " .. type(given), level + 1)
  end
  for i, name in ipairs(type(given) == "table" and given or { given }) do
    if type(name) ~= "string" then
      throw("TypeError", "a subprotocol must be a string, got " .. type(name), level + 1)
    elseif not is_token(name) then
      throw("SyntaxError", ("the subprotocol '%s' is no token"):format(name), level + 1)
    elseif seen[name] then
      throw("SyntaxError", ("the subprotocol '%s' is there twice"):format(name), level + 1)
    end
    list[i], seen[name] = name, true
  end
  for key in pairs(type(given) == "table" and given or {}) do
    if list[key] == nil then
      throw("TypeError", ("protocols must be a list, this has '%s' (options are the third argument)")
        :format(tostring(key)), level + 1)
    end
  end
  return list
end

--- Checks what close() is given.
---@param code any
---@param reason any
---@param level integer
function rules.close(code, reason, level)
  if code ~= nil and type(code) ~= "number" then
    throw("TypeError", "the code must be a number, got " .. type(code), level + 1)
  elseif code and code ~= 1000 and not (code >= 3000 and code <= 4999 and code % 1 == 0) then
    throw("InvalidAccessError", ("the code must be 1000 or 3000..4999, got %g"):format(code), level + 1)
  elseif reason ~= nil and type(reason) ~= "string" then
    throw("TypeError", "the reason must be a string, got " .. type(reason), level + 1)
  elseif reason and #reason > MAX_REASON then
    throw("SyntaxError", ("the reason must be at most %d bytes, got %d"):format(MAX_REASON, #reason), level + 1)
  end
end

return rules
