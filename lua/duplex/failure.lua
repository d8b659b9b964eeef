-- SPDX-License-Identifier: MIT
-- What is returned when something fails that may: nil, "ID: text", id.

local failure = {}

--- A failure, to return it.
---@param id string "TIMEOUT", see docs/errors.md
---@param text string
---@return nil, string message "ID: text", string id
function failure.of(id, text) return nil, ("%s: %s"):format(id, text), id end

--- What everybody says whose time is up.
---@return nil, string message, string id "TIMEOUT"
function failure.timed_out() return failure.of("TIMEOUT", "timed out") end

--- A message without the id that it begins with.
---@param message string
---@return string
function failure.text(message) return (message:gsub("^%u[%u%d_]*: ", "")) end

--- What was raised as a text, without the line that it blames: for who returns it, or
--- raises it in another's name.
---@param problem any
---@return string
function failure.said(problem) return (tostring(problem):gsub("^[^\n]-:%d+: ", "")) end

--- The text of what was raised, which may be an object that has none.
---@param problem any
---@return string
function failure.raised(problem)
  local fine, text = pcall(tostring, problem)
  -- Before Lua 5.3 it may return anything.
  if fine and type(text) == "string" then return text end
  return "(error object whose __tostring fails)"
end

return failure
