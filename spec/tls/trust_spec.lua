-- SPDX-License-Identifier: MIT
-- Whom a client trusts, and what it says of those it does not.

local duplex = require "duplex"
local pki = require "spec.support.pki"
local process = require "spec.support.process"
local run = require "spec.support.run"
local secure = require "spec.support.secure_serve"

local function text(path) return pki.read(path) end

local function ipv6()
  local server = duplex.serve({ host = "::1", log = false }, secure.echo)
  if server then server:stop() end
  return server ~= nil
end

-- localhost, byte 0, .example, as a DNS name (RFC 5280 4.2.1.6)
local NUL = "DER:30:14:82:12:6c:6f:63:61:6c:68:6f:73:74:00:2e:65:78:61:6d:70:6c:65"
local HUNDRED = {}
for i = 1, 100 do HUNDRED[i] = ("name%d.of-a-hundred.example"):format(i) end

describe("a client trusts", function()
  local rows = {
    -- what, certificate, TLS options of the client, host
    { "a certificate for its host", {} },
    { "a name in capitals", { names = { "LocalHost" } } },
    { "a host in capitals", {}, {}, "LOCALHOST" },
    { "an IPv4 address", { names = {}, addresses = { "127.0.0.1" } }, {}, "127.0.0.1" },
    { "one of many names", { names = { "a.example", "b.example", "localhost", "c.example" } } },
    { "a wildcard for one label", { name = "*.example.com" }, { server_name = "www.example.com" } },
    { "a wildcard beside the name it is below", { names = { "example.com", "*.example.com" } }, { server_name = "example.com" } },
    { "a server_name instead of the host", { name = "other.example" }, { server_name = "other.example" } },
    { "a server_name in capitals", { name = "other.example" }, { server_name = "OTHER.Example" } },
    { "a server_name with a dot at its end", { name = "other.example" }, { server_name = "other.example." } },
    { "an address as server_name", { names = {}, addresses = { "192.0.2.7" } }, { server_name = "192.0.2.7" } },
    { "a chain", { chain = true } },
    { "an RSA certificate", { rsa = true } },
    { "a CA given as text", {}, { ca = text(pki.ca) } },
    { "one of two CAs in a text", {}, { ca = text(pki.other_ca) .. text(pki.ca) } },
    { "a directory of CAs", {}, { ca = pki.directory() } },
    { "another CA when told so", { other_ca = true }, { ca = pki.other_ca } },
    { "a certificate given as its own CA", { self_signed = true }, { ca = pki.certificate({ self_signed = true }).certificate } },
    { "anything without verify: self-signed", { self_signed = true }, { ca = false, verify = false } },
    { "anything without verify: unknown issuer", { other_ca = true }, { verify = false } },
    { "anything without verify: expired", { expired = true }, { verify = false } },
    { "anything without verify: another host", { name = "other.example" }, { verify = false } },
  }
  for _, row in ipairs(rows) do
    it(row[1], run(function()
      local server = secure.serve(pki.certificate(row[2]))
      local ws = secure.connect(server, row[3], row[4])
      secure.alive(ws)
      ws:close()
    end))
  end

  if ipv6() then
    it("an IPv6 address", run(function()
      local server = secure.serve(pki.certificate { names = {}, addresses = { "::1" } }, nil, { host = "::1" })
      secure.alive(secure.connect(server, nil, "[::1]"))
    end))
  end
end)

describe("a client refuses", function()
  local rows = {
    -- what, certificate, words, TLS options of the client, host
    { "a certificate that has expired", { expired = true }, "expired" },
    { "one that is not yet valid", { future = true }, "not yet valid" },
    { "one that signed itself", { self_signed = true }, "self-signed" },
    { "one of an issuer it does not know", { other_ca = true }, "not trusted" },
    { "one without its intermediate", { incomplete = true }, "not trusted" },
    { "all but its own CA", {}, "not trusted", { ca = pki.other_ca } },
    { "another name", { name = "other.example" }, "is for other.example, not for localhost" },
    { "all of several names", { names = { "a.example", "b.example" } }, ", not for localhost" },
    { "a name that begins like its own", { name = "localhost.example.com" }, "is for localhost.example.com, not for localhost" },
    { "a name that ends like its own", { name = "notlocalhost" }, "is for notlocalhost, not for localhost" },
    { "a name that only stands in the common name", { name = "localhost", names = { "a.example" } }, "is for a.example, not for localhost" },
    { "a name for its address", { names = { "localhost" } }, ", not for 127.0.0.1", {}, "127.0.0.1" },
    { "an address as a name", { names = { "127.0.0.1" } }, ", not for 127.0.0.1", {}, "127.0.0.1" },
    { "another address", { names = {}, addresses = { "127.0.0.2" } }, "is for 127.0.0.2, not for 127.0.0.1", {}, "127.0.0.1" },
    { "an address for its name", { names = {}, addresses = { "127.0.0.1" } }, "is for 127.0.0.1, not for localhost" },
    { "a wildcard for two labels", { name = "*.example.com" }, "is for *.example.com, not for a.b.example.com",
      { server_name = "a.b.example.com" } },
    { "a wildcard for no label", { name = "*.example.com" }, "is for *.example.com, not for example.com",
      { server_name = "example.com" } },
    { "a wildcard for part of a name", { name = "*.example.com" }, ", not for wwwexample.com", { server_name = "wwwexample.com" } },
    { "a wildcard for all of a domain at the top", { name = "*.example" }, ", not for www.example", { server_name = "www.example" } },
    { "its name with a byte 0 and more behind it", { name = "localhost", san = NUL }, ", not for localhost" },
    { "a hundred other names, of which it says some", { name = "a.example", names = HUNDRED }, "is for name1.of-a-hundred.example, name2.of" },
    { "its host when server_name is another", {}, "is for localhost", { server_name = "other.example" } },
    { "a certificate that is for clients", { client = true, names = { "localhost" } }, "" },
    { "one that is wrong in two ways", { expired = true, name = "other.example" }, "" },
  }
  for _, row in ipairs(rows) do
    it(row[1], run(function()
      local heard
      local server = secure.serve(pki.certificate(row[2]), function() heard = true end)
      local message = secure.refused(row[3], server, row[4], row[5])
      assert.is_true(#message < 500, message)
      assert.is_nil(message:find("%c"))
      assert.is_nil(heard)
    end))
  end

  it("one, and tells the server, which goes on", run(function()
    local lines = {}
    local server = secure.serve(pki.certificate(), nil,
      { log = function(level, message) lines[#lines + 1] = level .. " " .. message end })
    secure.refused("not trusted", server, { ca = pki.other_ca })
    secure.alive(secure.connect(server))
    for _, line in ipairs(lines) do assert.is_nil(line:find("^error"), line) end
  end))

  it("a certificate that was fine when it asks for another name", run(function()
    local server = secure.serve(pki.certificate())
    secure.alive(secure.connect(server)) -- leaves a session behind
    secure.refused("not for 127.0.0.2", server, { server_name = "127.0.0.2" })
    secure.refused("not for other.example", server, { server_name = "other.example" })
    secure.refused("not trusted", server, { ca = pki.other_ca })
  end))
end)

describe("the ca of a client", function()
  it("is read again when the file has changed, and not without need", run(function()
    local server = secure.serve()
    local path = pki.write("changing.pem", pki.read(pki.ca))
    for i = 1, 2 do
      local ws = secure.connect(server, { ca = path })
      secure.alive(ws)
      assert.equal(i > 1, ws.tls.resumed) -- by sessions that were kept
      ws:close()
    end
    pki.write("changing.pem", pki.read(pki.other_ca) .. "\n")
    secure.refused("not trusted", server, { ca = path })
    os.remove(path)
    secure.refused("No such file or directory", server, { ca = path })
  end))
end)

describe("without a ca a client", function()
  local server
  setup(function()
    local pair = pki.certificate()
    server = process.server { "spec/support/secure_server.lua",
      ("{ tls = { certificate = %q, key = %q } }"):format(pair.certificate, pair.key) }
  end)
  teardown(function() server:stop() end)

  local function ask(before)
    local client = process.lua({ "spec/support/secure_client.lua", "wss://localhost:" .. server.port .. "/" },
      { before = before })
    local line = client:line()
    client:stop()
    return line
  end

  it("trusts those the system trusts: SSL_CERT_FILE", function()
    assert.equal("echo", ask(("export SSL_CERT_FILE='%s';"):format(pki.ca)))
  end)

  it("trusts those the system trusts: SSL_CERT_DIR", function()
    assert.equal("echo", ask(("export SSL_CERT_DIR='%s' SSL_CERT_FILE=/nowhere;"):format(pki.directory())))
  end)

  it("trusts nobody else", function()
    assert.matches("^TLS: .*not trusted", ask("unset SSL_CERT_FILE SSL_CERT_DIR;"))
  end)
end)
