-- SPDX-License-Identifier: MIT
local duplex = require "duplex"
local both = require "spec.support.both"
local bytes = require "spec.support.bytes"
local peer = require "spec.support.peer"
local run = require "spec.support.run"

local case = both.cases(it)
local MIB = 1024 * 1024

describe("duplex.prepare", function()
  it("keeps the message and its kind", function()
    local message = duplex.prepare("h\195\164")
    assert.same({ "h\195\164", "text", 3 }, { message.data, message.kind, #message })
    assert.equal("message (text, 3 bytes)", tostring(message))
    message = duplex.prepare("\255", "binary")
    assert.same({ "\255", "binary", 1 }, { message.data, message.kind, #message })
    assert.is_nil(message.other)
    assert.equal(0, #duplex.prepare(""))
  end)

  it("raises for what could not be sent", function()
    local function prepare(...)
      local arguments = { ... }
      return function() duplex.prepare((table.unpack or unpack)(arguments)) end
    end
    assert.error_matches(prepare("\255"), "text is not valid UTF%-8")
    assert.error_matches(prepare("x", "txt"), "kind must be")
    assert.error_matches(prepare(1), "must be a string, got number")
    assert.error_matches(prepare(duplex.prepare "x"), "must be a string, got userdata")
    assert.error_matches(function() duplex.prepare("x").data = "y" end, "attempt to index")
  end)

  case("makes what send, try_send and broadcast take, in both directions", function(a, b)
    local text, binary = duplex.prepare "hi", duplex.prepare("\0\255", "binary")
    for _, ends in ipairs { { a, b }, { b, a } } do
      local from, to = ends[1], ends[2]
      assert.is_true(from:send(text))
      assert.same({ "hi", "text" }, { to:receive() })
      assert.is_true(from:try_send(binary))
      assert.same({ "\0\255", "binary" }, { to:receive() })
      assert.equal(1, duplex.broadcast({ [from] = true }, text))
      assert.same({ "hi", "text" }, { to:receive() })
    end
  end)

  case("serves for messages of any size", function(a, b)
    for _, size in ipairs { 0, 125, 126, 65535, 65536, MIB } do
      local message = duplex.prepare(("x"):rep(size), "binary")
      local received = both.task(function() return (b:receive()), (b:receive()), (b:receive()) end)
      a:send(message)
      while a.outbox > 0 do duplex.sleep(0) end
      assert.is_true(a:try_send(message))
      while a.outbox > 0 do duplex.sleep(0) end
      assert.equal(1, duplex.broadcast({ [a] = 1 }, message))
      local one, two, three = received()
      assert.same({ size, size, size }, { #one, #two, #three })
      assert.is_true(one == message.data and two == one and three == one)
    end
  end)

  case("outlives neither its use nor its string", function(a, b)
    local message = duplex.prepare(("x"):rep(50000))
    for _ = 1, 10 do a:try_send(message) end
    message = nil
    collectgarbage()
    collectgarbage()
    for _ = 1, 10 do assert.equal(("x"):rep(50000), (b:receive())) end
    assert.is_nil(message)
  end)

  case("keeps its place among others", function(a, b)
    local large, small = duplex.prepare(("l"):rep(300000)), duplex.prepare "s"
    a:try_send(large)
    a:try_send("a string")
    a:try_send(small)
    duplex.spawn(a.ping, a)
    a:try_send(large)
    for _, expected in ipairs { large.data, "a string", "s", large.data } do
      assert.is_true((b:receive(2)) == expected)
    end
    assert.equal("TIMEOUT", select(3, b:receive(0)))
  end)

  case("has the kind: giving another raises", function(a)
    local message = duplex.prepare "x"
    both.raises("kind was given to duplex.prepare", a.send, a, message, "text")
    both.raises("kind was given to duplex.prepare", a.try_send, a, message, "binary")
    both.raises("kind was given to duplex.prepare", duplex.broadcast, { [a] = 1 }, message, "text")
    both.raises("the message must be a string or prepared, got table", a.send, a, {})
    both.raises("the message must be a string or prepared, got nil", a.try_send, a)
  end)

  case("does not break into a message that is being sent in fragments", function(a, b)
    local pieces, message = 0, duplex.prepare "between"
    a:send(function()
      pieces = pieces + 1
      if pieces == 2 then a:try_send(message) end
      return pieces < 4 and "piece" or nil
    end)
    assert.equal("piecepiecepiece", (b:receive()))
    assert.equal("between", (b:receive()))
  end)

  it("is counted as other messages are, however it is sent", run(function()
    for _, compression in ipairs { true, false } do
      both.socket(function(_, ws, server)
        local large, small = duplex.prepare(("l"):rep(300000)), duplex.prepare(("s"):rep(1000), "binary")
        for _ = 1, 2 do
          ws:send(large)
          duplex.broadcast(server.connections, large)
          ws:try_send(small)
          duplex.broadcast(server.connections, small.data, "binary")
        end
        assert.equal(8, ws:stats().messages_out)
        local metrics = server:metrics()
        assert.same({ text = 4, binary = 4 }, metrics.messages.sent)
        assert.same({ text = 4 * 300000, binary = 4 * 1000 }, metrics.bytes.sent)
      end, { compression = compression }, { compression = compression, max_outbox = 1e7 })
    end
  end))

  it("is masked by each client with a key of its own", run(function()
    local message, seen = duplex.prepare "same", {}
    local port, listener = peer.listen(function(raw)
      raw:accept()
      table.insert(seen, { bytes.read_frame(function(n) return raw:read(n) end) })
      raw:close()
    end)
    for _ = 1, 2 do
      local client = assert(duplex.connect("ws://127.0.0.1:" .. port))
      client:send(message)
      client:wait_closed(5)
    end
    listener:close()
    for i = 1, 2 do
      local first, masked, key = (table.unpack or unpack)(seen[i])
      assert.same({ 0x81, "same" }, { first, bytes.mask(masked, key) })
    end
    assert.are_not.equal(seen[1][3], seen[2][3])
  end))
end)
