-- SPDX-License-Identifier: MIT
-- Servers with TLS in the loop of the spec, and what clients make of them.

local assert = require "luassert"
local duplex = require "duplex"
local pki = require "spec.support.pki"

local secure = {}

local DEADLINE = 5 -- seconds: open_timeout of every client here

--- Options of a server: the certificate for localhost, and 'changes'.
function secure.tls(changes)
  local pair = pki.certificate()
  local tls = { certificate = pair.certificate, key = pair.key }
  for name, value in pairs(changes or {}) do tls[name] = value end
  return tls
end

secure.echo = require "spec.support.each"

--- A server with these TLS options; other options may follow.
function secure.serve(tls, handler, others)
  local options = { tls = tls or secure.tls(), log = false }
  for name, value in pairs(others or {}) do options[name] = value end
  return assert(duplex.serve(options, handler or secure.echo))
end

--- Where a server is, by the name of its certificate.
function secure.url(server, host) return ("wss://%s:%d/"):format(host or "localhost", server.port) end

--- Tries to connect: what duplex.connect returns.
function secure.try(server, tls, host)
  local options = { ca = pki.ca }
  for name, value in pairs(tls or {}) do options[name] = value end
  if options.ca == false then options.ca = nil end
  return duplex.connect(secure.url(server, host), { tls = options, open_timeout = DEADLINE, log = false })
end

--- Connects, or fails the spec.
function secure.connect(server, tls, host)
  local ws, problem = secure.try(server, tls, host)
  assert(ws ~= nil, problem)
  return ws
end

--- Connecting has to fail with TLS and these words, long before its deadline.
function secure.refused(words, server, tls, host)
  local began = duplex.now()
  local ws, message, id = secure.try(server, tls, host)
  assert.is_nil(ws)
  assert.equal("TLS", id, message)
  assert.matches("^TLS: ", message)
  assert.is_true(message:lower():find(words:lower(), 1, true) ~= nil, ("no %q in: %s"):format(words, message))
  assert.is_nil(message:find("error:", 1, true), "OpenSSL's own words: " .. message)
  assert.is_true(duplex.now() - began < DEADLINE - 1, "it took too long")
  return message
end

--- A round trip over a connection.
function secure.alive(ws, text)
  text = text or "still here"
  assert.is_true(ws:send(text))
  assert.equal(text, (ws:receive(5)))
end

return secure
