-- SPDX-License-Identifier: MIT
-- What is shown of bytes that a peer chose.
local core = require "duplex.core"

describe("an excerpt", function()
  local rows = {
    { "plain text", "hello, world", "hello, world" },
    { "nothing", "", "" },
    { "text in UTF-8", "h\195\169 \226\130\172 \240\159\152\128", "h\195\169 \226\130\172 \240\159\152\128" },
    { "line ends and tabs", "a\r\nb\tc", "a\\r\\nb\\tc" },
    { "quotation marks and backslashes", [["\]], [[\"\\]] },
    { "escape sequences", "\27[2J\0\127", "\\x1b[2J\\x00\\x7f" },
    { "controls in UTF-8", "\194\133\194\155\194\160", "\\xc2\\x85\\xc2\\x9b\194\160" },
    { "line separators in UTF-8", "\226\128\168\226\128\169", "\\xe2\\x80\\xa8\\xe2\\x80\\xa9" },
    { "what turns text round", "\226\128\174x\226\129\166y\226\128\143", "\\xe2\\x80\\xaex\\xe2\\x81\\xa6y\\xe2\\x80\\x8f" },
    { "bytes that are no UTF-8", "\255\192\128\237\160\128", "\\xff\\xc0\\x80\\xed\\xa0\\x80" },
    { "a character that is cut", "a\226\130", "a\\xe2\\x82" },
  }
  for _, row in ipairs(rows) do
    it("of " .. row[1], function() assert.equal(row[3], core.excerpt(row[2])) end)
  end

  it("has three dots in the middle when it would be too long", function()
    local digits = ("0123456789"):rep(10)
    assert.equal(digits:sub(1, 75), core.excerpt(digits:sub(1, 75)))
    assert.equal(digits:sub(1, 48) .. "..." .. digits:sub(-24), core.excerpt(digits:sub(1, 76) .. digits:sub(77)))
    assert.equal(75, #core.excerpt(digits))
    assert.equal("012345678...6789", core.excerpt(digits, 16))
  end)

  it("is never cut within a character or an escape", function()
    for _, unit in ipairs { "\0", "\195\169", "\226\130\172", "\240\159\152\128", "\255", "\n" } do
      local shown = core.excerpt(unit)
      for before = 0, 5 do
        local text = core.excerpt(("x"):rep(before) .. unit:rep(60), 40)
        assert.is_true(#text <= 40)
        local head, tail = text:match("^x*(.-)%.%.%.(.*)$")
        assert.equal(shown:rep(#head / #shown), head)
        assert.equal(shown:rep(#tail / #shown), tail)
      end
    end
  end)

  it("of whatever bytes has no control character and is valid UTF-8", function()
    local state = 1
    for _ = 1, 500 do
      local bytes = {}
      for i = 1, 100 do
        state = (state * 1103515245 + 12345) % 2147483648
        bytes[i] = string.char(math.floor(state / 65536) % 256)
      end
      local text = core.excerpt(table.concat(bytes), 50)
      assert.is_true(#text <= 50)
      assert.is_nil(text:find("%c"))
      assert.is_true(core.utf8_valid(text))
    end
  end)

  it("of fewer than 16 bytes is refused", function()
    assert.has_error(function() core.excerpt("x", 15) end)
  end)
end)
