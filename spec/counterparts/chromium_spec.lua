-- SPDX-License-Identifier: MIT
-- The chat example in a real Chromium: peers/chat.mjs starts the server and
-- plays two people. Leaves build/chat.png and build/chat-phone.png.

local child = require "spec.support.child"

local NODE = os.getenv("NODE") or "node"

describe("the chat in Chromium", function()
  local results

  lazy_setup(function()
    os.execute("mkdir -p build")
    results = child.results(NODE, "spec/counterparts/peers/chat.mjs", "build/chat.png",
      "setpriv", "--pdeathsig", "KILL", child.lua, "examples/chat/server.lua")
  end)

  for _, name in ipairs {
    "two people enter and see each other",
    "messages go both ways",
    "who enters late gets the history",
    "the page looks as it should",
    "Unicode comes through unharmed",
    "Shift+Enter begins a line",
    "who leaves is gone from the list",
    "a name that is taken gets a number",
    "what looks like HTML is text",
    "a page that is loaded again knows the name and the room",
    "rooms are apart",
    "a refusal is shown",
    "a killed server is noticed, and found again",
    "a stopped server says so and ends",
    "no page had an error",
  } do
    it(name, function() assert.is_true(results[name]) end)
  end
end)
