-- SPDX-License-Identifier: MIT
-- Ciphers and names with 'openssl s_client' and 's_server'. The records of each
-- cipher have another size, and those of TLS 1.2 and CBC another shape.

local duplex = require "duplex"
local bytes = require "spec.support.bytes"
local command = require "spec.support.secure_command"
local pki = require "spec.support.pki"
local run = require "spec.support.run"
local secure = require "spec.support.secure_serve"

local DATA = ("0123456789abcdef"):rep(3000) -- more than two records
local FRAME = "\129\126\187\128" .. DATA -- 48000 bytes of text, not masked

local CIPHERS = {
  { "TLSv1.3", "TLS_AES_128_GCM_SHA256" },
  { "TLSv1.3", "TLS_AES_256_GCM_SHA384" },
  { "TLSv1.3", "TLS_CHACHA20_POLY1305_SHA256" },
  { "TLSv1.2", "ECDHE-ECDSA-AES128-GCM-SHA256" },
  { "TLSv1.2", "ECDHE-ECDSA-CHACHA20-POLY1305" },
  { "TLSv1.2", "ECDHE-ECDSA-AES256-SHA384" },
  { "TLSv1.2", "ECDHE-RSA-AES256-GCM-SHA384", rsa = true },
  { "TLSv1.2", "ECDHE-RSA-AES128-SHA", rsa = true },
  { "TLSv1.2", "AES128-GCM-SHA256", rsa = true },
}

-- How openssl is told, and how we are.
local function choice(row)
  local new = row[1] == "TLSv1.3"
  return ("-tls1_%s %s %s"):format(new and 3 or 2, new and "-ciphersuites" or "-cipher", row[2]),
    { [new and "ciphersuites" or "ciphers"] = row[2], minimum_version = new and "1.3" or "1.2",
      maximum_version = new and "1.3" or "1.2" }
end

local function certificate(row) return pki.certificate(row.rsa and { rsa = true } or nil) end

-- Our client, connected to an openssl that is made to answer.
local function open(server, tls)
  local opened, ws, message = duplex.event(), nil, nil
  duplex.spawn(function()
    ws, message = secure.try(server, tls)
    opened:set()
  end)
  server:upgrade()
  opened:wait(5)
  return assert(ws, message)
end

for _, row in ipairs(CIPHERS) do
  local words, options = choice(row)

  it("our server, openssl's client, " .. row[2], run(function()
    local pair, agreed = certificate(row), nil
    local server = secure.serve({ certificate = pair.certificate, key = pair.key }, function(ws)
      agreed = ws.tls
      secure.echo(ws)
    end)
    local client = command.s_client(server.port, words)
    client:upgrade()
    client:type(bytes.frame(0x81, DATA, "\55\250\33\61"))
    client:expect(FRAME)
    assert.same({ row[1], row[2] }, { agreed.version, agreed.cipher })
    client:finish()
  end))

  it("our client, openssl's server, " .. row[2], run(function()
    local pair = certificate(row)
    local server = command.s_server(words, "-cert", pair.certificate, "-key", pair.key)
    local ws = open(server)
    assert.same({ row[1], row[2] }, { ws.tls.version, ws.tls.cipher })
    server:type(FRAME)
    assert.is_true(ws:receive(5) == DATA)
    ws:send("to openssl")
    ws:close(1000, "", 0)
    server:finish()
  end))

  it("our server's own choice of " .. row[2], run(function()
    local pair = certificate(row)
    options.certificate, options.key = pair.certificate, pair.key
    local server = secure.serve(options)
    local ws = secure.connect(server)
    assert.same({ row[1], row[2] }, { ws.tls.version, ws.tls.cipher })
    secure.alive(ws, DATA)
  end))
end

describe("the name that is asked for,", function()
  local default = pki.certificate()
  local other = pki.certificate { name = "other.example" }
  local wild = pki.certificate { name = "*.wild.example", names = { "*.wild.example" } }

  for name, shown in pairs {
    ["other.example"] = "other.example", ["OTHER.example"] = "other.example", ["a.wild.example"] = "*.wild.example",
    ["a.b.wild.example"] = "localhost", ["wild.example"] = "localhost", ["nobody.example"] = "localhost",
  } do
    it(("by openssl's client: %s gets %s"):format(name, shown), run(function()
      local asked
      local server = secure.serve({ certificates = { default, other, wild } }, function(ws)
        asked = ws.tls.server_name
        secure.echo(ws)
      end)
      local client = command.s_client(server.port, "-servername", name)
      client:upgrade()
      assert.equal("CN = " .. shown, client:finish():match("\nsubject=([^\n]*)"))
      assert.equal(name, asked)
    end))
  end

  it("by our client of openssl's server, or none for an address", run(function()
    for name, subject in pairs { ["other.example"] = "CN=other.example", ["127.0.0.1"] = "CN=localhost" } do
      local server = command.s_server("-servername", "other.example", "-cert2", other.certificate, "-key2", other.key)
      local ws = open(server, { server_name = name })
      assert.equal(subject, ws.tls.subject)
      ws:close(1000, "", 0)
      server:finish()
      local heard = server:output():match('Hostname in TLS extension: "([^"]*)"')
      assert.equal(name == "other.example" and name or nil, heard)
    end
  end))
end)
