-- SPDX-License-Identifier: MIT
-- Compression from the outside: a server, or a client that connects again and
-- again, and either sends every message back.
-- usage: echoing.lua server [BITS] | echoing.lua client URL [BITS]
-- BITS are those of the largest windows it agrees to.

local duplex = require "duplex"
local echo = require "spec.support.each"

local LARGE = 67108864 -- bytes

local function options(bits)
  bits = bits and tonumber(bits)
  return { server_max_window_bits = bits, client_max_window_bits = bits }
end

local function serve(bits)
  local server = assert(duplex.serve({ port = 0, compression = options(bits), max_message = LARGE }, echo))
  print("listening on " .. server.url)
  io.stdout:flush()
end

-- A server that wants more than the offer admits agrees to nothing; the next offer
-- is the other one.
local function connect(url, bits)
  local compression, fresh = options(bits), false
  while true do
    compression.client_no_context_takeover = fresh
    local ws = duplex.connect(url, { compression = compression, max_message = LARGE })
    if not ws then return end
    fresh = ws.extensions == "" and not fresh
    echo(ws)
    ws:close()
  end
end

duplex.run(function()
  if arg[1] == "server" then serve(arg[2]) else connect(arg[2], arg[3]) end
end)
