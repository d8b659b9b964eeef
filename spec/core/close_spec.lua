-- SPDX-License-Identifier: MIT
local bytes = require "spec.support.bytes"
local core = require "duplex.core"
local wire = require "spec.support.wire"

local hex = bytes.hex

local function ended(c)
  local _, message, id = core.ended(c)
  return id, message
end

describe("closing (RFC 6455 5.5.1, 7)", function()
  for _, code in ipairs { 1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999 } do
    it("echoes " .. code .. " and keeps code and reason", function()
      local payload = bytes.close(code, "bye")
      wire.every_cut("\136\5" .. payload, function(pieces)
        local log, sent, c = wire.run("client", nil, pieces)
        assert.same({ "= CLOSED: the connection is closed" }, log)
        assert.same({ "88 " .. bytes.to_hex(payload:sub(1, 2)) }, sent)
        assert.equal("closed", core.state(c))
        assert.equal(code, core.close_code(c))
        assert.equal("bye", core.close_reason(c))
        assert.is_nil(core.close_error(c))
      end)
    end)
  end

  for _, code in ipairs { 0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1099, 1100, 1999, 2000, 2999, 5000, 32767, 65535 } do
    it("refuses " .. code .. " from the peer with 1002, and from the program", function()
      local log, sent, c = wire.run("client", nil, { "\136\2" .. bytes.close(code) })
      assert.same({ "= PROTOCOL: close code that must not be on the wire" }, log)
      assert.equal("88 03ea", sent[1]:sub(1, 7))
      assert.equal(1006, core.close_code(c))
      if code ~= 1005 then
        assert.error(function() core.close(wire.open("client"), code, "", 0) end)
      end
    end)
  end

  local odd = {
    -- what comes, what is sent back, id, code, reason
    { "8800", "88 ", "CLOSED", 1005, "" },
    { "880103", "88 03ea" .. bytes.to_hex "close frame with a payload of one byte", "PROTOCOL", 1006, "" },
    { "880303e8ff", "88 03ef" .. bytes.to_hex "close reason is not valid UTF-8", "BAD_UTF8", 1006, "" },
    { "880403e8e282", "88 03ef" .. bytes.to_hex "close reason is not valid UTF-8", "BAD_UTF8", 1006, "" },
    { "880503e8eda080", "88 03ef" .. bytes.to_hex "close reason is not valid UTF-8", "BAD_UTF8", 1006, "" },
    { "880503e8e282ac", "88 03e8", "CLOSED", 1000, "\226\130\172" },
    { "880403e80000", "88 03e8", "CLOSED", 1000, "\0\0" },
  }
  for _, row in ipairs(odd) do
    it("takes " .. row[1], function()
      wire.every_cut(hex(row[1]), function(pieces)
        local _, sent, c = wire.run("client", nil, pieces)
        assert.same({ row[2] }, sent)
        assert.equal(row[3], (ended(c)))
        assert.equal(row[4], core.close_code(c))
        assert.equal(row[5], core.close_reason(c))
      end)
    end)
  end

  it("ignores whatever comes behind a close frame", function()
    for _, tail in ipairs { "8104 6c617465", "8900", "880203e8", "ffff", "8300" } do
      wire.every_cut(hex("8802 03e9" .. tail), function(pieces)
        local log, sent = wire.run("client", nil, pieces)
        assert.same({ "= CLOSED: the connection is closed" }, log)
        assert.same({ "88 03e9" }, sent)
      end)
    end
  end)

  it("drops a message that a close frame cuts short", function()
    local log, sent, c = wire.run("client", nil, { hex "0101 61 8802 03e8 8001 62" })
    assert.same({ "= CLOSED: the connection is closed" }, log)
    assert.same({ "88 03e8" }, sent)
    assert.equal(1000, core.close_code(c))
  end)

  it("delivers messages before a close frame or an error; each can still be answered", function()
    for input, last in pairs {
      ["8101 61 8102 6263 8802 03e8"] = "88 03e8",
      ["8101 61 8102 6263 c100"] = "88 03ea" .. bytes.to_hex "reserved bits set without an extension",
      ["8101 61 8102 6263 8101 ff"] = "88 03ef" .. bytes.to_hex "text is not valid UTF-8",
    } do
      wire.every_cut(hex(input), function(pieces)
        local log, sent = wire.run("client", nil, pieces, true)
        assert.same({ "text 61", "text 6263", log[3] }, log)
        assert.same({ "81 61", "81 6263", last }, sent)
      end)
      -- The same when they were decoded while nobody took them.
      local c, log = wire.open("client"), {}
      core.feed(c, hex(input), 0)
      core.pump(c, 0)
      assert.same({}, wire.sent(c))
      wire.take(c, log, true)
      assert.equal(3, #log)
      assert.same({ "81 61", "81 6263", last }, wire.sent(c))
    end
  end)

  it("answers at once for those who only wait for the end", function()
    local c = wire.open("client")
    core.feed(c, hex "8101 61 8802 03e9", 0)
    core.settle(c, 0)
    assert.same({ "88 03e9" }, wire.sent(c))
    assert.same({ "text 61", "= CLOSED: the connection is closed" }, wire.take(c, {}))
  end)
end)

describe("our own close frame", function()
  it("is sent once, waits for the peer's, and nothing is sent behind it", function()
    local c = wire.open("client")
    core.put(c, "first")
    core.close(c, 1001, "going", 0)
    assert.equal("closing", core.state(c))
    core.close(c, 1002, "again", 0)
    local _, _, id = core.put(c, "late")
    assert.equal("CLOSED", id)
    assert.equal("CLOSED", select(3, core.ping(c)))
    core.feed(c, hex "8901 70 8101 61", 0)
    core.pump(c, 0)
    assert.same({ "81 6669727374", "88 03e9676f696e67" }, wire.sent(c))
    assert.equal("closing", core.state(c))
    core.feed(c, hex "8802 03e9", 0)
    core.pump(c, 0)
    assert.equal("closed", core.state(c))
    assert.equal(1001, core.close_code(c))
    assert.same({}, wire.sent(c))
    assert.is_nil(core.close_error(c))
  end)

  it("cuts a reason at 123 bytes between characters", function()
    for _, row in ipairs {
      { ("a"):rep(123), 123 }, { ("a"):rep(124), 123 }, { ("a"):rep(122) .. "\195\164", 122 },
      { ("a"):rep(121) .. "\195\164", 123 }, { ("\226\130\172"):rep(50), 123 },
      { "a" .. ("\226\130\172"):rep(50), 121 }, { ("\240\159\152\128"):rep(40), 120 },
    } do
      local c = wire.open("server")
      core.close(c, 4000, row[1], 0)
      local out = core.output(c, 0)
      assert.equal(0x88, out:byte(1))
      assert.equal(2 + row[2], out:byte(2))
      assert.equal(row[1]:sub(1, row[2]), out:sub(5))
    end
  end)

  it("refuses a reason that is not UTF-8", function()
    assert.error(function() core.close(wire.open("server"), 1000, "\255", 0) end)
  end)

  it("is empty for 1005, which is never on the wire", function()
    local c = wire.open("server")
    core.close(c, 1005, "reason", 0)
    assert.equal("\136\0", core.output(c, 0))
  end)

  it("ends when the peer hangs up or breaks a rule meanwhile, as CLOSED for the program", function()
    for _, input in ipairs { "", "c100", "8101ff", "88010a" } do
      local c = wire.open("client")
      core.close(c, 1000, "", 0)
      core.output(c, 0)
      core.feed(c, hex(input), 0)
      core.eof(c, 0)
      core.pump(c, 0)
      assert.equal("closed", core.state(c))
      assert.equal("CLOSED", (ended(c)))
      assert.equal(1006, core.close_code(c))
      assert.equal("", core.output(c, 0))
    end
  end)

  it("gives up after close_timeout, by the clock it is told", function()
    local c = wire.open("client", { close_timeout = 3 }, 100)
    core.close(c, 1000, "", 200)
    core.output(c, 200)
    assert.equal(203, core.due(c))
    core.expire(c, 202.9)
    assert.equal("closing", core.state(c))
    core.expire(c, 203)
    assert.equal("closed", core.state(c))
    assert.equal(math.huge, core.due(c))
  end)

  it("does not wait with a close_timeout of 0", function()
    local c = wire.open("client", { close_timeout = 0 }, 100)
    core.close(c, 1000, "", 200)
    assert.equal(200, core.due(c))
    core.expire(c, 200)
    assert.equal("closed", core.state(c))
  end)

  it("waits for the fragments of no message", function()
    local c = wire.open("server")
    core.put_fragment(c, "half", "text", true, false)
    core.put(c, "held back")
    core.close(c, 1001, "", 0)
    assert.same({ "01 68616c66", "88 03e9" }, wire.sent(c))
    assert.equal("CLOSED", select(3, core.put_fragment(c, "rest", "text", false, true)))
  end)
end)

describe("the end of input", function()
  it("is LOST without a close frame, after the messages before it", function()
    local c = wire.open("client")
    core.feed(c, hex "8101 61 8101", 0)
    core.eof(c, 0)
    assert.same({ "text 61", "= LOST: the peer hung up without a close frame" }, wire.take(c, {}))
    assert.equal(1006, core.close_code(c))
    assert.same({}, wire.sent(c))
  end)

  it("gives the same answer to every call from then on", function()
    for input, id in pairs { c100 = "PROTOCOL", ["8101ff"] = "BAD_UTF8", ["880203e8"] = "CLOSED" } do
      local c = wire.open("client")
      core.feed(c, hex(input), 0)
      core.next(c, 0)
      for _ = 1, 3 do
        assert.equal(id, (select(3, core.next(c, 0))))
        assert.equal(id, (select(3, core.put(c, "x"))))
        assert.equal(id, (select(3, core.ping(c))))
        assert.equal(id, (select(3, core.put_fragment(c, "x", "text", true, true))))
      end
      core.close(c, 1000, "", 0)
      assert.equal(1, #wire.sent(c))
      assert.is_false(core.hungry(c))
    end
  end)
end)
