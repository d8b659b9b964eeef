-- SPDX-License-Identifier: MIT
-- The echo command as a server, seen by a peer that knows only RFC 6455.

local cases = require "spec.support.cases"
local conform = require "spec.support.conform"
local pki = require "spec.support.pki"
local process = require "spec.support.process"
local raw = require "spec.support.raw"
local secure_raw = require "spec.support.secure_raw"
local volumes = require "spec.support.volumes"

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

  for _, case in ipairs(cases) do
    it(case[1] .. ": " .. case[2], function()
      conform.each_way(case, function(_, how)
        local fine, problem = pcall(conform.play, peers.connect(server.port), case, how)
        assert(fine, how .. ": " .. tostring(problem))
      end)
    end)
  end

  for _, row in ipairs(volumes) do
    it(row[1] .. ": " .. row[2], function()
      local peer = peers.connect(server.port)
      local fine, problem = pcall(row[3], peer)
      assert(fine, problem)
      peer:close()
    end)
  end

  it("never disturbs another connection meanwhile", function()
    assert.is_true(witness:alive())
  end)

  it("takes frames that come with the request", function()
    local peer = peers.tcp(server.port)
    peer:write(raw.request() .. "\129\133\55\250\33\61\127\159\77\81\88")
    assert.truthy(peer:head():find("^HTTP/1.1 101 "))
    assert.same({ 0x81, "Hello" }, { peer:frame() })
    peer:close()
  end)

  it("answers the opening handshake byte by byte", function()
    local peer = peers.tcp(server.port)
    peer:write(raw.request(), 1)
    assert.truthy(peer:head():find(raw.ACCEPT, 1, true))
    assert.is_true(peer:alive())
    peer:close()
  end)

  it("fails a frame that is not masked, with 1002", function()
    local peer = peers.connect(server.port)
    peer.key = nil
    peer:send(0x81, "Hello")
    assert.equal(1002, (peer:until_close()))
    assert.equal("closed", peer:eof())
    peer:close()
  end)

  it("ends cleanly", function()
    witness:send(0x88, "\3\232")
    conform.expect_close(witness, 1000)
    assert.same({ "exit", 0 }, { server:stop() })
    assert.equal("closing 0 connections\n", server.log)
  end)
end

describe("duplex echo conforms to RFC 6455", function() conforms(raw, process.echo) end)
describe("duplex echo conforms to RFC 6455 over wss", function() conforms(secure_raw, secure_echo) end)
