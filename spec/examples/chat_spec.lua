-- SPDX-License-Identifier: MIT
-- The chat's server, told things that no page would say.

local duplex = require "duplex"
local has_json, talking = pcall(require, "spec.support.talking")
local run = require "spec.support.run"

if not has_json then
  pending("examples/chat needs lua-cjson")
  return
end

local say, expect = talking.say, talking.expect

describe("examples/chat", function()
  local server, url

  lazy_setup(function()
    server, url = talking.start("examples/chat/server.lua", "^open http(://%S+/) in two tabs$")
  end)
  lazy_teardown(function() server:stop() end)

  local function connect() return assert(duplex.connect("ws" .. url)) end

  local function enter(room, name)
    local ws = connect()
    say(ws, { type = "join", room = room, name = name })
    return ws, expect(ws, "welcome")
  end

  it("welcomes, lists, and tells who comes, speaks and leaves", run(function()
    local ada, welcome = enter("tea", "Ada")
    assert.same({ type = "welcome", room = "tea", name = "Ada", members = { "Ada" } }, welcome)
    local bob
    bob, welcome = enter("Tea", "ada")
    assert.equal("ada 2", welcome.name)
    assert.same({ "Ada", "ada 2" }, welcome.members)
    expect(ada, "joined")
    assert.equal("ada 2", expect(ada, "joined").name)
    say(bob, { type = "say", text = "hello 👋" })
    local said = expect(ada, "say")
    assert.equal("hello 👋", said.text)
    assert.equal("ada 2", said.name)
    local _, late = enter("tea", "Carol")
    assert.equal(said.id, late.history[1].id)
    say(bob, { type = "join", room = "tea", name = "Bob" })
    assert.same({ type = "renamed", name = "Bob", old_name = "ada 2" }, expect(ada, "renamed"))
    bob:close(1000, "", 0) -- the process is killed, the network is gone
    assert.equal("Bob", expect(ada, "left").name)
  end))

  for _, row in ipairs {
    { "not JSON", "a message must be a JSON object" },
    { "[1, 2", "a message must be a JSON object" },
    { "42", "a message must be a JSON object" },
    { "null", "a message must be a JSON object" },
    { '"\\ud800"', "a message must be a JSON object" },
    { ("["):rep(60000), "a message must be a JSON object" },
    { "[]", "unknown type of message" },
    { "{}", "unknown type of message" },
    { '{"type":null}', "unknown type of message" },
    { '{"type":{}}', "unknown type of message" },
    { '{"type":"shutdown"}', "unknown type of message" },
    { '{"type":"join"}', "the room must be a text" },
    { '{"type":"join","room":"x","name":{}}', "the name must be a text" },
    { '{"type":"join","room":"x","name":1e999}', "the name must be a text" },
    { '{"type":"join","room":"\\u0000","name":"x"}', "the room is empty" },
    { '{"type":"say","text":"hello"}', "join a room first" },
    { "\0\255\254", "a message must be a JSON object", "binary" },
  } do
    it(("answers %s with a text"):format(row[1]:sub(1, 40):gsub("%c", "?")), run(function()
      local ws = connect()
      assert(ws:send(row[1], row[3]))
      assert.equal(row[2], expect(ws, "error").message)
      say(ws, { type = "join", room = "still there", name = "Eve" })
      expect(ws, "welcome")
    end))
  end

  it("refuses what is too long, and goes on", run(function()
    local ws = enter("long", "Eve")
    say(ws, { type = "say", text = ("é"):rep(2001) })
    assert.equal("the message has 2001 characters, 2000 are allowed", expect(ws, "error").message)
    assert(ws:send(("x"):rep(65537)))
    while ws:receive(10) do end
    assert.equal(1009, ws.close_code)
  end))

  it("slows down who says too much, and cuts who does not stop", run(function()
    local ws = enter("flood", "Eve")
    for i = 1, 20 do say(ws, { type = "say", text = tostring(i) }) end
    assert.equal("too many messages: please wait a second", expect(ws, "error").message)
    for i = 1, 100 do
      if not ws:send('{"type":"say","text":"' .. i .. '"}') then break end
    end
    while ws:receive(10) do end
    assert.equal(1008, ws.close_code)
  end))

  it("is for its own page", run(function()
    local _, _, _, response = duplex.connect("ws" .. url, { headers = { Origin = "http://evil.example" } })
    assert.equal(403, response.status)
  end))

  it("still stands, and nothing was logged", function()
    os.execute("kill " .. server.pid)
    local _, output = server:finish()
    -- What was refused for its Origin is worth a line.
    output = output:gsub("duplex: warning: refused a page of another site[^\n]*\n?", "")
    assert.is_nil(output:find("error"), output)
    assert.is_nil(output:find("traceback"), output)
  end)
end)
