-- SPDX-License-Identifier: MIT
-- Messages of all sizes, compressed with every combination of parameters: sections
-- 12 and 13 of the Autobahn test suite, played by the library that the suite is
-- made of; and then windows of all sizes.
-- COUNT in the environment is how many messages each case has; the suite: 1000.

local child = require "spec.support.child"

local PYTHON = os.getenv("PYTHON") or "/usr/bin/python3"
local PEERS = "spec/counterparts/peers/"
local COUNT = os.getenv("COUNT") or "5"

-- { section, what the message is, or offer or answer }
local SECTIONS = {
  { "12.1", "JSON" }, { "12.2", "a picture" }, { "12.3", "prose" }, { "12.4", "HTML" },
  { "12.5", "what is compressed already" },
  { "13.1", "no parameter" }, { "13.2", "no context takeover" }, { "13.3", "9 bits" }, { "13.4", "15 bits" },
  { "13.5", "9 bits, no context takeover" }, { "13.6", "15 bits, no context takeover" },
  { "13.7", "several offers" },
}

-- They end by themselves, but not before all cases were played.
local function start(...)
  local usual = child.deadline
  child.deadline = usual + 6 * COUNT
  local one = child.start(...)
  child.deadline = usual
  return one
end

local function with_server(cases, bits)
  local server = start(child.lua, PEERS .. "echoing.lua", "server", bits)
  local url = server:expect("^listening on (.*)$")
  return start(PYTHON, PEERS .. "suite.py", cases, "client", url, COUNT):results(), server
end

local function with_client(cases, bits)
  local server = start(PYTHON, PEERS .. "suite.py", cases, "server", COUNT)
  local client = start(child.lua, PEERS .. "echoing.lua", "client", server:expect("^listening on (.*)$"), bits)
  return server:results(), client
end

for role, play in pairs { ["our server"] = with_server, ["our client"] = with_client } do
  local results, ours

  describe("compressed messages, " .. role .. ":", function()
    lazy_setup(function() results, ours = play("cases") end)
    lazy_teardown(function() ours:stop() end)

    for _, section in ipairs(SECTIONS) do
      it(section[1] .. ": " .. section[2], function()
        for case = 1, 18 do
          local name = section[1] .. "." .. case
          local result = results[name]
          assert.is_true(result, name .. ": " .. tostring(result))
        end
      end)
    end
  end)

  describe("windows of all sizes, " .. role .. ":", function()
    lazy_setup(function() results, ours = play("windows", "15") end)
    lazy_teardown(function() ours:stop() end)

    for bits = 9, 15 do
      for _, how in ipairs { "", ", no context takeover" } do
        it(bits .. " bits" .. how, function()
          for _, case in ipairs { 4, 10, 16 } do
            local name = ("%d bits%s, %d"):format(bits, how, case)
            local result = results[name]
            assert.is_true(result, name .. ": " .. tostring(result))
          end
        end)
      end
    end
  end)
end
