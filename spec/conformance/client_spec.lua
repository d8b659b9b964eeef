-- SPDX-License-Identifier: MIT
-- A client of the public interface, seen by a server that knows only RFC 6455.

local cases = require "spec.support.cases"
local conform = require "spec.support.conform"
local pki = require "spec.support.pki"
local process = require "spec.support.process"
local raw = require "spec.support.raw"
local secure_raw = require "spec.support.secure_raw"
local volumes = require "spec.support.volumes"

-- 'peers' are raw or secure_raw, which listen alike.
local function conforms(peers)
  local listener, client

  setup(function()
    listener = peers.listen()
    client = process.lua({ "spec/support/echo_client.lua", listener.url, "67108864" },
      { before = ("export SSL_CERT_FILE='%s';"):format(pki.ca) })
  end)

  teardown(function()
    if listener then listener:close() end
    client:stop()
  end)

  for _, case in ipairs(cases) do
    it(case[1] .. ": " .. case[2], function()
      conform.each_way(case, function(_, how)
        local fine, problem = pcall(conform.play, listener:accept(), case, how)
        assert(fine, how .. ": " .. tostring(problem))
        client:line()
      end)
    end)
  end

  for _, row in ipairs(volumes) do
    it(row[1] .. ": " .. row[2], function()
      local fine, problem = pcall(conform.play_volume, listener:accept(), row)
      assert(fine, problem)
      client:line()
    end)
  end

  it("fails a frame that is masked, with 1002", function()
    local peer = listener:accept()
    peer.key = raw.MASK
    peer:send(0x81, "Hello")
    conform.expect_close(peer, 1002)
    peer:close()
    assert.truthy(client:line():find("1006%s+PROTOCOL: frame from a server is masked"))
  end)

  it("takes frames that come with the answer", function()
    local peer = listener:tcp()
    local request = assert(peer:head())
    peer:write(raw.response(request) .. "\129\5Hello")
    assert.same({ 0x81, "Hello" }, { peer:frame() })
    peer:close()
    assert.truthy(client:line():find("1006%s+LOST: "))
  end)

  it("asks as RFC 6455 4.1 wants", function()
    local peer, request = listener:accept("Sec-WebSocket-Protocol: other\r\n")
    assert.truthy(request:find("^GET / HTTP/1.1\r\n"))
    for _, line in ipairs { "Host: 127.0.0.1:%d+", "Upgrade: websocket", "Connection: Upgrade",
      "Sec%-WebSocket%-Version: 13", "Sec%-WebSocket%-Protocol: echo, other",
      "Sec%-WebSocket%-Key: [%w+/]+==" } do
      local _, count = request:gsub("\r\n" .. line .. "\r\n", "")
      assert.equal(1, count, line)
    end
    assert.is_true(peer:alive())
    peer:close()
    client:line()
  end)

  it("chooses another masking key for every frame", function()
    local bytes = require "spec.support.bytes"
    local peer = listener:accept()
    local seen = {}
    for i = 1, 50 do
      peer:send(0x81, "x")
      local _, _, key = bytes.read_frame(function(n) return peer:read(n) end)
      assert.is_nil(seen[key], "key " .. i .. " is not new")
      seen[key] = true
    end
    peer:close()
    client:line()
  end)

  -- RFC 6455 4.1: what a server may not answer. 'ACCEPT' is what is right.
  local wrong = {
    { "another accept key", "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" },
    { "no accept key", "Upgrade: websocket\r\nConnection: Upgrade\r\n" },
    { "two accept keys", "Upgrade: websocket\r\nConnection: Upgrade\r\nACCEPTACCEPT" },
    { "no Upgrade", "Connection: Upgrade\r\nACCEPT" },
    { "another Upgrade", "Upgrade: notwebsocket\r\nConnection: Upgrade\r\nACCEPT" },
    { "no Connection", "Upgrade: websocket\r\nACCEPT" },
    { "another Connection", "Upgrade: websocket\r\nConnection: notupgrade\r\nACCEPT" },
    { "a subprotocol that was not offered", "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: soap\r\nACCEPT" },
    { "all subprotocols", "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: echo, other\r\nACCEPT" },
    { "an extension", "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Extensions: permessage-deflate\r\nACCEPT" },
  }
  for _, row in ipairs(wrong) do
    it("refuses an answer with " .. row[1], function()
      local peer = listener:tcp()
      local request = assert(peer:head())
      local accept = raw.response(request):match("Sec%-WebSocket%-Accept: [^\r]+\r\n")
      peer:write("HTTP/1.1 101 Switching Protocols\r\n" .. row[2]:gsub("ACCEPT", (accept:gsub("%%", "%%%%"))) .. "\r\n")
      assert.equal("closed", peer:eof())
      peer:close()
      assert.truthy(client:line():find("^HANDSHAKE: "))
    end)
  end

  it("ends when it is refused, and tells how", function()
    local peer = listener:tcp()
    assert(peer:head())
    peer:write("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    assert.equal("HTTP: the server answered 404 Not Found", client:line())
    peer:close()
    assert.is_nil(client:line())
    assert.same({ "exit", 0 }, { client:stop() })
    assert.equal("", client.log)
  end)
end

describe("a client conforms to RFC 6455", function() conforms(raw) end)
describe("a client conforms to RFC 6455 over wss", function() conforms(secure_raw) end)
