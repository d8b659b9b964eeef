-- SPDX-License-Identifier: MIT
-- What specs need to know of a Markdown file, and how its programs are run.

local child = require "spec.support.child"
local ports = require "spec.support.ports"
local translated = require "spec.support.translated"

local markdown = {}

--- A file as text.
function markdown.read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

--- The name that GitHub gives to a heading in links.
local function anchor(heading)
  return (heading:lower():gsub("[^%w%-_ ]", ""):gsub(" ", "-"))
end

--- A file taken apart: headings = { text... }, anchors = { [name] = true },
--- blocks = { { language, text, line }... }, links = { target... }.
function markdown.parse(path)
  local page = { path = path, headings = {}, anchors = {}, blocks = {}, links = {} }
  local block, number = nil, 0
  for line in (markdown.read(path) .. "\n"):gmatch("(.-)\n") do
    number = number + 1
    local fence = line:match("^```(%w*)$")
    if block and fence then
      block.text = table.concat(block, "\n") .. "\n"
      block = nil
    elseif block then
      block[#block + 1] = line
    elseif fence then
      block = { language = fence, line = number }
      table.insert(page.blocks, block)
    else
      local heading = line:match("^#+ (.*)$")
      if heading then
        table.insert(page.headings, heading)
        page.anchors[anchor(heading)] = true
      end
      for target in line:gsub("`[^`]*`", ""):gmatch("%]%(([^)]+)%)") do
        table.insert(page.links, target)
      end
    end
  end
  return page
end

-- ---- programs ----

--- Programs are the blocks that begin with "-- file: NAME.lua", or with
--- "-- file: NAME.lua, runs until Ctrl-C"; scripts of the shell with
--- "# file: NAME.sh". A comment "--> text" is a line that the program prints.
--- Ports 8080 and 8443 stand for one that is free here: another for each program
--- that listens on it.
---@return table[] { name, stays, text, expected, line }
function markdown.programs(page)
  local programs, port = {}, nil
  for _, block in ipairs(page.blocks) do
    local name, extension, rest = block.text:match("^[-#]+ file: ([%w_]+%.(%l+))([^\n]*)\n")
    if name and block.language == extension then
      if not port or block.text:find("port = 8%d%d%d") then
        port = ports.free()
      end
      local text = block.text:gsub("8080", port):gsub("8443", port)
      local expected = {}
      for line in text:gmatch("%-%-> ([^\n]*)") do expected[#expected + 1] = line end
      table.insert(programs, {
        name = name, text = text, expected = expected, line = block.line,
        stays = rest == ", runs until Ctrl-C",
      })
    end
  end
  return programs
end

local root = io.popen("pwd"):read("*l")

local function absolute(path)
  return path:sub(1, 1) == "/" and path or root .. "/" .. path
end

--- Starts a program in a folder. Its lines come as soon as they are printed.
---@return table child see spec/support/child.lua
function markdown.start(program, folder)
  local file = assert(io.open(folder .. "/" .. program.name, "w"))
  file:write(translated.text(program.text))
  file:close()
  local how = program.name:find("%.sh$") and "sh -e" or child.lua .. [[ -e 'io.stdout:setvbuf("line")']]
  return markdown.shell(("exec %s %s"):format(how, program.name), folder)
end

--- Starts a line of the shell in a folder, where "duplex" is the command.
---@return table child see spec/support/child.lua
function markdown.shell(line, folder)
  -- The command names the Lua that it was installed for.
  line = line:gsub("%f[%w]duplex (%l)", child.lua .. " " .. root .. "/bin/duplex %1")
  local build = absolute(os.getenv("DUPLEX_BUILD") or "build/5.4")
  return child.start("sh", "-c", ([[cd '%s' && export DUPLEX_BUILD='%s' PATH="%s/bin:$PATH" \
    LUA_PATH='%s/lua/?.lua;%s/lua/?/init.lua;;' LUA_CPATH='%s/lib/?.so;;'
    %s]]):format(folder, build, root, root, root, build, line))
end

--- Lines as they are compared: print separates values with tabs.
function markdown.plain(lines)
  local result = {}
  for i, line in ipairs(lines) do
    result[i] = line:gsub("%s+", " "):gsub(" $", "")
  end
  return table.concat(result, "\n")
end

return markdown
