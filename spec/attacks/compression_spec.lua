-- SPDX-License-Identifier: MIT
-- Attacks on a server that compresses, and on a client: bombs, blocks without
-- content, streams that are wrong, offers and answers that are. Each has to end
-- as documented, in the memory and time that its bytes are worth, while another
-- connection keeps echoing.

local bytes = require "spec.support.bytes"
local process = require "spec.support.process"
local raw = require "spec.support.raw"
local socket = require "socket"

local hex = bytes.hex
local KEY = "\0\0\0\0"
local MAX = 4194304 -- max_message of the server, in bytes
local OFFER = "permessage-deflate; client_max_window_bits"
local GARBAGE = 2048 -- KiB: an earlier message of a million bytes may wait for the collector
local ASAN = (os.getenv("LD_PRELOAD") or ""):find("asan") -- it keeps what is freed

-- The first bytes of a block in which each zero byte that follows means 1032.
local BOMB = hex "ecc101010000008090feafee080a"
-- A message of 1,000,000 zero bytes.
local MILLION = hex "ecc101010000008220ffaf6e484001" .. ("\0"):rep(968) .. hex "af06"
-- Blocks without content: stored, with the fixed code, with codes of their own.
local EMPTY = {
  stored = ("\0\0\0\255\255"):rep(1000),
  fixed = ("\2\8\32\128\0"):rep(1000),
  dynamic = hex("04c081000000000090ff6b100007020000000040feaf41001c080000000000f9bf060170200000000000e4ff1a"):rep(100),
}
-- A message that refers to bytes this far before it.
local FROM_600, FROM_4500 = hex "02a62b0000", hex "028ec90000"

local function stored(data) -- one block without compression (RFC 1951 3.2.4)
  local low, high = #data % 256, math.floor(#data / 256)
  return "\0" .. string.char(low, high, 255 - low, 255 - high) .. data .. "\0"
end

describe("a hostile peer that compresses", function()
  local server, witness

  setup(function()
    server = process.server { "spec/support/attacked.lua", "compression=true", "max_message=" .. MAX, "close_timeout=0.3",
      "max_fragments=20000" }
    witness = raw.connect(server.port, { ["Sec-WebSocket-Extensions"] = OFFER })
    witness:write(bytes.frame(0xc2, MILLION, KEY)) -- what one such message costs
    witness:frame()
  end)

  teardown(function()
    witness:close()
    server:stop()
  end)

  after_each(function()
    witness:write("\193\135" .. KEY .. hex "f248cdc9c90700") -- RFC 7692 7.2.3.1
    assert.same({ 0x81, "Hello" }, { witness:frame() })
  end)

  local function connect(path, offer)
    local peer = raw.tcp(server.port)
    peer:write((raw.request { ["Sec-WebSocket-Extensions"] = offer or OFFER }):gsub("GET /", "GET " .. (path or "/"), 1))
    local head = peer:head()
    assert(head:find("^HTTP/1.1 101 ") and head:find("Extensions: permessage-deflate", 1, true), head)
    return peer
  end

  -- Writes a message of pieces until it was all, or refused. Pieces are masked
  -- with zeros, which changes nothing.
  local function flood(peer, first, piece, count)
    for i = 1, count do
      if not peer:write(bytes.frame(i == 1 and first or 0, piece, KEY)) then return end
    end
  end

  -- Checks what the server took at most meanwhile: KiB of memory, seconds.
  local function costs(kilobytes, seconds, body)
    local cpu = server:cpu()
    local peak = server:peak(body)
    assert.is_true(peak <= kilobytes or ASAN ~= nil, peak .. " KiB")
    local spent = server:cpu() - cpu
    assert.is_true(spent < seconds * (ASAN and 10 or 1), spent .. " s")
  end

  it("cannot make 4 GB of 4 MB", function()
    costs(MAX / 1024 + 64, 0.5, function()
      local peer = connect()
      peer:write(bytes.frame(0xc2, BOMB .. ("\0"):rep(MAX - 100), KEY))
      peer:refused(1009, "max_message")
    end)
  end)

  it("cannot make 10 GB of 10 MB, in fragments or not", function()
    costs(MAX / 1024 + 64, 0.5, function()
      local peer = connect()
      peer:write(bytes.frame(0xc2, BOMB .. ("\0"):rep(10485760), KEY))
      peer:refused(1009, "max_message")
    end)
    for _, size in ipairs { 100, 65536 } do
      costs(MAX / 1024 + 64, 0.5, function()
        local peer = connect()
        peer:write(bytes.frame(0x42, BOMB, KEY))
        flood(peer, 0, ("\0"):rep(size), math.ceil(10485760 / size / 10))
        peer:refused(1009, "max_message")
      end)
    end
  end)

  it("cannot hide a bomb behind messages that are none", function()
    local peer = connect()
    peer:write(bytes.frame(0xc2, MILLION, KEY):rep(3))
    for _ = 1, 3 do assert.equal(0xc2, (peer:frame())) end
    peer:write(bytes.frame(0x42, MILLION .. "\0\0\255\255", KEY))
    flood(peer, 0, MILLION .. "\0\0\255\255", 5)
    peer:refused(1009, "max_message")
  end)

  it("finds no more memory for many small bombs than for one, while nobody reads", function()
    local peers = {}
    -- Each may have a queue of 1 MiB, one message that exceeds it, and another
    -- that is being inflated.
    costs(12 * 1024, 1, function()
      for i = 1, 4 do
        peers[i] = connect("/deaf")
        peers[i]:write(bytes.frame(0xc2, MILLION, KEY):rep(100))
      end
      for _ = 1, 5 do
        socket.sleep(0.01)
        assert.is_true(witness:alive())
      end
    end)
    for _, peer in ipairs(peers) do peer:close() end
  end)

  it("cannot send blocks without content for ever", function()
    for name, seconds in pairs { stored = 0.5, fixed = 1 } do
      costs(GARBAGE, seconds, function()
        local peer = connect()
        flood(peer, 0x42, EMPTY[name]:rep(20), 200)
        peer:refused(1009, "max_message")
      end)
    end
  end)

  it("pays for codes without content by the byte", function()
    costs(GARBAGE, 1, function()
      local peer = connect()
      flood(peer, 0x42, EMPTY.dynamic, 200) -- 900 KB
      peer:write(bytes.frame(0x80, "\255", KEY))
      peer:refused(1007, "compressed data is corrupt")
    end)
  end)

  it("cannot send endless fragments without content", function()
    for _, piece in ipairs { "", "\0\0\0\255\255" } do
      local peer = connect()
      peer:write(bytes.frame(0x42, piece, KEY) .. bytes.frame(0, piece, KEY):rep(20000))
      peer:refused(1008, "max_fragments")
    end
  end)

  it("is refused what was not agreed on, or is corrupt", function()
    local rows = {
      { 1002, bytes.frame(0xc1, "\0", KEY), "Sec-WebSocket-Protocol" },
      { 1002, bytes.frame(0x41, "\0", KEY) .. bytes.frame(0xc0, "\0", KEY) },
      { 1002, bytes.frame(0xc9, "", KEY) }, { 1002, bytes.frame(0xca, "\0", KEY) }, { 1002, bytes.frame(0xc8, "", KEY) },
      { 1002, bytes.frame(0xc0, "\0", KEY) }, { 1002, bytes.frame(0xe1, "\0", KEY) }, { 1002, bytes.frame(0x91, "\0", KEY) },
      { 1007, bytes.frame(0xc2, "", KEY) }, { 1007, bytes.frame(0xc2, "\255", KEY) }, { 1007, bytes.frame(0xc2, BOMB, KEY) },
      { 1007, bytes.frame(0xc2, hex "f248cdc9", KEY) }, { 1007, bytes.frame(0xc2, hex "0005 00fafe48", KEY) },
      { 1007, bytes.frame(0xc2, FROM_600, KEY) }, -- nothing came before it
      { 1007, bytes.frame(0xc1, stored "\255", KEY) }, -- not UTF-8, once it is inflated
      { 1007, bytes.frame(0x41, stored "\226\130", KEY) .. bytes.frame(0x80, "\0", KEY) },
    }
    for i, row in ipairs(rows) do
      local peer
      if row[3] then
        peer = raw.connect(server.port)
      else
        peer = connect()
      end
      peer:write(row[2])
      local fine, problem = pcall(peer.refused, peer, row[1])
      assert(fine, ("row %d: %s"):format(i, tostring(problem)))
    end
  end)

  it("cannot refer to what is outside of the window", function()
    local data = {}
    for i = 1, 5000 do data[i] = string.char(math.floor(i * i / 8) % 256) end
    data = table.concat(data)
    local function sends(size, offer, message)
      local peer = connect("/", offer)
      peer:write(bytes.frame(0xc2, stored(data:sub(1, size)), KEY))
      peer:frame()
      peer:write(bytes.frame(0xc2, message, KEY))
      return peer
    end
    for _, offer in ipairs { "permessage-deflate; client_max_window_bits=9", "permessage-deflate; client_max_window_bits=8" } do
      sends(600, offer, FROM_600):refused(1007, "compressed data is corrupt")
    end
    sends(5000, OFFER, FROM_4500):refused(1007, "compressed data is corrupt")
    -- Who keeps within what was agreed may.
    local peer = sends(600, "permessage-deflate; client_max_window_bits=10", FROM_600)
    assert.same({ 0x82, data:sub(1, 3) }, { peer:frame() })
    peer:close()
    -- Nobody refers to anything where no context is taken over.
    sends(600, "permessage-deflate; client_no_context_takeover", FROM_600):refused(1007)
  end)

  it("gets nothing inflated behind a close frame", function()
    local cpu = server:cpu()
    for _, path in ipairs { "/", "/close" } do
      local peer = connect(path)
      peer:write(bytes.frame(0x88, bytes.close(1000), KEY) .. bytes.frame(0xc2, MILLION, KEY):rep(200))
      assert.equal(path == "/" and 1000 or 4001, (peer:until_close()))
      peer:close()
    end
    assert.is_true(server:cpu() - cpu < 0.5)
  end)

  it("may hang up within any message", function()
    local wire = bytes.frame(0x42, MILLION:sub(1, 500), KEY) .. bytes.frame(0x89, "p", KEY)
      .. bytes.frame(0x80, MILLION:sub(501), KEY)
    for _, at in ipairs { 1, 2, 6, 20, 400, 509, 513, 520, 900, #wire } do
      local peer = connect()
      peer:write(wire:sub(1, at))
      peer[at % 2 == 0 and "reset" or "close"](peer)
    end
  end)

  -- RFC 7692 7.1; what is malformed is refused, what nobody can accept ignored.
  local offers = {
    { 101, "a list of unknown extensions", ("a,"):rep(7000) .. "a" },
    { 101, "empty elements", (","):rep(15000) .. "permessage-deflate" .. (","):rep(500), true },
    { 101, "hundreds of offers that nobody can accept", ("permessage-deflate; x, "):rep(600) .. "permessage-deflate", true },
    { 101, "a parameter thousands of times", "permessage-deflate" .. ("; client_max_window_bits"):rep(600) },
    { 101, "the same parameter twice", "permessage-deflate; server_no_context_takeover; server_no_context_takeover" },
    { 101, "too many bits", "permessage-deflate; server_max_window_bits=16" },
    { 101, "a giant number", "permessage-deflate; server_max_window_bits=1" .. ("0"):rep(15000) },
    { 101, "bits with a zero before them", "permessage-deflate; server_max_window_bits=09" },
    { 101, "bits below zero", "permessage-deflate; client_max_window_bits=-9" },
    { 101, "a window that zlib has none for", "permessage-deflate; server_max_window_bits=8" },
    { 101, "quoted bits", 'permessage-deflate; server_max_window_bits="1\\0"', true },
    { 400, "quotes and backslashes", 'a; b="' .. ('\\"'):rep(7500) },
    { 400, "a quoted string that never ends", 'a; b="' .. ("x"):rep(15000) },
    { 400, "semicolons", "a" .. ("; "):rep(7500) },
    { 400, "equals signs", "a; b" .. ("="):rep(15000) },
    { 431, "more than a head may have", ("permessage-deflate; client_max_window_bits, "):rep(1000) .. "a" },
  }
  for _, row in ipairs(offers) do
    it("offers " .. row[2], function()
      costs(GARBAGE, 0.2, function()
        local peer = raw.tcp(server.port)
        peer:write(raw.request { ["Sec-WebSocket-Extensions"] = row[3] })
        local head = peer:head()
        assert.equal(row[1], tonumber(head:match("^HTTP/1.1 (%d+)")), head)
        assert.equal(row[4] or false, head:find("permessage-deflate", 1, true) ~= nil, head)
        peer:close()
      end)
    end)
  end
end)

describe("a client that compresses, with a hostile server", function()
  local listener, client

  setup(function()
    listener = raw.listen()
    client = process.lua { "spec/support/echo_client.lua", listener.url, "65536", "0.4", "compression" }
  end)

  teardown(function()
    listener:close()
    client:stop()
  end)

  local answers = {
    "foo", "permessage-deflate, permessage-deflate", "permessage-deflate; foo", "permessage-deflate; foo=bar",
    "permessage-deflate; server_no_context_takeover=1", "permessage-deflate; client_max_window_bits",
    "permessage-deflate; server_max_window_bits", "permessage-deflate; server_max_window_bits=16",
    "permessage-deflate; server_max_window_bits=7", "permessage-deflate; client_max_window_bits=7",
    "permessage-deflate; server_max_window_bits=012",
    "permessage-deflate; server_max_window_bits=12; server_max_window_bits=12", "permessage-deflate, x",
    'permessage-deflate; server_max_window_bits="12', "permessage-deflate;", "permessage-deflate; =", ("a,"):rep(7000),
    "x-webkit-deflate-frame", "PERMESSAGE-DEFLATE; " .. ("x;"):rep(5000),
  }
  it("refuses answers that are none to its offer", function()
    for _, answer in ipairs(answers) do
      local peer = listener:tcp()
      peer:write(raw.response(assert(peer:head()), "Sec-WebSocket-Extensions: " .. answer .. "\r\n"))
      assert.equal("closed", peer:eof(), answer)
      peer:close()
      local line = client:line()
      assert.truthy(line:find("^HANDSHAKE: "), answer .. ": " .. line)
    end
  end)

  it("is not blown up", function()
    local peer = listener:accept("Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=12\r\n")
    peer:write(bytes.frame(0xc2, BOMB .. ("\0"):rep(60000)))
    assert.equal(1009, (peer:until_close()))
    peer:close()
    assert.truthy(client:line():find("TOO_BIG", 1, true))
  end)
end)
