-- SPDX-License-Identifier: MIT
-- examples/openresty, started as its README says; only the port is another.

local applies = require "spec.support.applies"
local nginx = require "spec.support.nginx"
local pki = require "spec.support.pki"
local ports = require "spec.support.ports"
local process = require "spec.support.process"
local raw = require "spec.support.raw"
local socket = require "socket"

local FOLDER = "examples/openresty/"

applies.where(not nginx.lacks, nginx.lacks, describe)("examples/openresty", function()
  local server, folder
  local port = ports.free()

  local function copy(name, old, new)
    local text = pki.read(FOLDER .. name)
    if old then
      assert(text:find(old, 1, true), old)
      text = text:gsub(old:gsub("%p", "%%%0"), new)
    end
    local file = assert(io.open(folder .. "/" .. name, "w"))
    file:write(text)
    file:close()
  end

  -- A request: its answer, or its connection once it is upgraded.
  local function ask(head, body)
    local peer = raw.tcp(port)
    peer:write(head .. (body or ""))
    return peer:head(), peer
  end

  local function enter(room)
    local head, peer = ask((raw.request():gsub("^GET /", "GET /chat?room=" .. room, 1)))
    assert.truthy(head:find("^HTTP/1.1 101 "), head)
    return peer
  end

  lazy_setup(function()
    folder = os.tmpname()
    os.remove(folder)
    assert(os.execute("mkdir -m 755 " .. folder))
    copy("nginx.conf", "127.0.0.1:8080;", "127.0.0.1:" .. port .. ";")
    copy("chat.lua")
    local command = pki.read(FOLDER .. "README.md"):match("\nnginx (%-p[^\n]*)\n")
    assert.equal('-p . -c nginx.conf -g "env LUA_PATH; env LUA_CPATH;"', command)
    local pipe = io.popen("pwd")
    local root = pipe:read("*l")
    pipe:close()
    server = process.start { "sh", "-c", ("cd %s && exec env LUA_PATH='%s/lua/?.lua;;' "
      .. "LUA_CPATH='%s/build/5.1/lib/?.so;;' PATH=/usr/sbin:$PATH nginx %s"):format(folder, root, root, command) }
    for _ = 1, 200 do
      local sock = socket.connect("127.0.0.1", port)
      if sock then return sock:close() end
      socket.sleep(0.02)
    end
  end)

  lazy_teardown(function()
    server:stop()
    os.execute("rm -rf " .. folder)
  end)

  it("carries what is said to all in the room, in both workers", function()
    local peers = {}
    for i = 1, 12 do peers[i] = enter("here") end
    local elsewhere = enter("there")
    peers[1]:send(0x81, "hello")
    for i = 1, 12 do assert.same({ 0x81, "hello" }, { peers[i]:frame() }) end
    local head = ask("POST /announce?room=here HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\n", "to all")
    assert.truthy(head:find("^HTTP/1.1 200 "), head)
    for i = 1, 12 do assert.same({ 0x81, "to all" }, { peers[i]:frame() }) end
    elsewhere:send(0x81, "alone")
    assert.same({ 0x81, "alone" }, { elsewhere:frame() })
    local said, peer = ask("GET /stats HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert.truthy(said:find("^HTTP/1.1 200 "), said)
    assert.truthy(peer:read("*a"):find("worker %d: %d+ connections, 0 messages lost\n"))
  end)

  it("ends without a word in the log", function()
    assert.same({ "exit", 0 }, { server:stop() })
    assert.equal("", server.log)
  end)
end)
