-- SPDX-License-Identifier: MIT
-- Plays one row of spec/support/cases.lua to an echoing peer.

local bytes = require "spec.support.bytes"

local conform = {}

local function show(first, payload)
  if not first then return "the end (" .. tostring(payload) .. ")" end
  return ("frame %02x of %d bytes: %q"):format(first, #payload, payload:sub(1, 60))
end

local function expect_frames(peer, frames)
  for i, frame in ipairs(frames) do
    local first, payload = peer:frame()
    if first ~= frame[1] or payload ~= frame[2] then
      error(("frame %d should be %s\nbut is %s"):format(i, show(frame[1], frame[2]), show(first, payload)), 0)
    end
  end
end

--- Its close frame must come next with this code, then the end of the stream.
function conform.expect_close(peer, code)
  local got, reason, before = peer:until_close()
  if before[1] then error("before the close frame came " .. show(before[1][1], before[1][2]), 0) end
  if got ~= code then error(("closed with %s (%s) instead of %d"):format(tostring(got), tostring(reason), code), 0) end
  local ending = peer:eof()
  if ending ~= "closed" then error("after its close frame: " .. ending, 0) end
end

--- What a row sends, as the bytes of each frame.
function conform.wire(case, key)
  local list = {}
  for i, frame in ipairs(case[3]) do list[i] = bytes.frame(frame[1], frame[2], key) end
  if case.cut then -- a header that promises more than comes
    local first, part, length, before = case.cut[1], case.cut[2], case.cut[3], case.cut[4] or ""
    -- 'before' is one byte, a multiple of four times.
    if key then part, before = bytes.mask(part, key), bytes.mask(before, key, 4) end
    list[#list + 1] = bytes.head(first, length, key) .. before .. part
  end
  return list
end

--- how: "at once", "by frame" or "chopped". Writing may fail when the other
--- side has already failed the connection: what it said before counts.
function conform.play(peer, case, how)
  local list = conform.wire(case, peer.key)
  if how == "by frame" then
    for _, one in ipairs(list) do peer:write(one) end
  else
    peer:write(table.concat(list), how == "chopped" and case.chop or nil)
  end
  expect_frames(peer, case[4])
  if case[5] then
    conform.expect_close(peer, case[5])
  else
    peer:send(0x88, bytes.close(1000))
    conform.expect_close(peer, 1000)
  end
  peer:close()
end

--- Calls run(case, how) for all ways to write a row.
function conform.each_way(case, run)
  run(case, "at once")
  if #case[3] > 1 then run(case, "by frame") end
  if case.chop then run(case, "chopped") end
end

return conform
