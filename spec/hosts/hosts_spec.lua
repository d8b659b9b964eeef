-- SPDX-License-Identifier: MIT
-- What every host has to do (cases.lua), each host in a process of its own.

local absent = require "spec.hosts.absent"
local applies = require "spec.support.applies"
local cases = require "spec.hosts.cases"
local child = require "spec.support.child"
local hosts = require "spec.hosts.path"

local AFTER = { "run returns what main returned", "stop closes all, and sleepers learn of it",
  "stop calls functions of on_stop, which may wait",
  "stop is not over for tasks that learn of it from connections",
  "stop is for connections that come after it, too",
  "run does not wait for attempts that were given up", "run does not wait for background tasks",
  "no sleep that a stop has cut short is said to be over",
  "run waits for tasks that wait for background tasks", "run raises where the loop is running already", "run raises what main died of" }

for _, name in ipairs { "native", "cqueues", "copas", "luv" } do
  describe("the host " .. name, function()
    local host, results = hosts[name], nil

    if host.lacks then
      applies.note("the host " .. name, host.lacks)
      return
    end

    setup(function() results = child.results(child.lua, "spec/hosts/play.lua", name) end)

    local function check(title)
      local why = absent[name] and absent[name][title]
      if why then
        applies.note(title, name .. ": " .. why)
      else
        it(title, function() assert.equal(true, results[title]) end)
      end
    end

    for _, case in ipairs(cases) do check(case[1]) end
    for _, case in ipairs(cases.elsewhere) do check(case[1]) end
    for _, title in ipairs(AFTER) do check(title) end
  end)
end

describe("a host of one's own", function()
  if require "duplex.puc51" then return end -- has the native one only

  it("that has no Unix sockets says so, for servers and for clients", function()
    local function nothing() end
    local loop = { name = "mine", lacks = { "unix" }, now = os.time, start = nothing, listen = nothing,
      can_wait = function() return true end }
    local duplex = require "duplex.bind"(require("duplex.streams").host(loop))
    for _, call in ipairs {
      function() duplex.serve({ unix = "/there" }, nothing) end,
      function() duplex.connect("ws://x/", { unix = "/there" }) end,
    } do
      local fine, problem = pcall(call)
      assert.is_false(fine)
      assert.truthy(problem:find("host 'mine' cannot honour the option 'unix'", 1, true), problem)
      assert.is_nil(problem:find("streams.lua", 1, true), problem)
    end
  end)
end)

describe("the code of connections, servers and clients", function()
  it("names no host", function()
    local list = io.popen("ls lua/duplex/*.lua")
    for path in list:lines() do
      local own = path:match("([^/]*)%.lua$")
      if not hosts[own] and own ~= "init" then
        local number = 0
        for line in io.lines(path) do
          number = number + 1
          local code = line:gsub("%-%-.*", "")
          for name in pairs(hosts) do
            assert.is_nil(code:find("%f[%w]" .. name .. "%f[%W]"), ("%s:%d: %s"):format(path, number, line))
          end
        end
      end
    end
    list:close()
  end)
end)
