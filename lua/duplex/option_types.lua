-- SPDX-License-Identifier: MIT
-- What rows of options are made of: types, ranges, and texts for what is wrong.
-- Which options there are is not known here: a row that is a list brings what
-- checks its entries, row.bad_entry.

local types = {}

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
function types.nearest(name, candidates)
  local size, best = #name, nil
  if size > 64 then return nil end -- the cost is the product of the lengths
  local least = math.min(math.ceil(size / 2), math.max(2, size / 3)) + 1
  for _, candidate in ipairs(candidates) do
    local d = distance(name:lower(), candidate:lower())
    if d < least then best, least = candidate, d end
  end
  return best
end

--- What is wrong with a name of the HTTP grammar, nil if nothing (RFC 9110 5.6.2).
---@param text string
---@return string|nil
function types.bad_token(text)
  local fine = text:find("^[A-Za-z0-9!#$%%&'*+.^_`|~-]+$")
  return not fine and "is no token (letters, digits, - . _ and the like)" or nil
end

local NAMED = "has '%s', which %s"

--- The range of a row as a text: "1..10 seconds".
---@param row duplex.option
---@return string
function types.range(row)
  return ("%.0f..%.0f%s"):format(row.min, row.max, row.unit and " " .. row.unit or "")
end

--- What is wrong with a number, or a length, nil if it is in the range of the row.
---@param row duplex.option
---@param number number
---@return string|nil
function types.out_of_range(row, number)
  if number >= row.min and number <= row.max then return nil end
  return ("must be %s, got %.14g"):format(types.range(row), number)
end

-- One function a type: returns nil and the value to keep, which is never a
-- table of the caller's, or what is wrong; true is just "another type".
local read = {}
types.read = read

for _, kind in ipairs { "boolean", "function", "table" } do
  read[kind] = function(value) return type(value) ~= kind or nil, value end
end
for kind, literal in pairs {
  ["false"] = false, ['"1.2"'] = "1.2", ['"1.3"'] = "1.3",
  ['"required"'] = "required", ['"optional"'] = "optional",
  ['"dedicated"'] = "dedicated", ['"shared"'] = "shared",
  ['"text"'] = "text", ['"binary"'] = "binary",
  ['"oldest"'] = "oldest", ['"newest"'] = "newest", ['"refuse"'] = "refuse",
  ['"disconnect"'] = "disconnect", ['"drop"'] = "drop", ['"coalesce"'] = "coalesce",
} do
  read[kind] = function(value) return value ~= literal or nil, value end
end

function read.any(value) return nil, value end

function read.number(value, row)
  if type(value) ~= "number" or value ~= value then return true end
  return types.out_of_range(row, value), value
end

function read.integer(value, row)
  local problem = read.number(value, row)
  -- floor makes the 8080.0 of 5.3 and later an integer.
  return problem or value % 1 ~= 0 or nil, not problem and math.floor(value)
end

function read.string(value, row)
  if type(value) ~= "string" then return true end
  local control = value:find("%c") and "has a control character"
  return control or types.out_of_range(row, #value), value
end

read.path = read.string

function read.bytes(value, row)
  if type(value) ~= "string" then return true end
  return types.out_of_range(row, #value), value
end

read["PEM text"] = function(value)
  return type(value) ~= "string" or not value:find("-----BEGIN ", 1, true) or nil, value
end

function read.list(value, row)
  if type(value) ~= "table" then return true end
  local copy, seen, count = {}, {}, 0
  for i, entry in ipairs(value) do
    local problem = type(entry) ~= "string" and "is no string"
      or seen[entry] and "is there twice" or row.bad_entry(entry)
    if problem then return NAMED:format(tostring(entry), problem) end
    copy[i], seen[entry] = entry, true
  end
  for _ in pairs(value) do count = count + 1 end
  if #copy ~= count then return "must be a list: { first, second }" end
  return types.out_of_range(row, count), copy
end

read["table of headers"] = function(value) -- as lists by name
  if type(value) ~= "table" then return true end
  local copy = {}
  for name, lines in pairs(value) do
    copy[name] = {}
    for i, line in ipairs(type(lines) == "table" and lines or { lines }) do
      -- A line break would add header lines of somebody else's choice.
      local problem = (type(name) ~= "string" or type(line) ~= "string")
        and "is no string or has a value that is none" or types.bad_token(name)
        or line:gsub("\t", " "):find("%c") and "has a control character"
      if problem then return NAMED:format(tostring(name), problem) end
      copy[name][i] = line
    end
  end
  return nil, copy
end

--- Reads the value of an option.
---@param prefix string "tls." in tables of options
---@param row duplex.option
---@param value any
---@param role string
---@return string|nil problem the error text
---@return any kept instead of the value
function types.check(prefix, row, value, role)
  local name = ("option '%s%s' "):format(prefix, row.name:match("[^.]+$"))
  local problem
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
  local article = row.type:find("^[aeiou]") and "an " or row.type:find("^bytes") and "" or "a "
  if row.type:find('^"') then -- one of several texts
    article = ""
    if got == "string" then got = ('"%s"'):format(value:sub(1, 40)) end
  end
  return name .. (problem or ("must be %s%s, got %s"):format(article, row.type, got))
end

return types
