-- SPDX-License-Identifier: MIT
-- DUPLEX_TRACE=1: what passes, line by line, on stderr.
local child = require "spec.support.child"

-- The lines of traced.lua: a list of "> ..." and "< ..." for each connection, in
-- the order in which these appear.
local function trace(what, value)
  local self = child.start("env", "DUPLEX_TRACE=" .. (value or "1"), child.lua, "spec/support/traced.lua", what)
  local fine, output = self:finish()
  assert(fine, output)
  local list, by_id = {}, {}
  for _, line in ipairs(self.lines) do
    local id, rest = line:match("^conn#(%d+) ([<>] .*)$")
    assert(id, "this is no line of a trace: " .. line)
    if not by_id[id] then
      by_id[id] = {}
      list[#list + 1] = by_id[id]
    end
    table.insert(by_id[id], rest)
  end
  return list, output
end

-- Only frames, of which one direction, or both.
local function frames(lines, direction)
  local found = {}
  for _, line in ipairs(lines) do
    if line:find("^" .. (direction or "[<>]") .. " %u+ ?%d* \"") then found[#found + 1] = line end
  end
  return found
end

local TALK = {
  '> TEXT "hello" [5 bytes]',
  '< BINARY "\\x00\\x01\\xff" [3 bytes]',
  '> TEXT "ab" [2 bytes, more follows]',
  '> CONTINUATION "cd" [2 bytes, more follows]',
  '> CONTINUATION "" [0 bytes]',
  '< TEXT "012345678901234567890123456789012345678901234567...678901234567890123456789" [20000 bytes]',
  '< TEXT "to all" [6 bytes]',
  '> PING "\\x00\\x00\\x00\\x01" [4 bytes]',
  '< PONG "\\x00\\x00\\x00\\x01" [4 bytes]',
  '> CLOSE 4000 "bye" [5 bytes]',
  '< CLOSE 4000 "" [2 bytes]',
}

describe("DUPLEX_TRACE", function()
  for _, way in ipairs { "socket", "tls", "stream", "pair" } do
    it("shows the frames of both ends, over a " .. way, function()
      local list = trace(way)
      local turned = {}
      for i, line in ipairs(TALK) do turned[i] = (line:gsub("^[<>]", { ["<"] = ">", [">"] = "<" })) end
      for _, lines in ipairs(list) do
        local is_client = lines[1]:find("^> GET ")
        assert.same(is_client and TALK or turned, frames(lines))
      end
      assert.equal(2, #list)
    end)
  end

  it("shows handshakes, without what is secret in them", function()
    local list, output = trace("head")
    assert.is_nil(output:find("s3cret", 1, true), output)
    assert.is_nil(output:find("joe", 1, true), output)
    local lines = table.concat(list[1], "\n"):gsub("127.0.0.1:%d+", "HOST"):gsub("(Key: )[%w+/=]+", "%1KEY")
    for _, line in ipairs {
      "> GET /a/b?token=***&***&room=*** HTTP/1.1", "> Host: HOST", "> Upgrade: websocket",
      "> Sec-WebSocket-Key: KEY", "> Sec-WebSocket-Protocol: chat, ***, v4.base64.channel.k8s.io", "> Cookie: ***", "> X-Api-Key: ***",
      "> Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; "
        .. "server_max_window_bits=12; client_max_window_bits=12, permessage-deflate; "
        .. "server_no_context_takeover; server_max_window_bits=12; client_max_window_bits",
      "> Referer: http://x/?t=***", '> User-Agent: spec\\"s', "> Authorization: ***", "< HTTP/1.1 403 Forbidden",
      "< Set-Cookie: ***", "< Location: http://***@x/?t=***", "< Referer: //***@x/#***", "< Content-Length: 2",
    } do
      assert.is_truthy(("\n" .. lines .. "\n"):find("\n" .. line .. "\n", 1, true), line .. " is not in\n" .. lines)
    end
    assert.equal("> [2 bytes]", list[2][#list[2]])
  end)

  it("shows nothing of what proxies are told about who asks", function()
    local list, output = trace("proxy")
    assert.is_nil(output:find("s3cret", 1, true), output)
    assert.is_nil(output:find("joe", 1, true), output)
    assert.equal("> CONNECT server.invalid:80 HTTP/1.1", list[1][1])
    local all = "\n" .. table.concat(list[1], "\n") .. "\n"
    assert.is_truthy(all:find("\n> Proxy-Authorization: ***\n", 1, true))
    assert.is_truthy(all:find("\n< HTTP/1.1 407 No\n", 1, true))
  end)

  it("shows frames that come in pieces or are wrong, and why", function()
    local got = {}
    for _, lines in ipairs(trace("frames")) do
      for _, line in ipairs(lines) do
        local frame = line:match("^< (%u+ ?%d* \".*)$") or line:match("^< (a header .*)$")
        if frame then got[#got + 1] = frame end
      end
    end
    assert.same({
      'TEXT "byte by byte" [12 bytes]',
      'TEXT "one" [3 bytes]', 'BINARY "two" [3 bytes]', 'PING "" [0 bytes]',
      ('TEXT "%s...%s" [40000 bytes]'):format(("a"):rep(48), ("a"):rep(24)),
      ('TEXT "%s...%send" [70003 bytes, more follows]'):format(("b"):rep(48), ("b"):rep(21)),
      'TEXT "bits" [4 bytes, RSV1, RSV2, RSV3]',
      'TEXT "plain" [5 bytes, not masked]',
      'OPCODE 3 "?" [1 byte]',
      "a header with a bad length",
      'CLOSE "\\x03" [1 byte]',
    }, got)
  end)

  it("shows as much of a payload as it says", function()
    local list = trace("pair", "20")
    assert.equal('< TEXT "012345678901...56789" [20000 bytes]', frames(list[1])[6])
  end)

  it("shows nothing when it is empty or 0", function()
    assert.same({}, (trace("pair", "")))
    assert.same({}, (trace("pair", "0")))
  end)
end)
