/* SPDX-License-Identifier: MIT */
/* proc.c - CPU time and resident memory of another process. */
#include "load.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* The CPU clock of a process has nanoseconds, is exact for threads that are
 * running right now and keeps the time of threads that have ended; utime and
 * stime in /proc have 10 ms, and schedstat is a file per living thread. */
static double own_cpu(pid_t pid) {
  clockid_t clock;
  struct timespec t;
  if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &t))
    load_fail("process %d is gone", (int)pid);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* smaps_rollup walks the page tables; the counters behind VmRSS are kept per
 * CPU and may be off by megabytes on a large machine. */
static uint64_t own_memory(pid_t pid) {
  char path[64], line[256];
  unsigned long long kib = 0;
  snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
  FILE *f = fopen(path, "r");
  if (!f)
    load_fail("cannot read %s", path);
  while (fgets(line, sizeof line, f) && sscanf(line, "Rss: %llu", &kib) != 1)
    continue;
  fclose(f);
  return kib * 1024;
}

/* Call visit for each child of the process, which any thread may have made. */
static void each_child(pid_t pid, void (*visit)(pid_t, void *), void *sum) {
  char path[320];
  snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
  DIR *tasks = opendir(path);
  if (!tasks)
    return;
  for (struct dirent *e; (e = readdir(tasks));) {
    snprintf(path, sizeof path, "/proc/%d/task/%s/children", (int)pid,
             e->d_name);
    FILE *f = fopen(path, "r");
    int child;
    while (f && fscanf(f, "%d", &child) == 1)
      visit(child, sum);
    if (f)
      fclose(f);
  }
  closedir(tasks);
}

static void add_cpu(pid_t pid, void *sum) {
  *(double *)sum += own_cpu(pid);
  each_child(pid, add_cpu, sum);
}

static void add_memory(pid_t pid, void *sum) {
  *(uint64_t *)sum += own_memory(pid);
  each_child(pid, add_memory, sum);
}

double proc_cpu(pid_t pid) {
  double sum = 0;
  add_cpu(pid, &sum);
  return sum;
}

uint64_t proc_memory(pid_t pid) {
  uint64_t sum = 0;
  add_memory(pid, &sum);
  return sum;
}
