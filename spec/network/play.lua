-- SPDX-License-Identifier: MIT
-- What becomes of our connections when the network, or the machine on the other
-- side, fails. All cases run at once, on one loop:
--   lua play.lua HOST     see spec/counterparts/network_spec.lua
--   lua play.lua list     their names

package.path = "./?.lua;" .. package.path
require "spec.hosts.path"
local duplex = require((arg[1] == "native" or arg[1] == "list") and "duplex" or "duplex." .. arg[1])
local network = require "spec.support.network"

local INTERVAL, TIMEOUT = 0.25, 1.5
local SLACK = 5 -- seconds that a busy machine may add
local SILENT = "LOST: no pong within ping_timeout"
local FAR = "spec/network/far.lua"
local PORT = "7777"
local BEATS = { ping_interval = INTERVAL, ping_timeout = TIMEOUT, log = false }

local cases = {}
local function case(name, body) cases[#cases + 1] = { name, body } end

-- Making places takes a moment in which the loop stands still: before it begins.
local function place_for()
  return arg[1] ~= "list" and network.place()
end

local function same(expected, got)
  if expected ~= got then error(("expected %s, got %s"):format(tostring(expected), tostring(got)), 2) end
end

-- What a reader gets at the end, in time: after 'least' seconds and soon after 'most'.
local function lost(ws, least, most, problem)
  local began = duplex.now()
  local data, message, id = ws:receive(most + SLACK)
  local took = duplex.now() - began
  same(nil, data)
  same("LOST", id)
  same(1006, ws.close_code)
  same(ws.close_error, message)
  if problem then same(problem, message) end
  assert(took >= least, took .. " seconds are too few")
  for _, call in ipairs { "receive", "ping" } do same("LOST", select(3, ws[call](ws, 1))) end
  same("LOST", select(3, ws:send("x")))
end

-- ---- a client of ours, and a server there ----

local function url(place) return ("ws://%s:%s"):format(place.address, PORT) end

local function serve(place, ...)
  local program = place:start(FAR, "serve", PORT, ...)
  program:await "^listening"
  return program
end

local function connect(place)
  local ws = assert(duplex.connect(url(place), BEATS))
  ws:send("hello")
  same("hello", (ws:receive(5)))
  return ws
end

local function with_server(name, body)
  local place = place_for()
  case(name, function() body(place, serve(place)) end)
end

with_server("client, the server's process is killed", function(place, program)
  local ws = connect(place)
  program:signal "KILL"
  lost(ws, 0, 0)
  local _, _, id = duplex.connect(url(place), BEATS)
  same("CONNECT", id)
  serve(place)
  connect(place):close()
end)

with_server("client, the server's machine is asleep, and wakes up", function(place, program)
  local ws = connect(place)
  program:signal "STOP"
  lost(ws, INTERVAL, INTERVAL + TIMEOUT, SILENT)
  program:signal "CONT"
  same("1011", program:await "^ended\t%u+\t(%d+)") -- it was told, and reads it now
  connect(place):close()
end)

with_server("client, a sleep of the server that is short enough costs nothing", function(place, program)
  local ws = assert(duplex.connect(url(place), { ping_interval = INTERVAL, ping_timeout = 5 }))
  program:signal "STOP"
  duplex.sleep(2 * INTERVAL)
  program:signal "CONT"
  duplex.sleep(INTERVAL)
  ws:send("still here")
  same("still here", (ws:receive(5)))
end)

with_server("client, the port is closed", function(place, program)
  local ws = connect(place)
  program:signal "TERM"
  same("CLOSED", select(3, ws:receive(5)))
  same(1001, ws.close_code)
  program:gone()
  local began = duplex.now()
  local _, message, id = duplex.connect(url(place), BEATS)
  same("CONNECT", id)
  assert(message:lower():find("refused"), message)
  assert(duplex.now() - began < SLACK)
end)

with_server("client, the cable is cut, and mended", function(place, program)
  local ws = connect(place)
  place:cut()
  assert(ws:send("nobody gets this"))
  lost(ws, INTERVAL, INTERVAL + TIMEOUT, SILENT)
  local began = duplex.now()
  local _, message, id = duplex.connect(url(place), { open_timeout = 0.5 })
  same("TIMEOUT: no connection to " .. place.address .. " within open_timeout (0.5 s)", message)
  same("TIMEOUT", id)
  assert(duplex.now() - began < 0.5 + SLACK)
  place:mend()
  connect(place):close()
  same(nil, program:text():find("ended\tLOST", 1, true)) -- whose heartbeat is slow
end)

with_server("client, a cut that is mended in time costs nothing", function(place)
  local ws = assert(duplex.connect(url(place), { ping_interval = INTERVAL, ping_timeout = 5 }))
  place:cut()
  ws:send("on its way")
  duplex.sleep(0.3)
  place:mend()
  same("on its way", (ws:receive(5)))
end)

-- ---- clients that stay connected ----

-- After 'fail' there is no connection in time, and what is said then comes after
-- 'repair', once and in order.
local function comes_back(name, within, fail, repair)
  with_server("duplex.reconnect, " .. name, function(place, program)
    local client = duplex.reconnect(url(place), {
      first = 0.1, max = 0.3, log = false,
      connect = { ping_interval = INTERVAL, ping_timeout = TIMEOUT, open_timeout = 0.5, log = false },
    })
    client:send("before")
    same("before", (client:receive(5)))
    local first = client.ws
    fail(place, program)
    local deadline = duplex.now() + within + SLACK
    while client.ws == first do
      assert(duplex.now() < deadline, "it was not noticed")
      duplex.sleep(0.01)
    end
    for i = 1, 5 do assert(client:send("queued " .. i)) end
    duplex.sleep(0.5) -- some attempts fail
    repair(place, program)
    for i = 1, 5 do same("queued " .. i, (client:receive(5))) end
    client:send("after")
    same("after", (client:receive(5)))
    same(0, client.queued)
    client:close()
  end)
end

comes_back("the server's process is killed, and started again", 0,
  function(_, program) program:signal "KILL" end, function(place) serve(place) end)

comes_back("the server's machine is asleep, and wakes up", INTERVAL + TIMEOUT,
  function(_, program) program:signal "STOP" end, function(_, program) program:signal "CONT" end)

comes_back("the port is closed, and opened again", 0, function(_, program)
  program:signal "TERM"
  program:gone()
end, function(place) serve(place) end)

comes_back("the cable is cut, and mended", INTERVAL + TIMEOUT,
  function(place) place:cut() end, function(place) place:mend() end)

-- ---- a server of ours, and clients there ----

local ends = {} -- by the address of the client: { id, message, seconds of silence }
local ended, came = duplex.event(), duplex.event()

local function handler(ws)
  ends[ws.address] = false
  came:set()
  while true do
    local data, message, id = ws:receive()
    if not data then
      ends[ws.address] = { id, message, ws.close_code, ws.idle }
      return ended:set()
    end
    ws:send(data)
  end
end

local server, ready = nil, duplex.event()

local function end_of(place)
  local deadline = duplex.now() + 10
  while not ends[place.here:gsub("1$", "2")] do
    ended:clear()
    assert(ended:wait(math.max(0, deadline - duplex.now())), "it was not noticed")
  end
  return ends[place.here:gsub("1$", "2")]
end

local function with_client(name, body, ...)
  local place, beats = place_for(), { ... }
  case(name, function()
    ready:wait()
    local program = place:start(FAR, "connect", ("ws://%s:%d"):format(place.here, server.port),
      (table.unpack or unpack)(beats))
    program:await "^got hello"
    body(place, program)
  end)
end

local function silent(place)
  local id, message, code, silence = (table.unpack or unpack)(end_of(place))
  same("LOST", id)
  same(SILENT, message)
  same(1006, code)
  assert(silence >= TIMEOUT and silence < INTERVAL + TIMEOUT + SLACK, silence .. " seconds")
end

with_client("server, a client's process is killed", function(place, program)
  program:signal "KILL"
  same("LOST", end_of(place)[1])
end)

with_client("server, a client's machine is asleep, and wakes up", function(place, program)
  program:signal "STOP"
  silent(place)
  program:signal "CONT"
  same("CLOSED 1011", (table.concat({ program:await "^ended\t(%u+)\t(%d+)" }, " ")))
end)

with_client("server, the cable to a client is cut, and both find out", function(place, program)
  place:cut()
  silent(place)
  same(SILENT, program:await "^ended\tLOST\t1006\t(.*)")
end, tostring(INTERVAL), tostring(TIMEOUT))

-- Its own sleep is not the peer's silence. The peer is this process, which stands
-- still for a while each time that it starts a program: it gets more time.
do
  local place, timeout = place_for(), 3 * TIMEOUT
  case("client, who was asleep does not blame the server", function()
    local patient = assert(duplex.serve({ host = "*", log = false, ping_interval = false }, handler))
    local program = place:start(FAR, "connect", ("ws://%s:%d"):format(place.here, patient.port),
      tostring(INTERVAL), tostring(timeout))
    program:await "^got hello"
    program:signal "STOP"
    duplex.sleep(INTERVAL + timeout + 0.3)
    program:signal "CONT"
    duplex.sleep(0.5)
    for ws in pairs(patient.connections) do ws:send("still here") end
    program:await "^got still here"
  end)
end

-- ---- what is built on connections ----

local function calls_fail(name, least, most, fail)
  local place = place_for()
  case("duplex.rpc, " .. name, function()
    local program = place:start(FAR, "rpc", PORT)
    program:await "^listening"
    local ws = assert(duplex.connect(url(place), BEATS))
    local peer = duplex.rpc(ws)
    duplex.spawn(function() peer:run() end)
    same("hello", peer:call("echo", { "hello" })[1])
    local failures, both, began = {}, duplex.event(), nil
    for i = 1, 2 do
      duplex.spawn(function()
        local _, _, id = peer:call("wait", {}, false)
        failures[i] = { id, duplex.now() - began }
        if failures[1] and failures[2] then both:set() end
      end)
    end
    program:await "^waits 2"
    began = duplex.now()
    fail(place, program)
    assert(both:wait(most + SLACK), "calls are still waiting")
    for i = 1, 2 do
      same("LOST", failures[i][1])
      assert(failures[i][2] >= least)
    end
    same("LOST", select(3, peer:call("echo", { "x" })))
  end)
end

calls_fail("calls fail when the server's process is killed", 0, 0,
  function(_, program) program:signal "KILL" end)
calls_fail("calls fail when the cable is cut", INTERVAL, INTERVAL + TIMEOUT, function(place) place:cut() end)

do
  local place = place_for()
  case("duplex.hub, who is behind a cable that is cut leaves", function()
    local left, gone, got = nil, duplex.event(), {}
    local hub = duplex.hub { on_leave = function(_, member)
      left = member.id
      gone:set()
    end }
    local serving = assert(duplex.serve({ host = "*", ping_interval = INTERVAL, ping_timeout = TIMEOUT, log = false },
      function(ws)
        ws:receive()
        assert(hub:subscribe(ws, "news", { info = { id = ws.address } }))
        ws:wait_closed()
      end))
    local program = place:start(FAR, "connect", ("ws://%s:%d"):format(place.here, serving.port))
    local near = assert(duplex.connect(serving.url))
    near:send("me too")
    duplex.spawn(function()
      while true do
        local data = near:receive()
        if not data then return end
        got[#got + 1] = data
      end
    end)
    while #hub:who("news") < 2 do duplex.sleep(0.01) end
    same(2, hub:publish("news", "both get this"))
    program:await "^got both get this"
    local began = duplex.now()
    place:cut()
    hub:publish("news", "one gets this")
    assert(gone:wait(INTERVAL + TIMEOUT + SLACK), "it is still a member")
    assert(duplex.now() - began >= INTERVAL)
    same(place.address, left)
    local members = hub:who("news")
    same("127.0.0.1", members[1].id)
    same(1, #members)
    same(1, hub:publish("news", "one is there"))
    duplex.sleep(0.1)
    same("both get this,one gets this,one is there", table.concat(got, ","))
    near:close()
  end)
end

-- ---- everybody else ----

case("the others on the loop notice nothing", function()
  server = assert(duplex.serve({ host = "*", port = 0, ping_interval = INTERVAL, ping_timeout = TIMEOUT, log = false },
    handler))
  ready:set()
  local ws = assert(duplex.connect(server.url))
  local worst, stop = 0, duplex.now() + 2
  while duplex.now() < stop do
    local began = duplex.now()
    assert(ws:send("tick"))
    same("tick", (ws:receive(5)))
    worst = math.max(worst, duplex.now() - began)
    duplex.sleep(0.005)
  end
  assert(worst < 1, ("an echo took %.0f ms"):format(worst * 1000))
end)

if arg[1] == "list" then
  for _, one in ipairs(cases) do print(one[1]) end
else
  network.play(duplex, cases)
end
