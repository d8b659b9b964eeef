-- Sends every message back.
local duplex = require "duplex"

local function echo(ws)
  for message, kind in ws:messages() do
    ws:send(message, kind)
  end
end

duplex.run(function()
  local server = assert(duplex.serve({ port = tonumber(arg[1]) or 8080 }, echo))
  print("listening on " .. server.url)
  io.stdout:flush() -- in case it is a pipe
end)
