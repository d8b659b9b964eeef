-- SPDX-License-Identifier: MIT
-- bin/duplex as a child process, while the native loop of the spec goes on.

local child = require "spec.support.child"
local duplex = require "duplex"
local PATIENCE = require "spec.support.patience"

local command = {}
local methods = {}
local metatable = { __index = methods }

local function quote(word) return "'" .. word:gsub("'", "'\\''") .. "'" end

local function contents(name)
  local file = io.open(name, "rb")
  local text = file and file:read("*a") or ""
  if file then file:close() end
  return text
end

--- Starts bin/duplex. Its input is 'input', or stays open when that is nil.
---@param words string[]
---@param input? string
function command.start(words, input)
  local self = setmetatable({ base = os.tmpname() }, metatable)
  local quoted = {}
  for i, word in ipairs(words) do quoted[i] = quote(word) end
  local feed = "sleep 100 & echo $! >" .. self.base .. ".feed; wait"
  if input then
    local file = assert(io.open(self.base .. ".in", "wb"))
    file:write(input)
    file:close()
    feed = "cat " .. self.base .. ".in"
  end
  os.execute(("({ %s; } | { sh -c 'echo $$ >%s.pid; exec %s bin/duplex \"$@\"' sh %s; echo $? >%s.rc; })"
    .. " >%s.out 2>%s.err &"):format(feed, self.base, child.lua, table.concat(quoted, " "),
    self.base, self.base, self.base))
  return self
end

--- What it wrote so far.
function methods:output() return contents(self.base .. ".out") end
function methods:errors() return contents(self.base .. ".err") end

--- Waits until check() is true.
function methods:wait_for(check)
  local deadline = duplex.now() + PATIENCE
  while not check() do
    if duplex.now() > deadline then
      self:signal("KILL")
      error("a command hangs: " .. self:output() .. self:errors(), 2)
    end
    duplex.sleep(0.003)
  end
end

--- Waits for text in its output, and returns what the pattern captures.
function methods:expect(pattern)
  self:wait_for(function() return self:output():find(pattern) end)
  return self:output():match(pattern)
end

--- Sends it a signal.
function methods:signal(name)
  local pid = contents(self.base .. ".pid"):match("%d+")
  os.execute(("kill -%s %s 2>/dev/null"):format(name, pid))
end

--- Waits for its end: status, output, errors.
function methods:finish()
  self:wait_for(function() return contents(self.base .. ".rc"):find("\n") end)
  local feed = contents(self.base .. ".feed"):match("%d+")
  if feed then os.execute("kill " .. feed .. " 2>/dev/null") end
  local status, out, err = tonumber(contents(self.base .. ".rc")), self:output(), self:errors()
  for _, ending in ipairs { "", ".in", ".pid", ".rc", ".out", ".err", ".feed" } do
    os.remove(self.base .. ending)
  end
  return status, out, err
end

--- Runs it to its end: status, output, errors.
function command.run(words, input) return command.start(words, input or ""):finish() end

return command
