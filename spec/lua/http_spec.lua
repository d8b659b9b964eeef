-- SPDX-License-Identifier: MIT
-- Plain HTTP on the port of a server, and what on_request can do.
local duplex = require "duplex"
local log_lines = require "spec.support.lines"
local both = require "spec.support.both"
local echo = require "spec.support.each"
local peer = require "spec.support.peer"
local run = require "spec.support.run"

local function serve(options)
  options.log = options.log or false
  return assert(duplex.serve(options, echo))
end

local function get(path, extra, method)
  return ("%s %s HTTP/1.1\r\nHost: x\r\n%s\r\n"):format(method or "GET", path, extra or "")
end

describe("a server asked by plain HTTP", function()
  it("answers 426 with the version it speaks, and keeps the connection", run(function()
    local raw = peer.connect(serve({}).port)
    for _ = 1, 3 do
      raw:send(get("/"))
      local head, body = raw:answer()
      assert.matches("^HTTP/1.1 426 Upgrade Required\r\n", head)
      assert.matches("\r\nSec%-WebSocket%-Version: 13\r\n", head)
      assert.matches("\r\nUpgrade: websocket\r\n", head)
      assert.matches("\r\nDate: %a%a%a, %d%d %a%a%a %d%d%d%d %d%d:%d%d:%d%d GMT\r\n", head)
      assert.matches("WebSocket", body)
    end
  end))

  it("answers pipelined requests in order", run(function()
    local server = serve { on_request = function(request)
      if request.path == "/slow" then duplex.sleep(0.03) end
      return 200, request.path
    end }
    local raw = peer.connect(server.port)
    raw:send(get("/slow") .. get("/2") .. get("/3") .. get("/4"))
    for _, path in ipairs { "/slow", "/2", "/3", "/4" } do
      assert.equal(path, select(2, raw:answer()))
    end
  end))

  it("answers HEAD without a body, with the length of GET's", run(function()
    local raw = peer.connect(serve({ on_request = function() return 200, "12345" end }).port)
    raw:send(get("/", nil, "HEAD") .. get("/"))
    local head = raw:answer(true)
    assert.matches("\r\nContent%-Length: 5\r\n", head)
    local second, body = raw:answer()
    assert.matches("^HTTP/1.1 200 OK", second)
    assert.equal("12345", body)
  end))

  local closes = {
    { "a body", get("/", "Content-Length: 3\r\n", "POST") .. "abc", "426" },
    { "Transfer-Encoding", get("/", "Transfer-Encoding: chunked\r\n", "POST"), "426" },
    { "Connection: close", get("/", "Connection: close\r\n"), "426" },
    { "HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", "426" },
    { "a bad request line", "GET  /  HTTP/1.1\r\nHost: x\r\n\r\n", "400" },
    { "no HTTP at all", "\22\3\1\2\0\1\0\1\252\3\3", "400" },
    { "another version", "GET / HTTP/2.0\r\nHost: x\r\n\r\n", "505" },
    { "both lengths", get("/", "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"), "4%d%d" },
    { "a bad key", (peer.request:gsub("dGhlIHNhbXBsZSBub25jZQ==", "short")), "400" },
    { "a version of WebSocket other than 13",
      (peer.request:gsub("Version: 13", "Version: 8")), "426" },
    { "an upgrade with POST", (peer.request:gsub("GET", "POST")), "4%d%d" },
    { "a head over max_header_bytes", get("/", "A: " .. ("x"):rep(2000) .. "\r\n"), "431" },
    { "more than max_headers", get("/", ("A: x\r\n"):rep(30)), "431" },
  }
  for _, row in ipairs(closes) do
    it("answers and closes after " .. row[1], run(function()
      local raw = peer.connect(serve({ max_header_bytes = 1024, max_headers = 20 }).port)
      raw:send(row[2] .. get("/never"))
      local head = raw:answer()
      assert.matches("^HTTP/1.1 " .. row[3] .. " ", head)
      assert.matches("\r\nConnection: close\r\n", head)
      if row[3] == "426" then assert.matches("\r\nSec%-WebSocket%-Version: 13\r\n", head) end
      assert.same({ "", "end" }, { raw:rest(1) })
    end))
  end

  it("answers 408 when no whole request comes within open_timeout", run(function()
    local server = serve { open_timeout = 0.05 }
    local raw = peer.connect(server.port)
    raw:send("GET / HTTP/1.1\r\nHo")
    assert.matches("^HTTP/1.1 408 ", (raw:rest(2)))
    local idle = peer.connect(server.port)
    idle:send(get("/"))
    idle:answer()
    assert.same({ "", "end" }, { idle:rest(2) })
  end))

  it("takes a request byte by byte", run(function()
    local raw = peer.connect(serve({}).port)
    for byte in peer.request:gmatch(".") do raw:send(byte) end
    assert.matches("^HTTP/1.1 101 ", (raw:read_to("\r\n\r\n")))
    raw:close()
  end))
end)

describe("on_request", function()
  it("sees the request, and passes data on to ws.data", run(function()
    local seen
    local server = assert(duplex.serve({ log = false, on_request = function(request)
      seen = request
      request.data = { user = request.query.user }
    end }, function(ws)
      ws:send(ws.data.user .. " " .. ws.request.path .. " " .. tostring(ws.request == seen))
    end))
    local ws = assert(duplex.connect(server.url .. "/a%20b/c?user=me&user=you&x", {
      headers = { ["X-One"] = { "1", "2" }, Cookie = "a=b" },
    }))
    assert.equal("me /a b/c true", (ws:receive(1)))
    assert.equal("/a%20b/c?user=me&user=you&x", seen.target)
    assert.same({ user = "me", x = "" }, seen.query)
    assert.equal("1, 2", seen.headers["x-one"])
    assert.equal("1, 2", seen.headers["X-ONE"])
    assert.is_nil(seen.headers["X-Two"])
    assert.same({ "GET", "127.0.0.1", false, true },
      { seen.method, seen.address, seen.secure, seen.upgrade })
  end))

  it("answers with status, body and headers", run(function()
    local server = serve { on_request = function(request)
      if request.path == "/redirect" then return 302, nil, { Location = "/there" } end
      if request.path == "/empty" then return 204 end
      if request.path == "/cookies" then
        return 200, "{}", { ["Set-Cookie"] = { "a=1", "b=2" }, ["Content-Type"] = "application/json" }
      end
      if not request.upgrade then return 404, "no such page\n" end
    end }
    local raw = peer.connect(server.port)
    raw:send(get("/redirect") .. get("/empty") .. get("/cookies") .. get("/nowhere"))
    local head, body = raw:answer()
    assert.matches("^HTTP/1.1 302 Found\r\n.*\r\nLocation: /there\r\n", head)
    assert.equal("", body)
    head = raw:answer()
    assert.matches("^HTTP/1.1 204 No Content\r\n", head)
    assert.is_nil(head:find("Content-Length", 1, true))
    head, body = raw:answer()
    assert.matches("\r\nSet%-Cookie: a=1\r\nSet%-Cookie: b=2\r\n", head)
    assert.matches("\r\nContent%-Type: application/json\r\n", head)
    assert.equal("{}", body)
    head, body = raw:answer()
    assert.matches("^HTTP/1.1 404 Not Found\r\n.*\r\nContent%-Type: text/plain", head)
    assert.equal("no such page\n", body)
    assert(duplex.connect(server.url)):close()
  end))

  it("refuses an upgrade, and closes", run(function()
    local server = serve { on_request = function() return 401, "who?", { ["WWW-Authenticate"] = "Basic" } end }
    local raw = peer.connect(server.port)
    raw:send(peer.request .. "\129\128abcd")
    local head, body = raw:answer()
    assert.matches("^HTTP/1.1 401 Unauthorized\r\n", head)
    assert.matches("\r\nConnection: close\r\n", head)
    assert.equal("who?", body)
    assert.same({ "", "end" }, { raw:rest(1) })
  end))

  it("may wait, while others are served", run(function()
    local came, go = duplex.event(), duplex.event()
    local server = serve { on_request = function(request)
      if request.path ~= "/slow" then return end
      came:set()
      go:wait(5)
    end }
    local slow, answered = both.task(duplex.connect, server.url .. "/slow")
    assert.is_true(came:wait(5))
    assert(duplex.connect(server.url)):close()
    assert.is_false(answered())
    go:set()
    assert.is_table(getmetatable(slow()))
  end))

  local fails = {
    { "raises", function() error("broken hook") end, "on_request failed: .*broken hook" },
    { "returns no status", function() return "200" end, "must return nothing, or status" },
    { "returns a status out of range", function() return 101 end, "must return nothing, or status" },
    { "returns a body that is none", function() return 200, 5 end, "must return nothing, or status" },
    { "returns a bad header", function() return 200, "", { ["A\n"] = "x" } end, "cannot be sent" },
    { "returns a bad header value", function() return 200, "", { A = "x\r\nB: y" } end, "cannot be sent" },
    { "returns a source without a length", function() return 200, function() end end, "Content%-Length" },
  }
  for _, row in ipairs(fails) do
    it("that " .. row[1] .. " is answered with 500 and logged", run(function()
      local log, lines = log_lines()
      local server = serve { on_request = row[2], log = log }
      local raw = peer.connect(server.port)
      raw:send(get("/"))
      assert.matches("^HTTP/1.1 500 Internal Server Error\r\n", (raw:answer()))
      assert.equal(1, #lines)
      assert.equal("error", lines[1].level)
      assert.matches(row[3], lines[1].message)
      local _, _, id, response = duplex.connect(server.url)
      assert.equal("HTTP", id)
      assert.equal(500, response.status)
    end))
  end

  local function source(pieces)
    local i = 0
    return function()
      i = i + 1
      return pieces[i]
    end
  end

  it("sends a body from a source, with back-pressure", run(function()
    local pieces = 0
    local server = serve { on_request = function()
      return 200, function()
        pieces = pieces + 1
        if pieces <= 400 then return ("x"):rep(65536) end
      end, { ["Content-Length"] = 400 * 65536 }
    end }
    local raw = peer.connect(server.port)
    raw:send(get("/"))
    assert(raw:read_to("\r\n\r\n"))
    duplex.sleep(0.05)
    assert.is_true(pieces < 400, "all was taken without waiting")
    for _ = 1, 400 do assert.equal(65536, #raw:read(65536)) end
    raw:send(get("/", nil, "HEAD"))
    assert.matches("^HTTP/1.1 200", (raw:answer(true)))
  end))

  for name, pieces in pairs { short = { "abc" }, long = { "abcde", "fgh" } } do
    it("cuts when a source is too " .. name .. " for its Content-Length", run(function()
      local server = serve { on_request = function()
        return 200, source(pieces), { ["Content-Length"] = 5 }
      end }
      local raw = peer.connect(server.port)
      raw:send(get("/"))
      raw:read_to("\r\n\r\n")
      assert.same({ name == "short" and "abc" or "abcde", "end" }, { raw:rest(1) })
    end))
  end

  it("cuts when a source raises, and logs it", run(function()
    local log, lines = log_lines()
    local server = serve { on_request = function()
      return 200, function() error("disk gone") end, { ["Content-Length"] = 5 }
    end, log = log }
    local raw = peer.connect(server.port)
    raw:send(get("/"))
    raw:read_to("\r\n\r\n")
    assert.same({ "", "end" }, { raw:rest(1) })
    assert.matches("disk gone", lines[1].message)
  end))
end)

describe("duplex.files", function()
  it("serves pages beside the WebSocket", run(function()
    local root = os.tmpname()
    os.remove(root)
    assert(os.execute("mkdir " .. root))
    local function write(name, text)
      local file = assert(io.open(root .. "/" .. name, "wb"))
      file:write(text)
      file:close()
    end
    write("index.html", "<p>hi")
    write("large.bin", ("x"):rep(3000000))
    local server = serve { on_request = duplex.files(root) }
    local raw = peer.connect(server.port)
    raw:send(get("/"))
    local head, body = raw:answer()
    assert.matches("\r\nContent%-Type: text/html; charset=utf%-8\r\n", head)
    assert.equal("<p>hi", body)
    local tag = head:match("\r\nETag: ([^\r]+)")
    raw:send(get("/", "If-None-Match: " .. tag .. "\r\n"))
    assert.matches("^HTTP/1.1 304 Not Modified\r\n", (raw:read_to("\r\n\r\n")))
    raw:send(get("/../etc/passwd") .. get("/none") .. get("/", nil, "DELETE") .. get("/large.bin"))
    assert.matches("^HTTP/1.1 40[04] ", (raw:answer()))
    assert.matches("^HTTP/1.1 404 ", (raw:answer()))
    assert.matches("^HTTP/1.1 405 .*\r\nAllow: GET, HEAD\r\n", (raw:answer()))
    assert.equal(3000000, #select(2, raw:answer()))
    local ws = assert(duplex.connect(server.url))
    ws:send("x")
    assert.equal("x", (ws:receive(1)))
    os.execute("rm -r " .. root)
  end))
end)
