-- SPDX-License-Identifier: MIT
-- Plays the cases on one host: lua play.lua HOST [PATTERN]. Prints "ok NAME",
-- "not ok NAME: WHY", or "na NAME: REASON" for what a host cannot have.

package.path = "./?.lua;" .. package.path
require "spec.hosts.path"
local name, pattern = arg[1], arg[2]
local duplex = require(name == "native" and "duplex" or "duplex." .. name)
local cases = require "spec.hosts.cases"
local absent = require "spec.hosts.absent"
local checks = require "spec.hosts.checks"

local function quote(word) return "'" .. word .. "'" end

local t = checks(duplex)
t.host = name
t.servers, t.peers, t.pipes = {}, {}, {} -- a pipe that is collected waits for its process

--- A server that the case need not stop.
function t.serve(options, handler)
  local all = { log = false }
  for key, value in pairs(options) do all[key] = value end
  local server = assert(duplex.serve(all, handler))
  table.insert(t.servers, server)
  return server
end

function t.connect(server, path, options)
  return assert(duplex.connect(server.url .. (path or ""), options))
end

--- A peer that speaks bytes, see peer.lua. Without a port: its URL.
function t.peer(mode, port)
  local command = ("echo $$; exec timeout -k 1 10 %s spec/hosts/peer.lua %s %s 2>&1"):format(
    os.getenv("LUA") or "lua5.4", quote(mode), port or "")
  local pipe = assert(io.popen(command))
  t.pipes[#t.pipes + 1] = pipe
  t.peers[#t.peers + 1] = pipe:read("*l")
  return not port and pipe:read("*l") or nil
end

--- The next line that the last peer printed. Blocks.
function t.said() return t.pipes[#t.pipes]:read("*l") end

--- A path as a server leaves it that was killed.
function t.stale(path)
  local socket = require "socket.unix"
  local s = type(socket) == "table" and socket.stream() or socket()
  assert(s:bind(path))
  assert(s:listen())
  s:close()
end

--- What fn() makes the library write to standard error.
function t.stderr(fn)
  local real, lines = io.stderr, {}
  io.stderr = { write = function(_, ...) -- luacheck: ignore 122
    for _, text in ipairs { ... } do lines[#lines + 1] = text end
  end }
  local fine, problem = pcall(fn)
  io.stderr = real -- luacheck: ignore 122
  assert(fine, problem)
  return table.concat(lines)
end

-- What a wait raises where no task runs. On the native loop it would turn that.
if name ~= "native" then
  t.raised_outside = tostring(select(2, pcall(duplex.event().wait, duplex.event())))
end

local file = io.open("/proc/net/if_inet6")
t.ipv6 = file and file:read("*a"):find("\n.") ~= nil or false

local function play(case)
  local title, body = case[1], case[2]
  if absent[name] and absent[name][title] then
    return print(("na %s: %s"):format(title, absent[name][title]))
  end
  t.servers, t.peers = {}, {}
  local over, fine, problem = duplex.event(), nil, nil
  duplex.spawn(function()
    fine, problem = xpcall(body, debug.traceback, duplex, t)
    over:set()
  end)
  local in_time = over:wait(t.patience)
  for _, pid in ipairs(t.peers) do os.execute("kill " .. pid .. " 2>/dev/null") end
  for _, server in ipairs(t.servers) do server:stop(0.5) end
  if not in_time then fine, problem = false, "it hangs" end
  print(fine and "ok " .. title or ("not ok %s: %s"):format(title, problem))
  io.stdout:flush()
end

local function report(title, expected, results)
  local got = t.show(results)
  print(got == t.show(expected) and "ok " .. title
    or ("not ok %s: expected %s, got %s"):format(title, t.show(expected), got))
end

report("run returns what main returned", { "what", 7 }, { duplex.run(function()
  for _, list in ipairs { cases, cases.elsewhere } do
    for _, case in ipairs(list) do
      if not pattern or case[1]:find(pattern) then play(case) end
    end
  end
  return "what", 7
end) })

local results = {}
duplex.run(function()
  local server = assert(duplex.serve({ log = false }, function(ws)
    results[1] = select(3, ws:receive())
  end))
  local ws = assert(duplex.connect(server.url))
  duplex.spawn(function()
    results[2] = select(3, ws:receive())
  end)
  duplex.spawn(function() results[3] = select(3, duplex.sleep(5)) end)
  duplex.sleep(0.02)
  duplex.stop(2)
end)
report("stop closes all, and sleepers learn of it", { "CLOSED", "CLOSED", "STOPPED" }, results)

local called = {}
duplex.run(function()
  duplex.on_stop(function(grace)
    local slept = duplex.sleep(5)
    called[1], called[2] = grace, slept == nil
  end)
  duplex.on_stop(function() called[3] = "forgotten" end)()
  duplex.spawn(duplex.stop, 3)
  called[4] = select(3, duplex.sleep(5))
end)
report("stop calls functions of on_stop, which may wait", { 3, true, nil, "STOPPED" }, called)

results = {}
duplex.run(function()
  local last = t.peer "quiet"
  local ws = assert(duplex.connect(last))
  duplex.spawn(duplex.stop, 5)
  results[1] = select(3, ws:receive())
  ws:wait_closed()
  results[2] = select(3, duplex.sleep(1))
  results[3] = select(3, duplex.connect(last))
end)
report("stop is not over for tasks that learn of it from connections", { "CLOSED", "STOPPED", "STOPPED" }, results)

results = {}
duplex.run(function()
  local late = t.peer "late"
  duplex.spawn(duplex.stop, 0)
  results[1] = select(3, duplex.connect(late)) or "a connection"
end)
-- The native loop is left before there is an answer.
report("stop is for connections that come after it, too", { name ~= "native" and "STOPPED" or nil }, results)

-- The URL of a port that nobody accepts at; 'full': connections do not come about.
local function unanswered(full)
  local socket = require "socket"
  local listener = assert(socket.tcp4())
  assert(listener:bind("127.0.0.1", 0))
  assert(listener:listen(full and 0 or 8))
  local _, port = listener:getsockname()
  local waiting = { listener }
  for i = 1, full and 4 or 0 do
    waiting[i + 1] = assert(socket.tcp4())
    waiting[i + 1]:settimeout(0)
    waiting[i + 1]:connect("127.0.0.1", port)
  end
  return ("ws://127.0.0.1:%d/"):format(port), waiting
end

-- Tables of their own: on the native loop tasks of the last run may go on now.
local states = {}
for i, full in ipairs { false, true } do
  local url, waiting = unanswered(full)
  local began = duplex.now()
  states[i] = duplex.run(function()
    local client = duplex.reconnect(url, { log = false, connect = { open_timeout = 20 } })
    duplex.sleep(0.05)
    local state = client.state
    client:close()
    return state
  end) .. (duplex.now() - began < 10 and "" or " too long")
  for _, one in ipairs(waiting) do one:close() end
end
report("run does not wait for attempts that were given up", { "connecting", "connecting" }, states)

local began, ran = duplex.now(), false
duplex.run(function()
  duplex.background(duplex.sleep, 20)
  duplex.background(function() ran = duplex.sleep(0) end)
  duplex.sleep(0.05)
end)
report("run does not wait for background tasks", { true, true }, { ran, duplex.now() - began < 10 })

local slept = false
duplex.run(function()
  duplex.background(function()
    while not slept do slept = duplex.sleep(60) == true end
  end)
  duplex.sleep(0)
  duplex.stop(0)
end)
duplex.run(function() duplex.sleep(0.05) end)
report("no sleep that a stop has cut short is said to be over", { false }, { slept })

local came
duplex.run(function()
  local over, url = duplex.event(), t.peer "late"
  duplex.background(function()
    duplex.sleep(0.02)
    local ws = duplex.connect(url)
    came = ws ~= nil and ws:close(1000, "", 0)
    over:set()
  end)
  over:wait()
end)
report("run waits for tasks that wait for background tasks", { true }, { came })

report("run raises where the loop is running already", { false, "the loop is running already" },
  { duplex.run(function() return pcall(duplex.run, print) end) })

results = { pcall(duplex.run, function() error("in main") end) }
report("run raises what main died of", { false, true },
  { results[1], tostring(results[2]):find("in main", 1, true) ~= nil })
os.exit(0, false)
