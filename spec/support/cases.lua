-- SPDX-License-Identifier: MIT
-- What an echoing WebSocket must do, as rows that hold for both roles. The
-- numbers are those of the well-known Autobahn test suite, whose strict
-- expectations these are.
--
--   { number, title, sent frames, expected frames, code of its close frame or
--     nil when it must stay open, chop = n: also written n bytes at a time }
-- A frame is { first byte, payload }.

local bytes = require "spec.support.bytes"
local utf8_rows = require "spec.support.utf8_rows"

local cases = {}
local hex, close = bytes.hex, bytes.close

local function add(row) cases[#cases + 1] = row end

-- 1: messages of every length that is written differently
for section, first in ipairs { 0x81, 0x82 } do
  local unit = section == 1 and "*" or "\254"
  for i, size in ipairs { 0, 1, 125, 126, 127, 128, 65535, 65536 } do
    local message = { first, unit:rep(size) }
    add { ("1.%d.%d"):format(section, i), size .. " bytes", { message }, { message },
      chop = size < 1000 and 1 or 997 }
  end
end

-- 2: pings and pongs
local P125 = "\254" .. ("\0\1"):rep(62)
add { "2.1", "an empty ping", { { 0x89, "" } }, { { 0x8a, "" } } }
add { "2.2", "a ping with text", { { 0x89, "Hello, world!" } }, { { 0x8a, "Hello, world!" } } }
add { "2.3", "a ping with bytes", { { 0x89, "\0\255\254\253\252\251\0\255" } }, { { 0x8a, "\0\255\254\253\252\251\0\255" } } }
add { "2.4", "a ping of 125 bytes", { { 0x89, P125 } }, { { 0x8a, P125 } }, chop = 1 }
add { "2.5", "a ping of 126 bytes", { { 0x89, P125 .. "." } }, {}, 1002, chop = 1 }
add { "2.7", "a pong nobody asked for", { { 0x8a, "" }, { 0x81, "x" } }, { { 0x81, "x" } } }
add { "2.8", "a pong with payload", { { 0x8a, "unsolicited" }, { 0x81, "x" } }, { { 0x81, "x" } } }
add { "2.9", "a pong, then a ping", { { 0x8a, "unsolicited" }, { 0x89, "ping" } }, { { 0x8a, "ping" } } }
local many, answers = {}, {}
for i = 1, 10 do many[i], answers[i] = { 0x89, "payload-" .. i }, { 0x8a, "payload-" .. i } end
add { "2.10", "ten pings", many, answers, chop = 1 }

-- 3: reserved bits
for rsv = 1, 7 do
  local bits = rsv * 16
  add { "3." .. rsv, "reserved bits " .. rsv .. " after a message",
    { { 0x81, "Hello" }, { 0x81 + bits, "Hello" }, { 0x89, "" } }, { { 0x81, "Hello" } }, 1002, chop = 1 }
  add { "3." .. rsv .. "a", "reserved bits " .. rsv .. " of a binary message",
    { { 0x82 + bits, "\0\255\254\253\252\251\0\255" } }, {}, 1002 }
  add { "3." .. rsv .. "b", "reserved bits " .. rsv .. " of a control frame", { { 0x89 + bits, "" } }, {}, 1002 }
  add { "3." .. rsv .. "c", "reserved bits " .. rsv .. " of a continuation",
    { { 0x01, "a" }, { 0x80 + bits, "b" } }, {}, 1002 }
  add { "3." .. rsv .. "d", "reserved bits " .. rsv .. " of a close frame", { { 0x88 + bits, close(1000) } }, {}, 1002 }
end

-- 4: reserved opcodes
for _, op in ipairs { 3, 4, 5, 6, 7, 11, 12, 13, 14, 15 } do
  local section = op < 8 and "4.1." or "4.2."
  add { section .. op, "opcode " .. op, { { 0x80 + op, "" } }, {}, 1002 }
  add { section .. op .. "b", "opcode " .. op .. " with payload", { { 0x80 + op, "reserved" } }, {}, 1002 }
  add { section .. op .. "c", "opcode " .. op .. " after a message",
    { { 0x81, "Hello" }, { 0x80 + op, "x" }, { 0x89, "" } }, { { 0x81, "Hello" } }, 1002, chop = 1 }
  add { section .. op .. "d", "opcode " .. op .. " without FIN", { { op, "" } }, {}, 1002 }
end

-- 5: fragmentation
local A, B = { 0x01, "fragment1" }, { 0x80, "fragment2" }
local WHOLE = { 0x81, "fragment1fragment2" }
local PING, PONG = { 0x89, "ping" }, { 0x8a, "ping" }
add { "5.1", "a ping in fragments", { { 0x09, "fragment1" }, B }, {}, 1002, chop = 1 }
add { "5.2", "a pong in fragments", { { 0x0a, "fragment1" }, B }, {}, 1002, chop = 1 }
add { "5.3", "two fragments", { A, B }, { WHOLE }, chop = 1 }
add { "5.6", "a ping between fragments", { A, PING, B }, { PONG, WHOLE }, chop = 1 }
add { "5.9", "a continuation of nothing", { { 0x80, "non-continuation" }, { 0x81, "Hello" } }, {}, 1002, chop = 1 }
add { "5.12", "an open continuation of nothing", { { 0x00, "non-continuation" }, { 0x81, "Hello" } }, {}, 1002, chop = 1 }
add { "5.15", "a message, then a continuation of nothing",
  { A, B, { 0x00, "fragment3" }, { 0x81, "fragment4" } }, { WHOLE }, 1002, chop = 1 }
add { "5.16", "continuations around messages", { { 0x00, "fragment1" }, { 0x01, "fragment2" }, { 0x80, "fragment3" } }, {}, 1002 }
add { "5.17", "a last continuation before a message", { { 0x80, "fragment1" }, { 0x01, "fragment2" }, { 0x80, "fragment3" } }, {}, 1002 }
add { "5.18", "a message within a message", { A, { 0x81, "fragment2" } }, {}, 1002, chop = 1 }
add { "5.18b", "a binary message within a text", { A, { 0x02, "fragment2" } }, {}, 1002 }
add { "5.19", "pings between five fragments",
  { A, { 0x00, "fragment2" }, { 0x89, "pongme 1!" }, { 0x00, "fragment3" }, { 0x00, "fragment4" },
    { 0x89, "pongme 2!" }, { 0x80, "fragment5" } },
  { { 0x8a, "pongme 1!" }, { 0x8a, "pongme 2!" }, { 0x81, "fragment1fragment2fragment3fragment4fragment5" } }, chop = 1 }
add { "5.21", "a pong between fragments", { A, { 0x8a, "x" }, B }, { WHOLE } }

-- 6: UTF-8
for op, kind in ipairs { "text", "binary" } do
  add { "6.1.2." .. kind, "empty fragments, " .. kind, { { op, "" }, { 0x00, "" }, { 0x80, "" } }, { { 0x80 + op, "" } } }
  add { "6.1.3." .. kind, "empty fragments around bytes, " .. kind,
    { { op, "" }, { 0x00, "mid" }, { 0x00, "" }, { 0x80, "" } }, { { 0x80 + op, "mid" } }, chop = 1 }
end
local FIRST, SECOND = hex "48656c6c6f2dc2b540c39fc3b6c3a4", hex "c3bcc3a0c3a12d5554462d382121"
add { "6.2.2", "two fragments cut between letters", { { 0x01, FIRST }, { 0x80, SECOND } }, { { 0x81, FIRST .. SECOND } } }
for i, row in ipairs(utf8_rows.valid) do
  local text = hex(row[1])
  add { "6.v" .. i, row[2], { { 0x81, text } }, { { 0x81, text } } }
  local parts = { { 0x01, "" } }
  for k = 1, #text do parts[#parts + 1] = { 0x00, text:sub(k, k) } end
  parts[#parts + 1] = { 0x80, "" }
  add { "6.v" .. i .. "f", row[2] .. ", a fragment a byte", parts, { { 0x81, text } } }
end
for i, row in ipairs(utf8_rows.invalid) do
  local text = hex(row[1])
  add { "6.i" .. i, row[3], { { 0x81, text } }, {}, 1007 }
  -- Fail fast: what would come behind the bad byte is not sent at all.
  local at = row[2] > 0 and row[2] or #text
  local parts = { { 0x01, "" } }
  for k = 1, at do parts[#parts + 1] = { 0x00, text:sub(k, k) } end
  if row[2] == 0 then parts[#parts + 1] = { 0x80, "" } end
  add { "6.i" .. i .. "f", row[3] .. ", a fragment a byte", parts, {}, 1007 }
  if row[2] > 0 then
    add { "6.i" .. i .. "c", row[3] .. ", cut behind the bad byte", {}, {}, 1007,
      cut = { 0x81, text:sub(1, at), at + 100 } }
  end
  add { "6.i" .. i .. "b", row[3] .. ", as binary", { { 0x82, text } }, { { 0x82, text } } }
end
local others = {}
for i, text in ipairs(utf8_rows.others.valid) do others[i] = { 0x81, hex(text) } end
add { "6.5", "other texts, one after another", others, others }
for i, text in ipairs(utf8_rows.others.invalid) do
  add { "6.o" .. i, "no text: " .. text, { { 0x81, hex(text) } }, {}, 1007 }
end
-- Alive with what may become a text, and not with what never will.
for i, cut in ipairs { 11, 12 } do
  local text = hex "cebae1bdb9cf83cebcceb5f490"
  add { "6.4." .. i, "a bad byte in the second fragment, after " .. cut,
    { { 0x01, text:sub(1, cut) }, PING, { 0x00, text:sub(cut + 1) } }, { PONG }, 1007 }
end
add { "6.4.0", "a valid message before a bad one", { { 0x81, "good" }, { 0x81, "\255" } }, { { 0x81, "good" } }, 1007, chop = 1 }
-- In a frame so large that it is received in place.
for i, size in ipairs { 30000, 65536, 200000, 700000 } do
  add { "6.4.5." .. i, "a bad byte after " .. size .. " bytes of a larger frame", {}, {}, 1007,
    cut = { 0x81, "\255", 1048576, ("x"):rep(size) } }
end

-- 7: closing
local BYE = { 0x88, close(1000) }
add { "7.1.1", "a message, then a close frame", { { 0x81, "Hello" }, BYE }, { { 0x81, "Hello" } }, 1000, chop = 1 }
add { "7.1.2", "two close frames", { BYE, BYE }, {}, 1000, chop = 1 }
add { "7.1.3", "a ping after the close frame", { BYE, PING }, {}, 1000, chop = 1 }
add { "7.1.4", "a message after the close frame", { BYE, { 0x81, "Hello" } }, {}, 1000, chop = 1 }
add { "7.1.5", "a close frame between fragments", { A, BYE, B }, {}, 1000, chop = 1 }
local LARGE = { 0x81, ("BAsd7&jh23"):rep(26214) .. "BAsd7&" }
local SMALL = { 0x81, "Hello World!" }
add { "7.1.6", "large, small, a close frame, a ping", { LARGE, SMALL, BYE, PING }, { LARGE, SMALL }, 1000 }
add { "7.1.7", "garbage after the close frame", { BYE, { 0xff, "x" } }, {}, 1000 }
add { "7.3.1", "a close frame without a code", { { 0x88, "" } }, {}, 1005 }
add { "7.3.2", "a close frame with one byte", { { 0x88, "a" } }, {}, 1002 }
add { "7.3.3", "a close frame with a code", { BYE }, {}, 1000 }
add { "7.3.4", "a close frame with a reason", { { 0x88, close(1000, "Hello World!") } }, {}, 1000, chop = 1 }
add { "7.3.5", "a reason of 123 bytes", { { 0x88, close(1000, ("*"):rep(123)) } }, {}, 1000 }
add { "7.3.6", "a reason of 124 bytes", { { 0x88, close(1000, ("*"):rep(124)) } }, {}, 1002 }
add { "7.3.7", "a close frame in fragments", { { 0x08, close(1000) }, { 0x80, "" } }, {}, 1002 }
for i, row in ipairs(utf8_rows.invalid) do
  if #row[1] <= 246 then
    add { "7.5." .. i, "a reason with " .. row[3], { { 0x88, close(1000, hex(row[1])) } }, {}, 1007 }
  end
end
add { "7.5.0", "a reason in Greek", { { 0x88, close(1000, hex "cebae1bdb9cf83cebcceb5") } }, {}, 1000 }
for _, code in ipairs { 1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999 } do
  add { "7.7." .. code, "code " .. code, { { 0x88, close(code) } }, {}, code }
end
for _, code in ipairs { 0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 32768, 65535 } do
  add { "7.9." .. code, "code " .. code, { { 0x88, close(code) } }, {}, 1002 }
  add { "7.9." .. code .. "b", "code " .. code .. " with a reason", { { 0x88, close(code, "reason") } }, {}, 1002 }
end

return cases
