-- SPDX-License-Identifier: MIT
-- echo_client.lua URL [BYTES [SECONDS ["compression"]]]: connects again and again,
-- and sends every message back, until it is refused. BYTES is max_message, SECONDS
-- is open_timeout. Nothing but the public interface.

local duplex = require "duplex"

local url = arg[1]
local options = {
  max_message = tonumber(arg[2]) or 1048576,
  open_timeout = tonumber(arg[3]) or 10,
  subprotocols = { "echo", "other" },
  compression = arg[4] == "compression",
}

duplex.run(function()
  while true do
    local ws, message, id = duplex.connect(url, options)
    if not ws then
      print(message)
      if id == "HTTP" or message:find("refused", 1, true) then return end
    else
      local data, kind = ws:receive()
      while data do
        ws:send(data, kind)
        data, kind = ws:receive()
      end
      print(ws.close_code, ws.close_error or "clean")
      ws:close()
    end
    io.stdout:flush()
  end
end)
