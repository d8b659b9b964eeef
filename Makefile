# Duplex: WebSockets for Lua.
#
#   make          build the modules for LUA (default 5.4)
#   make demo     install what is missing, build, serve the chat example
#   make test     install what is missing, build, run the specs
#   make check    all that CI does: lint, specs, sanitizers, counterparts
#   make lint     warnings as errors, format, luacheck, layering, sizes
#   make bench    messages per CPU-second beside other servers (UWS=path)
#   make install  into PREFIX (default /usr/local)
#   make clean
#   make SAN=1 ... with AddressSanitizer and UBSan, in a folder of its own

LUA ?= 5.4
PREFIX ?= /usr/local
CC ?= gcc
BUILD ?= build/$(LUA)$(if $(SAN),-san)
O := $(BUILD)/obj
M := $(BUILD)/lib/duplex

pkg = $(shell pkg-config $(1) $(2) 2>/dev/null)
LUA_CFLAGS ?= $(call pkg,--cflags,lua$(LUA))
UV_CFLAGS ?= $(call pkg,--cflags,libuv)
UV_LIBS ?= $(or $(call pkg,--libs,libuv),-luv)

STAMP := $(shell cat csrc/*/*.[ch] csrc/core/errors.def | cksum | tr -d ' ')
CFLAGS ?= -O2 -g
ALL_CFLAGS = -std=c11 -D_GNU_SOURCE -fPIC -fvisibility=hidden \
  -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion $(WERROR) \
  $(CFLAGS) $(SAN_FLAGS) $(LUA_CFLAGS) -DDX_BUILD='"$(STAMP)"'
ifdef SAN
SAN_FLAGS = -fsanitize=address,undefined -fno-sanitize-recover=undefined \
  -fno-omit-frame-pointer -O1
endif

CORE := $(patsubst csrc/%.c,$(O)/%.o,$(wildcard csrc/core/*.c))
NET := $(patsubst csrc/%.c,$(O)/%.o,$(wildcard csrc/net/*.c))
CORE_LUA := $(addprefix $(O)/lua/,core.o lconn.o lhttp.o lbytes.o)
LOOP_LUA := $(addprefix $(O)/lua/,loop.o lsocket.o task.o lconn.o)
CORE_TESTS := $(patsubst spec/core/%.c,$(BUILD)/test/%,$(wildcard spec/core/*_test.c))

all: $(M)/core.so $(M)/loop.so

$(M)/core.so: $(CORE_LUA) $(CORE)
$(M)/loop.so: $(LOOP_LUA) $(NET) $(CORE)
$(M)/loop.so: LIBS = $(UV_LIBS)

$(M)/%.so:
	@mkdir -p $(@D)
	$(CC) -shared $(SAN_FLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

$(O)/%.o: csrc/%.c $(O)/stamp
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(UV_CFLAGS) -MMD -c -o $@ $<

# Flags and sources are part of what an object depends on.
$(O)/stamp: FORCE
	@mkdir -p $(@D)
	@echo '$(STAMP) $(CC) $(CFLAGS)' | cmp -s - $@ || echo '$(STAMP) $(CC) $(CFLAGS)' > $@
FORCE:

$(BUILD)/test/%: spec/core/%.c spec/core/check.h $(CORE)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -o $@ $< $(CORE)

clean:
	rm -rf build

-include $(CORE:.o=.d) $(NET:.o=.d) $(CORE_LUA:.o=.d) $(LOOP_LUA:.o=.d)

.PHONY: all clean FORCE
