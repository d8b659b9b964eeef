-- SPDX-License-Identifier: MIT
-- Every option once: its name, type, unit, range, default and meaning. What
-- the rows say is what options.lua checks, and docs/options.md is made of them.

---@class duplex.option
---@field name string "tls.ca" is the ca of the table tls
---@field role "server"|"client"|"both"|string or the helper that it is for
---@field type string as in error texts; "number or false": 0 and false = off
---@field default any nil = none
---@field min? number of a string or list: bytes or elements
---@field max? number
---@field unit? string
---@field text string its meaning

local COLUMNS =
  { "name", "role", "type", "default", "min", "max", "unit", "text" }
local DAY, INT, TIB = 86400, 2147483647, 1099511627776
local PING_INTERVAL, PING_TIMEOUT = 20, 20 -- proxies cut what is silent for a minute

---@type duplex.option[]
local rows = {
  -- luacheck: no max line length
  { "host",             "server", "string",            "127.0.0.1", 1,   255,     "bytes",           'Address or name to listen on; "*" = every address of this machine.' },
  { "port",             "server", "integer",           0,           0,   65535,   nil,               "TCP port; 0 = any free one, see server.port." },
  { "unix",             "server", "string",            nil,         1,   107,     "bytes",           "Path of a Unix socket to listen on, instead of host and port." },
  { "fd",               "server", "integer",           nil,         0,   INT,     nil,               "A listening socket that is open already, instead of host and port." },
  { "reuseport",        "server", "boolean",           false,       nil, nil,     nil,               "Share the port with other processes that set this too (SO_REUSEPORT)." },
  { "backlog",          "server", "integer",           1024,        1,   65535,   "connections",     "Connections that the kernel holds until they are accepted; it may cap this itself." },
  { "tls",              "server", "table of TLS options or false", false,    nil, nil,     nil,               "Serve wss and https instead of ws and http." },
  { "origins",          "server", "list or function",  nil,         0,   1000,    "entries",         'Web pages that may connect, such as "https://*.example.com", or a function; default: those of the same host.' },
  { "proxies",          "server", "list",              nil,         0,   1000,    "entries",         'Addresses and ranges of proxies, such as "10.0.0.0/8", "::1" or "unix", that are believed when they tell who the client is (X-Forwarded-For, -Proto, -Host, or else Forwarded); default: nobody is.' },
  { "proxy_protocol",   "server", "boolean",           false,       nil, nil,     nil,               "Every connection begins with a header of the PROXY protocol, version 1 or 2, and comes from one of proxies; others are cut." },
  { "subprotocols",     "server", "list or function",  nil,         0,   100,     "entries",         "Subprotocols spoken here, best first, or a function that chooses one." },
  { "max_connections",  "server", "integer",           nil,         1,   INT,     "connections",     "More are answered with 503; default: RLIMIT_NOFILE less 64." },
  { "max_handshakes",   "server", "integer",           1024,        1,   INT,     "connections",     "Connections that have not sent a whole request yet; more wait in the kernel until there is room." },
  { "on_request",       "server", "function",          nil,         nil, nil,     nil,               "Called before the upgrade: returns nothing to go on, or status, body, headers; an error is answered with 500." },
  { "unix",             "client", "string",            nil,         1,   107,     "bytes",           "Path of a Unix socket to connect to; the URL then only gives the Host header and the path." },
  { "headers",          "client", "table of headers",  nil,         nil, nil,     nil,               "Headers of the handshake request: { Name = value } or { Name = { value, value } }." },
  { "subprotocols",     "client", "list",              nil,         0,   100,     "entries",         "Subprotocols to offer, best first." },
  { "tls",              "client", "table of TLS options or false", false,    nil, nil,     nil,               "For wss; without it the system's authorities are trusted." },
  { "proxy",            "client", "string or false",   nil,         1,   8192,    "bytes",           'URL of a proxy: http, https (CONNECT), socks5 (names are resolved here) or socks5h (by the proxy), "http://user:password@host:port"; ports 80, 443 and 1080 unless given; false = none; default: the environment variables (wss_proxy, https_proxy, no_proxy, ...), see the guide.' },
  { "proxy_tls",        "client", "table of TLS options or false", false,    nil, nil,     nil,               "The same as tls, for the proxy of an https:// URL." },
  { "redirects",        "client", "integer",           5,           0,   20,      "redirects",       "Redirects to follow; never from wss to ws, and credentials stay with their origin; 0 = none." },
  { "compression",      "both",   "table of compression options or boolean", false, nil, nil, nil,         "Compression of messages (RFC 7692): true, or what the rows compression.* say, in a table." },
  { "log",              "both",   "function or false", nil,         nil, nil,     nil,               "function(level, message, fields); false = silence; default: lines on stderr." },
  { "open_timeout",     "both",   "number or false",   10,          0,   DAY,     "seconds",         "From connecting or accepting to the end of the handshake; 0 or false = no limit." },
  { "ping_interval",    "both",   "number or false",   PING_INTERVAL, 0,   DAY,     "seconds",         "Silence of the peer before a ping is sent; 0 or false = no pings. Proxies often cut at 60." },
  { "ping_timeout",     "both",   "number or false",   PING_TIMEOUT, 0,   DAY,     "seconds",         "Silence after that ping before the connection is LOST; counts while this side reads; 0 or false = no limit." },
  { "close_timeout",    "both",   "number",            10,          0,   DAY,     "seconds",         "To wait for the peer's close frame after ours; 0 = cut without waiting." },
  { "send_timeout",     "both",   "number or false",   30,          0,   DAY,     "seconds",         "A peer that takes no byte for this long while some wait is LOST; 0 or false = no limit." },
  { "max_message",      "both",   "integer",           1048576,     1,   TIB,     "bytes",           "A larger message, after inflation, closes the connection with 1009." },
  { "max_fragments",    "both",   "integer",           131072,      1,   INT,     "frames",          "Frames of one message; more close the connection. A fragment costs no memory of its own." },
  { "max_header_bytes", "both",   "integer",           16384,       256, 1048576, "bytes",           "Size of the peer's handshake; a larger one is refused." },
  { "max_headers",      "both",   "integer",           100,         1,   10000,   "lines",           "Header lines of the peer's handshake; more are refused." },
  { "max_queue",        "both",   "integer",           16,          1,   65536,   "messages",        "Messages decoded before the program asks for them; reading then stops until it does." },
  { "max_queue_bytes",  "both",   "integer",           1048576,     1,   TIB,     "bytes",           "The same in bytes; one message always fits." },
  { "high_mark",        "both",   "integer",           65536,       1,   TIB,     "bytes",           "send waits while more than this waits to leave." },
  { "max_outbox",       "both",   "integer",           1048576,     1,   TIB,     "bytes",           "When more would wait to leave, try_send returns FULL and broadcast closes with 1013; one message always fits." },
  { "max_control_rate", "both",   "integer",           10000,       1,   1000000, "frames a second", "Pings, pongs and closes from the peer; more close the connection." },
  { "tls.certificate",  "both",   "path or PEM text",  nil,         1,   4096,    "bytes",           "Own certificate, and behind it those of the authorities between it and the root. Servers need one." },
  { "tls.key",          "both",   "path or PEM text",  nil,         1,   4096,    "bytes",           "Its private key; default: it is with the certificate." },
  { "tls.passphrase",   "both",   "string or function", nil,        1,   1024,    "bytes",           "Of an encrypted key, or a function that returns it." },
  { "tls.ca",           "both",   "path or PEM text",  nil,         1,   4096,    "bytes",           "Authorities to trust: a file, a directory of hashed names, or text; default for clients: the system's." },
  { "tls.minimum_version", "both", '"1.2" or "1.3"',   "1.2",       nil, nil,     nil,               "Oldest version of TLS to speak." },
  { "tls.maximum_version", "both", '"1.2" or "1.3"',   nil,         nil, nil,     nil,               "Newest version of TLS to speak; default: the newest there is." },
  { "tls.ciphers",      "both",   "string",            nil,         1,   4096,    "bytes",           "Ciphers of TLS 1.2, as OpenSSL names them; default: OpenSSL's." },
  { "tls.ciphersuites", "both",   "string",            nil,         1,   4096,    "bytes",           "Ciphers of TLS 1.3, as OpenSSL names them; default: OpenSSL's." },
  { "tls.alpn",         "both",   "list",              { "http/1.1" }, 0, 16,     "entries",         "Protocols to agree on (RFC 7301), best first." },
  { "tls.certificates", "server", "list of tables",    nil,         1,   1000,    "entries",         "More certificates, chosen by the name that a client asks for: { certificate, key, passphrase, ocsp }." },
  { "tls.client_certificates", "server", '"required" or "optional" or false', false, nil, nil, nil, "Ask clients for a certificate that tls.ca has issued." },
  { "tls.tickets",      "server", "boolean",           true,        nil, nil,     nil,               "Let clients resume sessions." },
  { "tls.ocsp",         "server", "string",            nil,         1,   4096,    "bytes",           "Path of an OCSP response (DER) for tls.certificate, sent to clients that ask for one." },
  { "tls.verify",       "client", "boolean",           true,        nil, nil,     nil,               "Whether the certificate and the name in it are verified; false is for experiments." },
  { "tls.server_name",  "client", "string",            nil,         1,   255,     "bytes",           "Name to ask for and to verify; default: the host of the URL." },
  { "tls.resume",       "client", "boolean",           true,        nil, nil,     nil,               "Keep sessions, to be quicker when connecting again." },
  { "compression.compressor", "both", '"dedicated" or "shared"', "dedicated", nil, nil, nil,         "dedicated: one a connection, which remembers earlier messages; shared: one for all connections, no memory for each." },
  { "compression.server_no_context_takeover", "both", "boolean", false, nil, nil,  nil,               "The server compresses each message on its own." },
  { "compression.client_no_context_takeover", "both", "boolean", false, nil, nil,  nil,               "The client compresses each message on its own." },
  { "compression.server_max_window_bits", "server", "integer", 12,    9,   15,     "bits",            "Window of our compressor: it finds repetitions that are 2^bits bytes apart." },
  { "compression.client_max_window_bits", "server", "integer", 12,    8,   15,     "bits",            "The same of clients; one that cannot limit its window may use 15." },
  { "compression.server_max_window_bits", "client", "integer", nil,   8,   15,     "bits",            "Most that the server may use, which it has to agree to; default: 12, or what it uses." },
  { "compression.client_max_window_bits", "client", "integer", 12,    9,   15,     "bits",            "Window of our compressor: it finds repetitions that are 2^bits bytes apart." },
  { "compression.level", "both",   "integer",          6,           1,   9,       nil,               "Effort of our compressor: 1 is quickest, 9 makes the smallest messages." },
  { "compression.memory_level", "both", "integer",     5,           1,   9,       nil,               "Memory of our compressor beside the window: 2^(9 + level) bytes." },
  { "compression.threshold", "both", "integer",        64,          0,   INT,     "bytes",           "Shorter messages go as they are." },
  { "heartbeat",        "both",   "table or false",    nil,         nil, nil,     nil,               "Instead of ping_interval and ping_timeout: false = no pings; { interval, timeout, payload, on_latency }; or what duplex.heartbeat made." },
  { "interval",         "heartbeat", "number or false", PING_INTERVAL, 0, DAY,    "seconds",         "As ping_interval; a policy that adapts never waits longer." },
  { "timeout",          "heartbeat", "number or false", PING_TIMEOUT, 0, DAY,     "seconds",         "As ping_timeout." },
  { "payload",          "heartbeat", "bytes or function", nil,      0,   125,     "bytes",           "What the pings carry, or a function(ws) that returns it; default: a number." },
  { "on_latency",       "heartbeat", "function",        nil,         nil, nil,     nil,               "function(ws, seconds), called after each answered ping; it must not wait." },
  { "adaptive",         "heartbeat", "boolean",         false,       nil, nil,     nil,               "duplex.heartbeat only: after a connection that was lost in silence, ping earlier on the next." },
  { "minimum",          "heartbeat", "number",          1,           0.01, DAY,    "seconds",         "The shortest interval that a policy adapts to." },
  { "patience",         "heartbeat", "number",          600,         0,   DAY,     "seconds",         "Of answered pings, before a policy that adapted tries a longer interval; after each further loss twice as long." },
  { "clock",            "heartbeat", "function",        nil,         nil, nil,     nil,               "For tests: what a policy takes for duplex.now." },

  { "codec",            "json",   "table",             nil,         nil, nil,     nil,               "Another codec, { encode, decode [, null] [, empty_array] }; default: lua-cjson." },
  { "max_depth",        "json",   "integer",           128,         1,   1000,    "tables",          "Tables within tables, both ways, for lua-cjson." },
  { "kind",             "json",   '"text" or "binary"', "text",     nil, nil,     nil,               "Kind of the messages that are sent and expected." },
  { "strict",           "json",   "boolean",           false,       nil, nil,     nil,               "Close a connection whose message is not JSON (1007), or is of the other kind (1003)." },
  { "on_invalid",       "json",   "function",          nil,         nil, nil,     nil,               "on_invalid(message, raw) is told what messages() leaves out, as it is not JSON." },
  { "methods",          "rpc",    "table or function", nil,         nil, nil,     nil,               "What the peer may call: functions by name, or a function that is given a name and returns one or nil." },
  { "around",           "rpc",    "function",          nil,         nil, nil,     nil,               "around(call, next) is called in place of each method; next() calls it, and gives its results." },
  { "concurrency",      "rpc",    "integer",           16,          1,   100000,  "calls",           "Methods that run at once for one connection; with more to do, reading stops." },
  { "timeout",          "rpc",    "number or false",   30,          0,   DAY,     "seconds",         "Time that a call waits for its answer, unless it says otherwise." },
  { "max_calls",        "rpc",    "integer",           1000,        1,   INT,     "calls",           "Calls of ours that wait for answers at once." },
  { "max_batch",        "rpc",    "integer",           100,         1,   INT,     "calls",           "Calls in one batch from the peer; a larger one is refused as a whole." },
  { "max_held",         "rpc",    "integer",           4194304,     0,   TIB,     "bytes",           "Calls from the peer that are read while all methods are busy, as long as something of ours waits to be answered or sent; with more, reading stops." },
  { "codec",            "rpc",    "table",             nil,         nil, nil,     nil,               "Another JSON codec, { encode, decode, null }; default: lua-cjson." },
  { "max_depth",        "rpc",    "integer",           128,         1,   1000,    "tables",          "Tables within tables, both ways, for lua-cjson." },
  { "log",              "rpc",    "function or false", nil,         nil, nil,     nil,               "log(level, message, fields), false = silence; default: a line on stderr." },
  { "connect",          "reconnect", "table",          nil,         nil, nil,     nil,               "Options of duplex.connect." },
  { "first",            "reconnect", "number",         0.5,         0,   DAY,     "seconds",         "Longest delay after the first failure; each delay is chosen evenly between nothing and its longest." },
  { "factor",           "reconnect", "number",         2,           1,   100,     nil,               "Each further failure in a row makes the longest delay so many times longer." },
  { "max",              "reconnect", "number",         30,          0,   DAY,     "seconds",         "Longest delay of all." },
  { "min_uptime",       "reconnect", "number",         5,           0,   DAY,     "seconds",         "A connection that lasted less counts as a failure like those before it." },
  { "max_retry_after",  "reconnect", "number",         300,         0,   DAY,     "seconds",         "Longest delay that a server may ask for with Retry-After; a delay of ours is added." },
  { "attempts",         "reconnect", "integer",        nil,         1,   INT,     "failures",        "It gives up after so many in a row; default: never." },
  { "final",            "reconnect", "table or function", nil,      nil, nil,     nil,               "Failures after which it gives up: a list of close codes, HTTP statuses, ids and ranges { from, to }, or function(failure); see the guide for those that are final anyway." },
  { "retryable",        "reconnect", "table or function", nil,      nil, nil,     nil,               "Failures after which it goes on although they are final by default." },
  { "queue",            "reconnect", "integer",        1000,        0,   INT,     "messages",        "Messages kept while there is no connection." },
  { "queue_bytes",      "reconnect", "integer",        1048576,     0,   TIB,     "bytes",           "The same in bytes; one message always fits." },
  { "queue_policy",     "reconnect", '"oldest" or "newest" or "refuse"', "refuse", nil, nil, nil,   "When the queue is full: drop the oldest message, drop the new one, or let send return FULL." },
  { "on_open",          "reconnect", "function",       nil,         nil, nil,     nil,               "function(ws, client): called with each new connection, before anything else uses it. May wait." },
  { "on_close",         "reconnect", "function",       nil,         nil, nil,     nil,               "function(failure, delay): called after each failed attempt and each end, before the next delay." },
  { "on_give_up",       "reconnect", "function",       nil,         nil, nil,     nil,               "function(failure): called when there will be no further attempt, but not after close and stop." },
  { "log",              "reconnect", "function or false", nil,      nil, nil,     nil,               "As the option of connect, for what this helper has to say." },
  { "random",           "reconnect", "function",       nil,         nil, nil,     nil,               "function() -> a number in [0, 1), in place of its own, for tests." },

  { "slow",             "hub",    '"disconnect" or "drop" or "coalesce"', "disconnect", nil, nil, nil,     "What happens to a subscriber whose outbox is full: it is closed with 1013, or misses the message, or gets the newest one of each key when it reads again." },
  { "above",            "hub",    "integer",           nil,         1,   TIB,     "bytes",           "An outbox that would have more than this is full; default and at most: max_outbox." },
  { "pending_bytes",    "hub",    "integer",           1048576,     1,   TIB,     "bytes",           "What is kept for a subscriber that lags, or has missed something; more is treated as slow says, coalesce as disconnect." },
  { "max_topics",       "hub",    "integer",           100,         1,   1000000, "topics",          "Topics and patterns that one connection may subscribe to." },
  { "max_topic_bytes",  "hub",    "integer",           256,         1,   65536,   "bytes",           "Length of a topic; words may be 16." },
  { "history",          "hub",    "integer",           0,           0,   1000000, "messages",        "The last messages of a topic that are kept; 0 = no history, no last value, no offsets." },
  { "history_bytes",    "hub",    "integer",           1048576,     1,   TIB,     "bytes",           "The same in bytes." },
  { "history_ttl",      "hub",    "number",            300,         0,   DAY * 365, "seconds",       "Older messages are not kept; a topic without a message for that long begins a new epoch." },
  { "history_topics",   "hub",    "integer",           10000,       1,   INT,     "topics",          "Topics whose history is kept, those last published to." },
  { "history_total",    "hub",    "integer",           67108864,    1,   TIB,     "bytes",           "Bytes of the histories of all topics." },
  { "encode",           "hub",    "function",          nil,         nil, nil,     nil,               "encode(topic, data, offset, epoch, kind) returns what is sent, and maybe its kind; called once a publish; must not wait." },
  { "on_join",          "hub",    "function",          nil,         nil, nil,     nil,               "on_join(topic, member) is called for the first connection of a member; must not wait." },
  { "on_leave",         "hub",    "function",          nil,         nil, nil,     nil,               "on_leave(topic, member) is called after the last connection of a member; must not wait." },
  { "on_gap",           "hub",    "function",          nil,         nil, nil,     nil,               "on_gap(ws, topic) is called for each subscriber when the backend has lost messages; must not wait." },
  { "backend",          "hub",    "table",             nil,         nil, nil,     nil,               "What carries messages between processes; default: nothing, topics are those of this process." },
  { "log",              "hub",    "function or false", nil,         nil, nil,     nil,               "function(level, message, fields); false = silence; default: lines on stderr." },
  { "clock",            "hub",    "function",          nil,         nil, nil,     nil,               "For tests: returns seconds; default: duplex.now." },
  { "slow",             "subscription", '"disconnect" or "drop" or "coalesce"', nil, nil, nil, nil,  "As for the hub, which gives the default." },
  { "above",            "subscription", "integer",     nil,         1,   TIB,     "bytes",           "As for the hub, which gives the default." },
  { "on_drop",          "subscription", "function",    nil,         nil, nil,     nil,               "on_drop(ws, topic, lost) is called for a message that was dropped; lost: so far; must not wait." },
  { "info",             "subscription", "table",       nil,         nil, nil,     nil,               "Makes the connection a member of the topic: what hub:who and on_join give; connections with the same id in it are one member." },
  { "since",            "subscription", "any",         nil,         nil, nil,     nil,               "Offset of the last message that the subscriber had; what came after it is sent first. May come from the peer as it is." },
  { "epoch",            "subscription", "any",         nil,         nil, nil,     nil,               "Epoch of that offset." },
  { "last",             "subscription", "integer or boolean", false, 0, 1000000, "messages",          "Send the last messages of the topic first, true = one; unless since is given and all since then can be sent." },
}

for _, row in ipairs(rows) do
  for i, column in ipairs(COLUMNS) do row[column], row[i] = row[i], nil end
end

return rows
