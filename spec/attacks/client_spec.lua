-- SPDX-License-Identifier: MIT
-- What a hostile server can do to a client: nothing but be given up.

local bytes = require "spec.support.bytes"
local process = require "spec.support.process"
local raw = require "spec.support.raw"
local socket = require "socket"

describe("a client with a hostile server", function()
  local listener, client, before

  setup(function()
    listener = raw.listen()
    client = process.lua { "spec/support/echo_client.lua", listener.url, "65536", "0.4" }
  end)

  teardown(function()
    listener:close()
    client:stop()
  end)

  local function answer(head)
    local peer = listener:tcp()
    assert(peer:head())
    peer:write(head)
    return peer
  end

  local rows = {
    -- what it prints, title, what it is answered
    { "^TIMEOUT: ", "gives up when it is not answered", "" },
    { "^TIMEOUT: ", "gives up on half an answer", "HTTP/1.1 101 Switching Protocols\r\nUpgrade:" },
    { "^TIMEOUT: ", "gives up on an announcement without an answer", ("HTTP/1.1 100 Continue\r\n\r\n"):rep(5000) },
    { "^HANDSHAKE: .*max_header_bytes", "refuses an endless head", "HTTP/1.1 101 X\r\nA: " .. ("a"):rep(1000000) },
    { "^HANDSHAKE: ", "refuses endless header lines", "HTTP/1.1 101 X\r\n" .. ("A: a\r\n"):rep(100000) },
    { "^HANDSHAKE: ", "refuses what is not HTTP", "\21\3\1\0\2\2\40" },
    { "^HANDSHAKE: ", "refuses an unknown version", "HTTP/3.0 101 X\r\n\r\n" },
    { "^HANDSHAKE: ", "refuses control characters", "HTTP/1.1 101 X\r\nA: \27[2J\r\n\r\n" },
  }
  for _, row in ipairs(rows) do
    it(row[2], function()
      local began = socket.gettime()
      local peer = answer(row[3])
      local line = client:line()
      assert.truthy(line:find(row[1]), line)
      assert.is_true(socket.gettime() - began < 2)
      peer:close()
    end)
  end

  it("gives up on an answer that comes a byte at a time", function()
    local peer = answer("")
    while not peer:readable(0.02) do peer:write("H") end
    peer:close()
    assert.truthy(client:line():find("^%u+: "))
  end)

  it("survives a reset at each step", function()
    local good
    for step = 1, 4 do
      local peer = listener:tcp()
      if step > 1 then good = raw.response(assert(peer:head())) end
      if step == 3 then peer:write(good:sub(1, 40)) end
      if step == 4 then peer:write(good .. "\129\126") end
      peer:reset()
      local line = client:line()
      -- On a busy machine the reset is there before the client looks.
      assert.truthy(line:find("HANDSHAKE: ", 1, true) or line:find("LOST: ", 1, true)
        or step == 1 and line:find("CONNECT: Connection reset", 1, true), line)
    end
  end)

  it("refuses giant lengths, fragments and floods, and keeps its memory", function()
    local function attack(data, code)
      local peer = listener:accept()
      peer:write(data)
      assert.equal(code, (peer:until_close()))
      assert.equal("closed", peer:eof())
      peer:close()
      client:line()
    end
    attack("\130\127\0\0\0\0\0\1\0\1", 1009)
    before = client:resident()
    for _ = 1, 5 do
      attack("\130\127\127\255\255\255\255\255\255\255", 1009)
      attack("\2\0" .. ("\0\0"):rep(131072), 1008)
      attack(bytes.frame(0x8a, ("p"):rep(125)):rep(11000), 1008)
    end
    local room = (os.getenv("LD_PRELOAD") or ""):find("asan") and 200000 or 8000
    assert.is_true(client:resident() - before < room, client:resident() - before)
  end)

  it("is not held by a server that never closes its end", function()
    local peer = listener:accept()
    peer:send(0x88, "\3\232")
    assert.equal(1000, (peer:until_close()))
    -- Ours stays open; the client goes on all the same.
    local next_peer = listener:accept()
    assert.is_true(next_peer:alive())
    next_peer:close()
    peer:close()
  end)
end)
