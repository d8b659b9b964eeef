-- SPDX-License-Identifier: MIT
-- TLS for clients, servers and pairs, on the C module duplex.tls. That one, and
-- OpenSSL with it, is loaded by the first who needs it.

local core = require "duplex.core"
local dial = require "duplex.dial"
local failure = require "duplex.failure"
local options = require "duplex.options"

local secure = {}

local MAX_CONTEXTS = 16 -- of clients, that are kept

local function failed(what) return failure.of("TLS", what) end

local function load_tls()
  local fine, tls = pcall(function() return require "duplex.tls" end)
  if not fine then
    return failed("the module duplex.tls cannot be loaded: " .. tostring(tls):match("[^\n]*"))
  elseif tls.stamp ~= core.stamp then
    return failed(("duplex.tls (%s) and duplex.core (%s) are not of one build")
      :format(tls.stamp, core.stamp))
  end
  return tls
end

-- A copy in which passphrases are text.
local function unlocked(given)
  local copy = {}
  for name, value in pairs(given) do copy[name] = value end
  if type(given.passphrase) == "function" then
    local fine, text = pcall(given.passphrase)
    if not fine or type(text) ~= "string" then
      return failed("the passphrase function gave no text: " .. tostring(text))
    end
    copy.passphrase = text
  end
  if not given.certificates then return copy end
  copy.certificates = {}
  for i, identity in ipairs(given.certificates) do
    local message, id
    copy.certificates[i], message, id = unlocked(identity)
    if id then return nil, message, id end
  end
  return copy
end

--- What all connections with the same options share.
---@param role "server"|"client"
---@param given table as options.lua checked it
---@return userdata|nil context of duplex.tls, string? message, string? id
function secure.context(role, given)
  local tls, message, id = load_tls()
  if not tls then return nil, message, id end
  given, message, id = unlocked(given)
  if not given then return nil, message, id end
  return tls.context(role, given)
end

-- ---- clients ----

local cache = {} -- { key, context }, the one used last comes first

local FILES = { ca = true, certificate = true, key = true }

-- Options as a text, with what changes when their files do.
local function key_of(tls, given)
  local names, parts = {}, {}
  for name in pairs(given) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do
    local value = given[name]
    local text = type(value) == "table" and table.concat(value, "\1") or tostring(value)
    local stamp = FILES[name] and not value:find("\n", 1, true) and tls.file_stamp(value) or ""
    parts[i] = name .. "\1" .. text .. "\1" .. stamp
  end
  return table.concat(parts, "\2")
end

-- Reading the authorities takes a while, and sessions can be resumed only where
-- they are kept: so contexts are used again.
local function client_context(given)
  local tls, message, id = load_tls()
  if not tls then return nil, message, id end
  given, message, id = unlocked(given)
  if not given then return nil, message, id end
  local key = key_of(tls, given)
  for i, entry in ipairs(cache) do
    if entry.key == key then
      table.insert(cache, 1, table.remove(cache, i))
      return entry.context
    end
  end
  local context
  context, message, id = tls.context("client", given)
  if not context then return nil, message, id end
  table.insert(cache, 1, { key = key, context = context })
  cache[MAX_CONTEXTS + 1] = nil
  return context
end

-- Waits until the handshake is done.
local function shake_hands(attempt, ws, engine, what)
  while true do
    local ready, message, id = engine:ready()
    if ready or id then return ready, message, id end
    local _
    _, message, id = core.head(ws) -- where the end of a connection shows
    if not id then _, message, id = dial.input(attempt, ws) end
    if id == "TIMEOUT" then
      return dial.timed_out(attempt, "no TLS handshake with " .. what)
    elseif id == "LOST" then
      return failed(what .. " hung up during the TLS handshake")
    elseif id then
      return nil, message, id
    end
  end
end

-- Native links hold their engines themselves; streams let theirs go at the end.
local function let_go(transport, engine)
  if not transport.keeps_engines then engine:close() end
end

--- Makes a connection that was accepted speak TLS.
---@param transport table
---@param context userdata from secure.context
---@param ws duplex.Connection in its handshake
---@param begun? boolean what was received and not read is TLS already
---@return true|nil ok, string? message, string? id
function secure.server(transport, context, ws, begun)
  local engine, message, id = context:engine()
  if not engine then return nil, message, id end
  local ok
  ok, message, id = transport.secure(ws, engine, begun)
  let_go(transport, engine)
  if ok then core.secure(ws, true) end
  return ok, message, id
end

--- Makes a connection, or a tunnel, speak TLS before the WebSocket handshake.
---@param attempt table see client.lua
---@param ws duplex.Connection in its handshake
---@param host string who must answer, unless tls.server_name says otherwise
---@param port integer
---@param given table|false TLS options
---@return true|nil ok, string? message, string? id
function secure.client(attempt, ws, host, port, given)
  if attempt.host.secure then return attempt.host.secure(attempt, ws, host, port, given) end
  local begin = attempt.host.transport.secure
  if not begin then
    return failed(("host '%s' has no TLS"):format(tostring(attempt.host.name)))
  end
  given = given or options.tls_defaults("client")
  local context, message, id = client_context(given)
  if not context then return nil, message, id end
  local engine, ok
  engine, message, id = context:engine(given.server_name or host, port)
  if not engine then return nil, message, id end
  ok, message, id = begin(ws, engine)
  if ok then
    ok, message, id = shake_hands(attempt, ws, engine, ("%s port %d"):format(host, port))
  end
  let_go(attempt.host.transport, engine)
  if not ok then return nil, message, id end
  core.secure(ws, true)
  return true
end

-- ---- in memory ----

--- Two engines that have shaken hands, for both ends of a pair.
---@param given { server: table, client: table } TLS options
---@param level integer whom to blame for bad ones
---@return table|nil server engine, table|string client_or_message, string? id
function secure.pair(given, level)
  local contexts = {}
  for _, role in ipairs { "server", "client" } do
    local checked = options.check(role, { tls = given[role] or {} }, level + 1).tls
    local context, message, id = secure.context(role, checked)
    if not context then return nil, message, id end
    contexts[role] = { context = context, name = checked.server_name or "localhost" }
  end
  local server = contexts.server.context:engine()
  local client = contexts.client.context:engine(contexts.client.name)
  local again
  repeat
    server:feed(client:output())
    local ready, message, id = server:ready()
    client:feed(server:output())
    local done, its_message, its_id = client:ready()
    if its_id or id then return nil, its_message or message, its_id or id end
    again = not (ready and done)
  until not again
  client:read() -- tickets for sessions
  return server, client
end

return secure
