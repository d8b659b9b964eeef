-- SPDX-License-Identifier: MIT
-- Text of values and back: lua-cjson, set so that nothing surprises, or any
-- other codec behind the same functions.

local failure = require "duplex.failure"
local writer = require "duplex.json.writer"

local codec = {}

local kind_of = rawget(math, "type") -- Lua 5.3 and later: "integer" or "float"

local EXACT = 2 ^ 53 -- whole numbers below this are what they were as text

local NO_CJSON = "duplex.json needs lua-cjson, which is not installed: apt-get install lua-cjson, "
  .. "or luarocks install lua-cjson; or give a codec of your own, { encode = ..., decode = ... }"

-- What lua-cjson without empty_array refuses, so that the writer sees it.
local EMPTY_ARRAY = setmetatable({ [true] = true }, { __tostring = function() return "[]" end })

-- What is made here, so that it is not wrapped again.
local ours = setmetatable({}, { __mode = "k" })

local function is_infinite(number) return number == math.huge or number == -math.huge end

-- Is every number in a value one that JSON can say? Old versions give 1 as 1.0,
-- which prints differently: with 'floats' whole numbers become integers, in place.
local function settle(value, floats)
  for key, one in pairs(value) do
    local kind = type(one)
    if kind == "table" then
      if not settle(one, floats) then return false end
    elseif kind == "number" then
      if is_infinite(one) then return false end
      if floats and one % 1 == 0 and one < EXACT and one > -EXACT then value[key] = math.floor(one) end
    end
  end
  return true
end

-- Where in a JSON text the first number is that became infinite.
local function place_of_infinite(text)
  local plain = text:gsub("\\.", ".."):gsub('"[^"]*"', function(found) return (" "):rep(#found) end)
  for at, number in plain:gmatch("()(%-?%d[%d.eE+-]*)") do
    if is_infinite(tonumber(number)) then return at end
  end
end

-- Calls a setter that not all versions of lua-cjson have.
local function set(cjson, name, ...)
  if cjson[name] then cjson[name](...) end
end

-- An instance of our own: what others set in lua-cjson does not matter here.
local function cjson_instance(max_depth)
  local found, safe = pcall(function() return require "cjson.safe" end)
  if not found then error(NO_CJSON, 0) end
  local cjson = safe.new()
  cjson.encode_invalid_numbers(false)
  cjson.decode_invalid_numbers(false)
  cjson.encode_max_depth(max_depth)
  cjson.decode_max_depth(max_depth)
  cjson.encode_sparse_array(false, 1, 0) -- a list with holes is a mistake
  if not pcall(cjson.encode_number_precision, 16) then cjson.encode_number_precision(14) end
  set(cjson, "encode_escape_forward_slash", false)
  set(cjson, "decode_array_with_array_mt", true) -- [] stays one
  return cjson
end

-- encode and decode by lua-cjson: value or text | nil, problem.
local function of_cjson(limits)
  local cjson = cjson_instance(limits.max_depth)
  limits.null = cjson.null
  limits.empty_array = cjson.empty_array or EMPTY_ARRAY
  local rounds = cjson.encode(123456789012345) ~= "123456789012345"
  local floats = kind_of and kind_of(cjson.decode("[1]")[1]) == "float"

  local function encode(value)
    local text = cjson.encode(value)
    -- Whole numbers that were rounded have an exponent.
    if text and not (rounds and text:find("e+", 1, true)) then return text end
    return writer.write(value, limits)
  end

  local function decode(text)
    local value, problem = cjson.decode(text)
    if value == nil then return nil, (problem:gsub("^%u%l", string.lower)) end
    -- To lua-cjson a NUL behind the value is the end of the text.
    local nul = text:find("\0", 1, true)
    if nul then return nil, ("expected the end but found invalid token at character %d"):format(nul) end
    local box = { value }
    if settle(box, floats) then return box[1] end
    return nil, ("found a number out of range at character %d"):format(place_of_infinite(text))
  end
  return encode, decode
end

-- The same by what somebody gives.
local function of_others(given, limits)
  limits.null, limits.empty_array = given.null, given.empty_array
  if limits.null == nil then limits.null = setmetatable({}, { __tostring = function() return "null" end }) end

  local function encode(value)
    local fine, text, problem = pcall(given.encode, value)
    if not fine then return nil, tostring(text) end
    if type(text) == "string" then return text end
    return nil, tostring(problem or "encode gave no string but a " .. type(text))
  end

  local function decode(text)
    local fine, value, second, third = pcall(given.decode, text)
    if not fine then return nil, tostring(value) end
    if value ~= nil then return value end
    -- nil is null to some; others return a text, or a position and a text.
    local problem = type(second) == "string" and second or third
    if problem == nil then return limits.null end
    return nil, tostring(problem)
  end
  return encode, decode
end

---@class duplex.Codec
---@field encode fun(value: any): string raises what cannot be written, and says where it is
---@field decode fun(text: string): any, string?, string? nil, message, "JSON"
---@field array fun(list: table): any the list, or empty_array when it has no elements
---@field null any what a null is
---@field empty_array any what is written as []; nil when a codec of others has none

-- The functions that people see, of encode and decode as above.
local function finish(encode, decode, limits)
  local self = { null = limits.null, empty_array = limits.empty_array }
  ours[self] = encode

  function self.encode(value)
    local text, problem = codec.try(self, value)
    if not text then error("cannot be written as JSON: " .. problem, 2) end
    return text
  end

  function self.decode(text)
    if type(text) ~= "string" then error("JSON must be a string, got " .. type(text), 2) end
    local value, problem = decode(text)
    if value ~= nil then return value end
    return failure.of("JSON", problem)
  end

  function self.array(list)
    if type(list) ~= "table" then error("array: the list must be a table, got " .. type(list), 2) end
    if next(list) ~= nil then return list end
    if self.empty_array == nil then error("this codec has no empty_array", 2) end
    return self.empty_array
  end
  return self
end

--- Text of a value, for callers that have more to say about a failure.
---@param made duplex.Codec
---@param value any
---@return string|nil text, string? problem
function codec.try(made, value)
  if value == nil then return nil, "value is nil (json.null stands for nothing)" end
  return ours[made](value)
end

--- A codec by lua-cjson. Raises when that is not there.
---@param max_depth integer tables within tables, both ways
---@return duplex.Codec
function codec.cjson(max_depth)
  local limits = { max_depth = max_depth }
  local encode, decode = of_cjson(limits)
  return finish(encode, decode, limits)
end

--- A codec by functions of others.
---@param given table { encode, decode [, null] [, empty_array] }
---@param level? integer whom to blame, default 2
---@return duplex.Codec
function codec.wrap(given, level)
  if ours[given] then return given end
  for _, name in ipairs { "encode", "decode" } do
    if type(given) ~= "table" or type(given[name]) ~= "function" then
      error(("a codec must be a table with functions encode and decode, %s"):format(
        type(given) ~= "table" and "got " .. type(given) or "this has no " .. name), (level or 2) + 1)
    end
  end
  local limits = {}
  local encode, decode = of_others(given, limits)
  return finish(encode, decode, limits)
end

return codec
