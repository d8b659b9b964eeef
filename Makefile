# Duplex: WebSockets for Lua.
#
#   make          build the modules for LUA: 5.4 (the default), 5.3, 5.1 or
#                 luajit, which share a build
#   make demo     install what is missing, build, serve the chat example at PORT
#   make test     install what is missing, build, run the specs
#   make check    all that CI does: lint, specs, sanitizers, counterparts
#   make lint     warnings as errors, format, luacheck, layers, sizes, symbols
#   make conformance  1000 compressed messages in each of 258 cases, both roles:
#                 sections 12 and 13 of the Autobahn test suite (an hour)
#   make bench    messages per CPU-second beside other servers (TLS=1 over TLS,
#                 COMPRESSION=1 of servers that compress,
#                 UWS=path adds one, BENCH="--only duplex" is passed on)
#   make install  into PREFIX (default /usr/local), below DESTDIR if it is set
#   make clean
#   make SAN=1 ...  with AddressSanitizer and UBSan, in a folder of its own
#
# 'tools/run program ...' runs a program with the modules of this checkout;
# 'eval "$(make -s env)"' does it for all programs of a shell.

LUA ?= 5.4
PORT ?= 8080
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
# Of LuaJIT the C interface is that of 5.1, and one binary serves both.
ABI := $(if $(filter luajit,$(LUA)),5.1,$(LUA))
PROGRAM := $(if $(filter luajit,$(LUA)),luajit,lua$(LUA))
LUADIR ?= $(PREFIX)/share/lua/$(ABI)
LIBDIR ?= $(PREFIX)/lib/lua/$(ABI)
BUILD ?= build/$(ABI)$(if $(SAN),-san)
O := $(BUILD)/obj
M := $(BUILD)/lib/duplex

ifeq ($(origin CC),default)
CC := $(if $(shell command -v gcc),gcc,cc)
endif
LUA_PC := $(shell for p in lua$(ABI) lua-$(ABI) lua$(subst .,,$(ABI)) \
  $(if $(filter 5.1,$(ABI)),luajit); do \
  pkg-config --exists $$p 2>/dev/null && echo $$p && break; done)
LUA_CFLAGS ?= $(if $(LUA_PC),$(shell pkg-config --cflags $(LUA_PC)))
UV_CFLAGS ?= $(shell pkg-config --cflags libuv 2>/dev/null)
SSL_CFLAGS ?= $(shell pkg-config --cflags openssl 2>/dev/null)
SSL_LIBS ?= $(or $(shell pkg-config --libs openssl 2>/dev/null),-lssl -lcrypto)
Z_CFLAGS ?= $(shell pkg-config --cflags zlib 2>/dev/null)
Z_LIBS ?= $(or $(shell pkg-config --libs zlib 2>/dev/null),-lz)
# Quicker than zlib for messages of their own; LIBDEFLATE= does without.
LIBDEFLATE ?= $(shell pkg-config --exists libdeflate 2>/dev/null && echo yes)
DEFLATE_CFLAGS = $(if $(LIBDEFLATE),-DDX_LIBDEFLATE $(shell pkg-config --cflags libdeflate))
DEFLATE_LIBS = $(if $(LIBDEFLATE),$(or $(shell pkg-config --libs libdeflate 2>/dev/null),-ldeflate))
UV_LIBS ?= $(or $(shell pkg-config --libs libuv 2>/dev/null),-luv)

WARNINGS = -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion $(WERROR)
CFLAGS ?= -O2 -g
ifdef SAN
SAN_CFLAGS = -O1 -fno-omit-frame-pointer \
  -fsanitize=address,undefined -fsanitize-undefined-trap-on-error
endif
# Lua 5.1 unloads modules while finalizers may still call them; and leaks that
# sanitizers find at exit would have no names.
ALL_LDFLAGS = $(SAN_CFLAGS) -Wl,-z,nodelete $(LDFLAGS)
ALL_CFLAGS = -std=c11 -D_GNU_SOURCE -fPIC -fvisibility=hidden $(WARNINGS) \
  $(CFLAGS) $(SAN_CFLAGS) $(LUA_CFLAGS) $(UV_CFLAGS) $(SSL_CFLAGS) $(Z_CFLAGS) \
  $(DEFLATE_CFLAGS)
# Modules of different sources do not work together: they compare this number.
STAMP := $(shell cat csrc/*/*.[ch] csrc/core/errors.def | cksum | tr -d ' ')
STAMPED := $(addprefix $(O)/lua/,core.o loop.o ltls.o)

objects = $(patsubst csrc/%.c,$(O)/%.o,$(1))
CORE := $(call objects,$(wildcard csrc/core/*.c))
TLS := $(call objects,$(wildcard csrc/net/tls*.c))
NET := $(filter-out $(TLS),$(call objects,$(wildcard csrc/net/*.c)))
BOTH_LUA := $(addprefix $(O)/lua/,lconn.o lmessage.o ltrace.o compat.o)
CORE_LUA := $(addprefix $(O)/lua/,core.o lprepared.o lhttp.o lbytes.o ltotals.o) $(BOTH_LUA)
LOOP_LUA := $(addprefix $(O)/lua/,loop.o llink.o lsocket.o task.o task51.o) $(BOTH_LUA)
TLS_LUA := $(addprefix $(O)/lua/,ltls.o compat.o)
TESTS := $(patsubst spec/core/%.c,$(BUILD)/test/%,$(wildcard spec/core/*_test.c))
BENCH_C := $(addprefix bench/,load.c client.c squeeze.c echo.c fanout.c idle.c \
  proc.c tls.c)
LUA_FILES = $(shell cd lua && find duplex -name '*.lua')

AGAIN = @$(MAKE) --no-print-directory -j$(shell nproc 2>/dev/null || echo 1)
export LUA_VERSION := $(LUA)
export BUILD CC

all: $(addprefix $(M)/,core.so loop.so tls.so)
tests: all $(TESTS)

$(M)/core.so: $(CORE_LUA) $(CORE)
$(M)/core.so: LIBS = $(Z_LIBS) $(DEFLATE_LIBS)
$(M)/loop.so: $(LOOP_LUA) $(NET) $(CORE)
$(M)/loop.so: LIBS = $(UV_LIBS) $(Z_LIBS) $(DEFLATE_LIBS)
$(M)/tls.so: $(TLS_LUA) $(TLS) $(CORE)
$(M)/tls.so: LIBS = $(SSL_LIBS) $(Z_LIBS) $(DEFLATE_LIBS)
$(M)/%.so:
	@mkdir -p $(@D)
	$(CC) -shared $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

$(O)/%.o: csrc/%.c $(O)/flags
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(DEFINES) -MMD -MP -c -o $@ $<

$(STAMPED): $(O)/stamp
$(STAMPED): DEFINES = -DDX_BUILD='"$(STAMP)"'

$(BUILD)/test/%: spec/core/%.c $(CORE) $(O)/flags
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -MF $@.d -o $@ $< $(CORE) $(Z_LIBS) $(DEFLATE_LIBS)

# Files that change only when their text does.
$(O)/flags: TEXT = $(CC) $(ALL_CFLAGS)
$(O)/stamp: TEXT = $(STAMP)
$(O)/flags $(O)/stamp: FORCE
	@mkdir -p $(@D)
	@[ "$$(cat $@ 2>/dev/null)" = '$(TEXT)' ] || echo '$(TEXT)' > $@

build/bench/load build/lint/load: $(BENCH_C) bench/load.h
	@mkdir -p $(@D)
	$(CC) -std=c11 -D_GNU_SOURCE -O2 $(WARNINGS) $(SSL_CFLAGS) $(Z_CFLAGS) -o $@ $(BENCH_C) $(SSL_LIBS) $(Z_LIBS)

build/bench/floor build/lint/floor: bench/floor.c bench/floor_tls.c bench/floor.h \
    csrc/core/base64.c csrc/core/sha1.c
	@mkdir -p $(@D)
	$(CC) -std=c11 -D_GNU_SOURCE -O2 $(WARNINGS) $(SSL_CFLAGS) -o $@ $(filter %.c,$^) $(SSL_LIBS)

demo:
	@tools/need demo
	$(AGAIN) all
	@exec tools/run $(PROGRAM) examples/chat/server.lua $(PORT)

test:
	@tools/need test
	$(AGAIN) tests
	@tools/$(if $(SAN),sanitized,test)

lint:
	@tools/need lint
	@tools/lint

check:
	@tools/check

conformance:
	@tools/need check
	$(AGAIN) all
	@COUNT=1000 PATIENCE=14000 tools/test spec/counterparts/conformance_spec.lua

bench:
	@tools/need bench
	$(AGAIN) all build/bench/load build/bench/floor
	@tools/npm bench || echo "bench: going on without npm"
	@lua5.4 bench/run.lua $(if $(TLS),--tls) $(if $(COMPRESSION),--compression) $(if $(UWS),--uws $(UWS)) $(BENCH)

install: all
	cd lua && for f in $(LUA_FILES); do \
	  install -D -m 644 $$f "$(DESTDIR)$(LUADIR)/$$f" || exit 1; done
	install -D -m 755 -t "$(DESTDIR)$(LIBDIR)/duplex" $(M)/*.so
	install -D -m 755 bin/duplex "$(DESTDIR)$(BINDIR)/duplex"
	sed -i '1s/lua5\.4/$(PROGRAM)/' "$(DESTDIR)$(BINDIR)/duplex"

env:
	@tools/run

clean:
	rm -rf build

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

-include $(wildcard $(O)/*/*.d $(BUILD)/test/*.d)

.PHONY: all tests demo test lint check conformance bench install env clean help FORCE
