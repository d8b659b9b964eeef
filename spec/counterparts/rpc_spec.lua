-- SPDX-License-Identifier: MIT
-- examples/rpc with the JSON-RPC libraries json-rpc-2.0 and rpc-websockets, a
-- page in a real Chromium (peers/rpc.mjs), and its client in Python.

local child = require "spec.support.child"

local NODE = os.getenv("NODE") or "node"
local PYTHON = os.getenv("PYTHON") or "/usr/bin/python3"

describe("examples/rpc:", function()
  local server, page, url, results

  lazy_setup(function()
    server = child.start(child.lua, "examples/rpc/server.lua", "0")
    page, url = server:expect("^open (http://%S+/) or connect to (ws://%S+)$")
    results = child.results(NODE, "spec/counterparts/peers/rpc.mjs", page, url)
  end)
  lazy_teardown(function() server:stop() end)

  for _, name in ipairs {
    "json-rpc-2.0 calls",
    "json-rpc-2.0 gets errors with their codes",
    "json-rpc-2.0 is called",
    "json-rpc-2.0 sends batches",
    "rpc-websockets calls",
    "rpc-websockets is notified",
    "a page calls, and is called",
    "pages and programs are told what one of them tells",
  } do
    it(name, function() assert.is_true(results[name]) end)
  end

  it("Python calls, and is called", function()
    local ok, output = child.start(PYTHON, "examples/rpc/client.py", url):finish()
    assert.is_true(ok, output)
    assert.equal("5\nerror: division by zero\nhello, Python\ntick 1\ntick 2\ntick 3\n3\ntold hello from Python", output)
  end)
end)
