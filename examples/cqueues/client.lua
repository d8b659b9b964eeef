-- Sends a message and prints the answer.
local cqueues = require "cqueues"
local duplex = require "duplex.cqueues"

local url, text = arg[1] or "ws://127.0.0.1:8080/", arg[2] or "hello"

local loop = cqueues.new()
loop:wrap(function()
  local ws = assert(duplex.connect(url))
  ws:send(text)
  print(assert(ws:receive(5)))
  ws:close()
end)
assert(loop:loop())
