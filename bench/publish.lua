-- SPDX-License-Identifier: MIT

-- Publishes to many subscribers, for the benchmark: lua publish.lua [hub] PORT
-- with duplex.broadcast, or with a hub. What it answers is written in fanout.c.
-- Without a port it only sees whether everything it needs is there.

local duplex = require "duplex"

local hub = arg[1] == "hub" and assert(duplex.hub, "there is no duplex.hub")()
local port = arg[hub and 2 or 1]
if not port then return end

local subscribers = {}

local function subscribe(ws)
  if hub then return hub:subscribe(ws, "topic") end
  subscribers[ws] = true
  ws:on_close(function() subscribers[ws] = nil end)
end

local function publish(data, kind)
  if hub then return hub:publish("topic", data, kind) end
  return duplex.broadcast(subscribers, data, kind)
end

local PUBLISH, SUBSCRIBE = ("PS"):byte(1, 2)

duplex.run(function()
  assert(duplex.serve({ port = tonumber(port), ping_interval = false, log = false }, function(ws)
    local data, kind = ws:receive()
    while data do
      local first = data:byte()
      if first == PUBLISH then
        publish(data, kind)
      else
        if first == SUBSCRIBE then subscribe(ws) end
        ws:send(data, kind)
      end
      data, kind = ws:receive()
    end
  end))
end)
