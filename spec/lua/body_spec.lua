-- SPDX-License-Identifier: MIT
local body = require "duplex.body"

--- Calls check(pieces) for the whole input, byte by byte, and every 2-way cut.
local function every_cut(bytes, check)
  check { bytes }
  local single = {}
  for i = 1, #bytes do single[i] = bytes:sub(i, i) end
  check(single)
  for i = 1, #bytes - 1 do check { bytes:sub(1, i), bytes:sub(i + 1) } end
end

-- Feeds all pieces and then EOF, when asked for; returns what came last.
local function run(decoder, pieces, eof)
  local done, message, id = decoder:feed("")
  for _, piece in ipairs(pieces) do
    if done ~= false then break end
    done, message, id = decoder:feed(piece)
  end
  if done == false and eof then done, message, id = decoder:finish() end
  return done, message, id
end

local CHUNKED = { ["transfer-encoding"] = "chunked" }
local function sized(n) return { ["content-length"] = n } end

describe("body.decoder (RFC 9112 6.3, 7.1)", function()
  local good = {
    -- name, headers, bytes, text
    { "a length", sized "5", "hello", "hello" },
    { "a length that is repeated", sized "5, 5", "hello", "hello" },
    { "a length with bytes behind it", sized "5", "helloHTTP/1.1", "hello" },
    { "a length of zero", sized "0", "", "" },
    { "one chunk", CHUNKED, "5\r\nhello\r\n0\r\n\r\n", "hello" },
    { "several chunks", CHUNKED, "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", "hello" },
    { "no chunk", CHUNKED, "0\r\n\r\n", "" },
    { "leading zeros and letters", CHUNKED, "000A\r\n0123456789\r\n00\r\n\r\n", "0123456789" },
    { "extensions", CHUNKED, "1;a=b\r\nx\r\n1 ; c=\"d\"\r\ny\r\n0;e\r\n\r\n", "xy" },
    { "trailers", CHUNKED, "1\r\nx\r\n0\r\nA: b\r\nC: d\r\n\r\n", "x" },
    { "line breaks in chunks", CHUNKED, "4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n" },
    { "chunked behind another coding",
      { ["transfer-encoding"] = "gzip, Chunked" }, "1\r\nx\r\n0\r\n\r\n", "x" },
    { "chunked and a length, which then says nothing",
      { ["transfer-encoding"] = "chunked", ["content-length"] = "99" }, "1\r\nx\r\n0\r\n\r\n", "x" },
  }
  for _, row in ipairs(good) do
    it("reads " .. row[1], function()
      every_cut(row[3], function(pieces)
        local decoder = body.decoder(row[2], "GET", 400)
        assert.is_true(run(decoder, pieces))
        assert.equal(row[4], decoder.text)
        assert.is_true(decoder.done)
        assert.is_false(decoder.truncated)
        assert.is_true(decoder:feed("more"))
        assert.is_true(decoder:finish())
        assert.equal(row[4], decoder.text)
      end)
    end)
  end

  it("reads until EOF without a length or with another coding", function()
    for _, headers in ipairs { {}, { ["transfer-encoding"] = "gzip" }, { ["transfer-encoding"] = "xchunked" } } do
      every_cut("hello", function(pieces)
        local decoder = body.decoder(headers, "GET", 500)
        assert.is_false(run(decoder, pieces))
        assert.is_false(decoder.done)
        assert.is_true(decoder:finish())
        assert.equal("hello", decoder.text)
      end)
    end
  end)

  local none = { { "HEAD", 200 }, { "GET", 204 }, { "GET", 304 }, { "GET", 101 }, { "CONNECT", 200 } }
  for _, row in ipairs(none) do
    it(("has no body for %s and %d"):format(row[1], row[2]), function()
      for _, headers in ipairs { sized "5", CHUNKED, {} } do
        local decoder = body.decoder(headers, row[1], row[2])
        assert.is_true(decoder.done)
        assert.is_true(decoder:feed("x"))
        assert.equal("", decoder.text)
      end
    end)
  end

  local bad = {
    -- name, headers, bytes, what the message names, text kept
    { "a length that is none", sized "x", "hello", "Content-Length", "" },
    { "an empty length", sized "", "hello", "Content-Length", "" },
    { "a negative length", sized "-1", "hello", "Content-Length", "" },
    { "two lengths", sized "5, 6", "hello", "Content-Length", "" },
    { "an absurd length", sized "9999999999999999", "hello", "Content-Length", "" },
    { "a size that is none", CHUNKED, "x\r\nhello", "chunk size", "" },
    { "an empty size", CHUNKED, "\r\nhello", "chunk size", "" },
    { "a negative size", CHUNKED, "-1\r\nhello", "chunk size", "" },
    { "a size in C style", CHUNKED, "0x5\r\nhello", "chunk size", "" },
    { "an absurd size", CHUNKED, "fffffffffffff\r\nhello", "chunk size", "" },
    { "a size in front of anything else", CHUNKED, "5 x\r\nhello", "chunk size", "" },
    { "a chunk longer than its size", CHUNKED, "2\r\nhello\r\n", "longer than its size", "he" },
    { "a chunk that ends in a bare line feed", CHUNKED, "1\r\nx\n", "longer than its size", "x" },
    { "an endless line", CHUNKED, "1;" .. ("x"):rep(4200), "too long", "" },
    { "an endless trailer", CHUNKED, "0\r\nA: " .. ("x"):rep(4200), "too long", "" },
    { "endless trailers", CHUNKED, "0\r\n" .. ("A: b\r\n"):rep(3000), "framing", "" },
    { "more extensions than body", CHUNKED,
      ("1;" .. ("x"):rep(100) .. "\r\nx\r\n"):rep(250), "framing" },
  }
  for _, row in ipairs(bad) do
    it("fails for " .. row[1] .. ", for good", function()
      local function check(pieces)
        local decoder = body.decoder(row[2], "GET", 400)
        local done, message, id = run(decoder, pieces)
        assert.is_nil(done)
        assert.equal("HTTP", id)
        assert.equal("HTTP: ", message:sub(1, 6))
        assert.truthy(message:find(row[4], 1, true), message)
        if row[5] then assert.equal(row[5], decoder.text) end
        assert.same({ nil, message, "HTTP" }, { decoder:feed("0\r\n\r\n") })
        assert.same({ nil, message, "HTTP" }, { decoder:finish() })
        assert.is_false(decoder.done)
      end
      if #row[3] < 1000 then every_cut(row[3], check) else check { row[3] } end
    end)
  end

  it("fails when the end comes early, and keeps what came", function()
    local early = { { sized "6", "hello", "hello" }, { CHUNKED, "5\r\nhel", "hel" },
      { CHUNKED, "5\r\nhello\r\n", "hello" }, { CHUNKED, "5\r\nhello\r\n0\r\n", "hello" }, { CHUNKED, "", "" } }
    for _, row in ipairs(early) do
      local decoder = body.decoder(row[1], "GET", 400)
      local done, message, id = run(decoder, { row[2] }, true)
      assert.same({ nil, "HTTP: the response body ended early", "HTTP" }, { done, message, id })
      assert.equal(row[3], decoder.text)
    end
  end)

  it("keeps the first max bytes of a larger body", function()
    for _, row in ipairs { { sized "5", "hello" }, { CHUNKED, "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n" }, { {}, "hello" } } do
      every_cut(row[2], function(pieces)
        local decoder = body.decoder(row[1], "GET", 400, 4)
        local done, message = run(decoder, pieces)
        assert.is_nil(done)
        assert.equal("HTTP: the response body is larger than 4 bytes", message)
        assert.equal("hell", decoder.text)
        assert.is_true(decoder.truncated)
      end)
    end
  end)

  it("does not call a body of exactly max bytes larger", function()
    local decoder = body.decoder(sized "5", "GET", 400, 5)
    assert.is_true(decoder:feed("hello"))
    assert.is_false(decoder.truncated)
  end)

  it("reads many tiny chunks in proportion to their number", function()
    local decoder = body.decoder(CHUNKED, "GET", 200, 100000)
    assert.is_true(decoder:feed(("1\r\nx\r\n"):rep(50000) .. "0\r\n\r\n"))
    assert.equal(50000, #decoder.text)
  end)

  it("takes headers as a function too", function()
    local decoder = body.decoder(function(name) return sized("2")[name] end, "GET", 200)
    assert.is_true(decoder:feed("ok"))
    assert.equal("ok", decoder.text)
  end)
end)
