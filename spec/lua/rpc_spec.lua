-- SPDX-License-Identifier: MIT
-- JSON-RPC 2.0. The other end is mostly a raw connection that says texts as
-- they are in the specification, https://www.jsonrpc.org/specification.

local both = require "spec.support.both"
local duplex = require "duplex"
local PATIENCE = require "spec.support.patience"
local run = require "spec.support.run"

local json, rpc = duplex.json, duplex.rpc
local null = json.null

local function copy(table_, more)
  local result = {}
  for _, from in ipairs { table_, more or {} } do
    for key, value in pairs(from) do result[key] = value end
  end
  return result
end

local SPECIFIED = {
  subtract = function(params)
    if params.minuend then return params.minuend - params.subtrahend end
    return params[1] - params[2]
  end,
  sum = function(params)
    local sum = 0
    for _, number in ipairs(params) do sum = sum + number end
    return sum
  end,
  get_data = function() return { "hello", 5 } end,
  update = function() end,
  notify_hello = function() end,
  notify_sum = function() end,
}

-- A peer that serves, and the other end as it is.
local function serving(methods, options)
  local client, server = duplex.pair()
  local peer = rpc(server, copy({ methods = methods, log = false }, options))
  local wait = both.task(peer.run, peer)
  return client, peer, wait
end

-- Two peers.
local function joined(theirs, ours, options)
  local client, server = duplex.pair()
  local a = rpc(client, copy({ methods = ours, log = false }, options))
  local b = rpc(server, copy({ methods = theirs, log = false }, options))
  both.task(b.run, b)
  return a, b
end

-- What is answered to a text: values, of which order does not matter.
local function ask(raw, text)
  assert(raw:send(text))
  local data, message = raw:receive(PATIENCE)
  return (json.decode((assert(data, message))))
end

-- Nothing is answered to a text: what is asked next comes next.
local function says_nothing(raw, text)
  assert(raw:send(text))
  assert.same({ jsonrpc = "2.0", id = "next", result = 1 },
    ask(raw, '{"jsonrpc": "2.0", "method": "sum", "params": [1], "id": "next"}'))
end

local function failed(code, text, id)
  return { jsonrpc = "2.0", error = { code = code, message = text }, id = id }
end
local INVALID = failed(-32600, "Invalid Request", null)

describe("the examples of the specification:", function()
  local examples = {
    { "call with positional parameters", '{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}',
      '{"jsonrpc": "2.0", "result": 19, "id": 1}' },
    { "call with positional parameters, the other way", '{"jsonrpc": "2.0", "method": "subtract", "params": [23, 42], "id": 2}',
      '{"jsonrpc": "2.0", "result": -19, "id": 2}' },
    { "call with named parameters",
      '{"jsonrpc": "2.0", "method": "subtract", "params": {"subtrahend": 23, "minuend": 42}, "id": 3}',
      '{"jsonrpc": "2.0", "result": 19, "id": 3}' },
    { "call with named parameters, the other way",
      '{"jsonrpc": "2.0", "method": "subtract", "params": {"minuend": 42, "subtrahend": 23}, "id": 4}',
      '{"jsonrpc": "2.0", "result": 19, "id": 4}' },
    { "a notification", '{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}' },
    { "a notification of a method that is not there", '{"jsonrpc": "2.0", "method": "foobar"}' },
    { "call of a method that is not there", '{"jsonrpc": "2.0", "method": "foobar", "id": "1"}',
      '{"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": "1"}' },
    { "call with invalid JSON", '{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]',
      '{"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": null}' },
    { "call with an invalid object", '{"jsonrpc": "2.0", "method": 1, "params": "bar"}',
      '{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}' },
    { "a batch of invalid JSON",
      '[ {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"}, {"jsonrpc": "2.0", "method" ]',
      '{"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": null}' },
    { "an empty batch", "[]",
      '{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}' },
    { "an invalid batch that is not empty", "[1]",
      '[ {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null} ]' },
    { "an invalid batch", "[1,2,3]", [=[ [
      {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null},
      {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null},
      {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null} ] ]=] },
    { "a batch", [=[ [
      {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},
      {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]},
      {"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"},
      {"foo": "boo"},
      {"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},
      {"jsonrpc": "2.0", "method": "get_data", "id": "9"} ] ]=], [=[ [
      {"jsonrpc": "2.0", "result": 7, "id": "1"},
      {"jsonrpc": "2.0", "result": 19, "id": "2"},
      {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null},
      {"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": "5"},
      {"jsonrpc": "2.0", "result": ["hello", 5], "id": "9"} ] ]=] },
    { "a batch of notifications", [=[ [
      {"jsonrpc": "2.0", "method": "notify_sum", "params": [1,2,4]},
      {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]} ] ]=] },
  }
  for _, example in ipairs(examples) do
    local name, text, answer = example[1], example[2], example[3]
    it(name, run(function()
      local raw = serving(SPECIFIED)
      if answer then
        assert.same((json.decode(answer)), ask(raw, text))
      else
        says_nothing(raw, text)
      end
    end))
    it(name .. ", when the server asks", run(function()
      local client, server = duplex.pair()
      local peer = rpc(client, { methods = SPECIFIED, log = false })
      both.task(peer.run, peer)
      if answer then
        assert.same((json.decode(answer)), ask(server, text))
      else
        says_nothing(server, text)
      end
    end))
  end
end)

describe("a call that comes", function()
  for _, id in ipairs { "1", "0", "-5", "1.5", "null", '"a"', '""', '"\\u0000\\n"', "9007199254740991",
    "1234567890123456", '"' .. ("x"):rep(10000) .. '"' } do
    it("is answered with its id: " .. id:sub(1, 20), run(function()
      local answer = ask(serving(SPECIFIED), '{"jsonrpc":"2.0","method":"sum","params":[2],"id":' .. id .. "}")
      assert.same({ jsonrpc = "2.0", result = 2, id = (json.decode(id)) }, answer)
    end))
  end

  for _, id in ipairs { "true", "false", "{}", "[1]", "1e300", "-1e300", "9007199254740993", "-9007199254740993", "0.12345678901234567" } do
    it("is invalid with an id that cannot be answered: " .. id, run(function()
      local raw = serving(SPECIFIED)
      assert.same(INVALID, ask(raw, '{"jsonrpc":"2.0","method":"sum","params":[2],"id":' .. id .. "}"))
    end))
  end

  for _, row in ipairs {
    { "no version", '{"method":"sum","id":5}' },
    { "another version", '{"jsonrpc":"1.0","method":"sum","id":5}' },
    { "a version that is a number", '{"jsonrpc":2.0,"method":"sum","id":5}' },
    { "a method that is a number", '{"jsonrpc":"2.0","method":7,"id":5}' },
    { "a method that is null", '{"jsonrpc":"2.0","method":null,"id":5}' },
    { "no method", '{"jsonrpc":"2.0","id":5}' },
    { "params that are a text", '{"jsonrpc":"2.0","method":"sum","params":"x","id":5}' },
    { "params that are a number", '{"jsonrpc":"2.0","method":"sum","params":7,"id":5}' },
    { "params that are false", '{"jsonrpc":"2.0","method":"sum","params":false,"id":5}' },
  } do
    it("is invalid, and has its id back, with " .. row[1], run(function()
      assert.same(failed(-32600, "Invalid Request", 5), ask(serving(SPECIFIED), row[2]))
    end))
  end

  for _, text in ipairs { "{}", "1", '"x"', "null", "true", "[[]]", "[[[]]]", "[null]", "[{}]" } do
    it("is invalid: " .. text, run(function()
      local expected = text:find("^%[") and { INVALID } or INVALID
      assert.same(expected, ask(serving(SPECIFIED), text))
    end))
  end

  it("may lack params, or have null", run(function()
    local raw = serving { what = function(params) return type(params) .. tostring(next(params)) end }
    for _, params in ipairs { "", '"params":null,', '"params":{},', '"params":[],' } do
      assert.equal("tablenil", ask(raw, '{"jsonrpc":"2.0",' .. params .. '"method":"what","id":1}').result)
    end
  end))

  it("is a call when it has a method, whatever else it has", run(function()
    local raw = serving(SPECIFIED)
    assert.equal(5, ask(raw, '{"jsonrpc":"2.0","method":"sum","params":[5],"result":1,"error":2,"id":1,"more":{}}').result)
  end))

  it("is a parse error when it is no JSON, too deep, or binary", run(function()
    local raw = serving(SPECIFIED, { max_depth = 5 })
    local answer = failed(-32700, "Parse error", null)
    assert.same(answer, ask(raw, ""))
    assert.same(answer, ask(raw, "hello"))
    assert.same(answer, ask(raw, '{"jsonrpc":"2.0","method":"sum","params":[1e999],"id":1}'))
    assert.same(answer, ask(raw, ("["):rep(100000)))
    assert.same(answer, ask(raw, ('{"a":'):rep(6) .. "1" .. ("}"):rep(6)))
    raw:send('{"jsonrpc":"2.0","method":"sum","params":[2],"id":1}', "binary")
    assert.same(answer, json.decode((raw:receive(PATIENCE))))
    says_nothing(raw, '{"jsonrpc":"2.0","method":"sum"}')
  end))

  for _, name in ipairs { "__index", "__gc", "__newindex", "__proto__", "constructor", "inherited", "text", "1",
    "", "rpc.discover", "\\u0000", "toString" } do
    it("finds only what is in the table of methods: " .. name, run(function()
      local methods = setmetatable({ sum = SPECIFIED.sum }, { __index = { inherited = error, __index = error } })
      local raw = serving(methods)
      assert.same(failed(-32601, "Method not found", 1), ask(raw, '{"jsonrpc":"2.0","method":"' .. name .. '","id":1}'))
    end))
  end

  it("is for methods that were added later, or that a function finds", run(function()
    local methods = {}
    local raw = serving(methods)
    methods.late = function() return "here" end
    assert.equal("here", ask(raw, '{"jsonrpc":"2.0","method":"late","id":1}').result)
    raw = serving(function(name) return name ~= "no" and function() return name end or nil end)
    assert.equal("yes", ask(raw, '{"jsonrpc":"2.0","method":"yes","id":1}').result)
    assert.equal(-32601, ask(raw, '{"jsonrpc":"2.0","method":"no","id":1}').error.code)
  end))

  it("finds nothing where there are no methods", run(function()
    assert.same(failed(-32601, "Method not found", 1), ask(serving(nil), '{"jsonrpc":"2.0","method":"sum","id":1}'))
  end))
end)

describe("a method", function()
  local function logged(methods)
    local lines = {}
    local raw, peer = serving(methods, { log = function(level, message, fields)
      table.insert(lines, { level, message, fields.method, fields.connection })
    end })
    return raw, lines, peer
  end

  local function ask_for(raw, name) return ask(raw, '{"jsonrpc":"2.0","method":"' .. name .. '","id":1}') end

  it("may return anything that JSON can say, and nothing is null", run(function()
    local values = { 7, "x", false, true, { 1, 2 }, { a = {} }, null }
    for _, value in ipairs(values) do
      local raw = serving { get = function() return value end }
      assert.same({ jsonrpc = "2.0", result = value, id = 1 }, ask_for(raw, "get"))
    end
    assert.same({ jsonrpc = "2.0", result = null, id = 1 }, ask_for(serving { get = function() end }, "get"))
  end))

  it("gives errors by returning them", run(function()
    local raw = serving {
      one = function() return nil, rpc.error(-32602) end,
      two = function() return nil, rpc.error(rpc.INVALID_PARAMS, "a is missing", "a") end,
    }
    assert.same(failed(-32602, "Invalid params", 1), ask_for(raw, "one"))
    assert.same({ code = -32602, message = "a is missing", data = "a" }, ask_for(raw, "two").error)
  end))

  it("gives errors by raising them", run(function()
    local raw = serving {
      one = function() error(rpc.error(7, "seven", { at = { 1, 2 } })) end,
      two = function() error(rpc.error(0, "")) end,
    }
    assert.same({ jsonrpc = "2.0", id = 1, error = { code = 7, message = "seven", data = { at = { 1, 2 } } } },
      ask_for(raw, "one"))
    assert.same({ code = 0, message = "" }, ask_for(raw, "two").error)
  end))

  it("that fails in another way tells the log, and not the peer", run(function()
    local raw, lines, peer = logged {
      raises = function() error("the password is secret") end,
      returns = function() return nil, "the password is secret" end,
      tables = function() error({ "secret" }) end,
      nothing = function() error() end,
      no = function() error(false) end,
      unsayable = function() return { f = print } end,
      broken = function() return "\255\254" end,
    }
    for _, name in ipairs { "raises", "returns", "tables", "nothing", "no", "unsayable", "broken" } do
      assert.same(failed(-32603, "Internal error", 1), ask_for(raw, name))
    end
    assert.equal(7, #lines)
    assert.equal("error", lines[1][1])
    assert.matches("^rpc: a method failed: .*rpc_spec%.lua:%d+: the password is secret$", lines[1][2])
    assert.same({ "raises", peer.ws.id }, { lines[1][3], lines[1][4] })
    assert.equal("rpc: a method failed: the password is secret", lines[2][2])
    assert.matches("cannot be written as JSON: value%.result%.f is a function$", lines[6][2])
    assert.equal("rpc: what a method returned cannot be sent: the text is not valid UTF-8", lines[7][2])
  end))

  it("leaves its task to the next one whatever it raises, and whatever a codec makes of its answer", run(function()
    local unspeakable = setmetatable({}, { __tostring = function() error("no text") end })
    local codec = { null = null, decode = json.decode }
    function codec.encode(value)
      if value.id == "unwritable" then error("cannot write that") end
      return (json.encode(value):gsub("not text", "\255"))
    end
    local raw = serving({ raise = function() error(unspeakable) end, sum = SPECIFIED.sum },
      { concurrency = 1, codec = codec })
    local call = '{"jsonrpc":"2.0","method":"%s","id":"%s"}'
    for _ = 1, 2 do
      assert.same(failed(-32603, "Internal error", 1), ask(raw, '{"jsonrpc":"2.0","method":"raise","id":1}'))
      getmetatable(unspeakable).__tostring = function() return {} end
    end
    for _, id in ipairs { "unwritable", "not text" } do
      says_nothing(raw, call:format("sum", id))
      says_nothing(raw, call:format("raise", id))
      says_nothing(raw, '{"id":"' .. id .. '"}')
      says_nothing(raw, "[" .. call:format("sum", id) .. "]")
    end
  end))

  it("that fails in a batch does not spoil the others", run(function()
    local raw = serving {
      bad = function() return print end, broken = function() return "\255" end, good = function() return 1 end,
    }
    for _, name in ipairs { "bad", "broken" } do
      local answers = ask(raw, '[{"jsonrpc":"2.0","method":"' .. name .. '","id":1},{"jsonrpc":"2.0","method":"good","id":2}]')
      assert.same({ failed(-32603, "Internal error", 1), { jsonrpc = "2.0", result = 1, id = 2 } }, answers)
    end
  end))

  it("is never answered as a notification, whatever it does", run(function()
    local raw, lines = logged {
      sum = SPECIFIED.sum,
      raises = function() error("oh") end,
      refuses = function() return nil, rpc.error(7, "seven") end,
      unsayable = function() return print end,
    }
    says_nothing(raw, '{"jsonrpc":"2.0","method":"raises"}')
    says_nothing(raw, '{"jsonrpc":"2.0","method":"refuses"}')
    says_nothing(raw, '{"jsonrpc":"2.0","method":"unsayable"}')
    says_nothing(raw, '[{"jsonrpc":"2.0","method":"nothing"},{"jsonrpc":"2.0","method":"raises"}]')
    assert.equal(2, #lines)
  end))

  it("has the peer as its second argument", run(function()
    local raw, peer
    raw, peer = serving { who = function(_, given) return given == peer and given.ws.state end }
    assert.equal("open", ask_for(raw, "who").result)
  end))

  it("lets others run while it waits, and answers come as they are ready", run(function()
    local go = duplex.event()
    local raw = serving { slow = function() go:wait() return "slow" end, quick = function() go:set() return "quick" end }
    raw:send('{"jsonrpc":"2.0","method":"slow","id":1}')
    raw:send('{"jsonrpc":"2.0","method":"quick","id":2}')
    assert.equal(2, json.decode((raw:receive(PATIENCE))).id)
    assert.equal(1, json.decode((raw:receive(PATIENCE))).id)
  end))

  it("goes through around, which may answer itself, and sees all calls", run(function()
    local seen = {}
    local raw = serving({ add = function(params) return params[1] + params[2] end }, {
      around = function(call, next)
        table.insert(seen, { call.method, #call.params, call.notification, call.peer.ws.state })
        if call.method == "secret" then return nil, rpc.error(401, "who are you?") end
        local result, problem = next()
        if result == 7 then return "seven" end
        return result, problem
      end,
    })
    local function call(method, params, id)
      return '{"jsonrpc":"2.0","method":"' .. method .. '","params":' .. params .. id .. "}"
    end
    assert.equal(3, ask(raw, call("add", "[1,2]", ',"id":1')).result)
    assert.equal("seven", ask(raw, call("add", "[3,4]", ',"id":1')).result)
    assert.same({ code = 401, message = "who are you?" }, ask(raw, call("secret", "[]", ',"id":1')).error)
    assert.equal(-32601, ask(raw, call("nothing", "[]", ',"id":1')).error.code)
    raw:send(call("add", "[1,1]", ""))
    assert.equal(5, ask(raw, call("add", "[2,3]", ',"id":1')).result)
    assert.same({ "add", 2, false, "open" }, seen[1])
    assert.same({ "secret", 0, false, "open" }, seen[3])
    assert.same({ "add", 2, true, "open" }, seen[5])
  end))
end)

describe("a call of ours", function()
  -- A peer that calls, and the other end as it is.
  local function calling(options)
    local client, server = duplex.pair()
    return rpc(client, copy({ log = false }, options)), server
  end

  local function next_call(raw) return json.decode((assert(raw:receive(PATIENCE)))) end

  it("is what the specification says", run(function()
    local peer, raw = calling()
    for i, row in ipairs { { "subtract", { 42, 23 } }, { "subtract", { minuend = 42 } }, { "none", nil } } do
      local result = both.task(peer.call, peer, row[1], row[2])
      assert.same({ jsonrpc = "2.0", method = row[1], params = row[2], id = i }, next_call(raw))
      raw:send('{"jsonrpc": "2.0", "result": 19, "id": ' .. i .. "}")
      assert.equal(19, (result()))
    end
    assert.is_true(peer:notify("update", { 1, 2 }))
    assert.same({ jsonrpc = "2.0", method = "update", params = { 1, 2 } }, next_call(raw))
  end))

  it("has any result, and null is json.null", run(function()
    local peer, raw = calling()
    for i, text in ipairs { "null", "false", "[]", '"x"', "0", '{"error":1}' } do
      local result = both.task(peer.call, peer, "get")
      next_call(raw)
      raw:send('{"jsonrpc":"2.0","result":' .. text .. ',"id":' .. i .. "}")
      assert.same((json.decode(text)), (result()))
    end
  end))

  it("gives the error of the answer", run(function()
    local peer, raw = calling()
    local result = both.task(peer.call, peer, "foobar")
    next_call(raw)
    raw:send('{"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found", "data": [1]}, "id": 1}')
    local value, message, id, failure = result()
    assert.is_nil(value)
    assert.same({ "RPC: Method not found (-32601)", "RPC" }, { message, id })
    assert.same({ code = -32601, message = "Method not found", data = { 1 } }, failure)
    assert.equal(message, tostring(failure))
  end))

  for _, rest in ipairs {
    '"result":1,"error":{"code":1,"message":"x"}', '"result":1', '"error":7', '"error":"no"', '"error":{}',
    '"error":{"code":"1","message":"x"}', '"error":{"code":1.5,"message":"x"}', '"error":{"code":1}', '"error":[1]',
    '"error":null',
  } do
    it("fails when the answer is malformed: " .. rest, run(function()
      local peer, raw = calling()
      local result = both.task(peer.call, peer, "get")
      next_call(raw)
      local version = rest == '"result":1' and "1.0" or "2.0"
      raw:send('{"jsonrpc":"' .. version .. '",' .. rest .. ',"id":1}')
      local value, message, id, failure = result()
      assert.is_nil(value)
      assert.equal("RPC", id)
      assert.matches("^RPC: the .*answer is not valid JSON%-RPC 2%.0 %(%-32603%)$", message)
      assert.equal(-32603, failure.code)
    end))
  end

  it("gets its own answer, in whatever order they come", run(function()
    local peer, raw = calling()
    local results = {}
    for i = 1, 3 do results[i] = both.task(peer.call, peer, "get" .. i) end
    for i = 1, 3 do assert.equal("get" .. i, next_call(raw).method) end
    for _, i in ipairs { 2, 3, 1 } do raw:send('{"jsonrpc":"2.0","result":"' .. i .. '","id":' .. i .. "}") end
    for i = 1, 3 do assert.equal(tostring(i), (results[i]())) end
  end))

  it("ignores answers that nobody waits for", run(function()
    local lines = {}
    local peer, raw = calling { log = function(level) table.insert(lines, level) end }
    local result = both.task(peer.call, peer, "get")
    next_call(raw)
    for _, id in ipairs { "2", '"1"', "null", "1.5", "-1", "{}", "[1]", "true", "1e300" } do
      raw:send('{"jsonrpc":"2.0","result":"wrong","id":' .. id .. "}")
      raw:send('{"jsonrpc":"2.0","error":{"code":1,"message":"x"},"id":' .. id .. "}")
    end
    raw:send('{"jsonrpc":"2.0","result":"no id"}')
    raw:send('{"jsonrpc":"2.0","result":"right","id":1}')
    assert.equal("right", (result()))
    assert.equal(19, #lines)
    for _, level in ipairs(lines) do assert.equal("debug", level) end
    -- And none of them was answered.
    peer:notify("end")
    assert.equal("end", next_call(raw).method)
  end))

  it("ends with its time, and a late answer is of no use", run(function()
    local peer, raw = calling { timeout = 0.01 }
    local value, message, id = peer:call("slow")
    assert.is_nil(value)
    assert.same({ "TIMEOUT: timed out", "TIMEOUT" }, { message, id })
    assert.equal("TIMEOUT", select(3, peer:call("slow", nil, 0)))
    raw:send('{"jsonrpc":"2.0","result":"late","id":1}')
    for _ = 1, 2 do next_call(raw) end
    local result = both.task(peer.call, peer, "get", nil, 5)
    assert.equal(3, next_call(raw).id)
    raw:send('{"jsonrpc":"2.0","result":"in time","id":3}')
    assert.equal("in time", (result()))
  end))

  for name, close in pairs {
    CLOSED = function(raw) both.task(raw.close, raw, 1001) end,
    LOST = function(raw) raw:close(1000, "", 0) end,
    PROTOCOL = function(_, peer) peer.ws:close(1002, "", 0) end,
  } do
    it("ends with the connection: " .. name, run(function()
      local peer, raw = calling()
      local results = {}
      for i = 1, 5 do results[i] = both.task(peer.call, peer, "get") end
      for _ = 1, 5 do next_call(raw) end
      assert.is_false(peer.closed)
      close(raw, peer)
      for i = 1, 5 do
        local value, message, id = results[i]()
        assert.is_nil(value)
        assert.is_truthy(id == "CLOSED" or id == "LOST", id)
        assert.equal(id .. ":", message:sub(1, #id + 1))
      end
      assert.is_true(peer.closed)
      assert.is_nil((peer:call("get")))
      assert.is_nil((peer:notify("get")))
      local batch = peer:batch()
      batch:call("get")
      assert.is_nil((batch:send()))
      peer:run()
    end))
  end

  it("is one of max_calls", run(function()
    local peer, raw = calling { max_calls = 2 }
    local results = {}
    for i = 1, 2 do results[i] = both.task(peer.call, peer, "get") end
    for _ = 1, 2 do next_call(raw) end
    local value, message, id = peer:call("get")
    assert.is_nil(value)
    assert.same({ "FULL: 2 calls wait for answers (max_calls)", "FULL" }, { message, id })
    assert.is_true(peer:notify("always"))
    raw:send('{"jsonrpc":"2.0","result":1,"id":1}')
    results[1]()
    results[1] = both.task(peer.call, peer, "get")
    assert.equal("always", next_call(raw).method)
    assert.equal(3, next_call(raw).id)
  end))

  it("waits to be sent while 1 MiB of others is not answered, unless a method makes it", run(function()
    local peer, raw = calling { methods = { back = function(_, p) return p:call("name") end } }
    local reading, text = both.task(peer.run, peer), ("x"):rep(100000)
    local results, seen = {}, {}
    for i = 1, 12 do results[i] = both.task(peer.call, peer, "big", { text }) end
    local late = both.task(peer.call, peer, "big", { text }, 0.01)
    for i = 1, 11 do seen[i] = next_call(raw).id end
    assert.equal("TIMEOUT", select(3, raw:receive(0.05)))
    assert.equal("TIMEOUT", select(3, late()))
    -- What a method calls comes at once.
    raw:send('{"jsonrpc":"2.0","method":"back","id":"b"}')
    local name = next_call(raw)
    assert.equal("name", name.method)
    raw:send('{"jsonrpc":"2.0","result":"Ana","id":' .. name.id .. "}")
    assert.same({ jsonrpc = "2.0", result = "Ana", id = "b" }, next_call(raw))
    raw:send('{"jsonrpc":"2.0","result":true,"id":' .. seen[1] .. "}")
    seen[12] = next_call(raw).id
    for i = 2, 12 do raw:send('{"jsonrpc":"2.0","result":true,"id":' .. seen[i] .. "}") end
    for i = 1, 12 do assert.is_true((results[i]())) end
    raw:close()
    assert.is_true((reading()))
  end))

  it("may be large where many small ones always wait for answers", run(function()
    local peer = joined { take = function(params)
      duplex.sleep(0)
      return #params[1]
    end }
    local over = false
    local small = {}
    for i = 1, 300 do
      small[i] = both.task(function()
        while not over do peer:call("take", { ("x"):rep(1000) }) end
      end)
    end
    both.settle()
    assert.equal(900000, peer:call("take", { ("x"):rep(900000) }, 3))
    over = true
    for i = 1, 300 do small[i]() end
  end))

  it("raises for what cannot be called", run(function()
    local peer, raw = calling()
    both.raises("the method must be a string, got nil", peer.call, peer)
    both.raises("the method must be a string, got number", peer.notify, peer, 7)
    both.raises("params must be a table, by position or by name, got number", peer.call, peer, "get", 1)
    both.raises("rpc_spec%.lua:%d+: timeout must be false or seconds, 0 or more, got %-1",
      function() peer:call("get", nil, -1) end)
    both.raises("timeout must be false or seconds", peer.call, peer, "get", nil, "1")
    both.raises("params of 'get': cannot be written as JSON: value%.params%[1%] is a function",
      peer.call, peer, "get", { print })
    both.raises("UTF%-8", peer.call, peer, "get", { "\255" })
    both.raises("rpc_spec%.lua:%d+: params of", function() peer:notify("get", { print }) end)
    -- And leaves nothing behind.
    local result = both.task(peer.call, peer, "get")
    raw:send('{"jsonrpc":"2.0","result":1,"id":' .. next_call(raw).id .. "}")
    assert.equal(1, (result()))
  end))
end)

describe("a batch of ours", function()
  it("goes out in one message, and its results are in order", run(function()
    local client, raw = duplex.pair()
    local peer = rpc(client, { log = false })
    local batch = peer:batch()
    local first = batch:call("sum", { 1, 2, 4 })
    batch:notify("hello", { 7 })
    batch:call("foobar")
    batch:call("get", { a = 1 })
    local results = both.task(batch.send, batch)
    assert.same({
      { jsonrpc = "2.0", method = "sum", params = { 1, 2, 4 }, id = 1 },
      { jsonrpc = "2.0", method = "hello", params = { 7 } },
      { jsonrpc = "2.0", method = "foobar", id = 2 },
      { jsonrpc = "2.0", method = "get", params = { a = 1 }, id = 3 },
    }, json.decode((raw:receive(PATIENCE))))
    raw:send('[{"jsonrpc":"2.0","result":null,"id":3},{"jsonrpc":"2.0","result":7,"id":1},'
      .. '{"jsonrpc":"2.0","error":{"code":-32601,"message":"Method not found"},"id":2}]')
    local list = results()
    assert.equal(3, #list)
    assert.equal(7, list[1].result)
    assert.equal(first, list[1])
    assert.same({ "RPC: Method not found (-32601)", "RPC", -32601 },
      { list[2].message, list[2].id, list[2].error.code })
    assert.equal(null, list[3].result)
  end))

  it("may be answered in pieces, and in part", run(function()
    local client, raw = duplex.pair()
    local peer = rpc(client, { log = false })
    local batch = peer:batch()
    batch:call("a")
    batch:call("b")
    local results = both.task(batch.send, batch, 0.05)
    raw:receive(PATIENCE)
    raw:send('{"jsonrpc":"2.0","result":"b","id":2}')
    local list = results()
    assert.same({ nil, "TIMEOUT", "b", nil }, { list[1].result, list[1].id, list[2].result, list[2].id })
  end))

  it("of notifications waits for nothing", run(function()
    local client, raw = duplex.pair()
    local batch = rpc(client):batch()
    batch:notify("a")
    assert.same({}, (batch:send()))
    assert.same({ { jsonrpc = "2.0", method = "a" } }, json.decode((raw:receive(PATIENCE))))
  end))

  it("raises when it is empty, or sent twice, or wrong", run(function()
    local peer = rpc((duplex.pair()))
    local batch = peer:batch()
    both.raises("the batch is empty", batch.send, batch)
    both.raises("the method must be a string", batch.call, batch)
    both.raises("params must be a table", batch.notify, batch, "x", 1)
    batch:notify("a")
    batch:send()
    both.raises("this batch was sent already", batch.send, batch)
    both.raises("this batch was sent already", batch.call, batch, "a")
  end))
end)

describe("two peers", function()
  it("call each other over a socket", run(function()
    both.socket(function(client, server)
      local a = rpc(client, { methods = { mul = function(p) return p[1] * p[2] end } })
      local b = rpc(server, { methods = {
        add = function(p) return p[1] + p[2] end,
        square = function(p, peer) return peer:call("mul", { p[1], p[1] }) end,
      } })
      both.task(b.run, b)
      assert.equal(3, (a:call("add", { 1, 2 })))
      assert.equal(49, (a:call("square", { 7 })))
      assert.equal(6, (b:call("mul", { 2, 3 })))
    end)
  end))

  it("call each other back as deep as max_calls, however few tasks there are", run(function()
    local methods = {}
    function methods.down(params, peer)
      if params[1] == 0 then return "bottom" end
      local result, message, _, failure = peer:call("down", { params[1] - 1 })
      if result == nil then return nil, failure or rpc.error(1, message) end
      return result
    end
    local a = joined(methods, methods, { concurrency = 1, timeout = 5, max_calls = 20 })
    assert.equal("bottom", (a:call("down", { 0 })))
    assert.equal("bottom", (a:call("down", { 39 })))
    local result, message = a:call("down", { 41 })
    assert.is_nil(result)
    assert.matches("FULL: 20 calls wait for answers %(max_calls%)", message)
  end))

  it("see answers behind calls that have to wait", run(function()
    local order = {}
    local a, b = joined({
      ask = function(params, peer)
        table.insert(order, params[1])
        return peer:call("confirm", params)
      end,
    }, { confirm = function(params) return params[1] end }, { concurrency = 2, timeout = 5 })
    local results = {}
    for i = 1, 50 do results[i] = both.task(a.call, a, "ask", { i }) end
    for i = 1, 50 do assert.equal(i, (results[i]())) end
    for i = 1, 50 do assert.equal(i, order[i]) end
    assert.is_false(b.closed)
  end))

  it("never run more than 'concurrency' methods at once, and stop reading then", run(function()
    local running, most, go, ended = 0, 0, duplex.event(), 0
    local raw, peer = serving({ work = function()
      running = running + 1
      most = math.max(most, running)
      go:wait()
      duplex.sleep(0)
      running, ended = running - 1, ended + 1
    end }, { concurrency = 3 })
    local text = '{"jsonrpc":"2.0","method":"work","params":["' .. ("x"):rep(50000) .. '"]}'
    local sent, id = 0
    repeat
      id = select(3, raw:try_send(text))
      if not id then sent = sent + 1 end
      both.settle()
    until id or sent > 200
    assert.equal("FULL", id)
    assert.equal(3, running)
    go:set()
    local deadline = duplex.now() + 5
    while ended < sent and duplex.now() < deadline do both.settle() end
    assert.same({ sent, 3 }, { ended, most })
    assert.is_false(peer.closed)
  end))

  it("stop reading when they hold max_held, also while answers are waited for", run(function()
    local go, done = duplex.event(), 0
    local raw, peer = serving({ wait = function()
      go:wait()
      done = done + 1
    end }, { concurrency = 1, max_held = 1200000 })
    local result = both.task(peer.call, peer, "late")
    assert.equal("late", json.decode((raw:receive(PATIENCE))).method)
    local text, sent = '{"jsonrpc":"2.0","method":"wait","params":["' .. ("x"):rep(500000) .. '"]}', 0
    while raw:try_send(text) do
      sent = sent + 1
      both.settle()
    end
    -- One runs, three are held, and what the connection holds is bounded, too.
    assert.is_true(sent >= 4 and sent < 15, sent)
    local answering = both.task(raw.send, raw, '{"jsonrpc":"2.0","result":"here","id":1}')
    go:set()
    assert.equal("here", (result()))
    assert.is_true((answering()))
    both.settle()
    assert.same({ sent, false }, { done, peer.closed })
  end))

  it("run 'concurrency' methods at once that have their answers", run(function()
    local running, most = 0, 0
    local a = joined({
      work = function(_, peer)
        peer:call("nothing")
        running = running + 1
        most = math.max(most, running)
        duplex.sleep(0)
        running = running - 1
      end,
    }, { nothing = function() end }, { concurrency = 3, timeout = 5 })
    local results = {}
    for i = 1, 50 do results[i] = both.task(a.call, a, "work") end
    for i = 1, 50 do assert.equal(null, (results[i]())) end
    assert.equal(3, most)
  end))

  it("call each other at length without waiting for ever", run(function()
    both.socket(function(client, server)
      local text = ("x"):rep(100000)
      local methods = {
        big = function(params) return params[1] .. text end,
        back = function(params, peer) return #assert(peer:call("big", params)) end,
      }
      local options = { methods = methods, concurrency = 2, timeout = 10 }
      local a, b = rpc(client, options), rpc(server, options)
      local tasks = {}
      for i = 1, 60 do
        local name = i % 3 == 0 and "back" or "big"
        tasks[2 * i - 1] = both.task(a.call, a, name, { text })
        tasks[2 * i] = both.task(b.call, b, name, { text })
      end
      for i, task in ipairs(tasks) do
        local result, message = task()
        assert(result, ("call %d: %s"):format(i, tostring(message)))
        if type(result) == "string" then result = #result end
        assert.equal(200000, result)
      end
    end)
  end))

  for _, row in ipairs { { 1, 40, 50000 }, { 20, 600, 3000 } } do
    local tasks, count, size = row[1], row[2], row[3]
    it(("whose methods notify each other never wait for ever: %d of %d bytes by %d tasks"):format(count, size, tasks),
      run(function()
        local client, server = duplex.pair()
        local got, all = {}, duplex.event()
        local function peer_of(ws, name)
          got[name] = 0
          return rpc(ws, { concurrency = 2, max_held = 1500000, log = false, methods = {
            back = function(params, peer) assert(peer:notify("take", params)) end,
            take = function()
              got[name] = got[name] + 1
              if got.a == count and got.b == count then all:set() end
            end,
          } })
        end
        local function notify(peer)
          for _ = 1, count / tasks do assert(peer:notify("back", { ("x"):rep(size) })) end
        end
        local a, b = peer_of(client, "a"), peer_of(server, "b")
        for _, peer in ipairs { a, b } do
          both.task(peer.run, peer)
          for _ = 1, tasks do both.task(notify, peer) end
        end
        all:wait(PATIENCE)
        assert.same({ a = count, b = count }, got)
      end))
  end

  it("whose methods wait for tasks that notify do not wait for ever", run(function()
    local raw, peer = serving({
      tell = function(_, one) both.task(one.notify, one, "told")() end,
    }, { concurrency = 1, max_held = 8000 })
    local result = both.task(peer.call, peer, "late") -- so that reading goes on
    assert.equal("late", json.decode((raw:receive(PATIENCE))).method)
    for _ = 1, 2 do raw:send('{"jsonrpc":"2.0","method":"tell","params":["' .. ("x"):rep(1000) .. '"]}') end
    for _ = 1, 2 do assert.equal("told", json.decode((raw:receive(PATIENCE))).method) end
    raw:send('{"jsonrpc":"2.0","result":"here","id":1}')
    assert.equal("here", (result()))
  end))

  it("let a program notify a peer that calls without end", run(function()
    local raw, peer = serving({
      get = function()
        duplex.sleep(0.02)
        return 1
      end,
    }, { concurrency = 1, max_held = 80000 })
    both.task(peer.call, peer, "late") -- so that reading goes on
    assert.equal("late", json.decode((raw:receive(PATIENCE))).method)
    local text = '{"jsonrpc":"2.0","method":"get","params":["' .. ("x"):rep(1000) .. '"],"id":1}'
    for _ = 1, 10 do raw:send(text) end
    both.settle()
    both.task(peer.notify, peer, "news")
    local said, deadline = json.decode((raw:receive(PATIENCE))), duplex.now() + PATIENCE
    while said.result and duplex.now() < deadline do
      raw:send(text)
      said = json.decode((raw:receive(PATIENCE)))
    end
    assert.equal("news", said.method)
    raw:close()
  end))

  it("let methods answer a peer that sends all before it reads, up to max_held", run(function()
    local raw = serving({ get = function() return ("x"):rep(100000) end }, { concurrency = 2 })
    local text, count = '{"jsonrpc":"2.0","method":"get","params":["' .. ("x"):rep(100000) .. '"],"id":1}', 40
    local sending = both.task(function()
      for _ = 1, count do assert(raw:send(text)) end
    end)
    sending()
    for _ = 1, count do assert.equal(100000, #json.decode((raw:receive(PATIENCE))).result) end
  end))

  it("go on with methods that have their answers before they begin others", run(function()
    local raw = serving({
      ask = function(_, p) return p:call("name") end,
      quick = function() duplex.sleep(0) end,
    }, { concurrency = 1 })
    raw:send('{"jsonrpc":"2.0","method":"ask","id":"ask"}')
    local call = json.decode((raw:receive(PATIENCE)))
    for i = 1, 20 do raw:send('{"jsonrpc":"2.0","method":"quick","id":' .. i .. "}") end
    raw:send('{"jsonrpc":"2.0","result":"Ana","id":' .. call.id .. "}")
    local order = {}
    for i = 1, 21 do order[json.decode((raw:receive(PATIENCE))).id] = i end
    assert.is_true(order.ask < 5, "it was number " .. order.ask)
  end))

  it("stop when the connection ends in the middle of methods and calls", run(function()
    local began, told, results = duplex.event(), {}, {}
    local a, b = joined({
      work = function(_, peer)
        began:set()
        local value, _, id = peer:call("never")
        table.insert(told, { n = 3, value, id, peer.closed })
      end,
    }, { never = function() duplex.sleep(60) end }, { concurrency = 2 })
    for i = 1, 4 do results[i] = both.task(a.call, a, "work") end
    began:wait()
    both.settle()
    a.ws:close(1000, "", 0)
    for i = 1, 4 do assert.is_nil((results[i]())) end
    both.settle()
    assert.equal(4, #told)
    assert.same({ n = 3, nil, "CLOSED", true }, told[1])
    assert.is_true(b.closed)
  end))

  it("run nothing of what is held when the connection ends", run(function()
    local count, go = 0, duplex.event()
    local raw = serving({
      work = function()
        count = count + 1
        go:wait()
      end,
    }, { concurrency = 1 })
    raw:send("[" .. ('{"jsonrpc":"2.0","method":"work"},'):rep(9) .. '{"jsonrpc":"2.0","method":"work"}]')
    both.settle()
    raw:close(1000, "", 0)
    both.settle()
    go:set()
    both.settle()
    assert.equal(1, count)
  end))
end)

describe("hostile input", function()
  -- Kilobytes that are in use.
  local function memory()
    collectgarbage()
    collectgarbage()
    return collectgarbage("count")
  end

  it("of 10,000 calls in a batch is refused as a whole", run(function()
    local count = 0
    local raw = serving({ sum = SPECIFIED.sum, count = function() count = count + 1 end })
    local one = '{"jsonrpc":"2.0","method":"count","id":1}'
    assert.same(INVALID, ask(raw, "[" .. (one .. ","):rep(9999) .. one .. "]"))
    assert.same(INVALID, ask(raw, "[" .. ("1,"):rep(9999) .. "1]"))
    assert.equal(0, count)
    assert.equal(100, #ask(raw, "[" .. (one .. ","):rep(99) .. one .. "]"))
    assert.equal(100, count)
    assert.same(INVALID, ask(raw, "[" .. (one .. ","):rep(100) .. one .. "]"))
    says_nothing(raw, "[" .. ('{"jsonrpc":"2.0","result":1,"id":1},'):rep(9999) .. '{"jsonrpc":"2.0","result":1,"id":1}]')
  end))

  it("that is large as a table is held as text", run(function()
    local go = duplex.event()
    local raw, peer = serving({ wait = function(params)
      go:wait()
      return #params
    end }, { concurrency = 1 })
    local result = both.task(peer.call, peer, "late")
    raw:receive(PATIENCE)
    local call = '{"jsonrpc":"2.0","method":"wait","params":[' .. ("[],"):rep(50000) .. '1],"id":"%d"}'
    local before = memory()
    for i = 1, 5 do assert(raw:send(call:format(i))) end
    both.settle()
    local more = memory() - before
    assert.is_true(more < 10000, ("%.0f KB"):format(more)) -- as tables 18 MB
    go:set()
    for i = 1, 5 do
      assert.same({ jsonrpc = "2.0", id = tostring(i), result = 50001 }, json.decode((raw:receive(PATIENCE))))
    end
    raw:send('{"jsonrpc":"2.0","result":"here","id":1}')
    assert.equal("here", (result()))
  end))

  it("of many calls takes no room for each", run(function()
    local before, more
    -- Of the list that comes somebody looks at the last element when all others were.
    local last = setmetatable({}, { __index = function() more = more or memory() - before end })
    local raw = serving({}, { codec = { encode = json.encode, null = null, decode = function()
      local list = {}
      for i = 1, 50000 do list[i] = 1 end
      list[#list + 1] = last
      before = memory()
      return list
    end } })
    assert.same(INVALID, ask(raw, "[]"))
    assert.is_true(more < 1000, ("%s KB"):format(more))
  end))

  it("of all types in all places ends nothing", run(function()
    local lines = {}
    local raw, peer = serving(SPECIFIED, { log = function(level, text)
      if level ~= "debug" and not text:find("a method failed") then table.insert(lines, text) end
    end })
    local values = { "null", "true", "1", "-1.5", '"x"', '""', "[]", "{}", "[1]", '{"code":1}', '"sum"', '"2.0"' }
    local fields = { "jsonrpc", "method", "params", "id", "result", "error" }
    local sent = 0
    for _, field in ipairs(fields) do
      for _, other in ipairs(fields) do
        for _, value in ipairs(values) do
          sent = sent + 1
          assert(raw:send(('{"jsonrpc":"2.0","method":"sum","params":[1],"%s":%s,"%s":%s}'):format(field, value, other, value)))
        end
      end
      both.task(function() end)()
      while raw:receive(0) do end
    end
    raw:send('{"jsonrpc":"2.0","method":"sum","params":[1],"id":"last"}')
    repeat
      local answer = json.decode((assert(raw:receive(PATIENCE))))
    until answer.id == "last"
    assert.equal(432, sent)
    assert.same({}, lines)
    assert.is_false(peer.closed)
  end))

  it("that is an answer is never answered, so two peers cannot go on for ever", run(function()
    local raw = serving(SPECIFIED)
    for _, text in ipairs {
      '{"jsonrpc":"2.0","error":{"code":-32600,"message":"Invalid Request"},"id":null}', '{"result":1}', '{"error":1}',
      '[{"jsonrpc":"2.0","error":{"code":-32700,"message":"Parse error"},"id":null}]', '{"id":1,"result":[]}',
    } do says_nothing(raw, text) end
  end))
end)

describe("duplex.rpc", function()
  it("returns from run with what ended the connection", run(function()
    local raw, _, wait = serving(SPECIFIED)
    raw:close(1000)
    assert.is_true((wait()))
    raw, _, wait = serving(SPECIFIED)
    raw:send(("x"):rep(2 ^ 20 + 1))
    local ok, message, id = wait()
    assert.is_nil(ok)
    assert.equal("TOO_BIG", id)
    assert.matches("^TOO_BIG: ", message)
  end))

  it("may run after a call, and run twice", run(function()
    local a, b = joined({ one = function() return 1 end })
    assert.equal(1, (a:call("one")))
    local first, second = both.task(a.run, a), both.task(a.run, a)
    b.ws:close()
    assert.is_true((first()))
    assert.is_true((second()))
    assert.is_true((a:run()))
  end))

  it("raises for bad options and errors", run(function()
    local ws = duplex.pair()
    local peer = rpc((duplex.pair()))
    both.raises("rpc_spec%.lua:%d+: rpc: this connection has a peer already", function() rpc(peer.ws) end)
    both.raises("rpc: the connection is missing, got nil", rpc)
    both.raises("rpc: this is no connection %(of a client that reconnects", rpc, {})
    both.raises("unknown option 'method' %(did you mean 'methods'%?%)", rpc, ws, { method = {} })
    -- Whoever called it.
    for text, call in pairs {
      ["option 'methods' must have functions by name, 'a' is a string"] = function() rpc(ws, { methods = { a = "b" } }) end,
      ["the method must be a string, got number"] = function() peer:batch():call(5) end,
      ["text is not valid UTF-8; send bytes with kind \"binary\""] = function() peer:call("\255") end,
      ["params of 'x': cannot be written as JSON: value.params[1] is a function"] = function()
        rpc.notification("x", { print })
      end,
      ["params of 'y': cannot be written as JSON: value.params[1] is a function"] = function()
        local batch = peer:batch()
        batch:call("y", { print })
        batch:send()
      end,
      ["timeout must be false or seconds, 0 or more, got a string"] = function()
        local batch = peer:batch()
        batch:call("y")
        batch:send("5")
      end,
    } do
      local _, problem = duplex.pcall(call)
      local blamed, said = problem:match("^(%S*rpc_spec.lua:)%d+: (.*)")
      assert.same({ true, text }, { blamed ~= nil, said })
    end
    both.raises("option 'methods' must have functions by name, '1' is a function", rpc, ws, { methods = { print } })
    both.raises("option 'concurrency' must be 1%.%.100000", rpc, ws, { concurrency = 0 })
    both.raises("a codec must be a table with functions", rpc, ws, { codec = {} })
    both.raises("the code must be an integer, got x", rpc.error, "x")
    both.raises("the code must be an integer, got 1%.5", rpc.error, 1.5)
    both.raises("the message must be a string, got nil", rpc.error, 7)
    both.raises("rpc_spec%.lua:%d+: rpc.error", function() rpc.error(7, {}) end)
    assert.equal("RPC: Invalid params (-32602)", tostring(rpc.error(rpc.INVALID_PARAMS)))
  end))

  it("lets go of peers that are over", run(function()
    local kept = setmetatable({}, { __mode = "k" })
    do
      local a, b = joined({ one = function() return 1 end })
      a:call("one")
      a.ws:close()
      kept[a], kept[b] = true, true
    end
    both.settle()
    for _ = 1, 3 do collectgarbage() end
    assert.is_nil(next(kept))
  end))
end)
