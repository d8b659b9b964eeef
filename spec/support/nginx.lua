-- SPDX-License-Identifier: MIT
-- A real nginx with its Lua module, in a folder of its own, for specs.

local PATIENCE = require "spec.support.patience"
local ports = require "spec.support.ports"
local process = require "spec.support.process"
local socket = require "socket"

local nginx = {}
local methods = {}
local metatable = { __index = methods }

local PROGRAM = "/usr/sbin/nginx" -- not in everybody's PATH
local MODULES = "/usr/lib/nginx/modules/"
local BUILD = "build/5.1"

-- Workers live on when their master is killed, as it is with a spec that is.
local WATCH = [[ (while kill -0 $$; do W=$(pgrep -P $$ -x nginx); sleep 1; done; kill -9 $W) >/dev/null 2>&1 </dev/null &]]

local function exists(path)
  local file = io.open(path)
  if file then file:close() end
  return file ~= nil
end

--- Why it cannot be started here, nil if it can.
nginx.lacks = not exists(PROGRAM) and "nginx is not installed"
  or not exists(MODULES .. "ngx_http_lua_module.so") and "libnginx-mod-http-lua is not installed"
  or not exists(BUILD .. "/lib/duplex/core.so") and "make LUA=luajit has not been run"
  -- nginx runs the same whoever plays with it, and that takes minutes.
  or not jit and "nginx has LuaJIT, and is played with by specs on that" or nil

local function output_of(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read("*a")
  pipe:close()
  return text
end

local function contents(path)
  local file = io.open(path)
  local text = file and file:read("*a") or ""
  if file then file:close() end
  return text
end

local CONFIG = [[
load_module $MODULES/ndk_http_module.so;
load_module $MODULES/ngx_http_lua_module.so;
$USER
worker_processes $WORKERS;
pid $FOLDER/pid;
error_log $FOLDER/error.log info;
daemon off;
events { worker_connections 2048; }
http {
  client_body_temp_path $FOLDER/body; proxy_temp_path $FOLDER/proxy;
  fastcgi_temp_path $FOLDER/f; uwsgi_temp_path $FOLDER/u; scgi_temp_path $FOLDER/s;
  access_log $FOLDER/access.log;
  lua_package_path "$ROOT/lua/?.lua;$ROOT/lua/?/init.lua;$ROOT/?.lua;;";
  lua_package_cpath "$ROOT/$BUILD/lib/?.so;;";
$HTTP
}
]]

--- Starts one.
---@param http string what stands in http { }; $PORT is self.port, $OTHER self.other, $FOLDER its folder
---@param options? { workers: integer, text: string } text: all of nginx.conf instead
function nginx.start(http, options)
  options = options or {}
  local folder = os.tmpname()
  os.remove(folder)
  assert(os.execute("mkdir " .. folder))
  local self = setmetatable({ folder = folder, port = ports.free(), other = ports.free() }, metatable)
  local values = { FOLDER = folder, PORT = self.port, OTHER = self.other, WORKERS = options.workers or 1, BUILD = BUILD,
    ROOT = output_of("pwd"):match("[^\n]+"), MODULES = MODULES:gsub("/$", ""),
    USER = output_of("id -u"):find("^0") and "user root;" or "" }
  values.HTTP = (http or ""):gsub("%$([A-Z]+)", values)
  self.path = folder .. "/nginx.conf"
  local file = assert(io.open(self.path, "w"))
  file:write(((options.text or CONFIG):gsub("%$([A-Z]+)", values)))
  file:close()
  self.process = process.start({ PROGRAM, "-e", folder .. "/error.log", "-c", self.path },
    { before = "ulimit -n 8192;" .. WATCH })
  self:wait(function() return #self:workers() == tonumber(values.WORKERS) end)
  return self
end

--- Waits until check() is true.
function methods:wait(check)
  local deadline = socket.gettime() + PATIENCE
  while not check() do
    if socket.gettime() > deadline then error("nginx hangs:\n" .. self:log(), 2) end
    socket.sleep(0.02)
  end
end

--- Process ids of the workers.
function methods:workers()
  local list, master = {}, contents(self.folder .. "/pid"):match("%d+")
  local text = master and output_of("ps -o pid=,args= --ppid " .. master) or ""
  for pid, what in text:gmatch("(%d+) ([^\n]+)") do
    if what:find("worker process", 1, true) and not what:find("shutting", 1, true) then
      list[#list + 1] = tonumber(pid)
    end
  end
  return list
end

--- What it has logged.
function methods:log() return contents(self.folder .. "/error.log") end

--- The lines of the log that are worse than a notice.
function methods:complaints()
  local list = {}
  for line in self:log():gmatch("[^\n]+") do
    if line:find("%[%a+%]") and not line:find("%[info%]") and not line:find("%[notice%]")
      or not line:find("^%d%d%d%d/") then
      list[#list + 1] = line
    end
  end
  return table.concat(list, "\n")
end

function methods:access() return contents(self.folder .. "/access.log") end

function methods:signal(name)
  os.execute(("kill -%s %s"):format(name, contents(self.folder .. "/pid"):match("%d+")))
end

--- What a plain request gets: head, body.
function methods:get(path, host)
  local sock = assert(socket.tcp4())
  sock:settimeout(30)
  assert(sock:connect("127.0.0.1", self.port))
  sock:send(("GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n"):format(path, host or "127.0.0.1"))
  local text = sock:receive("*a") or ""
  sock:close()
  return text:match("^(.-\r\n)\r\n(.*)$")
end

--- Ends it and forgets its folder.
function methods:stop()
  local workers = table.concat(self:workers(), " ")
  self.process:stop()
  os.execute("kill -9 " .. workers .. " 2>/dev/null") -- should the master have been killed
  os.execute("rm -rf " .. self.folder)
end

return nginx
