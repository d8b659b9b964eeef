-- SPDX-License-Identifier: MIT
-- Metrics as others read them: scraped and parsed with Prometheus' client for Python.

local child = require "spec.support.child"

local PYTHON = os.getenv("PYTHON") or "/usr/bin/python3"
local PEERS = "spec/counterparts/peers/"

describe("metrics for Prometheus", function()
  local read, content_type = {}, nil

  lazy_setup(function()
    local server = child.start(child.lua, PEERS .. "metrics.lua")
    local scraper = child.start(PYTHON, PEERS .. "prometheus.py", server:line())
    content_type = scraper:line()
    for line in scraper.line, scraper do
      local sample, value = line:match("^(%l+ [%l_]+{.*}) (%S+)$")
      assert(sample, line)
      assert.is_nil(read[sample])
      read[sample] = tonumber(value)
    end
    local fine, output = scraper:finish()
    server:stop()
    assert(fine, output)
  end)

  it("come as the text format", function()
    assert.equal("text/plain; version=0.0.4; charset=utf-8", content_type)
  end)

  for sample, value in pairs {
    ["gauge duplex_connections{}"] = 0,
    ["counter duplex_handshakes_total{outcome=accepted}"] = 1,
    ["counter duplex_handshakes_total{outcome=origin}"] = 0,
    ["counter duplex_messages_total{direction=received,kind=text}"] = 1,
    ["counter duplex_message_bytes_total{direction=sent,kind=text}"] = 5,
    ["counter duplex_control_frames_total{direction=sent,kind=close}"] = 1,
    ["counter duplex_closed_total{code=4001,direction=received}"] = 1,
    ["gauge duplex_outbox_bytes{}"] = 0,
    ["counter duplex_failures_total{where=handlers}"] = 0,
  } do
    it("have " .. sample, function() assert.equal(value, read[sample]) end)
  end

  it("have a histogram of round trips", function()
    local count = read["histogram duplex_round_trip_seconds_count{}"]
    assert.is_true(count >= 1)
    assert.equal(count, read["histogram duplex_round_trip_seconds_bucket{le=+Inf}"])
    assert.equal(count, read["histogram duplex_round_trip_seconds_bucket{le=10.0}"]
      or read["histogram duplex_round_trip_seconds_bucket{le=10}"])
    assert.is_true(read["histogram duplex_round_trip_seconds_sum{}"] > 0)
  end)
end)
