-- SPDX-License-Identifier: MIT
-- SOCKS5 (RFC 1928) with user and password (RFC 1929), from the client's side.

local address = require "duplex.address"
local core = require "duplex.core"
local dial = require "duplex.dial"
local failure = require "duplex.failure"

local socks = {}

local NONE, PASSWORD, NO_METHOD = 0, 2, 255
local SIZES = { [1] = 4, [4] = 16 } -- of an address, by its type
local NAME = 3

local REPLIES = { -- RFC 1928 6
  [1] = "general failure",
  [2] = "its rules do not allow this connection",
  [3] = "network unreachable",
  [4] = "host unreachable",
  [5] = "connection refused",
  [6] = "TTL expired",
  [7] = "it does not know the command CONNECT",
  [8] = "it does not know this type of address",
}
-- Those that another address of the same host may not get.
local ELSEWHERE = { [3] = true, [4] = true, [5] = true, [6] = true, [8] = true }

local function fail(what, ...) return failure.of("PROXY", what:format(...)) end

-- The next n bytes that the proxy says.
local function read(attempt, ws, n, stage)
  local got = ""
  while #got < n do
    local bytes, message, id = core.take(ws, n - #got)
    if bytes and bytes ~= "" then
      got = got .. bytes
    else
      local ok = not id
      if ok then ok, message, id = dial.input(attempt, ws) end
      if not ok then
        return dial.no_answer(attempt, {
          id = "PROXY", name = "the proxy", silence = "no answer of the proxy to " .. stage,
        }, message, id)
      end
    end
  end
  return got
end

-- RFC 1929
local function log_in(attempt, ws, via)
  core.put_raw(ws, "\1" .. string.char(#via.user) .. via.user
    .. string.char(#via.password) .. via.password)
  local answer, message, id = read(attempt, ws, 2, "user and password")
  if not answer then return nil, message, id end
  if answer:byte(2) ~= 0 then return fail("the proxy refused user and password") end
  return true
end

local function greet(attempt, ws, via)
  core.put_raw(ws, via.user and "\5\2\0\2" or "\5\1\0")
  local answer, message, id = read(attempt, ws, 2, "the greeting")
  if not answer then return nil, message, id end
  local version, method = answer:byte(1, 2)
  if version ~= 5 then return fail("the proxy does not speak SOCKS5") end
  if method == NONE then return true end
  if method == PASSWORD and via.user then return log_in(attempt, ws, via) end
  if method ~= NO_METHOD then
    return fail("the proxy chose a way to authenticate that was not offered")
  end
  return fail(via.user and "the proxy lets nobody in by user and password"
    or "the proxy wants authentication (user and password in its URL?)")
end

local function destination(host, port)
  local bytes = address.bytes(host)
  local place = not bytes and string.char(NAME, #host) .. host
    or (#bytes == 4 and "\1" or "\4") .. bytes
  return place .. string.char(math.floor(port / 256), port % 256)
end

-- Where the proxy connects from is of no use, but has to be read.
local function skip_bound(attempt, ws, kind, stage)
  local size = SIZES[kind]
  if kind == NAME then
    local length, message, id = read(attempt, ws, 1, stage)
    if not length then return nil, message, id end
    size = length:byte()
  end
  if not size then return fail("the proxy answered with a malformed address") end
  return read(attempt, ws, size + 2, stage)
end

local function ask(attempt, ws, host, port)
  core.put_raw(ws, "\5\1\0" .. destination(host, port))
  local stage = ("the request for %s port %d"):format(host, port)
  -- Some hang up behind the code of a failure.
  local answer, message, id = read(attempt, ws, 2, stage)
  if not answer then return nil, message, id end
  local version, reply = answer:byte(1, 2)
  if version ~= 5 then return fail("the proxy does not speak SOCKS5") end
  if reply ~= 0 then
    local _
    _, message, id = fail("the proxy did not connect to %s port %d: %s", host, port,
      REPLIES[reply] or ("unknown reply %d"):format(reply))
    return nil, message, id, ELSEWHERE[reply]
  end
  answer, message, id = read(attempt, ws, 2, stage)
  if not answer then return nil, message, id end
  return skip_bound(attempt, ws, answer:byte(2), stage)
end

--- Asks the proxy at the other end of a connection to connect it.
---@param attempt table see client.lua
---@param ws duplex.Connection to the proxy; from then on, to the host
---@param via duplex.proxy
---@param host string numeric address, or a name that the proxy resolves
---@param port integer
---@return boolean|nil ok, string? message, string? id
---@return boolean? elsewhere another address of the host may do
function socks.open(attempt, ws, via, host, port)
  local ok, message, id = greet(attempt, ws, via)
  if not ok then return nil, message, id end
  local elsewhere
  ok, message, id, elsewhere = ask(attempt, ws, host, port)
  if not ok then return nil, message, id, elsewhere end
  return true
end

return socks
