-- SPDX-License-Identifier: MIT
-- What a server counts: beside what the core counts of messages, handshakes by
-- their outcome, close codes and failures. As a table, and for Prometheus.

local core = require "duplex.core"
local log = require "duplex.log"
local prometheus = require "duplex.prometheus"

local metrics = {}

-- Peers choose codes: so many are told apart, the rest is "other". Those below
-- 3000 are few, and peers must not make us lose sight of them.
local MAX_CODES, FIRST_FREE_CODE = 64, 3000

local OUTCOMES = { "accepted", "bad_request", "error", "full", "lost", "on_request", "origin",
  "proxy", "stopping", "timeout", "tls" }
local DATA, CONTROL = { "text", "binary" }, { "close", "ping", "pong" }

--- Counters, all at 0.
---@return table
function metrics.new()
  local counts = {
    handshakes = {}, answers = {}, closed = { received = {}, sent = {} },
    failures = { handlers = 0, hooks = 0 },
  }
  for _, outcome in ipairs(OUTCOMES) do counts.handshakes[outcome] = 0 end
  return counts
end

local function count_code(codes, code)
  if not code then return end
  if code >= FIRST_FREE_CODE and not codes[code] then
    local known = 0
    for _ in pairs(codes) do known = known + 1 end
    if known >= MAX_CODES then code = "other" end
  end
  codes[code] = (codes[code] or 0) + 1
end

--- A connection is over.
---@param counts table
---@param ws duplex.Connection
function metrics.closed(counts, ws)
  count_code(counts.closed.received, core.close_code(ws))
  count_code(counts.closed.sent, core.close_sent(ws))
end

local function copy(numbers)
  local all = {}
  for name, number in pairs(numbers) do all[name] = number end
  return all
end

local function some(numbers, names)
  local part = {}
  for _, name in ipairs(names) do part[name] = numbers[name] end
  return part
end

-- Of messages and control frames: { received = { text = 1, ... }, sent = ... }
local function both(totals, what, names)
  return {
    received = some(totals[what .. "_in"], names), sent = some(totals[what .. "_out"], names),
  }
end

---@class duplex.Metrics
---@field connections { open: integer, handshaking: integer, accepted: integer } open and
---  handshaking now; accepted in all
---@field handshakes table<string, integer> by outcome
---@field answers table<integer, integer> HTTP answers other than 101, by status
---@field messages { received: table<string, integer>, sent: table<string, integer> } whole
---  ones, by kind
---@field bytes { received: table<string, integer>, sent: table<string, integer> } of their
---  payload, by kind
---@field control { received: table<string, integer>, sent: table<string, integer> } frames:
---  close, ping, pong
---@field compression { received: table<string, integer>, sent: table<string, integer> } bytes
---  of messages where it was agreed on: payload, and wire, as frames carry them
---@field closed { received: table<integer|string, integer>, sent: table<integer|string, integer> }
---  connections, by close code
---@field queue { messages: integer, most: integer } received and not taken yet; most: of one
---  connection
---@field outbox { bytes: integer, most: integer } not sent yet
---@field round_trips table { count, sum, { bound, pongs within it }, ... } in seconds
---@field failures { handlers: integer, hooks: integer, tasks: integer } tasks: of the
---  whole program

--- All there is, now.
---@param server duplex.Server|table counts, settings, connections and handshakes of one
---@return duplex.Metrics
function metrics.collect(server)
  local counts, totals = server.counts, core.totals(server.settings)
  local open, queued, most_queued, outbox, most_outbox = core.waiting(server.connections)
  return {
    connections = {
      open = open, handshaking = server.handshakes, accepted = counts.handshakes.accepted,
    },
    handshakes = copy(counts.handshakes),
    answers = copy(counts.answers),
    messages = both(totals, "messages", DATA),
    bytes = both(totals, "bytes", DATA),
    control = both(totals, "messages", CONTROL),
    compression = { received = totals.sizes_in, sent = totals.sizes_out },
    closed = { received = copy(counts.closed.received), sent = copy(counts.closed.sent) },
    queue = { messages = queued, most = most_queued },
    outbox = { bytes = outbox, most = most_outbox },
    round_trips = totals.round_trips,
    failures = {
      handlers = counts.failures.handlers, hooks = counts.failures.hooks,
      tasks = log.failed["task failed"] or 0,
    },
  }
end

-- ---- as text ----

-- Samples { labels, value } of a table of numbers, in the order of its keys.
local function samples(family, numbers, label, more)
  local keys = {}
  for key in pairs(numbers) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  for _, key in ipairs(keys) do
    local labels = { [label] = key }
    for name, value in pairs(more or {}) do labels[name] = value end
    family[#family + 1] = { labels = labels, value = numbers[key] }
  end
  return family
end

local function by_direction(family, numbers, label)
  for _, direction in ipairs { "received", "sent" } do
    samples(family, numbers[direction], label, { direction = direction })
  end
  return family
end

local function gauge(name, help, value)
  return { name = "duplex_" .. name, type = "gauge", help = help, { value = value } }
end

local function counter(name, help)
  return { name = "duplex_" .. name .. "_total", type = "counter", help = help }
end

--- The same in Prometheus' text format.
---@param all duplex.Metrics
---@param labels? table<string, any> of all samples
---@return string
function metrics.text(all, labels)
  local trips = all.round_trips
  local families = {
    gauge("connections", "Open WebSocket connections.", all.connections.open),
    gauge("handshakes_in_progress", "Connections without a first request yet.",
      all.connections.handshaking),
    samples(counter("handshakes", "Opening handshakes, by outcome."), all.handshakes, "outcome"),
    samples(counter("http_answers", "HTTP answers other than 101, by status."), all.answers, "status"),
    by_direction(counter("messages", "Whole messages."), all.messages, "kind"),
    by_direction(counter("message_bytes", "Bytes of payload of messages."), all.bytes, "kind"),
    by_direction(counter("control_frames", "Control frames."), all.control, "kind"),
    by_direction(counter("compression_bytes", "Bytes of messages where compression was agreed on."),
      all.compression, "part"),
    by_direction(counter("closed", "Connections that ended, by close code."), all.closed, "code"),
    gauge("queued_messages", "Messages received and not taken yet.", all.queue.messages),
    gauge("queued_messages_most", "The same of the connection with most.", all.queue.most),
    gauge("outbox_bytes", "Bytes not sent yet.", all.outbox.bytes),
    gauge("outbox_bytes_most", "The same of the connection with most.", all.outbox.most),
    { name = "duplex_round_trip_seconds", type = "histogram", help = "From ping to pong.",
      { buckets = trips, count = trips.count, sum = trips.sum } },
    samples(counter("failures", "Errors in code of the program."), all.failures, "where"),
  }
  for _, family in ipairs(families) do
    for _, sample in ipairs(family) do
      sample.labels = sample.labels or {}
      for name, value in pairs(labels or {}) do sample.labels[name] = value end
    end
  end
  return prometheus.text(families)
end

--- What a program asks for.
---@param server table see collect
---@param format? "prometheus"
---@param labels? table<string, any> of the text
---@return duplex.Metrics|string
function metrics.report(server, format, labels)
  prometheus.check(format, 3)
  local all = metrics.collect(server)
  return format and metrics.text(all, labels) or all
end

return metrics
