-- SPDX-License-Identifier: MIT

-- Publishes to many subscribers, for the benchmark: lua publish.lua PORT
-- What it answers is written in fanout.c.

local duplex = require "duplex"

if not arg[1] then return end

local subscribers = {}

local function subscribe(ws)
  subscribers[ws] = true
  ws:on_close(function() subscribers[ws] = nil end)
end

duplex.run(function()
  assert(duplex.serve({ port = tonumber(arg[1]), ping_interval = false, log = false }, function(ws)
    local data, kind = ws:receive()
    while data do
      local first = data:byte()
      if first == 80 then
        duplex.broadcast(subscribers, data, kind)
      else
        if first == 83 then subscribe(ws) end
        ws:send(data, kind)
      end
      data, kind = ws:receive()
    end
  end))
end)
