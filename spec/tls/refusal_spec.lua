-- SPDX-License-Identifier: MIT
-- Servers that a client cannot talk TLS with, and what it says of them.

local duplex = require "duplex"
local peer = require "spec.support.peer"
local pki = require "spec.support.pki"
local raw = require "spec.support.raw"
local run = require "spec.support.run"
local secure = require "spec.support.secure_serve"
local secure_peer = require "spec.support.secure_peer"
local socket = require "socket"

-- As a server that secure.refused and its like can reach.
local function listen(answer) return { port = (peer.listen(answer)) } end

describe("a client that agrees on nothing", function()
  local rows = {
    -- what, the server's TLS options, the client's, words
    { "no version, server older", { maximum_version = "1.2" }, { minimum_version = "1.3" }, "version" },
    { "no version, client older", { minimum_version = "1.3" }, { maximum_version = "1.2" }, "version" },
    { "no cipher of TLS 1.2", { maximum_version = "1.2", ciphers = "ECDHE-ECDSA-AES256-GCM-SHA384" },
      { ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256" }, "cipher" },
    { "no cipher of TLS 1.3", { minimum_version = "1.3", ciphersuites = "TLS_AES_256_GCM_SHA384" },
      { ciphersuites = "TLS_AES_128_GCM_SHA256" }, "cipher" },
    { "no cipher for the certificate", { maximum_version = "1.2" }, { ciphers = "ECDHE-RSA-AES128-GCM-SHA256" }, "cipher" },
    { "no protocol above (ALPN)", { alpn = { "h2" } }, { alpn = { "http/1.1" } }, "ALPN" },
  }
  for _, row in ipairs(rows) do
    it(row[1] .. " says so, and the server goes on", run(function()
      local server = secure.serve(secure.tls(row[2]))
      secure.refused(row[4], server, row[3])
      local matching = { alpn = row[2].alpn }
      secure.alive(secure.connect(server, matching))
      assert.equal(0, server:stats().handshakes)
    end))
  end
end)

describe("a client refused for its certificate", function()
  local mine = pki.certificate { client = true, name = "alice" }
  local rows = {
    { "when it has none", nil },
    { "of an unknown issuer", pki.certificate { client = true, name = "alice", other_ca = true } },
    { "that has expired", pki.certificate { client = true, name = "alice", expired = true } },
    { "that is for servers", pki.certificate() },
  }
  for _, version in ipairs { "1.2", "1.3" } do
    for _, row in ipairs(rows) do
      it(row[1] .. " hears so (TLS " .. version .. ")", run(function()
        local server = secure.serve(secure.tls { ca = pki.ca, client_certificates = "required", maximum_version = version })
        local given = row[2] or {}
        secure.refused("client certificate", server, { certificate = given.certificate, key = given.key })
        secure.alive(secure.connect(server, mine))
      end))
    end
  end
end)

describe("a client reaches no TLS but", function()
  it("a server of plain HTTP", run(function()
    local server = assert(duplex.serve({ log = false }, secure.echo))
    secure.refused("does not speak TLS", server)
  end))

  local words = { "SSH-2.0-OpenSSH_9.2\r\n", "220 mail.example ESMTP\r\n", ("\0"):rep(5), ("\255"):rep(5), ("\22"):rep(100),
    "\21\3\3\255\255" .. ("x"):rep(100) }
  for _, greeting in ipairs(words) do
    it(("one that says %q"):format(greeting:sub(1, 20)), run(function()
      secure.refused("does not speak TLS", listen(function(p)
        p:send(greeting)
        p:rest()
        p:close()
      end))
    end))
  end

  it("one that says nothing: TIMEOUT at open_timeout", run(function()
    local ended
    local server = listen(function(p) ended = select(2, p:rest(4)) end)
    local began = duplex.now()
    local ws, message, id = duplex.connect(secure.url(server), { tls = { ca = pki.ca }, open_timeout = 0.2 })
    assert.is_nil(ws)
    assert.equal("TIMEOUT", id, message)
    assert.matches("^TIMEOUT: .*TLS", message)
    local took = duplex.now() - began
    assert.is_true(took > 0.19 and took < 2, took)
    duplex.sleep(0.05)
    assert.equal("end", ended)
  end))

  it("one that stops in mid-handshake: TIMEOUT at open_timeout", run(function()
    local server = { port = (secure_peer.listen(function(p)
      p:pull()
      p.engine:ready()
      p.raw:send(p.engine:output():sub(1, 200))
      p.raw:rest(4)
    end)) }
    local ws, message, id = duplex.connect(secure.url(server), { tls = { ca = pki.ca }, open_timeout = 0.2 })
    assert.is_nil(ws)
    assert.equal("TIMEOUT", id, message)
  end))

  it("one that sends its handshake slower than open_timeout", run(function()
    local server = { port = (secure_peer.listen(function(p)
      p:pull()
      p.engine:ready()
      local flight = p.engine:output()
      for at = 1, #flight do
        if not duplex.pcall(p.raw.send, p.raw, flight:sub(at, at)) then return end
        if p.raw:read(1, 0.01) then return end
      end
    end)) }
    local began = duplex.now()
    local ws, message, id = duplex.connect(secure.url(server), { tls = { ca = pki.ca }, open_timeout = 0.3 })
    assert.is_nil(ws)
    assert.equal("TIMEOUT", id, message)
    assert.is_true(duplex.now() - began < 2)
  end))
end)

-- A server whose first flight ends, with the connection, after 'n' bytes; the
-- flight's length once it is known.
local function quitter(options)
  local self = { n = 0 }
  self.port = secure_peer.listen(function(p)
    local n = self.n
    p:pull()
    p.engine:ready()
    local flight = p.engine:output()
    self.length = #flight
    if n > 0 then p.raw:send(flight:sub(1, n)) end
    p:close()
  end, options)
  return self
end

describe("a server that hangs up in mid-handshake", function()
  for _, version in ipairs { "1.2", "1.3" } do
    it("is told after each number of bytes (TLS " .. version .. ")", run(function()
      local server = quitter { maximum_version = version }
      repeat
        local ok, why = duplex.pcall(secure.refused, "hung up", server)
        assert(ok, ("after %d bytes of %s: %s"):format(server.n, tostring(server.length), tostring(why)))
        server.n = server.n + 1
      -- A signature, and so the flight, may be some bytes shorter next time.
      until server.n >= server.length - 4
      assert.is_true(server.n > 400, server.n)
    end))
  end

  it("by a reset is told too", run(function()
    local listener = raw.listen()
    duplex.spawn(function()
      repeat duplex.sleep(0.002) until socket.select({ listener.sock }, nil, 0)[1]
      local p = listener:tcp()
      repeat duplex.sleep(0.002) until p:readable(0)
      p:reset()
    end)
    secure.refused("hung up", { port = tonumber(listener.url:match(":(%d+)/")) })
    listener:close()
  end))
end)

describe("a client that hangs up in mid-handshake", function()
  for _, version in ipairs { "1.2", "1.3" } do
    it("leaves nothing behind, after each number of bytes (TLS " .. version .. ")", run(function()
      local lines = {}
      local server = secure.serve(nil, nil, { log = function(level, message) lines[#lines + 1] = level .. message end })
      local n, length = 0, 0
      while n <= length do
        local p = secure_peer.connect(server.port, { maximum_version = version })
        p.engine:ready()
        local hello = p.engine:output()
        length = #hello
        if n > 0 then p.raw:send(hello:sub(1, n)) end
        p:close()
        n = n + 1
      end
      assert.is_true(n > 150, n)
      for _ = 1, 100 do
        if server:stats().handshakes == 0 then break end
        duplex.sleep(0.01)
      end
      assert.same({ 0, 0 }, { server:stats().handshakes, server:stats().connections })
      secure.alive(secure.connect(server))
      for _, line in ipairs(lines) do assert.is_nil(line:find("^error"), line) end
    end))
  end
end)
