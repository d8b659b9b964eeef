-- SPDX-License-Identifier: MIT
-- What programs do wrong must not hang them, nor anybody else.

local duplex = require "duplex"
local each = require "spec.support.each"
local peer = require "spec.support.peer"
local run = require "spec.support.run"

local function serve(handler)
  return assert(duplex.serve({ log = false }, handler))
end

local function drain(ws) each(ws, function() end) end

describe("misuse", function()
  it("of the grace raises, and the loop still stops", run(function()
    local server = serve(drain)
    for _, wrong in ipairs { "x", -1, 0 / 0, {} } do
      assert.error_matches(function() duplex.stop(wrong) end, "grace must be seconds")
      assert.error_matches(function() server:stop(wrong) end, "grace must be seconds")
    end
  end))

  it("by asking an ended connection for ever does not stop the others", run(function()
    local ended = duplex.event()
    local server = serve(function(ws)
      ws:close()
      ended:set()
      while not ws.data do ws:receive() end
    end)
    local other = serve(each)
    assert(duplex.connect(server.url))
    ended:wait(2)
    local ws = assert(duplex.connect(other.url))
    ws:send("alive")
    assert.equal("alive", (ws:receive(2)))
    for one in pairs(server.connections) do one.data = true end
  end))

  it("by sending on for ever after the end does not stop the others either", run(function()
    local server = serve(drain)
    local ws, done = assert(duplex.connect(server.url)), false
    duplex.spawn(function()
      ws:close()
      while not done do ws:send("x") end
    end)
    assert.is_true(duplex.sleep(0.05))
    done = true
  end))

  it("a burst of broadcasts is offered to the kernel before anybody is called slow", run(function()
    local server = serve(drain)
    local ws = assert(duplex.connect(server.url, { max_queue = 5000 }))
    while not next(server.connections) do duplex.sleep(0) end
    local data = ("x"):rep(1000)
    for _ = 1, 1200 do duplex.broadcast(server.connections, data, "binary") end
    for _ = 1, 1200 do assert.equal(data, (assert(ws:receive(5)))) end
  end))

  for _, row in ipairs {
    { "a body with 204", 204, "body" },
    { "a body with 304", 304, "body" },
    { "a Content-Length that is too small", 200, "hello", { ["Content-Length"] = "2" } },
    { "a Content-Length that is too large", 200, "hello", { ["content-length"] = "50" } },
    { "a Transfer-Encoding", 200, "hello", { ["Transfer-Encoding"] = "chunked" } },
  } do
    it("of on_request is answered with 500 and an end: " .. row[1], run(function()
      local server = assert(duplex.serve({
        log = false, on_request = function() return row[2], row[3], row[4] end,
      }, drain))
      local raw = peer.connect(server.port)
      raw:send("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
      local answers = raw:rest(2)
      assert.matches("^HTTP/1.1 500 ", answers)
      assert.is_nil(answers:find("HTTP/1.1", 10, true))
    end))
  end

  for text, call in pairs {
    ["the root must be a string, got nil"] = function() duplex.files() end,
    ["a codec must be a table with functions encode and decode, got nil"] = function() duplex.json.codec() end,
    ["a codec must be a table with functions encode and decode, this has no encode"] = function()
      duplex.rpc(duplex.pair(), { codec = {} })
    end,
    ["json: this is no connection"] = function() duplex.json({}) end,
    ["option 'backend' has no function 'publish'"] = function() duplex.hub { backend = {} } end,
    ["option 'payload' must be bytes or function, got 5"] = function() duplex.heartbeat { payload = 5 } end,
    ["option 'final' has 'LOSST', which is no id of a failure (did you mean 'LOST'?)"] = function()
      duplex.reconnect("ws://127.0.0.1:1", { final = { "LOSST" } })
    end,
    ["option 'heartbeat.minimum' is for a policy that connections share: make one with duplex.heartbeat"] = function()
      duplex.serve({ heartbeat = { minimum = 1 } }, drain)
    end,
    ["unknown option 'heartbeat.intervall' (did you mean 'heartbeat.interval'?)"] = function()
      duplex.serve({ heartbeat = setmetatable({ intervall = 1 }, {}) }, drain)
    end,
    ["grace must be seconds, 0 or more, got a string"] = function() duplex.stop("5") end,
  } do
    it("is blamed on the program's line: " .. text, function()
      local _, problem = pcall(call)
      local blamed, said = problem:match("^(%S*misuse_spec.lua:)%d+: (.*)")
      assert.same({ true, text }, { blamed ~= nil, said })
    end)
  end

  for _, row in ipairs {
    { "send", function(it) it.ws:send(5) end, "the message must be a string or prepared, got number" },
    { "send in memory", function(it) it.a:send("\255") end, "text is not valid UTF%-8" },
    { "send with options", function(it) it.a:send("a", "text", 5) end, "bad argument #3 to 'send' %(table expected, got number" },
    { "try_send", function(it) it.ws:try_send("a", "txt") end, "kind must be" },
    { "close", function(it) it.ws:close(1000, {}) end, "bad argument #2 to 'close' %(string expected, got table" },
    { "receive", function(it) it.ws:receive("soon") end, "bad argument #1 to 'receive' %(number expected, got string" },
    { "broadcast", function(it) duplex.broadcast({ [it.ws] = 1 }, 5) end, "the message must be" },
    { "client:send", function(it) it.client:send(5) end, "the message must be" },
    { "client:try_send", function(it) it.client:try_send({}) end, "the message must be" },
    { "channel:send", function(it) it.channel:send("\255") end, "text is not valid UTF%-8" },
    { "hub:publish", function(it) it.hub:publish("a", "\255") end, "text is not valid UTF%-8" },
    { "channel:receive", function(it) it.channel:receive({}) end, "bad argument #1 to 'receive' %(number expected, got table" },
  } do
    it("in " .. row[1] .. " is blamed on the program's line", run(function()
      local server = serve(drain)
      local of = { ws = assert(duplex.connect(server.url)), a = duplex.pair() }
      of.client, of.channel = duplex.reconnect(server.url), duplex.json(of.ws)
      of.hub = duplex.hub()
      assert(of.client:wait_open(5))
      local fine, message = pcall(row[2], of)
      assert.is_false(fine)
      assert.matches("misuse_spec%.lua:%d+: " .. row[3], message)
      of.client:close()
    end))
  end
end)
