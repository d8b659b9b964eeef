-- SPDX-License-Identifier: MIT
-- Engines that were not busy for a while give the buffers of OpenSSL back: what
-- they were in the middle of goes on all the same.

local secure_peer = require "spec.support.secure_peer"

local OTHERS = 70 -- more than keep their buffers

describe("an engine while many others are busy", function()
  local client, server = secure_peer.context("client"), secure_peer.context("server")

  local function pair()
    local a, b = client:engine("localhost", 443), server:engine()
    repeat
      b:feed(a:output())
      assert(b:ready() ~= nil)
      a:feed(b:output())
    until assert(a:ready()) and b:ready()
    return a, b
  end

  it("goes on in a record that was cut anywhere", function()
    local others = {}
    for i = 1, OTHERS do others[i] = { pair() } end
    for cut = 1, 40 do
      local a, b = pair()
      assert(a:write("what was cut"))
      local record = a:output()
      b:feed(record:sub(1, cut))
      local before = b:read()
      for _, other in ipairs(others) do
        assert(other[1]:write("busy"))
        other[2]:feed(other[1]:output())
        assert.equal("busy", other[2]:read())
      end
      b:feed(record:sub(cut + 1))
      assert.equal("what was cut", before .. b:read())
    end
  end)

  it("goes on in a record of which a part was read", function()
    local a, b = pair()
    assert(a:write(("0123456789"):rep(100)))
    b:feed(a:output())
    assert.equal("012", b:read(3))
    for _ = 1, OTHERS do pair() end
    assert.equal("3456", b:read(4))
    assert.equal(993, #b:read())
  end)
end)
