-- SPDX-License-Identifier: MIT
-- Node's ws library, which many servers and tools use, as the other end.

local child = require "spec.support.child"
local client_cases = require "spec.counterparts.client_cases"
local duplex = require "duplex"
local run = require "spec.support.run"
local schemes = require "spec.counterparts.schemes"

local NODE = os.getenv("NODE") or "node"
local PEERS = "spec/counterparts/peers/"
local COUNT = 800 -- pieces of 64 KiB: 50 MB

local unpack = unpack or table.unpack

local function piece(number) return ("%08d"):format(number):rep(8192) end

for _, scheme in ipairs(schemes) do
  describe("our server, Node's client, " .. scheme.name .. ":", function()
    local server, results

    lazy_setup(function()
      server = child.start(child.lua, PEERS .. "duplex_server.lua", unpack(scheme.serve))
      local url = server:expect("^listening on (.*)$")
      results = child.results(NODE, PEERS .. "client.mjs", url, unpack(scheme.trust))
    end)
    lazy_teardown(function() server:stop() end)

    for _, name in ipairs {
      "text and binary of all sizes",
      "Unicode",
      "many messages at once, in order",
      "fragments from the client, pings between them",
      "fragments from the server",
      "a message that the server takes in pieces",
      "ping and pong events",
      "close codes and reasons from the client",
      "a close without a code",
      "close codes and reasons from the server",
      "what a handler's end means",
      "subprotocols",
      "a message that is too big",
      "an abrupt end",
      "50 MB both ways at once",
      "a client that does not read for a while loses nothing",
    } do
      it(name, function() assert.is_true(results[name]) end)
    end
  end)

  describe("our client, Node's server, " .. scheme.name .. ":", function()
    local server, url

    lazy_setup(function()
      server = child.start(NODE, PEERS .. "server.mjs", unpack(scheme.peer))
      url = server:expect("^listening on (.*)$")
    end)
    lazy_teardown(function() server:stop() end)

    client_cases(it, function() return url end, scheme.tls)

    it("last words before a hang-up without a close frame", run(function()
      local ws = assert(duplex.connect(url .. "/vanish", { tls = scheme.tls }))
      ws:send("now")
      assert.equal("last words", (ws:receive(10)))
      local data, _, id = ws:receive(10)
      assert.is_nil(data)
      assert.equal("LOST", id)
    end))

    it("50 MB both ways at once", run(function()
      local ws = assert(duplex.connect(url .. "/stream?count=" .. COUNT, { tls = scheme.tls }))
      local most = 0
      duplex.spawn(function()
        for i = 1, COUNT do
          assert(ws:send(piece(i), "binary"))
          most = math.max(most, ws.outbox)
        end
      end)
      for i = 1, COUNT do
        local data = assert(ws:receive(10))
        assert.is_true(data == piece(i), "piece " .. i .. " is not what it was")
      end
      assert.equal("all", (ws:receive(10)))
      assert.is_true(most < 262144, most .. " bytes waited")
    end))

    it("a server that does not read for a while loses nothing", run(function()
      local ws = assert(duplex.connect(url .. "/pause", { tls = scheme.tls }))
      local bytes, id = 0, nil
      while not id do
        duplex.sleep(0) -- so that the loop sends what it can
        id = select(3, ws:try_send(piece(1), "binary"))
        if not id then bytes = bytes + 65536 end
      end
      assert.equal("FULL", id)
      assert.is_true(ws.outbox > 0)
      duplex.connect(url .. "/resume", { tls = scheme.tls }):close()
      assert(ws:send("the end"))
      assert.equal(tostring(bytes + 7), (ws:receive(10)))
    end))
  end)
end
