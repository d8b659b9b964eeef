-- SPDX-License-Identifier: MIT
-- The chat example in a real Chromium: peers/chat.mjs starts the server and
-- plays two people, without TLS and with it. Leaves build/chat-ws.png,
-- build/chat-ws-phone.png, and two of wss.

local child = require "spec.support.child"
local pki = require "spec.support.pki"

local NODE = os.getenv("NODE") or "node"
local PEERS = "spec/counterparts/peers/"

local pair = pki.certificate()

local function play(scheme, authority, ...)
  os.execute("mkdir -p build")
  return child.results(NODE, PEERS .. "chat.mjs", "build/chat-" .. scheme .. ".png", authority,
    "setpriv", "--pdeathsig", "KILL", child.lua, ...)
end

for scheme, results_of in pairs {
  ws = function() return play("ws", "-", "examples/chat/server.lua") end,
  wss = function()
    return play("wss", pki.ca, PEERS .. "secure.lua", pair.certificate, pair.key, "examples/chat/server.lua")
  end,
} do
  describe("the chat in Chromium, " .. scheme .. ":", function()
    local results

    lazy_setup(function() results = results_of() end)

    for _, name in ipairs {
      "two people enter and see each other",
      "TLS is what was asked for, and verified",
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
end
