-- SPDX-License-Identifier: MIT
-- A client with an address of its own asks our server who it is (/who), and
-- prints the answer: the first message, or what came instead.
-- usage: ask.lua ADDRESS PORT CA MORE_LINES    CA: "" without TLS

local socket = require "socket"

local TIMEOUT = 10 -- seconds
local from, port, ca, lines = arg[1], tonumber(arg[2]), arg[3], arg[4]

local function ask()
  local s = assert(socket.tcp4())
  s:settimeout(TIMEOUT)
  assert(s:bind(from, 0))
  assert(s:connect("127.0.0.1", port))
  if ca ~= "" then
    s = assert(require "ssl".wrap(s, { mode = "client", protocol = "any", verify = "peer", cafile = ca }))
    s:settimeout(TIMEOUT)
    s:sni("localhost")
    assert(s:dohandshake())
  end
  assert(s:send("GET /who HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    .. "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n" .. lines .. "\r\n"))
  local first = assert(s:receive("*l"))
  if not first:find(" 101 ") then return first end
  while assert(s:receive("*l")) ~= "" do end -- the rest of the head
  local length = assert(s:receive(2)):byte(2)
  return (assert(s:receive(length)))
end

local fine, said = pcall(ask)
print(fine and said or "failed: " .. tostring(said):gsub("^.-:%d+: ", ""))
