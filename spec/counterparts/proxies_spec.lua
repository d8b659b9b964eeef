-- SPDX-License-Identifier: MIT
-- Our client through real proxies: tinyproxy, microsocks, Dante, and stunnel in
-- front of tinyproxy.

local child = require "spec.support.child"
local duplex = require "duplex"
local PATIENCE = require "spec.support.patience"
local pki = require "spec.support.pki"
local ports = require "spec.support.ports"
local program = require "spec.support.proxy_program"
local run = require "spec.support.run"
local schemes = require "spec.counterparts.schemes"

local TRUST = { ca = pki.ca }
local unpack = unpack or table.unpack

local function piece(number) return ("%08d"):format(number):rep(8192) end

for _, scheme in ipairs { schemes[1], schemes[2] } do
  describe("our client through real proxies, " .. scheme.name .. ":", function()
    local running, server, closed = {}, nil, nil

    -- The place of a proxy that runs until the end.
    local function keep(one)
      table.insert(running, 1, one)
      return one.place
    end

    local places = {}

    lazy_setup(function()
      local echo = child.start(child.lua, "spec/counterparts/peers/duplex_server.lua", unpack(scheme.serve))
      running[1] = echo
      local port = tonumber(echo:expect("^listening on .*:(%d+)"))
      server, closed = scheme.name .. "://localhost:" .. port, ports.free()
      places.open = keep(program.start_tinyproxy { port, closed })
      places.locked = keep(program.start_tinyproxy({ port }, "me secret"))
      places.covered = keep(program.start_stunnel(places.open, pki.certificate()))
      places.socks = keep(program.start_microsocks())
      places.closedsocks = keep(program.start_microsocks("me", "s:cret"))
      places.dante = keep(program.start_dante(closed))
    end)
    lazy_teardown(function()
      for _, one in ipairs(running) do one:stop() end
    end)

    local function connect(via, path)
      return duplex.connect(server .. (path or "/echo"),
        { proxy = (via:gsub("%a+$", places)), tls = scheme.tls, proxy_tls = TRUST })
    end

    for name, via in pairs {
      ["tinyproxy"] = "http://open",
      ["tinyproxy with authentication"] = "http://me:secret@locked",
      ["stunnel and tinyproxy"] = "https://covered",
      ["microsocks"] = "socks5h://socks",
      ["microsocks with authentication"] = "socks5h://me:s%3Acret@closedsocks",
      ["microsocks, names resolved here"] = "socks5://socks",
      ["Dante"] = "socks5h://dante",
    } do
      describe(name, function()
        local function reach(path) return assert(connect(via, path)) end

        it("echoes text and binary of all sizes", run(function()
          local ws = reach()
          for _, size in ipairs { 0, 1, 125, 126, 65535, 65536, 1000000 } do
            for kind, byte in pairs { text = "x", binary = "\255" } do
              assert(ws:send(byte:rep(size), kind))
              local answer, its_kind = assert(ws:receive(PATIENCE))
              assert.equal(kind, its_kind)
              assert.is_true(answer == byte:rep(size), size .. " bytes of " .. kind)
            end
          end
          assert.is_true(assert(ws:ping(PATIENCE)) >= 0)
          assert.is_true(ws:close())
          assert.equal(1000, ws.close_code)
        end))

        it("carries 6 MB both ways at once", run(function()
          local ws = reach("/stream?count=100")
          duplex.spawn(function()
            for i = 1, 100 do assert(ws:send(piece(i), "binary")) end
          end)
          for i = 1, 100 do assert.is_true(assert(ws:receive(PATIENCE)) == piece(i), "piece " .. i) end
          assert.is_truthy(tonumber((ws:receive(PATIENCE))))
        end))

        it("shows how the server ends", run(function()
          local ws = reach("/close?code=4999&reason=z")
          assert.equal("CLOSED", select(3, ws:receive(PATIENCE)))
          assert.same({ 4999, "z" }, { ws:wait_closed(PATIENCE) })
        end))

        it("shows what the server refuses as the server's", run(function()
          local _, message, id, response = connect(via, "/refused")
          assert.matches("^HTTP: the server answered 401", message)
          assert.equal("HTTP", id)
          assert.equal("who are you?\n", response.body)
        end))

        it("says that it cannot reach a port", run(function()
          local real = server
          server = scheme.name .. "://localhost:" .. (via:find("locked") and 1 or closed)
          local _, message, id = connect(via)
          server = real
          assert.equal("PROXY", id, message)
          assert.matches(via:find("^http") and "the proxy answered [45]%d%d " or name == "Dante"
            and "localhost port %d+: its rules do not allow this connection" or "port %d+: connection refused",
            message)
        end))
      end)
    end

    it("without or with wrong user and password, tinyproxy gives 407 and 401", run(function()
      for via, what in pairs {
        ["http://locked"] = "407 Proxy Authentication Required",
        ["http://me:wrong@locked"] = "401 Unauthorized", ["http://you:secret@locked"] = "401 Unauthorized",
      } do
        local _, message, id, response = connect(via)
        assert.equal("PROXY: the proxy answered " .. what, message)
        assert.equal("PROXY", id)
        assert.equal(tonumber(what:match("%d+")), response.status)
        assert.matches("Tinyproxy", response.headers["Proxy-Authenticate"] or response.headers["WWW-Authenticate"])
      end
    end))

    it("without or with wrong user and password, microsocks lets nobody in", run(function()
      local _, message = connect("socks5h://closedsocks")
      assert.equal("PROXY: the proxy wants authentication (user and password in its URL?)", message)
      _, message = connect("socks5h://me:wrong@closedsocks")
      assert.equal("PROXY: the proxy refused user and password", message)
    end))

    it("one kind of proxy is not taken for another", run(function()
      for via, what in pairs {
        ["http://socks"] = "^PROXY: ", ["http://covered"] = "^PROXY: ",
        ["https://socks"] = "^PROXY: no TLS with the proxy ",
      } do
        local _, message, id = connect(via)
        assert.matches(what, message)
        assert.equal("PROXY", id)
      end
    end))

    it("an https proxy is verified by proxy_tls, not by tls", run(function()
      local _, message, id = duplex.connect(server .. "/echo",
        { proxy = "https://" .. places.covered, tls = TRUST })
      assert.matches("^PROXY: no TLS with the proxy .*not trusted", message)
      assert.equal("PROXY", id)
    end))

    it("a proxy of the environment serves bin/duplex, and its password stays here", function()
      local name = scheme.tls and "https_proxy" or "http_proxy"
      local one = child.start("env", "no_proxy=", name .. "=http://me:secret@" .. places.locked, child.lua,
        "bin/duplex", "connect", scheme.name .. "://server.invalid:1/")
      local _, output = one:finish()
      assert.matches("PROXY: the proxy answered 403 Access violation", output, 1, true)
      assert.is_nil(output:find("secret", 1, true))
      one = child.start("env", "no_proxy=invalid", name .. "=http://me:secret@" .. places.locked, child.lua,
        "bin/duplex", "connect", scheme.name .. "://server.invalid:1/")
      _, output = one:finish()
      assert.matches("DNS: server.invalid", output, 1, true)
    end)
  end)
end
