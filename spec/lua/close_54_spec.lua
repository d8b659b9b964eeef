-- SPDX-License-Identifier: MIT
-- Variables that are to be closed: older versions of Lua cannot read this file.

local duplex = require "duplex"
local both = require "spec.support.both"
local ports = require "spec.support.ports"
local run = require "spec.support.run"

local case = both.cases(it)

describe("local ws <close>", function()
  case("closes with 1000 at the end of the block", function(a, b)
    local closing = both.task(function() local _ <close> = a end)
    assert.equal("CLOSED", select(3, b:receive()))
    assert.equal(1000, b.close_code)
    closing()
    assert.equal("closed", a.state)
  end)

  case("closes with 1011 when the block fails", function(a, b)
    local closing = both.task(pcall, function()
      local ws <close> = a
      error("in the block: " .. ws.state, 0)
    end)
    b:receive()
    assert.equal(1011, b.close_code)
    assert.same({ false, "in the block: open" }, { closing() })
  end)

  case("closes when the task dies, without waiting there", function(a, b)
    local stderr = io.stderr
    io.stderr = { write = function() end }
    duplex.spawn(function()
      local ws <close> = a
      error(ws)
    end)
    duplex.sleep(0.05)
    io.stderr = stderr
    assert.equal("CLOSED", select(3, b:receive(1)))
    assert.equal(1011, b.close_code)
  end)
end)

describe("local server <close>", function()
  it("stops at the end of the block", run(function()
    local url
    do
      local server <close> = assert(duplex.serve({ port = ports.free(), log = false }, function() end))
      url = server.url
    end
    assert.equal("CONNECT", select(3, duplex.connect(url)))
  end))
end)
