/* SPDX-License-Identifier: MIT */
/* Sec-WebSocket-Extensions (RFC 6455 9.1) and what endpoints agree on of
 * permessage-deflate (RFC 7692 5, 7.1). */
#include "../../csrc/core/extensions.h"
#include "check.h"

static dx_http_head head;

#define D "permessage-deflate"
#define SR "server_no_context_takeover"
#define CR "client_no_context_takeover"
#define SB "server_max_window_bits"
#define CB "client_max_window_bits"

/* Parse a head with the fields of 'values', which are separated by "|", from
 * memory that ends where it does. */
static void parse(int request, const char *values) {
  static uint8_t *last;
  static size_t last_n;
  static char text[70000];
  int n = snprintf(text, sizeof text, "%s",
                   request ? "GET / HTTP/1.1\r\n" : "HTTP/1.1 101 x\r\n");
  while (*values) {
    int k = (int)strcspn(values, "|");
    n += snprintf(text + n, sizeof text - (size_t)n, "%s: %.*s\r\n",
                  "Sec-WebSocket-Extensions", k, values);
    values += k + (values[k] == '|');
  }
  n += snprintf(text + n, sizeof text - (size_t)n, "\r\n");
  if (last)
    guarded_free(last, last_n);
  last_n = (size_t)n;
  last = guarded_end(last_n);
  memcpy(last, text, last_n);
  head.max_fields = 0;
  if (request)
    CHECK_EQ_INT(dx_http_parse_request(&head, (char *)last, last_n),
                 DX_HTTP_OK);
  else
    CHECK_EQ_INT(dx_http_parse_response(&head, (char *)last, last_n),
                 DX_HTTP_OK);
}

static const char *text_of(const dx_deflate_params *p,
                           size_t (*write)(char *, const dx_deflate_params *)) {
  static char text[DX_MAX_EXTENSIONS + 1];
  size_t n = write(text, p);
  CHECK(n <= DX_MAX_EXTENSIONS);
  text[n] = 0;
  return text;
}

/* ---- the header ---- */

static const struct form_row {
  const char *values;
  int ok;
} forms[] = {
    {"", 1},
    {"a", 1},
    {"a, b", 1},
    {"a,b;c;d=e,f", 1},
    {"a; b=\"c\"", 1},
    {"a; b=\"\\c\\d\"; e", 1},
    {"a;b = c ; d = \"e\" , f", 1},
    {",, a ,, b ,", 1},
    {",", 1},
    {"a; b=cccccccccccccccccccccccccccccccccccccccccccccc", 1},
    {"a; b=\"cccccccccccccccccccccccccccccccccccccccccc\"; d", 1},
    {"a|b; c|d", 1},
    {"a b", 0},
    {"a;", 0},
    {"a;;b", 0},
    {"a; b=", 0},
    {"a; b=, c", 0},
    {"a; =b", 0},
    {"; a", 0},
    {"a=b", 0},
    {"a; b=\"\"", 0},
    {"a; b=\"c", 0},
    {"a; b=\"", 0},
    {"a; b=\"c\\", 0},
    {"a; b=\"c\\\"", 0},
    {"a; b=\"c d\"", 0},
    {"a; b=\"c,d\"", 0},
    {"a; b=\"c\\\"\"", 0},
    {"a; b=\"c\"d", 0},
    {"a; b=c=d", 0},
    {"a; b=\"c\" \"d\"", 0},
    {"\"a\"", 0},
    {"a/b", 0},
    {"a|b;", 0},
    {"a; b=\"c|d\"", 0},
};

static void test_forms(void) {
  for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
    parse(1, forms[i].values);
    if (!CHECK_EQ_INT(dx_extensions_ok(&head), forms[i].ok))
      fprintf(stderr, "  %s\n", forms[i].values);
  }
}

/* ---- servers ---- */

static const dx_deflate_params all = {
    .server_bits = 15, .client_bits = 15, .level = 6, .memory = 8};
static const dx_deflate_params twelve = {
    .server_bits = 12, .client_bits = 12, .level = 6, .memory = 5};
static const dx_deflate_params shared = {.server_bits = 12,
                                         .client_bits = 12,
                                         .server_reset = 1,
                                         .level = 6,
                                         .memory = 5};
static const dx_deflate_params fresh = {.server_bits = 15,
                                        .client_bits = 15,
                                        .server_reset = 1,
                                        .client_reset = 1,
                                        .level = 6,
                                        .memory = 8};
static const dx_deflate_params eight = {
    .server_bits = 15, .client_bits = 8, .level = 6, .memory = 8};
static const dx_deflate_params none = {.level = 0};

static const struct offer_row {
  const dx_deflate_params *wish;
  const char *offer, *answer; /* NULL: it is declined */
} offers[] = {
    {&all, "", NULL},
    {&none, D, NULL},
    {&all, D, D},
    {&all, "x-webkit-deflate-frame, bbf-usp-protocol, " D, D},
    {&all, "permessage-bzip2|" D, D},
    {&all, "Permessage-Deflate", NULL},
    {&all, "permessage-deflate2", NULL},
    {&all, "permessage-deflat", NULL},
    /* RFC 7692 7.1.3, its examples */
    {&all, D "; " CB "; " SB "=10", D "; " SB "=10"},
    {&all, D "; " CB "; " SB "=10, " D "; " CB, D "; " SB "=10"},
    /* 7.1.1.1, 7.1.1.2 */
    {&all, D "; " SR, D "; " SR},
    {&all, D "; " CR, D "; " CR},
    {&all, D "; " CR "; " SR, D "; " SR "; " CR},
    {&shared, D, D "; " SR "; " SB "=12"},
    {&fresh, D, D "; " SR "; " CR},
    {&all, D "; " SR "=1", NULL},
    {&all, D "; " SR "=true", NULL},
    {&all, D "; " CR "=\"1\"", NULL},
    /* 7.1.2.1 */
    {&all, D "; " SB "=15", D "; " SB "=15"},
    {&all, D "; " SB "=9", D "; " SB "=9"},
    {&all, D "; " SB "=\"10\"", D "; " SB "=10"},
    {&all, D "; " SB "=\"1\\0\"", D "; " SB "=10"},
    {&twelve, D, D "; " SB "=12"},
    {&twelve, D "; " SB "=15", D "; " SB "=12"},
    {&twelve, D "; " SB "=10", D "; " SB "=10"},
    {&all, D "; " SB "=8", NULL}, /* zlib cannot */
    {&all, D "; " SB "=8, " D "; " SR, D "; " SR},
    {&all, D "; " SB, NULL},
    {&all, D "; " SB "=7", NULL},
    {&all, D "; " SB "=16", NULL},
    {&all, D "; " SB "=0", NULL},
    {&all, D "; " SB "=-9", NULL},
    {&all, D "; " SB "=+9", NULL},
    {&all, D "; " SB "=010", NULL},
    {&all, D "; " SB "=09", NULL},
    {&all, D "; " SB "=9.0", NULL},
    {&all, D "; " SB "=0x9", NULL},
    {&all, D "; " SB "=a", NULL},
    {&all, D "; " SB "=1", NULL},
    {&all, D "; " SB "=99999", NULL},
    {&all, D "; " SB "=100000000000000000000000000010", NULL},
    {&all, D "; " SB "=\"10000000000000000000000000010\"", NULL},
    /* 7.1.2.2 */
    {&all, D "; " CB, D},
    {&twelve, D "; " CB, D "; " SB "=12; " CB "=12"},
    {&twelve, D "; " CB "=15", D "; " SB "=12; " CB "=12"},
    {&twelve, D "; " CB "=10", D "; " SB "=12; " CB "=10"},
    {&all, D "; " CB "=15", D},
    {&all, D "; " CB "=8", D "; " CB "=8"},
    {&eight, D "; " CB, D "; " CB "=8"},
    {&eight, D, D}, /* it cannot be asked for less */
    {&all, D "; " CB "=7", NULL},
    {&all, D "; " CB "=16", NULL},
    {&all, D "; " CB "=08", NULL},
    {&all, D "; " CB "=1000", NULL},
    /* 7.1: what makes an offer one to decline */
    {&all, D "; x", NULL},
    {&all, D "; x=1", NULL},
    {&all, D "; " SR "; " SR, NULL},
    {&all, D "; " CR "; " CR, NULL},
    {&all, D "; " SB "=10; " SB "=10", NULL},
    {&all, D "; " CB "; " CB, NULL},
    {&all, D "; " CB "; " CB "=10", NULL},
    {&all, D "; Server_No_Context_Takeover", NULL},
    /* 5.1: the first of them that can be accepted */
    {&all, D "; x, " D "; " SR "=0, " D "; " CR ", " D, D "; " CR},
    {&all, D "; x|" D "; " SR, D "; " SR},
    {&all, D "; " SR ", " D, D "; " SR},
};

static void test_offers(void) {
  for (size_t i = 0; i < sizeof offers / sizeof *offers; i++) {
    const struct offer_row *row = &offers[i];
    dx_deflate_params agreed = {.level = 99};
    parse(1, row->offer);
    CHECK(dx_extensions_ok(&head));
    int chosen = dx_extensions_choose(&head, row->wish, &agreed);
    int fine = CHECK_EQ_INT(chosen, row->answer != NULL);
    if (fine && chosen) {
      fine = CHECK_EQ_STR(text_of(&agreed, dx_extensions_text), row->answer);
      CHECK_EQ_INT(agreed.level, row->wish->level);
      CHECK_EQ_INT(agreed.memory, row->wish->memory);
    }
    if (!fine)
      fprintf(stderr, "  row %zu: %s\n", i, row->offer);
  }
}

static void test_windows_of_offers(void) {
  dx_deflate_params a;
  parse(1, D); /* it may use all, as it cannot be told otherwise */
  CHECK(dx_extensions_choose(&head, &twelve, &a));
  CHECK_EQ_INT(a.server_bits, 12);
  CHECK_EQ_INT(a.client_bits, 15);
  parse(1, D "; " CB "=9; " SB "=11");
  CHECK(dx_extensions_choose(&head, &twelve, &a));
  CHECK_EQ_INT(a.server_bits, 11);
  CHECK_EQ_INT(a.client_bits, 9);
}

/* ---- clients ---- */

static const dx_deflate_params rather = {.server_bits = 12,
                                         .client_bits = 12,
                                         .any_server_bits = 1,
                                         .level = 6,
                                         .memory = 5};

static const dx_deflate_params longest = {.server_bits = 12,
                                          .client_bits = 12,
                                          .server_reset = 1,
                                          .client_reset = 1,
                                          .level = 6,
                                          .memory = 5};

static const struct wish_row {
  const dx_deflate_params *wish;
  const char *offer;
} wishes[] = {
    {&none, ""},
    {&all, D "; " CB},
    {&twelve, D "; " SB "=12; " CB "=12, " D "; " SB "=12; " CB},
    {&rather, D "; " SB "=12; " CB "=12, " D "; " CB},
    {&shared,
     D "; " SR "; " SB "=12; " CB "=12, " D "; " SR "; " SB "=12; " CB},
    {&fresh, D "; " SR "; " CR "; " CB},
    {&longest, D "; " SR "; " CR "; " SB "=12; " CB "=12, " D "; " SR "; " CR
                 "; " SB "=12; " CB},
};

static void test_wishes(void) {
  for (size_t i = 0; i < sizeof wishes / sizeof *wishes; i++)
    CHECK_EQ_STR(text_of(wishes[i].wish, dx_extensions_offer), wishes[i].offer);
}

static const struct answer_row {
  const dx_deflate_params *wish;
  const char *answer;
  int result;
  int server_bits, client_bits, server_reset, client_reset;
} answers[] = {
    {&all, "", 0, 0, 0, 0, 0},
    {&none, "", 0, 0, 0, 0, 0},
    {&none, D, -1, 0, 0, 0, 0},
    {&all, D, 1, 15, 15, 0, 0},
    {&all, "x", -1, 0, 0, 0, 0},
    {&all, D ", x", -1, 0, 0, 0, 0},
    {&all, D ", " D, -1, 0, 0, 0, 0},
    {&all, D "|" D, -1, 0, 0, 0, 0},
    {&all, D "; x", -1, 0, 0, 0, 0},
    {&all, D ";", -1, 0, 0, 0, 0},
    {&all, D " x", -1, 0, 0, 0, 0},
    /* 7.1.1.1: what we asked for has to be confirmed; it may be volunteered */
    {&all, D "; " SR, 1, 15, 15, 1, 0},
    {&fresh, D "; " SR, 1, 15, 15, 1, 1},
    {&fresh, D, -1, 0, 0, 0, 0},
    {&all, D "; " SR "; " SR, -1, 0, 0, 0, 0},
    {&all, D "; " SR "=1", -1, 0, 0, 0, 0},
    /* 7.1.1.2 */
    {&all, D "; " CR, 1, 15, 15, 0, 1},
    {&all, D "; " CR "=", -1, 0, 0, 0, 0},
    /* 7.1.2.1 */
    {&all, D "; " SB "=10", 1, 10, 15, 0, 0},
    {&all, D "; " SB "=8", 1, 8, 15, 0, 0},
    {&all, D "; " SB "=\"9\"", 1, 9, 15, 0, 0},
    {&all, D "; " SB, -1, 0, 0, 0, 0},
    {&all, D "; " SB "=7", -1, 0, 0, 0, 0},
    {&all, D "; " SB "=16", -1, 0, 0, 0, 0},
    {&all, D "; " SB "=1000000", -1, 0, 0, 0, 0},
    {&all, D "; " SB "=-1", -1, 0, 0, 0, 0},
    {&twelve, D "; " SB "=12", 1, 12, 12, 0, 0},
    {&twelve, D "; " SB "=9", 1, 9, 12, 0, 0},
    {&twelve, D "; " SB "=13", -1, 0, 0, 0, 0},
    {&twelve, D, -1, 0, 0, 0, 0},
    {&rather, D "; " SB "=12", 1, 12, 12, 0, 0},
    {&rather, D "; " SB "=13", 1, 13, 12, 0, 0},
    {&rather, D, 1, 15, 12, 0, 0},
    /* 7.1.2.2 */
    {&all, D "; " CB "=9", 1, 15, 9, 0, 0},
    {&all, D "; " CB "=8", 1, 15, 8, 0, 0},
    {&all, D "; " CB, -1, 0, 0, 0, 0},
    {&all, D "; " CB "=16", -1, 0, 0, 0, 0},
    {&rather, D "; " CB "=12", 1, 15, 12, 0, 0},
    {&rather, D "; " CB "=13", 1, 15, 12, 0, 0}, /* to the second offer */
};

static void test_answers(void) {
  for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
    const struct answer_row *row = &answers[i];
    dx_deflate_params a = {0};
    parse(0, row->answer);
    int fine =
        CHECK_EQ_INT(dx_extensions_verify(&head, row->wish, &a), row->result);
    if (row->result == 1)
      fine = fine && CHECK_EQ_INT(a.server_bits, row->server_bits) &&
             CHECK_EQ_INT(a.client_bits, row->client_bits) &&
             CHECK_EQ_INT(a.server_reset, row->server_reset) &&
             CHECK_EQ_INT(a.client_reset, row->client_reset);
    if (!fine)
      fprintf(stderr, "  row %zu: %s\n", i, row->answer);
  }
}

/* What our servers answer to the offers of our clients, our clients accept,
 * and both mean the same by it. */
static void test_both(void) {
  static const dx_deflate_params *const kinds[] = {&all,   &twelve, &shared,
                                                   &fresh, &eight,  &rather};
  enum { KINDS = sizeof kinds / sizeof *kinds };
  for (size_t i = 0; i < KINDS * KINDS; i++) {
    const dx_deflate_params *client = kinds[i % KINDS];
    const dx_deflate_params *server = kinds[i / KINDS];
    if (client->client_bits < DX_MIN_DEFLATE_BITS)
      continue;
    dx_deflate_params a, b;
    parse(1, text_of(client, dx_extensions_offer));
    if (!CHECK(dx_extensions_choose(&head, server, &a)))
      continue;
    parse(0, text_of(&a, dx_extensions_text));
    if (!CHECK_EQ_INT(dx_extensions_verify(&head, client, &b), 1))
      continue;
    CHECK_EQ_INT(a.server_bits, b.server_bits);
    CHECK_EQ_INT(a.server_reset, b.server_reset);
    CHECK_EQ_INT(a.client_reset, b.client_reset);
    /* A client may use less than it was allowed to. */
    CHECK(b.client_bits <= a.client_bits);
    CHECK_EQ_STR(text_of(&b, dx_extensions_text),
                 text_of(&a, dx_extensions_text));
  }
}

/* Headers made to be slow, CVE-2020-7662 and its like: time is linear, so each
 * of these takes no time at all. */
static void test_hostile(void) {
  static char long_one[60000];
  static const char *const parts[] = {"a;b=\"\\\\\\", "a;", "a,", ";", "\\\"",
                                      "a; b=\"c\", ", "\"", " "};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    size_t k = strlen(parts[i]), n = 0;
    n += (size_t)snprintf(long_one, sizeof long_one, D "; x=\"");
    while (n + k < sizeof long_one) {
      memcpy(long_one + n, parts[i], k);
      n += k;
    }
    long_one[n] = 0;
    parse(1, long_one);
    dx_deflate_params a;
    CHECK_EQ_INT(dx_extensions_ok(&head), 0);
    CHECK_EQ_INT(dx_extensions_choose(&head, &all, &a), 0);
    parse(0, long_one);
    CHECK_EQ_INT(dx_extensions_verify(&head, &all, &a), -1);
  }
}

int main(void) {
  test_forms();
  test_offers();
  test_windows_of_offers();
  test_wishes();
  test_answers();
  test_both();
  test_hostile();
  return check_done("extensions");
}
