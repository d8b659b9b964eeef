-- SPDX-License-Identifier: MIT
-- Sends calls of ours and waits for what is answered.

local message = require "duplex.rpc.message"

local calling = {}

-- Bytes of calls that wait for answers, more wait to be sent: two peers that
-- call each other at length would else hold more and more of the other's.
local WINDOW = 1048576

local methods = {}
local class = { __index = methods }

--- Calls for a peer.
---@param duplex duplex
---@param peer duplex.RpcPeer
---@param p { calls: table, serving: table, codec: duplex.Codec, changed: duplex.Event, freed: duplex.Event }
---@param ensure_reading fun(peer: duplex.RpcPeer)
function calling.new(duplex, peer, p, ensure_reading)
  return setmetatable({
    duplex = duplex, peer = peer, calls = p.calls, serving = p.serving, codec = p.codec,
    changed = p.changed, freed = p.freed, ensure_reading = ensure_reading,
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
  return as_batch and "[" .. table.concat(texts, ",") .. "]" or texts[1]
end

local function left(self, deadline)
  return deadline and math.max(0, deadline - self.duplex.now())
end

-- Must a task that is no method wait? For notifications, which nobody answers, while
-- methods are behind with what they send. The size of a call does not matter, as large
-- ones would else never get their turn beside many small ones.
local function must_wait(self, wants_answers)
  if wants_answers then return self.calls.bytes >= WINDOW end
  return self.serving:pressed()
end

local function wait_for_turn(self, wants_answers, deadline)
  while must_wait(self, wants_answers) and not self.peer.closed do
    self.freed:clear()
    local ok, text, id = self.freed:wait(wants_answers and left(self, deadline) or nil)
    if not ok then return nil, text, id end
  end
  return true
end

-- Sends calls that were added, and waits for their answers.
local function exchange(self, list, over, whole, deadline)
  local wants_answers, inside = #list > 0, self.serving:inside()
  local ok, text, id = true
  if wants_answers then
    self.changed:set() -- reading may have stopped
    self.ensure_reading(self.peer)
  end
  -- A method must not wait for what may wait for it.
  if not inside then ok, text, id = wait_for_turn(self, wants_answers, deadline) end
  if not ok then return true, text, id end
  self.calls:sent(list, #whole)
  local fine
  fine, ok, text, id = self.serving:send(whole)
  if not fine then return false, ok end
  if ok and wants_answers then
    if inside then self.serving:suspend() end
    ok, text, id = over:wait(left(self, deadline))
    if inside then self.serving:resume() end
  end
  if ok then return true end
  return true, text, id
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
  local fine
  fine, text, id = exchange(self, list, over, whole, deadline)
  for _, call in ipairs(list) do calls:give_up(call, text, id) end
  if not fine then error("this cannot be sent: " .. (text:match("%((.*)%)$") or text), level + 1) end
  return list, text, id
end

return calling
