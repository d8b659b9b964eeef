---@meta duplex.loop
-- SPDX-License-Identifier: MIT
-- What the C module duplex.loop has, for editors. Programs use it through
-- require "duplex"; host/native.lua makes a host of it.

---@class duplex.loop
---@field stamp string version and build: modules of other builds do not fit
local loop = {}

---Something that tasks wait for.
---@class duplex.Event: userdata
local event = {}

---Waits until the event is set.
---@param timeout? number seconds; nil = no limit, 0 = poll
---@return true|nil ok, string? message, string? id "TIMEOUT"
function event:wait(timeout) end

---Wakes all who wait, and lets pass all who come, until clear.
function event:set() end

---From now on wait waits again.
function event:clear() end

---A socket that listens.
---@class duplex.Listener: userdata
local listener = {}

---Waits for a connection, which becomes that of ws.
---@param ws duplex.Connection a new one
---@return true|nil ok, string? message, string? id "CLOSED", "LIMIT"
function listener:accept(ws) end

---@return string|nil host or the path of a Unix socket
---@return integer|nil port
function listener:address() end

---Whoever waits in accept gets CLOSED.
function listener:close() end

---A terminal, a pipe or a file to read from.
---@class duplex.Input: userdata
local input = {}

---Waits for some bytes.
---@return string|nil bytes nil at the end
function input:read() end

-- ---- time and tasks ----

---@return number seconds of a monotonic clock
function loop.now() end

---@param seconds number
---@return true|nil ok, string? message, string? id "STOPPED"
function loop.sleep(seconds) end

---Runs fn(...) as a task; then done(what it died of or nil, its first
---argument), however it ended.
---@param fn fun(...)
---@param done? fun(failure: string?, first: any)
---@param ... any
function loop.spawn(fn, done, ...) end

---As spawn, for what will not take long: its coroutine is used again.
---@param fn fun(...)
---@param done? fun(failure: string?, first: any)
---@param ... any
function loop.brief(fn, done, ...) end

---Does run wait for the task that calls this?
---@param on? false from now on it does not
---@return boolean
function loop.counts(on) end

---@return duplex.Event
function loop.event() end

---Waits for a signal. From the first call on what it does by default does not
---happen any more.
---@param name "SIGHUP"|"SIGINT"|"SIGTERM"|"SIGUSR1"|"SIGUSR2"|"SIGQUIT"|"SIGCHLD"|"SIGWINCH"
---@param ... string more names
---@return string name of the one that came
function loop.signal(name, ...) end

---@return boolean may a call that waits be made here?
function loop.can_wait() end

---@return boolean is the loop being turned, by run, by step, or for a wait at top level?
function loop.turning() end

---@return integer count of connections that are over and still being sent to
function loop.unsent() end

-- ---- running ----

---Turns the loop until nothing is left to do, or quit.
function loop.run() end

function loop.quit() end

---Handles what is there, after waiting for it at most so long.
---@param timeout? number seconds, default 0
---@return boolean alive something is left to do
function loop.step(timeout) end

---@return integer fd readable when step has something to do
function loop.fd() end

---@return number|nil seconds until step is due anyway, nil for never
function loop.timeout() end

---Sleepers wake, and waits that begin now fail, with STOPPED.
---@param on boolean
function loop.stopping(on) end

---Calls fn(number) in a task for SIGINT and SIGTERM.
---@param fn? fun(number: integer)
function loop.interrupts(fn) end

---Lets a signal do what it does by default.
---@param number integer
function loop.raise(number) end

---Lets the allocator keep so much freed memory rather than give it back at
---once, and serve large blocks from it. It concerns the whole process.
---@param bytes integer
function loop.keep_freed(bytes) end

-- ---- connections ----

---@param ws duplex.Connection
---@param what "input"|"drain"|"room"|"change"|"end"
---@param timeout? number seconds
---@param pieces? boolean of "input": meanwhile messages are taken in pieces
---@return true|nil ok look again, string? message, string? id "TIMEOUT"
function loop.wait(ws, what, timeout, pieces) end

---Calls fn() in a task when ws is over.
---@param ws duplex.Connection
---@param fn fun()
function loop.on_end(ws, fn) end

---@param ws duplex.Connection
---@return string|nil address "unix" for a Unix socket
---@return integer|nil port
function loop.peer(ws) end

---From now on all bytes pass through TLS; through two engines if there is one
---already (that of a proxy). Wait for "input" and look at the engine.
---@param ws duplex.Connection in its handshake
---@param engine duplex.tls.Engine
---@param begun? boolean bytes that came before are the first of the handshake;
---  default: they are refused
---@return true|nil ok, string? message, string? id "TLS"
function loop.secure(ws, engine, begun) end

---The methods that every message passes through, in C.
---@param send_source fun(ws: duplex.Connection, source: fun(): string?, kind: string?): true?, string?, string?
---@return { receive: function, messages: function, send: function }
function loop.methods(send_source) end

---@param ws duplex.Connection a new one
---@param address string numeric, or the path of a Unix socket
---@param port? integer nil for a Unix socket
---@param timeout? number seconds
---@return true|nil ok, string? message, string? id "CONNECT", "TIMEOUT"
function loop.connect(ws, address, port, timeout) end

---@param place string|integer numeric address, path of a Unix socket, or descriptor
---@param port? integer nil for a path or a descriptor
---@param backlog? integer
---@param reuseport? boolean
---@return duplex.Listener|nil listener, string? message, string? id "ADDRESS"
function loop.listen(place, port, backlog, reuseport) end

---@param name string
---@param timeout? number seconds
---@return string[]|nil addresses numeric, in the order of the system
---@return string? message
---@return string? id "DNS", "TIMEOUT"
function loop.resolve(name, timeout) end

---@param fd integer
---@return duplex.Input
function loop.input(fd) end

---How many descriptors this process may have.
---@param raise boolean raise the soft limit to the hard one first
---@return number|nil
function loop.descriptors(raise) end

return loop
