-- SPDX-License-Identifier: MIT
-- Many peers at once, each writing its stream in pieces of any size and
-- reading when it likes: nobody's bytes end up with somebody else, whatever
-- buffer they passed through, and no frame is put into the middle of another.

local bytes = require "spec.support.bytes"
local process = require "spec.support.process"
local raw = require "spec.support.raw"
local sequence = require "spec.support.sequence"
local socket = require "socket"

local PEERS, MESSAGES = 12, 60
local SIZES = { 0, 1, 10, 125, 126, 1000, 8191, 8192, 20000, 65535, 65536, 100000, 300000 }

-- What peer number 'id' sends, and what has to come back of it.
local function stream(random, id)
  local wire, messages, pings = {}, {}, {}
  for i = 1, MESSAGES do
    local unit = ("%02d:%03d "):format(id, i):rep(2):sub(1, 12)
    local size = SIZES[random(random(4) == 1 and #SIZES or 8)]
    local message = unit:rep(math.ceil(size / #unit)):sub(1, size)
    local first = random(2)
    messages[i] = { 0x80 + first, message }
    local at, op = 1, first
    repeat
      local part = message:sub(at, at + (random(3) == 1 and random(40000) or size))
      at = at + #part
      local fin = at > size and 0x80 or 0
      wire[#wire + 1] = bytes.frame(fin + op, part, "\1\2\3\4", #part > 999 and 12 or nil)
      op = 0
      if random(5) == 1 then
        pings[#pings + 1] = id .. "." .. i
        wire[#wire + 1] = bytes.frame(0x89, pings[#pings], "\5\6\7\8")
      end
    until at > size
  end
  return table.concat(wire), messages, pings
end

local function play(server, seed)
  local random, peers = sequence(seed * 7919 + 1), {}
  for id = 1, PEERS do
    local peer = raw.connect(server.port)
    peer.sock:settimeout(0)
    peer.got, peer.at, peer.bytes = {}, 1, 0
    peer.wire, peer.messages, peer.pings = stream(random, id)
    peer.expects = 0
    for _, message in ipairs(peer.messages) do peer.expects = peer.expects + #bytes.frame(message[1], message[2]) end
    peers[id] = peer
  end
  local deadline, busy = socket.gettime() + 20, true
  while busy do
    assert(socket.gettime() < deadline, "it takes too long")
    busy = false
    local idle = true
    for _, peer in ipairs(peers) do
      if peer.at <= #peer.wire then
        local n, _, part = peer.sock:send(peer.wire, peer.at, math.min(#peer.wire, peer.at + random(30000)))
        n = n or part
        idle = idle and n < peer.at
        peer.at = math.max(peer.at, n + 1)
      end
      if random(3) == 1 or peer.at > #peer.wire then
        local data, problem, part = peer.sock:receive(random(60000))
        assert(problem ~= "closed", "closed")
        data = data or part
        peer.got[#peer.got + 1] = data
        peer.bytes = peer.bytes + #data
        idle = idle and data == ""
      end
      if peer.at <= #peer.wire or peer.bytes < peer.expects then busy = true end
    end
    if idle then socket.sleep(0.001) end
  end
  for _, peer in ipairs(peers) do
    peer.sock:settimeout(5)
    peer:send(0x88, "\3\232")
    peer.got[#peer.got + 1] = assert(peer.sock:receive("*a"))
    peer:close()
  end
  return peers
end

local function check(peer)
  local next_message, next_ping, last_pong = 1, 1, nil
  for _, frame in ipairs(bytes.frames(table.concat(peer.got))) do
    local first, payload = frame[1], frame[2]
    if first == 0x8a then
      -- Of those that came while the outbox was full only the last counts.
      while next_ping <= #peer.pings and peer.pings[next_ping] ~= payload do next_ping = next_ping + 1 end
      assert(next_ping <= #peer.pings, "a pong that nobody asked for: " .. payload)
      next_ping, last_pong = next_ping + 1, payload
    elseif first == 0x88 then
      assert.equal("\3\232", payload)
    else
      local expected = peer.messages[next_message]
      assert(expected and expected[1] == first and expected[2] == payload,
        ("message %d is not what was sent"):format(next_message))
      next_message = next_message + 1
    end
  end
  assert.equal(MESSAGES + 1, next_message)
  assert.equal(peer.pings[#peer.pings], last_pong)
end

describe("interleaved peers", function()
  local server
  setup(function() server = process.echo(1048576) end)
  teardown(function() server:stop() end)

  for seed = 1, 10 do
    it("each get their own messages back, whole and in order, round " .. seed, function()
      for _, peer in ipairs(play(server, seed)) do check(peer) end
    end)
  end
end)
