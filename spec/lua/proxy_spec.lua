-- SPDX-License-Identifier: MIT
local proxy = require "duplex.proxy"
local url = require "duplex.url"

describe("proxy.choose", function()
  -- What a URL is reached through: "scheme host port user password" | "none" |
  -- the message.
  local function choice(address, env, given)
    local getenv = function(name) return env[name] end
    local via, message = proxy.choose(assert(url.parse(address)), given or {}, getenv)
    if not via then return message or "none" end
    local parts = { via.scheme, via.host, tostring(via.port), via.user, via.password }
    return table.concat(parts, " ")
  end

  local WS, WSS = "ws://a.example/", "wss://a.example/"
  local variables = {
    -- URL, environment, what is chosen
    { WS, {}, "none" }, { WSS, {}, "none" },
    { WS, { ws_proxy = "http://p:1", http_proxy = "http://q:2" }, "http p 1" },
    { WS, { WS_PROXY = "http://p:1", http_proxy = "http://q:2" }, "http p 1" },
    { WS, { ws_proxy = "http://p:1", WS_PROXY = "http://q:2" }, "http p 1" },
    { WS, { http_proxy = "http://p:1", all_proxy = "http://q:2" }, "http p 1" },
    { WS, { HTTP_PROXY = "http://p:1" }, "none" },
    { WS, { wss_proxy = "http://p:1", https_proxy = "http://p:1", HTTPS_PROXY = "http://p:1" }, "none" },
    { WS, { all_proxy = "http://p:1", ALL_PROXY = "http://q:2" }, "http p 1" },
    { WS, { ALL_PROXY = "http://p:1" }, "http p 1" },
    { WS, { ws_proxy = "", http_proxy = "http://p:1" }, "http p 1" },
    { "http://a.example", { http_proxy = "http://p:1" }, "http p 1" },
    { WSS, { wss_proxy = "http://p:1", https_proxy = "http://q:2" }, "http p 1" },
    { WSS, { WSS_PROXY = "http://p:1", https_proxy = "http://q:2" }, "http p 1" },
    { WSS, { https_proxy = "http://p:1", HTTPS_PROXY = "http://q:2" }, "http p 1" },
    { WSS, { HTTPS_PROXY = "http://p:1", all_proxy = "http://q:2" }, "http p 1" },
    { WSS, { ws_proxy = "http://p:1", http_proxy = "http://p:1", HTTP_PROXY = "http://p:1" }, "none" },
    { WSS, { ALL_PROXY = "http://p:1" }, "http p 1" },
    { WSS, { all_proxy = "http://p:1", no_proxy = "*" }, "none" },
    { WSS, { all_proxy = "http://p:1", NO_PROXY = "a.example" }, "none" },
    { WSS, { all_proxy = "http://p:1", no_proxy = "b.example", NO_PROXY = "*" }, "http p 1" },
    { WSS, { all_proxy = "http://p:1", no_proxy = "a.example:444" }, "http p 1" },
    { WSS, { all_proxy = "http://p:1", no_proxy = "a.example:443" }, "none" },
    { "ws://localhost:8080", { all_proxy = "http://p:1" }, "none" },
    { "ws://dev.localhost", { all_proxy = "http://p:1" }, "none" },
    { "ws://127.0.0.1", { all_proxy = "http://p:1" }, "none" },
    { "ws://[::1]", { all_proxy = "http://p:1" }, "none" },
    { "ws://[::ffff:127.0.0.1]", { all_proxy = "http://p:1" }, "none" },
    { "ws://127.0.0.1", { all_proxy = "nonsense://" }, "none" },
  }
  for _, row in ipairs(variables) do
    local set = {}
    for name, value in pairs(row[2]) do set[#set + 1] = name .. "=" .. value end
    table.sort(set)
    it(("takes %s for %s with %s"):format(row[3], row[1], table.concat(set, " ")), function()
      assert.equal(row[3], choice(row[1], row[2]))
    end)
  end

  it("takes the option before the environment, and for loopback too", function()
    local env = { all_proxy = "http://p:1", no_proxy = "*" }
    assert.equal("http q 2", choice(WS, env, { proxy = "http://q:2" }))
    assert.equal("http q 2", choice("ws://localhost", env, { proxy = "http://q:2" }))
    env.no_proxy = nil
    assert.equal("none", choice(WS, env, { proxy = false }))
    assert.equal("none", choice(WS, env, { unix = "/run/x" }))
  end)

  local long = ("x"):rep(256)
  local texts = {
    -- URL of a proxy, what is made of it
    { "http://p", "http p 80" }, { "https://p", "https p 443" },
    { "socks5://p", "socks5 p 1080" }, { "socks5h://p", "socks5h p 1080" },
    { "HTTP://P.Example:3128/", "http p.example 3128" }, { "p:3128", "http p 3128" }, { "p", "http p 80" },
    { "socks5://p:80", "socks5 p 80" }, { "https://p:80", "https p 80" },
    { "me:pw@p:3128", "http p 3128 me pw" }, { "http://me@p", "http p 80 me " },
    { "http://m%40e:p%3Aw%2F@p", "http p 80 m@e p:w/" }, { "http://[::1]:8", "http ::1 8" },
    { "socks5h://[2001:db8::1]", "socks5h 2001:db8::1 1080" },
    { "socks5://a:" .. ("x"):rep(255) .. "@p", "socks5 p 1080 a " .. ("x"):rep(255) },
    { "", "PROXY: no host in \"http://\" (option 'proxy')" },
    { "http://", "PROXY: no host in \"http://\" (option 'proxy')" },
    { "socks5://me:secret@", "PROXY: no host in \"socks5://***@\" (option 'proxy')" },
    { "http://me:secret@p:x", "PROXY: a port that is not a number 1..65535 in \"http://***@p:x\" (option 'proxy')" },
    { "https://p:0", "PROXY: a port that is not a number 1..65535 in \"https://p:0\" (option 'proxy')" },
    { "http://me:se%zz@p", "PROXY: a malformed percent-escape before the @ in \"http://***@p\" (option 'proxy')" },
    { "http:p:1", "PROXY: an IPv6 address without brackets ([::1]) in \"http://http:p:1\" (option 'proxy')" },
    { "socks4://me:secret@p", "PROXY: a proxy is http, https, socks5 or socks5h, not \"socks4\" (option 'proxy')" },
    { "http://me:secret@p/proxy.pac", "PROXY: a path in the URL of a proxy (option 'proxy')" },
    { "http://p?x", "PROXY: a path in the URL of a proxy (option 'proxy')" },
    { " http://p", "PROXY: an illegal character in the host in \"http:// http://p\" (option 'proxy')" },
    { "http://p ", "PROXY: a space at the start or the end in \"http://p \" (option 'proxy')" },
    { "socks5://me@p", "PROXY: SOCKS5 needs both user and password, of 1..255 bytes each (option 'proxy')" },
    { "socks5h://:x@p", "PROXY: SOCKS5 needs both user and password, of 1..255 bytes each (option 'proxy')" },
    { "socks5h://x:" .. long .. "@p", "PROXY: SOCKS5 needs both user and password, of 1..255 bytes each (option 'proxy')" },
    { "socks5h://" .. long .. ":x@p", "PROXY: SOCKS5 needs both user and password, of 1..255 bytes each (option 'proxy')" },
  }
  for _, row in ipairs(texts) do
    it(("reads %q"):format(row[1]:gsub(long, "...")), function()
      assert.equal(row[2], choice(WS, {}, { proxy = row[1] }))
    end)
  end

  it("names the variable that is wrong", function()
    assert.equal("PROXY: a proxy is http, https, socks5 or socks5h, not \"ftp\" (environment variable HTTPS_PROXY)",
      choice(WSS, { HTTPS_PROXY = "ftp://me:secret@p" }))
  end)
end)

describe("no_proxy", function()
  local rows = {
    -- list, host, port, does it name it?
    { "*", "a.example", 80, true }, { "*", "10.0.0.1", 80, true }, { "x, *", "::2", 80, true },
    { "", "a.example", 80, false }, { ",, ,", "a.example", 80, false }, { ".", "a.example", 80, false },
    { "a.example", "a.example", 80, true }, { "A.EXAMPLE", "a.example", 80, true },
    { "example", "a.example", 80, true }, { ".example", "a.example", 80, true },
    { ".a.example", "a.example", 80, true }, { "*.example", "a.example", 80, true },
    { "a.example.", "a.example", 80, true }, { "a.example", "a.example.", 80, true },
    { "example", "counterexample", 80, false }, { "a.example", "example", 80, false },
    { "b.example", "a.example", 80, false }, { "a.exampl", "a.example", 80, false },
    { "a*", "a.example", 80, false }, { "a-example", "a.example", 80, false },
    { "b.example,a.example", "a.example", 80, true }, { "b.example a.example", "a.example", 80, true },
    { " b.example , a.example ", "a.example", 80, true },
    { "a.example:80", "a.example", 80, true }, { "a.example:81", "a.example", 80, false },
    { ".example:80", "a.example", 80, true }, { "a.example:", "a.example", 80, false },
    { "a.example:x", "a.example", 80, false }, { "a.example:080", "a.example", 80, true },
    { "10.1.2.3", "10.1.2.3", 80, true }, { "10.1.2.3", "10.1.2.4", 80, false },
    { "10.1.2.3:80", "10.1.2.3", 80, true }, { "10.1.2.3:81", "10.1.2.3", 80, false },
    { "2.3", "10.1.2.3", 80, false }, { ".1.2.3", "10.1.2.3", 80, false },
    { "1.2.3", "a.1.2.3", 80, true }, { "1.2.3.4", "a.1.2.3.4", 80, false },
    { "10.0.0.0/8", "10.1.2.3", 80, true }, { "10.0.0.0/8", "11.1.2.3", 80, false },
    { "10.0.0.0/33", "10.0.0.0", 80, false }, { "10.0.0.0/x", "10.0.0.0", 80, false },
    { "10.0.0.0/", "10.0.0.0", 80, false }, { "0.0.0.0/0", "10.0.0.0", 80, true },
    { "10.0.0.0/8", "a.example", 80, false }, { "0.0.0.0/0", "::2", 80, false },
    { "::/0", "10.0.0.1", 80, false }, { "::/0", "::2", 80, true },
    { "fe80::/10", "fe90::1", 80, true }, { "fe80::/10", "fec0::1", 80, false },
    { "::2", "0:0:0:0:0:0:0:2", 80, true }, { "[::2]", "::2", 80, true },
    { "[::2]:80", "::2", 80, true }, { "[::2]:81", "::2", 80, false }, { "[::2]x", "::2", 80, false },
    { "::ffff:10.0.0.1", "10.0.0.1", 80, true }, { "10.0.0.0/8", "::ffff:10.0.0.1", 80, true },
  }
  for _, row in ipairs(rows) do
    it(("%q %s %s port %d"):format(row[1], row[4] and "names" or "does not name", row[2], row[3]), function()
      assert.equal(row[4], proxy.bypassed(row[1], row[2], row[3]))
    end)
  end
end)
