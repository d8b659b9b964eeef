-- SPDX-License-Identifier: MIT
-- Our end for the clients of others: a path for each thing to try. Prints its
-- URL. A connection made with ?key=K is remembered: /seen?key=K tells, once it
-- has ended, how this side saw that.
-- usage: duplex_server.lua [OPTION=VALUE...], as ping_interval=1 or tls.key=PATH,
-- proxies=127.0.0.1,unix or proxy_protocol=true

local core = require "duplex.core"
local duplex = require "duplex"

local seen = {} -- { event, value } by key

local function slot(key)
  seen[key] = seen[key] or { event = duplex.event() }
  return seen[key]
end

local function note(key, value)
  local one = slot(key)
  one.value = value
  one.event:set()
end

local function note_end(ws)
  local failure = ws.close_error and ws.close_error:match("^[^:]+") or "clean"
  note(ws.request.query.key, ("%s %s %s"):format(ws.close_code, failure, ws.close_reason or ""))
end

-- Every message of a stream can be told from its neighbours.
local function piece(number) return ("%08d"):format(number):rep(8192) end

local paths = {}

paths["/echo"] = function(ws)
  for message, kind in ws:messages() do ws:send(message, kind) end
end

paths["/close"] = function(ws)
  local query = ws.request.query
  ws:close(tonumber(query.code), query.reason)
end

paths["/return"] = function() end

paths["/raise"] = function() error("as told") end

paths["/ping"] = function(ws)
  local seconds, message = ws:ping(5)
  ws:send(seconds and "pong" or message)
end

-- One message in as many fragments as the query says.
paths["/fragments"] = function(ws)
  local left = tonumber(ws.request.query.count)
  ws:send(function()
    left = left - 1
    return left >= 0 and "añ" or nil
  end, ws.request.query.kind)
end

-- The number of bytes of each message, taken in pieces.
paths["/pieces"] = function(ws)
  while true do
    local size = 0
    local bytes, kind = ws:receive_to(function(part) size = size + #part end)
    if not bytes then return end
    ws:send(("%s %d %d"):format(kind, bytes, size))
  end
end

paths["/subprotocol"] = function(ws) ws:send(ws.subprotocol or "none") end

-- As much as the query says both ways at once, then how much memory it took.
paths["/stream"] = function(ws)
  local count = tonumber(ws.request.query.count)
  local sent, most = duplex.event(), 0
  duplex.spawn(function()
    for i = 1, count do
      assert(ws:send(piece(i), "binary"))
      most = math.max(most, ws.outbox)
    end
    sent:set()
  end)
  for i = 1, count do
    local data = assert(ws:receive())
    if data ~= piece(i) then return ws:close(4000, "piece " .. i .. " is not what it was") end
  end
  sent:wait()
  ws:send(tostring(most))
end

-- Sends without waiting until no more fits, to a client that does not read.
paths["/fill"] = function(ws)
  local count, id = 0, nil
  while not id do
    duplex.sleep(0) -- so that the loop sends what it can
    id = select(3, ws:try_send(piece(count + 1), "binary"))
    if not id then count = count + 1 end
  end
  note(ws.request.query.full, ("%s %d"):format(id, count))
  assert(ws:send("the end"))
  ws:wait_closed()
end

paths["/seen"] = function(ws)
  local one = slot(ws.request.query.key)
  one.event:wait(10)
  ws:send(one.value or "nothing")
end

-- Who asks, as a proxy in front tells it.
paths["/forwarded"] = function(ws)
  local headers = ws.request.headers
  ws:send(("%s %s"):format(headers["X-Forwarded-Proto"], headers["X-Forwarded-For"]))
end

-- Who we think it is.
paths["/who"] = function(ws)
  ws:send(("%s %s %s %s"):format(ws.address, ws.port and "port" or "-", ws.request.secure, ws.proxy or "-"))
end

paths["/abort"] = function(ws)
  ws:receive()
  core.fail(ws, "LOST")
end

local pages = {
  ["/"] = { 200, "a page\n" },
  ["/health"] = { 200, "fine\n" },
  ["/refused"] = { 401, "who are you?\n", { ["X-Why"] = "no ticket" } },
}

local options = {
  subprotocols = { "chat.v2", "chat.v1" },
  on_request = function(request)
    local page = pages[request.path]
    if page then return page[1], page[2], page[3] end
  end,
  log = function(level, message)
    if not message:find("as told", 1, true) then print(level, message) end
  end,
}
for _, word in ipairs(arg) do
  local name, value = word:match("^([%w_.]+)=(.*)$")
  local group, key = options, name:match("^tls%.(.*)$")
  if key then
    options.tls = options.tls or {}
    group = options.tls
  end
  group[key or name] = tonumber(value) or value
  if value == "true" then group[name] = true end
  if name == "proxies" then
    options.proxies = {}
    for entry in value:gmatch("[^,]+") do table.insert(options.proxies, entry) end
  end
end

duplex.run(function()
  options.port = not options.unix and 0 or nil
  local server = assert(duplex.serve(options, function(ws)
    if ws.request.path ~= "/seen" and ws.request.query.key then ws:on_close(note_end) end
    paths[ws.request.path](ws)
  end))
  print("listening on " .. server.url)
  io.stdout:flush()
end)
