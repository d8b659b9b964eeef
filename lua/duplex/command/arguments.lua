-- SPDX-License-Identifier: MIT
-- Arguments of a command from a table of rows, and its help from the same
-- rows. A rock must install without fetching others, so this is not argparse.

local arguments = {}

---@class duplex.Argument
---@field name string "--port" or, for a positional one, "URL"
---@field value? string what --help calls its value; none: a switch
---@field optional? boolean a value only behind "=", without it a switch
---@field choices? string[] the only values
---@field number? boolean
---@field required? boolean
---@field many? boolean may be given again: the value is a list
---@field default? any
---@field text string

---@class duplex.CommandSpec
---@field name string
---@field text string
---@field rows duplex.Argument[]

local function key(row) return (row.name:gsub("^%-+", ""):gsub("%-", "_"):lower()) end

local function is_option(row) return row.name:sub(1, 1) == "-" end

-- What --help calls a row.
local function label(row)
  if not row.value then return row.name end
  return row.name .. (row.optional and "[=%s]" or " %s"):format(row.value)
end

--- Help for one command.
---@param spec duplex.CommandSpec
---@return string
function arguments.help(spec)
  local usage, lines, width = { "usage: duplex " .. spec.name }, {}, 0
  local rows = { { name = "--help", text = "Show this and exit." } }
  for i, row in ipairs(spec.rows) do rows[i + 1] = row end
  for _, row in ipairs(rows) do
    if not is_option(row) then usage[#usage + 1] = row.name end
    width = math.max(width, #label(row))
  end
  usage[#usage + 1] = "[options]"
  for _, row in ipairs(rows) do
    local default = row.default ~= nil and (" Default: %s."):format(row.default) or ""
    lines[#lines + 1] = ("  %-" .. width .. "s  %s%s"):format(label(row), row.text, default)
  end
  return ("%s\n\n%s\n\n%s\n"):format(table.concat(usage, " "), spec.text,
    table.concat(lines, "\n"))
end

local function find(spec, name)
  for _, row in ipairs(spec.rows) do
    if row.name == name then return row end
  end
end

local function convert(row, text)
  for _, choice in ipairs(row.choices or {}) do
    if text == choice then return text end
  end
  if row.choices then
    return nil, ("%s can be %s, not '%s'"):format(row.name, table.concat(row.choices, " or "), text)
  end
  if not row.number then return text end
  local number = tonumber(text)
  if number and number % 1 == 0 then return math.floor(number) end
  return nil, ("%s needs a whole number, got '%s'"):format(row.name, text)
end

--- Values by name ("max_message" for --max-message), or nil and what is wrong.
---@param spec duplex.CommandSpec
---@param words string[]
---@return table|nil values, string? problem
function arguments.parse(spec, words)
  local values, positional, i = {}, {}, 1
  for _, row in ipairs(spec.rows) do
    values[key(row)] = row.default
    if not is_option(row) then positional[#positional + 1] = row end
  end
  while words[i] do
    local word = words[i]
    if word == "--help" or word == "-h" then return { help = true } end
    local name, attached = word:match("^(%-%-[^=]+)=(.*)$")
    local row = word:sub(1, 1) == "-" and #word > 1 and find(spec, name or word)
    if word:sub(1, 1) ~= "-" or #word == 1 then
      row = table.remove(positional, 1)
      if not row then return nil, ("unexpected argument '%s'"):format(word) end
      values[key(row)] = word
    elseif not row then
      return nil, ("unknown option '%s'"):format(name or word)
    elseif not row.value or row.optional and not attached then
      if attached then return nil, row.name .. " takes no value" end
      values[key(row)] = true
    else
      if not attached then
        i = i + 1
        attached = words[i]
      end
      if not attached then return nil, row.name .. " needs a value" end
      local value, problem = convert(row, attached)
      if problem then return nil, problem end
      if row.many then
        local list = values[key(row)] or {}
        list[#list + 1] = value
        value = list
      end
      values[key(row)] = value
    end
    i = i + 1
  end
  for _, row in ipairs(spec.rows) do
    if row.required and values[key(row)] == nil then return nil, row.name .. " is missing" end
  end
  return values
end

return arguments
