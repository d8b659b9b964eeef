-- SPDX-License-Identifier: MIT
local bytes = require "spec.support.bytes"
local core = require "duplex.core"
local wire = require "spec.support.wire"

local hex = bytes.hex

local function close_code(sent)
  local last = sent[#sent] or ""
  return last:sub(1, 3) == "88 " and tonumber(last:sub(4, 7), 16) or nil
end

describe("limits", function()
  it("refuse a message larger than max_message when its header says so", function()
    for _, row in ipairs {
      { "8204 61616161", nil }, { "8205", 1009 }, { "827f 7fffffffffffffff", 1009 },
      { "0202 6161 8002 6161", nil }, { "0202 6161 8003", 1009 }, { "0202 6161 0002 6161 8001", 1009 },
      { "0202 6161 807f 7fffffffffffffff", 1009 }, { "0204 61616161 0000 8000", nil },
    } do
      wire.every_cut(hex(row[1]), function(pieces)
        local log, sent, c = wire.run("client", { max_message = 4 }, pieces)
        assert.equal(row[2], close_code(sent))
        assert.equal(row[2] and "= TOO_BIG: message larger than max_message" or log[1], log[1])
        if not row[2] then assert.equal("open", core.state(c)) end
      end)
    end
  end)

  it("count every fragment, empty ones too", function()
    local fine = "\2\0" .. ("\0\0"):rep(98) .. "\128\0"
    local log = wire.run("client", { max_fragments = 100 }, { fine })
    assert.same({ "binary " }, log)
    for _, part in ipairs { "\0\0", "\0\1a" } do
      local sent
      log, sent = wire.run("client", { max_fragments = 100 }, { "\2\0" .. part:rep(100) })
      assert.same({ "= LIMIT: message of more than max_fragments fragments" }, log)
      assert.equal(1008, close_code(sent))
    end
  end)

  it("count fragments of one message only", function()
    local log = wire.run("client", { max_fragments = 2 }, { ("\1\0\128\0"):rep(10) })
    assert.equal(10, #log)
  end)

  it("bound control frames in a second, of all kinds, by the clock they are told", function()
    for _, frame in ipairs { "\137\0", "\138\0" } do
      local c = wire.open("client", { max_control_rate = 5 })
      for second = 1, 3 do
        core.feed(c, frame:rep(5), second)
        assert.is_nil((select(3, core.next(c, second))))
      end
      core.feed(c, frame:rep(6), 4)
      assert.equal("LIMIT", (select(3, core.next(c, 4))))
      assert.equal(1008, close_code(wire.sent(c)))
    end
  end)

  it("stop reading at max_queue messages, and go on when one was taken", function()
    local c = wire.open("client", { max_queue = 3 })
    core.feed(c, hex "8101 61 8101 62 8101 63 8101 64 8101 65", 0)
    core.pump(c, 0)
    assert.is_false(core.hungry(c))
    assert.equal(3, (select(5, core.numbers(c))))
    assert.equal("a", (core.next(c, 0)))
    core.pump(c, 0)
    assert.equal(3, (select(5, core.numbers(c))))
    local log = wire.take(c, {})
    assert.same({ "text 62", "text 63", "text 64", "text 65" }, log)
    assert.is_true(core.hungry(c))
  end)

  it("stop reading at max_queue_bytes, but one message always fits", function()
    local c = wire.open("client", { max_queue_bytes = 10 })
    core.feed(c, bytes.frame(0x82, ("x"):rep(100)) .. hex "8201 79", 0)
    core.pump(c, 0)
    assert.is_false(core.hungry(c))
    assert.equal(1, (select(5, core.numbers(c))))
    assert.equal(100, #core.next(c, 0))
    assert.equal("y", (core.next(c, 0)))
  end)

  it("let try_put fill max_outbox and no more; put knows no limit", function()
    local c = wire.open("server", { max_outbox = 100 })
    assert.is_true(core.try_put(c, ("x"):rep(90)))
    assert.equal("FULL", (select(3, core.try_put(c, ("x"):rep(90)))))
    assert.is_true(core.put(c, ("x"):rep(90)))
    core.output(c, 0)
    assert.is_true(core.try_put(c, "x"))
  end)

  it("cost work in proportion to the bytes, however many fragments", function()
    -- 100,000 fragments at least as fast as a quadratic reassembly of a tenth
    local function seconds(n)
      local input = "\2\1a" .. ("\0\1a"):rep(n) .. "\128\0"
      local c = wire.open("client", { max_fragments = n + 2 })
      local began = os.clock()
      core.feed(c, input, 0)
      assert.equal(n + 1, #core.next(c, 0))
      return os.clock() - began
    end
    seconds(1000)
    assert.is_true(seconds(100000) < 0.5)
  end)
end)

describe("pings (RFC 6455 5.5.2)", function()
  it("are answered in order, each with its payload", function()
    local _, sent = wire.run("client", nil, { hex "8901 61 8900 897d" .. ("z"):rep(125) })
    assert.same({ "8a 61", "8a ", "8a " .. ("7a"):rep(125) }, sent)
  end)

  it("are answered while nobody takes messages", function()
    local c = wire.open("client")
    core.feed(c, hex "8101 61 8901 70 8101 62", 0)
    core.pump(c, 0)
    assert.same({ "8a 70" }, wire.sent(c))
    assert.same({ "text 61", "text 62" }, wire.take(c, {}))
  end)

  it("past the high mark only the latest is answered, when the peer reads again", function()
    local c = wire.open("server", { high_mark = 1000 })
    core.put(c, ("x"):rep(2000))
    for i = 1, 300 do
      core.feed(c, bytes.frame(0x89, "n" .. i, "\0\0\0\0"), 0)
      core.pump(c, 0)
    end
    assert.equal(2004, core.outbox(c))
    core.output(c, 0, 500)
    assert.equal(1504, core.outbox(c))
    core.output(c, 0, 600) -- 904 are left
    local rest = core.output(c, 0)
    assert.equal("\138\4n300", rest:sub(-6))
    assert.equal(904 + 6, #rest)
  end)

  it("go out between the fragments of our own message", function()
    local c = wire.open("server")
    core.put_fragment(c, "a", "text", true, false)
    core.put(c, "other")
    core.feed(c, bytes.frame(0x89, "p", "\0\0\0\0"), 0)
    core.pump(c, 0)
    core.put_fragment(c, "b", "text", false, true)
    assert.same({ "01 61", "8a 70", "80 62", "81 6f74686572" }, wire.sent(c))
  end)
end)

describe("heartbeat", function()
  local LIMITS = { ping_interval = 20, ping_timeout = 5, open_timeout = 10, send_timeout = 30 }
  local function feed(c, input, now)
    core.feed(c, input, now)
    core.pump(c, now)
  end

  it("gives the handshake open_timeout", function()
    local settings = core.settings(require("duplex.options").check("server", LIMITS))
    local c = core.connection("server", settings, core.class({}, {}), 50)
    assert.equal(60, core.due(c))
    core.feed(c, "GET / HT", 59)
    assert.is_nil(core.head(c))
    assert.equal(60, core.due(c)) -- a byte a second buys no time
    core.expire(c, 60)
    assert.equal("TIMEOUT", (select(3, core.head(c))))
  end)

  it("pings after silence, and any byte is life", function()
    local c = wire.open("client", LIMITS, 100)
    assert.equal(120, core.due(c))
    feed(c, "\129", 110) -- half a header
    assert.equal(130, core.due(c))
    core.expire(c, 129.9)
    assert.same({}, wire.sent(c, 129.9))
    core.expire(c, 130)
    assert.same({ "89 00000001" }, wire.sent(c, 130))
    assert.equal(135, core.due(c))
    feed(c, "\1", 134)
    assert.equal(139, core.due(c))
    core.expire(c, 135)
    assert.equal("open", core.state(c))
    core.expire(c, 139)
    assert.equal("closed", core.state(c))
    assert.equal("LOST: no pong within ping_timeout", core.close_error(c))
    assert.equal("88 03f3", wire.sent(c, 139)[1]:sub(1, 7))
  end)

  it("measures the round trip, and starts over with the pong", function()
    local c = wire.open("client", LIMITS, 100)
    core.expire(c, 120)
    wire.sent(c, 120)
    feed(c, hex "8a04 00000001", 120.5)
    assert.equal(0.5, core.latency(c))
    assert.equal(140.5, core.due(c))
  end)

  it("takes no pong for an answer but that of its own pings", function()
    local c = wire.open("client", LIMITS, 100)
    core.expire(c, 120)
    wire.sent(c, 120)
    for _, pong in ipairs { "8a00", "8a04 00000000", "8a04 00000002", "8a04 ffffffff", "8a05 0000000001" } do
      feed(c, hex(pong), 121)
      assert.is_false(core.answered(c, 1))
      assert.is_nil(core.latency(c))
    end
    assert.equal(126, core.due(c)) -- but each was a sign of life
  end)

  it("lets one pong answer all pings before it", function()
    local c = wire.open("client", LIMITS, 100)
    assert.equal(1, core.ping(c))
    assert.equal(2, core.ping(c))
    wire.sent(c, 101)
    feed(c, hex "8a04 00000002", 103)
    assert.is_true(core.answered(c, 1) and core.answered(c, 2))
    assert.equal(123, core.due(c))
  end)

  it("times no round trip whose beginning nobody noted", function()
    local c = wire.open("client", LIMITS, 100)
    core.ping(c)
    wire.sent(c, 101)
    core.ping(c)
    wire.sent(c, 103)
    feed(c, hex "8a04 00000001", 104)
    assert.equal(3, core.latency(c))
    feed(c, hex "8a04 00000002", 105)
    assert.is_true(core.answered(c, 2))
    assert.equal(3, core.latency(c))
    core.ping(c)
    wire.sent(c, 106)
    feed(c, hex "8a04 00000003", 110)
    assert.equal(4, core.latency(c))
  end)

  it("sends a payload of the program's, which its pong brings back", function()
    local c = wire.open("client", LIMITS, 100)
    for number, payload in ipairs { "noon", "", ("x"):rep(125), "\0\0\0\9" } do
      assert.equal(number, core.ping(c, payload))
      assert.same({ "89 " .. bytes.to_hex(payload) }, wire.sent(c, 101))
      feed(c, bytes.frame(0x8a, "others"), 102)
      assert.is_false(core.answered(c, number))
      feed(c, bytes.frame(0x8a, payload), 103)
      assert.is_true(core.answered(c, number))
      assert.equal(2, core.latency(c))
    end
    assert.error_matches(function() core.ping(c, ("x"):rep(126)) end, "at most 125 bytes")
  end)

  it("keeps apart what it has to answer and what it asked", function()
    local c = wire.open("server", LIMITS, 100)
    core.put(c, ("x"):rep(100000))
    core.output(c, 100, 1000)
    core.ping(c, "ours")
    feed(c, bytes.frame(0x89, "theirs", "\0\0\0\0"), 101)
    core.output(c, 101, 99000)
    assert.equal("xx\137\4ours\138\6theirs", core.output(c, 101):sub(-16))
    feed(c, bytes.frame(0x8a, "ours", "\0\0\0\0"), 102)
    assert.is_true(core.answered(c, 1))
  end)

  it("says how long nothing has come", function()
    local c = wire.open("client", LIMITS, 100)
    assert.equal(7, core.idle(c, 107))
    feed(c, "\129", 108)
    assert.same({ 0, 0, 2 }, { core.idle(c, 107), core.idle(c, 108), core.idle(c, 110) })
    feed(c, "", 111) -- bytes of TLS of which nothing can be seen yet
    assert.same({ 1, 131 }, { core.idle(c, 112), core.due(c) })
  end)

  it("starts ping_timeout when the ping has left", function()
    local c = wire.open("server", LIMITS, 100)
    core.put(c, ("x"):rep(100))
    core.expire(c, 120)
    assert.equal(math.huge, core.due(c))
    core.output(c, 121, 50)
    assert.equal(151, core.due(c)) -- send_timeout, since something is left
    core.output(c, 122)
    assert.equal(127, core.due(c))
  end)

  it("cuts a peer that takes no byte for send_timeout", function()
    local c = wire.open("server", LIMITS, 100)
    core.put(c, ("x"):rep(100))
    core.output(c, 100, 10)
    feed(c, bytes.frame(0x8a, "", "\0\0\0\0"), 129)
    core.output(c, 129, 10)
    core.expire(c, 149)
    assert.equal("open", core.state(c))
    core.expire(c, 159)
    assert.equal("LOST: the peer read nothing for send_timeout", core.close_error(c))
  end)

  it("has no due time when all is switched off", function()
    local c = wire.open("client", { ping_interval = false, ping_timeout = false, send_timeout = false }, 100)
    assert.equal(math.huge, core.due(c))
    core.expire(c, 1e9)
    assert.equal("open", core.state(c))
  end)
end)
