-- SPDX-License-Identifier: MIT
-- Defects of servers with TLS that a review found.

local duplex = require "duplex"
local native = require "duplex.host.native"
local peer = require "spec.support.peer"
local pki = require "spec.support.pki"
local process = require "spec.support.process"
local raw = require "spec.support.raw"
local run = require "spec.support.run"
local secure = require "spec.support.secure_serve"
local secure_peer = require "spec.support.secure_peer"
local secure_raw = require "spec.support.secure_raw"

local GET = "GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"

describe("memory of handshakes", function()
  -- An engine was freed by the collector, which saw a few bytes of it and not
  -- the 40 KiB of OpenSSL behind them: a server that has little else to collect
  -- grew by hundreds of MiB before it got to them.
  it("goes with their connections, whatever the collector does", function()
    local pair = pki.certificate()
    -- AddressSanitizer shall not keep what was freed.
    local server = process.server({ pki.write("uncollected.lua",
      'collectgarbage("stop")\ndofile("spec/support/secure_server.lua")\n'),
      ("{ tls = { certificate = %q, key = %q }, log = false }"):format(pair.certificate, pair.key),
    }, { before = "export ASAN_OPTIONS=$ASAN_OPTIONS:quarantine_size_mb=0:thread_local_quarantine_size_kb=0;" })
    finally(function() server:stop() end)
    local client = secure_peer.context("client"):engine("localhost")
    assert.is_false(client:ready())
    local hello = client:output()
    local function hang_up(count)
      for _ = 1, count do
        local p = raw.tcp(server.port)
        p:write(hello)
        assert.equal("\22", p:read(1)) -- it is in the middle of the handshake
        p:close()
      end
      local good = secure_raw.connect(server.port)
      assert.is_true(good:alive())
      good:close()
    end
    hang_up(100)
    local before = server:resident()
    hang_up(2000)
    local grown = server:resident() - before
    assert.is_true(grown < 5000, grown .. " KiB for 2000 handshakes")
  end)
end)

describe("a server whose TLS cannot begin", function()
  -- It went on without: what was meant for TLS was then read, and answered, in
  -- the clear.
  it("hangs up, says why, and accepts others", run(function()
    local failures, logged, handled = 2, {}, 0
    local transport = setmetatable({ secure = function(...)
      failures = failures - 1
      if failures >= 0 then return nil, "TLS: cannot begin a handshake", "TLS" end
      return native.transport.secure(...)
    end }, { __index = native.transport })
    local bound = duplex.bind(setmetatable({ transport = transport }, { __index = native }))
    local server = assert(bound.serve({ tls = secure.tls(), max_handshakes = 1,
      log = function(level, text) if level ~= "debug" then logged[#logged + 1] = level .. ": " .. text end end,
      on_request = function() handled = handled + 1 end,
    }, secure.echo))
    for i = 1, 2 do
      local p = peer.connect(server.port)
      assert.same({ "", "end" }, { p:send(peer.request):rest(5) })
      p:close()
      assert.equal("error: cannot accept: TLS: cannot begin a handshake", logged[i])
    end
    assert.equal(0, handled)
    assert.same({ 0, 0 }, { server:stats().handshakes, server:stats().connections })
    secure.alive(secure.connect(server))
    assert.equal(1, handled)
    server:stop(0)
    assert.equal(2, #logged)
  end))
end)

describe("handshakes that a server counts", function()
  -- What was counted was everything that is no WebSocket, and whose task died of
  -- an error was counted for ever: with max_handshakes nobody came in any more.
  local server
  local function serve(options)
    options = options or {}
    options.max_handshakes = 1
    server = secure.serve(nil, secure.echo, options)
  end

  -- A client over TLS that has asked for something.
  local function ask(path)
    local p = assert(secure_peer.connect(server.port):handshake())
    return p:send(GET:format(path))
  end

  local function is_over()
    local deadline = duplex.now() + 5
    while server:stats().handshakes > 0 and duplex.now() < deadline do duplex.sleep(0.001) end
    assert.equal(0, server:stats().handshakes)
    secure.alive(secure.connect(server)) -- there is room
  end

  it("are over with the first request, though the connection stays", run(function()
    serve { on_request = function(request)
      if request.path == "/page" then return 200, "a page\n" end
    end }
    local p = ask("page")
    assert(p:read_to("a page\n"))
    is_over()
    p:send(GET:format("page"))
    assert(p:read_to("a page\n"))
    p:close()
    is_over()
  end))

  for _, row in ipairs {
    { "before a byte", function() peer.connect(server.port):close() end },
    { "behind a byte", function() peer.connect(server.port):send("\22"):close() end },
    { "in the handshake", function()
      local p = secure_peer.connect(server.port)
      p.engine:ready()
      p:push():pull()
      p:close()
    end },
    { "behind the handshake", function() secure_peer.connect(server.port):handshake():close() end },
    { "in the head", function()
      secure_peer.connect(server.port):handshake():send("GET / HT"):close()
    end },
  } do
    it("are over when the peer hangs up " .. row[1], run(function()
      serve()
      row[2]()
      is_over()
    end))
  end

  it("are over when on_request raises", run(function()
    serve { on_request = function(request) assert(request.path ~= "/bad") end }
    local p = ask("bad")
    assert.matches("^HTTP/1.1 500 ", p:read_to("\r\n\r\n"))
    is_over()
    p:close()
  end))

  it("are over with a refusal", run(function()
    serve()
    local p = ask("")
    assert.matches("^HTTP/1.1 426 ", p:read_to("\r\n\r\n"))
    is_over()
    p:close()
    p = peer.connect(server.port):send(GET:format("")) -- TLS refuses
    assert.matches("^HTTP/1.1 400 ", p:rest(5))
    is_over()
    p:close()
  end))

  it("are over when the server stops", run(function()
    for _, grace in ipairs { 0, 5 } do
      serve()
      local p = secure_peer.connect(server.port)
      p.engine:ready()
      p:push():pull() -- it has answered, and waits
      assert.equal(1, server:stats().handshakes)
      server:stop(grace)
      assert.equal(0, server:stats().handshakes)
      p:close()
    end
  end))
end)

describe("a certificate among others", function()
  -- The first one was tried, the others were not: connections of those who asked
  -- for them failed later, one by one.
  it("that OpenSSL does not take is refused at once, by name", run(function()
    local certificate, key = pki.path(".pem"), pki.path(".key")
    assert(os.execute(("openssl req -x509 -newkey rsa:1024 -nodes -subj /CN=weak.example -addext "
      .. "subjectAltName=DNS:weak.example -keyout %s -out %s 2>/dev/null"):format(key, certificate)))
    local weak = { certificate = certificate, key = key }
    local good = pki.certificate { name = "good.example" }
    local function refused(result, message, id)
      assert.is_nil(result)
      assert.matches("^TLS: .*weak%.example.*too small", message)
      assert.equal("TLS", id)
    end
    for _, tls in ipairs { secure.tls { certificates = { weak } }, { certificates = { good, weak } }, weak } do
      refused(duplex.serve({ tls = tls, log = false }, secure.echo))
    end
    local server = secure.serve()
    refused(server:reload_tls(secure.tls { certificates = { good, weak } }))
    assert.is_true(server:reload_tls()) -- those of before
    secure.alive(secure.connect(server))
    secure.refused("not for good.example", server, { server_name = "good.example" })
  end))
end)

describe("names of many certificates", function()
  -- To look at every certificate for every ClientHello took milliseconds with a
  -- few hundred of them: names are looked up now, and have to mean the same.
  local long = ("a"):rep(63) .. "." .. ("b"):rep(63) .. "." .. ("c"):rep(63) .. "." .. ("d"):rep(63) -- 255
  local function shown(context, name)
    local server, client = context:engine(), secure_peer.context("client", { verify = false }):engine(name)
    repeat
      client:ready()
      server:feed(client:output())
      assert(server:ready() ~= nil)
      client:feed(server:output())
    until assert(client:ready() ~= nil) and client:info()
    return client:info().subject
  end

  it("are found as before", function()
    local many = {}
    for i = 1, 200 do many[i] = ("host%d.many.example"):format(i * 7919 % 1000) end
    local function certificate(name, names) return pki.certificate { name = name, names = names } end
    local context = secure_peer.context("server", { certificates = {
      certificate("wildcard", { "*.many.example", "*.b.example" }),
      certificate("many", many),
      certificate("again", { many[1], "*.many.example", "again.example" }),
      certificate("upper", { "UPPER.Example", "*.UP.Example" }),
      certificate("long", { long }),
    } })
    for _, row in ipairs {
      { many[1], "many" }, { many[200], "many" }, { many[100]:upper(), "many" },
      { "other.many.example", "wildcard" }, { "host.b.example", "wildcard" }, { "again.example", "again" },
      { "upper.example", "upper" }, { "UPPER.EXAMPLE", "upper" }, { "x.up.example", "upper" },
      { long, "long" }, { ("x"):rep(255), "localhost" }, { "x." .. long:sub(3), "localhost" },
      { "unknown.example", "localhost" }, { "many.example", "localhost" }, { "a.host.b.example", "localhost" },
      { "again.example.", "again" }, { "example", "localhost" }, { "*.many.example", "wildcard" },
    } do
      assert.equal("CN=" .. row[2], shown(context, row[1]), row[1])
    end
  end)
end)
