-- SPDX-License-Identifier: MIT
local backoff = require "duplex.reconnect.backoff"
local random = require "duplex.reconnect.random"

local DEFAULTS = { first = 0.5, factor = 2, max = 30 }

describe("backoff.delay", function()
  it("is spread from nothing to a limit that doubles up to a maximum", function()
    local limits = { 0.5, 1, 2, 4, 8, 16, 30, 30 }
    for failures, limit in ipairs(limits) do
      assert.equal(0, backoff.delay(failures, 0, DEFAULTS))
      assert.equal(limit / 2, backoff.delay(failures, 0.5, DEFAULTS))
    end
  end)

  it("stays at the maximum after any number of failures", function()
    for _, failures in ipairs { 100, 1000, 1e6, 1e15 } do
      assert.equal(15, backoff.delay(failures, 0.5, DEFAULTS))
      assert.equal(0, backoff.delay(failures, 0, DEFAULTS))
    end
  end)

  it("does not grow with a factor of one", function()
    assert.equal(0.25, backoff.delay(50, 0.5, { first = 0.5, factor = 1, max = 30 }))
  end)
end)

describe("backoff.http_date (RFC 9110 5.6.7)", function()
  for text, time in pairs {
    ["Sun, 06 Nov 1994 08:49:37 GMT"] = 784111777,
    ["Sunday, 06-Nov-94 08:49:37 GMT"] = 784111777,
    ["Sun Nov  6 08:49:37 1994"] = 784111777,
    ["Thu, 01 Jan 1970 00:00:00 GMT"] = 0,
    ["Thu, 29 Feb 2024 23:59:59 GMT"] = 1709251199,
    ["Fri, 01 Mar 2024 00:00:00 GMT"] = 1709251200,
    ["Friday, 31-Dec-27 00:00:00 GMT"] = 1830211200,
  } do
    it("reads " .. text, function() assert.equal(time, backoff.http_date(text)) end)
  end

  for _, text in ipairs { "", "soon", "Sun, 06 Nov 1994", "Sun, 06 Nov 1994 08:49:37 CET",
    "Sun, 06 Foo 1994 08:49:37 GMT", "-5" } do
    it(("finds none in %q"):format(text), function() assert.is_nil(backoff.http_date(text)) end)
  end
end)

describe("backoff.retry_after (RFC 9110 10.2.3)", function()
  it("is a number of seconds", function()
    assert.equal(120, backoff.retry_after({ ["retry-after"] = "120" }, 0))
    assert.equal(0, backoff.retry_after({ ["retry-after"] = "0" }, 0))
  end)

  it("is a date, reckoned by the clock of the server", function()
    assert.equal(90, backoff.retry_after({ ["retry-after"] = "Sun, 06 Nov 1994 08:51:07 GMT",
      date = "Sun, 06 Nov 1994 08:49:37 GMT" }, 1700000000))
  end)

  it("is reckoned by ours when the server does not tell its time", function()
    assert.equal(90, backoff.retry_after(
      { ["retry-after"] = "Sun, 06 Nov 1994 08:51:07 GMT" }, 784111777))
  end)

  it("is nothing for a date that is over", function()
    assert.equal(0, backoff.retry_after(
      { ["retry-after"] = "Sun, 06 Nov 1994 08:51:07 GMT" }, 1700000000))
  end)

  it("is not there without the header, or with nonsense in it", function()
    assert.is_nil(backoff.retry_after({}, 0))
    assert.is_nil(backoff.retry_after({ ["retry-after"] = "-1" }, 0))
    assert.is_nil(backoff.retry_after({ ["retry-after"] = "1.5" }, 0))
    assert.is_nil(backoff.retry_after({ ["retry-after"] = "later" }, 0))
  end)
end)

describe("random numbers for delays", function()
  it("are in [0, 1), and the same for the same seed", function()
    local one, two = random.generator(42), random.generator(42)
    for _ = 1, 1000 do
      local number = one()
      assert.is_true(number >= 0 and number < 1)
      assert.equal(number, two())
    end
  end)

  for _, seed in ipairs { 0, 1, 2147483646, 2147483647, 4294967295 } do
    it(("do not get stuck with the seed %.0f"):format(seed), function()
      local draw, seen, different = random.generator(seed), {}, 0
      for _ = 1, 100 do
        local number = draw()
        if not seen[number] then different = different + 1 end
        seen[number] = true
      end
      assert.equal(100, different)
    end)
  end

  it("come from seeds that differ", function()
    local seen = {}
    for _ = 1, 100 do
      local seed = random.seed()
      assert.is_nil(seen[seed])
      seen[seed] = true
    end
  end)

  it("leave those of the program alone", function()
    math.randomseed(7)
    local expected = math.random()
    math.randomseed(7)
    random.generator(random.seed())()
    assert.equal(expected, math.random())
  end)
end)

-- Pearson's statistic of counts that should be equal.
local function chi_square(counts, expected)
  local sum = 0
  for _, count in ipairs(counts) do sum = sum + (count - expected) ^ 2 / expected end
  return sum
end

describe("a storm: 1,000 clients lose their connections in the same moment", function()
  local CLIENTS, BUCKETS = 1000, 20
  -- 99.9 % of even distributions over 20 buckets have less (19 degrees of freedom).
  local LIMIT = 43.8

  for failures, longest in ipairs { 0.5, 1, 2, 4, 8, 16, 30 } do
    it(("comes back evenly over %g s after failure %d"):format(longest, failures), function()
      local counts = {}
      for i = 1, BUCKETS do counts[i] = 0 end
      for seed = 1, CLIENTS do -- seeds as bad as they get: one behind the other
        local draw, number = random.generator(seed), nil
        for _ = 1, failures do number = draw() end
        local delay = backoff.delay(failures, number, DEFAULTS)
        local bucket = math.floor(delay / longest * BUCKETS) + 1
        counts[bucket] = counts[bucket] + 1
      end
      local statistic = chi_square(counts, CLIENTS / BUCKETS)
      assert.is_true(statistic < LIMIT, statistic .. ": " .. table.concat(counts, " "))
    end)
  end

  it("is not a storm any more when the server was away for ten seconds", function()
    -- Each tries again until ten seconds have passed; how many come in the
    -- busiest tenth of a second after that?
    local counts = {}
    for seed = 1, CLIENTS do
      local draw, time, failures = random.generator(seed), 0, 0
      repeat
        failures = failures + 1
        time = time + backoff.delay(failures, draw(), DEFAULTS)
      until time >= 10
      local bucket = math.floor((time - 10) * 10) + 1
      counts[bucket] = (counts[bucket] or 0) + 1
    end
    local busiest = 0
    for _, count in pairs(counts) do busiest = math.max(busiest, count) end
    assert.is_true(busiest <= 40, busiest .. " at once")
  end)
end)
