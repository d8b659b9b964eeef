-- SPDX-License-Identifier: MIT
local duplex = require "duplex"
local both = require "spec.support.both"
local bytes = require "spec.support.bytes"
local child = require "spec.support.child"
local peer = require "spec.support.peer"
local run = require "spec.support.run"

local case = both.cases(it)
local KIB64, MIB = ("x"):rep(65536), 1024 * 1024

-- Bytes of memory that this process holds.
local function resident()
  local file = assert(io.open("/proc/self/statm"))
  local pages = file:read("*a"):match("^%d+ (%d+)")
  file:close()
  return pages * 4096
end

describe("duplex.broadcast", function()
  it("sends to all that are keys of a set, and counts them", run(function()
    local set, others = {}, {}
    for i = 1, 5 do
      local client, server = duplex.pair()
      others[i] = client
      set[server] = i
    end
    both.socket(function(client, server)
      set[server] = true
      assert.equal(6, duplex.broadcast(set, "to all"))
      assert.equal("to all", (client:receive()))
    end)
    for i = 1, 5 do assert.same({ "to all", "text" }, { others[i]:receive() }) end
    set = { [others[1]] = true }
    assert.equal(1, duplex.broadcast(set, "\0", "binary"))
    assert.equal(0, duplex.broadcast({}, "nobody"))
  end))

  it("skips those that are over", run(function()
    local a, b = duplex.pair()
    local c, d = duplex.pair()
    both.task(a.close, a)
    b:receive()
    assert.equal(1, duplex.broadcast({ [a] = 1, [b] = 1, [c] = 1 }, "x"))
    assert.equal("x", (d:receive()))
  end))

  case("closes those that are full with 1013, and serves the others", function(a, b)
    local c, d = duplex.pair()
    local set, rounds = { [a] = true, [c] = true }, 0
    while a.state == "open" and rounds < 1000 do
      rounds = rounds + 1
      duplex.broadcast(set, KIB64, "binary")
      assert.equal(65536, #d:receive())
      duplex.sleep(0)
    end
    assert.equal("closed", a.state)
    assert.equal("CLOSED: the peer reads too slowly for what is broadcast", a.close_error)
    assert.equal("CLOSED", select(3, a:send("x")))
    assert.is_nil(d.close_code)
    while b:receive(2) do end
    assert.equal(1013, b.close_code)
  end)

  case("hands over those that are full, and closes none of them", function(a, b)
    local c, d = duplex.pair()
    local set, seen, rounds = { [a] = true, [c] = true }, {}, 0
    local options = { full = function(ws) table.insert(seen, ws) end }
    repeat
      rounds = rounds + 1
      local count = duplex.broadcast(set, KIB64, "binary", options)
      assert.equal(2 - #seen, count)
      assert.equal(65536, #d:receive())
      duplex.sleep(0)
    until seen[1] or rounds == 1000
    assert.is_true(seen[1] == a and seen[2] == nil)
    assert.equal("open", a.state)
    for _ = 1, rounds - 1 do assert.equal(65536, #b:receive(2)) end
    assert.equal("TIMEOUT", select(3, b:receive(0)))
    assert.equal(2, duplex.broadcast(set, "on", nil, options))
    assert.equal("on", (b:receive(2)))
  end)

  case("takes an outbox for full above what it is told, never above max_outbox", function(a, b)
    local set, spared = { [a] = true }, 0
    local options = { above = 100000, full = function() spared = spared + 1 end }
    repeat duplex.broadcast(set, KIB64, "binary", options) until spared > 0
    assert.is_true(a.outbox > 100000 - 65536 and a.outbox <= 100000)
    options.above = math.huge
    while spared < 2 do duplex.broadcast(set, KIB64, "binary", options) end
    assert.is_true(a.outbox > 1048576 - 65546 and a.outbox <= 1048576)
    duplex.broadcast(set, KIB64, "binary", { above = 1e5 })
    assert.equal("closed", a.state)
    while b:receive(2) do end
    assert.equal(1013, b.close_code)
  end)

  it("calls 'full' after the others have the message, in which anything may be done", run(function()
    local set, slow, heard = {}, {}, 0
    local options = { full = function(ws)
      heard = heard + 1
      set[ws], set[duplex.pair()] = nil, true
      ws:close(4000, "too slow", 0)
    end, above = 0 }
    both.socket(function(_, one)
      both.socket(function(_, two)
        set[one], set[two] = true, true
        slow[1], slow[2] = one, two
        assert.equal(2, duplex.broadcast(set, "x", nil, options))
        assert.equal(0, heard)
        for _ = 1, 1000 do one:try_send(KIB64); two:try_send(KIB64) end
        assert.equal(0, duplex.broadcast(set, "x", nil, options))
        assert.equal(2, heard)
        assert.same({ "closed", "closed" }, { slow[1].state, slow[2].state })
        assert.equal(2, duplex.broadcast(set, "x", nil, options))
      end)
    end)
  end))

  it("tells of all that are full, whatever 'full' raises, and raises that", run(function()
    local set, told = {}, {}
    local options = { above = 0, full = function(ws)
      told[ws] = true
      error { "a defect of the program" }
    end }
    both.socket(function(_, one)
      both.socket(function(_, two)
        set[one], set[two] = true, true
        for _ = 1, 1000 do one:try_send(KIB64); two:try_send(KIB64) end
        local fine, problem = pcall(duplex.broadcast, set, "x", nil, options)
        assert.same({ false, { "a defect of the program" } }, { fine, problem })
        assert.same({ true, true }, { told[one], told[two] })
        assert.same({ "open", "open" }, { one.state, two.state })
      end)
    end)
  end))

  it("does not make the answer to somebody else wait until all have got it", run(function()
    local server = assert(duplex.serve({ log = false }, function(ws)
      local text = ws:receive()
      while text do
        ws:send(text)
        text = ws:receive()
      end
    end))
    local deaf = {} -- with a full queue they do not even read
    for i = 1, 400 do deaf[i] = assert(duplex.connect(server.url, { max_queue = 1 })) end
    both.settle()
    local set = {}
    for ws in pairs(server.connections) do set[ws] = true end
    for _ = 1, 2 do
      assert.equal(400, duplex.broadcast(set, "x"))
      both.settle()
    end
    local talker = assert(duplex.connect(server.url))
    both.settle()
    for _, first in ipairs { true, false } do
      if first then talker:send("hello") end
      duplex.broadcast(set, "y")
      if not first then talker:send("hello") end
      assert.equal("hello", (talker:receive()))
      local waiting = 0
      for ws in pairs(set) do waiting = waiting + (ws.outbox > 0 and 1 or 0) end
      assert.is_true(waiting > 0)
      both.settle()
    end
    for i = 1, 400 do deaf[i]:close(1000, "", 0) end
  end))

  it("keeps a large message once for all who have not read it yet", run(function()
    local noise = {} -- for those who compress: it does not get smaller
    for i = 1, 65536 do noise[i] = string.char(math.random(0, 255)) end
    noise = table.concat(noise):rep(128)
    for i, prepare in ipairs { function(...) return ... end, duplex.prepare, duplex.prepare } do
      local compression, text = i == 3 and { level = 1 }, i == 3 and noise or ("x"):rep(8 * MIB)
      local server = assert(duplex.serve({ log = false, compression = compression }, function(ws) ws:wait_closed() end))
      local deaf, waiting = {}, 0
      for k = 1, 12 do deaf[k] = assert(duplex.connect(server.url, { max_queue = 1, compression = compression })) end
      both.settle()
      for _ = 1, 2 do
        duplex.broadcast(server.connections, "x")
        both.settle()
      end
      local before = resident()
      assert.equal(12, duplex.broadcast(server.connections, prepare(text, "binary")))
      both.settle()
      for ws in pairs(server.connections) do waiting = waiting + ws.outbox end
      assert.is_true(waiting > 24 * MIB)
      assert.is_true(resident() - before < 40 * MIB)
      for k = 1, 12 do deaf[k]:close(1000, "", 0) end
    end
  end))

  -- In a program of its own, as memory that is free again counts as well.
  it("leaves nothing large for the collector, which would not know of it", function()
    local program = child.start(child.lua, "-e", [[
      local duplex = require "duplex"
      local function resident() return tonumber(io.open("/proc/self/statm"):read("*a"):match("^%d+ (%d+)")) end
      duplex.run(function()
        local server = assert(duplex.serve({ log = false }, function(ws) ws:wait_closed() end))
        local client, large = assert(duplex.connect(server.url, { max_message = 2 ^ 22 })), ("x"):rep(2 ^ 22)
        while not next(server.connections) do duplex.sleep(0.001) end
        collectgarbage("stop")
        local before = resident()
        for i = 1, 10 do
          duplex.broadcast(server.connections, i % 2 == 1 and large or duplex.prepare(large))
          assert(client:receive())
        end
        print(("grown by %d KB"):format((resident() - before) * 4))
        duplex.stop()
      end)]])
    local grown = tonumber(program:expect("grown by (%d+)"))
    local keeps = (os.getenv("LD_PRELOAD") or ""):find("asan") -- what was freed
    assert.is_true(grown < 60 * 1024 or keeps ~= nil, grown) -- 40 MiB were received
    program:finish()
  end)

  it("tells the collector what a prepared message became", function()
    local program = child.start(child.lua, "-e", [[
      local core, wire = require "duplex.core", require "spec.support.wire"
      local ws = wire.open("server", { compression = true, max_outbox = 2 ^ 30 }, 0, "permessage-deflate")
      local words, alive, left = {}, setmetatable({}, { __mode = "k" }), 0
      for i = 1, 12000 do words[i] = ("word %d "):format(i * i % 9973) end
      local text = table.concat(words)
      words = nil
      collectgarbage()
      for _ = 1, 300 do -- 30 KB each, with next to no garbage of Lua's
        local message = core.prepare(text)
        alive[message] = true
        assert(core.broadcast({ [ws] = true }, message) == 1)
      end
      for _ in pairs(alive) do left = left + 1 end
      print("left", left)]])
    local left = tonumber(program:expect("left\t(%d+)"))
    program:finish()
    assert.is_true(left < 200, left)
  end)

  it("raises for options that there are not", run(function()
    local function with(options)
      return function() duplex.broadcast({}, "x", nil, options) end
    end
    assert.error_matches(with { ful = print }, "unknown option 'ful' of broadcast %(did you mean 'full'%?%)")
    assert.error_matches(with { full = true }, "option 'full' must be a function, got boolean")
    assert.error_matches(with { above = -1 }, "option 'above' must be a number of bytes, got %-1")
    assert.error_matches(with { above = "1" }, "option 'above' must be a number of bytes, got 1")
    assert.error_matches(with "full", "options must be a table, got string")
  end))

  it("raises for what is no set, no connection, no text", run(function()
    local a = duplex.pair()
    for _, row in ipairs {
      { nil, "x", nil, "the set must be a table, got nil" },
      { { a }, "x", nil, "the keys of the set must be connections, got number" },
      { { [a] = 1 }, 5, nil, "the message must be a string or prepared, got number" },
      { { [a] = 1 }, "\255", nil, "text is not valid UTF%-8; send bytes with kind \"binary\"" },
      { { [a] = 1 }, "x", "txt", "kind must be \"text\" or \"binary\"" },
    } do
      both.raises("broadcast_spec%.lua:%d+: " .. row[4] .. "$",
        function() duplex.broadcast(row[1], row[2], row[3]) end)
    end
    assert.equal("open", a.state)
  end))

  it("encodes once: all get the same frame", run(function()
    local server = assert(duplex.serve({ log = false }, function(ws) ws:wait_closed() end))
    local raws = {}
    for i = 1, 3 do raws[i] = peer.connect(server.port):upgrade() end
    both.settle()
    assert.equal(3, duplex.broadcast(server.connections, "same"))
    for i = 1, 3 do assert.equal(bytes.frame(0x81, "same"), raws[i]:read(6)) end
    for i = 1, 3 do raws[i]:close() end
  end))
end)
