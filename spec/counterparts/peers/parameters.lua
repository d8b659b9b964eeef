-- SPDX-License-Identifier: MIT
-- Our end of compressed connections, with any parameters. Prints its URL, where
-- /open?NAME=VALUE&... answers with the URL of a server for one connection whose
-- compression has those options, and /page with an empty page.
--
-- That server sends messages back; for the text "fragments" it sends one of its
-- own in fragments, and for "report" what was agreed on, and a line for each
-- message so far: bytes on the wire that came and that went.

local duplex = require "duplex"
local reporting = require "spec.counterparts.reporting"

local function handler(ws)
  local report = reporting.new(ws)
  while true do
    local data, kind = ws:receive()
    if not data then return end
    if data == "fragments" then
      local left = 3
      ws:send(function()
        left = left - 1
        return left >= 0 and reporting.TEXT or nil
      end)
    elseif data == "report" then
      ws:send(report())
    else
      ws:send(data, kind)
      report("note")
    end
  end
end

-- "1" is true: no option has a number from 0 to 1.
local function open(query)
  local compression, server = {}, nil
  for name, value in pairs(query) do
    compression[name] = value == "1" or tonumber(value) or value
  end
  server = assert(duplex.serve({ port = 0, compression = compression, origins = { "*" } }, function(ws)
    handler(ws)
    duplex.spawn(server.stop, server, 0)
  end))
  return server.url
end

duplex.run(function()
  local server = assert(duplex.serve({
    port = 0,
    on_request = function(request)
      if request.path == "/open" then return 200, open(request.query) end
      return 200, "<!doctype html><title>parameters</title>", { ["Content-Type"] = "text/html" }
    end,
  }, handler))
  print("listening on " .. server.url:gsub("^ws", "http"))
  io.stdout:flush()
end)
