-- SPDX-License-Identifier: MIT
-- duplex.rpc: JSON-RPC 2.0, both ways over one connection. One task reads: it
-- gives answers to the calls that wait for them, and calls of the peer to
-- tasks of their own, see rpc/serving.lua.

local batch = require "duplex.rpc.batch"
local calling = require "duplex.rpc.calling"
local calls = require "duplex.rpc.calls"
local codecs = require "duplex.json.codec"
local log = require "duplex.log"
local message = require "duplex.rpc.message"
local options = require "duplex.options"
local serving = require "duplex.rpc.serving"

local LONGEST = 100 -- bytes of a peer's text in a line of the log

local function check_call(method, params, level)
  if type(method) ~= "string" then
    error("the method must be a string, got " .. type(method), level)
  end
  if params ~= nil and type(params) ~= "table" then
    error("params must be a table, by position or by name, got " .. type(params), level)
  end
end

local function check_methods(given)
  for name, method in pairs(type(given) == "table" and given or {}) do
    if type(name) ~= "string" or type(method) ~= "function" then
      error(("option 'methods' must have functions by name, '%s' is a %s"):format(
        tostring(name), type(method)), 3)
    end
  end
end

-- What logs with the connection's id and address. What a peer can cause at will
-- is for programs that take the log.
local function log_of(ws, option)
  local write, detail = log.writer(option)
  return function(level, text, fields)
    local to = level == "error" and write or detail
    if not to then return end
    fields = fields or {}
    fields.connection, fields.address = ws.id, ws.address
    to(level, text, fields)
  end
end

return function(duplex)
  ---@class duplex.RpcPeer
  ---@field ws duplex.Connection
  ---@field closed boolean is the connection over?
  local methods = {}
  local class = { __index = methods, __name = "duplex.RpcPeer" }
  local batches

  -- Connections that have a peer: of two only one could read.
  local taken = setmetatable({}, { __mode = "k" })

  -- The key of what only this file uses of a peer, which methods see. (A weak
  -- table would keep both for ever, in Lua 5.1.)
  local PRIVATE = {}

  -- ---- reading ----

  local function finish(peer, text, id)
    if peer.closed then return end
    local p = peer[PRIVATE]
    peer.closed, p.text, p.id = true, text, id
    p.serving:drop()
    p.calls:give_up_all(text, id)
    p.over:set()
    p.changed:set()
  end

  local function take_answer(p, entry)
    if p.calls:take(entry.id, entry.value) then return end
    local failure = entry.value.error
    p.log("debug", "rpc: an answer that nobody waits for",
      { error = type(failure) == "table" and tostring(failure.message):sub(1, LONGEST) or nil })
  end

  -- The calls of a message, and whether they are a batch.
  local function calls_in(p, value, on_answer)
    local is_batch = type(value) == "table" and value[1] ~= nil
    local entries = {}
    for _, one in ipairs(is_batch and value or { value }) do
      local entry = message.read(one, p.codec.null)
      if entry.kind == "answer" then
        on_answer(p, entry)
      elseif #entries <= p.max_batch then -- more than that are refused as one
        entries[#entries + 1] = entry
      end
    end
    return entries, is_batch
  end

  local function take(p, data, kind)
    local value, problem
    if kind == "text" then
      value, problem = p.codec.decode(data)
    else
      problem = "a binary message"
    end
    if value == nil then
      p.serving:take({ { kind = "invalid", unreadable = true, id = p.codec.null, problem = problem } }, false)
      return
    end
    local entries, is_batch = calls_in(p, value, take_answer)
    if #entries > 0 then p.serving:take(entries, is_batch, data) end
  end

  local function nothing() end

  -- The calls of a message that was taken before.
  local function again(p, data) return (calls_in(p, (p.codec.decode(data)), nothing)) end

  -- With all tasks busy the peer has to wait, unless it may be waiting for us: its
  -- answers are behind its calls, and before it has sent these it may read nothing.
  local function has_room(p)
    local serves = p.serving
    return serves:free()
      or (p.calls.count > 0 or serves.sending > 0) and serves.held_bytes < p.max_held
  end

  local function read(peer)
    local p, ws = peer[PRIVATE], peer.ws
    while true do
      while not has_room(p) and not peer.closed do
        p.changed:clear()
        if not p.changed:wait() then break end
      end
      local data, kind, id = ws:receive()
      if not data then return finish(peer, kind, id) end
      take(p, data, kind)
    end
  end

  local function ensure_reading(peer)
    local p = peer[PRIVATE]
    if p.reading then return end
    p.reading = true
    duplex.spawn(read, peer)
  end

  -- ---- calling ----

  -- 'level' says whom to blame, 1 = the caller.
  local function start(peer, entries, as_batch, timeout, level)
    if timeout then options.seconds(timeout, "timeout must be false or seconds", level + 1) end
    local p = peer[PRIVATE]
    if peer.closed then return nil, p.text, p.id end
    if timeout == nil then timeout = p.timeout end
    local deadline = timeout and duplex.now() + timeout or nil -- false: no limit
    local list, text, id = p.calling:start(entries, as_batch, deadline, level + 1)
    return list, text, id
  end

  --- Calls a method of the peer and waits for its answer.
  ---@param method string
  ---@param params? table by position, { 1, 2 }, or by name, { a = 1 }
  ---@param timeout? number|false seconds; default: the option, false = no limit
  ---@return any result never nil; json.null for null
  ---@return string? message, string? id "RPC": the peer answered with an error;
  ---  TIMEOUT FULL, and when the connection is over its id
  ---@return duplex.RpcError? error with "RPC": { code, message, data }
  function methods:call(method, params, timeout)
    check_call(method, params, 3)
    local list, text, id = start(self, { { method = method, params = params, wants_answer = true } }, false, timeout, 2)
    if not list then return nil, text, id end
    local call = list[1]
    if call.id then return nil, call.message, call.id, call.error end
    return call.result
  end

  --- Calls a method of the peer that is not answered, not even when it fails.
  ---@param method string
  ---@param params? table
  ---@return true|nil ok, string? message, string? id
  function methods:notify(method, params)
    check_call(method, params, 3)
    local list, text, id = start(self, { { method = method, params = params } }, false, nil, 2)
    if not list or id then return nil, text, id end
    return true
  end

  --- Calls that go out in one message: add them with call and notify, then send.
  ---@return duplex.RpcBatch
  function methods:batch()
    return setmetatable({ peer = self, entries = {} }, batches)
  end

  --- Serves until the end of the connection.
  ---@return true|nil ok when it was closed cleanly
  ---@return string? message, string? id
  function methods:run()
    local p = self[PRIVATE]
    if p.reading then
      local ok, text, id = p.over:wait()
      if not ok then return nil, text, id end
    else
      p.reading = true
      read(self)
    end
    if self.ws.close_error then return nil, p.text, p.id end
    return true
  end

  batches = batch.class(function(peer, entries, timeout)
    local list, text, id = start(peer, entries, true, timeout, 3)
    if list and #list == 0 and id then return nil, text, id end
    return list, not list and text or nil, not list and id or nil
  end, check_call)

  -- ---- making peers ----

  ---@class duplex.RpcOptions see docs/options.md
  ---@field methods? table<string, duplex.RpcMethod>|fun(name: string): duplex.RpcMethod?
  ---@field around? fun(call: duplex.RpcCall, next: fun(): any, duplex.RpcError?): any, duplex.RpcError?
  ---@field concurrency? integer (default 16) methods that run at once
  ---@field timeout? number|false (seconds, default 30) for answers
  ---@field max_calls? integer (default 1000) calls of ours that wait
  ---@field max_batch? integer (default 100) calls in one batch of the peer
  ---@field max_held? integer (bytes, default 4194304) of the peer's calls that wait
  ---@field codec? duplex.Codec|table
  ---@field max_depth? integer (default 128) tables within tables
  ---@field log? false|fun(level: string, message: string, fields: table)

  ---@alias duplex.RpcMethod fun(params: table, peer: duplex.RpcPeer): any, duplex.RpcError?
  ---@alias duplex.RpcCall { method: string, params: table, peer: duplex.RpcPeer, notification: boolean }

  local function new(_, ws, given)
    local kind = type(ws)
    if kind ~= "userdata" and kind ~= "table" then
      error("rpc: the connection is missing, got " .. kind, 2)
    elseif not ws.on_close then
      error("rpc: this is no connection (of a client that reconnects: those of client:connections())", 2)
    end
    local checked = options.check("rpc", given, 2)
    check_methods(checked.methods)
    checked.log = log_of(ws, checked.log)
    local codec = checked.codec and codecs.wrap(checked.codec) or duplex.json.codec(checked.max_depth)
    if taken[ws] then error("rpc: this connection has a peer already, which is the one to call", 2) end
    taken[ws] = true
    local peer = setmetatable({ ws = ws, closed = false }, class)
    local p = {
      codec = codec, log = checked.log, timeout = checked.timeout,
      max_held = checked.max_held, max_batch = checked.max_batch,
      calls = calls.new(checked.max_calls, codec.null),
      over = duplex.event(), changed = duplex.event(),
    }
    p.serving = serving.new(duplex, peer, checked, p, function(data) return again(p, data) end)
    p.calling = calling.new(duplex, peer, p, ensure_reading)
    peer[PRIVATE] = p
    -- Also when nobody reads.
    ws:on_close(function() finish(peer, ws.close_error or "CLOSED: the connection is closed",
      (ws.close_error or "CLOSED"):match("^[%u%d_]+")) end)
    return peer
  end

  ---@class duplex.RpcPart
  ---@overload fun(ws: duplex.Connection, options?: duplex.RpcOptions): duplex.RpcPeer
  local rpc = {
    PARSE_ERROR = -32700, INVALID_REQUEST = -32600, METHOD_NOT_FOUND = -32601,
    INVALID_PARAMS = -32602, INTERNAL_ERROR = -32603,
  }

  --- An error for a method to give to who called it: return nil, rpc.error(...),
  --- or error(rpc.error(...)).
  ---@param code integer one of those above, or a number of your own
  ---@param text? string default: what the specification says for the code
  ---@param data? any more about it
  ---@return duplex.RpcError
  function rpc.error(code, text, data)
    local failure = message.failure(code, text, data, 2)
    return failure
  end

  --- The text of a notification, for duplex.broadcast and duplex.prepare.
  ---@param method string
  ---@param params? table
  ---@return string
  function rpc.notification(method, params)
    check_call(method, params, 3)
    local fine, text = pcall(duplex.json.encode, message.call(method, params))
    if not fine then error(("params of '%s': %s"):format(method, text), 2) end
    return text
  end

  return setmetatable(rpc, { __call = new })
end
