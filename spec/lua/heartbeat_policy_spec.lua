-- SPDX-License-Identifier: MIT
-- What duplex.heartbeat decides, without connections and on a clock of the spec's.
local duplex = require "duplex"
local both = require "spec.support.both"

local time

local function policy(changes)
  time = 1000
  local o = { interval = 20, adaptive = true, minimum = 1, patience = 600, clock = function() return time end }
  for name, value in pairs(changes or {}) do o[name] = value end
  return duplex.heartbeat(o)
end

-- So many seconds pass in which all pings are answered.
local function serve(p, seconds)
  local stop = time + seconds
  while time < stop do
    time = math.min(stop, time + p.interval)
    p:answered()
  end
end

describe("a policy for heartbeats", function()
  it("has the intervals of the options", function()
    local p = duplex.heartbeat()
    assert.same({ 20, 20 }, { p.interval, p.timeout })
    assert.equal("duplex.heartbeat (interval 20)", tostring(p))
    p = duplex.heartbeat { interval = 0.5, timeout = false }
    assert.same({ 0.5, false }, { p.interval, p.timeout })
    p:lost(0.4)
    p:answered()
    assert.equal(0.5, p.interval)
  end)

  it("pings after half of the silence that cost a connection", function()
    local p = policy()
    p:lost(7)
    assert.same({ 3.5, 7 }, { p.interval, p.cutoff })
    p:lost(2)
    assert.same({ 1, 2 }, { p.interval, p.cutoff })
  end)

  it("never pings more often than the minimum", function()
    local p = policy()
    p:lost(1.5)
    assert.equal(1, p.interval)
  end)

  it("learns nothing from a connection that was lost while it talked", function()
    local p = policy()
    p:lost(0.9)
    assert.same({ 20, nil }, { p.interval, p.cutoff })
  end)

  it("learns nothing from a silence that no shorter interval prevents", function()
    local p = policy { interval = 4 }
    p:lost(9) -- the ping after 4 was not answered for 5
    assert.same({ 4, nil }, { p.interval, p.cutoff })
    p:lost(4) -- nor did the connection live to see the ping leave
    assert.equal(2, p.interval)
  end)

  it("tries longer intervals again when pings were answered for a while", function()
    local p = policy()
    p:lost(8)
    serve(p, 600)
    assert.equal(4, p.interval)
    serve(p, 8)
    assert.equal(6, p.interval)
    serve(p, 600)
    assert.equal(9, p.interval)
  end)

  it("never waits longer than the interval it began with", function()
    local p = policy()
    p:lost(30)
    assert.equal(15, p.interval)
    serve(p, 10000)
    assert.equal(20, p.interval)
  end)

  it("counts no time without connections", function()
    local p = policy()
    p:lost(8)
    time = time + 100000
    p:answered()
    assert.equal(4, p.interval)
  end)

  it("is twice as patient after each further loss, at most for a day", function()
    local p = policy()
    p:lost(8)
    p:answered()
    p:lost(4)
    serve(p, 1190)
    assert.equal(2, p.interval)
    serve(p, 20)
    assert.equal(3, p.interval)
    for _ = 1, 20 do
      p:answered()
      p:lost(p.interval)
    end
    assert.equal(86400, p.patience)
  end)

  it("takes connections that are lost at once for one loss", function()
    local p = policy()
    p:lost(8)
    serve(p, 30)
    for silence = 10, 1, -1 do p:lost(silence) end -- a server was started again
    assert.same({ 1, 1200 }, { p.interval, p.patience })
  end)

  it("settles below a cut-off, whatever that is", function()
    for cut = 3, 40 do
      local p = policy()
      local losses = 0
      for _ = 1, 20 do -- connections of an hour each
        local stop = time + 3600
        while time < stop do
          if p.interval >= cut then
            time = time + cut
            p:lost(cut)
            losses = losses + 1
            break
          end
          time = time + p.interval
          p:answered()
        end
      end
      assert.is_true(losses <= 6, cut .. ": " .. losses)
    end
  end)

  it("raises for options that make no sense", function()
    for text, given in pairs {
      ["unknown option 'intervall' %(did you mean 'interval'%?%)"] = { intervall = 1 },
      ["option 'payload' must be 0..125 bytes, got 126"] = { payload = ("x"):rep(126) },
      ["option 'payload' must be bytes or function, got 7"] = { payload = 7 },
      ["option 'on_latency' must be a function, got boolean"] = { on_latency = true },
      ["option 'adaptive' needs an interval of at least minimum"] = { adaptive = true, interval = false },
    } do
      assert.error_matches(function() duplex.heartbeat(given) end, text)
    end
    assert.error_matches(function() duplex.heartbeat { adaptive = true, interval = 0.5 } end, "at least minimum")
  end)
end)

describe("the option heartbeat", function()
  local function connect(options)
    return function() duplex.connect("ws://127.0.0.1:1", options) end
  end

  it("raises for options that make no sense, and says where", function()
    for text, given in pairs {
      ["unknown option 'heartbeat.intervall' %(did you mean 'heartbeat.interval'%?%)"] = { intervall = 1 },
      ["option 'heartbeat.timeout' must be 0..86400 seconds, got %-1"] = { timeout = -1 },
      ["'heartbeat.adaptive' is for a policy that connections share: make one with duplex.heartbeat"] =
        { adaptive = true },
    } do
      assert.error_matches(connect { heartbeat = given }, text)
      assert.error_matches(function() duplex.serve({ heartbeat = given }, print) end, text)
    end
    -- With a metatable it is still no policy.
    both.raises("heartbeat_policy_spec.lua:%d+: unknown option 'heartbeat.intervall'", function()
      local none = duplex.connect("ws://127.0.0.1:1", { heartbeat = setmetatable({ intervall = 1 }, {}) })
      return none
    end)
    assert.error_matches(connect { heartbeat = 20 }, "option 'heartbeat' must be a table or false, got 20")
  end)

  it("is there instead of ping_interval and ping_timeout, not beside them", function()
    for _, name in ipairs { "ping_interval", "ping_timeout" } do
      assert.error_matches(connect { heartbeat = {}, [name] = 20 }, "option 'heartbeat' excludes 'ping_interval'")
    end
  end)
end)
