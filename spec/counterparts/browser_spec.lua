-- SPDX-License-Identifier: MIT
-- duplex.browser beside the object whose name it has, in a real Chromium: the same
-- cases, and the events in the same order (peers/events.lua and events.mjs).

local child = require "spec.support.child"

local NODE = os.getenv("NODE") or "node"
local PEERS = "spec/counterparts/peers/"

-- Where Chromium does not do what the standards say.
local DIFFERENT = {
  -- RFC 6455 7.2.1: the connection is failed when it is lost, and then WebSockets, 7,
  -- has an error event. Chromium has none.
  lost = function(line) return (line:gsub(" error 3,", "")) end,
  -- URL, 3.5: no host has a space. Chromium sends one to look for "foo%20bar.com".
  exceptions = function(line) return (line:gsub("^(exceptions: SyntaxError, )SyntaxError", "%1fine")) end,
}

describe("duplex.browser beside Chromium", function()
  local ours, theirs = {}, {}

  lazy_setup(function()
    local server = child.start(child.lua, PEERS .. "events.lua")
    local page, raw = server:expect("^(http:%S+) (ws:%S+)$")
    local line = server:line()
    while line and line ~= "done" do
      ours[line:match("^(.-):")] = line
      line = server:line()
    end
    local browser = child.start(NODE, PEERS .. "events.mjs", page, raw)
    for said in browser.line, browser do theirs[said:match("^(.-):") or said] = said end
    browser:finish()
    server:stop()
  end)

  for _, name in ipairs {
    "an echo, closed from here", "closed from there", "closed from there without a code",
    "closed from here without a code", "refused", "no subprotocol chosen", "nobody there", "lost",
    "a broken frame",
    "closed while it connects", "messages before the end", "too late to send",
    "sent before it is closed", "listeners", "exceptions", "urls", "constants",
  } do
    it(name, function()
      assert.is_string(theirs[name], "Chromium did not get there")
      local expected = ours[name]
      if DIFFERENT[name] then
        expected = DIFFERENT[name](expected)
        assert.not_equal(ours[name], expected)
      end
      assert.equal(theirs[name], expected)
    end)
  end
end)
