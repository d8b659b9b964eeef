-- SPDX-License-Identifier: MIT
-- Sends calls of ours and waits for what is answered.

local message = require "duplex.rpc.message"
local options = require "duplex.options"

local calling = {}

-- Bytes of calls that wait for answers, more wait to be sent: two peers that
-- call each other at length would else hold more and more of the other's.
local WINDOW = 1048576

local methods = {}
local class = { __index = methods }

--- Calls for a peer.
---@param duplex duplex
---@param peer duplex.RpcPeer
---@param p { calls: table, serving: table, codec: duplex.Codec, changed: duplex.Event }
---@param ensure_reading fun(peer: duplex.RpcPeer)
function calling.new(duplex, peer, p, ensure_reading)
  return setmetatable({
    duplex = duplex, peer = peer, calls = p.calls, serving = p.serving, codec = p.codec,
    changed = p.changed, ensure_reading = ensure_reading,
  }, class)
end

-- Gives the calls numbers, and returns what to send, or nil and what is wrong.
local function encode(self, entries, as_batch)
  local texts = {}
  for i, entry in ipairs(entries) do
    entry.number = entry.wants_answer and self.calls:number() or nil
    local fine, text = pcall(self.codec.encode, message.call(entry.method, entry.params, entry.number))
    if not fine then return nil, ("params of '%s': %s"):format(entry.method, text) end
    texts[i] = text
  end
  local whole = as_batch and "[" .. table.concat(texts, ",") .. "]" or texts[1]
  self.duplex.prepare(whole) -- raises for what is no UTF-8
  return whole
end

-- Waits until more may be sent. The size of a call does not matter, as large
-- ones would else never get their turn beside many small ones.
local function wait_for_window(self, deadline)
  local calls = self.calls
  while calls.bytes >= WINDOW do
    self.freed = self.freed or self.duplex.event()
    calls.freed = self.freed
    self.freed:clear()
    local ok, text, id = self.freed:wait(options.left(deadline, self.duplex.now))
    if not ok then return nil, text, id end
    if self.peer.closed then break end
  end
  return true
end

-- Sends calls that were added, and waits for their answers. Returns message and id
-- of what went wrong.
local function exchange(self, list, over, whole, deadline)
  local inside = self.serving:inside()
  local ok, text, id, _ = true
  if #list > 0 then
    self.changed:set() -- reading may have stopped
    self.ensure_reading(self.peer)
    -- A method that calls back must not wait for calls that may wait for it.
    if not inside then ok, text, id = wait_for_window(self, deadline) end
    if not ok then return text, id end
  elseif not inside then
    self.serving:give_way()
  end
  self.calls:sent(list, #whole)
  ok, text, id = self.serving:send(whole)
  if ok and #list > 0 then
    if inside then self.serving:suspend() end
    _, text, id = over:wait(options.left(deadline, self.duplex.now))
    if inside then self.serving:resume() end
  end
  return text, id
end

--- Sends entries, together as text, and waits for answers to those that want
--- one.
---@param entries { method: string, params: table?, wants_answer: boolean }[]
---@param as_batch boolean
---@param deadline number|nil on the clock of duplex.now
---@param level integer whom to blame for what cannot be sent, 1 = the caller
---@return table[]|nil list entries that want an answer, which have it or why not
---@return string? message, string? id of what went wrong
function methods:start(entries, as_batch, deadline, level)
  local calls, over = self.calls, self.duplex.event()
  local list = {}
  for _, entry in ipairs(entries) do
    if entry.wants_answer then list[#list + 1] = entry end
  end
  local room, text, id = calls:room(#list)
  if not room then return nil, text, id end
  local whole, problem = encode(self, entries, as_batch)
  if not whole then error(problem, level + 1) end
  calls:add(list, function() over:set() end)
  text, id = exchange(self, list, over, whole, deadline)
  for _, call in ipairs(list) do calls:give_up(call, text, id) end
  return list, text, id
end

return calling
