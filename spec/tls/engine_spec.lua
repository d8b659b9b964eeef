-- SPDX-License-Identifier: MIT
-- duplex.tls alone: two engines joined by strings.

local pki = require "spec.support.pki"
local secure_peer = require "spec.support.secure_peer"
local tls = require "duplex.tls"

local function contexts(client) return secure_peer.context("client", client), secure_peer.context("server") end

local function engines(client)
  local a, b = contexts(client)
  return a:engine("localhost", 443), b:engine()
end

-- Moves what 'from' has to say, in pieces of 'size' bytes. Returns how much.
local function move(from, to, size)
  local output = from:output()
  if output == "" then return 0 end
  for at = 1, #output, size or #output do to:feed(output:sub(at, at + (size or #output) - 1)) end
  return #output
end

-- Until both are ready, or one says why not.
local function shake(a, b, size)
  for _ = 1, 20 do
    local ready, message, id = a:ready()
    if ready == nil then return nil, message, id end
    local other
    move(a, b, size)
    other, message, id = b:ready()
    if other == nil then
      move(b, a, size)
      a:ready()
      return nil, message, id
    end
    move(b, a, size)
    if ready and other and a:ready() then return true end
  end
  error("no end of the handshake")
end

describe("an engine", function()
  for _, version in ipairs { "1.2", "1.3" } do
    for _, size in ipairs { 1, 7, 1000 } do
      it(("shakes hands in pieces of %d (TLS %s)"):format(size, version), function()
        local a, b = engines({ maximum_version = version })
        assert.is_false(a:ready())
        assert.is_false(b:ready())
        assert.is_true(shake(a, b, size))
        assert.equal("TLSv" .. version, a:info().version)
        local seen = b:info()
        assert.same({ "TLSv" .. version, "localhost", "http/1.1", false },
          { seen.version, seen.server_name, seen.alpn, seen.resumed })
        assert.equal("CN=localhost", a:info().subject)
        assert.equal(pki.fingerprint(pki.certificate()), a:info().fingerprint)
      end)
    end

    it("carries a megabyte each way at once, in odd pieces (TLS " .. version .. ")", function()
      local a, b = engines({ maximum_version = version })
      assert.is_true(shake(a, b))
      local up, down = ("client's 17 bytes"):rep(61681), ("the server's 19 ..."):rep(55189)
      local got = { [a] = {}, [b] = {} }
      local function take(engine, max)
        repeat
          local data = assert(engine:read(max))
          got[engine][#got[engine] + 1] = data
        until data == ""
      end
      local at, step = 1, 1
      while at <= #up or at <= #down do
        if at <= #up then assert.is_true(a:write(up:sub(at, at + step - 1))) end
        if at <= #down then assert.is_true(b:write(down:sub(at, at + step - 1))) end
        at = at + step
        step = step * 2 % 70001 + 1
        move(a, b, 4999)
        take(b, 3001)
        move(b, a, 16411)
        take(a)
      end
      assert.is_true(table.concat(got[b]) == up, "other bytes came")
      assert.is_true(table.concat(got[a]) == down, "other bytes came")
    end)

    it("says that the other has finished, after what came before (TLS " .. version .. ")", function()
      local a, b = engines({ maximum_version = version })
      assert.is_true(shake(a, b))
      a:write("last words")
      a:finish()
      a:finish()
      move(a, b)
      assert.equal("last words", b:read())
      for _ = 1, 3 do
        local data, message, id = b:read()
        assert.is_nil(data)
        assert.is_string(message)
        assert.is_string(id)
      end
      assert.is_true(b:write("an answer all the same")) -- half-close
      move(b, a)
      assert.equal("an answer all the same", a:read())
    end)
  end

  it("reads at most what it is asked for", function()
    local a, b = engines()
    assert.is_true(shake(a, b))
    a:write(("x"):rep(40000))
    move(a, b)
    assert.equal(10, #b:read(10))
    assert.equal(1, #b:read(1))
    local n = 11
    while true do
      local data = b:read(30000)
      if data == "" then break end
      assert.is_true(#data <= 30000)
      n = n + #data
    end
    assert.equal(40000, n)
  end)

  it("writes nothing before it is ready, and says so", function()
    local a = engines()
    assert.is_false(a:write("too early"))
    assert.equal("", a:read())
  end)

  it("tells by value what fails a handshake, again and again", function()
    local a, b = engines({ ca = pki.other_ca })
    local ok, message, id = shake(a, b)
    assert.is_nil(ok)
    assert.equal("TLS", id)
    for _ = 1, 2 do
      local again, text, same = a:ready()
      assert.is_nil(again)
      assert.equal("TLS", same)
      assert.matches("not trusted", text)
      assert.same({ nil, text, "TLS" }, { a:read() })
      assert.same({ nil, text, "TLS" }, { a:write("x") })
    end
    assert.is_string(message)
  end)

  it("tells by value of garbage, before and after the handshake", function()
    for _, garbage in ipairs { "GET / HTTP/1.1\r\n\r\n", ("\255"):rep(100), ("\0"):rep(20), "\23\3\3\0\5abcde" } do
      for role = 1, 2 do
        local engine = select(role, engines())
        engine:ready()
        engine:feed(garbage)
        local ok, message, id = engine:ready()
        assert.is_nil(ok)
        assert.matches("^TLS: ", message)
        assert.equal("TLS", id)
      end
      local a, b = engines()
      assert.is_true(shake(a, b))
      a:write("fine")
      move(a, b)
      b:feed(garbage)
      assert.equal("fine", b:read())
      local data, message, id = b:read()
      assert.is_nil(data)
      assert.matches("^TLS: ", message)
      assert.equal("TLS", id)
      assert.is_nil((b:write("x")))
    end
  end)

  it("feels every changed byte of a record", function()
    local a, b = engines()
    assert.is_true(shake(a, b))
    a:write("secret")
    local record = a:output()
    assert.equal(5 + 6 + 1 + 16, #record)
    for at = 6, #record, 5 do
      local c, d = engines()
      assert.is_true(shake(c, d))
      c:write("secret")
      local bytes = c:output()
      d:feed(bytes:sub(1, at - 1) .. string.char((bytes:byte(at) + 1) % 256) .. bytes:sub(at + 1))
      local data, _, id = d:read()
      assert.is_nil(data)
      assert.equal("TLS", id)
    end
  end)

  it("may go at any time, and its context before it", function()
    for steps = 0, 6 do
      local ends = { engines() } -- whose contexts are garbage
      for _ = 1, steps do
        collectgarbage()
        ends[1]:ready()
        move(ends[1], ends[2], 50)
        ends[2]:ready()
        move(ends[2], ends[1], 50)
      end
      ends[steps % 2 + 1] = nil
      collectgarbage()
      local _, rest = next(ends)
      rest:ready()
      rest:output()
    end
    collectgarbage()
  end)

  it("raises for arguments that make no sense", function()
    assert.error(function() tls.context("neither", {}) end)
    assert.error(function() tls.context("server", 1) end)
    local context = contexts()
    assert.error(function() context:engine({}) end)
    assert.error(function() context.engine(io.stdout) end)
    local engine = context:engine("localhost")
    assert.error(function() engine:feed(nil) end)
    assert.error(function() engine:write({}) end)
    assert.error(function() engine:read(-1) end)
    assert.error(function() engine.ready(context) end)
  end)

  it("resumes sessions of its context, by name and port", function()
    for _, version in ipairs { "1.2", "1.3" } do
      local client, server = contexts({ maximum_version = version })
      local function resumed(name, port)
        local a, b = client:engine(name, port), server:engine()
        assert.is_true(shake(a, b))
        b:write("x")
        move(b, a)
        a:read()
        a:finish()
        move(a, b)
        assert.equal(a:info().resumed, b:info().resumed)
        return a:info().resumed
      end
      assert.is_false(resumed("localhost", 1))
      assert.is_true(resumed("localhost", 1))
      assert.is_false(resumed("localhost", 2))
      assert.is_false(resumed("127.0.0.1", 1))
      assert.is_true(resumed("localhost", 1))
    end
  end)
end)
