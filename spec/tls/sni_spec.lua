-- SPDX-License-Identifier: MIT
-- Several certificates on one port, and others while it runs.

local duplex = require "duplex"
local pki = require "spec.support.pki"
local run = require "spec.support.run"
local secure = require "spec.support.secure_serve"
local secure_peer = require "spec.support.secure_peer"

-- The subject of the certificate that a server shows for a name.
local function shown(server, name, options)
  local tls = { server_name = name, verify = false }
  for key, value in pairs(options or {}) do tls[key] = value end
  local ws = secure.connect(server, tls, "127.0.0.1")
  local subject = ws.tls.subject
  ws:close()
  return subject
end

describe("a server with several certificates", function()
  local one = pki.certificate { name = "one.example", names = { "one.example", "uno.example" } }
  local wild = pki.certificate { name = "*.wild.example" }
  local exact = pki.certificate { name = "exact.wild.example" }
  local default = pki.certificate { name = "default.example" }
  local others = { certificates = { one, wild, exact }, certificate = default.certificate, key = default.key }

  local rows = {
    -- name asked for, name shown
    { "one.example", "one.example" },
    { "uno.example", "one.example" },
    { "ONE.Example", "one.example" },
    { "a.wild.example", "*.wild.example" },
    { "A.WILD.EXAMPLE", "*.wild.example" },
    { "exact.wild.example", "exact.wild.example" },
    { "a.b.wild.example", "default.example" },
    { "wild.example", "default.example" },
    { "default.example", "default.example" },
    { "unknown.example", "default.example" },
    { "xone.example", "default.example" },
  }
  for _, row in ipairs(rows) do
    it("shows " .. row[2] .. " to whom asks for " .. row[1], run(function()
      local server = secure.serve(others)
      for _, version in ipairs { "1.2", "1.3" } do
        assert.equal("CN=" .. row[2], shown(server, row[1], { maximum_version = version }))
      end
    end))
  end

  it("shows the default to whom asks for nobody", run(function()
    assert.equal("CN=default.example", shown(secure.serve(others)))
    assert.equal("CN=one.example", shown(secure.serve { certificates = { one, wild } }))
    assert.equal("CN=one.example", shown(secure.serve { certificates = { one, wild } }, "unknown.example"))
  end))

  it("tells the handler the name, as it was asked for", run(function()
    local names, done = {}, duplex.event()
    local server = secure.serve(others, function(ws)
      names[#names + 1] = ws.tls.server_name
      done:set()
    end)
    shown(server, "a.wild.example")
    done:wait(5)
    assert.same({ "a.wild.example" }, names)
  end))

  it("never resumes a session of one name for another", run(function()
    local server = secure.serve(others)
    for _ = 1, 2 do
      assert.equal("CN=one.example", shown(server, "one.example"))
      assert.equal("CN=*.wild.example", shown(server, "a.wild.example"))
    end
  end))

  it("lets a chain and an RSA key stand among them", run(function()
    local server = secure.serve { certificates = { pki.certificate { name = "chain.example", chain = true },
      pki.certificate { name = "rsa.example", rsa = true } } }
    for _, name in ipairs { "chain.example", "rsa.example" } do
      assert.equal("CN=" .. name, secure.connect(server, { server_name = name }).tls.subject)
    end
  end))
end)

describe("server:reload_tls", function()
  local function copy(pair, name)
    return { certificate = pki.write(name .. ".pem", pki.read(pair.certificate)),
      key = pki.write(name .. ".key", pki.read(pair.key)) }
  end

  it("takes the files again: open connections go on, new ones get the new one", run(function()
    local old, new = pki.certificate(), pki.certificate { serial = 2 }
    local files = copy(old, "reload")
    local server = secure.serve(files)
    local ws = secure.connect(server)
    assert.equal(pki.fingerprint(old), ws.tls.fingerprint)
    copy(new, "reload")
    assert.is_true(server:reload_tls())
    secure.alive(ws, "goes on")
    local other = secure.connect(server, { resume = false })
    assert.equal(pki.fingerprint(new), other.tls.fingerprint)
    assert.equal(pki.fingerprint(old), ws.tls.fingerprint)
    secure.alive(other)
    secure.alive(ws, ("x"):rep(300000))
    ws:close()
    assert.is_nil(ws.close_error)
  end))

  it("leaves a handshake that is under way as it began", run(function()
    local server = secure.serve(pki.certificate())
    local p = secure_peer.connect(server.port)
    p.engine:ready()
    local hello = p.engine:output()
    p.raw:send(hello:sub(1, 100))
    duplex.sleep(0.02) -- it was taken
    assert.is_true(server:reload_tls(pki.certificate { name = "other.example" }))
    collectgarbage()
    p.raw:send(hello:sub(101))
    assert(p:handshake())
    assert.equal("CN=localhost", p.engine:info().subject)
    assert.is_true(p:upgrade():alive())
    p:close()
  end))

  it("takes other options", run(function()
    local server = secure.serve()
    local ws = secure.connect(server)
    assert.is_true(server:reload_tls(pki.certificate { name = "other.example" }))
    secure.refused("is for other.example", server)
    secure.alive(ws)
    assert.is_true(server:reload_tls()) -- those again
    secure.refused("is for other.example", server)
    assert.is_true(server:reload_tls(secure.tls { maximum_version = "1.2" }))
    assert.equal("TLSv1.2", secure.connect(server, { resume = false }).tls.version)
  end))

  it("keeps the old when a file is broken, missing or of another key", run(function()
    local old = pki.certificate()
    local files = copy(old, "broken")
    local server = secure.serve(files)
    local function keeps(words)
      local ok, message, id = server:reload_tls()
      assert.is_nil(ok)
      assert.equal("TLS", id)
      assert.matches("^TLS: ", message)
      assert.is_truthy(message:find(words, 1, true), message)
      assert.equal(pki.fingerprint(old), secure.connect(server, { resume = false }).tls.fingerprint)
    end
    pki.write("broken.pem", pki.read(old.certificate):sub(1, 300))
    keeps(files.certificate)
    pki.write("broken.pem", "")
    keeps(files.certificate)
    os.remove(files.certificate)
    keeps(files.certificate .. ": No such file or directory")
    pki.write("broken.pem", pki.read(pki.certificate { name = "other.example" }.certificate))
    keeps(files.key)
    copy(old, "broken")
    assert.is_true(server:reload_tls())
  end))

  it("raises for options it does not know, and for a server without TLS", run(function()
    local server = secure.serve()
    assert.error_matches(function() server:reload_tls { certificat = "x" } end, "tls%.certificat.*tls%.certificate")
    local plain = assert(duplex.serve({ log = false }, secure.echo))
    local ok, result, message, id = pcall(plain.reload_tls, plain)
    if ok then assert.same({ false, "TLS" }, { result or false, id }, message) end
    secure.alive(secure.connect(server))
  end))
end)
