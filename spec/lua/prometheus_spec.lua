-- SPDX-License-Identifier: MIT
local prometheus = require "duplex.prometheus"

local function lines(...) return table.concat({ ... }, "\n") .. "\n" end

describe("the Prometheus text format", function()
  it("has a help and a type line, then the samples of each family", function()
    assert.equal(lines(
      "# HELP doors_total Doors opened.",
      "# TYPE doors_total counter",
      'doors_total{side="left"} 3',
      'doors_total{side="right"} 0',
      "# HELP people How many are in.",
      "# TYPE people gauge",
      "people 2.5"), prometheus.text {
      { name = "doors_total", type = "counter", help = "Doors opened.",
        { labels = { side = "left" }, value = 3 }, { labels = { side = "right" }, value = 0 } },
      { name = "people", type = "gauge", help = "How many are in.", { value = 2.5 } },
    })
  end)

  it("escapes what would end a label value or a line", function()
    assert.equal(lines(
      "# HELP n a\\\\b\\nc\"d",
      "# TYPE n gauge",
      'n{a="q\\"q",b="one\\ntwo",c="C:\\\\dir",d="é"} 1'), prometheus.text {
      { name = "n", type = "gauge", help = "a\\b\nc\"d",
        { labels = { d = "é", c = "C:\\dir", b = "one\ntwo", a = 'q"q' }, value = 1 } },
    })
  end)

  it("adds the bucket of infinity, the sum and the count to a histogram", function()
    assert.equal(lines(
      "# HELP t Seconds.",
      "# TYPE t histogram",
      't_bucket{x="y",le="0.001"} 1',
      't_bucket{x="y",le="10"} 4',
      't_bucket{x="y",le="+Inf"} 5',
      't_sum{x="y"} 21.5',
      't_count{x="y"} 5'), prometheus.text {
      { name = "t", type = "histogram", help = "Seconds.",
        { labels = { x = "y" }, buckets = { { 0.001, 1 }, { 10, 4 } }, sum = 21.5, count = 5 } },
    })
  end)

  it("writes numbers so that they are read as the same", function()
    local function written(value)
      return prometheus.text { { name = "n", type = "gauge", help = "", { value = value } } }
        :match("\nn (%S+)\n$")
    end
    assert.equal("9007199254740991", written(2^53 - 1))
    assert.equal("0.1", written(0.1))
    assert.equal("0.30000000000000004", written(0.1 + 0.2))
    assert.equal("+Inf", written(math.huge))
    assert.equal("-Inf", written(-math.huge))
    assert.equal("NaN", written(0 / 0))
    assert.equal("1.8446744073709552e+19", written(2^64))
  end)
end)
