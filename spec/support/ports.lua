-- SPDX-License-Identifier: MIT
-- Ports for servers that are told theirs: programs of other people, those of
-- the documents, and servers that come back where they were. Whoever can listen
-- on port 0 and say what it got needs none of these.

local socket = require "socket"

local ports = {}

-- Below those that the system gives to clients and to port 0: otherwise somebody
-- else would get one between here and the server. Whoever plays specs has a block
-- of its own, and listens on its first port to say so.
local FIRST, SIZE, COUNT = 10240, 500, 44

-- Busted loads this file again for each file of specs; the registry stays.
local registry, KEY = debug.getregistry(), "ports of the specs"

local function block()
  local own = registry[KEY]
  if own then return own end
  for i = 0, COUNT - 1 do
    local first = FIRST + i * SIZE
    local listener = socket.bind("127.0.0.1", first)
    if listener then
      own = { first = first, last = first, listener = listener }
      registry[KEY] = own
      return own
    end
  end
  error("all blocks of ports are taken", 2)
end

--- A port on which nobody listens, and that nobody else is given soon.
---@return integer
function ports.free()
  local own = block()
  for _ = 1, SIZE do
    own.last = own.last < own.first + SIZE - 1 and own.last + 1 or own.first + 1
    local listener = socket.bind("127.0.0.1", own.last)
    if listener then
      listener:close()
      return own.last
    end
  end
  error("all ports of the block are taken", 2)
end

return ports
