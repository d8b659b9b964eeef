-- SPDX-License-Identifier: MIT
-- Static pages for on_request, so that a small server needs no other one.
-- Reading a file holds up the event loop for as long as the disk takes: fine
-- for pages and scripts, not for a download service.

local http = require "duplex.http"
local options = require "duplex.options"

---@class duplex.files
---@overload fun(root: string, given?: { cache?: string }): fun(request: duplex.Request): integer?, (string|fun(): string?)?, table?
local files = {}

local SMALL = 1048576 -- bytes; larger files are streamed and have no ETag
local PIECE = 65536 -- bytes read at a time then
local EISDIR = 21
-- Too many open files: saying 404 for a file that is there would be a lie.
local BUSY = { [23] = true, [24] = true }

--- Content types by extension, in lower case; yours to extend.
---@type table<string, string>
files.types = {
  html = "text/html", htm = "text/html", css = "text/css", txt = "text/plain",
  js = "text/javascript", mjs = "text/javascript", md = "text/markdown",
  csv = "text/csv", xml = "application/xml", json = "application/json",
  map = "application/json", webmanifest = "application/manifest+json",
  svg = "image/svg+xml", png = "image/png", jpg = "image/jpeg",
  jpeg = "image/jpeg", gif = "image/gif", webp = "image/webp",
  avif = "image/avif", ico = "image/x-icon", wasm = "application/wasm",
  woff = "font/woff", woff2 = "font/woff2", ttf = "font/ttf",
  pdf = "application/pdf", mp3 = "audio/mpeg", ogg = "audio/ogg",
  wav = "audio/wav", mp4 = "video/mp4", webm = "video/webm",
  zip = "application/zip", gz = "application/gzip",
}


local function answer(status, headers)
  headers = headers or {}
  headers["Content-Type"] = "text/plain; charset=utf-8"
  headers["X-Content-Type-Options"] = "nosniff"
  return status, http.reason(status) .. "\n", headers
end

-- The path below the root, or nil for what is never served: "..", names that
-- begin with a dot (.git, .env), empty names, and bytes that a file system or
-- a terminal reads in its own way.
local function safe(path)
  if path:sub(1, 1) ~= "/" or path:find("[%c\\]") then return nil end
  for name in path:sub(2):gmatch("([^/]*)/?") do
    if name:sub(1, 1) == "." then return nil end
  end
  return not path:find("//", 1, true) and path or nil
end

-- An open file, or nil and "directory", "busy" or "missing".
local function open(name)
  local file, _, code = io.open(name, "rb")
  if not file then return nil, BUSY[code] and "busy" or "missing" end
  -- A directory can be opened; only reading from it fails.
  local _, message, reason = file:read(0)
  if not message then return file end
  file:close()
  return nil, reason == EISDIR and "directory" or "missing"
end

local function content_type(name)
  local extension = name:match("%.([^./]+)$")
  local kind = extension and files.types[extension:lower()]
    or "application/octet-stream"
  local is_text = kind:find("^text/") or kind:find("[/+]xml$")
    or kind:find("[/+]json$")
  return is_text and kind .. "; charset=utf-8" or kind
end

-- RFC 9110 13.1.2: a weak comparison, so that a W/ in front says nothing.
local function has_tag(header, tag)
  if not header then return false end
  if header:find("^[ \t]*%*[ \t]*$") then return true end
  for one in header:gmatch('"[^"]*"') do
    if one == tag then return true end
  end
  return false
end

-- The body of a large file: a function that returns the next piece, and nil
-- at the end. It never returns more than the length that was announced.
local function pieces(file, left)
  return function()
    local piece = left > 0 and file:read(math.min(PIECE, left)) or nil
    if piece then
      left = left - #piece
    else
      left = 0
      if io.type(file) == "file" then file:close() end
    end
    return piece
  end
end

local function send_file(request, file, name, core, cache)
  local headers = {
    ["Content-Type"] = content_type(name), ["Cache-Control"] = cache,
    ["X-Content-Type-Options"] = "nosniff", ["Accept-Ranges"] = "none",
  }
  local size = file:seek("end")
  local is_head = request.method == "HEAD"
  file:seek("set")
  if size > SMALL then
    headers["Content-Length"] = ("%.0f"):format(size)
    if not is_head then return 200, pieces(file, size), headers end
    file:close()
    return 200, "", headers
  end
  local text = file:read(size + 1) or "" -- one more, should it have grown
  file:close()
  -- Without stat there is no modification time: the content is the validator.
  headers.ETag = '"' .. core.base64(core.sha1(text)) .. '"'
  if has_tag(request.headers["if-none-match"], headers.ETag) then
    headers["Content-Type"] = nil
    return 304, "", headers
  end
  headers["Content-Length"] = ("%d"):format(#text)
  return 200, is_head and "" or text, headers
end

-- A directory without its slash: links in its page would lead elsewhere. The
-- answer is relative, so that it holds behind a proxy that adds a prefix, and
-- it cannot name another host.
local function to_slash(request)
  local path, query = request.target:match("^([^?]*)(.*)$")
  local name = path:match("[^/]*$")
  if (name .. query):find("[^!-~]") then return answer(404) end
  return answer(301, { Location = "./" .. name .. "/" .. query })
end

local function check_options(given)
  local problem, value = options.bad_name(given, { "cache" }, "unknown option '%s'"), given.cache
  if not problem and value ~= nil and (type(value) ~= "string" or value:find("%c")) then
    problem = "option 'cache' must be a string without control characters"
  end
  return problem
end

local function respond(root, cache, core, request)
  if request.method ~= "GET" and request.method ~= "HEAD" then
    return answer(405, { Allow = "GET, HEAD" })
  end
  local path = safe(request.path)
  if not path then return answer(404) end
  local is_directory = path:sub(-1) == "/"
  local name = root .. path .. (is_directory and "index.html" or "")
  local file, why = open(name)
  if file then return send_file(request, file, name, core, cache) end
  if why == "directory" and not is_directory then
    file, why = open(name .. "/index.html")
    if file then
      file:close()
      return to_slash(request)
    end
  end
  return answer(why == "busy" and 503 or 404)
end

--- An on_request that serves the files below a directory with GET and HEAD;
--- upgrades go on. "/" and directories serve their index.html. Not served:
--- names that begin with a dot, and directories without an index.html.
--- Symbolic links are followed, wherever they lead; there must be no pipes or
--- devices below the root. Ranges are not supported. A file over 1 MiB comes
--- as a function which returns pieces and then nil: when the pieces are fewer
--- than its Content-Length, the file has shrunk, and the server must cut.
---@param root string the directory; raises when it cannot be opened
---@param given? { cache?: string } Cache-Control, default "no-cache", with
--- which a browser asks each time and gets 304 while nothing has changed
---@return fun(request: table): integer?, string|function?, table? on_request
local function serve(_, root, given)
  local problem = check_options(given or {})
  if problem then error(problem, 2) end
  if type(root) ~= "string" then error("the root must be a string, got " .. type(root), 2) end
  local file, why = open(root)
  if file then file:close() end
  if why ~= "directory" then
    error(("cannot serve '%s': no directory that can be opened"):format(root), 2)
  end
  root = root:gsub("/+$", "") -- of "/" nothing is left, and that is right
  local cache = given and given.cache or "no-cache"
  local core = require "duplex.core"
  return function(request)
    if request.upgrade then return end
    return respond(root, cache, core, request)
  end
end

return setmetatable(files, { __call = serve })
