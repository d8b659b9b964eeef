-- SPDX-License-Identifier: MIT
-- A function for the option 'log', and the list of what it was told: { level,
-- message, fields }. Without details, unless these are asked for.

return function(details)
  local lines = {}
  return function(level, message, fields)
    if level == "debug" and not details then return end
    lines[#lines + 1] = { level, message, fields, level = level, message = message, fields = fields }
  end, lines
end
