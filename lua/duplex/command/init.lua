-- SPDX-License-Identifier: MIT
-- duplex COMMAND: finds the command and hands over.

local arguments = require "duplex.command.arguments"

local unpack = require("duplex.varargs").unpack

local NAMES = { "echo", "connect" }

local function usage()
  local lines = { "usage: duplex COMMAND [options]", "" }
  for _, name in ipairs(NAMES) do
    local spec = require("duplex.command." .. name).spec
    lines[#lines + 1] = ("  duplex %-8s %s"):format(name, spec.text:match("^[^\n]*"))
  end
  lines[#lines + 1] = ""
  lines[#lines + 1] = "duplex COMMAND --help tells more. duplex --version shows the version."
  return table.concat(lines, "\n") .. "\n"
end

local function complain(text)
  io.stderr:write("duplex: ", text, "\n")
  return 2
end

--- Runs the command.
---@param words string[] its arguments
---@return integer exit status: 0, 1 it failed, 2 wrong usage
return function(words)
  local name = words[1]
  if name == "--version" then
    io.stdout:write("duplex ", require("duplex.core").version, "\n")
    return 0
  elseif name == nil or name == "--help" or name == "-h" then
    (name and io.stdout or io.stderr):write(usage())
    return name and 0 or 2
  end
  local command
  for _, known in ipairs(NAMES) do
    if known == name then command = require("duplex.command." .. name) end
  end
  if not command then
    return complain(("unknown command '%s' (%s)"):format(name, table.concat(NAMES, ", ")))
  end
  local values, problem = arguments.parse(command.spec, { unpack(words, 2) })
  if not values then
    return complain(("%s; see duplex %s --help"):format(problem, name))
  end
  if values.help then
    io.stdout:write(arguments.help(command.spec))
    return 0
  end
  return command.run(values)
end
