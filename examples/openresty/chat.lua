-- What somebody says goes to everybody in the same room, in whichever worker of
-- nginx they are.

local duplex = require "duplex.ngx"

local ngx = ngx -- luacheck: ignore
local chat = {}

local function bus() return duplex.bus "chat" end

--- ws://127.0.0.1:8080/chat?room=NAME
function chat.serve()
  duplex.upgrade({ max_message = 4096 }, function(ws)
    local room = ws.request.query.room or "lobby"
    bus():subscribe(room, ws)
    for text, kind in ws:messages() do
      local ok, problem = bus():publish(room, text, kind)
      if not ok then ngx.log(ngx.WARN, problem) end
    end
  end)
end

--- Any request can say something too.
function chat.announce()
  ngx.req.read_body()
  local ok, problem = bus():publish(ngx.var.arg_room or "lobby", ngx.req.get_body_data() or "")
  if not ok then
    ngx.status = 503
    return ngx.say(problem)
  end
  ngx.say("said")
end

--- Of the worker that answers.
function chat.stats()
  local stats = duplex.stats()
  ngx.say(("worker %d: %d connections, %d messages lost"):format(stats.worker,
    stats.connections, bus():stats().lost))
end

return chat
