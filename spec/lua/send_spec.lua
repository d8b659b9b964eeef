-- SPDX-License-Identifier: MIT
local duplex = require "duplex"
local applies = require "spec.support.applies"
local both = require "spec.support.both"
local child = require "spec.support.child"
local peer = require "spec.support.peer"
local run = require "spec.support.run"

local case = both.cases(it)
local KIB64 = ("x"):rep(65536)

-- Sends until it has to wait: returns the task and how much it has sent.
local function fill(ws, limit)
  local sent = { count = 0 }
  local wait, over = both.task(function()
    for _ = 1, limit do
      local ok, message, id = ws:send(KIB64, "binary")
      if not ok then return nil, message, id end
      sent.count = sent.count + 1
    end
    return true
  end)
  local last
  repeat
    last = sent.count
    duplex.sleep(0.05)
  until over() or last == sent.count
  return wait, over, sent
end

describe("ws:send", function()
  case("returns true", function(a, b)
    assert.is_true(a:send("x"))
    assert.is_true(b:send("y", "binary"))
    assert.is_true(b:send("y", "text", {}))
  end)

  case("raises for misuse, and the connection goes on", function(a, b)
    for _, row in ipairs {
      { "invalid UTF-8", "not valid UTF%-8", "\255" },
      { "cut UTF-8", "not valid UTF%-8", "\226\130" },
      { "no message", "string", nil },
      { "a table", "string", {} },
      { "an unknown kind", "kind must be", "x", "txt" },
      { "options that are no table", "table", "x", "text", 5 },
    } do
      local fine, problem = pcall(a.send, a, table.unpack(row, 3, 5))
      assert.is_false(fine, row[1])
      assert.matches(row[2], problem)
      if row[5] == nil then assert.is_false((pcall(a.try_send, a, row[3], row[4]))) end
    end
    a:send("\255", "binary")
    assert.equal("\255", (b:receive()))
  end)

  case("gives the id of the end after the end, and while closing", function(a, b)
    local closing = both.task(a.close, a)
    both.settle()
    for _, name in ipairs { "send", "try_send" } do
      assert.same({ nil, "CLOSED: the connection is closed", "CLOSED" }, { a[name](a, "x") })
    end
    b:receive()
    closing()
    for _, ws in ipairs { a, b } do
      assert.equal("CLOSED", select(3, ws:send("x")))
      assert.equal("CLOSED", select(3, ws:send(function() error("not called") end)))
      assert.equal("CLOSED", select(3, ws:try_send("x")))
      assert.equal("CLOSED", select(3, ws:ping()))
      assert.equal("CLOSED", select(3, ws:receive()))
      assert.equal("CLOSED", select(3, ws:receive_to(print)))
    end
  end)

  case("waits while the peer does not read, and goes on when it does", function(a, b)
    local wait, over, sent = fill(a, 400)
    assert.is_false(over(), "sent all without waiting")
    assert.is_true(a.outbox <= 65536 * 3, "outbox of " .. a.outbox)
    assert.is_true(b:stats().queued <= 17)
    local before = sent.count
    for _ = 1, 400 do assert.equal(65536, #b:receive()) end
    assert.is_true(wait())
    assert.is_true(before < 400)
    assert.equal(0, a.outbox)
  end)

  case("wakes with the id of the end when the connection ends meanwhile", function(a, b)
    local wait, over = fill(a, 400)
    assert.is_false(over())
    b:close(1000, "", 0)
    local ok, _, id = wait()
    assert.is_nil(ok)
    assert.is_true(id == "CLOSED" or id == "LOST", id)
  end)

  case("raises at once and lets both sides close, while there is no room", function(a, b)
    b:send("what is new?")
    assert(a:receive())
    local wait, over = fill(a, 400)
    assert.is_false(over())
    both.task(both.raises, "the message must be a string or prepared", a.send, a, 5)()
    both.task(both.raises, "must be true or false", a.send, a, "x", "text", { compress = 5 })()
    local closing = both.task(a.close, a)
    both.settle()
    b:close()
    assert.is_true(closing())
    assert.equal("CLOSED", select(3, wait()))
    assert.is_nil(a.close_error)
    assert.is_nil(b.close_error)
  end)

  it("ends with LOST when the peer reads nothing for send_timeout", run(function()
    local came, ended = duplex.event(), nil
    local server = assert(duplex.serve({ send_timeout = 0.1, log = false }, function(ws)
      came:set()
      repeat
        local ok, message, id = ws:send(KIB64, "binary")
        ended = ended or not ok and { message, id }
      until ended
    end))
    local raw = peer.connect(server.port):upgrade()
    came:wait()
    assert.is_true(raw:read(10) ~= nil)
    for _ = 1, 100 do
      if ended then break end
      duplex.sleep(0.02)
    end
    assert.same({ "LOST: the peer read nothing for send_timeout", "LOST" }, ended)
  end))
end)

-- In a program of its own: prepares, then does something with so little memory
-- left that a large message fits nowhere. AddressSanitizer's allocator does not
-- say no.
local scarce = applies.where(not (os.getenv("LD_PRELOAD") or ""):find("asan"), "memory does not run out", it)
local function with_little_memory(prepare, act)
  -- What is free again goes back at once, and is not there to be found.
  local tunables = "GLIBC_TUNABLES=glibc.malloc.mmap_threshold=65536"
  local program = child.start("env", tunables, child.lua, "-e", ([[
    local duplex = require "duplex"
    duplex.run(function()
      local large = ("x"):rep(60 * 2 ^ 20)
      %s
      collectgarbage()
      collectgarbage()
      local pages = io.open("/proc/self/statm"):read("*n")
      os.execute(("prlimit --pid $PPID --as=%%d"):format((pages * 4 + 30 * 1024) * 1024))
      %s
      print("got", id, ws.state, ws.close_error)
      duplex.stop()
    end)]]):format(prepare, act))
  local got = program:expect("^got\t(.*)")
  program:finish()
  return got
end

describe("ws:send, when memory is out,", function()
  scarce("ends the connection within a frame", function()
    assert.equal("LOST\tclosed\tLOST: the connection was lost", with_little_memory([[
      local ws
      local server = duplex.serve({ log = false }, function(conn) ws = conn conn:wait_closed() end)
      local deaf = assert(duplex.connect(server.url, { max_queue = 1 }))
      while not ws do duplex.sleep(0.001) end]],
      'local _, _, id = ws:send(large, "binary")'))
  end)

  scarce("ends the connection within a message in fragments, as what is behind was accepted", function()
    assert.equal("LIMIT\tclosed\tLIMIT: out of memory", with_little_memory("local ws, count = duplex.pair(), 0", [[
      local _, _, id = ws:send(function()
        count = count + 1
        assert(count == 1 or ws:try_send("behind"))
        return count == 1 and "a piece" or large
      end, "binary")]]))
  end)
end)

describe("ws:try_send", function()
  case("gives FULL over max_outbox, and never waits", function(a, b)
    local ok, message, id
    local count = 0
    repeat
      ok, message, id = a:try_send(KIB64, "binary")
      count = count + (ok and 1 or 0)
    until not ok or count > 1000
    assert.equal("FULL: the outbox is full (max_outbox)", message)
    assert.equal("FULL", id)
    assert.is_true(a.outbox <= 1048576)
    for _ = 1, count do assert.equal(65536, #b:receive(2)) end
    assert.equal("TIMEOUT", select(3, b:receive(0.02)))
    assert.is_true(a:try_send("room again"))
    assert.equal("room again", (b:receive()))
  end)
end)

describe("ws:send(source)", function()
  local function list(pieces)
    local i = 0
    return function()
      i = i + 1
      return pieces[i]
    end
  end

  case("sends one message of fragments", function(a, b)
    assert.is_true(a:send(list { "one, ", "", "two, ", "three" }))
    assert.same({ "one, two, three", "text" }, { b:receive() })
    assert.is_true(a:send(list { "\255", "\254" }, "binary"))
    assert.same({ "\255\254", "binary" }, { b:receive() })
    assert.is_true(a:send(list {}))
    assert.same({ "", "text" }, { b:receive() })
  end)

  case("takes what io.lines(path, n) gives", function(a, b)
    local name = os.tmpname()
    local file = assert(io.open(name, "wb"))
    file:write(("0123456789abcdef"):rep(40000))
    file:close()
    local sending = both.task(a.send, a, io.lines(name, 65536))
    assert.equal(640000, #b:receive(2))
    assert.is_true(sending())
    os.remove(name)
  end)

  case("lets the source wait, and holds back what others send meanwhile", function(a, b)
    local go = duplex.event()
    local turn = 0
    local sending = both.task(a.send, a, function()
      turn = turn + 1
      if turn == 2 then go:wait() end
      return ({ "first ", "half" })[turn]
    end)
    both.settle()
    assert.is_true(a:send("behind"))
    assert.equal("TIMEOUT", select(3, b:receive(0.02)))
    assert.is_true(a:ping(1) > 0, "pings are not held back")
    local second = both.task(a.send, a, list { "and ", "another" })
    go:set()
    assert.is_true(sending())
    assert.is_true(second())
    assert.equal("first half", (b:receive()))
    assert.equal("behind", (b:receive()))
    assert.equal("and another", (b:receive()))
  end)

  case("goes on although others wait behind it with more than the high mark", function(a, b)
    local go = duplex.event()
    local turn = 0
    local sending = both.task(a.send, a, function()
      turn = turn + 1
      if turn == 2 then go:wait() end
      return ({ "a", "b", "c" })[turn]
    end)
    both.settle()
    local others = {}
    for i = 1, 4 do others[i] = both.task(a.send, a, KIB64, "binary") end
    both.settle()
    go:set()
    assert.equal("abc", (b:receive(2)))
    for i = 1, 4 do
      assert.equal(65536, #(b:receive(2) or ""))
      assert.is_true(others[i]())
    end
    assert.is_true(sending())
  end)

  case("feels back-pressure", function(a, b)
    local pieces = 0
    local sending, over = both.task(a.send, a, function()
      pieces = pieces + 1
      if pieces <= 14 then return KIB64 end
    end, "binary")
    local size = b:receive_to(function(piece) assert(#piece <= 1048576) end)
    assert.equal(14 * 65536, size)
    assert.is_true(sending())
    assert.is_true(over())
  end)

  case("that raises ends the connection with 1011, and the error goes on", function(a, b)
    local calls = 0
    local fine, problem = duplex.pcall(a.send, a, function()
      calls = calls + 1
      if calls == 2 then error("the disk is gone", 0) end
      return "half"
    end)
    assert.is_false(fine)
    assert.equal("the disk is gone", problem)
    assert.equal("CLOSED", select(3, a:send("x")))
    assert.equal("CLOSED", select(3, b:receive()))
    assert.equal(1011, b.close_code)
  end)

  case("raises for pieces that are no strings, or are not UTF-8", function(a, b)
    both.raises("must return strings", a.send, a, list { "good", 5 })
    b:receive()
    local c, d = duplex.pair()
    both.raises("not valid UTF%-8", c.send, c, list { "\226\130", "" })
    d:receive()
    assert.equal(1011, d.close_code)
  end)

  case("may cut a character between two pieces", function(a, b)
    assert.is_true(a:send(list { "\226", "\130", "\172" }))
    assert.equal("€", (b:receive()))
  end)

  it("ends when the peer stops reading for send_timeout", run(function()
    local ended, result = duplex.event(), nil
    local server = assert(duplex.serve({ send_timeout = 0.1, log = false }, function(ws)
      result = { ws:send(function() return KIB64 end, "binary") }
      ended:set()
    end))
    local raw = peer.connect(server.port):upgrade()
    raw:read(10)
    assert.is_true(ended:wait(5))
    assert.equal("LOST", result[3])
  end))
end)
