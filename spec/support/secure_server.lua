-- SPDX-License-Identifier: MIT
-- secure_server.lua OPTIONS: a server for the peers of specs that block. OPTIONS
-- is a Lua table; each message is sent back, each request for a page answered.

local duplex = require "duplex"

local options = assert(load("return " .. arg[1]))()
function options.on_request(request)
  if request.path == "/page" then return 200, "a page\n" end
end

duplex.run(function()
  local server = assert(duplex.serve(options, function(ws)
    for message, kind in ws:messages() do ws:send(message, kind) end
  end))
  print("listening on " .. server.url)
  io.stdout:flush()
end)
