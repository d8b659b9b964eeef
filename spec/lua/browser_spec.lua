-- SPDX-License-Identifier: MIT
-- duplex.browser.WebSocket: what the WebSockets standard says of the object.
-- spec/counterparts/browser_spec.lua compares it with a real one.
local duplex = require "duplex"
local both = require "spec.support.both"
local bytes = require "spec.support.bytes"
local each = require "spec.support.each"
local log_lines = require "spec.support.lines"
local memory = require "spec.support.memory"
local peer = require "spec.support.peer"
local run = require "spec.support.run"

local WebSocket = duplex.browser.WebSocket

local on_both = both.bound(it)

local function serve(bound, options, handler)
  options = options or {}
  options.log = false
  return assert(bound.serve(options, handler or each))
end

-- The next event of a type; the listeners of others are not disturbed.
local function await(socket, type)
  local came, seen = duplex.event(), nil
  socket:addEventListener(type, function(event)
    seen = event
    came:set()
  end, { once = true })
  assert(came:wait(5), "there is no event '" .. type .. "'")
  return seen
end

local function opened(bound, ...)
  local socket = bound.browser.WebSocket(...)
  await(socket, "open")
  return socket
end

-- Checks that fn raises an exception of this name, blaming this file.
local function raises(name, pattern, fn)
  local fine, problem = pcall(fn)
  assert.is_false(fine)
  assert.equal(name, problem.name)
  assert.matches(pattern, problem.message)
  assert.matches("^spec/lua/browser_spec.lua:%d+: $", problem.where)
  assert.equal(problem.where .. name .. ": " .. problem.message, tostring(problem))
end

describe("new WebSocket", function()
  on_both("connects in the background, and says so with an event", function(bound)
    local server = serve(bound, { subprotocols = { "chat" } })
    local socket = bound.browser.WebSocket(server.url .. "/a b?c", { "other", "chat" })
    assert.equal(server.url .. "/a%20b?c", socket.url)
    assert.same({ 0, "", "", 0, "blob" }, { socket.readyState, socket.protocol, socket.extensions,
      socket.bufferedAmount, socket.binaryType })
    assert.equal("WebSocket " .. server.url .. " (CONNECTING)", tostring(socket))
    local event = await(socket, "open")
    assert.same({ 1, "chat" }, { socket.readyState, socket.protocol })
    assert.equal(socket, event.target)
    assert.equal(socket, event.currentTarget)
    assert.equal("/a b", next(server.connections).request.path)
    socket:close()
    await(socket, "close")
  end)

  on_both("fails when the server chooses none of its subprotocols", function(bound)
    local came
    local server = serve(bound, {}, function(ws) came = ws:wait_closed() end)
    local socket, seen = bound.browser.WebSocket(server.url, "chat"), {}
    for _, type in ipairs { "open", "error" } do
      socket:addEventListener(type, function(event) seen[#seen + 1] = event.message or type end)
    end
    local event = await(socket, "close")
    assert.same({ 1006, "", false, "" }, { event.code, event.reason, event.wasClean, socket.protocol })
    assert.same({ "HANDSHAKE: the server has chosen no subprotocol" }, seen)
    both.settle()
    assert.equal(1002, came)
  end)

  it("has the states on the object and on what makes it", run(function()
    local socket = WebSocket("ws://127.0.0.1:1")
    for name, value in pairs { CONNECTING = 0, OPEN = 1, CLOSING = 2, CLOSED = 3 } do
      assert.equal(value, WebSocket[name])
      assert.equal(value, socket[name])
    end
    await(socket, "close")
  end))

  for _, row in ipairs {
    { "http://Example.com:80", "ws://example.com/" }, { "https://example.com/x", "wss://example.com/x" },
    { " ws://h/a/../b/./c\n", "ws://h/b/c" }, { "WS://h:81/?\195\169", "ws://h:81/?%C3%A9" },
    { "ws://joe:secret@h", "ws://joe:secret@h/" }, { "wss://[::1]:443/", "wss://[::1]/" },
    { "ws://@h", "ws://h/" }, { "ws://:@h", "ws://h/" }, { "ws://joe:@h", "ws://joe@h/" },
    { "ws://j@e:secret:=@h", "ws://j%40e:secret%3A%3D@h/" }, { "ws://:secret@h?x", "ws://:secret@h/?x" },
    { "ws://[0:0::1]:80", "ws://[::1]/" }, { "ws://[::FFFF:1.2.3.4]:9", "ws://[::ffff:102:304]:9/" },
    { "ws://[1:2:03:0:0:6:0:0]", "ws://[1:2:3::6:0:0]/" }, { "ws://[1:0:3:4:5:0:0:0]", "ws://[1:0:3:4:5::]/" },
    { "ws://[1:0:3:4:5:6:7:8]", "ws://[1:0:3:4:5:6:7:8]/" }, { "ws://[::]", "ws://[::]/" },
  } do
    it("takes " .. row[1]:gsub("%c", ""), run(function()
      local socket = WebSocket(row[1])
      assert.equal(row[2], socket.url)
      assert.is_nil(tostring(socket):find("secret"))
      socket:close()
    end))
  end

  it("raises a SyntaxError for what is no URL of a WebSocket", function()
    for url, pattern in pairs {
      ["nonsense"] = 'no "ws://"', ["/relative"] = 'no "ws://"', ["ftp://h/"] = "a scheme that is not ws or wss",
      ["ws://h/#x"] = "a fragment", ["ws://h/#"] = "a fragment", ["ws://a b/"] = "an illegal character",
      ["ws://"] = "no host", ["ws://h:99999/"] = "a port",
    } do
      raises("SyntaxError", "^" .. pattern, function() WebSocket(url) end)
    end
    raises("TypeError", "^the URL must be a string, got nil", function() WebSocket() end)
  end)

  it("raises a SyntaxError for subprotocols that are no tokens or are there twice", function()
    for _, bad in ipairs { "", "a b", "a,b", "\195\169", "a\n", { "a", "" }, { "a", "a" } } do
      raises("SyntaxError", "^the subprotocol", function() WebSocket("ws://h/", bad) end)
    end
    raises("TypeError", "must be a string or a list, got number", function() WebSocket("ws://h/", 5) end)
    raises("TypeError", "must be a string, got number", function() WebSocket("ws://h/", { 5 }) end)
    raises("TypeError", "^protocols must be a list, this has 'headers' %(options are the third argument%)$",
      function() WebSocket("ws://h/", { headers = {} }) end)
    raises("TypeError", "^protocols must be a list, this has '3'", function() WebSocket("ws://h/", { "a", nil, "b" }) end)
  end)

  it("takes options of duplex.connect, and raises for others", run(function()
    local server = serve(duplex, {}, function(ws)
      ws:send(ws.request.headers.cookie)
      each(ws)
    end)
    local socket = WebSocket(server.url, nil, { headers = { Cookie = "a=1" } })
    assert.equal("a=1", await(socket, "message").data)
    socket:close()
    both.raises("browser_spec.lua:%d+: unknown option 'header' %(did you mean 'headers'",
      function() local _ = WebSocket(server.url, nil, { header = {} }) end)
    both.raises("browser_spec.lua:%d+: header 'Host' belongs to the handshake",
      function() local _ = WebSocket(server.url, nil, { headers = { Host = "x" } }) end)
    both.raises("browser_spec.lua:%d+: option 'heartbeat' excludes",
      function() local _ = WebSocket(server.url, nil, { heartbeat = {}, ping_interval = 5 }) end)
    both.raises("browser_spec.lua:%d+: unknown option 'heartbeat.intervall'",
      function() local _ = WebSocket(server.url, nil, { heartbeat = { intervall = 5 } }) end)
    both.raises("subprotocols are the second argument",
      function() local _ = WebSocket(server.url, nil, { subprotocols = { "a" } }) end)
  end))

  it("has an error, and ends, where the host cannot do what an option asks for", run(function()
    local bound, why = duplex.bind(memory.host()), nil
    bound.connect = function() error("host 'x' cannot honour the option 'y'") end
    local socket = bound.browser.WebSocket("ws://127.0.0.1:1/")
    socket.onerror = function(event) why = event.message end
    assert.equal(1006, await(socket, "close").code)
    assert.equal("host 'x' cannot honour the option 'y'", why)
  end))

  it("follows no redirect", run(function()
    local server = serve(duplex, { on_request = function(request)
      if request.path == "/" then return 302, "", { Location = "/there" } end
    end })
    local socket = WebSocket(server.url)
    local why
    socket.onerror = function(event) why = event.message end
    await(socket, "close")
    assert.matches("302", why)
  end))

  it("of two hosts at once are of their own", run(function()
    local other = duplex.bind(memory.host())
    local here, there = serve(duplex), serve(other)
    local a, b = opened(duplex, here.url), opened(other, there.url)
    for _, socket in ipairs { a, b } do
      socket:send("x")
      assert.equal("x", await(socket, "message").data)
      socket:close()
    end
    await(b, "close")
  end))
end)

describe("socket:send", function()
  on_both("sends text and bytes, and listeners can tell which is which", function(bound)
    local server = serve(bound)
    local socket = opened(bound, server.url)
    for _, row in ipairs { { "h\195\169" }, { "" }, { "\0\255", "binary" }, { "x", "text" } } do
      socket:send(row[1], row[2])
      local event = await(socket, "message")
      assert.same({ row[1], row[2] or "text", server.url }, { event.data, event.kind, event.origin })
    end
    socket:close()
    await(socket, "close")
  end)

  it("raises while it connects, and for what cannot be sent", run(function()
    local server = serve(duplex)
    local socket = WebSocket(server.url)
    raises("InvalidStateError", "still connecting", function() socket:send("x") end)
    await(socket, "open")
    raises("TypeError", "not valid UTF%-8", function() socket:send("\255") end)
    raises("TypeError", "string", function() socket:send({}) end)
    raises("TypeError", 'kind must be "text" or "binary"', function() socket:send("x", "blob") end)
    raises("TypeError", "with a colon", function() socket.send("x") end)
    socket:close()
    await(socket, "close")
  end))

  on_both("never waits, and counts what has not left", function(bound)
    local go = duplex.event()
    local got = {}
    local server = serve(bound, {}, function(ws)
      go:wait()
      each(ws, function(data) got[#got + 1] = data end)
    end)
    local socket = opened(bound, server.url)
    socket:send("12345")
    assert.equal(5, socket.bufferedAmount)
    both.settle()
    assert.equal(0, socket.bufferedAmount)
    local large = ("x"):rep(1000000)
    for i = 1, 12 do socket:send(i .. large) end
    local amount = socket.bufferedAmount
    -- The kernel has taken some.
    assert.is_true(amount > 1000000 and amount <= 12000015, amount)
    socket:send("last")
    assert.equal(amount + 4, socket.bufferedAmount)
    socket:close(4000, "done")
    go:set()
    local event = await(socket, "close")
    assert.same({ 4000, true, 0 }, { event.code, event.wasClean, socket.bufferedAmount })
    assert.same({ "12345", "last" }, { got[1], got[14] })
    for i = 1, 12 do assert.is_true(got[i + 1] == i .. large) end
  end)

  on_both("keeps the count of what has not left when the connection ends", function(bound)
    local go = duplex.event()
    local server = serve(bound, {}, function(ws)
      go:wait()
      ws:close(1000, "", 0)
    end)
    local socket = opened(bound, server.url)
    for _ = 1, 12 do socket:send(("x"):rep(1000000)) end
    go:set()
    await(socket, "close")
    local amount = socket.bufferedAmount
    assert.is_true(amount > 1000000 and amount <= 12000000, amount)
    both.settle()
    assert.equal(amount, socket.bufferedAmount)
    socket:send("12345")
    assert.equal(amount + 5, socket.bufferedAmount)
  end)

  it("after close counts what is never sent, also when that is over", run(function()
    local server = serve(duplex)
    local socket = opened(duplex, server.url)
    socket:close()
    socket:send("12345")
    assert.equal(5, socket.bufferedAmount)
    await(socket, "close")
    socket:send("678", "binary")
    assert.equal(8, socket.bufferedAmount)
  end))
end)

describe("socket:close", function()
  on_both("closes with a code and a reason", function(bound)
    local code, reason
    local over = duplex.event()
    local server = serve(bound, {}, function(ws)
      code, reason = ws:wait_closed()
      over:set()
    end)
    local socket = opened(bound, server.url)
    socket:close(3000, "h\195\169")
    assert.equal(2, socket.readyState)
    socket:close(1000) -- nothing
    local event = await(socket, "close")
    assert.same({ 3000, "", true, 3 }, { event.code, event.reason, event.wasClean, socket.readyState })
    assert(over:wait(2))
    assert.same({ 3000, "h\195\169" }, { code, reason })
    socket:close() -- nothing either
  end)

  it("without a code sends none", run(function()
    local code
    local server = serve(duplex, {}, function(ws) code = ws:wait_closed() end)
    local socket = opened(duplex, server.url)
    socket:close(nil, "of no use")
    local event = await(socket, "close")
    assert.same({ 1005, "", true }, { event.code, event.reason, event.wasClean })
    assert.equal(1005, code)
  end))

  it("raises for codes and reasons that pages cannot send", run(function()
    local socket = WebSocket("ws://127.0.0.1:1")
    for _, code in ipairs { 0, 999, 1001, 1005, 1006, 2999, 5000, 3000.5, -1, 0 / 0 } do
      raises("InvalidAccessError", "must be 1000 or 3000..4999, got", function() socket:close(code) end)
    end
    raises("SyntaxError", "at most 123 bytes, got 124", function() socket:close(1000, ("x"):rep(124)) end)
    raises("TypeError", "must be a number, got string", function() socket:close("bye") end)
    raises("TypeError", "must be a string, got table", function() socket:close(1000, {}) end)
    raises("TypeError", "not valid UTF%-8", function() socket:close(1000, "\255") end)
    assert.equal(0, socket.readyState)
    socket:close(4999, ("x"):rep(123))
    assert.equal(2, socket.readyState)
    await(socket, "close")
  end))

  on_both("while it connects makes it fail, at once", function(bound)
    local server = serve(bound, { on_request = function() duplex.sleep(0.2) end })
    local socket = bound.browser.WebSocket(server.url)
    both.settle()
    local seen = {}
    for _, type in ipairs { "open", "error", "close" } do
      socket:addEventListener(type, function() seen[#seen + 1] = type .. socket.readyState end)
    end
    socket:close()
    socket:send("counted")
    assert.same({ 2, 7 }, { socket.readyState, socket.bufferedAmount })
    assert.same({}, seen)
    local event = await(socket, "close")
    assert.same({ 1006, "", false }, { event.code, event.reason, event.wasClean })
    duplex.sleep(0.3)
    assert.same({ "error3", "close3" }, seen)
  end)

  it("drops messages that come then", run(function()
    local server = serve(duplex, {}, function(ws)
      while ws:send("again") do duplex.sleep(0.001) end
    end)
    local socket = opened(duplex, server.url)
    await(socket, "message")
    local late = 0
    socket:close()
    socket.onmessage = function() late = late + 1 end
    await(socket, "close")
    assert.equal(0, late)
  end))
end)

describe("the end of a socket", function()
  -- What a socket sees of a peer that does this after the handshake.
  local function seen_of(act)
    local port = peer.listen(act)
    local socket, seen = WebSocket("ws://127.0.0.1:" .. port), {}
    for _, type in ipairs { "open", "message", "error", "close" } do
      socket["on" .. type] = function(event)
        seen[#seen + 1] = ("%s %s"):format(type, event.data or event.message or event.code or "")
      end
    end
    local event = await(socket, "close")
    return seen, event
  end

  it("by the peer has its code and its reason, behind the messages", run(function()
    local seen, event = seen_of(function(p)
      p:accept():send(bytes.frame(0x81, "one") .. bytes.frame(0x88, bytes.close(4001, "enough")))
      p:read(8)
      p:close()
    end)
    assert.same({ "open ", "message one", "close 4001" }, seen)
    assert.same({ "enough", true }, { event.reason, event.wasClean })
  end))

  for _, row in ipairs {
    { "by a broken frame", function(p) p:accept():send(bytes.frame(0xc1, "x")) p:rest(1) end,
      { "open ", "error PROTOCOL: reserved bits set without an extension", "close 1006" } },
    { "by a loss", function(p) p:accept():close() end,
      { "open ", "error LOST: the peer hung up without a close frame", "close 1006" } },
    { "by a refusal", function(p) p:read_to("\r\n\r\n") p:send("HTTP/1.1 404 Not Found\r\n\r\n") p:close() end,
      { "error HTTP: the server answered 404 Not Found", "close 1006" } },
    { "by a bad handshake", function(p) p:read_to("\r\n\r\n") p:send("HTTP/1.1 101 Yes\r\n\r\n") p:rest(1) end,
      { "error HANDSHAKE: ", "close 1006" } },
  } do
    it(row[1] .. " is an error, then a close that is not clean", run(function()
      local seen, event = seen_of(row[2])
      for i, text in ipairs(row[3]) do assert.equal(text, (seen[i] or ""):sub(1, #text)) end
      assert.equal(#row[3], #seen)
      assert.is_false(event.wasClean)
    end))
  end

  it("comes when the loop stops", function()
    local event
    duplex.run(function()
      local server = serve(duplex)
      local socket = opened(duplex, server.url)
      socket.onclose = function(e) event = e end
      duplex.stop(1)
    end)
    assert.same({ 1001, true }, { event.code, event.wasClean })
  end)
end)

describe("listeners", function()
  -- A socket whose events are only those that the case makes.
  local function quiet(options) return WebSocket("ws://127.0.0.1:1", nil, options) end
  local function fire(socket, fields)
    fields = fields or {}
    fields.type = fields.type or "message"
    return socket:dispatchEvent(fields)
  end

  local function case(name, body)
    it(name, run(function()
      local seen = {}
      local socket = quiet()
      body(socket, seen, function(text) return function() seen[#seen + 1] = text end end)
      socket:close()
    end))
  end

  case("are called in the order in which they came", function(socket, seen, saw)
    socket:addEventListener("message", saw("a"))
    socket.onmessage = saw("b")
    socket:addEventListener("message", saw("c"))
    assert.is_true(fire(socket))
    assert.same({ "a", "b", "c" }, seen)
  end)

  case("are there once, however often they are added", function(socket, seen, saw)
    local a = saw("a")
    socket:addEventListener("message", a)
    socket:addEventListener("message", a, { once = true })
    socket.onmessage = a -- which is another one
    fire(socket)
    fire(socket)
    assert.same({ "a", "a", "a", "a" }, seen)
  end)

  case("with once are removed before they are called", function(socket, seen)
    socket:addEventListener("message", function()
      seen[#seen + 1] = "once"
      if #seen == 1 then fire(socket) end
    end, { once = true })
    fire(socket)
    assert.same({ "once" }, seen)
  end)

  case("that are removed meanwhile are not called, those added are called next time", function(socket, seen, saw)
    local b, c = saw("b"), saw("c")
    socket:addEventListener("message", function()
      socket:removeEventListener("message", b)
      socket:addEventListener("message", c)
    end)
    socket:addEventListener("message", b)
    fire(socket)
    assert.same({}, seen)
    fire(socket)
    assert.same({ "c" }, seen)
    socket:removeEventListener("message", c)
    socket:removeEventListener("message", c)
    socket:removeEventListener("nonsense", c)
    fire(socket)
    assert.same({ "c" }, seen)
  end)

  case("as handlers keep their place when replaced, and lose it when set to nil", function(socket, seen, saw)
    local handler = saw("handler")
    socket.onmessage = handler
    assert.equal(handler, socket.onmessage)
    socket:addEventListener("message", saw("a"))
    socket.onmessage = saw("new")
    fire(socket)
    socket.onmessage = nil
    assert.is_nil(socket.onmessage)
    fire(socket)
    socket.onmessage = saw("last")
    fire(socket)
    assert.same({ "new", "a", "a", "a", "last" }, seen)
  end)

  case("may be objects with handleEvent", function(socket, seen)
    local object = { handleEvent = function(self, event) seen[1], seen[2] = self, event.type end }
    socket:addEventListener("message", object)
    fire(socket)
    assert.same({ object, "message" }, seen)
  end)

  case("can keep an event from those behind them", function(socket, seen, saw)
    socket:addEventListener("message", function(event)
      event:preventDefault()
      event:stopImmediatePropagation()
    end)
    socket:addEventListener("message", saw("b"))
    fire(socket)
    assert.same({}, seen)
  end)

  case("can keep an event from those behind them each time that it is dispatched", function(socket, seen, saw)
    local event = { type = "open" }
    socket:addEventListener("open", function() event:stopImmediatePropagation() end)
    socket:dispatchEvent(event)
    event.type = "message"
    socket:addEventListener("message", saw("a"))
    socket:addEventListener("message", saw("b"))
    socket:dispatchEvent(event)
    assert.same({ "a", "b" }, seen)
  end)

  it("that raise are logged and stop neither the others nor the socket", run(function()
    local server = serve(duplex)
    local log, lines = log_lines()
    local socket = WebSocket(server.url, nil, { log = log })
    local data
    socket.onopen = function() error("no use") end
    socket:addEventListener("open", function() socket:send("x") end)
    socket.onmessage = function(event) data = event.data end
    await(socket, "message")
    assert.equal("x", data)
    assert.equal("error", lines[1].level)
    assert.matches("^a listener for 'open' failed: .*browser_spec.lua:%d+: no use$", lines[1].message)
    assert.equal(1, #lines)
    socket:close()
    await(socket, "close")
  end))

  it("may wait, and events come one after another", run(function()
    local server = serve(duplex)
    local socket, seen = opened(duplex, server.url), {}
    socket.onmessage = function(event)
      seen[#seen + 1] = event.data .. " begins"
      duplex.sleep(0.02)
      seen[#seen + 1] = event.data .. " ends"
      if event.data == "b" then socket:close() end
    end
    socket:send("a")
    socket:send("b")
    await(socket, "close")
    assert.same({ "a begins", "a ends", "b begins", "b ends" }, seen)
  end))

  case("that are none raise", function(socket)
    raises("TypeError", "a listener must be a function", function() socket:addEventListener("open", {}) end)
    raises("TypeError", "onopen must be a function or nil, got table", function() socket.onopen = {} end)
    raises("TypeError", "an event must be a table", function() socket:dispatchEvent("open") end)
    socket:addEventListener("open", nil) -- as in the DOM
    socket:removeEventListener("open", nil)
  end)

  case("and fields: some cannot be set, one has two values, the rest is free", function(socket)
    for _, name in ipairs { "readyState", "url", "bufferedAmount", "protocol", "extensions", "OPEN", "send" } do
      raises("TypeError", name .. " cannot be set", function() socket[name] = 1 end)
    end
    socket.binaryType = "arraybuffer"
    assert.equal("arraybuffer", socket.binaryType)
    raises("TypeError", "binaryType must be", function() socket.binaryType = "string" end)
    socket.mine = 5
    assert.equal(5, socket.mine)
    assert.is_nil(socket.onnonsense)
  end)
end)
