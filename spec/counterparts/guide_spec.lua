-- SPDX-License-Identifier: MIT
-- The programs of the guide, each against networks that fail. They are as they are
-- written; see spec/network/guide.lua for what is asked of them.

local applies = require "spec.support.applies"
local child = require "spec.support.child"
local network = require "spec.support.network"

local PLAY = "spec/network/guide.lua"

local FAILURES = {
  { "killed", "when the other end is killed" },
  { "asleep", "when the machine of the other end sleeps" },
  { "port", "when the port is closed, or somebody else's" },
  { "cut", "when the network drops all packets" },
  { "proxy", "behind a proxy that cuts after 2 s of silence" },
}

local lacks = network.lacks()

applies.where(not lacks, lacks, describe)("a program of the guide,", function()
  local results = {}

  -- All at once: they wait more than they work.
  setup(function()
    local playing = {}
    for _, failure in ipairs(FAILURES) do playing[failure[1]] = network.begin(PLAY, failure[1]) end
    for name, finish in pairs(playing) do results[name] = finish() end
  end)

  local names = {}
  local list = child.start(child.lua, PLAY, "list")
  for name in list.line, list do names[#names + 1] = name end
  list:finish()

  for _, failure in ipairs(FAILURES) do
    describe(failure[2] .. ":", function()
      for _, name in ipairs(names) do
        it(name, function() assert.equal(true, results[failure[1]][name]) end)
      end
    end)
  end
end)
