-- SPDX-License-Identifier: MIT
-- The examples of other event loops, run as their users run them.

local applies = require "spec.support.applies"
local child = require "spec.support.child"
local hosts = require "spec.hosts.path"

local function echo_works(server, client)
  local url = server:expect("^listening on (ws://%S+)$")
  local ok, output = child.start(child.lua, client, url, "to you"):finish()
  server:stop()
  assert.is_true(ok, output)
  assert.equal("to you\ttext", output)
end

for _, name in ipairs { "cqueues", "copas", "luv" } do
  describe("examples/" .. name, function()
    if hosts[name].lacks then
      applies.note("examples/" .. name, hosts[name].lacks)
      return
    end

    it("sends back what the client says", function()
      echo_works(child.start(child.lua, "examples/" .. name .. "/server.lua", "0"),
        "examples/" .. name .. "/client.lua")
    end)

    it("is reached from the native loop, and reaches it", function()
      echo_works(child.start(child.lua, "examples/" .. name .. "/server.lua", "0"),
        "examples/echo/client.lua")
      echo_works(child.start(child.lua, "examples/echo/server.lua", "0"),
        "examples/" .. name .. "/client.lua")
    end)
  end)
end

applies.where(_VERSION == "Lua 5.4", "the C program is compiled for Lua 5.4", describe)("examples/embed", function()
  local program

  setup(function()
    program = os.tmpname()
    assert(os.execute(("cc -o %s examples/embed/main.c $(pkg-config --cflags --libs lua5.4)"):format(program)))
  end)

  teardown(function() os.remove(program) end)

  it("serves from a loop in C, which goes on with what is its own", function()
    local server = child.start(program, "examples/embed/app.lua", "0")
    echo_works(server, "examples/echo/client.lua")
  end)

  it("plays a game whose frames nothing holds up", function()
    local server = child.start(program, "examples/embed/app.lua", "0")
    finally(function() server:stop() end)
    local url = server:expect("^listening on (ws://%S+)$")
    local ok, output = child.start(child.lua, "examples/embed/frames.lua", url):finish()
    assert.is_true(ok, output)
    assert.equal("frame 60: x is 50", output)
  end)
end)
