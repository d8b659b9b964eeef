-- SPDX-License-Identifier: MIT
-- Who listens to an object, with the semantics of the DOM's EventTarget and of
-- the event handlers of HTML (onmessage and the like). Pure: it calls listeners
-- with the function that it is given, and knows nothing of connections.

local events = {}

---@class duplex.browser.Event
---@field type string "open", "message", "error", "close"
---@field target duplex.browser.WebSocket
---@field currentTarget duplex.browser.WebSocket
local event_methods = {}
local event_class = { __index = event_methods, __name = "duplex.browser.Event" }

--- No listener behind this one gets the event.
function event_methods:stopImmediatePropagation() rawset(self, "stopped", true) end

--- Nothing here can be prevented.
function event_methods.preventDefault() end

--- Makes an event of a table of its fields, and returns it.
---@param fields table with 'type'
---@return duplex.browser.Event
function events.event(fields) return setmetatable(fields, event_class) end

local target = {}
local target_class = { __index = target }

--- The listeners of 'owner'.
---@param owner any what events have as their target
---@param call fun(listener: function, ...): boolean, any as pcall
---@param failed fun(type: string, problem: any) what a listener raised
function events.target(owner, call, failed)
  return setmetatable(
    { owner = owner, call = call, failed = failed, lists = {}, handlers = {} }, target_class)
end

local function append(self, type, listener)
  self.lists[type] = self.lists[type] or {}
  table.insert(self.lists[type], listener)
end

local function drop(self, type, which)
  for i, listener in ipairs(self.lists[type] or {}) do
    if which(listener) then
      listener.removed = true -- also for a dispatch that is under way
      table.remove(self.lists[type], i)
      return
    end
  end
end

--- Adds a listener behind the others, unless it is there already.
---@param type string
---@param callback function|table
---@param once? boolean remove it before its first call
function target:add(type, callback, once)
  for _, listener in ipairs(self.lists[type] or {}) do
    if listener.callback == callback and not listener.is_handler then return end
  end
  append(self, type, { callback = callback, once = once })
end

--- Removes a listener; nothing happens if there is no such.
---@param type string
---@param callback function|table
function target:remove(type, callback)
  drop(self, type, function(l) return l.callback == callback and not l.is_handler end)
end

--- Sets the one handler of a type. It keeps its place among the listeners when it
--- is replaced, and loses it when it is set to nil.
---@param type string
---@param callback function|nil
function target:set_handler(type, callback)
  local handler = self.handlers[type]
  if not callback then
    drop(self, type, function(l) return l == handler end)
    self.handlers[type] = nil
  elseif handler then
    handler.callback = callback
  else
    self.handlers[type] = { callback = callback, is_handler = true }
    append(self, type, self.handlers[type])
  end
end

--- The handler of a type.
---@param type string
---@return function|nil
function target:handler(type)
  return self.handlers[type] and self.handlers[type].callback
end

--- Calls those who listen now, in the order in which they were added. One that
--- raises does not keep the others from being called.
---@param event duplex.browser.Event
function target:dispatch(event)
  event.target, event.currentTarget = self.owner, self.owner
  local list = {}
  for i, listener in ipairs(self.lists[event.type] or {}) do list[i] = listener end
  for _, listener in ipairs(list) do
    if not listener.removed then
      if listener.once then drop(self, event.type, function(l) return l == listener end) end
      local callback = listener.callback
      local object = type(callback) == "table" and callback
      local fine, problem = self.call(object and object.handleEvent or callback,
        object or event, object and event)
      if not fine then self.failed(event.type, problem) end
      if rawget(event, "stopped") then break end
    end
  end
  rawset(event, "stopped", nil) -- it may be dispatched again
end

return events
