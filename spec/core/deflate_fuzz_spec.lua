-- SPDX-License-Identifier: MIT
-- Streams of compressed messages, mutated: however they are cut, what comes out
-- is the same, and no message is longer than max_message.
-- The seed is fixed, so a failure can be had again; it is part of the message.

local bytes = require "spec.support.bytes"
local core = require "duplex.core"
local sequence = require "spec.support.sequence"
local wire = require "spec.support.wire"

local ROUNDS = 200
local LIMITS = {
  max_message = 12000, max_fragments = 3, max_queue = 3, max_queue_bytes = 4000,
  compression = { threshold = 0, client_max_window_bits = 9, server_max_window_bits = 9 },
}
-- By role: what the other side offers or answers.
local SAID = {
  server = { "permessage-deflate; client_max_window_bits=9", "permessage-deflate; client_no_context_takeover" },
  client = { "permessage-deflate; server_max_window_bits=9", "permessage-deflate; server_no_context_takeover; server_max_window_bits=9" },
}

local WORDS = { "wire ", "byte ", "\226\130\172 ", "frame ", "\206\186\225\189\185 ", "a", "", "message " }

local function text(random)
  local parts = {}
  for i = 1, random(60) do parts[i] = WORDS[random(#WORDS)] end
  -- What many bytes become of needs room again and again.
  if random(4) == 1 then parts[#parts + 1] = ("again "):rep(random(2500)) end
  if random(8) == 1 then parts[#parts + 1] = "\255" end
  return table.concat(parts)
end

local function noise(random)
  local parts = {}
  for i = 1, random(300) do parts[i] = string.char(random(256) - 1) end
  return table.concat(parts)
end

-- One byte of a payload changed, dropped or doubled; or several zeros more.
local function mutate(random, payload)
  local at, how = random(#payload), random(4)
  local byte = payload:sub(at, at)
  if how == 1 then byte = string.char(random(256) - 1)
  elseif how == 2 then byte = ""
  elseif how == 3 then byte = byte .. byte
  else byte = byte .. ("\0"):rep(random(40)) end
  return payload:sub(1, at - 1) .. byte .. payload:sub(at + 1)
end

-- The messages of one stream, compressed, some of them mutated, in fragments.
local function stream(random, server, said)
  local sender = wire.open("server", LIMITS, 0, "permessage-deflate; server_max_window_bits=9"
    .. (said:find("no_context") and "; server_no_context_takeover" or ""))
  local list = {}
  for _ = 1, random(5) do
    core.put(sender, random(3) == 1 and noise(random) or text(random), "binary", { compress = random(6) > 1 })
  end
  local wanted = random(3) -- a third of the streams is as it should be
  for _, frame in ipairs(bytes.frames(core.output(sender, 0))) do
    local first, payload = frame[1], frame[2]
    if random(2) == 1 then first = first - 1 end -- as text
    if wanted > 1 and #payload > 0 and random(2) == 1 then payload = mutate(random, payload) end
    repeat
      local size = random(3) == 1 and random(200) or #payload
      local rest = payload:sub(size + 1)
      local key = server and string.char(random(256) - 1, random(256) - 1, random(256) - 1, random(256) - 1) or nil
      list[#list + 1] = bytes.frame(rest ~= "" and first % 128 or first, payload:sub(1, size), key)
      if random(10) == 1 then list[#list + 1] = bytes.frame(0x89, "p", key) end
      first, payload = 0x80, rest
    until payload == ""
  end
  return table.concat(list)
end

-- Of two things that are wrong with the same bytes either may be said.
local function same_end(line)
  return (line:gsub("^= BAD_UTF8: .*", "= corrupt"):gsub("^= PROTOCOL: compressed.*", "= corrupt"))
end

local function play(role, said, pieces, in_pieces)
  local c, log, current = wire.open(role, LIMITS, 0, said), {}, nil
  for _, piece in ipairs(pieces) do
    if core.hungry(c) then core.feed(c, piece, 0) end
    while true do
      if in_pieces then core.pieces(c, true) end
      local data, kind, last = core.next(c, 0)
      if not data then
        if last and log[#log] ~= "= " .. kind then log[#log + 1] = "= " .. kind end
        break
      end
      current = (current or kind .. " ") .. data
      assert(#current <= 7 + LIMITS.max_message)
      if last then log[#log + 1], current = current, nil end
    end
  end
  log[#log] = log[#log] and same_end(log[#log])
  return log, core.close_code(c)
end

describe("a mutated stream of compressed messages", function()
  for role, all in pairs(SAID) do
    it("gives a " .. role .. " the same messages whole, byte by byte, cut at random and in pieces", function()
      local ends = {}
      for seed = 1, ROUNDS do
        local random = sequence(seed * 7919)
        local said = all[random(#all)]
        local data = stream(random, role == "server", said)
        local log, code = play(role, said, { data })
        local single = {}
        for i = 1, #data do single[i] = data:sub(i, i) end
        for name, pieces in pairs { whole = { data }, single = single, random = bytes.cut(random, data, 80) } do
          for _, in_pieces in ipairs { false, true } do
            local other, other_code = play(role, said, pieces, in_pieces)
            local where = ("%s seed %d, cut %s%s: %s"):format(role, seed, name, in_pieces and ", in pieces" or "", bytes.to_hex(data))
            assert.same(log, other, where)
            assert.equal(code, other_code, where)
          end
        end
        ends[(log[#log] or ""):match("^= ([%w_]+)") or "open"] = true
      end
      -- The streams are worth something only if they reach all kinds of ends.
      for _, id in ipairs { "open", "corrupt", "TOO_BIG", "LIMIT" } do
        assert.is_true(ends[id], id)
      end
    end)
  end
end)
