-- SPDX-License-Identifier: MIT
-- Real networks that fail, on each host: processes killed, machines asleep, cables
-- cut. Each program is in a network namespace of its own. The failures take seconds
-- of real time, which is why this is played once, and not by each version of Lua.

local applies = require "spec.support.applies"
local child = require "spec.support.child"
local hosts = require "spec.hosts.path"
local network = require "spec.support.network"

local PLAY = "spec/network/play.lua"

for _, host in ipairs { "native", "cqueues", "copas", "luv" } do
  local lacks = host ~= "native" and hosts[host].lacks or network.lacks()
  applies.where(not lacks, lacks, describe)(("on a network that fails (%s),"):format(host), function()
    local results

    setup(function() results = network.results(PLAY, host) end)

    local names = child.start(child.lua, PLAY, "list")
    for name in names.line, names do
      it(name, function() assert.equal(true, results[name]) end)
    end
    names:finish()
  end)
end
