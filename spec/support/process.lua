-- SPDX-License-Identifier: MIT
-- Other processes, for specs. Each dies with the spec that started it, however
-- that ends: a watchdog beside it looks for both once a second.

local socket = require "socket"

local process = {}
local methods = {}
local metatable = { __index = methods }

local LUA = os.getenv("LUA") or "lua5.4"
local BUILD = os.getenv("DUPLEX_BUILD") or "./build/5.4"

local function quote(word) return "'" .. word:gsub("'", "'\\''") .. "'" end

--- Starts a command.
---@param words string[]
---@param options? { before: string? } shell text to run first, as "ulimit -n 40;"
function process.start(words, options)
  local quoted, errors = {}, os.tmpname()
  for i, word in ipairs(words) do quoted[i] = quote(word) end
  local script = ([[
    (while kill -0 $SPEC && kill -0 $$; do sleep 1; done; kill -9 $$) >/dev/null 2>&1 </dev/null &
    echo $$; %s exec %s 2>%s </dev/null]]):format(
    options and options.before or "", table.concat(quoted, " "), errors)
  -- Lua 5.1 does not say how a program ended, so an outer shell does.
  local line = ("SPEC=$PPID sh -c %s; echo $? >%s.status"):format(quote(script), errors)
  local self = setmetatable({ pipe = io.popen(line), errors = errors }, metatable)
  self.pid = tonumber(self.pipe:read("*l"))
  return self
end

--- Starts a Lua script with the library of this checkout in reach.
function process.lua(words, options)
  local all = { "env", "LUA_PATH=./lua/?.lua;./lua/?/init.lua;./?.lua;" .. package.path,
    ("LUA_CPATH=%s/lib/?.so;%s"):format(BUILD, package.cpath), LUA }
  for _, word in ipairs(words) do all[#all + 1] = word end
  return process.start(all, options)
end

--- Starts a server and waits until it listens; self.port is where.
---@param words string[] a Lua script and its arguments
function process.server(words, options)
  local self = process.lua(words, options)
  local line = self:line() or ""
  self.port = tonumber(line:match(":(%d+)/?$"))
  if not self.port then
    self:kill()
    error("the server does not listen: " .. line .. self.log, 2)
  end
  return self
end

--- The echo server of the command.
---@param max_message? integer
---@param port? integer default one that is free
function process.echo(max_message, port)
  return process.server { "bin/duplex", "echo", "--host", "127.0.0.1", "--port", tostring(port or 0),
    "--max-message", tostring(max_message or 1048576) }
end

--- The next line of its output, nil at the end.
function methods:line() return self.pipe:read("*l") end

local function signal(self, name)
  os.execute(("kill -%s %d 2>/dev/null"):format(name, self.pid))
end

-- A shell may wait for the script; /proc knows when it is a zombie or gone.
local function alive(pid)
  local file = io.open("/proc/" .. pid .. "/stat")
  local text = file and file:read("*a")
  if file then file:close() end
  return text ~= nil and not text:find(") Z ", 1, true)
end

local function finish(self)
  self.pipe:close()
  local file = assert(io.open(self.errors .. ".status"))
  local code = file:read("*n")
  file:close()
  os.remove(self.errors .. ".status")
  file = io.open(self.errors)
  self.log = file and file:read("*a") or ""
  if file then file:close() end
  os.remove(self.errors)
  self.pipe = nil
  if self.log:find("Sanitizer", 1, true) or self.log:find("runtime error:", 1, true) then
    error(self.log, 0)
  end
  if code > 128 then return "signal", code - 128 end
  return "exit", code
end

--- What it wrote to standard error so far.
function methods:errors_now()
  local file = assert(io.open(self.errors))
  local text = file:read("*a")
  file:close()
  return text
end

--- Asks it to end, twice if need be. -> "exit", 0 when it did so cleanly; what
--- it wrote to standard error is in self.log.
function methods:stop()
  if not self.pipe then return end
  signal(self, "TERM")
  local deadline = socket.gettime() + 3
  while alive(self.pid) do
    if socket.gettime() > deadline then signal(self, "KILL") end
    socket.sleep(0.005)
  end
  return finish(self)
end

function methods:kill()
  if not self.pipe then return end
  signal(self, "KILL")
  return finish(self)
end

local function memory(self, name)
  local file = assert(io.open("/proc/" .. self.pid .. "/status"))
  local text = file:read("*a")
  file:close()
  return tonumber(text:match(name .. ":%s*(%d+)"))
end

--- Kilobytes of memory that it holds.
function methods:resident() return memory(self, "VmRSS") end

--- Kilobytes of memory that body() makes it take at most, beside what it held.
function methods:peak(body)
  local file = assert(io.open("/proc/" .. self.pid .. "/clear_refs", "w"))
  file:write("5")
  file:close()
  local before = memory(self, "VmHWM")
  body()
  return memory(self, "VmHWM") - before
end

--- Seconds of processor time that it used.
function methods:cpu()
  local file = assert(io.open("/proc/" .. self.pid .. "/stat"))
  local rest = file:read("*a"):match("%) (.*)")
  file:close()
  local fields = {}
  for field in rest:gmatch("%S+") do fields[#fields + 1] = field end
  return (tonumber(fields[12]) + tonumber(fields[13])) / 100
end

return process
