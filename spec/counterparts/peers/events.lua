-- SPDX-License-Identifier: MIT
-- events.lua: the servers of events.mjs, and the same cases with duplex.browser.
-- Prints the URL of a page and that of the server whose paths are ends, then "NAME:
-- event, ...", then "done", and serves until it is killed.

local bytes = require "spec.support.bytes"
local duplex = require "duplex"
local peer = require "spec.support.peer"

local WebSocket = duplex.browser.WebSocket

-- ---- servers ----

local function hold(p) p:rest(10) end

-- Waits for the other close frame, and hangs up.
local function hang_up(p)
  p:rest(0.1)
  p:close()
end

local ends = {}

function ends.code(p)
  p:accept():send(bytes.frame(0x88, bytes.close(4001, "bye")))
  hang_up(p)
end

function ends.none(p)
  p:accept():send(bytes.frame(0x88, ""))
  hang_up(p)
end

function ends.refused(p)
  p:read_to("\r\n\r\n")
  p:send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
  hold(p)
end

function ends.lost(p) p:accept():close() end

function ends.broken(p)
  p:accept():send(bytes.frame(0xf1, "x"))
  hang_up(p)
end

ends.silent = hold

function ends.messages(p)
  p:accept():send(bytes.frame(0x81, "one") .. bytes.frame(0x81, "two")
    .. bytes.frame(0x88, bytes.close(1000)))
  hang_up(p)
end

local function answer(p)
  local head = p:read_to("\r\n\r\n")
  local path = head and head:match("^GET /(%l+) ")
  if not path then return end
  p.bytes = head .. p.bytes -- the end reads it once more
  ends[path](p)
end

-- ---- cases ----

local say = {
  open = function() return "open" end,
  error = function() return "error" end,
  message = function(e) return "message " .. e.data end,
  close = function(e)
    return ("close %d %s %s"):format(e.code, e.reason ~= "" and e.reason or "-", tostring(e.wasClean))
  end,
}

local function life(socket, on)
  on = on or {}
  local seen, over = {}, duplex.event()
  local function note(text, ...) seen[#seen + 1] = text:format(...) end
  for type, describe in pairs(say) do
    socket:addEventListener(type, function(event)
      note("%s %d", describe(event), socket.readyState)
      if on[type] then on[type](socket, note) end
      if type == "close" then over:set() end
    end)
  end
  if on.now then on.now(socket, note) end
  over:wait(10)
  duplex.sleep(0.05)
  return seen
end

local function name_of(fn)
  local fine, problem = pcall(fn)
  return fine and "fine" or problem.name
end

local cases = {}
local function case(name, body) cases[#cases + 1] = { name, body } end

local echo, raw -- URLs

case("an echo, closed from here", function()
  return life(WebSocket(echo), {
    open = function(s) s:send("hello") end, message = function(s) s:close(4000, "bye") end,
  })
end)
case("closed from there", function() return life(WebSocket(raw .. "/code")) end)
case("closed from there without a code", function() return life(WebSocket(raw .. "/none")) end)
case("closed from here without a code", function()
  return life(WebSocket(echo), { open = function(s) s:close() end })
end)
case("refused", function() return life(WebSocket(raw .. "/refused")) end)
case("no subprotocol chosen", function() return life(WebSocket(echo, "chat")) end)
case("nobody there", function() return life(WebSocket("ws://127.0.0.1:1")) end)
case("lost", function() return life(WebSocket(raw .. "/lost")) end)
case("a broken frame", function() return life(WebSocket(raw .. "/broken")) end)
case("closed while it connects", function()
  return life(WebSocket(raw .. "/silent"), { now = function(s, note)
    s:close()
    note("closing %d", s.readyState)
    s:close()
    s:send("x")
    note("buffered %d", s.bufferedAmount)
  end })
end)
case("messages before the end", function() return life(WebSocket(raw .. "/messages")) end)
case("too late to send", function()
  return life(WebSocket(echo), {
    open = function(s, note)
      s:close(1000)
      s:send("12345")
      note("buffered %d", s.bufferedAmount)
    end,
    close = function(s, note)
      s:send("123")
      s:close()
      note("buffered %d, state %d", s.bufferedAmount, s.readyState)
    end,
  })
end)
case("sent before it is closed", function()
  return life(WebSocket(echo), { open = function(s, note)
    s:send("one")
    s:send("two")
    note("buffered %d", s.bufferedAmount)
    s:close(1000)
  end })
end)
case("listeners", function()
  local socket, seen, over = WebSocket(echo), {}, duplex.event()
  local function saw(text) return function() seen[#seen + 1] = text end end
  local twice, second = saw("twice"), saw("second")
  socket:addEventListener("open", twice)
  socket.onopen = saw("handler")
  socket:addEventListener("open", twice)
  socket:addEventListener("open", function()
    saw("first")()
    socket:removeEventListener("open", second)
    socket:addEventListener("open", saw("added too late"))
  end)
  socket:addEventListener("open", second)
  socket:addEventListener("open", saw("third"), { once = true })
  socket.onopen = saw("other handler")
  socket.onclose = function() over:set() end
  socket:addEventListener("open", function() socket:close() end)
  over:wait(10)
  return seen
end)
case("exceptions", function()
  local open, came = WebSocket(echo), duplex.event()
  open.onopen = function() came:set() end
  came:wait(10)
  local names = {}
  for i, fn in ipairs {
    function() WebSocket("nonsense://x") end, function() WebSocket("ws://foo bar.com/") end,
    function() WebSocket(echo .. "/#test") end, function() WebSocket(echo .. "/#") end,
    function() WebSocket("mailto:a@b") end, function() WebSocket(echo, "a b") end, function() WebSocket(echo, "") end,
    function() WebSocket(echo, "a,b") end, function() WebSocket(echo, { "a", "a" }) end,
    function() WebSocket(echo, { "a", "A" }):close() end, function() WebSocket(echo, "\195\169") end,
    function() WebSocket((echo:gsub("ws", "http"))):close() end, function() WebSocket(echo, {}):close() end,
    function() WebSocket(echo):send("x") end,
    function() open:close(999) end, function() open:close(1001) end, function() open:close(1005) end,
    function() open:close(2999) end, function() open:close(5000) end, function() open:close(0) end,
    function() open:close(3000, ("x"):rep(124)) end, function() open:close(3000, ("\195\169"):rep(62)) end,
    function() open:close(3000, ("x"):rep(123)) end, function() open:close(1) end, function() open:send("late") end,
  } do names[i] = name_of(fn) end
  return names
end)
case("urls", function()
  local list = {}
  for i, url in ipairs {
    "ws://Example.COM:80", "WSS://example.com:443/a/../b/./c?x y", "http://example.com/%7e", "https://example.com:80/",
    " ws://example.com/a b\n", "ws://joe:secret@example.com/?", "ws://@example.com/",
    "ws://j@e:se=cret@example.com/", "ws://[1:0:0:4:5:0:0:0]/", "ws://[::FFFF:1.2.3.4]/", "ws://[::1]:8080/x?a",
  } do
    local socket = WebSocket(url)
    socket:close()
    list[i] = socket.url
  end
  return list
end)
case("constants", function()
  local socket = WebSocket(echo)
  local values = { WebSocket.CONNECTING, WebSocket.OPEN, WebSocket.CLOSING, WebSocket.CLOSED,
    socket.CONNECTING, socket.OPEN, socket.CLOSING, socket.CLOSED, socket.readyState, socket.bufferedAmount,
    socket.protocol ~= "" and socket.protocol or "-", socket.extensions ~= "" and socket.extensions or "-",
    socket.binaryType, tostring(socket.onopen or "-") }
  socket:close()
  return values
end)
duplex.run(function()
  local server = assert(duplex.serve({
    log = false, close_timeout = 1,
    on_request = function(request) if not request.upgrade then return 200, "a page" end end,
  }, function(ws)
    for data, kind in ws:messages() do ws:send(data, kind) end
  end))
  echo, raw = server.url, "ws://127.0.0.1:" .. peer.listen(answer)
  print((server.url:gsub("^ws", "http")) .. "/ " .. raw)
  for _, row in ipairs(cases) do
    print(("%s: %s"):format(row[1], table.concat(row[2](), ", ")))
  end
  print("done")
  io.stdout:flush()
end)
