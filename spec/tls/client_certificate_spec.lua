-- SPDX-License-Identifier: MIT
-- Clients that show a certificate, and servers that want one.

local duplex = require "duplex"
local pki = require "spec.support.pki"
local run = require "spec.support.run"
local secure = require "spec.support.secure_serve"

local alice = pki.certificate { client = true, name = "alice" }

-- A server that keeps what handler and hook saw of the last client.
local function serve(changes)
  local seen = { came = duplex.event() }
  changes.ca = changes.ca or changes.client_certificates and pki.ca or nil
  local server = secure.serve(secure.tls(changes), function(ws)
    local t = ws.tls
    seen.handler = { t.subject, t.issuer, t.fingerprint }
    seen.came:set()
    secure.echo(ws)
  end, { on_request = function(request)
    local t = request.tls
    seen.hook = { t.subject, t.issuer, t.fingerprint }
    if request.path == "/alice" and t.subject ~= "CN=alice" then return 403, "not alice\n" end
  end })
  return server, seen
end

for _, version in ipairs { "1.2", "1.3" } do
  describe("a certificate of a client (TLS " .. version .. ")", function()
    local function options(changes)
      local o = { maximum_version = version }
      for name, value in pairs(changes or {}) do o[name] = value end
      return o
    end
    local as_alice = options(alice)

    it("is visible to the hook and the handler", run(function()
      for _, wish in ipairs { "required", "optional" } do
        local server, seen = serve { client_certificates = wish }
        local ws = secure.connect(server, as_alice)
        seen.came:wait(5)
        local expected = { "CN=alice", "CN=Duplex Spec Root", pki.fingerprint(alice) }
        assert.same(expected, seen.handler)
        assert.same(expected, seen.hook)
        secure.alive(ws)
        ws:close()
      end
    end))

    it("may be missing where it is optional", run(function()
      local server, seen = serve { client_certificates = "optional" }
      local ws = secure.connect(server, options())
      seen.came:wait(5)
      assert.same({}, seen.handler)
      assert.same({}, seen.hook)
      secure.alive(ws)
    end))

    it("is not asked for by default", run(function()
      local server, seen = serve { client_certificates = false }
      secure.alive(secure.connect(server, as_alice))
      assert.same({}, seen.handler)
    end))

    it("that is bad is refused although it is optional", run(function()
      local server = serve { client_certificates = "optional" }
      for _, bad in ipairs { { other_ca = true }, { expired = true }, { future = true } } do
        bad.client, bad.name = true, "alice"
        secure.refused("client certificate", server, options(pki.certificate(bad)))
      end
    end))

    it("may come with its intermediate", run(function()
      local server, seen = serve { client_certificates = "required" }
      local ws = secure.connect(server, options(pki.certificate { client = true, name = "carol", chain = true }))
      seen.came:wait(5)
      assert.same({ "CN=carol", "CN=Duplex Spec Intermediate" }, { seen.handler[1], seen.handler[2] })
      secure.alive(ws)
    end))

    it("is still known when its session is resumed", run(function()
      local server, seen = serve { client_certificates = "required" }
      local first = secure.connect(server, as_alice)
      secure.alive(first)
      first:close()
      seen.handler, seen.came = nil, duplex.event()
      local second = secure.connect(server, as_alice)
      seen.came:wait(5)
      assert.is_true(second.tls.resumed)
      assert.equal("CN=alice", seen.handler[1])
      assert.equal(pki.fingerprint(alice), seen.handler[3])
    end))

    it("is not borrowed by another client of the same program", run(function()
      local server, seen = serve { client_certificates = "optional" }
      local first = secure.connect(server, as_alice)
      secure.alive(first)
      first:close()
      seen.came:clear()
      secure.connect(server, options())
      seen.came:wait(5)
      assert.same({}, seen.handler)
    end))

    it("lets a hook choose whom it lets in", run(function()
      local server = serve { client_certificates = "optional" }
      local url = secure.url(server) .. "alice"
      local tls = options(alice)
      tls.ca = pki.ca
      assert(duplex.connect(url, { tls = tls })):close()
      local _, message, id = duplex.connect(url, { tls = { ca = pki.ca, maximum_version = version } })
      assert.equal("HTTP", id, message)
    end))
  end)
end

describe("a server that wants certificates", function()
  it("trusts no more than its ca", run(function()
    local server = serve { client_certificates = "required", ca = pki.other_ca }
    secure.refused("client certificate", server, alice)
    secure.alive(secure.connect(server, pki.certificate { client = true, name = "alice", other_ca = true }))
  end))

  it("needs a ca", run(function()
    local fine, server, message, id = pcall(duplex.serve, { tls = secure.tls { client_certificates = "required" } }, secure.echo)
    local text = fine and message or server
    assert.is_falsy(fine and server)
    assert.matches("ca", text)
    if fine then assert.equal("TLS", id) end
  end))
end)
