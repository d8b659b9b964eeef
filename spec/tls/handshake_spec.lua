-- SPDX-License-Identifier: MIT
-- Slow handshakes, stopped handshakes, many handshakes.

local duplex = require "duplex"
local child = require "spec.support.child"
local peer = require "spec.support.peer"
local pki = require "spec.support.pki"
local run = require "spec.support.run"
local secure = require "spec.support.secure_serve"
local secure_peer = require "spec.support.secure_peer"

local function pid()
  local stat = assert(io.open("/proc/self/stat"))
  local n = stat:read("*n")
  stat:close()
  return n
end

local function descriptors()
  local pipe = io.popen(("ls /proc/%d/fd | wc -l"):format(pid()))
  local n = pipe:read("*n")
  pipe:close()
  return n
end

-- Waits until check() is true.
local function wait_for(check, what)
  local deadline = duplex.now() + 5
  while not check() do
    assert(duplex.now() < deadline, what)
    duplex.sleep(0.005)
  end
end

describe("a handshake of TLS", function()
  for _, version in ipairs { "1.2", "1.3" } do
    it("may come one byte at a time (TLS " .. version .. ")", run(function()
      local server = secure.serve()
      local p = secure_peer.connect(server.port, { maximum_version = version })
      assert(p:handshake(1))
      assert.is_true(p:upgrade():alive())
      p:close()
    end))

    it("may come from a server one byte at a time (TLS " .. version .. ")", run(function()
      local port = secure_peer.listen(function(p)
        assert(p:handshake(1)):upgrade()
        p:put(0x81, "slowly", 1)
        p:close()
      end, { maximum_version = version })
      local ws = secure.connect({ port = port })
      assert.equal("slowly", (ws:receive(5)))
    end))

    for _, part in ipairs { 0, 1, 5, 100 } do
      it(("that stops after %d bytes is cut at open_timeout (TLS %s)"):format(part, version), run(function()
        local server = secure.serve(nil, nil, { open_timeout = 0.15 })
        local open = descriptors()
        local p = secure_peer.connect(server.port, { maximum_version = version })
        p.engine:ready()
        if part > 0 then p.raw:send(p.engine:output():sub(1, part)) end
        local began = duplex.now()
        local _, ending = p.raw:rest()
        assert.equal("end", ending)
        local took = duplex.now() - began
        assert.is_true(took > 0.1 and took < 2, took)
        assert.equal(0, server:stats().handshakes)
        p:close()
        wait_for(function() return descriptors() <= open end, "a descriptor is left behind")
      end))
    end

    it("that stops after the server's flight is cut at open_timeout (TLS " .. version .. ")", run(function()
      local server = secure.serve(nil, nil, { open_timeout = 0.15 })
      local p = secure_peer.connect(server.port, { maximum_version = version })
      p.engine:ready()
      p:push()
      local began = duplex.now()
      local _, ending = p.raw:rest()
      assert.equal("end", ending)
      assert.is_true(duplex.now() - began < 2)
      assert.equal(0, server:stats().handshakes)
    end))
  end

  it("may end with the request right behind it, in one piece", run(function()
    local server = secure.serve()
    local p = secure_peer.connect(server.port)
    while not p.engine:ready() do
      p:push()
      assert(p:pull())
    end
    assert(p.engine:write(peer.request .. "\129\133\0\0\0\0Hello"))
    p:push() -- with what ends the handshake of TLS 1.3
    assert.matches("^HTTP/1.1 101 ", p:read_to("\r\n\r\n"))
    assert.same({ 0x81, "Hello" }, { p:frame() })
    p:close()
  end))

  it("that is done and followed by nothing is cut at open_timeout", run(function()
    local server = secure.serve(nil, nil, { open_timeout = 0.15 })
    local p = assert(secure_peer.connect(server.port):handshake())
    local answer = p:rest()
    assert.is_true(answer == "" or answer:find("^HTTP/1.1 408") ~= nil, answer)
    assert.equal(0, server:stats().handshakes)
  end))
end)

describe("handshakes of many clients", function()
  it("let a connection that is open go on meanwhile", run(function()
    local COUNT, AT_ONCE = 200, 40
    local opened = 0
    local server = secure.serve(nil, function(ws)
      opened = opened + 1
      secure.echo(ws)
    end, { max_handshakes = AT_ONCE }) -- else all of them may come in one turn
    local ws = secure.connect(server)
    local clients = child.start(child.lua, "spec/support/secure_client.lua", secure.url(server), tostring(COUNT),
      ("{ ca = %q, resume = false }"):format(pki.ca))
    local progress, last = 0, opened
    while opened < COUNT + 1 do
      secure.alive(ws)
      if opened > last then progress, last = progress + 1, opened end
    end
    -- Round trips were made while some were open and others were not yet.
    assert.is_true(progress > 1, progress .. " round trips between handshakes")
    wait_for(function() return server:stats().connections == 1 end, "not all went")
    local _, output = clients:finish()
    local echoes = select(2, output:gsub("echo", ""))
    assert.equal(COUNT, echoes, output)
  end))

  it("are max_handshakes at a time; others wait, and get their turn", run(function()
    local server = secure.serve(nil, nil, { max_handshakes = 3, open_timeout = 1 })
    local silent = {}
    for i = 1, 3 do silent[i] = peer.connect(server.port) end
    wait_for(function() return server:stats().handshakes == 3 end, "they do not come")
    local came
    duplex.spawn(function() came = secure.connect(server) end)
    duplex.sleep(0.05)
    assert.is_nil(came)
    assert.equal(3, server:stats().handshakes)
    silent[1]:close()
    wait_for(function() return came end, "the next one does not get its turn")
    secure.alive(came)
    -- Those who are open do not count.
    local more = secure.connect(server)
    secure.alive(more)
    assert.equal(2, server:stats().handshakes)
  end))

  it("that hold all places lose them at open_timeout", run(function()
    local server = secure.serve(nil, nil, { max_handshakes = 2, open_timeout = 0.1 })
    local silent = {}
    for i = 1, 6 do silent[i] = peer.connect(server.port) end
    local ws = secure.connect(server)
    secure.alive(ws)
    for _, p in ipairs(silent) do p:close() end
  end))

  it("leave no descriptor and no memory behind: 1000 connections", run(function()
    local server = secure.serve()
    local function round(tls)
      local ws = secure.connect(server, tls)
      secure.alive(ws)
      ws:close()
    end
    for i = 1, 50 do round { resume = i % 2 == 0 } end
    local function settled()
      wait_for(function() return server:stats().connections == 0 end, "connections stay")
      duplex.sleep(0.02)
      collectgarbage()
      collectgarbage()
      return collectgarbage("count")
    end
    local before, open = settled(), descriptors()
    for i = 1, 950 do round { resume = i % 8 ~= 0 } end
    local after = settled()
    wait_for(function() return descriptors() <= open end, "descriptors are left behind")
    assert.is_true(after < before + 200, ("%.0f KiB, then %.0f"):format(before, after))
  end))
end)
