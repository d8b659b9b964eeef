-- A game in the manner of LÖVE or Defold: load once, then update and draw for
-- each frame, and nothing may hold up a frame. The network gets one step a frame,
-- which never waits; tasks of Duplex go on during that step and nowhere else.
local duplex = require "duplex"

local game = { inbox = {}, frames = 0, players = {} }

function game.load(url)
  duplex.spawn(function()
    game.ws = assert(duplex.connect(url))
    game.ws:send("x 0")
    for message in game.ws:messages() do table.insert(game.inbox, message) end
  end)
end

function game.update()
  duplex.step(0)
  for _, message in ipairs(game.inbox) do
    local name, value = message:match("^(%a+) (%d+)$")
    if name then game.players[name] = tonumber(value) end
  end
  game.inbox = {}
  game.frames = game.frames + 1
  -- A frame has no time to wait: what does not fit is sent with the next one.
  if game.ws and game.frames % 10 == 0 then game.ws:try_send("x " .. game.frames) end
end

function game.draw()
  if game.frames % 60 == 0 then print(("frame %d: x is %s"):format(game.frames, game.players.x)) end
end

-- In LÖVE love.load, love.update and love.draw would call these three. Here a
-- second of frames is enough.
game.load(arg[1] or "ws://127.0.0.1:8080/")
for _ = 1, 60 do
  local next_frame = duplex.now() + 1 / 60
  game.update()
  game.draw()
  while duplex.now() < next_frame do end -- luacheck: ignore 542 (waits for the screen)
end
