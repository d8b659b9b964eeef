-- SPDX-License-Identifier: MIT
-- The programs of the guide are a server and its client in one. Each half alone, as
-- it is written, in a place of its own (spec/support/network.lua):
--   lua -e 'require("spec.network.half").server { DEFAULTS }' stay.lua
--   lua -e 'require("spec.network.half").client("ws://10.77.1.2:8080", HOLD, { DEFAULTS })' stay.lua
-- In the server's half whoever connects waits for ever. In the client's there is no
-- server: what 'serve' returns has the URL of the other half. DEFAULTS are those of
-- options that the program does not give. HOLD is a number: when so many lines are
-- printed, and the first connection is open, the client's machine falls asleep; it
-- is woken up by "CONT".

local duplex = require "duplex"
local log = require "duplex.log"
local rows = require "duplex.option_rows"

local half = {}

local ROLES = { server = true, client = true, both = true }

io.stdout:setvbuf("line")

local function change(defaults)
  for name, value in pairs(defaults) do
    for _, row in ipairs(rows) do
      if row.name == name and ROLES[row.role] then row.default = value end
    end
  end
end

-- Besides what everybody sees.
local function details(level, message, fields)
  print((level == "debug" and "" or "seen: ") .. log.line(level, message, fields))
end

--- The whole program, for others on the network, too.
function half.both(defaults)
  defaults.host = "*"
  defaults.log = details
  change(defaults)
  local serve = duplex.serve
  function duplex.serve(...)
    local server, message, id = serve(...)
    if server then print("here: listening") end
    return server, message, id
  end
end

--- The half that serves.
function half.server(defaults)
  half.both(defaults)
  function duplex.connect() duplex.event():wait() end
end

--- The half that connects.
function half.client(url, hold, defaults)
  local connect, printed, connected = duplex.connect, 0, false
  local function sleep_when_due()
    if not connected or printed < hold then return end
    hold = math.huge
    os.execute("kill -STOP $PPID")
  end

  change(defaults)
  function duplex.serve() return { url = url, stop = function() end } end
  function duplex.connect(...)
    local ws, message, id, response = connect(...)
    connected = connected or ws ~= nil
    sleep_when_due()
    return ws, message, id, response
  end
  local said = print
  function print(...) -- luacheck: ignore
    said(...)
    printed = printed + 1
    sleep_when_due()
  end
end

return half
