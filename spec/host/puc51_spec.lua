-- SPDX-License-Identifier: MIT
-- PUC Lua 5.1 cannot yield inside pcall, iterators and metamethods. What waits
-- there says so, and disturbs nothing else.

local duplex = require "duplex"
local applies = require "spec.support.applies"
local both = require "spec.support.both"
local run = require "spec.support.run"

local describe = applies.where(not applies.waits_anywhere, "it can wait in all of these", describe)

describe("in PUC Lua 5.1", function()
  local C = "cannot wait here: inside a function written in C, such as pcall"
  local BOUNDARY = "attempt to yield across metamethod/C%-call boundary"
  local event = duplex.event()

  for _, row in ipairs {
    { "pcall", function() error(select(2, pcall(duplex.sleep, 0)), 0) end, C },
    { "xpcall", function() error(select(2, xpcall(function() event:wait(1) end, tostring)), 0) end, C },
    { "table.foreach", function() table.foreach({ 1 }, function() event:wait(1) end) end, C },
    { "an iterator", function() for _ in function() return event:wait(1) end do error("no") end end, BOUNDARY },
    { "a metamethod", function() return setmetatable({}, { __index = function() return event:wait(1) end }).x end, BOUNDARY },
  } do
    it("waiting raises in " .. row[1], run(function() both.raises(row[3], row[2]) end))
  end

  it("a wait that could not begin is not woken, and the task can wait again", run(function()
    local e, turns = duplex.event(), 0
    local done = both.task(function()
      pcall(function() return setmetatable({}, { __index = function() e:wait(0.01) end }).x end)
      while turns < 3 do
        assert(duplex.sleep(0.02))
        turns = turns + 1
        e:set()
      end
    end)
    done()
    assert.equal(3, turns)
  end))

  it("messages() raises in a task, and says what to write", run(function()
    local a, b = duplex.pair()
    a:send("x")
    local fine, problem = pcall(b.messages, b)
    assert.is_false(fine)
    assert.matches("messages%(%) cannot wait in PUC Lua 5.1.*ws:receive%(%)", problem)
    assert.equal("x", (b:receive()))
  end))

  it("messages() iterates at top level", function()
    local a, b = duplex.pair()
    a:send("one")
    a:send("two")
    local got = {}
    for data in b:messages() do
      got[#got + 1] = data
      if #got == 2 then break end
    end
    assert.same({ "one", "two" }, got)
  end)
end)
