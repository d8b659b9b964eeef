-- SPDX-License-Identifier: MIT
-- Until duplex.core is built, a stand-in is enough: what counts here is that
-- the tag follows the content.
if not pcall(require, "duplex.core") then
  package.loaded["duplex.core"] = {
    sha1 = function(bytes) return ("%d:%s"):format(#bytes, bytes:sub(1, 20)) end,
    base64 = function(bytes) return (bytes:gsub("[^%w]", "_")) end,
  }
end
local files = require "duplex.files"

describe("files", function()
  local root, serve

  local function write(name, bytes)
    local file = assert(io.open(root .. "/" .. name, "wb"))
    file:write(bytes)
    file:close()
  end

  local function shell(command) assert(os.execute(command)) end

  local function request(path, changes)
    local r = { method = "GET", path = path, target = path, headers = {}, upgrade = false }
    for name, value in pairs(changes or {}) do r[name] = value end
    return r
  end

  setup(function()
    root = os.tmpname()
    os.remove(root)
    shell("mkdir -p '" .. root .. "/docs/empty' '" .. root .. "/.git' '" .. root .. "/a b'")
    write("index.html", "<h1>home</h1>")
    write("docs/index.html", "docs")
    write("a b/index.html", "spaces")
    write("app.js", "js")
    write("DATA.JSON", "{}")
    write("pic.svg", "<svg/>")
    write("blob", "\0\1\2")
    write("empty.txt", "")
    write(".env", "secret")
    write(".git/config", "secret")
    write("limit.bin", ("x"):rep(1048576))
    write("large.bin", ("0123456789abcdef"):rep(65536) .. "end")
    serve = files(root)
  end)

  teardown(function()
    if root and root:find("^/tmp/") then shell("rm -r '" .. root .. "'") end
  end)

  local found = {
    -- path, body, Content-Type
    { "/", "<h1>home</h1>", "text/html; charset=utf-8" },
    { "/index.html", "<h1>home</h1>", "text/html; charset=utf-8" },
    { "/docs/", "docs", "text/html; charset=utf-8" },
    { "/a b/index.html", "spaces", "text/html; charset=utf-8" },
    { "/app.js", "js", "text/javascript; charset=utf-8" },
    { "/DATA.JSON", "{}", "application/json; charset=utf-8" },
    { "/pic.svg", "<svg/>", "image/svg+xml; charset=utf-8" },
    { "/blob", "\0\1\2", "application/octet-stream" },
    { "/empty.txt", "", "text/plain; charset=utf-8" },
  }
  for _, row in ipairs(found) do
    it("serves " .. row[1], function()
      local status, body, headers = serve(request(row[1]))
      assert.same({ 200, row[2], row[3] }, { status, body, headers["Content-Type"] })
      assert.equal(tostring(#row[2]), headers["Content-Length"])
      assert.equal("no-cache", headers["Cache-Control"])
      assert.equal("nosniff", headers["X-Content-Type-Options"])
      assert.equal("none", headers["Accept-Ranges"])
      assert.truthy(headers.ETag:find('^"[^"]+"$'))
    end)

    it("gives HEAD the same headers for " .. row[1], function()
      local _, _, expected = serve(request(row[1]))
      local status, body, headers = serve(request(row[1], { method = "HEAD" }))
      assert.same({ 200, "", expected }, { status, body, headers })
    end)
  end

  local missing = { "/nothing", "/docs/empty", "/docs/empty/", "/app.js/", "/app.js/x", "/.env",
    "/.git/config", "/docs/../.env", "/..", "/../", "/../../etc/passwd", "/./index.html", "//etc/passwd",
    "/docs//index.html", "/docs\\index.html", "/index.html\0", "/index.html\0.png", "index.html", "", "*",
    "/" .. ("a"):rep(5000) }
  for _, path in ipairs(missing) do
    it("does not find " .. path:gsub("%c", "?"):sub(1, 40), function()
      local status, body, headers = serve(request(path))
      assert.same({ 404, "Not Found\n" }, { status, body })
      assert.equal("nosniff", headers["X-Content-Type-Options"])
    end)
  end

  it("lets upgrades go on", function()
    assert.equal(0, select("#", serve(request("/", { upgrade = true }))))
  end)

  it("refuses other methods", function()
    for _, method in ipairs { "POST", "PUT", "DELETE", "OPTIONS", "get" } do
      local status, _, headers = serve(request("/", { method = method }))
      assert.same({ 405, "GET, HEAD" }, { status, headers.Allow })
    end
  end)

  local slashes = {
    { "/docs", "/docs", "./docs/" }, { "/docs", "/docs?a=/b", "./docs/?a=/b" },
    { "/a b", "/a%20b", "./a%20b/" }, { "/docs", "/%64ocs", "./%64ocs/" },
  }
  for _, row in ipairs(slashes) do
    it(("redirects %s to %s"):format(row[2], row[3]), function()
      local status, _, headers = serve(request(row[1], { target = row[2] }))
      assert.same({ 301, row[3] }, { status, headers.Location })
    end)
  end

  it("never puts control bytes into a redirect", function()
    assert.equal(404, (serve(request("/docs", { target = "/docs?\r\nX: y" }))))
  end)

  it("answers 304 while the content is the one the client has (RFC 9110 13.1.2)", function()
    local _, _, headers = serve(request("/app.js"))
    local tag = headers.ETag
    for _, value in ipairs { tag, "W/" .. tag, '"x", ' .. tag, '"x",' .. tag .. ',"y"', "*" } do
      local status, body, new = serve(request("/app.js", { headers = { ["if-none-match"] = value } }))
      assert.same({ 304, "", tag }, { status, body, new.ETag })
      assert.is_nil(new["Content-Length"])
    end
    for _, value in ipairs { '"x"', "", tag:gsub('"', ""), '"' .. tag } do
      assert.equal(200, (serve(request("/app.js", { headers = { ["if-none-match"] = value } }))))
    end
  end)

  it("notices that a file has changed", function()
    write("changing.txt", "one")
    local _, _, before = serve(request("/changing.txt"))
    write("changing.txt", "two")
    local status, body = serve(request("/changing.txt", { headers = { ["if-none-match"] = before.ETag } }))
    assert.same({ 200, "two" }, { status, body })
  end)

  it("reads a file of 1 MiB whole, and streams a larger one", function()
    local _, whole = serve(request("/limit.bin"))
    assert.equal(1048576, #whole)
    local status, body, headers = serve(request("/large.bin"))
    assert.equal(200, status)
    assert.equal("1048579", headers["Content-Length"])
    assert.is_nil(headers.ETag)
    local pieces = {}
    for piece in body do
      assert.is_true(#piece <= 65536)
      pieces[#pieces + 1] = piece
    end
    assert.equal(("0123456789abcdef"):rep(65536) .. "end", table.concat(pieces))
    assert.is_nil(body())
  end)

  it("gives HEAD the length of a large file without a body", function()
    local status, body, headers = serve(request("/large.bin", { method = "HEAD" }))
    assert.same({ 200, "", "1048579" }, { status, body, headers["Content-Length"] })
  end)

  it("never streams more than it announced, when the file grows meanwhile", function()
    write("growing.bin", ("x"):rep(1048577))
    local _, body = serve(request("/growing.bin"))
    write("growing.bin", ("x"):rep(2000000))
    local total = 0
    for piece in body do total = total + #piece end
    assert.equal(1048577, total)
  end)

  it("ends early when the file shrinks meanwhile", function()
    write("shrinking.bin", ("x"):rep(1048577))
    local _, body = serve(request("/shrinking.bin"))
    write("shrinking.bin", "")
    local total = 0
    for piece in body do total = total + #piece end
    assert.is_true(total < 1048577)
  end)

  it("sends the Cache-Control that was asked for", function()
    local _, _, headers = files(root .. "/", { cache = "max-age=60" })(request("/app.js"))
    assert.equal("max-age=60", headers["Cache-Control"])
  end)

  it("raises for a root that is no directory and for wrong options", function()
    for _, row in ipairs { { root .. "/nothing", nil, "cannot serve" }, { root .. "/app.js", nil, "cannot serve" },
      { root, { cahce = "x" }, "unknown option 'cahce' %(did you mean 'cache'%?%)" },
      { root, { [1] = "x" }, "unknown option '1'" }, { root, { cache = 1 }, "must be a string" },
      { root, { cache = "a\r\nb: c" }, "control" } } do
      local ok, message = pcall(function()
        local handler = files(row[1], row[2])
        return handler
      end)
      assert.is_false(ok)
      assert.truthy(message:find("files_spec.lua:%d+: " .. row[3]) or message:find(row[3]), message)
      assert.truthy(message:find("files_spec.lua", 1, true), message)
    end
  end)
end)
