-- SPDX-License-Identifier: MIT
-- The body of an HTTP response (RFC 9112 6.3), as the client gets one when a
-- server refuses the upgrade. Bytes in, text out; no I/O.
--
--   chunked:  line -> data -> data_end -> line ... -> trailer -> done
--   others:   data (a length), rest (until EOF) or done at once
--   any error -> failed, for good

local body = {}

local MAX = 65536 -- bytes kept, unless told otherwise
local MAX_LINE = 4096 -- bytes of a chunk size line or of a trailer line
local MAX_EXCESS = 16384 -- bytes of chunk framing, after allowances

---@class duplex.body
---@field text string what was kept; complete after feed or finish said so
---@field truncated boolean the body was larger than max
---@field done boolean
---@field message? string why it failed
local decoder = {}
local metatable = { __index = decoder }

-- What is kept becomes one string only at the end: a peer that sends single
-- bytes must not cost a copy of everything for each.
local function settle(self)
  if #self.pieces > 0 then
    self.text, self.pieces = self.text .. table.concat(self.pieces), {}
  end
end

local function fail(self, what)
  settle(self)
  self.state, self.input, self.at = "failed", "", 1
  self.message = "HTTP: " .. what
  return nil, self.message, "HTTP"
end

local function keep(self, bytes)
  local room = self.max - self.kept
  if #bytes > room then
    bytes, self.truncated = bytes:sub(1, room), true
  end
  self.pieces[#self.pieces + 1] = bytes
  self.kept = self.kept + #bytes
  return not self.truncated
end

-- One function a state: reads self.input from self.at on (never cut per chunk:
-- that would be quadratic in their number) and returns true to go on with the
-- next state, false when it needs more, nil when it failed.
local step = {}

-- A line without its end, or false for "more"; nil = failed.
local function take_line(self)
  local stop = self.input:find("\r\n", self.at, true)
  local size = (stop or #self.input + 1) - self.at
  if size > MAX_LINE then
    return fail(self, "a line of the chunked response body is too long")
  elseif not stop then
    return false
  end
  local line = self.input:sub(self.at, stop - 1)
  self.at, self.excess = stop + 2, self.excess + size + 2
  if self.excess > MAX_EXCESS then
    return fail(self, "the chunked response body is nearly all framing")
  end
  return line
end

function step.line(self)
  local line = take_line(self)
  if not line then return line end
  -- Extensions are ignored (RFC 9112 7.1.1); 12 digits fit a double.
  local digits, rest = line:match("^0*(%x*)[ \t]*(.*)$")
  if not line:find("^%x") or #digits > 12 or rest:find("^[^;]") then
    return fail(self, "bad chunk size in the response body")
  end
  self.left = tonumber("0" .. digits, 16)
  self.state = self.left == 0 and "trailer" or "data"
  -- Each chunk may cost some framing, so tiny ones are fine for a while.
  self.excess = math.max(0, self.excess - 16 - 2 * self.left)
  return true
end

function step.data(self)
  local size = math.min(self.left, #self.input - self.at + 1)
  local fits = keep(self, self.input:sub(self.at, self.at + size - 1))
  self.at, self.left = self.at + size, self.left - size
  if not fits then
    local limit = ("%d bytes"):format(self.max)
    return fail(self, "the response body is larger than " .. limit)
  elseif self.left > 0 then
    return false
  end
  self.state = self.chunked and "data_end" or "done"
  return true
end

step.rest = step.data -- its length is infinite

function step.data_end(self)
  local stop = self.input:sub(self.at, self.at + 1)
  if stop == "" or stop == "\r" then
    return false
  elseif stop ~= "\r\n" then
    return fail(self, "a chunk of the response body is longer than its size")
  end
  self.at, self.state = self.at + 2, "line"
  return true
end

function step.trailer(self)
  local line = take_line(self)
  if line == "" then self.state = "done" end
  return line and true
end

--- Takes the next bytes of the body; those behind its end are ignored.
---@param bytes string
---@return boolean|nil done true: complete, in .text; false: more is needed;
--- nil: broken or too large, now and for good (.text has what came before)
---@return string? message
---@return "HTTP"? id
function decoder:feed(bytes)
  if self.state == "failed" then return nil, self.message, "HTTP" end
  self.input, self.at = self.input:sub(self.at) .. bytes, 1
  while self.state ~= "done" do
    local more = step[self.state](self)
    if more == nil then return nil, self.message, "HTTP" end
    if not more then return false end
  end
  settle(self)
  self.done, self.input = true, ""
  return true
end

--- Says that no more bytes will come: EOF, or the caller gives up waiting.
---@return true|nil done nil when the body is not whole; .text has what came
---@return string? message
---@return "HTTP"? id
function decoder:finish()
  if self.state == "rest" then self.state = "done" end
  local done, message, id = self:feed("")
  if done == false then return fail(self, "the response body ended early") end
  return done, message, id
end

-- The first state of a response, the length of its body, or what is wrong.
local function framing(get, method, status)
  if method == "HEAD" or status < 200 or status == 204 or status == 304
    or method == "CONNECT" and status < 300 then
    return "done"
  end
  local coding = get("transfer-encoding")
  if coding then -- it wins over Content-Length
    local last = coding:lower():match("([^, \t]*)[ \t]*$")
    return last == "chunked" and "line" or "rest"
  end
  local length = get("content-length")
  if not length then return "rest" end
  -- Repeated lines arrive joined: "5, 5" is one length, "5, 6" is none.
  local first = length:match("^%d+")
  for item in (length .. ","):gmatch("[ \t]*([^,]*),") do
    if item ~= first or #item > 15 then
      return "failed", "bad Content-Length in the response"
    end
  end
  return first:find("^0*$") and "done" or "data", tonumber(first)
end

--- A decoder for the body of one response.
---@param headers table|fun(name: string): string? values by lower-case name,
--- repeated lines joined with ", "
---@param method string of the request: HEAD has no body
---@param status integer of the response
---@param max? integer bytes to keep, default 65,536; a larger body fails, and
--- its first max bytes are in .text
---@return duplex.body
function body.decoder(headers, method, status, max)
  local function get(name)
    if type(headers) == "function" then return headers(name) end
    return headers[name]
  end
  local state, detail = framing(get, method, status)
  local self = setmetatable({
    state = state, chunked = state == "line", left = math.huge,
    input = "", at = 1, max = max or MAX, kept = 0, excess = 0, pieces = {},
    text = "", truncated = false, done = state == "done",
  }, metatable)
  if state == "failed" then
    fail(self, detail)
  elseif state == "data" then
    self.left = detail
  end
  return self
end

return body
