-- SPDX-License-Identifier: MIT
-- Receivers, presence, what is pending and what was missed: the parts of a hub that
-- know no connection.

local pending = require "duplex.hub.pending"
local presence = require "duplex.hub.presence"
local random = require "spec.support.sequence"
local receivers = require "duplex.hub.receivers"
local recovery = require "duplex.hub.recovery"
local topics = require "duplex.hub.topics"

describe("what is pending", function()
  local function item(data, key, offset, epoch)
    return { message = data, data = data, kind = "text", key = key, topic = offset and "t", offset = offset, epoch = epoch }
  end

  local function drain(queue)
    local list = {}
    for one in function() return queue:take() end do list[#list + 1] = one.data end
    return table.concat(list, " ")
  end

  it("comes out in the order in which it went in", function()
    local queue = pending.new()
    for _, text in ipairs { "a", "b", "c" } do queue:put(item(text)) end
    assert.equal(3, queue.count)
    assert.equal("a b c", drain(queue))
    assert.same({ 0, 0 }, { queue.count, queue.bytes })
  end)

  it("has only the newest of each key, where that was put", function()
    local queue = pending.new()
    assert.is_false(queue:put(item("a1", "a")))
    queue:put(item("x"))
    queue:put(item("b1", "b"))
    assert.is_true(queue:put(item("a2", "a")))
    queue:put(item("x"))
    assert.equal("x b1 a2 x", drain(queue))
    queue:put(item("a3", "a"))
    assert.equal("a3", drain(queue))
  end)

  -- Messages of a topic from one offset to another.
  local function entries(from, to)
    local list = {}
    for i = from, to do list[#list + 1] = { data = tostring(i), kind = "text", offset = i } end
    return list
  end

  it("takes in what was missed of a topic between older and newer messages, and none twice", function()
    local queue = pending.new()
    for _, one in ipairs { item("x"), item("1", nil, 1, "e"), item("3", "k", 3, "e"), item("y"), item("5", "l", 5, "e"),
      item("1'", nil, 1, "f") } do
      queue:put(one)
    end
    queue:put_missed("t", "e", {}, 1)
    queue:put_missed("t", "e", entries(2, 4), 1)
    queue:put_missed("t", "e", entries(2, 4), 2) -- and again
    queue:put_missed("other", "e", entries(9, 9), 1)
    assert.equal(9, queue.count)
    assert.is_true(queue:put(item("6", "l")))
    assert.equal("x 1 y 2 3 4 1' 9 6", drain(queue))
    assert.same({ 0, 0 }, { queue.count, queue.bytes })
  end)

  it("does not take in what is just being sent", function()
    local queue = pending.new()
    queue:put(item("1", nil, 1, "e"))
    queue.sending = queue:take()
    queue:put_missed("t", "e", entries(1, 3), 1)
    assert.equal("2 3", drain(queue))
    queue:put_missed("t", "f", entries(1, 1), 1)
    queue:put_missed("u", "e", entries(1, 1), 1)
    queue.sending = nil
    queue:put_missed("t", "e", entries(1, 1), 1)
    assert.equal("1 1 1", drain(queue))
  end)

  it("knows what fits, and what would be replaced", function()
    local queue = pending.new()
    queue:put(item("12345", "a"))
    assert.equal(69, queue.bytes)
    assert.is_true(queue:fits("1", nil, 134))
    assert.is_false(queue:fits("1", nil, 133))
    assert.is_true(queue:fits("123456", "a", 70))
    assert.is_false(queue:fits("1234567", "a", 70))
  end)

  it("stays small when one key is put over and over, and right whatever happens", function()
    local queue, pick, model = pending.new(), random(3), {}
    for i = 1, 5000 do
      local key = pick(3) > 1 and "k" .. pick(5) or nil
      if pick(5) == 1 then
        local one, expected = queue:take(), table.remove(model, 1)
        assert.equal(expected and expected.data, one and one.data)
      else
        local data = tostring(i)
        for at, old in ipairs(model) do
          if key and old.key == key then table.remove(model, at) break end
        end
        model[#model + 1] = { data = data, key = key }
        queue:put(item(data, key))
      end
      assert.equal(#model, queue.count)
      assert.is_true(queue.last - queue.first < 2 * queue.count + 40)
    end
    for _, expected in ipairs(model) do assert.equal(expected.data, queue:take().data) end
    assert.equal(0, queue.bytes)
  end)
end)

describe("presence", function()
  -- What has happened since: "on_join room ana", ...
  local function events(here)
    local list = {}
    for name, topic, member in function() return here:next_event() end do
      list[#list + 1] = ("%s %s %s"):format(name, topic, tostring(member.id))
    end
    return list
  end

  it("joins with the first connection of a member and leaves with the last", function()
    local here = presence.new()
    local ana = { id = "ana", name = "Ana" }
    here:set("room", "ws1", ana, 1)
    local name, topic, member = here:next_event()
    assert.same({ "on_join", "room", "ana", ana, 1 }, { name, topic, member.id, member.info, member.connections })
    here:set("room", "ws2", { id = "ana", name = "Ana 2" }, 2)
    assert.same({ { id = "ana", info = { id = "ana", name = "Ana 2" }, connections = 2 } }, here:list("room"))
    here:set("room", "ws1", nil)
    assert.same({}, events(here))
    here:set("room", "ws2", nil)
    assert.same({ "on_leave room ana" }, events(here))
    assert.same({ 0, {} }, { here.members, here.by_topic })
  end)

  it("takes a connection for a member when it has no id", function()
    local here = presence.new()
    here:set("room", "ws1", {}, 5)
    here:set("room", "ws2", { id = 5 }, 6) -- somebody else
    assert.same({ "on_join room 5", "on_join room 5" }, events(here))
    assert.equal(2, here.members)
  end)

  it("gives memory back when most of very many topics are empty again", function()
    local here = presence.new()
    for i = 1, 20000 do here:set("room" .. i, "ws", {}) end
    for i = 2, 20000 do here:set("room" .. i, "ws", nil) end
    assert.is_true(here.most < 2000)
    assert.same({ 1, 1 }, { #here:list("room1"), here.members })
    local topic = next(here.by_topic)
    assert.same({ "room1" }, { topic, (next(here.by_topic, topic)) })
  end)

  it("sees one become another, and stay the same", function()
    local here = presence.new()
    here:set("room", "ws1", { id = 1 })
    here:set("room", "ws1", { id = 1, name = "new" })
    assert.equal("new", here:list("room")[1].info.name)
    here:set("room", "ws1", { id = 2 })
    assert.same({ "on_join room 1", "on_leave room 1", "on_join room 2" }, events(here))
    assert.equal(1, here.members)
  end)

  it("does not mind those who are nobody", function()
    local here = presence.new()
    here:set("room", "ws1", nil)
    here:set("room", "ws1", { id = 1 })
    here:set("room", "ws2", nil)
    assert.same({ "on_join room 1" }, events(here))
    assert.same({ 1, {} }, { #here:list("room"), here:list("other") })
  end)
end)

describe("what was missed", function()
  it("is cut to what fits, however long the history is, in one go", function()
    local entries, one, subscription = {}, { data = "x" }, { pattern = "t" }
    for i = 1, 20000 do entries[i] = one end
    local history = { last = function() return entries end, position = function() return 20000, "e" end }
    local hub = { history = history, clock = os.clock, options = { pending_bytes = 101 * 650 + 100 } }
    local began = os.clock()
    assert.equal(650, #recovery.from_history(hub, { pending = { bytes = 0 } }, subscription, { last = 20000 }))
    assert.equal(649, #recovery.from_history(hub, { pending = { bytes = 101 } }, subscription, { last = 20000 }))
    assert.same({ 649, 20000, "e" }, { subscription.replayed, subscription.offset, subscription.epoch })
    assert.is_true(os.clock() - began < 2)
  end)
end)

describe("receivers", function()
  local function subscription(pattern, number, above)
    return { pattern = pattern, number = number, above = above or 1 }
  end

  -- Everybody, with the subscription and whether they lag.
  local function all(to)
    local list = {}
    for above, set in pairs(to and to.sets or {}) do
      for ws, one in pairs(set) do
        assert.is_nil(list[ws])
        assert.equal(above, one.above)
        list[ws] = one
      end
    end
    for ws, one in pairs(to and to.lagging or {}) do
      assert.is_nil(list[ws])
      list[ws] = one
    end
    return list
  end

  it("are those of one pattern as they are, without a copy", function()
    local trie = topics.trie()
    local here = receivers.new(trie)
    here:add("ws1", subscription("a.*", 1), false)
    assert.equal(trie:get("a.*"), here:of("a.b"))
    assert.is_nil(here:of("b"))
  end)

  it("are each there once, by the subscription made first", function()
    local here = receivers.new(topics.trie())
    local late, early = subscription("a", 2), subscription("*", 1, 9)
    here:add("ws1", late, false)
    here:add("ws1", early, false)
    here:add("ws2", subscription(">", 3), true)
    local to = here:of("a")
    assert.equal(early, to.sets[9].ws1)
    assert.is_nil(to.sets[1])
    assert.is_truthy(to.lagging.ws2)
    assert.equal(to, here:of("a"))
  end)

  it("agree with a slow and obvious search whatever changes", function()
    local pick, trie = random(11), topics.trie()
    local here, there, count = receivers.new(trie), {}, 0
    local patterns = { "a", "b", "a.a", "a.b", "*", "a.*", "*.b", ">", "a.>" }
    local names = { "a", "b", "a.a", "a.b", "b.b", "a.b.c" }
    local function match(pattern, topic)
      local one = topics.trie()
      one:add(pattern, true)
      return one:match(topic)[1] or false
    end
    local lags = {}
    for i = 1, 1500 do
      local ws, pattern = "ws" .. pick(6), patterns[pick(#patterns)]
      local key, action = ws .. " " .. pattern, pick(5)
      if action == 1 then -- it begins to lag, or has caught up
        lags[ws] = not lags[ws]
        for _, one in pairs(there) do
          if one.ws == ws then here:move(ws, one, lags[ws]) end
        end
      elseif there[key] then
        here:remove(ws, there[key])
        there[key] = nil
      else
        there[key] = subscription(pattern, i, pick(2))
        there[key].ws = ws
        here:add(ws, there[key], lags[ws] or false)
      end
      for _ = 1, 2 do
        local topic, expected = names[pick(#names)], {}
        for _, one in pairs(there) do
          local other = expected[one.ws]
          if match(one.pattern, topic) and (not other or one.number < other.number) then
            expected[one.ws] = one
          end
        end
        local to = here:of(topic)
        assert.same(expected, all(to))
        for who in pairs(expected) do
          count = count + 1
          assert.equal(lags[who] or false, to.lagging[who] ~= nil)
        end
      end
    end
    assert.is_true(count > 2000)
    for _, one in pairs(there) do here:remove(one.ws, one) end
    assert.same({ 0, 0, 0, {}, {} }, { trie.count, here.topics, here.members, here.merged, here.used })
  end)

  it("remember nothing of topics that came and went below a pattern that stays", function()
    local trie = topics.trie()
    local here = receivers.new(trie)
    here:add("ws1", subscription(">", 1), false)
    for i = 1, 3000 do
      local one = subscription("t" .. i, i + 1)
      here:add("ws2", one, false)
      assert.equal(one, all(here:of("t" .. i)).ws2)
      here:remove("ws2", one)
    end
    assert.same({}, trie:get(">").topics)
  end)

  it("keep no more of topics with several patterns than they may", function()
    local here = receivers.new(topics.trie())
    here:add("ws1", subscription(">", 1), false)
    here:add("ws1", subscription("*", 2), false)
    for i = 1, 3000 do here:of("t" .. i) end
    assert.is_true(here.topics <= 1024 and here.topics > 0)
    here:remove("ws1", subscription(">", 1))
    assert.same({ 0, {} }, { here.topics, here.merged })
  end)
end)
