-- SPDX-License-Identifier: MIT
local duplex = require "duplex"
local applies = require "spec.support.applies"
local echo = require "spec.support.each"
local native = require "duplex.host.native"
local PATIENCE = require "spec.support.patience"
local peer = require "spec.support.peer"
local ports = require "spec.support.ports"
local process = require "spec.support.process"
local raw = require "spec.support.raw"
local run = require "spec.support.run"

-- A client whose delays are as short as they get, unless a case says otherwise.
-- It is stopped with the case.
local function reconnect(url, given)
  local options = { first = 0.02, max = 0.05, log = false }
  for name, value in pairs(given or {}) do options[name] = value end
  return duplex.reconnect(url, options)
end

local function serve(handler, options)
  local all = { log = false }
  for name, value in pairs(options or {}) do all[name] = value end
  return assert(duplex.serve(all, handler))
end

-- A URL whose server answers each connection with the next of these texts, and
-- with the last one from then on; a function does as it likes.
local function scripted(...)
  local answers, count = { ... }, 0
  local port = peer.listen(function(p)
    count = count + 1
    local answer = answers[math.min(count, #answers)]
    if type(answer) == "function" then return answer(p, count) end
    p:read_to("\r\n\r\n")
    p:send(answer)
    p:close()
  end)
  return "ws://127.0.0.1:" .. port, function() return count end
end

local function status(text, headers)
  return ("HTTP/1.1 %s\r\nContent-Length: 0\r\n%s\r\n"):format(text, headers or "")
end

-- Becomes a WebSocket, and closes it with this code.
local function closing(code)
  return function(p)
    p:accept()
    p:send("\136\2" .. string.char(math.floor(code / 256), code % 256))
    p:rest(1)
  end
end

-- Something that on_close and the like are told, and that a case waits for.
local function mailbox()
  local box = { event = duplex.event() }
  function box.put(...)
    box[#box + 1] = { ... }
    box.event:set()
  end
  function box.take()
    while not box[1] do
      box.event:clear()
      assert(box.event:wait(PATIENCE), "nothing was told")
    end
    local entry = table.remove(box, 1)
    return entry[1], entry[2], entry[3]
  end
  return box
end

-- Runs fn as a task; the result waits for what it returned.
local function task(fn, ...)
  local results = mailbox()
  duplex.spawn(function(...) results.put(fn(...)) end, ...)
  return results.take
end

describe("a client that stays connected", function()
  it("goes on with a server that was killed and came back", run(function()
    local port = ports.free()
    local server = process.echo(nil, port)
    local closed = mailbox()
    local client = reconnect("ws://127.0.0.1:" .. port, { on_close = closed.put })
    client:send("before")
    assert.equal("before", (client:receive(PATIENCE)))
    assert.equal("open", client.state)
    local waiting = task(function() return client:receive(PATIENCE) end)
    server:kill()
    local failure, delay = closed.take()
    assert.equal("LOST", failure.id)
    assert.equal(1, failure.failures)
    assert.is_true(failure.uptime > 0 and delay <= 0.02)
    repeat failure = closed.take() until failure.id == "CONNECT"
    assert.is_nil(failure.uptime)
    assert.is_true(client:send("while it is away"))
    server = process.echo(nil, port)
    finally(function() server:stop() end)
    assert.equal("while it is away", (waiting()))
    assert.equal("open", client.state)
    assert.equal(0, client.queued)
    client:close()
    assert.equal("closed", client.state)
    assert.is_nil(client.error)
  end))

  it("notices a server that sleeps, and goes on when it wakes", run(function()
    local server = process.echo()
    finally(function()
      os.execute("kill -CONT " .. server.pid)
      server:stop()
    end)
    local failures = mailbox()
    local client = reconnect("ws://127.0.0.1:" .. server.port, { on_close = failures.put,
      connect = { open_timeout = 0.1, ping_interval = 0.03, ping_timeout = 0.03 } })
    client:wait_open(PATIENCE)
    local waiting = task(function() return client:receive(PATIENCE) end)
    os.execute("kill -STOP " .. server.pid)
    local failure = failures.take()
    assert.same({ "LOST", "LOST: no pong within ping_timeout" }, { failure.id, failure.message })
    assert.equal("TIMEOUT", failures.take().id)
    client:send("good morning")
    os.execute("kill -CONT " .. server.pid)
    assert.equal("good morning", (waiting()))
    client:close()
  end))

  it("tells a log function when it tries again, when it gives up, and what failed", run(function()
    local lines = {}
    local url = scripted(closing(1012), closing(1000))
    local client = reconnect(url, { random = function() return 0 end, on_close = function() error("oh", 0) end,
      log = function(level, message, fields)
        lines[#lines + 1] = { level, message, fields and fields.error, fields and fields.delay, fields and fields.failures }
      end })
    client:receive(PATIENCE)
    assert.same({ { "debug", "connecting again", "CLOSED: the connection was closed with 1012", 0, 1 },
      { "error", "on_close failed: oh" },
      { "debug", "gave up", "CLOSED: the connection was closed with 1000", nil, 2 } }, lines)
  end))

  it("works at top level, where calls that wait turn the loop", function()
    local server = process.echo()
    finally(function() server:stop() end)
    local client = reconnect("ws://127.0.0.1:" .. server.port)
    client:send("hello")
    assert.equal("hello", (client:receive(PATIENCE)))
    local texts = {}
    client:send("again")
    for text in client:messages() do
      texts[#texts + 1] = text
      client:close()
    end
    assert.same({ "again" }, texts)
    assert.equal("closed", client.state)
  end)

  it("is closed at the end of a block, as connections are", run(function()
    local ends = mailbox()
    local server = serve(function(ws)
      ws:receive()
      ends.put(ws.close_code)
    end)
    for code, problem in pairs { [1000] = false, [1011] = "an error" } do
      local client = reconnect(server.url)
      client:wait_open(PATIENCE)
      getmetatable(client).__close(client, problem or nil)
      assert.equal(code, (ends.take()))
      assert.equal("closed", client.state)
    end
  end))

  it("says what state it is in", run(function()
    local closed, opened = mailbox(), mailbox()
    local server = serve(echo)
    local client = reconnect(server.url, { first = 60, max = 60, random = function() return 0.5 end,
      on_close = closed.put, on_open = opened.put })
    assert.same({ "connecting", 0 }, { client.state, client.attempts })
    assert.is_nil(client.ws)
    local ws, given = opened.take()
    assert.equal(client, given)
    assert.equal(ws, client:wait_open(PATIENCE))
    assert.same({ "open", 0, ws }, { client.state, client.attempts, client.ws })
    server:stop(1)
    local failure, delay = closed.take()
    assert.same({ "CLOSED", 1001, 30 }, { failure.id, failure.code, delay })
    assert.same({ "waiting", 1 }, { client.state, client.attempts })
    assert.is_true(math.abs(client.retry_at - duplex.now() - 30) < 1)
    assert.is_nil(client.ws)
    client:close()
    assert.equal("closed", client.state)
    assert.is_nil(client.retry_at)
  end))

  it("waits longer after each failure in a row, and not after a connection that lasted", run(function()
    local delays, opened = mailbox(), mailbox()
    local server = serve(function(ws)
      ws:receive()
      ws:close(1012)
    end)
    local options = { first = 0.001, factor = 2, max = 0.005, random = function() return 0.5 end,
      on_open = opened.put, min_uptime = 60, on_close = function(failure, delay) delays.put(delay, failure.failures) end }
    local client = reconnect(server.url, options)
    for failures, delay in ipairs { 0.0005, 0.001, 0.002, 0.0025, 0.0025 } do
      opened.take():send("bye")
      assert.same({ delay, failures }, { delays.take() })
    end
    client:close()

    options.min_uptime = 0
    client = reconnect(server.url, options)
    for _ = 1, 3 do
      opened.take():send("bye")
      assert.same({ 0.0005, 1 }, { delays.take() })
    end
    client:close()
  end))

  it("gives up after so many attempts", run(function()
    local given_up, closed = mailbox(), {}
    local url, count = scripted(status "503 Service Unavailable")
    local client = reconnect(url, { attempts = 3, on_give_up = given_up.put,
      on_close = function(failure) closed[#closed + 1] = failure.failures end })
    local data, message, id = client:receive(PATIENCE)
    assert.same({ "HTTP: the server answered 503 Service Unavailable", "HTTP" }, { message, id })
    assert.is_nil(data)
    local failure = given_up.take()
    assert.same({ "HTTP", 503, 3 }, { failure.id, failure.status, failure.failures })
    assert.equal("503", failure.response and tostring(failure.response.status))
    assert.same({ "closed", message, 3 }, { client.state, client.error, count() })
    assert.same({ 1, 2 }, closed)
  end))

  it("does not count what it was told to do anew", run(function()
    local restart = false
    local server = serve(function(ws)
      if not restart then return ws:wait_closed() end
      restart = false
      ws:close(1012)
    end)
    local failures = mailbox()
    local client = reconnect(server.url, { attempts = 3, on_close = function(failure)
      failures.put(failure.code == 1012, failure.failures)
    end })
    for _ = 1, 4 do
      assert.is_truthy(client:wait_open(PATIENCE))
      client:reconnect()
      assert.same({ false, 0 }, { failures.take() })
    end
    client:wait_open(PATIENCE)
    restart = true
    client:reconnect()
    assert.same({ false, 0 }, { failures.take() })
    assert.same({ true, 1 }, { failures.take() })
    assert.is_truthy(client:wait_open(PATIENCE))
    client:close()
  end))

  it("waits as long as the server asks for, and its own delay more", run(function()
    local closed = mailbox()
    local url = scripted(status("503 Busy", "Retry-After: 120\r\n"),
      status("429 Slowly", "Retry-After: Sun, 06 Nov 1994 08:51:07 GMT\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"),
      status("503 Busy", "Retry-After: 1000000\r\n"), status("503 Busy", "Retry-After: soon\r\n"),
      closing(1000))
    local client = reconnect(url, { first = 8, factor = 1, max = 8, max_retry_after = 600,
      random = function() return 0.25 end, on_close = function(_, delay) closed.put(delay) end })
    for _, delay in ipairs { 122, 92, 602, 2 } do
      assert.equal(delay, (closed.take()))
      assert.is_true(client:reconnect()) -- whoever knows better need not wait
    end
    assert.equal("CLOSED", select(3, client:receive(PATIENCE)))
  end))

  for _, row in ipairs {
    { "1000 from the server", closing(1000), {}, "CLOSED" },
    { "1008 from the server", closing(1008), {}, "CLOSED" },
    { "a code that the program says is final", closing(4401), { final = { 4401 } }, "CLOSED" },
    { "what a function says is final", closing(4401),
      { final = function(failure) return failure.code == 4401 end }, "CLOSED" },
    { "401", status "401 Unauthorized", {}, "HTTP" },
    { "404", status "404 Not Found", {}, "HTTP" },
    { "a status that the program says is final", status "503 Busy", { final = { { 500, 599 } } }, "HTTP" },
    { "frames that break the rules", function(p)
      p:accept()
      p:send("\255\0")
      p:rest(1)
    end, {}, "PROTOCOL" },
    { "a 101 that accepts something else", "HTTP/1.1 101 Sure\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      .. "Sec-WebSocket-Accept: abc\r\n\r\n", {}, "HANDSHAKE" },
  } do
    it("gives up after " .. row[1], run(function()
      local url, count = scripted(row[2])
      local given_up = mailbox()
      local options = { on_give_up = given_up.put }
      for name, value in pairs(row[3]) do options[name] = value end
      local client = reconnect(url, options)
      local none, message, id = client:receive(PATIENCE)
      assert.same({ row[4], 1, client.error }, { id, count(), message })
      assert.is_nil(none)
      assert.equal(message, given_up.take().message)
      assert.same({ message, id }, { select(2, client:send("too late")) })
      assert.same({ message, id }, { select(2, client:try_send("too late")) })
      assert.same({ message, id }, { select(2, client:next()) })
      assert.same({ message, id }, { select(2, client:wait_open()) })
      assert.same({ message, id }, { select(2, client:ping()) })
      assert.same({ message, id }, { select(2, client:reconnect()) })
    end))
  end

  for _, row in ipairs {
    { "1001, 1011, 1012 and 1013 from the server", {}, closing(1001), closing(1011), closing(1012), closing(1013) },
    { "a code that only the program knows", {}, closing(4000) },
    { "500 and 408", {}, status "500 Oh", status "408 Slow" },
    { "a server that hangs up", {}, function(p) p:close() end, function(p)
      p:read_to("\r\n\r\n")
      p:close()
    end },
    { "what the program says is retryable", { retryable = { 1000, 404 } }, closing(1000), status "404 Not Found" },
    { "what a function says is retryable", { retryable = function() return true end }, closing(1008) },
    { "a function of it that fails", { retryable = function() error("oh") end }, closing(4000) },
  } do
    it("goes on after " .. row[1], run(function()
      local answers = {}
      for i = 3, #row do answers[i - 2] = row[i] end
      answers[#answers + 1] = function(p)
        p:accept()
        p:send("\129\2hi")
        p:rest(1)
      end
      local unpack = table.unpack or unpack
      local url, count = scripted(unpack(answers))
      local client = reconnect(url, row[2])
      assert.equal("hi", (client:receive(PATIENCE)))
      assert.equal(#answers, count())
      client:close(1000, "", 0)
    end))
  end

  it("gives up for a URL that is none", run(function()
    local client = reconnect("localhost:8080")
    assert.equal("URL", select(3, client:receive(PATIENCE)))
    assert.matches("^URL: no \"ws://\"", client.error)
  end))
end)

describe("the URL of a client that stays connected", function()
  it("can come from a function, anew for each attempt, with options", run(function()
    local tokens, seen = 0, mailbox()
    local server = serve(function(ws)
      seen.put(ws.request.headers.authorization, ws.request.headers["x-app"])
      ws:close(1012)
    end)
    local client
    client = reconnect(function(given)
      assert.equal(client, given)
      tokens = tokens + 1
      duplex.sleep(0.001) -- as when a token is fetched
      return server.url, { headers = { Authorization = "Bearer " .. tokens } }
    end, { connect = { headers = { ["X-App"] = "1" } } })
    assert.same({ "Bearer 1" }, { seen.take() })
    assert.same({ "Bearer 2" }, { seen.take() })
    assert.same({ "Bearer 3" }, { seen.take() })
    client:close()
  end))

  it("has the options of connect, too", run(function()
    local seen = mailbox()
    local server = serve(function(ws) seen.put(ws.request.headers["x-app"], ws.subprotocol) end,
      { subprotocols = { "a" } })
    reconnect(function() return server.url, { headers = { ["X-App"] = "1" } } end,
      { connect = { subprotocols = { "a" } } })
    assert.same({ "1", "a" }, { seen.take() })
  end))

  it("need not be there: then it gives up", run(function()
    local client = reconnect(function() return nil, "logged out" end)
    assert.same({ "URL: logged out", "URL" }, { select(2, client:receive(PATIENCE)) })
    client = reconnect(function() end)
    assert.same({ "URL: none was given", "URL" }, { select(2, client:receive(PATIENCE)) })
  end))

  it("may be asked for again when the function failed", run(function()
    local calls, closed = 0, mailbox()
    local server = serve(echo)
    local client = reconnect(function()
      calls = calls + 1
      if calls < 3 then error("no network", 0) end
      return server.url
    end, { on_close = closed.put })
    assert.same({ "ERROR", "ERROR: the function for the URL: no network" },
      { closed.take().id, closed.take().message })
    assert.is_truthy(client:wait_open(PATIENCE))
    client:close()
  end))

  it("ends it when what came with it is no use", run(function()
    local client = reconnect(function() return 8080 end)
    assert.matches("^ERROR: duplex%.connect: .*the URL must be a string, got number$", select(2, client:receive(PATIENCE)))
    client = reconnect(function() return "ws://127.0.0.1:1", "x" end)
    assert.same({ "ERROR: the function for the URL must return a table of options, got string", "ERROR" },
      { select(2, client:receive(PATIENCE)) })
    client = reconnect(function() return "ws://127.0.0.1:1", { max_mesage = 1 } end)
    assert.matches("unknown option 'max_mesage'", select(2, client:receive(PATIENCE)))
  end))
end)

describe("messages of a client that stays connected", function()
  it("wait for a connection, and are sent in their order behind those of on_open", run(function()
    local seen = mailbox()
    local server = serve(function(ws)
      local data, kind = ws:receive()
      while data do
        seen.put(data, kind)
        data, kind = ws:receive()
      end
    end)
    local client = reconnect(server.url, { on_open = function(ws, client)
      client:send("sent in on_open")
      duplex.sleep(0.01)
      ws:send("subscribe")
    end })
    client:send("one")
    client:send("\255", "binary")
    assert.is_true(client:try_send(duplex.prepare("three", "text")))
    assert.equal(3, client.queued)
    assert.same({ "subscribe", "text" }, { seen.take() })
    assert.same({ "one", "text" }, { seen.take() })
    assert.same({ "\255", "binary" }, { seen.take() })
    assert.same({ "three", "text" }, { seen.take() })
    assert.same({ "sent in on_open", "text" }, { seen.take() })
    client:send("four")
    assert.same({ "four", "text" }, { seen.take() })
    client:close()
  end))

  it("wait behind those that waited before, which may take a while to leave", run(function()
    local read, over = mailbox(), duplex.event()
    local server = serve(function(ws)
      over:wait(PATIENCE)
      local data = ws:receive()
      while data do
        read.put(data:sub(1, 3))
        data = ws:receive()
      end
    end)
    local client = reconnect(server.url, { queue_bytes = 11000000 })
    for i = 100, 199 do client:send(i .. ("x"):rep(100000)) end
    client:wait_open(PATIENCE)
    assert.is_true(client.queued > 0)
    local sending = task(function() return client:send("200") end)
    assert.same({ "FULL: the queue is full, and is being sent", "FULL" },
      { select(2, client:try_send(("x"):rep(10500000))) })
    assert.is_true(client:try_send("201"))
    assert.error_matches(function() client:try_send(201) end, "the message must be a string, got number")
    over:set()
    for i = 100, 199 do assert.equal(tostring(i), (read.take())) end
    local last = { (read.take()), (read.take()) }
    table.sort(last)
    assert.same({ "200", "201" }, last)
    assert.is_true(sending())
    client:close()
  end))

  it("that a connection has not taken are sent by the next one, even if it is there by then", run(function()
    local ended, go, made = duplex.event(), duplex.event(), {}
    local function connect()
      local ws = { state = "open", sent = {}, on_close = function(self, fn) self.closer = fn end,
        close = function(self) self.state = "closed" end }
      function ws:send(message)
        if self == made[1] then
          ended:set()
          go:wait(PATIENCE)
          return nil, "LOST: the connection was lost", "LOST"
        end
        table.insert(self.sent, message)
        return true
      end
      table.insert(made, ws)
      return ws
    end
    local client = require "duplex.reconnect"(setmetatable({ connect = connect }, { __index = duplex }))(
      "ws://127.0.0.1", { first = 0, log = false })
    client:wait_open(PATIENCE)
    local sending = task(function() return client:send("hello") end)
    ended:wait(PATIENCE)
    made[1].state = "closed"
    made[1].closer()
    while client.ws ~= made[2] or client.state ~= "open" do duplex.sleep(0) end
    go:set()
    assert.is_true((sending()))
    assert.same({ 0, { "hello" } }, { client.queued, made[2].sent })
    client:close()
  end))

  it("are kept as far as the options say", run(function()
    local url = "ws://127.0.0.1:" .. ports.free()
    local client = reconnect(url, { queue = 2 })
    assert.is_true(client:send("1"))
    assert.is_true(client:try_send("2"))
    local full = { "FULL: the queue is full, and there is no connection", "FULL" }
    assert.same(full, { select(2, client:send("3")) })
    assert.same(full, { select(2, client:try_send("3")) })
    assert.same({ 2, 0 }, { client.queued, client.dropped })
    client:close()
    client = reconnect(url, { queue_bytes = 5, queue_policy = "oldest" })
    for _, text in ipairs { "aaa", "bb", "c" } do assert.is_true(client:send(text)) end
    assert.same({ 2, 1 }, { client.queued, client.dropped })
    client:close()
    client = reconnect(url, { queue = 0 })
    assert.same(full, { select(2, client:send("1")) })
    client:close()
  end))

  for _, row in ipairs { { "oldest", "2 3" }, { "newest", "1 2" }, { "refuse", "1 2" } } do
    it(("of which a full queue drops by its policy: %s"):format(row[1]), run(function()
      local seen = mailbox()
      local server
      local port = ports.free()
      local closed = mailbox()
      local client = reconnect("ws://127.0.0.1:" .. port, { queue = 2, queue_policy = row[1], on_close = closed.put })
      closed.take()
      for i = 1, 3 do client:send(tostring(i)) end
      server = serve(function(ws)
        seen.put(ws:receive() .. " " .. ws:receive())
        ws:receive()
      end, { port = port })
      assert.equal(row[2], (seen.take()))
      client:close()
      server:stop(0)
    end))
  end

  it("are sent at most once, in order, however often the connection ends meanwhile", run(function()
    -- The server reads some and cuts: what was on its way then is lost.
    local ENOUGH, last, connections = 1500, 0, 0
    local disorder = false
    local server = serve(function(ws)
      connections = connections + 1
      for _ = 1, 400 do
        local data = ws:receive()
        if not data then return end
        local number = tonumber(data)
        disorder = disorder or number <= last
        last = number
      end
      ws:close(1012)
    end)
    local client, number = reconnect(server.url), 0
    repeat
      number = number + 1
      assert.is_true(client:send(tostring(number)))
      if number % 20 == 0 then duplex.sleep(0.001) end
    until last >= ENOUGH
    assert.is_false(disorder)
    assert.is_true(connections > 1)
    client:close()
  end))

  it("come from one connection after the other", run(function()
    local count = 0
    local server = serve(function(ws)
      count = count + 1
      for i = 1, 3 do ws:send(count .. "." .. i) end
      ws:close(1012)
    end)
    local client = reconnect(server.url)
    for _, expected in ipairs { "1.1", "1.2", "1.3", "2.1", "2.2", "2.3", "3.1" } do
      assert.equal(expected, (client:receive(PATIENCE)))
    end
    -- A message and its kind: nothing more, which print would show.
    assert.equal(2, select("#", client:receive(PATIENCE)))
    client:close()
  end))

  it("that came before a connection was lost are not lost with it", run(function()
    local closed, over = mailbox(), duplex.event()
    local url = scripted(function(p)
      p:accept()
      p:send("\129\0011\129\0012\129\0013")
      over:wait(PATIENCE) -- and reads nothing
      p:close()
    end, function(p)
      p:accept()
      p:send("\129\0014")
      p:rest(PATIENCE)
    end)
    local client = reconnect(url, { on_close = closed.put, connect = { send_timeout = 0.05 } })
    assert.equal("1", (client:receive(PATIENCE)))
    local sending = task(function()
      local ws = client.ws
      while ws:send(("x"):rep(100000)) do end
    end)
    assert.equal("LOST: the peer read nothing for send_timeout", closed.take().message)
    sending()
    client:wait_open(PATIENCE)
    for _, text in ipairs { "2", "3", "4" } do assert.equal(text, (client:receive(PATIENCE))) end
    over:set()
    client:close(1000, "", 0)
  end))

  it("are waited for with a timeout, with and without a connection", run(function()
    local server = serve(echo)
    local client = reconnect(server.url)
    assert.equal("TIMEOUT", select(3, client:receive(0)))
    client:wait_open(PATIENCE)
    assert.equal("TIMEOUT", select(3, client:receive(0.01)))
    assert.equal("TIMEOUT", select(3, client:receive(0)))
    client:send("still there")
    assert.equal("still there", (client:receive(PATIENCE)))
    client:close()
    client = reconnect("ws://127.0.0.1:" .. ports.free(), { first = 60, max = 60 })
    assert.equal("TIMEOUT", select(3, client:receive(0.05)))
    assert.equal("TIMEOUT", select(3, client:wait_open(0)))
    assert.equal("TIMEOUT", select(3, client:next(0)))
    assert.equal("TIMEOUT", select(3, client:ping(0)))
    client:close()
  end))

  it("can be JSON", run(function()
    local count = 0
    local server = serve(function(ws)
      count = count + 1
      ws:send(('{"connection":%d,"got":%s}'):format(count, ws:receive()))
      ws:close(1012)
    end)
    local closed = mailbox()
    local client = reconnect(server.url, { on_close = closed.put })
    local channel = duplex.json(client)
    for i = 1, 2 do
      channel:send { number = i }
      assert.same({ connection = i, got = { number = i } }, channel:receive(PATIENCE))
      closed.take()
    end
    client:close()
  end))

  it("may be calls, a peer for each connection", run(function()
    local count = 0
    local server = serve(function(ws)
      count = count + 1
      local calls = duplex.rpc(ws, { methods = { number = function() return count end } })
      duplex.spawn(function()
        duplex.sleep(0.02)
        ws:close(1012)
      end)
      calls:run()
    end)
    local client = reconnect(server.url)
    for expected = 1, 2 do
      local calls = duplex.rpc(assert(client:next(PATIENCE)))
      assert.equal(expected, calls:call("number"))
      calls:run()
    end
    client:close()
  end))

  it("may be sent by several tasks while another one receives", run(function()
    local server = serve(function(ws)
      for _ = 1, 40 do
        local data = ws:receive()
        if not data then return end
        ws:send(data)
      end
      ws:close(1012)
    end)
    local client, got, count = reconnect(server.url), {}, 0
    local tasks = {}
    for sender = 1, 4 do
      tasks[sender] = task(function()
        local i = 0
        while count < 100 do -- what is on its way when a connection ends is lost
          i = i + 1
          assert(client:send(sender .. "." .. i))
          duplex.sleep(0.001)
        end
      end)
    end
    local receiver = task(function()
      local data = client:receive()
      while data do
        assert(not got[data], "twice")
        got[data], count = true, count + 1
        data = client:receive()
      end
      return "over"
    end)
    for _, wait in ipairs(tasks) do wait() end
    client:close()
    assert.equal("over", receiver())
  end))

  it("that no connection would take raise at once", run(function()
    local client = reconnect("ws://127.0.0.1:" .. ports.free())
    for text, call in pairs {
      ["the message must be a string, got number"] = function() client:send(12) end,
      ['kind must be "text" or "binary"'] = function() client:try_send("x", "txt") end,
      ["text is not valid UTF-8; send bytes with kind \"binary\""] = function() client:send("\255") end,
    } do
      local fine, problem = pcall(call)
      assert.is_false(fine)
      local blamed, said = problem:match("^(%S*reconnect_spec.lua:)%d+: (.*)")
      assert.is_truthy(blamed)
      assert.equal(text, said)
    end
    assert.error_matches(function() client:send(print) end, "a source of pieces cannot wait for a connection")
    assert.error_matches(function() client:close(999) end, "close code must be 1000..1003, 1007..1014 or 3000..4999, got 999")
    assert.error_matches(function() client:close(1000, "\255") end, "close reason must be a string of UTF%-8")
    assert.error_matches(function() client:close(1000, {}) end, "close reason must be a string of UTF%-8")
    assert.error_matches(function() client:close(1000, "", -1) end, "timeout must be a number of seconds")
    assert.are_not.equal("closed", client.state)
    assert.error_matches(function() client:receive(-1) end, "timeout must be a number of seconds")
    assert.equal(0, client.queued)
    client:close()
  end))
end)

describe("connections of a client that stays connected", function()
  local case = applies.where(applies.waits_anywhere, "no iterator can wait there", it)

  it("are given one after the other by next", run(function()
    local count = 0
    local server = serve(function(ws)
      count = count + 1
      ws:send(tostring(count))
      if count == 2 then ws:receive() else ws:close(1012) end
    end)
    local client = reconnect(server.url)
    local first = assert(client:next(PATIENCE))
    assert.equal("1", (first:receive()))
    assert.equal("CLOSED", select(3, first:receive()))
    local second = assert(client:next(PATIENCE))
    assert.equal("2", (second:receive()))
    local third = assert(client:next(PATIENCE)) -- leaves the second one
    assert.equal("3", (third:receive()))
    assert.equal("CLOSED", select(3, second:receive()))
    client:close()
  end))

  case("are the rounds of a loop, which ends when it gives up", run(function()
    local count, lines = 0, {}
    local server = serve(function(ws)
      count = count + 1
      ws:send("hello " .. count)
      ws:close(count < 3 and 1012 or 4401, "no")
    end)
    local client = reconnect(server.url, { final = { 4401 } })
    for ws in client:connections() do
      for text in ws:messages() do lines[#lines + 1] = text end
    end
    assert.same({ "hello 1", "hello 2", "hello 3" }, lines)
    assert.equal("CLOSED: the connection was closed with 4401: no", client.error)
  end))

  case("are closed by a loop that goes on without them", run(function()
    local ends, count = mailbox(), 0
    local server = serve(function(ws)
      ws:receive()
      ends.put(ws.close_code)
    end)
    local client = reconnect(server.url)
    for _ in client:connections() do
      count = count + 1
      if count == 2 then break end
    end
    assert.equal(1000, (ends.take()))
    assert.equal("open", client.state) -- break leaves it as it is
    client:close()
    assert.equal(1000, (ends.take()))
  end))

  case("can be left by the messages of a client", run(function()
    local count, got = 0, {}
    local server = serve(function(ws)
      count = count + 1
      ws:send(tostring(count))
      ws:close(count < 3 and 1012 or 1000)
    end)
    local client = reconnect(server.url)
    for data in client:messages() do got[#got + 1] = data end
    assert.same({ "1", "2", "3" }, got)
  end))

  it("are not given by iterators in PUC Lua 5.1", run(function()
    if applies.waits_anywhere then return end
    local client = reconnect("ws://127.0.0.1:" .. ports.free())
    assert.error_matches(function() client:connections() end, "write 'local ws = client:next()'", 1, true)
    assert.error_matches(function() client:messages() end, "write 'local data, kind = client:receive()'", 1, true)
    client:close()
  end))

  it("are made anew, and at once, when the program asks for it", run(function()
    local ends, opened = mailbox(), mailbox()
    local server = serve(function(ws)
      ws:receive()
      ends.put(ws.close_code)
    end)
    local closed = mailbox()
    local client = reconnect(server.url, { first = 60, max = 60, on_open = opened.put, on_close = closed.put })
    local ws = opened.take()
    client:wait_open(PATIENCE)
    assert.is_true(client:reconnect())
    local failure, delay = closed.take()
    assert.same({ "CLOSED: the program left the connection", 0 }, { failure.message, delay })
    assert.are_not.equal(ws, opened.take())
    assert.equal(1000, (ends.take()))
    client:close()
  end))

  it("answer pings", run(function()
    local server = serve(echo)
    local client = reconnect(server.url)
    local seconds = client:ping(PATIENCE)
    assert.is_true(seconds >= 0 and seconds < PATIENCE)
    client:close()
  end))

  it("are tried again whatever its functions raise", run(function()
    local unspeakable = setmetatable({}, { __tostring = function() error("no text") end })
    local server = serve(echo)
    local failures = { url = true, on_open = true, on_close = true, final = true }
    local function failing(name)
      return function()
        if not failures[name] then return name == "url" and server.url end
        failures[name] = nil
        error(unspeakable)
      end
    end
    local client = reconnect(failing "url", { on_open = failing "on_open",
      on_close = failing "on_close", final = failing "final" })
    assert.is_truthy(client:wait_open(PATIENCE))
    assert.same({}, failures)
    client:close()
  end))

  it("are not waited for by the functions that they wait for", run(function()
    local server = serve(echo)
    local count, problems = 0, {}
    local function waiting(client, name, ...)
      count = count + 1
      if count > 4 then return end
      assert.equal("TIMEOUT", select(3, client:receive(0))) -- as anywhere
      local _, problem = pcall(client[name], client)
      table.insert(problems, problem)
      if ... then error(problem, 0) end
    end
    local client
    client = reconnect(function()
      waiting(client, "wait_open")
      return server.url
    end, {
      on_open = function(ws) waiting(client, "receive", ws) end,
      final = function() waiting(client, "next") end,
      on_close = function() waiting(client, "ping") end,
    })
    assert.is_truthy(client:wait_open(PATIENCE))
    client:close()
    for i = 1, 4 do assert.matches("^this would wait for ever: ", problems[i]) end
  end))

  it("end when on_open fails, and are tried again", run(function()
    local calls, closed = 0, mailbox()
    local ends = mailbox()
    local server = serve(function(ws)
      ws:receive()
      ends.put(ws.close_code)
    end)
    local client = reconnect(server.url, { on_close = closed.put, on_open = function()
      calls = calls + 1
      if calls == 1 then error("not like this", 0) end
    end })
    local failure = closed.take()
    assert.same({ "ERROR", "ERROR: on_open failed: not like this" }, { failure.id, failure.message })
    assert.equal(1011, (ends.take()))
    assert.is_truthy(client:wait_open(PATIENCE))
    client:close()
  end))
end)

describe("a client that stays connected ends", function()
  -- How to bring a client into a state; each returns it, and what is told once it
  -- is there.
  local states = {}

  states["in the function for the URL"] = function()
    local there = mailbox()
    return reconnect(function()
      there.put()
      duplex.sleep(3)
      return "ws://127.0.0.1:1"
    end), there
  end

  states["in a handshake without an answer"] = function()
    local there = mailbox()
    local port = peer.listen(function(p)
      p:read_to("\r\n\r\n")
      there.put()
      p:rest(PATIENCE)
    end)
    return reconnect("ws://127.0.0.1:" .. port, { connect = { open_timeout = 3 } }), there
  end

  states["in on_open"] = function()
    local there = mailbox()
    local server = serve(echo)
    return reconnect(server.url, { on_open = function(ws)
      there.put()
      ws:receive()
    end }), there
  end

  states["while it is connected"] = function()
    local there = mailbox()
    local server = serve(function(ws)
      there.put()
      ws:receive()
    end)
    return reconnect(server.url), there
  end

  states["while it sends what waited to a server that does not read"] = function()
    local there = mailbox()
    local server = serve(function(ws)
      there.put()
      ws:wait_closed()
    end)
    local client = reconnect(server.url, { queue_bytes = 2 ^ 30, connect = { close_timeout = 0.1 } })
    for _ = 1, 200 do client:send(("x"):rep(100000)) end
    return client, there
  end

  states["while it waits to try again"] = function()
    local there = mailbox()
    return reconnect("ws://127.0.0.1:" .. ports.free(), { first = 60, max = 60,
      random = function() return 0.9 end, on_close = there.put }), there
  end

  for name, make in pairs(states) do
    it("at once when it is closed " .. name, run(function()
      local client, there = make()
      local receiving = task(function() return select(2, client:receive()) end)
      local pinging = task(function() return select(2, client:wait_open()) end)
      there.take()
      local began = duplex.now()
      client:close()
      assert.equal("closed", client.state)
      assert.is_nil(client.error)
      assert.same({ "CLOSED: the client is closed", "CLOSED" }, { receiving() })
      pinging()
      assert.same({ "CLOSED: the client is closed", "CLOSED" }, { select(2, client:send("x")) })
      assert.is_true(duplex.now() - began < 1)
      assert.is_true(client:close()) -- as often as anybody likes
    end))

    it("with STOPPED when the loop stops " .. name, function()
      local client, there, receiving, given_up, told
      local began
      duplex.run(function()
        client, there = make()
        client.own.on_give_up = function() given_up = true end
        receiving = task(function() return select(2, client:receive()) end)
        there.take()
        began = duplex.now()
        duplex.spawn(duplex.stop, 1)
        told = { receiving() }
      end)
      assert.same({ "STOPPED: the loop is stopping", "STOPPED" }, told)
      assert.same({ "closed", told[1] }, { client.state, client.error })
      assert.is_nil(given_up)
      assert.is_true(duplex.now() - began < 2)
    end)
  end

  it("and is forgotten by the loop", run(function()
    local client = reconnect("ws://127.0.0.1:" .. ports.free())
    assert.is_truthy(next(native.stoppers))
    client:close()
    assert.is_nil(next(native.stoppers))
  end))

  it("and closes a connection that comes too late", run(function()
    local there, go, frame = mailbox(), duplex.event(), mailbox()
    local port = peer.listen(function(p)
      local head = p:read_to("\r\n\r\n")
      there.put()
      go:wait(PATIENCE)
      p:send("HTTP/1.1 101 Late\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        .. "Sec-WebSocket-Accept: " .. peer.accept(head) .. "\r\n\r\n")
      frame.put(p:read(2))
      p:close()
    end)
    local client = reconnect("ws://127.0.0.1:" .. port)
    there.take()
    client:close()
    go:set()
    assert.equal("\136\130", (frame.take())) -- a masked close frame of two bytes
    assert.is_nil(client.ws)
    assert.equal("closed", client.state)
  end))

  it("and run does not wait for an attempt that is abandoned", function()
    local listener = raw.listen() -- and never accepts
    finally(function() listener:close() end)
    local began, state = duplex.now(), nil
    duplex.run(function()
      local client = reconnect(listener.url)
      duplex.sleep(0.02)
      state = client.state
      client:close()
    end)
    assert.equal("connecting", state)
    assert.is_true(duplex.now() - began < 2)
  end)

  it("and nothing is left that keeps the loop running", function()
    local began = duplex.now()
    duplex.run(function()
      local client = reconnect("ws://127.0.0.1:" .. ports.free(), { first = 60, max = 60 })
      assert.equal("TIMEOUT", select(3, client:receive(0.05)))
      client:close()
    end)
    assert.is_true(duplex.now() - began < 2)
  end)

  for name, final in pairs { ["says no"] = false, ["says yes"] = true } do
    it("in a function that judges, and stays closed when that " .. name, run(function()
      local more, over = 0, mailbox()
      local function count() more = more + 1 end
      local client
      client = reconnect("ws://127.0.0.1:" .. ports.free(), { on_close = count, on_give_up = count, final = function()
        client:close()
        over.put()
        return final
      end })
      over.take()
      duplex.sleep(0.02)
      assert.same({ "closed", 0 }, { client.state, more })
      assert.is_nil(client.retry_at)
    end))
  end

  it("with the code and the reason that it is given", run(function()
    local ends = mailbox()
    local server = serve(function(ws)
      ws:receive()
      ends.put(ws.close_code, ws.close_reason)
    end)
    local client = reconnect(server.url)
    client:wait_open(PATIENCE)
    client:close(4000, "enough")
    assert.same({ 4000, "enough" }, { ends.take() })
    assert.is_nil(client.error)
  end))

  it("in a function that it calls, too", run(function()
    local given_up = false
    local over = mailbox()
    local client
    client = reconnect("ws://127.0.0.1:" .. ports.free(), { on_close = function()
      client:close()
      over.put()
    end, on_give_up = function() given_up = true end })
    over.take()
    assert.same({ "CLOSED: the client is closed", "CLOSED" }, { select(2, client:receive()) })
    assert.is_false(given_up)
  end))
end)

describe("duplex.reconnect raises", function()
  for message, call in pairs {
    ["the URL must be a string or a function, got nil"] = function() duplex.reconnect() end,
    ["options must be a table, got string"] = function() duplex.reconnect("ws://x", "x") end,
    ["unknown option 'atempts' (did you mean 'attempts'?)"] = function()
      duplex.reconnect("ws://x", { atempts = 1 })
    end,
    ["option 'headers' is one of duplex.connect: write connect = { headers = ... }"] = function()
      duplex.reconnect("ws://x", { headers = {} })
    end,
    ["unknown option 'history'"] = function() duplex.reconnect("ws://x", { history = 1 }) end,
    ["unknown option 'max_mesage' (did you mean 'max_message'?)"] = function()
      duplex.reconnect("ws://x", { connect = { max_mesage = 1 } })
    end,
    ["option 'queue_policy' must be \"oldest\" or \"newest\" or \"refuse\", got \"first\""] = function()
      duplex.reconnect("ws://x", { queue_policy = "first" })
    end,
    ["option 'final' must be a list of close codes, statuses, ids and { from, to }"] = function()
      duplex.reconnect("ws://x", { final = { true } })
    end,
    ["option 'factor' must be 1..100, got 0.5"] = function()
      duplex.reconnect("ws://x", { factor = 0.5 })
    end,
  } do
    it(message, function()
      local fine, problem = pcall(call)
      assert.is_false(fine)
      assert.equal(message, (tostring(problem):gsub("^[^:]*:%d+: ", "")))
      assert.matches("^%S*reconnect_spec.lua:%d+: ", problem) -- whoever called it
    end)
  end
end)

describe("a storm on real sockets", function()
  it("of 200 clients spreads over the first delay", run(function()
    local CLIENTS, FIRST, BUCKETS = 200, 0.4, 4
    local connected, all = 0, mailbox()
    local delays = {}
    local port = ports.free()
    local server = serve(function(ws) ws:receive() end, { port = port })
    local url, clients = server.url, {}
    for i = 1, CLIENTS do
      clients[i] = reconnect(url, { first = FIRST, max = FIRST, on_open = function()
        connected = connected + 1
        if connected == CLIENTS then all.put() end
      end, on_close = function(_, delay) delays[#delays + 1] = delay end })
    end
    all.take()
    server:stop(1)
    local times, back = {}, mailbox()
    local began
    serve(function(ws)
      times[#times + 1] = duplex.now() - began
      if #times == CLIENTS then back.put() end
      ws:receive()
    end, { port = port })
    began = duplex.now()
    back.take()
    assert.equal(CLIENTS, #delays)
    local counts, late = {}, 0
    for i = 1, BUCKETS do counts[i] = 0 end
    for _, delay in ipairs(delays) do
      local bucket = math.floor(delay / FIRST * BUCKETS) + 1
      counts[bucket] = counts[bucket] + 1
    end
    for _, time in ipairs(times) do
      if time > FIRST / 2 then late = late + 1 end
    end
    -- 50 are expected in each quarter, 6 more or less in two of three runs.
    for _, count in ipairs(counts) do
      assert.is_true(count > 15 and count < 85, table.concat(counts, " "))
    end
    assert.is_true(late > 50, late .. " in the second half")
    for _, client in ipairs(clients) do duplex.spawn(client.close, client, 1000, "", 0) end
  end))
end)

