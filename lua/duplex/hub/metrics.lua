-- SPDX-License-Identifier: MIT
-- The numbers of a hub, as a table and for Prometheus.

local prometheus = require "duplex.prometheus"

local metrics = {}

local ROWS = {
  { "topics", "gauge", "Topics and patterns that somebody subscribes to." },
  { "subscriptions", "gauge", "Subscriptions." },
  { "members", "gauge", "Members of topics." },
  { "lagging", "gauge", "Connections for which messages are pending." },
  { "pending_bytes", "gauge", "Bytes of messages that are pending." },
  { "publishes", "counter", "Messages published here." },
  { "deliveries", "counter", "Messages given to connections." },
  { "drops", "counter", "Messages that slow subscribers did not get." },
  { "coalesced", "counter", "Messages that a newer one of the same key replaced." },
  { "disconnected", "counter", "Slow subscribers that were closed." },
  { "history_topics", "gauge", "Topics with a history." },
  { "history_messages", "gauge", "Messages in histories." },
  { "history_bytes", "gauge", "Bytes of histories." },
}

---@class duplex.HubMetrics
---@field topics integer topics and patterns that somebody subscribes to
---@field subscriptions integer
---@field members integer of topics, see hub:who
---@field lagging integer connections for which messages are pending
---@field pending_bytes integer of these
---@field publishes integer
---@field deliveries integer messages given to connections
---@field drops integer messages that slow subscribers did not get
---@field coalesced integer messages that a newer one of the same key replaced
---@field disconnected integer slow subscribers that were closed
---@field history_topics integer
---@field history_messages integer
---@field history_bytes integer

--- The numbers of a hub.
---@return duplex.HubMetrics
function metrics.numbers(hub)
  local numbers, history = {}, hub.history or {}
  for name, value in pairs(hub.counters) do numbers[name] = value end
  numbers.topics, numbers.subscriptions = hub.trie.count, hub.subscriptions
  numbers.members, numbers.lagging = hub.presence.members, hub.lagging
  numbers.history_topics, numbers.history_messages = history.topics or 0, history.messages or 0
  numbers.history_bytes, numbers.pending_bytes = history.bytes or 0, 0
  for _, connection in pairs(hub.connections) do
    if connection.pending then
      numbers.pending_bytes = numbers.pending_bytes + connection.pending.bytes
    end
  end
  return numbers
end

--- The same as text for Prometheus.
---@return string
function metrics.text(hub)
  local numbers, families = metrics.numbers(hub), {}
  for i, row in ipairs(ROWS) do
    local name, kind = row[1], row[2]
    families[i] = {
      name = "duplex_hub_" .. name .. (kind == "counter" and "_total" or ""),
      type = kind, help = row[3], { value = numbers[name] },
    }
  end
  return prometheus.text(families)
end

return metrics
