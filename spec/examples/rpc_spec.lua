-- SPDX-License-Identifier: MIT
-- Remote procedure calls, run as their users run them. With programs in other
-- languages: spec/counterparts/rpc_spec.lua.

local child = require "spec.support.child"
local translated = require "spec.support.translated"

describe("examples/rpc", function()
  local server, url

  setup(function()
    server = child.start(translated.words(child.lua, "examples/rpc/server.lua", "0"))
    url = server:expect("or connect to (ws://%S+)$")
  end)
  teardown(function() server:stop() end)

  it("calls both ways between Lua programs", function()
    local ok, output = child.start(translated.words(child.lua, "examples/rpc/client.lua", url)):finish()
    assert.is_true(ok, output)
    -- What is told comes when it comes.
    local told = "\ntold\thello from Lua"
    assert.truthy(output:find(told, 1, true), output)
    assert.equal(table.concat({
      "5",
      "nil\tRPC: division by zero (1)\tRPC\tRPC: division by zero (1)",
      "hello, Lua",
      "tick\t1", "tick\t2", "tick\t3", "3",
      "add\t42",
      "nothing\tRPC: Method not found (-32601)",
    }, "\n"), (output:gsub(told, "", 1)))
  end)
end)
