-- SPDX-License-Identifier: MIT

-- What the benchmark compares: the rows and the columns of its table.

local rows = {}

--- A word of a shell command.
function rows.quote(s)
  return "'" .. s:gsub("'", [['\'']]) .. "'"
end

--- Servers.  Every command gets a port as its last argument; 'check' is a shell
--- command that fails where the server cannot run, for want of what 'needs'
--- names.
---@param here string the directory of the scripts
---@param build string the directory of the compiled programs
---@param uws? string an executable that was named on the command line
---@param pair? { certificate: string, key: string } files; they speak TLS then
function rows.servers(here, build, uws, pair)
  --- The files of the pair, formatted; nothing in the clear.
  local function files(format)
    return pair
      and format:format(rows.quote(pair.certificate), rows.quote(pair.key)) or ""
  end
  local function row(name, command, check, needs)
    return { name = name, command = command, check = check, needs = needs }
  end
  local function program(name, path, needs)
    return row(name, path .. files " %s %s", "test -x " .. path, needs)
  end
  local function script(name, interpreter, file, needs)
    local command = interpreter .. " " .. rows.quote(here .. "/" .. file)
    -- Without arguments it only loads what it needs.
    return row(name, command .. files " %s %s", command, needs)
  end
  local version = os.getenv("LUA_VERSION") or "5.4"
  local lua = version == "luajit" and version or "lua" .. version
  local servers = {
    program("floor", rows.quote(build .. "/floor"),
      "make bench, which builds it"),
    row("duplex", lua .. " bin/duplex echo --host 127.0.0.1 --max-message 67108864"
      .. files " --tls --certificate %s --key %s" .. " --port",
      "test -x bin/duplex", "make, which builds it"),
    program("uws", rows.quote(uws or ""), "--uws PATH"),
    script("ws", "node", "echo.js", "Node.js, and npm ci in " .. here),
    script("websockets", "/usr/bin/python3", "echo.py",
      "the package python3-websockets"),
  }
  if not pair then
    table.insert(servers, script("lua-http", "lua5.3", "echo_http.lua",
      "the packages lua5.3 and lua-http"))
  end
  return servers
end

--- Servers of the fan-out, as above.
---@param publish? string an executable that was named on the command line
function rows.publishers(here, publish)
  local function row(name, command, check, needs)
    return { name = name, command = command, check = check, needs = needs }
  end
  local lua = "tools/run lua5.4 " .. rows.quote(here .. "/publish.lua")
  local js = "node " .. rows.quote(here .. "/publish.js")
  local servers = {
    row("duplex", lua, lua, "make, which builds it"),
    row("hub", lua .. " hub", lua .. " hub", "make, and duplex.hub"),
    row("ws", js, js, "Node.js, and npm ci in " .. here),
  }
  if publish then
    table.insert(servers, row("uws", rows.quote(publish),
      "test -x " .. rows.quote(publish), "--publish PATH"))
  end
  return servers
end

--- Servers that compress, as above, with a compressor for each connection or
--- one for all.
---@param uws? string an executable that was named on the command line
function rows.compressors(here, uws)
  local servers = {}
  local function both(name, command, check, needs)
    for _, kind in ipairs { "dedicated", "shared" } do
      table.insert(servers, {
        name = name .. " " .. kind, kind = kind,
        command = command:format(kind), check = check, needs = needs,
      })
    end
  end
  local duplex = "bin/duplex echo --host 127.0.0.1 --compression=%s --port"
  local js = "node " .. rows.quote(here .. "/echo.js")
  local py = "/usr/bin/python3 " .. rows.quote(here .. "/echo.py")
  both("duplex", "tools/run lua5.4 " .. duplex, "test -x bin/duplex", "make, which builds it")
  if uws then
    -- What its dedicated compressors do, whatever was asked for, and the quickest
    -- that sends as few bytes: see README.md.
    for _, settings in ipairs { "9 1 6", "9 4 3" } do
      local command = "tools/run lua5.4 " .. rows.quote(here .. "/echo.lua") .. " " .. settings
      table.insert(servers, {
        name = "duplex " .. settings:gsub(" ", "/"), kind = "dedicated", command = command,
        check = command, needs = "make, which builds it",
      })
    end
    both("uws", rows.quote(uws) .. " %s", "test -x " .. rows.quote(uws), "--uws PATH")
  end
  both("ws", js .. " --compression=%s", js, "Node.js, and npm ci in " .. here)
  both("websockets", py .. " --compression=%s", py, "the package python3-websockets")
  return servers
end

--- What they get: text, or what cannot be made smaller; or next to nothing, and
--- what they keep is counted.
rows.payloads = {
  { name = "json", size = 1024, text = true },
  { name = "prose", size = 4096, text = true },
  { name = "noise", size = 4096 },
  { name = "idle", idle = true },
}

--- Keys of certificates, as 'openssl req -newkey' takes them.
rows.keys = {
  ec = "ec -pkeyopt ec_paramgen_curve:P-256",
  rsa = "rsa:2048",
}

--- Workloads.  With 1 MiB, more connections would measure the size of the
--- cache.
rows.workloads = {
  { name = "64B", size = 64, inflight = 1, connections = 32 },
  { name = "64Bx16", size = 64, inflight = 16, connections = 32 },
  { name = "16KiB", size = 16384, inflight = 1, connections = 32 },
  { name = "1MiB", size = 1048576, inflight = 1, connections = 4 },
  { name = "idle", idle = true },
  { name = "fanout", size = 100, inflight = 1, fanout = true },
  { name = "fanoutx16", size = 100, inflight = 16, fanout = true },
}

--- The names of all rows of a list, with commas.
function rows.names(list)
  local names = {}
  for i, row in ipairs(list) do
    names[i] = row.name
  end
  return table.concat(names, ",")
end

--- The rows that a list of names with commas asks for, in their own order; all
--- if it is nil.  Returns nil and the name if there is no such row.
function rows.choose(list, wanted)
  if not wanted then
    return list
  end
  local chosen, result = {}, {}
  for name in wanted:gmatch("[^,]+") do
    chosen[name] = true
  end
  for _, row in ipairs(list) do
    if chosen[row.name] then
      result[#result + 1] = row
      chosen[row.name] = nil
    end
  end
  if next(chosen) then
    return nil, next(chosen)
  end
  return result
end

return rows
