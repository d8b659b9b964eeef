-- SPDX-License-Identifier: MIT
local failure = require "duplex.failure"

describe("a failure", function()
  it("is nil, a message that begins with the id, and the id", function()
    assert.same({ n = 3, [2] = "DNS: no such name", [3] = "DNS" },
      { n = select("#", failure.of("DNS", "no such name")), failure.of("DNS", "no such name") })
  end)

  it("has a text without its id", function()
    for message, text in pairs {
      ["DNS: no such name"] = "no such name",
      ["TOO_BIG: URL: none"] = "URL: none",
      ["BAD_UTF8: text is not valid UTF-8"] = "text is not valid UTF-8",
      ["the proxy: no answer"] = "the proxy: no answer",
    } do
      local got = { failure.text(message) }
      assert.same({ text }, got)
    end
  end)

  it("that was raised has a text without the line that it blames", function()
    for raised, text in pairs {
      ["a/b.lua:12: kind must be"] = "kind must be",
      ["C:\\b.lua:1: kind must be"] = "kind must be",
      ["no line"] = "no line",
      ["x:1: one\ny:2: two"] = "one\ny:2: two",
    } do
      assert.equal(text, failure.said(raised))
    end
  end)
end)
