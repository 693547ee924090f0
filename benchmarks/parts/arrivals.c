/* Asks a server at a fixed rate, evenly spaced, and tells when each request was due, asked and answered.
 *
 *     arrivals PORT RATE SECONDS CONNECTIONS CLOCK REQUEST TOLD
 *
 * CLOCK is in seconds: what is due between two of its ticks is asked at the second; 0 asks each when it is due.
 * REQUEST is a file with the bytes of one HTTP request; a rate of 0 asks again on each connection once it is answered.
 * TOLD gets three little-endian float64 an answer, in the order of the answers: seconds after the beginning. A request
 * is asked when it is due and a connection is free. Answers must come whole in one piece, which small ones do.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVENTS 256

struct told {
    double due, asked, answered;
};

static double begun;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9 - begun;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int connected(int port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int made = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    if (made < 0 || connect(made, (void *)&to, sizeof to))
        fail("connect");
    setsockopt(made, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    return made;
}

static size_t read_whole(const char *path, char *into, size_t most) {
    FILE *file = fopen(path, "rb");
    if (!file)
        fail(path);
    size_t length = fread(into, 1, most, file);
    fclose(file);
    return length;
}

static double tick(double due, double clock) { return clock ? ((long)(due / clock) + 1) * clock : due; }

/* Wait for answers until the next request is due, or for a second; to the nanosecond, where poll has milliseconds. */
static int awaited(int poll, struct epoll_event *events, double seconds) {
    if (seconds < 0)
        seconds = 0;
    struct timespec most = {(long)seconds, (long)((seconds - (long)seconds) * 1e9)};
    return epoll_pwait2(poll, events, EVENTS, &most, NULL);
}

int main(int count, char **given) {
    if (count != 8)
        return fprintf(stderr, "usage: arrivals PORT RATE SECONDS CONNECTIONS CLOCK REQUEST TOLD\n"), 2;
    double rate = atof(given[2]), seconds = atof(given[3]), clock = atof(given[5]);
    int connections = atoi(given[4]), free_ones = 0, poll = epoll_create1(0);
    static char request[1 << 16], answer[1 << 16];
    size_t length = read_whole(given[6], request, sizeof request);
    FILE *file = fopen(given[7], "wb");
    if (!file)
        fail(given[7]);
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0); /* a wait ends 50 us late by default */
    int *sockets = calloc(connections, sizeof *sockets), *idle = calloc(connections, sizeof *idle);
    struct told *asked = calloc(connections, sizeof *asked);
    for (int one = 0; one < connections; one++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = one};
        sockets[one] = connected(atoi(given[1]));
        epoll_ctl(poll, EPOLL_CTL_ADD, sockets[one], &event);
        idle[free_ones++] = one;
    }
    long issued = 0;
    struct epoll_event events[EVENTS];
    begun = now();
    for (;;) {
        double time = now();
        int over = time >= seconds;
        if (clock)
            time = (long)(time / clock) * clock;
        long wanted = rate ? (long)((over ? seconds : time) * rate) + (!over && !clock) : issued + (over ? 0 : free_ones);
        for (; free_ones && issued < wanted; issued++) {
            int one = idle[--free_ones];
            asked[one].asked = now();
            asked[one].due = rate ? tick(issued / rate, clock) : asked[one].asked;
            if (send(sockets[one], request, length, 0) != (ssize_t)length)
                fail("send");
        }
        if (over && issued >= wanted && free_ones == connections)
            break;
        int found = awaited(poll, events, free_ones && rate && !over ? tick(issued / rate, clock) - now() : 1.0);
        for (int at = 0; at < found; at++) {
            int one = events[at].data.u32;
            ssize_t got = recv(sockets[one], answer, sizeof answer, 0);
            asked[one].answered = now();
            if (got < 12 || memcmp(answer, "HTTP/1.1 200", 12))
                return fprintf(stderr, "answered: %.*s\n", got > 0 ? (int)got : 0, answer), 1;
            fwrite(&asked[one], sizeof asked[one], 1, file);
            idle[free_ones++] = one;
        }
    }
    return fclose(file) ? 1 : 0;
}
