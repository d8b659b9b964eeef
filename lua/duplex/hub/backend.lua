-- SPDX-License-Identifier: MIT
-- What carries messages between the processes that share topics. This is the one
-- within a process; others keep to the same contract:
--
--   backend:publish(topic, message) -> count | true | nil, message, id
--     Hands the message to all hubs that share the topics, this one included. May
--     wait and may fail. message = { data, kind, key, except }; key and except are
--     a text, a number or nil. data is what the program published: a text, unless
--     the hub has 'encode'. A number returned is that of the connections here
--     that got it; true: not known.
--   backend:subscribe(deliver, lost)
--     Called once, by the hub. From then on deliver(topic, message) is called for
--     each message, in a task or not; it never waits and never raises. In the
--     message are the fields above, and two that the backend gives:
--       offset  an integer that counts the messages of the topic, without gaps
--       epoch   a text; another one when the counting begins anew
--     Both nil: the hub keeps no history of it. All hubs get the messages of one
--     topic in the same order, that of their offsets.
--     A backend that was cut off delivers what it missed when it is back, or calls
--     lost(topic), or lost() for all topics, before it delivers what came after: the
--     subscribers are told, and a history that the hub keeps is forgotten. A gap in the
--     offsets tells such a hub the same, unless it has forgotten the topic: backends
--     should not count on it. It never waits and never raises either.
--   backend:wants(pattern, wanted)  optional: somebody here subscribes to a pattern
--     (true), or nobody does any more (false). Must not wait.
--     A hub that keeps histories itself wants all, ">", from the beginning.
--   backend:read(topic, offset, epoch, count)  optional: the backend keeps the
--     histories, and the hub keeps none. May wait. Returns a list of messages, oldest
--     first, and the offset and the epoch of the topic's last message:
--       with offset and epoch: all messages after that one; false in place of the list
--         when some are gone, or the epoch is another one. A peer may have chosen them:
--         an integer, 0 or more and below 2^53, and any text of at most 255 bytes
--       without: the last ones, at most 'count', which may be 0
--     or nil, message, id. What is published after it has answered is delivered, as
--     the topic was wanted before.
--   backend:close()  optional: the hub is closed; deliver is not called any more.

local backend = {}

local methods = {}
local metatable = { __index = methods }

--- The backend within this process.
---@param number fun(topic: string): integer|nil, string|nil offset and epoch of the
---  next message; nothing: without history
function backend.new(number)
  return setmetatable({ number = number }, metatable)
end

--- Checks one of the program's.
---@param given table
---@return string|nil problem
function backend.problem(given)
  for _, name in ipairs { "publish", "subscribe" } do
    if type(given[name]) ~= "function" then return ("option 'backend' has no function '%s'"):format(name) end
  end
end

function methods:subscribe(deliver) self.deliver = deliver end

function methods:publish(topic, message)
  message.offset, message.epoch = self.number(topic)
  return self.deliver(topic, message)
end

return backend
