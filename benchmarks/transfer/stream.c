#define _GNU_SOURCE
#include "stream.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { WRITE_AT_ONCE = 1 << 20 }; /* SSL_write takes an int, and cuts into records by itself */

void die(const char *what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  exit(1);
}

uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

ssize_t stream_read(struct stream *stream, void *into, size_t size) {
  if (!stream->tls) return recv(stream->fd, into, size, 0);
  int got = SSL_read(stream->tls, into, (int)(size < WRITE_AT_ONCE ? size : WRITE_AT_ONCE));
  if (got > 0) return got;
  return SSL_get_error(stream->tls, got) == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

ssize_t stream_read_full(struct stream *stream, void *into, size_t size) {
  size_t got = 0;
  while (got < size) {
    ssize_t more = stream_read(stream, (char *)into + got, size - got);
    if (more < 0) return -1;
    if (more == 0) break;
    got += (size_t)more;
  }
  return (ssize_t)got;
}

int stream_write(struct stream *stream, const void *from, size_t size) {
  for (size_t sent = 0; sent < size;) {
    const char *next = (const char *)from + sent;
    size_t left = size - sent;
    ssize_t more = stream->tls
                       ? SSL_write(stream->tls, next, (int)(left < WRITE_AT_ONCE ? left : WRITE_AT_ONCE))
                       : send(stream->fd, next, left, MSG_NOSIGNAL);
    if (more <= 0) return 0;
    sent += (size_t)more;
  }
  return 1;
}

int stream_send_file(struct stream *stream, int file, const char *map, off_t offset, size_t size) {
  if (stream->tls) return stream_write(stream, map + offset, size);
  while (size > 0) {
    ssize_t sent = sendfile(stream->fd, file, &offset, size);
    if (sent <= 0) return 0;
    size -= (size_t)sent;
  }
  return 1;
}

void stream_close(struct stream *stream) {
  if (stream->tls) SSL_free(stream->tls);
  close(stream->fd);
}

size_t read_head(struct stream *stream, char *buffer, size_t capacity, size_t *held) {
  for (;;) {
    buffer[*held] = 0;
    const char *end = strstr(buffer, "\r\n\r\n");
    if (end) return (size_t)(end - buffer) + 4;
    if (*held + 1 >= capacity) return 0;
    ssize_t more = stream_read(stream, buffer + *held, capacity - 1 - *held);
    if (more <= 0) return 0;
    *held += (size_t)more;
  }
}

const char *header_value(const char *head, const char *name) {
  size_t length = strlen(name);
  for (const char *line = strstr(head, "\r\n"); line; line = strstr(line, "\r\n")) {
    line += 2;
    if (strncmp(line, "\r\n", 2) == 0) return NULL;
    if (strncasecmp(line, name, length) == 0 && line[length] == ':')
      return line + length + 1 + strspn(line + length + 1, " ");
  }
  return NULL;
}
