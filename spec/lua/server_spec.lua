-- SPDX-License-Identifier: MIT
local duplex = require "duplex"
local log_lines = require "spec.support.lines"
local both = require "spec.support.both"
local bytes = require "spec.support.bytes"
local each = require "spec.support.each"
local peer = require "spec.support.peer"
local run = require "spec.support.run"

local function nothing(ws) ws:wait_closed() end

describe("duplex.serve", function()
  it("listens on a free port of this machine, and says where", run(function()
    local server = assert(duplex.serve({ log = false }, nothing))
    assert.is_true(server.port > 0)
    assert.equal("ws://127.0.0.1:" .. server.port, server.url)
    assert.equal("duplex.server " .. server.url, tostring(server))
    assert.same({}, server.connections)
    local ws = assert(duplex.connect(server.url))
    both.settle()
    assert.equal(1, server:stats().connections)
    local one = next(server.connections)
    assert.equal("open", one.state)
    ws:close()
    both.settle()
    assert.same({}, server.connections)
    assert.equal(0, server:stats().connections)
  end))

  it("raises for misuse, blaming the caller's line", function()
    local rows = {
      { { prot = 1 }, nothing, "server_spec.lua:%d+: unknown option 'prot' %(did you mean 'port'%?%)" },
      { { port = "8080" }, nothing, "server_spec.lua:%d+: option 'port' must be an integer" },
      { { port = 1, unix = "/x" }, nothing, "exclude each other" },
      { {}, nil, "server_spec.lua:%d+: handler must be a function, got nil" },
      { "8080", nothing, "options must be a table" },
      { { tls = {} }, nothing, "server_spec.lua:%d+: option 'tls.certificate' is missing" },
      { { compression = { level = 10 } }, nothing,
        "server_spec.lua:%d+: option 'compression.level' must be 1..9, got 10" },
    }
    for _, row in ipairs(rows) do
      local fine, problem = pcall(function() duplex.serve(row[1], row[2]) end)
      assert.is_false(fine)
      assert.matches(row[3], problem)
    end
  end)

  it("fails with ADDRESS and a clear text when the port is in use", run(function()
    local first = assert(duplex.serve({ log = false }, nothing))
    local server, message, id = duplex.serve({ port = first.port }, nothing)
    assert.is_nil(server)
    assert.equal(("ADDRESS: cannot listen on 127.0.0.1 port %d: Address already in use")
      :format(first.port), message)
    assert.equal("ADDRESS", id)
    local rows = {
      { { host = "192.0.2.1" }, "^ADDRESS: cannot listen on 192.0.2.1 port 0: " },
      { { host = "no.such.host.invalid" }, "^ADDRESS: cannot listen on no.such.host.invalid: " },
      { { unix = "/no/such/folder/s" }, "^ADDRESS: cannot listen on /no/such/folder/s: " },
      { { fd = 999999 }, "^ADDRESS: cannot listen on descriptor 999999: " },
      { { fd = 0 }, "^ADDRESS: cannot listen on descriptor 0: " },
    }
    for _, row in ipairs(rows) do
      server, message, id = duplex.serve(row[1], nothing)
      assert.is_nil(server)
      assert.matches(row[2], message)
      assert.equal("ADDRESS", id)
    end
  end))

  local hosts = { { "::1", "ws://%[::1%]:%d+" }, { "*", "ws://127.0.0.1:%d+", "both" },
    { "localhost", "ws://127.0.0.1:%d+" } }
  for _, row in ipairs(hosts) do
    it("listens on " .. row[1], run(function()
      local server = assert(duplex.serve({ host = row[1], log = false }, nothing))
      assert.matches(row[2], server.url)
      assert(duplex.connect(server.url)):close()
      if row[3] then assert(duplex.connect("ws://[::1]:" .. server.port)):close() end
    end))
  end

  it("shares a port with reuseport, and only then", run(function()
    local first = assert(duplex.serve({ reuseport = true, log = false }, nothing))
    local second = assert(duplex.serve({ reuseport = true, port = first.port, log = false }, nothing))
    assert.equal(first.port, second.port)
    assert.is_nil(duplex.serve({ port = first.port }, nothing))
  end))

  it("serves a Unix socket, and removes its file", run(function()
    local path = os.tmpname()
    os.remove(path)
    local server = assert(duplex.serve({ unix = path, log = false }, function(ws)
      ws:send(ws.address .. " " .. tostring(ws.port))
    end))
    assert.equal("ws+unix:" .. path, server.url)
    assert.is_nil(server.port)
    local ws = assert(duplex.connect("ws://anything/x", { unix = path }))
    assert.equal("unix nil", (ws:receive()))
    assert.equal("unix", ws.address)
    assert.matches("Address already in use", select(2, duplex.serve({ unix = path }, nothing)))
    server:stop(1)
    assert.is_nil(io.open(path))
    local _, message, id = duplex.connect("ws://x/", { unix = path })
    assert.equal("CONNECT: No such file or directory (" .. path .. ")", message)
    assert.equal("CONNECT", id)
  end))

  it("takes over the socket file of a server that died", run(function()
    local path = os.tmpname()
    os.remove(path)
    os.execute(([[python3 -c "import socket; socket.socket(socket.AF_UNIX).bind('%s')"]]):format(path))
    local server = assert(duplex.serve({ unix = path, log = false }, nothing))
    assert(duplex.connect("ws://x/", { unix = path })):close()
    server:stop(1)
  end))

  it("serves a descriptor that it was started with", run(function()
    local program = require("spec.support.child").lua
    local child = assert(io.popen(([[python3 -c '
import os, socket
s = socket.socket()
s.bind(("127.0.0.1", 0))
s.listen()
os.dup2(s.fileno(), 7)
script = """
package.path, package.cpath = %q, %q
local duplex = require "duplex"
duplex.run(function()
  local server = assert(duplex.serve({ fd = 7 }, function(ws) ws:send("inherited") duplex.stop() end))
  print(server.url)
  io.stdout:flush()
end)"""
os.execvp("%s", ["%s", "-e", script])']]):format(package.path, package.cpath, program, program)))
    local ws = assert(duplex.connect(child:read("*l")))
    assert.equal("inherited", (ws:receive(2)))
    ws:wait_closed(2)
    both.settle() -- the answer to the close frame leaves
    assert.is_true(child:close())
  end))

  it("answers more than max_connections with 503", run(function()
    local server = assert(duplex.serve({ max_connections = 2, log = false }, nothing))
    local first = assert(duplex.connect(server.url))
    assert(duplex.connect(server.url))
    local ws, message, id, response = duplex.connect(server.url)
    assert.is_nil(ws)
    assert.equal("HTTP: the server answered 503 Service Unavailable", message)
    assert.equal("HTTP", id)
    assert.equal(503, response.status)
    assert.equal("The server has as many connections as it takes.\n", response.body)
    first:close()
    both.settle()
    assert(duplex.connect(server.url))
    assert.equal(2, server:stats().max_connections)
  end))
end)

describe("a handler", function()
  it("that returns closes with 1000", run(function()
    local server = assert(duplex.serve({ log = false }, function() end))
    local ws = assert(duplex.connect(server.url))
    assert.equal(1000, (ws:wait_closed(2)))
    assert.is_nil(ws.close_error)
  end))

  it("that raises closes with 1011, is logged, and disturbs nobody", run(function()
    local write, lines = log_lines()
    local server = assert(duplex.serve({ log = write }, function(ws)
      if ws.request.path == "/bad" then error("something broke") end
      each(ws)
    end))
    local good = assert(duplex.connect(server.url))
    local bad = assert(duplex.connect(server.url .. "/bad"))
    assert.equal(1011, (bad:wait_closed(2)))
    assert.equal(1, #lines)
    assert.equal("error", lines[1].level)
    assert.matches("^handler failed: .*server_spec.lua:%d+: something broke$", lines[1].message)
    assert.matches("stack traceback", lines[1].fields.traceback)
    assert.equal("127.0.0.1", lines[1].fields.address)
    assert.is_number(lines[1].fields.connection)
    good:send("x")
    assert.equal("x", (good:receive(1)))
  end))

  it("whose log function raises is closed all the same", run(function()
    local stderr = io.stderr
    io.stderr = { write = function() end }
    local server = assert(duplex.serve({ log = function(level)
      if level == "error" then error("in log") end
    end }, function()
      error("in the handler")
    end))
    local ws = assert(duplex.connect(server.url))
    local code = ws:wait_closed(1)
    io.stderr = stderr
    assert.equal(1011, code)
    both.settle()
    assert.equal(0, server:stats().connections)
  end))

  it("may yield with coroutine.yield, and spawn tasks", run(function()
    local server = assert(duplex.serve({ log = false }, function(ws)
      coroutine.yield()
      local done = duplex.event()
      duplex.spawn(function()
        ws:send("from a task")
        done:set()
      end)
      done:wait()
    end))
    assert.equal("from a task", (assert(duplex.connect(server.url)):receive(1)))
  end))
end)

describe("server:stop", function()
  it("closes with 1001, and waits for the handlers", run(function()
    local finished = 0
    local server = assert(duplex.serve({ log = false }, function(ws)
      ws:receive()
      duplex.event():wait(0.05)
      finished = finished + 1
    end))
    local clients = {}
    for i = 1, 3 do clients[i] = assert(duplex.connect(server.url)) end
    local waiting = both.task(server.wait, server)
    assert.is_true(server:stop())
    assert.equal(3, finished)
    assert.is_true(waiting())
    for i = 1, 3 do assert.equal(1001, (clients[i]:wait_closed(1))) end
    assert.same({}, server.connections)
    assert.equal("CONNECT", select(3, duplex.connect(server.url)))
    assert.is_true(server:stop())
  end))

  it("cuts after the grace", run(function()
    local server = assert(duplex.serve({ log = false }, nothing))
    local raw = peer.connect(server.port):upgrade()
    local began = duplex.now()
    server:stop(0.05)
    local took = duplex.now() - began
    assert.is_true(took >= 0.045 and took < 1)
    assert.same({ bytes.frame(0x88, bytes.close(1001)), "end" }, { raw:rest(1) })
  end))

  it("does not wait for connections that ask for nothing", run(function()
    local server = assert(duplex.serve({ log = false }, nothing))
    local silent = peer.connect(server.port)
    local idle = peer.connect(server.port)
    idle:send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    idle:answer()
    both.settle()
    local began = duplex.now()
    server:stop(5)
    assert.is_true(duplex.now() - began < 1)
    assert.same({ "", "end" }, { silent:rest(1) })
    assert.same({ "", "end" }, { idle:rest(1) })
  end))

  it("answers requests under way, and upgrades with 503", run(function()
    local go = duplex.event()
    local server = assert(duplex.serve({ log = false, on_request = function(request)
      go:wait()
      if not request.upgrade then return 200, "done" end
    end }, nothing))
    local plain, upgrade = peer.connect(server.port), peer.connect(server.port)
    plain:send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    upgrade:send(peer.request)
    both.settle()
    local stopping = both.task(server.stop, server, 2)
    both.settle()
    go:set()
    assert.is_true(stopping())
    local head, body = plain:answer()
    assert.matches("^HTTP/1.1 200 OK\r\n.*Connection: close\r\n", head)
    assert.equal("done", body)
    assert.matches("^HTTP/1.1 503 ", (upgrade:answer()))
    assert.same({ "", "end" }, { upgrade:rest(1) })
  end))
end)
