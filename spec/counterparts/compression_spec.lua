-- SPDX-License-Identifier: MIT
-- permessage-deflate with others' implementations: every combination of its
-- parameters (RFC 7692 7.1), text, binary and empty messages, fragments, and
-- contexts that are taken over, or not. The other end is Node's ws, Faye's
-- websocket-driver, Python's websockets, and Chromium.

local child = require "spec.support.child"
local duplex = require "duplex"
local reporting = require "spec.counterparts.reporting"
local PATIENCE = require "spec.support.patience"
local run = require "spec.support.run"

local NODE = os.getenv("NODE") or "node"
local PYTHON = os.getenv("PYTHON") or "/usr/bin/python3"
local PEERS = "spec/counterparts/peers/"
local TEXT = reporting.TEXT

local clients = {
  { "Node's client", NODE, "parameters.mjs", {
    "what the client asks for", "what the server wants", "a large message",
    "a shared compressor", "a client that does not compress",
  } },
  { "Faye's client", NODE, "parameters_faye.mjs", {
    "what the client asks for", "what the server wants", "a large message", "a shared compressor",
  } },
  { "Python's client", PYTHON, "parameters.py", {
    "what the client asks for", "what the server wants", "a shared compressor",
  } },
  { "Chromium", NODE, "parameters_page.mjs", {
    "what a browser agrees to", "what the server wants", "a shared compressor",
  } },
}

for _, row in ipairs(clients) do
  describe("our server compresses, " .. row[1] .. ":", function()
    local server, results

    lazy_setup(function()
      server = child.start(child.lua, PEERS .. "parameters.lua")
      local url = server:expect("^listening on (.*)$")
      if row[1] == "Chromium" then
        results = child.results(row[2], PEERS .. row[3], url)
      else
        results = child.results(row[2], PEERS .. row[3], "client", url)
      end
    end)
    lazy_teardown(function() server:stop() end)

    for _, name in ipairs(row[4]) do
      it(name, function() assert.is_true(results[name]) end)
    end
  end)
end

-- All combinations of the four parameters, with windows of 9 bits or more.
local function combinations()
  local list = {}
  for server = 8, 15 do
    for client = 8, 15 do
      for fresh = 0, 3 do
        list[#list + 1] = {
          server_no_context_takeover = fresh % 2 == 1 or nil,
          client_no_context_takeover = fresh > 1 or nil,
          server_max_window_bits = server > 8 and server or nil,
          client_max_window_bits = client > 8 and client or nil,
        }
      end
    end
  end
  return list
end

local function query(options)
  local parts = {}
  for name, value in pairs(options) do parts[#parts + 1] = name .. "=" .. (value == true and 1 or value) end
  return "?" .. table.concat(parts, "&")
end

local binary = {}
for i = 1, 5000 do binary[i] = string.char(math.floor(i * i / 128) % 256) end
binary = table.concat(binary)

local function exchange(ws, wanted)
  local agreed = ws.extensions
  assert.truthy(agreed:find("^permessage%-deflate"), agreed)
  local report = reporting.new(ws)
  for i, data in ipairs { TEXT, TEXT, "", binary, TEXT:sub(1, 300), TEXT } do
    local kind = data == binary and "binary" or "text"
    assert(ws:send(data, kind))
    local answer, its_kind = ws:receive(PATIENCE)
    assert.is_true(answer == data, "message " .. i .. " came back as another")
    assert.equal(kind, its_kind)
    report("note")
  end
  local lines = report():gmatch("\n(%d+) (%d+)")
  local first, second = { lines() }, { lines() }
  for i, side in ipairs { "server", "client" } do
    local fresh, bits = side .. "_no_context_takeover", side .. "_max_window_bits"
    local window = tonumber(agreed:match(bits .. "=(%d+)")) or 15
    assert.is_true(not wanted[fresh] or agreed:find(fresh, 1, true) ~= nil, agreed)
    assert.is_true(window <= (wanted[bits] or 15), agreed)
    local a, b = tonumber(first[i]), tonumber(second[i])
    assert.is_true(a < 600, side .. ": " .. a .. " bytes for " .. #TEXT)
    if agreed:find(fresh, 1, true) then
      assert.equal(a, b, side .. ": " .. agreed)
    elseif window > 10 then
      assert.is_true(b < a / 4, ("%s: %d, then %d bytes: %s"):format(side, a, b, agreed))
    end
  end
  assert(ws:send("fragments"))
  local parts = ws:receive(PATIENCE)
  assert.is_true(#parts > 1000 and parts == parts:sub(1, #parts / 3):rep(3))
  local pieces, i = { TEXT:sub(1, 500), "", TEXT:sub(501) }, 0
  assert(ws:send(function()
    i = i + 1
    return pieces[i]
  end))
  assert.equal(TEXT, (ws:receive(PATIENCE)))
end

local function every(url, theirs, mine)
  for _, one in ipairs(combinations()) do
    local ws = assert(duplex.connect(url .. query(theirs(one)), { compression = mine(one) }))
    exchange(ws, one)
    ws:close()
  end
end

local function none() return {} end
local function same(one) return one end

for name, words in pairs {
  ["Node's server"] = { NODE, PEERS .. "parameters.mjs", "server" },
  ["Faye's server"] = { NODE, PEERS .. "parameters_faye.mjs", "server" },
  ["Python's server"] = { PYTHON, PEERS .. "parameters.py", "server" },
} do
  describe("our client compresses, " .. name .. ":", function()
    local server, url

    lazy_setup(function()
      server = child.start((table.unpack or unpack)(words))
      url = server:expect("^listening on (.*)$")
    end)
    lazy_teardown(function() server:stop() end)

    it("what the client asks for", run(function() every(url, none, same) end))
    it("what the server wants", run(function() every(url, same, none) end))

    it("a shared compressor", run(function()
      exchange(assert(duplex.connect(url, { compression = { compressor = "shared" } })), {})
    end))

    it("a large message", run(function()
      local ws = assert(duplex.connect(url, { compression = true }))
      local large = TEXT:rep(math.floor(1000000 / #TEXT))
      ws:send(large)
      assert.is_true(ws:receive(PATIENCE) == large)
    end))
  end)
end
