-- SPDX-License-Identifier: MIT
-- Peers that are hung up when the spec that made them is over: none of them
-- would say goodbye by itself.

local peer = require "spec.support.peer"
local run = require "spec.support.run"

local peers = {}
local open = {}

--- As peer.connect, in a body that peers.run runs.
function peers.connect(port, address)
  open[#open + 1] = peer.connect(port, address)
  return open[#open]
end

--- As run.lua.
function peers.run(body)
  return run(function()
    body()
    for _, p in ipairs(open) do p:close() end
    open = {}
  end)
end

return peers
