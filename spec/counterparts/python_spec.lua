-- SPDX-License-Identifier: MIT
-- Python's websockets library (Debian: python3-websockets) as the other end.

local child = require "spec.support.child"
local client_cases = require "spec.counterparts.client_cases"
local schemes = require "spec.counterparts.schemes"

local PYTHON = os.getenv("PYTHON") or "/usr/bin/python3"
local PEERS = "spec/counterparts/peers/"
local unpack = unpack or table.unpack

for _, scheme in ipairs(schemes) do
  describe("our server, Python's client, " .. scheme.name .. ":", function()
    local server, results

    lazy_setup(function()
      server = child.start(child.lua, PEERS .. "duplex_server.lua", unpack(scheme.serve))
      local url = server:expect("^listening on (.*)$")
      results = child.results(PYTHON, PEERS .. "client.py", url, unpack(scheme.trust))
    end)
    lazy_teardown(function() server:stop() end)

    for _, name in ipairs {
      "text and binary of all sizes",
      "Unicode",
      "many messages at once, in order",
      "fragments from the client, pings between them",
      "fragments from the server",
      "a message that the server takes in pieces",
      "pings from the client",
      "pings from the server",
      "close codes and reasons from the client",
      "close codes and reasons from the server",
      "what a handler's end means",
      "subprotocols",
      "a message that is too big",
      "an abrupt end",
    } do
      it(name, function() assert.is_true(results[name]) end)
    end
  end)

  describe("our client, Python's server, " .. scheme.name .. ":", function()
    local server, url

    lazy_setup(function()
      server = child.start(PYTHON, PEERS .. "server.py", unpack(scheme.peer))
      url = server:expect("^listening on (.*)$")
    end)
    lazy_teardown(function() server:stop() end)

    client_cases(it, function() return url end, scheme.tls)
  end)
end
