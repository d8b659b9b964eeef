-- SPDX-License-Identifier: MIT
-- duplex connect: each line typed is a message, each message is a line.

local connect = {}

---@type duplex.CommandSpec
connect.spec = {
  name = "connect",
  text = "Talks to a WebSocket server: each line of input is sent as a text message,\n"
    .. "and what comes back is shown. Ends with the input, or with the connection.",
  rows = {
    { name = "URL", required = true, text = "ws://host:port/path" },
    { name = "--header", value = "LINE", text = 'A header of the handshake: "Name: value".' },
    { name = "--subprotocol", value = "NAME", text = "Subprotocol to offer." },
    { name = "--origin", value = "ORIGIN", text = "Origin header to send." },
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

-- Lines of standard input, each as soon as it is whole.
local function send_lines(ws, input)
  local rest = ""
  while true do
    local bytes = input:read()
    if not bytes then break end
    rest = rest .. bytes
    for line in rest:gmatch("([^\n]*)\n") do
      local fine, problem = pcall(ws.send, ws, (line:gsub("\r$", "")))
      if not fine then io.stderr:write("duplex: ", problem, "\n") end
    end
    rest = rest:match("[^\n]*$")
  end
  if rest ~= "" then pcall(ws.send, ws, rest) end
end

local function talk(duplex, ws)
  local input = require("duplex.loop").input(0)
  local ended = false
  duplex.spawn(function()
    send_lines(ws, input)
    if ended then return end
    -- Give the answers to the last lines a moment.
    ws:ping(2)
    ws:close()
  end)
  for message, kind in ws:messages() do
    io.stdout:write(show(message, kind), "\n")
    io.stdout:flush()
  end
  ended = true
end

function connect.run(values)
  local duplex = require "duplex"
  local headers = {}
  if values.header then
    local name, value = values.header:match("^([^:]+):%s*(.*)$")
    if not name then
      io.stderr:write("duplex: --header needs \"Name: value\"\n")
      return 2
    end
    headers[name] = value
  end
  if values.origin then headers.Origin = values.origin end
  local status = 1
  duplex.run(function()
    local fine, ws, message, _, response = pcall(duplex.connect, values.url, {
      headers = headers, max_message = values.max_message,
      subprotocols = values.subprotocol and { values.subprotocol },
    })
    if not fine then ws, message = nil, ws end
    if not ws then
      io.stderr:write("duplex: ", visible(message), "\n")
      if response and response.body ~= "" then
        io.stderr:write(visible(response.body:sub(1, 1000)), "\n")
      end
      return
    end
    io.stdout:write("connected to ", visible(values.url:gsub("//[^/@]*@", "//***@")), "\n")
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
