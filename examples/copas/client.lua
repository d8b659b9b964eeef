-- Sends a message and prints the answer. Copas 1 has a loop without an end, so
-- the loop is left to duplex.run, which ends with the last task.
local duplex = require "duplex.copas"

local url, text = arg[1] or "ws://127.0.0.1:8080/", arg[2] or "hello"

duplex.run(function()
  local ws = assert(duplex.connect(url))
  ws:send(text)
  print(assert(ws:receive(5)))
  ws:close()
end)
