-- SPDX-License-Identifier: MIT
-- The transport for byte streams, over streams in memory. That connections do
-- over it what they do over sockets is for the other specs of this folder: see
-- both.lua.
local duplex = require "duplex"
local both = require "spec.support.both"
local bytes = require "spec.support.bytes"
local each = require "spec.support.each"
local memory = require "spec.support.memory"
local PATIENCE = require "spec.support.patience"
local run = require "spec.support.run"

-- A host with a server and a client: bound, ws, ends of the stream, handlers.
local function joined(handler, server_options, client_options, plain)
  local host = memory.host { plain = plain }
  local bound = duplex.bind(host)
  local options = { log = false }
  for name, value in pairs(server_options or {}) do options[name] = value end
  local server = assert(bound.serve(options, handler))
  local ws = assert(bound.connect(server.url, client_options))
  return ws, host.made[1], server, bound
end

-- A handler that does not come back, and what it waits for.
local function busy()
  local gone = duplex.event()
  return function() gone:wait() end, gone
end

-- it() over rich and over poor streams.
local function case(name, body)
  it(name, run(function() body(false) end))
  it(name .. " (plain)", run(function() body(true) end))
end

describe("receive_to over a stream", function()
  -- It was kept as a piece for a call that had given up; receive then raised.
  it("gets what another task has read while its time was up", run(function()
    local handler, done = busy()
    local ws, ends = joined(handler)
    both.task(ws.wait_closed, ws) -- reads
    both.turns()
    local got = {}
    local function sink(piece) got[#got + 1] = piece end
    local wait = both.task(ws.receive_to, ws, sink, 0.001)
    both.task(function()
      local began = duplex.now()
      repeat until duplex.now() > began + 0.002
      ends.server:offer("\1\2he")
    end)
    assert.equal("TIMEOUT", select(3, wait()))
    assert.same({ "he" }, got)
    ends.server:offer("\128\3llo")
    assert.equal(5, (ws:receive_to(sink)))
    assert.same({ "he", "llo" }, got)
    done:set()
  end))
end)

describe("output over a stream", function()
  case("is one write for all that is sent in a turn", function(plain)
    local handler, done = busy()
    local ws, ends = joined(handler, nil, nil, plain)
    local writes = ends.client.writes
    for i = 1, 100 do ws:send("message " .. i) end
    assert.equal(writes, ends.client.writes, "written before others got their turn")
    both.settle()
    assert.equal(writes + 1, ends.client.writes)
    done:set()
  end)

  case("is one write for the answers to all that came with one read", function(plain)
    local ws, ends = joined(each, nil, nil, plain)
    assert.equal("", ws:ping(1) and "")
    local writes = ends.server.writes
    for _ = 1, 100 do ws:send("x") end
    for _ = 1, 100 do assert.equal("x", (ws:receive(1))) end
    assert.equal(writes + 1, ends.server.writes)
  end)

  case("of several tasks does not interleave", function(plain)
    local ws, _, _, bound = joined(each, { max_message = 2 ^ 21 }, { max_message = 2 ^ 21 }, plain)
    local sizes = { 3, 100, 70000, 1000000, 2000 }
    local tasks = {}
    for i = 1, 4 do
      tasks[i] = both.task(function()
        for _, size in ipairs(sizes) do assert(ws:send(("%d"):format(i):rep(size), "binary")) end
      end)
    end
    local got = {}
    for _ = 1, 4 * #sizes do
      local data = assert(ws:receive(5))
      local who = data:sub(1, 1)
      assert.equal(who:rep(#data), data)
      got[who] = (got[who] or "") .. " " .. #data
    end
    for i = 1, 4 do
      tasks[i]()
      assert.equal(" 3 100 70000 1000000 2000", got[tostring(i)])
    end
    bound.spawn(ws.close, ws)
  end)

  case("that nobody takes ends with LOST after send_timeout", function(plain)
    local over, ended = duplex.event(), nil
    local _, ends = joined(function(ws)
      repeat ended = { ws:send(("x"):rep(65536), "binary") } until not ended[1]
      over:set()
    end, { send_timeout = 0.1 }, nil, plain)
    ends.client.read = function(_, _, timeout) return nil, "TIMEOUT", duplex.sleep(timeout or 1) and "TIMEOUT" end
    assert.is_true(over:wait(3))
    assert.same({ nil, "LOST: the peer read nothing for send_timeout", "LOST" }, ended)
  end)

  -- What came in one go is as much as a task may read: before it waits for room others
  -- have their turn, in which all is written.
  it("that waits for room goes when there is room before it has begun to wait", run(function()
    local stream
    local ws, ends = joined(function(ws)
      ws:receive()
      function stream.offer() -- nothing goes at once
        stream.offer = nil
        return 0
      end
      ws:send(("x"):rep(90000))
      ws:send("y")
      ws:receive()
    end, { ping_interval = false, high_mark = 1000 }, { ping_interval = false })
    stream = ends.server
    ws:send(("z"):rep(65528)) -- and 8 bytes of header and mask
    assert.equal(90000, #assert(ws:receive(5)))
    assert.equal("y", (ws:receive(5)))
  end))

  case("that was queued before close arrives, though the peer is slow", function(plain)
    local ws = joined(function(ws)
      for i = 1, 10 do ws:send(tostring(i):rep(50000)) end
    end, nil, nil, plain)
    duplex.sleep(0.05)
    local count = 0
    each(ws, function(data)
      count = count + 1
      assert.equal(tostring(count):rep(50000), data)
      duplex.sleep(0.01)
    end)
    assert.equal(10, count)
    assert.same({ 1000 }, { ws.close_code, ws.close_error })
  end)
end)

describe("input over a stream", function()
  case("may come byte by byte", function(plain)
    local ws, ends = joined(each, nil, nil, plain)
    ends.client.cut, ends.server.cut = 1, 1
    for _, size in ipairs { 0, 1, 125, 126, 2000 } do
      local data = ("x"):rep(size)
      ws:send(data)
      assert.equal(data, (ws:receive(5)))
    end
  end)

  case("that came while its receiver let others have their turn is received", function(plain)
    local host = memory.host { plain = plain }
    local sleep, gone = host.sleep, duplex.event()
    -- A turn of others that takes so long that the attendant begins to read.
    host.sleep = function(seconds) return sleep(seconds == 0 and 0.15 or seconds) end
    local bound = duplex.bind(host)
    local server = assert(bound.serve({ log = false }, function(ws)
      ws:send(("x"):rep(70000))
      duplex.sleep(0.1)
      ws:send("y")
      gone:wait()
    end))
    local ws = assert(bound.connect(server.url))
    assert.equal(70000, #assert(ws:receive(2)))
    assert.equal("y", (ws:receive(2)))
    gone:set()
  end)

  case("is not lost when a timeout comes between its bytes", function(plain)
    local handler, done = busy()
    local ws, ends = joined(handler, nil, nil, plain)
    local frame = bytes.frame(0x81, "in two halves")
    for i = 1, #frame - 1 do
      ends.server:write(frame:sub(1, i))
      assert.equal("TIMEOUT", select(3, ws:receive(0.002)))
      ends.server:write(frame:sub(i + 1))
      assert.equal("in two halves", (ws:receive(1)))
    end
    done:set()
  end)

  case("that was queued is delivered before the end is told", function(plain)
    local ws, ends = joined(busy(), nil, nil, plain)
    ends.server:write(bytes.frame(0x81, "one") .. bytes.frame(0x81, "two"))
    ends.server.output.ended = true
    assert.equal("one", (ws:receive(1)))
    assert.equal("two", (ws:receive(1)))
    assert.same({ nil, "LOST: the peer hung up without a close frame", "LOST" }, { ws:receive(1) })
  end)

  case("ends with a reset: LOST", function(plain)
    local ws, ends = joined(busy(), nil, nil, plain)
    local receiving = both.task(ws.receive, ws)
    both.settle()
    ends.server:reset()
    assert.same({ nil, "LOST: the connection was lost", "LOST" }, { receiving() })
    assert.equal("LOST", select(3, ws:send("x")))
  end)

  case("is read by one task at a time; a second receiver raises", function(plain)
    local ws = joined(function(ws)
      assert(ws:receive())
      ws:send("for the first")
    end, nil, nil, plain)
    local receiving = both.task(ws.receive, ws)
    both.settle()
    assert.error_matches(function() ws:receive() end, "another task is receiving")
    ws:send("go on")
    assert.equal("for the first", (receiving()))
  end)

  case("does not starve other tasks, however much there is", function(plain)
    local ws = joined(function(ws)
      while ws:send(("x"):rep(60000), "binary") do end
    end, nil, nil, plain)
    local turns, over = 0, false
    duplex.spawn(function()
      while not over do
        duplex.sleep(0)
        turns = turns + 1
      end
    end)
    for _ = 1, 200 do assert(ws:receive(1)) end
    over = true
    assert.is_true(turns > 100, turns .. " turns")
  end)
end)

describe("while nobody receives, over a stream", function()
  case("pings are answered", function(plain)
    local handler, done = busy()
    local ws = joined(handler, nil, nil, plain)
    for _ = 1, 3 do assert(ws:ping(5)) end
    done:set()
  end)

  case("a silent peer is found, and on_close tells", function(plain)
    local told, handler = duplex.event(), nil
    local _, ends = joined(function(ws)
      ws:on_close(function() told:set() end)
      handler = ws
      told:wait()
    end, { ping_interval = 0.05, ping_timeout = 0.05 }, nil, plain)
    ends.client.read = function(_, _, timeout) return nil, "TIMEOUT", duplex.sleep(timeout or 1) and "TIMEOUT" end
    assert.is_true(told:wait(3))
    assert.equal("LOST: no pong within ping_timeout", handler.close_error)
  end)

  case("not more is read than the queue holds, and nothing is lost", function(plain)
    local go, got = duplex.event(), 0
    local over = duplex.event()
    local ws = joined(function(ws)
      go:wait()
      each(ws, function() got = got + 1 end)
      over:set()
    end, { max_queue = 4, ping_interval = 0.02, ping_timeout = 0.02 }, nil, plain)
    local sending, sent = both.task(function()
      for _ = 1, 100 do assert(ws:send(("x"):rep(10000))) end
    end)
    duplex.sleep(0.3)
    assert.is_false(sent(), "back-pressure is not felt")
    go:set()
    sending()
    ws:close()
    assert.is_true(over:wait(2))
    assert.equal(100, got)
  end)

  case("no task of ours runs when nothing happens", function(plain)
    local handler, done = busy()
    local ws = joined(handler, nil, nil, plain)
    local receiving = both.task(ws.receive, ws)
    duplex.sleep(0.2)
    local began = os.clock()
    duplex.sleep(0.3)
    assert.is_true(os.clock() - began < 0.1, "it spins")
    done:set()
    assert.equal("CLOSED", select(3, receiving()))
  end)
end)

describe("a stream that raises", function()
  it("does not keep other connections from sending", run(function()
    local handler, done = busy()
    local host = memory.host()
    local bound = duplex.bind(host)
    local failures = {}
    function host.log_failure(failure) failures[#failures + 1] = failure end
    local server = assert(bound.serve({ log = false }, handler))
    local list = {}
    for i = 1, 3 do list[i] = assert(bound.connect(server.url)) end
    both.settle()
    host.made[1].client.offer = function() error("a defect") end
    for i = 1, 3 do list[i]:send("x") end
    both.settle()
    assert.matches("a defect", failures[1], 1, true)
    for i = 2, 3 do assert.equal(0, list[i].outbox) end
    list[2]:send("y")
    both.settle()
    assert.equal(0, list[2].outbox)
    host.made[1].client.offer = nil -- what closes it shall not raise
    done:set()
  end))
end)

describe("a second receiver", function()
  case("is told so when both begin after much that came", function(plain)
    local ws = joined(each, nil, nil, plain)
    ws:send(("x"):rep(100000), "binary")
    assert.equal(100000, #ws:receive(1))
    local results = {}
    for i = 1, 2 do
      both.task(function() results[i] = { duplex.pcall(ws.receive, ws, 0.1) } end)
    end
    duplex.sleep(0.2)
    assert.equal("TIMEOUT", results[1][4])
    assert.matches("another task is receiving", results[2][2], 1, true)
  end)
end)

describe("a stream is closed", function()
  local function closed(ends)
    for _ = 1, 1000 do
      if ends.client.closed and ends.server.closed then return true end
      duplex.sleep(0.01)
    end
  end

  case("at both ends after a close handshake", function(plain)
    local ws, ends = joined(each, nil, nil, plain)
    ws:close()
    assert.is_true(closed(ends))
  end)

  case("when another task waits to receive: it gets CLOSED", function(plain)
    local ws, ends = joined(each, nil, nil, plain)
    local receiving = both.task(ws.receive, ws)
    both.settle()
    ws:close(4000)
    assert.equal("CLOSED", select(3, receiving()))
    assert.is_true(closed(ends))
  end)

  case("when the peer is lost", function(plain)
    local ws, ends = joined(each, nil, nil, plain)
    ends.client:reset()
    assert.equal("LOST", select(3, ws:receive(1)))
    assert.is_true(closed(ends))
  end)

  case("when a peer goes on sending after a protocol error", function(plain)
    local _, ends = joined(each, nil, nil, plain)
    local peer, sent = ends.client, 0
    peer:write("\255\255", 1) -- reserved bits
    while sent < 2 ^ 22 and not peer.output.ended and peer:write(("x"):rep(65536), PATIENCE) do
      sent = sent + 65536
    end
    assert.is_true(closed(ends))
    assert.is_true(sent < 2 ^ 21)
  end)

  case("when a request is refused", function(plain)
    local host = memory.host { plain = plain }
    local bound = duplex.bind(host)
    local server = assert(bound.serve({
      log = false, on_request = function() return 404, "nothing here" end,
    }, each))
    local ws, message, id, response = bound.connect(server.url)
    assert.same({ nil, "HTTP: the server answered 404 Not Found", "HTTP", "nothing here" },
      { ws, message, id, response.body })
    assert.is_true(closed(host.made[1]))
    assert.equal(0, host.unsent())
  end)

  case("when its server stops: 1001", function(plain)
    local ws, ends, server = joined(each, nil, nil, plain)
    local receiving = both.task(ws.receive, ws)
    server:stop(1)
    assert.equal("CLOSED", select(3, receiving()))
    assert.equal(1001, ws.close_code)
    assert.is_true(closed(ends))
  end)
end)
