/* SPDX-License-Identifier: MIT
 *
 *   extension-list = 1#( token *( ";" token [ "=" ( token | quoted ) ] ) )
 *
 * One pass over the bytes, which only ever goes forward: a header that was made
 * to be slow costs what any other of its size does. */
#include "extensions.h"

#include <string.h>

#define NAME "permessage-deflate"
#define VALUE_SIZE 8 /* no valid value is as long */

/* What comes next in the fields of a head. */
typedef struct cursor {
  const dx_http_head *h;
  const dx_field *field;
  dx_slice rest;
  int bad; /* for good: something was malformed */
} cursor;

typedef struct param {
  dx_slice name;
  size_t n; /* bytes of the value; cut, as it cannot be a number */
  char value[VALUE_SIZE];
  int has_value;
} param;

/* ---- bytes ---- */

static void skip_blanks(dx_slice *s) {
  while (s->n && (*s->p == ' ' || *s->p == '\t')) {
    s->p++;
    s->n--;
  }
}

static int next_is(const dx_slice *s, char c) { return s->n && *s->p == c; }

static int take(dx_slice *s, char c) {
  if (!next_is(s, c))
    return 0;
  s->p++;
  s->n--;
  skip_blanks(s);
  return 1;
}

static int take_token(dx_slice *s, dx_slice *token) {
  size_t n = 0;
  while (n < s->n && dx_http_name_ok(s->p + n, 1))
    n++;
  *token = (dx_slice){s->p, n};
  s->p += n;
  s->n -= n;
  skip_blanks(s);
  return n > 0;
}

/* RFC 6455 9.1: what is quoted has to be a token too, once it is not. */
static int take_quoted(dx_slice *s, param *p) {
  size_t count = 0;
  while (s->n > 1) {
    s->p++;
    s->n--;
    if (*s->p == '"') {
      take(s, '"');
      return count > 0;
    }
    if (*s->p == '\\' && s->n > 1) {
      s->p++;
      s->n--;
    }
    if (!dx_http_name_ok(s->p, 1))
      return 0;
    if (count < VALUE_SIZE)
      p->value[p->n++] = *s->p;
    count++;
  }
  return 0;
}

static int take_value(dx_slice *s, param *p) {
  if (next_is(s, '"'))
    return take_quoted(s, p);
  dx_slice token;
  int fine = take_token(s, &token);
  p->n = token.n < VALUE_SIZE ? token.n : VALUE_SIZE;
  if (p->n)
    memcpy(p->value, token.p, p->n);
  return fine;
}

/* ---- extensions and their parameters ---- */

/* 1 with the name of the next extension, whose parameters have to be taken
 * before the next call; 0 at the end. */
static int next_extension(cursor *c, dx_slice *name) {
  while (!c->bad) {
    skip_blanks(&c->rest);
    while (take(&c->rest, ','))
      ; /* RFC 9110 5.6.1.2: empty elements are ignored */
    if (c->rest.n) {
      c->bad = !take_token(&c->rest, name);
      return !c->bad;
    }
    const dx_field *f =
        dx_http_next(c->h, "Sec-WebSocket-Extensions", c->field);
    if (!f)
      return 0;
    c->field = f;
    c->rest = f->value;
  }
  return 0;
}

/* 1 with the next parameter of the same extension; 0 after the last one. */
static int next_param(cursor *c, param *p) {
  if (c->bad || !c->rest.n || next_is(&c->rest, ','))
    return 0;
  p->n = 0;
  c->bad = !take(&c->rest, ';') || !take_token(&c->rest, &p->name);
  p->has_value = !c->bad && take(&c->rest, '=');
  if (p->has_value)
    c->bad = !take_value(&c->rest, p);
  return !c->bad;
}

static int is(dx_slice s, const char *text) {
  return s.n == strlen(text) && memcmp(s.p, text, s.n) == 0;
}

int dx_extensions_ok(const dx_http_head *h) {
  cursor c = {.h = h};
  dx_slice name;
  param p;
  while (next_extension(&c, &name))
    while (next_param(&c, &p))
      ;
  return !c.bad;
}

/* ---- parameters of permessage-deflate, RFC 7692 7.1 ---- */

enum { SERVER_RESET, CLIENT_RESET, SERVER_BITS, CLIENT_BITS, PARAMS };

static const char *const params[PARAMS] = {
    "server_no_context_takeover", "client_no_context_takeover",
    "server_max_window_bits", "client_max_window_bits"};

/* What one element of the list says: ABSENT, VALUELESS or a number of bits. */
enum { ABSENT = -1, VALUELESS = 0 };
typedef struct element {
  int is[PARAMS];
} element;

/* RFC 7692 7.1.2: 8..15 without leading zeros; or 0. */
static int bits_of(const param *p) {
  const char *v = p->value;
  if (p->n == 1 && (v[0] == '8' || v[0] == '9'))
    return v[0] - '0';
  if (p->n == 2 && v[0] == '1' && v[1] >= '0' && v[1] <= '5')
    return 10 + v[1] - '0';
  return 0;
}

/* Read the rest of an element: 1, or 0 if no endpoint may accept it. */
static int read_element(cursor *c, element *e) {
  int fine = 1;
  for (int i = 0; i < PARAMS; i++)
    e->is[i] = ABSENT;
  param p;
  while (next_param(c, &p)) {
    int k = 0;
    while (k < PARAMS && !is(p.name, params[k]))
      k++;
    int bits = p.has_value ? bits_of(&p) : 0;
    if (k == PARAMS || e->is[k] != ABSENT || /* unknown, or twice */
        (p.has_value && (k < SERVER_BITS || !bits)) ||
        (!p.has_value && k == SERVER_BITS)) {
      fine = 0;
      continue;
    }
    e->is[k] = bits;
  }
  return fine && !c->bad;
}

static uint8_t least(int a, int b) { return (uint8_t)(a < b ? a : b); }

/* RFC 7692 7.1.1, 7.1.2: 1 if a server can do what one offer asks for. */
static int accept_offer(const element *e, const dx_deflate_params *wish,
                        dx_deflate_params *agreed) {
  int server = e->is[SERVER_BITS], client = e->is[CLIENT_BITS];
  dx_deflate_params a = *wish;
  if (server != ABSENT)
    a.server_bits = least(server, wish->server_bits);
  if (a.server_bits < DX_MIN_DEFLATE_BITS)
    return 0;
  a.says_server_bits = server != ABSENT || a.server_bits < DX_MAX_BITS;
  /* Who does not say that it can use less may use all. */
  a.client_bits = client == ABSENT      ? DX_MAX_BITS
                  : client == VALUELESS ? wish->client_bits
                                        : least(client, wish->client_bits);
  a.says_client_bits = a.client_bits < DX_MAX_BITS;
  a.server_reset = wish->server_reset || e->is[SERVER_RESET] != ABSENT;
  /* Offered it is only a hint; but why keep what it will not use? */
  a.client_reset = wish->client_reset || e->is[CLIENT_RESET] != ABSENT;
  *agreed = a;
  return 1;
}

int dx_extensions_choose(const dx_http_head *h, const dx_deflate_params *wish,
                         dx_deflate_params *agreed) {
  cursor c = {.h = h};
  dx_slice name;
  element e;
  while (wish->level && next_extension(&c, &name))
    if (read_element(&c, &e) && is(name, NAME) &&
        accept_offer(&e, wish, agreed))
      return 1;
  return 0;
}

/* RFC 7692 7.1.1, 7.1.2: 1 if it is an answer to what we offered. */
static int accept_answer(const element *e, const dx_deflate_params *wish,
                         dx_deflate_params *agreed) {
  int server = e->is[SERVER_BITS], client = e->is[CLIENT_BITS];
  dx_deflate_params a = *wish;
  if (wish->server_reset && e->is[SERVER_RESET] == ABSENT)
    return 0;
  a.server_reset = e->is[SERVER_RESET] != ABSENT;
  /* What we said that we would do we do, whatever the answer. */
  a.client_reset = wish->client_reset || e->is[CLIENT_RESET] != ABSENT;
  if (server == ABSENT) {
    if (wish->server_bits < DX_MAX_BITS && !wish->any_server_bits)
      return 0;
    server = DX_MAX_BITS;
  } else if (server > wish->server_bits && !wish->any_server_bits) {
    return 0;
  }
  a.server_bits = (uint8_t)server;
  a.says_server_bits = e->is[SERVER_BITS] != ABSENT;
  if (client == VALUELESS)
    return 0;
  if (client != ABSENT) /* we may always use less */
    a.client_bits = least(client, wish->client_bits);
  a.says_client_bits = client != ABSENT;
  *agreed = a;
  return 1;
}

int dx_extensions_verify(const dx_http_head *h, const dx_deflate_params *wish,
                         dx_deflate_params *agreed) {
  cursor c = {.h = h};
  dx_slice name;
  element e;
  int chosen = 0;
  while (next_extension(&c, &name)) {
    if (chosen || !wish->level || !is(name, NAME) || !read_element(&c, &e) ||
        !accept_answer(&e, wish, agreed))
      return -1;
    chosen = 1;
  }
  return c.bad ? -1 : chosen;
}

/* ---- writing ---- */

typedef struct writer {
  char *out;
  size_t n;
} writer;

static void put(writer *w, const char *text) {
  size_t n = strlen(text);
  memcpy(w->out + w->n, text, n);
  w->n += n;
}

static void put_param(writer *w, int which, int bits) {
  put(w, "; ");
  put(w, params[which]);
  if (bits == VALUELESS)
    return;
  put(w, bits < 10 ? "=" : "=1");
  w->out[w->n++] = (char)('0' + bits % 10);
}

static void put_resets(writer *w, const dx_deflate_params *p) {
  put(w, NAME);
  if (p->server_reset)
    put_param(w, SERVER_RESET, VALUELESS);
  if (p->client_reset)
    put_param(w, CLIENT_RESET, VALUELESS);
}

static void put_offer(writer *w, const dx_deflate_params *p, int server_bits,
                      int client_bits) {
  put_resets(w, p);
  if (server_bits < DX_MAX_BITS)
    put_param(w, SERVER_BITS, server_bits);
  put_param(w, CLIENT_BITS,
            client_bits < DX_MAX_BITS ? client_bits : VALUELESS);
}

size_t dx_extensions_offer(char *out, const dx_deflate_params *wish) {
  writer w = {out, 0};
  if (!wish->level)
    return 0;
  put_offer(&w, wish, wish->server_bits, wish->client_bits);
  /* RFC 7692 5.1: in order of preference.  There are servers that decline what
   * limits them, or a client that says that it will use less than they ask. */
  int second_bits = wish->any_server_bits ? DX_MAX_BITS : wish->server_bits;
  if (second_bits > wish->server_bits || wish->client_bits < DX_MAX_BITS) {
    put(&w, ", ");
    put_offer(&w, wish, second_bits, DX_MAX_BITS);
  }
  return w.n;
}

size_t dx_extensions_text(char *out, const dx_deflate_params *agreed) {
  writer w = {out, 0};
  put_resets(&w, agreed);
  if (agreed->says_server_bits)
    put_param(&w, SERVER_BITS, agreed->server_bits);
  if (agreed->says_client_bits)
    put_param(&w, CLIENT_BITS, agreed->client_bits);
  return w.n;
}
