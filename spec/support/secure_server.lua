-- SPDX-License-Identifier: MIT
-- secure_server.lua OPTIONS: a server for the peers of specs that block. OPTIONS
-- is a Lua table; each message is sent back, each request for a page answered.

local duplex = require "duplex"

local options = assert((loadstring or load)("return " .. arg[1]))()
function options.on_request(request)
  if request.path == "/page" then return 200, "a page\n" end
end

duplex.run(function()
  local server = assert(duplex.serve(options, require "spec.support.each"))
  print("listening on " .. server.url)
  io.stdout:flush()
end)
