-- SPDX-License-Identifier: MIT
-- Much to carry, and peers that take nothing.

local duplex = require "duplex"
local both = require "spec.support.both"
local bytes = require "spec.support.bytes"
local pki = require "spec.support.pki"
local process = require "spec.support.process"
local raw = require "spec.support.raw"
local run = require "spec.support.run"
local secure = require "spec.support.secure_serve"
local secure_peer = require "spec.support.secure_peer"
local secure_raw = require "spec.support.secure_raw"

local MIB = 1048576
-- KB for a peer. AddressSanitizer keeps what was freed.
local ROOM = (os.getenv("LD_PRELOAD") or ""):find("asan") and 600000 or 2500

describe("TLS under load", function()
  for _, version in ipairs { "1.2", "1.3" } do
    it("carries 16 MiB both ways at once (TLS " .. version .. ")", run(function()
      local up, down = ("up, up: "):rep(2 * MIB), ("down... "):rep(2 * MIB)
      local done, server_got = duplex.event(), nil
      local server = secure.serve(secure.tls { maximum_version = version }, function(ws)
        local sent = both.task(function() return ws:send(down, "binary") end)
        server_got = ws:receive(15)
        assert(sent())
        done:set()
        ws:wait_closed()
      end, { max_message = 32 * MIB })
      local ws = assert(duplex.connect(server.url, { tls = { ca = pki.ca }, max_message = 32 * MIB }))
      local sent = both.task(function() return ws:send(up, "binary") end)
      assert.is_true(ws:receive(15) == down, "other bytes came down")
      assert.is_true(sent())
      assert.is_true(done:wait(15))
      assert.is_true(server_got == up, "other bytes came up")
      ws:close()
    end))
  end

  it("carries messages of every size around a record's", run(function()
    local server = secure.serve()
    local ws = secure.connect(server)
    for _, middle in ipairs { 125, 16384, 32768, 65536 } do
      for size = middle - 20, middle + 4 do
        local message = ("abcdefg"):rep(size):sub(1, size)
        assert.is_true(ws:send(message))
        assert.is_true(ws:receive(5) == message, "a message of " .. size)
      end
    end
  end))

  it("packs a burst of small messages into few records", run(function()
    local p, came = nil, duplex.event()
    local port = secure_peer.listen(function(one)
      p = assert(one:handshake()):upgrade()
      came:set()
    end)
    local ws = secure.connect({ port = port })
    came:wait(5)
    for i = 1, 100 do ws:send(("message %03d"):format(i)) end
    p.received = 0
    for i = 1, 100 do assert.same({ 0x81, ("message %03d"):format(i) }, { p:frame() }) end
    -- 100 frames of 17 bytes; a record costs 22 bytes more.
    assert.is_true(p.received < 1700 + 10 * 22, p.received)
    p:close()
  end))

  it("waits for a peer that does not read, holds little, and cuts it", run(function()
    local result, waited, held, done = nil, nil, 0, duplex.event()
    local server = secure.serve(nil, function(ws)
      local piece = ("x"):rep(65536)
      local began = duplex.now()
      repeat
        result = { ws:send(piece, "binary") }
        held = math.max(held, ws.outbox)
      until not result[1]
      waited = duplex.now() - began
      result[4] = { ws:receive(1) }
      done:set()
    end, { send_timeout = 0.3 })
    local p = assert(secure_peer.connect(server.port):handshake())
    p:upgrade()
    local reader = p.raw
    p.raw = nil -- nobody takes anything from here on
    local before = collectgarbage("count")
    assert.is_true(done:wait(10))
    assert.equal("LOST", result[3])
    assert.is_true(waited > 0.25, waited)
    assert.is_true(held < 300000, held .. " bytes in the outbox")
    assert.is_true(collectgarbage("count") - before < 4096)
    reader:close()
  end))

  it("lets try_send say FULL", run(function()
    local full, done = nil, duplex.event()
    local server = secure.serve(nil, function(ws)
      local piece = ("x"):rep(30000)
      for _ = 1, 2000 do
        local ok, _, id = ws:try_send(piece)
        full = not ok and id
        if full then break end
      end
      done:set()
      ws:wait_closed()
    end, { max_outbox = 100000 })
    local ws = secure.connect(server)
    assert.is_true(done:wait(5))
    assert.equal("FULL", full)
    assert.equal(30000, #ws:receive(5))
    assert.is_true(server ~= nil)
  end))

  it("sends the same to many", run(function()
    local set, count = {}, 0
    local server = secure.serve(nil, function(ws)
      set[ws], count = true, count + 1
      ws:wait_closed()
    end)
    local clients = {}
    for i = 1, 20 do clients[i] = secure.connect(server) end
    while count < 20 do duplex.sleep(0.002) end
    assert.equal(20, duplex.broadcast(set, ("to all "):rep(5000)))
    for i = 1, 20 do assert.equal(35000, #clients[i]:receive(5)) end
  end))
end)

describe("a process with peers over TLS that take nothing", function()
  local server
  setup(function()
    local pair = pki.certificate()
    server = process.server { "spec/support/secure_server.lua",
      ("{ tls = { certificate = %q, key = %q }, send_timeout = 2, log = false }"):format(pair.certificate, pair.key) }
  end)
  teardown(function() server:stop() end)

  it("holds no more for them than its limits, and serves others", function()
    local before = server:resident()
    local message = bytes.frame(0x82, ("x"):rep(100000), "\0\0\0\0")
    local peers = {}
    for i = 1, 5 do
      local peer = secure_raw.connect(server.port, 16384)
      peer.sock:settimeout(0)
      peers[i] = peer
      local at, last, quiet = 1, 0, 0
      local wire = message:rep(300) -- echoed, until nothing goes any more
      while quiet < 20 and at <= #wire do
        local n, _, part = peer.sock:send(wire, at, math.min(#wire, at + 65535))
        at = (n or part or at - 1) + 1
        if at > last then last, quiet = at, 0 else quiet = quiet + 1 end
        if quiet > 0 then require("socket").sleep(0.002) end
      end
      assert.is_true(at < #wire, "it took everything")
    end
    local grown = server:resident() - before
    assert.is_true(grown < 5 * ROOM, grown .. " KiB for five peers")
    local good = secure_raw.connect(server.port)
    assert.is_true(good:alive())
    good:close()
    for _, peer in ipairs(peers) do peer:close() end
  end)

  it("holds no answers to requests for new keys that nobody reads", function()
    local path, program = pki.folder .. "/keys.sock", pki.folder .. "/key_updates"
    local pair = pki.certificate()
    assert(os.execute(("cc=$(command -v cc || command -v gcc); $cc -o %s spec/support/key_updates.c -lssl -lcrypto")
      :format(program)))
    local victim = process.lua { "spec/support/secure_server.lua",
      ("{ unix = %q, tls = { certificate = %q, key = %q }, log = false }")
      :format(path, pair.certificate, pair.key) }
    assert.truthy(victim:line())
    local before = victim:resident()
    local flood = process.start { program, path }
    finally(function()
      flood:kill()
      victim:stop()
    end)
    assert.matches("^stuck ", flood:line())
    local grown = victim:resident() - before
    assert.is_true(grown < ROOM, grown .. " KiB")
    flood:kill()
    assert.same({ "exit", 0 }, { victim:stop() })
  end)

  it("goes on when peers hang up without a look at their echo", function()
    for _ = 1, 20 do
      local peer = secure_raw.connect(server.port)
      peer:send(0x82, ("x"):rep(50000))
      assert.is_true(peer:readable(5))
      peer:close()
    end
    local plain = raw.tcp(server.port)
    plain:write("\22\3\1\2\0")
    plain:reset()
    local good = secure_raw.connect(server.port)
    assert.is_true(good:alive())
    good:close()
  end)
end)
