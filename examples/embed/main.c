/* A program with a loop of its own, epoll, and Lua in it: app.lua serves
 * WebSockets, and this loop steps it.  What it has to know is a descriptor that
 * becomes readable, and how long it may wait at most.
 *
 *   cc -o embed main.c $(pkg-config --cflags --libs lua5.4)
 *   ./embed app.lua 8080 */
#include <lauxlib.h>
#include <lualib.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* Calls a function of the table that app.lua returned, at index 1. */
static double ask(lua_State *L, const char *name, double otherwise) {
  lua_getfield(L, 1, name);
  if (lua_pcall(L, 0, 1, 0) != LUA_OK) {
    fprintf(stderr, "%s: %s\n", name, lua_tostring(L, -1));
    exit(1);
  }
  double value = lua_isnumber(L, -1) ? lua_tonumber(L, -1) : otherwise;
  lua_pop(L, 1);
  return value;
}

static void watch(int loop, int fd) {
  struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
  epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event);
}

int main(int argc, char **argv) {
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  if (argc < 2 || luaL_loadfile(L, argv[1])) {
    fprintf(stderr, "%s\n",
            argc < 2 ? "embed SCRIPT [PORT]" : lua_tostring(L, -1));
    return 1;
  }
  lua_pushstring(L, argc > 2 ? argv[2] : "8080");
  if (lua_pcall(L, 1, 1, 0)) {
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
    return 1;
  }

  /* Something of its own that this program waits for. */
  int ticks = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
  struct itimerspec second = {{1, 0}, {1, 0}};
  timerfd_settime(ticks, 0, &second, NULL);

  int loop = epoll_create1(EPOLL_CLOEXEC);
  watch(loop, ticks);
  watch(loop, (int)ask(L, "fd", -1));
  for (;;) {
    ask(L, "step", 0); /* never waits */
    double seconds = ask(L, "timeout", -1);
    struct epoll_event events[8];
    int n = epoll_wait(loop, events, 8,
                       seconds < 0 ? -1 : (int)(seconds * 1000) + 1);
    for (int i = 0; i < n; i++) {
      uint64_t count;
      if (events[i].data.fd == ticks && read(ticks, &count, sizeof count) > 0)
        ask(L, "tick", 0);
    }
  }
}
