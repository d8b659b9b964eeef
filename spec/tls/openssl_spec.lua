-- SPDX-License-Identifier: MIT
-- 'openssl s_client' and 's_server', which can do what our engine never does:
-- renegotiate, and ask for new keys.

local duplex = require "duplex"
local bytes = require "spec.support.bytes"
local command = require "spec.support.secure_command"
local pki = require "spec.support.pki"
local run = require "spec.support.run"
local secure = require "spec.support.secure_serve"

local function from_client(text) return bytes.frame(0x81, text, "\0\0\0\0") end

describe("openssl s_client", function()
  for _, version in ipairs { "-tls1_2", "-tls1_3" } do
    it("is answered, and verifies what it gets (" .. version .. ")", run(function()
      local server = secure.serve()
      local client = command.s_client(server.port, version, "-verify_return_error", "-verify_hostname", "localhost",
        "-alpn", "http/1.1", "-servername", "localhost")
      client:upgrade()
      client:type(from_client("over openssl"))
      client:expect("\129\12over openssl")
      local output = client:finish()
      assert.is_truthy(output:find("Verify return code: 0 (ok)", 1, true), output)
      assert.is_truthy(output:find("ALPN protocol: http/1.1", 1, true), output)
    end))
  end

  it("may ask for new keys, ours too (TLS 1.3)", run(function()
    local server = secure.serve()
    local client = command.s_client(server.port, "-tls1_3")
    client:upgrade()
    for i, letter in ipairs { "k", "K", "K" } do
      client:type(letter .. "\n")
      client:expect(("KEYUPDATE\n.*"):rep(i))
      client:type(from_client("after key " .. i))
      client:expect("\129\11after key " .. i)
    end
    client:finish()
  end))

  it("may not renegotiate (TLS 1.2)", run(function()
    local ended, done = nil, duplex.event()
    local server = secure.serve(nil, function(ws)
      secure.echo(ws)
      ended = ws.close_error
      done:set()
    end)
    local other = secure.connect(server)
    local client = command.s_client(server.port, "-tls1_2")
    client:upgrade()
    client:type(from_client("before"))
    client:expect("\129\6before")
    client:type("R\n")
    client:expect("RENEGOTIATING\n")
    client:expect("no renegotiation")
    local output = client:finish()
    assert.is_nil(output:find("after", 1, true))
    assert.is_true(done:wait(5))
    assert.is_string(ended)
    secure.alive(other)
  end))

  it("speaks no version that is too old", run(function()
    local server = secure.serve()
    for _, version in ipairs { "-tls1", "-tls1_1" } do
      local client = command.s_client(server.port, version, "-cipher", "DEFAULT@SECLEVEL=0")
      client:expect("ENDED\n")
      assert.is_truthy(client:output():find("alert protocol version", 1, true), client:output())
      client:finish()
    end
    secure.alive(secure.connect(server))
  end))

  it("gets a page", run(function()
    local server = secure.serve(nil, nil, { on_request = function() return 200, "a page over TLS" end })
    local client = command.s_client(server.port)
    client:type("GET /page HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    client:expect("a page over TLS")
    client:expect("ENDED\n")
    client:finish()
  end))

  it("shows a certificate that may be asked for", run(function()
    local alice = pki.certificate { client = true, name = "alice" }
    local subject, done = nil, duplex.event()
    local server = secure.serve(secure.tls { ca = pki.ca, client_certificates = "required" }, function(ws)
      subject = ws.tls.subject
      done:set()
      secure.echo(ws)
    end)
    local client = command.s_client(server.port, "-cert", alice.certificate, "-key", alice.key)
    client:upgrade()
    assert.is_true(done:wait(5))
    assert.equal("CN=alice", subject)
    local output = client:finish()
    assert.is_truthy(output:find("Acceptable client certificate CA names\nCN = Duplex Spec Root", 1, true), output)
  end))
end)

describe("openssl s_server", function()
  -- Connects to it.
  local function open(...)
    local server = command.s_server(...)
    local ws, message
    duplex.spawn(function() ws, message = secure.try(server) end)
    server:upgrade()
    for _ = 1, 500 do
      if ws or message then break end
      duplex.sleep(0.005)
    end
    assert(ws, message)
    return ws, server
  end

  for _, version in ipairs { "-tls1_2", "-tls1_3" } do
    it("is understood (" .. version .. ")", run(function()
      local ws, server = open(version, "-alpn", "http/1.1")
      server:type("\129\5Hello")
      assert.equal("Hello", (ws:receive(5)))
      assert.equal("http/1.1", ws.tls.alpn)
      ws:send("to openssl", "text")
      ws:close(1000, "", 0)
      server:expect("ENDED\n")
      server:finish()
    end))
  end

  it("may ask for new keys, ours too (TLS 1.3)", run(function()
    local ws, server = open("-tls1_3")
    for i, letter in ipairs { "k", "K", "K" } do
      server:type(letter .. "\n")
      repeat -- it says so when it has something else to say
        ws:send("x")
        duplex.sleep(0.002)
      until select(2, server:output():gsub("SSL_do_handshake %-> 1", "")) == i
      server:type("\129\3new")
      assert.equal("new", (ws:receive(5)))
      assert.is_true(ws:send("x"))
    end
    ws:close(1000, "", 0)
    server:finish()
  end))

  it("may not renegotiate (TLS 1.2)", run(function()
    local ws, server = open("-tls1_2")
    server:type("\129\6before")
    assert.equal("before", (ws:receive(5)))
    server:type("r\n")
    local data, message, id = ws:receive(5)
    assert.is_nil(data)
    assert.equal("LOST", id, message)
    assert.is_truthy(server:finish():find("no renegotiation", 1, true), server:output())
  end))

  it("that wants no version we have is refused", run(function()
    local server = command.s_server("-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0")
    secure.refused("version", server)
    server:finish()
  end))
end)
