-- SPDX-License-Identifier: MIT
-- What the log says of connections. Two functions of a log (log.writer) are
-- used: 'write' for what everybody should see, 'detail' for the rest, which is nil
-- unless a program takes the lines, so that nothing is made for nobody.

local core = require "duplex.core"

local report = {}

--- Three digits are enough for people.
---@param seconds number
---@return number
function report.rounded(seconds) return math.floor(seconds * 1000 + 0.5) / 1000 end

--- Fields for whom a line is about.
---@param ws duplex.Connection
---@return table
function report.who(ws)
  return { connection = core.id(ws), address = ws.address, proxy = ws.proxy }
end

--- What a target asks for, fit for a log: without the query, in which there are
--- tokens at times, and without who asks.
---@param target string
---@return string
function report.path(target)
  local path = target:gsub("[?#].*$", ""):gsub("^%a[%w+.-]*://[^/]*", "")
  return core.excerpt(path)
end

local function target_of(head) return head and head:match("^%S+ (%S+)") end

--- A connection became a WebSocket.
---@param detail function|nil
---@param ws duplex.Connection
---@param target string what was asked for
---@param fields? table more of it
function report.opened(detail, ws, target, fields)
  if not detail then return end
  local line = report.who(ws)
  line.path, line.subprotocol = report.path(target), ws.subprotocol
  for name, value in pairs(fields or {}) do line[name] = value end
  detail("debug", "connection opened", line)
end

--- A connection is not going to be a WebSocket.
---@param detail function|nil
---@param ws duplex.Connection
---@param outcome string
---@param status integer|nil of the answer; nil when there was none
---@param head string|nil of the request
---@param why string|nil
function report.refused(detail, ws, outcome, status, head, why)
  if not detail then return end
  local line, target = report.who(ws), target_of(head)
  line.outcome, line.status, line.why = outcome, status, why and core.excerpt(why)
  line.path = target and report.path(target)
  detail("debug", "handshake refused", line)
end

--- The head of a request, opened.
function report.accepted(detail, ws, head, origin)
  if not detail then return end
  report.opened(detail, ws, target_of(head), { origin = origin and core.excerpt(origin) })
end

-- Who vanishes, or says goodbye, is nothing new; who breaks a rule, or a limit,
-- is something to look into, for those who look: not on stderr, which peers would
-- fill.
local function is_usual(problem)
  return problem == nil or problem:find("^LOST:") ~= nil
end

--- A connection is over.
---@param detail function|nil
---@param ws duplex.Connection
---@param seconds number that it was open
function report.closed(detail, ws, seconds)
  if not detail then return end
  local problem = core.close_error(ws)
  local line = report.who(ws)
  local reason = core.close_reason(ws)
  line.code, line.sent, line.duration = core.close_code(ws), core.close_sent(ws), report.rounded(seconds)
  line.reason = reason and reason ~= "" and core.excerpt(reason) or nil
  line.error = problem
  line.bytes_in, line.bytes_out, line.messages_in, line.messages_out = core.numbers(ws)
  detail(is_usual(problem) and "debug" or "info", "connection closed", line)
end

--- Connects as a client, and says what comes of it.
---@param attempt table see client.lua
---@param connect fun(attempt: table): duplex.Connection?, string?, string?, table?
function report.connecting(attempt, connect)
  local now, parts, write = attempt.host.now, attempt.parts, attempt.log
  local url = parts.origin .. report.path(parts.target)
  local began = now()
  local ws, message, id, answer = connect(attempt)
  local opened = now()
  if ws then
    report.opened(write, ws, parts.target, { url = url, duration = report.rounded(opened - began) })
    ws:on_close(function() report.closed(write, ws, now() - opened) end)
  else
    write("debug", "connection failed", {
      url = url, error = message, status = answer and answer.status, duration = report.rounded(opened - began),
    })
  end
  return ws, message, id, answer
end

return report
