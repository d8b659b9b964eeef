-- SPDX-License-Identifier: MIT
-- Programs of docs/guide.md, the first one and those about heartbeats, JSON, calls,
-- topics, staying connected, the WebSocket of browsers and observability, each in
-- networks that fail.
-- They are as they are written, each half on its own (half.lua): the server is far
-- away, the client is here.
--   lua guide.lua FAILURE     all programs in one failure, at once
--   lua guide.lua list        names of the cases
--
-- There is no client's half of metrics.lua: it prints the numbers of the server in
-- itself. A client has no port that could be closed: where that is the failure,
-- the server's port is somebody else's.

package.path = "./?.lua;" .. package.path
local child = require "spec.support.child"
local duplex = require "duplex"
local markdown = require "spec.support.markdown"
local network = require "spec.support.network"

local FAILURE = arg[1]
local CUT = 2 -- seconds of silence until the proxy cuts
local here = network.here
local cases = {}

local function check(fine, what, program)
  if not fine then error(("%s; it said:\n%s"):format(what, program:text()), 0) end
end

-- ---- the programs ----

-- holds: after how many printed lines a client falls asleep. shows: what a client says
-- when all is well that does not come to its end alone, as its hub publishes in the
-- other half, or as it is not the first. without: what the client's half has no
-- part in. dropped: how the server says who is gone, if it has a log of its own.
-- tells: it prints what went wrong, and ends well. anew: it connects a second time.
local PROGRAMS = {
  { name = "echo", holds = { 0, 1 } },
  { name = "ping", holds = { 0 } },
  { name = "heartbeat", holds = { 0 }, tells = true },
  { name = "stay", holds = { 5 }, shows = "^this is connection" },
  { name = "json", holds = { 0, 1 } },
  { name = "rpc", holds = { 0, 2 } },
  { name = "topics", holds = { 0, 1 }, shows = "^TOPIC: a topic must not have empty words" },
  { name = "missed", holds = { 0 }, shows = '^conn#1 < TEXT ".*epoch' },
  { name = "presence", holds = { 1 }, without = "^bo 2" },
  { name = "browser", holds = { 0, 3 }, tells = true },
  { name = "log", holds = { 0 }, anew = true, without = "^127", dropped = "^%s\tclosed\t1006" },
  { name = "metrics", half = "both", client = "browser" },
}

local by_name = {}
for _, program in ipairs(PROGRAMS) do by_name[program.name] = program end

local function prepare()
  for _, found in ipairs(markdown.programs(markdown.parse("docs/guide.md"))) do
    local program = by_name[found.name:match("^%a+")]
    if program then
      program.path = os.getenv("NETWORK_FOLDER") .. "/" .. found.name
      program.port = found.text:match("port = (%d+)")
      program.expected = {}
      for _, line in ipairs(found.expected) do
        if not line:find(program.without or "\n") then table.insert(program.expected, line) end
      end
      local file = assert(io.open(program.path, "w"))
      file:write(found.text)
      file:close()
    end
  end
end

-- ---- halves ----

-- The one that has to notice what happens to the other end is quicker than the
-- defaults; not where it is silence that matters.
local QUICK = "close_timeout = 1.5"
  .. (FAILURE == "proxy" and "" or ", ping_interval = 0.25, ping_timeout = 2")

local function times(cell, side)
  if cell.side ~= side then return "" end
  return side == "client" and QUICK .. ", open_timeout = 3" or QUICK
end

local function words(program, call, ...)
  return child.lua, "-e",
    ('package.path = "./?.lua;" .. package.path; require("spec.network.half").' .. call):format(...), program.path
end

local function server_words(cell)
  return words(cell.program, "%s { %s }", cell.program.half or "server", times(cell, "server"))
end

-- A server's half, far away.
local function serve(cell)
  local server = cell.place:execute(server_words(cell))
  server:await("^here: listening")
  return server
end

-- The half that connects.
local function connect(cell, place, url, hold)
  local program = cell.client
  return place:execute("env", "DUPLEX_TRACE=" .. (program.shows and not hold and "1" or ""),
    words(program, "client(%q, %s, { %s })", url, hold or "math.huge", times(cell, "client")))
end

-- One that sleeps, being connected.
local function sleeper(cell, hold)
  local client = connect(cell, here, cell.url, hold)
  client:asleep()
  return client
end

local function said(program)
  local lines = {}
  for line in program:text():gmatch("[^\n]+") do lines[#lines + 1] = line end
  return lines
end

-- The first lines of a client are those of the guide, but for the address.
local function check_lines(cell, client, url, count)
  local expected = {}
  for i, line in ipairs(cell.client.expected) do
    local host, port = url:match("//(.-):(%d+)$")
    expected[i] = line:gsub("127%.0%.0%.1:" .. cell.client.port, host .. ":" .. port)
      :gsub("port " .. cell.client.port, "port " .. port)
  end
  local lines = said(client)
  count = count or math.max(#expected, #lines)
  local function first(list) return markdown.plain({ (table.unpack or unpack)(list, 1, count) }) end
  check(first(expected) == first(lines), "not the lines of the guide: " .. first(expected), client)
end

-- The status of a program at its end, which did not turn round and round until then.
local function status_of(program)
  local status, seconds = program:status()
  check(seconds < 2, ("it took %.2f s of processor time"):format(seconds), program)
  return status
end

-- A client for which all is well.
local function is_served(cell, place, url)
  local client = connect(cell, place, url)
  if cell.client.shows then
    client:await(cell.client.shows)
    return client:signal "KILL"
  end
  check(status_of(client) == 0, "it failed", client)
  check_lines(cell, client, url)
end

-- Nobody has to be told of what a peer or the network does.
local function is_calm(program)
  local text = program:text()
  check(not text:find("duplex: [eiw]%l+: "), "it has logged something", program)
  check(not text:find("attempt to") and not text:find("bad argument"), "a call had no result", program)
end

-- By Ctrl-C.
local function ends(program)
  program:signal "INT"
  check(status_of(program) == 0, "it did not end well", program)
  program:await "^closing %d+ connections?$"
  check(not program:text():find("traceback"), "it has raised", program)
  is_calm(program)
end

-- Ended by an error that names one of the ids; those that can tell do so, and end well.
local function has_failed(cell, client, ids)
  local status, text = status_of(client), client:text()
  is_calm(client)
  local id
  if status == 0 and cell.client.tells then
    id = text:match(".*%f[%u](%u%u%u+): ") or text:find("1001") and "CLOSED"
  elseif status == 1 then
    id = text:match("lua[^\n]-/" .. cell.client.name .. "%.lua:%d+: (%u+): ")
  end
  check(id, "no clear error", client)
  check((" " .. ids .. " "):find(" " .. id .. " ", 1, true), ("%s is none of %s"):format(id, ids), client)
end

-- ---- failures ----

-- client(cell, client): one that is asleep, far from its server, fails. server(cell,
-- server, count): the server fails, to which so many clients are connected.
-- repair(cell, server) -> server. ids: what a connection may end with, and then what
-- one that is tried anew.
local FAILURES = {}

local function nothing() end

-- What a server says of a connection from here that is lost.
local function dropped(cell)
  local pattern = cell.program.dropped or "connection closed address=%s .* code=1006 .* error=LOST: "
  return (pattern:format((cell.place.here:gsub("%.", "%%."))))
end

FAILURES.killed = {
  client = function(_, client) client:signal "KILL" end,
  server = function(_, server)
    server:signal "KILL"
    server:gone()
  end,
  repair = serve,
  ids = { "LOST CONNECT", "CONNECT" },
}

FAILURES.asleep = {
  client = nothing, -- it is already
  server = function(_, server) server:signal "STOP" end,
  repair = function(_, server)
    server:signal "CONT"
    return server
  end,
  ids = { "LOST TIMEOUT", "TIMEOUT" },
}

FAILURES.port = {
  server = function(_, server)
    server:signal "TERM"
    server:await("^closing ")
  end,
  repair = serve,
  -- Who comes while it says goodbye to the others is told to go.
  ids = { "CLOSED LOST HTTP HANDSHAKE CONNECT", "CONNECT" },
}

FAILURES.cut = {
  client = function(cell) cell.place:cut() end,
  server = function(cell) cell.place:cut() end,
  repair = function(cell, server)
    cell.place:mend()
    return server
  end,
  ids = { "LOST TIMEOUT", "TIMEOUT" },
}

FAILURES.proxy = {
  client = nothing,
  server = function(cell, server, count) server:await(dropped(cell), count) end,
  repair = serve,
  ids = { "LOST", "HTTP" },
}

local failure = FAILURES[FAILURE]

-- ---- what a server has to do ----

-- program.before(cell): what else is there before a client fails -> what to do after
-- that, and how many connections the server has lost in it.

-- Its port is somebody else's, its own: it cannot serve, and the first one goes on.
local function is_refused(cell)
  local second = cell.place:execute(server_words(cell))
  check(status_of(second) == 1, "it did not fail", second)
  local text = second:text()
  check(text:find(("ADDRESS: cannot listen on [^\n]* port %s: Address already in use"):format(cell.program.port)),
    "it does not tell why", second)
end

local function loses_clients(cell, server)
  local before = cell.program.before or nothing
  local after, lost = before(cell)
  failure.client(cell, sleeper(cell, cell.client.holds[#cell.client.holds]))
  server:await(dropped(cell), (lost or 0) + 1)
  if after then after() end
end

local function serves_on(cell)
  local server = serve(cell)
  if FAILURE == "port" then is_refused(cell) else loses_clients(cell, server) end
  is_served(cell, cell.place, "ws://127.0.0.1:" .. cell.program.port)
  ends(server)
end

-- A caller that ends while the method waits for its answer.
local CALLER = [[
  local duplex = require "duplex"
  duplex.run(function()
    local ws = assert(duplex.connect(%q))
    ws:send '{"jsonrpc":"2.0","id":1,"method":"greet"}'
    print(assert(ws:receive()))
    os.exit()
  end)]]

function by_name.rpc.before(cell)
  local caller = here:start("-e", CALLER:format(cell.url))
  check(status_of(caller) == 0, "it was not called back", caller)
  return nil, 1
end

function by_name.presence.before(cell)
  local watcher = cell.place:start("spec/network/far.lua", "connect",
    ("ws://127.0.0.1:%s/?name=watcher"):format(cell.program.port))
  watcher:await("^got watcher is here")
  return function()
    watcher:await("^got ana has left")
    watcher:signal "KILL"
  end
end

function by_name.metrics.before(cell)
  return function()
    local page = cell.place:start("-e", ("print((require('socket.http').request('http://127.0.0.1:%s/metrics')))")
      :format(cell.program.port))
    page:await('^duplex_closed_total{code="1006",direction="received"} 1$')
  end
end

-- ---- what a client has to do ----

-- Its server is away: who tries anew is told why, too.
local function cannot_come(cell, server)
  if FAILURE == "proxy" then
    is_served(cell, here, cell.url) -- it is silence that is cut
    ends(server)
  end
  has_failed(cell, connect(cell, here, cell.url), failure.ids[2])
end

local function tells_why(cell, server, clients)
  for i, client in ipairs(clients) do
    if cell.client.anew and FAILURE == "proxy" then -- there is another connection
      check(status_of(client) == 0, "it failed", client)
    else
      has_failed(cell, client, failure.ids[1])
    end
    check_lines(cell, client, cell.url, cell.client.holds[i])
  end
  cannot_come(cell, server)
  local same = failure.repair(cell, server) == server
  if same and cell.program == by_name.presence then
    server:await("connection closed ") -- or ana would be there already
  end
  is_served(cell, here, cell.url)
end

-- The client of stay.lua.
local function comes_back(cell, server, clients)
  local client = clients[1]
  client:await(FAILURE == "port" and "^%u+: .* 1001" or "^LOST: ")
  if FAILURE == "proxy" then ends(server) end
  local others = { connect(cell, here, cell.url), connect(cell, here, cell.url) }
  for _, other in ipairs(others) do other:await("^" .. failure.ids[2] .. ": ") end
  ends(others[1])
  failure.repair(cell, server)
  others[2]:await("^this is connection")
  check(status_of(client) == 0, "it failed", client)
  check_lines(cell, client, cell.url, cell.client.holds[1])
  check(client:text():find "\nnil\tCLOSED: the client is closed\tCLOSED\n$", "it did not go on", client)
  is_calm(client)
end

local function bears_it(cell)
  local server, clients = serve(cell), {}
  for i, hold in ipairs(cell.client.holds) do clients[i] = sleeper(cell, hold) end
  failure.server(cell, server, #clients)
  for _, client in ipairs(clients) do client:signal "CONT" end
  local go_on = cell.program == by_name.stay and comes_back or tells_why
  go_on(cell, server, clients)
end

-- ---- all of them at once ----

-- A frontend for each place.
local function start_proxy(cells)
  local path = os.getenv("NETWORK_FOLDER") .. "/haproxy.cfg"
  local file = assert(io.open(path, "w"))
  file:write(("defaults\n mode http\n retries 0\n timeout connect 5s\n timeout client %ds\n timeout server %ds\n")
    :format(CUT, CUT))
  for i, cell in ipairs(cells) do
    cell.url = "ws://127.0.0.1:" .. 9000 + i
    file:write(("listen p%d\n bind 127.0.0.1:%d\n server far %s:%s\n"):format(i, 9000 + i, cell.place.address, cell.program.port))
  end
  file:close()
  return here:execute("/usr/sbin/haproxy", "-W", "-db", "-f", path)
end

local function play()
  local cells, proxy = {}, nil
  for _, program in ipairs(PROGRAMS) do
    for _, side in ipairs { "server", "client" } do
      if side == "server" or program.holds then
        local cell = { side = side, program = program, client = by_name[program.client or program.name] }
        local body = side == "server" and serves_on or bears_it
        table.insert(cells, cell)
        table.insert(cases, { ("%s.lua, its %s"):format(program.name, side), function()
          if proxy then proxy:await("Loading success") end
          body(cell)
        end })
      end
    end
  end
  if FAILURE == "list" then
    for _, case in ipairs(cases) do print(case[1]) end
    return
  end
  prepare()
  for _, cell in ipairs(cells) do
    cell.place = network.place()
    cell.url = ("ws://%s:%s"):format(cell.place.address, cell.program.port)
  end
  if FAILURE == "proxy" then proxy = start_proxy(cells) end
  network.play(duplex, cases)
end

play()
