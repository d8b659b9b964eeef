-- SPDX-License-Identifier: MIT
-- One port for wss, for https pages, and for those who forgot the s.

local duplex = require "duplex"
local peer = require "spec.support.peer"
local pki = require "spec.support.pki"
local run = require "spec.support.run"
local secure = require "spec.support.secure_serve"
local secure_peer = require "spec.support.secure_peer"

local function page(request)
  if request.path == "/page" then return 200, "secure: " .. tostring(request.secure), { ["Content-Type"] = "text/plain" } end
end

-- Without the fields that other specs are about.
local function tls_of(ws)
  local t = {}
  for name, value in pairs(ws.tls) do t[name] = value end
  return t
end

describe("a server with tls", function()
  it("says wss in its url, and talks WebSocket", run(function()
    local server = secure.serve()
    assert.equal("wss://127.0.0.1:" .. server.port, server.url)
    local ws = assert(duplex.connect(server.url, { tls = { ca = pki.ca } }))
    secure.alive(ws, "héllo")
    secure.alive(ws, "")
    assert.is_true(ws:send("\0\255", "binary"))
    assert.same({ "\0\255", "binary" }, { ws:receive(5) })
    assert.is_true(ws:ping(5) >= 0)
    assert.is_true(ws:close(4001, "bye"))
    assert.equal(4001, ws.close_code)
    assert.is_nil(ws.close_error)
  end))

  it("serves pages on the same port, many over one connection", run(function()
    local server = secure.serve(nil, nil, { on_request = page })
    local p = assert(secure_peer.connect(server.port):handshake())
    for _ = 1, 3 do
      p:send("GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n")
      local head = assert(p:read_to("\r\n\r\n"))
      assert.matches("^HTTP/1.1 200 ", head)
      assert.equal("secure: true", p:read(tonumber(head:match("Content%-Length: (%d+)"))))
    end
    p:upgrade()
    assert.is_true(p:alive())
    p:close()
  end))

  it("answers plain HTTP with 400, in the clear, and hangs up", run(function()
    local server = secure.serve(nil, nil, { on_request = page })
    for _, request in ipairs { "GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n", peer.request,
      "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n" } do
      local answer, ending = peer.connect(server.port):send(request):rest()
      assert.equal("end", ending)
      local head, text = answer:match("^(HTTP/1%.1 400 .-\r\n\r\n)(.+)$")
      assert.is_string(head, answer)
      assert.matches("https", text)
      assert.equal(#text, tonumber(head:match("\r\nContent%-Length: (%d+)\r\n")))
    end
    local ws, message, id = duplex.connect("ws://127.0.0.1:" .. server.port)
    assert.is_nil(ws)
    assert.equal("HTTP", id)
    assert.equal("HTTP: the server answered 400 Bad Request", message)
    duplex.sleep(0.02)
    assert.equal(0, server:stats().handshakes)
  end))

  it("answers plain HTTP with 400 however it is cut, and however much follows", run(function()
    local server = secure.serve()
    local p = peer.connect(server.port)
    for i = 1, #peer.request do p:send(peer.request:sub(i, i)) end
    assert.matches("^HTTP/1.1 400 ", (p:rest()))
    p = peer.connect(server.port)
    duplex.spawn(p.send, p, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n" .. ("x"):rep(3000000))
    local answer, ending = p:rest()
    assert.equal("end", ending)
    assert.matches("^HTTP/1.1 400 .*wss://", answer)
  end))

  it("hangs up on what is neither", run(function()
    local server = secure.serve()
    for _, bytes in ipairs { "\0\0\0\0\0\0\0\0", ("\255"):rep(1000), "\22\3\1\255\255" .. ("\0"):rep(100),
      "\128\46\1\0\2" .. ("\0"):rep(43) } do -- the last is how SSL 2 began
      local answer, ending = peer.connect(server.port):send(bytes):rest()
      assert.equal("end", ending, "still open after " .. bytes:sub(1, 9))
      assert.is_nil(answer:find("HTTP", 1, true))
    end
    secure.alive(secure.connect(server))
  end))

  it("tells hook and handler all about the encryption", run(function()
    local asked, heard, done = nil, nil, duplex.event()
    local server = secure.serve(nil, function(ws)
      heard = { secure = ws.request.secure, request = ws.request.tls, ws = tls_of(ws) }
      done:set()
      ws:wait_closed()
    end, { on_request = function(request) asked = { request.secure, request.tls } end })
    local ws = secure.connect(server, { ciphersuites = "TLS_AES_128_GCM_SHA256" })
    done:wait(5)
    local expected = { version = "TLSv1.3", cipher = "TLS_AES_128_GCM_SHA256", alpn = "http/1.1", server_name = "localhost",
      resumed = false }
    assert.same(expected, heard.ws)
    assert.same({ true, expected }, asked)
    assert.same({ true, expected }, { heard.secure, heard.request })
    expected.subject, expected.issuer = "CN=localhost", "CN=Duplex Spec Root"
    expected.fingerprint = pki.fingerprint(pki.certificate())
    assert.same(expected, tls_of(ws))
  end))

  it("tells about TLS 1.2 too, and sends no name for an address", run(function()
    local heard, done = nil, duplex.event()
    local server = secure.serve(secure.tls { maximum_version = "1.2" }, function(ws)
      heard = tls_of(ws)
      done:set()
      ws:wait_closed()
    end)
    local ws = secure.connect(server, { ciphers = "ECDHE-ECDSA-AES256-GCM-SHA384", resume = false }, "127.0.0.1")
    done:wait(5)
    assert.same({ version = "TLSv1.2", cipher = "ECDHE-ECDSA-AES256-GCM-SHA384", alpn = "http/1.1", resumed = false }, heard)
    assert.equal("TLSv1.2", ws.tls.version)
    assert.is_nil(ws.tls.server_name)
    assert.is_false(ws.tls.resumed)
  end))

  it("chooses its own first protocol of those offered (ALPN)", run(function()
    local server = secure.serve(secure.tls { alpn = { "chat/2", "http/1.1" } })
    for _, row in ipairs { { { "http/1.1", "chat/2" }, "chat/2" }, { { "http/1.1" }, "http/1.1" },
      { { "h2", "http/1.1" }, "http/1.1" } } do
      local ws = secure.connect(server, { alpn = row[1] })
      assert.equal(row[2], ws.tls.alpn)
      ws:close()
    end
  end))

  it("is fine with a client that offers no protocol", run(function()
    local server = secure.serve()
    local ws = secure.connect(server, { alpn = {} })
    assert.is_nil(ws.tls.alpn)
    secure.alive(ws)
  end))

  it("keeps what a connection needs, whatever is collected", run(function()
    local server = secure.serve()
    local ws = secure.connect(server)
    server = nil -- luacheck: ignore 311
    for i = 1, 3 do
      collectgarbage()
      secure.alive(ws, ("x"):rep(i * 50000))
    end
  end))

  it("lets connections go that nobody holds any more", run(function()
    local ended, done = 0, duplex.event()
    local server = secure.serve(nil, function(ws)
      ws:wait_closed()
      ended = ended + 1
      done:set()
    end)
    for _ = 1, 10 do secure.connect(server) end
    while ended < 10 do
      collectgarbage()
      done:clear()
      assert.is_true(done:wait(5), ended .. " of 10 ended")
    end
  end))

  it("knows nothing of TLS on a plain port", run(function()
    local heard, done = "nothing", duplex.event()
    local server = assert(duplex.serve({ log = false }, function(ws)
      heard = { ws.request.secure, ws.tls == nil, ws.request.tls == nil }
      done:set()
    end))
    local ws = assert(duplex.connect(server.url))
    done:wait(5)
    assert.same({ false, true, true }, heard)
    assert.is_nil(ws.tls)
  end))

  it("lets the pages of its own origin in, and no others", run(function()
    local server = secure.serve()
    local function origin(text)
      return duplex.connect(secure.url(server), { tls = { ca = pki.ca }, headers = { Origin = text } })
    end
    assert(origin(("https://localhost:%d"):format(server.port)))
    assert.equal("HTTP", select(3, origin("https://localhost")))
    assert.equal("HTTP", select(3, origin("https://other.example")))
  end))

  it("listens on a Unix socket", run(function()
    local path = pki.folder .. "/server.sock"
    local server = secure.serve(nil, nil, { unix = path })
    local ws = assert(duplex.connect("wss://localhost/", { unix = path, tls = { ca = pki.ca } }))
    secure.alive(ws)
    assert.equal("localhost", ws.tls.server_name)
    assert.is_truthy(server.url:find(path, 1, true))
  end))

  it("stops: open connections get 1001, handshakes under way end", run(function()
    local server = secure.serve()
    local ws = secure.connect(server)
    local p = secure_peer.connect(server.port)
    duplex.sleep(0.02)
    assert.equal(1, server:stats().handshakes)
    duplex.spawn(function() server:stop(2) end)
    assert.is_nil((ws:receive(5)))
    assert.equal(1001, ws.close_code)
    local _, ending = p.raw:rest()
    assert.equal("end", ending)
    server:wait()
    assert.is_nil(duplex.connect(secure.url(server), { tls = { ca = pki.ca } }))
  end))
end)
