-- SPDX-License-Identifier: MIT
-- What both roles say of a connection whose messages are compressed.

local reporting = {}

--- A message that is worth compressing.
reporting.TEXT = ('{"sensor":%d,"value":%d,"unit":"°C","at":"2026-11-20T15:%02d:00Z"}'):rep(12, "\n"):format(
  11, 213, 1, 12, 219, 2, 13, 225, 3, 14, 231, 4, 15, 237, 5, 16, 243, 6,
  17, 249, 7, 18, 255, 8, 19, 261, 9, 20, 267, 10, 21, 273, 11, 22, 279, 12)

--- A function that with "note" remembers the bytes of the messages since the
--- last call, and without gives its report.
function reporting.new(ws)
  local lines, seen = { ws.extensions }, { wire_in = 0, wire_out = 0 }
  return function(note)
    if not note then return table.concat(lines, "\n") end
    local now = ws:stats()
    lines[#lines + 1] = (now.wire_in - seen.wire_in) .. " " .. (now.wire_out - seen.wire_out)
    seen = now
  end
end

return reporting
