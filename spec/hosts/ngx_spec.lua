-- SPDX-License-Identifier: MIT
-- Real nginx with its Lua module. What every host has to do is in cases.lua, and
-- what every server in spec/support; here it is done by nginx.

local applies = require "spec.support.applies"
local bytes = require "spec.support.bytes"
local conform = require "spec.support.conform"
local host_cases = require "spec.hosts.cases"
local nginx = require "spec.support.nginx"
local pki = require "spec.support.pki"
local ports = require "spec.support.ports"
local process = require "spec.support.process"
local raw = require "spec.support.raw"
local socket = require "socket"

local describe = applies.where(not nginx.lacks, nginx.lacks, describe)
local APP = 'content_by_lua_block { require("spec.hosts.ngx_app").%s() }'
local NAMES = { "echo", "chat", "push", "flood", "close", "idle", "busy", "asleep", "stats", "ask", "fail", "failing_task",
  "exit", "collect", "much", "context", "address", "timers", "slow", "running", "misuse", "room", "say",
  "bus", "connect", "tell", "large", "count", "nest", "meddle", "stay", "later", "page",
  "away", "nap", "last", "metrics", "failing_hooks" }

local function locations()
  local list = { "location / { " .. APP:format("echo") .. " }" }
  for _, name in ipairs(NAMES) do
    list[#list + 1] = ("location = /%s { %s }"):format(name, APP:format(name))
  end
  return table.concat(list, "\n")
end

local function serve(more) return "server { listen 127.0.0.1:$PORT; " .. locations() .. (more or "") .. " }" end

local function connect(self, path, changes, peer)
  peer = peer or raw.tcp(self.port)
  peer:write((raw.request(changes):gsub("^GET /", "GET " .. path, 1)))
  local head = peer:head()
  assert(head:find("^HTTP/1.1 101 "), head)
  return peer
end

-- The next frame that is no ping.
local function message(peer)
  local first, payload
  repeat first, payload = peer:frame() until first ~= 0x89
  return first == 0x81 and payload or ("%02x"):format(first or 0)
end

local function close(peer)
  peer:send(0x88, bytes.close(1000))
  peer:until_close()
  peer:close()
end

-- Waits until a worker that is to exit has.
local function gone(self, pid)
  self:wait(function()
    local file = io.open("/proc/" .. pid .. "/stat")
    if file then file:close() end
    return not file
  end)
end

-- Waits for a line of /stats.
local function connections(self)
  local _, body = self:get("/stats")
  return tonumber(body:match("(%d+) %d+ %d+\n"))
end

describe("nginx: what every host does:", function()
  local self, results

  lazy_setup(function()
    local given, listen = {}, {}
    for i = 1, 45 do
      given[i] = ports.free()
      listen[i] = ("listen 127.0.0.1:%d;"):format(given[i])
    end
    self = nginx.start(([[server { listen 127.0.0.1:$PORT; content_by_lua_block {
        require("spec.hosts.ngx_play").run("%s", "$ROOT", "lua5.4") } }
      server { %s content_by_lua_block { require("spec.hosts.ngx_play").serve() } }]])
      :gsub("(content_by_lua_block %b{})", "location / { %1 }")
      :format(table.concat(given, " "), table.concat(listen, " ")))
    results = {}
    local peer = raw.tcp(self.port)
    peer.sock:settimeout(60)
    peer:write("GET /play HTTP/1.1\r\nHost: x\r\n\r\n")
    local lines = {}
    repeat
      local line = peer:read("*l") or "all played"
      lines[#lines + 1] = line
    until line == "all played"
    peer:close()
    results = table.concat(lines, "\n")
  end)

  lazy_teardown(function() self:stop() end)

  for _, case in ipairs(host_cases) do
    it(case[1], function()
      if results:find("\nok " .. case[1] .. "\n", 1, true) then return end
      local _, last = results:find("\nna " .. case[1] .. ": ", 1, true)
      if last then return applies.note(case[1], results:match("[^\n]+", last + 1)) end
      error(results, 0)
    end)
  end
end)

describe("nginx conforms to RFC 6455:", function()
  local self, witness

  lazy_setup(function()
    self = nginx.start(serve())
    witness = connect(self, "/")
  end)
  lazy_teardown(function() self:stop() end)

  conform.server(it, raw, function() return self.port end, function() return witness end, true)

  it("logs nothing meanwhile", function()
    close(witness)
    self:wait(function() return connections(self) == 0 end)
    assert.equal("", self:complaints())
  end)
end)

describe("nginx:", function()
  local self

  before_each(function()
    self = nginx.start(serve [[listen 127.0.0.1:$OTHER sndbuf=32k;
      listen unix:$FOLDER/plain.sock; location = /proxied {
      proxy_pass http://unix:$FOLDER/plain.sock:/address; proxy_http_version 1.1;
      proxy_set_header Connection upgrade; proxy_set_header Upgrade websocket;
      proxy_set_header X-Forwarded-For 192.0.2.7; }
      location = /phase { return 200 x; log_by_lua_block { require("spec.hosts.ngx_app").phase() } }
      location = /refused { access_by_lua_block { require("spec.hosts.ngx_app").refused() } }]])
  end)
  after_each(function() self:stop() end)

  it("neither OpenSSL of ours nor libuv is loaded, and no module but the core", function()
    close(connect(self, "/echo"))
    local maps = pki.read(("/proc/%d/maps"):format(self:workers()[1]))
    assert.truthy(maps:find("/duplex/core.so", 1, true))
    for _, name in ipairs { "/duplex/tls.so", "/duplex/loop.so", "/duplex/socket.so", "libuv" } do
      assert.is_nil(maps:find(name, 1, true), name)
    end
  end)

  it("refuses what is no upgrade, or not allowed, and logs the status", function()
    local head = self:get("/chat")
    assert.truthy(head:find("^HTTP/1.1 426 ") and head:find("Upgrade: websocket"), head)
    for status, changes in pairs { [403] = { Origin = "https://evil.example" },
      [426] = { ["Sec-WebSocket-Version"] = "12" }, [400] = { ["Sec-WebSocket-Key"] = "short" } } do
      local peer = raw.tcp(self.port)
      peer:write((raw.request(changes):gsub("^GET /", "GET /chat", 1)))
      local answer = peer:head()
      assert.truthy(answer:find("^HTTP/1.1 " .. status), answer)
      peer:close()
    end
    local peer = connect(self, "/chat", { Origin = "https://example.com", ["Sec-WebSocket-Protocol"] = "a, c" })
    close(peer)
    self:wait(function() return self:access():find('" 101 ') end)
    assert.truthy(self:access():find('"GET /chat HTTP/1.1" 403 '))
    assert.truthy(self:log():find('refused a page of another site; to let it in', 1, true))
  end)

  it("HTTP/1.0 is told so", function()
    local peer = raw.tcp(self.port)
    peer:write((raw.request():gsub("HTTP/1.1", "HTTP/1.0", 1)))
    assert.truthy(peer:head():find("^HTTP/1.1 400 "))
  end)

  it("options that are nginx's own raise, and name the host", function()
    local _, body = self:get("/misuse")
    for name, what in pairs {
      tls = "host 'nginx' cannot honour the option 'tls'", port = "host 'nginx' cannot honour the option 'port'",
      unknown = "max_message", handler = "handler must be a function", serve = "host 'nginx' has no",
      run = "host 'nginx' has no run", ca = "the option 'tls.ca'", proxy_tls = "the option 'proxy_tls'",
      metrics = 'format must be "prometheus" or nothing, got json',
      bus = "nginx.conf has no 'lua_shared_dict none'",
    } do
      local line = body:match("%f[%a]" .. name .. ": ([^\r\n]+)")
      assert.truthy(line and line:find(what, 1, true), name .. ": " .. tostring(line))
    end
    assert.is_nil(body:find("duplex/ngx.lua:", 1, true), body)
  end)

  it("a thousand small messages leave in few writes", function()
    local peer = connect(self, "/echo")
    local frames = bytes.frame(0x81, ("x"):rep(32), peer.key):rep(1000)
    local trace = self.folder .. "/trace"
    local strace = process.start { "strace", "-f", "-e", "trace=writev,write,sendto,sendmsg", "-o", trace,
      "-p", tostring(self:workers()[1]) }
    socket.sleep(0.5)
    peer:write(frames)
    for _ = 1, 1000 do assert.equal(("x"):rep(32), message(peer)) end
    strace:stop()
    local count = 0
    for _ in pki.read(trace):gmatch("[^\n]*%d+%s+%a+%(%d+, [^\n]*x+") do count = count + 1 end
    assert.is_true(count >= 1 and count < 30, count .. " writes")
    close(peer)
  end)

  it("send, try_send and broadcast from other requests reach those of this worker", function()
    local peers = {}
    for i = 1, 5 do peers[i] = connect(self, "/echo") end
    peers[6] = connect(self, "/busy") -- whose handler reads nothing
    for _, how in ipairs { "send", "try_send", "broadcast" } do
      local _, body = self:get("/push?text=" .. how .. "&how=" .. how)
      assert.truthy(body:find("6\n", 1, true), body)
      for i = 1, 6 do assert.equal(how, message(peers[i])) end
    end
    for i = 1, 5 do close(peers[i]) end
  end)

  it("another request that sends more than fits waits, and nothing is lost", function()
    local peer = connect(self, "/echo")
    local sock = raw.tcp(self.port)
    sock:write("GET /flood HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    socket.sleep(0.2)
    for i = 1, 16 do assert.equal(string.char(64 + i):rep(65536), message(peer)) end
    assert.truthy(sock:head():find("^HTTP/1.1 200 "))
    close(peer)
  end)

  it("what another request had a WebSocket of browsers queue leaves, though it is over", function()
    local owner = raw.tcp(self.port)
    owner:write("GET /page?what=open HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    local function idle() return select(2, self:get("/page?what=state")):find("1 0\n", 1, true) end
    self:wait(idle)
    self:get("/page?what=send")
    self:wait(idle)
    self:get("/page?what=close")
    assert.truthy(owner:head():find("^HTTP/1.1 200 "))
  end)

  it("another request closes, and the handler learns of it", function()
    local peer = connect(self, "/echo")
    local sock = raw.tcp(self.port)
    sock:write("GET /close HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    local code, reason = peer:until_close()
    assert.same({ 4001, "by another" }, { code, reason })
    peer:send(0x88, bytes.close(4001))
    assert.truthy(sock:head():find("^HTTP/1.1 200 "))
    self:wait(function() return connections(self) == 0 end)
  end)

  it("pings while idle, and while the handler is busy", function()
    for _, path in ipairs { "/idle", "/busy" } do
      local peer, pings = connect(self, path), 0
      local began = socket.gettime()
      while socket.gettime() < began + 0.8 do
        local first, payload = peer:frame()
        assert.equal(0x89, first)
        pings = pings + 1
        peer:send(0x8A, payload)
      end
      assert.is_true(pings >= 3, pings .. " pings")
      if path == "/idle" then close(peer) else assert.equal("done", message(peer)) end
    end
    local peer = connect(self, "/idle") -- who says nothing is cut
    repeat local first = peer:frame() until first ~= 0x89
    self:wait(function() return connections(self) == 0 end)
  end)

  it("handlers may use subrequests; a subrequest is no connection", function()
    local peer = connect(self, "/ask")
    peer:send(0x81, "/stats")
    assert.truthy(message(peer):find("^200 1 0 %d+\n$"))
    peer:send(0x81, "/echo")
    assert.truthy(message(peer):find("^500 "))
    assert.truthy(self:log():find("a subrequest has no connection of its own", 1, true))
    close(peer)
  end)

  it("what handlers and tasks die of is in the error log, and 1011", function()
    local peer = connect(self, "/fail")
    assert.equal(1011, (peer:until_close()))
    assert.truthy(self:complaints():find("handler failed: .*as it should.*stack traceback"))
    self:get("/failing_task")
    assert.truthy(self:complaints():find("task failed: .*in a task.*stack traceback"))
  end)

  it("what helpers have to say is in the error log, with its time and level", function()
    assert.truthy(select(2, self:get("/failing_hooks")):find("ERROR\n", 1, true))
    for _, what in ipairs { "on_open failed", "on_join failed", "rpc: a method failed" } do
      self:wait(function()
        return self:complaints():find("%d:%d%d %[error%] [^\n]*duplex: error: " .. what .. ": [^\n]*as it should")
      end)
    end
  end)

  it("a proxy on a Unix socket is believed as \"unix\"", function()
    local peer = connect(self, "/proxied")
    assert.equal("192.0.2.7", message(peer))
    peer:close()
  end)

  it("a request that is cut off in its handler is forgotten, no other", function()
    local other = connect(self, "/context")
    other:send(0x81, "before")
    assert.equal("before", message(other))
    local peer = connect(self, "/exit")
    assert.equal(2, connections(self))
    peer:send(0x81, "x")
    peer:eof()
    self:wait(function()
      self:get("/collect")
      return connections(self) == 1
    end)
    other:send(0x81, "after")
    assert.equal("after", message(other))
  end)

  it("a reload closes with 1001, and the old worker goes", function()
    local peers = {}
    for i = 1, 20 do peers[i] = connect(self, i % 2 == 0 and "/echo" or "/asleep") end
    local old = self:workers()[1]
    self:signal("HUP")
    for i = 1, 20 do
      local code
      repeat
        local first, payload = peers[i]:frame()
        code = first == 0x88 and payload:byte(1) * 256 + payload:byte(2)
      until code or not first
      assert.equal(1001, code)
      peers[i]:send(0x88, bytes.close(1001))
    end
    gone(self, old)
    close(connect(self, "/echo"))
    assert.equal("", self:complaints())
  end)

  it("a hook that waits while a reload comes lets nobody in", function()
    local peer = raw.tcp(self.port)
    peer:write((raw.request():gsub("^GET /", "GET /slow", 1)))
    socket.sleep(0.2)
    self:signal("HUP")
    local head = peer:head()
    assert.truthy(head:find("^HTTP/1.1 503 "), head)
    peer:close()
  end)

  it("a worker that had connections, and is idle, goes with a reload", function()
    for _, count in ipairs { "%d", "0" } do
      close(connect(self, "/echo"))
      self:wait(function() return select(2, self:get("/running")):find("\n" .. count .. "\n") end)
      local old = self:workers()[1]
      self:signal("HUP")
      gone(self, old)
    end
    assert.equal("", self:complaints())
  end)

  it("a client that stays connected ends with its worker", function()
    local peer = raw.tcp(self.port)
    peer:write("GET /stay HTTP/1.1\r\nHost: x\r\n\r\n")
    assert.truthy(peer:head():find("^HTTP/1.1 200 "))
    assert.equal("d\r\nis connected\n\r\n", peer:read(18)) -- a chunk
    local old = self:workers()[1]
    self:signal("HUP")
    assert.equal("f\r\nSTOPPED closed\n\r\n", peer:read(20))
    peer:close()
    gone(self, old)
  end)

  it("waiting in a phase that has no tasks raises, and breaks nothing", function()
    local peer = connect(self, "/echo")
    self:get("/phase")
    assert.equal("from a phase", message(peer))
    local _, body = self:get("/refused")
    local _, count = body:gsub("nginx has no tasks in log_by_lua: ", "")
    assert.equal(7, count, body)
    assert.truthy(body:find("it belongs into content_by_lua_block, not access", 1, true), body)
    assert.truthy(body:find("nothing is left", 1, true), body)
    peer:send(0x81, "on")
    assert.equal("on", message(peer))
    close(peer)
    assert.equal("", self:complaints())
  end)

  -- What a location says when the worker is to exit, in chunks.
  local function said_at_exit(path, first, last)
    local peer = raw.tcp(self.port)
    peer:write("GET " .. path .. " HTTP/1.1\r\nHost: x\r\n\r\n")
    assert.truthy(peer:head():find("^HTTP/1.1 200 "))
    assert.equal(first, peer:read(#first))
    local old = self:workers()[1]
    self:signal("HUP")
    assert.equal(last, peer:read(#last))
    peer:close()
    gone(self, old)
  end

  it("a client that waits to connect again ends with its worker", function()
    said_at_exit("/away", "8\r\nwaiting\n\r\n", "f\r\nSTOPPED closed\n\r\n")
  end)

  it("who sleeps learns that the worker is to exit", function()
    said_at_exit("/nap", "7\r\nasleep\n\r\n", "8\r\nSTOPPED\n\r\n")
  end)

  it("a function of on_stop is called once, and may wait", function()
    local peer = connect(self, "/last")
    local old = self:workers()[1]
    self:signal("HUP")
    assert.equal(1001, (peer:until_close()))
    peer:send(0x88, bytes.close(1001))
    peer:close()
    gone(self, old)
    local _, count = self:log():gsub("on_stop was called with 10", "")
    assert.equal(1, count)
  end)

  it("metrics are of what the connections of this worker do", function()
    self:get("/chat")
    connect(self, "/echo"):close()
    local peer = raw.tcp(self.port)
    peer:write((raw.request { Origin = "https://evil.example" }:gsub("^GET /", "GET /chat", 1)))
    assert.truthy(peer:head():find("^HTTP/1.1 403 "))
    peer:close()
    peer = raw.tcp(self.port)
    peer:write((raw.request():gsub("HTTP/1.1", "HTTP/1.0", 1)))
    assert.truthy(peer:head():find("^HTTP/1.1 400 "))
    peer:close()
    connect(self, "/fail"):until_close()
    self:get("/failing_task")
    for _ = 1, 2 do
      peer = connect(self, "/idle") -- another options, the same counters
      peer:send(0x81, "hello")
      assert.equal("hello", message(peer))
      peer:send(0x88, bytes.close(4001))
      peer:until_close()
      peer:close()
    end
    local witness = connect(self, "/echo")
    witness:send(0x81, "!")
    assert.equal("!", message(witness))
    local expected, body = "[1,5,1,1,1,3,11,1,1,2,1]", nil
    self:wait(function()
      body = select(2, self:get("/metrics"))
      return body:find(expected, 1, true)
    end)
    body = select(2, self:get("/metrics?format=prometheus"))
    for _, line in ipairs { 'duplex_connections{worker="0"} 1',
      'duplex_closed_total{code="4001",direction="received",worker="0"} 2',
      'duplex_handshakes_total{outcome="accepted",worker="0"} 5' } do
      assert.truthy(body:find("\n" .. line .. "\n", 1, true), body)
    end
    close(witness)
  end)

  it("what was sent before the end comes whole", function()
    local peer = connect(self, "/much", nil, raw.tcp(self.other, 4096))
    peer:send(0x81, "go")
    socket.sleep(0.1)
    peer:send(0x88, bytes.close(1000))
    socket.sleep(0.5)
    for i = 1, 40 do
      assert.equal(string.char(64 + i):rep(99800), message(peer))
      socket.sleep(0.02)
    end
    assert.equal(1000, (peer:until_close()))
    peer:close()
  end)

  it("a detached task goes on when its request is over", function()
    self:wait(function()
      local _, body = self:get("/later")
      return body:find("yes", 1, true)
    end)
  end)

  it("timers that nginx drops are asked for again", function()
    self:get("/timers")
    local peers = {}
    for i = 1, 5 do peers[i] = connect(self, "/echo") end
    socket.sleep(2.5)
    self:get("/push?text=late&how=broadcast")
    for i = 1, 5 do assert.equal("late", message(peers[i])) end
    for i = 1, 5 do close(peers[i]) end
    self:wait(function() return connections(self) == 0 end)
  end)
end)

describe("nginx, two workers:", function()
  it("a thousand connections; an idle one costs little; the log stays clean", function()
    local self = nginx.start(serve(), { workers = 2 })
    local peers = {}
    for i = 1, 1000 do peers[i] = connect(self, "/echo") end
    for i = 1, 1000 do peers[i]:send(0x81, tostring(i)) end
    for i = 1, 1000 do assert.equal(tostring(i), message(peers[i])) end
    local by_pid = {}
    self:wait(function()
      local _, body = self:get("/stats")
      local count, _, pid = body:match("(%d+) (%d+) (%d+)\n")
      by_pid[pid] = tonumber(count)
      local sum, workers = 0, 0
      for _, one in pairs(by_pid) do sum, workers = sum + one, workers + 1 end
      return workers == 2 and sum == 1000
    end)
    for i = 1, 1000 do peers[i]:send(0x88, bytes.close(1000)) end
    for i = 1, 1000 do assert.equal(1000, (peers[i]:until_close())) end
    for i = 1, 1000 do peers[i]:close() end
    assert.equal("", self:complaints())
    self:stop()
  end)
end)

describe("nginx, a bus across workers:", function()
  local self

  before_each(function()
    self = nginx.start("lua_shared_dict room 2m; lua_shared_dict slow 1m; " .. serve(), { workers = 2 })
  end)
  after_each(function() self:stop() end)

  -- Peers of both workers.
  local function gather(topic)
    local peers = {}
    local function counts()
      local list, n = {}, 0
      for _ = 1, 40 do
        local _, body = self:get("/stats")
        local count, pid = body:match("(%d+) %d+ (%d+)\n")
        if not list[pid] then n = n + 1 end
        list[pid] = tonumber(count)
      end
      return list, n
    end
    self:wait(function() -- on a busy machine one worker may have accepted all
      for i = 1, 20 do
        if peers[i] then close(peers[i]) end
        peers[i] = connect(self, "/room?topic=" .. topic)
      end
      local workers = 0
      for _, count in pairs((counts())) do workers = workers + (count > 0 and 1 or 0) end
      return workers == 2
    end)
    return peers
  end

  it("what is published reaches the subscribers of all workers, in one order", function()
    local peers, other = gather("a"), connect(self, "/room?topic=b")
    for i = 1, 20 do peers[i]:send(0x81, "from " .. i) end
    local order
    for i = 1, 20 do
      local got = {}
      for k = 1, 20 do got[k] = message(peers[i]) end
      order = order or got
      assert.same(order, got)
    end
    other:send(0x81, "alone")
    assert.equal("alone", message(other))
    self:get("/say?topic=a&count=100")
    for i = 1, 20 do
      for k = 1, 100 do assert.equal(tostring(k), message(peers[i])) end
    end
    assert.equal("", self:complaints())
  end)

  it("more than the ring holds between two looks is lost, and counted", function()
    local peers = gather("a")
    self:get("/say?topic=a&count=3000&size=20")
    connect(self, "/room?topic=a"):send(0x81, "last")
    local got = {}
    for i = 1, 20 do
      got[i] = -1
      repeat
        local text = message(peers[i])
        got[i] = got[i] + 1
      until text == "last" or #text < 20
    end
    table.sort(got)
    assert.equal(3000, got[20]) -- of the worker that said it
    local lost = 0
    self:wait(function()
      local _, body = self:get("/bus")
      lost = math.max(lost, tonumber(body:match("%d+ %d+ (%d+) 3001")))
      return lost > 0 or got[1] == 3000
    end)
    assert.equal(3000 - got[1], lost)
    assert.equal("", self:complaints())
  end)

  -- All peers get these, the first of which is said by a peer, well within a second.
  local function soon(peers, texts, say)
    local began = socket.gettime()
    say()
    for i = 1, #peers do
      for _, text in ipairs(texts) do assert.equal(text, message(peers[i])) end
    end
    local took = socket.gettime() - began
    assert.is_true(took < 0.9, took .. " seconds")
  end

  local function soon_said(peers, text)
    soon(peers, { text }, function() peers[1]:send(0x81, text) end)
  end

  -- What a location says of each worker: "pid number lost"; by pid.
  local function of_workers(path)
    local by_pid, n = {}, 0
    self:wait(function()
      local _, body = self:get(path)
      local pid, count, lost = body:match("(%d+) (%d+) (%d+)")
      if not by_pid[pid] then n = n + 1 end
      by_pid[pid] = { count = tonumber(count), lost = tonumber(lost) }
      return n == 2
    end)
    return by_pid
  end

  local TEN = { "1", "2", "3", "4", "5", "6", "7", "8", "9", "10" }

  it("what is too big is refused, pushes nothing out and holds nobody up", function()
    local peers = gather("a")
    soon_said(peers, "before")
    soon(peers, TEN, function()
      assert.equal("TOO_BIG", select(2, self:get("/large?size=1900000")):match("%u[%u_]+"))
    end)
    soon_said(peers, "after")
    for _, worker in pairs(of_workers("/bus")) do assert.equal(0, worker.lost) end
    assert.equal("", self:complaints())
  end)

  it("what finds no room is refused too, and holds nobody up", function()
    local peers = gather("a")
    soon_said(peers, "before")
    self:get("/meddle?how=fill")
    soon(peers, TEN, function()
      assert.equal("FULL", select(2, self:get("/large?size=200000")):match("%u[%u_]+"))
    end)
    soon_said(peers, "after")
  end)

  it("what is pushed out unread costs one short wait, and each is counted", function()
    local peers = gather("a")
    of_workers("/count?topic=z")
    soon(peers, { "next" }, function()
      self:get("/say?topic=z&count=200&size=40000")
      peers[1]:send(0x81, "next")
    end)
    local lost = 0
    for _, worker in pairs(of_workers("/count?topic=z")) do
      assert.equal(200, worker.count + worker.lost)
      lost = lost + worker.lost
    end
    assert.is_true(lost > 0)
    assert.equal("", self:complaints())
  end)

  it("numbers that begin anew are noticed, and counted as a loss", function()
    local peers = gather("a")
    soon_said(peers, "old 1")
    soon_said(peers, "old 2")
    soon(peers, { "new 1", "new 2", "new 3", "new 4", "new 5" }, function() self:get("/meddle?how=empty") end)
    for _, worker in pairs(of_workers("/bus")) do assert.equal(1, worker.lost) end
    assert.equal("", self:complaints())
  end)

  it("who subscribes gets nothing that was published before", function()
    local peers = gather("a&slow=1")
    self:get("/say?topic=a&slow=1&count=1")
    for i = 21, 40 do peers[i] = connect(self, "/room?topic=a&slow=1") end
    socket.sleep(0.7)
    peers[1]:send(0x81, "new")
    for i = 1, 40 do
      if i <= 20 then assert.equal("1", message(peers[i])) end
      assert.equal("new", message(peers[i]))
    end
  end)

  it("subscribers that publish disturb no order", function()
    local _, body = self:get("/nest")
    local one, other = body:match("([^;\r\n]+); ([^\r\n]+)")
    assert.equal(one, other)
    assert.truthy(one:find("^first, from %d, from %d$"), one)
  end)

  it("what others write into the dict is skipped, and makes nobody deaf", function()
    local peers = gather("a")
    soon_said(peers, "before")
    self:get("/meddle?how=slot")
    soon_said(peers, "after")
    for _, worker in pairs(of_workers("/bus")) do assert.equal(3, worker.lost) end
    self:get("/meddle?how=last")
    soon_said(peers, "again")
    assert.equal("", self:complaints())
  end)
end)

describe("nginx, TLS and clients:", function()
  local self, pair

  lazy_setup(function()
    pair = pki.certificate()
    self = nginx.start(([[lua_ssl_trusted_certificate %s; lua_ssl_verify_depth 3; lua_code_cache on;
      init_worker_by_lua_block { require("spec.hosts.ngx_app").background("ws://127.0.0.1:$PORT/echo") }
      server { listen unix:$FOLDER/tls.sock ssl; listen 127.0.0.1:$OTHER ssl; ssl_certificate %s; ssl_certificate_key %s;
        %s }]]):format(pki.ca, pair.certificate, pair.key, locations()) .. serve())
  end)
  lazy_teardown(function() self:stop() end)

  local function ask(query)
    local _, body = self:get("/connect?" .. query)
    return body
  end

  it("wss in and out, by nginx's own TLS", function()
    assert.truthy(ask(("url=wss://127.0.0.1:%s/echo&name=localhost"):format(self.other)):find("through nginx\n"))
    local body = ask(("url=wss://127.0.0.1:%s/echo&name=example.com"):format(self.other))
    assert.truthy(body:find("TLS: 127.0.0.1 port %d+: .*mismatch"), body)
  end)

  it("localhost, refusals and names that nobody knows", function()
    assert.truthy(ask(("url=ws://localhost:%d/echo"):format(self.port)):find("through nginx\n"))
    assert.truthy(ask("url=ws://127.0.0.1:1/"):find("CONNECT: connection refused (127.0.0.1 port 1)", 1, true))
    assert.truthy(ask("url=ws://no-such-name.invalid/"):find("DNS: no-such-name.invalid: ", 1, true))
    assert.truthy(ask(("url=ws://127.0.0.1:%d/stats"):format(self.port)):find("HTTP: ", 1, true))
  end)

  it("a client in a timer, started with the worker", function()
    self:wait(function() return select(2, self:get("/tell")):find("from a timer", 1, true) end)
  end)
end)
