-- SPDX-License-Identifier: MIT
-- Many peers at once whose frames, records and packets are cut anywhere: each
-- gets its own messages back, whole and in order, whichever buffer they passed.

local duplex = require "duplex"
local both = require "spec.support.both"
local bytes = require "spec.support.bytes"
local run = require "spec.support.run"
local secure = require "spec.support.secure_serve"
local secure_peer = require "spec.support.secure_peer"
local sequence = require "spec.support.sequence"

local PEERS, MESSAGES = 10, 40
local SIZES = { 0, 1, 125, 126, 1000, 8191, 16383, 16384, 16385, 30000, 65535, 65536, 100000, 300000 }

local function messages_of(random, id)
  local list = {}
  for i = 1, MESSAGES do
    local size = SIZES[random(random(5) == 1 and #SIZES or 9)]
    list[i] = ("%02d:%03d "):format(id, i):rep(size):sub(1, size)
  end
  return list
end

-- Writes frames in fragments, records and packets of any size.
local function write(p, random, list)
  for _, message in ipairs(list) do
    local at, op = 1, 2
    repeat
      local part = message:sub(at, at + (random(3) == 1 and random(20000) or #message))
      at = at + #part
      local frame = bytes.frame((at > #message and 0x80 or 0) + op, part, "\0\0\0\0")
      op = 0
      if random(8) == 1 then frame = frame .. bytes.frame(0x89, "ping", "\1\2\3\4") end
      local cut = random(#frame)
      p.engine:write(frame:sub(1, cut))
      p.engine:write(frame:sub(cut + 1))
      if random(3) > 1 then p:push(random(4) == 1 and random(3000) or nil) end
    until at > #message
  end
  p:push()
end

local function read(p, list)
  for i, message in ipairs(list) do
    local first, payload
    repeat first, payload = p:frame() until first ~= 0x8a
    assert(first == 0x82, ("message %d of %d: %s"):format(i, #list, tostring(payload)))
    assert(payload == message, ("message %d is not what was sent"):format(i))
  end
end

describe("interleaved peers over TLS", function()
  for seed = 1, 3 do
    it("each get their own messages back, round " .. seed, run(function()
      local random = sequence(seed * 7919 + 1)
      local server = secure.serve(nil, nil, { max_queue = 2 })
      local waits = {}
      for id = 1, PEERS do
        local p = assert(secure_peer.connect(server.port, { maximum_version = id % 2 == 0 and "1.2" or "1.3" }):handshake())
        p:upgrade()
        local list = messages_of(random, id)
        duplex.spawn(write, p, random, list)
        waits[id] = both.task(function()
          read(p, list)
          p:close()
        end)
      end
      for id = 1, PEERS do waits[id]() end
    end))
  end

  local function message(i) return ("%06d "):format(i):rep(143) end

  -- The records of 'count' messages.
  local function many(p, from, count)
    local frames = {}
    for i = from, from + count - 1 do frames[#frames + 1] = bytes.frame(0x81, message(i), "\0\0\0\0") end
    assert(p.engine:write(table.concat(frames)))
    return p.engine:output()
  end

  local function expect(ws, from, count)
    for i = from, from + count - 1 do assert.equal(message(i), (ws:receive(5))) end
  end

  it("get all that is behind a record that was cut, a full buffer of it", run(function()
    local reads, done = duplex.event(), duplex.event()
    local server = secure.serve(nil, function(ws)
      for round = 1, 5 do
        expect(ws, round * 1000, 317)
        reads:set()
      end
      done:set()
    end)
    local p = assert(secure_peer.connect(server.port):handshake()):upgrade()
    for round = 1, 5 do
      local wire = many(p, round * 1000, 16) .. many(p, round * 1000 + 16, 301)
      p.raw:send(wire:sub(1, 16000))
      duplex.sleep(0.01) -- this much was read, and no record is whole
      reads:clear()
      p.raw:send(wire:sub(16001))
      assert.is_true(reads:wait(5), "round " .. round)
    end
    assert.is_true(done:wait(5))
    p:close()
  end))

  it("keep what they have not read while others are served", run(function()
    local go, done = duplex.event(), 0
    local server = secure.serve(nil, function(ws)
      if ws.tls.version == "TLSv1.3" then return secure.echo(ws) end
      go:wait()
      expect(ws, 1, 100)
      done = done + 1
    end, { max_queue = 2 })
    local slow = {}
    for i = 1, 3 do
      slow[i] = assert(secure_peer.connect(server.port, { maximum_version = "1.2" }):handshake()):upgrade()
      slow[i].raw:send(many(slow[i], 1, 30))
    end
    duplex.sleep(0.01) -- their queues are full, and more was received
    local ws = secure.connect(server)
    for i = 1, 10 do secure.alive(ws, ("other bytes"):rep(i * 500)) end
    for _, p in ipairs(slow) do p.raw:send(many(p, 31, 70)) end
    for i = 1, 10 do secure.alive(ws, ("other bytes"):rep(i * 500)) end
    go:set()
    for _, p in ipairs(slow) do
      assert.equal(0x88, (p:frame()))
      p:close()
    end
    assert.equal(3, done)
  end))
end)
