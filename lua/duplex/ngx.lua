-- SPDX-License-Identifier: MIT
-- Duplex for programs in nginx: local duplex = require "duplex.ngx", and
-- duplex.upgrade in a content_by_lua_block.

local beat = require "duplex.beat"
local bind = require "duplex.bind"
local bus = require "duplex.ngx_bus"
local connection = require "duplex.connection"
local core = require "duplex.core"
local forwarded = require "duplex.forwarded"
local handshake = require "duplex.handshake"
local host = require "duplex.host.ngx"
local log = require "duplex.log"
local metrics = require "duplex.metrics"
local options = require "duplex.options"
local report = require "duplex.report"

local ngx = rawget(_G, "ngx")

local duplex = bind(host)

-- What nginx does itself.
local NGINX_HAS = { "host", "port", "unix", "fd", "reuseport", "backlog", "tls", "max_handshakes",
  "proxy_protocol" }
local defaults = {}
for _, row in ipairs(options.rows) do defaults[row.name] = row.default end

-- Whose handlers run in this worker, and how many sockets these hold.
local connections, count = {}, 0
-- What they have done: each upgrade may have options of its own, one place counts.
local counts, totals = metrics.new(), core.settings {}

local function arrived() end -- handshakes are not counted: nginx has had them

-- Hooks may wait, and the worker begin to exit meanwhile.
local at_the_moment = {}
function at_the_moment.__index(_, name)
  return name == "stopping" and ngx.worker.exiting() or nil
end

local function cannot(name, level)
  error(("host 'nginx' cannot honour the option '%s': say it in nginx.conf"):format(name), level + 1)
end

local function check(given)
  for _, name in ipairs(type(given) == "table" and NGINX_HAS or {}) do
    if given[name] and given[name] ~= defaults[name] then cannot(name, 3) end
  end
  return options.check("server", given, 3)
end

-- A refusal, or an answer of on_request, is nginx's to send.
local function respond(answer)
  local body, headers = answer.body or "", answer.headers or {}
  ngx.status = answer.status
  ngx.header["Content-Type"] = "text/plain; charset=utf-8"
  if type(body) == "string" then ngx.header["Content-Length"] = #body end
  for name, value in pairs(headers) do
    if name:lower() ~= "connection" then ngx.header[name] = value end
  end
  ngx.send_headers()
  if answer.head_only then return end
  if type(body) == "string" then
    ngx.print(body)
  else
    for piece in body do ngx.print(piece) end
  end
end

-- No closure: nginx takes the variables of a handler that it kills from those.
local function forget(s)
  connections[s.ws] = nil
  count = count - 1
  metrics.closed(counts, s.ws)
end

local function nothing_left() end

-- Runs the handler where it can wait: in the content handler itself.
local function open(fn, done, ws)
  ngx.status = 101 -- for the access log; later it could not be said
  local socket, problem = ngx.req.socket(true)
  if not socket then error("no raw socket of the request: " .. problem) end
  local address, port = host.remote()
  host.attach(ws, socket, {
    address = address, port = port, finish = nothing_left, over = forget, ws = ws,
  })
  count = count + 1
  host.opened(ws)
  connection.flush(ws) -- the answer, which the handler need not wait for
  host.call(fn, done, ws)
end

-- What is done once the handler is over.
local function ending(write_log, detail)
  local began = host.now()
  return function(failure, ws)
    if failure then
      counts.failures.handlers = counts.failures.handlers + 1
      log.failure(write_log, "handler failed", failure,
        { connection = ws.id, address = ws.address })
    end
    ws:close(failure and 1011 or 1000)
    report.closed(detail, ws, host.now() - began)
    connections[ws] = nil
  end
end

--- Makes the request that nginx is about to answer a WebSocket (RFC 6455 4.2), in
--- a content_by_lua_block, and runs handler(ws) there. What is no upgrade, or not
--- allowed, gets its answer. Returns after the handler.
---@param given? duplex.ServerOptions without those of what nginx does itself
---@param handler fun(ws: duplex.Connection)
function duplex.upgrade(given, handler)
  if handler == nil and type(given) == "function" then given, handler = {}, given end
  local checked = check(given)
  if type(handler) ~= "function" then
    error("handler must be a function, got " .. type(handler), 2)
  elseif ngx.get_phase() ~= "content" then
    error(("upgrade answers a request: it belongs into content_by_lua_block, not %s"):format(ngx.get_phase()), 2)
  elseif ngx.is_subrequest then
    error("a subrequest has no connection of its own to upgrade", 2)
  elseif ngx.req.http_version() ~= 1.1 then
    counts.handshakes.bad_request = counts.handshakes.bad_request + 1
    counts.answers[400] = (counts.answers[400] or 0) + 1
    return respond { status = 400, body = "WebSockets need HTTP/1.1 here.\n" }
  end
  local write_log, detail = log.writer(checked.log)
  local policy = beat.plan(checked)
  if policy then handler = beat.before(host, policy, write_log, handler) end
  local raw, now = ngx.req.raw_header(), host.now()
  local ws = core.connection("server", core.settings(checked, totals), host.class, now)
  if ngx.var.scheme == "https" then core.secure(ws, true) end
  core.feed(ws, raw, now)
  handshake(ws, setmetatable({
    options = checked, transport = host.transport, log = write_log, detail = detail, respond = respond,
    handler = handler, handled = ending(write_log, detail), connections = connections, waiting = {},
    count = count + 1, max_connections = checked.max_connections or math.huge,
    arrived = arrived, counts = counts, trusted = checked.proxies and forwarded.trust(checked.proxies),
    host = { spawn = open, now = host.now, pcall = pcall, unsent = host.unsent },
  }, at_the_moment))
end

-- What of TLS nginx does for us. All else is for its configuration.
local TLS = { verify = true, server_name = true, resume = true }

local connect = duplex.connect

--- Connects. The connection belongs to the request or the timer that runs, and
--- that lasts until it is closed.
function duplex.connect(url, given)
  if type(given) == "table" then
    if given.proxy_tls then cannot("proxy_tls", 2) end
    for name in pairs(type(given.tls) == "table" and given.tls or {}) do
      if not TLS[name] then cannot("tls." .. tostring(name), 2) end
    end
  end
  local ws, message, id, response = connect(url, given)
  return ws, message, id, response
end

--- Messages to the connections of all workers, over a lua_shared_dict.
duplex.bus = bus

--- The connections whose handlers run in this worker.
duplex.connections = connections

--- Numbers of this worker.
---@return { connections: integer, worker: integer, pid: integer }
function duplex.stats()
  return { connections = count, worker = ngx.worker.id(), pid = ngx.worker.pid() }
end

--- What the connections that came to this worker have done since it began, and do
--- now; see metrics of a server. The text says of which worker it is: worker="0".
---@param format? "prometheus" for text, see duplex.prometheus
---@return duplex.Metrics|string
function duplex.metrics(format)
  local worker = { counts = counts, settings = totals, connections = connections, handshakes = 0 }
  local all = metrics.report(worker, format, { worker = ngx.worker.id() }) -- no tail call, as of a server
  return all
end

return duplex
