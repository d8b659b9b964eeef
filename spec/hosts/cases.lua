-- SPDX-License-Identifier: MIT
-- What a host has to do: a list of { name, function(duplex, t) }, each run as a
-- task of the host. t is what play.lua gives.

local pki = require "spec.support.pki"

local cases = {}
local function case(name, body) cases[#cases + 1] = { name, body } end

-- What nginx does not do yet: it polls for events only when no light thread has
-- been woken by another.
cases.elsewhere = {}
local function case_elsewhere(name, body) table.insert(cases.elsewhere, { name, body }) end

local function echo(ws)
  for data, kind in ws:messages() do ws:send(data, kind) end
end

-- Something comes, but not at once.
local function eventually(duplex, check)
  for _ = 1, 300 do
    local value = check()
    if value then return value end
    duplex.sleep(0.01)
  end
end

-- ---- turns ----

case("tasks that sleep for no time let connections be made", function(duplex, t)
  local server, done = t.serve({}, echo), false
  local connecting = t.task(function()
    local ws = t.connect(server)
    ws:send("x")
    local data = ws:receive(5)
    done = true
    return data
  end)
  local deadline = duplex.now() + 5
  while not done and duplex.now() < deadline do duplex.sleep(0) end
  t.ok(done, "nothing else happens")
  t.same("x", (connecting()))
end)

case_elsewhere("tasks that wake each other let sleeps end and connections be made", function(duplex, t)
  local a, b = duplex.pair()
  local deadline, turns = duplex.now() + 5, 0
  local function pass_on(ws)
    for data in ws:messages() do
      turns = turns + 1
      if duplex.now() > deadline or not ws:send(data) then break end
    end
  end
  local one, two = t.task(pass_on, a), t.task(pass_on, b)
  a:send("x")
  duplex.sleep(0.05)
  local ws = t.connect(t.serve({}, echo))
  ws:send("y")
  t.same("y", (ws:receive(5)))
  t.ok(duplex.now() < deadline, "nothing else happened")
  t.ok(turns > 2, turns .. " turns")
  a:close()
  one()
  two()
end)

-- ---- both roles ----

case("handshake: both sides see what was asked and answered", function(duplex, t)
  local seen, came = nil, duplex.event()
  local server = t.serve({ subprotocols = { "b", "a" } }, function(ws)
    seen = { ws.request.path, ws.request.query.q, ws.request.headers["x-a"], ws.subprotocol, ws.address }
    came:set()
    ws:receive()
  end)
  local ws = t.connect(server, "/there?q=1", { headers = { ["X-A"] = "b" }, subprotocols = { "a" } })
  t.ok(came:wait(2), "the handler did not run")
  t.same({ "/there", "1", "b", "a", "127.0.0.1" }, seen)
  t.same({ "a", 101, server.port }, { ws.subprotocol, ws.response.status, ws.port })
end)

case("echo of 0 to 1,000,000 bytes", function(_, t)
  local ws = t.connect(t.serve({}, echo))
  for _, size in ipairs { 0, 1, 125, 126, 65535, 65536, 1000000 } do
    for _, kind in ipairs { "text", "binary" } do
      local data = ("0123456789abcdef"):rep(math.ceil(size / 16)):sub(1, size)
      t.ok(ws:send(data, kind))
      local got, got_kind = ws:receive(5)
      t.ok(got == data and got_kind == kind, size .. " bytes came back changed")
    end
  end
end)

case("many messages in flight keep their order", function(duplex, t)
  local ws = t.connect(t.serve({}, echo))
  local sender = t.task(function()
    for i = 1, 5000 do t.ok(ws:send(tostring(i))) end
  end)
  for i = 1, 5000 do t.same(tostring(i), (ws:receive(5))) end
  sender()
  t.ok(duplex.now() > 0)
end)

case("a read timeout in mid-frame loses nothing (server)", function(duplex, t)
  local timeouts, got, done = 0, nil, duplex.event()
  local server = t.serve({}, function(ws)
    repeat
      local data, _, id = ws:receive(0.005)
      got = data
      timeouts = timeouts + (id == "TIMEOUT" and 1 or 0)
    until id ~= "TIMEOUT"
    done:set()
  end)
  t.peer("halves", server.port)
  t.ok(done:wait(5), "nothing came")
  t.same("in pieces", got)
  t.ok(timeouts > 5, timeouts .. " timeouts")
end)

case("a read timeout in mid-frame loses nothing (client)", function(duplex, t)
  local ws = assert(duplex.connect(t.peer("halves")))
  local timeouts = 0
  while true do
    local data, message, id = ws:receive(0.005)
    if data then
      t.same("in pieces", data)
      break
    end
    t.ok(id == "TIMEOUT", message)
    timeouts = timeouts + 1
  end
  t.ok(timeouts > 5, timeouts .. " timeouts")
  ws:close(1000, "", 1)
end)

local function interleave(t, server_options, client_options)
  local COUNT, SIZE = 40, 100000
  local function send_all(ws, letter)
    for _ = 1, COUNT do t.ok(ws:send(letter:rep(SIZE), "binary")) end
  end
  local function receive_all(ws, letters)
    local counts = {}
    for _ = 1, 2 * COUNT do
      local data = t.ok(ws:receive(20))
      local letter = data:sub(1, 1)
      t.ok(#data == SIZE and data == letter:rep(SIZE), "mixed bytes")
      counts[letter] = (counts[letter] or 0) + 1
    end
    for letter in letters:gmatch(".") do t.same(COUNT, counts[letter]) end
  end
  local server = t.serve(server_options, function(ws)
    local one, two = t.task(send_all, ws, "a"), t.task(send_all, ws, "b")
    receive_all(ws, "cd")
    one()
    two()
  end)
  local ws = t.connect(server, "", client_options)
  local one, two = t.task(send_all, ws, "c"), t.task(send_all, ws, "d")
  receive_all(ws, "ab")
  one()
  two()
  t.same("CLOSED", select(3, ws:receive(5)))
end

case("two tasks a side send 4 MB each at once, and nothing interleaves", function(_, t)
  interleave(t, {}, {})
end)

case("wss: the same over TLS, and what TLS agreed on", function(duplex, t)
  local pair = pki.certificate()
  local tls = { certificate = pair.certificate, key = pair.key }
  interleave(t, { tls = tls }, { tls = { ca = pki.ca } })
  local server = t.serve({ tls = tls }, echo)
  local ws = t.connect(server, "", { tls = { ca = pki.ca } })
  t.ok(server.url:find("^wss:"))
  for _, size in ipairs { 0, 1, 125, 126, 65535, 65536, 1000000 } do
    t.ok(ws:send(("x"):rep(size)))
    t.same(size, #t.ok(ws:receive(5)))
  end
  t.same("TLSv1.3", ws.tls.version)
  t.same("TIMEOUT", select(3, ws:receive(0.05)))
  t.ok(ws:close())
  local _, message, id = duplex.connect(server.url)
  t.same("TLS", id)
  t.ok(message:find("not trusted"), message)
  t.same("TIMEOUT", select(3, duplex.connect((t.peer("silent"):gsub("^ws:", "wss:")),
    { open_timeout = 0.2 })))
end)

case("close from another task wakes the receiver, with the code for the peer", function(duplex, t)
  local code, done = nil, duplex.event()
  local server = t.serve({}, function(ws)
    echo(ws)
    code = ws.close_code
    done:set()
  end)
  local ws = t.connect(server)
  local receiving = t.task(ws.receive, ws)
  duplex.sleep(0.05)
  local began = duplex.now()
  t.ok(ws:close(4000, "enough"))
  t.same("CLOSED", select(3, receiving()))
  t.ok(duplex.now() - began < 1.5, "slow")
  t.ok(done:wait(2))
  t.same(4000, code)
  t.same("CLOSED", select(3, ws:send("x")))
end)

case("back-pressure: send waits for a peer that does not read, and all arrives", function(duplex, t)
  local waited, most, done = 0, 0, duplex.event()
  local server = t.serve({}, function(ws)
    for _ = 1, 100 do
      local began = duplex.now()
      t.ok(ws:send(("x"):rep(100000), "binary"))
      waited = math.max(waited, duplex.now() - began)
      most = math.max(most, ws.outbox)
    end
    t.ok(ws:close())
    done:set()
  end)
  t.peer("deaf", server.port)
  t.ok(done:wait(8), "it hangs")
  t.ok(waited > 0.2, "send never waited")
  t.ok(most < 400000, "an outbox of " .. most)
end)

case("a slow peer does not hold up the others", function(duplex, t)
  local server = t.serve({ max_outbox = 2 ^ 24 }, function(ws)
    if ws.request.path == "/" then ws:try_send(("x"):rep(8000000), "binary") end
    echo(ws)
  end)
  t.peer("mute", server.port)
  duplex.sleep(0.3)
  local ws = t.connect(server, "/echo")
  for i = 1, 20 do
    t.ok(ws:send(tostring(i)))
    t.same(tostring(i), (ws:receive(5)))
  end
end)

-- ---- time ----

case("a sleep and a timeout take their time", function(duplex, t)
  local ws = t.connect(t.serve({}, echo))
  for _, wait in ipairs {
    function() return duplex.sleep(0.1) end,
    function() return not ws:receive(0.1) end,
    function() return not duplex.event():wait(0.1) end,
  } do
    local began = duplex.now()
    t.ok(wait())
    local took = duplex.now() - began
    t.ok(took > 0.09 and took < 2, took .. " seconds instead of 0.1")
  end
  t.same("TIMEOUT", select(3, ws:receive(0)))
end)

case("open_timeout ends connections without a handshake (server)", function(duplex, t)
  local server = t.serve({ open_timeout = 0.2 }, echo)
  t.peer("silent", server.port)
  t.ok(eventually(duplex, function() return server:stats().handshakes == 1 end), "nobody came")
  t.ok(eventually(duplex, function() return server:stats().handshakes == 0 end), "it stays")
end)

case("open_timeout ends attempts at a server that says nothing (client)", function(duplex, t)
  local began = duplex.now()
  local _, _, id = duplex.connect(t.peer("silent"), { open_timeout = 0.2 })
  t.same("TIMEOUT", id)
  t.ok(duplex.now() - began < 1)
end)

case("send_timeout ends a connection whose peer reads nothing: LOST", function(duplex, t)
  local result, done = nil, duplex.event()
  local server = t.serve({ send_timeout = 0.3 }, function(ws)
    repeat result = { ws:send(("x"):rep(100000), "binary") } until not result[1]
    done:set()
  end)
  t.peer("mute", server.port)
  t.ok(done:wait(5), "it hangs")
  t.same("LOST", result[3])
end)

case("close_timeout ends a close that the peer does not answer", function(duplex, t)
  local ws = assert(duplex.connect(t.peer("mute"), { close_timeout = 0.2 }))
  local began = duplex.now()
  t.ok(ws:close())
  local took = duplex.now() - began
  t.ok(took > 0.15 and took < 1, took .. " seconds")
  t.same(1006, ws.close_code)
end)

case("heartbeat: a silent peer is found while somebody receives", function(duplex, t)
  local result, done = nil, duplex.event()
  local server = t.serve({ ping_interval = 0.1, ping_timeout = 0.1 }, function(ws)
    result = { ws:receive() }
    done:set()
  end)
  t.peer("mute", server.port)
  t.ok(done:wait(3), "it was not found")
  t.same({ nil, "LOST: no pong within ping_timeout", "LOST" }, result)
end)

case("heartbeat: a silent peer is found while the handler is busy", function(duplex, t)
  local lost = duplex.event()
  local server = t.serve({ ping_interval = 0.1, ping_timeout = 0.1 }, function(ws)
    ws:on_close(function() lost:set() end)
    lost:wait(4)
  end)
  t.peer("mute", server.port)
  t.ok(lost:wait(3), "it was not found")
end)

case("heartbeat: pings are answered while the handler is busy", function(duplex, t)
  local got, done = nil, duplex.event()
  local server = t.serve({}, function(ws)
    duplex.sleep(1)
    got = ws:receive(2)
    done:set()
  end)
  t.peer("pings", server.port)
  t.ok(done:wait(5))
  t.same("are you there", got)
end)

case("heartbeat: after 20 seconds of silence, in both roles", function(duplex, t)
  local core = require "duplex.core"
  -- When the next ping is due, counted from the last byte.
  local function interval(ws) return math.floor(core.due(ws) - duplex.now() + ws.idle + 0.5) end
  local served, come = nil, duplex.event()
  local ws = t.connect(t.serve({}, function(one)
    served = interval(one)
    come:set()
    one:wait_closed()
  end))
  t.ok(come:wait(5))
  t.same({ 20, 20 }, { served, interval(ws) })
end)

case("heartbeat: who answers no ping is told why it is cut: 1011", function(duplex, t)
  local result, done = nil, duplex.event()
  local server = t.serve({ ping_interval = 0.1, ping_timeout = 0.1 }, function(ws)
    local data, _, id = ws:receive()
    result = { data, id, ws.close_code, ws.close_error }
    done:set()
  end)
  t.peer("quiet", server.port)
  t.ok(done:wait(3), "it was not found")
  t.same({ nil, "LOST", 1006, "LOST: no pong within ping_timeout" }, result)
  duplex.sleep(0.1)
  t.same("closed 1011", t.said())
end)

case("heartbeat: a peer that we do not read from lives", function(duplex, t)
  local read, done = nil, duplex.event()
  local server = t.serve({ ping_interval = 0.1, ping_timeout = 0.6 }, function(ws)
    duplex.sleep(1)
    repeat read = ws:receive() until read ~= ("x"):rep(65536)
    read = { read, ws.close_error }
    done:set()
  end)
  t.peer("floods", server.port)
  t.ok(done:wait(8), "it hangs")
  t.same({ "done", nil }, read)
end)

case("heartbeat: payloads and round trips with the option", function(duplex, t)
  local trip, got, done, timed = nil, nil, duplex.event(), duplex.event()
  local server = t.serve({ heartbeat = {
    interval = 0.1,
    payload = function(ws) return "hello " .. ws.state end,
    on_latency = function(ws, seconds)
      trip = seconds < 1 and ws.latency < 1
      timed:set()
    end,
  } }, function(ws)
    got = ws:receive(2)
    done:set()
  end)
  t.peer("pinged", server.port)
  t.ok(done:wait(3) and timed:wait(3))
  t.same({ "hello open", true }, { got, trip })
end)

case("heartbeat: a policy finds a silent peer while the handler is busy", function(duplex, t)
  local lost = duplex.event()
  local policy = duplex.heartbeat { interval = 0.1, timeout = 0.1, payload = "x" }
  local server = t.serve({ heartbeat = policy }, function(ws)
    ws:on_close(function() lost:set() end)
    lost:wait(4)
  end)
  t.peer("mute", server.port)
  t.ok(lost:wait(3), "it was not found")
end)

case("ws.idle counts silence", function(duplex, t)
  local ws = t.connect(t.serve({}, echo))
  duplex.sleep(0.2)
  local silence = ws.idle
  t.ok(silence > 0.15 and silence < 1, silence)
  ws:send("x")
  t.same("x", (ws:receive(2)))
  t.ok(ws.idle < silence)
end)

case("ping measures a round trip", function(_, t)
  local ws = t.connect(t.serve({}, echo))
  local seconds = t.ok(ws:ping(2))
  t.ok(seconds >= 0 and seconds < 0.5, seconds .. " seconds")
end)

-- ---- ends ----

case("a peer that resets is LOST for receivers and senders", function(duplex, t)
  local results, closed, done = {}, duplex.event(), duplex.event()
  local server = t.serve({}, function(ws)
    ws:on_close(function() closed:set() end)
    results[1] = ws:receive(2)
    ws:send("go")
    results[2] = select(3, ws:receive(2))
    results[3] = select(3, ws:send("x"))
    done:set()
  end)
  t.peer("gone", server.port)
  t.ok(done:wait(5))
  t.same({ "last words", "LOST", "LOST" }, results)
  t.ok(closed:wait(1), "on_close was not called")
end)

case("a handler that fails with an object that has no text closes with 1011, too", function(_, t)
  for _, text in ipairs { function() return nil end, function() return {} end, function() error("no text") end } do
    local server = t.serve({}, function() error(setmetatable({}, { __tostring = text })) end)
    local ws = t.connect(server)
    ws:receive(5)
    t.same(1011, ws.close_code)
  end
end)

case("a handler that fails closes with 1011; others live on", function(_, t)
  local server = t.serve({}, function(ws)
    if ws:receive() == "fail" then error("as it should") end
    echo(ws)
  end)
  local one, two = t.connect(server), t.connect(server)
  two:send("go on")
  one:send("fail")
  t.same("CLOSED", select(3, one:receive(2)))
  t.same(1011, one.close_code)
  two:send("alive")
  t.same("alive", (two:receive(2)))
end)

case("a server that stops closes with 1001 and takes nobody any more", function(duplex, t)
  local server = t.serve({}, echo)
  local ws = t.connect(server)
  t.ok(server:stop(2))
  t.same("CLOSED", select(3, ws:receive(2)))
  t.same(1001, ws.close_code)
  t.same("CONNECT", select(3, duplex.connect(server.url)))
end)

case("asking an ended connection for ever does not stop the others", function(duplex, t)
  local done = false
  local server = t.serve({}, function(ws)
    while not done do ws:receive() end
  end)
  local ws = t.connect(server)
  ws:close()
  local sending = t.task(function()
    while not done do ws:send("x") end
  end)
  t.ok(duplex.sleep(0.05))
  done = true
  sending()
end)

-- ---- finding a server ----

case("a port that nobody listens on is refused: CONNECT", function(duplex, t)
  local _, message, id = duplex.connect("ws://127.0.0.1:1/")
  t.same("CONNECT", id)
  t.ok(message:lower():find("refused"), message)
end)

case("a name that does not exist: DNS", function(duplex, t)
  local _, message, id = duplex.connect("ws://no-such-name.invalid/", { open_timeout = 5 })
  t.ok(id == "DNS" or id == "TIMEOUT", message)
  t.ok(message:find("no-such-name.invalid", 1, true), message)
end)

case("localhost leads to a server on either family", function(duplex, t)
  local server = t.serve({ host = "127.0.0.1" }, echo)
  local ws = assert(duplex.connect("ws://localhost:" .. server.port))
  ws:send("x")
  t.same("x", (ws:receive(1)))
end)

case('"*" serves IPv4 and IPv6 on one port', function(duplex, t)
  local server = t.serve({ host = "*" }, echo)
  for _, address in ipairs { "127.0.0.1", t.ipv6 and "[::1]" } do
    local ws = assert(duplex.connect(("ws://%s:%d/"):format(address, server.port)))
    ws:send(address)
    t.same(address, (ws:receive(1)))
  end
end)

case("a port in use: ADDRESS", function(duplex, t)
  local server = t.serve({}, echo)
  local _, message, id = duplex.serve({ port = server.port }, echo)
  t.same("ADDRESS", id)
  t.ok(message:lower():find("in use"), message)
end)

case("Unix sockets; a path that nobody listens on any more is taken over", function(duplex, t)
  local path = os.tmpname()
  os.remove(path)
  for _ = 1, 2 do
    local server = t.serve({ unix = path }, echo)
    local ws = assert(duplex.connect("ws://x/", { unix = path }))
    t.same("unix", ws.address)
    ws:send("x")
    t.same("x", (ws:receive(1)))
    t.same("ADDRESS", select(3, duplex.serve({ unix = path }, echo)))
    ws:close()
    server:stop(1)
    t.ok(not io.open(path), "the path is left behind")
    t.stale(path)
  end
  os.remove(path)
  t.same("CONNECT", select(3, duplex.connect("ws://x/", { unix = path })))
end)

-- ---- many ----

case("a broadcast reaches all, and waits for nobody", function(duplex, t)
  local server = t.serve({}, echo)
  local list = {}
  for i = 1, 20 do list[i] = t.connect(server) end
  t.ok(eventually(duplex, function() return server:stats().connections == 20 end))
  t.same(20, duplex.broadcast(server.connections, "to all"))
  for i = 1, 20 do t.same("to all", (list[i]:receive(2))) end
end)

case("a prepared message is sent to one and to many, and those that are full can be spared", function(duplex, t)
  local server = t.serve({}, echo)
  local client, message = t.connect(server), duplex.prepare("\0\255", "binary")
  client:send(message)
  t.same("\0\255", (client:receive(2)))
  t.ok(client:try_send(message))
  t.same("\0\255", (client:receive(2)))
  local a, b = duplex.pair()
  local set, full = { [a] = true }, nil
  for ws in pairs(server.connections) do set[ws] = true end
  t.same(2, duplex.broadcast(set, message))
  t.same("\0\255", (client:receive(2)))
  t.same("\0\255", (b:receive(2)))
  repeat
    duplex.broadcast({ [a] = true }, duplex.prepare(("x"):rep(65536)), nil, {
      above = 100000, full = function(ws) full = ws end,
    })
  until full
  t.ok(full == a and a.state == "open")
end)

case("messages are compressed, whole, in fragments and to many", function(duplex, t)
  local text = ("compress me "):rep(1000)
  for _, kind in ipairs { "dedicated", "shared" } do
    local server = t.serve({ compression = { compressor = kind } }, echo)
    local ws = t.connect(server, "", { compression = true })
    t.ok(ws.extensions:find("permessage-deflate", 1, true) == 1)
    for _ = 1, 2 do
      ws:send(text)
      t.same(text, (ws:receive(2)))
    end
    local count = 0
    ws:send(function()
      count = count + 1
      return count < 4 and text or nil
    end)
    local pieces = {}
    t.same(#text * 3, (ws:receive_to(function(piece) pieces[#pieces + 1] = piece end)))
    t.same(text:rep(3), table.concat(pieces))
    t.same(1, duplex.broadcast({ [ws] = true }, text))
    t.same(text, (ws:receive(2)))
    local stats = ws:stats()
    t.same(#text * 6, stats.payload_in)
    t.ok(stats.wire_in < stats.payload_in / 20)
    ws:close()
  end
end)

case("topics: published once to each, and what was missed comes first", function(duplex, t)
  local hub = duplex.hub { history = 10, encode = function(_, data, offset) return offset .. " " .. data end }
  local server = t.serve({}, function(ws)
    local data = ws:receive()
    while data do
      local since, epoch = data:match("^(%d+) (.*)$")
      local info = hub:subscribe(ws, "news.today", { since = tonumber(since), epoch = epoch, info = {} })
      hub:subscribe(ws, "news.*")
      ws:send(info.epoch)
      data = ws:receive()
    end
  end)
  local a = t.connect(server)
  a:send("hello")
  local epoch = a:receive(2)
  t.same(1, hub:publish("news.today", "one"))
  t.same("1 one", (a:receive(2)))
  a:close()
  t.ok(eventually(duplex, function() return #hub:who("news.today") == 0 end), "it stays")
  t.same(0, hub:publish("news.today", "two"))
  local b = t.connect(server)
  b:send("1 " .. epoch)
  t.same("2 two", (b:receive(2)))
  t.same(epoch, (b:receive(2)))
  t.same(1, hub:publish("news.today", "three"))
  t.same("3 three", (b:receive(2)))
  t.same("TIMEOUT", select(3, b:receive(0.02)))
end)

case("topics: a slow subscriber gets the newest when it reads again, in order", function(duplex, t)
  local hub, came, reading = duplex.hub { slow = "coalesce", above = 200000 }, duplex.event(), duplex.event()
  local server = t.serve({}, function(ws)
    hub:subscribe(ws, "t")
    came:set()
    ws:wait_closed()
  end)
  local ws = t.connect(server)
  t.ok(came:wait(2))
  local last = 0
  local reader = t.task(function()
    reading:wait(10)
    local before = 0
    while before < last do
      local i = tonumber(t.ok(ws:receive(5)):match("^%d+"))
      t.ok(i > before, i .. " after " .. before)
      before = i
    end
    return before
  end)
  while hub:metrics().coalesced < 5 do
    last = last + 1
    t.same(1, hub:publish("t", last .. (" "):rep(100000)))
    t.ok(last < 500, "nobody is slow")
    duplex.sleep(0)
  end
  reading:set()
  t.same(last, (reader()))
  t.ok(eventually(duplex, function() return hub:metrics().lagging == 0 end), "it lags for ever")
  ws:close()
end)

case("200 connections at once", function(_, t)
  local server = t.serve({}, echo)
  local list = {}
  for i = 1, 200 do list[i] = t.connect(server) end
  for i = 1, 200 do t.ok(list[i]:send(tostring(i))) end
  for i = 1, 200 do t.same(tostring(i), (list[i]:receive(5))) end
  for i = 1, 200 do list[i]:close(1000, "", 0) end
end)

case("pairs work, and plain HTTP is answered", function(duplex, t)
  local a, b = duplex.pair()
  local receiving = t.task(b.receive, b, 1)
  a:send("x")
  t.same("x", (receiving()))
  local server = t.serve({ on_request = function(request)
    duplex.sleep(0.01)
    return 404, "no " .. request.path
  end }, echo)
  local _, _, id, response = duplex.connect(server.url .. "/page")
  t.same({ "HTTP", 404, "no /page" }, { id, response.status, response.body })
end)

case("options that it cannot honour raise and name it, as do functions it lacks", function(duplex, t)
  local lacking = { cqueues = { fd = 0, backlog = 5 }, copas = { fd = 0 }, luv = { reuseport = true } }
  for option, value in pairs(lacking[t.host]) do
    local fine, problem = pcall(duplex.serve, { [option] = value }, echo)
    t.ok(not fine, option .. " is accepted")
    t.ok(problem:find(("host '%s' cannot honour the option '%s'"):format(t.host, option), 1, true), problem)
  end
  local fine, problem = pcall(duplex.signal, "SIGHUP")
  t.same({ false, true }, { fine, problem:find(("host '%s' has no signal"):format(t.host), 1, true) ~= nil })
end)

case("waiting where nothing can wait raises", function(_, t)
  t.ok(t.raised_outside:find("must be called in a task of " .. t.host, 1, true), t.raised_outside)
end)

case_elsewhere("waiting in a coroutine that the loop does not know raises, and breaks nothing", function(_, t)
  local ws = t.connect(t.serve({}, echo))
  for _ = 1, 2 do
    t.ok(not pcall(coroutine.wrap(function() return ws:receive(5) end)), "it does not raise")
    t.ok(not pcall(coroutine.wrap(function() return ws:ping(5) end)), "it does not raise")
    ws:send("x")
    t.same("x", (ws:receive(2)))
  end
end)

-- ---- what can be seen ----

case("a log function is told when connections open and close", function(duplex, t)
  local seen = {}
  local function log(_, message, fields) seen[message] = fields end
  local server = t.serve({ log = log }, echo)
  local ws = t.connect(server, "/room?token=x")
  ws:send("hello")
  t.same("hello", (ws:receive(2)))
  ws:close(4001, "bye")
  t.ok(eventually(duplex, function() return seen["connection closed"] end), "it is not closed")
  local opened, closed = seen["connection opened"], seen["connection closed"]
  t.same({ "/room", "127.0.0.1" }, { opened.path, opened.address })
  t.same({ opened.connection, 4001, 4001, "bye" },
    { closed.connection, closed.code, closed.sent, closed.reason })
  t.same({ 1, 1 }, { closed.messages_in, closed.messages_out })
end)

case("a server's metrics are of what it does", function(duplex, t)
  local server = t.serve({ on_request = function(request)
    if request.path == "/no" then return 401 end
  end }, echo)
  t.ok(not duplex.connect(server.url .. "/no"))
  local ws = t.connect(server)
  ws:send("hello")
  t.same("hello", (ws:receive(2)))
  local all = server:metrics()
  t.same({ 1, 1, 1 }, { all.connections.open, all.handshakes.accepted, all.handshakes.on_request })
  t.same({ 1, 5, 1, 5 }, { all.messages.received.text, all.bytes.received.text,
    all.messages.sent.text, all.bytes.sent.text })
  ws:close(4001)
  t.ok(eventually(duplex, function() return server:metrics().closed.received[4001] == 1 end))
  t.ok(server:metrics("prometheus"):find('duplex_closed_total{code="4001",direction="sent"} 1', 1, true))
end)

-- ---- a client that stays connected ----

case("reconnect: goes on with the next connection, in order, when one ends", function(duplex, t)
  local count = 0
  local server = t.serve({}, function(ws)
    count = count + 1
    ws:send(count .. ": " .. t.ok(ws:receive(5)))
    ws:close(1012)
  end)
  local codes, opened, closed = {}, {}, duplex.event()
  local client = duplex.reconnect(server.url, { first = 0.02, max = 0.05, log = false,
    on_open = function(ws) opened[#opened + 1] = ws.state end,
    on_close = function(failure)
      codes[#codes + 1] = failure.code
      closed:set()
    end })
  for i = 1, 3 do
    t.ok(client:send("m" .. i))
    t.same(i .. ": m" .. i, (client:receive(5)))
    t.ok(closed:wait(5), "on_close was not called")
    closed:clear()
  end
  client:close()
  t.same({ "closed", { "open", "open", "open" } }, { client.state, opened })
  t.same({ 1012, 1012, 1012 }, codes)
  t.same({ nil, "CLOSED: the client is closed", "CLOSED" }, { client:receive(1) })
end)

case("reconnect: keeps messages while nobody listens, and gives up when told so", function(duplex, t)
  local server = t.serve({ on_request = function(request)
    if request.path == "/no" then return 403, "" end
  end }, echo)
  local url, given_up = "ws://127.0.0.1:1/", duplex.event()
  local client = duplex.reconnect(function() return url end, { first = 0.02, max = 0.05, log = false,
    on_close = function(failure) url = failure.id == "CONNECT" and server.url or url end, on_give_up = function() given_up:set() end })
  t.ok(client:send("kept"))
  t.same("kept", (client:receive(5)))
  url = server.url .. "/no"
  client:reconnect()
  t.same({ nil, "HTTP: the server answered 403 Forbidden", "HTTP" }, { client:receive(5) })
  t.ok(given_up:wait(1), "on_give_up was not called")
end)

case("reconnect: is closed while it waits, and while it connects", function(duplex, t)
  local began = duplex.now()
  local client = duplex.reconnect("ws://127.0.0.1:1/", { first = 60, max = 60, log = false,
    random = function() return 0.9 end })
  local receiving = t.task(client.receive, client)
  for _ = 1, 300 do
    if client.state == "waiting" then break end
    duplex.sleep(0.01)
  end
  t.same("waiting", client.state)
  client:close()
  t.same({ nil, "CLOSED: the client is closed", "CLOSED" }, { receiving() })
  client = duplex.reconnect(t.peer("silent"), { log = false, connect = { open_timeout = 1 } })
  receiving = t.task(client.receive, client)
  duplex.sleep(0.02)
  t.same("connecting", client.state)
  client:close()
  t.same({ nil, "CLOSED: the client is closed", "CLOSED" }, { receiving() })
  t.ok(duplex.now() - began < 5, "it took too long")
end)

-- ---- the WebSocket of browsers ----

case("browser: the events of a socket come in the order of the standard", function(duplex, t)
  local server = t.serve({ subprotocols = { "chat" } }, echo)
  local seen, over = {}, duplex.event()
  local socket = duplex.browser.WebSocket(server.url .. "/x", { "chat" })
  local function note(event)
    seen[#seen + 1] = ("%s %d %s"):format(event.type, socket.readyState, event.data or event.code or socket.protocol)
  end
  socket.onopen = function(event)
    note(event)
    socket:send("hello")
    socket:send("\0\255", "binary")
  end
  socket.onmessage = function(event)
    note(event)
    if event.kind == "binary" then socket:close(4000, "bye") end
  end
  socket.onerror = note
  socket:addEventListener("close", function(event)
    note(event)
    over:set()
  end)
  t.same({}, seen) -- nothing before this task waits
  t.ok(over:wait(5), "it is not closed")
  t.same({ "open 1 chat", "message 1 hello", "message 1 \0\255", "close 3 4000" }, seen)
  over:clear()
  seen = {}
  socket = duplex.browser.WebSocket("ws://127.0.0.1:1/")
  socket.onopen, socket.onerror = note, note
  socket.onclose = function(event)
    note(event)
    over:set()
  end
  t.ok(over:wait(5), "it does not fail")
  t.same({ "error 3 ", "close 3 1006" }, seen)
end)

-- ---- tasks ----

case("an error in a task is logged with where it happened", function(duplex, t)
  local lines = t.stderr(function()
    duplex.spawn(function() error("in a task") end)
    duplex.sleep(0.05)
  end)
  t.ok(lines:find("task failed: .*in a task.*traceback"), lines)
end)

case("tasks run when the one that started them waits, not before", function(duplex, t)
  local order = {}
  duplex.spawn(function(name) order[#order + 1] = name end, "spawned")
  order[#order + 1] = "first"
  duplex.sleep(0.02)
  t.same({ "first", "spawned" }, order)
end)

case("a detached task is given its arguments, and may wait", function(duplex, t)
  local done, got = duplex.event(), nil
  duplex.detach(function(...)
    duplex.sleep(0.01)
    got = { ... }
    done:set()
  end, "a", 2)
  t.ok(done:wait(2), "it did not run")
  t.same({ "a", 2 }, got)
end)

case("an event wakes all who wait, until it is cleared", function(duplex, t)
  local event, woken = duplex.event(), 0
  local tasks = {}
  for i = 1, 3 do
    tasks[i] = t.task(function()
      t.ok(event:wait(1))
      woken = woken + 1
    end)
  end
  duplex.sleep(0.02)
  event:set()
  event:clear()
  for i = 1, 3 do tasks[i]() end
  t.same(3, woken)
  t.same({ nil, "TIMEOUT: timed out", "TIMEOUT" }, { event:wait(0) })
  event:set()
  t.ok(event:wait(0))
end)

case("values go as JSON, and what is none ends nothing", function(duplex, t)
  local ws = t.connect(t.serve({}, function(ws)
    local channel = duplex.json(ws)
    while true do
      local value, message, id = channel:receive()
      if value == nil and id ~= "JSON" then break end
      channel:send(value ~= nil and { value } or message)
    end
  end))
  local channel = duplex.json(ws)
  channel:send(duplex.json.null)
  t.same({ duplex.json.null }, channel:receive(5))
  ws:send("[")
  t.same("JSON: expected value but found T_END at character 2", (channel:receive(5)))
  channel:send({ 1, "x" })
  t.same({ { 1, "x" } }, channel:receive(5))
end)

case("calls go both ways, and end with the connection", function(duplex, t)
  local ws = t.connect(t.serve({}, function(ws)
    duplex.rpc(ws, { log = false, concurrency = 2, methods = {
      add = function(params) return params[1] + params[2] end,
      twice = function(params, peer) return peer:call("mul", { params[1], 2 }, 5) end,
      fail = function() error("secret") end,
      wait = function(_, one) while not one.closed do duplex.sleep(0.01) end end,
    } }):run()
  end))
  local peer = duplex.rpc(ws, { methods = { mul = function(params) return params[1] * params[2] end } })
  t.same(3, (peer:call("add", { 1, 2 }, 5)))
  local calls = {}
  for i = 1, 20 do
    calls[i] = t.task(function() return peer:call("twice", { i }, 5) end)
  end
  for i = 1, 20 do t.same(2 * i, (calls[i]())) end
  t.same("RPC: Internal error (-32603)", select(2, peer:call("fail", nil, 5)))
  t.same("TIMEOUT", select(3, peer:call("wait", nil, 0.01)))
  local last = t.task(function() return peer:call("wait", nil, 5) end)
  duplex.sleep(0.01)
  ws:close()
  t.same("CLOSED", select(3, last()))
  t.ok(peer.closed)
end)

return cases
