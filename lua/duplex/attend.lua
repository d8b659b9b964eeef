-- SPDX-License-Identifier: MIT
-- Looks after connections over streams (stream.lua) that no task is waiting for:
-- sends what was put into them in this turn, and has those read that nobody has
-- read for a moment. One task of the host does it, while there is something to do.

local TICK = 0.02 -- seconds; who was not read for one or two is given a reader

--- The two ways to ask for attention: send(link), there is output; read(link),
--- nobody reads from now on.
---@param host table
---@param push fun(link: table) writes what goes without waiting
---@param keep fun(link: table) reads until somebody else wants to
---@return { send: fun(link: table), read: fun(link: table) }
return function(host, push, keep)
  local dirty = {} -- links with something to send
  local recent = {} -- those that were read a short while ago
  local wake, next_tick = nil, 0
  local attendant = {}

  local function tick()
    local list = recent
    recent, next_tick = {}, host.now() + TICK
    for _, link in ipairs(list) do
      link.recent = nil
      if link.idle and not link.reading then
        host.brief(keep, host.log_failure, link)
      elseif not link.reading and not link.over then
        attendant.read(link)
        link.idle = true
      end
    end
  end

  local function serve()
    while recent[1] or dirty[1] do
      local list = dirty
      dirty = {}
      for _, link in ipairs(list) do
        if link.dirty then push(link) end
      end
      if host.now() >= next_tick then tick() end
      if recent[1] and not dirty[1] then wake:wait(math.max(0, next_tick - host.now())) end
      wake:clear()
    end
    wake = nil
  end

  local function start()
    wake, next_tick = host.event(), host.now() + TICK
    host.brief(serve, host.log_failure)
  end

  function attendant.send(link)
    if link.dirty then return end
    link.dirty = true
    dirty[#dirty + 1] = link
    if wake then wake:set() else start() end
  end

  function attendant.read(link)
    if link.recent or link.reading or link.over then return end
    link.recent = true
    recent[#recent + 1] = link
    if not wake then start() end
  end

  return attendant
end
