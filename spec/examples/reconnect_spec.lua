-- SPDX-License-Identifier: MIT
-- The example that stays connected, run as its users run it.

local child = require "spec.support.child"
local translated = require "spec.support.translated"

local function serve(port)
  return child.start(translated.words(child.lua, "examples/echo/server.lua", port))
end

describe("examples/reconnect", function()
  it("goes on when the server was away, and ends with Ctrl-C", function()
    local server = serve("0")
    local port = server:expect(":(%d+)$")
    local client = child.start(translated.words(child.lua, "examples/reconnect/client.lua",
      "ws://127.0.0.1:" .. port, "0.02"))
    finally(function()
      client:stop()
      server:stop()
    end)
    client:expect("^hello from a new connection$")
    local before = tonumber(client:expect("^message (%d+)$"))
    server:stop()
    client:expect("^CLOSED: the connection was closed with 1001; again in %d%.%d s$")
    client:expect("^CONNECT: Connection refused .*; again in %d%.%d s$")
    server = serve(port)
    client:expect("^hello from a new connection$")
    assert.is_true(tonumber(client:expect("^message (%d+)$")) > before)
    os.execute("kill -INT " .. client.pid)
    client:expect("^the end: STOPPED: the loop is stopping$")
    assert.is_true((client:finish()))
  end)

  it("gives up where there is no WebSocket", function()
    local client = child.start(translated.words(child.lua, "examples/reconnect/client.lua", "nowhere"))
    finally(function() client:stop() end)
    client:expect("^the end: URL: no \"ws://\"")
    assert.is_true((client:finish()))
  end)
end)
