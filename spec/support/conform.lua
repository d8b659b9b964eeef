-- SPDX-License-Identifier: MIT
-- Plays rows of spec/support/cases.lua to an echoing peer.

local assert = require "luassert"
local bytes = require "spec.support.bytes"
local cases = require "spec.support.cases"
local raw = require "spec.support.raw"
local volumes = require "spec.support.volumes"

local conform = {}

local function show(first, payload)
  if not first then return "the end (" .. tostring(payload) .. ")" end
  return ("frame %02x of %d bytes: %q"):format(first, #payload, payload:sub(1, 60))
end

local function expect_frames(peer, frames, from, to)
  for i = from, to do
    local frame = frames[i]
    local first, payload = peer:frame()
    if first ~= frame[1] or payload ~= frame[2] then
      error(("frame %d should be %s\nbut is %s"):format(i, show(frame[1], frame[2]), show(first, payload)), 0)
    end
  end
end

--- Its close frame must come next with this code, then the end of the stream.
function conform.expect_close(peer, code)
  local got, reason, before = peer:until_close()
  if before[1] then error("before the close frame came " .. show(before[1][1], before[1][2]), 0) end
  if got ~= code then error(("closed with %s (%s) instead of %d"):format(tostring(got), tostring(reason), code), 0) end
  local ending = peer:eof()
  if ending ~= "closed" then error("after its close frame: " .. ending, 0) end
end

--- Closes in peace.
function conform.bid_goodbye(peer)
  peer:send(0x88, bytes.close(1000))
  conform.expect_close(peer, 1000)
  peer:close()
end

--- What a row sends, as the bytes of each frame.
function conform.wire(case, key)
  local list = {}
  for i, frame in ipairs(case[3]) do list[i] = bytes.frame(frame[1], frame[2], key) end
  if case.cut then -- a header that promises more than comes
    local first, part, length, before = case.cut[1], case.cut[2], case.cut[3], case.cut[4] or ""
    -- 'before' is one byte, a multiple of four times.
    if key then part, before = bytes.mask(part, key), bytes.mask(before, key, 4) end
    list[#list + 1] = bytes.head(first, length, key) .. before .. part
  end
  return list
end

-- Frame by frame, waiting for the answer to a ping before the next one.
-- -> how many frames were answers
local function converse(peer, case, list)
  local answered = 0
  for i, one in ipairs(list) do
    peer:write(one)
    local sent, next_answer = case[3][i], case[4][answered + 1]
    if sent and next_answer and sent[1] == 0x89 and next_answer[1] == 0x8a then
      answered = answered + 1
      expect_frames(peer, case[4], answered, answered)
    end
  end
  return answered
end

--- how: "at once", "by frame" or "chopped". Writing may fail when the other
--- side has already failed the connection: what it said before counts.
function conform.play(peer, case, how)
  local list, answered = conform.wire(case, peer.key), 0
  if how == "by frame" then
    answered = converse(peer, case, list)
  else
    peer:write(table.concat(list), how == "chopped" and case.chop or nil)
  end
  expect_frames(peer, case[4], answered + 1, #case[4])
  if case[5] then
    conform.expect_close(peer, case[5])
    peer:close()
  else
    conform.bid_goodbye(peer)
  end
end

--- Plays a row of spec/support/volumes.lua.
function conform.play_volume(peer, row)
  row[3](peer)
  conform.bid_goodbye(peer)
end

--- Calls run(case, how) for all ways to write a row.
function conform.each_way(case, run)
  run(case, "at once")
  if #case[3] > 1 then run(case, "by frame") end
  if case.chop then run(case, "chopped") end
end

--- The specs of an echoing server.
---@param busted_it function Busted's "it", which files that are required do not see
---@param peers table raw or secure_raw, which connect alike
---@param port fun(): integer
---@param witness fun(): table a connection that no case may disturb
---@param large boolean whether to ask for large messages too
function conform.server(busted_it, peers, port, witness, large)
  local function it(name, body)
    busted_it(name, function()
      body()
      assert(witness():alive(), "another connection was disturbed")
    end)
  end

  for _, case in ipairs(cases) do
    it(case[1] .. ": " .. case[2], function()
      conform.each_way(case, function(_, how)
        local fine, problem = pcall(conform.play, peers.connect(port()), case, how)
        assert(fine, how .. ": " .. tostring(problem))
      end)
    end)
  end

  for _, row in ipairs(large and volumes or {}) do
    it(row[1] .. ": " .. row[2], function()
      local fine, problem = pcall(conform.play_volume, peers.connect(port()), row)
      assert(fine, problem)
    end)
  end

  it("takes frames that come with the request", function()
    local peer = peers.tcp(port())
    peer:write(raw.request() .. "\129\133\55\250\33\61\127\159\77\81\88")
    assert.truthy(peer:head():find("^HTTP/1.1 101 "))
    assert.same({ 0x81, "Hello" }, { peer:frame() })
    peer:close()
  end)

  -- 7.1.6 with more than sockets hold: the second answer has to wait for room, and
  -- the close frame is there before that.
  it("answers what came before a close frame, although the peer reads late", function()
    local peer, message = peers.connect(port()), ("BAsd7&jh"):rep(2097152)
    peer:send(0x81, message, nil, 8)
    peer:send(0x81, "Hello World!")
    peer:send(0x88, bytes.close(1000))
    local first, payload = peer:frame(8)
    assert.is_true(first == 0x81 and payload == message, "another message came back")
    assert.same({ 0x81, "Hello World!" }, { peer:frame() })
    conform.expect_close(peer, 1000)
    peer:close()
  end)

  it("answers the opening handshake byte by byte", function()
    local peer = peers.tcp(port())
    peer:write(raw.request(), 1)
    assert.truthy(peer:head():find(raw.ACCEPT, 1, true))
    assert.is_true(peer:alive())
    peer:close()
  end)

  it("fails a frame that is not masked, with 1002", function()
    local peer = peers.connect(port())
    peer.key = nil
    peer:send(0x81, "Hello")
    assert.equal(1002, (peer:until_close()))
    assert.equal("closed", peer:eof())
    peer:close()
  end)
end

return conform
