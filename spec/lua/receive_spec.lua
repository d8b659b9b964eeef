-- SPDX-License-Identifier: MIT
local duplex = require "duplex"
local applies = require "spec.support.applies"
local both = require "spec.support.both"
local bytes = require "spec.support.bytes"
local each = require "spec.support.each"
local peer = require "spec.support.peer"
local run = require "spec.support.run"

local case = both.cases(it)

describe("ws:receive", function()
  case("gives whole messages with their kind, in order", function(a, b)
    a:send("héllo")
    a:send("\0\255", "binary")
    a:send("")
    assert.same({ "héllo", "text" }, { b:receive() })
    assert.same({ "\0\255", "binary" }, { b:receive() })
    assert.same({ "", "text" }, { b:receive() })
  end)

  case("with a timeout of 0 polls", function(a, b)
    local data, message, id = b:receive(0)
    assert.is_nil(data)
    assert.equal("TIMEOUT: timed out", message)
    assert.equal("TIMEOUT", id)
    a:send("x")
    both.settle()
    assert.equal("x", b:receive(0))
  end)

  case("loses nothing by a timeout", function(a, b)
    for i = 1, 20 do
      assert.equal("TIMEOUT", select(3, b:receive(0.001)))
      a:send("message " .. i)
      assert.equal("message " .. i, (b:receive(1)))
    end
  end)

  it("loses nothing when a timeout cuts a message", run(function()
    both.socket(function(_, _, server)
      local came = duplex.event()
      local got = {}
      local other = assert(duplex.serve({ log = false }, function(ws)
        came:set()
        repeat
          local data, _, id = ws:receive(0.01)
          got[#got + 1] = data or id
        until data
      end))
      local raw = peer.connect(other.port):upgrade()
      came:wait()
      local frame = bytes.frame(0x81, "in two parts", "abcd")
      raw:send(frame:sub(1, 9))
      duplex.sleep(0.05)
      raw:send(frame:sub(10))
      raw:read(4) -- the close frame
      raw:close()
      assert.equal("in two parts", got[#got])
      assert.is_true(#got > 1)
      assert.is_table(server)
    end)
  end))

  case("raises for a second receiver, and leaves the first alone", function(a, b)
    local first = both.task(b.receive, b)
    both.settle()
    local fine, problem = duplex.pcall(b.receive, b)
    assert.is_false(fine)
    assert.matches("another task is receiving from this connection", problem, 1, true)
    a:send("for the first")
    assert.equal("for the first", (first()))
  end)

  case("raises for a timeout that is no number of seconds", function(_, b)
    assert.has_error(function() b:receive("soon") end)
    assert.error_matches(function() b:receive(-1) end, "seconds")
  end)

  case("gives messages that came before the end, then the same id for ever", function(a, b)
    a:send("last words")
    local closing = both.task(a.close, a)
    assert.equal("last words", (b:receive()))
    for _ = 1, 3 do
      local data, message, id = b:receive()
      assert.is_nil(data)
      assert.equal("CLOSED: the connection is closed", message)
      assert.equal("CLOSED", id)
    end
    assert.is_true(closing())
  end)

  case("wakes when somebody closes this side", function(_, b)
    local waiting = both.task(b.receive, b)
    both.settle()
    b:close()
    assert.equal("CLOSED", select(3, waiting()))
  end)

  case("keeps other tasks running while it waits", function(_, b)
    local waiting = both.task(b.receive, b, 0.2)
    local turns = 0
    for _ = 1, 10 do
      duplex.sleep(0.001)
      turns = turns + 1
    end
    assert.equal(10, turns)
    assert.equal("TIMEOUT", select(3, waiting()))
  end)

  case("costs no processor time while both ends wait", function(a, b)
    both.task(a.receive, a, 0.3)
    both.task(b.wait_closed, b, 0.3)
    local waiting = both.task(b.receive, b, 0.3)
    local began = os.clock()
    waiting()
    assert.is_true(os.clock() - began < 0.1, "the loop spins")
  end)
end)

describe("ws:messages", function()
  local where = applies.where(applies.waits_anywhere, "no iterator can wait there", case)

  where("iterates to a clean end without an error", function(a, b)
    local got = {}
    local reading = both.task(function()
      for data, kind in b:messages() do got[#got + 1] = data .. "/" .. kind end
    end)
    for i = 1, 40 do a:send("m" .. i, i % 2 == 0 and "binary" or "text") end
    a:close()
    reading()
    assert.equal(40, #got)
    assert.equal("m1/text", got[1])
    assert.equal("m40/binary", got[40])
    assert.is_nil(b.close_error)
    assert.is_nil(a.close_error)
  end)

  it("ends, with close_error, when the peer breaks a rule", run(function()
    local seen = duplex.event()
    local got, ended = {}, nil
    local server = assert(duplex.serve({ log = false }, function(ws)
      each(ws, function(data) got[#got + 1] = data end)
      ended = ws
      seen:set()
    end))
    local raw = peer.connect(server.port):upgrade()
    raw:send(bytes.frame(0x81, "good", "abcd") .. bytes.frame(0x81, "no mask"))
    assert.is_true(seen:wait(2))
    assert.same({ "good" }, got)
    assert.equal("PROTOCOL: frame from a client is not masked", ended.close_error)
    assert.same({ ended:receive() }, { nil, ended.close_error, "PROTOCOL" })
    assert.same({ ended:send("x") }, { nil, ended.close_error, "PROTOCOL" })
    assert.equal("\136", raw:read(1))
  end))
end)

describe("ws:receive_to", function()
  local function sink()
    local pieces = {}
    return function(piece) pieces[#pieces + 1] = piece end, pieces
  end

  case("leaves the messages behind its own whole, also when the sink waits", function(a, b)
    local go = duplex.event()
    local function source(...)
      local left = { ... }
      return function()
        if #left == 1 then go:wait() end
        return table.remove(left, 1)
      end
    end
    local sending = both.task(a.send, a, source("o", "ne"))
    assert.equal(3, (b:receive_to(function(piece)
      go:set()
      sending()
      a:send(source("behind ", piece))
      both.settle() -- all of it is there, and nobody receives
    end)))
    assert.equal("behind o", (b:receive()))
    assert.equal("behind ne", (b:receive()))
  end)

  case("is over when its time is up, also when the peer sends pings", function(a, b)
    local over = false
    both.task(function()
      for _ = 1, 1000 do
        if over then break end
        a:ping(1)
        duplex.sleep(0.005)
      end
    end)
    local waiting = both.task(b.receive_to, b, print, 0.05)
    assert.equal("TIMEOUT", select(3, waiting()))
    over = true
  end)

  case("gives a message in pieces, and its size and kind", function(a, b)
    local put, pieces = sink()
    local data = ("0123456789"):rep(50000)
    local receiving = both.task(b.receive_to, b, put)
    both.settle()
    a:send(data, "binary")
    local size, kind = receiving()
    assert.equal(500000, size)
    assert.equal("binary", kind)
    assert.equal(data, table.concat(pieces))
    assert.is_true(#pieces > 1)
    a:send("after")
    assert.equal("after", (b:receive()))
  end)

  case("takes a message that has come already, and an empty one", function(a, b)
    a:send("here")
    a:send("")
    both.settle()
    local put, pieces = sink()
    assert.same({ 4, "text" }, { b:receive_to(put) })
    assert.same({ 0, "text" }, { b:receive_to(put) })
    assert.same({ "here" }, pieces)
  end)

  case("times out a piece, and goes on where it was", function(a, b)
    local put, pieces = sink()
    local go = duplex.event()
    local sending = both.task(function()
      local parts = { "one ", "two ", "three" }
      local i = 0
      return a:send(function()
        i = i + 1
        if i == 2 then go:wait() end
        return parts[i]
      end)
    end)
    local size, _, id = b:receive_to(put, 0.05)
    assert.is_nil(size)
    assert.equal("TIMEOUT", id)
    assert.equal("one ", table.concat(pieces))
    go:set()
    assert.same({ 13, "text" }, { b:receive_to(put, 1) })
    assert.equal("one two three", table.concat(pieces))
    assert.is_true(sending())
  end)

  case("that timed out before a message began leaves it to receive", function(a, b)
    assert.equal("TIMEOUT", select(3, b:receive_to(function() end, 0.01)))
    a:send(("x"):rep(200000), "binary")
    local data = b:receive(2)
    assert.equal(200000, #(data or ""))
  end)

  case("lets the sink wait", function(a, b)
    local got = 0
    both.task(a.send, a, ("x"):rep(300000))
    local size = b:receive_to(function(piece)
      duplex.sleep(0.001)
      got = got + #piece
    end)
    assert.equal(300000, size)
    assert.equal(300000, got)
  end)

  case("gives the id of the end when the message is cut off", function(a, b)
    local put, pieces = sink()
    local calls = 0
    local source = both.task(a.send, a, function()
      calls = calls + 1
      if calls == 1 then return "begun" end
      duplex.sleep(0.02)
      error("the disk is gone")
    end)
    local size, _, id = b:receive_to(put)
    assert.is_nil(size)
    assert.equal("CLOSED", id)
    assert.equal("begun", table.concat(pieces))
    assert.equal(1011, b.close_code)
    both.raises("the disk is gone", source)
  end)

  case("raises without a function, and for a second receiver", function(a, b)
    assert.error_matches(function() b:receive_to({}) end, "sink must be a function")
    local first = both.task(b.receive, b)
    both.settle()
    both.raises("another task is receiving", b.receive_to, b, print)
    a:send("for the first")
    assert.equal("for the first", (first()))
  end)
end)
