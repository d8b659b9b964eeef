-- SPDX-License-Identifier: MIT
-- What require "duplex" gives, and require "duplex.cqueues" and its like: the
-- functions of Duplex on one event loop. No loop is loaded from here.

local broadcast = require "duplex.broadcast"
local client = require "duplex.client"
local core = require "duplex.core"
local files = require "duplex.files"
local pair = require "duplex.pair"
local server = require "duplex.server"

-- What a bound table takes from its host as it is.
local FROM_HOST = { "run", "stop", "sleep", "now", "event", "signal", "step", "fd", "timeout",
  "pcall" }

-- What a host must have for each function; see docs/design.md.
local NEEDS = {
  connect = { "now", "event", "sleep", "spawn", "log_failure", "exiting", "resolve",
    "connect", "clients", "can_wait", "pcall", "class", "transport" },
  serve = { "now", "event", "sleep", "spawn", "brief", "log_failure", "listen",
    "servers", "can_wait", "pcall", "class", "transport" },
  pair = { "now", "event", "brief", "log_failure", "can_wait", "pcall" },
  spawn = { "spawn", "log_failure" },
  background = { "spawn", "log_failure" },
  on_stop = { "stoppers" },
  detach = { "brief", "log_failure" },
}

-- What is built on the public API alone, loaded when it is first used: each
-- module returns a function that makes its part for a bound table.
---@type table<string, fun(): fun(duplex: duplex): any>
local HELPERS = {
  browser = function() return require "duplex.browser" end,
  heartbeat = function() return require("duplex.heartbeat").maker end,
  json = function() return require "duplex.json" end,
  rpc = function() return require "duplex.rpc" end,
  reconnect = function() return require "duplex.reconnect" end,
  hub = function() return require "duplex.hub" end,
}

-- The field of a bound table that is missing so far.
local function load_helper(duplex, name)
  local load = HELPERS[name]
  if not load then return nil end
  local helper = load()(duplex)
  rawset(duplex, name, helper)
  return helper
end

local function missing(host, name)
  return function()
    error(("%s has no %s"):format("host '" .. tostring(host.name) .. "'", name), 2)
  end
end

local function has_all(host, names)
  for _, name in ipairs(names) do
    if host[name] == nil then return false, name end
  end
  return true
end

--- The functions of Duplex on the event loop of 'host'.
---@param host table
---@return duplex duplex
local function bind(host)
  ---@class duplex
  ---@field run fun(main?: fun(): ...): ... waits: runs main and the loop, returns main's results
  ---@field stop fun(grace?: number) seconds, default 10; servers stop, clients close with 1001
  ---@field sleep fun(seconds: number): true|nil, string?, string? waits; "STOPPED"
  ---@field now fun(): number seconds of a monotonic clock
  ---@field event fun(): duplex.Event
  ---@field signal fun(name: string, ...: string): string waits for "SIGHUP" and the like
  ---@field step fun(timeout?: number): boolean handles what is there; is something left to do?
  ---@field fd fun(): integer readable when step has something to do
  ---@field timeout fun(): number|nil seconds until step is due anyway
  ---@field pcall fun(fn: function, ...): boolean, ... pcall; fn may wait, in PUC Lua 5.1 too
  ---@field prepare fun(data: string, kind?: "text"|"binary"): duplex.Message
  ---@field heartbeat fun(options?: duplex.HeartbeatOptions): duplex.Heartbeat a policy for pings
  ---@field reconnect fun(url: string|function, options?: duplex.ReconnectOptions): duplex.Client a client that stays connected
  ---@field browser { WebSocket: fun(url: string, protocols?: string|string[], options?: duplex.ClientOptions): duplex.browser.WebSocket }
  ---@field pair fun(request?: table): duplex.Connection, duplex.Connection client and server, in memory
  ---@field json duplex.JsonPart tables in and out
  ---@field rpc duplex.RpcPart remote procedure calls, JSON-RPC 2.0
  ---@field hub fun(options?: duplex.HubOptions): duplex.Hub topics, see hub.lua
  local duplex = {
    version = core.version,
    broadcast = broadcast.send,
    prepare = core.prepare,
    files = files,
    bind = bind,
  }

  --- Connects to a WebSocket server (RFC 6455 4.1).
  ---@param url string "ws://[user:password@]host[:port]/path?query"
  ---@param options? duplex.ClientOptions
  ---@return duplex.Connection|nil ws, string? message, string? id, table? response
  ---  ids: URL DNS CONNECT PROXY TLS HTTP (status not 101: see response) HANDSHAKE
  ---  TIMEOUT STOPPED
  function duplex.connect(url, options)
    local ws, message, id, response = client.connect(host, url, options)
    return ws, message, id, response
  end

  --- Serves WebSockets, and HTTP on the same port (RFC 6455 4.2).
  ---@param options duplex.ServerOptions
  ---@param handler fun(ws: duplex.Connection) a task for each connection; when
  ---  it returns the connection is closed with 1000, when it raises with 1011
  ---@return duplex.Server|nil server, string? message, string? id "ADDRESS" "TLS"
  function duplex.serve(options, handler)
    local self, message, id = server.serve(host, options, handler)
    return self, message, id
  end

  local function check_task(fn)
    if type(fn) ~= "function" then
      error("a task must be a function, got " .. type(fn), 3)
    end
  end

  --- Runs fn(...) as a task; an error in it is logged and ends only that task.
  ---@param fn fun(...)
  function duplex.spawn(fn, ...)
    check_task(fn)
    host.spawn(fn, host.log_failure, ...)
  end

  --- Runs fn(...) as a task that run does not wait for, where there is a run.
  ---@param fn fun(...)
  function duplex.background(fn, ...)
    check_task(fn)
    local spawn = host.background or host.spawn
    spawn(fn, host.log_failure, ...)
  end

  --- Calls fn(grace) when everything stops, beside the servers' stopping, and waits
  --- for its end.
  ---@param fn fun(grace: number) seconds that are left for it; may wait
  ---@return fun() forget it need not be called any more
  function duplex.on_stop(fn)
    if type(fn) ~= "function" then
      error("on_stop must be given a function, got " .. type(fn), 2)
    end
    local key = {}
    host.stoppers[key] = fn
    return function() host.stoppers[key] = nil end
  end

  --- Runs fn(...) as a task that goes on when the request that started it is over:
  --- in nginx it belongs to the worker. Elsewhere it is as spawn.
  ---@param fn fun(...)
  function duplex.detach(fn, ...)
    check_task(fn)
    host.brief(fn, host.log_failure, ...)
  end

  for _, name in ipairs(FROM_HOST) do
    duplex[name] = host[name] or missing(host, name)
  end
  for name, needs in pairs(NEEDS) do
    local fine, what = has_all(host, needs)
    if not fine then duplex[name] = missing(host, what .. ", which " .. name .. " needs") end
  end
  --- Two joined connections in memory, client and server.
  ---@type fun(request?: table): duplex.Connection, duplex.Connection
  duplex.pair = duplex.pair or pair.new(host)
  return setmetatable(duplex, { __index = load_helper })
end

return bind
