-- SPDX-License-Identifier: MIT
local topics = require "duplex.hub.topics"
local random = require "spec.support.sequence"

local function split(name)
  local words = {}
  for word in name:gmatch("[^.]+") do words[#words + 1] = word end
  return words
end

-- Does a pattern match, the slow and obvious way?
local function matches(pattern, topic)
  local p, t = split(pattern), split(topic)
  for i, word in ipairs(p) do
    if word == ">" then return #t >= i end
    if word ~= "*" and word ~= t[i] then return false end
  end
  return #p == #t
end

describe("names of topics", function()
  for _, row in ipairs {
    { "news", false }, { "news.sport.tennis", false }, { "é.ü", false }, { "a-b_c/d:e", false },
    { "*", true }, { ">", true }, { "a.*.b", true }, { "a.>", true }, { "*.*.>", true },
    { ("a."):rep(15) .. "a", false }, { ("x"):rep(64), false },
  } do
    it(("%q is a good one"):format(row[1]), function()
      assert.same({ nil, row[2] }, { topics.problem(row[1], 64, true) })
      local problem = topics.problem(row[1], 64, false)
      assert.equal(row[2] and "a topic to publish to must not have '*' or '>'" or nil, problem)
    end)
  end

  for _, row in ipairs {
    { "", "empty words" }, { ".", "empty words" }, { "a.", "empty words" }, { ".a", "empty words" },
    { "a..b", "empty words" }, { "a b", "spaces" }, { "a\n", "control" }, { "a\0b", "control" },
    { "a*", "of their own" }, { "**", "of their own" }, { "a.>>", "of their own" },
    { ">.a", "must be the last" }, { "a.>.b", "must be the last" }, { ">.>", "must be the last" },
    { ("a."):rep(16) .. "a", "at most 16 words, got 17" }, { ("x"):rep(65), "at most 64 bytes, got 65" },
    { 5, "a text, got number" }, { {}, "a text, got table" }, { nil, "a text, got nil" },
  } do
    it(("%s is none: %s"):format(tostring(row[1]):gsub("%c", "?"):sub(1, 20), row[2]), function()
      local problem = topics.problem(row[1], 64, true)
      assert(problem and problem:find(row[2], 1, true), tostring(problem))
    end)
  end
end)

describe("the trie of patterns", function()
  it("has the patterns that match, for each topic", function()
    local trie = topics.trie()
    for _, pattern in ipairs { "a.b", "a.*", "*.b", ">", "a.>", "a.b.>", "*.*", "*", "b.b" } do
      trie:add(pattern, pattern)
    end
    local list = trie:match("a.b")
    table.sort(list)
    assert.same({ "*.*", "*.b", ">", "a.*", "a.>", "a.b" }, list)
    list = trie:match("a")
    table.sort(list)
    assert.same({ "*", ">" }, list)
    list = trie:match("a.b.c.d")
    table.sort(list)
    assert.same({ ">", "a.>", "a.b.>" }, list)
  end)

  it("keeps nothing of what was taken out", function()
    local trie = topics.trie()
    trie:add("a.b.c", 1)
    trie:add("a.b", 2)
    trie:add("a.*.c", 3)
    trie:remove("a.b")
    assert.same({ nil, 2 }, { trie:get("a.b"), trie.count })
    trie:remove("a.b.c")
    trie:remove("a.*.c")
    assert.is_nil(next(trie.root.children))
    assert.is_nil(next(trie.values))
    assert.equal(0, trie.count)
  end)

  it("gives memory back when most of very many patterns are gone", function()
    local trie, kept = topics.trie(), "room.7.*"
    local function kilobytes()
      collectgarbage()
      collectgarbage()
      return collectgarbage("count")
    end
    trie:add(kept, "kept")
    local before = kilobytes()
    for i = 1, 20000 do trie:add("room." .. i, i) end
    local grown = kilobytes() - before
    for i = 1, 20000 do trie:remove("room." .. i) end
    local left = kilobytes() - before
    assert.is_true(left < grown / 20, ("%.0f KB left of %.0f"):format(left, grown))
    assert.same({ 1, "kept", { "kept" }, {} },
      { trie.count, trie:get(kept), trie:match("room.7.a"), trie:match("room.7") })
  end)

  it("agrees with a slow and obvious matcher while patterns come and go", function()
    local pick = random(20260)
    local words = { "a", "b", "c", "*", "*" }
    local function name(n, count)
      local list = {}
      for i = 1, count do list[i] = words[pick(n)] end
      return table.concat(list, ".")
    end
    local trie, there, compared = topics.trie(), {}, 0
    for _ = 1, 1000 do
      local pattern = name(5, pick(4))
      if pick(4) == 1 then pattern = pattern .. ".>" end
      if there[pattern] then
        trie:remove(pattern)
        there[pattern] = nil
      else
        trie:add(pattern, pattern)
        there[pattern] = true
      end
      local topic, expected = name(3, pick(5)), {}
      for one in pairs(there) do
        if matches(one, topic) then expected[#expected + 1] = one end
      end
      local got = trie:match(topic)
      table.sort(expected)
      table.sort(got)
      assert.same(expected, got)
      compared = compared + #got
    end
    assert.is_true(compared > 3000)
  end)
end)
