-- SPDX-License-Identifier: MIT
-- What a server says of itself in numbers.
local duplex = require "duplex"
local both = require "spec.support.both"
local each = require "spec.support.each"
local peer = require "spec.support.peer"
local run = require "spec.support.run"

local on_both = both.bound(it)

local function serve(bound, options, handler)
  options = options or {}
  options.log = options.log or false
  return assert(bound.serve(options, handler or each))
end

-- Waits until a count is what it has to become.
local function become(expected, count)
  for _ = 1, 500 do
    if count() == expected then return end
    duplex.sleep(0.005)
  end
  assert.equal(expected, count())
end

describe("server:metrics", function()
  on_both("counts messages and their bytes, by direction and kind", function(bound)
    local server = serve(bound)
    local ws = assert(bound.connect(server.url))
    ws:send("hello")
    ws:receive()
    ws:send("\0\1", "binary")
    ws:receive()
    local pieces = { "ab", "cde" }
    ws:send(function() return table.remove(pieces, 1) end)
    ws:receive()
    bound.broadcast(server.connections, "to all")
    ws:receive()
    for one in pairs(server.connections) do one:send(("x"):rep(100000), "binary") end
    ws:receive()
    local all = server:metrics()
    assert.same({ text = 2, binary = 1 }, all.messages.received)
    assert.same({ text = 3, binary = 2 }, all.messages.sent)
    assert.same({ text = 10, binary = 2 }, all.bytes.received)
    assert.same({ text = 16, binary = 100002 }, all.bytes.sent)
  end)

  on_both("counts a message that is taken in pieces once", function(bound)
    local server = serve(bound, {}, function(ws)
      ws:receive_to(function() end)
      local pieces = { "ab", "c" }
      ws:send(function() return table.remove(pieces, 1) end, "binary")
      ws:wait_closed()
    end)
    local ws = assert(bound.connect(server.url))
    ws:send(("x"):rep(70000))
    ws:receive()
    local all = server:metrics()
    assert.same({ text = 1, binary = 0 }, all.messages.received)
    assert.same({ text = 70000, binary = 0 }, all.bytes.received)
    assert.same({ text = 0, binary = 1 }, all.messages.sent)
    assert.same({ text = 0, binary = 3 }, all.bytes.sent)
  end)

  on_both("counts what compression saves", function(bound)
    local server = serve(bound, { compression = true })
    local plain = assert(bound.connect(server.url, { compression = false }))
    plain:send("not compressed")
    plain:receive()
    local ws = assert(bound.connect(server.url, { compression = true }))
    ws:send(("x"):rep(10000))
    ws:receive()
    bound.broadcast(server.connections, bound.prepare(("y"):rep(10000)))
    ws:receive()
    assert.equal(4, server:metrics().messages.sent.text)
    local all = server:metrics().compression
    all.sent.payload = all.sent.payload - 10000
    for _, direction in ipairs { "received", "sent" } do
      assert.equal(10000, all[direction].payload)
      assert.is_true(all[direction].wire > 0 and all[direction].wire < 100)
    end
    assert.is_truthy(server:metrics("prometheus"):find(
      'duplex_compression_bytes_total{direction="sent",part="payload"} 20000', 1, true))
    ws:close()
    plain:close()
  end)

  on_both("counts connections, control frames and close codes", function(bound)
    local server = serve(bound)
    local one = assert(bound.connect(server.url))
    local two = assert(bound.connect(server.url))
    become(2, function() return server:metrics().connections.open end)
    assert(one:ping(2))
    one:close(4001, "bye")
    two:close()
    become(0, function() return server:metrics().connections.open end)
    local all = server:metrics()
    assert.equal(2, all.connections.accepted)
    assert.same({ close = 2, ping = 1, pong = 0 }, all.control.received)
    assert.same({ close = 2, ping = 0, pong = 1 }, all.control.sent)
    assert.same({ received = { [1000] = 1, [4001] = 1 }, sent = { [1000] = 1, [4001] = 1 } }, all.closed)
  end)

  on_both("has the round trips of pings in classes of up to 10 seconds", function(bound)
    local server = serve(bound, { ping_interval = 0.02 })
    local ws = assert(bound.connect(server.url))
    local task = both.task(function() ws:receive() end)
    become(true, function() return server:metrics().round_trips.count >= 2 end)
    local trips = server:metrics().round_trips
    assert.is_true(trips.sum > 0 and trips.sum < 1)
    assert.equal(13, #trips)
    assert.equal(0.001, trips[1][1])
    assert.same({ 10, trips.count }, trips[13])
    for i = 2, 13 do assert.is_true(trips[i][2] >= trips[i - 1][2]) end
    ws:close()
    task()
  end)

  it("counts handshakes by their outcome, and answers by status", run(function()
    local server = serve(duplex, {
      origins = {}, max_connections = 2, subprotocols = function(offered)
        if offered[1] == "bad" then error("oops") end
      end, on_request = function(request)
        if request.path == "/no" then return 401, "no" end
        if request.path == "/page" then return 200, "page" end
        if request.path == "/fails" then error("oops") end
      end,
    })
    local function try(path, options) return (duplex.connect(server.url .. path, options)) end
    assert.is_nil(try("/no"))
    assert.is_nil(try("/fails"))
    assert.is_nil(try("/", { headers = { Origin = "http://elsewhere" } }))
    assert.is_nil(try("/", { subprotocols = { "bad" } }))
    local raw = peer.connect(server.port):send("GET /page HTTP/1.1\r\nHost: x\r\n\r\n")
    raw:answer()
    raw:close()
    raw = peer.connect(server.port):send("NONSENSE\r\n\r\n")
    raw:rest()
    raw = peer.connect(server.port)
    raw:close()
    become(1, function() return server:metrics().handshakes.lost end)
    local one, two = assert(try("/")), assert(try("/"))
    assert.is_nil(try("/"))
    local all = server:metrics()
    assert.same({
      accepted = 2, bad_request = 1, error = 2, full = 1, lost = 1, on_request = 1, origin = 1,
      proxy = 0, stopping = 0, timeout = 0, tls = 0,
    }, all.handshakes)
    assert.same({ [200] = 1, [400] = 1, [401] = 1, [403] = 1, [500] = 2, [503] = 1 }, all.answers)
    assert.equal(2, all.failures.hooks)
    one:close()
    two:close()
  end))

  it("counts those who are too slow, or come from no proxy", run(function()
    local server = serve(duplex, { open_timeout = 0.05 })
    peer.connect(server.port):rest()
    become(1, function() return server:metrics().handshakes.timeout end)
    server = serve(duplex, { proxy_protocol = true, proxies = { "127.0.0.2" } })
    peer.connect(server.port):rest()
    become(1, function() return server:metrics().handshakes.proxy end)
    server = serve(duplex, { proxy_protocol = true, proxies = { "127.0.0.1" } })
    peer.connect(server.port):send("GET / HTTP/1.1\r\n\r\n"):rest()
    become(1, function() return server:metrics().handshakes.proxy end)
  end))

  it("counts failures of handlers, and of tasks", run(function()
    local stderr = io.stderr
    io.stderr = { write = function() end }
    local server = serve(duplex, {}, function() error("oops") end)
    local before = server:metrics().failures.tasks
    assert(duplex.connect(server.url)):wait_closed()
    duplex.spawn(function() error("oops") end)
    both.settle()
    io.stderr = stderr
    local failures = server:metrics().failures
    assert.equal(1, failures.handlers)
    assert.equal(before + 1, failures.tasks)
    assert.same({ received = { [1011] = 1 }, sent = { [1011] = 1 } }, server:metrics().closed)
  end))

  it("has what waits in queues and outboxes, in all and of the worst", run(function()
    local go = duplex.event()
    local server = serve(duplex, {}, function(ws)
      go:wait()
      each(ws)
    end)
    local one, two = assert(duplex.connect(server.url)), assert(duplex.connect(server.url))
    for _ = 1, 3 do one:send("x") end
    two:send("x")
    become(4, function() return server:metrics().queue.messages end)
    assert.equal(3, server:metrics().queue.most)
    for ws in pairs(server.connections) do assert(ws:try_send(("x"):rep(100))) end
    local outbox = server:metrics().outbox
    assert.same({ bytes = 204, most = 102 }, outbox)
    go:set()
    become(0, function() return server:metrics().queue.messages end)
    one:close()
    two:close()
  end))

  it("tells 64 close codes of peers apart and those of the RFC, and calls the rest other", run(function()
    local server = serve(duplex)
    for code = 4000, 4069 do assert(duplex.connect(server.url)):close(code) end
    assert(duplex.connect(server.url)):close(1001)
    become(0, function() return server:metrics().connections.open end)
    local received = server:metrics().closed.received
    assert.same({ 1, nil, 6, 1 }, { received[4063], received[4064], received.other, received[1001] })
  end))

  it("gives copies, which nobody can change", run(function()
    local server = serve(duplex)
    server:metrics().handshakes.accepted = 5
    server:metrics().closed.received[1000] = 5
    assert.equal(0, server:metrics().handshakes.accepted)
    assert.same({}, server:metrics().closed.received)
  end))

  it("raises for another format", run(function()
    local server = serve(duplex)
    both.raises('metrics_spec.lua:%d+: format must be "prometheus" or nothing, got json',
      function() server:metrics("json") end)
  end))

  it("writes all of it for Prometheus", run(function()
    local server = serve(duplex)
    local ws = assert(duplex.connect(server.url))
    ws:send("hello")
    ws:receive()
    ws:close()
    become(0, function() return server:metrics().connections.open end)
    local text = server:metrics("prometheus")
    for _, line in ipairs {
      "# HELP duplex_connections Open WebSocket connections.", "# TYPE duplex_connections gauge",
      "duplex_connections 0", "# TYPE duplex_handshakes_total counter",
      'duplex_handshakes_total{outcome="accepted"} 1', 'duplex_handshakes_total{outcome="origin"} 0',
      'duplex_messages_total{direction="received",kind="text"} 1',
      'duplex_messages_total{direction="sent",kind="binary"} 0',
      'duplex_message_bytes_total{direction="sent",kind="text"} 5',
      'duplex_control_frames_total{direction="received",kind="close"} 1',
      'duplex_closed_total{code="1000",direction="sent"} 1', "duplex_queued_messages 0",
      "duplex_outbox_bytes_most 0", "# TYPE duplex_round_trip_seconds histogram",
      'duplex_round_trip_seconds_bucket{le="0.001"} 0', 'duplex_round_trip_seconds_bucket{le="+Inf"} 0',
      "duplex_round_trip_seconds_count 0", 'duplex_failures_total{where="handlers"} 0',
    } do
      assert.is_truthy(("\n" .. text):find("\n" .. line .. "\n", 1, true), line .. " is not in\n" .. text)
    end
    -- Each family is there once, with its help before its type.
    local seen = {}
    for name in text:gmatch("# HELP (%S+) [^\n]+\n# TYPE %S+ %l+\n") do
      assert.is_nil(seen[name])
      seen[name] = true
    end
    for name in text:gmatch("\n([%a_]+)") do
      local family = name:gsub("_bucket$", ""):gsub("_sum$", ""):gsub("_count$", "")
      assert.is_true(seen[family], name)
    end
  end))
end)
