-- SPDX-License-Identifier: MIT
local duplex = require "duplex"
local both = require "spec.support.both"
local bytes = require "spec.support.bytes"
local each = require "spec.support.each"
local peer = require "spec.support.peer"
local run = require "spec.support.run"

local case = both.cases(it)

describe("ws:ping", function()
  case("gives the seconds of a round trip, which is the latency", function(a)
    assert.is_nil(a.latency)
    local seconds = a:ping(2)
    assert.is_true(seconds >= 0 and seconds < 1)
    assert.is_true(a.latency >= 0 and a.latency < 1)
    assert.equal(a.latency, a:stats().latency)
  end)

  case("works while both sides wait for messages", function(a, b)
    local one, two = both.task(a.receive, a, 1), both.task(b.receive, b, 1)
    assert.is_true(a:ping(1) < 1)
    assert.is_true(b:ping(1) < 1)
    a:send("x")
    b:send("y")
    assert.equal("y", (one()))
    assert.equal("x", (two()))
  end)

  case("many at once are all answered", function(a)
    local waits = {}
    for i = 1, 10 do waits[i] = both.task(a.ping, a, 1) end
    for i = 1, 10 do assert.is_number(waits[i]()) end
  end)

  it("times out when the peer does not answer, and takes a later pong", run(function()
    local results, done = {}, duplex.event()
    local server = assert(duplex.serve({ log = false }, function(ws)
      results[1] = { ws:ping(0.05) }
      results[2] = { ws:ping(2) }
      done:set()
      ws:receive()
    end))
    local raw = peer.connect(server.port):upgrade()
    raw:read(6)
    local ping = raw:read(6)
    assert.equal(0x89, ping:byte(1))
    raw:send(bytes.frame(0x8A, "unasked", "abcd"))
    raw:send(bytes.frame(0x8A, ping:sub(3), "abcd"))
    assert.is_true(done:wait(2))
    assert.same({ nil, "TIMEOUT: timed out", "TIMEOUT" }, results[1])
    assert.is_number(results[2][1])
    raw:close()
  end))

  case("ends with the connection", function(a, b)
    local waiting = both.task(function()
      local ok, message, id
      repeat ok, message, id = a:ping() until not ok
      return id, message
    end)
    b:close()
    assert.equal("CLOSED", (waiting()))
  end)
end)

describe("fields of a connection", function()
  case("are those of the reference", function(a, b)
    assert.is_true(a.id % 1 == 0 and a.id ~= b.id)
    if math.type then assert.equal("integer", math.type(a.id)) end
    assert.equal("open", a.state)
    assert.equal("", a.extensions)
    assert.equal(0, a.outbox)
    for _, name in ipairs { "latency", "close_code", "close_reason", "close_error",
      "data", "subprotocol", "no_such_field" } do
      assert.is_nil(a[name], name)
    end
    local closing = both.task(a.close, a)
    both.settle()
    assert.is_true(a.state == "closing" or a.state == "closed")
    b:receive()
    closing()
    assert.equal("closed", a.state)
  end)

  case("cannot be set but for data", function(a)
    a.data = { name = "me" }
    assert.equal("me", a.data.name)
    a.data = nil
    assert.is_nil(a.data)
    assert.error_matches(function() a.state = "open" end, "'state' of a connection cannot be set")
    assert.error_matches(function() a.mine = 1 end, "ws%.data")
  end)

  case("have a printable name", function(a)
    assert.matches("^websocket#%d+ %(%a+ open%)$", tostring(a))
  end)

  case("count what came and went", function(a, b)
    a:send("12345")
    a:send("678", "binary")
    b:receive()
    both.settle()
    local s, t = a:stats(), b:stats()
    assert.equal(2, s.messages_out)
    assert.is_true(t.messages_in >= 1)
    assert.equal(0, s.outbox)
    assert.is_true(s.bytes_out >= 8 and t.bytes_in >= 8)
    for _, name in ipairs { "bytes_in", "bytes_out", "messages_in", "messages_out", "queued" } do
      assert.is_number(s[name], name)
    end
    b:receive()
    assert.equal(2, b:stats().messages_in)
    assert.equal(0, b:stats().queued)
  end)

  it("tell the peer's address, the request and the response", run(function()
    both.socket(function(client, server, listening)
      assert.equal("127.0.0.1", client.address)
      assert.equal(listening.port, client.port)
      assert.equal("127.0.0.1", server.address)
      assert.is_true(server.port > 0 and server.port ~= listening.port)
      assert.equal(101, client.response.status)
      assert.equal("websocket", client.response.headers.UPGRADE)
      assert.is_nil(client.request)
      assert.is_nil(server.response)
      local request = server.request
      assert.equal("GET", request.method)
      assert.equal("/", request.path)
      assert.equal("127.0.0.1", request.address)
      assert.is_false(request.secure)
      assert.is_true(request.upgrade)
      assert.matches("^lua%-duplex/", request.headers["User-Agent"])
      assert.equal(request, server.request)
    end)
  end))

  case("stay readable after the end, with the same answers", function(a, b)
    a.data = "kept"
    both.task(a.close, a, 4000, "why")
    b:receive()
    both.settle()
    collectgarbage()
    assert.equal("kept", a.data)
    assert.same({ 4000, "why" }, { b.close_code, b.close_reason })
    assert.is_number(b:stats().bytes_in)
    assert.is_nil(b.close_error)
  end)
end)

describe("duplex.pair", function()
  it("takes a path, headers and data for the request", run(function()
    local client, server = duplex.pair {
      path = "/room/a%20b?x=1&y=%41", headers = { ["X-Token"] = "secret" }, data = { user = 1 },
    }
    assert.equal("/room/a b", server.request.path)
    assert.same({ x = "1", y = "A" }, server.request.query)
    assert.equal("secret", server.request.headers["x-token"])
    assert.same({ user = 1 }, server.data)
    assert.is_nil(client.request)
    assert.is_nil(client.data)
    assert.is_nil(client.address)
  end))

  it("raises for headers that would break the request", run(function()
    assert.error_matches(function() duplex.pair { headers = { ["A B"] = "x" } } end, "cannot be sent")
    assert.error_matches(function() duplex.pair { headers = { A = "x\r\nB: y" } } end, "cannot be sent")
    assert.error_matches(function() duplex.pair { path = "/a b" } end, "")
  end))

  it("raises for an unknown field of the request, naming the nearest", run(function()
    assert.error_matches(function() duplex.pair { pat = "/" } end, "unknown .*'pat'.*'path'")
    assert.has_error(function() duplex.pair("/") end)
  end))

  it("works at top level too, outside any task", function()
    local client, server = duplex.pair()
    assert(client:send("hello"))
    assert.equal("hello", (server:receive(1)))
    assert.equal("TIMEOUT", select(3, server:receive(0.01)))
    client:close(1000, "", 0)
    assert.equal("CLOSED", select(3, server:receive(1)))
  end)

  it("runs a handler of a server without one", run(function()
    local function shout(ws)
      each(ws, function(message) ws:send(message:upper()) end)
    end
    local client, server = duplex.pair()
    duplex.spawn(shout, server)
    client:send("quiet")
    assert.equal("QUIET", (client:receive()))
    assert.is_true(client:close())
  end))
end)
