-- SPDX-License-Identifier: MIT
-- metrics.lua: a server that has seen a little, and answers /metrics. Prints where.

local duplex = require "duplex"
local prometheus = require "duplex.prometheus"

duplex.run(function()
  local server
  server = assert(duplex.serve({
    log = false, ping_interval = 0.02,
    on_request = function(request)
      if request.path == "/metrics" then
        return 200, server:metrics("prometheus"), { ["Content-Type"] = prometheus.CONTENT_TYPE }
      end
    end,
  }, function(ws)
    for data, kind in ws:messages() do ws:send(data, kind) end
  end))
  local ws = assert(duplex.connect(server.url))
  ws:send("hello")
  ws:receive()
  while server:metrics().round_trips.count == 0 do ws:receive(0.01) end
  ws:close(4001, "enough")
  while server:metrics().connections.open > 0 do duplex.sleep(0.01) end
  print((server.url:gsub("^ws", "http")) .. "/metrics")
  io.stdout:flush()
end)
