-- SPDX-License-Identifier: MIT
-- What the peer calls: each call runs in a task of its own, 'concurrency' of
-- them at once; more are held. One that waits for an answer of the peer does not
-- count: two peers whose methods call each other would else wait for ever. A
-- batch is answered when all of it is done.

local failure = require "duplex.failure"
local message = require "duplex.rpc.message"

local serving = {}

local LONGEST = 100 -- bytes of a method's name in a line of the log
local GIVE_WAY = 0.5 -- seconds for which methods go first
local OVERHEAD = 500 -- bytes that a call takes beside its text, about
local NOT_FOUND, INTERNAL, INVALID, UNREADABLE = -32601, -32603, -32600, -32700

local methods = {}
local class = { __index = methods }

--- Serves for a peer.
---@param duplex duplex
---@param peer duplex.RpcPeer what methods are given
---@param settings table checked options
---@param p { codec: duplex.Codec, changed: duplex.Event } 'changed' is set when a task is free
---@param read fun(text: string): table[] the calls of a message that was read before
function serving.new(duplex, peer, settings, p, read)
  return setmetatable({
    duplex = duplex, peer = peer, codec = p.codec, changed = p.changed,
    read = read, log = settings.log,
    methods = settings.methods, around = settings.around,
    concurrency = settings.concurrency, much = settings.max_held / 16, max_batch = settings.max_batch,
    running = 0, resuming = 0, sending = 0, held_bytes = 0, held = {}, first = 1, last = 0,
    coroutines = setmetatable({}, { __mode = "k" }),
  }, class)
end

-- ---- one call ----

local function method_of(self, name)
  if type(self.methods) == "function" then return self.methods(name) end
  -- Only what is in the table: nobody calls what it inherits.
  local method = self.methods and rawget(self.methods, name)
  return type(method) == "function" and method or nil
end

-- Clears the mark, and gives on the results.
local function leave(self, running, ...)
  self.coroutines[running] = nil
  return ...
end

-- Calls the method, which may raise.
local function call(self, entry)
  local peer = self.peer
  local function run()
    local method = method_of(self, entry.method)
    if not method then return nil, message.failure(NOT_FOUND) end
    return method(entry.params, peer)
  end
  if not self.around then return run() end
  return self.around({
    method = entry.method, params = entry.params, peer = peer,
    notification = entry.kind == "notification",
  }, run)
end

local function invoke(self, entry)
  local running = coroutine.running()
  self.coroutines[running] = true
  return leave(self, running, call(self, entry))
end

local function log_error(self, text, entry)
  self.log("error", "rpc: " .. text, { method = entry.method and entry.method:sub(1, LONGEST) })
end

-- What becomes of a call: a result, or a failure. What a method raises may
-- have secrets in it: the log gets it, the peer does not.
local function outcome(self, entry)
  if entry.kind == "invalid" then
    self.log("debug", "rpc: refused a call: " .. entry.problem)
    return nil, message.failure(entry.unreadable and UNREADABLE or INVALID)
  end
  local fine, result, problem = self.duplex.pcall(invoke, self, entry)
  self.coroutines[coroutine.running()] = nil -- also when it raised
  if fine and result ~= nil then return result end
  if fine and problem == nil then return self.codec.null end
  if not fine then problem = result end
  if message.is_failure(problem) then return nil, problem end
  log_error(self, "a method failed: " .. failure.raised(problem), entry)
  return nil, message.failure(INTERNAL)
end

-- Text that can be sent, or nil and why there is none.
local function sendable(self, answer)
  local fine, text = pcall(self.codec.encode, answer)
  if not fine then return nil, text end
  if pcall(self.duplex.prepare, text) then return text end
  return nil, "cannot be sent: the text is not valid UTF-8"
end

-- nil for what is not answered: notifications (4.1), and calls whose id cannot be
-- sent, as some codecs make one of half a surrogate pair.
local function text_of(self, entry)
  local result, problem = outcome(self, entry)
  if entry.kind == "notification" then return nil end
  local text, trouble = sendable(self, problem and message.error(entry.id, problem) or message.result(entry.id, result))
  if text then return text end
  log_error(self, "what a method returned " .. trouble, entry)
  return (sendable(self, message.error(entry.id, message.failure(INTERNAL))))
end

-- ---- its answer ----

-- 6 In the order of the calls, and nothing when none wants an answer.
local function done(self, job, text)
  local group = job.group
  group.texts[job.index] = text
  group.left = group.left - 1
  if group.left > 0 then return end
  local texts = {}
  for i = 1, #group.entries do texts[#texts + 1] = group.texts[i] end
  if #texts > 0 then self:send(group.batch and "[" .. table.concat(texts, ",") .. "]" or texts[1]) end
end

-- ---- many calls ----

local run

local function start(self, job)
  local group = job.group
  if not group.entries then group.entries, group.text = self.read(group.text), nil end
  self.running = self.running + 1
  self.duplex.spawn(run, self, job)
end

-- A task may be free: for methods that have their answers first.
local function advance(self)
  while self.resuming == 0 and self.running < self.concurrency and self.first <= self.last do
    local job = self.held[self.first]
    self.held[self.first] = nil
    self.first = self.first + 1
    self.held_bytes = self.held_bytes - job.bytes
    start(self, job)
  end
  self.changed:set()
end

function run(self, job)
  if not self.peer.closed then done(self, job, text_of(self, job.group.entries[job.index])) end
  self.running = self.running - 1
  advance(self)
end

--- Sends, with the reader knowing that somebody does, see rpc.lua.
---@param text string what duplex.prepare takes
---@return true|nil ok, string? message, string? id as ws:send
function methods:send(text)
  self.sending = self.sending + 1
  if self.sending == 1 and not self:free() then self.changed:set() end
  local ok, problem, id = self.peer.ws:send(text)
  self.sending = self.sending - 1
  return ok, problem, id
end

--- A method begins to wait for the peer.
function methods:suspend()
  self.running = self.running - 1
  advance(self)
end

--- It has its answer, and waits until there is a task for it again.
function methods:resume()
  self.resuming = self.resuming + 1
  while self.running >= self.concurrency and not self.peer.closed do
    self.changed:clear()
    if not self.changed:wait() then break end
  end
  self.resuming = self.resuming - 1
  self.running = self.running + 1
  advance(self)
end

--- Forgets what is held.
function methods:drop()
  self.held, self.first, self.last, self.held_bytes = {}, 1, 0, 0
end

--- Is a method what runs now?
function methods:inside() return self.coroutines[coroutine.running() or false] end

--- Is there a task for one more call?
function methods:free() return self.running < self.concurrency end

--- Lets methods go first when much is held, for a while: they may be waiting for the
--- task that this is, and a peer may call for ever.
function methods:give_way()
  local now = self.duplex.now
  local deadline = now() + GIVE_WAY
  while self.held_bytes > self.much do
    self.changed:clear()
    if not self.changed:wait(math.max(0, deadline - now())) then return end
  end
end

--- Takes calls that came in one message. Those that have to wait are held as the
--- text that they were: a table may be many times as large.
---@param entries table[] of message.read
---@param batch boolean did they come as a batch?
---@param text? string the message; none when there is nothing in it
function methods:take(entries, batch, text)
  if #entries > self.max_batch then
    entries = { { kind = "invalid", id = self.codec.null, problem = "a batch of more than max_batch" } }
    batch, text = false, nil
  end
  local group = { entries = entries, batch = batch, texts = {}, left = #entries }
  local bytes, at = text and #text / #entries or 0, self.last + 1
  for i = 1, #entries do
    local job = { group = group, index = i, bytes = bytes + OVERHEAD }
    self.last = self.last + 1
    self.held[self.last] = job
    self.held_bytes = self.held_bytes + job.bytes
  end
  advance(self)
  if text and self.first <= at then group.entries, group.text = nil, text end
end

return serving
