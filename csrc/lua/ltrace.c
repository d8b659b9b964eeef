/* SPDX-License-Identifier: MIT
 * ltrace.c - what passes through connections, as lines on stderr: one for each
 * frame, and one for each line of an HTTP head.
 *
 *   conn#3 > TEXT "hello" [5 bytes]        '>' goes out, '<' comes in
 *
 * It follows the bytes by itself, so that it shows what is on the wire,
 * whatever a reader thinks of it.  Credentials are not shown: of headers only
 * the values of those that are known to hold none. */
#include "lconn.h"

#include "../core/excerpt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 75 /* bytes shown of a payload; DUPLEX_TRACE=200 shows more */
#define MOST_AT_MOST 4096
#define HEAD_LINE 400 /* bytes shown of a line of a handshake, or more */
#define SPACE 160     /* for what is shown around it */
#define LONG_NAME 24  /* of a subprotocol; tokens are longer */
#define HIDDEN "***"

/* One direction of a connection. */
typedef struct flow {
  uint8_t raw[DX_MAX_HEAD]; /* a header that has not come whole */
  uint8_t raw_n;
  uint8_t in_payload;
  uint8_t lost; /* this is no frame, nor is what follows */
  dx_head head;
  uint64_t at;   /* in the payload */
  uint8_t *some; /* of it: the first 'most' bytes, then a ring of the last */
} flow;

typedef struct traced {
  struct traced *next;
  uint32_t id;
  flow in, out;
  uint8_t some[]; /* of both */
} traced;

#define LISTS 1024

typedef struct trace {
  dx_tap tap;         /* first */
  traced *all[LISTS]; /* by id */
  size_t most;
  uint8_t *payload; /* one to be shown: 2 * most bytes */
  char *line; /* one that is being made: SPACE + HEAD_LINE + 2 * most bytes */
} trace;

/* ---- lines ---- */

static uint32_t id_of(const dx_conn *c) {
  return ((const lconn *)((const char *)c - offsetof(lconn, conn)))->id;
}

static char *begin(const trace *t, const dx_conn *c, int out) {
  return t->line +
         sprintf(t->line, "conn#%u %c ", (unsigned)id_of(c), out ? '>' : '<');
}

static void end(const trace *t, char *p) {
  *p++ = '\n';
  fwrite(t->line, 1, (size_t)(p - t->line), stderr);
}

static char *put(char *p, const char *text) {
  size_t n = strlen(text);
  memcpy(p, text, n);
  return p + n;
}

/* ---- frames ---- */

/* What was kept of a payload, in its order. */
static size_t payload(const trace *t, const flow *f) {
  size_t most = t->most;
  if (f->head.length <= 2 * most) {
    memcpy(t->payload, f->some, (size_t)f->head.length);
    return (size_t)f->head.length;
  }
  memcpy(t->payload, f->some, most);
  for (size_t i = 0; i < most; i++)
    t->payload[most + i] = f->some[most + (f->at + i) % most];
  return 2 * most;
}

static void show_frame(const trace *t, const dx_conn *c, const flow *f,
                       int out) {
  static const char *const names[16] = {[DX_CONTINUATION] = "CONTINUATION",
                                        [DX_TEXT] = "TEXT",
                                        [DX_BINARY] = "BINARY",
                                        [DX_CLOSE] = "CLOSE",
                                        [DX_PING] = "PING",
                                        [DX_PONG] = "PONG"};
  static const char *const bits[3] = {", RSV3", ", RSV2", ", RSV1"};
  const dx_head *h = &f->head;
  const uint8_t *some = t->payload;
  size_t n = payload(t, f);
  char *p = begin(t, c, out);
  if (names[h->opcode])
    p = put(p, names[h->opcode]);
  else
    p += sprintf(p, "OPCODE %d", h->opcode);
  if (h->opcode == DX_CLOSE && n >= 2) {
    p += sprintf(p, " %d", some[0] << 8 | some[1]);
    some += 2;
    n -= 2;
  }
  p = put(p, " \"");
  p += dx_excerpt(p, t->most, some, n);
  p += sprintf(p, "\" [%llu byte%s", (unsigned long long)h->length,
               h->length == 1 ? "" : "s");
  if (!h->fin)
    p = put(p, ", more follows");
  for (int i = 2; i >= 0; i--)
    if (h->rsv & 1 << i)
      p = put(p, bits[i]);
  if (h->masked != (out != c->server)) /* RFC 6455 5.1 */
    p = put(p, h->masked ? ", masked" : ", not masked");
  end(t, put(p, "]"));
}

static void keep(const trace *t, flow *f, const uint8_t *p, size_t n) {
  size_t most = t->most;
  for (size_t i = 0; i < n; i++) {
    if (f->at + i >= most && n - i > most)
      i = n - most; /* what would be overwritten */
    uint64_t at = f->at + i;
    uint8_t mask = f->head.masked ? f->head.key[at & 3] : 0;
    f->some[at < most ? at : most + at % most] = p[i] ^ mask;
  }
  f->at += n;
}

/* Returns how much of 'p' belongs to the header. */
static size_t take_head(flow *f, const uint8_t *p, size_t n) {
  size_t had = f->raw_n, room = sizeof f->raw - had, k = room < n ? room : n;
  memcpy(f->raw + had, p, k);
  int size = dx_head_decode(&f->head, f->raw, had + k);
  f->raw_n = (uint8_t)(size > 0 ? 0 : had + k);
  f->in_payload = size > 0;
  f->lost = size < 0;
  f->at = 0;
  return size > 0 ? (size_t)size - had : k;
}

static void follow(const trace *t, const dx_conn *c, flow *f, int out,
                   const uint8_t *p, size_t n) {
  while (n && !f->lost) {
    size_t k = f->in_payload ? 0 : take_head(f, p, n);
    p += k;
    n -= k;
    if (f->lost)
      end(t, put(begin(t, c, out), "a header with a bad length"));
    if (!f->in_payload)
      continue;
    uint64_t left = f->head.length - f->at;
    k = left < n ? (size_t)left : n;
    keep(t, f, p, k);
    p += k;
    n -= k;
    if (f->at == f->head.length) {
      show_frame(t, c, f, out);
      f->in_payload = 0;
    }
  }
}

/* ---- heads ---- */

static char *put_all(char *out, const char *p, size_t n) {
  memcpy(out, p, n);
  return out + n;
}

/* A URL or the target of a request, without what may be secret: who asks, and
 * what is asked with.  'out' has room for 4 bytes for each of 'p', and some. */
static char *put_url(char *out, const char *p, size_t n) {
  const char *fragment = memchr(p, '#', n);
  const char *stop = fragment ? fragment : p + n;
  const char *query = memchr(p, '?', (size_t)(stop - p));
  const char *path = query ? query : stop;
  for (const char *s = p; s + 1 < path; s++) {
    if (memcmp(s, "//", 2) != 0)
      continue;
    const char *first = s + 2, *who = first;
    for (s = first; s < path && *s != '/'; s++)
      if (*s == '@')
        who = s;
    out = put_all(out, p, (size_t)(first - p));
    if (who > first)
      out = put(out, HIDDEN);
    p = who;
    break;
  }
  out = put_all(out, p, (size_t)(path - p));
  while (query < stop && query) { /* at '?' or '&' */
    *out++ = *query++;
    const char *next = memchr(query, '&', (size_t)(stop - query));
    if (next == NULL)
      next = stop;
    const char *value = memchr(query, '=', (size_t)(next - query));
    if (value)
      out = put_all(out, query, (size_t)(value + 1 - query));
    if (next > query)
      out = put(out, HIDDEN);
    query = next;
  }
  return fragment ? put(out, "#" HIDDEN) : out;
}

/* Subprotocols; some smuggle a token in among them, as web pages can set no
 * other header. */
static char *put_protocols(char *out, const char *p, size_t n) {
  const char *stop = p + n;
  while (p < stop) {
    const char *next = memchr(p, ',', (size_t)(stop - p));
    const char *last = next ? next : stop, *name = p;
    while (name < last && *name == ' ')
      name++;
    out = put_all(out, p, (size_t)(name - p));
    out = last - name > LONG_NAME ? put(out, HIDDEN)
                                  : put_all(out, name, (size_t)(last - name));
    if (next)
      *out++ = ',';
    p = next ? next + 1 : stop;
  }
  return out;
}

typedef char *(*writer)(char *out, const char *p, size_t n);

static char *put_hidden(char *out, const char *p, size_t n) {
  (void)p;
  (void)n;
  return put(out, HIDDEN);
}

/* How the value of a header is shown. */
static writer writer_of(const char *name, size_t n) {
  static const struct {
    const char *name;
    writer put;
  } rows[] = {{"accept", put_all},
              {"accept-encoding", put_all},
              {"accept-language", put_all},
              {"allow", put_all},
              {"cache-control", put_all},
              {"connection", put_all},
              {"content-length", put_all},
              {"content-type", put_all},
              {"date", put_all},
              {"forwarded", put_all},
              {"host", put_all},
              {"location", put_url},
              {"origin", put_all},
              {"pragma", put_all},
              {"referer", put_url},
              {"retry-after", put_all},
              {"sec-websocket-accept", put_all},
              {"sec-websocket-extensions", put_all},
              {"sec-websocket-key", put_all},
              {"sec-websocket-protocol", put_protocols},
              {"sec-websocket-version", put_all},
              {"server", put_all},
              {"transfer-encoding", put_all},
              {"upgrade", put_all},
              {"user-agent", put_all},
              {"via", put_all},
              {"x-forwarded-for", put_all},
              {"x-forwarded-host", put_all},
              {"x-forwarded-proto", put_all},
              {"x-real-ip", put_all}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    if (dx_slice_is((dx_slice){name, n}, rows[i].name))
      return rows[i].put;
  return put_hidden;
}

/* One line of a head, without its end; 'room' is enough for put_url. */
static void show_line(const trace *t, const dx_conn *c, int out, char *room,
                      int first, const char *p, size_t n) {
  char *to = room;
  const char *mark = memchr(p, first ? ' ' : ':', n);
  size_t before = mark ? (size_t)(mark + 1 - p) : 0;
  if (first && n > 5 && memcmp(p, "HTTP/", 5) == 0) {
    to = put_all(to, p, n);
  } else if (mark == NULL) { /* this is no head */
    to = first ? put_url(to, p, n) : put(to, HIDDEN);
  } else if (first) { /* of a request */
    const char *target = mark + 1, *rest = p + n;
    const char *last = memrchr(target, ' ', (size_t)(rest - target));
    if (last)
      rest = last;
    to = put_all(to, p, before);
    to = put_url(to, target, (size_t)(rest - target));
    to = put_all(to, rest, (size_t)(p + n - rest));
  } else {
    while (before < n && p[before] == ' ')
      before++;
    to = put_all(to, p, before);
    to = writer_of(p, (size_t)(mark - p))(to, p + before, n - before);
  }
  size_t most = t->most > HEAD_LINE ? t->most : HEAD_LINE;
  char *line = begin(t, c, out);
  end(t, line + dx_excerpt(line, most, (const uint8_t *)room,
                           (size_t)(to - room)));
}

static void show_head(const trace *t, const dx_conn *c, int out, const char *p,
                      size_t n) {
  char *room = malloc(4 * n + SPACE);
  const char *stop = p + n;
  for (int first = 1; room && p < stop; first = 0) {
    const char *next = memchr(p, '\n', (size_t)(stop - p));
    const char *last = next ? next : stop;
    if (last > p && last[-1] == '\r')
      last--;
    if (last == p)
      break;
    show_line(t, c, out, room, first, p, (size_t)(last - p));
    p = next ? next + 1 : stop;
  }
  free(room);
}

/* What goes out before there are frames: heads, with a body behind them or
 * not; bodies; and what proxies are told. */
static void show_raw(const trace *t, const dx_conn *c, const uint8_t *p,
                     size_t n) {
  static const char version[] = {'H', 'T', 'T', 'P', '/', '1', '.', '1'};
  const char *text = (const char *)p, *line_end = memmem(p, n, "\r\n", 2);
  const char *stop = memmem(p, n, "\r\n\r\n", 4);
  size_t head = 0;
  if (stop && line_end - text > (ptrdiff_t)sizeof version &&
      (memcmp(text, version, sizeof version) == 0 ||
       memcmp(line_end - sizeof version, version, sizeof version) == 0)) {
    head = (size_t)(stop + 4 - text);
    show_head(t, c, 1, text, head);
  }
  if (n > head) {
    char *line = begin(t, c, 1);
    end(t, line + sprintf(line, "[%zu bytes]", n - head));
  }
}

/* ---- the tap ---- */

static traced *find(trace *t, const dx_conn *c) {
  uint32_t id = id_of(c);
  traced **list = &t->all[id % LISTS];
  for (traced *d = *list; d; d = d->next)
    if (d->id == id)
      return d;
  traced *d = calloc(1, sizeof *d + 4 * t->most);
  if (d == NULL)
    return NULL;
  d->id = id;
  d->in.some = d->some;
  d->out.some = d->some + 2 * t->most;
  d->next = *list;
  return *list = d;
}

static void see(dx_tap *tap, const dx_conn *c, dx_seen what, const uint8_t *p,
                size_t n) {
  trace *t = (trace *)tap;
  if (what == DX_SEEN_HEAD) {
    show_head(t, c, 0, (const char *)p, n);
  } else if (what == DX_SEEN_OUT && c->state == DX_HANDSHAKE) {
    show_raw(t, c, p, n);
  } else {
    traced *d = find(t, c);
    int out = what == DX_SEEN_OUT;
    if (d)
      follow(t, c, out ? &d->out : &d->in, out, p, n);
  }
}

void ltrace_forget(dx_tap *tap, const lconn *c) {
  trace *t = (trace *)tap;
  for (traced **d = &t->all[c->id % LISTS]; *d; d = &(*d)->next) {
    if ((*d)->id == c->id) {
      traced *gone = *d;
      *d = gone->next;
      free(gone);
      return;
    }
  }
}

void ltrace_free(dx_tap *tap) {
  trace *t = (trace *)tap;
  if (t == NULL)
    return;
  for (int i = 0; i < LISTS; i++) {
    while (t->all[i]) {
      traced *next = t->all[i]->next;
      free(t->all[i]);
      t->all[i] = next;
    }
  }
  free(t->payload);
  free(t->line);
  free(t);
}

dx_tap *ltrace_new(void) {
  const char *wanted = getenv("DUPLEX_TRACE");
  long most = wanted ? strtol(wanted, NULL, 10) : 0;
  if (wanted == NULL || *wanted == 0 || strcmp(wanted, "0") == 0)
    return NULL;
  most = most < DX_EXCERPT_LEAST ? MOST
         : most < MOST_AT_MOST   ? most
                                 : MOST_AT_MOST;
  trace *t = calloc(1, sizeof *t);
  if (t == NULL)
    return NULL;
  t->tap.see = see;
  t->most = (size_t)most;
  t->payload = malloc(2 * t->most);
  t->line = malloc(SPACE + HEAD_LINE + 2 * t->most);
  if (t->payload && t->line)
    return &t->tap;
  ltrace_free(&t->tap);
  return NULL;
}
