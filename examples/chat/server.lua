-- A chat. What goes over the wire is JSON, one object a message:
--
--   client                          server
--   { type = "join", room, name }   { type = "welcome", room, name, members, history }
--   { type = "say", text }          { type = "say", id, name, text, time }
--                                   { type = "joined" or "left", name }
--                                   { type = "renamed", name, old_name }
--                                   { type = "error", message }

local here = arg[0]:match("^(.*)/[^/]*$") or "."
package.path = here .. "/?.lua;" .. package.path

local duplex = require "duplex"
local json = require "cjson.safe" -- nil and a text, instead of raising
local limiter = require "limiter"
local rooms = require "rooms"

local PORT = tonumber(arg[1]) or 8080
local RATE, BURST = 5, 10 -- messages a second, and at once
local MAX_REFUSED = 50 -- more messages over that than within it

json.decode_max_depth(8)

-- Microseconds since the machine started: another number after a restart.
local chat = rooms.new(("%.0f"):format(duplex.now() * 1e6))

-- Never waits, so nothing changes meanwhile; who does not read is closed.
local function tell(members, message)
  duplex.broadcast(members, json.encode(message))
end

local function leave(ws)
  local room, name = chat:leave(ws)
  if room then tell(room.members, { type = "left", name = name }) end
end

-- What a client may ask for. Each returns nothing, or what is wrong.
local commands = {}

function commands.join(ws, message)
  local entered, problem = chat:join(ws, message.room, message.name)
  if not entered then return problem end
  local room, name = entered.room, entered.name
  local stayed = entered.left == room
  if entered.left and not stayed then
    tell(entered.left.members, { type = "left", name = entered.old_name })
  end
  tell({ [ws] = true }, {
    type = "welcome", room = room.name, name = name, members = rooms.names(room),
    history = #room.history > 0 and room.history or nil, -- {} would be an object
  })
  if not stayed then
    tell(room.members, { type = "joined", name = name })
  elseif entered.old_name ~= name then
    tell(room.members, { type = "renamed", name = name, old_name = entered.old_name })
  end
end

function commands.say(ws, message)
  local said, room = chat:say(ws, message.text, os.time())
  if not said then return room end
  tell(room.members, {
    type = "say", id = said.id, name = said.name, text = said.text, time = said.time,
  })
end

-- Does what a message asks for, or returns what is wrong with it.
local function obey(ws, data, kind)
  local message = kind == "text" and json.decode(data)
  if type(message) ~= "table" then return "a message must be a JSON object" end
  local command = commands[message.type]
  if not command then return "unknown type of message" end
  return command(ws, message)
end

local function serve(ws)
  ws:on_close(leave)
  local bucket, refused = limiter.new(RATE, BURST), 0
  for data, kind in ws:messages() do
    local problem
    if limiter.take(bucket, duplex.now()) then
      refused, problem = math.max(0, refused - 1), obey(ws, data, kind)
    else
      refused, problem = refused + 1, "too many messages: please wait a second"
    end
    if refused > MAX_REFUSED then return ws:close(1008, "too many messages") end
    if problem then ws:send(json.encode { type = "error", message = problem }) end
  end
end

local pages = duplex.files(here .. "/public")

local function on_request(request)
  local status, body, headers = pages(request)
  if headers then headers["Content-Security-Policy"] = "default-src 'self'" end
  return status, body, headers
end

duplex.run(function()
  local server = assert(duplex.serve({
    port = PORT, on_request = on_request, max_message = 65536,
  }, serve))
  print(("open http://127.0.0.1:%d/ in two tabs"):format(server.port))
  io.stdout:flush() -- in case it is a pipe
end)
