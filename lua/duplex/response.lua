-- SPDX-License-Identifier: MIT
-- HTTP answers as a client gets them before a WebSocket is open: of a server,
-- or of a proxy on the way.

local body = require "duplex.body"
local core = require "duplex.core"
local dial = require "duplex.dial"
local http = require "duplex.http"
local request = require "duplex.request"

local response = {}

local MAX_BODY = 1048576 -- bytes kept of a refusal

--- The next head that is not only an announcement (1xx, RFC 9110 15.2).
---@param attempt table see client.lua
---@param ws duplex.Connection in its handshake
---@param peer table who answers: { id, name, silence }, for error texts
---@return string|nil raw, integer|string status or message
---@return string reason or id, table? headers
function response.head(attempt, ws, peer)
  while true do
    local raw, message, id = core.head(ws)
    if raw then
      local status, reason, headers = core.parse_response(raw)
      if not status then
        return nil, ("%s: %s's answer: %s"):format(peer.id, peer.name, reason), peer.id
      end
      if status == 101 or status >= 200 then
        return raw, status, reason, request.headers(headers)
      end
    else
      local ok = not id
      if ok then ok, message, id = dial.input(attempt, ws) end
      if not ok then return dial.no_answer(attempt, peer, message, id) end
    end
  end
end

-- The body, or as much of it as comes.
local function read_body(attempt, ws, status, headers)
  local decoder = body.decoder(headers, "GET", status, MAX_BODY)
  while not decoder.done do
    local bytes, _, id = core.take(ws, 65536)
    if bytes and bytes ~= "" then
      if decoder:feed(bytes) == nil then break end
    elseif id or not dial.input(attempt, ws) then
      break
    end
  end
  decoder:finish()
  return decoder.text
end

--- The rest of an answer that is a refusal. Hangs up.
---@param name string of who answered
---@return string text "the server answered 404 Not Found"
---@return table response { status, headers, body }
function response.refusal(attempt, ws, name, status, reason, headers)
  local text = read_body(attempt, ws, status, headers)
  dial.drop(attempt, ws)
  return ("%s answered %d %s"):format(name, status,
    reason ~= "" and core.excerpt(reason) or http.reason(status)),
    { status = status, headers = headers, body = text }
end

return response
