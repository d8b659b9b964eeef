-- SPDX-License-Identifier: MIT
-- Other programs, started by specs. A child ends by itself at its deadline and
-- when the spec that started it dies (Linux: PR_SET_PDEATHSIG).

local child = {}

child.deadline = 120 -- seconds, of those that are started next
child.grace = 2 -- seconds of theirs to end when told to, then they are killed

local function quote(word) return "'" .. word:gsub("'", "'\\''") .. "'" end

--- The interpreter that runs this spec.
child.lua = jit and "luajit" or "lua" .. _VERSION:match("%d.%d")

local methods = {}
local metatable = { __index = methods }

--- Starts a program. Lua programs find the modules that this spec found.
---@param ... string the program and its arguments
---@return table child
function child.start(...)
  local words = {}
  for i, word in ipairs { ... } do words[i] = quote(word) end
  -- The inner shell becomes setpriv, then timeout, which passes on what it is
  -- sent. Lua 5.1 does not say how a program ended, so the outer one does.
  local line = ("echo $$; exec env LUA_PATH=%s LUA_CPATH=%s "
    .. "setpriv --pdeathsig TERM timeout --foreground -k %d %d %s 2>&1"):format(
    quote(package.path), quote(package.cpath), child.grace, child.deadline, table.concat(words, " "))
  local status = os.tmpname()
  local pipe = assert(io.popen(("exec setpriv --pdeathsig TERM sh -c %s"):format(
    quote(("sh -c %s; echo $? >%s"):format(quote(line), status)))))
  return setmetatable({ pipe = pipe, pid = pipe:read("*l"), lines = {}, status = status },
    metatable)
end

--- The next line of its output. Blocks, at most until its deadline.
---@return string|nil line nil at the end
function methods:line()
  local line = self.pipe:read("*l")
  self.lines[#self.lines + 1] = line
  return line
end

--- What is found in a line of its output by a pattern; raises with the whole
--- output when the child ends without one.
---@param pattern string
---@return string ...
function methods:expect(pattern)
  for line in self.line, self do
    if line:find(pattern) then return line:match(pattern) end
  end
  error(("no line with %q from the child, but:\n%s"):format(pattern,
    table.concat(self.lines, "\n")), 2)
end

--- Waits for its end.
---@return boolean success, string output
function methods:finish()
  while self:line() do end
  self.pipe:close()
  self.pipe = nil
  local file = assert(io.open(self.status))
  local status = file:read("*n")
  file:close()
  os.remove(self.status)
  return status == 0, table.concat(self.lines, "\n")
end

--- Ends it. Nothing happens when it has ended.
function methods:stop()
  if not self.pipe then return end
  os.execute("kill " .. self.pid .. " 2>/dev/null")
  self:finish()
end

--- Waits for the end of a program that prints a line "ok NAME" or "not ok NAME:
--- WHY" for each case.
---@return table<string, string|boolean> results true, or why not, by name;
--- of a case that was never reached: the whole output
function methods:results()
  local _, output = self:finish()
  local results = setmetatable({}, {
    __index = function() return "did not run:\n" .. output end,
  })
  local failed
  for _, line in ipairs(self.lines) do
    local name = line:match("^ok (.*)$")
    if name then failed, results[name] = nil, true end
    local other, why = line:match("^not ok (.-): (.*)$")
    if other then
      failed, results[other] = other, why
    elseif failed then -- a stack trace
      results[failed] = results[failed] .. "\n" .. line
    end
  end
  return results
end

--- Runs such a program.
---@param ... string the program and its arguments
---@return table<string, string|boolean> results
function child.results(...) return child.start(...):results() end

return child
