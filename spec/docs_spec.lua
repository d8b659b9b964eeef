-- SPDX-License-Identifier: MIT
-- The documents say what is so: their programs run, their links lead
-- somewhere, and nothing public goes without a heading.

local duplex = require "duplex"
local applies = require "spec.support.applies"
local markdown = require "spec.support.markdown"
local options = require "duplex.options"
local ports = require "spec.support.ports"
local run = require "spec.support.run"

local compile = loadstring or load -- of a text, in 5.1 and later

local function lines(command)
  local list, pipe = {}, assert(io.popen(command))
  for line in pipe:lines() do list[#list + 1] = line end
  pipe:close()
  return list
end

local paths, pages = lines("ls *.md docs/*.md examples/README.md bench/README.md"), {}
for _, path in ipairs(paths) do pages[path] = markdown.parse(path) end
local reference, errors = pages["docs/reference.md"], markdown.read("docs/errors.md")

local function each_page(body)
  for _, path in ipairs(paths) do body(path, pages[path]) end
end

describe("programs of the documents", function()
  local folder
  setup(function()
    folder = lines("mktemp -d")[1]
    os.execute(("mkdir %s/public && echo hello > %s/public/index.html"):format(folder, folder))
  end)
  teardown(function() os.execute("rm -rf " .. folder) end)

  each_page(function(path, page)
    local staying
    local function leave()
      if not staying then return end
      os.execute("kill -INT " .. staying.child.pid)
      local ok, output = staying.child:finish()
      local program, said = staying.program, {}
      staying = nil
      for line in output:gmatch("[^\n]+") do
        if not line:find("^closing %d+ connections?$") then said[#said + 1] = line end
      end
      assert.equal(markdown.plain(program.expected), markdown.plain(said))
      assert.is_true(ok, output)
    end

    -- A host of one's own waits inside of xpcall.
    local can = applies.waits_anywhere or path ~= "docs/hosts.md"
    for _, program in ipairs(can and markdown.programs(page) or {}) do
      it(("%s:%d %s"):format(path, program.line, program.name), function()
        if program.stays then
          leave() -- the one before
          staying = { program = program, child = markdown.start(program, folder) }
          staying.child:line()
          return
        end
        local ok, output = markdown.start(program, folder):finish()
        assert.is_true(ok, output)
        if #program.expected > 0 then
          local said = {}
          for line in output:gmatch("[^\n]+") do said[#said + 1] = line end
          assert.equal(markdown.plain(program.expected), markdown.plain(said))
        end
      end)
    end
    if #markdown.programs(page) > 0 then
      it(path .. ": what runs until Ctrl-C ends with it", leave)
    end
  end)

  it("parse, also those that are only parts", function()
    each_page(function(path, page)
      for _, block in ipairs(page.blocks) do
        if block.language == "lua" then
          local fine, problem = compile(block.text)
          assert(fine or compile("return " .. block.text), ("%s:%d %s"):format(path, block.line, tostring(problem)))
        end
      end
    end)
  end)

  it("are there in number", function()
    assert.is_true(#markdown.programs(pages["docs/guide.md"]) > 15)
    assert.equal(2, #markdown.programs(pages["README.md"]))
  end)
end)

describe("links of the documents", function()
  each_page(function(path, page)
    it("of " .. path .. " lead somewhere", function()
      local folder = path:match("^(.*/)") or ""
      for _, link in ipairs(page.links) do
        local file, fragment = link:match("^([^#]*)#?(.*)$")
        if not link:find("^https?:") then
          local target = file == "" and path or (folder .. file):gsub("[^/]+/%.%./", "")
          local found = io.open(target)
          assert(found, "no such file: " .. link)
          found:close()
          if fragment ~= "" then
            local other = pages[target] or markdown.parse(target)
            assert(other.anchors[fragment], "no such heading: " .. link)
          end
        end
      end
    end)
  end)
end)

describe("README.md", function()
  local text = markdown.read("README.md")

  it("has fewer than 200 lines", function()
    assert.is_true(select(2, text:gsub("\n", "")) < 200)
  end)

  it("has the defaults that the options have", function()
    local count = 0
    for name, value in text:gmatch("| `([%w_]+)` | ([%d,]+)") do
      local default
      for _, row in ipairs(options.rows) do
        if row.name == name then default = row.default end
      end
      assert.equal(default, tonumber((value:gsub(",", ""))), name)
      count = count + 1
    end
    assert.is_true(count >= 10)
  end)

  it("has the texts of a port in use and of a refused connection word for word", run(function()
    local port = ports.free()
    local server = assert(duplex.serve({ port = port, log = false }, print))
    local _, in_use = duplex.serve({ port = port }, print)
    server:stop()
    local _, refused = duplex.connect("ws://127.0.0.1:" .. port .. "/")
    for _, message in ipairs { in_use, refused } do
      message = message:gsub(port, "8080")
      assert(text:find(message, 1, true), message)
    end
  end))
end)

describe("TLS in two commands", function()
  it("works as README.md says", function()
    local block
    for _, one in ipairs(pages["README.md"].blocks) do
      if one.text:find("^openssl req") then block = one end
    end
    local text = block.text:gsub("\\\n", ""):gsub("%s*#[^\n]*", ""):gsub("8443", ports.free())
    local make, serve, connect = text:match("^([^\n]*)\n([^\n]*)\n([^\n]*)\n$")
    local folder = lines("mktemp -d")[1]
    local ok, said = markdown.shell(make, folder):finish()
    assert.is_true(ok, said)
    local server = markdown.shell("exec " .. serve, folder)
    server:expect("^listening on wss://127%.0%.0%.1:%d+$")
    ok, said = markdown.shell("echo hello | " .. connect, folder):finish()
    server:stop()
    os.execute("rm -rf " .. folder)
    assert.is_true(ok, said)
    assert(said:find("\n< hello", 1, true), said)
  end)
end)

describe("docs/guide.md", function()
  it("has the refusals of a client word for word", function()
    local source = markdown.read("csrc/net/tls.c"):gsub('"%s*\n%s*"', "") .. markdown.read("lua/duplex/secure.lua")
    local section = markdown.read("docs/guide.md"):match("\n### What a client verifies\n(.-)\n### ")
    local rows = 0
    for message in section:gmatch("\n| `([^`]*)` |") do
      rows = rows + 1
      -- One capital letter stands for a name, and a date for a date.
      local text = message:gsub("^the certificate of H ", ""):gsub("%d+-%d+-%d+", "D"):gsub("%f[%w]%u%f[%W]", "\n")
      for part in text:gmatch("[^\n]+") do
        part = part:gsub("^,? ", ""):gsub(" $", "")
        assert(source:find(part, 1, true), ("%s: the source has no %q"):format(message, part))
      end
    end
    assert.is_true(rows > 10)
  end)
end)

describe("docs/options.md", function()
  it("is what duplex.options makes", function()
    assert.equal(options.markdown(), markdown.read("docs/options.md"))
  end)
end)

-- ---- everything public has a heading ----

-- "ws:receive" and the like, from headings such as "### ws:receive([timeout])".
local function names_of(page)
  local names = {}
  for _, heading in ipairs(page.headings) do
    local name = heading:match("^([%a_]+[.:][%w_]+)")
    if name then
      assert(not names[name], name .. " has two headings")
      names[name] = true
    end
  end
  return names
end

-- Fields of a class in the annotations of a file.
local function annotated(path, class)
  local text, names = markdown.read(path), {}
  local block = assert(text:match("%-%-%-@class " .. class:gsub("%.", "%%.") .. "\n(.-)\nlocal"))
  for name in block:gmatch("%-%-%-@field ([%w_]+)") do names[#names + 1] = name end
  return names
end

local function public_names()
  local names = {}
  local function add(prefix, list)
    for key, value in pairs(list) do
      names[prefix .. (type(key) == "string" and key or value)] = true
    end
  end
  local ws = duplex.pair()
  local index = debug.getmetatable(ws).__index
  local _, methods = debug.getupvalue(index, 1)
  local _, getters = debug.getupvalue(index, 2)
  local client = duplex.reconnect("") -- helpers are loaded when they are first used
  client:close()
  index = getmetatable(client).__index
  for number = 1, 2 do
    local name, members = debug.getupvalue(index, number)
    add(name == "methods" and "client:" or "client.", members)
  end
  add("client.", annotated("lua/duplex/reconnect.lua", "duplex.Client"))
  add("hub:", getmetatable(duplex.hub()).__index)
  add("duplex.", duplex)
  for name in markdown.read("lua/duplex/bind.lua"):gmatch("%-%-%-@field ([%w_]+) ") do
    if duplex[name] ~= nil then names["duplex." .. name] = true end -- helpers are loaded now
  end
  add("ws:", methods)
  add("ws.", getters)
  add("ws.", annotated("lua/duplex/connection.lua", "duplex.Connection"))
  add("event:", getmetatable(duplex.event()).__index)
  local server
  duplex.run(function()
    server = assert(duplex.serve({ log = false }, print))
    server:stop()
  end)
  add("server:", getmetatable(server).__index)
  add("server.", annotated("lua/duplex/server.lua", "duplex.Server"))
  add("request.", annotated("lua/duplex/request.lua", "duplex.Request"))
  local peer = duplex.rpc(ws)
  for prefix, object in pairs { channel = duplex.json(ws), peer = peer, batch = peer:batch() } do
    add(prefix .. ":", getmetatable(object).__index)
  end
  add("channel.", annotated("lua/duplex/json.lua", "duplex.Json"))
  add("peer.", { "ws", "closed" })
  assert(duplex.json.null) -- fills the table
  add("json.", duplex.json)
  add("rpc.", { "error", "notification" })
  add("duplex.", { "json", "rpc" })
  return names
end

describe("docs/reference.md", function()
  local it = applies.where(applies.waits_anywhere, "it does not show what C closures hold", it)

  it("has a heading for everything public, and for nothing else", function()
    local written, public = names_of(reference), public_names()
    for name in pairs(public) do assert(written[name], "no heading for " .. name) end
    for name in pairs(written) do assert(public[name], "nothing is called " .. name) end
  end)
end)

describe("docs/errors.md", function()
  local function ids_of(command, ...)
    local ids = {}
    for _, line in ipairs(lines(command)) do
      for _, pattern in ipairs { ... } do
        for id in line:gmatch(pattern) do ids[id] = true end
      end
    end
    return ids
  end

  -- The part of the page that is about an id.
  local function part(id)
    return assert(errors:match("\n### " .. id .. "\n(.-)\n##")
      or errors:match("\n### " .. id .. "\n(.*)$"), "no heading for " .. id)
  end

  it("has each row of errors.def under its id, with its close code", function()
    local rows = 0
    for id, code, text in markdown.read("csrc/core/errors.def"):gmatch('\nX%([%w_]+,%s+"(%u[%u%d_]+)",%s+(%d+),%s+"(.-)"%)') do
      rows = rows + 1
      local row = ("| %s | %s |"):format(text, code == "0" and "-" or code)
      assert(part(id):find(row, 1, true), ("%s has no row %s"):format(id, row))
    end
    assert.is_true(rows > 25)
  end)

  it("has every id that the Lua files and the C files give", function()
    local lua = ids_of("grep -vh '^ *--' $(find lua -name '*.lua')", "[\"'](%u[%u%d_]+): ",
      'failure%.of%("(%u[%u%d_]+)"')
    local c = ids_of("cat csrc/lua/*.c", 'dx_push_failure%(L, "(%u[%u%d_]+)"')
    assert(lua.URL and lua.PROXY and c.DNS)
    lua.EOF = nil -- streams tell their transport; programs never see it
    for _, ids in ipairs { lua, c } do
      for id in pairs(ids) do part(id) end
    end
  end)
end)

describe("library/duplex", function()
  for _, name in ipairs { "core", "loop", "tls" } do
    it(name .. ".lua annotates all of duplex." .. name .. ", and nothing else", function()
      local text = markdown.read(("library/duplex/%s.lua"):format(name))
      assert(compile(text))
      local written = {}
      for field in text:gmatch("\nfunction " .. name .. "%.([%w_]+)%(") do written[field] = "function" end
      for field in text:gmatch("\n%-%-%-@field ([%w_]+)") do written[field] = "string" end
      local real = {}
      for field, value in pairs(require("duplex." .. name)) do real[field] = type(value) end
      assert.same(real, written)
    end)
  end

  it("options.lua has each option with its default and meaning", function()
    local text = markdown.read("library/duplex/options.lua")
    assert(compile(text))
    local function class(name) return (text .. "\n"):match("@class duplex." .. name .. "\n(.-\n)\n") end
    local classes = { server = class("ServerOptions"), client = class("ClientOptions"),
      reconnect = class("ReconnectOptions"), hub = class("HubOptions"),
      subscription = class("SubscriptionOptions") }
    local both = { server = true, client = true }
    local nested = {
      tls = { server = class("ServerTls"), client = class("ClientTls") },
      compression = { server = class("ServerCompression"), client = class("ClientCompression") },
    }
    local rows = 0
    for _, row in ipairs(options.rows) do
      for role, fields in pairs(nested[row.name:match("^(.-)%.")] or classes) do
        if row.role == role or row.role == "both" and both[role] then
          rows = rows + 1
          local line = fields:match("%-%-%-@field " .. row.name:match("[^.]+$") .. "%? ([^\n]*)")
          local default = type(row.default) == "table" and table.concat(row.default, ", ") or row.default
          default = type(default) == "string" and ('"%s"'):format(default) or default
          assert(line, row.name)
          assert(line:find(row.text, 1, true), line)
          assert(default == nil or line:find("default " .. tostring(default), 1, true), line)
        end
      end
    end
    assert.is_true(rows > 30)
    assert.equal(rows, select(2, text:gsub("\n%-%-%-@field ", "")))
  end)
end)
