-- SPDX-License-Identifier: MIT
-- Compressed messages on the wire (RFC 7692 6 and 7.2).

local bytes = require "spec.support.bytes"
local core = require "duplex.core"
local wire = require "spec.support.wire"

local hex = bytes.hex

local CORRUPT, BITS = "compressed data is corrupt", "reserved bits set without an extension"
local OFFER = "permessage-deflate; client_max_window_bits"
local HELLO = "text 48656c6c6f"

-- Plain connections: contexts on both sides, large windows.
local LIMITS = { compression = { threshold = 0, client_max_window_bits = 15, memory_level = 8 } }
local ANSWER = "permessage-deflate"

-- What comes to a client, with the events of it or the close code and text.
local rows = {
  -- RFC 7692 7.2.3.1, the examples
  { "a fixed block", "c1 07 f2 48 cd c9 c9 07 00", { HELLO } },
  { "a fixed block in two fragments", "41 03 f2 48 cd 80 04 c9 c9 07 00", { HELLO } },
  { "a block without compression, 7.2.3.3", "c1 0b 00 05 00 fa ff 48 65 6c 6c 6f 00", { HELLO } },
  { "a final block, 7.2.3.4", "c1 08 f3 48 cd c9 c9 07 00 00", { HELLO } },
  { "two blocks, 7.2.3.5", "c1 0d f2 48 05 00 00 00 ff ff ca c9 c9 07 00", { HELLO } },
  { "an empty message, 7.2.3.6", "c1 01 00", { "text " } },
  { "the same message twice", "c1 07 f2 48 cd c9 c9 07 00 c1 07 f2 48 cd c9 c9 07 00", { HELLO, HELLO } },
  { "the context of the message before, 7.2.3.2", "c1 07 f2 48 cd c9 c9 07 00 c1 05 f2 00 11 00 00", { HELLO, HELLO } },
  -- what else may come
  { "no compression", "81 05 48 65 6c 6c 6f", { HELLO } },
  { "no compression in between",
    "c1 07 f2 48 cd c9 c9 07 00 81 01 61 c1 05 f2 00 11 00 00", { HELLO, "text 61", HELLO } },
  { "a final block and no more", "c1 07 f3 48 cd c9 c9 07 00", { HELLO } },
  { "an empty final block whose tail was removed", "c1 01 01", { "text " } },
  { "such a block behind content", "c1 07 f2 48 cd c9 c9 07 04", { HELLO } },
  { "such blocks between messages with context",
    "c1 07 f2 48 cd c9 c9 07 04 c1 01 01 c1 05 f2 00 11 00 00", { HELLO, "text ", HELLO } },
  { "final blocks, each the context of the next", "c1 07 f3 48 cd c9 c9 07 00 c1 05 f2 00 11 00 00", { HELLO, HELLO } },
  { "another block behind a final one", "c1 0e f3 48 cd c9 c9 07 00 f2 48 cd c9 c9 07 00", { "text 48656c6c6f48656c6c6f" } },
  { "empty fragments", "41 00 00 03 f2 48 cd 00 00 00 04 c9 c9 07 00 80 00", { HELLO } },
  { "empty blocks", "c2 10 00 00 00 ff ff 00 00 00 ff ff 00 00 00 ff ff 00", { "binary " } },
  { "a ping between fragments", "41 03 f2 48 cd 89 01 70 80 04 c9 c9 07 00", { HELLO }, nil, nil, { "8a 70" } },
  { "a character in two fragments", "41 02 3a bc 80 02 12 00", { "text c3a9" } },
  -- 6: the bit
  { "the bit on a continuation", "41 03 f2 48 cd c0 04 c9 c9 07 00", {}, 1002, BITS },
  { "the bit on a ping", "c9 00", {}, 1002, BITS },
  { "the bit on a pong", "ca 00", {}, 1002, BITS },
  { "the bit on a close frame", "c8 02 03 e8", {}, 1002, BITS },
  { "RSV2 beside it", "e1 01 00", {}, 1002, BITS },
  { "RSV3 beside it", "d1 01 00", {}, 1002, BITS },
  { "RSV2", "a1 01 00", {}, 1002, BITS },
  -- what is no compressed message
  { "no bytes at all", "c1 00", {}, 1007, CORRUPT },
  { "an unknown kind of block", "c1 01 ff", {}, 1007, CORRUPT },
  { "a block whose length is wrong", "c1 06 00 05 00 fa fe 48", {}, 1007, CORRUPT },
  { "a cut block", "c1 04 f2 48 cd c9", {}, 1007, CORRUPT },
  { "a message without the end of its last byte", "c1 06 f2 48 cd c9 c9 07", {}, 1007, CORRUPT },
  { "an end that was not removed", "c1 0b f2 48 cd c9 c9 07 00 00 00 ff ff", {}, 1007, CORRUPT },
  { "an end that becomes content", "c1 05 00 04 00 fb ff", {}, 1007, CORRUPT },
  { "a distance before the beginning", "c1 05 f2 00 11 00 00", {}, 1007, CORRUPT },
  { "a distance before the beginning, after a plain message",
    "81 05 48 65 6c 6c 6f c1 05 f2 00 11 00 00", { HELLO }, 1007, CORRUPT },
  { "a byte behind the end", "c1 08 f2 48 cd c9 c9 07 00 ff", {}, 1007, CORRUPT },
  -- RFC 6455 8.1, of what was inflated
  { "text that is not UTF-8", "c1 04 fa 0f 00 00", {}, 1007, "text is not valid UTF-8" },
  { "bytes that are not UTF-8", "c2 03 fa 0f 00", { "binary ff" } },
  { "half a character at the end", "c1 03 3a 0c 00", {}, 1007, "text is not valid UTF-8" },
}

local function closing(code, text) return "88 " .. bytes.to_hex(bytes.close(code, text)) end

describe("a compressed message:", function()
  for _, row in ipairs(rows) do
    it(row[1] .. ", wherever it is cut", function()
      local ID = row[4] == 1002 and "PROTOCOL" or row[5] == CORRUPT and "PROTOCOL" or "BAD_UTF8"
      wire.every_cut(hex(row[2]), function(pieces)
        local log, sent = wire.run("client", LIMITS, pieces, nil, ANSWER)
        local expected, lines = { (unpack or table.unpack)(row[3]) }, { (unpack or table.unpack)(row[6] or {}) }
        if row[4] then
          expected[#expected + 1] = ("= %s: %s"):format(ID, row[5])
          lines[#lines + 1] = closing(row[4], row[5])
        end
        assert.same(expected, log)
        assert.same(lines, sent)
      end)
    end)
  end

  it("comes masked to a server, wherever it is cut", function()
    local key = "\1\2\3\4"
    local data = bytes.frame(0x41, hex "f2 48 cd", key) .. bytes.frame(0x89, "p", "abcd")
      .. bytes.frame(0x80, hex "c9 c9 07 00", "\255\0\7x") .. bytes.frame(0xc1, hex "f2 00 11 00 00", key)
    wire.every_cut(data, function(pieces)
      local log, sent = wire.run("server", LIMITS, pieces, nil, OFFER)
      assert.same({ HELLO, HELLO }, log)
      assert.same({ "8a 70" }, sent)
    end)
  end)

  it("without context takeover has no context, and needs none", function()
    local answer = "permessage-deflate; server_no_context_takeover"
    local one, two = "c1 07 f2 48 cd c9 c9 07 00", "c1 05 f2 00 11 00 00"
    wire.every_cut(hex(one .. one), function(pieces)
      assert.same({ HELLO, HELLO }, (wire.run("client", LIMITS, pieces, nil, answer)))
    end)
    wire.every_cut(hex(one .. two), function(pieces)
      assert.same({ HELLO, "= PROTOCOL: " .. CORRUPT }, (wire.run("client", LIMITS, pieces, nil, answer)))
    end)
  end)

  it("may not reach back further than the window that was agreed on", function()
    -- 40 bytes, 600 others, and the 40 again as a distance of 640.
    local block = hex "00 80 02 7f fd" .. ("0123456789"):rep(64) .. "\0"
    local again = hex "72 21 32 fd 01 00"
    for bits, fine in pairs { [15] = true, [10] = true, [9] = false } do
      local log = wire.run("client", { compression = true },
        { bytes.frame(0xc2, block), bytes.frame(0xc2, again) }, nil,
        "permessage-deflate; server_max_window_bits=" .. bits)
      assert.equal(fine, log[2] ~= "= PROTOCOL: " .. CORRUPT)
    end
  end)

  it("comes in pieces where they are wanted", function()
    for _, row in ipairs(rows) do
      wire.every_cut(hex(row[2]), function(pieces)
        local c, got = wire.open("client", LIMITS, 0, ANSWER), {}
        for _, piece in ipairs(pieces) do
          core.feed(c, piece, 0)
          repeat
            core.pieces(c, true)
            local data, kind, last = core.next(c, 0)
            if data then
              got[#got] = nil
              got.now = (got.now or kind .. " ") .. bytes.to_hex(data)
              got[#got + 1] = got.now
              if last then got.now, got[#got + 1] = nil, "" end
            end
          until not data
        end
        if got[#got] == "" then got[#got] = nil end
        if not row[4] then assert.same(row[3], got) end
        assert.equal(row[4] ~= nil, core.state(c) == "closed")
      end)
    end
  end)
end)

describe("compressing", function()
  local function sent_by(role, limits, extensions, ...)
    local c = wire.open(role, limits, 0, extensions)
    for _, message in ipairs { ... } do
      if type(message) == "table" then
        assert(core.put(c, message[1], "text", message[2]))
      else
        assert(core.put(c, message))
      end
    end
    return wire.sent(c), c
  end

  it("makes the RFC's own bytes", function()
    local one, two = "c1 f248cdc9c90700", "c1 f200110000"
    assert.same({ one, two }, sent_by("server", LIMITS, OFFER, "Hello", "Hello"))
    assert.same({ one, two }, sent_by("client", LIMITS, ANSWER, "Hello", "Hello"))
    local again = sent_by("client", LIMITS, "permessage-deflate; client_no_context_takeover", "Hello", "Hello")
    -- On its own it would be larger than the message.
    assert.same({ "81 48656c6c6f", "81 48656c6c6f" }, again)
    assert.same({ "c1 00" }, sent_by("server", LIMITS, OFFER, ""))
  end)

  it("leaves short messages as they are, unless told otherwise", function()
    local limits = { compression = { threshold = 6 } }
    local list = sent_by("server", limits, OFFER, "Hello", "HelloHello", { "Hello", { compress = true } },
      { "HelloHello", { compress = false } }, { "Hello", {} })
    for i, first in ipairs { "81", "c1", "c1", "81", "81" } do
      assert.equal(first, list[i]:sub(1, 2))
    end
  end)

  it("does not compress where nothing was agreed on", function()
    for _, extensions in ipairs { "permessage-deflate; x", "x" } do
      assert.same({ "81 " .. ("61"):rep(100) }, (sent_by("server", LIMITS, extensions, ("a"):rep(100))))
    end
    assert.same({ "81 " .. ("61"):rep(100) }, (sent_by("server", { compression = false }, OFFER, ("a"):rep(100))))
  end)

  it("does not compress for a window of 8 bits, which zlib cannot", function()
    local list, c = sent_by("client", LIMITS, "permessage-deflate; client_max_window_bits=8", ("a"):rep(100))
    assert.same({ "81 " .. ("61"):rep(100) }, list)
    core.feed(c, hex "c1 07 f2 48 cd c9 c9 07 00", 0)
    assert.equal("Hello", (core.next(c, 0)))
  end)

  -- RFC 7692 7.2.3.4 allows final blocks, but not all take them.
  it("sends final blocks to clients that keep no context, or to nobody", function()
    local function is_final(lines)
      local first = lines[1]:match("^c1 (%x%x)")
      return tonumber(first, 16) % 2 == 1
    end
    local text = ("some text, "):rep(20)
    local shared = { compression = { compressor = "shared" } }
    assert.is_false(is_final((sent_by("client", shared, "permessage-deflate", text))))
    assert.is_false(is_final((sent_by("client", LIMITS, ANSWER, text))))
    assert.is_false(is_final((sent_by("server", LIMITS, OFFER, text))))
    for _, limits in ipairs { LIMITS, shared } do
      local c = wire.open("server", limits, 0, OFFER)
      local forgets = core.extensions(c):find("server_no_context_takeover", 1, true) ~= nil
      core.broadcast({ [c] = true }, text)
      assert.is_true(forgets or not is_final(wire.sent(c)))
    end
  end)

  it("raises for options that are none", function()
    local c = wire.open("server", LIMITS, 0, OFFER)
    for _, row in ipairs { { 1, "table expected" }, { { compres = true }, "the one option of send is 'compress'" },
      { { true }, "the one option of send is 'compress'" },
      { { compress = 1 }, "option 'compress' must be true or false" } } do
      local fine, problem = pcall(core.put, c, "x", "text", row[1])
      assert.is_false(fine)
      assert.matches(row[2], problem)
    end
  end)

  -- What 'from' sends, 'to' receives; each gets what the other agreed to.
  local function joined(client_options, server_options)
    local server = wire.open("server", { compression = server_options, max_message = 2 ^ 24 }, 0,
      "permessage-deflate; client_max_window_bits")
    local client = wire.open("client", { compression = client_options, max_message = 2 ^ 24 }, 0,
      core.extensions(server))
    return client, server
  end

  local function pass(from, to, message, kind, options)
    assert(core.put(from, message, kind, options))
    core.feed(to, core.output(from, 0), 0)
    assert.equal(message, (core.next(to, 0)))
  end

  local dice = {}
  for i = 1, 70000 do dice[i] = string.char(math.random(0, 255)) end
  dice = table.concat(dice)
  local function noise(n) return dice:sub(1, n) end

  it("goes both ways with all windows and takeovers", function()
    for bits = 9, 15 do
      for kind = 0, 3 do
        local options = { threshold = 0, server_max_window_bits = bits, client_max_window_bits = 24 - bits,
          server_no_context_takeover = kind % 2 == 1, client_no_context_takeover = kind > 1 }
        local client, server = joined(options, options)
        for _, size in ipairs { 0, 1, 5, 100, 1000, 70000 } do
          for _, message in ipairs { ("a"):rep(size), ("some text, "):rep(math.floor(size / 10)), noise(size) } do
            pass(client, server, message, "binary")
            pass(server, client, message, "binary")
            pass(server, client, message, "binary", { compress = size % 2 == 0 })
          end
        end
      end
    end
  end)

  it("sends what would grow as it is, but where a context has to hear of it", function()
    for shared, first in pairs { [true] = "82", [false] = "c2" } do
      local client, server = joined(true, { compressor = shared and "shared" or "dedicated" })
      local data = noise(1000)
      assert(core.put(server, data, "binary"))
      local output = core.output(server, 0)
      assert.equal(first, bytes.to_hex(output:sub(1, 1)))
      assert.is_true(#output < 1020)
      core.feed(client, output, 0)
      assert.equal(data, (core.next(client, 0)))
      pass(server, client, ("text "):rep(100))
    end
  end)

  it("holds for a message in fragments, and what is sent meanwhile", function()
    for _, options in ipairs { { threshold = 0 }, { threshold = 0, compressor = "shared" } } do
      local client, server = joined(options, options)
      for _, pair in ipairs { { client, server }, { server, client } } do
        local from, to = pair[1], pair[2]
        pass(from, to, "before, before, before")
        assert(core.put_fragment(from, "one one one ", "text", true, false))
        assert(core.put(from, "between, between, between"))
        assert(core.put_fragment(from, "", "text", false, false))
        assert(core.put_fragment(from, "two one two ", "text", false, false))
        assert(core.put(from, "between, between, between", "text", { compress = true }))
        assert(core.put_fragment(from, "", "text", false, true))
        core.feed(to, core.output(from, 0), 0)
        assert.equal("one one one two one two ", (core.next(to, 0)))
        assert.equal("between, between, between", (core.next(to, 0)))
        assert.equal("between, between, between", (core.next(to, 0)))
        pass(from, to, "before, before, before")
      end
    end
  end)

  it("sends the fragments of a plain message as they are", function()
    local _, server = joined(true, true)
    assert(core.put_fragment(server, ("a"):rep(100), "text", true, false, { compress = false }))
    assert(core.put_fragment(server, ("a"):rep(100), "text", false, true))
    assert.same({ "01 " .. ("61"):rep(100), "80 " .. ("61"):rep(100) }, wire.sent(server))
  end)

  it("counts bytes of messages and of what they became", function()
    local client, server = joined({ threshold = 10 }, { threshold = 10 })
    pass(client, server, "short")
    pass(client, server, ("long "):rep(100))
    local payload_in, wire_in, payload_out, wire_out = core.compression(server)
    assert.same({ 505, 0, 0 }, { payload_in, payload_out, wire_out })
    assert.is_true(wire_in < 40)
    assert.same({ 0, 0, payload_in, wire_in }, { core.compression(client) })
    assert.is_nil(core.compression(wire.open("client")))
  end)
end)

describe("a bomb", function()
  -- 20,000 zeros
  local zeros = hex("ec c1 31 01 00 00 00 c2 a0 f5 4f 6d 0d 0f a0" .. ("00"):rep(19) .. "78 30 00")

  it("ends with 1009 as soon as it is larger than max_message", function()
    for _, most in ipairs { 1, 1000, 19999 } do
      wire.every_cut(bytes.frame(0xc2, zeros), function(pieces)
        local limits = { compression = true, max_message = most }
        local log, sent = wire.run("client", limits, pieces, nil, ANSWER)
        assert.same({ "= TOO_BIG: message larger than max_message" }, log)
        assert.same({ closing(1009, "message larger than max_message") }, sent)
      end)
    end
  end)

  it("is none when it has just max_message bytes", function()
    wire.every_cut(bytes.frame(0xc2, zeros), function(pieces)
      local log = wire.run("client", { compression = true, max_message = 20000 }, pieces, nil, ANSWER)
      assert.equal(1, #log)
      assert.is_true(log[1] == "binary " .. ("00"):rep(20000))
    end)
  end)

  it("may not hide in fragments", function()
    local list = { bytes.frame(0x42, zeros) }
    for i = 2, 100 do list[i] = bytes.frame(0x00, "\0\0\255\255" .. zeros) end
    local log = wire.run("client", { compression = true, max_message = 100000 }, list, nil, ANSWER)
    assert.same({ "= TOO_BIG: message larger than max_message" }, log)
  end)

  it("is what has no content and no end, too", function()
    local limits = { compression = true, max_message = 1000 }
    local list = { bytes.frame(0x42, "") }
    for i = 2, 1000 do list[i] = bytes.frame(0x00, ("\0\0\0\255\255"):rep(100)) end
    local log = wire.run("client", limits, list, nil, ANSWER)
    assert.same({ "= TOO_BIG: message larger than max_message" }, log)
    log = wire.run("client", limits, { bytes.head(0xc2, 2 ^ 40) }, nil, ANSWER)
    assert.same({ "= TOO_BIG: message larger than max_message" }, log)
  end)
end)
