-- SPDX-License-Identifier: MIT
-- Plays the cases that every host has to pass in nginx: a request for /play is
-- the task that they run in, and what listens are ports of nginx, one a server.

package.loaded["spec.support.pki"] = {} -- no case here needs it, and it starts a program
local cases = require "spec.hosts.cases"
local checks = require "spec.hosts.checks"
local duplex = require "duplex.ngx"

local play = {}

local ngx = ngx -- luacheck: ignore
local handlers = {} -- by port
local pipes = {} -- a pipe that is collected waits for its process

local CONF = "nginx.conf says it"
local absent = {
  ["wss: the same over TLS, and what TLS agreed on"] = "nginx has TLS of its own: ngx_spec.lua",
  ["open_timeout ends connections without a handshake (server)"] = "client_header_timeout of nginx does",
  ["a server that stops closes with 1001 and takes nobody any more"] = "nginx is stopped: ngx_spec.lua",
  ["a server's metrics are of what it does"] = "they are of a worker: ngx_spec.lua",
  ['"*" serves IPv4 and IPv6 on one port'] = CONF,
  ["a port in use: ADDRESS"] = CONF,
  ["Unix sockets; a path that nobody listens on any more is taken over"] = CONF,
  ["an error in a task is logged with where it happened"] = "the log is nginx's: ngx_spec.lua",
  ["options that it cannot honour raise and name it, as do functions it lacks"] = "ngx_spec.lua has its own",
  ["waiting where nothing can wait raises"] = "nginx itself raises in phases that cannot wait",
  ["tasks run when the one that started them waits, not before"] = "nginx runs a light thread at once",
}

local t = checks(duplex)
t.ipv6 = false

function t.serve(options, handler)
  local all = { log = false }
  for key, value in pairs(options) do all[key] = value end
  local port = tonumber(table.remove(play.ports))
  local connections = {}
  handlers[port] = { all, function(ws)
    connections[ws] = true
    handler(ws)
  end }
  return {
    port = port, url = ("ws://127.0.0.1:%d"):format(port), connections = connections,
    stats = function()
      local open = 0
      for ws in pairs(connections) do open = open + (ws.state == "open" and 1 or 0) end
      return { connections = open }
    end,
  }
end

-- A request lasts as long as connections that it has made.
local opened
local tracked = setmetatable({}, { __index = duplex })

function tracked.connect(...)
  local ws, message, id, response = duplex.connect(...)
  opened[#opened + 1] = ws
  return ws, message, id, response
end

function t.connect(server, path, options)
  return assert(tracked.connect(server.url .. (path or ""), options))
end

function t.peer(mode, port)
  local pipe = assert(io.popen(("cd %s && exec timeout -k 1 10 tools/run %s spec/hosts/peer.lua %s %s 2>&1"):format(
    play.root, play.lua, mode, port or "")))
  pipes[#pipes + 1] = pipe
  return not port and pipe:read("*l") or nil
end

function t.said() return pipes[#pipes]:read("*l") end

--- The content of a port that a case serves on.
function play.serve()
  local one = handlers[tonumber(ngx.var.server_port)]
  duplex.upgrade(one[1], one[2])
end

--- The content of /play: what became of the cases whose name is in the query, or
--- of all.
function play.run(ports, root, lua)
  play.ports, play.root, play.lua = {}, root, lua
  for port in ports:gmatch("%d+") do table.insert(play.ports, port) end
  local wanted = ngx.var.arg_case and ngx.unescape_uri(ngx.var.arg_case)
  for _, case in ipairs(cases) do
    local title, body = case[1], case[2]
    if absent[title] then
      ngx.say("na ", title, ": ", absent[title])
    elseif not wanted or title:find(wanted, 1, true) then
      opened = {}
      local over, fine, problem = duplex.event(), nil, nil
      duplex.spawn(function()
        fine, problem = xpcall(body, debug.traceback, tracked, t)
        over:set()
      end)
      if not over:wait(t.patience) then fine, problem = false, "it hangs" end
      for _, ws in ipairs(opened) do ws:close(1000, "", 0) end
      ngx.say(fine and "ok " .. title or ("not ok %s: %s"):format(title, problem))
      ngx.flush()
    end
  end
  ngx.say("all played") -- programs that are still running hold the connection open
  ngx.flush()
end

return play
