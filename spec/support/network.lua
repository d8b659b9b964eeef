-- SPDX-License-Identifier: MIT
-- Networks that fail, for specs: programs in network namespaces of their own, and
-- the cable to each, which can be cut without a word, as a real one.
--
--   network.lacks()                why that cannot be had here, nil if it can
--   network.results(script, ...)   runs a script in a namespace, see child.results;
--                                  network.begin starts it
-- and in such a script:
--   local place = network.place()  somewhere else; place.address, place.here: how
--                                  one reaches that from here, and here from there
--   local program = place:start("spec/network/far.lua", "serve", "8080")
--   program:await "^listening"     waits for a line of its output
--   program:signal "STOP"          a machine asleep; "CONT", "KILL"
--   place:cut()  place:mend()      the cable
--   network.here:start(...)        where the script itself is
--
-- All of it is inside of one namespace, whose end is that of the script: nothing is
-- left over, and nothing else of the machine is touched.

local child = require "spec.support.child"
local PATIENCE = require "spec.support.patience"

local network = {}

local LIFE = 60 -- seconds that anything of this may last

local function quote(word) return "'" .. word:gsub("'", "'\\''") .. "'" end

local function run(command) return (os.execute(command .. " >/dev/null 2>&1")) end

-- Lua 5.1 and LuaJIT return a number.
local function succeeds(command)
  local status = run(command)
  return status == true or status == 0
end

-- Who is not root may be it in a namespace of users, where that is allowed.
local function enter()
  for _, words in ipairs { "unshare -n", "unshare -rn" } do
    if succeeds(words .. " sh -c 'ip link add near type veth peer name far && unshare -n nsenter -t $$ -n true'") then
      return words
    end
  end
end

local entered

--- Why there are no such networks here, nil if there are.
function network.lacks()
  if (os.getenv("LD_PRELOAD") or ""):find("asan") then return "its bounds of time are for programs at full speed" end
  if entered == nil then entered = enter() or false end
  return not entered and "no network namespaces can be made here (unshare -n, ip link add ... type veth)" or nil
end

--- Starts a script in a network of its own.
---@param script string
---@param ... string its arguments
---@return fun(): table<string, string|boolean> results waits for what became of its cases, see child.results
function network.begin(script, ...)
  local folder = os.tmpname()
  os.remove(folder)
  assert(succeeds("mkdir " .. folder))
  local playing = child.start("env", "NETWORK_FOLDER=" .. folder, "sh", "-c",
    ("exec %s sh -c 'ip link set lo up; exec \"$@\"' sh \"$@\""):format(entered), "sh", child.lua, script, ...)
  return function()
    local results = playing:results()
    os.execute("rm -rf " .. folder)
    return results
  end
end

--- What became of the cases of a script that runs in a network of its own.
---@param script string
---@param ... string its arguments
---@return table<string, string|boolean> see child.results
function network.results(script, ...) return network.begin(script, ...)() end

-- ---- in such a script ----

local places, programs = 0, 0
local duplex -- the loop of the script

local place, program = {}, {}
local place_class, program_class = { __index = place }, { __index = program }

local pipes = {} -- one that is collected waits for its process

local function start(command)
  local pipe = assert(io.popen(command))
  pipes[#pipes + 1] = pipe
  return assert(tonumber(pipe:read("*l")), command), pipe
end

-- The same command, where the place is.
local function there(self, command)
  return self.pid and ("nsenter -t %d -n %s"):format(self.pid, command) or command
end

network.here = setmetatable({}, place_class)

--- Another place in the network.
---@return table
function network.place()
  places = places + 1
  local prefix, near = ("10.77.%d."):format(places), "near" .. places
  local self = setmetatable({ address = prefix .. "2", here = prefix .. "1" }, place_class)
  -- A program that only is there: the namespace lasts as long as it.
  self.pid = start(("exec unshare -n sh -c 'echo $$; exec setpriv --pdeathsig KILL sleep %d'"):format(LIFE))
  -- Who is asked for an address and does not answer is noticed sooner or later: so
  -- nobody here has to ask.
  local mac = ("02:00:00:00:00:%02x"):format(places)
  assert(succeeds(("ip link add %s type veth peer name far address %s netns %d && ip addr add %s/24 dev %s"
    .. " && ip link set %s up && ip neigh add %s lladdr %s nud permanent dev %s")
    :format(near, mac, self.pid, self.here, near, near, self.address, mac, near)))
  assert(succeeds(there(self, ("sh -c 'ip addr add %s/24 dev far && ip link set far up && ip link set lo up'")
    :format(self.address))))
  return self
end

--- From now on nothing comes through, in neither direction, and nobody is told.
function place:cut() assert(succeeds(there(self, "ip link set far down"))) end

--- Things come through again.
function place:mend() assert(succeeds(there(self, "ip link set far up"))) end

--- Starts a program there.
---@param ... string the program and its arguments
---@return table program
function place:execute(...)
  local words = {}
  for i, word in ipairs { ... } do words[i] = quote(word) end
  programs = programs + 1
  local output = ("%s/%d"):format(os.getenv("NETWORK_FOLDER"), programs)
  local pid, pipe = start(("echo $$; exec >%s 2>&1; exec %s"):format(output,
    there(self, "setpriv --pdeathsig KILL " .. table.concat(words, " "))))
  return setmetatable({ pid = pid, pipe = pipe, output = output }, program_class)
end

--- Starts a Lua script there.
---@param ... string the script and its arguments
---@return table program
function place:start(...) return self:execute(child.lua, ...) end

--- All it has printed.
function program:text()
  local file = io.open(self.output)
  local text = file and file:read("*a") or ""
  if file then file:close() end
  return text
end

local function poll(self, look, what)
  local deadline = duplex.now() + PATIENCE
  while not look() do
    if duplex.now() > deadline then error(("%s, but:\n%s"):format(what, self:text()), 3) end
    duplex.sleep(0.01)
  end
end

--- Waits for a line of its output.
---@param pattern string
---@param count? integer for so many of them, default 1
---@return string ... what the pattern finds in the last
function program:await(pattern, count)
  local found
  poll(self, function()
    local left = count or 1
    for line in self:text():gmatch("[^\n]+") do
      if line:find(pattern) then found, left = line, left - 1 end
      if left == 0 then return true end
    end
  end, ("no line %q"):format(pattern))
  return found:match(pattern)
end

-- A letter of proc(5): "T" is stopped, "Z" has ended.
local function state(self)
  local file = io.open(("/proc/%d/stat"):format(self.pid))
  local text = file and file:read("*a")
  if file then file:close() end
  return text and text:match("%) (%a) ") or "Z"
end

--- Waits until it has stopped itself.
function program:asleep()
  poll(self, function() return state(self) == "T" end, "it did not stop")
end

--- Waits until it has ended.
function program:gone()
  poll(self, function() return state(self) == "Z" end, "it did not end")
end

--- Waits for its end.
---@return integer status or, when a signal ended it, its number (Lua 5.1 does not say)
---@return number seconds of processor time that it took
function program:status()
  self:gone()
  local file = assert(io.open(("/proc/%d/stat"):format(self.pid)))
  local user, system = file:read("*a"):match("%) " .. ("%S+ "):rep(11) .. "(%d+) (%d+)")
  file:close()
  return select(3, self.pipe:close()) or 0, (user + system) / 100
end

--- Sends it a signal: "STOP", "CONT", "TERM", "KILL", ...
function program:signal(name) os.execute(("kill -%s %d"):format(name, self.pid)) end

--- Plays cases, all at once; prints a line for each as child.results wants it.
---@param bound duplex on whichever host
---@param cases { [1]: string, [2]: fun() }[] name and body, which may wait
function network.play(bound, cases)
  duplex = bound
  duplex.run(function()
    local left = #cases
    for _, case in ipairs(cases) do
      duplex.spawn(function()
        local fine, problem = duplex.pcall(case[2])
        print(fine and "ok " .. case[1] or ("not ok %s: %s"):format(case[1], tostring(problem)))
        io.stdout:flush()
        left = left - 1
        -- At once: closing the pipes would wait for those who are far away.
        if left == 0 then os.exit(0) end
      end)
    end
  end)
end

return network
