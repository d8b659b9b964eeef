-- SPDX-License-Identifier: MIT

-- An echo server on lua-http, for the benchmark: lua5.3 echo_http.lua PORT
-- Without a port it only sees whether everything it needs is there.

-- Debian 12 installs some of lua-http's dependencies for Lua 5.1 and 5.2 only.
-- They are plain Lua and run on 5.3 as they are, which is faster than 5.1.
package.path = package.path
  .. ";/usr/share/lua/5.2/?.lua;/usr/share/lua/5.2/?/init.lua"

local http_server = require "http.server"
local websocket = require "http.websocket"

if not arg[1] then
  return
end

local function echo(_, stream)
  local headers = stream:get_headers()
  local ws = headers and websocket.new_from_stream(stream, headers)
  if not (ws and ws:accept()) then
    return
  end
  local data, kind = ws:receive()
  while data and ws:send(data, kind) do
    data, kind = ws:receive()
  end
end

local server = assert(http_server.listen {
  host = "127.0.0.1",
  port = tonumber(arg[1]),
  onstream = echo,
  onerror = function() end, -- the load generator hangs up without a close
})
assert(server:loop())
