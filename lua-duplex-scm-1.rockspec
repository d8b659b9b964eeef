rockspec_format = "3.0"
package = "lua-duplex"
version = "scm-1"
source = {
  url = "git+https://github.com/lua-duplex/duplex.git",
}
description = {
  summary = "WebSockets on coroutines, with a protocol core in C",
  detailed = [[
    A WebSocket server and client for Lua. A handler is straight-line code;
    whatever waits for a socket yields, and nothing blocks the others.]],
  license = "MIT",
  labels = { "websocket", "network", "async" },
}
supported_platforms = { "linux" }
dependencies = { "lua >= 5.1, ~= 5.2" }
external_dependencies = {
  LIBUV = { header = "uv.h", library = "uv" },
  ZLIB = { header = "zlib.h", library = "z" },
}
-- The Makefile has the one list of sources and the flags that they need: the
-- builtin type could neither hide symbols nor share objects between modules.
build = {
  type = "make",
  variables = {
    BUILD = "build/rock",
    CC = "$(CC)",
    CFLAGS = "$(CFLAGS)",
    LUA_CFLAGS = "-I$(LUA_INCDIR)",
    UV_CFLAGS = "-I$(LIBUV_INCDIR)",
    UV_LIBS = "-L$(LIBUV_LIBDIR) -luv",
    Z_CFLAGS = "-I$(ZLIB_INCDIR)",
    Z_LIBS = "-L$(ZLIB_LIBDIR) -lz",
    BINDIR = "$(BINDIR)",
    LIBDIR = "$(LIBDIR)",
    LUADIR = "$(LUADIR)",
  },
}
