-- SPDX-License-Identifier: MIT
-- How a message gets from a publish to its receivers, and what happens to those
-- whose outbox is full. Nothing here waits, but the task of a connection that
-- lags: it sends what is pending for it, and ends when nothing is.

local pending = require "duplex.hub.pending"

local REASON = "the peer reads too slowly for its topics"

return function(duplex)
  local delivery = {}

  -- A connection that is full is looked after when all others have the message,
  -- so that what is done to it changes no set that is being gone through.
  local full = {}
  local by_above = {} -- options of broadcast
  local function options_for(above)
    local options = by_above[above]
    if not options then
      options = { above = above, full = function(ws) full[#full + 1] = ws end }
      by_above[above] = options
    end
    return options
  end

  local function has_caught_up(self, ws, connection)
    connection.pending, connection.sending, self.lagging = nil, nil, self.lagging - 1
    for _, subscription in pairs(connection.subscriptions) do
      self.receivers:move(ws, subscription, false)
    end
  end

  local function catch_up(self, ws, connection)
    local counters, queue = self.counters, connection.pending
    -- It has another queue, or none, when the hub was closed or it has ended.
    while queue and connection.pending == queue and not connection.held do
      local item = queue:take()
      if not item then return has_caught_up(self, ws, connection) end
      queue.sending = item
      if not ws:send(item.message, item.kind) then return end
      queue.sending = nil
      counters.deliveries = counters.deliveries + 1
    end
    connection.sending = nil
  end

  -- Not as a task of the request that publishes, which in nginx may end before.
  local function send_pending(self, ws, connection)
    if connection.sending or connection.held then return end
    if connection.pending.count == 0 then return has_caught_up(self, ws, connection) end
    connection.sending = true
    duplex.detach(catch_up, self, ws, connection)
  end

  -- From now on what is for this connection is pending, until it has caught up.
  -- The caller makes something pending, and then calls send_pending.
  local function lag(self, ws, connection)
    connection.pending, self.lagging = pending.new(), self.lagging + 1
    for _, subscription in pairs(connection.subscriptions) do
      self.receivers:move(ws, subscription, true)
    end
  end

  --- Keeps back what is published for a connection.
  function delivery.hold(self, ws, connection)
    connection.held = (connection.held or 0) + 1
    if not connection.pending then lag(self, ws, connection) end
  end

  --- Ends that; it is sent now.
  function delivery.release(self, ws, connection)
    connection.held = connection.held > 1 and connection.held - 1 or nil
    send_pending(self, ws, connection)
  end

  local function disconnect(self, ws)
    if ws.state ~= "open" then return end
    self.counters.disconnected = self.counters.disconnected + 1
    ws:close(1013, REASON, 0)
  end

  -- For a connection that lags. Returns whether it is kept.
  local function keep(self, ws, subscription, out)
    local connection = self.connections[ws]
    local key = subscription.slow == "coalesce" and out.key or nil
    if not connection.pending:fits(out.data, key, self.options.pending_bytes) then return false end
    local item = { message = out.message, data = out.data, key = key,
      topic = out.topic, offset = out.offset, epoch = out.epoch }
    if connection.pending:put(item) then
      self.counters.coalesced = self.counters.coalesced + 1
    end
    return true
  end

  -- Those who do not get the message. What is called here may publish in turn, so
  -- it comes last, and first all are counted.
  local function refuse(self, list, out)
    local told = {}
    for ws, subscription in pairs(list) do
      if subscription.slow == "drop" then
        subscription.lost = subscription.lost + 1
        self.counters.drops = self.counters.drops + 1
        told[ws] = subscription.on_drop and not subscription.telling and subscription or nil
      else
        disconnect(self, ws)
      end
    end
    for ws, subscription in pairs(told) do
      subscription.telling = true -- not of what is published in there
      self.call("on_drop", subscription.on_drop, ws, out.topic, subscription.lost)
      subscription.telling = nil
    end
  end

  -- Those that are full for this message begin to lag, if that is what their
  -- subscription says; the others are refused. Returns how many lag.
  local function begin_to_lag(self, list, out, refused)
    local count = 0
    for ws, subscription in pairs(list) do
      local connection = self.connections[ws]
      local may = connection and subscription.slow == "coalesce"
      if may and not connection.pending then lag(self, ws, connection) end
      if may and keep(self, ws, subscription, out) then
        count = count + 1
        send_pending(self, ws, connection)
      else
        refused[ws] = subscription
      end
    end
    return count
  end

  --- Sends to all receivers of a topic but one.
  ---@param out { topic: string, message: any, data: string, kind: string, key: any }
  ---@param except any
  ---@return integer count of connections that have it or will get it
  function delivery.send(self, out, except)
    local to = self.receivers:of(out.topic)
    if not to then return 0 end
    local sent, slow = 0, nil
    for above, set in pairs(to.sets) do
      local spared = except and set[except]
      if spared then set[except] = nil end
      sent = sent + duplex.broadcast(set, out.message, nil, options_for(above))
      if spared then set[except] = spared end
      if full[1] then
        slow = slow or {}
        for _, ws in ipairs(full) do slow[ws] = set[ws] end
        full = {}
      end
    end
    self.counters.deliveries = self.counters.deliveries + sent
    local refused = slow and {}
    for ws, subscription in pairs(to.lagging) do
      if ws ~= except then
        if keep(self, ws, subscription, out) then
          sent = sent + 1
        else
          refused = refused or {}
          refused[ws] = subscription
        end
      end
    end
    if slow then sent = sent + begin_to_lag(self, slow, out, refused) end
    if refused then refuse(self, refused, out) end
    return sent
  end

  --- Sends what a connection has missed, before all that is published later.
  ---@param subscription duplex.hub.Subscription of a topic
  ---@param entries duplex.hub.Entry[] that fit into what may be pending
  function delivery.replay(self, ws, connection, subscription, entries)
    local i, counters = 1, self.counters
    while entries[i] and not connection.pending and ws.outbox + #entries[i].data <= subscription.above
      and ws:try_send(entries[i].data, entries[i].kind) do
      counters.deliveries = counters.deliveries + 1
      i = i + 1
    end
    if entries[i] then
      if not connection.pending then lag(self, ws, connection) end
      connection.pending:put_missed(subscription.pattern, subscription.epoch, entries, i)
    end
    if connection.pending then send_pending(self, ws, connection) end
  end

  return delivery
end
