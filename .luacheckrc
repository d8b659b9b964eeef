-- std "min" is what all Lua versions have: a name of one version has to be
-- allowed here. Lines are longer than 120 only where they are rows of a table.
std = "min"
max_line_length = 120
max_comment_line_length = 160
exclude_files = { "build", "**/node_modules" }
files["lua"].read_globals = { "unpack", table = { fields = { "pack", "unpack" } } }
files["lua/duplex/command"].max_line_length = 160
files["bin/duplex"].std = "lua54"
for _, folder in ipairs { "bench", "examples", "tools" } do
  files[folder].std = "lua54"
end
files["spec"] = {
  std = "max+busted",
  max_line_length = 160,
  ignore = { "122/io" }, -- specs catch what is logged in an io.stderr of theirs
}
