-- SPDX-License-Identifier: MIT
-- secure_client.lua URL [COUNT [OPTIONS]]: COUNT connections at once, each of
-- which sends a message and prints what comes back, or why nothing does.

local duplex = require "duplex"

local url, count = arg[1], tonumber(arg[2] or 1)
local options = { tls = assert((loadstring or load)("return " .. (arg[3] or "nil")))(), log = false }

duplex.run(function()
  for _ = 1, count do
    duplex.spawn(function()
      local ws, problem = duplex.connect(url, options)
      if ws then
        ws:send("echo")
        problem = ws:receive(10)
        ws:close()
      end
      print(problem)
      io.stdout:flush()
    end)
  end
end)
