-- SPDX-License-Identifier: MIT
local duplex = require "duplex"
local both = require "spec.support.both"
local bytes = require "spec.support.bytes"
local peer = require "spec.support.peer"
local run = require "spec.support.run"

local case = both.cases(it)

describe("ws:close", function()
  case("gives both sides the code and the reason", function(a, b)
    local closing = both.task(a.close, a, 4001, "enough")
    assert.equal("CLOSED", select(3, b:receive()))
    assert.is_true(closing())
    assert.same({ 4001, "enough" }, { b.close_code, b.close_reason })
    assert.same({ 4001, "" }, { a.close_code, a.close_reason })
    for _, ws in ipairs { a, b } do
      assert.equal("closed", ws.state)
      assert.is_nil(ws.close_error)
    end
  end)

  case("has no code for false", function(a, b)
    local waiting = both.task(b.wait_closed, b)
    a:close(false, "of no use")
    assert.same({ 1005, "" }, { waiting() })
    assert.same({ 1005, "" }, { a.close_code, a.close_reason })
    assert.is_nil(a.close_error)
  end)

  case("is 1000 without a code, and cuts a long reason between characters", function(a, b)
    both.task(a.close, a, nil, ("€"):rep(60))
    b:receive()
    assert.equal(1000, b.close_code)
    assert.equal(("€"):rep(41), b.close_reason)
  end)

  case("raises for codes that nobody may send, and the connection goes on", function(a, b)
    for _, code in ipairs { 0, -1, 999, 1004, 1006, 1015, 1016, 2999, 5000, 65536 + 1000, 1.5 } do
      assert.is_false((pcall(a.close, a, code)), code)
    end
    assert.is_false((pcall(a.close, a, "1000x")))
    assert.is_false((pcall(a.close, a, 1000, "\255")))
    assert.is_false((pcall(a.close, a, 1000, {})))
    assert.is_false((pcall(a.close, a, 1000, "", -1)))
    assert.equal("open", a.state)
    a:send("still here")
    assert.equal("still here", (b:receive()))
  end)

  case("may be called again, by anyone", function(a, b)
    local first = both.task(a.close, a, 4000)
    local second = both.task(a.close, a, 4001)
    b:receive()
    assert.is_true(first())
    assert.is_true(second())
    assert.is_true(a:close(4002))
    assert.is_true(b:close())
    assert.equal(4000, b.close_code)
  end)

  case("from both sides at once is clean", function(a, b)
    local one, two = both.task(a.close, a, 4000), both.task(b.close, b, 4001)
    one()
    two()
    assert.is_nil(a.close_error)
    assert.is_nil(b.close_error)
    assert.same({ "closed", "closed" }, { a.state, b.state })
    assert.equal(4000, b.close_code)
  end)

  case("with a timeout of 0 does not wait for the peer", function(a, b)
    assert.is_true(a:close(4000, "now", 0))
    assert.equal("closed", a.state)
    assert.is_nil(a.close_error)
    assert.equal("CLOSED", select(3, b:receive()))
    assert.equal(4000, b.close_code)
  end)

  case("waits for a peer that has messages left, but not longer than asked", function(a, b)
    a:send("not taken")
    both.settle()
    local began = duplex.now()
    assert.is_true(a:close(1000, "", 0.05))
    local took = duplex.now() - began
    assert.is_true(took >= 0.045 and took < 1, took)
    assert.equal("LOST: no close frame from the peer within close_timeout", a.close_error)
    assert.equal("CLOSED", select(3, a:receive()))
    assert.equal("not taken", (b:receive()))
  end)

  it("waits for the peer at most close_timeout", run(function()
    local taken, ended = nil, duplex.event()
    local server = assert(duplex.serve({ close_timeout = 0.05, log = false }, function(ws)
      local began = duplex.now()
      ws:close(1000)
      taken = duplex.now() - began
      ended:set()
    end))
    local raw = peer.connect(server.port):upgrade()
    assert.equal(bytes.frame(0x88, bytes.close(1000)), raw:read(4))
    assert.is_true(ended:wait(2))
    assert.is_true(taken >= 0.045 and taken < 1, taken)
    assert.same({ "", "end" }, { raw:rest(1) })
  end))

  it("is over when the peer's close frame is there, although a message waits for room", run(function()
    local closing, closed, done, why = duplex.event(), duplex.event(), duplex.event(), nil
    local server = assert(duplex.serve({ log = false }, function(ws)
      assert(ws:receive())
      ws:send(("x"):rep(16777216), "binary")
      duplex.spawn(function()
        closing:set()
        ws:close()
        why = ws.close_error
        closed:set()
      end)
      assert.equal("CLOSED", select(3, ws:send("waits")))
      done:wait()
    end))
    local raw = peer.connect(server.port):upgrade():send("\129\130\0\0\0\0hi")
    closing:wait()
    raw:send("\136\130\0\0\0\0\3\233")
    both.settle() -- it is there first
    duplex.spawn(function()
      while raw:read(1) do raw.bytes = "" end
    end)
    assert.is_true(closed:wait(5))
    assert.is_nil(why)
    done:set()
    server:stop(0)
  end))

  it("does not wait at all with close_timeout = 0", run(function()
    local ended = duplex.event()
    local server = assert(duplex.serve({ close_timeout = 0, log = false }, function(ws)
      ws:close(1000)
      ended:set()
    end))
    local raw = peer.connect(server.port):upgrade()
    assert.is_true(ended:wait(2))
    assert.equal(bytes.frame(0x88, bytes.close(1000)), (raw:rest(5)))
  end))
end)

describe("ws:wait_closed", function()
  case("only waits: messages stay", function(a, b)
    a:send("first")
    local code, message, id = b:wait_closed(0.02)
    assert.is_nil(code)
    assert.same({ "TIMEOUT: timed out", "TIMEOUT" }, { message, id })
    assert.equal("first", (b:receive()))
  end)

  case("gives the code and the reason, again and again", function(a, b)
    local closing = both.task(a.close, a, 4000, "bye")
    assert.same({ 4000, "bye" }, { b:wait_closed() })
    assert.same({ 4000, "bye" }, { b:wait_closed(0) })
    closing()
    assert.same({ 4000, "" }, { a:wait_closed(1) })
  end)

  case("sees the end behind messages that nobody took, which stay", function(a, b)
    for i = 1, 5 do a:send("m" .. i) end
    local closing = both.task(a.close, a)
    assert.equal(1000, (b:wait_closed(1)))
    closing()
    for i = 1, 5 do assert.equal("m" .. i, (b:receive())) end
    assert.equal("CLOSED", select(3, b:receive()))
  end)

  case("makes a ticker", function(a, b)
    local ticks = 0
    local ticker = both.task(function()
      while not a:wait_closed(0.005) do
        ticks = ticks + 1
        a:send("tick " .. ticks)
      end
    end)
    for i = 1, 5 do assert.equal("tick " .. i, (b:receive(1))) end
    b:close()
    ticker()
    assert.is_true(ticks >= 5)
  end)

  case("does not keep another task from receiving", function(a, b)
    local waiting = both.task(b.wait_closed, b)
    a:send("x")
    assert.equal("x", (b:receive(1)))
    a:close()
    assert.equal(1000, (waiting()))
  end)

  it("gives 1006 when the peer vanishes, and 1005 for a close without a code", run(function()
    local ends, came = {}, duplex.event()
    local server = assert(duplex.serve({ log = false }, function(ws)
      ends[#ends + 1] = { ws:wait_closed() }
      ends[#ends][3] = ws.close_error
      came:set()
    end))
    peer.connect(server.port):upgrade():close()
    came:wait()
    came:clear()
    local raw = peer.connect(server.port):upgrade()
    raw:send(bytes.frame(0x88, "", "abcd"))
    came:wait()
    assert.same({ { 1006, "", "LOST: the peer hung up without a close frame" },
      { 1005, "" } }, ends)
    assert.equal("\136\0", raw:read(2))
  end))
end)

describe("ws:on_close", function()
  case("is called once, in the order given, however it ended", function(a, b)
    local calls = {}
    for i = 1, 3 do a:on_close(function(ws) calls[#calls + 1] = { i, ws } end) end
    both.task(b.close, b, 4000)
    a:receive()
    both.settle()
    a:close()
    both.settle()
    assert.same({ { 1, a }, { 2, a }, { 3, a } }, calls)
  end)

  case("is called at once when it is over already", function(a, b)
    both.task(a.close, a)
    b:receive()
    both.settle()
    local called = 0
    b:on_close(function() called = called + 1 end)
    both.settle()
    b:on_close(function() called = called + 1 end)
    both.settle()
    assert.equal(2, called)
  end)

  case("may raise: the others are called all the same", function(a, b)
    local called, stderr = false, io.stderr
    a:on_close(function() error("in on_close") end)
    a:on_close(function() called = true end)
    local lines = {}
    io.stderr = { write = function(_, ...) lines[#lines + 1] = table.concat { ... } end }
    b:close(1000, "", 0)
    for _ = 1, 300 do
      if called and lines[1] then break end
      duplex.sleep(0.01)
    end
    io.stderr = stderr
    assert.is_true(called)
    assert.matches("task failed: .*in on_close", table.concat(lines))
    assert.error_matches(function() a:on_close("no function") end, "must be a function")
  end)

  local ways = {
    { "returns", function() end },
    { "raises", function() error("as it happens") end },
    { "closes", function(ws) ws:close(4000) end },
    { "cuts", function(ws) ws:close(1000, "", 0) end },
    { "is left by a peer that vanishes", function(ws) ws:receive() end, "vanish" },
    { "is left by a peer that breaks a rule", function(ws) ws:receive() end, "break" },
  }
  for _, way in ipairs(ways) do
    it("is called when a handler " .. way[1], run(function()
      local called, came = 0, duplex.event()
      local server = assert(duplex.serve({ log = false }, function(ws)
        ws:on_close(function(same)
          called = called + (same == ws and ws.state == "closed" and 1 or 100)
          came:set()
        end)
        way[2](ws)
      end))
      local raw = peer.connect(server.port):upgrade()
      if way[3] == "break" then raw:send("\255\255") end
      if way[3] ~= "vanish" then
        raw:read(2)
        raw:send(bytes.frame(0x88, bytes.close(1000), "abcd"))
      end
      raw:close()
      assert.is_true(came:wait(2))
      both.settle()
      assert.equal(1, called)
    end))
  end
end)
