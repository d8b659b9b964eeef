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
  local sending, looking = {}, {} -- what is left of either that is being done
  local wake, next_tick = nil, 0
  local attendant = {}

  local function tick()
    local list = recent
    looking, recent, next_tick = list, {}, host.now() + TICK
    for i = 1, #list do
      local link = list[i]
      list[i], link.recent = nil, nil
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
      sending, dirty = list, {}
      for i = 1, #list do
        local link = list[i]
        list[i] = nil
        if link.dirty then push(link) end
      end
      if host.now() >= next_tick then tick() end
      if recent[1] and not dirty[1] then wake:wait(math.max(0, next_tick - host.now())) end
      wake:clear()
    end
    wake = nil
  end

  local start

  -- When one of them raised, the others still have to be done.
  local function served(failure)
    host.log_failure(failure)
    if not failure then return end
    wake = nil
    for _, link in pairs(sending) do dirty[#dirty + 1] = link end
    for _, link in pairs(looking) do recent[#recent + 1] = link end
    sending, looking = {}, {}
    if recent[1] or dirty[1] then start() end
  end

  function start()
    wake, next_tick = host.event(), host.now() + TICK
    host.brief(serve, served)
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
