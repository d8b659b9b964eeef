-- SPDX-License-Identifier: MIT
local duplex = require "duplex"
local both = require "spec.support.both"
local bytes = require "spec.support.bytes"
local each = require "spec.support.each"
local native = require "duplex.host.native"
local peer = require "spec.support.peer"
local ports = require "spec.support.ports"
local run = require "spec.support.run"

-- A server whose handler sends the head of the request, and then echoes.
local function serve(options)
  options = options or {}
  options.log = false
  return assert(duplex.serve(options, function(ws)
    ws:send(ws.request.raw)
    each(ws)
  end))
end

local function head_of(url, options)
  local ws, message = duplex.connect(url, options)
  assert(ws, message)
  local head = ws:receive(1)
  ws:close()
  return head
end

-- A URL whose server answers each connection with the next of these.
local function scripted(answers)
  local heads = {}
  local port, listener = peer.listen(function(p)
    heads[#heads + 1] = assert(p:read_to("\r\n\r\n"))
    local answer = answers[#heads] or answers[#answers]
    if type(answer) == "function" then answer = answer(heads[#heads]) end
    if answer then p:send(answer) end
    if not (answer or ""):find(" 101 ", 1, true) then p:close() else p:rest(1) end
  end)
  return "ws://127.0.0.1:" .. port, heads, listener
end

describe("duplex.connect", function()
  it("asks for what the URL says", run(function()
    local server = serve()
    local head = head_of(server.url .. "/chat/a b?q=ü&r=%41")
    assert.matches("^GET /chat/a%%20b%?q=%%C3%%BC&r=%%41 HTTP/1.1\r\n", head)
    assert.matches("\r\nHost: 127.0.0.1:" .. server.port .. "\r\n", head)
    assert.matches("\r\nUser%-Agent: lua%-duplex/", head)
    assert.is_nil(head:find("Sec-WebSocket-Protocol", 1, true))
    assert.is_nil(head:find("Authorization", 1, true))
    assert.is_nil(head:find("Origin", 1, true))
    assert.matches("^GET / HTTP/1.1\r\n", head_of("http://127.0.0.1:" .. server.port))
  end))

  it("makes Basic authentication of user and password", run(function()
    local server = serve()
    local function authorization(user, headers)
      local head = head_of(server.url:gsub("//", "//" .. user .. "@"), { headers = headers })
      return head:match("\r\nAuthorization: ([^\r]*)")
    end
    assert.equal("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", authorization("Aladdin:open%%20sesame"))
    assert.equal("Basic bWU6", authorization("me"))
    assert.equal("Bearer x", authorization("me:secret", { Authorization = "Bearer x" }))
  end))

  it("sends headers, also several of a name", run(function()
    local server = serve { origins = { "https://page.example" } }
    local head = head_of(server.url, { headers = {
      Cookie = { "a=1", "b=2" }, Origin = "https://page.example", ["User-Agent"] = "mine",
    }, subprotocols = { "v2", "v1" } })
    assert.matches("\r\nCookie: a=1\r\nCookie: b=2\r\n", head)
    assert.matches("\r\nUser%-Agent: mine\r\n", head)
    assert.is_nil(head:find("lua%-duplex"))
    assert.matches("\r\nSec%-WebSocket%-Protocol: v2, v1\r\n", head)
  end))

  it("raises for misuse", function()
    local rows = {
      { "client_spec.lua:%d+: the URL must be a string, got nil", nil },
      { "unknown option 'header' %(did you mean 'headers'%?%)", "ws://x", { header = {} } },
      { "header 'Host' belongs to the handshake", "ws://x", { headers = { Host = "y" } } },
      { "header 'sec%-websocket%-key' belongs", "ws://x", { headers = { ["sec-websocket-key"] = "y" } } },
      { "control character", "ws://x", { headers = { A = "b\r\nC: d" } } },
      { "'origins' is not for the client", "ws://x", { origins = {} } },
      { "unknown option 'tls.verfy'", "ws://x", { tls = { verfy = true } } },
    }
    for _, row in ipairs(rows) do
      local fine, problem = pcall(function() duplex.connect(row[2], row[3]) end)
      assert.is_false(fine)
      assert.matches(row[1], problem)
    end
  end)

  it("gives URL for a URL that is none", run(function()
    local rows = { { "127.0.0.1:80", "URL" }, { "ftp://x", "URL" }, { "ws://x:99999", "URL" },
      { "ws://x/#f", "URL" }, { "", "URL" } }
    for _, row in ipairs(rows) do
      local ws, message, id = duplex.connect(row[1])
      assert.is_nil(ws)
      assert.equal(row[2], id)
      assert.equal(row[2] .. ":", message:match("^%u+:"))
    end
  end))

  it("gives CONNECT where nobody listens", run(function()
    local port = ports.free()
    local _, message, id = duplex.connect("ws://127.0.0.1:" .. port)
    assert.equal(("CONNECT: Connection refused (127.0.0.1 port %d)"):format(port), message)
    assert.equal("CONNECT", id)
  end))

  it("gives DNS for a name that is none", run(function()
    local _, message, id = duplex.connect("ws://no.such.host.invalid/")
    assert.matches("^DNS: no.such.host.invalid: ", message)
    assert.equal("DNS", id)
  end))

  it("gives TIMEOUT when the server says nothing, and hangs up", run(function()
    local hung_up = duplex.event()
    local port = peer.listen(function(p)
      p:read_to("\r\n\r\n")
      p:rest()
      hung_up:set()
    end)
    local began = duplex.now()
    local _, message, id = duplex.connect("ws://127.0.0.1:" .. port, { open_timeout = 0.05 })
    assert.equal("TIMEOUT: no answer to the handshake within open_timeout (0.05 s)", message)
    assert.equal("TIMEOUT", id)
    assert.is_true(duplex.now() - began < 1)
    assert.is_true(hung_up:wait(1))
  end))

  it("gives the refusal whole with HTTP", run(function()
    local url = scripted { "HTTP/1.1 403 Nope\r\nX-Why: tired\r\nContent-Length: 4\r\n\r\nbody" }
    local ws, message, id, response = duplex.connect(url)
    assert.is_nil(ws)
    assert.equal("HTTP: the server answered 403 Nope", message)
    assert.equal("HTTP", id)
    assert.same({ 403, "tired", "body" }, { response.status, response.headers["x-why"], response.body })
    assert.equal("tired", response.headers["X-WHY"])
    url = scripted { "HTTP/1.1 500 \r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" }
    response = select(4, duplex.connect(url))
    assert.equal("abc", response.body)
    url = scripted { "HTTP/1.0 404 Not Found\r\n\r\nto the end" }
    assert.equal("to the end", select(4, duplex.connect(url)).body)
  end))

  local function accept(change)
    return function(head)
      local answer = ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
        .. "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n"):format(peer.accept(head))
      return change and change(answer) or answer
    end
  end

  it("takes a 100 before the answer, and frames in the same packet", run(function()
    local url = scripted { accept(function(answer)
      return "HTTP/1.1 100 Continue\r\n\r\n" .. answer .. bytes.frame(0x81, "at once")
    end) }
    local ws = assert(duplex.connect(url))
    assert.equal("at once", (ws:receive(1)))
    ws:close(1000, "", 0)
  end))

  local bad = {
    { "a wrong accept key", function(a) return a:gsub("Accept: .", "Accept: !") end },
    { "no accept key", function(a) return a:gsub("Sec%-WebSocket%-Accept", "X") end },
    { "no Upgrade", function(a) return a:gsub("Upgrade: websocket\r\n", "") end },
    { "another upgrade", function(a) return a:gsub("Upgrade: websocket", "Upgrade: h2c") end },
    { "no Connection", function(a) return a:gsub("Connection: Upgrade\r\n", "") end },
    { "a subprotocol that was not offered",
      function(a) return a:gsub("\r\n\r\n", "\r\nSec-WebSocket-Protocol: x\r\n\r\n") end },
    { "an extension that was not offered", function(a)
      return a:gsub("\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
    end },
    { "no HTTP", function() return "SSH-2.0-OpenSSH_9.2\r\n\r\n 101 " end },
    { "nothing, and hangs up", function() return "" end },
  }
  for _, row in ipairs(bad) do
    it("gives HANDSHAKE for a server that answers " .. row[1], run(function()
      local ws, message, id = duplex.connect((scripted { accept(row[2]) }), { open_timeout = 2 })
      assert.is_nil(ws)
      assert.equal("HANDSHAKE", id, message)
      assert.matches("^HANDSHAKE: .+", message)
    end))
  end

  -- RFC 7692 5.1, 7.1: what a server may not answer to what we offer.
  for _, answer in ipairs {
    "permessage-deflate; server_max_window_bits=99999", "permessage-deflate; server_max_window_bits",
    "permessage-deflate; client_max_window_bits=16", "permessage-deflate; client_max_window_bits",
    "permessage-deflate; server_no_context_takeover=1", "permessage-deflate; x", "permessage-deflate;",
    "permessage-deflate, permessage-deflate", "x-webkit-deflate-frame",
  } do
    it("gives HANDSHAKE for a server that answers " .. answer, run(function()
      local url = scripted { accept(function(a)
        return (a:gsub("\r\n\r\n", "\r\nSec-WebSocket-Extensions: " .. answer .. "\r\n\r\n"))
      end) }
      local ws, message, id = duplex.connect(url, { open_timeout = 2, compression = true })
      assert.is_nil(ws)
      assert.equal("HANDSHAKE", id)
      assert.equal("HANDSHAKE: response: extensions are no answer to what was offered", message)
    end))
  end

  it("connects to a server at top level, outside any task", function()
    local server = serve()
    local ws = assert(duplex.connect(server.url))
    assert.matches("^GET / ", (ws:receive(1)))
    ws:send("x")
    assert.equal("x", (ws:receive(1)))
    assert.is_true(ws:close())
    server:stop(1)
  end)
end)

describe("redirects", function()
  local function to(location, status)
    return ("HTTP/1.1 %d Moved\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n")
      :format(status or 302, location)
  end

  it("are followed, relative and absolute, with 301, 302, 303, 307 and 308", run(function()
    local server = serve()
    for _, status in ipairs { 301, 302, 303, 307, 308 } do
      local url, heads = scripted { to("next?x=1", status), to(server.url .. "/there", status) }
      assert.matches("^GET /there ", head_of(url .. "/a/b"))
      assert.matches("^GET /a/next%?x=1 ", heads[2])
    end
  end))

  it("keep credentials to their origin", run(function()
    local server = serve()
    local headers = { Authorization = "Bearer secret", Cookie = "secret=1", ["X-Other"] = "stays" }
    local url, heads = scripted { to("/same"), to(server.url .. "/other") }
    local head = head_of(url, { headers = headers })
    assert.matches("Bearer secret", heads[2])
    assert.matches("secret=1", heads[2])
    assert.is_nil(head:find("secret", 1, true))
    assert.matches("\r\nX%-Other: stays\r\n", head)
    url, heads = scripted { to("/same"), to(server.url .. "/@x") }
    head = head_of((url:gsub("//", "//me:secret@")))
    assert.matches("\r\nAuthorization: Basic ", heads[2])
    assert.is_nil(head:find("Authorization", 1, true))
  end))

  it("end after as many as are allowed", run(function()
    local url, heads = scripted { to("/again") }
    local _, message, id, response = duplex.connect(url, { redirects = 3 })
    assert.equal("HTTP", id)
    assert.equal(302, response.status)
    assert.equal(4, #heads)
    assert.matches("302", message)
    url, heads = scripted { to("/again") }
    assert.equal("HTTP", select(3, duplex.connect(url, { redirects = 0 })))
    assert.equal(1, #heads)
  end))

  it("to what is no WebSocket are not followed, and the text says why", run(function()
    local url = scripted { to("ftp://x/") }
    local _, message, id = duplex.connect(url)
    assert.equal("HTTP", id)
    assert.matches("redirect not followed: URL: a scheme that is not ws or wss", message)
  end))
end)

describe("several addresses of a name", function()
  local function bound(list)
    local host = setmetatable({ resolve = function() return list end }, { __index = native })
    return duplex.bind(host)
  end

  it("are tried until one answers", run(function()
    local server = serve()
    local other = bound { "::1", "127.0.0.1" }
    local least = math.huge -- of several, as a machine may be busy
    for _ = 1, 5 do
      local began = duplex.now()
      local ws = assert(other.connect(("ws://name:%d/"):format(server.port)))
      least = math.min(least, duplex.now() - began)
      assert.equal("127.0.0.1", ws.address)
      ws:close()
      if least < 0.2 then break end
    end
    assert.is_true(least < 0.2, "a refusal costs a quarter of a second")
    local v6 = assert(duplex.serve({ host = "::1", log = false }, function() end))
    local ws = assert(bound({ "127.0.0.1", "::1" }).connect("ws://name:" .. v6.port))
    assert.equal("::1", ws.address)
  end))

  it("are all named when none answers", run(function()
    local port = ports.free()
    local _, message, id = bound({ "::1", "127.0.0.1" }).connect("ws://name:" .. port)
    assert.equal("CONNECT", id)
    assert.equal(("CONNECT: Connection refused (::1 port %d); Connection refused (127.0.0.1 port %d)")
      :format(port, port), message)
  end))
end)

describe("while the loop stops", function()
  it("later connects and sleepers get STOPPED", run(function()
    local server = serve()
    local sleeping = both.task(duplex.sleep, 100)
    both.settle()
    duplex.stop(1)
    assert.same({ nil, "STOPPED: the loop is stopping", "STOPPED" }, { duplex.connect(server.url) })
    assert.equal("STOPPED", select(3, sleeping()))
    assert.equal("STOPPED", select(3, duplex.sleep(1)))
  end))

  it("clients are closed with 1001", function()
    local code
    duplex.run(function()
      local came = duplex.event()
      local server = assert(duplex.serve({ log = false }, function(ws)
        came:set()
        code = ws:wait_closed()
      end))
      local ws = assert(duplex.connect(server.url))
      came:wait()
      duplex.spawn(function() ws:receive() end)
      duplex.stop(2)
    end)
    assert.equal(1001, code)
  end)
end)
