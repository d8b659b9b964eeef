-- SPDX-License-Identifier: MIT
-- What ngx_spec.lua has nginx do: a function for each location.

local duplex = require "duplex.ngx"

local ngx = ngx -- luacheck: ignore
local app = {}

local function echo(ws)
  for data, kind in ws:messages() do ws:send(data, kind) end
end

function app.echo() duplex.upgrade({ max_message = 67108864 }, echo) end

function app.chat()
  duplex.upgrade({ subprotocols = { "b", "a" }, origins = { "https://example.com" } }, echo)
end

--- From another request: to all, or to one at a time.
function app.push()
  local text, how = ngx.var.arg_text, ngx.var.arg_how
  local count = 0
  if how == "broadcast" then
    count = duplex.broadcast(duplex.connections, text)
  else
    for ws in pairs(duplex.connections) do
      local ok = ws[how](ws, text)
      count = count + (ok and 1 or 0)
    end
  end
  ngx.say(count)
end

--- A megabyte to each from another request, which has to wait for room.
function app.flood()
  for ws in pairs(duplex.connections) do
    for i = 1, 16 do assert(ws:send(string.char(64 + i):rep(65536))) end
  end
  ngx.say("sent")
end

function app.close()
  for ws in pairs(duplex.connections) do ws:close(4001, "by another") end
  ngx.say("closed")
end

function app.idle() duplex.upgrade({ ping_interval = 0.1, ping_timeout = 0.3 }, echo) end

--- Reads nothing.
function app.busy()
  duplex.upgrade({ ping_interval = 0.1, ping_timeout = 0.3 }, function(ws)
    ngx.sleep(1)
    ws:send("done")
  end)
end

function app.asleep() duplex.upgrade(function() ngx.sleep(1) end) end

function app.stats()
  local stats = duplex.stats()
  ngx.say(stats.connections, " ", stats.worker, " ", stats.pid)
end

--- Sends much, and is over.
function app.much()
  duplex.upgrade({ high_mark = 1000000, max_outbox = 10000000 }, function(ws)
    ws:receive()
    for i = 1, 40 do assert(ws:try_send(string.char(64 + i):rep(99800))) end
    ngx.sleep(0.3)
    ws:receive()
  end)
end

--- Has a context of its own.
function app.context()
  duplex.upgrade(function(ws)
    ngx.ctx = {}
    for data in ws:messages() do
      collectgarbage()
      collectgarbage()
      ws:send(data)
    end
  end)
end

function app.address()
  duplex.upgrade({ proxies = { "unix" } }, function(ws) ws:send(ws.address) end)
end

--- A task that goes on when its request is over; the next one sees what it did.
local gone_on = "no"
function app.later()
  duplex.detach(function(word)
    duplex.sleep(0.02)
    gone_on = word
  end, "yes")
  ngx.say(gone_on)
  ngx.exit(200)
end

--- A WebSocket of browsers that belongs to one request, and is used by others.
local page
function app.page()
  if ngx.var.arg_what == "open" then
    page = duplex.browser.WebSocket(("ws://127.0.0.1:%s/echo"):format(ngx.var.server_port))
    while page.readyState ~= page.CLOSED do ngx.sleep(0.02) end
  elseif ngx.var.arg_what == "send" then
    for _ = 1, 40 do page:send(("x"):rep(200000)) end
    ngx.exit(200) -- with all that waits in this request
  elseif ngx.var.arg_what == "close" then
    page:close()
  end
  ngx.say(page and page.readyState, " ", page and page.bufferedAmount)
end

--- As many timers as may run, for two seconds.
function app.timers()
  for _ = 1, 300 do ngx.timer.at(0, function() ngx.sleep(2) end) end
  ngx.say("begun")
end

--- Decides after a while.
function app.slow()
  duplex.upgrade({ on_request = function() ngx.sleep(1) end }, echo)
end

--- Asks another location for each message.
function app.ask()
  duplex.upgrade(function(ws)
    for path in ws:messages() do
      local answer = ngx.location.capture(path)
      ws:send(answer.status .. " " .. answer.body)
    end
  end)
end

function app.fail() duplex.upgrade(function() error("as it should") end) end

function app.failing_task()
  duplex.spawn(function() error("in a task") end)
  ngx.say("fine")
end

--- Ends its request without a word to anybody.
function app.exit()
  duplex.upgrade(function(ws)
    ws:receive()
    ngx.exit(ngx.ERROR)
  end)
end

--- A client that stays connected to this nginx, until the worker is to exit.
function app.stay()
  local client = duplex.reconnect(("ws://127.0.0.1:%d/echo"):format(ngx.var.server_port), { log = false })
  client:send("is connected")
  ngx.say((client:receive()))
  ngx.flush(true)
  ngx.say(select(3, client:receive()), " ", client.state)
end

--- The same, where nobody listens: it waits to connect again.
function app.away()
  local client = duplex.reconnect("ws://127.0.0.1:1/", { first = 60, max = 60, log = false })
  ngx.say("waiting")
  ngx.flush(true)
  ngx.say(select(3, client:receive()), " ", client.state)
end

--- Sleeps for a minute, or until the worker is to exit.
function app.nap()
  ngx.say("asleep")
  ngx.flush(true)
  ngx.say(select(3, duplex.sleep(60)))
end

--- What is to happen when the worker exits, while a task keeps that from it for a
--- while: into the error log.
function app.last()
  duplex.on_stop(function(grace)
    duplex.sleep(0)
    ngx.log(ngx.NOTICE, "on_stop was called with ", grace)
  end)
  duplex.upgrade(function() ngx.sleep(1.5) end)
end

local refused = {}

--- What waits, or starts tasks, in a phase that has none; the next request tells.
function app.phase()
  local ws = next(duplex.connections)
  for _, fn in ipairs { function() duplex.event():wait() end, function() ws:receive() end,
    function() ws:ping() end, duplex.sleep, duplex.spawn, duplex.connect, duplex.reconnect } do
    local fine, problem = pcall(fn, fn == duplex.sleep and 0 or fn == duplex.spawn and print or "ws://127.0.0.1:1/")
    refused[#refused + 1] = fine and "nothing" or problem
  end
  assert(ws:try_send("from a phase"))
end

function app.refused()
  local fine, problem = pcall(duplex.upgrade, echo)
  ngx.say(table.concat(refused, "\n"), "\n", fine and "fine" or problem)
  ngx.say(next(require("duplex.host.ngx").stoppers) and "something is left" or "nothing is left")
end

function app.metrics()
  local all = duplex.metrics()
  if ngx.var.arg_format then return ngx.print(duplex.metrics(ngx.var.arg_format)) end
  ngx.say(require("cjson.safe").encode {
    all.connections.open, all.connections.accepted, all.handshakes.origin, all.handshakes.bad_request,
    all.answers[426] or 0, all.messages.received.text, all.bytes.sent.text, all.failures.handlers,
    all.failures.tasks, all.closed.received[4001] or 0, all.closed.sent[1011] or 0,
  })
end

--- A client, a hub and a peer whose functions fail.
function app.failing_hooks()
  local a, b = duplex.pair()
  local hub = duplex.hub { on_join = function() error("as it should") end }
  hub:subscribe(a, "t", { info = {} })
  duplex.spawn(function()
    duplex.rpc(b, { methods = { fail = function() error("as it should") end } }):run()
  end)
  duplex.rpc(a):notify("fail")
  local client = duplex.reconnect(("ws://127.0.0.1:%d/echo"):format(ngx.var.server_port), {
    attempts = 1, on_open = function() error("as it should") end,
  })
  ngx.say(select(3, client:receive(5)))
  a:close()
end

function app.running() ngx.say(ngx.timer.running_count()) end

function app.collect()
  collectgarbage()
  collectgarbage()
  ngx.say("fine")
end

local function room()
  return ngx.var.arg_slow and duplex.bus("slow", { interval = 0.5 }) or duplex.bus("room")
end

--- Whoever comes hears the topic of the query, and says to it what is received.
function app.room()
  local bus = room()
  duplex.upgrade(function(ws)
    local topic = ws.request.query.topic
    bus:subscribe(topic, ws)
    for data, kind in ws:messages() do assert(bus:publish(topic, data, kind)) end
  end)
end

--- Says a number of messages to a topic.
function app.say()
  local bus = room()
  for i = 1, tonumber(ngx.var.arg_count) do
    assert(bus:publish(ngx.var.arg_topic, i .. (" "):rep(tonumber(ngx.var.arg_size or 0))))
  end
  ngx.say("said")
end

function app.bus()
  local stats = duplex.bus("room"):stats()
  ngx.say(ngx.worker.pid(), " ", stats.delivered, " ", stats.lost, " ", stats.last)
end

--- Publishes one message of a size, and ten small ones to the same topic.
function app.large()
  local bus = duplex.bus("room")
  local _, _, id = bus:publish("a", ("x"):rep(tonumber(ngx.var.arg_size)))
  for i = 1, 10 do assert(bus:publish("a", tostring(i))) end
  ngx.say(tostring(id))
end

local counts = {}

--- Counts the messages of a topic in this worker.
function app.count()
  local bus, topic = duplex.bus("room"), ngx.var.arg_topic
  if not counts[topic] then
    counts[topic] = 0
    bus:subscribe(topic, function() counts[topic] = counts[topic] + 1 end)
  end
  local stats = bus:stats()
  ngx.say(ngx.worker.pid(), " ", counts[topic], " ", stats.lost)
end

--- Two functions that publish what they hear first: what each has heard.
function app.nest()
  local bus, heard = duplex.bus("room"), { {}, {} }
  for i, list in ipairs(heard) do
    bus:subscribe("nest", function(data)
      list[#list + 1] = data
      if data == "first" then assert(bus:publish("nest", "from " .. i)) end
    end)
  end
  assert(bus:publish("nest", "first"))
  ngx.say(table.concat(heard[1], ", "), "; ", table.concat(heard[2], ", "))
end

--- What others may do to the dict.
function app.meddle()
  local dict, how = ngx.shared.room, ngx.var.arg_how
  if how == "slot" then
    for _, value in ipairs { "what?", 7, "5 t 900 x" } do
      dict:set(math.floor(dict:incr("last", 1)) % 1024 + 1, value)
    end
  elseif how == "last" then
    dict:set("last", "what?")
  elseif how == "fill" then
    local i = 0
    repeat i = i + 1 until not dict:safe_set("x" .. i, ("x"):rep(30000))
  elseif how == "empty" then
    dict:flush_all()
    dict:flush_expired()
    for k = 1, 5 do assert(duplex.bus("room"):publish("a", "new " .. k)) end
  end
  ngx.say("done")
end

local MISUSE = {
  bus = function() duplex.bus("none") end,
  tls = function() duplex.upgrade({ tls = {} }, echo) end,
  port = function() duplex.upgrade({ port = 80 }, echo) end,
  unknown = function() duplex.upgrade({ max_mesage = 80 }, echo) end,
  handler = function() duplex.upgrade({}) end,
  serve = function() duplex.serve({}, echo) end,
  run = function() duplex.run(echo) end,
  ca = function() duplex.connect("wss://127.0.0.1/", { tls = { ca = "/x" } }) end,
  metrics = function() duplex.metrics("json") end,
  proxy_tls = function() duplex.connect("wss://127.0.0.1/", { proxy_tls = {} }) end,
}

function app.misuse()
  for _, name in ipairs { "tls", "port", "unknown", "handler", "serve", "run", "ca", "proxy_tls", "bus",
    "metrics" } do
    local fine, problem = pcall(MISUSE[name])
    ngx.say(name, ": ", fine and "nothing" or problem)
  end
end

--- A client, in this request: to the URL in the query.
function app.connect()
  local ws, message = duplex.connect(ngx.unescape_uri(ngx.var.arg_url), {
    tls = ngx.var.arg_name and { server_name = ngx.var.arg_name }, open_timeout = 2,
    proxy = ngx.var.arg_proxy and ngx.unescape_uri(ngx.var.arg_proxy),
  })
  if not ws then return ngx.say(message) end
  ws:send("through nginx")
  ngx.say((ws:receive(2)))
  ws:close()
end

--- A client in a timer of a worker that starts.
function app.background(url)
  ngx.timer.at(0, function()
    local ws = assert(duplex.connect(url))
    ws:send("from a timer")
    app.said = ws:receive(2)
    ws:close()
  end)
end

function app.tell() ngx.say(app.said) end

return app
