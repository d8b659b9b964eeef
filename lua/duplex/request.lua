-- SPDX-License-Identifier: MIT
-- What a client asked for: parsed from the head of its request when somebody
-- looks.

local core = require "duplex.core"
local url = require "duplex.url"

local request = {}

---@class duplex.Request
---@field method string "GET" for every upgrade
---@field target string as received, such as "/chat?room=a%20b"
---@field path string decoded, without the query: "/chat"
---@field query table<string, string> first value of each name, decoded
---@field headers table<string, string> looked up in any case; repeated ones
---  joined with ", "
---@field address string|nil the client's
---@field secure boolean came over TLS; behind a proxy, to the proxy
---@field tls table|nil what was agreed on, and with whom: see ws.tls
---@field upgrade boolean wants to become a WebSocket
---@field data any becomes ws.data
local fields = {}

local any_case = {
  __index = function(headers, name)
    local lower = type(name) == "string" and name:lower() or name
    if lower ~= name then return rawget(headers, lower) end
  end,
}

--- Header fields that are found in any case.
---@param headers table<string, string> names in lower case
---@return table<string, string>
function request.headers(headers) return setmetatable(headers, any_case) end

local function parse(self)
  local method, target, headers, minor = core.parse_request(self.raw)
  self.method, self.target, self.http_minor = method, target, minor
  self.headers = request.headers(headers)
  -- An absolute target (RFC 9112 3.2.2) is used as if it were only its path.
  local rest = target:match("^%a[%w+.-]*://[^/?]*(.*)$") or target
  local path, query = rest:match("^([^?]*)%??(.*)$")
  if path == "" then path = "/" end
  self.path = url.decode(path) or path
  self.query_text = query
end

for _, name in ipairs { "method", "target", "headers", "path", "http_minor", "query_text" } do
  fields[name] = function(self)
    parse(self)
    return rawget(self, name)
  end
end

function fields.query(self)
  self.query = url.query(self.query_text)
  return rawget(self, "query")
end

function fields.tls(self)
  self.tls = self.ws and self.ws.tls
  return rawget(self, "tls")
end

function fields.upgrade(self) return (core.examine(self.raw, 256)) == "upgrade" end

local metatable = {
  __index = function(self, name)
    local field = fields[name]
    return field and field(self)
  end,
}

--- A request from its head.
---@param raw string
---@param ws? duplex.Connection the connection it came on
---@return duplex.Request
function request.new(raw, ws)
  local self = { raw = raw, ws = ws, secure = false }
  if ws then
    -- A proxy may send requests of others over the same connection later.
    local _, _, secure = core.client(ws)
    if secure == nil then secure = core.secure(ws) end
    self.address, self.secure = ws.address, secure
  end
  return setmetatable(self, metatable)
end

return request
