-- SPDX-License-Identifier: MIT
-- What heartbeats cost a server, and what they cost others on its loop:
--   tools/run lua5.4 bench/heartbeats.lua [connections [interval [seconds]]]
-- Connections are held by the load generator (make build/bench/load), which
-- answers pings. Before stalls are measured the loop stands still for an interval,
-- which is the worst case: from then on all pings are due at once.

local duplex = require "duplex"

local connections = tonumber(arg[1]) or 15000
local interval = tonumber(arg[2]) or 20
local seconds = tonumber(arg[3]) or 3 * interval
local LOAD = "build/bench/load"
local TICK = 0.005 -- seconds

collectgarbage "generational" -- as bin/duplex does

-- The longest that the loop kept a task waiting that only sleeps for a moment; in
-- processor time, as other programs may keep the loop waiting.
local function worst_stall(stop)
  local worst = 0
  while duplex.now() < stop do
    local before = os.clock()
    duplex.sleep(TICK)
    worst = math.max(worst, os.clock() - before)
  end
  return worst
end

local load

duplex.run(function()
  local options = { max_connections = connections + 64, max_handshakes = connections + 64,
    ping_interval = interval, ping_timeout = 20, log = false }
  local ended = 0
  local server = assert(duplex.serve(options, function(ws)
    ws:wait_closed()
    ended = ended + 1
  end))
  load = assert(io.popen(("%s idle --port %d --connections %d --hold >/dev/null"):format(
    LOAD, server.port, connections), "w"))
  while server:stats().connections < connections do duplex.sleep(0.1) end
  io.write(("%d connections, a ping after %g s\n"):format(connections, interval))
  duplex.sleep(interval)
  local cpu, began = os.clock(), duplex.now()
  duplex.sleep(seconds)
  cpu, began = os.clock() - cpu, duplex.now() - began
  os.execute("sleep " .. interval)
  duplex.sleep(1)
  local stall = worst_stall(duplex.now() + 2 * interval)
  io.write(("server CPU %.2f s in %.0f s: %.2f %% of a core\n"):format(cpu, began, 100 * cpu / began))
  io.write(("worst stall of the loop %.1f ms, connections lost %d\n"):format(stall * 1000, ended))
  load:close() -- which hangs up on all
  duplex.stop(1)
end)
