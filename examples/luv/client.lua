-- Sends a message and prints the answer.
local uv = require "luv"
local duplex = require "duplex.luv"

local url, text = arg[1] or "ws://127.0.0.1:8080/", arg[2] or "hello"

duplex.spawn(function()
  local ws = assert(duplex.connect(url))
  ws:send(text)
  print(assert(ws:receive(5)))
  ws:close()
end)

uv.run()
