-- SPDX-License-Identifier: MIT
local queue = require "duplex.reconnect.queue"

-- Pushes words, and returns what comes out at the end.
local function after(q, ...)
  local kept = {}
  for i, word in ipairs { ... } do kept[i] = q:push(word, #word) end
  local out = {}
  while q.count > 0 do
    assert.equal(q:peek(), q:peek())
    out[#out + 1] = q:pop()
  end
  assert.equal(0, q.bytes)
  return table.concat(out, " "), kept
end

describe("the queue of a client without a connection", function()
  it("keeps the order", function()
    assert.equal("a b c", (after(queue.new(3, 100, "refuse"), "a", "b", "c")))
  end)

  it("is empty at first", function()
    local q = queue.new(3, 100, "refuse")
    assert.is_nil(q:peek())
    assert.is_nil(q:pop())
    assert.equal(0, q.count)
  end)

  it("refuses what is too much", function()
    local q = queue.new(2, 100, "refuse")
    local out, kept = after(q, "a", "b", "c")
    assert.equal("a b", out)
    assert.same({ true, true, false }, kept)
    assert.equal(0, q.dropped)
  end)

  it("drops the oldest", function()
    local q = queue.new(2, 100, "oldest")
    local out, kept = after(q, "a", "b", "c", "d")
    assert.equal("c d", out)
    assert.same({ true, true, true, true }, kept)
    assert.equal(2, q.dropped)
  end)

  it("drops the newest", function()
    local q = queue.new(2, 100, "newest")
    local out, kept = after(q, "a", "b", "c")
    assert.equal("a b", out)
    assert.same({ true, true, true }, kept)
    assert.equal(1, q.dropped)
  end)

  it("counts bytes too", function()
    assert.equal("aaa bb", (after(queue.new(9, 5, "refuse"), "aaa", "bb", "c")))
    assert.equal("bb ccc", (after(queue.new(9, 5, "oldest"), "aaa", "bb", "ccc")))
    assert.equal("aaa bb", (after(queue.new(9, 5, "newest"), "aaa", "bb", "c")))
  end)

  it("takes one message of any size", function()
    assert.equal("aaaaaa", (after(queue.new(9, 5, "refuse"), "aaaaaa", "b")))
    assert.equal("bbbbbb", (after(queue.new(9, 5, "oldest"), "aa", "bbbbbb")))
  end)

  it("keeps nothing when it may have no message", function()
    for _, policy in ipairs { "refuse", "oldest" } do
      local out, kept = after(queue.new(0, 5, policy), "a")
      assert.equal("", out)
      assert.is_false(kept[1])
    end
  end)

  it("does not grow with what has passed through it", function()
    local q = queue.new(10, 1000, "refuse")
    for i = 1, 1000 do
      assert.is_true(q:push(tostring(i), 1))
      assert.equal(tostring(i), q:pop())
    end
    for key in pairs(q) do assert.equal("string", type(key)) end
  end)
end)
