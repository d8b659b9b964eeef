-- SPDX-License-Identifier: MIT
local duplex = require "duplex"
local native = require "duplex.host.native"
local peer = require "spec.support.peer"
local proxy = require "spec.support.proxy"
local run = require "spec.support.run"

describe("a SOCKS5 proxy", function()
  local NAME_80 = "\5\1\0\3\14server.example\0\80"
  local DONE = "\5\0\0\1\0\0\0\0\0\0"
  local NONE, EITHER, LOGIN = "\5\1\0", "\5\2\0\2", "\1\2me\6secret"

  -- One that reads what is expected in each step and answers, and then is the
  -- server, or hangs up if 'last' is false: host:port, what it read, heads.
  local function playing(steps, chop, last)
    local got = {}
    local port, heads = proxy.serve(function(p)
      for _, step in ipairs(steps) do
        got[#got + 1] = p:read(#step[1])
        proxy.send(p, step[2], chop)
      end
      return last
    end)
    return "127.0.0.1:" .. port, got, heads
  end

  -- A host whose names have these addresses, by name.
  local function resolving(names)
    return duplex.bind(setmetatable({ resolve = function(name) return names[name] or { name } end },
      { __index = native }))
  end

  local good = {
    -- title, URL of the server, of the proxy, what is expected and answered
    { "a name that it resolves", "ws://server.example", "socks5h://", { { NONE, "\5\0" }, { NAME_80, DONE } } },
    { "another port", "ws://server.example:65281", "socks5h://",
      { { NONE, "\5\0" }, { "\5\1\0\3\14server.example\255\1", DONE } } },
    { "an IPv4 address", "ws://10.1.2.3:8080", "socks5h://",
      { { NONE, "\5\0" }, { "\5\1\0\1\10\1\2\3\31\144", DONE } } },
    { "an IPv6 address", "ws://[2001:db8::1]", "socks5h://",
      { { NONE, "\5\0" }, { "\5\1\0\4\32\1\13\184\0\0\0\0\0\0\0\0\0\0\0\1\0\80", DONE } } },
    { "an address without resolving", "ws://10.1.2.3:8080", "socks5://",
      { { NONE, "\5\0" }, { "\5\1\0\1\10\1\2\3\31\144", DONE } } },
    { "a name that is resolved here", "ws://four.example:8080", "socks5://",
      { { NONE, "\5\0" }, { "\5\1\0\1\10\0\0\4\31\144", DONE } } },
    { "a name of IPv6 that is resolved here", "ws://six.example", "socks5://",
      { { NONE, "\5\0" }, { "\5\1\0\4\0\6\0\0\0\0\0\0\0\0\0\0\0\0\0\6\0\80", DONE } } },
    { "a name, with user and password", "ws://server.example", "socks5h://me:secret@",
      { { EITHER, "\5\2" }, { LOGIN, "\1\0" }, { NAME_80, DONE } } },
    { "a name, with percent-encoded ones", "ws://server.example", "socks5h://m%40:%C3%BC%3A@",
      { { EITHER, "\5\2" }, { "\1\2m@\3\195\188:", "\1\0" }, { NAME_80, DONE } } },
    { "a name, with the longest ones", "ws://server.example", "socks5h://" .. ("u"):rep(255) .. ":" .. ("p"):rep(255) .. "@",
      { { EITHER, "\5\2" }, { "\1\255" .. ("u"):rep(255) .. "\255" .. ("p"):rep(255), "\1\0" }, { NAME_80, DONE } } },
    { "a name, with ones that it does not want", "ws://server.example", "socks5h://me:secret@",
      { { EITHER, "\5\0" }, { NAME_80, DONE } } },
    { "a name, and answers with an IPv6 address", "ws://server.example", "socks5h://",
      { { NONE, "\5\0" }, { NAME_80, "\5\0\0\4" .. ("x"):rep(18) } } },
    { "a name, and answers with a name", "ws://server.example", "socks5h://",
      { { NONE, "\5\0" }, { NAME_80, "\5\0\0\3\4host\0\1" } } },
    { "a name, and answers with an empty one", "ws://server.example", "socks5h://",
      { { NONE, "\5\0" }, { NAME_80, "\5\0\0\3\0\0\1" } } },
  }
  for _, row in ipairs(good) do
    for ending, chop in pairs { [""] = false, [", byte by byte"] = true } do
      it("is asked for " .. row[1] .. ending, run(function()
        local place, got, heads = playing(row[4], chop)
        local here = resolving { ["four.example"] = { "10.0.0.4" }, ["six.example"] = { "6::6" } }
        assert(proxy.reach(here.connect, row[2], { proxy = row[3] .. place }))
        local wanted = {}
        for i, step in ipairs(row[4]) do wanted[i] = step[1] end
        assert.same(wanted, got)
        assert.matches("^GET / HTTP/1.1\r\n", heads[1])
        assert.is_nil(heads[1]:find("secret", 1, true))
      end))
    end
  end

  local replies = {
    [1] = "general failure", [2] = "its rules do not allow this connection", [3] = "network unreachable",
    [4] = "host unreachable", [5] = "connection refused", [6] = "TTL expired",
    [7] = "it does not know the command CONNECT", [8] = "it does not know this type of address",
    [9] = "unknown reply 9", [255] = "unknown reply 255",
  }
  for code, words in pairs(replies) do
    it(("that replies %d gives its words"):format(code), run(function()
      -- All of the reply, and as little as some send.
      for _, rest in ipairs { "\0\1\0\0\0\0\0\0", "" } do
        local place = playing({ { NONE, "\5\0" }, { NAME_80, "\5" .. string.char(code) .. rest } }, false, false)
        local ws, message, id = duplex.connect("ws://server.example", { proxy = "socks5h://" .. place })
        assert.is_nil(ws)
        assert.equal("PROXY: the proxy did not connect to server.example port 80: " .. words, message)
        assert.equal("PROXY", id)
      end
    end))
  end

  local USER, GARBAGE = "me:secret@", "PROXY: the proxy does not speak SOCKS5"
  local broken = {
    -- title, user, steps, message
    { "wants authentication", "", { { NONE, "\5\255" } },
      "PROXY: the proxy wants authentication (user and password in its URL?)" },
    { "wants another kind of it", USER, { { EITHER, "\5\255" } },
      "PROXY: the proxy lets nobody in by user and password" },
    { "refuses user and password", USER, { { EITHER, "\5\2" }, { LOGIN, "\1\1" } },
      "PROXY: the proxy refused user and password" },
    { "chooses what was not offered", "", { { NONE, "\5\2" } },
      "PROXY: the proxy chose a way to authenticate that was not offered" },
    { "chooses GSSAPI", USER, { { EITHER, "\5\1" } },
      "PROXY: the proxy chose a way to authenticate that was not offered" },
    { "speaks HTTP", "", { { NONE, "HTTP/1.1 400 Bad Request\r\n\r\n" } }, GARBAGE },
    { "speaks SOCKS4", "", { { NONE, "\0\90\0\0\0\0\0\0" } }, GARBAGE },
    { "changes its version", "", { { NONE, "\5\0" }, { NAME_80, "\4\0" } }, GARBAGE },
    { "answers with an unknown type of address", "", { { NONE, "\5\0" }, { NAME_80, "\5\0\0\2\0\0" } },
      "PROXY: the proxy answered with a malformed address" },
    { "hangs up at once", "", {}, "PROXY: the proxy hung up before it answered" },
    { "hangs up in the greeting", "", { { NONE, "\5" } }, "PROXY: the proxy hung up before it answered" },
    { "hangs up in the authentication", USER, { { EITHER, "\5\2" }, { LOGIN, "\1" } },
      "PROXY: the proxy hung up before it answered" },
    { "hangs up before its reply", "", { { NONE, "\5\0" }, { NAME_80, "" } },
      "PROXY: the proxy hung up before it answered" },
    { "hangs up in its reply", "", { { NONE, "\5\0" }, { NAME_80, "\5\0\0" } },
      "PROXY: the proxy hung up before it answered" },
    { "hangs up in its address", "", { { NONE, "\5\0" }, { NAME_80, "\5\0\0\1\0\0\0\0\0" } },
      "PROXY: the proxy hung up before it answered" },
    { "hangs up in its name", "", { { NONE, "\5\0" }, { NAME_80, "\5\0\0\3\4ho" } },
      "PROXY: the proxy hung up before it answered" },
  }
  for _, row in ipairs(broken) do
    it("that " .. row[1] .. " gives PROXY", run(function()
      local place = playing(row[3], false, false)
      local ws, message, id = duplex.connect("ws://server.example",
        { proxy = "socks5h://" .. row[2] .. place, open_timeout = 5 })
      assert.is_nil(ws)
      assert.equal(row[4], message)
      assert.equal("PROXY", id)
    end))
  end

  local silent = {
    { "the greeting", "", {} },
    { "user and password", USER, { { EITHER, "\5\2" } } },
    { "the request for server.example port 80", "", { { NONE, "\5\0" } } },
    { "the request for server.example port 80", "", { { NONE, "\5\0" }, { NAME_80, "\5\0\0\1\0\0\0" } } },
  }
  for i, row in ipairs(silent) do
    it(("that is silent gives TIMEOUT: %s (%d)"):format(row[1], i), run(function()
      local hung_up = duplex.event()
      local port = peer.listen(function(p)
        for _, step in ipairs(row[3]) do
          p:read(#step[1])
          p:send(step[2])
        end
        p:rest()
        hung_up:set()
      end)
      local _, message, id = duplex.connect("ws://server.example",
        { proxy = ("socks5h://%s127.0.0.1:%d"):format(row[2], port), open_timeout = 0.05 })
      assert.equal(("TIMEOUT: no answer of the proxy to %s within open_timeout (0.05 s)"):format(row[1]), message)
      assert.equal("TIMEOUT", id)
      assert.is_true(hung_up:wait(1))
    end))
  end

  it("loses nothing that comes with its reply", run(function()
    local early = "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nearly"
    local place = playing({ { NONE, "\5\0" }, { NAME_80, DONE .. early } }, false, false)
    local _, message, id, response = duplex.connect("ws://server.example", { proxy = "socks5h://" .. place })
    assert.equal("HTTP: the server answered 404 Not Found", message)
    assert.equal("HTTP", id)
    assert.equal("early", response.body)
  end))

  it("is asked for the next address when it cannot reach one", run(function()
    local here, asked = resolving { ["server.example"] = { "6::6", "10.0.0.4", "10.0.0.5" } }, {}
    local function via(code)
      asked = {}
      return "socks5://127.0.0.1:" .. proxy.serve(function(p, number)
        p:read(3)
        p:send("\5\0")
        local head = p:read(4)
        asked[number] = p:read(head == "\5\1\0\1" and 6 or 18)
        p:send(number == 2 and code == 4 and DONE or "\5" .. string.char(code) .. "\0\1\0\0\0\0\0\0")
        return number == 2 and code == 4
      end)
    end
    assert(proxy.reach(here.connect, "ws://server.example", { proxy = via(4) }))
    assert.same({ "\0\6\0\0\0\0\0\0\0\0\0\0\0\0\0\6\0\80", "\10\0\0\4\0\80" }, asked)
    local _, message = here.connect("ws://server.example", { proxy = via(5) })
    assert.equal("PROXY: the proxy did not connect to 10.0.0.5 port 80: connection refused", message)
    assert.equal(3, #asked)
    -- What is about us would be no other for another address.
    _, message = here.connect("ws://server.example", { proxy = via(2) })
    assert.equal("PROXY: the proxy did not connect to 6::6 port 80: its rules do not allow this connection", message)
    assert.equal(1, #asked)
  end))

  it("does not hide that a name is none", run(function()
    local place = playing({}, false, false)
    local _, message, id = duplex.connect("ws://no.such.host.invalid", { proxy = "socks5://" .. place })
    assert.matches("^DNS: no.such.host.invalid: ", message)
    assert.equal("DNS", id)
  end))
end)
