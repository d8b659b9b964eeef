-- SPDX-License-Identifier: MIT
-- Examples whose servers and clients talk JSON, messages with a type.

local child = require "spec.support.child"
local json = require "cjson.safe"
local PATIENCE = require "spec.support.patience"
local translated = require "spec.support.translated"

local talking = {}

--- Starts a server of the examples, and waits for what it prints.
---@param file string
---@param pattern string
---@return table server, string captured
function talking.start(file, pattern)
  local server = child.start(translated.words(child.lua, file, "0"))
  return server, server:expect(pattern)
end

function talking.say(ws, message) assert(ws:send(json.encode(message))) end

--- The next message of this type.
function talking.expect(ws, kind)
  while true do
    local message = json.decode((assert(ws:receive(PATIENCE))))
    if message.type == kind then return message end
  end
end

return talking
