-- SPDX-License-Identifier: MIT
-- each(ws, fn): fn(data, kind) for every message of ws until its end; what
-- ws:messages() is for, where that works. Without fn they are echoed.

return function(ws, fn)
  local data, kind = ws:receive()
  while data do
    if fn then fn(data, kind) else ws:send(data, kind) end
    data, kind = ws:receive()
  end
end
