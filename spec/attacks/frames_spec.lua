-- SPDX-License-Identifier: MIT
-- Attacks on an open WebSocket: floods, lies about lengths, peers that vanish
-- or stop reading. Each has to end as documented, in bounded memory, while
-- another connection keeps echoing.

local bytes = require "spec.support.bytes"
local process = require "spec.support.process"
local raw = require "spec.support.raw"
local socket = require "socket"

local KEY = "\0\0\0\0"
-- Kilobytes that the server may grow by: a few of the largest messages, which
-- wait for the collector. The address sanitizer keeps what is freed for a while.
local ROOM = (os.getenv("LD_PRELOAD") or ""):find("asan") and 400000 or 30000

describe("a hostile peer", function()
  local server, witness, before, open_before

  local function descriptors()
    local pipe = io.popen("ls /proc/" .. server.pid .. "/fd | wc -l")
    local count = tonumber(pipe:read("*a"))
    pipe:close()
    return count
  end

  setup(function()
    server = process.server { "spec/support/attacked.lua", "close_timeout=0.3", "send_timeout=0.4",
      "max_control_rate=1000", "max_message=4194304", "max_fragments=20000" }
    witness = raw.connect(server.port)
    for _ = 1, 3 do -- what one honest large message costs belongs to 'before'
      witness:send(0x82, ("\0"):rep(4000000), nil, 4)
      witness:frame()
    end
    before, open_before = server:resident(), descriptors()
  end)

  teardown(function()
    witness:close()
    server:stop()
  end)

  after_each(function()
    assert.is_true(witness:alive())
    local grown = server:resident() - before
    assert.is_true(grown < ROOM, grown .. " KB more than before")
  end)

  local function connect(path, small)
    local peer = raw.tcp(server.port, small)
    peer:write((raw.request():gsub("GET /", "GET " .. (path or "/"))))
    assert.truthy(peer:head():find("^HTTP/1.1 101 "))
    return peer
  end

  it("is refused a giant length as soon as it is said", function()
    for _, length in ipairs { "\0\0\0\0\0\64\0\1", "\0\0\0\1\0\0\0\0", "\127\255\255\255\255\255\255\255" } do
      local peer = connect()
      peer:write("\130\255" .. length .. KEY)
      peer:refused(1009, "max_message")
    end
    for _, length in ipairs { "\128\0\0\0\0\0\0\0", "\255\255\255\255\255\255\255\255", "\0\0\0\0\0\0\0\5" } do
      local peer = connect()
      peer:write("\130\255" .. length .. KEY)
      peer:refused(1002, "shortest form")
    end
    local peer = connect() -- lengths that would overflow when they are added
    peer:write("\2\129" .. KEY .. "x" .. "\128\255\127\255\255\255\255\255\255\255" .. KEY)
    peer:refused(1009, "max_message")
  end)

  it("gets no memory for a length that is allowed, only for bytes", function()
    local peers = {}
    for i = 1, 200 do
      peers[i] = connect()
      peers[i]:write("\130\255\0\0\0\0\0\64\0\0" .. KEY .. "x")
    end
    assert.is_true(witness:alive())
    local grown = server:resident() - before
    assert.is_true(grown < ROOM, grown .. " KB for 200 promises of 4 MiB")
    for _, peer in ipairs(peers) do peer:close() end
  end)

  it("cannot flood with tiny or empty fragments", function()
    for _, part in ipairs { "", "x" } do
      local peer = connect()
      peer:write("\2\128" .. KEY .. bytes.frame(0, part, KEY):rep(20000))
      peer:refused(1008, "max_fragments")
    end
  end)

  it("cannot make reassembly cost more than its bytes", function()
    local cpu = server:cpu()
    for _ = 1, 10 do
      local peer = connect()
      peer:write("\2\128" .. KEY .. bytes.frame(0, ("x"):rep(100), KEY):rep(19998) .. "\128\128" .. KEY)
      local first, payload = peer:frame()
      assert.same({ 0x82, 1999800 }, { first, #payload })
      peer:close()
    end
    assert.is_true(server:cpu() - cpu < 2)
  end)

  it("cannot flood with control frames", function()
    for _, first in ipairs { 0x89, 0x8a } do
      local peer = connect()
      peer:write(bytes.frame(first, "flood", KEY):rep(3000))
      peer:refused(1008, "max_control_rate")
    end
  end)

  it("cannot pile up pongs that it does not read", function()
    local peer = connect("/", 4096)
    -- The answers of half a second fit the rate but not the peer's window.
    peer:write(bytes.frame(0x89, ("p"):rep(125), KEY):rep(999))
    socket.sleep(0.05)
    peer:close()
  end)

  it("is cut when it does not read what it asked for", function()
    local peer = connect("/", 4096)
    peer.sock:settimeout(0)
    local message, sent = bytes.frame(0x82, ("x"):rep(65536), KEY), 0
    local deadline = socket.gettime() + 4
    -- Its writes stall, because the server stops reading; then it is cut.
    local problem
    while socket.gettime() < deadline do
      local n, why, part = peer.sock:send(message)
      sent = sent + (n or part or 0)
      if why and why ~= "timeout" then
        problem = why
        break
      end
      if not n then socket.select(nil, { peer.sock }, 0.05) end
    end
    assert.truthy(problem, "it may still write")
    assert.is_true(sent < 40000000, sent)
    peer:close()
  end)

  it("is cut when it never reads what the handler sends", function()
    local peers = {}
    for i = 1, 20 do peers[i] = connect("/flood", 4096) end
    socket.sleep(0.2)
    assert.is_true(witness:alive())
    local grown = server:resident() - before
    assert.is_true(grown < ROOM, grown)
    socket.sleep(0.5)
    -- What the kernel held is still there to read, but it comes to an end.
    for _, peer in ipairs(peers) do
      local ending
      repeat
        local _, problem = peer.sock:receive(1048576)
        ending = problem
      until ending
      assert.is_not.equal("timeout", ending)
      peer:close()
    end
  end)

  it("may send a byte at a time, slowly", function()
    local peer = connect()
    local frame = bytes.frame(0x81, "slow", raw.MASK)
    for i = 1, #frame do
      peer:write(frame:sub(i, i))
      if i % 3 == 0 then assert.is_true(witness:alive()) end
      socket.sleep(0.01)
    end
    assert.same({ 0x81, "slow" }, { peer:frame() })
    peer:close()
  end)

  it("cannot hold on to a connection by never answering a close frame", function()
    local began = socket.gettime()
    local silent, talking = connect("/close"), connect("/close")
    assert.equal(4001, (silent:until_close()))
    assert.equal(4001, (talking:until_close()))
    for _ = 1, 100 do
      if not talking:send(0x81, "still talking") then break end
      socket.sleep(0.01)
    end
    assert.equal("closed", silent:eof())
    silent:close()
    talking:close()
    assert.is_true(socket.gettime() - began < 3)
  end)

  it("may hang up or reset in every state", function()
    local message = bytes.frame(0x82, ("x"):rep(70000), KEY)
    local steps = {
      { "/", "" }, { "/", "\129" }, { "/", "\129\254" }, { "/", "\130\255\0\0\0\0\0" },
      { "/", message:sub(1, 20) }, { "/", message:sub(1, 40000) }, { "/", message }, { "/", message:rep(5) },
      { "/", bytes.frame(0x01, "half", KEY) }, { "/", bytes.frame(0x89, "p", KEY):rep(100) },
      { "/", bytes.frame(0x88, "\3\232", KEY) }, { "/", bytes.frame(0xff, "", KEY) }, { "/", message .. "\137" },
      { "/close", "" }, { "/close", bytes.frame(0x88, "\3\232", KEY) }, { "/flood", "" }, { "/wait", message },
      { "/wait", bytes.frame(0x88, "", KEY) }, { "/raise", bytes.frame(0x81, "x", KEY) },
    }
    for _, step in ipairs(steps) do
      for _, ending in ipairs { "close", "reset", "finish_writing" } do
        local peer = connect(step[1])
        peer:write(step[2])
        peer[ending](peer)
        if ending == "finish_writing" then peer.sock:settimeout(0) peer.sock:close() end
      end
      assert.is_true(witness:alive())
    end
  end)

  it("that half-closes still gets its answers", function()
    local peer = connect()
    peer:write(bytes.frame(0x81, "one", KEY) .. bytes.frame(0x81, "two", KEY))
    peer:finish_writing()
    assert.same({ 0x81, "one" }, { peer:frame() })
    assert.same({ 0x81, "two" }, { peer:frame() })
    assert.equal("closed", peer:eof())
    peer:close()
  end)

  it("that half-closes after its close frame gets ours", function()
    local peer = connect()
    peer:write(bytes.frame(0x81, "one", KEY) .. bytes.frame(0x88, "\3\233", KEY))
    peer:finish_writing()
    assert.same({ 0x81, "one" }, { peer:frame() })
    peer:refused(1001)
  end)

  it("gets the close frame for its error although it goes on sending", function()
    for _ = 1, 20 do
      local peer = connect()
      peer:write("\255\128" .. KEY)
      peer:write(("x"):rep(300000))
      peer:refused(1002)
    end
  end)

  it("takes only its own connection down when its handler raises", function()
    for _, path in ipairs { "/raise", "/raise-table" } do
      local peer = connect(path)
      peer:send(0x81, "x")
      peer:refused(1011, nil)
    end
    local log = server:errors_now()
    assert.truthy(log:find("handler failed: .-boom"), log)
    assert.is_nil(log:find("\27", 1, true), "escapes reached the terminal")
  end)

  it("is no reason for a handler that goes on to disturb others", function()
    local peer = connect("/stubborn")
    peer:reset()
    for _ = 1, 20 do assert.is_true(witness:alive()) end
  end)

  it("leaves nothing behind", function()
    local deadline = socket.gettime() + 2
    while descriptors() > open_before and socket.gettime() < deadline do socket.sleep(0.05) end
    assert.equal(open_before, descriptors())
  end)
end)
