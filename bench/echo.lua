-- SPDX-License-Identifier: MIT

-- An echo server with a compressor for each connection that is told everything, for
-- the benchmark: lua echo.lua BITS MEMORY_LEVEL LEVEL PORT
-- Without a port it only sees whether everything it needs is there.

local duplex = require "duplex"

local bits, memory_level, level, port = tonumber(arg[1]), tonumber(arg[2]), tonumber(arg[3]), tonumber(arg[4])
if not port then return end

duplex.run(function()
  assert(duplex.serve({
    port = port, max_message = 67108864, log = false,
    compression = { server_max_window_bits = bits, memory_level = memory_level, level = level },
  }, function(ws)
    for message, kind in ws:messages() do
      ws:send(message, kind)
    end
  end))
end)
