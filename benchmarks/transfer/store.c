/* The sink and source that all clients are measured against.

   store BLOCK SIZE [key=value]...
     BLOCK  a file; the one object of this store is its bytes, over and over
     SIZE   bytes of the object
     cert=FILE  certificate, key and chain: speak TLS
     md5=1      answer a PUT with the MD5 of what came, not with a constant
     fail=N     break every Nth bulk request in its middle, or answer it with 503, in turn

   It prints its port. For each line on stdin it prints, in one line, when the first connection
   since the last such line came (CLOCK_MONOTONIC, ns), the bytes taken and given, and how many
   requests there were and how many of those failed. It ends when stdin does.

   A PUT is swallowed, whatever its target. A GET or HEAD answers with the object, or a range. Of S3
   there is what the SDKs need for a multipart upload, and a list with one entry. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stream.h"

enum { HEAD = 64 * 1024, PIECE = 1 << 20, BULK = 1 << 16 };

#define ETAG "\"0123456789abcdef0123456789abcdef\""
#define MODIFIED "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
#define XML "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"

static struct {
  int block;
  const char *map;
  uint64_t block_size, size;
  SSL_CTX *tls;
  int md5;
  uint64_t fail;
} store;

static atomic_ullong first_ns, bytes_in, bytes_out, requests, bulk_requests, failures;

struct visitor { /* one connection, and what was read of it ahead */
  struct stream stream;
  char *buffer; /* HEAD bytes */
  size_t held;
  char *piece; /* PIECE bytes */
};

struct range {
  uint64_t first, end; /* end is just after the last byte */
  int asked;
};

static int answer(struct visitor *visitor, const char *status, const char *headers,
                  const char *body, int with_body) {
  char text[4096];
  int length = snprintf(text, sizeof text, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n%s\r\n%s", status,
                        strlen(body), headers, with_body ? body : "");
  return stream_write(&visitor->stream, text, (size_t)length);
}

/* Whether this bulk request is one that shall fail; the number tells in which way. */
static uint64_t failing(uint64_t size) {
  if (!store.fail || size < BULK) return 0;
  uint64_t number = atomic_fetch_add(&bulk_requests, 1) + 1;
  if (number % store.fail != store.fail / 2) return 0; /* in the middle: it shall not be the last */
  return atomic_fetch_add(&failures, 1) + 1;
}

/* Swallow a body. Whether all of it came. */
static int swallow(struct visitor *visitor, uint64_t size, EVP_MD_CTX *md5) {
  while (size > 0) {
    size_t wanted = size < PIECE ? (size_t)size : PIECE;
    const char *from = visitor->buffer;
    ssize_t got = (ssize_t)(visitor->held < wanted ? visitor->held : wanted);
    if (got > 0) {
      visitor->held -= (size_t)got;
    } else {
      from = visitor->piece;
      got = stream_read(&visitor->stream, visitor->piece, wanted);
      if (got <= 0) return 0;
    }
    if (md5) EVP_DigestUpdate(md5, from, (size_t)got);
    if (from == visitor->buffer) memmove(visitor->buffer, from + got, visitor->held);
    atomic_fetch_add(&bytes_in, (unsigned long long)got);
    size -= (uint64_t)got;
  }
  return 1;
}

static int put(struct visitor *visitor, uint64_t size, int expects) {
  static const char proceed[] = "HTTP/1.1 100 Continue\r\n\r\n";
  if (expects && !stream_write(&visitor->stream, proceed, sizeof proceed - 1)) return 0;
  uint64_t failure = failing(size);
  if (failure % 2) { /* gone in mid-body */
    swallow(visitor, size / 2, NULL);
    return 0;
  }
  EVP_MD_CTX *md5 = store.md5 ? EVP_MD_CTX_new() : NULL;
  if (md5) EVP_DigestInit_ex(md5, EVP_md5(), NULL);
  int whole = swallow(visitor, size, md5);
  char etag[128] = "ETag: " ETAG "\r\n";
  if (md5) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    EVP_DigestFinal_ex(md5, digest, NULL);
    for (int i = 0; i < 16; i++) sprintf(etag + 7 + 2 * i, "%02x", digest[i]);
    strcpy(etag + 7 + 32, "\"\r\n");
    EVP_MD_CTX_free(md5);
  }
  if (!whole) return 0;
  if (failure) return answer(visitor, "503 Service Unavailable", "", "", 1);
  return answer(visitor, "200 OK", etag, "", 1);
}

static struct range range_of(const char *head) {
  struct range range = {0, store.size, 0};
  const char *value = header_value(head, "range");
  if (!value || strncmp(value, "bytes=", 6)) return range;
  char *rest;
  range.asked = 1;
  range.first = strtoull(value + 6, &rest, 10);
  if (*rest == '-' && rest[1] >= '0' && rest[1] <= '9') range.end = strtoull(rest + 1, NULL, 10) + 1;
  if (range.end > store.size) range.end = store.size;
  return range;
}

static int get(struct visitor *visitor, const char *head, int with_body) {
  struct range range = range_of(head);
  if (range.asked && range.first >= range.end)
    return answer(visitor, "416 Range Not Satisfiable", "", "", 1);
  uint64_t failure = with_body ? failing(range.end - range.first) : 0;
  if (failure && failure % 2 == 0) return answer(visitor, "503 Service Unavailable", "", "", 1);
  char text[1024], content_range[128] = "";
  if (range.asked)
    snprintf(content_range, sizeof content_range, "Content-Range: bytes %llu-%llu/%llu\r\n",
             (unsigned long long)range.first, (unsigned long long)range.end - 1,
             (unsigned long long)store.size);
  int length = snprintf(text, sizeof text,
                        "HTTP/1.1 %s\r\nContent-Length: %llu\r\n%s" MODIFIED
                        "Content-Type: application/octet-stream\r\nAccept-Ranges: bytes\r\n"
                        "ETag: " ETAG "\r\n\r\n",
                        range.asked ? "206 Partial Content" : "200 OK",
                        (unsigned long long)(range.end - range.first), content_range);
  if (!stream_write(&visitor->stream, text, (size_t)length)) return 0;
  if (!with_body) return 1;
  uint64_t end = failure ? range.first + (range.end - range.first) / 2 : range.end;
  for (uint64_t at = range.first; at < end;) {
    uint64_t offset = at % store.block_size, left = store.block_size - offset;
    if (left > end - at) left = end - at;
    if (!stream_send_file(&visitor->stream, store.block, store.map, (off_t)offset, (size_t)left))
      return 0;
    atomic_fetch_add(&bytes_out, left);
    at += left;
  }
  return !failure;
}

/* The S3 calls around the parts. */
static int post(struct visitor *visitor, const char *target, uint64_t size) {
  if (!swallow(visitor, size, NULL)) return 0;
  const char *body = strstr(target, "uploadId=")
                         ? XML "<CompleteMultipartUploadResult><Bucket>bucket</Bucket><Key>object"
                               "</Key><ETag>" ETAG "</ETag></CompleteMultipartUploadResult>"
                         : XML "<InitiateMultipartUploadResult><Bucket>bucket</Bucket><Key>object"
                               "</Key><UploadId>upload</UploadId></InitiateMultipartUploadResult>";
  return answer(visitor, "200 OK", "Content-Type: application/xml\r\n", body, 1);
}

static int list(struct visitor *visitor) {
  char body[1024];
  snprintf(body, sizeof body,
           XML "<ListBucketResult><Name>bucket</Name><Prefix></Prefix><KeyCount>1</KeyCount>"
               "<MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated><Contents><Key>object</Key>"
               "<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>" ETAG "</ETag>"
               "<Size>%llu</Size><StorageClass>STANDARD</StorageClass></Contents>"
               "</ListBucketResult>",
           (unsigned long long)store.size);
  return answer(visitor, "200 OK", "Content-Type: application/xml\r\n", body, 1);
}

/* Whether the path has only one segment: the bucket. */
static int is_bucket(const char *target) {
  size_t path = strcspn(target, "? ");
  const char *slash = memchr(target + 1, '/', path - 1);
  return !slash || slash + 1 == target + path;
}

static int dispatch(struct visitor *visitor, const char *head) {
  const char *length = header_value(head, "content-length");
  uint64_t size = length ? strtoull(length, NULL, 10) : 0;
  const char *target = strchr(head, ' ') + 1;
  atomic_fetch_add(&requests, 1);
  if (!strncmp(head, "PUT ", 4)) return put(visitor, size, header_value(head, "expect") != NULL);
  if (!strncmp(head, "POST ", 5)) return post(visitor, target, size);
  if (!strncmp(head, "GET ", 4)) return is_bucket(target) ? list(visitor) : get(visitor, head, 1);
  if (!strncmp(head, "HEAD ", 5)) return is_bucket(target) ? answer(visitor, "200 OK", "", "", 0)
                                                           : get(visitor, head, 0);
  return swallow(visitor, size, NULL) && answer(visitor, "204 No Content", "", "", 0);
}

static void *serve(void *given) {
  struct visitor *visitor = given;
  char *head = malloc(HEAD);
  visitor->buffer = malloc(HEAD);
  visitor->piece = malloc(PIECE);
  if (!head || !visitor->buffer || !visitor->piece) die("malloc");
  int open = !store.tls || SSL_accept(visitor->stream.tls) == 1;
  while (open) {
    size_t size = read_head(&visitor->stream, visitor->buffer, HEAD, &visitor->held);
    if (size == 0) break;
    memcpy(head, visitor->buffer, size);
    head[size] = 0;
    visitor->held -= size;
    memmove(visitor->buffer, visitor->buffer + size, visitor->held);
    open = dispatch(visitor, head);
  }
  stream_close(&visitor->stream);
  free(head);
  free(visitor->buffer);
  free(visitor->piece);
  free(visitor);
  return NULL;
}

static void *report(void *unused) {
  (void)unused;
  char line[16];
  while (fgets(line, sizeof line, stdin)) {
    printf("%llu %llu %llu %llu %llu\n", atomic_exchange(&first_ns, 0),
           atomic_exchange(&bytes_in, 0), atomic_exchange(&bytes_out, 0),
           atomic_exchange(&requests, 0), atomic_exchange(&failures, 0));
    fflush(stdout);
  }
  exit(0);
}

static void configure(int count, char **arguments) {
  if (count < 3) die("usage: store BLOCK SIZE [key=value]...");
  struct stat block;
  store.block = open(arguments[1], O_RDONLY);
  if (store.block < 0 || fstat(store.block, &block)) die(arguments[1]);
  store.block_size = (uint64_t)block.st_size;
  store.map = mmap(NULL, store.block_size, PROT_READ, MAP_SHARED | MAP_POPULATE, store.block, 0);
  if (store.map == MAP_FAILED) die("mmap");
  store.size = strtoull(arguments[2], NULL, 10);
  for (char **option = arguments + 3; *option; option++) {
    if (!strncmp(*option, "fail=", 5)) store.fail = strtoull(*option + 5, NULL, 10);
    if (!strcmp(*option, "md5=1")) store.md5 = 1;
    if (strncmp(*option, "cert=", 5)) continue;
    store.tls = SSL_CTX_new(TLS_server_method());
    if (SSL_CTX_use_certificate_chain_file(store.tls, *option + 5) != 1 ||
        SSL_CTX_use_PrivateKey_file(store.tls, *option + 5, SSL_FILETYPE_PEM) != 1)
      die(*option);
  }
}

static int listening(void) {
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof at;
  if (fd < 0 || bind(fd, (struct sockaddr *)&at, length) || listen(fd, SOMAXCONN) ||
      getsockname(fd, (struct sockaddr *)&at, &length))
    die("listen");
  printf("%d\n", ntohs(at.sin_port));
  fflush(stdout);
  return fd;
}

static void welcome(int fd) {
  struct visitor *visitor = calloc(1, sizeof *visitor);
  pthread_t thread;
  if (!visitor) die("calloc");
  unsigned long long none = 0;
  atomic_compare_exchange_strong(&first_ns, &none, now_ns());
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
  visitor->stream.fd = fd;
  if (store.tls) {
    visitor->stream.tls = SSL_new(store.tls);
    SSL_set_fd(visitor->stream.tls, fd);
  }
  if (pthread_create(&thread, NULL, serve, visitor)) die("pthread_create");
  pthread_detach(thread);
}

int main(int count, char **arguments) {
  signal(SIGPIPE, SIG_IGN);
  configure(count, arguments);
  int listener = listening();
  pthread_t reporter;
  if (pthread_create(&reporter, NULL, report, NULL)) die("pthread_create");
  for (;;) {
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) die("accept");
    welcome(fd);
  }
}
