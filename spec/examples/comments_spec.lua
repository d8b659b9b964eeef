-- SPDX-License-Identifier: MIT
-- The live comments of examples/hub, with clients of ours. What browsers and
-- Python make of them is in spec/counterparts/hub_spec.lua.

local duplex = require "duplex"
local has_json, talking = pcall(require, "spec.support.talking")
local run = require "spec.support.run"

if not has_json then
  pending("examples/hub needs lua-cjson")
  return
end

local say, expect = talking.say, talking.expect

describe("examples/hub", function()
  local server, url

  lazy_setup(function()
    server, url = talking.start("examples/hub/server.lua", "^open (http://%S+/) in two tabs$")
  end)
  lazy_teardown(function() server:stop() end)

  local function connect() return assert(duplex.connect((url:gsub("^http", "ws")))) end

  local function enter(article, name, last)
    local ws = connect()
    say(ws, { type = "enter", article = article, name = name, reader = name,
      offset = last and last.offset, epoch = last and last.epoch })
    return ws
  end

  it("gives who comes back what was missed, and says who is there", run(function()
    local ada = enter("tea", "Ada")
    local entered = expect(ada, "entered")
    assert.same({ { "Ada" }, 0 }, { entered.readers, entered.offset })
    assert.is_nil(entered.recovered)
    local bob = enter("tea", "Bob")
    assert.same({ "Ada", "Bob" }, expect(bob, "entered").readers)
    assert.same({ joined = "Bob" }, expect(ada, "readers").data)
    say(bob, { type = "comment", text = "hello 👋" })
    local comment = expect(ada, "comment")
    assert.same({ 1, "Bob", "hello 👋" }, { comment.offset, comment.data.name, comment.data.text })
    ada:close(1000, "", 0) -- the network is gone
    assert.same({ left = "Ada" }, expect(bob, "readers").data)
    for _, text in ipairs { "one", "two" } do say(bob, { type = "comment", text = text }) end
    for _, text in ipairs { "one", "two" } do assert.equal(text, expect(bob, "comment").data.text) end
    ada = enter("tea", "Ada", comment)
    for _, text in ipairs { "one", "two" } do assert.equal(text, expect(ada, "comment").data.text) end
    assert.is_true(expect(ada, "entered").recovered)
    assert.is_false(expect(enter("tea", "Eve", { offset = 1, epoch = "another" }), "entered").recovered)
  end))

  for _, row in ipairs {
    { "not JSON", "what do you mean?" }, { "42", "what do you mean?" }, { ("["):rep(5000), "what do you mean?" },
    { '{"type":"obey"}', "what do you mean?" }, { "\0\255", "what do you mean?", "binary" },
    { '{"type":"enter","article":"a","name":"\255","reader":"x"}', "what do you mean?", "binary" },
    { '{"type":"comment","text":"x"}', "enter first" },
    { '{"type":"enter","name":"x","reader":"x"}', "there is no such article" },
    { '{"type":"enter","article":">","name":"x","reader":"x"}', "there is no such article" },
    { '{"type":"enter","article":"a.b","name":"x","reader":"x"}', "there is no such article" },
    { '{"type":"enter","article":"a","name":"","reader":"x"}', "who are you?" },
    { '{"type":"enter","article":"a","name":"x","reader":{}}', "who are you?" },
  } do
    it(("answers %s with a text"):format(row[1]:sub(1, 60):gsub("%c", "?")), run(function()
      local ws = connect()
      assert(ws:send(row[1], row[3]))
      assert.equal(row[2], expect(ws, "error").message)
      ws:close()
    end))
  end

  it("has pages, and numbers for Prometheus", run(function()
    local _, _, _, page = duplex.connect((url:gsub("^http", "ws")) .. "metrics", { headers = { Origin = "http://x" } })
    assert.equal(200, page.status)
    assert(page.body:find("\nduplex_hub_publishes_total %d+\n"), page.body)
  end))

  it("still stands, and nothing was logged", function()
    os.execute("kill " .. server.pid)
    local _, output = server:finish()
    assert.is_nil(output:find("error"), output)
    assert.is_nil(output:find("traceback"), output)
  end)
end)
