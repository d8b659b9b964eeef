-- SPDX-License-Identifier: MIT
-- Real proxies that cut connections on which nobody speaks for 2 seconds.

local child = require "spec.support.child"
local deploy = require "spec.counterparts.deploy"
local duplex = require "duplex"
local pki = require "spec.support.pki"
local run = require "spec.support.run"

local CUT = 2 -- seconds
local LONG = 2.5 * CUT

for _, kind in ipairs(deploy.kinds) do
  describe(kind.name .. ", which cuts after 2 s of silence:", function()
    local program, proxy

    setup(function()
      program = child.start(child.lua, "spec/counterparts/peers/duplex_server.lua", "ping_interval=0")
      local port = program:expect("^listening on .*:(%d+)")
      proxy = deploy.start(kind, "127.0.0.1:" .. port, pki.certificate(),
        { [kind.silence] = kind.silence:gsub("%d+s$", CUT .. "s") })
    end)

    teardown(function()
      proxy.child:stop()
      program:stop()
    end)

    local function connect(options)
      options.tls = { ca = pki.ca }
      return assert(duplex.connect(proxy.url .. "/echo", options))
    end

    -- Reads for that long. -> id, seconds
    local function read(ws, seconds)
      local began = duplex.now()
      return select(3, ws:receive(seconds)), duplex.now() - began
    end

    local function lives(ws)
      assert.equal("TIMEOUT", (read(ws, LONG)))
      ws:send("still here")
      assert.equal("still here", (ws:receive(5)))
      ws:close()
    end

    local function dies(ws)
      local id, seconds = read(ws, LONG)
      assert.equal("LOST", id)
      assert.is_true(seconds > CUT - 0.5 and seconds < CUT + 1.5, seconds)
      assert.equal(1006, ws.close_code)
    end

    -- Both at once, as each of them takes its time.
    it("pings in time keep a connection, and without them it is lost", run(function()
      local over = duplex.event()
      local kept, cut = connect { ping_interval = 1 }, connect { heartbeat = false }
      local fine, problem
      duplex.spawn(function()
        fine, problem = duplex.pcall(dies, cut)
        over:set()
      end)
      lives(kept)
      assert(over:wait(5) and fine, problem)
    end))

    it("a policy learns from the connection that it loses: a client loses one, and no message", run(function()
      local opened, policy = 0, duplex.heartbeat { adaptive = true }
      local client = duplex.reconnect(proxy.url .. "/echo", {
        first = 0.1, max = 0.1, log = false, on_open = function() opened = opened + 1 end,
        connect = { tls = { ca = pki.ca }, heartbeat = policy },
      })
      client:send("before")
      assert.equal("before", (client:receive(5)))
      local first = client.ws
      while client.ws == first do duplex.sleep(0.001) end
      assert.is_true(policy.cutoff > CUT - 0.5 and policy.cutoff < CUT + 1.5, policy.cutoff)
      assert.is_true(policy.interval < CUT)
      for i = 1, 5 do assert(client:send("queued " .. i)) end
      for i = 1, 5 do assert.equal("queued " .. i, (client:receive(5))) end
      assert.equal("TIMEOUT", select(3, client:receive(LONG)))
      client:send("after")
      assert.equal("after", (client:receive(5)))
      assert.equal(2, opened)
      client:close()
    end))
  end)
end
