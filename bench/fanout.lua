-- SPDX-License-Identifier: MIT

-- The benchmark's fan-out: one publishes to many subscribers.

local processes = require "processes"

local fanout = {}

local function measure(options, server, workload, round)
  local r = processes.load(options, server.running, ("fanout --size %d --inflight %d"
    .. " --connections %d --seconds %s%s"):format(workload.size, workload.inflight,
    options.subscribers, options.seconds, options.text and " --text" or ""))
  if not r or r.messages == 0 then
    return nil
  end
  r.rate = r.messages / r.server_cpu
  processes.log("%-9s round %d  %-11s %9.0f deliveries per CPU-second, %3.0f %% busy,"
    .. " echo p99 %.1f ms, worst %.1f ms", workload.name, round, server.name, r.rate,
    100 * r.server_cpu / r.seconds, 1e3 * r.p99, 1e3 * r.worst)
  return r
end

--- Rounds go around the servers, as with the echo.
local function measure_workload(options, servers, workload)
  local lists = {}
  for _, server in ipairs(servers) do
    lists[server] = { rate = {}, ratio = {}, p50 = {}, p99 = {} }
  end
  for round = 1, options.rounds do
    local of = {}
    for _, server in ipairs(servers) do
      of[server.name] = measure(options, server, workload, round)
    end
    for _, server in ipairs(servers) do
      local r, list = of[server.name], lists[server]
      if r then
        table.insert(list.rate, r.rate)
        table.insert(list.p50, r.p50)
        table.insert(list.p99, r.p99)
        table.insert(list.ratio, of.uws and r.rate / of.uws.rate)
      end
    end
  end
  return lists
end

local function print_line(server, lists)
  local median = processes.median
  if #lists.rate == 0 then
    return print(("%-11s failed"):format(server.name))
  end
  local ratio = median(lists.ratio)
  print(("%-11s%14.4g%11s%11.1f%11.1f"):format(server.name, median(lists.rate) / 1000,
    ratio and ("%.3f"):format(ratio) or "-", 1e3 * median(lists.p50), 1e3 * median(lists.p99)))
end

--- Measures and prints, one table a workload.  Servers are { name, command }.
function fanout.run(options, servers, workloads)
  for _, server in ipairs(servers) do
    server.running = processes.start(options, server.name, server.command)
  end
  for _, workload in ipairs(workloads) do
    local lists = measure_workload(options, servers, workload)
    print(("\n%s: %d B to %d subscribers, %d messages at a time.  Thousands delivered per"
      .. "\nserver CPU-second; ratio to uws; milliseconds of an echo beside.\n"):format(
      workload.name, workload.size, options.subscribers, workload.inflight))
    print(("%-11s%14s%11s%11s%11s"):format("server", "delivered", "ratio", "p50", "p99"))
    for _, server in ipairs(servers) do
      print_line(server, lists[server])
    end
  end
  for _, server in ipairs(servers) do
    processes.stop(server.running)
  end
end

return fanout
