-- SPDX-License-Identifier: MIT
local bytes = require "spec.support.bytes"
local wire = require "spec.support.wire"

local hex = bytes.hex

-- Close frames with their texts, as they are sent.
local function closing(code, text) return "88 " .. bytes.to_hex(bytes.close(code, text)) end
local BITS, OPCODE = "reserved bits set without an extension", "unknown opcode"
local UNMASKED, MASKED = "frame from a client is not masked", "frame from a server is masked"
local LENGTH, LONG = "frame length is not in its shortest form", "control frame longer than 125 bytes"
local FRAGMENTED = "control frame is fragmented"
local CONTINUATION = "continuation frame without a message to continue"
local INTERLEAVED = "new message before the end of the one before"
local UTF8 = "text is not valid UTF-8"

-- role, what, hexadecimal of what comes, events, close code and text, others sent
local rows = {
  -- RFC 6455 5.7, the examples
  { "client", "an unmasked text", "81 05 48 65 6c 6c 6f", { "text 48656c6c6f" } },
  { "server", "a masked text", "81 85 37 fa 21 3d 7f 9f 4d 51 58", { "text 48656c6c6f" } },
  { "client", "a text in fragments", "01 03 48 65 6c 80 02 6c 6f", { "text 48656c6c6f" } },
  { "client", "an unmasked ping", "89 05 48 65 6c 6c 6f", {}, nil, nil, { "8a 48656c6c6f" } },
  { "server", "a masked pong", "8a 85 37 fa 21 3d 7f 9f 4d 51 58", {} },
  { "client", "256 bytes", "82 7e 01 00" .. ("ab"):rep(256), { "binary " .. ("ab"):rep(256) } },
  -- 5.2: lengths
  { "client", "126 bytes", "82 7e 00 7e" .. ("01"):rep(126), { "binary " .. ("01"):rep(126) } },
  { "client", "125 bytes in two", "82 7e 00 7d" .. ("01"):rep(125), {}, 1002, LENGTH },
  { "client", "0 bytes in two", "82 7e 00 00", {}, 1002, LENGTH },
  { "client", "65535 bytes in eight", "82 7f 00 00 00 00 00 00 ff ff", {}, 1002, LENGTH },
  { "client", "5 bytes in eight", "82 7f 00 00 00 00 00 00 00 05", {}, 1002, LENGTH },
  { "client", "a length of 2^63", "82 7f 80 00 00 00 00 00 00 00", {}, 1002, LENGTH },
  { "client", "a length of 2^64 - 1", "82 7f ff ff ff ff ff ff ff ff", {}, 1002, LENGTH },
  { "server", "a masked length that is not minimal", "82 fe 00 05 00 00 00 00 01 02 03 04 05", {}, 1002, LENGTH },
  { "server", "0 bytes", "81 80 00 00 00 00", { "text " } },
  -- 5.1: masks
  { "server", "an unmasked text", "81 05 48 65 6c 6c 6f", {}, 1002, UNMASKED },
  { "server", "an unmasked ping", "89 00", {}, 1002, UNMASKED },
  { "server", "an unmasked close frame", "88 02 03 e8", {}, 1002, UNMASKED },
  { "client", "a masked text", "81 85 37 fa 21 3d 7f 9f 4d 51 58", {}, 1002, MASKED },
  { "client", "a masked empty ping", "89 80 00 00 00 00", {}, 1002, MASKED },
  -- 5.2: reserved bits and opcodes
  { "client", "RSV1", "c1 00", {}, 1002, BITS }, { "client", "RSV2", "a1 00", {}, 1002, BITS },
  { "client", "RSV3", "91 00", {}, 1002, BITS }, { "client", "all of them", "f1 00", {}, 1002, BITS },
  { "client", "RSV1 of a ping", "c9 00", {}, 1002, BITS },
  { "client", "opcode 3", "83 00", {}, 1002, OPCODE }, { "client", "opcode 7", "87 00", {}, 1002, OPCODE },
  { "client", "opcode 11", "8b 00", {}, 1002, OPCODE }, { "client", "opcode 15", "8f 00", {}, 1002, OPCODE },
  { "server", "opcode 3", "83 85 37 fa 21 3d 7f 9f 4d 51 58", {}, 1002, OPCODE },
  { "client", "an unknown opcode with a giant length", "83 7f 7f ff ff ff ff ff ff ff", {}, 1002, OPCODE },
  -- 5.4: fragmentation
  { "client", "three fragments", "01 01 61 00 01 62 80 01 63", { "text 616263" } },
  { "client", "empty fragments", "02 00 00 00 80 00", { "binary " } },
  { "client", "an empty last fragment", "02 01 61 80 00", { "binary 61" } },
  { "client", "a ping between fragments", "01 01 61 89 01 70 80 01 62", { "text 6162" }, nil, nil, { "8a 70" } },
  { "client", "a pong between fragments", "01 01 61 8a 01 70 80 01 62", { "text 6162" } },
  { "server", "a masked ping between masked fragments",
    "01 82 01 02 03 04 60 60 89 83 05 06 07 08 75 6f 69 80 82 09 0a 0b 0c 6a 6e",
    { "text 61626364" }, nil, nil, { "8a 70696e" } },
  { "client", "a continuation first", "80 01 61", {}, 1002, CONTINUATION },
  { "client", "an open continuation first", "00 01 61", {}, 1002, CONTINUATION },
  { "client", "a continuation after a whole message", "81 01 61 80 01 62", { "text 61" }, 1002, CONTINUATION },
  { "client", "a continuation after fragments", "01 01 61 80 01 62 00 01 63", { "text 6162" }, 1002, CONTINUATION },
  { "client", "a text within a text", "01 01 61 81 01 62", {}, 1002, INTERLEAVED },
  { "client", "a binary message within a text", "01 01 61 02 01 62", {}, 1002, INTERLEAVED },
  -- 5.5: control frames
  { "client", "a ping of 125 bytes", "89 7d" .. ("61"):rep(125), {}, nil, nil, { "8a " .. ("61"):rep(125) } },
  { "client", "a ping of 126 bytes", "89 7e 00 7e" .. ("61"):rep(126), {}, 1002, LONG },
  { "client", "a ping with a length in two bytes", "89 7e 00 05 61 61 61 61 61", {}, 1002, LONG },
  { "client", "a ping with a length in eight bytes", "89 7f 00 00 00 00 00 00 00 05", {}, 1002, LONG },
  { "client", "a close frame of 126 bytes", "88 7e 00 7e 03 e8", {}, 1002, LONG },
  { "client", "a ping in fragments", "09 01 61 80 01 62", {}, 1002, FRAGMENTED },
  { "client", "a pong in fragments", "0a 00", {}, 1002, FRAGMENTED },
  { "client", "a close frame in fragments", "08 00", {}, 1002, FRAGMENTED },
  { "client", "two pings", "89 01 61 89 01 62", {}, nil, nil, { "8a 61", "8a 62" } },
  -- 8.1: a character across fragments, and errors
  { "client", "a character in three fragments", "01 01 e2 00 01 82 80 01 ac", { "text e282ac" } },
  { "client", "a ping within a character", "01 01 e2 89 01 ff 80 02 82 ac", { "text e282ac" }, nil, nil, { "8a ff" } },
  { "client", "half a character at the end", "81 02 e2 82", {}, 1007, UTF8 },
  { "client", "half a character at the end of fragments", "01 01 e2 80 01 82", {}, 1007, UTF8 },
  { "client", "half a character, then a message", "01 01 e2 80 01 82 81 01 61", {}, 1007, UTF8 },
  { "client", "a surrogate", "81 03 ed a0 80", {}, 1007, UTF8 },
  { "client", "the same as binary", "82 03 ed a0 80", { "binary eda080" } },
  { "server", "a bad byte behind a mask", "81 81 37 fa 21 3d c8", {}, 1007, UTF8 },
  -- what came before an error is delivered
  { "client", "messages before an error", "81 01 61 82 01 62 c1 00", { "text 61", "binary 62" }, 1002, BITS },
  { "client", "a ping before an error", "89 01 61 c1 00", {}, 1002, BITS, { "8a 61" } },
}

describe("frames (RFC 6455 5)", function()
  for _, row in ipairs(rows) do
    local role, title, input, events, code, text, others = row[1], row[2], hex(row[3]), row[4], row[5], row[6], row[7]
    it(("a %s gets %s"):format(role, title), function()
      local expected, sent = {}, {}
      for i, line in ipairs(events) do expected[i] = line end
      for i, line in ipairs(others or {}) do sent[i] = line end
      if code then
        expected[#expected + 1] = ("= %s: %s"):format(code == 1007 and "BAD_UTF8" or "PROTOCOL", text)
        sent[#sent + 1] = closing(code, text)
      end
      wire.every_cut(input, function(pieces)
        local log, out = wire.run(role, nil, pieces)
        assert.same(expected, log)
        assert.same(sent, out)
      end)
    end)
  end
end)

describe("check_head agrees with a naive model", function()
  -- The rules one by one, as RFC 6455 5.2 to 5.5 has them.
  local function model(server, op, fin, rsv, masked, length, in_message)
    local control = op >= 8
    if rsv ~= 0 then return 1002 end
    if op ~= 0 and op ~= 1 and op ~= 2 and op ~= 8 and op ~= 9 and op ~= 10 then return 1002 end
    if server ~= masked then return 1002 end
    if control and (not fin or length > 125) then return 1002 end
    if op == 0 and not in_message then return 1002 end
    if (op == 1 or op == 2) and in_message then return 1002 end
    if not control and length > 1048576 then return 1009 end
    return nil
  end

  for _, server in ipairs { true, false } do
    local key = server and "\0\0\0\0" or nil
    it((server and "server" or "client") .. ": every opcode, FIN, RSV, mask, state and edge of length", function()
      local role, checked = server and "server" or "client", 0
      local prefix = bytes.frame(0x02, "", key)
      for op = 0, 15 do for fin = 0, 1 do for rsv = 0, 7 do for masked = 0, 1 do for state = 0, 1 do
        for _, length in ipairs { 0, 125, 126, 65535, 65536, 1048576, 1048577 } do
          local c = wire.open(role)
          local core = require "duplex.core"
          if state == 1 then
            core.feed(c, prefix, 0)
            assert.is_nil(core.next(c, 0))
          end
          local first = fin * 128 + rsv * 16 + op
          core.feed(c, bytes.head(first, length, masked == 1 and "\0\0\0\0" or nil), 0)
          core.next(c, 0)
          local out = bytes.frames(core.output(c, 0))
          local code = out[1] and out[1][1] == 0x88 and #out[1][2] > 1
            and out[1][2]:byte(1) * 256 + out[1][2]:byte(2) or nil
          local expected = model(server, op, fin == 1, rsv, masked == 1, length, state == 1)
          -- A whole empty close frame is answered by one like it.
          if expected ~= code then
            error(("%s: first byte %02x, masked %d, length %d, in message %d: %s instead of %s")
              :format(role, first, masked, length, state, tostring(code), tostring(expected)))
          end
          checked = checked + 1
        end
      end end end end end
      assert.equal(16 * 2 * 8 * 2 * 2 * 7, checked)
    end)
  end
end)
