-- SPDX-License-Identifier: MIT
-- The peers of raw.lua over TLS by LuaSec, which is none of our code: blocking,
-- frames made by hand.

local PATIENCE = require "spec.support.patience"
local pki = require "spec.support.pki"
local raw = require "spec.support.raw"
local ssl = require "ssl"

local secure = {}

--- What a LuaSec context is made of; 'changes' are added to it.
function secure.client(changes)
  local o = { mode = "client", protocol = "any", options = "all", verify = "peer", cafile = pki.ca }
  for name, value in pairs(changes or {}) do o[name] = value end
  return assert(ssl.newcontext(o))
end

function secure.server(changes)
  local pair = pki.certificate()
  local o = { mode = "server", protocol = "any", options = "all", certificate = pair.certificate, key = pair.key }
  for name, value in pairs(changes or {}) do o[name] = value end
  return assert(ssl.newcontext(o))
end

--- Makes a peer speak TLS. -> peer | nil, problem
function secure.wrap(peer, context, name)
  local sock = assert(ssl.wrap(peer.sock, context))
  sock:settimeout(PATIENCE)
  if name then sock:sni(name) end
  local ok, problem = sock:dohandshake()
  if not ok then
    sock:close()
    return nil, problem
  end
  peer.sock = sock
  return peer
end

local default

--- raw.tcp, with TLS.
function secure.tcp(port, small)
  default = default or secure.client()
  return assert(secure.wrap(raw.tcp(port, small), default))
end

--- raw.connect, with TLS.
function secure.connect(port, small)
  local peer = secure.tcp(port, small)
  peer:write(raw.request())
  local head = peer:head()
  assert(head and head:find("^HTTP/1.1 101 "), head or "no answer")
  return peer
end

--- raw.listen, with TLS.
function secure.listen()
  local listener, context = raw.listen(), secure.server()
  local tcp = listener.tcp
  function listener:tcp() return assert(secure.wrap(tcp(self), context)) end
  listener.url = listener.url:gsub("^ws:", "wss:")
  return listener
end

return secure
