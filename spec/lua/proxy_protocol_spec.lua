-- SPDX-License-Identifier: MIT
-- A server whose connections begin with a header of the PROXY protocol.

local duplex = require "duplex"
local log_lines = require "spec.support.lines"
local memory = require "spec.support.memory"
local each = require "spec.support.each"
local peer = require "spec.support.peer"
local peers = require "spec.support.peers"
local pki = require "spec.support.pki"
local secure = require "spec.support.secure_serve"
local secure_peer = require "spec.support.secure_peer"

local connect, run = peers.connect, peers.run

local SIGNATURE = "\r\n\r\n\0\r\nQUIT\n"
local LINE = "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"
local IPV4 = "\192\0\2\1\198\51\100\2\220\4\1\187" -- the same
local IPV6 = "\32\1\13\184" .. ("\0"):rep(11) .. "\1" .. "\32\1\13\184" .. ("\0"):rep(11) .. "\2" .. "\220\4\1\187"
local BLOCK = SIGNATURE .. "\33\17\0\12" .. IPV4
local PAGE = "GET /page HTTP/1.1\r\nHost: x\r\n"

-- Says to everybody who it takes them for.
local function serve(more)
  local log, logged = log_lines()
  local options = {
    proxies = { "127.0.0.1" }, proxy_protocol = true, log = log,
    on_request = function(request)
      if request.path == "/page" then return 200, ("%s %s"):format(request.address, tostring(request.secure)) end
    end,
  }
  for name, value in pairs(more or {}) do options[name] = value end
  local server = assert(duplex.serve(options, function(ws)
    local port = ws.proxy and ws.port -- that of the peer differs each time
    ws:send(("%s %s"):format(ws.address, port or "-"))
    each(ws)
  end))
  return server, logged
end

-- Whether so many handshakes have failed and none is under way; a peer may know
-- before the server has counted.
local function all_gone(server, count)
  for _ = 1, 500 do
    local now = server:metrics()
    if now.handshakes.lost + now.handshakes.proxy == count and now.connections.handshaking == 0 then return true end
    duplex.sleep(0.01)
  end
end

-- What it says after these bytes, an upgrade being the last.
local function told(p)
  assert.matches("^HTTP/1.1 101 ", (p:read_to("\r\n\r\n")))
  local head = p:read(2)
  return p:read(head:byte(2))
end

-- Garbage gets no answer, and does not get any further.
local function refused(server, logged, bytes, why)
  local p = connect(server.port)
  p:send(bytes)
  assert.same({ "", "end" }, { p:rest(2) })
  if why then
    local line = table.remove(logged)
    assert.equal("warning", line[1])
    assert.matches(why, line[2], 1, true)
    assert.equal("127.0.0.1", line[3].address)
  end
  assert.equal(0, #logged)
  p:close()
end

local headers = {
  ["version 1, TCP4"] = { LINE, "192.0.2.1 56324" },
  ["version 1, TCP6"] = { "PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n", "2001:db8::1 56324" },
  ["version 1, UNKNOWN"] = { "PROXY UNKNOWN\r\n", "127.0.0.1 -" },
  ["version 1, UNKNOWN with more"] = { "PROXY UNKNOWN ffff::1 ::1 1 2\r\n", "127.0.0.1 -" },
  ["version 1, as long as may be"] = { "PROXY UNKNOWN " .. ("x"):rep(91) .. "\r\n", "127.0.0.1 -" },
  ["version 2, IPv4"] = { BLOCK, "192.0.2.1 56324" },
  ["version 2, IPv6"] = { SIGNATURE .. "\33\33\0\36" .. IPV6, "2001:db8::1 56324" },
  ["version 2, Unix sockets"] = { SIGNATURE .. "\33\49\0\216" .. ("/tmp/x" .. ("\0"):rep(102)):rep(2), "unix -" },
  ["version 2, UNSPEC"] = { SIGNATURE .. "\33\0\0\0", "127.0.0.1 -" },
  ["version 2, LOCAL"] = { SIGNATURE .. "\32\0\0\0", "127.0.0.1 -" },
  ["version 2, LOCAL with addresses"] = { SIGNATURE .. "\32\17\0\12" .. IPV4, "127.0.0.1 -" },
  ["version 2, TLVs"] = { SIGNATURE .. "\33\17\0\23" .. IPV4 .. "\4\0\0\1\0\5h2abc", "192.0.2.1 56324" },
  ["version 2, many TLVs"] = { SIGNATURE .. "\33\17\15\240" .. IPV4 .. "\234\15\225" .. ("v"):rep(4065), "192.0.2.1 56324" },
}

describe("a server with proxy_protocol", function()
  for name, row in pairs(headers) do
    it("takes the client from " .. name, run(function()
      local server, logged = serve()
      local p = connect(server.port)
      p:send(row[1] .. peer.request)
      assert.equal(row[2], told(p))
      -- The header alone, then the rest.
      p = connect(server.port)
      p:send(row[1])
      duplex.sleep(0.01)
      p:send(peer.request)
      assert.equal(row[2], told(p))
      assert.equal(0, #logged)
    end))
  end

  for _, header in ipairs { LINE, BLOCK } do
    it("takes it byte by byte, and cut anywhere: version " .. (header == LINE and 1 or 2), run(function()
      local server = serve()
      local bytes = header .. peer.request
      local p = connect(server.port)
      for i = 1, #bytes do
        p:send(bytes:sub(i, i))
        duplex.sleep(0)
      end
      assert.equal("192.0.2.1 56324", told(p))
      for cut = 1, #header + 1, 3 do
        p = connect(server.port)
        p:send(bytes:sub(1, cut))
        duplex.sleep(0.002)
        p:send(bytes:sub(cut + 1))
        assert.equal("192.0.2.1 56324", told(p))
      end
    end))
  end

  local garbage = {
    ["no header"] = peer.request, ["TLS"] = "\22\3\1\2\0\1\0\1\252", ["nonsense"] = "\0\1\2\3", ["one byte"] = "x",
    ["a bad address"] = "PROXY TCP4 192.0.2.256 198.51.100.2 56324 443\r\n" .. peer.request,
    ["a name"] = "PROXY TCP4 localhost 198.51.100.2 56324 443\r\n",
    ["a bad port"] = "PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n",
    ["a line break without CR"] = "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\n" .. peer.request,
    ["a line that does not end"] = "PROXY UNKNOWN " .. ("x"):rep(93),
    ["version 3"] = SIGNATURE .. "\49\17\0\12" .. IPV4, ["an unknown command"] = SIGNATURE .. "\34\17\0\12" .. IPV4,
    ["an unknown family"] = SIGNATURE .. "\33\65\0\12" .. IPV4, ["a block too short"] = SIGNATURE .. "\33\17\0\11" .. IPV4,
    ["a block too long"] = SIGNATURE .. "\33\17\255\255" .. IPV4,
  }
  for name, bytes in pairs(garbage) do
    it("hangs up without an answer on " .. name, run(function()
      local server, logged = serve()
      refused(server, logged, bytes, "HANDSHAKE: no PROXY protocol header at the start")
      assert.is_true(all_gone(server, 1))
    end))
  end

  it("takes one header and no second one", run(function()
    local server = serve()
    local p = connect(server.port)
    p:send(LINE .. LINE .. peer.request)
    assert.matches("^HTTP/1.1 400 ", (p:rest()))
  end))

  it("takes headers from its proxies only", run(function()
    local server, logged = serve { proxies = { "10.0.0.0/8", "unix" } }
    refused(server, logged, LINE .. peer.request, "refused a connection that comes from none of the proxies")
    refused(server, logged, "", "refused a connection that comes from none of the proxies")
  end))

  it("says nothing of those who hang up before the header is whole", run(function()
    local server, logged = serve()
    for _, bytes in ipairs { "", "PROX", LINE:sub(1, -2), SIGNATURE .. "\33" } do
      local p = connect(server.port)
      p:send(bytes)
      p:close()
    end
    assert.is_true(all_gone(server, 4))
    assert.equal(0, #logged)
  end))

  it("waits for all of it no longer than open_timeout", run(function()
    local server, logged = serve { open_timeout = 0.2 }
    local began = duplex.now()
    refused(server, logged, LINE:sub(1, 20), "TIMEOUT: no complete handshake within open_timeout")
    local p = connect(server.port)
    for i = 1, #LINE do -- slowly, too
      if not p:send(LINE:sub(i, i)) then break end
      if duplex.now() - began > 0.6 then break end
      duplex.sleep(0.02)
    end
    assert.same({ "", "end" }, { p:rest(2) })
    -- The time for the header is part of that for the request.
    p = connect(server.port)
    p:send(LINE)
    assert.matches("^HTTP/1.1 408 ", (p:rest(2)))
    assert.is_true(duplex.now() - began < 2)
  end))

  it("counts those who have sent no header yet as handshakes", run(function()
    local server = serve { max_handshakes = 2 }
    local first, second = connect(server.port), connect(server.port)
    first:send("PROXY")
    local p = connect(server.port)
    p:send(LINE .. peer.request)
    assert.is_nil((p:read(1, 0.1)))
    second:close()
    assert.equal("192.0.2.1 56324", told(p))
    assert.equal(1, server:stats().handshakes)
  end))

  it("stops at once although proxies have sent no request yet", run(function()
    local server = serve()
    local idle = { connect(server.port), connect(server.port), connect(server.port) }
    idle[2]:send(LINE:sub(1, 9))
    idle[3]:send(LINE)
    duplex.sleep(0.02)
    local began = duplex.now()
    server:stop(5)
    assert.is_true(duplex.now() - began < 1)
    for _, p in ipairs(idle) do assert.same({ "", "end" }, { p:rest(2) }) end
  end))

  it("believes what a proxy adds to the request only of a client that is a proxy, too", run(function()
    local server = serve { proxies = { "127.0.0.1", "10.0.0.0/8", "unix" } }
    local lines = "X-Forwarded-For: 192.0.2.9\r\nX-Forwarded-Proto: https\r\n\r\n"
    local unix = SIGNATURE .. "\33\49\0\216" .. ("\0"):rep(216)
    for header, body in pairs {
      [LINE] = "192.0.2.1 false", ["PROXY UNKNOWN\r\n"] = "127.0.0.1 false", [SIGNATURE .. "\32\0\0\0"] = "127.0.0.1 false",
      [unix] = "unix false", ["PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n"] = "192.0.2.9 true",
      ["PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n"] = "192.0.2.9 true",
    } do
      local p = connect(server.port)
      p:send(header .. PAGE .. lines)
      local _, told_body = p:answer()
      assert.equal(body, told_body)
      p:send(PAGE .. "\r\n") -- the next request on it is the proxy's own
      _, told_body = p:answer()
      assert.equal(body:find("192.0.2.9") and header:match("%d+%.%d+%.%d+%.%d+") .. " false" or body, told_body)
    end
  end))

  it("learns from version 2 that the client came over TLS", run(function()
    local server = serve()
    for flags, body in pairs { ["\1"] = "192.0.2.1 true", ["\0"] = "192.0.2.1 false" } do
      local p = connect(server.port)
      p:send(SIGNATURE .. "\33\17\0\20" .. IPV4 .. "\32\0\5" .. flags .. "\0\0\0\0" .. PAGE .. "\r\n")
      assert.equal(body, (select(2, p:answer())))
    end
  end))

  it("listens on a Unix socket, too", run(function()
    local path = os.tmpname()
    os.remove(path)
    local server = serve { unix = path, proxies = { "unix" } }
    local p = connect(nil, path)
    p:send(LINE .. peer.request)
    assert.equal("192.0.2.1 56324", told(p))
    p:close()
    server:stop()
  end))
end)

describe("a server with proxy_protocol and tls", function()
  local function client(server) return secure_peer.wrap(connect(server.port), "client") end

  -- A TLS client whose first flight leaves behind 'header', in pieces.
  local function shake(server, header, size)
    local p = client(server)
    p.engine:read() -- begins the handshake
    local bytes = header .. p.engine:output()
    for at = 1, #bytes, size or #bytes do
      assert(p.raw:send(bytes:sub(at, at + (size or #bytes) - 1)))
      if size then duplex.sleep(0) end
    end
    return p:handshake()
  end

  for _, header in ipairs { LINE, BLOCK } do
    local version = header == LINE and 1 or 2
    for _, size in ipairs { false, 1, 7, #header, #header + 1, #header + 5 } do
      it(("reads version %d before the handshake, in pieces of %s"):format(version, size or "all"), run(function()
        local server, logged = serve { tls = secure.tls() }
        local p = assert(shake(server, header, size or nil))
        p:send(peer.request)
        assert.equal("192.0.2.1 56324", told(p))
        assert.equal(0, #logged)
      end))
    end
  end

  it("says of plain HTTP behind the header that it wants https", run(function()
    local server = serve { tls = secure.tls() }
    local p = connect(server.port)
    p:send(LINE .. PAGE .. "\r\n")
    local answer = p:rest()
    assert.matches("^HTTP/1.1 400 ", answer)
    assert.matches("https", answer)
  end))

  it("takes no header inside TLS, and none after the handshake began", run(function()
    local server, logged = serve { tls = secure.tls() }
    local p = client(server)
    assert.is_nil((p:handshake()))
    duplex.sleep(0.01)
    assert.equal("HANDSHAKE: no PROXY protocol header at the start", logged[1][2])
    p = assert(shake(server, LINE))
    p:send(LINE .. peer.request)
    assert.matches("^HTTP/1.1 400 ", (p:read_to("\r\n\r\n")))
  end))

  it("logs a handshake that fails with the client's address", run(function()
    local server, logged = serve { tls = secure.tls() }
    local p = connect(server.port)
    p:send(LINE .. "\22\3\1\0\5hello")
    p:rest(2)
    assert.matches("^TLS: ", logged[1][2])
    assert.equal("192.0.2.1", logged[1][3].address)
    assert.equal("127.0.0.1", logged[1][3].proxy)
  end))

  it("is not shaken by much behind the header", run(function()
    local server, logged = serve { tls = secure.tls() }
    for _, size in ipairs { 1000, 48000, 65000, 200000 } do
      local p = connect(server.port)
      p:send(LINE .. "\22\3\1\64\0\1" .. ("\255"):rep(size))
      p:rest(0.2)
    end
    assert.is_true(#logged > 0)
    local p = assert(shake(server, LINE))
    p:send(peer.request)
    assert.equal("192.0.2.1 56324", told(p))
  end))

  it("knows who resumed, and that it is secure", run(function()
    local server = serve { tls = secure.tls() }
    local p = assert(shake(server, LINE))
    p:send(PAGE .. "\r\n")
    local head = p:read_to("\r\n\r\n")
    assert.equal("192.0.2.1 true", p:read(tonumber(head:match("Content%-Length: (%d+)"))))
  end))

  it("refuses a client that speaks TLS without a header", run(function()
    local server, logged = serve { tls = secure.tls() }
    local ws, _, id = duplex.connect("wss://localhost:" .. server.port, { tls = { ca = pki.ca } })
    assert.is_nil(ws)
    assert.equal("TLS", id)
    assert.equal(1, #logged)
  end))
end)

describe("a server with proxy_protocol on another host", function()
  -- The header and the request arrive as the stream cuts them.
  for _, cut in ipairs { false, 1, 16, #BLOCK + 3 } do
    it("reads it from a byte stream, in pieces of " .. tostring(cut or "all"), run(function()
      local host = memory.host()
      local connect_streams = host.connect
      function host.connect(...)
        local ok = connect_streams(...)
        local ends = host.made[#host.made]
        ends.server.address, ends.server.cut = "10.0.0.1", cut or nil
        ends.client:write(BLOCK)
        return ok
      end
      local bound = duplex.bind(host)
      local server = assert(bound.serve({ proxy_protocol = true, proxies = { "10.0.0.0/8" }, log = false },
        function(ws) ws:send(("%s %d %s"):format(ws.address, ws.port, ws.proxy)) end))
      local ws = assert(bound.connect(server.url))
      assert.equal("192.0.2.1 56324 10.0.0.1", (ws:receive(5)))
      ws:close()
      server:stop()
    end))
  end
end)
