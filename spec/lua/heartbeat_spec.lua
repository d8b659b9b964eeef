-- SPDX-License-Identifier: MIT
-- Silent peers are found, healthy ones live.
local duplex = require "duplex"
local both = require "spec.support.both"
local bytes = require "spec.support.bytes"
local peer = require "spec.support.peer"
local run = require "spec.support.run"

local QUICK = { ping_interval = 0.03, ping_timeout = 0.05, log = false }

-- A server whose handlers note how they end.
local function serve(options, handler)
  local ends, came = {}, duplex.event()
  local server = assert(duplex.serve(options, function(ws)
    if handler then handler(ws) end
    while ws:receive() do duplex.sleep(0) end
    ends[#ends + 1] = ws.close_error or "clean"
    came:set()
  end))
  return server, ends, came
end

describe("the heartbeat", function()
  it("is on by default, both in servers and in clients", function()
    local options = require "duplex.options"
    for _, role in ipairs { "server", "client" } do
      local checked = options.check(role, {})
      assert.same({ 20, 20 }, { checked.ping_interval, checked.ping_timeout })
    end
  end)

  it("finds a peer that has gone silent: LOST", run(function()
    local server, ends, came = serve(QUICK)
    local raw = peer.connect(server.port):upgrade()
    assert.equal(0x89, raw:read(6):byte(1))
    assert.is_true(came:wait(2))
    assert.same({ "LOST: no pong within ping_timeout" }, ends)
    local close = raw:rest(1)
    assert.equal(0x88, close:byte(1))
    assert.equal(bytes.close(1011), close:sub(3, 4))
  end))

  it("works while the handler does not receive", run(function()
    local lost = duplex.event()
    local server = assert(duplex.serve(QUICK, function(ws)
      ws:on_close(function() lost:set() end)
      lost:wait(3)
    end))
    peer.connect(server.port):upgrade()
    assert.is_true(lost:wait(2))
  end))

  it("works in a client", run(function()
    local port = peer.listen(function(p) p:accept():rest() end)
    local ws = assert(duplex.connect("ws://127.0.0.1:" .. port, QUICK))
    assert.equal("LOST", select(3, ws:receive(2)))
    assert.equal(1006, ws.close_code)
  end))

  it("lets healthy peers live, who answer by themselves", run(function()
    local server, ends = serve(QUICK)
    local ws = assert(duplex.connect(server.url, { ping_interval = 0.02, ping_timeout = 0.05 }))
    duplex.sleep(0.4)
    assert.equal("open", ws.state)
    assert.same({}, ends)
    assert.is_true(ws.latency < 0.1)
  end))

  it("takes any byte as life", run(function()
    local server, ends = serve(QUICK)
    local raw = peer.connect(server.port):upgrade()
    local frame = bytes.frame(0x81, ("x"):rep(40), "abcd")
    for byte in frame:gmatch(".") do
      raw:send(byte)
      duplex.sleep(0.005)
    end
    assert.same({}, ends)
    raw:close()
  end))

  it("does not kill a healthy peer because we do not read", run(function()
    local go = duplex.event()
    local server, ends = serve(QUICK, function() go:wait() end)
    local raw = peer.connect(server.port):upgrade()
    local sent = duplex.event()
    duplex.spawn(function()
      for _ = 1, 400 do
        if not raw:send(bytes.frame(0x82, ("x"):rep(65536), "\0\0\0\0")) then return end
      end
      sent:set()
      raw:rest()
    end)
    duplex.sleep(0.3)
    assert.same({}, ends)
    assert.is_nil((sent:wait(0)))
    go:set()
    assert.is_true(sent:wait(10))
    raw:close()
  end))

  it("is silent when it is switched off", run(function()
    local server = serve { ping_interval = false, log = false }
    local raw = peer.connect(server.port):upgrade()
    assert.same({ nil, "silence" }, { raw:read(1, 0.1) })
    raw:close()
  end))

  it("finds a process that was stopped, and serves the others", run(function()
    local server, ends, came = serve(QUICK)
    local script = ([[import socket, time
s = socket.create_connection(("127.0.0.1", %d))
s.sendall(b"%s")
s.recv(1000)
time.sleep(10)]]):format(server.port, (peer.request:gsub("\r\n", "\\r\\n")))
    local child = assert(io.popen("echo $$; exec python3 -c '" .. script .. "'"))
    local pid = child:read("*l")
    local ws = assert(duplex.connect(server.url, QUICK))
    while server:stats().connections < 2 do duplex.sleep(0.01) end
    os.execute("kill -STOP " .. pid)
    assert.is_true(came:wait(2))
    os.execute("kill -KILL " .. pid)
    child:close()
    assert.matches("LOST", ends[1])
    assert.equal("open", ws.state)
    both.settle()
  end))
end)
