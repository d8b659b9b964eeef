-- SPDX-License-Identifier: MIT
-- Duplex for programs in nginx: local duplex = require "duplex.ngx", and
-- duplex.upgrade in a content_by_lua_block.

local bind = require "duplex.bind"
local core = require "duplex.core"
local handshake = require "duplex.handshake"
local host = require "duplex.host.ngx"
local log = require "duplex.log"
local new_stream = require "duplex.host.ngx_stream"
local options = require "duplex.options"

local ngx = rawget(_G, "ngx")

local duplex = bind(host)

-- What nginx does itself.
local NGINX_HAS = { "host", "port", "unix", "fd", "reuseport", "backlog", "tls", "max_handshakes" }
local defaults = {}
for _, row in ipairs(options.rows) do defaults[row.name] = row.default end

-- Those of this worker, and of how many a handler runs.
local connections, count = {}, 0

local nothing = { set = function() end }

local function check(given)
  local checked = options.check("server", given, 3)
  for _, name in ipairs(NGINX_HAS) do
    if checked[name] ~= defaults[name] then
      error(("host 'nginx' cannot honour option '%s': it belongs into nginx.conf"):format(name), 3)
    end
  end
  return checked
end

-- A refusal, or an answer of on_request, is nginx's to send.
local function respond(answer)
  ngx.status = answer.status
  for name, value in pairs(answer.headers or {}) do ngx.header[name] = value end
  if answer.head_only then return ngx.send_headers() end
  local body = answer.body
  if type(body) == "function" then
    for piece in body do ngx.print(piece) end
  else
    ngx.print(body)
  end
end

-- Runs the handler where it can wait: in the content handler itself.
local function open(fn, done, ws)
  ngx.status = 101 -- for the access log
  local socket, problem = ngx.req.socket(true)
  if not socket then error("no raw socket of the request: " .. problem) end
  local over = host.event()
  local s = new_stream(socket, host.now, {
    address = ngx.var.remote_addr, port = tonumber(ngx.var.remote_port),
    finish = function() over:set() end,
  })
  host.transport.attach(ws, s)
  s:share(core.send_timeout(ws))
  host.run(fn, done, ws)
  over:wait()
end

function duplex.upgrade(given, handler)
  if handler == nil and type(given) == "function" then given, handler = {}, given end
  local checked = check(given)
  if type(handler) ~= "function" then
    error("handler must be a function, got " .. type(handler), 2)
  end
  if ngx.req.http_version() >= 2 then
    return respond { status = 400, body = "WebSockets need HTTP/1.1 here.\n" }
  end
  local write_log = checked.log == nil and host.log or log.writer(checked.log)
  local function done(failure, ws)
    if failure then
      local first, rest = log.split(failure)
      write_log("error", "handler failed: " .. first,
        { connection = ws.id, address = ws.address, traceback = rest })
    end
    ws:close(failure and 1011 or 1000)
    connections[ws] = nil
  end
  local raw, now = ngx.req.raw_header(), host.now()
  local ws = core.connection("server", core.settings(checked), host.class, now)
  if ngx.var.scheme == "https" then core.secure(ws, true) end
  core.feed(ws, raw, now)
  count = count + 1
  handshake(ws, {
    options = checked, transport = host.transport, log = write_log, respond = respond,
    handler = handler, handled = done, connections = connections, waiting = {},
    count = count, max_connections = checked.max_connections or math.huge,
    handshakes = 1, room = nothing, stopping = ngx.worker.exiting(),
    host = { spawn = open, now = host.now, pcall = pcall, unsent = host.unsent },
  })
  count = count - 1
end

return duplex
