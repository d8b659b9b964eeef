-- SPDX-License-Identifier: MIT
-- The smallest examples, run as their users run them.

local child = require "spec.support.child"
local ports = require "spec.support.ports"
local translated = require "spec.support.translated"

describe("examples/echo", function()
  it("sends back what the client says", function()
    local server = child.start(translated.words(child.lua, "examples/echo/server.lua", "0"))
    finally(function() server:stop() end)
    local url = server:expect("^listening on (ws://%S+)$")
    local ok, output = child.start(translated.words(child.lua, "examples/echo/client.lua", url)):finish()
    assert.is_true(ok, output)
    assert.equal("hello\ttext", output)
  end)

  it("says that nobody listens", function()
    local url = "ws://127.0.0.1:" .. ports.free()
    local ok, output = child.start(translated.words(child.lua, "examples/echo/client.lua", url)):finish()
    assert.is_false(ok)
    assert.is_truthy(output:find("CONNECT: Connection refused (127.0.0.1 port ", 1, true), output)
  end)

  it("says that the port is taken", function()
    local server = child.start(translated.words(child.lua, "examples/echo/server.lua", "0"))
    finally(function() server:stop() end)
    local port = server:expect("^listening on ws://127.0.0.1:(%d+)$")
    local ok, output = child.start(translated.words(child.lua, "examples/echo/server.lua", port)):finish()
    assert.is_false(ok)
    assert.is_truthy(output:find("ADDRESS: cannot listen on 127.0.0.1 port " .. port, 1, true), output)
  end)
end)
