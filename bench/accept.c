/*
 * Accepting in several processes, each with a ring (or an epoll) of its own: on one listening socket, where every
 * connection wakes all of them or (EPOLLEXCLUSIVE) one, and on a socket for each (SO_REUSEPORT). Figures: nanoseconds a
 * connection, wake-ups that found none in 100 connections, and the share in percent of the worker that got most.
 */
#define _GNU_SOURCE
#include "bench.h"

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_WORKERS = 64, BURST = 16 };

struct tally {
    _Atomic unsigned accepted, wasted;
};

static const struct way {
    const char *name;
    uint32_t bits;
    bool own_socket;
} ways[] = {{"all", 0, false}, {"exclusive", EPOLLEXCLUSIVE, false}, {"reuseport", 0, true}};

static int listen_on(struct sockaddr_in *address, bool shared) {
    socklen_t length = sizeof *address;
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    check(fd, "socket");
    if (shared)
        check(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one), "SO_REUSEPORT");
    check(bind(fd, (struct sockaddr *)address, length), "bind");
    check(listen(fd, 1024), "listen");
    check(getsockname(fd, (struct sockaddr *)address, &length), "getsockname");
    return fd;
}

static _Noreturn void work(struct poller *self, int listener, struct tally *tally) {
    self->fds = &listener;
    check(self->open(self), self->name);
    self->arm(self, 1);
    for (;;) {
        unsigned accepted = 0;
        self->collect(self);
        for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0; accepted++)
            close(fd);
        tally->accepted += accepted;
        tally->wasted += !accepted;
    }
}

static unsigned accepted_by_all(const struct tally *tallies, unsigned workers) {
    unsigned sum = 0;
    for (unsigned i = 0; i < workers; i++)
        sum += tallies[i].accepted;
    return sum;
}

static void connect_all(const struct sockaddr_in *address, unsigned connections, const struct tally *tallies,
                        unsigned workers) {
    int fds[BURST];
    for (unsigned made = 0; made < connections; made += BURST) {
        for (unsigned i = 0; i < BURST; i++) {
            check(fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
            check(connect(fds[i], (const struct sockaddr *)address, sizeof *address), "connect");
        }
        while (accepted_by_all(tallies, workers) < made + BURST)
            usleep(20);
        close_files(fds, BURST);
    }
}

static void run(struct poller *self, const struct way *way, unsigned workers, unsigned connections) {
    struct tally *tallies =
        mmap(NULL, sizeof *tallies * MOST_WORKERS, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int listeners[MOST_WORKERS];
    pid_t children[MOST_WORKERS];
    check(tallies == MAP_FAILED ? -1 : 0, "mmap");
    self->bits = way->bits;
    for (unsigned i = 0; i < workers; i++)
        listeners[i] = i && !way->own_socket ? listeners[0] : listen_on(&address, way->own_socket);
    for (unsigned i = 0; i < workers; i++) {
        check(children[i] = fork(), "fork");
        if (!children[i])
            work(self, listeners[i], &tallies[i]);
    }
    usleep(100000);
    double start = now();
    connect_all(&address, connections, tallies, workers);
    double each = (now() - start) / connections;
    unsigned wasted = 0, most = 0;
    for (unsigned i = 0; i < workers; i++) {
        kill(children[i], SIGKILL);
        waitpid(children[i], NULL, 0);
        wasted += tallies[i].wasted;
        most = tallies[i].accepted > most ? tallies[i].accepted : most;
    }
    printf("accept %s-%s %u %u %.1f\n", self->name, way->name, connections, workers, each);
    printf("accept-wasted %s-%s %u %u %.1f\n", self->name, way->name, connections, workers,
           100.0 * wasted / connections);
    printf("accept-most %s-%s %u %u %.1f\n", self->name, way->name, connections, workers, 100.0 * most / connections);
    for (unsigned i = 0; i < (way->own_socket ? workers : 1); i++)
        close(listeners[i]);
    munmap(tallies, sizeof *tallies * MOST_WORKERS);
}

int accept_main(int argument_count, char *arguments[]) {
    static char *names[] = {"pollring", "epoll"};
    unsigned workers = (unsigned)atoi(arguments[0]), connections = (unsigned)atoi(arguments[1]) / BURST * BURST;
    struct poller *pollers = pollers_chosen(2, names);
    check(argument_count == 2 && workers && workers <= MOST_WORKERS && connections ? 0 : -EINVAL, "accept");
    for (unsigned way = 0; way < sizeof ways / sizeof *ways; way++)
        for (struct poller *self = pollers; self->name; self++)
            run(self, &ways[way], workers, connections);
    return 0;
}
