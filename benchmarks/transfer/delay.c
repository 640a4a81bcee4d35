/* A proxy that passes bytes on later.

   delay PORT MILLISECONDS
     PORT          of the store, on loopback
     MILLISECONDS  a round trip: half of it each way

   It prints its own port, and ends when its input does. A thread per direction takes bytes in and
   notes when they are due, another passes them on then. Connecting itself is not delayed. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* What is on its way is at most this: far more than the delay times what loopback carries. */
enum { CHUNK = 256 * 1024, CHUNKS = 256 };

static struct sockaddr_in store = {.sin_family = AF_INET};
static uint64_t delay_ns;

struct chunk {
  uint64_t due_ns;
  ssize_t size; /* 0: the end */
  char *bytes;
};

struct way { /* a ring between two threads */
  int from, to;
  size_t head, tail;
  pthread_mutex_t lock;
  pthread_cond_t moved;
  struct chunk ring[CHUNKS];
};

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static struct chunk *next_free(struct way *way) {
  pthread_mutex_lock(&way->lock);
  while (way->head - way->tail == CHUNKS) pthread_cond_wait(&way->moved, &way->lock);
  pthread_mutex_unlock(&way->lock);
  struct chunk *chunk = &way->ring[way->head % CHUNKS];
  if (!chunk->bytes) chunk->bytes = malloc(CHUNK);
  if (!chunk->bytes) exit(1);
  return chunk;
}

static void step(struct way *way, size_t *end) {
  pthread_mutex_lock(&way->lock);
  ++*end;
  pthread_cond_broadcast(&way->moved);
  pthread_mutex_unlock(&way->lock);
}

static void *take(void *given) {
  struct way *way = given;
  ssize_t size;
  do {
    struct chunk *chunk = next_free(way);
    size = recv(way->from, chunk->bytes, CHUNK, 0);
    chunk->size = size > 0 ? size : 0;
    chunk->due_ns = now_ns() + delay_ns;
    step(way, &way->head);
  } while (size > 0);
  return NULL;
}

static void *give(void *given) {
  struct way *way = given;
  for (int open = 1;;) {
    pthread_mutex_lock(&way->lock);
    while (way->head == way->tail) pthread_cond_wait(&way->moved, &way->lock);
    pthread_mutex_unlock(&way->lock);
    struct chunk *chunk = &way->ring[way->tail % CHUNKS];
    struct timespec due = {(time_t)(chunk->due_ns / 1000000000u), (long)(chunk->due_ns % 1000000000u)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
    if (chunk->size == 0) break;
    for (ssize_t sent = 0; open && sent < chunk->size;) {
      ssize_t more = send(way->to, chunk->bytes + sent, (size_t)(chunk->size - sent), MSG_NOSIGNAL);
      open = more > 0;
      sent += more;
    }
    step(way, &way->tail);
  }
  shutdown(way->to, SHUT_WR);
  return NULL;
}

/* Carry one direction; the caller is the thread that gives. */
static void *carry(void *given) {
  struct way *way = given;
  pthread_t taker;
  if (pthread_create(&taker, NULL, take, way)) exit(1);
  give(way);
  pthread_join(taker, NULL);
  for (size_t i = 0; i < CHUNKS; i++) free(way->ring[i].bytes);
  return NULL;
}

static struct way *way_between(int from, int to) {
  struct way *way = calloc(1, sizeof *way);
  if (!way) exit(1);
  way->from = from;
  way->to = to;
  pthread_mutex_init(&way->lock, NULL);
  pthread_cond_init(&way->moved, NULL);
  return way;
}

static void *visit(void *given) {
  int client = (int)(intptr_t)given, server = socket(AF_INET, SOCK_STREAM, 0);
  setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
  setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
  if (connect(server, (struct sockaddr *)&store, sizeof store) == 0) {
    struct way *there = way_between(client, server), *back = way_between(server, client);
    pthread_t other;
    if (pthread_create(&other, NULL, carry, back)) exit(1);
    carry(there);
    pthread_join(other, NULL);
    free(there);
    free(back);
  }
  close(client);
  close(server);
  return NULL;
}

static void *end_with_input(void *unused) {
  (void)unused;
  while (getchar() != EOF) continue;
  exit(0);
}

int main(int count, char **arguments) {
  if (count != 3) return 2;
  signal(SIGPIPE, SIG_IGN);
  store.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  store.sin_port = htons((uint16_t)atoi(arguments[1]));
  delay_ns = strtoull(arguments[2], NULL, 10) * 1000000u / 2;
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = store.sin_addr};
  socklen_t length = sizeof at;
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(listener, (struct sockaddr *)&at, length) || listen(listener, SOMAXCONN) ||
      getsockname(listener, (struct sockaddr *)&at, &length))
    return 1;
  printf("%d\n", ntohs(at.sin_port));
  fflush(stdout);
  pthread_t thread;
  if (pthread_create(&thread, NULL, end_with_input, NULL)) return 1;
  for (;;) {
    int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (client < 0) return 1;
    if (pthread_create(&thread, NULL, visit, (void *)(intptr_t)client)) return 1;
    pthread_detach(thread);
  }
}
