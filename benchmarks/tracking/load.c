/* One thread that keeps N connections busy with one request each: load PORT CONNECTIONS SECONDS REQUEST-FILE [COUNT]
 *
 * The file holds a whole HTTP/1.1 request. Every `@@@@@@@@` in it is replaced by a number that is never used twice.
 * Ends after SECONDS, or after COUNT requests if given. Prints requests, errors (status not 200), seconds and the
 * median and 99th percentile of the times to answer in microseconds, as JSON. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MARK "@@@@@@@@"
#define MOST 1024
#define ROOM (1 << 20)

struct connection {
    int fd;
    char *request;
    size_t sent, got;
    double began;
    char *answer;
};

static char *template;
static size_t length, marks, *places;
static unsigned long counter = 10000000;
static struct connection connections[MOST];

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void ask(struct connection *c) {
    char digits[16];
    for (size_t i = 0; i < marks; i++) {
        snprintf(digits, sizeof digits, "%08lu", counter++);
        memcpy(c->request + places[i], digits, 8);
    }
    c->sent = c->got = 0;
    c->began = now();
}

static void push(struct connection *c) {
    while (c->sent < length) {
        ssize_t n = send(c->fd, c->request + c->sent, length - c->sent, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
        if (n <= 0) return;  /* what is received tells that the connection has ended */
        c->sent += n;
    }
}

/* Whether the whole answer is there: 1, or 0 if not yet, or -1 if the server has ended the connection. */
static int pull(struct connection *c) {
    for (;;) {
        ssize_t n = recv(c->fd, c->answer + c->got, ROOM - 1 - c->got, 0);
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return 0;
        if (n <= 0) return -1;
        c->got += n;
        c->answer[c->got] = 0;
        char *body = strstr(c->answer, "\r\n\r\n");
        if (!body) continue;
        char *size = strcasestr(c->answer, "content-length:");
        if (size && size < body) {
            if (c->got >= (size_t)(body + 4 - c->answer) + strtoul(size + 15, NULL, 10)) return 1;
        } else if (c->got >= 5 && !memcmp(c->answer + c->got - 5, "0\r\n\r\n", 5)) {
            return 1;
        }
    }
}

static int by_size(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    if (argc < 5) return 2;
    int port = atoi(argv[1]), many = atoi(argv[2]);
    double seconds = atof(argv[3]);
    size_t most = argc > 5 ? strtoul(argv[5], NULL, 10) : (size_t)-1, done = 0, errors = 0, held = 1 << 16;
    if (many < 1 || many > MOST) return 2;
    FILE *file = fopen(argv[4], "rb");
    if (!file) fail(argv[4]);
    fseek(file, 0, SEEK_END);
    length = ftell(file);
    rewind(file);
    template = calloc(1, length + 1);
    if (fread(template, 1, length, file) != length) fail("fread");
    places = calloc(length / 8 + 1, sizeof *places);
    for (char *p = template; (p = memmem(p, template + length - p, MARK, 8)); p += 8) places[marks++] = p - template;
    float *times = malloc(held * sizeof *times);
    int poll = epoll_create1(0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    double began = now(), end = began + seconds;
    for (int i = 0; i < many; i++) {
        struct connection *c = &connections[i];
        c->fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(c->fd, (struct sockaddr *)&to, sizeof to)) fail("connect");
        int yes = 1;
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        fcntl(c->fd, F_SETFL, O_NONBLOCK);
        c->request = malloc(length);
        memcpy(c->request, template, length);
        c->answer = malloc(ROOM);
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
        if (epoll_ctl(poll, EPOLL_CTL_ADD, c->fd, &event)) fail("epoll_ctl");
        ask(c);
        push(c);
    }
    struct epoll_event ready[64];
    int busy = many;
    size_t asked = many;
    while (busy) {
        int n = epoll_wait(poll, ready, 64, 60000);
        if (n <= 0) fail("epoll_wait");
        for (int i = 0; i < n; i++) {
            struct connection *c = ready[i].data.ptr;
            if (c->sent < length) push(c);
            if (!(ready[i].events & EPOLLIN)) continue;
            int whole = pull(c);
            if (whole < 0) {  /* a request without an answer; the others go on */
                done++, errors++, busy--;
                close(c->fd);
                times[done - 1] = (now() - c->began) * 1e6;
                continue;
            }
            if (!whole) continue;
            double at = now();
            if (done + 64 >= held) times = realloc(times, (held *= 2) * sizeof *times);
            times[done++] = (at - c->began) * 1e6;
            errors += memcmp(c->answer + 9, "200", 3) != 0;
            if (at >= end || asked >= most) {
                busy--;
                c->sent = length;
                continue;
            }
            asked++;
            ask(c);
            push(c);
        }
    }
    double took = now() - began;
    qsort(times, done, sizeof *times, by_size);
    printf("{\"requests\": %zu, \"errors\": %zu, \"seconds\": %.6f, \"p50_us\": %.1f, \"p99_us\": %.1f}\n", done, errors,
           took, times[done / 2], times[done * 99 / 100]);
    return 0;
}
