-- SPDX-License-Identifier: MIT
-- translated.lua PROGRAM [ARGUMENT...]: runs a program of the documents or the
-- examples on PUC Lua 5.1, where no iterator can wait, with its loops over
-- ws:messages() and client:connections() written as the error texts there say.
-- All else is as it is.

local translated = {}

--- A program's text for this Lua.
---@param text string
---@return string
function translated.text(text)
  if _VERSION ~= "Lua 5.1" or jit then return text end
  text = text:gsub("for ([%w_]+)([%w_, ]*) in ([%w_]+):messages%(%) do",
    "while true do local %1%2 = %3:receive() if not %1 then break end")
  return (text:gsub("for ([%w_]+) in ([%w_]+):connections%(%) do",
    "while true do local %1 = %2:next() if not %1 then break end"))
end

--- The words that start a Lua program, this one before it where it is needed.
---@param lua string
---@param ... string the program and its arguments
function translated.words(lua, ...)
  if _VERSION ~= "Lua 5.1" or jit then return lua, ... end
  return lua, "spec/support/translated.lua", ...
end

if ... == "spec.support.translated" then return translated end

local program = table.remove(arg, 1)
rawset(arg, 0, program)
local file = assert(io.open(program))
local text = file:read("*a")
file:close()
assert(loadstring(translated.text(text), "@" .. program))(unpack(arg))
