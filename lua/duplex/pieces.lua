-- SPDX-License-Identifier: MIT
-- Messages that are never whole in memory: received in pieces, sent as the
-- fragments that a source gives (RFC 6455 5.4).

local core = require "duplex.core"
local options = require "duplex.options"

-- Few bytes may inflate to many: others get their turn after so many. To compress
-- one takes as long as to inflate eight or more.
local TURN, COMPRESSING = 1048576, 8

--- What a class of connections needs for them.
---@param host table
---@param transport table see connection.lua
---@param extra fun(ws: duplex.Connection): table what few connections need
---@return table receive_to, send_source, drain, take_turns, took
return function(host, transport, extra)
  local now, wait = host.now, transport.wait
  local flush = transport.flush or function() end

  local taken = 0 -- bytes, by all connections, since others had their turn

  -- Before a message, or a piece of one, is taken: that loses nothing.
  local function take_turns()
    if taken < TURN then return end
    taken = 0
    if host.sleep and host.can_wait() then host.sleep(0) end
  end

  local function took(size) taken = taken + size end

  -- How much of a message was given in pieces, nil between messages.
  local function received(ws) return extra(ws).received end

  -- Remembers that a message has begun, so that a call which times out leaves
  -- either nothing behind, or a message to go on with. Returns its size so far.
  local function take_piece(ws, sink, data, last)
    local had = received(ws)
    local size = (had or 0) + #data
    if had or not last then extra(ws).received = not last and size or nil end
    took(#data)
    if data ~= "" then sink(data) end
    return size
  end

  local function receive_to(ws, sink, timeout)
    if type(sink) ~= "function" then
      error("sink must be a function, got " .. type(sink), 2)
    end
    local deadline = options.deadline(timeout, now)
    local ok, message, id = true, nil, nil
    while true do
      take_turns()
      core.pieces(ws, true)
      local data, kind, last = core.next(ws, now())
      -- To wait raises when another task is receiving, which is not to get pieces; nor
      -- is whoever receives after this.
      if not data then core.pieces(ws, received(ws) ~= nil) end
      flush(ws)
      if data then
        local size = take_piece(ws, sink, data, last)
        if last then return size, kind end
        deadline = timeout and now() + timeout
        ok = true
      elseif last then
        return nil, kind, last
      elseif not ok then -- nor did anything come before this task's turn
        return nil, message, id
      else
        ok, message, id = wait(ws, "input", options.left(deadline, now), true)
      end
    end
  end

  -- Waits until the outbox takes more; with 'own' for the next fragment of a
  -- message. The end is for the next call to find.
  local function drain(ws, own)
    while core.high(ws, own) do
      local ok, message, id = wait(ws, own and "room" or "drain")
      if not ok then return nil, message, id end
    end
    return true
  end

  -- One fragmented message at a time: others wait for their turn. Everything
  -- else that is sent meanwhile is held back by the core.
  local function begin_sending(ws)
    local e = extra(ws)
    while e.sending do
      local ok, message, id = e.sending:wait()
      if not ok then return nil, message, id end
    end
    e.sending = host.event()
    return e.sending
  end

  local function end_sending(ws, turn)
    extra(ws).sending = nil
    turn:set()
  end

  local function send_pieces(ws, source, kind, given)
    local first, text = true, kind ~= "binary" and 0 or nil
    local weight = core.extensions(ws) ~= "" and COMPRESSING or 1
    while true do
      take_turns()
      local piece = source()
      if piece ~= nil and type(piece) ~= "string" then
        error("a source must return strings, then nil; got " .. type(piece), 0)
      end
      text = text and core.utf8_feed(text, piece or "")
      if kind ~= "binary" and (not text or (piece == nil and text ~= 0)) then
        error("text is not valid UTF-8; send bytes with kind \"binary\"", 0)
      end
      local ok, message, id = drain(ws, true)
      if ok then
        ok, message, id = core.put_fragment(ws, piece or "", kind, first, piece == nil,
          given)
        flush(ws)
      end
      if not ok then return nil, message, id end
      if piece == nil then return true end
      took(#piece * weight)
      first = false
    end
  end

  local function send_source(ws, source, kind, given)
    if kind ~= nil and kind ~= "text" and kind ~= "binary" then
      error("kind must be \"text\" or \"binary\"", 3)
    end
    local turn, message, id = begin_sending(ws)
    if turn then
      message, id = select(2, core.ended(ws))
      if id then end_sending(ws, turn) end
    end
    if id then return nil, message, id end
    -- Half a message cannot be taken back: when the source fails, so does the
    -- connection.
    local fine, ok
    fine, ok, message, id = host.pcall(send_pieces, ws, source, kind or "text", given)
    end_sending(ws, turn)
    if fine then return ok, message, id end
    core.close(ws, 1011, "", now())
    flush(ws)
    error(ok, 0)
  end

  return { receive_to = receive_to, send_source = send_source, drain = drain,
    take_turns = take_turns, took = took }
end
