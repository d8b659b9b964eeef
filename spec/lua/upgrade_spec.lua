-- SPDX-License-Identifier: MIT
-- Who may become a WebSocket, and what is agreed on: origins, subprotocols.
local duplex = require "duplex"
local log_lines = require "spec.support.lines"
local run = require "spec.support.run"

local function serve(options)
  local lines
  options.log, lines = log_lines()
  return assert(duplex.serve(options, function(ws) ws:wait_closed() end)), lines
end

local function status(server, from)
  local ws, _, id, response = duplex.connect(server.url, { headers = { Origin = from } })
  if ws then
    ws:close()
    return 101
  end
  assert(id == "HTTP", id)
  return response.status, response.body
end

describe("origins", function()
  it("by default are those of the same host", run(function()
    local server, lines = serve {}
    assert.equal(101, status(server, nil))
    assert.equal(101, status(server, "http://127.0.0.1:" .. server.port))
    assert.equal(0, #lines)
    local code, body = status(server, "https://evil.example")
    assert.equal(403, code)
    assert.equal("This page may not connect here (Origin).\n", body)
    assert.equal("warning", lines[1][1])
    assert.equal('refused a page of another site; to let it in: origins = { "https://evil.example" }',
      lines[1][2])
    assert.equal("https://evil.example", lines[1][3].origin)
    assert.equal(403, status(server, "null"))
  end))

  it("may be a list with wildcards; the fix that is logged adds to it", run(function()
    local server, lines = serve { origins = { "https://*.example.com", "http://localhost:*" } }
    assert.equal(101, status(server, "https://chat.example.com"))
    assert.equal(101, status(server, "http://localhost:5173"))
    assert.equal(403, status(server, "http://127.0.0.1:" .. server.port))
    assert.matches('origins = { "https://%*.example.com", "http://localhost:%*", "http://127.0.0.1:%d+" }',
      lines[1][2])
  end))

  it("may be a function, which may wait", run(function()
    local server = serve { origins = function(from)
      duplex.sleep(0.001)
      return from == "https://good.example"
    end }
    assert.equal(101, status(server, "https://good.example"))
    assert.equal(403, status(server, "https://bad.example"))
  end))

  it("are refused when the function raises, and that is logged", run(function()
    local server, lines = serve { origins = function() error("oops") end }
    assert.equal(403, status(server, "https://good.example"))
    assert.matches("^origins failed: .*oops", lines[1][2])
  end))

  it("raises for entries that could never match", function()
    for _, entry in ipairs { "example.com", "https://example.com/path", "wss://example.com" } do
      assert.error_matches(function() duplex.serve({ origins = { entry } }, print) end, "is no origin")
    end
  end)
end)

describe("subprotocols", function()
  local function agreed(server, offered)
    local ws, message, id = duplex.connect(server.url, { subprotocols = offered })
    if not ws then return nil, message, id end
    local name = ws.subprotocol
    ws:close()
    return name
  end

  it("are chosen in the server's order", run(function()
    local server = serve { subprotocols = { "v2", "v1" } }
    assert.equal("v2", agreed(server, { "v1", "v2" }))
    assert.equal("v1", agreed(server, { "v0", "v1" }))
    assert.is_nil(agreed(server, { "v0" }))
    assert.is_nil(agreed(server, nil))
  end))

  it("are known to both sides", run(function()
    local seen
    local server = assert(duplex.serve({ subprotocols = { "chat" }, log = false },
      function(ws) seen = ws.subprotocol end))
    local ws = assert(duplex.connect(server.url, { subprotocols = { "chat" } }))
    ws:wait_closed(1)
    assert.equal("chat", seen)
    assert.equal("chat", ws.subprotocol)
  end))

  it("may be chosen by a function, from what is offered", run(function()
    local given
    local server = serve { subprotocols = function(offered)
      given = offered
      return offered[2]
    end }
    assert.equal("b", agreed(server, { "a", "b" }))
    assert.same({ "a", "b" }, given)
    assert.is_nil(agreed(server, { "a" }))
  end))

  it("that were not offered, or a function that raises, are a 500 and logged", run(function()
    local server, lines = serve { subprotocols = function(offered)
      if #offered == 0 then error("oops") end
      return "other"
    end }
    assert.equal("HTTP", select(3, agreed(server, { "a" })))
    assert.matches('chose "other", which was not offered', lines[1][2])
    assert.equal("HTTP", select(3, agreed(server, nil)))
    assert.matches("subprotocols failed: .*oops", lines[2][2])
  end))
end)
