-- SPDX-License-Identifier: MIT
-- Streams of frames, mutated: however they are cut, what comes out is the same.
-- The seed is fixed, so a failure can be had again; it is part of the message.

local bytes = require "spec.support.bytes"
local core = require "duplex.core"
local sequence = require "spec.support.sequence"
local wire = require "spec.support.wire"

local ROUNDS = 1000
local LIMITS = { max_message = 300, max_fragments = 3, max_control_rate = 3, max_queue = 3, max_queue_bytes = 400 }

local TEXTS = { "", "a", "Hello", "\206\186\225\189\185\207\131", "\237\160\128", "\226\130", "\172",
  ("x"):rep(125), ("y"):rep(126), ("\226\130\172"):rep(60), ("\240\159\152\128"):rep(20) .. "\255" }
local FIRSTS = { 0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8a, 0x81, 0x82, 0x80, 0x00, 0x88, 0x09, 0xc1, 0x83 }

local function stream(random, server)
  local list = {}
  for i = 1, random(12) do
    local first = FIRSTS[random(random(20) == 1 and #FIRSTS or #FIRSTS - 4)]
    local payload = TEXTS[random(#TEXTS)]
    if first == 0x88 then payload = bytes.close(995 + random(20)) .. payload end
    local key = server and string.char(random(256) - 1, random(256) - 1, random(256) - 1, random(256) - 1) or nil
    list[i] = bytes.frame(first, payload, key)
  end
  local data = table.concat(list)
  for _ = 1, random(4) - 1 do -- mutations: change, drop or double a byte
    local at, how = random(math.max(1, #data)), random(3)
    local byte = data:sub(at, at)
    if how == 1 then byte = string.char(random(256) - 1) elseif how == 2 then byte = "" else byte = byte .. byte end
    data = data:sub(1, at - 1) .. byte .. data:sub(at + 1)
  end
  return data
end

-- Feeds pieces as a transport would: only while it is hungry, pumping when
-- 'lazy' (nobody takes messages until the queue is full).
local function play(role, pieces, lazy)
  local c, log = wire.open(role, LIMITS), {}
  for _, piece in ipairs(pieces) do
    if not core.hungry(c) then wire.take(c, log) end
    if not core.hungry(c) then break end
    core.feed(c, piece, 0)
    if lazy then core.pump(c, 0) else wire.take(c, log) end
  end
  wire.take(c, log)
  local sent = wire.sent(c)
  sent[#sent + 1] = tostring((core.close_code(c))) .. " " .. tostring((core.close_reason(c))) .. " " .. core.state(c)
  return log, sent
end

describe("a mutated stream of frames", function()
  for _, role in ipairs { "server", "client" } do
    it("gives a " .. role .. " the same events whole, byte by byte and cut at random", function()
      local ends = {}
      for seed = 1, ROUNDS do
        local random = sequence(seed * 7919)
        local data = stream(random, role == "server")
        local log, sent = play(role, { data })
        local single = {}
        for i = 1, #data do single[i] = data:sub(i, i) end
        for name, pieces in pairs { single = single, random = bytes.cut(random, data, 40), again = bytes.cut(random, data, 40) } do
          for _, lazy in ipairs { false, true } do
            local other_log, other_sent = play(role, pieces, lazy)
            local where = ("%s seed %d, cut %s%s: %s"):format(role, seed, name, lazy and ", lazy" or "", bytes.to_hex(data))
            assert.same(log, other_log, where)
            assert.same(sent, other_sent, where)
          end
        end
        ends[(log[#log] or ""):match("^= ([%u%d_]+):") or "open"] = true
      end
      -- The streams are worth something only if they reach all kinds of ends.
      for _, id in ipairs { "open", "PROTOCOL", "BAD_UTF8", "TOO_BIG", "LIMIT", "CLOSED" } do
        assert.is_true(ends[id], id)
      end
    end)
  end
end)
