-- SPDX-License-Identifier: MIT
local address = require "duplex.address"
local bytes = require "spec.support.bytes"

describe("address.bytes", function()
  local rows = {
    { "1.2.3.4", "01020304" }, { "0.0.0.0", "00000000" }, { "255.255.255.255", "ffffffff" },
    { "::", ("00"):rep(16) }, { "::1", ("00"):rep(15) .. "01" },
    { "1::", "0001" .. ("00"):rep(14) },
    { "2001:DB8::a:b", "20010db800000000000000000" .. "00a000b" },
    { "1:2:3:4:5:6:7:8", "00010002000300040005000600070008" },
    { "1:2:3::5:6:7:8", "00010002000300000005000600070008" },
    { "64:ff9b::1.2.3.4", "0064ff9b000000000000000001020304" },
    { "::ffff:1.2.3.4", "01020304" }, { "::ffff:102:304", "01020304" },
    { "1:2:3:4:5:6:1.2.3.4", "00010002000300040005000601020304" },
    { "" }, { "a" }, { "1" }, { "1.2.3" }, { "1.2.3.4.5" }, { "1.2.3." }, { "1.2.3.256" },
    { "1.2.3.04" }, { "1.2.3.4.example" }, { "1.2.3.-4" }, { ":" }, { ":::" }, { "1:2" }, { "1::2::3" },
    { "1:2:3:4:5:6:7" }, { "1:2:3:4:5:6:7:8:9" }, { "1:2:3:4::5:6:7:8" }, { "12345::" }, { "g::" },
    { ":1:2:3:4:5:6:7" }, { "1:2:3:4:5:6:7:" }, { "::1.2.3" }, { "::1.2.3.4:5" }, { "1.2.3.4::" },
    { "fe80::1%eth0" }, { "[::1]" },
  }
  for _, row in ipairs(rows) do
    it(("reads %q as %s"):format(row[1], row[2] or "no address"), function()
      local found = address.bytes(row[1])
      assert.equal(row[2], found and (bytes.to_hex(found):gsub("%s", "")))
    end)
  end
end)

describe("address.same", function()
  local rows = {
    { "10.1.2.3", "10.0.0.0", 8, true }, { "11.1.2.3", "10.0.0.0", 8, false },
    { "10.1.2.3", "10.9.9.9", 0, true }, { "172.31.0.1", "172.16.0.0", 12, true },
    { "172.32.0.1", "172.16.0.0", 12, false }, { "1.2.3.4", "1.2.3.4", 32, true },
    { "1.2.3.5", "1.2.3.4", 32, false }, { "1.2.3.5", "1.2.3.4", 31, true },
    { "1.2.3.4", "1.2.3.4", 33, false }, { "1.2.3.4", "::", 0, false },
    { "febf::1", "fe80::", 10, true }, { "fec0::1", "fe80::", 10, false },
    { "::1", "::1", 128, true }, { "::1", "::1", 129, false }, { "::ffff:10.1.2.3", "10.0.0.0", 8, true },
  }
  for _, row in ipairs(rows) do
    it(("says %s of %s and %s, %d bits"):format(tostring(row[4]), row[1], row[2], row[3]), function()
      assert.equal(row[4], address.same(address.bytes(row[1]), address.bytes(row[2]), row[3]))
    end)
  end
end)

describe("address.is_loopback", function()
  for _, host in ipairs { "localhost", "localhost.", "a.localhost", "127.0.0.1", "127.255.1.2", "::1",
    "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1" } do
    it("knows " .. host, function() assert.is_true(address.is_loopback(host)) end)
  end
  for _, host in ipairs { "localhost.example", "notlocalhost", "128.0.0.1", "::2", "::", "127.0.0.1.example",
    "x", "" } do
    it(("does not take %q for it"):format(host), function() assert.is_false(address.is_loopback(host)) end)
  end
end)
