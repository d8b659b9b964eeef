-- SPDX-License-Identifier: MIT
-- Calls that wait for answers. Several of a batch wait together: their waiter
-- has the number that is left. 'freed' is an event for who waits for others.

local failure = require "duplex.failure"
local message = require "duplex.rpc.message"

local calls = {}

local LONGEST = 200 -- bytes of a peer's text that a message of ours repeats

local methods = {}
local class = { __index = methods }

--- An empty set of calls.
---@param most integer
---@param null any of the codec
function calls.new(most, null)
  return setmetatable({ most = most, null = null, count = 0, bytes = 0, last_id = 0, by_id = {} }, class)
end

--- Room for this many more? Else nil, message, id.
function methods:room(count)
  if self.count + count <= self.most then return true end
  return failure.of("FULL", ("%d calls wait for answers (max_calls)"):format(self.count))
end

--- The number of a new call.
---@return integer
function methods:number()
  self.last_id = self.last_id + 1
  return self.last_id
end

--- Adds calls that wait together: each gets a result; or message, id and error.
---@param list { number: integer }[]
---@param done fun() is told when the last one is over
function methods:add(list, done)
  local waiter = { left = #list, done = done }
  for _, call in ipairs(list) do
    call.waiter, call.bytes = waiter, 0
    self.by_id[call.number] = call
  end
  self.count = self.count + #list
end

--- Calls are sent: counts what the peer has not answered.
---@param list table[]
---@param bytes integer
function methods:sent(list, bytes)
  for _, call in ipairs(list) do
    if self.by_id[call.number] then
      call.bytes = bytes / #list
      self.bytes = self.bytes + call.bytes
    end
  end
end

local function finish(self, call)
  self.by_id[call.number] = nil
  self.count = self.count - 1
  -- Fractions of batches do not add up to the last bit.
  self.bytes = self.count == 0 and 0 or self.bytes - call.bytes
  if self.freed then self.freed:set() end
  local waiter = call.waiter
  waiter.left = waiter.left - 1
  if waiter.left == 0 then waiter.done() end
end

--- Ends a call without an answer, if it is not over.
function methods:give_up(call, text, id)
  if not self.by_id[call.number] then return end
  call.message, call.id = text, id
  finish(self, call)
end

--- Ends all calls.
function methods:give_up_all(text, id)
  local list = {}
  for _, call in pairs(self.by_id) do list[#list + 1] = call end
  for _, call in ipairs(list) do self:give_up(call, text, id) end
end

--- Takes an answer.
---@param id any
---@param value table
---@return boolean whether somebody waited for it
function methods:take(id, value)
  -- Ids of ours are numbers; "1" is another one.
  local call = type(id) == "number" and self.by_id[id]
  if not call then return false end
  call.result, call.error = message.outcome(value, self.null)
  if call.error then
    local text = ("%s (%d)"):format(call.error.message:sub(1, LONGEST), call.error.code)
    call.result, call.message, call.id = failure.of("RPC", text)
  end
  finish(self, call)
  return true
end

return calls
