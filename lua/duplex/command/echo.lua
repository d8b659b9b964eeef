-- SPDX-License-Identifier: MIT
-- duplex echo: a server that sends every message back.

local puc51 = require "duplex.puc51"

local echo = {}

---@type duplex.CommandSpec
echo.spec = {
  name = "echo",
  text = "Serves WebSockets that send every message back.",
  rows = {
    { name = "--host", value = "ADDRESS", default = "127.0.0.1", text = "Address to listen on; * for all." },
    { name = "--port", value = "N", number = true, default = 8080, text = "TCP port; 0 for any free one." },
    { name = "--unix", value = "PATH", text = "Listen on a Unix socket instead." },
    { name = "--tls", text = "Speak TLS: wss instead of ws. Needs --certificate." },
    { name = "--certificate", value = "FILE", text = "Certificate chain (PEM); read again on SIGHUP." },
    { name = "--key", value = "FILE", text = "Private key of the certificate; none: it is in the same file." },
    { name = "--compression", value = "KIND", optional = true, choices = { "dedicated", "shared" },
      text = "Compress messages. KIND dedicated (default): a compressor for each connection; shared: one for all." },
    { name = "--max-message", value = "BYTES", number = true, default = 1048576, text = "Larger messages close the connection (1009)." },
  },
}

local function handler(ws)
  for message, kind in ws:messages() do
    ws:send(message, kind)
  end
end

-- No iterator can wait there. Elsewhere it is 4 % faster when messages come in
-- bursts.
if puc51 then
  function handler(ws)
    local message, kind = ws:receive()
    while message do
      ws:send(message, kind)
      message, kind = ws:receive()
    end
  end
end

-- New certificates come with SIGHUP, as for other servers.
local function reload(duplex, server)
  while duplex.signal("SIGHUP") do
    local ok, message = server:reload_tls()
    io.stderr:write("duplex: ", ok and "read the certificate again"
      or message .. "; the old certificate stays", "\n")
  end
end

local KEPT = 8 * 1024 * 1024 -- bytes of freed memory, for the next messages

function echo.run(values)
  local problem = (values.certificate or values.key) and not values.tls
    and "--certificate and --key need --tls"
    or values.tls and not values.certificate and "--tls needs --certificate"
  if problem then
    io.stderr:write("duplex: ", problem, "; see duplex echo --help\n")
    return 2
  end
  local duplex = require "duplex"
  local loop = require "duplex.loop"
  loop.descriptors(true) -- as many as the system allows
  loop.keep_freed(KEPT) -- large messages come and go all the time
  local status = 0
  duplex.run(function()
    local options = { max_message = values.max_message, unix = values.unix }
    if not values.unix then options.host, options.port = values.host, values.port end
    if values.compression then
      options.compression = { compressor = values.compression ~= true and values.compression or nil }
    end
    if values.tls then options.tls = { certificate = values.certificate, key = values.key } end
    local fine, server, message = duplex.pcall(duplex.serve, options, handler)
    if not fine then server, message = nil, server end
    if not server then
      io.stderr:write("duplex: ", message, "\n")
      status = fine and 1 or 2
      return
    end
    io.stdout:write("listening on ", server.url, "\n")
    io.stdout:flush()
    if values.tls then duplex.spawn(reload, duplex, server) end
  end)
  return status
end

return echo
