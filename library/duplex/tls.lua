---@meta duplex.tls
-- SPDX-License-Identifier: MIT
-- What the C module duplex.tls has, for editors: TLS without any I/O. Programs
-- use the option 'tls' instead; this is for event loops of their own.

---@class duplex.tls
---@field stamp string version and build: modules of other builds do not fit
---@field openssl string such as "OpenSSL 3.0.19 27 Jan 2026"
local tls = {}

---What connections with the same options share: authorities, certificates,
---sessions.
---@class duplex.tls.Context: userdata
local context = {}

---One connection's TLS: ciphertext in, plaintext out, and the other way round.
---@class duplex.tls.Engine: userdata
local engine = {}

---@param role "client"|"server"
---@param options table all fields of the option 'tls', defaults included
---@return duplex.tls.Context|nil context, string? message, string? id "TLS"
function tls.context(role, options) end

---What was agreed on with the peer of a connection on the native loop.
---@param ws duplex.Connection
---@return table|nil info nil without TLS, and before it is ready
function tls.info(ws) end

---@param path string
---@return string|nil stamp changes when the file does; nil: there is none
function tls.file_stamp(path) end

---@param host? string whom to reach: the name to ask for and to verify
---@param port? integer goes with the host, for sessions to resume
---@return duplex.tls.Engine|nil engine, string? message, string? id "TLS"
function context:engine(host, port) end

---Takes ciphertext that came from the peer.
---@param bytes string
function engine:feed(bytes) end

---@param max? integer bytes, default 65536
---@return string|nil plaintext "" when more has to be fed
---@return string? message, string? id "LOST": the peer sends no more; "TLS"
function engine:read(max) end

---@param plaintext string
---@return boolean|nil taken false: nothing, as more has to be fed before
---@return string? message, string? id "TLS"
function engine:write(plaintext) end

---@return string ciphertext to send to the peer, "" when there is none
function engine:output() end

---@return boolean|nil ready whether the handshake is done
---@return string? message, string? id "TLS"
function engine:ready() end

---The last output says that no more will come (close_notify).
function engine:finish() end

---@return table|nil info { version, cipher, alpn, server_name, resumed, subject,
---  issuer, fingerprint }, the last three of the peer's certificate
function engine:info() end

---Lets go of it. A link that has it keeps it; without one it is gone.
function engine:close() end

return tls
