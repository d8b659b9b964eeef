-- SPDX-License-Identifier: MIT
-- How long to wait before the next attempt to connect. Pure: the time and the
-- random numbers are arguments.
--
-- The delay is "full jitter": evenly spread between nothing and a limit that
-- grows with each failure. When a server restarts all of its clients lose their
-- connection in the same moment; a delay that only varies by a part of itself
-- would bring them back in waves.

local backoff = {}

--- Seconds to wait before the next attempt.
---@param failures integer failures in a row, one or more
---@param random number in [0, 1)
---@param given { first: number, factor: number, max: number } seconds
---@return number seconds from 0 to min(max, first * factor ^ (failures - 1))
function backoff.delay(failures, random, given)
  -- A huge power is inf, and min makes that max; inf * 0 would be nan.
  return random * math.min(given.max, given.first * given.factor ^ (failures - 1))
end

local MONTHS = { Jan = 1, Feb = 2, Mar = 3, Apr = 4, May = 5, Jun = 6, Jul = 7, Aug = 8,
  Sep = 9, Oct = 10, Nov = 11, Dec = 12 }

-- Days from 1970-01-01 to a day of the Gregorian calendar. Years begin in March
-- here, so that the day that is not always there is the last one.
local function days(year, month, day)
  if month <= 2 then year, month = year - 1, month + 12 end
  return 365 * year + math.floor(year / 4) - math.floor(year / 100)
    + math.floor(year / 400) + math.floor((153 * (month - 3) + 2) / 5) + day - 719469
end

-- The three forms of a date that a recipient has to understand (RFC 9110 5.6.7).
local FORMS = {
  "^%a+, (%d%d) (%a%a%a) (%d%d%d%d) (%d%d):(%d%d):(%d%d) GMT$",
  "^%a+, (%d%d)%-(%a%a%a)%-(%d%d) (%d%d):(%d%d):(%d%d) GMT$",
}
local ASCTIME = "^%a%a%a (%a%a%a) ([ %d]%d) (%d%d):(%d%d):(%d%d) (%d%d%d%d)$"

--- The time of an HTTP date.
---@param text string
---@return integer|nil seconds since 1970
function backoff.http_date(text)
  local day, month, year, hour, minute, second = text:match(FORMS[1])
  if not day then
    day, month, year, hour, minute, second = text:match(FORMS[2])
    -- Two digits of a form that died out in the last century, and of servers
    -- that never noticed.
    year = year and (tonumber(year) < 70 and 2000 or 1900) + tonumber(year)
  end
  if not day then month, day, hour, minute, second, year = text:match(ASCTIME) end
  if not MONTHS[month] then return nil end
  return days(tonumber(year), MONTHS[month], tonumber(day)) * 86400
    + tonumber(hour) * 3600 + tonumber(minute) * 60 + tonumber(second)
end

--- What a server asks for with Retry-After (RFC 9110 10.2.3).
---@param headers table<string, string> of its answer
---@param time integer seconds since 1970, for an answer without a Date
---@return number|nil seconds from now; 0 for a date that is over
function backoff.retry_after(headers, time)
  local text = headers["retry-after"]
  if not text then return nil end
  if text:find("^%d+$") then return tonumber(text) end
  local date = backoff.http_date(text)
  -- The server's own clock is what it reckons with; ours may be wrong.
  local now = headers.date and backoff.http_date(headers.date) or time
  return date and math.max(0, date - now)
end

return backoff
