-- SPDX-License-Identifier: MIT
-- Defects that a review found, each as the program that showed it. They concern
-- the top level of a program, finalizers and closed coroutines, so each runs in
-- a process of its own; under sanitizers these showed memory used after free.

local applies = require "spec.support.applies"
local child = require "spec.support.child"

-- Runs a program; it prints what it is judged by.
local function output_of(program, before)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(before or "", 'local duplex = require "duplex"\n', program)
  file:close()
  local process = child.start(child.lua, path)
  local lines = {}
  for line in function() return process:line() end do lines[#lines + 1] = line end
  process:stop()
  os.remove(path)
  return table.concat(lines, "\n")
end

describe("a program", function()
  for _, row in ipairs {
    { "gets many small pieces at top level without going ever deeper", [[
      local n = 30000
      local server = assert(duplex.serve({ port = 0, max_control_rate = 1000000 },
        function(ws) for _ = 1, n do ws:ping() end ws:send("end") ws:wait_closed() end))
      local ws = assert(duplex.connect(server.url, { max_control_rate = 1000000 }))
      print((ws:receive(20)))]], "end" },
    { "answers pings at top level although it only sleeps after connect", [[
      local server = assert(duplex.serve({ port = 0 }, function(ws)
        print(ws:ping(2) ~= nil)
      end))
      local ws = assert(duplex.connect(server.url))
      duplex.sleep(0.2)]], "true" },
    { "survives an error object that cannot be shown", [[
      local server = assert(duplex.serve({ port = 0, log = false }, function()
        error(setmetatable({}, { __tostring = function() error("boom") end }))
      end))
      duplex.run(function()
        local ws = assert(duplex.connect(server.url))
        print(select(3, ws:receive(2)), ws.close_code)
        server:stop(1)
      end)]], "CLOSED\t1011" },
    { "may close the coroutine of a task that waits for a message", [[
      local co
      local server = assert(duplex.serve({ port = 0, log = false }, function(ws)
        co = coroutine.running()
        ws:receive(0.05)
      end))
      local ws = assert(duplex.connect(server.url))
      duplex.sleep(0.02)
      coroutine.close(co)
      duplex.sleep(0.1)
      ws:send("x")
      duplex.sleep(0.05)
      print("alive")]], "alive" },
    { "may close the coroutine of a task that waits for an event", [[
      local co
      duplex.spawn(function()
        co = coroutine.running()
        duplex.event():wait(0.05)
      end)
      duplex.sleep(0.01)
      coroutine.close(co)
      collectgarbage()
      collectgarbage()
      duplex.sleep(0.1)
      print("alive")]], "alive$" },
    { "waits for ever without work when told to sleep for ages", [[
      duplex.spawn(function() duplex.sleep(1e300) end)
      local before = os.clock()
      duplex.sleep(0.3)
      print(os.clock() - before < 0.2)]], "true" },
    { "waits for a signal at top level", [[
      local pid = io.open("/proc/self/stat"):read("*n")
      duplex.spawn(function() duplex.sleep(0.05) os.execute("kill -USR1 " .. pid) end)
      print(duplex.signal("SIGUSR1"))]], "SIGUSR1" },
    { "is not stopped for ever by clients it did not keep", [[
      duplex.run(function()
        local server = assert(duplex.serve({ port = 0 }, function(ws) ws:receive() end))
        for _ = 1, 10 do assert(duplex.connect(server.url)) end
        collectgarbage()
        duplex.stop(1)
      end)
      print("stopped")]], "stopped$" },
  } do
    local it = applies.where(coroutine.close or not row[2]:find("coroutine.close", 1, true),
      "it has no coroutine.close", it)
    it(row[1], function() assert.matches(row[3], output_of(row[2])) end)
  end

  for name, call in pairs {
    ["sets an event"] = "e:set()",
    ["sleeps"] = "duplex.sleep(0.01)",
    ["starts a task"] = "duplex.spawn(function() end)",
  } do
    it("may have a finalizer that " .. name .. " when everything is over", function()
      -- Made before the loop, it runs after the loop is gone.
      -- Tables have no finalizers before 5.2; newproxy is what has them there.
      local before = "local e; local keep = newproxy and newproxy(true) or setmetatable({}, {})\n"
        .. "local meta = getmetatable(keep) meta.__gc = function() "
        .. "local duplex = require 'duplex' " .. call .. " end "
        .. "if not newproxy then setmetatable(keep, meta) end\n"
      assert.matches("^end", output_of([[
        e = duplex.event()
        duplex.spawn(function() e:wait() end)
        duplex.sleep(0.01)
        print("end")]], before))
    end)
  end
end)
