-- SPDX-License-Identifier: MIT
-- The chat example without its sockets.

package.path = "examples/chat/?.lua;" .. package.path
local limiter = require "limiter"
local rooms = require "rooms"

local function set_up(...)
  local chat = rooms.new("x")
  for _, name in ipairs { ... } do assert(chat:join(name, "lobby", name)) end
  return chat
end

describe("rooms: names", function()
  it("are made unique in a room, whatever their case", function()
    local chat = set_up("Ada")
    assert.equal("ada 2", chat:join(2, "lobby", "ada").name)
    assert.equal("ADA 3", chat:join(3, "lobby", "ADA").name)
    assert.equal("Ada", chat:join(4, "elsewhere", "Ada").name)
  end)

  it("stay as long as they may be when a number is added", function()
    local name = ("é"):rep(24)
    local chat = set_up()
    chat:join(1, "lobby", name)
    assert.equal(("é"):rep(22) .. " 2", chat:join(2, "lobby", name).name)
  end)

  it("keep what they are when the same member joins again", function()
    local chat = set_up("Ada")
    local entered = chat:join("Ada", "Lobby", "Ada")
    assert.equal("Ada", entered.name)
    assert.equal("Ada", entered.old_name)
    assert.equal(entered.room, entered.left)
  end)

  for _, row in ipairs {
    { "  Ada \t Lovelace\n", "Ada Lovelace" },
    { "A\0d\27[31ma\127", "Ad[31ma" },
    { "\226\128\174evil\226\128\172", "evil" }, -- would turn around what follows
    { "a\226\128\139\239\187\191\226\129\166b", "ab" }, -- two names that look the same
    { "\227\128\128Ada\194\160", "Ada" },
    { "👩‍🚀", "👩‍🚀" }, -- joined with U+200D, which has to stay
    { "שלום", "שלום" },
    { "é", "é" },
    { ("界"):rep(24), ("界"):rep(24) }, -- characters count, not bytes
  } do
    it(("%q becomes %q"):format(row[1], row[2]), function()
      assert.equal(row[2], set_up():join(1, "lobby", row[1]).name)
    end)
  end

  for _, row in ipairs {
    { nil, "the name must be a text" },
    { 42, "the name must be a text" },
    { {}, "the name must be a text" },
    { "", "the name is empty" },
    { " \226\128\139\n", "the name is empty" },
    { ("x"):rep(25), "the name has 25 characters, 24 are allowed" },
  } do
    it("are refused: " .. row[2], function()
      local chat = set_up("Ada")
      local entered, problem = chat:join("Ada", "elsewhere", row[1])
      assert.is_nil(entered)
      assert.equal(row[2], problem)
      assert.is_truthy(chat:say("Ada", "still in the lobby", 1))
    end)
  end
end)

describe("rooms: members", function()
  it("are in one room: joining another one leaves the first", function()
    local chat = set_up("Ada", "Bob")
    local entered = chat:join("Ada", "quiet", "Ada")
    assert.same({ "Ada" }, rooms.names(entered.room))
    assert.same({ "Bob" }, rooms.names(entered.left))
    assert.equal("Ada", entered.old_name)
  end)

  it("are listed in order", function()
    local chat = set_up("Zoe", "ada", "Bob")
    local _, room = chat:say("Zoe", "hello", 1)
    assert.same({ "ada", "Bob", "Zoe" }, rooms.names(room))
  end)

  it("find a room whatever its case, and see its first name", function()
    local chat = set_up("Ada")
    assert.equal("lobby", chat:join(2, " LOBBY ", "Bob").room.name)
  end)

  it("leave once", function()
    local chat = set_up("Ada")
    local room, name = chat:leave("Ada")
    assert.equal("lobby", room.name)
    assert.equal("Ada", name)
    assert.is_nil(chat:leave("Ada"))
    assert.is_nil(chat:leave("nobody"))
  end)

  it("take the room and its history along when they are the last", function()
    local chat = set_up("Ada")
    chat:say("Ada", "hello", 1)
    chat:leave("Ada")
    assert.same({}, chat.by_name)
    assert.same({}, chat:join("Bob", "lobby", "Bob").room.history)
  end)

  it("take it along when they only change rooms, too", function()
    local chat = set_up("Ada")
    chat:join("Ada", "quiet", "Ada")
    assert.is_nil(chat.by_name.lobby)
  end)
end)

describe("rooms: messages", function()
  it("need a room", function()
    local message, problem = set_up():say("Ada", "hello", 1)
    assert.is_nil(message)
    assert.equal("join a room first", problem)
  end)

  it("have an id, a name, a text and a time", function()
    local message, room = set_up("Ada"):say("Ada", "hello", 7)
    assert.same({ id = "x-1", name = "Ada", text = "hello", time = 7 }, message)
    assert.same({ message }, room.history)
  end)

  it("keep their lines, not control characters or empty ends", function()
    local message = set_up("Ada"):say("Ada", "\n \n  one\r\n\ttwo\0\27\n\n ", 1)
    assert.equal("  one\n\ttwo", message.text)
  end)

  it("are remembered up to 50", function()
    local chat = set_up("Ada")
    for i = 1, 60 do chat:say("Ada", tostring(i), i) end
    local history = chat:join("Bob", "lobby", "Bob").room.history
    assert.equal(50, #history)
    assert.equal("11", history[1].text)
    assert.equal("60", history[50].text)
  end)

  for _, row in ipairs {
    { nil, "the message must be a text" },
    { true, "the message must be a text" },
    { " \n ", "the message is empty" },
    { ("😀"):rep(2001), "the message has 2001 characters, 2000 are allowed" },
  } do
    it("are refused: " .. row[2], function()
      local message, problem = set_up("Ada"):say("Ada", row[1], 1)
      assert.is_nil(message)
      assert.equal(row[2], problem)
    end)
  end
end)

describe("limiter", function()
  it("gives the burst at once, then as many as the rate allows", function()
    local bucket = limiter.new(2, 3)
    for _ = 1, 3 do assert.is_true(limiter.take(bucket, 100)) end
    assert.is_false(limiter.take(bucket, 100))
    assert.is_false(limiter.take(bucket, 100.25))
    assert.is_true(limiter.take(bucket, 100.5))
    assert.is_false(limiter.take(bucket, 100.75))
  end)

  it("never holds more than the burst", function()
    local bucket = limiter.new(2, 3)
    limiter.take(bucket, 0)
    for _ = 1, 3 do assert.is_true(limiter.take(bucket, 1000)) end
    assert.is_false(limiter.take(bucket, 1000))
  end)
end)
