-- SPDX-License-Identifier: MIT
local duplex = require "duplex"
local both = require "spec.support.both"
local each = require "spec.support.each"
local run = require "spec.support.run"

describe("nothing is left behind", function()
  local stat = assert(io.open("/proc/self/stat"))
  local pid = stat:read("*n")
  stat:close()

  local function descriptors()
    local pipe = io.popen("sleep 0.01; ls /proc/" .. pid .. "/fd | wc -l") -- once its other end is closed here
    local n = pipe:read("*n")
    pipe:close()
    return n
  end

  it("by 10,000 connections, in batches", run(function()
    local server = assert(duplex.serve({ log = false }, function(ws)
      each(ws)
    end))
    local function batch()
      local waits = {}
      for i = 1, 50 do
        waits[i] = both.task(function()
          local ws = assert(duplex.connect(server.url))
          ws.data = { ws }
          ws:on_close(function() end)
          assert(ws:send("x") and ws:receive(5) == "x")
          assert(ws:close())
        end)
      end
      for i = 1, 50 do waits[i]() end
    end
    local function settled(open)
      for _ = 1, 100 do
        duplex.sleep(0.02)
        if server:stats().connections == 0 and descriptors() <= open then break end
      end
      for _ = 1, 3 do collectgarbage() end
      return collectgarbage("count"), descriptors()
    end
    local open = descriptors()
    batch()
    local memory = settled(open)
    for _ = 1, 200 do batch() end
    local later, open_later = settled(open)
    assert.is_true(open_later <= open, ("%d descriptors before, %d after"):format(open, open_later))
    -- Lua's table of strings may have doubled meanwhile; 50 bytes that each
    -- connection leaves behind are more than that.
    assert.is_true(later < memory + 488, ("%.0f KiB before, %.0f after"):format(memory, later))
  end))

  it("by connections that are forgotten open", run(function()
    local server = assert(duplex.serve({ log = false }, function(ws) ws:receive() end))
    local before = descriptors()
    for _ = 1, 50 do assert(duplex.connect(server.url)) end
    for _ = 1, 100 do
      collectgarbage()
      duplex.sleep(0.02)
      if descriptors() <= before then break end
    end
    assert.is_true(descriptors() <= before)
    assert.equal(0, server:stats().connections)
  end))
end)
