/* A connection, with TLS or without: the one thing that the store and the limit have in common. */
#ifndef STREAM_H
#define STREAM_H

#include <openssl/ssl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct stream {
  int fd;
  SSL *tls; /* NULL: plain */
};

/* One line on stderr, and exit status 1. */
_Noreturn void die(const char *what);

uint64_t now_ns(void); /* CLOCK_MONOTONIC, which all processes share */

/* At most size bytes; 0 at the end, -1 when the connection broke. */
ssize_t stream_read(struct stream *stream, void *into, size_t size);

/* As many bytes as there are, up to size: less only at the end. */
ssize_t stream_read_full(struct stream *stream, void *into, size_t size);

/* All of them; whether that went well. */
int stream_write(struct stream *stream, const void *from, size_t size);

/* A range of a file: sendfile where it is plain, from its mapping where it is encrypted. */
int stream_send_file(struct stream *stream, int file, const char *map, off_t offset, size_t size);

void stream_close(struct stream *stream);

/* Read a message's head up to and with its empty line, and end it with a NUL. *held is how many
   bytes are in the buffer, of which the head is the length that is returned, or 0. */
size_t read_head(struct stream *stream, char *buffer, size_t capacity, size_t *held);

/* The value of a header, or NULL. */
const char *header_value(const char *head, const char *name);

#endif
