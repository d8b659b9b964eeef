-- Echo in a program that lives in cqueues, beside a task of its own.
local cqueues = require "cqueues"
local duplex = require "duplex.cqueues"

local loop = cqueues.new()
local server

loop:wrap(function()
  server = assert(duplex.serve({ port = tonumber(arg[1]) or 8080 }, function(ws)
    for message, kind in ws:messages() do ws:send(message, kind) end
  end))
  print("listening on " .. server.url)
  io.stdout:flush()
end)

loop:wrap(function()
  while true do
    cqueues.sleep(10)
    print(server:stats().connections .. " connections")
  end
end)

assert(loop:loop())
