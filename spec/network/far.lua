-- SPDX-License-Identifier: MIT
-- The other end of a connection, in a place of its own (spec/support/network.lua):
--   lua far.lua serve PORT [INTERVAL TIMEOUT]    echoes
--   lua far.lua connect URL [INTERVAL TIMEOUT]   says "hello", then what it gets
--   lua far.lua rpc PORT                         methods "echo" and "wait"
-- and prints how each connection ended: "ended ID CODE ERROR".

package.path = "./?.lua;" .. package.path
local duplex = require "duplex"

io.stdout:setvbuf("line")

local mode, where = arg[1], arg[2]
local options = { log = false, ping_interval = tonumber(arg[3]) or 20, ping_timeout = tonumber(arg[4]) or 20 }

local function ended(ws, id) print("ended", id, ws.close_code, ws.close_error) end

local function echo(ws)
  while true do
    local data, kind, id = ws:receive()
    if not data then return ended(ws, id) end
    ws:send(data, kind)
  end
end

local modes = {}

function modes.serve()
  options.host, options.port = "*", tonumber(where)
  local server = assert(duplex.serve(options, echo))
  print("listening on " .. server.url)
end

function modes.connect()
  local ws = assert(duplex.connect(where, options))
  ws:send("hello")
  while true do
    local data, _, id = ws:receive()
    if not data then return ended(ws, id) end
    print("got " .. data)
  end
end

function modes.rpc()
  local waiting = 0
  local methods = {}
  function methods.echo(params) return params end
  function methods.wait()
    waiting = waiting + 1
    print("waits " .. waiting)
    duplex.sleep(60)
  end
  local server = assert(duplex.serve({ host = "*", port = tonumber(where), log = false }, function(ws)
    duplex.rpc(ws, { methods = methods }):run()
  end))
  print("listening on " .. server.url)
end

duplex.run(function() modes[mode]() end)
