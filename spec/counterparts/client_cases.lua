-- SPDX-License-Identifier: MIT
-- What our client does with any server that has the paths of peers/server.*.

local assert = require "luassert"
local duplex = require "duplex"
local PATIENCE = require "spec.support.patience"
local run = require "spec.support.run"

local SIZES = { 0, 1, 125, 126, 127, 65535, 65536, 1000000 }
local UNICODE = { "", "é ñ", "שלום مرحبا", "👩‍🚀 🏳️‍🌈", "e\204\129 Z\204\181\204\162", "𠮷𝔘",
  "\0 \127 \239\191\191 \244\143\191\191" }

--- Defines the cases.
---@param it function of the spec
---@param server fun(): string the URL, without a path
---@param tls? table option of connect
---@param said? string what their /seen says between code and reason, default a space
return function(it, server, tls, said)
  local function connect(path, options)
    options = options or {}
    options.tls = tls
    return assert(duplex.connect(server() .. path, options))
  end

  -- How the other side saw the end of the connection with this key.
  local function seen(key)
    local ws = connect("/seen?key=" .. key)
    local answer = assert(ws:receive(PATIENCE))
    ws:close()
    return answer
  end

  it("text and binary of all sizes", run(function()
    local ws = connect("/echo")
    for _, size in ipairs(SIZES) do
      for kind, byte in pairs { text = "x", binary = "\255" } do
        local data = byte:rep(size)
        assert(ws:send(data, kind))
        local answer, its_kind = assert(ws:receive(PATIENCE))
        assert.equal(kind, its_kind)
        assert.is_true(answer == data, size .. " bytes of " .. kind)
      end
    end
  end))

  it("Unicode", run(function()
    local ws = connect("/echo")
    for _, text in ipairs(UNICODE) do
      ws:send(text)
      assert.equal(text, (ws:receive(PATIENCE)))
    end
  end))

  it("many messages at once, in order", run(function()
    local ws = connect("/echo")
    duplex.spawn(function()
      for i = 1, 2000 do assert(ws:send(tostring(i):rep(i % 50))) end
    end)
    for i = 1, 2000 do assert.equal(tostring(i):rep(i % 50), (ws:receive(PATIENCE))) end
  end))

  it("fragments from us, pings between them", run(function()
    local ws = connect("/echo")
    local pieces, i = { "añ", "", "👋", ("b"):rep(70000) }, 0
    duplex.spawn(function()
      assert(ws:send(function()
        if i > 0 then assert(ws:ping(PATIENCE)) end
        i = i + 1
        return pieces[i]
      end))
    end)
    assert.equal(table.concat(pieces), (ws:receive(PATIENCE)))
  end))

  it("fragments from them", run(function()
    for _, kind in ipairs { "text", "binary" } do
      local data, its_kind = connect("/fragments?count=300&kind=" .. kind):receive(PATIENCE)
      assert.equal(("añ"):rep(300), data)
      assert.equal(kind, its_kind)
    end
  end))

  it("a message of theirs, taken in pieces", run(function()
    local kept = {}
    local bytes, kind = connect("/fragments?count=300&kind=text"):receive_to(function(piece)
      kept[#kept + 1] = piece
    end, PATIENCE)
    assert.equal(900, bytes)
    assert.equal("text", kind)
    assert.equal(("añ"):rep(300), table.concat(kept))
  end))

  it("pings from us", run(function()
    local ws = connect("/echo")
    assert.is_true(assert(ws:ping(PATIENCE)) >= 0)
    assert.is_true(ws.latency >= 0)
  end))

  it("pings from them", run(function()
    for _, size in ipairs { 0, 1, 125 } do
      assert.equal("pong", (connect("/ping?size=" .. size):receive(PATIENCE)))
    end
  end))

  it("close codes and reasons from us", run(function()
    for i, row in ipairs {
      { 1000, "" }, { 1001, "away" }, { 1011, "é👋" }, { 3000, ("x"):rep(123) }, { 4999, "z" },
    } do
      local ws = connect("/echo?key=close-" .. i)
      ws:close(row[1], row[2])
      assert.equal(row[1], ws.close_code) -- the echo
      assert.is_nil(ws.close_error)
      assert.equal(row[1] .. (said or " ") .. row[2], seen("close-" .. i))
    end
  end))

  it("close codes and reasons from them", run(function()
    for _, row in ipairs {
      { 1000, "" }, { 1001, "away" }, { 1011, "go" }, { 3000, ("x"):rep(123) }, { 4999, "z" },
    } do
      local ws = connect(("/close?code=%d&reason=%s"):format(row[1], row[2]))
      local data, _, id = ws:receive(PATIENCE)
      assert.is_nil(data)
      assert.equal("CLOSED", id)
      local code, reason = ws:wait_closed(PATIENCE)
      assert.same(row, { code, reason })
    end
  end))

  it("subprotocols", run(function()
    for _, row in ipairs {
      { { "chat.v1" }, "chat.v1" }, { { "x", "chat.v2" }, "chat.v2" }, { nil, nil },
    } do
      local ws = connect("/subprotocol", { subprotocols = row[1] })
      assert.equal(row[2], ws.subprotocol)
      assert.equal(row[2] or "none", (ws:receive(PATIENCE)))
    end
  end))

  it("a message that is too big for them", run(function()
    local ws = connect("/echo")
    ws:send(("x"):rep(1048577))
    local data, _, id = ws:receive(PATIENCE)
    assert.is_nil(data)
    assert.equal("CLOSED", id)
    assert.equal(1009, ws.close_code)
  end))

  it("a message that is too big for us", run(function()
    local ws = connect("/echo?key=big", { max_message = 1000 })
    ws:send(("x"):rep(1000))
    assert.equal(1000, #ws:receive(PATIENCE))
    ws:send(("x"):rep(1001))
    local data, _, id = ws:receive(PATIENCE)
    assert.is_nil(data)
    assert.equal("TOO_BIG", id)
    ws:close()
    assert.equal("1009", seen("big"):match("^%d+"))
  end))

  it("an abrupt end of theirs", run(function()
    local ws = connect("/abort")
    ws:send("now")
    local data, _, id = ws:receive(PATIENCE)
    assert.is_nil(data)
    assert.equal("LOST", id)
    assert.equal(1006, ws.close_code)
  end))

  it("an abrupt end of ours", run(function()
    local ws = connect("/echo?key=cut")
    ws:send("x")
    ws:receive(PATIENCE)
    ws:close(1000, "", 0)
    assert.equal("closed", ws.state)
    assert.is_truthy(seen("cut"):find("^100[056]"))
  end))

  it("a refusal, with all that the server said", run(function()
    local ws, message, id, response = duplex.connect(server() .. "/refused", { tls = tls })
    assert.is_nil(ws)
    assert.equal("HTTP", id)
    assert.is_truthy(message:find("401", 1, true))
    assert.equal(401, response.status)
    assert.equal("no ticket", response.headers["X-Why"])
    assert.equal("who are you?\n", response.body)
  end))
end
