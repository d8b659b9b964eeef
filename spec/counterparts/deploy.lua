-- SPDX-License-Identifier: MIT
-- nginx and HAProxy with the files of examples/deploy as they are shipped. Only
-- what has to differ here is replaced: ports, paths, the user.

local child = require "spec.support.child"
local PATIENCE = require "spec.support.patience"
local pki = require "spec.support.pki"
local ports = require "spec.support.ports"

local deploy = {}

--- -> did it succeed, what it said
function deploy.output_of(command)
  local pipe = assert(io.popen(command .. " 2>&1"))
  local text = pipe:read("*a")
  return pipe:close() == true, text
end

local NGINX, HAPROXY = "/usr/sbin/nginx", "/usr/sbin/haproxy" -- not in everybody's PATH
local _, USER = deploy.output_of("id -un")
local _, GROUP = deploy.output_of("id -gn")
USER, GROUP = USER:match("%S+"), GROUP:match("%S+")

--- The two, and where they differ.
deploy.kinds = {
  {
    name = "nginx", file = "examples/deploy/nginx.conf",
    silence = "proxy_read_timeout 60s", -- how long it may last
    down = "502 Bad Gateway",
    unix = "unix:",
    browser = "http/1.1 101", -- of a page, and of its WebSocket
    -- Without OpenSSL's own idea of what is too old.
    lax = { ["ssl_protocols"] = "ssl_ciphers DEFAULT@SECLEVEL=0; ssl_protocols" },
    certificate = { "/etc/ssl/certs/example.com.pem", "/etc/ssl/private/example.com.key" },
    changes = function(at, folder) -- what is replaced, and with what
      return {
        ["user www-data;"] = USER == "root" and ("user %s %s;"):format(USER, GROUP) or "",
        ["/run/nginx.pid"] = folder .. "/pid",
        ["/var/log/nginx/error.log"] = "stderr notice",
        ["/var/log/nginx/access.log"] = folder .. "/access.log",
        ["\nhttp {"] = ("\nhttp {\n  client_body_temp_path %s/body; proxy_temp_path %s/proxy; fastcgi_temp_path %s/f;"
          .. " uwsgi_temp_path %s/u; scgi_temp_path %s/s;"):gsub("%%s", folder),
        ["listen 80 "] = ("listen 127.0.0.1:%d "):format(at.plain),
        ["listen [::]:80 "] = ("listen 127.0.0.2:%d "):format(at.plain),
        ["listen 443 "] = ("listen 127.0.0.1:%d "):format(at.tls),
        ["listen [::]:443 "] = ("listen 127.0.0.2:%d "):format(at.tls),
      }
    end,
    check = function(path) return ("%s -t -e stderr -c %s"):format(NGINX, path) end,
    start = function(path) return NGINX, "-e", "stderr", "-g", "daemon off;", "-c", path end,
    reload = function(path) return ("%s -s reload -e stderr -c %s"):format(NGINX, path) end,
    ready = "start worker process ",
  },
  {
    name = "HAProxy", file = "examples/deploy/haproxy.cfg",
    silence = "timeout tunnel 60s",
    down = "503 Service Unavailable",
    unix = "unix@",
    browser = "h2 200",
    lax = { ["ssl-default-bind-options"] = "ssl-default-bind-ciphers DEFAULT@SECLEVEL=0\n  ssl-default-bind-options" },
    certificate = { "/etc/haproxy/example.com.pem" },
    changes = function(at)
      return {
        ["user haproxy"] = "user " .. USER,
        ["group haproxy"] = "group " .. GROUP,
        ["bind :::80 v4v6"] = ("bind 127.0.0.1:%d"):format(at.plain),
        ["bind :::443 v4v6"] = ("bind 127.0.0.1:%d"):format(at.tls),
      }
    end,
    check = function(path) return ("%s -c -f %s"):format(HAPROXY, path) end,
    start = function(path, folder) return HAPROXY, "-W", "-db", "-p", folder .. "/pid", "-f", path end,
    reload = function(_, folder) return ("kill -USR2 $(head -n 1 %s/pid)"):format(folder) end,
    ready = "Loading success",
  },
}

local function replace(text, old, new)
  local result, from = {}, 1
  while true do
    local first, last = text:find(old, from, true)
    result[#result + 1] = text:sub(from, (first or 0) - 1)
    if not first then break end
    result[#result + 1] = new
    from = last + 1
  end
  assert(#result > 1, "the file has no " .. old)
  return table.concat(result)
end

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

local count = 0

-- The shipped file, made to run here.
local function configure(kind, backend, changed)
  local folder
  repeat -- other files of specs have a count of their own, in the same folder
    count = count + 1
    folder = ("%s/proxy%d"):format(pki.folder, count)
  until os.execute("mkdir " .. folder .. " 2>/dev/null")
  local self = { kind = kind, folder = folder, path = folder .. "/conf",
    ports = { plain = ports.free(), tls = ports.free() } }
  local text = pki.read(kind.file)
  for old, new in pairs(kind.changes(self.ports, folder)) do text = replace(text, old, new) end
  for i, old in ipairs(kind.certificate) do text = replace(text, old, folder .. "/" .. i) end
  for old, new in pairs(changed or {}) do text = replace(text, old, new) end
  write(self.path, replace(text, "127.0.0.1:8080", backend))
  self.url = "wss://localhost:" .. self.ports.tls
  return self
end

--- Gives it another certificate, which it reads when it is started or reloaded.
---@param pair table of pki.certificate
function deploy.install(self, pair)
  local text, key = pki.read(pair.certificate), pki.read(pair.key)
  local both = self.kind.certificate[2] ~= nil
  write(self.folder .. "/1", both and text or text .. key)
  write(self.folder .. "/2", key)
end

--- Starts one.
---@param kind table of deploy.kinds
---@param backend string "ADDRESS:PORT", or the path of a Unix socket after kind.unix
---@param pair table of pki.certificate
---@param changed? table<string, string> what else of the file is replaced
---@return table { url, ports = { tls, plain }, child, path, folder }
function deploy.start(kind, backend, pair, changed)
  local self = configure(kind, backend, changed)
  deploy.install(self, pair)
  -- When it is killed its workers live on, with the pipe that is read to its end.
  local usual = child.grace
  child.grace = PATIENCE
  self.child = child.start(kind.start(self.path, self.folder))
  child.grace = usual
  self.child:expect(kind.ready)
  return self
end

return deploy
