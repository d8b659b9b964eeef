-- SPDX-License-Identifier: MIT
-- What a log function is told, and what it is not.
local duplex = require "duplex"
local both = require "spec.support.both"
local bytes = require "spec.support.bytes"
local each = require "spec.support.each"
local log_lines = require "spec.support.lines"
local peer = require "spec.support.peer"
local run = require "spec.support.run"
local secure = require "spec.support.secure_serve"

local on_both = both.bound(it)

local function serve(bound, options, handler)
  local lines
  options.log, lines = log_lines(true)
  return assert(bound.serve(options, handler or each)), lines
end

-- The fields of the n-th line (the first) with this message; waits for it.
local function find(lines, message, n)
  for _ = 1, 500 do
    local left = n or 1
    for _, line in ipairs(lines) do
      if line.message == message then left = left - 1 end
      if left == 0 then return line.fields, line.level end
    end
    duplex.sleep(0.005)
  end
  error("no line says: " .. message)
end

-- Keeps what is written to stderr, until the function that it returns is called:
-- that gives it.
local function on_stderr()
  local stderr, written = io.stderr, {}
  io.stderr = { write = function(_, ...) for _, text in ipairs { ... } do written[#written + 1] = text end end }
  return function()
    io.stderr = stderr
    return table.concat(written)
  end
end

-- Nothing in any line contains this.
local function never(lines, secret)
  for _, line in ipairs(lines) do
    for name, value in pairs(line.fields or {}) do
      assert.is_nil(tostring(value):find(secret, 1, true), name .. " of " .. line.message)
    end
    assert.is_nil(line.message:find(secret, 1, true))
  end
end

describe("the log of a server", function()
  on_both("tells of a connection from its opening to its end", function(bound)
    local server, lines = serve(bound, { subprotocols = { "chat" } })
    assert.same({ url = server.url }, (find(lines, "listening")))
    local ws = assert(bound.connect(server.url .. "/room?token=s3cret", { subprotocols = { "chat" } }))
    local served = next(server.connections)
    ws:send("hello")
    ws:receive()
    ws:close(4001, "by\27e \"all\"")
    local opened, level = find(lines, "connection opened")
    assert.equal("debug", level)
    assert.same({ connection = served.id, address = served.address, path = "/room", subprotocol = "chat" }, opened)
    local closed
    closed, level = find(lines, "connection closed")
    assert.equal("debug", level)
    assert.equal(served.id, closed.connection)
    assert.equal(4001, closed.code)
    assert.equal(4001, closed.sent)
    assert.equal('by\\x1be \\"all\\"', closed.reason)
    assert.is_nil(closed.error)
    assert.is_true(closed.duration >= 0 and closed.duration < 5)
    assert.same({ 1, 1 }, { closed.messages_in, closed.messages_out })
    assert.is_true(closed.bytes_in > 100 and closed.bytes_out > 100)
    never(lines, "s3cret")
  end)

  it("tells at level info of a peer that breaks a rule, without details too", run(function()
    local server, lines = serve(duplex, {})
    local raw = peer.connect(server.port):upgrade()
    raw:send(bytes.frame(0xc1, "x", "\1\2\3\4"))
    raw:rest()
    local closed, level = find(lines, "connection closed")
    assert.equal("info", level)
    assert.equal("PROTOCOL: reserved bits set without an extension", closed.error)
    assert.same({ 1006, 1002 }, { closed.code, closed.sent })
  end))

  it("tells at level debug of a peer that vanishes", run(function()
    local server, lines = serve(duplex, {})
    local raw = peer.connect(server.port):upgrade()
    raw:close()
    local closed, level = find(lines, "connection closed")
    assert.equal("debug", level)
    assert.matches("^LOST: ", closed.error)
    assert.is_nil(closed.sent)
  end))

  on_both("tells why a handshake was refused", function(bound)
    local server, lines = serve(bound, { origins = {}, on_request = function(request)
      if request.path ~= "/" then return 401, "who are you?" end
    end })
    assert.is_nil(bound.connect(server.url .. "/in?password=s3cret"))
    local fields, level = find(lines, "handshake refused")
    assert.equal("debug", level)
    assert.same({ "on_request", 401, "/in" }, { fields.outcome, fields.status, fields.path })
    assert.is_number(fields.connection)
    assert.is_nil(bound.connect(server.url, { headers = { Origin = "http://elsewhere" } }))
    fields = find(lines, "handshake refused", 2)
    assert.same({ "origin", 403, "/" }, { fields.outcome, fields.status, fields.path })
    never(lines, "s3cret")
  end)

  it("tells of requests that are none, without what came", run(function()
    local server, lines = serve(duplex, { open_timeout = 0.1 })
    peer.connect(server.port):send("GET /?t=s3cret HTTP/1.1\r\nAuthorization: Basic s3cret\r\n\r\n"):rest()
    local fields = find(lines, "handshake refused")
    assert.same({ "bad_request", 400, "Host is missing or repeated", "/" },
      { fields.outcome, fields.status, fields.why, fields.path })
    peer.connect(server.port):send("GET /?t=s3cret"):rest()
    fields = find(lines, "handshake refused", 2)
    assert.same({ "timeout", 408 }, { fields.outcome, fields.status })
    peer.connect(server.port):send("\0\1\2s3cret\r\n\r\n"):rest()
    fields = find(lines, "handshake refused", 3)
    assert.same({ "bad_request", 400 }, { fields.outcome, fields.status })
    never(lines, "s3cret")
  end))

  it("tells of a stop and how long it took", run(function()
    local server, lines = serve(duplex, {})
    local ws = assert(duplex.connect(server.url))
    local reading = both.task(function() each(ws) end)
    server:stop(2)
    assert.same({ url = server.url, connections = 1 }, (find(lines, "stopping")))
    local fields, level = find(lines, "stopped")
    assert.equal(server.url, fields.url)
    assert.is_true(fields.duration < 2)
    assert.equal("debug", level)
    reading()
  end))

  it("on stderr has no line that a peer began, and nothing that moves a cursor", run(function()
    local restore = on_stderr()
    local server = assert(duplex.serve({}, function(ws) error("no " .. ws:receive(), 0) end))
    local ws = assert(duplex.connect(server.url))
    ws:send("bread\n\nduplex: error: forged\n\tand\r\27[31m \194\155 \226\128\174")
    ws:wait_closed()
    ws = assert(duplex.connect(server.url))
    ws:send("\27[31m \194\155[31m \226\128\174 \226\129\166 \195\188")
    ws:wait_closed()
    server:stop(1)
    local text = restore()
    assert.matches("^duplex: error: handler failed: no bread address=", text)
    for line in text:gmatch("[^\n]+") do
      assert.is_truthy(line:find("^\t") or line:find("^duplex: error: handler failed: no "), line)
    end
    assert.is_truthy(text:find("no \\x1b[31m \\xc2\\x9b[31m \\xe2\\x80\\xae \\xe2\\x81\\xa6 \195\188 address=", 1, true), text)
  end))

  it("on stderr has no line of TLS handshakes that fail", run(function()
    local restore = on_stderr()
    local server = assert(duplex.serve({ tls = secure.tls() }, each))
    for _, garbage in ipairs { "GET / HTTP/1.1\r\n\r\n", "\22\3\1\0\5hello", "SSH-2.0-scan\r\n" } do
      peer.connect(server.port):send(garbage):rest()
    end
    server:stop(1)
    assert.equal("", restore())
    assert.equal(3, server:metrics().handshakes.tls)
  end))

  it("tells at level info why a TLS handshake failed", run(function()
    local log, lines = log_lines()
    local server = secure.serve(nil, nil, { log = log })
    peer.connect(server.port):send("\22\3\1\0\5hello"):rest()
    server:stop(1)
    assert.equal(1, #lines)
    assert.equal("info", lines[1].level)
    assert.matches("^TLS: ", lines[1].message)
    assert.equal("127.0.0.1", lines[1].fields.address)
  end))

  it("on stderr has at most one warning a second, and how many were left out", run(function()
    local clock, second = os.time, 1
    os.time = function(...) return ... and clock(...) or second end -- luacheck: ignore 122
    local restore = on_stderr()
    local server = assert(duplex.serve({ origins = { "http://here" } }, each))
    for n = 1, 21 do
      if n == 21 then second = 2 end
      assert.is_nil(duplex.connect(server.url, { headers = { Origin = "http://elsewhere/" .. n } }))
    end
    os.time = clock -- luacheck: ignore 122
    local lines = {}
    for line in restore():gmatch("[^\n]+") do lines[#lines + 1] = line end
    assert.matches("origin=http://elsewhere/1$", lines[1])
    assert.equal("duplex: warning: 19 more were left out", lines[2])
    assert.matches("origin=http://elsewhere/21$", lines[3])
    assert.equal(3, #lines)
  end))

  it("cuts what a page says of where it comes from", run(function()
    local server, lines = serve(duplex, { origins = { "http://here" } })
    local from = "http://elsewhere/\194\155?" .. ("x"):rep(5000)
    assert.is_nil(duplex.connect(server.url, { headers = { Origin = from } }))
    local fields = find(lines, "refused a page of another site")
    assert.equal(75, #fields.origin)
    assert.matches("^http://elsewhere/\\xc2\\x9b", fields.origin)
  end))

  it("on stderr has no details", run(function()
    local restore = on_stderr()
    local server = assert(duplex.serve({}, each))
    assert(duplex.connect(server.url)):close()
    assert.is_nil(duplex.connect(server.url .. "/no", { headers = { Host2 = "x" }, subprotocols = { "x" }, redirects = 0,
      max_header_bytes = 256, open_timeout = 5, unix = "/no/such" }))
    peer.connect(server.port):upgrade():close()
    server:stop(1)
    assert.equal("", restore())
  end))
end)

describe("the log of a client", function()
  on_both("tells of a connection from its opening to its end", function(bound)
    local server = assert(bound.serve({ log = false }, each))
    local write, lines = log_lines(true)
    local url = server.url:gsub("//", "//joe:s3cret@") .. "/room?token=s3cret"
    local ws = assert(bound.connect(url, { log = write, headers = { Cookie = "s3cret" } }))
    local opened = find(lines, "connection opened")
    assert.equal(ws.id, opened.connection)
    assert.same({ "/room", server.url .. "/room" }, { opened.path, opened.url })
    ws:close(1000, "done")
    local closed, level = find(lines, "connection closed")
    assert.equal("debug", level)
    assert.same({ ws.id, 1000, 1000 }, { closed.connection, closed.code, closed.sent })
    never(lines, "s3cret")
  end)

  it("tells why it has none", run(function()
    local server = assert(duplex.serve({ log = false, on_request = function() return 404, "no" end }, each))
    local write, lines = log_lines(true)
    assert.is_nil(duplex.connect(server.url .. "/x?a=s3cret", { log = write }))
    local fields, level = find(lines, "connection failed")
    assert.equal("debug", level)
    assert.same({ server.url .. "/x", 404, "HTTP: the server answered 404 Not Found" },
      { fields.url, fields.status, fields.error })
    never(lines, "s3cret")
  end))

  it("cuts what a server says when it refuses", run(function()
    local reason = "\194\155 " .. ("x"):rep(5000)
    local port = peer.listen(function(p)
      p:read_to("\r\n\r\n")
      p:send("HTTP/1.1 403 " .. reason .. "\r\nContent-Length: 0\r\n\r\n")
    end)
    local write, lines = log_lines(true)
    local _, message = duplex.connect("ws://127.0.0.1:" .. port, { log = write })
    assert.equal(find(lines, "connection failed").error, message)
    assert.matches("^HTTP: the server answered 403 \\xc2\\x9b xxx", message)
    assert.is_true(#message < 110, #message)
  end))

  it("does not tell what a redirect asks with", run(function()
    local server = assert(duplex.serve({ log = false, on_request = function()
      return 302, "", { Location = "ws://s3cret:s3cret@:x/?token=s3cret" }
    end }, each))
    local write, lines = log_lines(true)
    assert.is_nil(duplex.connect(server.url, { log = write }))
    assert.matches("redirect not followed", find(lines, "connection failed").error)
    never(lines, "s3cret")
  end))

  it("tells at level info of a server that breaks a rule", run(function()
    local port = peer.listen(function(p)
      p:accept():send(bytes.frame(0xc1, "x"))
      p:rest()
    end)
    local write, lines = log_lines(true)
    local ws = assert(duplex.connect("ws://127.0.0.1:" .. port, { log = write }))
    ws:receive()
    local closed, level = find(lines, "connection closed")
    assert.equal("info", level)
    assert.matches("^PROTOCOL: ", closed.error)
  end))
end)
