-- SPDX-License-Identifier: MIT
-- Whom a server believes about its clients, and how much.

local duplex = require "duplex"
local log_lines = require "spec.support.lines"
local forwarded = require "duplex.forwarded"
local peers = require "spec.support.peers"

local connect, run = peers.connect, peers.run

describe("forwarded.problem", function()
  for _, entry in ipairs { "127.0.0.1", "10.0.0.0/8", "0.0.0.0/0", "::1", "fd00::/8", "::/0", "1.2.3.4/32", "::1/128",
    "::ffff:10.0.0.1", "unix" } do
    it("lets pass " .. entry, function() assert.is_nil(forwarded.problem(entry)) end)
  end
  for _, entry in ipairs { "", "localhost", "10.0.0", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/a", "::/129",
    "[::1]", "*", "unix:", "/run/x", "10.0.0.1:80", "10.0.0.0/8/8", " 10.0.0.1" } do
    it(("objects to %q"):format(entry), function() assert.matches("^is no address", forwarded.problem(entry)) end)
  end
end)

describe("forwarded.trust", function()
  local trusted = forwarded.trust { "127.0.0.1", "10.0.0.0/8", "fd00::/8", "::ffff:192.0.2.0" }
  for who, fine in pairs { ["127.0.0.1"] = true, ["127.0.0.2"] = false, ["10.255.0.1"] = true, ["11.0.0.1"] = false,
    ["fd12::1"] = true, ["fe12::1"] = false, ["::ffff:10.1.2.3"] = true, ["192.0.2.0"] = true, unix = false,
    [""] = false, ["10.0.0.1 "] = false } do
    it(("says %s of %q"):format(tostring(fine), who), function() assert.equal(fine, trusted(who)) end)
  end

  it("knows Unix sockets by their name, and nobody who has none", function()
    assert.is_true(forwarded.trust { "unix" } "unix")
    assert.is_false(forwarded.trust { "unix" } "127.0.0.1")
    assert.is_false(forwarded.trust { "unix" }(nil))
  end)
end)

describe("forwarded.client with X-Forwarded-*", function()
  local trusted = forwarded.trust { "10.0.0.0/8", "fd00::/8" }
  local rows = {
    -- For, Proto, Host, address, port, secure, host
    { "192.0.2.1", nil, nil, "192.0.2.1" },
    { "192.0.2.1", "https", "a.example", "192.0.2.1", nil, true, "a.example" },
    { "192.0.2.1", "HTTPS", "a.example:8443", "192.0.2.1", nil, true, "a.example:8443" },
    { "192.0.2.1", "http", nil, "192.0.2.1", nil, false },
    { "192.0.2.1", "wss", nil, "192.0.2.1", nil, true }, { "192.0.2.1", "ws", nil, "192.0.2.1", nil, false },
    { "192.0.2.1", "spdy", "", "192.0.2.1" },
    { nil, "https", "a.example", nil, nil, true, "a.example" },
    { nil, nil, nil },
    -- the walk, from the right
    { "1.1.1.1, 192.0.2.1", nil, nil, "192.0.2.1" },
    { "192.0.2.1, 10.0.0.1", nil, nil, "192.0.2.1" },
    { "1.1.1.1, 192.0.2.1, 10.0.0.1, 10.0.0.2", nil, nil, "192.0.2.1" },
    { "1.1.1.1,192.0.2.1\t,  fd00::1", nil, nil, "192.0.2.1" },
    { "10.0.0.3, 10.0.0.2", nil, nil, "10.0.0.3" },
    { "10.0.0.1, 192.0.2.1, 10.0.0.2", nil, nil, "192.0.2.1" },
    -- what is no address ends it
    { "unknown", nil, nil }, { "", nil, nil }, { ",", nil, nil }, { "192.0.2.1,", nil, nil },
    { "192.0.2.1, unknown, 10.0.0.1", nil, nil, "10.0.0.1" },
    { "192.0.2.1, 10.0.0.256", nil, nil }, { "unix:", nil, nil }, { "192.0.2.1 10.0.0.1", nil, nil },
    { "192.0.2.1, , 10.0.0.1", nil, nil, "10.0.0.1" }, { "<script>, 10.0.0.1", nil, nil, "10.0.0.1" },
    { "x, 192.0.2.1, 10.0.0.1", nil, nil, "192.0.2.1" },
    -- how addresses are written
    { "192.0.2.1:4711", nil, nil, "192.0.2.1", 4711 }, { "192.0.2.1:0", nil, nil, "192.0.2.1" },
    { "192.0.2.1:65536", nil, nil }, { "192.0.2.1:", nil, nil }, { "192.0.2.1:http", nil, nil },
    { "2001:db8::1", nil, nil, "2001:db8::1" }, { "[2001:db8::1]", nil, nil, "2001:db8::1" },
    { "[2001:db8::1]:80", nil, nil, "2001:db8::1", 80 }, { "[2001:db8::1]80", nil, nil },
    { "[2001:db8::1]:", nil, nil }, { "2001:db8::1]", nil, nil }, { "[x]", nil, nil },
    { "192.0.2.1, [fd00::1]:9", nil, nil, "192.0.2.1" }, { "192.0.2.1:5, 10.0.0.1:6", nil, nil, "192.0.2.1", 5 },
    -- who came from where: the same place in each list
    { "192.0.2.1, 10.0.0.1", "https, http", "a.example, inner", "192.0.2.1", nil, true, "a.example" },
    { "192.0.2.1", "https, http", "evil, a.example", "192.0.2.1", nil, false, "a.example" },
    { "1.1.1.1, 192.0.2.1, 10.0.0.1", "https, http, http", nil, "192.0.2.1", nil, false },
    { "192.0.2.1, 10.0.0.2, 10.0.0.1", "https", "a.example", "192.0.2.1", nil, true, "a.example" },
    { "unknown, 10.0.0.1", "https, http", nil, "10.0.0.1", nil, true },
    { nil, "https, http", nil, nil, nil, false },
  }
  for _, row in ipairs(rows) do
    it(("%s / %s / %s"):format(tostring(row[1]), tostring(row[2]), tostring(row[3])), function()
      local found = { forwarded.client({ ["x-forwarded-for"] = row[1], ["x-forwarded-proto"] = row[2],
        ["x-forwarded-host"] = row[3] }, trusted) }
      for i = 1, 4 do assert.equal(row[i + 3], found[i]) end
    end)
  end

  it("walks over 32 proxies and no more", function()
    local function walk(count)
      return (forwarded.client({ ["x-forwarded-for"] = "192.0.2.1" .. (", 10.0.0.1"):rep(count) }, trusted))
    end
    assert.equal("192.0.2.1", walk(31))
    assert.equal("10.0.0.1", walk(32))
    local began = os.clock()
    assert.equal("10.0.0.1", walk(20000))
    assert.is_true(os.clock() - began < 0.5)
  end)
end)

describe("forwarded.client with Forwarded (RFC 7239)", function()
  local trusted = forwarded.trust { "10.0.0.0/8" }
  local rows = {
    { "for=192.0.2.1", "192.0.2.1" },
    { "For=192.0.2.1;PROTO=https;host=a.example;by=10.0.0.1", "192.0.2.1", nil, true, "a.example" },
    { 'for="192.0.2.1:4711"', "192.0.2.1", 4711 }, { 'for="[2001:db8::1]"', "2001:db8::1" },
    { 'for="[2001:db8::1]:4711"; proto=http', "2001:db8::1", 4711, false },
    { 'proto=https;host="a.example:8443"', nil, nil, true, "a.example:8443" },
    { "for=1.1.1.1, for=192.0.2.1;proto=https, for=10.0.0.1;proto=http", "192.0.2.1", nil, true },
    { "for=192.0.2.1;proto=https,for=10.0.0.1", "192.0.2.1", nil, true },
    { "for=1.1.1.1;host=evil, for=192.0.2.1", "192.0.2.1" },
    { "for=unknown;proto=https", nil, nil, true }, { "for=_secret", nil }, { 'for="_secret:_port"', nil },
    { "for=192.0.2.1, for=unknown", nil },
    -- malformed: nothing of it is believed
    { "", nil }, { "192.0.2.1", nil }, { "for=", nil }, { "for = 192.0.2.1", nil }, { "for=192.0.2.1;", nil },
    { "for=192.0.2.1,", nil }, { "for=192.0.2.1 proto=https", nil }, { "for=1.1.1.1;for=192.0.2.1", nil },
    { 'for="192.0.2.1', nil }, { 'for=1.1.1.1;x=", for=192.0.2.1', nil },
    { 'for=1.1.1.1;x=", for="[2001:db8::1]"', nil }, { 'for="192.0.2.1"x', nil }, { 'for="192.0.2.\\1"', nil },
    { "for=[2001:db8::1]", nil },
  }
  for _, row in ipairs(rows) do
    it(("%q"):format(row[1]), function()
      local found = { forwarded.client({ forwarded = row[1] }, trusted) }
      for i = 1, 4 do assert.equal(row[i + 1], found[i]) end
    end)
  end

  for name, value in pairs { ["x-forwarded-for"] = "192.0.2.1", ["x-forwarded-proto"] = "http",
    ["x-forwarded-host"] = "a.example" } do
    it("does not look at it beside " .. name, function()
      local address, _, secure, host =
        forwarded.client({ [name] = value, forwarded = "for=6.6.6.6;proto=https;host=evil" }, trusted)
      assert.is_true(address == nil or address == "192.0.2.1")
      assert.is_not_true(secure)
      assert.is_true(host == nil or host == "a.example")
    end)
  end
end)

-- ---- over sockets ----

local UPGRADE = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
  .. "Sec-WebSocket-Version: 13\r\n"

local function head(lines, upgrade, host)
  return "GET / HTTP/1.1\r\nHost: " .. (host or "app:8080") .. "\r\n" .. (upgrade and UPGRADE or "") .. lines .. "\r\n"
end

-- Who somebody is, in one line.
local function describe_it(who, ws)
  return ("%s %s %s %s"):format(who.address, ws and ws.port or "-", tostring(who.secure), ws and ws.proxy or "-")
end

local function serve(options, handler)
  local logged
  options.log, logged = log_lines()
  options.on_request = options.on_request or function(request)
    if not request.upgrade then return 200, describe_it(request) end
  end
  local server = assert(duplex.serve(options, handler or function(ws)
    local request = ws.request
    ws:send(describe_it({ address = ws.address, secure = request.secure }, ws) .. " " .. request.address)
  end))
  return server, logged
end

-- What the handler says of a connection with these lines.
local function ask(server, lines, address)
  local p = connect(server.port, address)
  p:send(head(lines, true))
  assert.matches("^HTTP/1.1 101 ", p:read_to("\r\n\r\n"))
  local bytes = p:read(2)
  return (p:read(bytes:byte(2)):gsub(" %d%d%d%d+ ", " port "))
end

local LINES = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n"

describe("a server with proxies", function()
  it("believes them", run(function()
    local server = serve { proxies = { "127.0.0.0/8" } }
    assert.equal("192.0.2.1 - true 127.0.0.1 192.0.2.1", ask(server, LINES))
    assert.equal("192.0.2.1 4711 true 127.0.0.1 192.0.2.1",
      (ask(server, 'Forwarded: for="192.0.2.1:4711";proto=https\r\n'):gsub("port", "4711")))
    assert.equal("127.0.0.1 port false - 127.0.0.1", ask(server, ""))
    assert.equal("127.0.0.1 port true - 127.0.0.1", ask(server, "X-Forwarded-Proto: https\r\n"))
    assert.equal("192.0.2.1 - true 127.0.0.1 192.0.2.1",
      ask(server, "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 192.0.2.1\r\nx-forwarded-for: 127.0.0.9\r\n"
        .. "X-Forwarded-Proto: https\r\n"))
    assert.equal("2001:db8::1 - false 127.0.0.1 2001:db8::1", ask(server, "X-Forwarded-For: 2001:DB8:0::1\r\n"))
  end))

  it("believes nobody else", run(function()
    for _, proxies in ipairs { { "10.0.0.0/8" }, { "unix" }, { "127.0.0.2" }, { "::1" }, {}, false } do
      local server = serve { proxies = proxies or nil }
      local text = ask(server, LINES .. "Forwarded: for=6.6.6.6;proto=https\r\nX-Forwarded-Host: evil\r\n")
      assert.equal("127.0.0.1 port false - 127.0.0.1", text)
    end
  end))

  it("leaves the headers as they are in any case", run(function()
    for _, proxies in ipairs { { "10.0.0.0/8" }, { "127.0.0.1" } } do
      local seen
      local server = serve { proxies = proxies, on_request = function(request)
        seen = request.headers["X-Forwarded-For"]
        return 204
      end }
      connect(server.port):send(head(LINES)):read_to("\r\n\r\n")
      assert.equal("192.0.2.1", seen)
    end
  end))

  it("tells proxies by their IPv6 address, too", run(function()
    local server = serve { host = "::1", proxies = { "::1/128" } }
    assert.equal("192.0.2.1 - true ::1 192.0.2.1", ask(server, LINES, "::1"))
  end))

  it("tells those on a Unix socket", run(function()
    for _, trusts in ipairs { true, false } do
      local path = os.tmpname()
      os.remove(path)
      local server = serve { unix = path, proxies = { trusts and "unix" or "127.0.0.1" } }
      local p = connect(nil, path)
      p:send(head(LINES))
      local _, body = p:answer()
      assert.equal(trusts and "192.0.2.1 - true -" or "unix - false -", body)
      server:stop()
    end
  end))

  it("asks each request on a connection anew", run(function()
    local server = serve { proxies = { "127.0.0.1" } }
    local p = connect(server.port)
    for _, row in ipairs { { "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n", "192.0.2.1 - true -" },
      { "", "127.0.0.1 - false -" }, { "X-Forwarded-For: 192.0.2.2\r\n", "192.0.2.2 - false -" } } do
      p:send(head(row[1]))
      local _, body = p:answer()
      assert.equal(row[2], body)
    end
  end))

  it("compares a page's origin with what the browser saw", run(function()
    local rows = {
      -- Origin, more lines, Host, lets it in
      { "https://a.example", "X-Forwarded-Proto: https\r\n", "a.example", true },
      { "http://a.example", "X-Forwarded-Proto: https\r\n", "a.example", false },
      { "http://a.example", "X-Forwarded-Proto: http\r\n", "a.example", true },
      { "https://a.example", "X-Forwarded-Proto: http\r\n", "a.example", false },
      { "https://a.example", "", "a.example", true },
      { "https://a.example", "X-Forwarded-Host: a.example\r\nX-Forwarded-Proto: https\r\n", "app:8080", true },
      { "https://a.example:8443", "X-Forwarded-Host: a.example:8443\r\n", "app:8080", true },
      { "https://a.example:8443", "X-Forwarded-Host: a.example\r\n", "app:8080", false },
      { "http://app:8080", "X-Forwarded-Host: a.example\r\n", "app:8080", false },
      { "https://evil", "X-Forwarded-Host: evil, a.example\r\n", "a.example", false },
      { "https://a.example", "X-Forwarded-Host: a.example/evil\r\n", "a.example", false },
      { "https://a.example", "Forwarded: host=a.example;proto=https\r\n", "app:8080", true },
    }
    for trusts, proxies in pairs { [true] = { "127.0.0.1" }, [false] = { "10.0.0.1" } } do
      local server = serve { proxies = proxies }
      for i, row in ipairs(rows) do
        local p = connect(server.port)
        p:send(head(row[2] .. "Origin: " .. row[1] .. "\r\n", true, row[3]))
        local status = p:read_to("\r\n\r\n"):match("^HTTP/1.1 (%d+)")
        local wanted = row[4]
        -- Without trust only the Host header counts, and any scheme.
        if not trusts then wanted = row[1]:gsub("^https?://", "") == row[3] end
        assert.equal(wanted and "101" or "403", status, ("row %d, %s"):format(i, tostring(trusts)))
      end
    end
  end))

  it("logs the client, and the proxy beside it", run(function()
    local server, logged = serve({ proxies = { "127.0.0.1" } }, function() error "as told" end)
    local p = connect(server.port)
    p:send(head(LINES .. "Origin: https://b.example\r\n", true))
    p:rest()
    assert.matches("refused a page", logged[1][2])
    assert.equal("192.0.2.1", logged[1][3].address)
    assert.equal("127.0.0.1", logged[1][3].proxy)
    p = connect(server.port)
    p:send(head(LINES, true)):read_to("\3\243") -- 1011
    assert.matches("handler failed", logged[2][2])
    assert.equal("192.0.2.1", logged[2][3].address)
    assert.equal("127.0.0.1", logged[2][3].proxy)
    p = connect(server.port)
    p:send(head("", true)):read_to("\3\243")
    assert.equal("127.0.0.1", logged[3][3].address)
    assert.is_nil(logged[3][3].proxy)
  end))
end)

describe("options of a server:", function()
  for text, given in pairs {
    ["option 'proxies' has 'localhost', which is no address"] = { proxies = { "localhost" } },
    ["option 'proxies' has '10.0.0.0/33', which is no address"] = { proxies = { "10.0.0.0/33" } },
    ["option 'proxies' must be a list"] = { proxies = "127.0.0.1" },
    ["option 'proxy_protocol' must be a boolean"] = { proxy_protocol = "optional", proxies = { "::1" } },
    ["option 'proxy_protocol' needs proxies"] = { proxy_protocol = true, proxies = {} },
  } do
    it(text, function()
      local fine, problem = pcall(duplex.serve, given, print)
      assert.is_false(fine)
      assert(problem:find(text, 1, true), problem)
    end)
  end
end)
