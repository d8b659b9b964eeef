-- SPDX-License-Identifier: MIT
local command = require "spec.support.command"
local core = require "duplex.core"
local duplex = require "duplex"
local each = require "spec.support.each"
local peer = require "spec.support.peer"
local ports = require "spec.support.ports"
local run = require "spec.support.run"

describe("duplex", function()
  it("tells its version and its commands", run(function()
    assert.same({ 0, "duplex " .. core.version .. "\n", "" }, { command.run { "--version" } })
    local status, out, err = command.run { "--help" }
    assert.equal(0, status)
    assert.equal("", err)
    assert.matches("usage: duplex COMMAND", out)
    assert.matches("\n  duplex echo +%a", out)
    assert.matches("\n  duplex connect +%a", out)
    status, out, err = command.run {}
    assert.same({ 2, "" }, { status, out })
    assert.matches("usage: duplex COMMAND", err)
  end))

  it("helps with each command", run(function()
    for name, options in pairs {
      echo = { "--host ADDRESS", "--port N", "--unix PATH", "--compression[=KIND]", "--max-message BYTES" },
      connect = { "URL", "--header LINE", "--subprotocol NAME", "--origin ORIGIN", "--max-message BYTES" },
    } do
      local status, out = command.run { name, "--help" }
      assert.equal(0, status)
      assert.matches("^usage: duplex " .. name, out)
      for _, option in ipairs(options) do assert.truthy(out:find("\n  " .. option, 1, true), option) end
    end
  end))

  local wrong = {
    { "unknown command 'ecko' (echo, connect)", "ecko" },
    { "unknown option '--prot'; see duplex echo --help", "echo", "--prot", "1" },
    { "--port needs a whole number, got 'x'", "echo", "--port", "x" },
    { "--port needs a whole number, got '1.5'", "echo", "--port=1.5" },
    { "--port needs a value", "echo", "--port" },
    { "unexpected argument '8080'", "echo", "8080" },
    { "URL is missing", "connect" },
    { "unexpected argument 'b'", "connect", "ws://a", "b" },
    { "--header needs \"Name: value\"", "connect", "ws://a", "--header", "x" },
    { "'max_message' must be", "echo", "--max-message", "0" },
    { "'port' must be", "echo", "--port", "65536" },
    { "--compression can be dedicated or shared, not 'x'", "echo", "--compression=x" },
    { "unexpected argument 'shared'", "echo", "--compression", "shared" },
    { "'max_message' must be", "connect", "ws://127.0.0.1:1", "--max-message", "0" },
  }
  for _, row in ipairs(wrong) do
    it("says what is wrong with: " .. table.concat(row, " ", 2), run(function()
      local status, out, err = command.run { table.unpack(row, 2) }
      assert.equal(2, status)
      assert.equal("", out)
      assert.matches("^duplex: [^\n]*\n$", err)
      assert.truthy(err:find(row[1], 1, true), err)
    end))
  end
end)

describe("duplex echo", function()
  it("prints where it listens, echoes, and ends with Ctrl-C, saying what it closes", run(function()
    local echo = command.start { "echo", "--port", "0", "--max-message=100" }
    local url = echo:expect("^listening on (ws://127.0.0.1:%d+)\n")
    local one, two = assert(duplex.connect(url)), assert(duplex.connect(url))
    one:send("text")
    one:send("\255", "binary")
    assert.same({ "text", "text" }, { one:receive(2) })
    assert.same({ "\255", "binary" }, { one:receive(2) })
    local three = assert(duplex.connect(url))
    three:send(("x"):rep(101))
    assert.equal(1009, (three:wait_closed(2)))
    echo:signal("INT")
    assert.equal(1001, (one:wait_closed(2)))
    assert.equal(1001, (two:wait_closed(2)))
    local status, _, err = echo:finish()
    assert.equal(0, status)
    assert.equal("closing 2 connections\n", err)
  end))

  it("is killed by the second signal", run(function()
    local echo = command.start { "echo", "--port", "0" }
    local port = echo:expect("^listening on ws://127.0.0.1:(%d+)\n")
    local raw = peer.connect(tonumber(port)):upgrade() -- never answers a close
    echo:signal("TERM")
    echo:wait_for(function() return echo:errors():find("closing 1 connection\n") end)
    assert.equal(0x88, raw:read(4):byte(1))
    echo:signal("TERM")
    assert.equal(128 + 15, (echo:finish()))
  end))

  it("serves a Unix socket", run(function()
    local path = os.tmpname()
    os.remove(path)
    local echo = command.start { "echo", "--unix", path }
    assert.equal(path, echo:expect("^listening on ws%+unix:([^\n]*)\n"))
    local ws = assert(duplex.connect("ws://x/", { unix = path }))
    ws:send("x")
    assert.equal("x", (ws:receive(1)))
    ws:close()
    echo:signal("TERM")
    local status, _, err = echo:finish()
    assert.equal(0, status)
    assert.equal("closing 0 connections\n", err)
    assert.is_nil(io.open(path))
  end))

  it("compresses when asked to", run(function()
    for word, agreed in pairs {
      ["--compression"] = "", ["--compression=shared"] = "; server_no_context_takeover; client_no_context_takeover",
    } do
      local echo = command.start { "echo", "--port", "0", word }
      local ws = assert(duplex.connect(echo:expect("^listening on ([^\n]*)\n"), { compression = true }))
      assert.equal(("permessage-deflate%s; server_max_window_bits=12; client_max_window_bits=12"):format(agreed),
        ws.extensions)
      ws:send(("x"):rep(1000))
      assert.equal(("x"):rep(1000), (ws:receive(1)))
      assert.is_true(ws:stats().wire_in < 100)
      ws:close()
      echo:signal("TERM")
      assert.equal(0, (echo:finish()))
    end
  end))

  it("says when the port is in use", run(function()
    local server = assert(duplex.serve({ log = false }, function() end))
    local status, out, err = command.run { "echo", "--port", tostring(server.port) }
    assert.same({ 1, "" }, { status, out })
    assert.equal(("duplex: ADDRESS: cannot listen on 127.0.0.1 port %d: Address already in use\n")
      :format(server.port), err)
  end))
end)

describe("duplex connect", function()
  -- The output of a client of this handler.
  local function with(handler, input, words, options, said)
    options = options or {}
    options.log = false
    local server = assert(duplex.serve(options, handler))
    local child = command.start({ "connect", server.url, table.unpack(words or {}) }, input)
    local status, out, err = child:finish()
    assert.equal(("connected to %s%s\n"):format(server.url, said or ""), out:match("^[^\n]*\n"))
    return status, out:gsub("^[^\n]*\n", ""), err
  end

  it("sends lines of a pipe, shows the answers, and closes at the end", run(function()
    local status, out, err = with(each, "one\ntwo\r\n\nünicode\nno line break")
    assert.equal("< one\n< two\n< \n< ünicode\n< no line break\n"
      .. "connection closed: 1000 (normal closure)\n", out)
    assert.equal("", err)
    assert.equal(0, status)
  end))

  it("compresses when asked to, and says so", run(function()
    local function count(ws)
      each(ws)
      assert.is_true(ws:stats().wire_in < 200)
    end
    local line = ("x"):rep(1000)
    for kind, agreed in pairs { [""] = "", ["=dedicated"] = "", ["=shared"] = "; client_no_context_takeover" } do
      local status, out = with(count, line, { "--compression" .. kind }, { compression = true },
        (", permessage-deflate%s; server_max_window_bits=12; client_max_window_bits=12"):format(agreed))
      assert.equal("< " .. line .. "\nconnection closed: 1000 (normal closure)\n", out)
      assert.equal(0, status)
    end
    with(each, line, { "--compression" }, nil, ", which compresses nothing")
  end))

  it("sends more than fits into buffers", run(function()
    local line = ("x"):rep(1000) .. "\n"
    local _, out = with(each, line:rep(3000))
    assert.equal(3000, select(2, out:gsub("< x+\n", "")))
  end))

  it("shows binary messages as hex, and escapes control characters", run(function()
    local _, out = with(function(ws)
      ws:send("\0\1\254", "binary")
      ws:send(("x"):rep(100), "binary")
      ws:send("a\27[31mb\rc\td\127\194\155e")
      ws:send("two\nlines")
    end, nil)
    assert.equal("< (binary, 3 bytes) 00 01 fe \n< (binary, 100 bytes) " .. ("78 "):rep(64) .. "...\n"
      .. "< a\\x1b[31mb\\x0dc\td\\x7f\\u{9b}e\n< two\n  lines\n"
      .. "connection closed: 1000 (normal closure)\n", out)
  end))

  local ends = {
    { "a code and a reason, which is escaped", function(ws) ws:close(4000, "no\27 more") end,
      "connection closed: 4000 (application's own) no\\x1b more\n", "", 0 },
    { "an error of the server", function() error("x") end,
      "connection closed: 1011 (internal error)\n", "", 0 },
    { "a lost connection", function(ws) core.fail(ws, "LOST") end,
      "connection closed: 1006 (no close frame came)\n",
      "duplex: LOST: the peer hung up without a close frame\n", 1 },
  }
  for _, row in ipairs(ends) do
    it("tells the end: " .. row[1], run(function()
      local status, out, err = with(row[2], nil)
      assert.same({ row[3], row[4], row[5] }, { out, err, status })
    end))
  end

  it("ends a message that is too big with an error", run(function()
    local status, _, err = with(function(ws) ws:send(("x"):rep(101)) ws:receive() end, nil,
      { "--max-message", "100" })
    assert.equal(1, status)
    assert.equal("duplex: TOO_BIG: message larger than max_message\n", err)
  end))

  it("sends headers, origin and subprotocol", run(function()
    local request, subprotocol
    with(function(ws) request, subprotocol = ws.request, ws.subprotocol end, "",
      { "--header", "X-One: 1", "--header=X-Two: 2", "--origin", "http://a.example", "--subprotocol", "chat" },
      { origins = { "*" }, subprotocols = { "chat" } })
    assert.equal("1", request.headers["x-one"])
    assert.equal("2", request.headers["x-two"])
    assert.equal("http://a.example", request.headers.origin)
    assert.equal("chat", subprotocol)
  end))

  it("says that a line is not UTF-8, and goes on", run(function()
    local status, out, err = with(each, "a\255b\ngood\n")
    assert.equal("< good\nconnection closed: 1000 (normal closure)\n", out)
    assert.matches("^duplex: .*not valid UTF%-8", err)
    assert.equal(0, status)
  end))

  it("shows a refusal with its body, escaped, and ends with 1", run(function()
    local server = assert(duplex.serve({ log = false, on_request = function()
      return 403, "not\27 you\n"
    end }, each))
    local status, out, err = command.run { "connect", server.url }
    assert.same({ 1, "" }, { status, out })
    assert.equal("duplex: HTTP: the server answered 403 Forbidden\nnot\\x1b you\n\n", err)
  end))

  it("says why there is no connection, and keeps passwords to itself", run(function()
    local port = ports.free()
    local status, out, err = command.run { "connect", ("ws://me:secret@127.0.0.1:%d/"):format(port) }
    assert.same({ 1, "" }, { status, out })
    assert.equal(("duplex: CONNECT: Connection refused (127.0.0.1 port %d)\n"):format(port), err)
    status, out, err = command.run { "connect", "nonsense" }
    assert.equal("", out)
    assert.equal(1, status)
    assert.matches("^duplex: URL: ", err)
  end))

  it("ends with Ctrl-C: closes with 1001", run(function()
    local code
    local server = assert(duplex.serve({ log = false }, function(ws) code = ws:wait_closed() end))
    local child = command.start { "connect", server.url }
    child:expect("connected to [^\n]*\n")
    child:signal("INT")
    local status, out, err = child:finish()
    assert.matches("connection closed: 1001 %(going away%)\n$", out)
    assert.equal("closing 1 connection\n", err)
    assert.equal(0, status)
    assert.equal(1001, code)
  end))
end)
