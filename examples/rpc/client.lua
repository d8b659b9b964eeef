-- Calls methods of the server, and has some that it calls.
local duplex = require "duplex"

local url = arg[1] or "ws://127.0.0.1:8080/"
local done = duplex.event()

local methods = {}
function methods.name() return "Lua" end
function methods.tick(params) print("tick", params[1]) end
function methods.told(params)
  print("told", params[1])
  done:set()
end

duplex.run(function()
  local ws = assert(duplex.connect(url))
  local peer = duplex.rpc(ws, { methods = methods })

  print(assert(peer:call("add", { 2, 3 })))
  print(peer:call("divide", { dividend = 1, divisor = 0 })) -- nil, message, "RPC", error
  print(assert(peer:call("greet")))
  print(assert(peer:call("count", { 3 })))

  local batch = peer:batch()
  batch:call("add", { 20, 22 })
  batch:notify("tell", { "hello from Lua" })
  batch:call("nothing")
  for _, entry in ipairs(assert(batch:send(5))) do
    print(entry.method, entry.result or entry.message)
  end
  done:wait(5)
  ws:close()
end)
