-- SPDX-License-Identifier: MIT
-- From the options of a server to sockets that listen, for any host.

local failure = require "duplex.failure"

local listening = {}

local function close_all(listeners)
  for _, listener in ipairs(listeners) do listener:close() end
end

local function cannot(message, where)
  return failure.of("ADDRESS",
    ("cannot listen on %s: %s"):format(where, failure.text(message)))
end

--- Listeners for checked options of a server.
---@param options table
---@param resolve fun(name: string): string[]|nil, string?
---@param listen fun(place: string|integer, port: integer?, options: table): table?, string?, boolean?
---  a listener, or nil, message, and whether this machine has no such address.
---  place: a numeric address, with a port; a path; or a descriptor
---@return table[]|nil listeners, string? message, string? id "ADDRESS"
function listening.open(options, resolve, listen)
  local place = options.fd or options.unix
  if place then
    local listener, message = listen(place, nil, options)
    if listener then return { listener } end
    return cannot(message, options.unix or "descriptor " .. place)
  end
  local list, message = { "0.0.0.0", "::" }, nil
  if options.host ~= "*" then list, message = resolve(options.host) end
  if not list then return cannot(message, options.host) end
  local listeners, port = {}, options.port
  for _, address in ipairs(list) do
    local listener, absent
    listener, message, absent = listen(address, port, options)
    if listener then
      listeners[#listeners + 1] = listener
      -- All addresses get the port that the first one was given.
      port = select(2, listener:address())
    elseif not absent or #list == 1 then
      close_all(listeners)
      return cannot(message, ("%s port %d"):format(address, port))
    end -- a machine without IPv6 serves "*" and "localhost" on IPv4
  end
  if #listeners == 0 then return cannot(message, options.host) end
  return listeners
end

return listening
