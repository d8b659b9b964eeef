-- SPDX-License-Identifier: MIT
local duplex = require "duplex"
local both = require "spec.support.both"
local run = require "spec.support.run"

local KIB64 = ("x"):rep(65536)

-- it(...) with a task, and a function that opens connections over sockets: a
-- list of { client, server }.
local function sockets(name, body)
  it(name, run(function()
    local came, accepted = duplex.event(), nil
    local server = assert(duplex.serve({ log = false }, function(ws)
      accepted = ws
      came:set()
      ws:wait_closed()
    end))
    body(function(count, options)
      local list = {}
      for i = 1, count do
        came:clear()
        local client = assert(duplex.connect(server.url, options))
        assert(came:wait(2))
        list[i] = { client, accepted }
      end
      return (table.unpack or unpack)(list)
    end)
  end))
end

-- What a connection receives until nothing comes any more.
local function received(ws, silence)
  local list = {}
  while true do
    local data = ws:receive(silence or 0.02)
    if not data then
      both.turns()
      data = ws:receive(0)
    end
    if not data then return list end
    list[#list + 1] = data
  end
end

local function envelope(topic, data, offset)
  return ("%s %s %s"):format(topic, tostring(offset), data)
end

describe("duplex.hub", function()
  sockets("publishes to those who subscribe, once to each", function(open)
    local hub = duplex.hub()
    local a, b, c = open(3)
    assert(hub:subscribe(a[2], "news.sport"))
    assert(hub:subscribe(a[2], "news.*"))
    assert(hub:subscribe(b[2], ">"))
    assert(hub:subscribe(c[2], "weather"))
    assert.equal(2, hub:publish("news.sport", "goal"))
    assert.equal(1, hub:publish("weather.today", "\0", "binary"))
    assert.same({ "goal" }, received(a[1]))
    assert.same({ "goal", "text" }, { b[1]:receive(1) })
    assert.same({ "\0", "binary" }, { b[1]:receive(1) })
    assert.same({}, received(c[1]))
    assert.equal(1, hub:publish("nobody.else.is.here", "x"))
    assert.is_true(hub:unsubscribe(b[2], ">"))
    assert.is_false(hub:unsubscribe(b[2], ">"))
    assert.equal(0, hub:publish("nobody.is.here", "x"))
    assert.is_true(hub:unsubscribe(a[2], "news.*"))
    assert.equal(0, hub:publish("news.other", "x"))
    assert.equal(1, hub:publish("news.sport", "x"))
  end)

  sockets("leaves out the sender when asked to", function(open)
    local hub = duplex.hub()
    local a, b = open(2)
    for _, one in ipairs { a, b } do
      hub:subscribe(one[2], "room")
      hub:subscribe(one[2], "*")
    end
    assert.equal(1, hub:publish("room", "hello", nil, { except = a[2] }))
    assert.equal(2, hub:publish("room", "all"))
    assert.same({ "all" }, received(a[1]))
    assert.same({ "hello", "all" }, received(b[1]))
  end)

  sockets("forgets a connection that ends, however it does", function(open)
    local hub = duplex.hub()
    local a, b = open(2)
    for _, topic in ipairs { "room", "other", "room.*", ">" } do
      hub:subscribe(a[2], topic)
      hub:subscribe(b[2], topic)
    end
    hub:publish("room", "make something to forget")
    a[1]:close()
    b[2]:close(1000, "", 0)
    both.settle()
    assert.equal(0, hub:publish("room", "x"))
    local numbers = hub:metrics()
    assert.same({ 0, 0 }, { numbers.topics, numbers.subscriptions })
    assert.is_nil(next(hub.connections))
    assert.is_nil(next(hub.by_id))
    assert.is_nil(next(hub.receivers.merged))
    assert.same({ nil, "CLOSED: the connection is over", "CLOSED" }, { hub:subscribe(a[2], "room") })
  end)

  sockets("returns what is wrong with names that a peer chose", function(open)
    local hub = duplex.hub { max_topics = 2, max_topic_bytes = 10 }
    local a = open(1)
    for _, name in ipairs { "", "a..b", "a*", ">.a", 5, {}, true, ("x"):rep(11) } do
      local none, message, id = hub:subscribe(a[2], name)
      assert.is_nil(none)
      assert.equal("TOPIC", id)
      assert.is_truthy(message:find("^TOPIC: a topic") or message:find("^TOPIC: '"), message)
      assert.is_false(hub:unsubscribe(a[2], name))
      assert.equal("TOPIC", select(3, hub:publish(name, "x")))
    end
    assert.equal("TOPIC", select(3, hub:publish("a.*", "x")))
    assert.same({}, hub:who("a..b"))
    assert.equal("TOPIC", select(3, hub:subscribe(a[2], "a.*", { since = 1 })))
    assert.equal("TOPIC", select(3, hub:subscribe(a[2], ">", { last = true })))
    assert(hub:subscribe(a[2], "a"))
    assert(hub:subscribe(a[2], "b"))
    assert.same({ nil, "TOO_MANY: a connection may subscribe to 2 topics (max_topics)", "TOO_MANY" },
      { hub:subscribe(a[2], "c") })
    assert(hub:subscribe(a[2], "b"))
    hub:unsubscribe(a[2], "b")
    assert(hub:subscribe(a[2], "c"))
  end)

  it("raises for what is wrong in the program", run(function()
    local hub, ws = duplex.hub(), duplex.pair()
    assert.error_matches(function() duplex.hub { slo = "drop" } end, "unknown option 'slo' %(did you mean 'slow'%?%)")
    assert.error_matches(function() duplex.hub { slow = "wait" } end, "'slow' must be \"disconnect\" or")
    assert.error_matches(function() hub:subscribe(nil, "a") end, "subscribe takes a connection, got nil")
    assert.error_matches(function() hub:subscribe(ws, "a", { info = 1 }) end, "'info' must be a table")
    assert.error_matches(function() hub:publish("a", 5) end, "must be a string, got number")
    assert.matches("hub_spec.lua:%d+: text is not valid UTF%-8;",
      select(2, pcall(function() hub:publish("a", "\255") end)))
    assert.error_matches(function() hub:publish("a", "x", "txt") end, "kind must be")
    for _, other in ipairs { {}, io.stdout, duplex.prepare("x") } do
      both.raises("hub_spec.lua:%d+: option 'except' must be a connection, got ",
        function() hub:publish("a", "x", nil, { except = other }) end)
      both.raises("hub_spec.lua:%d+: subscribe takes a connection, got ",
        function() hub:subscribe(other, "a") end)
      both.raises("hub_spec.lua:%d+: unsubscribe takes a connection, got ",
        function() hub:unsubscribe(other, "a") end)
    end
    assert.error_matches(function() hub:publish("a", "x", nil, { key = {} }) end, "'key' must be a string or a number")
    assert.error_matches(function() hub:publish("a", "x", nil, { excpt = ws }) end,
      "unknown option 'excpt' of publish %(did you mean 'except'%?%)")
  end))

  sockets("ends all subscriptions with close, and no connection", function(open)
    local hub = duplex.hub { history = 5 }
    local a = open(1)
    hub:subscribe(a[2], "room", { info = {} })
    hub:close()
    hub:close()
    assert.equal("CLOSED", select(3, hub:publish("room", "x")))
    assert.equal("CLOSED", select(3, hub:subscribe(a[2], "room")))
    assert.is_nil(hub.history)
    assert.equal(0, hub:metrics().history_topics)
    a[2]:send("still there")
    assert.equal("still there", (a[1]:receive(1)))
    a[1]:close()
  end)

  -- ---- slow consumers ----

  -- Publishes until the slow one is found out; the quick one gets everything.
  local function press(hub, quick, done, options)
    for i = 1, 400 do
      hub:publish("t", ("%04d "):format(i) .. KIB64, nil, options and options(i))
      assert.equal(i, tonumber(quick:receive(2):match("^%d+")))
      duplex.sleep(0)
      if done(i) then return i end
    end
    error("nobody is slow")
  end

  sockets("closes a slow subscriber with 1013, and serves the others", function(open)
    local hub = duplex.hub { above = 200000 }
    local slow, quick = open(2)
    hub:subscribe(slow[2], "t")
    hub:subscribe(quick[2], "t")
    press(hub, quick[1], function() return slow[2].state == "closed" end)
    assert.equal(1, hub:metrics().disconnected)
    while slow[1]:receive(2) do end
    assert.same({ 1013, "the peer reads too slowly for its topics" }, { slow[1].close_code, slow[1].close_reason })
  end)

  sockets("drops for a slow subscriber, tells how many, and history has them", function(open)
    local told = {}
    local hub = duplex.hub { slow = "drop", above = 200000, history = 1000, history_bytes = 2 ^ 30,
      history_total = 2 ^ 30, pending_bytes = 2 ^ 30, encode = envelope }
    local slow, quick = open(2)
    local subscription = hub:subscribe(slow[2], "t", {
      on_drop = function(ws, topic, lost) told[#told + 1] = { ws, topic, lost } end,
    })
    hub:subscribe(quick[2], "t")
    local last = 0
    for i = 1, 400 do
      last = i
      hub:publish("t", KIB64)
      quick[1]:receive(2)
      duplex.sleep(0)
      if #told == 3 then break end
    end
    assert.same({ slow[2], "t", 3 }, told[3])
    assert.same({ 3, 3 }, { subscription.lost, hub:metrics().drops })
    local count, before, whole = 0, 0, 0
    for _, data in ipairs(received(slow[1])) do
      local offset = tonumber(data:match("^t (%d+) "))
      assert.is_true(offset > before)
      if offset == whole + 1 then whole = offset end
      before, count = offset, count + 1
    end
    assert.equal(last - 3, count)
    assert.is_true(hub:subscribe(slow[2], "t", { since = whole, epoch = subscription.epoch }).recovered)
    for i = whole + 1, last do
      assert.equal(i, tonumber(slow[1]:receive(2):match("^t (%d+) ")))
    end
    assert.same({}, received(slow[1]))
  end)

  sockets("tells of what was dropped once, also when the program publishes that", function(open)
    local calls, depth = 0, 0
    local hub = duplex.hub { slow = "drop", above = 200000 }
    local slow, quick = open(2)
    local subscription = hub:subscribe(slow[2], "t", {
      on_drop = function(_, topic)
        calls, depth = calls + 1, depth + 1
        assert(depth == 1)
        for _ = 1, 20 do hub:publish(topic, KIB64) end
        depth = 0
      end,
    })
    hub:subscribe(quick[2], "t", { above = 2 ^ 24 })
    for i = 1, 400 do
      hub:publish("t", KIB64)
      if calls > 0 then break end
      assert(i < 400, "nobody is slow")
      while quick[1]:receive(0) do end
      duplex.sleep(0)
    end
    assert.same({ 1, 0 }, { calls, depth })
    assert.is_true(subscription.lost > 1)
  end)

  sockets("keeps only the newest of each key for one that lags, and nothing overtakes", function(open)
    local hub = duplex.hub { slow = "coalesce", above = 200000 }
    local slow, quick = open(2)
    hub:subscribe(slow[2], "t")
    hub:subscribe(slow[2], "u", { slow = "drop" })
    hub:subscribe(quick[2], "t")
    local function keys(i) return { key = i % 3 } end
    local last = press(hub, quick[1], function() return hub:metrics().coalesced >= 25 end, keys)
    hub:publish("u", "9999 what others publish")
    local numbers = hub:metrics()
    local before, got, newest = 0, {}, {}
    for _, data in ipairs(received(slow[1])) do
      local i = tonumber(data:match("^%d+"))
      assert.is_true(i > before)
      before = i
      got[#got + 1] = i
      if i <= last then newest[i % 3] = i end
    end
    assert.equal(9999, got[#got])
    assert.equal(last + 1 - numbers.coalesced, #got)
    for i = last - 2, last do assert.equal(i, newest[i % 3]) end
    numbers = hub:metrics()
    assert.same({ 0, 0, "open" }, { numbers.lagging, numbers.pending_bytes, slow[2].state })
    hub:publish("t", "0 and on")
    assert.equal("0 and on", (slow[1]:receive(1)))
  end)

  -- Makes a connection lag that subscribes to "t" with slow = "coalesce".
  local function make_lag(hub)
    for _ = 1, 400 do
      if hub:metrics().lagging == 1 then return end
      hub:publish("t", KIB64)
      duplex.sleep(0)
    end
    error("nobody lags")
  end

  sockets("keeps what is for one that lags apart by topic, and leaves out the sender", function(open)
    local hub = duplex.hub { slow = "coalesce", above = 200000, history = 10 }
    local slow = open(1)
    hub:subscribe(slow[2], "t")
    hub:subscribe(slow[2], "u")
    hub:publish("v", "v1")
    make_lag(hub)
    hub:publish("t", "t1", nil, { key = "k" })
    assert.equal(0, hub:publish("u", "its own", nil, { except = slow[2] }))
    hub:publish("u", "u1", nil, { key = "k" })
    hub:publish("u", "u2", nil, { key = "k" })
    assert.equal(1, hub:subscribe(slow[2], "v", { last = true }).replayed)
    hub:publish("v", "v2")
    hub:unsubscribe(slow[2], "u")
    hub:publish("u", "u3")
    local got = received(slow[1])
    assert.equal("t1 u2 v1 v2", table.concat(got, " ", #got - 3))
    hub:publish("v", "on")
    assert.same({ "on" }, received(slow[1]))
  end)

  sockets("sends what is pending once to one that asks for it again", function(open)
    local hub = duplex.hub { slow = "coalesce", above = 200000, history = 1000, history_bytes = 2 ^ 30,
      history_total = 2 ^ 30, pending_bytes = 2 ^ 30, encode = envelope }
    local slow = open(1)
    local first = hub:subscribe(slow[2], "t")
    local before = 0
    make_lag(hub) -- the last one is pending, or just being sent
    for i = 1, 4 do
      hub:publish("t", tostring(i), nil, { key = i })
      hub:publish("t", tostring(i), nil, { key = i })
    end
    local last = hub:subscribe(slow[2], "t").offset
    local asked = { since = last - 9, epoch = first.epoch }
    for _ = 1, 2 do
      local got = hub:subscribe(slow[2], "t", asked)
      assert.same({ true, 9 }, { got.recovered, got.replayed })
    end
    hub:publish("t", "new")
    for _, data in ipairs(received(slow[1], 0.2)) do
      local offset = tonumber(data:match("^t (%d+) "))
      assert.equal(before + 1, offset)
      before = offset
    end
    assert.equal(last + 1, before)
  end)

  sockets("sends nothing more to one that lags when the hub is closed", function(open)
    local hub = duplex.hub { slow = "coalesce", above = 200000 }
    local slow = open(1)
    hub:subscribe(slow[2], "t")
    make_lag(hub)
    for i = 1, 5 do hub:publish("t", "late", nil, { key = i }) end
    hub:close()
    assert.equal(0, hub:metrics().lagging)
    local got = received(slow[1])
    assert.is_true(#got > 3)
    for _, data in ipairs(got) do assert.equal(65536, #data) end
    assert.equal("open", slow[2].state)
  end)

  sockets("does not keep more than pending_bytes for one that lags", function(open)
    local hub = duplex.hub { slow = "coalesce", above = 200000, pending_bytes = 300000 }
    local slow, quick = open(2)
    hub:subscribe(slow[2], "t")
    hub:subscribe(quick[2], "t")
    press(hub, quick[1], function()
      assert.is_true(hub:metrics().pending_bytes <= 300000)
      return slow[2].state == "closed"
    end, function(i) return { key = i } end)
    both.settle()
    assert.same({ 1, 0, 0 }, { hub:metrics().disconnected, hub:metrics().lagging, hub:metrics().pending_bytes })
  end)

  sockets("treats each subscription as that asks for", function(open)
    local hub = duplex.hub { above = 200000 }
    local one, two, quick = open(3)
    hub:subscribe(one[2], "t", { slow = "drop" })
    hub:subscribe(two[2], "t", { slow = "coalesce", above = 300000 })
    hub:subscribe(quick[2], "t")
    press(hub, quick[1], function()
      local numbers = hub:metrics()
      return numbers.drops > 2 and numbers.coalesced > 2
    end)
    assert.same({ "open", "open" }, { one[2].state, two[2].state })
    assert.equal(0, hub:metrics().disconnected)
  end)

  -- ---- history ----

  sockets("sends what was missed, in order, across a reconnect", function(open)
    local hub = duplex.hub { history = 100, encode = envelope }
    local a, b = open(2)
    local first = hub:subscribe(a[2], "t")
    assert.same({ 0, "string", 0 }, { first.offset, type(first.epoch), first.replayed })
    assert.is_nil(first.recovered)
    hub:publish("t", "one")
    assert.equal("t 1 one", (a[1]:receive(1)))
    a[1]:close()
    both.settle()
    hub:publish("t", "two")
    hub:publish("other", "x")
    hub:publish("t", "three")
    local again = hub:subscribe(b[2], "t", { since = 1, epoch = first.epoch })
    hub:publish("t", "four")
    assert.same({ true, 2, 3, first.epoch }, { again.recovered, again.replayed, again.offset, again.epoch })
    assert.same({ "t 2 two", "t 3 three", "t 4 four" }, received(b[1]))
  end)

  -- With one made before nginx' workers are forked, they would share it.
  it("makes an epoch up when one is needed, not when it is made", run(function()
    local hub, ws = duplex.hub { history = 5 }, duplex.pair()
    local clock = stub(os, "time", 0xabc)
    finally(function() clock:revert() end)
    assert.matches("^abc%-", hub:subscribe(ws, "t").epoch)
  end))

  sockets("says when it cannot: a gap, another epoch, nonsense", function(open)
    local hub = duplex.hub { history = 2, encode = envelope }
    local a, b = open(2)
    local epoch = hub:subscribe(b[2], "t").epoch
    for i = 1, 5 do hub:publish("t", tostring(i)) end
    for _, since in ipairs { 2, 6, -1, "3", 0.5 } do
      local got = hub:subscribe(a[2], "t", { since = since, epoch = epoch })
      assert.same({ false, 0, 5 }, { got.recovered, got.replayed, got.offset })
    end
    assert.is_false(hub:subscribe(a[2], "t", { since = 5, epoch = "another" }).recovered)
    assert.is_false(hub:subscribe(a[2], "t", { since = 5 }).recovered)
    assert.same({}, received(a[1]))
    assert.is_true(hub:subscribe(a[2], "t", { since = 5, epoch = epoch }).recovered)
    assert.is_true(hub:subscribe(a[2], "t", { since = 3, epoch = epoch }).recovered)
    assert.same({ "t 4 4", "t 5 5" }, received(a[1]))
    hub:subscribe(a[2], "t", { since = 1, epoch = epoch, last = true })
    assert.same({ "t 5 5" }, received(a[1]))
    assert.is_false(duplex.hub():subscribe(a[2], "t", { since = 0, epoch = epoch }).recovered)
  end)

  sockets("sends the last value to whoever asks for it", function(open)
    local hub = duplex.hub { history = 1 }
    local a, b = open(2)
    assert.equal(0, hub:subscribe(a[2], "price", { last = true }).replayed)
    hub:publish("price", "10")
    hub:publish("price", "\0\255", "binary")
    assert.equal(1, hub:subscribe(b[2], "price", { last = true }).replayed)
    assert.same({ "\0\255", "binary" }, { b[1]:receive(1) })
    assert.same({}, received(b[1]))
  end)

  sockets("sends as many of the last messages as are asked for and there", function(open)
    local hub = duplex.hub { history = 3 }
    local a = open(1)
    for i = 1, 5 do hub:publish("t", tostring(i)) end
    assert.equal(2, hub:subscribe(a[2], "t", { last = 2 }).replayed)
    assert.equal(3, hub:subscribe(a[2], "t", { last = 10 }).replayed)
    assert.equal(0, hub:subscribe(a[2], "t", { last = false }).replayed)
    assert.same({ "4", "5", "3", "4", "5" }, received(a[1]))
  end)

  sockets("begins a new epoch when the history of a topic has expired", function(open)
    local time = 0
    local hub = duplex.hub { history = 5, history_ttl = 60, clock = function() return time end }
    local a = open(1)
    hub:publish("t", "one")
    local first = hub:subscribe(a[2], "t")
    assert.equal(1, first.offset)
    assert.equal(1, hub:metrics().history_messages)
    time = 60
    assert.equal(0, hub:metrics().history_messages)
    local second = hub:subscribe(a[2], "t", { since = 1, epoch = first.epoch })
    assert.same({ false, 0 }, { second.recovered, second.offset })
    assert.are_not.equal(first.epoch, second.epoch)
    local other = duplex.hub { history = 5 }
    assert.are_not.equal(other:subscribe(a[2], "t").epoch, second.epoch)
  end)

  sockets("sends a long history without waiting, and what is published meanwhile behind it", function(open)
    local hub = duplex.hub { history = 40, history_bytes = 2 ^ 24, pending_bytes = 2 ^ 24, encode = envelope,
      above = 200000 }
    local a, b = open(2, { max_queue = 1 })
    local epoch = hub:subscribe(a[2], "t", { slow = "drop" }).epoch
    for _ = 1, 40 do hub:publish("t", KIB64) end
    local got = hub:subscribe(b[2], "t", { since = 0, epoch = epoch })
    assert.same({ true, 40 }, { got.recovered, got.replayed })
    assert.is_true(b[2].outbox < 300000)
    assert.equal(1, hub:metrics().lagging)
    hub:publish("t", "at once")
    local publishing = both.task(function()
      for _ = 1, 20 do
        hub:publish("t", "meanwhile")
        duplex.sleep(0.001)
      end
    end)
    for i = 1, 61 do assert.equal(i, tonumber(b[1]:receive(2):match("^t (%d+) "))) end
    publishing()
    assert.same({}, received(b[1]))
    assert.equal(0, hub:metrics().lagging)
    hub:publish("t", "on")
    assert.equal("t 62 on", (b[1]:receive(1)))
  end)

  sockets("does not begin to send a history that would be too much", function(open)
    local hub = duplex.hub { history = 40, history_bytes = 2 ^ 24, pending_bytes = 200000 }
    local a = open(1)
    local epoch = hub:subscribe(a[2], "t").epoch
    hub:unsubscribe(a[2], "t")
    for _ = 1, 5 do hub:publish("t", KIB64) end
    local got = hub:subscribe(a[2], "t", { since = 0, epoch = epoch })
    assert.same({ false, 0 }, { got.recovered, got.replayed })
    assert.is_true(hub:subscribe(a[2], "t", { since = 3, epoch = epoch }).recovered)
    assert.equal(2, #received(a[1]))
    assert.equal(3, hub:subscribe(a[2], "t", { last = 5 }).replayed)
    assert.equal(3, #received(a[1]))
  end)

  -- ---- presence ----

  sockets("knows who is there; a member with two connections joins and leaves once", function(open)
    local events = {}
    local hub
    hub = duplex.hub {
      on_join = function(topic, member)
        events[#events + 1] = "+" .. member.info.name
        hub:publish(topic, events[#events])
      end,
      on_leave = function(topic, member)
        events[#events + 1] = "-" .. member.info.name
        hub:publish(topic, events[#events])
      end,
    }
    local a, b, c, d = open(4)
    hub:subscribe(d[2], "room")
    hub:subscribe(a[2], "room", { info = { id = 1, name = "ana" } })
    hub:subscribe(b[2], "room", { info = { id = 1, name = "ana" } })
    hub:subscribe(c[2], "room", { info = { name = "bo" } })
    local who = hub:who("room")
    table.sort(who, function(x, y) return x.info.name < y.info.name end)
    assert.same({
      { id = 1, info = { id = 1, name = "ana" }, connections = 2 },
      { id = c[2].id, info = { name = "bo" }, connections = 1 },
    }, who)
    assert.equal(2, hub:metrics().members)
    a[1]:close()
    both.settle()
    assert.equal(2, #hub:who("room"))
    b[2]:close(1000, "", 0) -- abrupt
    hub:unsubscribe(c[2], "room")
    both.settle()
    assert.same({ "+ana", "+bo", "-bo", "-ana" }, events)
    assert.same(events, received(d[1]))
    assert.same({ {}, 0 }, { hub:who("room"), hub:metrics().members })
  end)

  it("tells who comes and goes in the order in which they did, whatever is done when it is told", run(function()
    local told, hub, react = {}
    local function note(sign)
      return function(topic, member)
        told[topic] = (told[topic] or "") .. sign .. member.id
        if sign == "-" then react(topic, member.id) end
      end
    end
    hub = duplex.hub { on_join = note("+"), on_leave = note("-") }
    local _, gone = duplex.pair()
    local _, kept = duplex.pair()
    function react(topic, id)
      if id == "ana" then hub:unsubscribe(kept, topic) end
    end
    hub:subscribe(kept, "room", { info = { id = "ana" } })
    hub:subscribe(kept, "room", { info = { id = "bo" } }) -- and is gone before anybody knows
    assert.same({ "+ana-ana+bo-bo", {} }, { told.room, hub:who("room") })
    -- Leaves both topics at once; when it is told of one it comes to the other.
    function react(topic)
      hub:subscribe(kept, topic == "a" and "b" or "a", { info = { id = "cy" } })
    end
    hub:subscribe(gone, "a", { info = { id = "cy" } })
    hub:subscribe(gone, "b", { info = { id = "cy" } })
    gone:close(1000, "", 0)
    both.settle()
    assert.same({ "+cy-cy+cy", "+cy-cy+cy" }, { told.a, told.b })
    assert.same({ 1, 1 }, { #hub:who("a"), #hub:who("b") })
  end))

  sockets("notices a member that dies without a word", function(open)
    local left = duplex.event()
    local hub = duplex.hub { on_leave = function() left:set() end }
    local a = open(1)
    hub:subscribe(a[2], "room", { info = {} })
    a[1]:close(1000, "", 0)
    assert(left:wait(2))
    assert.same({}, hub:who("room"))
  end)

  -- ---- numbers ----

  sockets("counts, in a table and for Prometheus", function(open)
    local hub = duplex.hub { history = 5 }
    local a, b = open(2)
    hub:subscribe(a[2], "t", { info = {} })
    hub:subscribe(b[2], "*")
    hub:publish("t", "12345")
    hub:publish("u", "12345")
    assert.same({
      topics = 2, subscriptions = 2, members = 1, lagging = 0, pending_bytes = 0, publishes = 2, deliveries = 3,
      drops = 0, coalesced = 0, disconnected = 0, history_topics = 2, history_messages = 2, history_bytes = 210,
    }, hub:metrics())
    local text = hub:metrics("prometheus")
    assert(text:find("\n# TYPE duplex_hub_deliveries_total counter\nduplex_hub_deliveries_total 3\n", 1, true), text)
    assert(text:find("\nduplex_hub_history_bytes 210\n", 1, true), text)
    for name in pairs(hub:metrics()) do assert(text:find("duplex_hub_" .. name, 1, true), name) end
    both.raises("hub_spec.lua:%d+: format must be \"prometheus\" or nothing, got xml", function() hub:metrics("xml") end)
  end)

  -- ---- functions of the program ----

  sockets("is not disturbed by functions that fail", function(open)
    local lines = {}
    local hub = duplex.hub {
      log = function(level, text) lines[#lines + 1] = level .. " " .. text end,
      on_join = function() error("join") end,
      on_leave = function() error("leave") end,
      history = 5,
      encode = function(_, data)
        if data == "bad" then error("encode") end
        return data == "binary" and "\255" or data
      end,
    }
    local a, b = open(2)
    assert(hub:subscribe(a[2], "t", { info = {} }))
    assert(hub:subscribe(b[2], "t"))
    assert.equal(2, hub:publish("t", "one"))
    for _, data in ipairs { "bad", "binary", 5 } do
      assert.equal("ENCODE", select(3, hub:publish("t", data)))
    end
    assert.equal(2, hub:publish("t", "two"))
    a[1]:close()
    both.settle()
    assert.same({ "one", "two" }, received(b[1]))
    local all = table.concat(lines, "\n")
    for _, text in ipairs {
      "on_join failed: .*join", "ENCODE: .*encode", "ENCODE: text is not valid UTF%-8;", "on_leave failed: .*leave",
    } do
      assert(all:find(text), all)
    end
  end)

  sockets("does not give a number twice when encode waits or publishes, which it must not", function(open)
    local lines = {}
    local hub
    hub = duplex.hub {
      history = 5, log = function(_, text) lines[#lines + 1] = text end,
      encode = function(topic, data, offset)
        if data == "outer" then hub:publish(topic, "inner") end
        if data == "waits" then duplex.sleep(0.002) end
        if data == "closes" then hub:close() end
        return offset .. " " .. data
      end,
    }
    local a = open(1)
    local epoch = hub:subscribe(a[2], "t").epoch
    assert.equal("ENCODE", select(3, hub:publish("t", "outer")))
    assert.same({ "ENCODE: encode has waited, or published to its own topic" }, lines)
    local tasks = { both.task(hub.publish, hub, "t", "waits"), both.task(hub.publish, hub, "t", "waits") }
    for _, task in ipairs(tasks) do task() end
    local last = hub:subscribe(a[2], "t", { since = 0, epoch = epoch })
    assert.same({ true, 3 - #lines + 1 }, { last.recovered, last.offset }) -- none where pcall cannot wait
    local first = received(a[1])
    assert.equal(2 * last.offset, #first)
    for i, text in ipairs(first) do assert.equal((i - 1) % last.offset + 1, tonumber(text:match("^%d+"))) end
    assert.equal(0, hub:publish("t", "closes"))
  end)

  sockets("takes a NaN for no id", function(open)
    local hub = duplex.hub()
    local a = open(1)
    assert(hub:subscribe(a[2], "room", { info = { id = 0 / 0 } }))
    assert.equal(a[2].id, hub:who("room")[1].id)
    assert.is_true(hub:unsubscribe(a[2], "room"))
    assert.same({}, hub:who("room"))
  end)

  -- ---- backends ----

  -- Two hubs in two processes, as it were: the bus numbers, and delivers later.
  local function bus()
    local hubs, numbers, wanted = {}, {}, {}
    local function backend()
      local self = {}
      function self.subscribe(_, deliver) hubs[self] = deliver end
      function self.publish(_, topic, message)
        if topic == "down" then return nil, "LOST: the bus is down", "LOST" end
        duplex.sleep(0.001)
        numbers[topic] = (numbers[topic] or 0) + 1
        for _, deliver in pairs(hubs) do
          deliver(topic, { data = message.data, kind = message.kind, key = message.key,
            except = message.except, offset = numbers[topic], epoch = "bus" })
        end
        return true
      end
      function self.wants(_, pattern, is) wanted[#wanted + 1] = (is and "+" or "-") .. pattern end
      function self.close() hubs[self] = nil end
      return self
    end
    return backend, wanted
  end

  sockets("shares topics over a backend, which numbers the messages", function(open)
    local backend, wanted = bus()
    local one = duplex.hub { backend = backend(), history = 5, encode = envelope }
    local two = duplex.hub { backend = backend(), history = 5, encode = envelope }
    local a, b, c = open(3)
    local first = one:subscribe(a[2], "t")
    assert.same({}, { first.offset, first.epoch }) -- which only the bus knows
    assert.is_false(two:subscribe(b[2], "t", { since = 0 }).recovered)
    two:subscribe(b[2], "*")
    two:subscribe(b[2], "*")
    assert.is_true(one:publish("t", "x"))
    assert.is_true(two:publish("t", "y", nil, { except = b[2] }))
    assert.is_true(two:publish("t", "z", nil, { except = a[2] })) -- of another hub: no matter
    assert.same({ nil, "LOST: the bus is down", "LOST" }, { one:publish("down", "x") })
    assert.same({ "t 1 x", "t 2 y", "t 3 z" }, received(a[1]))
    assert.same({ "t 1 x", "t 3 z" }, received(b[1]))
    assert.is_true(two:subscribe(c[2], "t", { since = 1, epoch = "bus" }).recovered)
    assert.same({ "t 2 y", "t 3 z" }, received(c[1]))
    two:unsubscribe(b[2], "t")
    two:unsubscribe(c[2], "t")
    assert.same({ 3, "bus" }, { one.history:position("t", 0) })
    assert.same({ "+>", "+>" }, wanted) -- or what they keep would have gaps
    two:close()
    assert.is_true(one:publish("t", "on"))
    assert.same({ {}, {} }, { received(b[1]), received(c[1]) })
  end)

  sockets("tells a backend what is wanted here, once", function(open)
    local backend, wanted = bus()
    local hub = duplex.hub { backend = backend() }
    local a, b = open(2)
    hub:subscribe(a[2], "t")
    hub:subscribe(b[2], "t")
    hub:subscribe(b[2], "*")
    hub:subscribe(b[2], "*")
    hub:unsubscribe(a[2], "t")
    hub:unsubscribe(b[2], "t")
    b[1]:close()
    both.settle()
    assert.same({ "+t", "+*", "-t", "-*" }, wanted)
  end)

  -- ---- backends that keep the history ----

  -- One that keeps all messages, and answers when it is told to.
  local function keeper()
    local self = { topics = {}, epoch = "k", gate = duplex.event(), gates = {} }
    self.gate:set()
    local function messages(topic)
      self.topics[topic] = self.topics[topic] or {}
      return self.topics[topic]
    end
    function self.subscribe(_, deliver) self.deliver = deliver end
    function self.publish(_, topic, message)
      local list = messages(topic)
      local one = { data = message.data, kind = message.kind, offset = #list + 1, epoch = self.epoch }
      list[#list + 1] = one
      return self.deliver(topic, one)
    end
    function self.read(_, topic, offset, epoch, count)
      assert(offset == nil or offset >= 0 and offset <= 2 ^ 53 and #epoch < 256)
      local list, found = messages(topic), {}
      local from = offset and offset + 1 or #list - count + 1
      local known = not offset or epoch == self.epoch and offset <= #list
      for i = math.max(1, from), known and #list or 0 do found[#found + 1] = list[i] end
      local newest = #list
      local gate = self.gates[topic] or self.gate
      gate:wait() -- and only now it is answered
      if self.down then return nil, "LOST: the keeper is down", "LOST" end
      return known and found, newest, self.epoch
    end
    return self
  end

  sockets("lets a backend keep the history: no gap, nothing twice, whatever is published meanwhile", function(open)
    local backend = keeper()
    local hub = duplex.hub { backend = backend, encode = envelope }
    local a = open(1)
    for i = 1, 3 do hub:publish("t", tostring(i)) end
    hub:subscribe(a[2], ">")
    backend.gate:clear()
    local subscribed = both.task(hub.subscribe, hub, a[2], "t", { since = 1, epoch = "k" })
    both.settle()
    for i = 4, 5 do hub:publish("t", tostring(i)) end
    both.settle()
    backend.gate:set()
    local got = subscribed()
    assert.same({ true, 2, 3, "k" }, { got.recovered, got.replayed, got.offset, got.epoch })
    assert.same({ "t 2 2", "t 3 3", "t 4 4", "t 5 5" }, received(a[1]))
    hub:publish("t", "6")
    assert.same({ "t 6 6" }, received(a[1]))
    assert.equal(0, hub:metrics().lagging)
  end)

  sockets("leaves out what was delivered while the backend looked, when that has it too", function(open)
    local backend = keeper()
    local hub = duplex.hub { backend = backend, encode = envelope }
    local a = open(1)
    local read = backend.read
    function backend.read(...)
      hub:publish("t", "1") -- just before the backend looks
      return read(...)
    end
    local got = hub:subscribe(a[2], "t", { since = 0, epoch = "k" })
    assert.same({ true, 1 }, { got.recovered, got.replayed })
    assert.same({ "t 1 1" }, received(a[1]))
  end)

  sockets("says when the backend cannot: gone, nonsense, down", function(open)
    local backend = keeper()
    local hub = duplex.hub { backend = backend, encode = envelope }
    local a = open(1)
    for i = 1, 3 do hub:publish("t", tostring(i)) end
    for _, since in ipairs { 5, -1, 0.5, "1", 1e300, math.huge, 0 / 0, {} } do
      local got = hub:subscribe(a[2], "t", { since = since, epoch = "k" })
      assert.same({ false, 0, 3, "k" }, { got.recovered, got.replayed, got.offset, got.epoch })
    end
    assert.is_false(hub:subscribe(a[2], "t", { since = 1, epoch = "j" }).recovered)
    for _, epoch in ipairs { {}, 5, ("k"):rep(256) } do
      assert.is_false(hub:subscribe(a[2], "t", { since = 1, epoch = epoch }).recovered)
    end
    assert.same({}, received(a[1]))
    local got = hub:subscribe(a[2], "t", { since = 1, epoch = "j", last = 2 })
    assert.same({ false, 2 }, { got.recovered, got.replayed })
    assert.same({ "t 2 2", "t 3 3" }, received(a[1]))
    assert.is_true(hub:unsubscribe(a[2], "t"))
    backend.down = true
    assert.same({ nil, "LOST: the keeper is down", "LOST" }, { hub:subscribe(a[2], "t", { last = true }) })
    assert.is_false(hub:unsubscribe(a[2], "t"))
    assert.equal(0, hub:metrics().lagging)
  end)

  sockets("has nobody as a member whose second subscription failed", function(open)
    local backend, left = keeper(), {}
    local hub = duplex.hub { backend = backend, on_leave = function(_, member) left[#left + 1] = member.id end }
    local a = open(1)
    hub:subscribe(a[2], "t", { info = { id = "ana" } })
    backend.down = true
    assert.equal("LOST", select(3, hub:subscribe(a[2], "t", { info = { id = "ana" } })))
    assert.is_false(hub:unsubscribe(a[2], "t"))
    assert.same({ {}, { "ana" }, 0 }, { hub:who("t"), left, hub:metrics().members })
    backend.down, backend.gate = nil, duplex.event()
    local subscribing = both.task(hub.subscribe, hub, a[2], "t")
    both.settle()
    hub:close()
    backend.gate:set()
    assert.same({ nil, "CLOSED: the hub is closed", "CLOSED" }, { subscribing() })
  end)

  sockets("does not hold a connection back when the backend raises", function(open)
    local backend = keeper()
    local hub = duplex.hub { backend = backend }
    local a = open(1)
    hub:subscribe(a[2], "u")
    function backend.read() error("a defect", 0) end
    assert.same({ false, "a defect" }, { duplex.pcall(hub.subscribe, hub, a[2], "t") })
    assert.is_false(hub:unsubscribe(a[2], "t"))
    hub:publish("u", "on")
    assert.same({ "on" }, received(a[1]))
    assert.equal(0, hub:metrics().lagging)
  end)

  sockets("does not mind who ends or unsubscribes while the backend looks", function(open)
    local backend = keeper()
    local hub = duplex.hub { backend = backend }
    local a, b = open(2)
    hub:publish("t", "1")
    backend.gate:clear()
    local first = both.task(hub.subscribe, hub, a[2], "t", { last = true, info = {} })
    local second = both.task(hub.subscribe, hub, b[2], "t", { last = true, info = {} })
    both.settle()
    assert.is_true(hub:unsubscribe(a[2], "t"))
    b[1]:close()
    both.settle()
    backend.gate:set()
    assert.equal("t", first().pattern)
    assert.equal("CLOSED", select(3, second()))
    both.settle()
    assert.same({}, received(a[1]))
    local numbers = hub:metrics()
    assert.same({ 0, 0, 0, 0 }, { numbers.subscriptions, numbers.members, numbers.lagging, hub:publish("t", "x") })
  end)

  sockets("keeps what is published back while the backend looks, also from one that lags", function(open)
    local backend = keeper()
    local hub = duplex.hub { backend = backend, slow = "coalesce", above = 200000, pending_bytes = 2 ^ 24 }
    local a = open(1)
    for _, topic in ipairs { "u", "v" } do
      hub:publish(topic, topic .. "1")
      backend.gates[topic] = duplex.event()
    end
    hub:subscribe(a[2], "t")
    make_lag(hub)
    local u = both.task(hub.subscribe, hub, a[2], "u", { since = 0, epoch = "k" })
    local v = both.task(hub.subscribe, hub, a[2], "v", { since = 0, epoch = "k" })
    both.settle()
    hub:publish("u", "u2")
    hub:publish("v", "v2")
    for _, data in ipairs(received(a[1], 0.2)) do assert.equal(65536, #data) end
    backend.gates.u:set()
    u()
    assert.same({}, received(a[1], 0.2))
    backend.gates.v:set()
    v()
    local got = received(a[1], 0.2)
    if #got[#got] > 2 then table.remove(got) end
    local list = {}
    for _, data in ipairs(got) do
      if #data == 2 then list[#list + 1] = data end
    end
    assert.equal("u1 u2 v1 v2", table.concat(list, " "))
    both.settle()
    assert.equal(0, hub:metrics().lagging)
  end)

  sockets("does not send more of what a backend keeps than may be pending", function(open)
    local backend = keeper()
    local hub = duplex.hub { backend = backend, pending_bytes = 200000 }
    local a = open(1)
    for _ = 1, 5 do hub:publish("t", KIB64) end
    local got = hub:subscribe(a[2], "t", { since = 0, epoch = "k" })
    assert.same({ false, 0 }, { got.recovered, got.replayed })
    assert.is_true(hub:subscribe(a[2], "t", { since = 2, epoch = "k" }).recovered)
    assert.equal(3, #received(a[1]))
    assert.equal(3, hub:subscribe(a[2], "t", { last = 5 }).replayed)
    assert.equal(3, #received(a[1]))
  end)

  sockets("undoes only what failed", function(open)
    local backend = keeper()
    local hub = duplex.hub { backend = backend }
    local a = open(1)
    backend.gate:clear()
    local failing = both.task(hub.subscribe, hub, a[2], "t")
    both.settle()
    backend.gates.t = duplex.event()
    backend.gates.t:set()
    assert(hub:subscribe(a[2], "t")) -- meanwhile, and answered earlier
    backend.down = true
    backend.gate:set()
    assert.is_nil((failing()))
    assert.equal(1, hub:publish("t", "x"))
    assert.same({ "x" }, received(a[1]))
  end)
end)
