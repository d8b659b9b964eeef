-- SPDX-License-Identifier: MIT
-- Sessions that are resumed, tickets, and responses of OCSP.

local duplex = require "duplex"
local each = require "spec.support.each"
local command = require "spec.support.secure_command"
local pki = require "spec.support.pki"
local ports = require "spec.support.ports"
local run = require "spec.support.run"
local secure = require "spec.support.secure_serve"

-- Connects, talks, closes: was the session resumed, as both ends see it?
local function resumed(server, tls, host)
  local ws = secure.connect(server, tls, host)
  assert.is_true(ws:send("resumed?"))
  local answer = ws:receive(5)
  assert.equal(tostring(ws.tls.resumed), answer, "the two ends disagree")
  ws:close()
  return ws.tls.resumed
end

local function tell(ws)
  each(ws, function() ws:send(tostring(ws.tls.resumed)) end)
end

local function serve(changes)
  return secure.serve(secure.tls(changes), tell)
end

describe("a session", function()
  for _, version in ipairs { "1.2", "1.3" } do
    it("is resumed by the next connection (TLS " .. version .. ")", run(function()
      local server = serve { maximum_version = version }
      assert.is_false(resumed(server))
      for _ = 1, 5 do assert.is_true(resumed(server)) end
    end))

    it("is not resumed with resume = false (TLS " .. version .. ")", run(function()
      local server = serve { maximum_version = version }
      assert.is_false(resumed(server))
      assert.is_false(resumed(server, { resume = false }))
      assert.is_true(resumed(server))
    end))

    it("is not resumed for a server without tickets (TLS " .. version .. ")", run(function()
      local server = serve { maximum_version = version, tickets = false }
      for _ = 1, 3 do assert.is_false(resumed(server)) end
    end))

    it("survives a reload of the certificates, or is made anew (TLS " .. version .. ")", run(function()
      local server = serve { maximum_version = version }
      assert.is_false(resumed(server))
      assert.is_true(server:reload_tls())
      resumed(server)
      assert.is_true(resumed(server))
    end))

    it("of another server is offered in vain (TLS " .. version .. ")", run(function()
      local port = ports.free()
      local function serve_there()
        return assert(duplex.serve({ port = port, tls = secure.tls { maximum_version = version }, log = false }, tell))
      end
      local first = serve_there()
      assert.is_false(resumed(first))
      first:stop()
      local second = serve_there()
      assert.is_false(resumed(second))
      assert.is_true(resumed(second))
    end))
  end

  it("is of one host and port alone", run(function()
    local a, b = serve(), serve()
    assert.is_false(resumed(a))
    assert.is_false(resumed(b))
    assert.is_false(resumed(a, nil, "127.0.0.1"))
    assert.is_true(resumed(a))
    assert.is_true(resumed(b))
  end))

  it("that was not verified is not resumed by a client that verifies", run(function()
    local server = secure.serve(pki.certificate { other_ca = true })
    for _ = 1, 2 do
      local ws = secure.connect(server, { verify = false })
      secure.alive(ws)
      ws:close()
    end
    secure.refused("not trusted", server)
  end))

  it("is resumed by openssl s_client", run(function()
    local server = secure.serve()
    local file = pki.folder .. "/session.pem"
    for _, version in ipairs { "-tls1_2", "-tls1_3" } do
      local first = command.s_client(server.port, version, "-sess_out", file)
      first:upgrade()
      first:finish()
      local second = command.s_client(server.port, version, "-sess_in", file)
      second:upgrade()
      second:finish()
      assert.is_truthy(first:output():find("\nNew, TLSv1", 1, true), first:output())
      assert.is_truthy(second:output():find("\nReused, TLSv1", 1, true), second:output())
    end
  end))

  it("has no ticket when there are none", run(function()
    local server = secure.serve(secure.tls { tickets = false })
    local client = command.s_client(server.port, "-tls1_2")
    client:upgrade()
    client:finish()
    assert.is_nil(client:output():find("session ticket", 1, true))
    client = command.s_client(server.port, "-tls1_3")
    client:upgrade()
    client:finish()
    assert.is_nil(client:output():find("New Session Ticket", 1, true))
  end))
end)

describe("a response of OCSP", function()
  it("is stapled for who asks", run(function()
    local pair = pki.certificate()
    local server = secure.serve(secure.tls { ocsp = pki.ocsp(pair) })
    for _, version in ipairs { "-tls1_2", "-tls1_3" } do
      local client = command.s_client(server.port, version, "-status")
      client:upgrade()
      client:finish()
      assert.is_truthy(client:output():find("OCSP Response Status: successful", 1, true), client:output())
      assert.is_truthy(client:output():find("Cert Status: good", 1, true))
    end
    secure.alive(secure.connect(server)) -- who does not ask
  end))

  it("belongs to its certificate", run(function()
    local pair, other = pki.certificate(), pki.certificate { name = "other.example" }
    local server = secure.serve { certificates = { other,
      { certificate = pair.certificate, key = pair.key, ocsp = pki.ocsp(pair) } } }
    local client = command.s_client(server.port, "-status", "-servername", "localhost")
    client:upgrade()
    client:finish()
    assert.is_truthy(client:output():find("Cert Status: good", 1, true), client:output())
    client = command.s_client(server.port, "-status", "-servername", "other.example")
    client:upgrade()
    client:finish()
    assert.is_truthy(client:output():find("OCSP response: no response sent", 1, true), client:output())
  end))

  it("that is missing or none at all is refused at once", run(function()
    for _, path in ipairs { "/no/such/file", pki.write("none.ocsp", "not DER") } do
      local server, message, id = duplex.serve({ tls = secure.tls { ocsp = path } }, secure.echo)
      assert.is_nil(server)
      assert.equal("TLS", id)
      assert.is_truthy(message:find(path, 1, true), message)
    end
  end))
end)
