-- SPDX-License-Identifier: MIT
-- traced.lua WHAT: what trace_spec.lua looks at, in a process of its own, as the
-- environment says whether to trace.

local duplex = require "duplex"
local both = require "spec.support.both"
local bytes = require "spec.support.bytes"
local peer = require "spec.support.peer"
local pki = require "spec.support.pki"

local MASK = "\1\2\3\4"

-- One of each kind of message, and a goodbye.
local function talk(client, server)
  client:send("hello")
  server:receive()
  server:send("\0\1\255", "binary")
  client:receive()
  local pieces = { "cd", "ab" }
  client:send(function() return table.remove(pieces) end)
  server:receive()
  server:send(("0123456789"):rep(2000))
  client:receive()
  duplex.broadcast({ [server] = true }, "to all")
  client:receive()
  local answering = both.task(function() server:receive() end)
  client:ping()
  client:close(4000, "bye")
  answering()
end

local ways = {}

function ways.socket() both.socket(talk) end
function ways.stream() both.streams(false, talk) end
function ways.pair() talk(duplex.pair()) end

function ways.tls()
  local pair = pki.certificate()
  both.socket(talk, { tls = { ca = pki.ca } },
    { tls = { certificate = pair.certificate, key = pair.key } })
end

-- What a handshake has that nobody else should read.
function ways.head()
  local server = assert(duplex.serve({ log = false, on_request = function()
    return 403, "no", { ["Set-Cookie"] = "s3cret", Location = "http://joe:s3cret@x/?t=s3cret",
      Referer = "//joe:s3cret@x/#a=s3cret?&s3cret" }
  end }, function() end))
  duplex.connect(server.url:gsub("//", "//joe:s3cret@") .. "/a/b?token=s3cret&s3cret&room=s3cret", {
    headers = { Cookie = "s3cret", ["X-Api-Key"] = "s3cret", Referer = "http://x/?t=s3cret",
      ["User-Agent"] = "spec\"s" },
    compression = { server_max_window_bits = 12, server_no_context_takeover = true },
    subprotocols = { "chat", "s3cret" .. ("x"):rep(19), "v4.base64.channel.k8s.io" },
  })
  peer.connect(server.port):send("GET\t/?token=s3cret\r\ns3cret\r\n\r\n"):rest()
end

function ways.proxy()
  local port = peer.listen(function(p) p:read_to("\r\n\r\n") p:send("HTTP/1.1 407 No\r\n\r\n") p:close() end)
  duplex.connect("ws://server.invalid/", { proxy = "http://joe:s3cret@127.0.0.1:" .. port })
  port = peer.listen(function(p) p:read(3) p:send("\5\2") p:read_to("s3cret") p:close() end)
  duplex.connect("ws://127.0.0.1/", { proxy = "socks5://joe:s3cret@127.0.0.1:" .. port })
end

-- Frames that are cut, or broken.
function ways.frames()
  local server = assert(duplex.serve({ log = false }, function(ws)
    while ws:receive() do end
  end))
  local function say(...)
    local raw = peer.connect(server.port):upgrade()
    for _, piece in ipairs { ... } do
      raw:send(piece)
      duplex.sleep(0.003)
    end
    both.settle()
    raw:close()
  end
  local frame = bytes.frame(0x81, "byte by byte", MASK)
  local cut = {}
  for i = 1, #frame do cut[i] = frame:sub(i, i) end
  say((table.unpack or unpack)(cut))
  say(bytes.frame(0x81, "one", MASK) .. bytes.frame(0x82, "two", MASK) .. bytes.frame(0x89, "", MASK))
  say(bytes.frame(0x81, ("a"):rep(40000), MASK) .. bytes.frame(0x01, ("b"):rep(70000) .. "end", MASK))
  say(bytes.frame(0xf1, "bits", MASK))
  say(bytes.frame(0x81, "plain"))
  say(bytes.frame(0x83, "?", MASK))
  say("\129\254\0\1\1\2\3\4x")
  say(bytes.frame(0x88, "\3", MASK))
end

duplex.run(function()
  ways[arg[1]]()
  duplex.stop(1)
end)
