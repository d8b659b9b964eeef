-- SPDX-License-Identifier: MIT
-- Messages that wait for a connection: in order, bounded in number and bytes,
-- with a rule for what goes when there is no room. Pure.

local queue = {}
local methods = {}
local metatable = { __index = methods }

---@class duplex.reconnect.Queue
---@field count integer messages
---@field bytes integer of all of them
---@field dropped integer messages that made room for others, or were not kept

--- An empty queue.
---@param max_count integer messages
---@param max_bytes integer one message always fits
---@param policy "oldest"|"newest"|"refuse" who goes when it is full
---@return duplex.reconnect.Queue
function queue.new(max_count, max_bytes, policy)
  return setmetatable({ max_count = max_count, max_bytes = max_bytes, policy = policy,
    first = 1, last = 0, count = 0, bytes = 0, dropped = 0 }, metatable)
end

--- Is there room for so many bytes more?
---@param size integer
---@return boolean
function methods:fits(size)
  return self.count < self.max_count
    and (self.count == 0 or self.bytes + size <= self.max_bytes)
end

--- Appends a message, or does as the policy says.
---@param item any
---@param size integer its bytes
---@return boolean kept false: nothing has changed, for the policy "refuse"; what
---  "newest" drops counts as kept
function methods:push(item, size)
  if not self:fits(size) then
    if self.policy == "refuse" or self.max_count == 0 then return false end
    if self.policy == "newest" then
      self.dropped = self.dropped + 1
      return true
    end
    while not self:fits(size) do
      self:pop()
      self.dropped = self.dropped + 1
    end
  end
  self.last = self.last + 1
  self[self.last] = { item, size }
  self.count, self.bytes = self.count + 1, self.bytes + size
  return true
end

--- The oldest message; it stays.
---@return any item nil when there is none
function methods:peek()
  local entry = self[self.first]
  return entry and entry[1]
end

--- Takes the oldest message out.
function methods:pop()
  local entry = self[self.first]
  if not entry then return nil end
  self[self.first] = nil
  self.first = self.first + 1
  self.count, self.bytes = self.count - 1, self.bytes - entry[2]
  return entry[1]
end

return queue
