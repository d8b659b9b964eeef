-- SPDX-License-Identifier: MIT

-- Servers that compress: what a message costs them, and how small it gets.

local processes = require "processes"
local log, median = processes.log, processes.median

local compression = {}

local PIECES = 512 -- messages, which are sent again and again

-- Numbers of our own, so that the messages are the same everywhere.
local function generator(state)
  return function(n)
    state = state * 16807 % 2147483647
    return state % n + 1
  end
end

--- An event with readings of sensors, filled up with blanks.
local function json(random, number, size)
  local kinds = { "temperature", "pressure", "humidity", "voltage", "current", "speed", "level", "flow" }
  local units = { "C", "hPa", "%", "V", "A", "m/s", "mm", "l/s" }
  local places = { "Lisboa", "Oslo", "Wien", "Praha", "Zagreb", "Tallinn", "Riga", "Cork" }
  local head = ('{"type":"update","sequence":%d,"channel":"sensors/%s/%d",'
    .. '"time":"2026-11-%02dT%02d:%02d:%02dZ","readings":['):format(100000 + number, places[random(8)],
    random(500), random(28), random(24) - 1, random(60) - 1, random(60) - 1)
  local list, length = {}, #head + 2
  while true do
    local kind = random(8)
    local one = ('{"id":"%08x","name":"%s","value":%.2f,"unit":"%s","ok":%s}'):format(random(2147483646),
      kinds[kind], random(100000) / 100, units[kind], tostring(random(10) > 1))
    length = length + #one + 1
    if length > size then break end
    table.insert(list, one)
  end
  local text = head .. table.concat(list, ",") .. "]"
  return text .. (" "):rep(size - #text - 1) .. "}"
end

local makers = {}

function makers.json(size)
  local random, list = generator(1), {}
  for i = 1, PIECES do list[i] = json(random, i, size) end
  return table.concat(list)
end

--- Of the documentation, as natural a language as any that is at hand.
function makers.prose()
  local parts = {}
  for _, name in ipairs { "design", "guide", "hosts" } do
    local file = assert(io.open("docs/" .. name .. ".md"))
    table.insert(parts, (file:read("a"):gsub("[\128-\255]+", "-")))
    file:close()
  end
  return table.concat(parts)
end

function makers.noise(size)
  local random, list = generator(2), {}
  for i = 1, PIECES * size // 4 do list[i] = ("<I4"):pack(random(2147483646) * 2 + i % 2) end
  return table.concat(list)
end

local function write_data(options, payload)
  payload.file = ("%s/%s.data"):format(options.build, payload.name)
  local file = assert(io.open(payload.file, "wb"))
  file:write(makers[payload.name](payload.size))
  file:close()
end

local function measure(options, server, payload, seconds)
  local r = processes.load(options, server.running, ("echo --connections %d --size %d --seconds %s%s --data '%s'")
    :format(options.connections or 32, payload.size, seconds, payload.text and " --text" or "", payload.file))
  if not r or r.messages == 0 then
    return nil
  end
  local rate = r.messages / r.server_cpu
  log("%-6s %-21s %10.1f messages per CPU-second, ratio %.3f, %3.0f %% busy", payload.name, server.name, rate,
    r.ratio, 100 * r.server_cpu / r.seconds)
  return rate, r.ratio
end

--- Rounds go around the servers, as in run.lua.
local function measure_all(options, servers, payload)
  local rates, ratios, to_uws = {}, {}, {}
  for _, server in ipairs(servers) do
    measure(options, server, payload, 0.3) -- which does not count
  end
  for round = 1, options.rounds do
    local of = {}
    for _, server in ipairs(servers) do
      local rate, ratio = measure(options, server, payload, options.seconds)
      of[server.name] = rate
      rates[server] = rates[server] or {}
      rates[server][round] = rate
      ratios[server] = ratio or ratios[server]
    end
    for _, server in ipairs(servers) do
      local rate, uws = of[server.name], of["uws " .. server.kind]
      to_uws[server] = to_uws[server] or {}
      table.insert(to_uws[server], rate and uws and rate / uws)
    end
  end
  for _, server in ipairs(servers) do
    local rate, uws = median(rates[server]), median(to_uws[server])
    server[payload] = (rate and ("%.2f x %.3f"):format(rate / 1000, ratios[server]) or "failed")
      .. (uws and (" (%.2f)"):format(uws) or "")
  end
end

-- What connections keep that have exchanged one message.
local function measure_idle(options, servers, payload, sent)
  for _, server in ipairs(servers) do
    server.running = processes.start(options, server.name, server.command)
    local r = processes.load(options, server.running, ("idle --connections %d --size %d --text --data '%s'")
      :format(options.idle, sent.size, sent.file))
    processes.stop(server.running)
    server[payload] = r and r.open > 0 and r.lost == 0
      and ("%.1f KB"):format((r.after - r.before) / r.open / 1000) or "failed"
    log("%-6s %-21s %s", payload.name, server.name, server[payload])
  end
end

--- Prints the table.
function compression.run(options, servers, payloads)
  for _, server in ipairs(servers) do
    server.running = processes.start(options, server.name, server.command)
  end
  for _, payload in ipairs(payloads) do
    if not payload.idle then
      write_data(options, payload)
      measure_all(options, servers, payload)
    end
  end
  for _, server in ipairs(servers) do processes.stop(server.running) end
  for _, payload in ipairs(payloads) do
    if payload.idle then
      local sent = { name = "json", size = 1024 }
      write_data(options, sent)
      measure_idle(options, servers, payload, sent)
    end
  end
  print("\nThousands of messages per server CPU-second x bytes on the wire of one of theirs"
    .. (options.uws and "\n(as a ratio to uws with the same kind of compressor)" or "")
    .. ";\nresident memory of a connection that has had a message.\n")
  local line = ("%-22s"):format("server")
  for _, payload in ipairs(payloads) do
    line = line .. ("%22s"):format(payload.idle and "idle" or ("%s of %d B"):format(payload.name, payload.size))
  end
  print(line)
  for _, server in ipairs(servers) do
    line = ("%-22s"):format(server.name)
    for _, payload in ipairs(payloads) do line = line .. ("%22s"):format(server[payload]) end
    print(line)
  end
end

return compression
