#!/usr/bin/env lua5.4
-- SPDX-License-Identifier: MIT

-- Runs every echo server against the load generator and prints one table.
-- What is measured, and how to read it, is in README.md.

local here = arg[0]:match("^(.*)/[^/]*$") or "."
package.path = here .. "/?.lua;" .. package.path
local compression = require "compression"
local fanout = require "fanout"
local processes = require "processes"
local rows = require "rows"
local quote, workloads = rows.quote, rows.workloads
local log, median = processes.log, processes.median

local usage = [[
usage: lua5.4 bench/run.lua [options]
  --only NAME,...      servers to run, beside the floor: %s
  --workload NAME,...  workloads to run: %s
  --rounds N           rounds, of which the median is printed (%d)
  --seconds S          length of a measured window, 1 to 15 (%g)
  --connections N      connections in every workload but idle (32, 4 for 1MiB)
  --idle N             connections that are held idle (%d)
  --subscribers N      connections that get what is published (%d)
  --text               send text instead of binary messages
  --tls                over TLS 1.3
  --key NAME           of the certificate that --tls makes: ec or rsa (%s)
  --uws PATH           a uWebSockets echo server; its last argument is a port,
                       with --tls a certificate and a key come before it
  --compression        servers that compress, and nothing else
  --publish PATH       one for the fan-out, which answers as fanout.c says
  --pin                keep servers on CPU 0 and the load generator on CPU 1
  --build DIR          where load and floor have been built (%s)]]

local options = {
  rounds = 3,
  seconds = 3,
  idle = 15000,
  subscribers = 10000,
  key = "ec",
  build = "build/bench",
}

local function all_servers()
  local path = options.build .. "/" .. options.key
  local pair = { certificate = path .. ".pem", key = path .. ".key" }
  return rows.servers(here, options.build, options.uws, options.tls and pair)
end

local function stop_with_usage(problem)
  local o = options
  log("run.lua: %s", problem)
  log(usage, rows.names(all_servers()), rows.names(workloads), o.rounds,
    o.seconds, o.idle, o.subscribers, o.key, o.build)
  os.exit(2)
end

local function parse_arguments()
  local flags = { text = true, pin = true, tls = true, compression = true }
  local numbers = {
    rounds = true, seconds = true, connections = true, idle = true,
    subscribers = true,
  }
  local strings = {
    only = true, workload = true, uws = true, publish = true, build = true,
    key = true,
  }
  local i = 1
  while arg[i] do
    local name = arg[i]:match("^%-%-(%w+)$") or ""
    local value = arg[i + 1]
    if flags[name] then
      value, i = true, i - 1
    elseif numbers[name] then
      value = math.tointeger(tonumber(value)) or tonumber(value)
    elseif not strings[name] then
      stop_with_usage("unknown option " .. arg[i])
    end
    if not value then
      stop_with_usage("a value is missing or wrong after " .. name)
    end
    options[name] = value
    i = i + 2
  end
  if not rows.keys[options.key] then
    stop_with_usage("no such key: " .. options.key)
  end
end

--- A certificate that is used this once, where rows.servers expects it.
local function make_certificate()
  local path = options.build .. "/" .. options.key
  local command = ("openssl req -x509 -newkey %s -nodes -days 2 -keyout %s"
    .. " -out %s -subj /CN=localhost"):format(rows.keys[options.key],
    quote(path .. ".key"), quote(path .. ".pem"))
  if not os.execute(command .. " 2>/dev/null") then
    log("run.lua: --tls needs the openssl command and --build")
    os.exit(1)
  end
end

local function choose(list, wanted)
  local chosen, unknown = rows.choose(list, wanted)
  return chosen or stop_with_usage("no such name: " .. unknown)
end

local function available(servers)
  local result = {}
  for _, server in ipairs(servers) do
    if os.execute("(" .. server.check .. ") >/dev/null 2>&1") then
      result[#result + 1] = server
    elseif server.name == "floor" then
      log("run.lua: the floor needs %s", server.needs)
      os.exit(1)
    else
      print(("%s is left out: it needs %s"):format(server.name, server.needs))
    end
  end
  return result
end

local function start(server)
  server.running = processes.start(options, server.name, server.command)
end

local function stop(server)
  processes.stop(server.running)
end

local function load(server, arguments)
  return processes.load(options, server.running, arguments)
end

-- A run that does not count: CPython serves the first connections of a process
-- at little more than half its later speed, for as long as they last.
local function warm_up(server)
  local r = load(server, "echo --warmup 0 --seconds 0.5")
  server.cipher = r and r.cipher
end

--- Messages per CPU-second in one window, nil if the server failed.
local function measure_speed(server, workload, round)
  local r = load(server, ("echo --size %d --inflight %d --connections %d"
    .. " --seconds %s%s"):format(workload.size, workload.inflight,
    options.connections or workload.connections, options.seconds,
    options.text and " --text" or ""))
  if not r or r.messages == 0 then
    return nil
  end
  local rate = r.messages / r.server_cpu
  log("%-8s round %d  %-11s %12.1f messages per CPU-second, %3.0f %% busy",
    workload.name, round, server.name, rate, 100 * r.server_cpu / r.seconds)
  return rate
end

--- Rounds go around the servers, so that a machine that becomes slower or
--- faster does so for all, and a ratio compares neighbours in time.
local function measure_workload(servers, workload, cells)
  local rates, ratios, to_uws = {}, {}, {}
  for _, server in ipairs(servers) do
    rates[server], ratios[server], to_uws[server] = {}, {}, {}
  end
  for round = 1, options.rounds do
    local of = {}
    for _, server in ipairs(servers) do
      of[server.name] = measure_speed(server, workload, round)
    end
    for _, server in ipairs(servers) do
      local rate = of[server.name]
      table.insert(rates[server], rate)
      table.insert(ratios[server], rate and of.floor and rate / of.floor)
      table.insert(to_uws[server], rate and of.uws and rate / of.uws)
    end
  end
  for _, server in ipairs(servers) do
    local cell = cells[server]
    local rate, ratio = median(rates[server]), median(ratios[server])
    local uws = median(to_uws[server])
    cell[workload] = rate and ratio
      and ("%.4g (%.3f)"):format(rate / 1000, ratio) or "failed"
    cell.to_uws[workload] = uws and ("%.3f"):format(uws)
  end
end

--- Each server is a new process here: what it kept from other workloads would
--- hide what connections need.
local function measure_idle(servers, workload, cells)
  local bytes = {}
  for _, server in ipairs(servers) do
    start(server)
    local r = load(server, "idle --connections " .. options.idle)
    stop(server)
    if r and r.open > 0 then
      log("%-8s %-20s %d connections, %d lost, %.1f MB before, %.1f MB after",
        workload.name, server.name, r.open, r.lost, r.before / 1e6,
        r.after / 1e6)
    end
    bytes[server.name] = r and r.open > 0 and r.lost == 0
      and (r.after - r.before) / r.open
  end
  for _, server in ipairs(servers) do
    local each, cell = bytes[server.name], cells[server]
    cell[workload] = each and ("%.0f"):format(each) or "failed"
    cell.to_uws[workload] = each and bytes.uws
      and ("%.3f"):format(each / bytes.uws)
  end
end

--- One line for each server, of what 'cell' has for each workload.
local function print_lines(servers, chosen, cell)
  local heads = { idle = "B/idle conn" }
  local line = ("%-11s"):format("server")
  for _, workload in ipairs(chosen) do
    line = line .. ("%17s"):format(heads[workload.name] or workload.name)
  end
  print(line)
  for _, server in ipairs(servers) do
    line = ("%-11s"):format(server.name)
    for _, workload in ipairs(chosen) do
      line = line .. ("%17s"):format(cell(server, workload) or "-")
    end
    print(line)
  end
end

local function print_tables(servers, chosen, cells)
  print("\nThousands of messages per server CPU-second (ratio to the floor);"
    .. "\nbytes of resident memory for each idle connection.")
  if options.tls then
    print(("TLS 1.3 with %s; the certificate is %s."):format(
      servers[1].cipher, options.key))
  end
  print()
  print_lines(servers, chosen, function(server, workload)
    return cells[server][workload]
  end)
  if options.uws then
    print("\nThe same as ratios to uws.\n")
    print_lines(servers, chosen, function(server, workload)
      return cells[server].to_uws[workload]
    end)
  end
end

local function measure_echoes(chosen)
  local all = all_servers()
  local wanted = options.only and "floor," .. options.only
  if not wanted and not options.uws then
    wanted = rows.names(all):gsub("uws,", "")
  end
  local servers = available(choose(all, wanted))
  local cells = {}
  for _, server in ipairs(servers) do
    cells[server] = { to_uws = {} }
    start(server)
    warm_up(server)
  end
  for _, workload in ipairs(chosen) do
    if not workload.idle then
      measure_workload(servers, workload, cells)
    end
  end
  for _, server in ipairs(servers) do
    stop(server)
  end
  for _, workload in ipairs(chosen) do
    if workload.idle then
      measure_idle(servers, workload, cells)
    end
  end
  print_tables(servers, chosen, cells)
end

-- Those of the libraries that were asked for.
local function of_libraries(list)
  local servers = {}
  for _, server in ipairs(list) do
    local library = server.name:match("%S+")
    if ("," .. (options.only or library) .. ","):find("," .. library .. ",", 1, true) then
      table.insert(servers, server)
    end
  end
  return available(servers)
end

local function measure_fanouts(chosen)
  local servers = of_libraries(rows.publishers(here, options.publish))
  if #servers > 0 then
    fanout.run(options, servers, chosen)
  end
end

local function main()
  parse_arguments()
  if options.compression then
    local servers = of_libraries(rows.compressors(here, options.uws))
    return compression.run(options, servers, choose(rows.payloads, options.workload))
  end
  local echoes, fanouts = {}, {}
  for _, workload in ipairs(choose(workloads, options.workload)) do
    table.insert(workload.fanout and fanouts or echoes, workload)
  end
  if options.tls then
    make_certificate()
    fanouts = {} -- what TLS costs is in the other rows
  end
  if #echoes > 0 then
    measure_echoes(echoes)
  end
  if #fanouts > 0 then
    measure_fanouts(fanouts)
  end
end

main()
os.exit(not processes.failed)
