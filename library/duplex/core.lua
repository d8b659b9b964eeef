---@meta duplex.core
-- SPDX-License-Identifier: MIT
-- What the C module duplex.core has, for editors. Programs need none of it but
-- version, base64, base64_decode and utf8_valid; the rest is what the files of
-- lua/duplex are made of. Nothing in here waits.

---@class duplex.core
---@field version string such as "0.1.0"
---@field stamp string version and build: modules of other builds do not fit
local core = {}

---@return number seconds of a monotonic clock, for hosts that have none
function core.now() end

---Limits that connections share; opaque.
---@class duplex.Settings: userdata

-- ---- connections ----

---Limits for connections, from options that duplex.options checked.
---@param options table
---@param counter? duplex.Settings in which to count what passes, instead of in these
---@return duplex.Settings
function core.settings(options, counter) end

---A metatable for connections: ws.x is methods.x, or else getters.x(ws).
---@param methods table<string, function>
---@param getters table<string, fun(ws: duplex.Connection): any>
---@return table class
function core.class(methods, getters) end

---@param role "client"|"server"
---@param settings duplex.Settings
---@param class table from core.class
---@param now number seconds of the host's clock
---@return duplex.Connection ws in its handshake, without a transport
function core.connection(role, settings, class, now) end

---The n-th value that goes with a connection, after setting it.
---@param ws duplex.Connection
---@param n 1|2 1: head of the request, or a table; 2: ws.data
---@param new? any
---@return any
function core.value(ws, n, new) end

---@param ws duplex.Connection
---@return integer
function core.id(ws) end

---@param ws duplex.Connection
---@return "handshake"|"open"|"closing"|"closed"
function core.state(ws) end

---@param ws duplex.Connection
---@param new? boolean to set it
---@return boolean secure it is, or was, spoken over TLS
function core.secure(ws, new) end

---Whom the peer, which is a proxy, speaks for, as far as it told.
---@param ws duplex.Connection
---@return string|nil address nil: nobody else than itself
---@return integer|nil port
---@return boolean|nil secure whether the client speaks TLS; nil: not told
function core.client(ws) end

---@param ws duplex.Connection
---@param bytes string|nil of an address, 4 or 16; nil: the peer itself
---@param port? integer
---@param secure? boolean
function core.set_client(ws, bytes, port, secure) end

---@param ws duplex.Connection
---@param now number seconds
---@return number seconds since the last byte came, or since reading went on
function core.idle(ws, now) end

---@param ws duplex.Connection
---@return number|nil seconds of the last answered ping
function core.latency(ws) end

---@param ws duplex.Connection
---@return integer|nil code received, once closed; 1005 none given, 1006 none came
function core.close_code(ws) end

---@param ws duplex.Connection
---@return integer|nil code of our close frame; 1005 it had none, nil none was sent
function core.close_sent(ws) end

---@param ws duplex.Connection
---@return string|nil reason received, once closed
function core.close_reason(ws) end

---@param ws duplex.Connection
---@return string|nil message why it ended, nil when cleanly
function core.close_error(ws) end

---@param ws duplex.Connection
---@return integer bytes that wait to be sent
function core.outbox(ws) end

---@param ws duplex.Connection
---@param own? boolean ask for the next fragment of a message that has begun
---@return boolean must send wait?
function core.high(ws, own) end

---@param ws duplex.Connection
---@return integer bytes_in, integer bytes_out, integer messages_in, integer messages_out, integer queued, integer outbox
function core.numbers(ws) end

---Bytes of messages, as programs have them and as frames carry them; nothing
---without compression.
---@param ws duplex.Connection
---@return integer? payload_in, integer? wire_in, integer? payload_out, integer? wire_out
function core.compression(ws) end

-- ---- what is counted ----

---What passed through all connections of these settings: messages_in, bytes_in,
---messages_out, bytes_out by kind; sizes_in, sizes_out; round_trips.
---@param settings duplex.Settings
---@return table
function core.totals(settings) end

---What waits in connections, which are keys.
---@param set table<duplex.Connection, any>
---@return integer connections, integer messages, integer most_messages, integer bytes, integer most_bytes
function core.waiting(set) end

-- ---- time ----

---@param ws duplex.Connection
---@return number time when expire must be called; math.huge for never
function core.due(ws) end

---Reading goes on after a pause, in which silence meant nothing.
---@param ws duplex.Connection
---@param now number seconds
function core.listens(ws, now) end

---A ping, or giving up, if it is time for that.
---@param ws duplex.Connection
---@param now number seconds
function core.expire(ws, now) end

---@param ws duplex.Connection
---@return number|nil seconds that the peer may take nothing of what is sent
function core.send_timeout(ws) end

-- ---- the end ----

---Begins the closing handshake.
---@param ws duplex.Connection
---@param code integer 1000..1003, 1007..1014, 3000..4999; 1005 sends an empty close frame
---@param reason string cut at 123 bytes
---@param now number seconds
function core.close(ws, code, reason, now) end

---It is over, because of a row of errors.def.
---@param ws duplex.Connection
---@param name string such as "LOST_CLOSE"
function core.fail(ws, name) end

---What every call returns after the end; nothing before.
---@param ws duplex.Connection
---@return nil, string? message, string? id
function core.ended(ws) end

-- ---- messages out ----

---@param ws duplex.Connection
---@param data string|duplex.Message
---@param kind? "text"|"binary"
---@param options? { compress: boolean? } as those of ws:send
---@return true|nil ok, string? message, string? id
function core.put(ws, data, kind, options) end

---@param ws duplex.Connection
---@param data string|duplex.Message
---@param kind? "text"|"binary"
---@param options? { compress: boolean? } as those of ws:send
---@return true|nil ok, string? message, string? id "FULL" over max_outbox
function core.try_put(ws, data, kind, options) end

---One fragment of a message. The caller checks that a text is UTF-8.
---@param ws duplex.Connection
---@param data string
---@param kind "text"|"binary"
---@param first boolean
---@param last boolean
---@param options? { compress: boolean? } of the message
---@return true|nil ok, string? message, string? id
function core.put_fragment(ws, data, kind, first, last, options) end

---@param data string
---@param kind? "text"|"binary" default "text"
---@return duplex.Message message accepted wherever data are
function core.prepare(data, kind) end

---Queues a message for the connections that are keys of a set. Nothing is looked
---up with metamethods.
---@param set table
---@param data string|duplex.Message
---@param kind? "text"|"binary"
---@param most? number bytes: one with more in its outbox is full; at most max_outbox
---@param spare? boolean do not fail those that are full
---@return integer count
---@return duplex.Connection[]? touched those whose transport is not of C
---@return duplex.Connection[]? full if they were spared
---@return string? wrong type of the first key that is no connection
function core.broadcast(set, data, kind, most, spare) end

---Bytes before the WebSocket is open.
---@param ws duplex.Connection
---@param bytes string
---@return true|nil ok, string? message, string? id
function core.put_raw(ws, bytes) end

---@param ws duplex.Connection
---@param payload? string at most 125 bytes; default: its number
---@return integer|nil number for answered(), string? message, string? id
function core.ping(ws, payload) end

---@param ws duplex.Connection
---@param number integer
---@return boolean
function core.answered(ws, number) end

-- ---- messages in ----

---The next message or piece of one. Alone nil: nothing yet.
---@param ws duplex.Connection
---@param now number seconds
---@return string|nil data, string? kind_or_message, boolean|string|nil last_or_id
function core.next(ws, now) end

---Whether next gives the next message in pieces.
---@param ws duplex.Connection
---@param on boolean
function core.pieces(ws, on) end

---Who is to send this waits for room first: until release a close frame of the peer does
---not take effect, but for settle. Once for each message that was taken. Raises what put
---would.
---@param ws duplex.Connection
---@param data string|duplex.Message
---@param kind? "text"|"binary"
---@param options? { compress: boolean? }
function core.hold(ws, data, kind, options) end

---It was put, or will not be.
---@param ws duplex.Connection
function core.release(ws) end

---Answers control frames and queues messages while nobody takes them.
---@param ws duplex.Connection
---@param now number seconds
function core.pump(ws, now) end

---As pump; answers a close frame now, although messages before it were not
---taken.
---@param ws duplex.Connection
---@param now number seconds
function core.settle(ws, now) end

-- ---- bytes, for transports that are written in Lua ----

---Only while hungry(ws).
---@param ws duplex.Connection
---@param bytes string
---@param now number seconds
function core.feed(ws, bytes, now) end

---No more bytes will come.
---@param ws duplex.Connection
---@param now number seconds
---@param lost? boolean the peer was lost, it did not just hang up
function core.eof(ws, now, lost) end

---@param ws duplex.Connection
---@return boolean may more bytes be fed?
function core.hungry(ws) end

---@param ws duplex.Connection
---@param now number seconds
---@param max? integer bytes
---@return string bytes to send, "" for none; they count as sent
function core.output(ws, now, max) end

-- ---- the handshake ----

---The header of the PROXY protocol; the client is then whom it names.
---@param ws duplex.Connection
---@return true|nil ok nil without an id: more is needed
---@return string? message
---@return string? id
function core.proxy_header(ws) end

---@param ws duplex.Connection
---@return string|nil head nil alone: more is needed
---@return string? message
---@return string? id
function core.head(ws) end

---Another request may come on this connection: open_timeout begins anew.
---@param ws duplex.Connection
---@param now number seconds
function core.again(ws, now) end

---@param ws duplex.Connection
---@param max integer bytes
---@return string|nil bytes behind the head, "" for none yet
---@return string? message
---@return string? id
function core.take(ws, max) end

---What a request is: "upgrade", host, origin or nil; "http", keep-alive, body
---follows; "bad", status, text.
---@param head string
---@param max_headers integer
---@return "upgrade"|"http"|"bad" kind, any, any
function core.examine(head, max_headers) end

---Answers an upgrade with 101: the WebSocket is open.
---@param ws duplex.Connection
---@param head string
---@param now number seconds
---@param protocol? string
---@param extra? string header lines with their CRLF
---@return true|nil ok, string? message, string? id
function core.accept(ws, head, now, protocol, extra) end

---Sends the opening request of a client.
---@param ws duplex.Connection
---@param host string
---@param target string
---@param protocols? string joined with ", "
---@param extra? string header lines with their CRLF
---@return string|nil accept for verify
---@return string? message
---@return string? id
function core.request(ws, host, target, protocols, extra) end

---A client's handshake is done.
---@param ws duplex.Connection
---@param now number seconds
function core.open(ws, now) end

---@param head string
---@return string|nil method, string target_or_text, table<string, string>? headers, integer? minor
function core.parse_request(head) end

---@param head string
---@return integer|nil status, string reason_or_text, table<string, string>? headers
function core.parse_response(head) end

---Does a response with status 101 accept our request (RFC 6455 4.1)? If it does,
---what it says of compression (RFC 7692) counts from now on.
---@param ws duplex.Connection
---@param head string
---@param accept string from request
---@param offered string subprotocols, joined with ", "
---@return string|nil protocol "" for none
---@return string? text what is wrong
function core.verify(ws, head, accept, offered) end

---@param ws duplex.Connection
---@return string extensions agreed on, "" for none
function core.extensions(ws) end

---@param head string of a request
---@return string[] subprotocols
function core.offered(head) end

---May both stand in a head as they are?
---@param name string
---@param value string
---@return boolean
function core.header_ok(name, value) end

-- ---- bytes ----

---@param bytes string
---@return string digest 20 bytes
function core.sha1(bytes) end

---@param bytes string
---@return string text
function core.base64(bytes) end

---@param text string
---@return string|nil bytes nil when it is not canonical base64
function core.base64_decode(text) end

---@param bytes string
---@return boolean
function core.utf8_valid(bytes) end

---Text in parts. The first state is 0; text that ends in another one is not
---complete.
---@param state integer
---@param bytes string
---@return integer|nil state nil: no UTF-8
function core.utf8_feed(state, bytes) end

---Bytes of a peer, fit to be shown: escaped, with "..." in the middle of long ones.
---@param bytes string
---@param most? integer bytes of the text, 16..65536; default 75
---@return string text
function core.excerpt(bytes, most) end

return core
