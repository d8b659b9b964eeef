-- SPDX-License-Identifier: MIT
-- JSON text of values, slowly but to the last digit, and what is in the way of
-- it: the codec turns to this when lua-cjson gives up or would round.

local writer = {}

local kind_of = rawget(math, "type") -- Lua 5.3 and later: "integer" or "float"

local LONGEST_PATH = 100 -- bytes shown of where in a value something is

local EXACT = 2 ^ 53 -- whole numbers up to this are what they look like

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\b"] = "\\b", ["\f"] = "\\f",
  ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

local function escape(c) return ESCAPES[c] or ("\\u%04x"):format(c:byte()) end

local function quoted(text) return '"' .. text:gsub('[%c"\\\127]', escape) .. '"' end

-- As short as it can be read back.
local function digits(number)
  if kind_of and kind_of(number) == "integer" then return ("%d"):format(number) end
  if number % 1 == 0 and number <= EXACT and number >= -EXACT then return ("%.0f"):format(number) end
  for precision = 14, 17 do
    -- A locale may have a comma.
    local text = ("%." .. precision .. "g"):format(number):gsub(",", ".")
    if tonumber(text) == number or precision == 17 then return text end
  end
end

-- Elements of a list, 0 of a table of named fields.
local function length(value)
  local count, most = 0, 0
  for key in pairs(value) do
    if type(key) ~= "number" or key < 1 or key % 1 ~= 0 then return 0 end
    count, most = count + 1, math.max(most, key)
  end
  if count < most then
    local at = 1
    while value[at] ~= nil do at = at + 1 end
    return nil, ("is a list without element %d (json.null stands for nothing)"):format(at)
  end
  return count
end

local write

-- Each returns nil, or what is wrong and where below this value.
local function write_list(out, list, count, limits, depth)
  for i = 1, count do
    out[#out + 1] = i == 1 and "[" or ","
    local problem, where = write(out, list[i], limits, depth + 1)
    if problem then return problem, ("[%d]%s"):format(i, where) end
  end
  out[#out + 1] = "]"
end

local function write_fields(out, fields, limits, depth)
  local mark = "{"
  for key, value in pairs(fields) do
    if type(key) ~= "string" and type(key) ~= "number" then
      return ("has a key that is a %s"):format(type(key)), ""
    end
    local name = type(key) == "string" and key or digits(key)
    out[#out + 1] = mark .. quoted(name) .. ":"
    mark = ","
    local problem, where = write(out, value, limits, depth + 1)
    if problem then
      return problem, (name:find("^[%a_][%w_]*$") and ".%s%s" or "[%q]%s"):format(name, where)
    end
  end
  out[#out + 1] = mark == "{" and "{}" or "}"
end

function write(out, value, limits, depth)
  local kind = type(value)
  if value == limits.null then
    out[#out + 1] = "null"
  elseif value == limits.empty_array then
    out[#out + 1] = "[]"
  elseif kind == "string" then
    out[#out + 1] = quoted(value)
  elseif kind == "boolean" then
    out[#out + 1] = tostring(value)
  elseif kind == "number" then
    if value ~= value or value == math.huge or value == -math.huge then
      return "is " .. tostring(value):gsub("^%-?nan.*", "nan"), ""
    end
    out[#out + 1] = digits(value)
  elseif kind == "table" then
    if depth >= limits.max_depth then
      return ("is nested in more than %d tables"):format(limits.max_depth), ""
    end
    local count, problem = length(value)
    if problem then return problem, "" end
    if count > 0 then return write_list(out, value, count, limits, depth) end
    return write_fields(out, value, limits, depth)
  else
    return "is a " .. kind, ""
  end
end

--- JSON text of a value.
---@param value any
---@param limits { null: any, empty_array: any, max_depth: integer }
---@return string|nil text, string? problem "value.a[2] is a function"
function writer.write(value, limits)
  local out = {}
  local problem, where = write(out, value, limits, 0)
  if not problem then return table.concat(out) end
  if #where > LONGEST_PATH then where = where:sub(1, LONGEST_PATH) .. "..." end
  return nil, ("value%s %s"):format(where, problem)
end

return writer
