-- SPDX-License-Identifier: MIT
-- duplex.json: tables in and out over a connection, one JSON text a message.

local codec = require "duplex.json.codec"
local failure = require "duplex.failure"
local iterators = require "duplex.iterators"
local options = require "duplex.options"

local MAX_DEPTH = 128

local made = {} -- codecs by lua-cjson, by depth

local function by_depth(max_depth)
  made[max_depth] = made[max_depth] or codec.cjson(max_depth)
  return made[max_depth]
end

local function ignore() end

-- A close reason is UTF-8; a codec may repeat any bytes that came.
local function reason_of(message) return (message:gsub("[^ -~]", "?")) end

---@class duplex.Json
---@field ws duplex.Connection|duplex.Client
local methods = {}
local class = { __index = methods, __name = "duplex.json" }

-- Text to send, or raises in the name of the caller's caller.
local function text_of(self, value)
  local text, problem = codec.try(self.codec, value)
  if not text then error("cannot be sent as JSON: " .. problem, 3) end
  return text
end

--- Sends a value, as ws:send does. Raises what JSON cannot say.
---@param value any table, string, number, boolean or json.null
---@return true|nil ok, string? message, string? id
function methods:send(value)
  return self.ws:send(text_of(self, value), self.kind)
end

--- Sends a value if it fits, as ws:try_send does, and never waits.
---@param value any
---@return true|nil ok, string? message, string? id
function methods:try_send(value)
  return self.ws:try_send(text_of(self, value), self.kind)
end

--- The next message as a value. nil is the end or a failure, a null is
--- json.null, and a message may be false.
---@param timeout? number seconds; nil = no limit, 0 = poll
---@return any value, string? message, string? id, string? raw ids: those of
---  ws:receive, and "JSON": the message, which is raw, is not JSON. The
---  connection goes on, unless the option strict is set.
function methods:receive(timeout)
  local ws = self.ws
  local data, kind, id = ws:receive(timeout)
  if not data then return nil, kind, id end
  local value, message
  if kind == self.kind then
    value, message, id = self.codec.decode(data)
    if value ~= nil then return value end
  else
    value, message, id = failure.of("JSON", ("a %s message, where %s is expected"):format(kind, self.kind))
  end
  if self.strict then ws:close(kind == self.kind and 1007 or 1003, reason_of(message)) end
  return value, message, id, data
end

local function next_value(self)
  while true do
    local value, message, id, raw = methods.receive(self)
    if value ~= nil or id ~= "JSON" then return value end
    self.on_invalid(message, raw)
  end
end

--- Iterates over the values until the end of the connection. What is not JSON
--- is left out, and on_invalid told. In PUC Lua 5.1 it raises in tasks, as ws:messages does.
---@return fun(): any, duplex.Json
function methods:messages()
  iterators.check("messages", "'local value, message, id = channel:receive()' in a loop of your own")
  return next_value, self
end

-- A connection, or something with its methods.
local function check_connection(ws)
  local kind = type(ws)
  if kind ~= "userdata" and kind ~= "table" then
    error("json: the connection is missing, got " .. kind, 3)
  elseif not ws.receive then
    error("json: this is no connection", 3)
  end
end

---@class duplex.JsonOptions see docs/options.md
---@field codec? duplex.Codec|table { encode, decode [, null] [, empty_array] }; default: lua-cjson
---@field max_depth? integer (default 128) tables within tables
---@field kind? "text"|"binary" (default "text") of the messages
---@field strict? boolean (default false) close for what is not JSON
---@field on_invalid? fun(message: string, raw: string) is told what messages() leaves out

--- JSON over a connection, or over those of a client that reconnects.
---@param ws duplex.Connection|duplex.Client
---@param given? duplex.JsonOptions
---@return duplex.Json
local function new(_, ws, given)
  check_connection(ws)
  local checked = options.check("json", given, 2)
  return setmetatable({
    ws = ws, kind = checked.kind, strict = checked.strict,
    on_invalid = checked.on_invalid or ignore,
    codec = checked.codec and codec.wrap(checked.codec) or by_depth(checked.max_depth),
  }, class)
end

return function()
  ---@class duplex.JsonPart: duplex.Codec
  ---@field codec fun(given: table): duplex.Codec
  ---@overload fun(ws: duplex.Connection|duplex.Client, options?: duplex.JsonOptions): duplex.Json
  local json = {}

  --- A codec with the functions of duplex.json: by another library, or by
  --- lua-cjson with another limit of depth.
  ---@param given table|integer { encode, decode [, null] [, empty_array] }, or a depth
  ---@return duplex.Codec
  function json.codec(given)
    if type(given) == "number" then return by_depth(options.check("json", { max_depth = given }, 2).max_depth) end
    local wrapped = codec.wrap(given) -- no tail call, or the caller's caller would be blamed
    return wrapped
  end

  return setmetatable(json, {
    __call = new,
    -- lua-cjson is loaded when something of it is used.
    __index = function(self, name)
      for key, value in pairs(by_depth(MAX_DEPTH)) do rawset(self, key, value) end
      return rawget(self, name)
    end,
  })
end
