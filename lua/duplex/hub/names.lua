-- SPDX-License-Identifier: MIT
-- Texts that no other process and no later one has, for epochs and hubs.

--- A function that makes one at each call. They begin with the first that is needed: a
--- hub made before a process forks must not name the same in all of them.
---@param now fun(): number seconds
---@return fun(): string
return function(now)
  local count, place, prefix = 0, tostring({}):match("%x+$") or "", nil
  return function()
    prefix = prefix or ("%x-%x-%s"):format(os.time(), math.floor(now() * 1e6) % 0x7fffffff, place)
    count = count + 1
    return prefix .. "-" .. count
  end
end
