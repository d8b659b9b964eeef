-- SPDX-License-Identifier: MIT
-- tools/sizes.lua: a file should fit into a head. Counted are lines with code,
-- so that nobody saves on comments. Prints the files that are longer.

local LIMITS = { -- the first pattern that matches
  { "^csrc/.*%.h$", 150 },
  { "^csrc/.*%.c$", 600 },
  { "^lua/.*%.lua$", 250 },
  { "^examples/.*%.lua$", 200 },
  { "^tools/", 200 },
}

local function code_lines(file)
  local text = assert(io.open(file)):read("a")
  if file:match("%.[ch]$") then
    text = text:gsub("/%*.-%*/", function(comment)
      return comment:gsub("[^\n]", "")
    end)
  end
  local count = 0
  local comment = file:match("%.[ch]$") and "^%s*//"
    or file:match("%.lua$") and "^%s*%-%-" or "^%s*#"
  for line in text:gmatch("[^\n]+") do
    if line:find("%S") and not line:find(comment) then count = count + 1 end
  end
  return count
end

local fine = true
local list = io.popen("find csrc lua examples tools -type f | sort")
for file in list:lines() do
  for _, row in ipairs(LIMITS) do
    if file:find(row[1]) then
      local count = code_lines(file)
      if count > row[2] then
        fine = false
        print(("%s: %d lines of code, the limit is %d"):format(file, count, row[2]))
      end
      break
    end
  end
end
os.exit(fine)
