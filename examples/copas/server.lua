-- Echo in a program that lives in Copas.
local copas = require "copas"
local duplex = require "duplex.copas"

copas.addthread(function()
  local server = assert(duplex.serve({ port = tonumber(arg[1]) or 8080 }, function(ws)
    for message, kind in ws:messages() do ws:send(message, kind) end
  end))
  print("listening on " .. server.url)
  io.stdout:flush()
end)

copas.loop()
