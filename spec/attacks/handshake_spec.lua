-- SPDX-License-Identifier: MIT
-- Attacks on the opening handshake: what is answered, and that the connection
-- ends there, so that nothing behind it can be taken for another request.

local process = require "spec.support.process"
local raw = require "spec.support.raw"

describe("a hostile handshake", function()
  local server, witness

  setup(function()
    server = process.server { "spec/support/attacked.lua", "open_timeout=0.3" }
    witness = raw.connect(server.port)
  end)

  teardown(function()
    witness:close()
    server:stop()
  end)

  after_each(function() assert.is_true(witness:alive()) end)

  -- Sends bytes and a second request behind them: exactly one answer comes.
  local function answer(data)
    local peer = raw.tcp(server.port)
    peer:write(data .. raw.request())
    local status, text, ending = peer:answer()
    peer:close()
    local _, count = text:gsub("HTTP/1%.1 ", "")
    return status, text, count, ending
  end

  local many = { "GET / HTTP/1.1", "Host: h" }
  for i = 3, 101 do many[i] = ("X-%d: y"):format(i) end
  local exactly = table.concat(many, "\r\n")

  local rows = {
    -- status, title, changes of a good request or all its bytes
    { 400, "two Host headers", { ["Host"] = "a\r\nHost: b" } },
    { 400, "two equal Host headers", { ["Host"] = "a\r\nHost: a" } },
    { 400, "no Host", { ["Host"] = false } },
    { 400, "a Host that is more than a host", { ["Host"] = "a, b" } },
    { 400, "a Host with a path", { ["Host"] = "a/b" } },
    { 400, "a Host with user information", { ["Host"] = "a@b" } },
    { 400, "no key", { ["Sec-WebSocket-Key"] = false } },
    { 400, "a short key", { ["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZQ==" } },
    { 400, "a long key", { ["Sec-WebSocket-Key"] = ("A"):rep(4000) } },
    { 400, "a key that is not base64", { ["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZ!==" } },
    { 400, "two keys", { ["Sec-WebSocket-Key"] = raw.KEY .. "\r\nSec-WebSocket-Key: " .. raw.KEY } },
    { 426, "version 8", { ["Sec-WebSocket-Version"] = "8" } },
    { 426, "version 13, 8", { ["Sec-WebSocket-Version"] = "13, 8" } },
    { 400, "an upgrade with Content-Length", { ["Content-Length"] = "5" } },
    { 400, "an upgrade with Transfer-Encoding", { ["Transfer-Encoding"] = "chunked" } },
    { 400, "two lengths", { ["Content-Length"] = "0\r\nContent-Length: 5" } },
    { 400, "a negative length", { ["Content-Length"] = "-1" } },
    { 400, "a subprotocol that is no token", { ["Sec-WebSocket-Protocol"] = "chat, <b>" } },
    { 400, "a subprotocol twice", { ["Sec-WebSocket-Protocol"] = "chat, chat" } },
    { 400, "a bare CR in a value", { ["Sec-WebSocket-Protocol"] = "chat\rX-Injected: 1" } },
    { 400, "a bare LF in a value", { ["Sec-WebSocket-Protocol"] = "chat\nX-Injected: 1" } },
    { 400, "a NUL in a value", { ["X-Nul"] = "a\0b" } },
    { 400, "a folded line", { ["X-Fold"] = "a\r\n b" } },
    { 400, "a space before the colon", { ["Host"] = "h\r\nX-Space : a" } },
    { 400, "a header without a name", { ["Host"] = "h\r\n: a" } },
    { 403, "a page of another site", { ["Origin"] = "https://evil.example" } },
    { 400, "two origins", { ["Origin"] = "https://a.example\r\nOrigin: https://b.example" } },
    { 431, "101 header lines", exactly .. "\r\nX-Last: y\r\nX-More: y\r\n\r\n" },
    { 431, "a header line of 20 KB", { ["X-Long"] = ("a"):rep(20000) } },
    { 431, "a target of 20 KB", "GET /" .. ("a"):rep(20000) .. " HTTP/1.1\r\n\r\n" },
    { 400, "a target with a fragment", (raw.request():gsub("GET /", "GET /#x")) },
    { 400, "an empty target", (raw.request():gsub("GET / ", "GET  ")) },
    { 505, "HTTP/2.0", (raw.request():gsub("HTTP/1.1", "HTTP/2.0")) },
    { 400, "HTTP/1.0", (raw.request():gsub("HTTP/1.1", "HTTP/1.0")) },
    { 400, "no HTTP version", (raw.request():gsub(" HTTP/1.1", "")) },
    { 400, "a TLS ClientHello", "\22\3\1\2\0\1\0\1\252\3\3" .. ("\170"):rep(64) },
    { 400, "an SSH greeting with a NUL", "SSH-2.0-x\0\r\n" },
    { 400, "three empty lines first", "\r\n\r\n\r\n" .. raw.request() },
  }

  for _, row in ipairs(rows) do
    it(("gets %d once for %s"):format(row[1], row[2]), function()
      local data = type(row[3]) == "table" and raw.request(row[3]) or row[3]
      local status, text, count, ending = answer(data)
      assert.equal(row[1], status, text)
      assert.equal(1, count, text)
      assert.equal("closed", ending or "closed")
      assert.truthy(text:find("\r\nConnection: close\r\n", 1, true), text)
      assert.is_nil(text:find("Injected", 1, true), text)
      if status == 426 then assert.truthy(text:find("\r\nSec-WebSocket-Version: 13\r\n", 1, true)) end
    end)
  end

  -- A token within a token is another token: these are plain requests.
  for _, changes in ipairs { { ["Connection"] = "notupgrade" }, { ["Connection"] = "keep-alive" },
    { ["Connection"] = "upgrade-insecure" }, { ["Connection"] = false },
    { ["Upgrade"] = "websockets" }, { ["Upgrade"] = "xwebsocket" }, { ["Upgrade"] = "h2c" }, { ["Upgrade"] = false } } do
    local name, value = next(changes)
    it(("gets 426 for %s: %s, and no WebSocket"):format(name, tostring(value)), function()
      local peer = raw.tcp(server.port)
      peer:write(raw.request(changes))
      local head = peer:head()
      assert.equal("HTTP/1.1 426 ", head:sub(1, 13))
      assert.is_nil(head:find("Sec-WebSocket-Accept", 1, true))
      peer:close()
    end)
  end

  it("gets no subprotocol that it did not offer, and only one", function()
    for offered, chosen in pairs { ["soap, xmpp"] = false, ["superchat"] = "superchat", ["x, superchat, chat"] = "chat" } do
      local peer = raw.tcp(server.port)
      peer:write(raw.request { ["Sec-WebSocket-Protocol"] = offered })
      assert.equal(chosen or nil, peer:head():match("Sec%-WebSocket%-Protocol: ([^\r]*)"))
      peer:close()
    end
  end)

  it("gets no extension where there is none, whatever it offers", function()
    for _, offered in ipairs { "permessage-deflate", "permessage-deflate; server_max_window_bits=99999",
      'x; a="' .. ("\\a"):rep(5000) .. '"', ("x;"):rep(5000) .. "x" } do
      local peer = raw.tcp(server.port)
      peer:write(raw.request { ["Sec-WebSocket-Extensions"] = offered })
      local head = peer:head()
      assert.equal("HTTP/1.1 101 ", head:sub(1, 13))
      assert.is_nil(head:find("Extensions", 1, true))
      assert.is_true(peer:alive())
      peer:close()
    end
  end)

  it("gets 400 for offers that are none (RFC 6455 9.1)", function()
    for _, offered in ipairs { ("x;"):rep(5000), "a" .. (" "):rep(10000) .. "b", 'x; a="' .. ("\\a"):rep(5000) } do
      local peer = raw.tcp(server.port)
      peer:write(raw.request { ["Sec-WebSocket-Extensions"] = offered })
      assert.equal("HTTP/1.1 400 ", peer:head():sub(1, 13))
      peer:close()
    end
  end)

  it("gets 408 when it comes byte by byte, too slowly, or not at all", function()
    local slow, mute = raw.tcp(server.port), raw.tcp(server.port)
    local began = require("socket").gettime()
    local request, at = raw.request(), 0
    while not slow:readable(0.02) do
      at = at + 1
      slow:write(request:sub(at, at))
      assert.is_true(at < 100, "bytes buy no time")
    end
    for _, peer in ipairs { slow, mute } do
      local status, _, ending = peer:answer()
      assert.equal(408, status)
      assert.equal("closed", ending or "closed")
      peer:close()
    end
    local took = require("socket").gettime() - began
    assert.is_true(took > 0.25 and took < 2, took)
  end)

  it("costs work in proportion to its bytes: a byte at a time is no attack", function()
    local request = raw.request { ["X-Long"] = ("a"):rep(16000) }
    local before = server:cpu()
    local peer = raw.tcp(server.port)
    peer:write(request, 1)
    assert.truthy(peer:head():find("^HTTP/1.1 101 "))
    assert.is_true(server:cpu() - before < 0.5)
    peer:close()
  end)

  it("may be reset at every byte", function()
    local request = raw.request()
    for at = 0, #request, 3 do
      local peer = raw.tcp(server.port)
      peer:write(request:sub(1, at))
      peer:reset()
    end
    assert.is_true(witness:alive())
  end)

  it("may hang up in the middle", function()
    for _, part in ipairs { "", "GET", raw.request():sub(1, -3), "GET / HTTP/1.1\r\nHost: h\r\n" } do
      local peer = raw.tcp(server.port)
      peer:write(part)
      peer:finish_writing()
      assert.equal("closed", peer:eof(1))
      peer:close()
    end
  end)
end)
