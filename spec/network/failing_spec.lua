-- SPDX-License-Identifier: MIT
-- Real networks that fail: processes killed, machines asleep, cables cut. Each
-- program is in a network namespace of its own.

local applies = require "spec.support.applies"
local child = require "spec.support.child"
local network = require "spec.support.network"

local describe = applies.where(not network.lacks(), network.lacks(), describe)

describe("on a network that fails,", function()
  local PLAY = "spec/network/play.lua"
  local results

  setup(function() results = network.results(PLAY) end)

  local names = child.start(child.lua, PLAY, "list")
  for name in names.line, names do
    it(name, function() assert.equal(true, results[name]) end)
  end
  names:finish()
end)
