-- SPDX-License-Identifier: MIT
-- duplex connect: each line typed is a message, each message is a line.

local core = require "duplex.core"

local connect = {}

local PATIENCE = 2 -- seconds that answers may take after the last line
local MOMENT = 0.1 -- seconds of silence that end the waiting

---@type duplex.CommandSpec
connect.spec = {
  name = "connect",
  text = "Talks to a WebSocket server.\n\n"
    .. "Each line of input is sent as a text message, and what comes back is shown.\n"
    .. "Ends with the input, or with the connection.",
  rows = {
    { name = "URL", required = true, text = "ws://host:port/path, or wss://" },
    { name = "--unix", value = "PATH", text = "Connect to a Unix socket; the URL then gives Host and path." },
    { name = "--header", value = "LINE", many = true, text = 'A header of the handshake: "Name: value"; may be repeated.' },
    { name = "--subprotocol", value = "NAME", text = "Subprotocol to offer." },
    { name = "--origin", value = "ORIGIN", text = "Origin header to send." },
    { name = "--ca", value = "FILE", text = "Authorities to trust (PEM) instead of the system's." },
    { name = "--insecure", text = "Do not verify the server's certificate." },
    { name = "--certificate", value = "FILE", text = "Own certificate chain (PEM), for servers that ask." },
    { name = "--key", value = "FILE", text = "Private key of the certificate." },
    { name = "--proxy", value = "URL", text = "Proxy: http, https, socks5 or socks5h; none: of the environment." },
    { name = "--compression", value = "KIND", optional = true, choices = { "dedicated", "shared" },
      text = "Compress messages. KIND dedicated (default): with what was sent before; shared: each on its own." },
    { name = "--max-message", value = "BYTES", number = true, default = 1048576, text = "Larger messages end the connection." },
  },
}

-- A peer must not drive the terminal: control characters are shown, not sent
-- on. In UTF-8 C1 controls are C2 80 .. C2 9F.
local function visible(text)
  text = text:gsub("\194[\128-\159]", function(c)
    return ("\\u{%x}"):format(c:byte(2))
  end)
  return (text:gsub("[%z\1-\8\11-\31\127]", function(c)
    return ("\\x%02x"):format(c:byte())
  end))
end

local function show(message, kind)
  if kind == "binary" then
    local hex = message:sub(1, 64):gsub(".", function(c) return ("%02x "):format(c:byte()) end)
    local more = #message > 64 and "..." or ""
    return ("< (binary, %d bytes) %s%s"):format(#message, hex, more)
  end
  return "< " .. visible(message):gsub("\n", "\n  ")
end

local REASONS = {
  [1000] = "normal closure", [1001] = "going away", [1002] = "protocol error",
  [1003] = "unsupported data", [1005] = "no code given", [1006] = "no close frame came",
  [1007] = "invalid data", [1008] = "policy violation", [1009] = "message too big",
  [1010] = "extension missing", [1011] = "internal error", [1012] = "service restart",
  [1013] = "try again later", [1014] = "bad gateway",
}

local function send_line(ws, line)
  line = line:gsub("\r$", "")
  if core.utf8_valid(line) then
    ws:send(line)
  else
    io.stderr:write("duplex: a line is not valid UTF-8, not sent\n")
  end
end

-- Lines of standard input, each as soon as it is whole.
local function send_lines(ws, input)
  local rest = ""
  while true do
    local bytes = input:read()
    if not bytes then break end
    rest = rest .. bytes
    local stop = rest:match("^.*\n()") or 1
    for line in rest:sub(1, stop - 1):gmatch("([^\n]*)\n") do
      send_line(ws, line)
    end
    rest = rest:sub(stop)
  end
  if rest ~= "" then send_line(ws, rest) end
end

-- The last lines may be answered still: until the server has seen them, and
-- says nothing for a moment.
local function await_answers(duplex, ws)
  local deadline = duplex.now() + PATIENCE
  ws:ping(PATIENCE)
  repeat
    local before = ws:stats().messages_in
    duplex.sleep(MOMENT)
  until ws:stats().messages_in == before or duplex.now() > deadline
end

local function talk(duplex, ws)
  local input = require("duplex.loop").input(0)
  local ended = false
  duplex.spawn(function()
    send_lines(ws, input)
    if ended then return end
    await_answers(duplex, ws)
    ws:close()
  end)
  local message, kind = ws:receive()
  while message do
    io.stdout:write(show(message, kind), "\n")
    io.stdout:flush()
    message, kind = ws:receive()
  end
  ended = true
end

function connect.run(values)
  local duplex = require "duplex"
  local headers = {}
  for _, line in ipairs(values.header or {}) do
    local name, value = line:match("^([^:]+):%s*(.*)$")
    if not name then
      io.stderr:write("duplex: --header needs \"Name: value\"\n")
      return 2
    end
    headers[name] = headers[name] or {}
    table.insert(headers[name], value)
  end
  if values.origin then headers.Origin = values.origin end
  local status, compression = 1, values.compression
  if compression then
    compression = { compressor = compression ~= true and compression or nil }
  end
  duplex.run(function()
    local fine, ws, message, _, response = duplex.pcall(duplex.connect, values.url, {
      headers = headers, unix = values.unix, max_message = values.max_message,
      subprotocols = values.subprotocol and { values.subprotocol },
      proxy = values.proxy, compression = compression,
      tls = {
        ca = values.ca, certificate = values.certificate, key = values.key,
        verify = not values.insecure,
      },
    })
    if not fine then ws, message, status = nil, ws, 2 end
    if not ws then
      io.stderr:write("duplex: ", visible(message), "\n")
      if response and response.body ~= "" then
        io.stderr:write(visible(response.body:sub(1, 1000)), "\n")
      end
      return
    end
    io.stdout:write("connected to ", visible(values.url:gsub("//[^/@]*@", "//***@")),
      compression and ws.extensions == "" and ", which compresses nothing"
        or ws.extensions ~= "" and ", " .. ws.extensions or "", "\n")
    io.stdout:flush()
    talk(duplex, ws)
    local code = ws:wait_closed()
    local reason = ws.close_reason
    io.stdout:write(("connection closed: %d (%s)%s\n"):format(code,
      REASONS[code] or "application's own",
      reason and reason ~= "" and " " .. visible(reason) or ""))
    if ws.close_error then io.stderr:write("duplex: ", visible(ws.close_error), "\n") end
    status = ws.close_error and 1 or 0
    duplex.stop(0)
  end)
  return status
end

return connect
