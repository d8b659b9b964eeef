-- What main.c runs: echo, and the time for everybody once a second. Returns the
-- functions that the loop in C calls.
local duplex = require "duplex"

local server = assert(duplex.serve({ port = tonumber((...)) }, function(ws)
  for message, kind in ws:messages() do ws:send(message, kind) end
end))
print("listening on " .. server.url)
io.stdout:flush()

local seconds = 0

return {
  fd = duplex.fd,
  timeout = duplex.timeout,
  step = function() duplex.step(0) end,
  tick = function()
    seconds = seconds + 1
    duplex.broadcast(server.connections, "up for " .. seconds .. " s")
  end,
}
