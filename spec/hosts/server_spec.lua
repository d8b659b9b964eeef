-- SPDX-License-Identifier: MIT
-- Servers on other event loops than the native one, seen by a peer that knows
-- only RFC 6455: what spec/conformance and spec/attacks ask of the native one.

local applies = require "spec.support.applies"
local conform = require "spec.support.conform"
local hosts = require "spec.hosts.path"
local process = require "spec.support.process"
local raw = require "spec.support.raw"
local socket = require "socket"

local function start(name, options, before)
  return process.server({ "spec/support/attacked.lua", options },
    { before = ("%s export DUPLEX_HOST=%s;"):format(before or "", name) })
end

-- libuv hangs up on those for whom there is no descriptor; others let them wait.
local function connect_in_time(port)
  local deadline = socket.gettime() + 3
  while true do
    local fine, peer = pcall(raw.connect, port)
    if fine then return peer end
    assert(socket.gettime() < deadline, peer)
    socket.sleep(0.01)
  end
end

local function without_descriptors(server)
  local first = raw.connect(server.port)
  local peers = {}
  for i = 1, 50 do
    peers[i] = raw.tcp(server.port)
    peers[i]:write(raw.request())
  end
  assert.is_true(first:alive())
  local cpu = server:cpu()
  socket.sleep(0.3)
  assert.is_true(server:cpu() - cpu < 0.15, "it spins")
  for _, peer in ipairs(peers) do peer:close() end
  for _ = 1, 20 do
    local peer = connect_in_time(server.port)
    assert.is_true(peer:alive())
    peer:close()
  end
  assert.is_true(first:alive())
end

for name, host in pairs(hosts) do
  if name ~= "native" then
    describe("a server on " .. name, function()
      if host.lacks then
        applies.note("servers on " .. name, host.lacks)
        return
      end
      local server, witness

      setup(function()
        server = start(name, "max_message=67108864")
        witness = raw.connect(server.port)
      end)

      teardown(function()
        witness:close()
        server:stop()
      end)

      conform.server(it, raw, function() return server.port end, function() return witness end, false)

      it("writes the answers to what came at once at once", function()
        local peer = raw.connect(server.port)
        peer:write(("\129\133\55\250\33\61\127\159\77\81\88"):rep(1000))
        for _ = 1, 1000 do assert.same({ 0x81, "Hello" }, { peer:frame() }) end
        peer:close()
      end)

      it("survives peers that vanish from handlers that send for ever", function()
        for _ = 1, 5 do
          local peer = raw.tcp(server.port)
          peer:write((raw.request():gsub("GET /", "GET /flood")))
          assert.truthy(peer:head():find("^HTTP/1.1 101 "))
          peer:reset()
          assert.is_true(witness:alive())
        end
      end)

      it("goes on when descriptors ran out and come back", function()
        local poor = start(name, "max_connections=1000", "ulimit -n 40;")
        local fine, problem = pcall(without_descriptors, poor)
        poor:stop()
        assert(fine, problem)
      end)
    end)
  end
end
