-- SPDX-License-Identifier: MIT
-- Defects of TLS that a review found, each as the peer that showed it.

local duplex = require "duplex"
local bytes = require "spec.support.bytes"
local pki = require "spec.support.pki"
local peer = require "spec.support.peer"
local process = require "spec.support.process"
local run = require "spec.support.run"
local secure = require "spec.support.secure_serve"
local secure_peer = require "spec.support.secure_peer"

local OK = "HTTP/1.1 200 OK\r\n\r\n"
local LARGE = ("0123456789"):rep(2000) -- not sealed before it is sent

-- Starts a program of this folder, which is ended with the spec.
local compiled = {}
local function start(name, ...)
  if not compiled[name] then
    compiled[name] = pki.path("." .. name)
    assert(os.execute(("cc=$(command -v cc || command -v gcc); $cc -o %s spec/regress/02-tls_%s.c -lssl -lcrypto")
      :format(compiled[name], name)))
  end
  local program = process.start { compiled[name], ... }
  finally(function() program:stop() end)
  return program
end

local function start_server(name, pair, ...)
  local program = start(name, pair.certificate, pair.key, ...)
  program.port = tonumber(program:line():match("^listening on :(%d+)$"))
  return program
end

-- What a program says is read when the loop of the spec is over: that blocks.
local function after(body, judge)
  return function()
    local program
    run(function() program = body() end)()
    judge(program)
  end
end

describe("a session ticket of an https proxy", function()
  -- The outer engine became the inner one, and what the outer TLS said later was
  -- taken for what the inner one did: a ticket of the proxy was kept for the
  -- server, and with it the proxy could be the server, which nobody verifies when
  -- a session is resumed.
  it("that comes when the tunnel is up is none of the server's", after(function()
    local seen = 0
    local server = secure.serve(secure.tls { tickets = false }, secure.echo, {
      on_request = function() seen = seen + 1 end })
    local proxy = start_server("proxy", pki.certificate { other_ca = true, name = "proxy.example",
      addresses = { "127.0.0.1" } }, tostring(server.port))
    local function connect()
      return duplex.connect(secure.url(server), { tls = { ca = pki.ca }, proxy_tls = { ca = pki.other_ca },
        proxy = "https://127.0.0.1:" .. proxy.port, open_timeout = 5 })
    end
    local ws = assert(connect())
    secure.alive(ws)
    ws:close()
    local _, message, id = connect()
    assert.matches("^TLS: .*not trusted", message)
    assert.equal("TLS", id)
    assert.equal(1, seen)
    return proxy
  end, function(proxy) assert.equal("refused", proxy:line()) end))
end)

describe("a handshake message that is cut", function()
  -- To write was to fail while a handshake message of the peer's had come in
  -- part: OpenSSL has to read the rest of it first.
  local function go_on(program) os.execute("kill -USR1 " .. program.pid) end

  for _, row in ipairs { { "a small message", "between" }, { "a large message", LARGE } } do
    local what, message = row[1], row[2]
    it("lets a client send " .. what .. ", and arrives", run(function()
      local server = start_server("cut", pki.certificate())
      local ws = secure.connect(server)
      assert.is_false(ws.tls.resumed)
      assert.equal("cut", ws:receive(5))
      assert.is_true(ws:send(message))
      go_on(server)
      assert.equal(message, ws:receive(5))
      secure.alive(ws)
      ws:close()
      assert.is_nil(ws.close_error)
      ws = secure.connect(server)
      assert.is_true(ws.tls.resumed) -- that is what the message was for
      secure.alive(ws)
      ws:close()
    end))

    it("lets a server send " .. what .. ", and arrives", after(function()
      local sent, done, last = duplex.event(), duplex.event(), nil
      local server = secure.serve(nil, function(ws)
        assert(ws:receive(5) == "cut")
        assert(ws:send(message))
        sent:set()
        last = ws:receive(5)
        ws:send("12345")
        done:set()
      end)
      local client = start("cut", tostring(server.port))
      assert.is_true(sent:wait(5))
      go_on(client)
      assert.is_true(done:wait(5))
      assert.equal("new keys", last) -- the message was to change them
      return client
    end, function(client)
      assert.equal("got " .. #message, client:line())
      assert.equal("got 5", client:line())
    end))
  end

  it("makes an engine take nothing until its rest is fed", run(function()
    local server = start_server("cut", pki.certificate())
    local p = assert(secure_peer.connect(server.port):handshake()):upgrade()
    assert.equal("\129\3cut", p:read(5))
    for _ = 1, 2 do assert.is_false(p.engine:write("nothing")) end
    assert.equal("", p.engine:output())
    assert.equal("", p.engine:read())
    go_on(server)
    assert(p:pull())
    assert.equal("", p.engine:read())
    assert.is_true(p:alive())
    p:close()
  end))
end)

describe("an https proxy that says goodbye", function()
  -- What ends the outer TLS is no close_notify of the inner one, and OpenSSL has
  -- no words for it: it was an unknown error, with an id that says other things.
  local function connect(script, scheme)
    local port = secure_peer.listen(function(p)
      assert(p:handshake()):read_to("\r\n\r\n")
      p:send(OK)
      script(p)
    end)
    return duplex.connect(scheme .. "://localhost:9/", { tls = { ca = pki.ca }, proxy_tls = { ca = pki.ca },
      proxy = "https://localhost:" .. port, open_timeout = 5 })
  end

  local function accept(p)
    local inner = assert(secure_peer.wrap(p, "server"):handshake()):upgrade()
    inner:put(0x81, "at once")
  end

  it("in the inner handshake hung up", run(function()
    for step, say in ipairs { "", "\22\3\3" } do
      local _, message, id = connect(function(p)
        p:read(1)
        if step == 2 then p:send(say) end
        p:finish()
      end, "wss")
      assert.matches("^TLS: .*hung up", message)
      assert.equal("TLS", id)
    end
  end))

  it("after the inner handshake is no server that answers", run(function()
    local _, message, id = connect(function(p)
      assert(secure_peer.wrap(p, "server"):handshake()):read_to("\r\n\r\n")
      p:finish()
    end, "wss")
    assert.equal("HANDSHAKE", id, message)
    assert.matches("hung up", message)
  end))

  it("once the WebSocket is open was lost", run(function()
    local ws = assert(connect(function(p)
      accept(p)
      p:finish()
    end, "wss"))
    assert.equal("at once", ws:receive(5))
    local _, message, id = ws:receive(5)
    assert.equal("LOST", id)
    assert.matches("^LOST: the peer hung up", message)
  end))

  it("to a WebSocket without TLS of its own was lost too", run(function()
    local ws = assert(connect(function(p)
      p:upgrade()
      p:finish()
    end, "ws"))
    local _, message, id = ws:receive(5)
    assert.equal("LOST", id)
    assert.matches("^LOST: the peer hung up", message)
  end))
end)

describe("TLS that breaks behind the handshake", function()
  -- With all of it in one read it broke before the WebSocket was open, and gave
  -- "TLS", which is for connections that never were.
  local GARBAGE = "\23\3\3\0\32" .. ("x"):rep(32)

  it("in the read that brings the 101 loses a client its connection", run(function()
    for _, before in ipairs { "", bytes.frame(0x81, "a message") } do
      local port = secure_peer.listen(function(p)
        local head = assert(p:handshake()):read_to("\r\n\r\n")
        p:push()
        p.engine:write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
          .. "Sec-WebSocket-Accept: " .. peer.accept(head) .. "\r\n\r\n" .. before)
        p.raw:send(p.engine:output() .. GARBAGE)
        p.raw:rest(5)
      end)
      local ws = secure.connect({ port = port })
      if before ~= "" then assert.equal("a message", ws:receive(5)) end
      for _ = 1, 2 do
        local _, message, id = ws:receive(5)
        assert.equal("LOST", id, message)
      end
      assert.equal("LOST", ws.close_error and ws.close_error:match("^%u+"))
    end
  end))
end)
