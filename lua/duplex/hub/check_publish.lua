-- SPDX-License-Identifier: MIT
-- What only a defect of the program can be wrong with in a call of hub:publish.

local options = require "duplex.options"

local NAMES = { "except", "key" }

--- Raises in the name of the caller of publish.
---@param hub_options table
---@param data any
---@param kind any
---@param given any
return function(hub_options, data, kind, given)
  if not hub_options.encode and type(data) ~= "string" then
    error("what is published must be a string, got " .. type(data), 3)
  end
  if type(given) ~= "table" then error("options of publish must be a table, got " .. type(given), 3) end
  local problem = options.bad_name(given, NAMES, "unknown option '%s' of publish")
  if problem then error(problem, 3) end
  if kind ~= nil and kind ~= "text" and kind ~= "binary" then
    error('kind must be "text" or "binary"', 3)
  end
  local except, key = given.except, given.key
  if except ~= nil and not options.is_connection(except) then
    error("option 'except' must be a connection, got " .. type(except), 3)
  end
  if key ~= nil and type(key) ~= "string" and type(key) ~= "number" then
    error("option 'key' must be a string or a number, got " .. type(key), 3)
  end
end
