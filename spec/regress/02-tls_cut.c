/* SPDX-License-Identifier: MIT
 * 02-tls_cut.c: WebSocket peers that send "cut" and a handshake message behind
 * it, but for its end, which waits for SIGUSR1.
 *
 *   CERTIFICATE KEY   a server, and a NewSessionTicket of several records. Then
 *       it echoes.  Later connections are served without any of this.  Before
 *       all it prints where it listens.
 *   PORT              a client, and a KeyUpdate of two records.  Then it sends
 *       "new keys", and prints how long the messages are that it gets. */
#include "02-tls_peer.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <signal.h>

static void await_signal(void) {
  sigset_t set;
  int number;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigwait(&set, &number);
}

/* The next frame into 'buffer': its opcode; masked or not. */
static int get_frame(SSL *ssl, size_t *length) {
  unsigned char head[2], more[8], key[4] = {0};
  get(ssl, head, 2);
  *length = head[1] & 127;
  if (*length >= 126) {
    size_t size = *length == 126 ? 2 : 8;
    get(ssl, more, size);
    *length = 0;
    for (size_t i = 0; i < size; i++)
      *length = *length << 8 | more[i];
  }
  if (head[1] & 128)
    get(ssl, key, 4);
  if (*length > sizeof buffer)
    exit(1);
  get(ssl, buffer, *length);
  for (size_t i = 0; i < *length; i++)
    buffer[i] ^= key[i % 4];
  return head[0] & 15;
}

/* ---- server ---- */

/* Makes tickets that take several records. */
static int on_ticket(SSL *ssl, void *unused) {
  (void)unused;
  memset(buffer, 1, 1500);
  return SSL_SESSION_set1_ticket_appdata(SSL_get_session(ssl), buffer, 1500);
}

static SSL_TICKET_RETURN on_return(SSL *ssl, SSL_SESSION *session,
                                   const unsigned char *name, size_t n,
                                   SSL_TICKET_STATUS status, void *unused) {
  (void)ssl, (void)session, (void)name, (void)n, (void)unused;
  /* TLS 1.3 always makes a new one. */
  return status == SSL_TICKET_SUCCESS_RENEW ? SSL_TICKET_RETURN_USE
                                            : SSL_TICKET_RETURN_IGNORE;
}

static void upgrade(SSL *ssl) {
  unsigned char text[100], digest[20];
  char accepted[40], answer[200];
  const char *key = strstr(get_head(ssl), "Sec-WebSocket-Key: ");
  if (key == NULL)
    exit(1);
  memcpy(text, key + 19, 24);
  memcpy(text + 24, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", 36);
  EVP_Digest(text, 60, digest, NULL, EVP_sha1(), NULL);
  EVP_EncodeBlock((unsigned char *)accepted, digest, 20);
  int n = snprintf(answer, sizeof answer,
                   "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                   "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
                   accepted);
  SSL_write(ssl, answer, n);
}

/* Upgrade, message and the ticket, all at once but for the last record. */
static void cut_ticket(SSL *ssl, int fd) {
  BIO *memory = BIO_new(BIO_s_mem());
  char *p;
  SSL_set0_wbio(ssl, memory);
  upgrade(ssl);
  SSL_write(ssl, "\x81\3cut", 5);
  SSL_new_session_ticket(ssl);
  SSL_do_handshake(ssl);
  size_t n = (size_t)BIO_get_mem_data(memory, &p), last = 0;
  for (size_t next = 0; next < n;) {
    last = next;
    next += 5 + ((size_t)(unsigned char)p[next + 3] << 8) +
            (unsigned char)p[next + 4];
  }
  put(fd, p, last);
  await_signal();
  put(fd, p + last, n - last);
  SSL_set0_wbio(ssl, BIO_new_socket(fd, BIO_NOCLOSE));
}

static void server(SSL_CTX *context) {
  int listener = listen_somewhere();
  SSL_CTX_set_max_send_fragment(context, 512);
  SSL_CTX_set_session_ticket_cb(context, on_ticket, on_return, NULL);
  for (int count = 1;; count++) {
    int fd = accept(listener, NULL, NULL);
    SSL *ssl = SSL_new(context);
    SSL_set_fd(ssl, fd);
    if (SSL_accept(ssl) != 1)
      exit(1);
    if (count == 1)
      cut_ticket(ssl, fd);
    else
      upgrade(ssl);
    for (size_t n; get_frame(ssl, &n) != 8;) {
      unsigned char head[4] = {0x81, 126, (unsigned char)(n >> 8),
                               (unsigned char)n};
      if (n < 126) {
        head[1] = (unsigned char)n;
        SSL_write(ssl, head, 2);
      } else {
        SSL_write(ssl, head, 4);
      }
      SSL_write(ssl, buffer, (int)n);
    }
    SSL_write(ssl, "\x88\0", 2);
    SSL_shutdown(ssl);
    close(fd);
  }
}

/* ---- client: records by hand, with the keys of RFC 8446 7.1 to 7.3 ---- */

static unsigned char secret[32];

static void on_key(const SSL *ssl, const char *line) {
  (void)ssl;
  if (strncmp(line, "CLIENT_TRAFFIC_SECRET_0 ", 24) != 0)
    return;
  line += 24 + 65;
  for (int i = 0; i < 32; i++)
    sscanf(line + 2L * i, "%2hhx", &secret[i]);
}

static void expand(const char *label, unsigned char *to, unsigned char n) {
  unsigned char info[40] = {0, n}, out[32];
  unsigned size = (unsigned)snprintf((char *)info + 3, 30, "tls13 %s", label);
  info[2] = (unsigned char)size;
  info[size + 4] = 1; /* behind an empty context */
  HMAC(EVP_sha256(), secret, 32, info, size + 5, out, NULL);
  memcpy(to, out, n);
}

/* A record of AES_128_GCM_SHA256: its size. */
static size_t record(unsigned char *to, unsigned char number, int type,
                     const char *p, size_t n) {
  unsigned char key[16], iv[12], text[100];
  int size;
  expand("key", key, 16);
  expand("iv", iv, 12);
  iv[11] ^= number;
  memcpy(text, p, n);
  text[n] = (unsigned char)type;
  memcpy(to, "\27\3\3\0", 4);
  to[4] = (unsigned char)(n + 17);
  EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
  EVP_EncryptInit_ex(c, EVP_aes_128_gcm(), NULL, key, iv);
  EVP_EncryptUpdate(c, NULL, &size, to, 5);
  EVP_EncryptUpdate(c, to + 5, &size, text, (int)n + 1);
  EVP_EncryptFinal_ex(c, to + 6 + n, &size);
  EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, 16, to + 6 + n);
  EVP_CIPHER_CTX_free(c);
  return n + 22;
}

static void client(const char *port) {
  static const char request[] =
      "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
      "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
      "Sec-WebSocket-Version: 13\r\n\r\n";
  unsigned char wire[500];
  size_t n;
  int fd = connect_to(port);
  SSL_CTX *context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_keylog_callback(context, on_key);
  SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256");
  SSL *ssl = SSL_new(context);
  SSL_set_fd(ssl, fd);
  if (SSL_connect(ssl) != 1 || SSL_write(ssl, request, sizeof request - 1) <= 0)
    exit(1);
  get_head(ssl);
  n = record(wire, 1, 23, "\x81\x83\0\0\0\0cut", 9);
  n += record(wire + n, 2, 22, "\x18\0\0\1", 4); /* KeyUpdate of one byte: */
  put(fd, wire, n);
  await_signal();
  n = record(wire, 3, 22, "\0", 1); /* update_not_requested */
  expand("traffic upd", secret, 32);
  n += record(wire + n, 0, 23, "\x81\x88\0\0\0\0new keys", 14);
  put(fd, wire, n);
  while (get_frame(ssl, &n) == 1)
    printf("got %zu\n", n);
}

int main(int argc, char **argv) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigprocmask(SIG_BLOCK, &set, NULL);
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (argc == 3)
    server(identity(argv[1], argv[2]));
  else if (argc == 2)
    client(argv[1]);
  return 0;
}
