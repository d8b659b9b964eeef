-- SPDX-License-Identifier: MIT
local url = require "duplex.url"

describe("url.parse (RFC 6455 3)", function()
  local good = {
    -- text, host, port, target, authority, origin
    { "ws://example.com", "example.com", 80, "/", "example.com", "ws://example.com:80" },
    { "WSS://Example.COM/a", "example.com", 443, "/a", "example.com", "wss://example.com:443" },
    { "http://h:80/", "h", 80, "/", "h", "ws://h:80" },
    { "https://h:80/", "h", 80, "/", "h:80", "wss://h:80" },
    { "ws://h:", "h", 80, "/", "h", "ws://h:80" },
    { "ws://h:65535", "h", 65535, "/", "h:65535", "ws://h:65535" },
    { "ws://h?q", "h", 80, "/?q", "h", "ws://h:80" },
    { "ws://h/p?", "h", 80, "/p?", "h", "ws://h:80" },
    { "ws://h/a/../b?c?d/e", "h", 80, "/a/../b?c?d/e", "h", "ws://h:80" },
    { "ws://[::1]:8080/p?q", "::1", 8080, "/p?q", "[::1]:8080", "ws://[::1]:8080" },
    { "ws://[2001:DB8::1]", "2001:db8::1", 80, "/", "[2001:db8::1]", "ws://[2001:db8::1]:80" },
    { "ws://[1:2:3:4:5:6:7:8]/", "1:2:3:4:5:6:7:8", 80, "/", "[1:2:3:4:5:6:7:8]",
      "ws://[1:2:3:4:5:6:7:8]:80" },
    { "ws://[::ffff:1.2.3.4]/", "::ffff:1.2.3.4", 80, "/", "[::ffff:1.2.3.4]",
      "ws://[::ffff:1.2.3.4]:80" },
    { "ws://127.0.0.1:9", "127.0.0.1", 9, "/", "127.0.0.1:9", "ws://127.0.0.1:9" },
    { "ws://xn--mnchen-3ya.de./", "xn--mnchen-3ya.de.", 80, "/", "xn--mnchen-3ya.de.",
      "ws://xn--mnchen-3ya.de.:80" },
    { "ws://h/a b\195\188{}?x=[ \195\188]%20", "h", 80,
      "/a%20b%C3%BC%7B%7D?x=%5B%20%C3%BC%5D%20", "h", "ws://h:80" },
  }
  for _, row in ipairs(good) do
    it("reads " .. row[1], function()
      local parts = assert(url.parse(row[1]))
      assert.same({ row[2], row[3], row[4], row[5], row[6] },
        { parts.host, parts.port, parts.target, parts.authority, parts.origin })
      assert.equal(parts.scheme == "wss", parts.secure)
      assert.is_nil(parts.user)
    end)
  end

  it("gives path and query as they are sent", function()
    local parts = assert(url.parse("ws://h/a b?c d"))
    assert.same({ "/a%20b", "c%20d" }, { parts.path, parts.query })
    assert.is_nil(assert(url.parse("ws://h/a")).query)
    assert.equal("", assert(url.parse("ws://h/a?")).query)
  end)

  local users = {
    { "ws://me:secret@h", "me", "secret" },
    { "ws://me@h", "me", "" },
    { "ws://:secret@h", "", "secret" },
    { "ws://a%40b:p%3A%2F@h", "a@b", "p:/" },
    { "ws://me:p@ss:w@h", "me", "p@ss:w" },
    { "ws://@h" }, { "ws://:@h" },
  }
  for _, row in ipairs(users) do
    it("decodes the credentials of " .. row[1], function()
      local parts = assert(url.parse(row[1]))
      assert.same({ "h", row[2], row[3] }, { parts.host, parts.user, parts.password })
    end)
  end

  local bad = {
    -- text, what the message names
    { "", "no \"ws://\"" }, { "/chat", "no \"ws://\"" },
    { "example.com/chat", "write ws://example.com/chat" },
    { "localhost:8080/chat", "write ws://localhost:8080/chat" },
    { "//h/x", "write ws://h/x" }, { "ws:h/x", "write ws://h/x" },
    { "ftp://h/", "scheme" }, { "ws://", "no host" }, { "ws:///p", "no host" },
    { "ws://:80/", "no host" }, { "ws://u:p@/", "no host" },
    { "ws://h:0/", "port" }, { "ws://h:65536/", "port" }, { "ws://h:x/", "port" },
    { "ws://h:-1/", "port" }, { "ws://h:99999999999999999999/", "port" },
    { "ws://[::1]x/", "port" },
    { "ws://h/#top", "fragment" }, { "ws://h#", "fragment" },
    { "ws://h/%zz", '"%zz"' }, { "ws://h/?a=%4", '"%4"' }, { "ws://h/%", '"%"' },
    { "ws://m\195\188nchen.de/", "punycode" }, { "ws://a b/", "illegal character" },
    { "ws://a%2eb/", "illegal character" }, { "ws://[::1/", "brackets" },
    { "ws://a..b/", "empty label" }, { "ws://.a/", "empty label" },
    { "ws://" .. ("a"):rep(254) .. "/", "253" },
    { "ws://127.1/", "IPv4" }, { "ws://0x7f.0.0.1/", "IPv4" }, { "ws://1.2.3.0x4/", "IPv4" },
    { "ws://256.0.0.1/", "IPv4" }, { "ws://127.0.0.01/", "IPv4" }, { "ws://1.2.3.4./", "IPv4" },
    { "ws://2130706433/", "IPv4" },
    { "ws://::1/", "brackets" }, { "ws://[fe80::1%25eth0]/", "zone id" },
    { "ws://[]/", "IPv6" }, { "ws://[:]/", "IPv6" }, { "ws://[:::]/", "IPv6" },
    { "ws://[1::2::3]/", "IPv6" }, { "ws://[1:2:3:4:5:6:7]/", "IPv6" },
    { "ws://[1:2:3:4:5:6:7:8:9]/", "IPv6" }, { "ws://[1:2:3:4:5:6:7::8]/", "IPv6" },
    { "ws://[12345::]/", "IPv6" }, { "ws://[1.2.3.4::]/", "IPv6" }, { "ws://[v1.x]/", "IPv6" },
    { "ws://h\\evil/", "backslash" }, { "ws://h/a\\b", "backslash" },
    { "ws://evil\\@h/", "backslash" },
    { "ws://h/\r\nX: y", "control character" }, { "ws://h/\0", "control character" },
    { " ws://h/", "space" }, { "ws://h/ ", "space" },
    { "ws://h/" .. ("a"):rep(8200), "8192 bytes" },
    { "ws://%zz:x@h/", "before the @" }, { "ws://a%3Ab:x@h/", "before the @" },
    { "ws://a:%0A@h/", "before the @" },
  }
  for _, row in ipairs(bad) do
    it("refuses " .. row[1]:sub(1, 40):gsub("%c", "?") .. " and names: " .. row[2], function()
      local parts, message, id = url.parse(row[1])
      assert.is_nil(parts)
      assert.equal("URL", id)
      assert.equal("URL: ", message:sub(1, 5))
      assert.truthy(message:find(row[2], 1, true), message)
      assert.is_nil(message:find("%c"))
      assert.is_true(#message < 500)
    end)
  end

  local secrets = {
    "ws://me:hunter2@h:0/", "ws://me:hunter2@h/%zz", "ws://hunter2@h/%zz",
    "ws://me:hunter2/x@h/", "ws://me:x/hunter2@h/", "ws://me:12#hunter2@h/",
    "ws://me:x?hunter2@h/", "ws://me:hunter2@", "ws://me:hun@hunter2@h:x/",
    "me:hunter2@h/chat", "ftp://me:hunter2@h/", "ws://me:hunter2%zz@h/",
    "ws://me:hunter2@m\195\188/", "ws://me:hunter2@h/#f", "ws://me:hunter2\n@h/",
    "ws://h:x/?token=hunter2", "h/chat?hunter2", "ws://me@h/%zz?a=1&b=hunter2", "ws://h/#hunter2",
  }
  for _, text in ipairs(secrets) do
    it("does not show the password of " .. text:gsub("%c", "?"), function()
      local parts, message = url.parse(text)
      assert.is_nil(parts)
      assert.is_nil(message:find("hunter2", 1, true), message)
    end)
  end

  it("shows the rest of the URL in the message", function()
    local _, message = url.parse("ws://me:pw@h:0/a@b")
    assert.equal('URL: a port that is not a number 1..65535 in "ws://***@h:0/a@b"', message)
  end)

  it("raises for what is no string", function()
    assert.error_matches(function() url.parse(nil) end, "must be a string")
  end)
end)

describe("url.resolve (RFC 3986 5.2)", function()
  local base = assert(url.parse("wss://me:pw@h:8443/a/b/c?q=1"))
  local rows = {
    -- location, origin, target, credentials kept
    { "", "wss://h:8443", "/a/b/c?q=1", true },
    { "?x", "wss://h:8443", "/a/b/c?x", true },
    { "d", "wss://h:8443", "/a/b/d", true },
    { "d?u=ws://x/", "wss://h:8443", "/a/b/d?u=ws://x/", true },
    { "./d", "wss://h:8443", "/a/b/d", true }, { "../d", "wss://h:8443", "/a/d", true },
    { "..", "wss://h:8443", "/a/", true }, { ".", "wss://h:8443", "/a/b/", true },
    { "../../../../g?y/../z", "wss://h:8443", "/g?y/../z", true },
    { "%2e%2E/g", "wss://h:8443", "/a/g", true },
    { "/", "wss://h:8443", "/", true }, { "/x/../y#frag", "wss://h:8443", "/y", true },
    { "//o/p", "wss://o:443", "/p" }, { "http://o:1/x/../y", "ws://o:1", "/y" },
    { "https://h:8443/", "wss://h:8443", "/" }, { "ws://o", "ws://o:80", "/" },
  }
  for _, row in ipairs(rows) do
    it("follows '" .. row[1] .. "'", function()
      local parts = assert(url.resolve(base, row[1]))
      assert.same({ row[2], row[3], row[4] and "me", row[4] and "pw" },
        { parts.origin, parts.target, parts.user, parts.password })
      assert.equal(parts.target, parts.path .. (parts.query and "?" .. parts.query or ""))
    end)
  end

  it("takes the credentials of the location itself", function()
    assert.equal("you", assert(url.resolve(base, "wss://you:x@h:8443/")).user)
  end)

  for _, location in ipairs { "ftp://h/", "foo:bar", "\\\\evil", "http:x", "//", "/%zz", "/\r\nX: y" } do
    it("refuses " .. location:gsub("%c", "?"), function()
      local parts, message, id = url.resolve(base, location)
      assert.is_nil(parts)
      assert.equal("URL", id)
      assert.is_nil(message:find("pw", 1, true))
    end)
  end
end)

describe("url.decode and url.query", function()
  it("decode percent-escapes and nothing else", function()
    assert.equal("a+b c\0%", url.decode("a+b%20c%00%25"))
    for _, text in ipairs { "%", "%4", "%zz", "a%%41", "%4g" } do
      assert.is_nil(url.decode(text))
    end
  end)

  it("give the first value of each name, with + as space", function()
    assert.same({ a = "1", b = "x y&=", c = "", d = "", e = "=f", ["\195\188"] = "+", bad = "%zz" },
      url.query("a=1&a=2&b=x+y%26%3D&c&d=&&e==f&%C3%BC=%2B&bad=%zz"))
    assert.same({}, url.query(nil))
    assert.same({}, url.query(""))
  end)
end)
