-- SPDX-License-Identifier: MIT
-- Defects of the module duplex.tls, and of what uses it for clients, that a
-- review found.

local duplex = require "duplex"
local child = require "spec.support.child"
local options = require "duplex.options"
local pki = require "spec.support.pki"
local run = require "spec.support.run"
local secure = require "spec.support.secure_serve"
local secure_peer = require "spec.support.secure_peer"
local tls = require "duplex.tls"

describe("a passphrase", function()
  -- The function was a part of what contexts are found again by: one written
  -- inline is another one each time, so each connection read the authorities
  -- again and none was resumed.
  it("that an inline function gives leaves sessions as they are", run(function()
    local own = pki.certificate { client = true, name = "alice", passphrase = "sesame" }
    local server, asked = secure.serve(), 0
    local function resumed()
      local ws = secure.connect(server, { certificate = own.certificate, key = own.key, passphrase = function()
        asked = asked + 1
        return "sesame"
      end })
      secure.alive(ws) -- and tickets have come
      local yes = ws.tls.resumed
      ws:close()
      return yes
    end
    assert.is_false(resumed())
    for _ = 1, 3 do assert.is_true(resumed()) end
    assert.equal(4, asked)
    local _, message, id = secure.try(server, { certificate = own.certificate, key = own.key,
      passphrase = function() return "something else" end })
    assert.equal("TLS", id, message) -- the text counts, not that there is a function
  end))
end)

describe("what is over", function()
  -- Finalizers may see engines and contexts whose own finalizer has run: these
  -- were used without a look at whether anything was left of them.
  local BEGINNING = [[
    local tls = require "duplex.tls"
    local function context() return assert(tls.context("client", { verify = true, alpn = { "http/1.1" } })) end
    local function try(name, f, ...) print(name, select(2, pcall(f, ...))) end
    local function finally(f)
      local o = setmetatable({}, { __gc = f })
      if newproxy then -- Lua 5.1, where tables have no finalizers
        o.proxy = newproxy(true)
        getmetatable(o.proxy).__gc = function() f(o) end
      end
      return o
    end
  ]]
  local CLOSED = "[^\n]*%(the engine is closed%)"
  local GONE = "[^\n]*%(the context is gone%)"

  local rows = {
    { "an engine in a finalizer at the end", [[
      local c = context()
      keep = finally(function(o) try("read", o.engine.read, o.engine) end)
      keep.engine = c:engine("localhost")]], "^read\t" .. CLOSED .. "$" },
    { "an engine in a finalizer while the program runs", [[
      local o = finally(function(o)
        try("ready", o.engine.ready, o.engine)
        try("info", o.engine.info, o.engine)
      end)
      o.engine = context():engine("localhost")
      o = nil
      collectgarbage()]], "^ready\t" .. CLOSED .. "\ninfo\t" .. CLOSED .. "$" },
    { "a context in a finalizer", [[
      keep = finally(function(o) try("engine", o.context.engine, o.context, "localhost") end)
      keep.context = context()]], "^engine\t" .. GONE .. "$" },
    { "a closed engine for a link", [[
      local duplex = require "duplex"
      local loop = require "duplex.loop"
      duplex.run(function()
        local server = duplex.serve({ log = false }, function(ws) ws:wait_closed() end)
        local ws = duplex.connect(server.url)
        local engine = context():engine("localhost")
        engine:close()
        print(select(2, pcall(loop.secure, ws, engine)))
        duplex.stop(0)
      end)]], "the engine is closed" },
  }
  for _, row in ipairs(rows) do
    it("raises and does no harm: " .. row[1], function()
      local path = pki.path(".lua")
      pki.write(path:match("[^/]*$"), BEGINNING .. row[2])
      local fine, output = child.start(child.lua, path):finish()
      assert.matches(row[3], output)
      assert.is_true(fine)
    end)
  end

  it("raises in every method of an engine", function()
    local engine = secure_peer.context("client"):engine("localhost")
    assert.is_false(engine:ready())
    for _ = 1, 2 do engine:close() end
    for _, name in ipairs { "feed", "read", "write", "output", "ready", "finish", "info" } do
      assert.error_matches(function() engine[name](engine, "x") end, "the engine is closed")
    end
  end)

  it("is not what a link still uses", run(function()
    local server = secure.serve()
    local ws = secure.connect(server)
    collectgarbage() -- its engine was closed when the handshake was done
    collectgarbage()
    secure.alive(ws, ("x"):rep(100000))
    assert.equal("CN=localhost", ws.tls.subject)
    ws:close()
    assert.is_nil(ws.close_error)
  end))
end)

describe("a protocol of alpn", function()
  -- Its length was that of all of it, its bytes those before the zero byte: the
  -- list that was made of it said other things.
  local BAD = { "a\0b", "\0", "http/1.1\0" }

  it("with a zero byte raises", run(function()
    for _, name in ipairs(BAD) do
      local given = { "http/1.1", name }
      assert.error_matches(function()
        duplex.connect("wss://127.0.0.1:1/", { tls = { alpn = given } })
      end, "option 'tls.alpn'")
      assert.error_matches(function() duplex.serve({ tls = secure.tls { alpn = given } }, secure.echo) end,
        "option 'tls.alpn'")
    end
  end))

  it("is taken with all its bytes where nothing checks it", function()
    local function context(role)
      local o = options.check(role, { tls = role == "client" and { ca = pki.ca } or secure.tls() }).tls
      o.alpn = { "a\0b", "http/1.1" }
      return assert(tls.context(role, o))
    end
    local server, client = context("server"):engine(), context("client"):engine("localhost")
    repeat
      client:ready()
      server:feed(client:output())
      assert(server:ready() ~= nil)
      client:feed(server:output())
    until assert(client:ready() ~= nil) and client:info()
    assert.equal("a\0b", client:info().alpn)
  end)
end)
