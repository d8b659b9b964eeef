-- SPDX-License-Identifier: MIT
-- Silent peers are found, healthy ones live.
local duplex = require "duplex"
local both = require "spec.support.both"
local bytes = require "spec.support.bytes"
local peer = require "spec.support.peer"
local process = require "spec.support.process"
local run = require "spec.support.run"
local secure = require "spec.support.secure_serve"
local secure_peer = require "spec.support.secure_peer"

local QUICK = { ping_interval = 0.03, ping_timeout = 0.05, log = false }
-- Of peers that live, in the same program: it may stand still for a moment.
local PATIENT = { ping_interval = 0.03, ping_timeout = 0.3, log = false }

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
    local server, ends = serve(PATIENT)
    local ws = assert(duplex.connect(server.url, { ping_interval = 0.02, ping_timeout = 0.3 }))
    duplex.sleep(0.4)
    assert.equal("open", ws.state)
    assert.same({}, ends)
    assert.is_true(ws.latency < 1)
  end))

  it("takes any byte as life", run(function()
    local server, ends = serve(PATIENT)
    local raw = peer.connect(server.port):upgrade()
    local frame = bytes.frame(0x81, ("x"):rep(40), "abcd")
    for byte in frame:gmatch(".") do
      raw:send(byte)
      duplex.sleep(0.01)
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

  it("takes parts of a TLS record as life", run(function()
    local server = secure.serve(nil, function(ws)
      ws:send(ws:receive())
    end, PATIENT)
    local p = assert(secure_peer.connect(server.port):handshake())
    p:upgrade()
    p.engine:write(bytes.frame(0x81, ("x"):rep(60), "\0\0\0\0"))
    local record = p.engine:output()
    for byte in record:gmatch "." do
      p.raw:send(byte)
      duplex.sleep(0.005)
    end
    local first, payload
    repeat first, payload = p:frame() until first ~= 0x89
    assert.same({ 0x81, ("x"):rep(60) }, { first, payload })
    p:close()
  end))

  it("has nobody pinged with ws.idle below the interval", run(function()
    local server = serve { log = false }
    local ws = assert(duplex.connect(server.url, { log = false }))
    duplex.sleep(0.05)
    local idle = ws.idle
    assert.is_true(idle >= 0.045 and idle < 1, idle)
    assert(ws:ping(1))
    assert.is_true(ws.idle < idle)
  end))

  it("finds a process that was stopped, and serves the others", run(function()
    local server, ends, came = serve(PATIENT)
    local script = ([[import socket, time
s = socket.create_connection(("127.0.0.1", %d))
s.sendall(b"%s")
s.recv(1000)
time.sleep(10)]]):format(server.port, (peer.request:gsub("\r\n", "\\r\\n")))
    local child = assert(io.popen("echo $$; exec python3 -c '" .. script .. "'"))
    local pid = child:read("*l")
    local ws = assert(duplex.connect(server.url, PATIENT))
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

describe("ws:ping", function()
  both.cases(it)("carries a payload", function(a)
    assert.is_number(a:ping(2, "are you there"))
    assert.is_number(a:ping(2, ""))
    assert.is_number(a:ping(2, ("\0"):rep(125)))
    assert.error_matches(function() a:ping(1, ("x"):rep(126)) end, "at most 125 bytes")
    assert.error_matches(function() a:ping(1, 5) end, "at most 125 bytes")
  end)

  both.cases(it)("is answered when an earlier payload was what it carries", function(a)
    assert.is_number(a:ping(2, "\0\0\0\2"))
    assert.is_number(a:ping(2))
    assert.is_number(a:ping(2, "same"))
    assert.is_number(a:ping(2, "same"))
  end)
end)

describe("the option heartbeat", function()
  -- A server whose peers of bytes show what pings carry.
  local function pings(heartbeat, log)
    local server = serve { heartbeat = heartbeat, log = log or false }
    return server, peer.connect(server.port):upgrade()
  end

  -- Reads a ping and answers it. -> its payload
  local function answer(raw)
    local head = assert(raw:read(2))
    assert.equal(0x89, head:byte(1))
    local payload = raw:read(head:byte(2))
    raw:send(bytes.frame(0x8a, payload, "\0\0\0\0"))
    return payload
  end

  it("switches pings off", run(function()
    local _, raw = pings(false)
    assert.same({ nil, "silence" }, { raw:read(1, 0.1) })
    raw:close()
  end))

  it("sets the limits of the core where that suffices", run(function()
    local server, ends, came = serve { heartbeat = { interval = 0.03, timeout = 0.05 }, log = false }
    local raw = peer.connect(server.port):upgrade()
    assert.equal("\137\4\0\0\0\1", raw:read(6))
    assert.is_true(came:wait(2))
    assert.same({ "LOST: no pong within ping_timeout" }, ends)
  end))

  it("sends payloads, and reports each round trip", run(function()
    local count, reports, third = 0, {}, duplex.event()
    local _, raw = pings {
      interval = 0.02,
      payload = function(ws)
        count = count + 1
        return ("%s beat %d"):format(ws.state, count)
      end,
      on_latency = function(ws, seconds)
        reports[#reports + 1] = seconds >= 0 and seconds < 1 and ws.latency < 1
        if #reports == 3 then third:set() end
      end,
    }
    for i = 1, 3 do assert.equal("open beat " .. i, answer(raw)) end
    assert.is_true(third:wait(2))
    assert.same({ true, true, true }, reports)
    raw:close()
  end))

  it("pings only who is silent", run(function()
    local _, raw = pings { interval = 0.3, payload = "ping" }
    for _ = 1, 45 do
      raw:send(bytes.frame(0x8a, "", "\0\0\0\0"))
      duplex.sleep(0.01)
    end
    assert.same({ nil, "silence" }, { raw:read(1, 0) })
    assert.equal("ping", answer(raw))
    raw:close()
  end))

  it("finds silent peers with a policy too: LOST, and 1011", run(function()
    local policy = duplex.heartbeat { interval = 0.02, timeout = 0.05, payload = "x" }
    local server, ends, came = serve { heartbeat = policy, log = false }
    local raw = peer.connect(server.port):upgrade()
    assert.equal("\137\1x", raw:read(3))
    assert.is_true(came:wait(2))
    assert.same({ "LOST: no pong within ping_timeout" }, ends)
    assert.equal(bytes.close(1011), raw:rest(1):sub(3, 4))
  end))

  it("goes on pinging without a timeout", run(function()
    local _, raw = pings { interval = 0.02, timeout = false, payload = "x" }
    assert.equal("\137\1x\137\1x\137\1x", raw:read(9))
    raw:close()
  end))

  it("contains functions that raise, and says so", run(function()
    local lines = {}
    local function log(level, message)
      if level == "error" then lines[#lines + 1] = message end
    end
    local wrong = { function() error("no payload", 0) end, function() return ("x"):rep(126) end,
      function() end }
    local count = 0
    local _, raw = pings({
      interval = 0.01,
      payload = function(ws)
        count = count + 1
        return (wrong[count] or tostring)(ws)
      end,
      on_latency = function() if count == 4 then error("no use", 0) end end,
    }, log)
    for i = 1, 3 do assert.equal("\0\0\0" .. string.char(i), answer(raw)) end
    assert.matches("^websocket#", answer(raw))
    assert.matches("^websocket#", answer(raw))
    assert.same({ "heartbeat: payload failed: no payload",
      "heartbeat: payload must return a string of at most 125 bytes",
      "heartbeat: payload must return a string of at most 125 bytes",
      "heartbeat: on_latency failed: no use" }, lines)
    raw:close()
  end))

  it("keeps no loop running", function()
    local echo, began, ws = process.echo(), duplex.now(), nil
    duplex.run(function()
      ws = assert(duplex.connect("ws://127.0.0.1:" .. echo.port, { heartbeat = { interval = 5, payload = "x" } }))
    end)
    assert.is_true(duplex.now() - began < 3)
    ws:close() -- or the echo server would wait for it
    echo:stop()
  end)

  it("adapts to a proxy that cuts what is silent", run(function()
    local CUT = 0.3
    local port = peer.listen(function(p)
      p:accept()
      repeat
        local head = p:read(6, CUT)
        if head then p:send(bytes.frame(0x8a, "x")) end
      until not head
      p:close()
    end)
    local policy = duplex.heartbeat { payload = "x", adaptive = true, minimum = 0.05 }
    local function connect() return assert(duplex.connect("ws://127.0.0.1:" .. port, { heartbeat = policy })) end
    local ws = connect()
    assert.equal("LOST", select(3, ws:receive(2)))
    duplex.sleep(0.01) -- the policy learns in a task
    assert.is_true(policy.cutoff >= CUT and policy.cutoff < 2 * CUT, policy.cutoff)
    assert.equal(policy.cutoff / 2, policy.interval)
    ws = connect()
    assert.equal("TIMEOUT", select(3, ws:receive(2 * CUT)))
    ws:close(1000, "", 0)
  end))
end)
