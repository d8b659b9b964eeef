-- SPDX-License-Identifier: MIT
-- Peers that are gone without a word, and more peers than a server takes.

local process = require "spec.support.process"
local raw = require "spec.support.raw"
local socket = require "socket"

describe("a silent peer", function()
  local server

  setup(function()
    server = process.server { "spec/support/attacked.lua", "ping_interval=0.2", "ping_timeout=0.3",
      "close_timeout=0.2", "max_connections=3" }
  end)

  teardown(function() server:stop() end)

  it("is pinged, and closed with 1011 when it does not answer", function()
    local began = socket.gettime()
    local peer = raw.connect(server.port)
    assert.same({ 0x89, "\0\0\0\1" }, { peer:frame() })
    local code, reason, before = peer:until_close()
    assert.same({ 1011, "no pong within ping_timeout" }, { code, reason })
    assert.same({}, before)
    assert.equal("closed", peer:eof())
    local took = socket.gettime() - began
    assert.is_true(took > 0.45 and took < 2, took)
    peer:close()
  end)

  it("stays while it answers pings, or says anything at all", function()
    local pongs, text = raw.connect(server.port), raw.connect(server.port)
    for i = 1, 3 do
      assert.same({ 0x89, "\0\0\0" .. string.char(i) }, { pongs:frame() })
      pongs:send(0x8a, "\0\0\0" .. string.char(i))
      text:send(0x8a, "not yours")
    end
    assert.is_true(pongs:alive())
    -- A peer that only sends bytes of a frame lives too.
    local wire = "\130\254\0\200" .. raw.MASK
    text:write(wire)
    for _ = 1, 8 do
      socket.sleep(0.1)
      text:write("x")
    end
    pongs:close()
    text:send(0x8a, "") -- now in the middle of a payload: just more bytes
    text.sock:settimeout(0)
    local data, _, part = text.sock:receive(1000)
    data = data or part
    assert.is_nil(data:find("\136", 1, true), "it was closed")
    text:close()
  end)

  it("over max_connections gets 503, and others nothing of it", function()
    local peers = {}
    local deadline = socket.gettime() + 2
    repeat -- those of the specs before have to be gone first
      for i = 1, 3 do
        peers[i] = raw.tcp(server.port)
        peers[i]:write(raw.request())
      end
      local fine = true
      for i = 1, 3 do
        local head = peers[i]:head()
        fine = head and head:find("^HTTP/1.1 101 ") and fine
      end
      if not fine then
        for i = 1, 3 do peers[i]:close() end
        socket.sleep(0.05)
      end
    until fine or socket.gettime() > deadline
    local extra = raw.tcp(server.port)
    extra:write(raw.request())
    local status, text = extra:answer()
    assert.equal(503, status, text)
    extra:close()
    for i = 1, 3 do assert.is_true(peers[i]:alive()) end
    for i = 1, 3 do peers[i]:close() end
  end)
end)
