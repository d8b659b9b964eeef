-- SPDX-License-Identifier: MIT
-- examples/deploy in real nginx and HAProxy: TLS ends there, our server is
-- behind.

local child = require "spec.support.child"
local client_cases = require "spec.counterparts.client_cases"
local duplex = require "duplex"
local options = require "duplex.options"
local PATIENCE = require "spec.support.patience"
local pki = require "spec.support.pki"
local deploy = require "spec.counterparts.deploy"
local ports = require "spec.support.ports"
local run = require "spec.support.run"

local NODE = os.getenv("NODE") or "node"
local PYTHON = os.getenv("PYTHON") or "/usr/bin/python3"
local PEERS = "spec/counterparts/peers/"
local TLS = { ca = pki.ca }
local pair = pki.certificate()
local output_of = deploy.output_of
local running = {}

local function start_proxy(kind, backend, changed)
  local self = deploy.start(kind, backend, pair, changed)
  table.insert(running, 1, self.child)
  return self
end

local function start_server(...)
  local self = child.start(child.lua, PEERS .. "duplex_server.lua", ...)
  table.insert(running, self)
  local url = self:expect("^listening on (.*)$")
  return url:match("^ws://(.*)$"), self
end

local function stop_all()
  for _, one in ipairs(running) do one:stop() end
  running = {}
end

-- What a plain request gets, from a client that verifies.
local function get(self, path)
  local _, text = output_of(([[printf 'GET %s HTTP/1.1\r\nHost: localhost:%d\r\nConnection: close\r\n\r\n' |
    timeout 10 openssl s_client -quiet -verify_quiet -connect 127.0.0.1:%d -servername localhost \
    -CAfile %s -verify_hostname localhost -verify_return_error]]):format(path, self.ports.tls, self.ports.tls, pki.ca))
  return text
end

-- ---- what is the same with both ----

for _, kind in ipairs(deploy.kinds) do
  local proxy

  local function connect(path, more)
    more = more or {}
    more.tls = TLS
    return duplex.connect(proxy.url .. path, more)
  end

  describe("our server behind " .. kind.name .. ":", function()
    lazy_setup(function() proxy = start_proxy(kind, (start_server())) end)
    lazy_teardown(stop_all)

    it("the file has no mistake", function()
      local fine, said = output_of(kind.check(proxy.path))
      assert.is_true(fine, said)
      assert.is_nil(said:lower():find("warn", 1, true), said)
    end)

    it("the file allows more silence than there is between two pings", function()
      local interval
      for _, row in ipairs(options.rows) do
        if row.name == "ping_interval" then interval = row.default end
      end
      assert.truthy(pki.read(kind.file):find(kind.silence, 1, true))
      assert.is_true(tonumber(kind.silence:match("(%d+)s$")) >= 2 * interval)
    end)

    it("a page", function()
      local answer = get(proxy, "/")
      assert.truthy(answer:find("^HTTP/1.1 200 OK\r\n"), answer)
      assert.truthy(answer:find("\r\n\r\na page\n$"), answer)
    end)

    it("the page for whoever watches", function()
      assert.truthy(get(proxy, "/health"):find("\r\n\r\nfine\n$"))
    end)

    it("http is sent on to https", run(function()
      local ws, message, _, response = duplex.connect(
        ("ws://127.0.0.1:%d/echo?a=b"):format(proxy.ports.plain), { redirects = 0 })
      assert.is_nil(ws)
      assert.equal("HTTP: the server answered 301 Moved Permanently", message)
      assert.truthy(response.headers.Location:find("^https://127%.0%.0%.1:?%d*/echo%?a=b$"),
        response.headers.Location)
    end))

    it("the program learns who asks, whatever the client says", run(function()
      local ws = assert(connect("/forwarded", { headers = { ["X-Forwarded-For"] = "192.0.2.1" } }))
      assert.equal("https 127.0.0.1", (ws:receive(PATIENCE)))
    end))

    it("pages of this site may connect, and others may not", run(function()
      assert(connect("/echo", { headers = { Origin = "https://localhost:" .. proxy.ports.tls } }))
      local ws, message = connect("/echo", { headers = { Origin = "https://example.net" } })
      assert.is_nil(ws)
      assert.equal("HTTP: the server answered 403 Forbidden", message)
    end))

    it("a client that does not know the authority refuses", run(function()
      local ws, message, id = duplex.connect(proxy.url .. "/echo", { tls = { ca = pki.other_ca } })
      assert.is_nil(ws)
      assert.equal("TLS", id)
      assert.truthy(message:find("not trusted", 1, true), message)
    end))

    it("a message as large as may be", run(function()
      local ws, data = assert(connect("/echo")), ("x"):rep(1048576)
      ws:send(data, "binary")
      assert.is_true(ws:receive(PATIENCE) == data)
    end))

    client_cases(it, function() return proxy.url end, TLS, " clean ")
  end)

  describe("behind " .. kind.name, function()
    after_each(stop_all)

    for name, words in pairs {
      Python = { PYTHON, PEERS .. "client.py" }, Node = { NODE, PEERS .. "client.mjs" },
    } do
      it(name .. "'s client does all that it does with our server", function()
        proxy = start_proxy(kind, (start_server()))
        local results = child.results(words[1], words[2], proxy.url, pki.ca)
        local cases = 0
        for case, result in pairs(results) do
          cases = cases + 1
          assert.is_true(result, case .. ": " .. tostring(result))
        end
        assert.is_true(cases >= 14, tostring(results.none))
      end)
    end

    it("TLS older than 1.2 is refused", function()
      proxy = start_proxy(kind, "127.0.0.1:" .. ports.free(), kind.lax)
      for version, answer in pairs { ["-tls1_1"] = "alert protocol version", ["-tls1_2"] = "Protocol  : TLSv1.2" } do
        local _, said = output_of(("timeout 10 openssl s_client -connect 127.0.0.1:%d %s -cipher DEFAULT@SECLEVEL=0 </dev/null")
          :format(proxy.ports.tls, version))
        assert.truthy(said:find(answer, 1, true), said)
      end
    end)

    it("a page in Chromium opens a WebSocket", function()
      proxy = start_proxy(kind, (start_server()))
      local url = proxy.url:gsub("^wss", "https")
      local _, said = child.start(NODE, PEERS .. "page.mjs", url, pki.ca):finish()
      assert.equal(kind.browser .. " from a page 4000", said)
    end)

    -- What comes of a connection on which nobody speaks for 2 s, where 1 s is allowed.
    local function silence(ping_interval)
      proxy = start_proxy(kind, (start_server("ping_interval=" .. ping_interval)),
        { [kind.silence] = kind.silence:gsub("%d+s$", "1s") })
      local ws = assert(connect("/echo", { ping_interval = false }))
      local id = select(3, ws:receive(2))
      if id ~= "TIMEOUT" then return id end
      ws:send("still here")
      return (ws:receive(PATIENCE))
    end

    it("pings of the server keep a connection that is silent", run(function()
      assert.equal("still here", silence(0.3))
    end))

    it("a connection that is silent without pings is cut", run(function()
      assert.equal("LOST", silence(0))
    end))

    it("a program that is not there is an HTTP error in words", run(function()
      proxy = start_proxy(kind, "127.0.0.1:" .. ports.free())
      local ws, message, id, response = connect("/echo")
      assert.is_nil(ws)
      assert.equal("HTTP: the server answered " .. kind.down, message)
      assert.equal("HTTP", id)
      assert.equal(tonumber(kind.down:match("%d+")), response.status)
    end))

    it("a program that is killed is LOST", run(function()
      local address, program = start_server()
      proxy = start_proxy(kind, address)
      local ws = assert(connect("/echo"))
      ws:send("x")
      assert.equal("x", (ws:receive(PATIENCE)))
      os.execute("pkill -KILL -P " .. program.pid)
      assert.equal("LOST", (select(3, ws:receive(PATIENCE))))
    end))

    it("the program may listen on a Unix socket", run(function()
      local path = ("%s/%s.sock"):format(pki.folder, kind.name)
      start_server("unix=" .. path)
      proxy = start_proxy(kind, kind.unix .. path)
      local ws = assert(connect("/echo"))
      ws:send("x")
      assert.equal("x", (ws:receive(PATIENCE)))
    end))

    it("a reload takes a new certificate, and open connections stay", run(function()
      proxy = start_proxy(kind, (start_server()))
      local ws = assert(connect("/echo"))
      assert.equal(pki.fingerprint(pair), ws.tls.fingerprint)
      local renewed = pki.certificate { serial = 2 }
      deploy.install(proxy, renewed)
      local fine, said = output_of(kind.reload(proxy.path, proxy.folder))
      assert.is_true(fine, said)
      local later
      local deadline, wanted = duplex.now() + PATIENCE, pki.fingerprint(renewed)
      repeat -- the old process answers until it hears of the new one, or takes what nobody answers
        later = connect("/echo", { open_timeout = 3 })
      until later and later.tls.fingerprint == wanted or duplex.now() > deadline
      assert.equal(wanted, assert(later, "nobody answers").tls.fingerprint)
      for _, one in ipairs { ws, later } do
        one:send("x")
        assert.equal("x", (one:receive(PATIENCE)))
      end
    end))
  end)
end
