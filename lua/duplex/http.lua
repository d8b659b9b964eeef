-- SPDX-License-Identifier: MIT
-- HTTP/1.1 answers of a server: the little that a WebSocket server needs
-- (RFC 9110, RFC 9112).

local core = require "duplex.core"

local http = {}

local REASONS = {
  [200] = "OK", [201] = "Created", [202] = "Accepted", [204] = "No Content",
  [206] = "Partial Content",
  [301] = "Moved Permanently", [302] = "Found", [303] = "See Other",
  [304] = "Not Modified", [307] = "Temporary Redirect", [308] = "Permanent Redirect",
  [400] = "Bad Request", [401] = "Unauthorized", [403] = "Forbidden",
  [404] = "Not Found", [405] = "Method Not Allowed", [408] = "Request Timeout",
  [409] = "Conflict", [410] = "Gone", [413] = "Content Too Large",
  [414] = "URI Too Long", [415] = "Unsupported Media Type",
  [422] = "Unprocessable Content", [426] = "Upgrade Required",
  [429] = "Too Many Requests", [431] = "Request Header Fields Too Large",
  [500] = "Internal Server Error", [501] = "Not Implemented",
  [502] = "Bad Gateway", [503] = "Service Unavailable",
  [505] = "HTTP Version Not Supported",
}

--- The phrase that goes with a status, "Status" for unknown ones.
---@param status integer
---@return string
function http.reason(status) return REASONS[status] or "Status" end

-- os.date's names of days and months follow the locale; HTTP's do not.
local DAYS = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" }
local MONTHS = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep",
  "Oct", "Nov", "Dec" }

--- RFC 9110 5.6.7.
---@param time? integer as of os.time()
---@return string
function http.date(time)
  local d = os.date("!*t", time)
  return ("%s, %02d %s %04d %02d:%02d:%02d GMT"):format(DAYS[d.wday], d.day,
    MONTHS[d.month], d.year, d.hour, d.min, d.sec)
end

local function add_lines(lines, name, value)
  if type(value) ~= "table" then value = { value } end
  for _, one in ipairs(value) do
    one = tostring(one)
    if not core.header_ok(name, one) then
      error(("header '%s' has bytes that cannot be sent"):format(name), 0)
    end
    lines[#lines + 1] = name .. ": " .. one
  end
end

---@class duplex.Answer
---@field status integer
---@field body? string|fun(): string? a source needs a Content-Length header
---@field headers? table<string, string|string[]>
---@field close? boolean hang up after it
---@field head_only? boolean HEAD: no body follows

--- The head of an answer; raises what its headers are wrong about.
---@param answer duplex.Answer
---@return string head, integer|nil length of the body as a header gave it
function http.head(answer)
  local given, body = {}, answer.body or ""
  local lines = { ("HTTP/1.1 %d %s"):format(answer.status, http.reason(answer.status)),
    "Date: " .. http.date() }
  for name, value in pairs(answer.headers or {}) do
    if type(name) ~= "string" then error("a header's name must be a string", 0) end
    given[name:lower()] = value
    add_lines(lines, name, value)
  end
  local bodiless = answer.status == 204 or answer.status == 304 or answer.status < 200
  -- What the head announces must be what follows: on a connection that is kept
  -- alive the next answer would be read as part of this one.
  if given["transfer-encoding"] then error("Transfer-Encoding cannot be set", 0) end
  if bodiless and body ~= "" then
    error(("an answer with status %d has no body"):format(answer.status), 0)
  end
  local length = tonumber(given["content-length"])
  if type(body) == "function" then
    if not length then error("a source as body needs a Content-Length header", 0) end
  elseif not bodiless and not length then
    lines[#lines + 1] = "Content-Length: " .. #body
  elseif length and body ~= "" and length ~= #body then
    error(("Content-Length is %d, but the body has %d bytes"):format(length, #body), 0)
  end
  local connection = given.connection and tostring(given.connection):lower() or ""
  if connection:find("close", 1, true) then
    answer.close = true
  elseif answer.close then
    lines[#lines + 1] = "Connection: close"
  end
  if body ~= "" and not given["content-type"] then
    lines[#lines + 1] = "Content-Type: text/plain; charset=utf-8"
  end
  return table.concat(lines, "\r\n") .. "\r\n\r\n", length
end

--- An answer in one sentence, for a browser or a person with curl.
---@param status integer
---@param text? string
---@return duplex.Answer
function http.answer(status, text)
  local headers = {}
  if status == 426 then -- RFC 6455 4.4, RFC 9110 15.5.22
    headers["Sec-WebSocket-Version"] = "13"
    headers.Upgrade = "websocket"
    headers.Connection = "Upgrade"
  elseif status == 405 then
    headers.Allow = "GET"
  end
  return { status = status, body = (text or http.reason(status)) .. "\n", headers = headers }
end

return http
