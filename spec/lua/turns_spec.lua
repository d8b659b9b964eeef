-- SPDX-License-Identifier: MIT
-- While one connection's messages inflate to many bytes, or are compressed, others
-- have their turn. What counts turns here is a task that always sleeps for nothing.

local both = require "spec.support.both"
local duplex = require "duplex"
local pki = require "spec.support.pki"
local run = require "spec.support.run"

local on_both = both.bound(it)

local MIB = 1048576
local BOMB = ("\0"):rep(8 * MIB)
local OPTIONS = { compression = true, max_message = #BOMB, log = false }
local BOMB_FOR_ALL = duplex.prepare(BOMB, "binary")

local digits = {}
for i = 1, 50000 do digits[i] = ("%d "):format(i * 7919 % 1000003) end
local DIGITS = table.concat(digits) -- some milliseconds for any compressor

-- Whoever is done before others wait for long has no turn to give.
local SOON = 0.01 -- seconds

-- Calls body(client, turns) with a server whose handler is 'handler(ws, turns)';
-- turns() is how many there were so far. Waits for the handler.
local function play(bound, handler, body)
  local count, over = 0, false
  local function turns() return count, duplex.now() end
  duplex.spawn(function()
    while not over do
      duplex.sleep(0)
      count = count + 1
    end
  end)
  local done = duplex.event()
  local server = assert(bound.serve(OPTIONS, function(ws)
    handler(ws, turns)
    done:set()
  end))
  local client = assert(bound.connect(server.url, OPTIONS))
  body(client, server)
  assert(done:wait(10))
  over = true
  server:stop(0)
end

describe("others have their turn", function()
  on_both("between messages that inflate far", function(bound)
    local had
    play(bound, function(ws, turns)
      assert(ws:receive())
      local before, began = turns()
      for _ = 1, 2 do assert.equal(#BOMB, #assert(ws:receive())) end
      had = turns() > before or duplex.now() - began < SOON
    end, function(client)
      client:send("go")
      for _ = 1, 2 do client:send(BOMB_FOR_ALL) end
    end)
    assert.is_true(had)
  end)

  it("while one does", run(function()
    local had
    play(duplex, function(ws, turns)
      assert(ws:receive())
      local before, began = turns()
      assert.equal(BOMB, (ws:receive()))
      had = turns() > before or duplex.now() - began < SOON
    end, function(client)
      client:send("go")
      client:send(BOMB_FOR_ALL)
    end)
    assert.is_true(had)
  end))

  it("while one does that nobody receives, of which there is one at a time", run(function()
    local seen, leave = 0, duplex.event()
    play(duplex, function(ws)
      leave:wait()
      assert.equal("go", (ws:receive()))
      assert.equal(BOMB, (ws:receive()))
    end, function(client, server)
      client:send("go")
      client:send(BOMB, "binary")
      local messages
      repeat
        duplex.sleep(0)
        messages = server:metrics().queue.messages
        if messages == 1 then seen = seen + 1 end
      until messages == 2
      leave:set()
    end)
    assert.is_true(seen > 3, seen)
  end))

  -- TLS tells of the end together with what came before it.
  it("while one does whose sender hangs up at once, and its close frame is seen", run(function()
    local pair, gone, done, why = pki.certificate(), duplex.event(), duplex.event(), nil
    local server = assert(duplex.serve({
      compression = true, close_timeout = 1, log = false,
      tls = { certificate = pair.certificate, key = pair.key },
    }, function(ws)
      gone:wait()
      ws:close()
      why = ws.close_error or ws.close_code
      done:set()
    end))
    local client = assert(duplex.connect(server.url, { compression = true, tls = { ca = pki.ca } }))
    client:send(("\0"):rep(1000000), "binary")
    client:close(1000, "", 0)
    both.settle()
    gone:set()
    assert.is_true(done:wait(5))
    assert.equal(1000, why)
    server:stop(0)
  end))

  -- They shared an inflater, which began anew with each of them.
  it("and messages that inflate at one time keep apart, without context takeover", run(function()
    local options = { compression = { compressor = "shared" }, max_message = #BOMB, log = false }
    local queued, received = duplex.event(), {}
    local server = assert(duplex.serve(options, function(ws)
      queued:wait()
      received[#received + 1] = assert(ws:receive())
    end))
    for _, letter in ipairs { "a", "b" } do
      assert(assert(duplex.connect(server.url, options)):send(letter:rep(#BOMB)))
    end
    while server:metrics().queue.messages < 2 do duplex.sleep(0) end
    queued:set()
    while #received < 2 do duplex.sleep(0) end
    table.sort(received)
    assert.is_true(received[1] == ("a"):rep(#BOMB) and received[2] == ("b"):rep(#BOMB))
    server:stop(0)
  end))

  on_both("while one is received in pieces", function(bound)
    local had, size = nil, 0
    play(bound, function(ws, turns)
      assert(ws:receive())
      local before = turns()
      assert.equal(#BOMB, (ws:receive_to(function(piece) size = size + #piece end)))
      had = turns() - before
    end, function(client)
      client:send("go")
      client:send(BOMB, "binary")
    end)
    assert.equal(#BOMB, size)
    assert.is_true(had >= 4, had)
  end)

  on_both("while a message is compressed whose source gives pieces", function(bound)
    local had
    play(bound, function(ws, turns)
      assert(ws:receive())
      local before, left, piece = turns(), 128, ("\0"):rep(16384)
      assert(ws:send(function()
        left = left - 1
        return left >= 0 and piece or nil
      end, "binary"))
      had = turns() - before
      assert(ws:receive())
    end, function(client)
      client:send("go")
      assert.equal(2 * MIB, #assert(client:receive(5)))
      client:send("done")
    end)
    assert.is_true(had >= 4, had)
  end)

  it("between large messages that are compressed", run(function()
    local had
    play(duplex, function(ws, turns)
      assert(ws:receive())
      local before, began = turns()
      for _ = 1, 6 do
        assert(ws:receive())
        assert(ws:send(DIGITS))
      end
      had = turns() > before or duplex.now() - began < SOON
    end, function(client)
      for _ = 1, 7 do client:send("more") end
      for _ = 1, 6 do assert(client:receive(5)) end
    end)
    assert.is_true(had)
  end))
end)
