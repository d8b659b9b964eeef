-- Says something every second to a server that echoes, for as long as you like:
-- start examples/echo/server.lua, stop it with Ctrl-C, start it again.
local duplex = require "duplex"

local url, interval = arg[1] or "ws://127.0.0.1:8080/", tonumber(arg[2]) or 1

local function say(...)
  print(...)
  io.stdout:flush() -- in case it is a pipe
end

-- A task of its own: messages are written whether there is a connection or not.
local function talk(client)
  local count = 0
  while duplex.sleep(interval) do
    count = count + 1
    -- While nobody is there the last ten wait, as queue_policy says below.
    if not client:send("message " .. count) then return end
  end
end

duplex.run(function()
  local client = duplex.reconnect(url, {
    queue = 10, queue_policy = "oldest", -- old news is dropped
    max = 5, -- seconds: a client that somebody watches need not be so patient

    -- With each new connection, before the messages that waited: the place to log
    -- in and to subscribe again.
    on_open = function(ws) ws:send("hello from a new connection") end,

    on_close = function(failure, delay)
      say(("%s; again in %.1f s"):format(failure.message, delay))
    end,
  })
  duplex.spawn(talk, client)
  for text in client:messages() do say(text) end
  say("the end: " .. tostring(client.error))
end)
