-- SPDX-License-Identifier: MIT
-- The same case for all ways to join two connections: over a socket, over TLS,
-- in memory, and over byte streams, the kind that hosts have and a poorer one.
-- local case = both.cases(it); case("does x", function(a, b) ... end)

local duplex = require "duplex"
local memory = require "spec.support.memory"
local pki = require "spec.support.pki"
local run = require "spec.support.run"

local both = {}

--- Two connections over streams: calls body(client, server).
---@param plain boolean without what a stream may lack
function both.streams(plain, body)
  local bound = duplex.bind(memory.host { plain = plain })
  local server
  both.socket(function(client, accepted, serving)
    server = serving
    body(client, accepted)
  end, nil, nil, bound)
  server:stop(0)
end

--- Two connections over a socket: calls body(client, server), then lets the
--- handler go.
function both.socket(body, client_options, server_options, bound)
  bound = bound or duplex
  local came, done, accepted = duplex.event(), duplex.event(), nil
  local options = { log = false }
  for name, value in pairs(server_options or {}) do options[name] = value end
  local server = assert(bound.serve(options, function(ws)
    accepted = ws
    came:set()
    done:wait()
  end))
  local client = assert(bound.connect(server.url, client_options))
  came:wait()
  body(client, accepted, server)
  done:set()
end

--- A function that adds cases, body(bound), for the native host and for one of
--- streams, with busted's 'it'.
function both.bound(it)
  return function(name, body)
    it(name .. " (socket)", run(function() body(duplex) end))
    it(name .. " (stream)", run(function() body(duplex.bind(memory.host())) end))
  end
end

-- TLS options of both ends.
local function tls()
  local pair = pki.certificate()
  return { client = { ca = pki.ca }, server = { certificate = pair.certificate, key = pair.key } }
end

--- A function that adds cases with busted's 'it'.
function both.cases(it)
  return function(name, body)
    it(name .. " (socket)", run(function() both.socket(body) end))
    it(name .. " (TLS)", run(function()
      both.socket(body, { tls = tls().client }, { tls = tls().server })
    end))
    it(name .. " (stream)", run(function() both.streams(false, body) end))
    it(name .. " (plain stream)", run(function() both.streams(true, body) end))
    it(name .. " (pair)", run(function() body(duplex.pair()) end))
    it(name .. " (pair, TLS)", run(function() body(assert(duplex.pair { tls = tls() })) end))
    it(name .. " (pair, turned round)", run(function()
      local client, server = duplex.pair()
      body(server, client)
    end))
  end
end

--- Runs fn as a task; returns a function that waits for its results, and one
--- that says whether it is over.
function both.task(fn, ...)
  local over, results = duplex.event(), nil
  duplex.spawn(function(...)
    results = { n = select("#", ...), duplex.pcall(fn, ...) }
    over:set()
  end, ...)
  return function()
    assert(over:wait(5), "a task hangs")
    assert(results[1], results[2])
    return (table.unpack or unpack)(results, 2, 6)
  end, function() return results ~= nil end
end

--- Checks that fn(...), which may wait, raises what 'pattern' matches.
function both.raises(pattern, fn, ...)
  local fine, problem = duplex.pcall(fn, ...)
  if fine then error("it did not raise", 2) end
  if not problem:match(pattern) then error("it raised: " .. problem, 2) end
end

--- Lets the loop look at its sockets a few times. When a machine stood still for a
--- moment, a short time is over before what came meanwhile has been looked at.
function both.turns()
  for _ = 1, 5 do duplex.sleep(0) end
end

--- Lets all other tasks go on until nothing changes any more.
function both.settle()
  duplex.sleep(0.02)
  both.turns()
end

return both
