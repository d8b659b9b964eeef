-- Sends a message and prints the answer.
local duplex = require "duplex"

local url, text = arg[1] or "ws://127.0.0.1:8080/", arg[2] or "hello"

duplex.run(function()
  local ws = assert(duplex.connect(url))
  ws:send(text)
  local answer, kind = assert(ws:receive(5))
  print(answer, kind)
  ws:close()
end)
