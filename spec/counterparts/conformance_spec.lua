-- SPDX-License-Identifier: MIT
-- Messages of all sizes, compressed with every combination of parameters: what
-- sections 12 and 13 of the Autobahn test suite do, by a peer with Python's zlib.
-- COUNT in the environment is how many messages each case has; the suite: 1000.

local child = require "spec.support.child"

local PYTHON = os.getenv("PYTHON") or "/usr/bin/python3"
local PEERS = "spec/counterparts/peers/"
local COUNT = os.getenv("COUNT") or "5"

-- { section, what the message is, offer or answer }
local SECTIONS = {
  { "12.1", "JSON" }, { "12.2", "a picture" }, { "12.3", "prose" }, { "12.4", "HTML" },
  { "12.5", "what is compressed already" },
  { "13.1", "no parameter" }, { "13.2", "no context takeover" }, { "13.3", "9 bits" }, { "13.4", "15 bits" },
  { "13.5", "9 bits, no context takeover" }, { "13.6", "15 bits, no context takeover" },
  { "13.7", "several offers" },
}

local function all_cases(results)
  for _, section in ipairs(SECTIONS) do
    it(section[1] .. ": " .. section[2], function()
      for case = 1, 18 do
        local name = section[1] .. "." .. case
        local result = results()[name]
        assert.is_true(result, name .. ": " .. tostring(result))
      end
    end)
  end
end

-- They end by themselves, but not before all cases were played.
local function start(...)
  local usual = child.deadline
  child.deadline = usual + 2 * COUNT
  local one = child.start(...)
  child.deadline = usual
  return one
end

describe("compressed messages, our server:", function()
  local server, results

  lazy_setup(function()
    server = start(child.lua, PEERS .. "echoing.lua", "server")
    results = start(PYTHON, PEERS .. "compressed.py", "client", server:expect("^listening on (.*)$"), COUNT):results()
  end)
  lazy_teardown(function() server:stop() end)

  all_cases(function() return results end)
end)

describe("compressed messages, our client:", function()
  local client, results

  lazy_setup(function()
    local server = start(PYTHON, PEERS .. "compressed.py", "server", COUNT)
    client = start(child.lua, PEERS .. "echoing.lua", "client", server:expect("^listening on (.*)$"))
    results = server:results()
  end)
  lazy_teardown(function() client:stop() end)

  all_cases(function() return results end)
end)
