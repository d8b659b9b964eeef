-- SPDX-License-Identifier: MIT

-- The processes of the benchmark: servers, and the load generator.

local quote = require("rows").quote

local processes = {}

function processes.log(...)
  io.stderr:write(string.format(...), "\n")
end

--- Runs a command, which gets a free port as its last argument.  'load start'
--- lets the kernel end it when this process ends, in whatever way, so nothing
--- here has to survive an interrupt to clean up.
---@return table server { pid, port }, for load and stop
function processes.start(options, name, command)
  local pin = options.pin and "taskset -c 0 " or ""
  local program = quote(options.build .. "/load")
  local server = { name = name }
  server.pipe = io.popen(
    ("exec %s%s start %s"):format(pin, program, command))
  server.pid, server.port = server.pipe:read("n", "n")
  assert(server.port, "cannot run " .. program .. "; make bench builds it")
  return server
end

function processes.stop(server)
  os.execute("kill -KILL " .. server.pid .. " 2>/dev/null")
  server.pipe:close()
end

--- One run of the load generator: its "name value" pairs, nil if it failed.
function processes.load(options, server, arguments)
  local pin = options.pin and "taskset -c 1 " or ""
  local pipe = io.popen(("exec %s%s %s%s --port %d --pid %d </dev/null"):format(
    pin, quote(options.build .. "/load"), arguments,
    options.tls and " --tls" or "", server.port, server.pid))
  local line, result = pipe:read("a"), {}
  for name, value in line:gmatch("(%S+) (%S+)") do
    result[name] = tonumber(value) or value
  end
  if pipe:close() then
    return result
  end
  processes.log("%s failed: load %s", server.name, arguments)
  processes.failed = true
end

function processes.median(list)
  table.sort(list)
  local middle = (#list + 1) // 2
  return list[middle] and (list[middle] + list[#list + 1 - middle]) / 2
end

return processes
