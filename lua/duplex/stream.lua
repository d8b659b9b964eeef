-- SPDX-License-Identifier: MIT
-- The transport for connections over byte streams, on any event loop that has
-- tasks. A stream has these methods:
--
--   s:read(max, timeout)     -> bytes | nil, message, id    one task at a time
--     "TIMEOUT": call again, nothing is lost; "EOF": the peer sends no more;
--     "LOST": nothing comes and nothing goes; "" is a sign of life and no more
--   s:write(bytes, timeout)  -> true: all of it went | nil, message, id: the
--     end, also with "TIMEOUT"; one task at a time, beside one that reads
--   s:close()                whoever still reads or writes gets "LOST"
--   s:peer()                 -> address, port | address | nothing
--   s:offer(bytes, waits)    -> how many bytes went without waiting, 0 for none;
--     true if some of them still wait in the stream, for the next write
--     | nil, message, id: the end (optional); if 'waits', it may wait a little
--   s:wake()                 a read that waits returns as if by TIMEOUT (optional)
--   s:shutdown()             no more will be written (optional)
--   s.alone                  only the task that made it may use it as yet (optional)
--
-- Whoever waits for what a peer may bring reads: the receiver, or who waits for
-- a pong or for the end. Others wait for that one. When nobody reads for a
-- while, as the program is busy or only sends, a task of its own does (keep):
-- so pings are answered, and silent peers are found.
--
-- Output goes when its connection's task waits for input, or else in the turn
-- of the attendant (attend.lua): one write for all that was sent until then. It
-- never waits for a peer, if the stream can do without; what does not go at once
-- is left to a task that writes (write_out).

local attend = require "duplex.attend"
local connection = require "duplex.connection"
local core = require "duplex.core"
local failure = require "duplex.failure"
local tls_stream = require "duplex.tls_stream"

local stream = {}

local PIECE = 65536 -- bytes read or written at a time
local TURN = 65536 -- bytes a task may read before others get their turn
local PER_READ = 1024 -- bytes that a read counts for, besides those it brings
local INLINE = 16384 -- bytes that a waiting task writes itself, without offer
local SLICE = 1 -- seconds a read that nobody can wake may wait
local OVERSLEPT = 0.5 -- seconds: who wakes so late was asleep, and listened to nobody
local LINGER, TRAILING = 10, 1048576 -- seconds a peer has to hang up, bytes it may send till then

-- What is waited for that a peer may bring.
local READS = { input = true, change = true, ["end"] = true }

--- The transport for the connections of a host, and what the host needs:
--- attach(ws, stream) makes ws a connection over that stream, unsent() counts
--- connections that are over and still being sent to.
---@param host table see docs/design.md; event, brief, sleep, now, log_failure, check_wait
---@return table transport
function stream.transport(host)
  local now, extra = host.now, connection.extra
  local t, unsent = {}, 0
  local attendant, write_out

  local function changed(link) return link.waiting > 0 and link.event:set() end

  local function wait_event(link, timeout)
    link.event = link.event or host.event()
    link.event:clear()
    link.waiting = link.waiting + 1
    local ok, message, id = link.event:wait(timeout)
    link.waiting = link.waiting - 1
    return ok, message, id
  end

  -- What was read is paid for: a peer that sends without end must not keep all
  -- others waiting.
  local function spend(link, bytes) link.credit = link.credit - #bytes - PER_READ end

  local function take_turns(link)
    if link.credit > 0 then return end
    link.credit = TURN
    host.sleep(0)
  end

  -- ---- the end ----

  -- Says goodbye: what is left goes out, and the peer may hang up first, so
  -- that the last close frame is not lost to a reset. One that goes on sending is
  -- not waited for.
  local function close_down(link)
    local s, deadline = link.stream, now() + LINGER
    local function left() return math.max(0, deadline - now()) end
    while link.writing and left() > 0 do wait_event(link, left()) end
    if not link.writing then write_out(link, LINGER) end
    unsent = unsent - 1
    while link.reading and left() > 0 do wait_event(link, left()) end
    if s.shutdown and not link.broken then
      s:shutdown()
      local trailing = TRAILING
      while not link.eof and left() > 0 and trailing > 0 do
        local bytes, _, id = s:read(PIECE, left())
        if bytes then
          trailing = trailing - #bytes
          spend(link, bytes)
          take_turns(link)
        end
        link.eof = not bytes and id ~= "TIMEOUT"
      end
    end
    link.broken = true -- nothing touches it any more
    s:close()
    if link.engine then link.engine:close() end
    link.engine = nil
  end

  -- Looks whether the connection has ended, or is about to by our own wish:
  -- then whoever receives has to be told.
  local function look(link)
    local ws = link.ws
    if core.state(ws) == "open" then return end
    if not link.ending and select(3, core.ended(ws)) then
      link.ending = true
      if link.reading and link.stream.wake then link.stream:wake() end
      changed(link)
    end
    if link.over or core.state(ws) ~= "closed" then return end
    link.over = true
    unsent = unsent + 1
    changed(link)
    if link.reading and link.stream.wake then link.stream:wake() end
    if link.on_end then host.brief(link.on_end, host.log_failure) end
    host.brief(close_down, host.log_failure, link)
  end

  -- Who reads waits until something was due when that began. Since then a ping may
  -- have left whose answer is awaited.
  local function hurry(link)
    local s = link.reading and link.stream
    if s and s.wake and core.due(link.ws) < link.due then s:wake() end
  end

  -- ---- output ----

  -- The stream takes no more. What the peer sent before may still be read, and
  -- may hold its close frame; reading will find the end.
  local function write_failed(link, id)
    local ws = link.ws
    link.broken = true
    if id == "TIMEOUT" then
      core.fail(ws, "LOST_SEND")
    elseif not core.hungry(ws) then
      core.fail(ws, "LOST")
    end
  end

  -- The next bytes to write, nil if there are none. When the stream is broken
  -- they stay: so whoever sends waits, until reading has found the end.
  local function take(link)
    if link.broken then return nil end
    local bytes = link.rest or core.output(link.ws, now(), PIECE)
    if bytes == "" and not link.rest then return nil end
    link.rest = nil
    return bytes
  end

  -- Writes all there is, and waits for the peer to take it.
  function write_out(link, timeout)
    link.writing = true
    for bytes in take, link do
      local ok, _, id = link.stream:write(bytes, timeout or core.send_timeout(link.ws))
      if not ok then write_failed(link, id) end
      changed(link)
    end
    link.writing = nil
    hurry(link)
    look(link)
    changed(link)
  end

  -- Writes what goes without waiting, in a task of its own what does not;
  -- 'waits': this task may wait a little.
  local function push(link, waits)
    local s = link.stream
    link.dirty = nil
    while not link.writing and (link.rest or core.outbox(link.ws) > 0) do
      if not s.offer then
        if waits and core.outbox(link.ws) <= INLINE then return write_out(link) end
        link.writing = true
        return host.brief(write_out, host.log_failure, link)
      end
      local bytes = take(link)
      if not bytes then break end
      local count, held, id = s:offer(bytes, waits)
      changed(link)
      if not count then
        write_failed(link, id)
      elseif count < #bytes or held then
        link.rest = bytes:sub(count + 1)
        link.writing = true
        host.brief(write_out, host.log_failure, link)
      end
    end
    hurry(link)
    look(link)
  end

  -- ---- input ----

  -- May more be read? While it may not, silence says nothing about the peer.
  local function hungry(link)
    if core.hungry(link.ws) then return true end
    link.paused = true
  end

  -- Reads once; true: look again. 'pumps': this task takes no messages.
  local function fill(link, timeout, pumps)
    local ws, began = link.ws, now()
    if link.paused then core.listens(ws, began) end
    link.paused, link.due, link.reading = nil, core.due(ws), true
    local limit = math.max(0, math.min(timeout or math.huge, link.due - began))
    if not link.stream.wake then limit = math.min(limit, SLICE) end
    local bytes, message, id = link.stream:read(PIECE, limit < math.huge and limit or nil)
    link.reading, link.idle, link.reads = nil, nil, link.reads + 1
    attendant.read(link)
    local time = now()
    if bytes then
      spend(link, bytes)
      if not link.over then core.feed(ws, bytes, time) end
    elseif id ~= "TIMEOUT" then
      link.eof = true
      link.broken = link.broken or id ~= "EOF"
      core.eof(ws, time, link.broken)
    elseif core.due(ws) <= time then
      if time - began - limit > OVERSLEPT then core.listens(ws, time) end
      core.expire(ws, time)
    elseif timeout and time >= began + timeout then
      changed(link) -- someone else may want to read
      return nil, message, id
    end
    if pumps or link.ending then core.pump(ws, time) end
    changed(link)
    push(link, true)
    return true
  end

  -- Reads while nobody else wants to.
  local function keep(link)
    if link.stream.alone then return end
    core.pump(link.ws, now())
    push(link)
    while not link.over and not link.reading and link.wanted == 0 and hungry(link) do
      fill(link, nil, true)
      take_turns(link)
    end
  end

  attendant = attend(host, push, keep)

  -- ---- what a transport is ----

  --- There may be something to send, or an end. Never waits.
  function t.flush(ws)
    local link = extra(ws).link
    if not link then return end
    if link.dirty then -- all this is about to be done
      if core.high(ws) then push(link) end
      return
    end
    look(link)
    attendant.read(link)
    if link.over or link.writing or core.outbox(ws) == 0 then return end
    if core.high(ws) then return push(link) end
    attendant.send(link)
  end

  function t.wait(ws, what, timeout, pieces)
    local link = extra(ws).link
    if not link or link.over then return true end
    host.check_wait() -- before anything is changed
    local receives, reads = what == "input", link.reads
    take_turns(link)
    if not receives then core.pump(ws, now()) end
    push(link, true)
    if link.over or receives and link.ending then return true end
    -- In both of these others had their turn: what they read, or the room that they
    -- made, may be what is waited for.
    if link.reads ~= reads or not READS[what] and not core.high(ws, what == "room") then return true end
    if receives and link.receiving then -- found out behind all that may wait
      error("another task is receiving from this connection", 0)
    end
    link.receiving = receives or link.receiving
    if pieces then core.pieces(ws, true) end
    local ok, message, id
    if READS[what] and not link.reading and hungry(link) then
      ok, message, id = fill(link, timeout, not receives)
    else
      local wants = READS[what] and 1 or 0
      link.wanted = link.wanted + wants
      ok, message, id = wait_event(link, timeout)
      link.wanted = link.wanted - wants
    end
    if receives then link.receiving = nil end
    return ok, message, id
  end

  function t.on_end(ws, fn)
    local link = extra(ws).link
    if not link or link.over then return fn() end
    link.on_end = fn
  end

  function t.peer(ws)
    local link = extra(ws).link
    if link then return link.address, link.port end
  end

  function t.attach(ws, s)
    local link = { ws = ws, stream = s, credit = TURN, wanted = 0, waiting = 0, reads = 0 }
    link.address, link.port = s:peer()
    extra(ws).link = link
    core.again(ws, now())
    attendant.read(link)
  end

  t.keeps_engines = true -- until the stream is closed

  function t.secure(ws, engine, begun)
    local link = extra(ws).link
    local early = core.take(ws, PIECE) or ""
    if early ~= "" and not begun then
      return failure.of("TLS", "bytes came before the handshake")
    end
    engine:feed(early)
    link.engine = engine
    link.stream = tls_stream.wrap(link.stream, engine, now)
    return true
  end

  function t.tls(ws)
    local engine = extra(ws).link.engine
    return engine and engine:info()
  end

  function t.unsent() return unsent end

  return t
end

return stream
