-- SPDX-License-Identifier: MIT
-- Large messages, many fragments, tiny writes and many messages: sections 9
-- and 10 of the Autobahn test suite, for an echoing peer of either role.
-- Each row is { number, title, function(peer) that plays it }.

local bytes = require "spec.support.bytes"

local volumes = {}
local UNIT = 64 -- what the messages repeat
local KINDS = { { 0x81, "text", ("BAsd7&jh"):rep(8) }, { 0x82, "binary", ("\0\254\255\128"):rep(16) } }
local KIB, MIB = 1024, 1048576

local function add(number, title, play) volumes[#volumes + 1] = { number, title, play } end

-- Who is silent for long while it makes a message, on a slow machine, is pinged.
local function next_frame(peer, unit)
  local first, data = peer:frame(unit)
  while first == 0x89 do
    peer:send(0x8a, data)
    first, data = peer:frame(unit)
  end
  return first, data
end

local function expect(peer, first, payload, unit)
  local got, data = next_frame(peer, unit)
  if got ~= first then error(("expected frame %02x, got %s (%s)"):format(first, tostring(got), tostring(data)), 0) end
  if data ~= payload then error(("other bytes came back: %d of %d"):format(#data, #payload), 0) end
end

-- Sends a message as fragments of 'size' bytes each, with pings between them.
local function fragments(peer, first, payload, size, pings)
  local list = {}
  for at = 1, #payload, size do
    local last = at + size > #payload
    local op = (at == 1 and first % 16 or 0) + (last and 0x80 or 0)
    list[#list + 1] = bytes.frame(op, payload:sub(at, at + size - 1), peer.key, UNIT)
    if pings and #list % 1000 == 0 then list[#list + 1] = bytes.frame(0x89, "p", peer.key) end
  end
  peer:write(table.concat(list))
end

for section, kind in ipairs(KINDS) do
  local first, name, unit = kind[1], kind[2], kind[3]
  for i, size in ipairs { 64 * KIB, 256 * KIB, MIB, 4 * MIB, 8 * MIB, 16 * MIB } do
    add(("9.%d.%d"):format(section, i), ("%s of %d KiB"):format(name, size / KIB), function(peer)
      local message = unit:rep(size / UNIT)
      peer:send(first, message, nil, UNIT)
      expect(peer, first, message, UNIT)
    end)
  end
  for i, size in ipairs { 64, 256, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB } do
    add(("9.%d.%d"):format(section + 2, i), ("4 MiB of %s in fragments of %d"):format(name, size), function(peer)
      local message = unit:rep(4 * MIB / UNIT)
      fragments(peer, first, message, size)
      expect(peer, first, message, UNIT)
    end)
  end
  for i, size in ipairs { 64, 128, 256, 512, KIB, 2 * KIB } do
    add(("9.%d.%d"):format(section + 4, i), ("1 MiB of %s in writes of %d"):format(name, size), function(peer)
      local message = unit:rep(MIB / UNIT)
      peer:send(first, message, size, UNIT)
      expect(peer, first, message, UNIT)
    end)
  end
  for i, size in ipairs { 0, 16, 64, 256, KIB, 4 * KIB } do
    add(("9.%d.%d"):format(section + 6, i), ("1000 %s messages of %d"):format(name, size), function(peer)
      local message = unit:rep(math.ceil(size / UNIT)):sub(1, size)
      local wire = bytes.frame(first, message, peer.key)
      for _ = 1, 1000 do
        peer:write(wire)
        expect(peer, first, message, size > UNIT and UNIT or nil)
      end
    end)
    add(("9.%d.%db"):format(section + 6, i), ("100 %s messages of %d at once"):format(name, size), function(peer)
      local message = unit:rep(math.ceil(size / UNIT)):sub(1, size)
      peer:write(bytes.frame(first, message, peer.key):rep(100))
      for _ = 1, 100 do expect(peer, first, message, size > UNIT and UNIT or nil) end
    end)
  end
  add(("10.1.%d"):format(section), "64 KiB of " .. name .. " in fragments of 1300", function(peer)
    local message = unit:rep(64 * KIB / UNIT)
    fragments(peer, first, message, 1300)
    expect(peer, first, message, UNIT)
  end)
end

add("9.9.1", "pings between 65536 fragments", function(peer)
  local message = KINDS[1][3]:rep(4 * MIB / UNIT)
  fragments(peer, 0x81, message, 64, true)
  local pongs = 0
  while true do
    local first, data = next_frame(peer, UNIT)
    if first ~= 0x8a then
      if first ~= 0x81 then error(("expected the message, got %s (%s)"):format(tostring(first), tostring(data)), 0) end
      if data ~= message then error("other bytes came back", 0) end
      break
    end
    pongs = pongs + 1
  end
  if pongs ~= 65 then error(pongs .. " pongs instead of 65", 0) end
end)

add("9.9.2", "a long text of three-byte characters in odd fragments", function(peer)
  local message = ("\226\130\172"):rep(70000)
  local key, list = peer.key, {}
  peer.key = key and "\0\0\0\0"
  for at = 1, #message, 1000 do
    local last = at + 1000 > #message
    list[#list + 1] = bytes.frame((at == 1 and 1 or 0) + (last and 0x80 or 0), message:sub(at, at + 999), peer.key)
  end
  peer:write(table.concat(list))
  peer.key = key
  expect(peer, 0x81, message, 12)
end)

add("9.9.3", "3 MiB of three-byte characters in one frame", function(peer)
  local message = ("\226\130\172"):rep(MIB)
  peer:send(0x81, message, nil, 12)
  expect(peer, 0x81, message, 12)
end)

return volumes
