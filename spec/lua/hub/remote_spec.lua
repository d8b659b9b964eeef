-- SPDX-License-Identifier: MIT
-- Hubs of several processes, as it were, over a backend of the kind that Redis would
-- make: all calls wait, connections to it are cut, and it keeps but the last messages.

local duplex = require "duplex"
local both = require "spec.support.both"
local run = require "spec.support.run"

-- Streams of the last 'kept' messages of each topic, and backends joined to them.
local function remote(kept)
  local server, links = {}, {}

  local function stream(topic)
    server[topic] = server[topic] or { last = 0 }
    return server[topic]
  end

  local function round_trip(link)
    duplex.sleep(0.001)
    if link.cut then return nil, "LOST: no connection to the streams", "LOST" end
    return true
  end

  local function receive(link, topic, message)
    link.seen[topic] = message.offset
    link.deliver(topic, message)
  end

  return function()
    local link = { seen = {}, asked = {} }

    function link:subscribe(deliver, lost)
      self.deliver, self.lost, links[self] = deliver, lost, true
    end

    function link:wants(pattern, wanted)
      if wanted then self.seen[pattern] = self.seen[pattern] or stream(pattern).last end
    end

    function link:publish(topic, message)
      local ok, problem, id = round_trip(self)
      if not ok then return nil, problem, id end
      local all = stream(topic)
      all.last = all.last + 1
      all[all.last], all[all.last - kept] = { data = message.data, offset = all.last, epoch = "e" }, nil
      for other in pairs(links) do
        if not other.cut then receive(other, topic, all[all.last]) end
      end
      return true
    end

    function link:read(topic, offset, epoch, count)
      self.asked[#self.asked + 1] = tostring(offset)
      local ok, problem, id = round_trip(self)
      if not ok then return nil, problem, id end
      local all, found = stream(topic), {}
      local first = offset and offset + 1 or math.max(1, all.last - count + 1)
      local known = not offset or epoch == "e" and offset <= all.last and (all[first] or offset == all.last)
      for i = first, known and all.last or 0 do found[#found + 1] = all[i] end
      return known and found, all.last, "e"
    end

    -- It is joined again, and delivers what there is of what it has missed.
    function link:mend()
      self.cut = false
      for topic, seen in pairs(self.seen) do
        local all = stream(topic)
        local first = math.max(seen + 1, all.last - kept + 1)
        if first > seen + 1 then self.lost(topic) end
        for i = first, all.last do receive(self, topic, all[i]) end
      end
    end

    return link
  end
end

local function envelope(topic, data, offset) return ("%s %s %s"):format(topic, tostring(offset), data) end

local function received(ws)
  local list, data = {}, ws:receive(0.02)
  while data do
    list[#list + 1] = data
    data = ws:receive(0.02)
  end
  return list
end

describe("a hub over a backend elsewhere", function()
  it("returns what the backend could not do, and goes on when it can again", run(function()
    local join = remote(10)
    local here, there = join(), join()
    local one = duplex.hub { backend = here, encode = envelope }
    local two = duplex.hub { backend = there, encode = envelope }
    local client, ws = duplex.pair()
    local _, other = duplex.pair()
    assert(one:subscribe(ws, "t"))
    assert.is_true(two:publish("t", "before"))
    here.cut = true
    assert.same({ nil, "LOST: no connection to the streams", "LOST" }, { one:publish("t", "never") })
    assert.equal("LOST", select(3, one:subscribe(other, "t", { last = true })))
    for i = 1, 3 do assert.is_true(two:publish("t", "meanwhile " .. i)) end
    assert.same({ "t 1 before" }, received(client))
    here:mend()
    assert.is_true(one:publish("t", "after"))
    assert.same({ "t 2 meanwhile 1", "t 3 meanwhile 2", "t 4 meanwhile 3", "t 5 after" }, received(client))
    assert(one:subscribe(other, "t", { last = true }))
  end))

  it("tells subscribers of messages that are lost, before those that came later", run(function()
    local join, lines = remote(2), {}
    local here, there = join(), join()
    local one = duplex.hub {
      backend = here, encode = envelope,
      log = function(level, text, fields) lines[#lines + 1] = { level, text, fields and fields.topic } end,
      on_gap = function(ws, topic)
        ws:try_send("lost: " .. topic)
        error("of the program")
      end,
    }
    local two = duplex.hub { backend = there }
    local a, a_ws = duplex.pair()
    local b, b_ws = duplex.pair()
    local c, c_ws = duplex.pair()
    local first = one:subscribe(a_ws, "t")
    one:subscribe(a_ws, "*")
    one:subscribe(b_ws, "*")
    one:subscribe(c_ws, "u")
    here.cut = true
    for i = 1, 3 do two:publish("t", tostring(i)) end
    here:mend()
    local got = { "lost: t", "t 2 2", "t 3 3" }
    assert.same({ got, got, {} }, { received(a), received(b), received(c) })
    assert.same({ "warning", "the backend has lost messages", "t" }, lines[1])
    assert.matches("^on_gap failed: .*of the program", lines[2][2])
    assert.is_false(one:subscribe(a_ws, "t", { since = first.offset, epoch = first.epoch }).recovered)
    assert.is_true(one:subscribe(a_ws, "t", { since = 1, epoch = first.epoch }).recovered)
    assert.same({ "t 2 2", "t 3 3" }, received(a))
  end))

  it("tells each subscription when nobody knows of what topics messages are lost", run(function()
    local here, told = remote(10)(), {}
    here.read = nil
    local hub = duplex.hub {
      backend = here, history = 10, log = false, on_gap = function(ws, topic) told[#told + 1] = ws.id .. " " .. topic end,
    }
    local _, a = duplex.pair()
    local _, b = duplex.pair()
    hub:subscribe(a, "t")
    hub:subscribe(a, "*")
    hub:subscribe(b, ">")
    hub:publish("t", "1")
    hub:publish("u", "1")
    assert.is_true(hub:subscribe(b, "t", { since = 1, epoch = "e" }).recovered)
    hub:unsubscribe(b, "t")
    here.lost("a.b")
    assert.is_true(hub:subscribe(b, "t", { since = 1, epoch = "e" }).recovered)
    hub:unsubscribe(b, "t")
    assert.same({ b.id .. " a.b" }, told)
    here.lost()
    local all = { a.id .. " *", a.id .. " t", b.id .. " >", b.id .. " a.b" }
    table.sort(all)
    table.sort(told)
    assert.same(all, told)
    assert.is_false(hub:subscribe(b, "t", { since = 1, epoch = "e" }).recovered)
    assert.equal(1, hub:metrics().history_topics) -- asked for, and empty
    hub:close()
    here.lost() -- late
    assert.equal(4, #told)
  end))

  it("sees from the numbers that messages are lost, if it keeps the history", run(function()
    local here, told = remote(10)(), {}
    here.read = nil
    local hub
    hub = duplex.hub {
      backend = here, history = 10, log = false,
      on_gap = function(ws, topic)
        told[#told + 1] = topic
        ws:try_send("lost")
        if #told == 3 then hub:close() end
      end,
    }
    local client, ws = duplex.pair()
    hub:subscribe(ws, "t")
    for _, one in ipairs { { 5, "e" }, { 6, "e" }, { 8, "e" }, { 9, "e" }, { 1, "f" }, { 2, "f" } } do
      here.deliver("t", { data = one[2] .. one[1], offset = one[1], epoch = one[2] })
    end
    assert.same({ "e5", "e6", "lost", "e8", "e9", "lost", "f1", "f2" }, received(client))
    assert.same({ "t", "t" }, told)
    assert.is_false(hub:subscribe(ws, "t", { since = 9, epoch = "e" }).recovered)
    assert.is_true(hub:subscribe(ws, "t", { since = 1, epoch = "f" }).recovered)
    assert.equal(0, here.deliver("t", { data = "late", offset = 4, epoch = "f" }))
    assert.same({ "f2", "lost" }, received(client)) -- and nothing of a hub that is closed
  end))

  it("asks the backend with integers, whatever a peer has sent", run(function()
    local here = remote(5)()
    local hub = duplex.hub { backend = here }
    local _, ws = duplex.pair()
    for _ = 1, 2 do hub:publish("t", "x") end
    assert.equal(1, hub:subscribe(ws, "t", { since = 1.0, epoch = "e" }).replayed)
    assert.same({ "1" }, here.asked)
  end))

  it("is not made with a backend that lacks something", function()
    for _, name in ipairs { "publish", "subscribe" } do
      local part = { publish = print, subscribe = print }
      part[name] = nil
      both.raises("remote_spec.lua:%d+: option 'backend' has no function '" .. name .. "'", function()
        local hub = duplex.hub { backend = part }
        return hub
      end)
    end
  end)
end)
