-- SPDX-License-Identifier: MIT
-- Is a failure final, or may another attempt succeed? Pure.

local options = require "duplex.options"

local verdict = {}

---@class duplex.Failure why there is no connection (any more)
---@field id string as in errors.md; "CLOSED" when the server closed it; "ERROR"
---  when a function of the program raised
---@field message string begins with the id
---@field code integer|nil close code of the server, if it was open
---@field reason string|nil close reason of the server
---@field status integer|nil HTTP status of the server, or of a proxy
---@field response table|nil { status, headers, body } of an attempt refused
---@field uptime number|nil seconds that it was open; nil: it never was
---@field failures integer in a row, this one included

-- Trying again will find the same: one of the two programs is wrong, or has said
-- that it is done. A code, status or id that is not here may be otherwise next
-- time. 3000 and 3003 are 401 and 403 in IANA's registry of close codes; what
-- else an application means by its codes only the application knows.
local FINAL = {
  [1000] = true, [1002] = true, [1003] = true, [1007] = true, [1008] = true,
  [1009] = true, [1010] = true, [3000] = true, [3003] = true,
  URL = true, STOPPED = true, PROTOCOL = true, BAD_UTF8 = true, TOO_BIG = true,
}

-- Of HTTP statuses it is the other way round (RFC 9110 15.5.9, 15.6, RFC 8470,
-- RFC 6585): these, and those from 500 on, pass.
local PASSING = { [408] = true, [425] = true, [429] = true }

local function by_default(failure)
  if failure.status and failure.status ~= 101 then
    return not PASSING[failure.status] and failure.status < 500
  end
  -- Who says 101 and breaks the rest of the rules is no WebSocket server.
  if failure.status then return true end
  return FINAL[failure.code] or FINAL[failure.id] or false
end

local IDS = { "URL", "DNS", "CONNECT", "PROXY", "TLS", "HTTP", "HANDSHAKE", "TIMEOUT", "STOPPED",
  "CLOSED", "LOST", "PROTOCOL", "BAD_UTF8", "TOO_BIG", "LIMIT", "ERROR" }

--- Checks an option 'final' or 'retryable': a function, or a list of close
--- codes, HTTP statuses, ids of errors and ranges { from, to }.
---@param name string
---@param given function|table|nil
---@return fun(failure: duplex.Failure): boolean?|nil test, string? problem
function verdict.test(name, given)
  if type(given) ~= "table" then return given end
  local set, ranges, count = {}, {}, 0
  for _, entry in ipairs(given) do
    local unknown = type(entry) == "string"
      and options.bad_name({ [entry] = true }, IDS, "option '" .. name .. "' has '%s', which is no id of a failure")
    if unknown then return nil, unknown end
    count = count + 1
    if type(entry) == "table" and type(entry[1]) == "number" and type(entry[2]) == "number"
      and entry[1] <= entry[2] then
      ranges[#ranges + 1] = { entry[1], entry[2] }
    elseif type(entry) == "number" or type(entry) == "string" then
      set[entry] = true
    else
      count = -1
      break
    end
  end
  for _ in pairs(given) do count = count - 1 end
  if count ~= 0 then
    return nil, ("option '%s' must be a list of close codes, statuses, ids and { from, to }")
      :format(name)
  end
  local function has(value)
    if value == nil then return false end
    if set[value] then return true end
    for _, range in ipairs(type(value) == "number" and ranges or {}) do
      if value >= range[1] and value <= range[2] then return true end
    end
    return false
  end
  return function(failure)
    return has(failure.code) or has(failure.status) or has(failure.id)
  end
end

--- Is there no point in trying again?
---@param failure duplex.Failure
---@param final? fun(failure: duplex.Failure): boolean? asked first; true is yes
---@param retryable? fun(failure: duplex.Failure): boolean? then this; true is no
---@return boolean
function verdict.final(failure, final, retryable)
  if failure.id == "STOPPED" then return true end -- nothing will ever connect again
  if final and final(failure) then return true end
  if retryable and retryable(failure) then return false end
  return by_default(failure)
end

return verdict
