-- SPDX-License-Identifier: MIT
-- A peer in a process of its own, which speaks bytes and blocks:
--   lua peer.lua MODE PORT   connects
--   lua peer.lua MODE        listens, and prints where

package.path = "./?.lua;" .. package.path
local bytes = require "spec.support.bytes"
local raw = require "spec.support.raw"
local socket = require "socket"

local mode, port = arg[1], tonumber(arg[2])
local LIFE = 6 -- seconds

local function open()
  if port then return raw.connect(port, nil, mode == "deaf" and 4096) end
  local listener = raw.listen()
  print(listener.url)
  io.stdout:flush()
  io.stdout:close() -- where that can be: whoever reads all of it goes on
  if mode == "silent" then
    socket.sleep(LIFE)
    os.exit()
  end
  if mode == "late" then socket.sleep(0.2) end
  return (listener:accept())
end

local modes = {}

-- One byte at a time.
function modes.halves()
  local p = open()
  p.sock:setoption("tcp-nodelay", true)
  for byte in bytes.frame(0x81, "in pieces", p.key):gmatch(".") do
    p:write(byte)
    socket.sleep(0.02)
  end
  p:until_close()
end

-- Reads nothing for a while, then all.
function modes.deaf()
  local p = open()
  socket.sleep(1)
  p:until_close()
end

-- Reads nothing, ever.
function modes.mute()
  open()
  socket.sleep(LIFE)
end

-- Begins no handshake.
function modes.silent()
  local _ = port and raw.tcp(port) or open()
  socket.sleep(LIFE)
end

-- Vanishes.
function modes.gone()
  local p = open()
  p:send(0x81, "last words")
  p:frame()
  p:reset()
end

-- Says in a message whether its ping was answered in time.
function modes.pings()
  local p = open()
  p:send(0x89, "are you there")
  p.sock:settimeout(2)
  local first, payload = p:frame()
  p:send(0x81, first == 0x8A and payload or "no pong")
  p:until_close()
end

-- Reads, answers no ping, and prints what it was told at the end.
function modes.quiet()
  local p = open()
  local first, payload
  repeat first, payload = p:frame() until first ~= 0x89
  print(first == 0x88 and ("closed %d"):format(payload:byte(1) * 256 + payload:byte(2)) or "cut")
end

-- Tells in a message what the first ping carries, which it answers.
function modes.pinged()
  local p = open()
  local first, payload = p:frame()
  p:send(0x8a, payload)
  p:send(0x81, first == 0x89 and payload or "no ping")
  p:until_close()
end

-- Is told what it is told, but takes its time for the handshake.
modes.late = modes.quiet

-- Sends more than anybody keeps who does not read, then "done".
function modes.floods()
  local p = open()
  p.sock:settimeout(LIFE)
  local frame = bytes.frame(0x82, ("x"):rep(65536), "\0\0\0\0") -- masking it 400 times takes seconds
  for _ = 1, 400 do p:write(frame) end
  p:send(0x81, "done")
  p:until_close()
end

modes[mode]()
