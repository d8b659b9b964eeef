-- SPDX-License-Identifier: MIT
-- accept() fails when descriptors run out: the loop must neither spin nor stop,
-- and take connections again when some come back.

local process = require "spec.support.process"
local raw = require "spec.support.raw"
local socket = require "socket"

describe("a server without descriptors", function()
  local server

  setup(function()
    server = process.server({ "spec/support/attacked.lua", "max_connections=1000" }, { before = "ulimit -n 30;" })
  end)

  teardown(function() server:stop() end)

  it("serves those it has, rests, and goes on when descriptors return", function()
    local first = raw.connect(server.port)
    local peers = {}
    for i = 1, 40 do
      peers[i] = raw.tcp(server.port)
      peers[i]:write(raw.request())
    end
    assert.is_true(first:alive())
    local cpu, served, waiting = server:cpu(), {}, {}
    socket.sleep(0.3)
    assert.is_true(server:cpu() - cpu < 0.15, "it spins")
    for _, peer in ipairs(peers) do
      local list = peer:readable(0) and served or waiting
      list[#list + 1] = peer
    end
    assert.is_true(#served >= 5 and #waiting >= 10, #served .. " served, " .. #waiting .. " wait")
    assert.is_true(first:alive())
    for _, peer in ipairs(served) do peer:close() end
    for i = 1, 10 do
      local head = waiting[i]:head()
      assert.truthy(head and head:find("^HTTP/1.1 101 "), "nobody takes those who waited")
      assert.is_true(waiting[i]:alive())
    end
    for _, peer in ipairs(waiting) do peer:close() end
    first:close()
    assert.truthy(server:errors_now():find("cannot accept", 1, true))
  end)
end)
