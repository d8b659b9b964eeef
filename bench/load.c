/* SPDX-License-Identifier: MIT */
/* load.c - the load generator's command line. */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char usage[] =
    "load echo --port P [--connections C] [--size BYTES] [--inflight K]\n"
    "          [--seconds S] [--warmup S] [--text | --binary] [--tls] [--pid "
    "PID]\n"
    "          [--data FILE]\n"
    "  sends messages to an echo server on 127.0.0.1 and prints\n"
    "  messages N seconds S server_cpu S load_cpu S [cipher NAME]\n"
    "  with --data they are pieces of that file, compressed, and it prints\n"
    "  how many bytes of the answers there are for each of theirs: ratio R\n"
    "load fanout --port P [--connections C] [--size BYTES] [--inflight K]\n"
    "            [--seconds S] [--warmup S] [--text | --binary] [--tls] [--pid "
    "PID]\n"
    "  publishes K messages at a time to C subscribers and prints\n"
    "  messages N seconds S server_cpu S load_cpu S p50 S p99 S worst S\n"
    "  where the latter are those of an echo beside\n"
    "load idle --port P [--connections C] [--tls] [--pid PID] [--hold]\n"
    "          [--data FILE --size BYTES]\n"
    "  opens connections that say nothing, or one message, and prints\n"
    "  open N lost N before BYTES after BYTES\n"
    "  with --hold it keeps them until stdin is closed\n"
    "load start COMMAND...\n"
    "  prints its process id and a free port, then becomes COMMAND with the\n"
    "  port as the last argument; ends when the process that called it ends\n"
    "With --pid the CPU time or memory of that process is taken as well.\n";

void load_fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("load: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
  exit(1);
}

double load_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void raise_file_limit(void) {
  struct rlimit r;
  if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
    r.rlim_cur = r.rlim_max;
    setrlimit(RLIMIT_NOFILE, &r);
  }
}

static int free_port(void) {
  struct sockaddr_in a = {.sin_family = AF_INET};
  socklen_t n = sizeof a;
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd < 0 || bind(fd, (struct sockaddr *)&a, n) ||
      getsockname(fd, (struct sockaddr *)&a, &n))
    load_fail("no free port: %s", strerror(errno));
  close(fd);
  return ntohs(a.sin_port);
}

/* A benchmark that is interrupted, even by SIGKILL, leaves no server behind:
 * the kernel ends the server with the process that started it.  Standard
 * output goes nowhere, so that nobody waits for a full pipe. */
static void start(int argc, char **argv) {
  char port[16], **command = calloc((size_t)argc + 2, sizeof *command);
  if (argc < 1 || !command)
    load_fail("start what?");
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  memcpy(command, argv, (size_t)argc * sizeof *command);
  snprintf(port, sizeof port, "%d", free_port());
  command[argc] = port;
  printf("%d %s\n", (int)getpid(), port);
  fflush(stdout);
  int nowhere = open("/dev/null", O_RDWR);
  dup2(nowhere, STDIN_FILENO);
  dup2(nowhere, STDOUT_FILENO);
  close(nowhere);
  execvp(command[0], command);
  load_fail("%s: %s", command[0], strerror(errno));
}

static double number(const char *name, double min, double max) {
  char *end;
  double value = strtod(optarg, &end);
  if (*end || end == optarg || !(value >= min && value <= max))
    load_fail("--%s must be a number from %.0f to %.0f", name, min, max);
  return value;
}

/* Windows stay under 18 seconds in all: servers send their first ping after
 * 20, and the echo clients answer none. */
static void parse(load_options *o, int argc, char **argv) {
  /* clang-format off */
  static const struct option rows[] = {
      {"port",        required_argument, NULL, 'p'},
      {"connections", required_argument, NULL, 'c'},
      {"size",        required_argument, NULL, 's'},
      {"inflight",    required_argument, NULL, 'k'},
      {"seconds",     required_argument, NULL, 't'},
      {"warmup",      required_argument, NULL, 'w'},
      {"pid",         required_argument, NULL, 'i'},
      {"data",        required_argument, NULL, 'd'},
      {"text",        no_argument,       NULL, 'x'},
      {"binary",      no_argument,       NULL, 'b'},
      {"hold",        no_argument,       NULL, 'h'},
      {"tls",         no_argument,       NULL, 'l'},
      {NULL,          0,                 NULL, 0}};
  for (int c; (c = getopt_long(argc, argv, "", rows, NULL)) != -1;) {
    switch (c) {
    case 'p': o->port = (int)number("port", 1, 65535); break;
    case 'c': o->connections = (int)number("connections", 1, 1e6); break;
    case 's': o->size = (size_t)number("size", 0, 1 << 24); break;
    case 'k': o->inflight = (int)number("inflight", 1, 1024); break;
    case 't': o->seconds = number("seconds", 0, 15); break;
    case 'w': o->warmup = number("warmup", 0, 3); break;
    case 'i': o->pid = (pid_t)number("pid", 1, 1 << 22); break;
    case 'd': o->data = optarg; break;
    case 'x': o->text = true; break;
    case 'b': o->text = false; break;
    case 'h': o->hold = true; break;
    case 'l': o->tls = true; break;
    default: exit(2);
    }
  }
  /* clang-format on */
  if (!o->port || optind != argc)
    load_fail("usage:\n%s", usage);
}

int main(int argc, char **argv) {
  const char *mode = argc > 1 ? argv[1] : "";
  load_options o = {
      .connections = 32, .size = 64, .inflight = 1, .seconds = 3, .warmup = 1};
  raise_file_limit();
  if (!strcmp(mode, "start")) {
    start(argc - 2, argv + 2);
  } else if (!strcmp(mode, "echo")) {
    parse(&o, argc - 1, argv + 1);
    echo_run(&o);
  } else if (!strcmp(mode, "fanout")) {
    parse(&o, argc - 1, argv + 1);
    fanout_run(&o);
  } else if (!strcmp(mode, "idle")) {
    parse(&o, argc - 1, argv + 1);
    idle_run(&o);
  } else {
    load_fail("usage:\n%s", usage);
  }
  return 0;
}
