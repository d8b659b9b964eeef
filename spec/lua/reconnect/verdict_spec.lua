-- SPDX-License-Identifier: MIT
local verdict = require "duplex.reconnect.verdict"

local function closed(code) return { id = "CLOSED", code = code } end
local function answered(status) return { id = "HTTP", status = status } end

describe("a failure is", function()
  it("final by its close code, or not", function()
    for _, code in ipairs { 1000, 1002, 1003, 1007, 1008, 1009, 1010, 3000, 3003 } do
      assert.is_true(verdict.final(closed(code)), code)
    end
    for _, code in ipairs { 1001, 1005, 1006, 1011, 1012, 1013, 1014, 1015, 3001, 3999, 4000, 4999 } do
      assert.is_false(verdict.final(closed(code)), code)
    end
  end)

  it("final by its HTTP status, or not", function()
    for _, status in ipairs { 101, 200, 204, 301, 302, 400, 401, 403, 404, 407, 410, 426 } do
      assert.is_true(verdict.final(answered(status)), status)
    end
    for _, status in ipairs { 408, 425, 429, 500, 501, 502, 503, 504, 520, 599 } do
      assert.is_false(verdict.final(answered(status)), status)
    end
  end)

  it("final by its id, or not", function()
    for _, id in ipairs { "URL", "STOPPED", "PROTOCOL", "BAD_UTF8", "TOO_BIG" } do
      assert.is_true(verdict.final { id = id }, id)
    end
    for _, id in ipairs { "DNS", "CONNECT", "PROXY", "TLS", "HANDSHAKE", "TIMEOUT", "LOST", "LIMIT", "ERROR" } do
      assert.is_false(verdict.final { id = id }, id)
    end
  end)

  it("judged by an answer that a proxy gave, too", function()
    assert.is_true(verdict.final { id = "PROXY", status = 407 })
    assert.is_false(verdict.final { id = "PROXY", status = 503 })
  end)
end)

describe("the options final and retryable", function()
  local function decide(failure, given)
    return verdict.final(failure, assert(verdict.test("final", given.final or {})),
      assert(verdict.test("retryable", given.retryable or {})))
  end

  it("name close codes, statuses, ids and ranges", function()
    local given = { final = { 4401, 503, "DNS", { 4500, 4999 } }, retryable = { 1000, 404, "URL", { 1007, 1009 } } }
    for _, failure in ipairs { closed(4401), answered(503), { id = "DNS" }, closed(4500), closed(4999) } do
      assert.is_true(decide(failure, given))
      assert.is_false(decide(failure, {}))
    end
    for _, failure in ipairs { closed(1000), answered(404), { id = "URL" }, closed(1007), closed(1009) } do
      assert.is_false(decide(failure, given))
      assert.is_true(decide(failure, {}))
    end
    assert.is_false(decide(closed(4499), given))
    assert.is_true(decide(closed(1010), given))
  end)

  it("can be functions, whose true decides and whose silence does not", function()
    local function is_4000(failure) return failure.code == 4000 end
    assert.is_true(verdict.final(closed(4000), is_4000))
    assert.is_true(verdict.final(closed(1008), is_4000))
    assert.is_false(verdict.final(closed(1012), is_4000))
    local function any() return true end
    assert.is_false(verdict.final(closed(1008), nil, any))
  end)

  it("agree that final wins", function()
    assert.is_true(decide(closed(4000), { final = { 4000 }, retryable = { 4000 } }))
  end)

  it("cannot go on when the loop has stopped", function()
    assert.is_true(decide({ id = "STOPPED" }, { retryable = { "STOPPED" } }))
  end)

  for name, given in pairs { ["a map"] = { code = 4000 }, ["a list with holes"] = { [2] = 4000 },
    ["a boolean"] = { true }, ["half a range"] = { { 4000 } },
    ["a range backwards"] = { { 4999, 4000 } } } do
    it("refuse " .. name, function()
      local test, problem = verdict.test("final", given)
      assert.is_nil(test)
      assert.equal("option 'final' must be a list of close codes, statuses, ids and { from, to }", problem)
    end)
  end

  it("refuse what is no id, and name the nearest", function()
    local _, problem = verdict.test("retryable", { "LOST", "dns" })
    assert.equal("option 'retryable' has 'dns', which is no id of a failure (did you mean 'DNS'?)", problem)
  end)
end)
