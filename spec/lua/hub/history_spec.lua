-- SPDX-License-Identifier: MIT
local history = require "duplex.hub.history"
local random = require "spec.support.sequence"

local COST = 100 -- of an entry, besides its data

local function make(limits)
  local count = 0
  local all = {
    history = 3, history_bytes = 1e6, history_ttl = 10, history_topics = 3, history_total = 1e6,
  }
  for name, value in pairs(limits or {}) do all[name] = value end
  return history.new(all, function()
    count = count + 1
    return "e" .. count
  end)
end

local function add(kept, topic, data, now, epoch, offset)
  local last, current = kept:position(topic, now)
  kept:add(topic, epoch or current,
    { data = data, kind = "text", offset = offset or last + 1, at = now }, now)
end

local function texts(entries)
  local list = {}
  for i, entry in ipairs(entries) do list[i] = entry.data end
  return table.concat(list, " ")
end

describe("history", function()
  it("numbers the messages of a topic from one, and begins an epoch", function()
    local kept = make()
    assert.same({ 0, "e1" }, { kept:position("a", 0) })
    add(kept, "a", "one", 0)
    add(kept, "a", "two", 0)
    assert.same({ 2, "e1" }, { kept:position("a", 0) })
    assert.same({ 0, "e2" }, { kept:position("b", 0) })
    assert.equal("two", texts(kept:last("a", 1, 0)))
    assert.equal("one two", texts(kept:last("a", 5, 0)))
    assert.same({ {}, {} }, { kept:last("b", 1, 0), kept:last("a", 0, 0) })
  end)

  it("gives what came after an offset, oldest first", function()
    local kept = make()
    for _, text in ipairs { "one", "two", "three" } do add(kept, "a", text, 0) end
    assert.equal("one two three", texts(kept:since("a", 0, "e1", 0)))
    assert.equal("three", texts(kept:since("a", 2.0, "e1", 0)))
    assert.same({}, kept:since("a", 3, "e1", 0))
  end)

  it("knows what it does not know", function()
    local kept = make()
    for i = 1, 5 do add(kept, "a", tostring(i), 0) end
    assert.equal("3 4 5", texts(kept:since("a", 2, "e1", 0)))
    assert.is_nil(kept:since("a", 1, "e1", 0)) -- the second one is gone
    assert.is_nil(kept:since("a", 6, "e1", 0)) -- which never was
    assert.is_nil(kept:since("a", 5, "e0", 0))
    assert.is_nil(kept:since("a", 5, nil, 0))
    for _, offset in ipairs { -1, 0.5, 0 / 0, math.huge, -math.huge, 1e300, "5", {}, false } do
      assert.is_nil(kept:since("a", offset, "e1", 0))
    end
  end)

  it("keeps no more messages, bytes and topics than it may", function()
    local kept = make { history_bytes = 2 * COST + 10 }
    for _, text in ipairs { "1234567890", "12345", "12345" } do add(kept, "a", text, 0) end
    assert.same({ 1, 2, 2 * COST + 10 }, { kept.topics, kept.messages, kept.bytes })
    add(kept, "a", ("x"):rep(500), 0)
    assert.same({ 0, 0 }, { kept.messages, kept.bytes })
    assert.is_nil(kept:since("a", 3, "e1", 0))
    assert.same({}, kept:since("a", 4, "e1", 0))
    for _, topic in ipairs { "b", "c", "a", "d" } do add(kept, topic, "x", 0) end
    assert.equal(3, kept.topics)
    assert.equal(5, (kept:position("a", 0))) -- b was not used for longer
    assert.same({ 0, "e5" }, { kept:position("b", 0) })
  end)

  it("keeps of one topic what all topics may have, when that is less than its own limit", function()
    local kept = make { history_total = 2 * COST + 2 }
    for i = 1, 5 do add(kept, "a", tostring(i), 0) end
    kept:expire(0)
    assert.same({ 2, 2 * COST + 2 }, { kept.messages, kept.bytes })
    assert.same({ 5, "e1" }, { kept:position("a", 0) })
    assert.equal("4 5", texts(kept:since("a", 3, "e1", 0)))
  end)

  it("keeps no more bytes of all topics than it may", function()
    local kept = make { history_total = 2 * COST + 2 }
    for _, topic in ipairs { "a", "b", "c" } do add(kept, topic, "x", 0) end
    assert.same({ 2, 2 * COST + 2 }, { kept.topics, kept.bytes })
    assert.same({}, kept:last("a", 1, 0))
    assert.equal("x", texts(kept:last("b", 1, 0)))
  end)

  it("forgets messages with time, and the numbering with the last of them", function()
    local kept = make()
    add(kept, "a", "one", 0)
    add(kept, "a", "two", 6)
    assert.equal("one two", texts(kept:since("a", 0, "e1", 9.9)))
    assert.is_nil(kept:since("a", 0, "e1", 10))
    assert.equal("two", texts(kept:since("a", 1, "e1", 10)))
    assert.equal(1, kept.messages)
    kept:expire(16)
    assert.same({ 0, 0, 0 }, { kept.topics, kept.messages, kept.bytes })
    assert.same({ 0, "e2" }, { kept:position("a", 16) })
    assert.is_nil(kept:since("a", 2, "e1", 16))
  end)

  it("takes numbers from elsewhere, and begins anew at a gap or another epoch", function()
    local kept = make()
    add(kept, "a", "seven", 0, "x", 7)
    assert.same({ 7, "x" }, { kept:position("a", 0) })
    add(kept, "a", "eight", 0, "x", 8)
    assert.equal("seven eight", texts(kept:since("a", 6, "x", 0)))
    assert.is_nil(kept:since("a", 5, "x", 0))
    add(kept, "a", "ten", 0, "x", 10)
    assert.is_nil(kept:since("a", 8, "x", 0))
    assert.equal("ten", texts(kept:since("a", 9, "x", 0)))
    add(kept, "a", "two", 0, "y", 2)
    assert.is_nil(kept:since("a", 10, "x", 0))
    assert.equal("two", texts(kept:since("a", 1, "y", 0)))
    assert.equal(1, kept.messages)
  end)

  it("counts right whatever happens, and never gives a gap", function()
    local pick = random(7)
    local kept = make { history = 5, history_bytes = 700, history_topics = 4, history_total = 1500 }
    local sent, now = {}, 0 -- what went by, by epoch and offset
    for _ = 1, 5000 do
      local topic = "t" .. pick(6)
      now = now + pick(3) / 2
      local last, epoch = kept:position(topic, now)
      if pick(10) == 1 then last = last + pick(3) - 1 end
      local data = ("x"):rep(pick(300))
      sent[epoch .. "." .. last + 1] = data
      kept:add(topic, epoch, { data = data, kind = "text", offset = last + 1, at = now }, now)
      local missed = kept:since(topic, math.max(0, last + 1 - pick(5)), epoch, now)
      for _, entry in ipairs(missed or {}) do
        assert.equal(sent[epoch .. "." .. entry.offset], entry.data)
      end
      local messages, bytes, topics = 0, 0, 0
      for _, one in pairs(kept.by_topic) do
        topics = topics + 1
        for i = one.first, one.offset do
          messages, bytes = messages + 1, bytes + #one[i].data + COST
        end
      end
      assert.same({ topics, messages, bytes }, { kept.topics, kept.messages, kept.bytes })
      assert.is_true(topics <= 4 and bytes <= 1500)
    end
  end)
end)
