-- SPDX-License-Identifier: MIT
-- The echo command as a server, seen by a peer that knows only RFC 6455.

local conform = require "spec.support.conform"
local pki = require "spec.support.pki"
local process = require "spec.support.process"
local raw = require "spec.support.raw"
local secure_raw = require "spec.support.secure_raw"

local function secure_echo(max_message)
  local pair = pki.certificate()
  return process.server { "bin/duplex", "echo", "--port", "0", "--max-message", tostring(max_message),
    "--tls", "--certificate", pair.certificate, "--key", pair.key }
end

-- 'peers' are raw or secure_raw, which connect alike.
local function conforms(peers, echo)
  local server, witness

  setup(function()
    server = echo(67108864)
    witness = peers.connect(server.port)
  end)

  teardown(function()
    witness:close()
    server:stop()
  end)

  conform.server(it, peers, function() return server.port end, function() return witness end, true)

  it("ends cleanly", function()
    witness:send(0x88, "\3\232")
    conform.expect_close(witness, 1000)
    assert.same({ "exit", 0 }, { server:stop() })
    assert.equal("closing 0 connections\n", server.log)
  end)
end

describe("duplex echo conforms to RFC 6455", function() conforms(raw, process.echo) end)
describe("duplex echo conforms to RFC 6455 over wss", function() conforms(secure_raw, secure_echo) end)
