-- SPDX-License-Identifier: MIT
local origin = require "duplex.origin"

describe("origin.allowed without a list (RFC 6454, RFC 6455 10.2)", function()
  local rows = {
    -- Origin, Host, the connection has TLS, allowed
    { nil, "a.example", false, true }, { nil, nil, true, true },
    { "http://a.example", "a.example", false, true },
    { "https://a.example", "a.example", false, true }, -- a proxy ended TLS
    { "https://a.example", "a.example", true, true },
    { "http://a.example", "a.example", true, false }, -- port 80 is not 443
    { "https://A.Example", "a.eXample", false, true },
    { "https://a.example:443", "a.example", false, true },
    { "https://a.example", "a.example:443", false, true },
    { "http://a.example", "a.example:80", false, true },
    { "http://a.example:8080", "a.example:8080", false, true },
    { "http://a.example:8080", "a.example", false, false },
    { "http://a.example", "a.example:8080", false, false },
    { "http://b.a.example", "a.example", false, false },
    { "http://a.example.evil", "a.example", false, false },
    { "http://[::1]:8080", "[::1]:8080", false, true },
    { "http://[::1]", "[::2]", false, false },
    { "null", "a.example", false, false }, { "", "a.example", false, false },
    { "http://a.example", nil, false, false }, { "http://a.example", "", false, false },
    { "ftp://a.example", "a.example", false, false },
    { "http://a.example/", "a.example", false, false },
    { "http://u@a.example", "u@a.example", false, false },
    { "http://*", "*", false, false }, { "http://a:*", "a:*", false, false },
    { "http://a, http://b", "a", false, false },
  }
  for _, row in ipairs(rows) do
    local says = row[4] and "lets '%s' connect to '%s'" or "keeps '%s' from '%s'"
    it(says:format(tostring(row[1]), tostring(row[2])) .. (row[3] and " over TLS" or ""), function()
      assert.equal(row[4], (origin.allowed(nil, row[1], row[2], row[3] and "https" or nil)))
    end)
  end
end)

describe("origin.allowed with a list", function()
  local rows = {
    { "https://example.com", "https://example.com", true },
    { "https://EXAMPLE.com:443", "https://example.COM", true },
    { "https://example.com", "http://example.com", false },
    { "https://example.com", "https://example.com:8443", false },
    { "https://example.com:8443", "https://example.com:8443", true },
    { "https://exampleXcom", "https://example.com", false },
    { "https://example.com", "https://exampleXcom", false },
    { "https://*.example.com", "https://a.example.com", true },
    { "https://*.example.com", "https://a.b.example.com", true },
    { "https://*.example.com", "https://example.com", false },
    { "https://*.example.com", "https://.example.com", false },
    { "https://*.example.com", "https://evilexample.com", false },
    { "https://*.example.com", "https://a.example.com.evil", false },
    { "https://*.example.com", "https://a.example.com:444", false },
    { "https://*.example.com:444", "https://a.example.com:444", true },
    { "http://localhost:*", "http://localhost:5173", true },
    { "http://localhost:*", "http://localhost", true },
    { "http://localhost:*", "http://other:5173", false },
    { "*", "https://example.com", true }, { "*", "null", true }, { "*", "garbage", true },
    { "null", "null", true }, { "https://example.com", "null", false },
    { "null", "https://example.com", false },
    { "app://obsidian.md", "app://obsidian.md", true },
    { "http://[::1]:80", "http://[::1]", true },
  }
  for _, row in ipairs(rows) do
    it(("%s '%s' for '%s'"):format(row[3] and "allows" or "refuses", row[2], row[1]), function()
      assert.equal(row[3], (origin.allowed({ row[1] }, row[2], "server.example")))
      assert.equal(row[3], (origin.allowed({ "https://no.example", row[1] }, row[2])))
    end)
  end

  it("allows a request without an Origin, which no browser sends", function()
    assert.is_true(origin.allowed({}, nil, "h"))
  end)

  it("replaces the default: the own host has to be listed too", function()
    assert.is_false((origin.allowed({}, "http://h", "h")))
  end)

  it("prints the option that would help", function()
    local function fix(list, text) return select(2, origin.allowed(list, text, "h")) end
    assert.equal('origins = { "https://other.example" }', fix(nil, "https://other.example"))
    assert.equal('origins = { "https://a", "https://b" }', fix({ "https://a" }, "https://b"))
    assert.equal('origins = { "null" }', fix(nil, "null"))
    for _, text in ipairs { "", "x", 'http://a" }', "http://a\27[1m", "http://*", "http://" .. ("a"):rep(400) } do
      assert.is_nil(fix(nil, text))
    end
  end)

  it("does what the printed option says", function()
    for _, text in ipairs { "https://other.example", "null", "http://[::1]:8080", "app://x" } do
      local _, fix = origin.allowed(nil, text, "h")
      local entry = fix:match('^origins = { "(.*)" }$')
      assert.is_true((origin.allowed({ entry }, text, "h")))
    end
  end)

  it("takes time in proportion to the text", function()
    local long = "http://" .. ("a."):rep(100000)
    assert.is_false((origin.allowed({ "http://*.a.a.a.b" }, long, "h")))
  end)
end)

describe("origin.problem", function()
  it("accepts what can match", function()
    for _, entry in ipairs { "*", "null", "https://a.b", "http://a:1", "https://*.a.b",
      "http://localhost:*", "http://[::1]:8080", "app://x" } do
      assert.is_nil(origin.problem(entry))
    end
  end)

  it("names what never could", function()
    for _, entry in ipairs { "", "a.b", "https://a/", "https://a/b", "wss://a", "https://*",
      "https://a*.b", "https://*.*.b", "https://a:x", "https://a b" } do
      assert.is_string(origin.problem(entry))
    end
  end)
end)
