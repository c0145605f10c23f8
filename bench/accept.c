/*
 * Accepting in several processes, and in several threads, each with a ring (or an epoll) of its own: on one listening
 * socket, where every connection wakes all of them or (EPOLLEXCLUSIVE) one, and on a socket for each (SO_REUSEPORT).
 * Figures, of turns that all take in rounds: nanoseconds a connection, wake-ups that found none in 100 connections,
 * and the share in percent of the worker that got most.
 */
#define _GNU_SOURCE
#include "bench.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_WORKERS = 64, BURST = 16, TURN = 25 * BURST, WAYS = 3, CONTESTANTS = 2 * 2 * WAYS };

/* Of one worker, in memory that processes share; no other's is on its cache line. */
struct tally {
    alignas(64) _Atomic unsigned accepted;
    _Atomic unsigned wasted;
    _Atomic bool ready;
};

struct worker {
    const struct poller *poller;
    struct tally *tally;
    int listener;
    pid_t process;
};

static const struct way {
    const char *name;
    uint32_t bits;
    bool own_socket;
} ways[WAYS] = {{"all", 0, false}, {"exclusive", EPOLLEXCLUSIVE, false}, {"reuseport", 0, true}};

struct contestant {
    struct poller poller;
    char name[40];
    bool threads, own_socket;
    unsigned wasted, most; /* connections of who got most, of all rounds */
};

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

static _Noreturn void *work(void *argument) {
    struct worker *worker = argument;
    struct poller self = another(worker->poller);
    self.fds = &worker->listener;
    check(self.open(&self), self.name);
    self.arm(&self, 1);
    worker->tally->ready = true;
    for (;;) {
        unsigned accepted = 0;
        self.collect(&self);
        for (int fd; (fd = accept4(worker->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0; accepted++)
            close(fd);
        worker->tally->accepted += accepted;
        worker->tally->wasted += !accepted;
    }
}

/* A process for each, or one process with a thread for each. */
static void start(struct worker *workers, unsigned count, bool threads) {
    for (unsigned i = 0; i < (threads ? 1 : count); i++) {
        check(workers[i].process = fork(), "fork");
        if (!workers[i].process) {
            pthread_t thread;
            for (unsigned other = 1; threads && other < count; other++)
                check(-pthread_create(&thread, NULL, work, &workers[other]), "pthread_create");
            work(&workers[i]);
        }
    }
    for (unsigned i = 0; i < count; i++)
        while (!workers[i].tally->ready)
            usleep(1000);
}

static unsigned accepted_by_all(const struct tally *tallies, unsigned workers) {
    unsigned sum = 0;
    for (unsigned i = 0; i < workers; i++)
        sum += tallies[i].accepted;
    return sum;
}

static void connect_all(const struct sockaddr_in *address, const struct tally *tallies, unsigned workers) {
    int fds[BURST];
    for (unsigned made = 0; made < TURN; made += BURST) {
        for (unsigned i = 0; i < BURST; i++) {
            check(fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
            check(connect(fds[i], (const struct sockaddr *)address, sizeof *address), "connect");
        }
        while (accepted_by_all(tallies, workers) < made + BURST)
            usleep(20);
        close_files(fds, BURST);
    }
}

static void run(struct contestant *self, unsigned count) {
    size_t size = sizeof(struct tally) * MOST_WORKERS;
    struct tally *tallies = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct worker workers[MOST_WORKERS] = {0};
    check(tallies == MAP_FAILED ? -1 : 0, "mmap");
    for (unsigned i = 0; i < count; i++) {
        int listener = i && !self->own_socket ? workers[0].listener : listen_on(&address, self->own_socket);
        workers[i] = (struct worker){.poller = &self->poller, .tally = &tallies[i], .listener = listener};
    }
    start(workers, count, self->threads);
    double begin = now();
    connect_all(&address, tallies, count);
    add_sample(&self->poller, (now() - begin) / (double)TURN);
    unsigned most = 0;
    for (unsigned i = 0; i < count; i++) {
        self->wasted += tallies[i].wasted;
        most = tallies[i].accepted > most ? tallies[i].accepted : most;
        if (workers[i].process) {
            kill(workers[i].process, SIGKILL);
            waitpid(workers[i].process, NULL, 0);
        }
    }
    self->most += most;
    for (unsigned i = 0; i < (self->own_socket ? count : 1); i++)
        close(workers[i].listener);
    munmap(tallies, size);
    usleep(30000); /* the kernel takes rings apart when their process has gone */
}

int accept_main(int argument_count, char *arguments[]) {
    static char *names[] = {"pollring", "epoll"};
    static struct contestant contestants[CONTESTANTS];
    unsigned workers = (unsigned)atoi(arguments[0]);
    unsigned rounds = (unsigned)atoi(arguments[1]) / TURN, all = rounds * TURN;
    struct poller *pollers = pollers_chosen(2, names);
    check(argument_count == 2 && workers && workers <= MOST_WORKERS && rounds ? 0 : -EINVAL, "accept");
    for (unsigned i = 0; i < CONTESTANTS; i++) {
        const struct way *way = &ways[i / 2 % WAYS];
        struct contestant *self = &contestants[i];
        self->poller = another(&pollers[i % 2]);
        self->poller.bits = way->bits;
        self->own_socket = way->own_socket;
        self->threads = i >= CONTESTANTS / 2;
        snprintf(self->name, sizeof self->name, "%s-%s%s", self->poller.name, way->name,
                 self->threads ? "-threads" : "");
        self->poller.name = self->name;
        make_samples(&self->poller, rounds);
    }
    for (unsigned round = 0; round < rounds; round++)
        for (unsigned i = 0; i < CONTESTANTS; i++)
            run(&contestants[i], workers);
    for (unsigned i = 0; i < CONTESTANTS; i++) {
        struct contestant *self = &contestants[i];
        print_figure("accept", &self->poller, all, workers);
        printf("accept-wasted %s %u %u %.1f\n", self->name, all, workers, 100.0 * self->wasted / all);
        printf("accept-most %s %u %u %.1f\n", self->name, all, workers, 100.0 * self->most / all);
    }
    return 0;
}
