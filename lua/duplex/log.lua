-- SPDX-License-Identifier: MIT
-- Log lines for people, unless a program takes them: log = function(level,
-- message, fields), or false for silence.

local log = {}

local function escaped(characters)
  return (characters:gsub(".", function(c) return ("\\x%02x"):format(c:byte()) end))
end

-- A peer chooses some of what is logged: no byte of it may move a cursor, begin a
-- line or turn the direction of text, nor may a character of UTF-8 (see excerpt.c).
local function visible(text)
  text = text:gsub("[%c]+", escaped):gsub("\194[\128-\159]", escaped)
  return (text:gsub("\226\128[\142\143\168-\174]", escaped):gsub("\226\129[\166-\169]", escaped))
end

--- What there is to say, in one line. A traceback keeps its lines, which are
--- indented: what a program raises may have lines that a peer chose.
---@param level "debug"|"info"|"warning"|"error"
---@param message string
---@param fields? table<string, any>
---@return string
function log.line(level, message, fields)
  local names = {}
  for name in pairs(fields or {}) do
    if name ~= "traceback" then names[#names + 1] = name end
  end
  table.sort(names)
  local line = ("duplex: %s: %s"):format(level, visible(message))
  for _, name in ipairs(names) do
    line = ("%s %s=%s"):format(line, name, visible(tostring(fields[name])))
  end
  if fields and fields.traceback then
    line = line .. ("\n" .. fields.traceback:gsub("[^\n\t -~]", "?")):gsub("\n\t?", "\n\t")
  end
  return line
end

-- Peers cause warnings, as many as they like: one a second is enough for people.
local warned, left_out = nil, 0

local function may_warn()
  local now = os.time()
  if now == warned then
    left_out = left_out + 1
    return false
  end
  if left_out > 0 then
    io.stderr:write(("duplex: warning: %d more were left out\n"):format(left_out))
  end
  warned, left_out = now, 0
  return true
end

--- The default: a line on stderr, of warnings at most one a second.
---@param level "debug"|"info"|"warning"|"error"
---@param message string
---@param fields? table<string, any>
function log.stderr(level, message, fields)
  if level == "debug" or (level == "warning" and not may_warn()) then return end
  io.stderr:write(log.line(level, message, fields), "\n")
end

--- Where lines go that no program takes. A host sets it that has a log of its own.
log.default = log.stderr

--- The functions to log with, from the option: one for everything, and one for
--- details, which is nil when nobody would see them.
---@param option function|false|nil
---@return fun(level: string, message: string, fields: table?) write
---@return nil|fun(level: string, message: string, fields: table?) detail
function log.writer(option)
  if option == false then return function() end end
  if option == nil then return log.default end
  -- What is going on must go on, whatever the program's function does.
  local function write(level, message, fields)
    local fine, problem = pcall(option, level, message, fields)
    if fine then return end
    log.default(level, message, fields)
    log.default("error", "the log function failed: " .. tostring(problem))
  end
  return write, write
end

--- How often something failed in this program, by what it is called.
---@type table<string, integer>
log.failed = {}

--- Logs what a task died of: its first line, and the traceback as a field.
---@param write fun(level: string, message: string, fields: table)
---@param what string "handler failed"
---@param failure string|nil as the scheduler gives it; without one nothing is logged
---@param fields? table what else there is to say; gets the traceback
function log.failure(write, what, failure, fields)
  if not failure then return end
  log.failed[what] = (log.failed[what] or 0) + 1
  local first, rest = failure:match("^(.-)\n(.*)$")
  fields = fields or {}
  fields.traceback = rest
  write("error", what .. ": " .. (first or failure), fields)
end

return log
