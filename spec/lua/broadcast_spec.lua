-- SPDX-License-Identifier: MIT
local duplex = require "duplex"
local both = require "spec.support.both"
local bytes = require "spec.support.bytes"
local peer = require "spec.support.peer"
local run = require "spec.support.run"

local case = both.cases(it)
local KIB64 = ("x"):rep(65536)

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

  it("raises for what is no set, no connection, no text", run(function()
    local a = duplex.pair()
    assert.error_matches(function() duplex.broadcast(nil, "x") end, "must be a table, got nil")
    assert.error_matches(function() duplex.broadcast({ a }, "x") end,
      "keys of the set must be connections, got number")
    assert.error_matches(function() duplex.broadcast({ [a] = 1 }, "\255") end, "UTF%-8")
    assert.error_matches(function() duplex.broadcast({ [a] = 1 }, "x", "txt") end, "kind must be")
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
