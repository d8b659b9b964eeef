-- SPDX-License-Identifier: MIT
-- Handlers that take no messages, and peers that send them all the same.

local bytes = require "spec.support.bytes"
local process = require "spec.support.process"
local raw = require "spec.support.raw"
local socket = require "socket"

local KEY = "\0\0\0\0"
local ROOM = (os.getenv("LD_PRELOAD") or ""):find("asan") and 100000 or 8000 -- KB

describe("a handler that takes no messages", function()
  local server, witness

  before_each(function()
    server = process.server { "spec/support/attacked.lua" }
    witness = raw.connect(server.port)
  end)

  after_each(function()
    witness:close()
    server:kill()
  end)

  local function connect(path)
    local peer = raw.tcp(server.port)
    peer:write((raw.request():gsub("GET /", "GET " .. path)))
    assert.truthy(peer:head():find("^HTTP/1.1 101 "))
    return peer
  end

  for _, path in ipairs { "/deaf", "/wait" } do
    it("stops its peer, and keeps max_queue of what came: " .. path, function()
      local before = server:resident()
      local peer = connect(path)
      local message, sent, at = bytes.frame(0x82, ("x"):rep(16384), KEY), 0, 0
      peer.sock:settimeout(0)
      while sent < 30000000 do
        local n, _, part = peer.sock:send(message, at + 1)
        at = n and 0 or part
        sent = sent + (n and #message or 0)
        if not n and not select(2, socket.select(nil, { peer.sock }, 0.2))[1] then break end
      end
      assert.is_true(sent < 30000000, sent .. " bytes were taken")
      assert.is_true(witness:alive())
      assert.is_true(server:resident() - before < ROOM)
      peer:close()
    end)

    it("answers pings while there is room: " .. path, function()
      local peer = connect(path)
      peer:send(0x81, "nobody takes this")
      peer:send(0x89, "ping")
      assert.same({ 0x8a, "ping" }, { peer:frame() })
      peer:close()
    end)
  end

  it("that waits for the end gets it, whatever came before", function()
    local peer = connect("/wait")
    for _ = 1, 10 do peer:send(0x81, "x") end
    peer:send(0x88, "\3\233")
    assert.equal(1001, (peer:until_close()))
    assert.equal("closed", peer:eof())
    peer:close()
  end)

  for _, ending in ipairs { "close", "reset", "finish_writing" } do
    it("that waits for the end gets it although more came than it may keep: " .. ending, function()
      local pipe = "ls /proc/" .. server.pid .. "/fd | wc -l"
      local function descriptors()
        local out = io.popen(pipe)
        local count = out:read("*n")
        out:close()
        return count
      end
      local before, peers = descriptors(), {}
      for i = 1, 3 do
        peers[i] = connect("/wait")
        peers[i]:write(bytes.frame(0x81, "x", KEY):rep(3000))
        peers[i][ending](peers[i])
      end
      local deadline = socket.gettime() + 2
      while descriptors() > before and socket.gettime() < deadline do
        for _, peer in ipairs(peers) do
          if ending == "finish_writing" and peer:readable(0) then peer:close() end
        end
        socket.sleep(0.02)
      end
      assert.equal(before, descriptors())
      local cpu = server:cpu()
      assert.is_true(witness:alive())
      assert.is_true(server:cpu() - cpu < 0.1)
    end)
  end
end)
