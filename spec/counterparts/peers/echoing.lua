-- SPDX-License-Identifier: MIT
-- Compression from the outside: a server, or a client that connects again and
-- again, and either sends every message back.
-- usage: echoing.lua server | echoing.lua client URL

local duplex = require "duplex"
local echo = require "spec.support.each"

local LARGE = 67108864 -- bytes

local function serve()
  local server = assert(duplex.serve({ port = 0, compression = true, max_message = LARGE }, echo))
  print("listening on " .. server.url)
  io.stdout:flush()
end

-- A server that is refused what it wants of a client asks the next time.
local function connect(url)
  local fresh = false
  while true do
    local compression = { client_no_context_takeover = fresh }
    local ws, _, id = duplex.connect(url, { compression = compression, max_message = LARGE })
    if ws then
      fresh = false
      echo(ws)
      ws:close()
    elseif id == "HTTP" then
      fresh = not fresh
    else
      return
    end
  end
end

duplex.run(function()
  if arg[1] == "server" then serve() else connect(arg[2]) end
end)
