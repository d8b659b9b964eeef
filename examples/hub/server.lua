-- Live comments below an article. Who loses the connection gets what was written
-- meanwhile, or is told that some of it is gone. What goes over the wire is JSON,
-- one object a message:
--
--   client
--   { type = "enter", article, name, reader [, offset, epoch] }   the last comment it has
--   { type = "comment", text }
--   server
--   { type = "entered", readers, offset, epoch [, recovered] }    after the comments missed
--   { type = "comment", offset, epoch, data = { name, text, time } }
--   { type = "readers", data = { joined or left } }               their names
--   { type = "error", message }
--
-- 'reader' is a text that the client makes up once: two tabs of one reader are one.

local here = arg[0]:match("^(.*)/[^/]*$") or "."

local duplex = require "duplex"
local json = require "cjson.safe" -- nil and a text, instead of raising

local PORT = tonumber(arg[1]) or 8080
local KEPT = 100 -- comments of an article
local MAX_NAME, MAX_TEXT, MAX_READER = 60, 2000, 60 -- bytes

json.decode_max_depth(4)

local hub

-- Names of topics are "comment.ARTICLE" and "readers.ARTICLE".
local function article_of(topic) return topic:match("%.(.*)$") end

hub = duplex.hub {
  history = KEPT,
  history_ttl = 3600,
  -- Called once a publish, not once a reader.
  encode = function(topic, data, offset, epoch)
    return json.encode { type = topic:match("^[^.]+"), data = data, offset = offset, epoch = epoch }
  end,
  on_join = function(topic, member)
    hub:publish("readers." .. article_of(topic), { joined = member.info.name })
  end,
  on_leave = function(topic, member)
    hub:publish("readers." .. article_of(topic), { left = member.info.name })
  end,
}

local function is_text(value, max)
  return type(value) == "string" and value:find("%S") and #value <= max
end

local function readers(article)
  local names = {}
  for _, member in ipairs(hub:who("comment." .. article)) do names[#names + 1] = member.info.name end
  table.sort(names)
  return names
end

-- What a client may ask for. Each returns the answer, if there is one.
local commands = {}

function commands.enter(ws, message)
  -- What a peer says becomes part of a topic: it must be a word and no wildcard.
  if not is_text(message.article, 40) or message.article:find("[^%w-]") then
    return { type = "error", message = "there is no such article" }
  end
  if not is_text(message.name, MAX_NAME) or not is_text(message.reader, MAX_READER) then
    return { type = "error", message = "who are you?" }
  end
  if ws.data then return { type = "error", message = "you are in already" } end
  ws.data = { article = message.article, name = message.name }
  hub:subscribe(ws, "readers." .. message.article)
  local subscription, problem = hub:subscribe(ws, "comment." .. message.article, {
    info = { id = message.reader, name = message.name },
    since = message.offset, epoch = message.epoch, last = KEPT,
  })
  if not subscription then return { type = "error", message = problem } end -- it has left already
  return {
    type = "entered", readers = readers(message.article), recovered = subscription.recovered,
    offset = subscription.offset, epoch = subscription.epoch,
  }
end

function commands.comment(ws, message)
  if not ws.data then return { type = "error", message = "enter first" } end
  if not is_text(message.text, MAX_TEXT) then
    return { type = "error", message = "a comment has 1 to " .. MAX_TEXT .. " bytes" }
  end
  hub:publish("comment." .. ws.data.article,
    { name = ws.data.name, text = message.text, time = os.time() })
end

local function obey(ws, data, kind)
  local message = kind == "text" and json.decode(data) -- so all in it is UTF-8
  local command = type(message) == "table" and commands[message.type]
  if not command then return { type = "error", message = "what do you mean?" } end
  return command(ws, message)
end

local function serve(ws)
  for data, kind in ws:messages() do
    local answer = obey(ws, data, kind)
    if answer then ws:send(json.encode(answer)) end
  end
end

local pages = duplex.files(here .. "/public")

local function on_request(request)
  if request.path == "/metrics" then return 200, hub:metrics("prometheus") end
  local status, body, headers = pages(request)
  if headers then headers["Content-Security-Policy"] = "default-src 'self'" end
  return status, body, headers
end

duplex.run(function()
  local server = assert(duplex.serve({
    port = PORT, on_request = on_request, max_message = 8192,
  }, serve))
  print(("open http://127.0.0.1:%d/ in two tabs"):format(server.port))
  io.stdout:flush() -- in case it is a pipe
end)
