-- SPDX-License-Identifier: MIT
-- The live comments of examples/hub with other ends than ours: its page in a real
-- Chromium (leaves build/comments.png), and Python's websockets.

local child = require "spec.support.child"

local NODE = os.getenv("NODE") or "node"
local PYTHON = os.getenv("PYTHON") or "/usr/bin/python3"
local PEERS = "spec/counterparts/peers/"

describe("the live comments in Chromium:", function()
  local results

  lazy_setup(function()
    os.execute("mkdir -p build")
    results = child.results(NODE, PEERS .. "comments.mjs", "build/comments.png",
      "setpriv", "--pdeathsig", "KILL", child.lua, "examples/hub/server.lua")
  end)

  for _, name in ipairs {
    "two readers see each other and what they write",
    "a reader with two tabs is one, until both are closed",
    "who was offline gets what was missed, once and in order",
    "who missed more than is kept is told so",
    "a killed server is found again, and what it forgot is not hidden",
    "no page had an error",
  } do
    it(name, function() assert.is_true(results[name]) end)
  end
end)

describe("the live comments in Python:", function()
  local server, url

  lazy_setup(function()
    server = child.start(child.lua, "examples/hub/server.lua", "0")
    url = "ws" .. server:expect("^open http(://%S+/) in two tabs$")
  end)
  lazy_teardown(function() server:stop() end)

  it("examples/hub/client.py reads and writes", function()
    local ada = child.start(PYTHON, "examples/hub/client.py", url, "python", "Ada")
    ada:expect("^here now: Ada$")
    local text = os.tmpname()
    local file = assert(io.open(text, "w"))
    file:write("hello from Bob\n")
    file:close()
    local bob = child.start("sh", "-c", ("exec %s examples/hub/client.py %s python Bob <%s"):format(PYTHON, url, text))
    ada:expect("^Bob joined$")
    ada:expect("^Bob: hello from Bob$")
    bob:stop()
    os.remove(text)
    ada:expect("^Bob left$")
    ada:stop()
  end)

  describe("peers/comments.py:", function()
    local results
    lazy_setup(function() results = child.results(PYTHON, PEERS .. "comments.py", url) end)

    for _, name in ipairs {
      "comments come to all who entered, as they were written",
      "who comes back gets what was missed, in order and once",
      "who knows nothing gets what is kept",
      "who asks for what is gone is told so",
      "who vanishes is missed, once for two connections",
      "what is nonsense is answered",
    } do
      it(name, function() assert.is_true(results[name]) end)
    end
  end)
end)
