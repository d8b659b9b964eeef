-- SPDX-License-Identifier: MIT
local applies = require "spec.support.applies"
local both = require "spec.support.both"
local codec = require "duplex.json.codec"
local duplex = require "duplex"
local run = require "spec.support.run"
local writer = require "duplex.json.writer"

local json = duplex.json

-- JSON over one end of a pair, and the other end as it is.
local function joined(options)
  local client, server = duplex.pair()
  return json(server, options), client, server
end

describe("duplex.json", function()
  it("sends and receives values", run(function()
    local a, b = duplex.pair()
    local ours, theirs = json(a), json(b)
    for _, value in ipairs {
      { name = "Ana", tags = { "a", "b" }, born = 1990, deep = { { { {} } } } },
      "text", 12, -0.5, true, false, json.null, { json.null, false, "äöü €" },
    } do
      assert.is_true(ours:send(value))
      assert.same(value, (theirs:receive(5)))
      assert.is_true(theirs:try_send(value))
      assert.same(value, (ours:receive(5)))
    end
  end))

  it("sends JSON texts as text messages", run(function()
    local ours, raw = joined()
    ours:send({ 1, 2.5, "x" })
    assert.same({ '[1,2.5,"x"]', "text" }, { raw:receive(5) })
    ours:send(json.null)
    assert.equal("null", (raw:receive(5)))
    ours:send({})
    assert.equal("{}", (raw:receive(5)))
    ours:send({ a = json.array {} })
    assert.equal('{"a":[]}', (raw:receive(5)))
  end))

  it("works over a socket", run(function()
    both.socket(function(client, server)
      json(client):send({ id = 7 })
      assert.same({ id = 7 }, (json(server):receive(5)))
    end)
  end))

  it("works over a client that reconnects", run(function()
    local round = 0
    local server = assert(duplex.serve({ log = false }, function(ws)
      round = round + 1
      json(ws):send { round = round }
      json(ws):send(json.array {})
      if round == 1 then ws:close(1012) end
      assert.same({ "bye" }, (json(ws):receive(5)))
    end))
    local client = duplex.reconnect(server.url, { first = 0.01 })
    local ours = json(client)
    for i = 1, 2 do
      assert.same({ round = i }, (ours:receive(5)))
      assert.same({}, (ours:receive(5)))
    end
    assert.is_true(ours:send { "bye" })
    client:close()
  end))

  it("tells a null, which is json.null, from the end", run(function()
    local ours, raw = joined()
    raw:send("null")
    both.task(raw.close, raw)
    assert.equal(json.null, (ours:receive(5)))
    local value, message, id = ours:receive(5)
    assert.is_nil(value)
    assert.equal("CLOSED", id)
    assert.matches("^CLOSED: ", message)
  end))

  it("gives timeouts on, and loses nothing", run(function()
    local ours, raw = joined()
    assert.same({ nil, "TIMEOUT: timed out", "TIMEOUT" }, { ours:receive(0) })
    raw:send("[1]")
    assert.same({ 1 }, (ours:receive(5)))
  end))

  it("gives nil, what is wrong and where, and the message, and goes on", run(function()
    local ours, raw = joined()
    for _, row in ipairs {
      { "what?", "JSON: expected value but found invalid token at character 1" },
      { '{"a":1,}', "JSON: expected object key string but found T_OBJ_END at character 8" },
      { "", "JSON: expected value but found T_END at character 1" },
      { "[1] 2", "JSON: expected the end but found T_NUMBER at character 5" },
      { "[1]\0", "JSON: expected the end but found invalid token at character 4" },
      { "{}\0 {", "JSON: expected the end but found invalid token at character 3" },
      { '"a\0"', "JSON: expected value but found unexpected end of string at character 3" },
      { "[NaN]", "JSON: expected value but found invalid token at character 2" },
      { "[-Infinity]", "JSON: expected value but found invalid number at character 2" },
      { "[0x10]", "JSON: expected value but found invalid number at character 2" },
      { "[1,-1e999]", "JSON: found a number out of range at character 4" },
      { '{"1e999":"\\"1e999","a\\\\":[{"b":1e308},1e309]}', "JSON: found a number out of range at character 39" },
      { "1" .. ("0"):rep(309), "JSON: found a number out of range at character 1" },
      { ("["):rep(129), "JSON: found too many nested data structures (129) at character 129" },
    } do
      raw:send(row[1])
      assert.same({ n = 4, nil, row[2], "JSON", row[1] }, { n = 4, ours:receive(5) })
    end
    raw:send("[true]")
    assert.same({ true }, (ours:receive(5)))
  end))

  it("refuses binary messages, unless kind is binary", run(function()
    local ours, raw = joined()
    raw:send("[1]", "binary")
    local value, message, id, data = ours:receive(5)
    assert.is_nil(value)
    assert.same({ "JSON: a binary message, where text is expected", "JSON", "[1]" }, { message, id, data })
    ours, raw = joined { kind = "binary" }
    raw:send("[1]", "binary")
    assert.same({ 1 }, (ours:receive(5)))
    ours:send({ 2 })
    assert.same({ "[2]", "binary" }, { raw:receive(5) })
    raw:send("[1]")
    assert.equal("JSON: a text message, where binary is expected", select(2, ours:receive(5)))
  end))

  for kind, code in pairs { text = 1007, binary = 1003 } do
    it("closes with " .. code .. " when it is strict, for what is no JSON as " .. kind, run(function()
      local ours, raw = joined { strict = true }
      raw:send("[1", kind)
      both.task(function()
        local value, _, id, data = ours:receive(5)
        assert.is_nil(value)
        assert.same({ "JSON", "[1" }, { id, data })
        assert.equal("CLOSED", select(3, ours:receive(5)))
      end)
      assert.equal("CLOSED", select(3, raw:receive(5)))
      assert.equal(code, raw.close_code)
      assert.matches("^JSON: ", raw.close_reason)
    end))
  end

  it("says what to write where no iterator can wait", run(function()
    if applies.waits_anywhere then return end
    local channel = joined()
    local fine, problem = pcall(function() channel:messages() end)
    assert.is_false(fine)
    assert.matches("json_spec.lua:%d+: messages%(%) cannot wait in PUC Lua 5.1, .*channel:receive%(%)", problem)
  end))

  local it_iterates = applies.where(applies.waits_anywhere, "no iterator can wait", it)
  it_iterates("iterates, false and null included, and tells what it leaves out", run(function()
    local left_out = {}
    local ours, raw = joined {
      on_invalid = function(message, data) table.insert(left_out, { message, data }) end,
    }
    for _, text in ipairs { "1", "false", "oops", "null", '{"a":[]}' } do raw:send(text) end
    both.task(raw.close, raw)
    local got = {}
    for value in ours:messages() do table.insert(got, value) end
    assert.same({ 1, false, json.null, { a = {} } }, got)
    assert.same({ { "JSON: expected value but found invalid token at character 1", "oops" } }, left_out)
  end))

  it("raises for what JSON cannot say, and says where it is", run(function()
    local ours, raw = joined()
    local loop = {}
    loop.loop = loop
    for _, row in ipairs {
      { { a = { 1, { b = print } } }, "cannot be sent as JSON: value%.a%[2%]%.b is a function$" },
      { { ["a b"] = 1 / 0 }, 'value%["a b"%] is inf$' },
      { { 0 / 0 }, "value%[1%] is nan$" },
      { -1 / 0, "value is %-inf$" },
      { { 1, nil, 3 }, "value is a list without element 2 %(json%.null stands for nothing%)$" },
      { { x = { [7] = 1 } }, "value%.x is a list without element 1 " },
      { { [true] = 1 }, "value has a key that is a boolean$" },
      { loop, "value%.loop%.loop.*%.%.%. is nested in more than 128 tables$" },
      { coroutine.create(function() end), "value is a thread$" },
      { nil, "value is nil %(json%.null stands for nothing%)$" },
    } do
      both.raises(row[2], ours.send, ours, row[1])
      both.raises(row[2], ours.try_send, ours, row[1])
      assert.is_false((pcall(json.encode, row[1])))
    end
    both.raises("json_spec%.lua:%d+: cannot be sent", function() ours:send(print) end)
    ours:send("still")
    assert.equal('"still"', (raw:receive(5)))
  end))

  it("has numbers as they are", function()
    for _, text in ipairs { "1", "0", "-7", "123456789012345", "1234567890123456", "9007199254740991",
      "-9007199254740992", "0.5", "100000000000000", "1e+20" } do
      local value = json.decode("[" .. text .. "]")
      assert.equal(tonumber(text), value[1])
      assert.equal(tonumber(text), tonumber(json.encode(value):sub(2, -2)))
      if not text:find("e") then assert.equal("[" .. text .. "]", json.encode(value)) end
    end
    assert.equal("n = 3", "n = " .. json.decode('{"n":3}').n)
    assert.equal("3", tostring(json.decode("3")))
  end)

  it("writes a list that is empty as one when it is told", function()
    assert.equal("{}", json.encode({}))
    assert.equal("[]", json.encode(json.empty_array))
    assert.equal("[]", json.encode(json.array {}))
    assert.equal("[1,2]", json.encode(json.array { 1, 2 }))
    assert.equal('[{"a":[]}]', json.encode { { a = json.empty_array } })
    assert.error_matches(function() json.array() end, "array: the list must be a table, got nil")
  end)

  it("does not depend on what others set in lua-cjson", function()
    local cjson = require "cjson"
    cjson.decode_max_depth(1)
    cjson.encode_invalid_numbers(true)
    finally(function()
      cjson.decode_max_depth(1000)
      cjson.encode_invalid_numbers(false)
    end)
    assert.same({ { { 1 } } }, json.decode("[[[1]]]"))
    assert.is_false((pcall(json.encode, { 0 / 0 })))
  end)

  it("has limits of depth", run(function()
    local ours, raw = joined { max_depth = 3 }
    raw:send("[[[1]]]")
    assert.same({ { { 1 } } }, (ours:receive(5)))
    raw:send("[[[[1]]]]")
    assert.equal("JSON: found too many nested data structures (4) at character 4", select(2, ours:receive(5)))
    assert.is_true(ours:send { { { 1 } } })
    both.raises("value%[1%]%[1%]%[1%] is nested in more than 3 tables", ours.send, ours, { { { { 1 } } } })
    assert.equal("[[1]]", json.codec(3).encode { { 1 } })
  end))

  it("takes other codecs", run(function()
    local client, server = duplex.pair()
    local shout = {
      encode = function(value) return value:upper() end,
      decode = function(text) return text:lower() end,
    }
    local ours = json(server, { codec = shout })
    ours:send("hello")
    assert.equal("HELLO", (client:receive(5)))
    client:send("WHAT")
    assert.equal("what", (ours:receive(5)))
    both.raises("cannot be sent as JSON: .*attempt to", ours.send, ours, print)
  end))

  it("takes failures of codecs in all their ways", function()
    local function decoding(decode) return json.codec { encode = tostring, decode = decode, null = "NULL" } end
    for _, decode in ipairs {
      function() error("bad", 0) end,
      function() return nil, "bad" end,
      function() return nil, 17, "bad" end,
    } do
      assert.same({ n = 3, nil, "JSON: bad", "JSON" }, { n = 3, decoding(decode).decode("x") })
    end
    assert.equal("NULL", decoding(function() return nil end).decode("null"))
    assert.equal("NULL", decoding(function() return nil, 5 end).decode("null"))
    local silent = json.codec { encode = function() end, decode = print }
    assert.error_matches(function() silent.encode(1) end,
      "cannot be written as JSON: encode gave no string but a nil")
  end)

  it("closes when a codec says what is wrong with bytes of the peer, too", run(function()
    local ours, raw = joined { strict = true, kind = "binary", codec = {
      encode = tostring, decode = function(text) error("bad byte " .. text, 0) end,
    } }
    raw:send("\255", "binary")
    local reading = both.task(ours.receive, ours)
    assert.equal("CLOSED", select(3, raw:receive(5)))
    assert.same({ 1007, "JSON: bad byte ?" }, { raw.close_code, raw.close_reason })
    assert.same({ "JSON: bad byte \255", "JSON", "\255" }, { select(2, reading()) })
  end))

  it("works with dkjson", run(function()
    local found, dkjson = pcall(require, "dkjson")
    if not found then return applies.note("dkjson", "it is not installed") end
    local ours, raw = joined { codec = {
      encode = dkjson.encode, null = dkjson.null,
      decode = function(text) return dkjson.decode(text, 1, dkjson.null) end,
    } }
    raw:send('{"a":[null,1]}')
    assert.same({ a = { dkjson.null, 1 } }, (ours:receive(5)))
    raw:send("{")
    assert.equal("JSON", select(3, ours:receive(5)))
  end))

  it("raises for what is no connection, no codec, no option, no text", function()
    local ws = duplex.pair()
    assert.error_matches(function() json() end, "json: the connection is missing, got nil")
    assert.error_matches(function() json(ws, { codec = {} }) end,
      "a codec must be a table with functions encode and decode, this has no encode")
    assert.error_matches(function() json.codec("cjson") end, "got string")
    assert.error_matches(function() json(ws, { stric = true }) end, "did you mean 'strict'")
    assert.error_matches(function() json(ws, { kind = "txt" }) end, '"text" or "binary"')
    assert.error_matches(function() json.codec(0) end, "1%.%.1000")
    assert.error_matches(function() json.decode(7) end, "JSON must be a string, got number")
  end)

  -- What fn returns when 'loader' is what loads lua-cjson.
  local function with_cjson(loader, fn, ...)
    local loaded, preload = package.loaded["cjson.safe"], package.preload["cjson.safe"]
    package.loaded["cjson.safe"], package.preload["cjson.safe"] = nil, loader
    local fine, result = pcall(fn, ...)
    package.loaded["cjson.safe"], package.preload["cjson.safe"] = loaded, preload
    return fine, result
  end

  it("uses what later versions of lua-cjson have", function()
    local real, set = require("cjson.safe").new(), {}
    local later = setmetatable({
      empty_array = io.stdout, -- some userdata
      encode = function(value)
        if value == 123456789012345 then return "123456789012345" end
        return value == io.stdout and "[]" or real.encode(value)
      end,
    }, { __index = real })
    for _, name in ipairs { "encode_number_precision", "encode_escape_forward_slash", "decode_array_with_array_mt" } do
      later[name] = function(value) set[name] = value end
    end
    local fine, made = with_cjson(function() return { new = function() return later end } end, codec.cjson, 77)
    assert(fine, made)
    assert.same({
      encode_number_precision = 16, encode_escape_forward_slash = false, decode_array_with_array_mt = true,
    }, set)
    assert.equal(io.stdout, made.empty_array)
    assert.equal("[]", made.encode(made.array {}))
    assert.equal("1e+20", made.encode(1e20))
  end)

  it("says what to install when there is no lua-cjson", function()
    local fine, problem = with_cjson(function() error("not here") end, codec.cjson, 77)
    assert.is_false(fine)
    assert.matches("^duplex%.json needs lua%-cjson, which is not installed: apt%-get install lua%-cjson", problem)
  end)
end)

describe("the writer of JSON", function()
  local limits = { max_depth = 10, null = json.null, empty_array = json.empty_array }

  it("writes what lua-cjson reads", function()
    local value = {
      text = "quote \" backslash \\ controls \0\1\b\f\n\r\t\31\127 and äöü €😀/",
      list = { 1, 2.5, -3, 1e300, 5e-324, 0.1, 2 ^ 53, true, false, json.null, { {} } },
      [""] = "empty name",
    }
    assert.same(value, json.decode(writer.write(value, limits)))
    assert.same({ ["1"] = "a", x = 1 }, json.decode(writer.write({ "a", x = 1 }, limits)))
  end)

  it("is exact", function()
    for _, number in ipairs { 0.1, 1 / 3, 2 ^ 53 + 2, 1.7976931348623157e308, 123456789.12345679 } do
      assert.equal(number, tonumber(writer.write(number, limits)))
    end
    assert.equal("0.1", writer.write(0.1, limits))
    assert.equal('"\\u0000\\u007f"', writer.write("\0\127", limits))
  end)
end)
