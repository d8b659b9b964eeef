-- SPDX-License-Identifier: MIT
-- The tls table: what raises, what is returned, and what is taken.

local duplex = require "duplex"
local pki = require "spec.support.pki"
local run = require "spec.support.run"
local secure = require "spec.support.secure_serve"

local function serve(tls)
  if not tls then return duplex.serve({ tls = tls, log = false }, secure.echo) end
  local copy = { client_certificates = tls.ca and "required" }
  for name, value in pairs(tls) do copy[name] = value end
  return duplex.serve({ tls = copy, log = false }, secure.echo)
end

-- Options that raise do so before anybody is called.
local function connect(tls, port)
  return duplex.connect(("wss://127.0.0.1:%d/"):format(port or 1), { tls = tls })
end

describe("the option tls raises", function()
  local both = {
    { { certificat = "c.pem" }, "unknown option 'tls.certificat' %(did you mean 'tls.certificate'%?%)" },
    { { verfy = true }, "unknown option 'tls.verfy'" },
    { { [1] = "c.pem" }, "unknown option 'tls.1'" },
    { { certificate = 1 }, "option 'tls.certificate' must be a path or PEM text, got 1" },
    { { key = {} }, "option 'tls.key' must be a path or PEM text, got table" },
    { { ca = true }, "option 'tls.ca' must be a path or PEM text, got boolean" },
    { { passphrase = 1 }, "option 'tls.passphrase' must be a string or function, got 1" },
    { { minimum_version = "1.1" }, "option 'tls.minimum_version' must be" },
    { { minimum_version = 1.2 }, "option 'tls.minimum_version' must be" },
    { { maximum_version = "1.4" }, "option 'tls.maximum_version' must be" },
    { { minimum_version = "1.3", maximum_version = "1.2" }, "maximum_version" },
    { { ciphers = 1 }, "option 'tls.ciphers' must be a string" },
    { { ciphersuites = {} }, "option 'tls.ciphersuites' must be a string" },
    { { alpn = "http/1.1" }, "option 'tls.alpn' must be a list" },
    { { alpn = { 1 } }, "option 'tls.alpn' has '1'" },
    { { alpn = { "" } }, "option 'tls.alpn'" },
    { { alpn = { ("x"):rep(256) } }, "option 'tls.alpn'" },
  }
  for _, row in ipairs(both) do
    it("for " .. row[2]:gsub("%%", ""), run(function()
      local server = secure.tls()
      for name, value in pairs(row[1]) do server[name] = value end
      assert.error_matches(function() serve(server) end, row[2])
      assert.error_matches(function() connect(row[1]) end, row[2])
    end))
  end

  local servers = {
    { { verify = false }, "option 'tls.verify' is not for the server" },
    { { server_name = "x" }, "option 'tls.server_name' is not for the server" },
    { { resume = false }, "option 'tls.resume' is not for the server" },
    { { tickets = 1 }, "option 'tls.tickets' must be a boolean" },
    { { ocsp = 1 }, "option 'tls.ocsp' must be a string" },
    { { client_certificates = true }, "option 'tls.client_certificates' must be" },
    { { client_certificates = "maybe" }, "option 'tls.client_certificates' must be" },
    { { certificates = "c.pem" }, "option 'tls.certificates' must be a list" },
    { { certificates = { "c.pem" } }, "tls.certificates" },
    { { certificates = { { certificat = "c.pem" } } }, "certificat" },
  }
  for _, row in ipairs(servers) do
    it("of a server for " .. row[2], run(function()
      local server = secure.tls()
      for name, value in pairs(row[1]) do server[name] = value end
      assert.error_matches(function() serve(server) end, row[2])
    end))
  end

  local clients = {
    { { tickets = false }, "option 'tls.tickets' is not for the client" },
    { { certificates = {} }, "option 'tls.certificates' is not for the client" },
    { { client_certificates = "optional" }, "option 'tls.client_certificates' is not for the client" },
    { { ocsp = "x" }, "option 'tls.ocsp' is not for the client" },
    { { verify = "no" }, "option 'tls.verify' must be a boolean" },
    { { resume = 1 }, "option 'tls.resume' must be a boolean" },
    { { server_name = 1 }, "option 'tls.server_name' must be a string" },
    { { server_name = "" }, "option 'tls.server_name'" },
    { { server_name = "a\0b" }, "option 'tls.server_name'" },
  }
  for _, row in ipairs(clients) do
    it("of a client for " .. row[2]:gsub("%z", "0"), run(function()
      assert.error_matches(function() connect(row[1]) end, row[2])
    end))
  end

  it("at the line of the caller", run(function()
    local attempts = {
      function(value) assert(duplex.serve({ tls = value }, secure.echo)) end,
      function(value) assert(duplex.connect("wss://127.0.0.1:1/", { tls = value })) end,
    }
    for _, attempt in ipairs(attempts) do
      for _, value in ipairs { true, "c.pem", 1, { certificat = "x" }, { minimum_version = "1.3", maximum_version = "1.2" } } do
        local fine, problem = pcall(attempt, value)
        assert.is_false(fine)
        assert.matches("options_spec.lua:%d+: .*option 'tls", problem)
      end
    end
  end))
end)

describe("the option tls fails with TLS", function()
  local good, other = pki.certificate(), pki.certificate { name = "other.example" }
  local secret = pki.certificate { name = "localhost", passphrase = "sesame" }
  local none = "/no/such/c.pem"
  local text = pki.write("text.pem", "this is no certificate\n")
  local folder = pki.folder

  local rows = {
    -- what, options, text that must be in the message
    { "a certificate that is missing", { certificate = none, key = good.key }, "cannot read certificate " .. none .. ": No such file or directory" },
    { "a key that is missing", { certificate = good.certificate, key = none }, "cannot read key " .. none .. ": No such file or directory" },
    { "a CA that is missing", { certificate = good.certificate, key = good.key, ca = none }, none .. ": No such file or directory" },
    { "a certificate that is a folder", { certificate = folder, key = good.key }, folder },
    { "a certificate that is none", { certificate = text, key = good.key }, text },
    { "a key that is none", { certificate = good.certificate, key = text }, text },
    { "a CA that is none", { certificate = good.certificate, key = good.key, ca = text }, text },
    { "a key in place of a certificate", { certificate = good.key, key = good.key }, good.key },
    { "a certificate in place of a key", { certificate = good.certificate, key = good.certificate }, good.certificate },
    { "a key of another certificate", { certificate = good.certificate, key = other.key }, "key" },
    { "a wrong passphrase", { certificate = secret.certificate, key = secret.key, passphrase = "open" }, "passphrase" },
    { "a passphrase that is missing", { certificate = secret.certificate, key = secret.key }, "passphrase" },
    { "a passphrase callback that says nothing", { certificate = secret.certificate, key = secret.key,
      passphrase = function() end }, "passphrase" },
    { "ciphers that nobody knows", { certificate = good.certificate, key = good.key, ciphers = "NOSUCH" }, "cipher" },
    { "ciphersuites that nobody knows", { certificate = good.certificate, key = good.key, ciphersuites = "NOSUCH" }, "cipher" },
    { "PEM text that is cut", { certificate = pki.read(good.certificate):sub(1, 200), key = good.key }, "certificate" },
  }
  for _, row in ipairs(rows) do
    it("for " .. row[1], run(function()
      local server = secure.serve()
      for i = 1, 2 do
        local result, message, id
        if i == 1 then result, message, id = serve(row[2]) else result, message, id = connect(row[2], server.port) end
        assert.is_nil(result)
        assert.equal("TLS", id, message)
        assert.matches("^TLS: ", message)
        assert.is_truthy(message:find(row[3], 1, true), message)
        assert.is_nil(message:find("error:", 1, true), "OpenSSL's own words: " .. message)
        assert.is_nil(message:find("PRIVATE KEY", 1, true))
        assert.is_true(#message < 500)
      end
    end))
  end

  it("of a server for no certificate at all", run(function()
    for _, tls in ipairs { {}, { certificates = {} }, { ca = pki.ca } } do
      local fine, server, message, id = pcall(serve, tls)
      local problem = fine and message or server
      assert.is_falsy(fine and server)
      assert.matches("certificate", problem)
      if fine then assert.equal("TLS", id) end
    end
  end))

  it("of a server for one bad certificate among good ones, which is named", run(function()
    local server, message = serve { certificates = { good, { certificate = none, key = good.key } } }
    assert.is_nil(server)
    assert.is_truthy(message:find(none, 1, true), message)
  end))
end)

describe("the option tls takes", function()
  local secret = pki.certificate { passphrase = "sesame" }

  local function works(tls, client)
    local server = assert(serve(tls))
    secure.alive(secure.connect(server, client))
    server:stop(0)
  end

  it("a passphrase, and a function that knows it", run(function()
    works { certificate = secret.certificate, key = secret.key, passphrase = "sesame" }
    local asked = 0
    works { certificate = secret.certificate, key = secret.key, passphrase = function()
      asked = asked + 1
      return "sesame"
    end }
    assert.equal(1, asked)
  end))

  it("an error of a passphrase function as it is", run(function()
    local tls = { certificate = secret.certificate, key = secret.key, passphrase = function() error("no vault", 0) end }
    local fine, server, message = pcall(serve, tls)
    assert.is_falsy(fine and server)
    assert.matches("no vault", fine and message or server)
  end))

  it("PEM text for certificate, key and ca, also all in one", run(function()
    local good, chain = pki.certificate(), pki.certificate { chain = true }
    local function read(pair) return { certificate = pki.read(pair.certificate), key = pki.read(pair.key) } end
    works(read(good), { ca = pki.read(pki.ca) })
    works(read(chain))
    works { certificate = pki.read(good.certificate) .. pki.read(good.key) }
    works { certificate = pki.write("both.pem", pki.read(good.key) .. pki.read(good.certificate)) }
    works { certificate = pki.read(good.certificate):gsub("\n", "\r\n"), key = good.key }
  end))

  it("no table that the caller changes later", run(function()
    local tls = secure.tls()
    local server = assert(serve(tls))
    tls.certificate, tls.key = "/no/such/file", nil
    secure.alive(secure.connect(server))
    assert.is_true(server:reload_tls())
  end))

  it("false for none", run(function()
    local server = assert(serve(false))
    assert.matches("^ws:", server.url)
  end))

  it("a table for a client that speaks no TLS, and does nothing with it", run(function()
    local server = assert(serve(false))
    assert(duplex.connect(server.url, { tls = { ca = pki.ca } }))
  end))
end)
