-- Echo in a program that lives in libuv by luv, beside a timer of its own.
local uv = require "luv"
local duplex = require "duplex.luv"

local server

coroutine.wrap(function()
  server = assert(duplex.serve({ port = tonumber(arg[1]) or 8080 }, function(ws)
    for message, kind in ws:messages() do ws:send(message, kind) end
  end))
  print("listening on " .. server.url)
  io.stdout:flush()
end)()

uv.new_timer():start(10000, 10000, function()
  print(server:stats().connections .. " connections")
end)

uv.run()
