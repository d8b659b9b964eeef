-- SPDX-License-Identifier: MIT
-- Who our server takes its clients for behind real nginx and HAProxy: with the
-- headers of a request, and with the PROXY protocol. Clients come from addresses
-- of their own (127.0.0.0/8 is all this machine), proxies from 127.0.0.1.

local child = require "spec.support.child"
local deploy = require "spec.counterparts.deploy"
local duplex = require "duplex"
local PATIENCE = require "spec.support.patience"
local pki = require "spec.support.pki"
local ports = require "spec.support.ports"
local run = require "spec.support.run"

local PEERS = "spec/counterparts/peers/"
local CLIENT = "127.0.0.77"
local pair = pki.certificate()
local running = {}
local made = 0

local function keep(one)
  table.insert(running, 1, one)
  return one
end

local function stop_all()
  for _, one in ipairs(running) do one:stop() end
  running = {}
end

local function folder()
  made = made + 1
  local path = ("%s/forwarded%d"):format(pki.folder, made)
  assert(os.execute("mkdir " .. path))
  return path
end

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write((text:gsub("\n[ ]*$", "\n")))
  file:close()
  return path
end

-- -> "127.0.0.1:PORT", child
local function serve(...)
  local self = keep(child.start(child.lua, PEERS .. "duplex_server.lua", ...))
  return self:expect("^listening on %S-:/+(.*)$"), self
end

local TLS = { "tls.certificate=" .. pair.certificate, "tls.key=" .. pair.key }

-- What a server has logged until it ends.
local function log_of(server)
  server:stop()
  local list = {}
  for _, line in ipairs(server.lines) do
    if line:find("^%l+\t") and not line:find("^debug") then list[#list + 1] = line end
  end
  return table.concat(list, "\n")
end

-- What the server says to a client that sends these lines.
local function ask(port, ca, lines, from)
  local _, said = child.start(child.lua, PEERS .. "ask.lua", from or CLIENT, tostring(port), ca or "", lines or ""):finish()
  return said
end

local SPOOFED = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n"
  .. "Forwarded: for=6.6.6.6;proto=https;host=evil\r\n"

-- ---- requests ----

describe("with the files of examples/deploy,", function()
  after_each(stop_all)

  local function start(kind, backend) return deploy.start(kind, backend, pair) end

  for _, kind in ipairs(deploy.kinds) do
    it(kind.name .. " tells who the client is, whatever it says itself", function()
      local proxy = start(kind, (serve("proxies=127.0.0.1")))
      keep(proxy.child)
      assert.equal(CLIENT .. " - true 127.0.0.1", ask(proxy.ports.tls, pki.ca))
      assert.equal(CLIENT .. " - true 127.0.0.1", ask(proxy.ports.tls, pki.ca, SPOOFED))
    end)

    it(kind.name .. " is not believed when it is none of the proxies", function()
      local proxy = start(kind, (serve("proxies=10.0.0.0/8,unix,::1")))
      keep(proxy.child)
      assert.equal("127.0.0.1 port false -", ask(proxy.ports.tls, pki.ca, SPOOFED))
    end)

    it(kind.name .. " is believed on a Unix socket", function()
      local path = folder() .. "/app.sock"
      serve("proxies=unix", "unix=" .. path)
      local proxy = start(kind, kind.unix .. path)
      keep(proxy.child)
      assert.equal(CLIENT .. " - true unix", ask(proxy.ports.tls, pki.ca, SPOOFED))
    end)

    it("pages that came through " .. kind.name .. " are of the same site, others are not", run(function()
      local proxy = start(kind, (serve("proxies=127.0.0.1")))
      keep(proxy.child)
      for origin, fine in pairs { ["https://localhost:" .. proxy.ports.tls] = true,
        ["http://localhost:" .. proxy.ports.plain] = false, ["https://evil"] = false } do
        local ws = duplex.connect(proxy.url .. "/who", { tls = { ca = pki.ca }, headers = { Origin = origin,
          ["X-Forwarded-Host"] = "evil", ["X-Forwarded-Proto"] = "http", Forwarded = "host=evil" } })
        assert.equal(fine, ws ~= nil)
      end
    end))
  end

  it("whoever comes past them is not believed", function()
    local address = serve("proxies=127.0.0.1")
    assert.equal(CLIENT .. " port false -", ask(address:match("%d+$"), nil, SPOOFED))
  end)
end)

describe("behind two proxies that add to the list", function()
  after_each(stop_all)

  it("the client is who the first one saw", function()
    local backend, dir = serve("proxies=127.0.0.1"), folder()
    local inner, outer = ports.free(), ports.free()
    local text = ([[
      worker_processes 1; pid DIR/pid; error_log stderr notice;
      events { }
      http {
        access_log off;
        client_body_temp_path DIR/b; proxy_temp_path DIR/p; fastcgi_temp_path DIR/f; uwsgi_temp_path DIR/u;
        scgi_temp_path DIR/s;
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        server { listen 127.0.0.1:%d; location / { proxy_pass http://127.0.0.1:%d; } }
        server { listen 127.0.0.1:%d; location / { proxy_pass http://%s; } }
      }
    ]]):format(outer, inner, inner, backend):gsub("DIR", dir)
    keep(child.start("/usr/sbin/nginx", "-e", "stderr", "-g", "daemon off;", "-c", write(dir .. "/conf", text)))
      :expect("start worker process ")
    assert.equal(CLIENT .. " - false 127.0.0.1", ask(outer))
    assert.equal(CLIENT .. " - false 127.0.0.1", ask(outer, nil, "X-Forwarded-For: 6.6.6.6\r\n"))
    assert.equal("127.0.0.78 - false 127.0.0.1", ask(outer, nil, "X-Forwarded-For: 127.0.0.1\r\n", "127.0.0.78"))
  end)
end)

-- ---- the PROXY protocol ----

-- 'bind' and 'server' are what the lines of these names end with. -> port
local function haproxy(address, server, bind)
  local port = ports.free()
  local text = ([[
    global
      log stdout format raw daemon notice
    defaults
      mode tcp
      timeout connect 5s
      timeout client 30s
      timeout server 30s
    listen app
      bind 127.0.0.1:%d %s
      server app %s %s
  ]]):format(port, bind or "", address, server)
  keep(child.start("/usr/sbin/haproxy", "-W", "-db", "-f", write(folder() .. "/conf", text))):expect("Loading success")
  return port
end

local function nginx(address)
  local port, dir = ports.free(), folder()
  local text = ([[
    load_module /usr/lib/nginx/modules/ngx_stream_module.so;
    worker_processes 1; pid %s/pid; error_log stderr notice;
    events { }
    stream { server { listen 127.0.0.1:%d; proxy_pass %s; proxy_protocol on; } }
  ]]):format(dir, port, address)
  keep(child.start("/usr/sbin/nginx", "-e", "stderr", "-g", "daemon off;", "-c", write(dir .. "/conf", text)))
    :expect("start worker process ")
  return port
end

local senders = {
  ["HAProxy's send-proxy"] = function(address) return haproxy(address, "send-proxy") end,
  ["HAProxy's send-proxy-v2"] = function(address) return haproxy(address, "send-proxy-v2") end,
  ["HAProxy's send-proxy-v2 with TLVs"] = function(address)
    return haproxy(address, "send-proxy-v2 proxy-v2-options crc32c,ssl,cert-cn")
  end,
  ["nginx's proxy_protocol"] = nginx,
}

for name, start in pairs(senders) do
  describe("with " .. name .. ",", function()
    after_each(stop_all)

    for _, over in ipairs { "plain", "tls" } do
      it("the client is known: " .. over, run(function()
        local ca = over == "tls" and pki.ca or nil
        local port = start((serve("proxies=127.0.0.1", "proxy_protocol=true", table.unpack(ca and TLS or {}))))
        local wanted = ("%s port %s 127.0.0.1"):format(CLIENT, tostring(ca ~= nil))
        assert.equal(wanted, ask(port, ca))
        assert.equal(wanted, ask(port, ca, SPOOFED))
        local url = ("%s://localhost:%d/echo"):format(ca and "wss" or "ws", port)
        local ws = assert(duplex.connect(url, { tls = { ca = ca } }))
        local data = ("x"):rep(300000)
        ws:send(data, "binary")
        assert.is_true(ws:receive(PATIENCE) == data)
      end))
    end

    it("a server that does not expect it answers 400", function()
      assert.equal("HTTP/1.1 400 Bad Request", ask(start((serve()))))
    end)

    it("a server that does not know this proxy hangs up, and says so", function()
      local address, server = serve("proxies=127.0.0.2", "proxy_protocol=true")
      assert.equal("failed: closed", ask(start(address)))
      assert.equal("warning\trefused a connection that comes from none of the proxies", log_of(server))
    end)
  end)
end

describe("with HAProxy", function()
  after_each(stop_all)

  it("that ends TLS and sends version 2, it is known that the client has TLS", function()
    local both = write(folder() .. "/pem", pki.read(pair.certificate) .. pki.read(pair.key))
    local port = haproxy(serve("proxies=127.0.0.1", "proxy_protocol=true"), "send-proxy-v2-ssl", "ssl crt " .. both)
    assert.equal(CLIENT .. " port true 127.0.0.1", ask(port, pki.ca))
  end)

  for _, version in ipairs { "send-proxy", "send-proxy-v2" } do
    it("its health checks are nobody's trouble: " .. version, run(function()
      local address, server = serve("proxies=127.0.0.1", "proxy_protocol=true")
      local port = haproxy(address, version .. " check inter 50ms")
      duplex.sleep(0.5)
      assert.equal(CLIENT .. " port false 127.0.0.1", ask(port))
      assert.equal("", log_of(server))
    end))
  end

  it("whoever comes past it is hung up on, and it is logged", function()
    local address, server = serve("proxies=127.0.0.1", "proxy_protocol=true")
    assert.equal("failed: closed", ask(address:match("%d+$"), nil, SPOOFED))
    assert.equal("failed: closed", ask(address:match("%d+$"), nil, SPOOFED, "127.0.0.1"))
    assert.equal("warning\trefused a connection that comes from none of the proxies\n"
      .. "warning\tHANDSHAKE: no PROXY protocol header at the start", log_of(server))
  end)
end)
