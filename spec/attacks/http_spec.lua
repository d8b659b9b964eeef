-- SPDX-License-Identifier: MIT
-- Attacks through the plain HTTP that a server answers on the same port.

local process = require "spec.support.process"
local raw = require "spec.support.raw"
local socket = require "socket"

local ROOM = (os.getenv("LD_PRELOAD") or ""):find("asan") and 100000 or 4000 -- KB

describe("a peer that pipelines requests and never reads", function()
  local function attack(path, ...)
    local server = process.server { "spec/support/attacked.lua", "send_timeout=0.4", ... }
    local witness = raw.connect(server.port)
    local before = server:resident()
    local peer = raw.tcp(server.port, 4096)
    peer.sock:settimeout(0)
    local requests = ("GET " .. path .. " HTTP/1.1\r\nHost: h\r\n\r\n"):rep(500)
    local at, most, problem = 0, before, nil
    local deadline = socket.gettime() + 4
    while not problem and socket.gettime() < deadline do
      local n, why, part = peer.sock:send(requests, at + 1)
      at = n and 0 or part
      if why == "timeout" then
        socket.select(nil, { peer.sock }, 0.05)
      else
        problem = why
      end
      most = math.max(most, server:resident())
    end
    local alive = witness:alive()
    witness:close()
    peer:close()
    server:stop()
    assert.is_true(alive)
    assert.is_true(most - before < ROOM, most - before .. " KB for answers that nobody reads")
    assert.truthy(problem, "it was not cut")
  end

  it("costs bounded memory, and is cut after send_timeout", function()
    attack("/")
  end)

  it("is cut also when open_timeout ends first", function()
    attack("/", "open_timeout=0.2")
  end)

  it("is cut in the middle of a body from a source", function()
    attack("/endless", "open_timeout=0.2")
  end)
end)
