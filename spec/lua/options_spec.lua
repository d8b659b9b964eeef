-- SPDX-License-Identifier: MIT
local options = require "duplex.options"

describe("options.check", function()
  it("fills in the documented defaults", function()
    local server, client = options.check("server", nil), options.check("client", {})
    for name, value in pairs { open_timeout = 10, ping_interval = 20, ping_timeout = 20,
      close_timeout = 10, send_timeout = 30, max_message = 1048576, max_fragments = 131072,
      max_header_bytes = 16384, max_headers = 100, max_queue = 16, max_queue_bytes = 1048576,
      high_mark = 65536, max_outbox = 1048576, max_control_rate = 10000, compression = false } do
      assert.equal(value, server[name])
      assert.equal(value, client[name])
    end
    assert.equal("127.0.0.1", server.host)
    assert.equal(0, server.port)
    assert.equal(5, client.redirects)
    assert.is_nil(server.origins)
    assert.is_nil(client.host)
  end)

  local good = {
    -- role, name, given, kept
    { "server", "port", 8080, 8080 }, { "server", "port", 65535, 65535 },
    { "server", "host", "*", "*" }, { "server", "fd", 3, 3 },
    { "server", "unix", "/run/x", "/run/x" }, { "server", "reuseport", true, true },
    { "server", "origins", { "*" }, { "*" } }, { "server", "origins", {}, {} },
    { "server", "origins", print, print }, { "server", "on_request", print, print },
    { "server", "subprotocols", { "a", "b" }, { "a", "b" } },
    { "client", "subprotocols", { "chat.v1" }, { "chat.v1" } },
    { "client", "headers", { A = "1", B = { "2", "3" } }, { A = { "1" }, B = { "2", "3" } } },
    { "client", "proxy", false, false }, { "client", "tls", false, false },
    { "client", "compression", false, false },
    { "client", "log", print, print }, { "client", "log", false, false },
    { "client", "open_timeout", 0.25, 0.25 }, { "client", "open_timeout", 0, false },
    { "client", "open_timeout", false, false }, { "client", "ping_interval", 0, false },
    { "client", "ping_timeout", false, false }, { "client", "send_timeout", 0, false },
    { "client", "close_timeout", 0, 0 }, { "client", "max_message", 1099511627776, 1099511627776 },
    { "client", "max_queue", 1, 1 },
  }
  for _, row in ipairs(good) do
    it(("keeps %s of the %s, given %s"):format(row[2], row[1], type(row[3])), function()
      assert.same(row[4], options.check(row[1], { [row[2]] = row[3] })[row[2]])
    end)
  end

  local huge, nan = math.huge, 0 / 0
  local bad = {
    -- role, name, given, message
    { "client", "max_mesage", 1, "unknown option 'max_mesage' (did you mean 'max_message'?)" },
    { "server", "prot", 1, "unknown option 'prot' (did you mean 'port'?)" },
    { "client", "zzzzzz", 1, "unknown option 'zzzzzz'" },
    { "server", 1, 8080, "unknown option '1'" },
    { "client", "origins", {}, "option 'origins' is not for the client" },
    { "server", "redirects", 1, "option 'redirects' is not for the server" },
    { "client", "max_message", 0, "option 'max_message' must be 1..1099511627776 bytes, got 0" },
    { "client", "max_message", huge, "option 'max_message' must be 1..1099511627776 bytes, got inf" },
    { "client", "max_message", nan, "option 'max_message' must be an integer, got nan" },
    { "client", "max_message", 1.5, "option 'max_message' must be an integer, got 1.5" },
    { "client", "max_message", "1", "option 'max_message' must be an integer, got string" },
    { "client", "max_message", false, "option 'max_message' must be an integer, got boolean" },
    { "server", "port", 65536, "option 'port' must be 0..65535, got 65536" },
    { "server", "port", -1, "option 'port' must be 0..65535, got -1" },
    { "server", "host", "", "option 'host' must be 1..255 bytes, got 0" },
    { "server", "host", 1, "option 'host' must be a string, got 1" },
    { "server", "unix", "a\0b", "option 'unix' has a control character" },
    { "server", "unix", ("a"):rep(108), "option 'unix' must be 1..107 bytes, got 108" },
    { "server", "reuseport", 1, "option 'reuseport' must be a boolean, got 1" },
    { "client", "open_timeout", -1, "option 'open_timeout' must be 0..86400 seconds, got -1" },
    { "client", "open_timeout", nan, "option 'open_timeout' must be a number or false, got nan" },
    { "client", "open_timeout", true, "option 'open_timeout' must be a number or false, got boolean" },
    { "client", "close_timeout", false, "option 'close_timeout' must be a number, got boolean" },
    { "client", "log", true, "option 'log' must be a function or false, got boolean" },
    { "server", "origins", "https://a", "option 'origins' must be a list or function, got string" },
    { "server", "origins", { a = 1 }, "option 'origins' must be a list: { first, second }" },
    { "server", "origins", { 1 }, "option 'origins' has '1', which is no string" },
    { "server", "origins", { "a.b" }, "option 'origins' has 'a.b', which is no origin: write "
      .. '"https://example.com", without a path' },
    { "client", "subprotocols", print, "option 'subprotocols' must be a list, got function" },
    { "client", "subprotocols", { "a", "a" }, "option 'subprotocols' has 'a', which is there twice" },
    { "client", "subprotocols", { "a b" }, "option 'subprotocols' has 'a b', which is no token"
      .. " (letters, digits, - . _ and the like)" },
    { "client", "headers", { A = "x\r\nB: y" }, "option 'headers' has 'A', which has a control character" },
    { "client", "headers", { ["A:"] = "x" }, "option 'headers' has 'A:', which is no token"
      .. " (letters, digits, - . _ and the like)" },
    { "client", "headers", { "x" }, "option 'headers' has '1', which is no string or has a value that is none" },
    { "client", "headers", { A = { "x", 1 } },
      "option 'headers' has 'A', which is no string or has a value that is none" },
    { "client", "headers", "A: x", "option 'headers' must be a table of headers, got string" },
    { "server", "tls", true, "option 'tls' must be a table of TLS options or false, got boolean" },
    { "server", "tls", {}, "option 'tls.certificate' is missing" },
    { "client", "tls", { verfy = true }, "unknown option 'tls.verfy' (did you mean 'tls.verify'?)" },
    { "client", "proxy_tls", { ca = 1 }, "option 'proxy_tls.ca' must be a path or PEM text, got 1" },
    { "client", "tls", { tickets = true }, "option 'tls.tickets' is not for the client" },
    { "server", "compression", "yes",
      "option 'compression' must be a table of compression options or boolean, got string" },
    { "server", "compression", { server_max_window_bits = 8 },
      "option 'compression.server_max_window_bits' must be 9..15 bits, got 8" },
    { "client", "compression", { client_max_window_bits = 8 },
      "option 'compression.client_max_window_bits' must be 9..15 bits, got 8" },
    { "client", "compression", { compressor = "none" },
      "option 'compression.compressor' must be \"dedicated\" or \"shared\", got \"none\"" },
    { "client", "compression", { treshold = 1 },
      "unknown option 'compression.treshold' (did you mean 'compression.threshold'?)" },
    { "client", "proxy", true, "option 'proxy' must be a string or false, got boolean" },
  }
  for _, row in ipairs(bad) do
    it("raises: " .. row[4], function()
      local ok, message = pcall(options.check, row[1], { [row[2]] = row[3] }, 0)
      assert.is_false(ok)
      assert.equal(row[4], (message:gsub("^[^ ]*:%d+: ", "")))
    end)
  end

  it("raises when places to listen exclude each other", function()
    for _, given in ipairs { { unix = "/x", port = 1 }, { fd = 3, port = 1 }, { unix = "/x", fd = 3 } } do
      assert.error_matches(function() options.check("server", given) end, "exclude each other")
    end
  end)

  it("raises for options that are no table", function()
    assert.error_matches(function() options.check("server", 8080) end, "options must be a table, got number")
    assert.error_matches(function() options.check("server", false) end, "options must be a table, got boolean")
  end)

  it("blames the caller of the public function", function()
    local here = debug.getinfo(1, "l").currentline
    local function serve(given)
      local checked = options.check("server", given)
      return checked
    end
    local _, message = pcall(function()
      local server = serve { prot = 1 }
      return server
    end)
    assert.truthy(message:find(("options_spec.lua:%d: unknown"):format(here + 6), 1, true), message)
    _, message = pcall(function()
      local checked = options.check("server", { prot = 1 }, 1)
      return checked
    end)
    assert.truthy(message:find(("options_spec.lua:%d: unknown"):format(here + 11), 1, true), message)
  end)

  it("neither keeps nor changes the caller's tables", function()
    local lines, list = { "1" }, { "a" }
    local given = { headers = { A = lines }, subprotocols = list }
    local checked = options.check("client", given)
    assert.same({ headers = { A = { "1" } }, subprotocols = { "a" } }, given)
    lines[1], list[1] = "changed", "changed"
    assert.same({ A = { "1" } }, checked.headers)
    assert.same({ "a" }, checked.subprotocols)
  end)

  it("gives each caller tables of its own", function()
    local first = options.check("client", { max_queue = 3 })
    assert.equal(16, options.check("client").max_queue)
    assert.equal(3, first.max_queue)
  end)

  it("makes an integer of a whole float", function()
    assert.equal("8080", tostring(options.check("server", { port = 8080.0 }).port))
  end)
end)

describe("options.nearest", function()
  it("finds the name that was probably meant, or none", function()
    local names = { "port", "ping_interval", "ping_timeout", "max_message" }
    for given, expected in pairs { Port = "port", pingtimeout = "ping_timeout",
      max_mesages = "max_message", por = "port" } do
      assert.equal(expected, options.nearest(given, names))
    end
    for _, given in ipairs { "", "xyz", "deadline", ("max_message"):rep(100) } do
      assert.is_nil(options.nearest(given, names))
    end
  end)
end)

describe("options.rows", function()
  it("are complete, and each default is in its own range", function()
    for _, row in ipairs(options.rows) do
      assert.is_string(row.name)
      assert.is_string(row.role)
      assert.truthy(row.text:find("%.$"))
      assert.is_nil(row[1])
      if row.default ~= nil then
        local role = row.role == "both" and "client" or row.role
        local level, name = row.name:match("^(.-)%.?([^.]+)$")
        local given = { [name] = row.default }
        if level == "tls" then given.certificate = "c.pem" end
        if level ~= "" then given = { [level] = given } end
        local kept = options.check(role, given)
        assert.same(row.default, (level ~= "" and kept[level] or kept)[name])
      end
    end
  end)

  it("make a Markdown table with a line for each", function()
    local text = options.markdown()
    local count = 0
    for line in text:gmatch("[^\n]+") do
      if line:find("^| `") then
        count = count + 1
        assert.equal(7, select(2, line:gsub("|", "")))
      end
    end
    assert.equal(#options.rows, count)
    assert.truthy(text:find("| `max_message` | both | integer | 1048576 | 1..1099511627776 bytes |", 1, true))
    assert.truthy(text:find("| `reuseport` | server | boolean | false | - |", 1, true))
  end)
end)
