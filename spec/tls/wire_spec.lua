-- SPDX-License-Identifier: MIT
-- What comes over the wire after the handshake: records cut, damaged, missing.
-- The peer's records are in the hands of the spec; both roles of ours.

local duplex = require "duplex"
local bytes = require "spec.support.bytes"
local run = require "spec.support.run"
local secure = require "spec.support.secure_serve"
local secure_peer = require "spec.support.secure_peer"

-- Calls body(ws, p): a connection of ours in a task, and the peer that it is
-- connected to, as a client and as a server; for both versions of TLS.
local function case(name, body, versions)
  for _, version in ipairs(versions or { "1.2", "1.3" }) do
    it(("%s (our server, TLS %s)"):format(name, version), run(function()
      local ours, came, done = nil, duplex.event(), duplex.event()
      local server = secure.serve(nil, function(ws)
        ours = ws
        came:set()
        done:wait()
      end)
      local p = assert(secure_peer.connect(server.port, { maximum_version = version }):handshake())
      p:upgrade()
      came:wait(5)
      body(ours, p)
      done:set()
      p:close()
    end))
    it(("%s (our client, TLS %s)"):format(name, version), run(function()
      local p, came = nil, duplex.event()
      local port = secure_peer.listen(function(one)
        p = assert(one:handshake()):upgrade()
        came:set()
      end, { maximum_version = version })
      local ours = secure.connect({ port = port })
      came:wait(5)
      body(ours, p)
      p:close()
    end))
  end
end

-- How a connection ends that lost its peer: the messages first, then LOST.
local function lost(ws, ...)
  for _, message in ipairs { ... } do assert.equal(message, (ws:receive(5))) end
  for _ = 1, 2 do -- and again
    local data, problem, why = ws:receive(5)
    assert.is_nil(data)
    assert.equal("LOST", why, problem)
    assert.equal(ws.close_error, problem)
    assert.matches("^LOST: ", problem)
  end
  assert.equal(1006, ws.close_code)
  assert.is_nil((ws:send("x")))
end

local function damaged(ws, ...)
  lost(ws, ...)
  assert.matches("damaged", ws.close_error)
end

describe("TLS on the wire", function()
  case("carries frames that are cut across records", function(ws, p)
    local message = ("0123456789"):rep(50)
    local frame = bytes.frame(0x81, message, p.key)
    for at = 1, #frame, 3 do p:send(frame:sub(at, at + 2)) end
    assert.equal(message, (ws:receive(5)))
    p:send(bytes.frame(0x81, "one", p.key) .. bytes.frame(0x82, "two", p.key) .. bytes.frame(0x81, "three", p.key):sub(1, 4))
    assert.same({ "one", "text" }, { ws:receive(5) })
    assert.same({ "two", "binary" }, { ws:receive(5) })
    p:send(bytes.frame(0x81, "three", p.key):sub(5))
    assert.equal("three", (ws:receive(5)))
  end)

  case("carries frames in records of one byte each", function(ws, p)
    local frame = bytes.frame(0x81, "records of one byte", p.key)
    for at = 1, #frame do assert(p.engine:write(frame:sub(at, at))) end
    p:push()
    assert.equal("records of one byte", (ws:receive(5)))
  end)

  case("carries records that come one byte at a time", function(ws, p)
    p:put(0x81, "byte by byte", 1)
    assert.equal("byte by byte", (ws:receive(5)))
    p:put(0x82, ("x"):rep(20000), 997)
    assert.equal(20000, #ws:receive(5))
  end)

  case("answers pings, and sends its own", function(ws, p)
    local reader
    duplex.spawn(function() reader = ws:receive() end)
    p:put(0x89, "ping")
    assert.same({ 0x8a, "ping" }, { p:frame() })
    local pinged
    duplex.spawn(function() pinged = ws:ping(5) end)
    local first, payload = p:frame()
    assert.equal(0x89, first)
    p:put(0x8a, payload)
    p:put(0x81, "read")
    duplex.sleep(0.02)
    assert.equal("read", reader)
    assert.is_number(pinged)
  end)

  case("ends with close frames, then close_notify", function(ws, p)
    duplex.spawn(function() ws:close(4000, "done") end)
    assert.same({ 0x88, "\15\160done" }, { p:frame() })
    p:put(0x88, "\15\160done")
    local more, message, id = p:rest()
    assert.equal("", more)
    assert.equal("LOST", id, message) -- the engine's word for close_notify
    assert.equal(4000, ws.close_code)
    assert.is_nil(ws.close_error)
    p:close()
  end)

  case("answers a close frame, then ends", function(ws, p)
    p:put(0x81, "before")
    p:put(0x88, bytes.close(1000))
    assert.equal("before", (ws:receive(5)))
    assert.equal("CLOSED", select(3, ws:receive(5)))
    assert.same({ 0x88, bytes.close(1000) }, { p:frame() })
    assert.equal("LOST", select(3, p:rest()))
    p:close()
  end)

  case("is lost without close_notify and close frame, after the messages", function(ws, p)
    p:put(0x81, "one")
    p:put(0x81, "two")
    p:close()
    lost(ws, "one", "two")
  end)

  case("gives all that came before its end, however slowly it is read", function(ws, p)
    local frames = {}
    for i = 1, 500 do frames[i] = bytes.frame(0x81, "message " .. i, p.key) end
    p:send(table.concat(frames)) -- one record, or some: many more messages than max_queue
    p:finish()
    for i = 1, 500 do
      assert.equal("message " .. i, (ws:receive(5)))
      if i % 50 == 0 then duplex.sleep(0.001) end
    end
    lost(ws)
  end)

  case("is lost with close_notify but no close frame", function(ws, p)
    p:put(0x81, "one")
    p:finish()
    lost(ws, "one")
  end)

  case("is lost in the middle of a record", function(ws, p)
    p:put(0x81, "one")
    assert(p.engine:write(bytes.frame(0x81, ("two"):rep(100), p.key)))
    p.raw:send(p.engine:output():sub(1, 150))
    p:close()
    lost(ws, "one")
  end)

  case("is lost in the middle of a message", function(ws, p)
    p:put(0x81, "one")
    p:send(bytes.frame(0x81, ("two"):rep(100), p.key):sub(1, 150))
    p:finish()
    lost(ws, "one")
  end)

  -- The peer of these never reads what we may say of it.
  local damage = {
    { "plain text", "GET / HTTP/1.1\r\nHost: x\r\n\r\n" },
    { "a plain frame", "\129\5Hello" },
    { "a record with a wrong sum", "\23\3\3\0\40" .. ("x"):rep(40) },
    { "a record that is too long", "\23\3\3\255\255" .. ("x"):rep(400) },
    { "an empty record", "\23\3\3\0\0" },
    { "an alert in the clear", "\21\3\3\0\2\2\40" },
  }
  for _, row in ipairs(damage) do
    case("breaks by " .. row[1] .. ", after the messages", function(ws, p)
      p:put(0x81, "one")
      p.raw:send(row[2])
      damaged(ws, "one")
      local _, ending = p.raw:rest()
      assert.equal("end", ending)
    end)
  end

  case("breaks by a byte changed on its way", function(ws, p)
    p:put(0x81, "one")
    assert(p.engine:write(bytes.frame(0x81, "two", p.key)))
    local record = p.engine:output()
    p.raw:send(record:sub(1, -2) .. string.char((record:byte(-1) + 1) % 256))
    damaged(ws, "one")
  end)

  case("breaks by a record sent twice", function(ws, p)
    assert(p.engine:write(bytes.frame(0x81, "one", p.key)))
    local record = p.engine:output()
    p.raw:send(record .. record)
    damaged(ws, "one")
  end)

  case("goes on in our direction when the peer has shut down its own", function(ws, p)
    p:put(0x81, "question")
    p.engine:finish() -- and the socket stays open
    p:push()
    assert.equal("question", (ws:receive(5)))
    -- RFC 6455 knows no half-closed connection: without a close frame it is
    -- lost, and says so with close_notify.
    assert.equal("LOST", select(3, ws:receive(5)))
    assert.equal("LOST", select(3, p:rest()))
    p:close()
  end)
end)

describe("HTTP over TLS", function()
  it("answers who has shut down its sending side", run(function()
    local server = secure.serve(nil, nil, { on_request = function()
      duplex.sleep(0.02)
      return 200, ("x"):rep(100000)
    end })
    local p = assert(secure_peer.connect(server.port):handshake())
    p:send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    p.engine:finish()
    p:push()
    local answer, _, id = p:rest()
    assert.matches("^HTTP/1.1 200 ", answer)
    assert.equal(100000, #answer:match("\r\n\r\n(.*)$"))
    assert.equal("LOST", id) -- close_notify: all of it came
  end))
end)
