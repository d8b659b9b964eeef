-- SPDX-License-Identifier: MIT
-- wss through proxies, and proxies that are spoken to in TLS themselves.

local duplex = require "duplex"
local bytes = require "spec.support.bytes"
local pki = require "spec.support.pki"
local proxy = require "spec.support.proxy"
local peer = require "spec.support.peer"
local run = require "spec.support.run"
local secure = require "spec.support.secure_peer"

local OK = "HTTP/1.1 200 OK\r\n\r\n"
local TRUST = { ca = pki.ca }

local function identity(o)
  local pair = pki.certificate(o)
  return { certificate = pair.certificate, key = pair.key }
end

-- What a peer becomes: a server with TLS and this certificate.
local function shake_hands(p, o)
  return assert(secure.wrap(p, "server", identity(o)):handshake())
end

-- Is the server, on whatever p is.
local function serve(p)
  p:upgrade()
  p:put(0x81, "at once")
  p:rest(1)
end

-- The URL of a proxy for a connection each of which script(p) serves.
local function via(scheme, script)
  return scheme .. "127.0.0.1:" .. peer.listen(script)
end

describe("wss through a proxy", function()
  it("is TLS with the server, behind CONNECT", run(function()
    local asked, name
    local place = via("http://me:secret@", function(p)
      asked = p:read_to("\r\n\r\n")
      p:send(OK)
      local inner = shake_hands(p, { name = "server.example" })
      name = inner.engine:info().server_name
      serve(inner)
    end)
    assert(proxy.reach(duplex.connect, "wss://server.example/", { proxy = place, tls = TRUST }))
    assert.matches("^CONNECT server.example:443 HTTP/1.1\r\nHost: server.example:443\r\n", asked)
    assert.equal("server.example", name)
  end))

  it("is TLS with the server, behind SOCKS5", run(function()
    local place = via("socks5h://", function(p)
      p:read(3)
      p:send("\5\0")
      assert.equal("\5\1\0\3\14server.example\1\187", p:read(21))
      p:send("\5\0\0\1\0\0\0\0\0\0")
      serve(shake_hands(p, { name = "server.example" }))
    end)
    assert(proxy.reach(duplex.connect, "wss://server.example", { proxy = place, tls = TRUST }))
  end))

  it("gives TLS, not PROXY, when it is the server that is not trusted", run(function()
    local place = via("http://", function(p)
      p:read_to("\r\n\r\n")
      p:send(OK)
      secure.wrap(p, "server", identity { other_ca = true }):handshake()
    end)
    local _, message, id = duplex.connect("wss://localhost", { proxy = place, tls = TRUST, proxy_tls = TRUST })
    assert.matches("^TLS: .*not trusted", message)
    assert.equal("TLS", id)
    place = via("http://", function(p)
      p:read_to("\r\n\r\n")
      p:send(OK)
      p:close()
    end)
    _, message, id = duplex.connect("wss://localhost", { proxy = place, tls = TRUST })
    assert.matches("^TLS: localhost port 443 hung up", message)
    assert.equal("TLS", id)
  end))

  it("refuses what was said before TLS began", run(function()
    -- No server speaks first: it would be the proxy that adds something.
    local place = via("http://", function(p)
      p:read_to("\r\n\r\n")
      p:send(OK .. "SSH-2.0-OpenSSH_9.2\r\n")
      p:rest(1)
    end)
    local _, message, id = duplex.connect("wss://localhost", { proxy = place, tls = TRUST, open_timeout = 2 })
    assert.matches("^TLS: ", message)
    assert.equal("TLS", id)
  end))

  it("is not left for ws by a redirect", run(function()
    local heads = {}
    local place = via("http://", function(p)
      heads[#heads + 1] = p:read_to("\r\n\r\n")
      p:send(OK)
      local inner = shake_hands(p)
      inner:read_to("\r\n\r\n")
      inner:send("HTTP/1.1 301 Moved\r\nLocation: ws://localhost:443/\r\nContent-Length: 0\r\n\r\n")
      inner:finish()
    end)
    local _, message, id, response = duplex.connect("wss://localhost", { proxy = place, tls = TRUST })
    assert.equal("HTTP: the server answered 301 Moved (redirect not followed: would lead from wss to ws)", message)
    assert.equal("HTTP", id)
    assert.equal(301, response.status)
    assert.equal(1, #heads)
  end))

  it("is where a redirect from ws may lead, without credentials", run(function()
    local heads = {}
    local place = via("http://", function(p)
      heads[#heads + 1] = p:read_to("\r\n\r\n")
      p:send(OK)
      if #heads == 1 then
        heads[2] = p:read_to("\r\n\r\n")
        p:send("HTTP/1.1 301 Moved\r\nLocation: wss://localhost:80/\r\nContent-Length: 0\r\n\r\n")
        return
      end
      local inner = shake_hands(p)
      heads[4] = inner:read_to("\r\n\r\n")
      inner:send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    end)
    local _, message = duplex.connect("ws://me:secret@localhost:80", {
      proxy = place, tls = TRUST, headers = { Cookie = "secret=1", ["X-Other"] = "stays" } })
    assert.equal("HTTP: the server answered 404 Not Found", message)
    assert.matches("\r\nAuthorization: Basic ", heads[2])
    assert.matches("\r\nCookie: secret=1\r\n", heads[2])
    assert.is_nil(heads[4]:find("Authorization", 1, true))
    assert.is_nil(heads[4]:find("secret", 1, true))
    assert.matches("\r\nX%-Other: stays\r\n", heads[4])
  end))
end)

describe("a redirect from wss to wss", function()
  -- What the servers see of who comes, when the first one says 'location'.
  local function follow(location, own)
    local seen = {}
    local function answer(p)
      local pair = identity()
      pair.ca, pair.client_certificates = pki.ca, "optional"
      local inner = assert(secure.wrap(p, "server", pair):handshake())
      local info = inner.engine:info()
      seen[#seen + 1] = ("%s %s"):format(tostring(info.server_name), tostring(info.subject))
      if #seen == 2 then return serve(inner) end
      inner:read_to("\r\n\r\n")
      inner:send(("HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n"):format(location))
      inner:finish()
    end
    local first, second = peer.listen(answer), peer.listen(answer)
    location = location:gsub("SECOND", second)
    assert(proxy.reach(duplex.connect, "wss://127.0.0.1:" .. first, { tls = {
      ca = pki.ca, certificate = own.certificate, key = own.key, server_name = "localhost",
    } }))
    return seen
  end

  it("takes tls.certificate and tls.server_name along within the origin only", run(function()
    local own = pki.certificate { client = true, name = "alice" }
    assert.same({ "localhost CN=alice", "localhost CN=alice" }, follow("/there", own))
    -- The other one is called by its address, which is no server name.
    assert.same({ "localhost CN=alice", "nil nil" }, follow("wss://127.0.0.1:SECOND/", own))
  end))
end)

describe("an https proxy", function()
  it("is asked inside TLS, with its own options and its own name", run(function()
    local asked, info
    local port = peer.listen(function(p)
      local outer = shake_hands(p)
      info = outer.engine:info()
      asked = outer:read_to("\r\n\r\n")
      outer:send(OK)
      serve(outer)
    end)
    assert(proxy.reach(duplex.connect, "ws://server.example", {
      proxy = "https://me:secret@localhost:" .. port, tls = {}, proxy_tls = TRUST,
    }))
    assert.equal("localhost", info.server_name)
    assert.matches("^CONNECT server.example:80 HTTP/1.1\r\n", asked)
    assert.matches("\r\nProxy%-Authorization: Basic bWU6c2VjcmV0\r\n", asked)
  end))

  it("carries TLS in its TLS", run(function()
    local names = {}
    local port = peer.listen(function(p)
      local outer = shake_hands(p)
      names[1] = outer.engine:info().server_name
      assert(outer:read_to("\r\n\r\n"):find("^CONNECT server.example:443 "))
      outer:send(OK)
      local inner = shake_hands(outer, { name = "server.example" })
      names[2] = inner.engine:info().server_name
      serve(inner)
    end)
    local ws = assert(duplex.connect("wss://server.example",
      { proxy = "https://localhost:" .. port, tls = TRUST, proxy_tls = TRUST }))
    assert.equal("at once", (ws:receive(1)))
    assert.equal(pki.fingerprint(pki.certificate { name = "server.example" }), ws.tls.fingerprint)
    ws:close(1000, "", 0)
    assert.same({ "localhost", "server.example" }, names)
  end))

  it("carries bursts in both of them", run(function()
    local COUNT, SIZE = 400, 8000
    local text = ("x"):rep(SIZE)
    local port = peer.listen(function(p)
      local outer = shake_hands(p)
      outer:read_to("\r\n\r\n")
      outer:send(OK)
      local inner = shake_hands(outer):upgrade()
      -- Records of one end anywhere in those of the other, and all is sent at
      -- once: so there are parts of both behind what is received.
      inner.engine:write(bytes.frame(0x81, text):rep(COUNT))
      local records = inner.engine:output()
      for at = 1, #records, 15000 do outer.engine:write(records:sub(at, at + 14999)) end
      outer:push()
      inner:read(COUNT * (SIZE + 8), 5)
      inner:put(0x81, "the end")
      inner:rest(1)
    end)
    local ws = assert(duplex.connect("wss://localhost",
      { proxy = "https://localhost:" .. port, tls = TRUST, proxy_tls = TRUST }))
    for i = 1, COUNT do assert.is_true(assert(ws:receive(5)) == text, "message " .. i) end
    for _ = 1, COUNT do assert(ws:send(text)) end
    assert.equal("the end", (ws:receive(5)))
    ws:close(1000, "", 0)
  end))

  it("says nothing about the server's TLS", run(function()
    local place = via("https://", function(p)
      local outer = shake_hands(p)
      outer:read_to("\r\n\r\n")
      outer:send(OK)
      serve(outer)
    end)
    local ws = assert(duplex.connect("ws://server.example", { proxy = place, proxy_tls = TRUST }))
    assert.is_nil(ws.tls)
    ws:close(1000, "", 0)
  end))

  local failures = {
    { "is not trusted", { other_ca = true }, "not trusted" },
    { "has expired", { expired = true }, "expired" },
    { "is of another name", { name = "other.example" }, "is for other.example, not for 127.0.0.1" },
  }
  for _, row in ipairs(failures) do
    it("whose certificate " .. row[1] .. " gives PROXY", run(function()
      local place = via("https://me:secret@", function(p)
        secure.wrap(p, "server", identity(row[2])):handshake()
      end)
      local _, message, id = duplex.connect("wss://localhost", { proxy = place, tls = TRUST, proxy_tls = TRUST })
      assert.matches("^PROXY: no TLS with the proxy 127.0.0.1 port %d+: ", message)
      assert.is_truthy(message:find(row[3], 1, true), message)
      assert.is_nil(message:find("secret", 1, true))
      assert.equal("PROXY", id)
    end))
  end

  it("that speaks no TLS, or hangs up, gives PROXY", run(function()
    local place = via("https://", function(p)
      p:send("HTTP/1.1 400 Bad Request\r\n\r\n")
      p:rest(1)
    end)
    local _, message, id = duplex.connect("ws://server.example", { proxy = place, proxy_tls = TRUST })
    assert.matches("^PROXY: no TLS with the proxy 127.0.0.1 port %d+: .*does not speak TLS", message)
    assert.equal("PROXY", id)
    place = via("https://", function(p) p:close() end)
    _, message, id = duplex.connect("ws://server.example", { proxy = place, proxy_tls = TRUST })
    assert.matches("^PROXY: no TLS with the proxy 127.0.0.1 port %d+: .*hung up", message)
    assert.equal("PROXY", id)
  end))

  it("that is silent gives TIMEOUT", run(function()
    local place = via("https://", function(p) p:rest(1) end)
    local _, message, id = duplex.connect("ws://server.example", { proxy = place, open_timeout = 0.05 })
    assert.matches("^TIMEOUT: no TLS handshake with 127.0.0.1 port %d+ within open_timeout", message)
    assert.equal("TIMEOUT", id)
  end))

  it("that refuses gives PROXY, with what it said", run(function()
    local place = via("https://", function(p)
      local outer = shake_hands(p)
      outer:read_to("\r\n\r\n")
      outer:send("HTTP/1.1 403 Filtered\r\nContent-Length: 3\r\n\r\nwhy")
      outer:finish()
    end)
    local _, message, id, response = duplex.connect("ws://server.example", { proxy = place, proxy_tls = TRUST })
    assert.equal("PROXY: the proxy answered 403 Filtered", message)
    assert.equal("PROXY", id)
    assert.equal("why", response.body)
  end))
end)
