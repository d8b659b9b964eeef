-- SPDX-License-Identifier: MIT
-- What programs see of compression, over all transports. The wire is in
-- spec/core/deflate_spec.lua.

local both = require "spec.support.both"
local duplex = require "duplex"
local memory = require "spec.support.memory"
local pki = require "spec.support.pki"
local run = require "spec.support.run"

-- Joins two connections in every way: body(client, server, what).
local function joined(it, name, client, server, body)
  it(name .. " (socket)", run(function()
    both.socket(body, { compression = client }, { compression = server })
  end))
  it(name .. " (stream)", run(function()
    local serving
    both.socket(function(a, b, s)
      serving = s
      body(a, b)
    end, { compression = client }, { compression = server }, duplex.bind(memory.host {}))
    serving:stop(0)
  end))
  if client == server then
    it(name .. " (pair)", run(function() body(duplex.pair { compression = client }) end))
  end
end

local TWELVE = "server_max_window_bits=12; client_max_window_bits=12"

describe("ws.extensions", function()
  for _, row in ipairs {
    { true, true, "permessage-deflate; " .. TWELVE },
    { false, true, "" }, { true, false, "" },
    { true, { compressor = "shared" },
      "permessage-deflate; server_no_context_takeover; client_no_context_takeover; " .. TWELVE },
    { { compressor = "shared" }, true, "permessage-deflate; client_no_context_takeover; " .. TWELVE },
    { { server_no_context_takeover = true, server_max_window_bits = 10, client_max_window_bits = 9 }, true,
      "permessage-deflate; server_no_context_takeover; server_max_window_bits=10; client_max_window_bits=9" },
    { { server_max_window_bits = 15, client_max_window_bits = 15 }, { server_max_window_bits = 15,
      client_max_window_bits = 15 }, "permessage-deflate" },
    -- A server without a compressor for so small a window declines.
    { { server_max_window_bits = 8 }, true, "" },
  } do
    it(("is %q"):format(row[3]), run(function()
      both.socket(function(a, b)
        assert.equal(row[3], a.extensions)
        assert.equal(row[3], b.extensions)
        a:close()
        assert.equal(row[3], a.extensions)
      end, { compression = row[1] }, { compression = row[2] })
    end))
  end
end)

describe("ws:stats()", function()
  joined(it, "tells bytes of messages before and after", true, true, function(a, b)
    local text = ("All work and no play makes Jack a dull boy. "):rep(50)
    a:send(text)
    assert.equal(text, (b:receive(1)))
    local sent, came = a:stats(), b:stats()
    assert.equal(#text, sent.payload_out)
    assert.equal(#text, came.payload_in)
    assert.equal(sent.wire_out, came.wire_in)
    assert.is_true(sent.wire_out < 100)
    assert.same({ 0, 0, 0, 0 }, { sent.payload_in, sent.wire_in, came.payload_out, came.wire_out })
    assert.equal(1, came.messages_in)
  end)

  it("tells nothing of that without compression", run(function()
    local a = duplex.pair()
    assert.is_nil(a:stats().payload_in)
    assert.is_nil(a:stats().wire_out)
  end))
end)

describe("ws:send", function()
  local text = ("compress me "):rep(20)

  joined(it, "takes { compress = ... }, and so does try_send", true, true, function(a, b)
    local function cost(method, ...)
      local before = a:stats().wire_out
      assert(a[method](a, ...))
      assert.equal((...), (b:receive(1)))
      return a:stats().wire_out - before
    end
    for _, method in ipairs { "send", "try_send" } do
      assert.equal(#text, cost(method, text, "text", { compress = false }))
      assert.is_true(cost(method, text) < 40)
      assert.is_true(cost(method, text, nil, {}) < 40)
      assert.is_true(cost(method, "compress", nil, { compress = true }) < 8)
      assert.equal(8, cost(method, "compress"))
    end
    both.raises("the one option of send is 'compress'", a.send, a, text, "text", { compres = false })
    both.raises("table expected", a.send, a, text, "text", true)
  end)

  joined(it, "compresses what a source gives, as one message", true, true, function(a, b)
    local function send(options)
      local count = 0
      assert(a:send(function()
        count = count + 1
        return count <= 10 and text or nil
      end, "binary", options))
    end
    for _ = 1, 2 do
      send()
      local data, kind = b:receive(1)
      assert.equal(text:rep(10), data)
      assert.equal("binary", kind)
    end
    assert.is_true(a:stats().wire_out < 400)
    send { compress = false }
    assert.equal(text:rep(10), (b:receive(1)))
    assert.is_true(a:stats().wire_out > #text * 10)
  end)

  joined(it, "is received in pieces", true, true, function(a, b)
    local large = {}
    for i = 1, 50000 do large[i] = ("%d "):format(i) end
    large = table.concat(large)
    a:send(large)
    a:send(text)
    local pieces = {}
    assert.equal(#large, (b:receive_to(function(piece) pieces[#pieces + 1] = piece end)))
    assert.equal(large, table.concat(pieces))
    assert.equal(text, (b:receive(1)))
  end)
end)

describe("one message for many", function()
  local text = ("news of the day "):rep(30)

  -- Clients of servers with different compressors, and what these send.
  local function each_kind(body)
    local clients, conns = {}, {}
    for i, kind in ipairs { true, true, { compressor = "shared" }, false, { server_max_window_bits = 9 } } do
      local server = assert(duplex.serve({ log = false, compression = kind }, function(ws)
        conns[ws] = i
        ws:receive()
      end))
      clients[i] = assert(duplex.connect(server.url, { compression = true }))
    end
    while true do
      local count = 0
      for _ in pairs(conns) do count = count + 1 end
      if count == #clients then break end
      duplex.sleep(0.001)
    end
    body(clients, conns)
    for _, ws in ipairs(clients) do ws:close() end
  end

  it("is compressed, each connection as it agreed, and contexts go on", run(function()
    each_kind(function(clients, conns)
      local prepared = duplex.prepare(text)
      for round = 1, 3 do
        for ws in pairs(conns) do ws:send(("for one, %d "):format(round):rep(20)) end
        assert.equal(#clients, duplex.broadcast(conns, text))
        assert.equal(#clients, duplex.broadcast(conns, prepared))
        for ws in pairs(conns) do ws:send(prepared) end
        for ws in pairs(conns) do ws:send(("for one, %d "):format(round):rep(20)) end
        assert.equal(#clients, duplex.broadcast(conns, "short"))
        for _, ws in ipairs(clients) do
          for _, message in ipairs { ("for one, %d "):format(round):rep(20), text, text, text,
            ("for one, %d "):format(round):rep(20), "short" } do
            assert.equal(message, (ws:receive(1)))
          end
        end
      end
      for i, ws in ipairs(clients) do
        local stats = ws:stats()
        assert.equal(ws.extensions ~= "", i ~= 4)
        if i ~= 4 then assert.is_true(stats.wire_in < stats.payload_in / 5) end
      end
    end)
  end))

  it("counts in the numbers of its server with the bytes that programs have", run(function()
    local server
    both.socket(function(a, b, serving)
      server = serving
      for _ = 1, 2 do duplex.broadcast({ [b] = true }, text) end
      b:send(text)
      for _ = 1, 3 do assert.equal(text, (a:receive(1))) end
      assert.equal(3, server:metrics().messages.sent.text)
      assert.equal(3 * #text, server:metrics().bytes.sent.text)
      assert.equal(3, b:stats().messages_out)
    end, { compression = true }, { compression = true })
  end))

  it("is sent as it is where that is smaller, or asked for", run(function()
    each_kind(function(clients, conns)
      local dice = {}
      for i = 1, 1000 do dice[i] = string.char(math.random(0, 255)) end
      dice = table.concat(dice)
      duplex.broadcast(conns, dice, "binary")
      for ws in pairs(conns) do ws:send(duplex.prepare(text), nil, { compress = false }) end
      for _, ws in ipairs(clients) do
        assert.equal(dice, (ws:receive(1)))
        assert.equal(text, (ws:receive(1)))
        local stats = ws:stats()
        assert.equal(stats.payload_in, stats.wire_in)
      end
    end)
  end))

  it("goes from clients too, and waits for a message in fragments", run(function()
    local a, b = duplex.pair { compression = true }
    local count = 0
    a:send(function()
      count = count + 1
      if count == 2 then
        duplex.broadcast({ [a] = true }, text)
        a:try_send(duplex.prepare(text))
        a:try_send("between, between, between, between, between, between, between, between")
      end
      return count < 4 and text or nil
    end)
    a:send(text)
    for _, message in ipairs { text:rep(3), text, text,
      "between, between, between, between, between, between, between, between", text } do
      assert.equal(message, (b:receive(1)))
    end
  end))
end)

describe("compression", function()
  it("goes over TLS", run(function()
    local files = pki.certificate()
    both.socket(function(a, b)
      local text = ("over TLS "):rep(10000)
      a:send(text)
      assert.equal(text, (b:receive(1)))
      b:send(text)
      assert.equal(text, (a:receive(1)))
      assert.is_true(a:stats().wire_in < 1000)
    end, { compression = true, tls = { ca = pki.ca } },
      { compression = true, tls = { certificate = files.certificate, key = files.key } })
  end))

  it("ends with the message limit, and with corrupt data", run(function()
    local a, b = duplex.pair { compression = true }
    a:send(("0"):rep(2 ^ 20 + 1))
    local data, message, id = b:receive(1)
    assert.same({ nil, "TOO_BIG: message larger than max_message", "TOO_BIG" }, { data, message, id })
    a:receive()
    assert.equal(1009, a.close_code)
  end))
end)
