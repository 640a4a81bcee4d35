/* The limit: what a client costs that does nothing but move the bytes.

   limit up|down HOST PORT FILE SIZE PART THREADS [CERTIFICATE]

   A thread per connection, which takes the next part when it is done with the last. Up: sendfile,
   or OpenSSL from the mapped file. Down: into FILE, which gets its blocks as they are written. It
   says when it was done (CLOCK_MONOTONIC, ns). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "stream.h"

enum { HEAD = 16 * 1024, PIECE = 256 * 1024, MOST_THREADS = 64 };

static struct {
  int up, file;
  const char *host, *map;
  struct sockaddr_in at;
  uint64_t size, part;
  SSL_CTX *tls;
} job;

static atomic_ullong next_part;

static struct stream connected(void) {
  struct stream stream = {.fd = socket(AF_INET, SOCK_STREAM, 0)};
  if (stream.fd < 0 || connect(stream.fd, (struct sockaddr *)&job.at, sizeof job.at)) die("connect");
  setsockopt(stream.fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
  if (!job.tls) return stream;
  stream.tls = SSL_new(job.tls);
  SSL_set_fd(stream.tls, stream.fd);
  SSL_set1_host(stream.tls, job.host);
  SSL_set_tlsext_host_name(stream.tls, job.host);
  if (SSL_connect(stream.tls) != 1) die("TLS");
  return stream;
}

/* Send a request's head and read its answer's; bytes of the body that came along are *held. */
static char *asked(struct stream *stream, const char *request, char *buffer, size_t *held) {
  *held = 0;
  size_t size = read_head(stream, buffer, HEAD, held);
  if (size == 0 || strncmp(buffer, "HTTP/1.1 20", 11)) die(request);
  *held -= size;
  return buffer + size;
}

static void send_part(struct stream *stream, uint64_t index, uint64_t offset, uint64_t size) {
  char request[512], buffer[HEAD];
  size_t held;
  int length = snprintf(request, sizeof request,
                        "PUT /bucket/object?partNumber=%llu HTTP/1.1\r\nHost: %s\r\n"
                        "Content-Length: %llu\r\n\r\n",
                        (unsigned long long)index, job.host, (unsigned long long)size);
  if (!stream_write(stream, request, (size_t)length) ||
      !stream_send_file(stream, job.file, job.map, (off_t)offset, (size_t)size))
    die("send");
  asked(stream, "PUT", buffer, &held);
}

static void fetch_part(struct stream *stream, uint64_t offset, uint64_t size, char *piece) {
  char request[512], buffer[HEAD];
  size_t held;
  int length = snprintf(request, sizeof request,
                        "GET /bucket/object HTTP/1.1\r\nHost: %s\r\nRange: bytes=%llu-%llu\r\n\r\n",
                        job.host, (unsigned long long)offset, (unsigned long long)(offset + size - 1));
  if (!stream_write(stream, request, (size_t)length)) die("send");
  const char *body = asked(stream, "GET", buffer, &held);
  memcpy(piece, body, held);
  for (uint64_t done = 0; done < size;) {
    size_t wanted = size - done < PIECE ? (size_t)(size - done) : PIECE;
    ssize_t more = held < wanted ? stream_read_full(stream, piece + held, wanted - held) : 0;
    if (more < 0 || held + (size_t)more != wanted) die("receive");
    if (pwrite(job.file, piece, wanted, (off_t)(offset + done)) != (ssize_t)wanted) die("write");
    done += wanted;
    held = 0;
  }
}

static void *work(void *unused) {
  (void)unused;
  struct stream stream = connected();
  char *piece = malloc(PIECE);
  if (!piece) die("malloc");
  for (;;) {
    uint64_t index = atomic_fetch_add(&next_part, 1), offset = index * job.part;
    if (offset >= job.size) break;
    uint64_t size = job.size - offset < job.part ? job.size - offset : job.part;
    if (job.up)
      send_part(&stream, index + 1, offset, size);
    else
      fetch_part(&stream, offset, size, piece);
  }
  free(piece);
  stream_close(&stream);
  return NULL;
}

static void configure(int count, char **arguments) {
  if (count < 8) die("usage: limit up|down HOST PORT FILE SIZE PART THREADS [CERTIFICATE]");
  job.up = !strcmp(arguments[1], "up");
  job.host = arguments[2];
  job.at.sin_family = AF_INET;
  job.at.sin_port = htons((uint16_t)atoi(arguments[3]));
  job.at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  job.size = strtoull(arguments[5], NULL, 10);
  job.part = strtoull(arguments[6], NULL, 10);
  job.file = open(arguments[4], job.up ? O_RDONLY : O_RDWR | O_CREAT, 0600);
  if (job.file < 0) die(arguments[4]);
  if (!job.up && ftruncate(job.file, (off_t)job.size)) die("ftruncate");
  if (!arguments[8]) return;
  job.map = mmap(NULL, job.size, PROT_READ, MAP_SHARED, job.file, 0);
  if (job.map == MAP_FAILED) die("mmap");
  job.tls = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_verify(job.tls, SSL_VERIFY_PEER, NULL);
  if (SSL_CTX_load_verify_file(job.tls, arguments[8]) != 1) die(arguments[8]);
}

int main(int count, char **arguments) {
  signal(SIGPIPE, SIG_IGN);
  configure(count, arguments);
  pthread_t threads[MOST_THREADS];
  int width = atoi(arguments[7]);
  if (width < 1 || width > MOST_THREADS) die("threads");
  for (int i = 0; i < width; i++)
    if (pthread_create(&threads[i], NULL, work, NULL)) die("pthread_create");
  for (int i = 0; i < width; i++) pthread_join(threads[i], NULL);
  if (!job.up && fsync(job.file)) die("fsync");
  printf("{\"ended_ns\": %llu}\n", (unsigned long long)now_ns());
}
