-- Remote procedure calls, JSON-RPC 2.0. Pages (public/), client.lua and client.py
-- call these methods, and the server calls methods of theirs:
--
--   add [a, b]                      their sum
--   divide { dividend, divisor }    the quotient, or error 1
--   count [n]                       notifies "tick" [i] of who asks, n times, then gives n
--   greet                           asks who asks for its "name", then greets it
--   tell [text]                     notifies "told" [text] of all, gives how many these are

local duplex = require "duplex"

local here = arg[0]:match("^(.*)/[^/]*$") or "."
local MOST = 100 -- that count counts to

local everybody = {} -- the connections are the keys

local methods = {}

-- Who calls chooses the types.
local function numbers(a, b)
  if type(a) == "number" and type(b) == "number" then return true end
  return nil, duplex.rpc.error(duplex.rpc.INVALID_PARAMS, "two numbers are needed")
end

function methods.add(params)
  local fine, problem = numbers(params[1], params[2])
  if not fine then return nil, problem end
  return params[1] + params[2]
end

function methods.divide(params)
  local fine, problem = numbers(params.dividend, params.divisor)
  if not fine then return nil, problem end
  if params.divisor == 0 then return nil, duplex.rpc.error(1, "division by zero") end
  return params.dividend / params.divisor
end

function methods.count(params, peer)
  local most = tonumber(params[1]) or 0
  if not (most >= 1 and most <= MOST) then
    return nil, duplex.rpc.error(duplex.rpc.INVALID_PARAMS, "1 to " .. MOST .. " is needed")
  end
  for i = 1, most do
    if not peer:notify("tick", { i }) then break end -- it is gone
    duplex.sleep(0.01)
  end
  return most
end

function methods.greet(_, peer)
  local name, message = peer:call("name", nil, 5)
  if name == nil then return nil, duplex.rpc.error(2, "who are you? " .. message) end
  return "hello, " .. tostring(name)
end

function methods.tell(params)
  local told = duplex.rpc.notification("told", { tostring(params[1]) })
  return duplex.broadcast(everybody, told)
end

local function serve(ws)
  everybody[ws] = true
  ws:on_close(function() everybody[ws] = nil end)
  duplex.rpc(ws, { methods = methods }):run()
end

duplex.run(function()
  local server = assert(duplex.serve({
    port = tonumber(arg[1]) or 8080, on_request = duplex.files(here .. "/public"), max_message = 65536,
  }, serve))
  print(("open http://127.0.0.1:%d/ or connect to %s"):format(server.port, server.url))
  io.stdout:flush() -- in case it is a pipe
end)
