-- SPDX-License-Identifier: MIT
local duplex = require "duplex"
local core = require "duplex.core"
local native = require "duplex.host.native"
local peer = require "spec.support.peer"
local ports = require "spec.support.ports"
local proxy = require "spec.support.proxy"
local run = require "spec.support.run"

describe("an HTTP proxy", function()
  -- One that says 'answer' to CONNECT: its URL, what it was asked.
  local function answering(answer, extra)
    local asked = {}
    local port, heads = proxy.serve(function(p)
      asked[#asked + 1] = p:read_to("\r\n\r\n")
      p:send(answer)
      return extra
    end)
    return "http://127.0.0.1:" .. port, asked, heads
  end

  local OK = "HTTP/1.1 200 Connection established\r\n\r\n"

  it("is asked to connect, with its port always", run(function()
    local rows = {
      -- URL, the line, the Host header for the server
      { "ws://server.example/chat?x", "server.example:80", "server.example" },
      { "ws://server.example:8080/", "server.example:8080", "server.example:8080" },
      { "ws://[2001:db8::1]/", "[2001:db8::1]:80", "[2001:db8::1]" },
      { "ws://127.0.0.1:80/", "127.0.0.1:80", "127.0.0.1" },
    }
    for _, row in ipairs(rows) do
      local via, asked, heads = answering(OK)
      assert(proxy.reach(duplex.connect, row[1], { proxy = via }))
      assert.equal(("CONNECT %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: lua-duplex/%s\r\n\r\n"):format(
        row[2], row[2], core.version), asked[1])
      assert.matches("^GET /[^\r]* HTTP/1.1\r\n", heads[1])
      assert.is_truthy(heads[1]:find("\r\nHost: " .. row[3] .. "\r\n", 1, true))
    end
  end))

  it("comes from the environment, which is read at each connect", run(function()
    local via, asked = answering(OK)
    local env = { http_proxy = via }
    proxy.with_environment(env, function()
      assert(proxy.reach(duplex.connect, "ws://server.example"))
      assert.equal(1, #asked)
      env.http_proxy = "http://"
      local _, message, id = duplex.connect("ws://server.example")
      assert.equal('PROXY: no host in "http://" (environment variable http_proxy)', message)
      assert.equal("PROXY", id)
      env.http_proxy, env.no_proxy = via, "server.invalid"
      assert.equal("DNS", select(3, duplex.connect("ws://server.invalid")))
    end)
  end))

  it("is not used for this machine, or a Unix socket, when the environment has it", run(function()
    local port = proxy.serve(function() end)
    local path = os.tmpname()
    os.remove(path)
    local server = assert(duplex.serve({ unix = path, log = false }, function(ws) ws:send("at once") end))
    proxy.with_environment({ all_proxy = "http://127.0.0.1:1" }, function()
      assert(proxy.reach(duplex.connect, "ws://127.0.0.1:" .. port))
      assert(proxy.reach(duplex.connect, "ws://server.example", { unix = path }))
    end)
    server:stop(0)
  end))

  it("is told user and password, the server is not", run(function()
    local via, asked, heads = answering(OK)
    assert(proxy.reach(duplex.connect, "ws://server.example", { proxy = (via:gsub("//", "//Aladdin:open%%20sesame@")) }))
    assert.matches("\r\nProxy%-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n", asked[1])
    assert.is_nil(heads[1]:lower():find("authorization", 1, true))
    assert(proxy.reach(duplex.connect, "ws://me:pw@server.example", { proxy = (via:gsub("//", "//me@")) }))
    assert.matches("\r\nProxy%-Authorization: Basic bWU6\r\n", asked[2])
    assert.is_nil(asked[2]:find("\r\nAuthorization", 1, true))
    assert.matches("\r\nAuthorization: Basic bWU6cHc=\r\n", heads[2])
  end))

  it("gets the header Proxy-Authorization, which no server gets", run(function()
    local via, asked, heads = answering(OK)
    local headers = { ["proxy-authorization"] = "Bearer secret", Cookie = "a=1" }
    assert(proxy.reach(duplex.connect, "ws://server.example", { proxy = (via:gsub("//", "//me:pw@")), headers = headers }))
    assert.matches("\r\nProxy%-Authorization: Bearer secret\r\n", asked[1])
    assert.is_nil(asked[1]:find("Basic", 1, true))
    assert.is_nil(asked[1]:find("Cookie", 1, true))
    assert.matches("\r\nCookie: a=1\r\n", heads[1])
    assert.is_nil(heads[1]:find("secret", 1, true))
    local port, direct = proxy.serve(function() end)
    assert(proxy.reach(duplex.connect, "ws://127.0.0.1:" .. port, { headers = headers }))
    assert.is_nil(direct[1]:find("secret", 1, true))
  end))

  it("may say any 2xx, lengths that mean nothing, a 100 before, and all byte by byte", run(function()
    for _, answer in ipairs {
      "HTTP/1.0 200 OK\r\n\r\n", "HTTP/1.1 299 \r\nVia: x\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n" .. OK,
    } do
      assert(proxy.reach(duplex.connect, "ws://server.example", { proxy = (answering(answer)) }))
    end
    local port = proxy.serve(function(p)
      p:read_to("\r\n\r\n")
      proxy.send(p, OK, true)
    end)
    assert(proxy.reach(duplex.connect, "ws://server.example", { proxy = "http://127.0.0.1:" .. port }))
  end))

  it("loses nothing that comes with its answer", run(function()
    local early = "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nearly"
    local via = answering(OK .. early, false)
    local _, message, id, response = duplex.connect("ws://server.example", { proxy = via })
    assert.equal("HTTP: the server answered 404 Not Found", message)
    assert.equal("HTTP", id)
    assert.equal("early", response.body)
  end))

  it("that refuses gives PROXY and all that it said", run(function()
    local rows = {
      { "407 Proxy Authentication Required", 407 }, { "403 Filtered", 403 }, { "502 Bad Gateway", 502 },
      { "302 Found\r\nLocation: ws://evil.example/", 302, "302 Found" }, { "404 ", 404, "404 Not Found" },
      { "101 Switching Protocols", 101, nil, "" }, -- has no body
    }
    for _, row in ipairs(rows) do
      local via, asked = answering("HTTP/1.1 " .. row[1] .. "\r\nProxy-Authenticate: Basic realm=x\r\n"
        .. "Content-Length: 3\r\n\r\nwhy", false)
      via = via:gsub("//", "//me:secret@")
      local ws, message, id, response = duplex.connect("ws://server.example", { proxy = via })
      assert.is_nil(ws)
      assert.equal("PROXY: the proxy answered " .. (row[3] or row[1]), message)
      assert.equal("PROXY", id)
      assert.equal(row[2], response.status)
      assert.equal("Basic realm=x", response.headers["Proxy-Authenticate"])
      assert.equal(row[4] or "why", response.body)
      assert.equal(1, #asked)
    end
  end))

  local broken = {
    { "hangs up", "", "PROXY: the proxy hung up before it answered" },
    { "hangs up in its answer", "HTTP/1.1 200 O", "PROXY: the proxy hung up before it answered" },
    { "speaks SOCKS", "\5\0", "PROXY: bytes that no HTTP head contains" },
    { "speaks SSH", "SSH-2.0-OpenSSH_9.2\r\n\r\n", "PROXY: the proxy's answer: " },
    { "speaks HTTP/2.0", "HTTP/2.0 200 OK\r\n\r\n", "PROXY: the proxy's answer: " },
    { "has no end", "HTTP/1.1 200 OK\r\nA: " .. ("a"):rep(20000), "PROXY: HTTP head longer than max_header_bytes" },
  }
  for _, row in ipairs(broken) do
    it("that " .. row[1] .. " gives PROXY", run(function()
      local via = answering(row[2], false)
      local ws, message, id = duplex.connect("ws://server.example", { proxy = via, open_timeout = 2 })
      assert.is_nil(ws)
      assert.equal(row[3], message:sub(1, #row[3]))
      assert.equal("PROXY", id)
    end))
  end

  it("that is not there gives PROXY, however it is missing", run(function()
    local port = ports.free()
    local place = "me:secret@127.0.0.1:" .. port
    local _, message, id = duplex.connect("ws://server.example", { proxy = "http://" .. place })
    assert.equal(("PROXY: cannot reach the proxy 127.0.0.1 port %d: Connection refused"):format(port), message)
    assert.equal("PROXY", id)
    _, message, id = duplex.connect("ws://127.0.0.1", { proxy = "socks5://" .. place })
    assert.equal(("PROXY: cannot reach the proxy 127.0.0.1 port %d: Connection refused"):format(port), message)
    assert.equal("PROXY", id)
    _, message, id = duplex.connect("ws://server.example", { proxy = "http://me:secret@no.such.invalid" })
    assert.matches("^PROXY: cannot reach the proxy no.such.invalid port 80: ", message)
    assert.is_nil(message:find("DNS", 1, true))
    assert.equal("PROXY", id)
  end))

  it("is tried at all its addresses", run(function()
    local port = proxy.serve(function(p)
      p:read_to("\r\n\r\n")
      p:send(OK)
    end)
    local host = setmetatable({ resolve = function() return { "::1", "127.0.0.1" } end }, { __index = native })
    local ws = assert(duplex.bind(host).connect("ws://server.example", { proxy = "http://proxy.example:" .. port }))
    assert.equal("127.0.0.1", ws.address)
    ws:close(1000, "", 0)
    local closed = ports.free()
    local _, message = duplex.bind(host).connect("ws://server.example",
      { proxy = "http://proxy.example:" .. closed })
    assert.equal(("PROXY: cannot reach the proxy proxy.example port %d: Connection refused (::1 port %d); "
      .. "Connection refused (127.0.0.1 port %d)"):format(closed, closed, closed), message)
  end))

  it("that is silent gives TIMEOUT, and is hung up on", run(function()
    local hung_up = duplex.event()
    local port = peer.listen(function(p)
      p:read_to("\r\n\r\n")
      p:rest()
      hung_up:set()
    end)
    local began = duplex.now()
    local _, message, id = duplex.connect("ws://server.example",
      { proxy = "http://127.0.0.1:" .. port, open_timeout = 0.05 })
    assert.equal("TIMEOUT: no answer of the proxy to CONNECT within open_timeout (0.05 s)", message)
    assert.equal("TIMEOUT", id)
    assert.is_true(duplex.now() - began < 1)
    assert.is_true(hung_up:wait(1))
  end))

  it("and the server share one open_timeout", run(function()
    local port = peer.listen(function(p)
      p:read_to("\r\n\r\n")
      duplex.sleep(0.2)
      p:send(OK)
      p:rest()
    end)
    local took
    for _ = 1, 5 do -- a machine may be busy
      local began = duplex.now()
      local _, message = duplex.connect("ws://server.example",
        { proxy = "http://127.0.0.1:" .. port, open_timeout = 0.4 })
      took = duplex.now() - began
      if message == "TIMEOUT: no answer to the handshake within open_timeout (0.4 s)" and took < 0.58 then return end
    end
    error("the server had 0.4 seconds of its own, or none: " .. took)
  end))

  it("that takes too long to reach gives TIMEOUT with its name", run(function()
    local host = setmetatable({
      resolve = function() return nil, "TIMEOUT: timed out", "TIMEOUT" end,
    }, { __index = native })
    local _, message, id = duplex.bind(host).connect("ws://server.example", { proxy = "http://p.example" })
    assert.equal("TIMEOUT: the proxy p.example was not resolved within open_timeout (10 s)", message)
    assert.equal("TIMEOUT", id)
    host.resolve = nil
    host.connect = function() return nil, "TIMEOUT: timed out", "TIMEOUT" end
    _, message = duplex.bind(host).connect("ws://server.example", { proxy = "http://127.0.0.1" })
    assert.equal("TIMEOUT: no connection to the proxy 127.0.0.1 within open_timeout (10 s)", message)
  end))

  it("does not keep a stopping loop: STOPPED", run(function()
    local port = proxy.serve(function(p)
      p:read_to("\r\n\r\n")
      duplex.stop(1)
      p:send(OK)
    end)
    local _, message, id = duplex.connect("ws://server.example", { proxy = "http://127.0.0.1:" .. port })
    assert.equal("STOPPED: the loop is stopping", message)
    assert.equal("STOPPED", id)
  end))

  it("cannot be combined with a Unix socket", function()
    local fine, problem = pcall(duplex.connect, "ws://x", { proxy = "http://p", unix = "/run/x" })
    assert.is_false(fine)
    assert.matches("options 'proxy' and 'unix' exclude each other", problem, 1, true)
    fine, problem = pcall(duplex.connect, "ws://x", { proxy = 1 })
    assert.is_false(fine)
    assert.matches("option 'proxy' must be a string or false, got 1", problem, 1, true)
  end)
end)

describe("a redirect through a proxy", function()
  local OK = "HTTP/1.1 200 OK\r\n\r\n"

  -- Asked to connect, each connection gets the next of these locations from
  -- the server; the last one is accepted.
  local function redirecting(locations)
    local asked, requests = {}, {}
    local port, heads = proxy.serve(function(p, number)
      asked[number] = p:read_to("\r\n\r\n")
      p:send(OK)
      if not locations[number] then return end
      requests[number] = p:read_to("\r\n\r\n")
      p:send("HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " .. locations[number] .. "\r\n\r\n")
      return false
    end)
    return "http://user:secret@127.0.0.1:" .. port, asked, requests, heads
  end

  it("is dialled through the proxy again", run(function()
    local via, asked, requests, heads = redirecting { "/there", "ws://b.example:8080/x" }
    assert(proxy.reach(duplex.connect, "ws://a.example", { proxy = via, headers = { ["Proxy-Authorization"] = "Bearer proxy" } }))
    local lines = {}
    for i, head in ipairs(asked) do
      lines[i] = head:match("^[^\r]*")
      assert.matches("\r\nProxy%-Authorization: Bearer proxy\r\n", head)
    end
    assert.same({ "CONNECT a.example:80 HTTP/1.1", "CONNECT a.example:80 HTTP/1.1",
      "CONNECT b.example:8080 HTTP/1.1" }, lines)
    assert.matches("^GET /there ", requests[2])
    assert.matches("^GET /x ", heads[1])
    assert.is_nil((requests[1] .. requests[2] .. heads[1]):find("[Pp]roxy"))
  end))

  it("takes the rules for its own host", run(function()
    local port, direct = proxy.serve(function() end)
    local via, asked = redirecting { "ws://127.0.0.1:" .. port .. "/direct" }
    proxy.with_environment({ http_proxy = via }, function() assert(proxy.reach(duplex.connect, "ws://a.example")) end)
    assert.equal(1, #asked)
    assert.matches("^GET /direct ", direct[1])
    via = redirecting { "wss://b.example" }
    proxy.with_environment({ http_proxy = via, https_proxy = "ftp://p" }, function()
      local _, message, id = duplex.connect("ws://a.example")
      assert.equal("PROXY: a proxy is http, https, socks5 or socks5h, not \"ftp\" "
        .. "(environment variable https_proxy)", message)
      assert.equal("PROXY", id)
    end)
  end))

  local secrets = { Authorization = "Bearer secret", cookie = "secret=1", ["X-Other"] = "stays" }
  local moves = {
    { "to another host", "ws://b.example/", false },
    { "to another port", "ws://a.example:81/", false },
    { "to a host that ends alike", "ws://xa.example/", false },
    { "to the same place in full", "http://A.EXAMPLE:80/x", true },
    { "to another path", "/x", true },
    { "to another query", "?x", true },
    { "away and back", "ws://b.example/", false, "ws://a.example/" },
  }
  for _, row in ipairs(moves) do
    it((row[3] and "keeps" or "drops") .. " credentials " .. row[1], run(function()
      local via, _, requests, heads = redirecting { row[2], row[4] }
      assert(proxy.reach(duplex.connect, "ws://a.example", { proxy = via, headers = secrets }))
      assert.matches("Bearer secret", requests[1])
      assert.equal(row[3], heads[1]:find("Bearer secret", 1, true) ~= nil)
      assert.equal(row[3], heads[1]:find("secret=1", 1, true) ~= nil)
      assert.matches("\r\nX%-Other: stays\r\n", heads[1])
      via, _, requests, heads = redirecting { row[2], row[4] }
      assert(proxy.reach(duplex.connect, "ws://me:pw@a.example", { proxy = via }))
      assert.matches("\r\nAuthorization: Basic bWU6cHc=\r\n", requests[1])
      -- Those of a URL stay with a location that names no host.
      local keeps = row[3] and not row[2]:find("//", 1, true)
      assert.equal(keeps, heads[1]:find("Authorization", 1, true) ~= nil)
    end))
  end
end)
