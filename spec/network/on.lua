-- SPDX-License-Identifier: MIT
-- The cases of play.lua on one host: on("native", describe, it, setup), with
-- busted's functions, which only specs have.

local applies = require "spec.support.applies"
local child = require "spec.support.child"
local assert = require "luassert"
local hosts = require "spec.hosts.path"
local network = require "spec.support.network"

local PLAY = "spec/network/play.lua"

return function(host, describe, it, setup)
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
