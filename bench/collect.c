/*
 * What collecting an event costs in C: a plain liburing loop, pollring, epoll level-triggered and edge-triggered, side
 * by side. Each round makes K of N eventfds ready for every one of them in turn, times the collection alone, and reads
 * the eventfds again outside the time. Or what arming and removing nothing costs. Prints "c NAME N K NANOSECONDS" a
 * line, or "arm NAME N 0 NANOSECONDS": the minimum over the rounds.
 *
 * collect N K ROUNDS
 * collect arm N ROUNDS
 */
#include "pollring.h"

#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

enum { MOST = 20000 };

static uintptr_t sink; /* what a user would do with an event: look whose it is */

struct contestant {
    const char *name;
    void (*open)(struct contestant *, unsigned count);
    unsigned (*collect)(struct contestant *);
    void (*close)(struct contestant *);
    int fds[MOST];
    double best;
    struct io_uring uring;
    struct pollring *ring;
    struct pollring_poll *polls[MOST];
    int epoll;
};

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void check(int result, const char *what) {
    if (result < 0) {
        fprintf(stderr, "collect: %s: %s\n", what, strerror(-result));
        exit(1);
    }
}

/* ---- plain liburing, as its examples do it ---- */

static void uring_open(struct contestant *self, unsigned count) {
    struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                                              IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_CQSIZE,
                                     .cq_entries = 4096};
    check(io_uring_queue_init_params(256, &self->uring, &params), "io_uring_queue_init_params");
    for (unsigned i = 0; i < count; i++) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&self->uring);
        if (!sqe) {
            check(io_uring_submit(&self->uring), "io_uring_submit");
            sqe = io_uring_get_sqe(&self->uring);
        }
        io_uring_prep_poll_multishot(sqe, self->fds[i], POLLIN);
        sqe->user_data = i;
    }
    check(io_uring_submit(&self->uring), "io_uring_submit");
}

static unsigned uring_collect(struct contestant *self) {
    unsigned total = 0;
    do {
        struct io_uring_cqe *cqe;
        unsigned head, count = 0;
        check(io_uring_submit_and_wait(&self->uring, 1), "io_uring_submit_and_wait");
        io_uring_for_each_cqe(&self->uring, head, cqe) {
            sink += cqe->user_data + (unsigned)cqe->res + (cqe->flags & IORING_CQE_F_MORE);
            count++;
        }
        io_uring_cq_advance(&self->uring, count);
        total += count;
    } while (*self->uring.sq.kflags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW));
    return total;
}

static void uring_close(struct contestant *self) {
    io_uring_queue_exit(&self->uring);
}

/* ---- pollring ---- */

static void pollring_contestant_open(struct contestant *self, unsigned count) {
    struct pollring_options options = {.flags = strcmp(self->name, "pinned") ? 0 : POLLRING_PINNED};
    check(pollring_open(&self->ring, &options), "pollring_open");
    for (unsigned i = 0; i < count; i++)
        check(pollring_poll_add(self->ring, &self->polls[i], self->fds[i], POLLIN, 0, (void *)(uintptr_t)i),
              "pollring_poll_add");
    check(pollring_submit(self->ring), "pollring_submit");
}

static unsigned pollring_contestant_collect(struct contestant *self) {
    static struct pollring_event events[MOST];
    int count = pollring_wait(self->ring, events, MOST, NULL);
    check(count, "pollring_wait");
    for (int i = 0; i < count; i++)
        sink += (uintptr_t)events[i].owner + (unsigned)events[i].result + events[i].more;
    return (unsigned)count;
}

static void pollring_contestant_close(struct contestant *self) {
    pollring_close(self->ring);
    for (unsigned i = 0; i < MOST && self->polls[i]; i++) {
        pollring_poll_free(self->polls[i]);
        self->polls[i] = NULL;
    }
}

/* ---- epoll ---- */

static void epoll_open(struct contestant *self, unsigned count) {
    self->epoll = epoll_create1(EPOLL_CLOEXEC);
    for (unsigned i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = i};
        if (!strcmp(self->name, "epoll-edge"))
            event.events |= EPOLLET;
        check(epoll_ctl(self->epoll, EPOLL_CTL_ADD, self->fds[i], &event), "epoll_ctl");
    }
}

static unsigned epoll_collect(struct contestant *self) {
    static struct epoll_event events[MOST];
    int count = epoll_wait(self->epoll, events, MOST, -1);
    check(count, "epoll_wait");
    for (int i = 0; i < count; i++)
        sink += events[i].data.u64 + events[i].events;
    return (unsigned)count;
}

static void epoll_close(struct contestant *self) {
    close(self->epoll);
}

/* ---- the rounds ---- */

static struct contestant contestants[] = {
    {.name = "pollring",
     .open = pollring_contestant_open,
     .collect = pollring_contestant_collect,
     .close = pollring_contestant_close},
    {.name = "liburing", .open = uring_open, .collect = uring_collect, .close = uring_close},
    {.name = "pinned",
     .open = pollring_contestant_open,
     .collect = pollring_contestant_collect,
     .close = pollring_contestant_close},
    {.name = "epoll", .open = epoll_open, .collect = epoll_collect, .close = epoll_close},
    {.name = "epoll-edge", .open = epoll_open, .collect = epoll_collect, .close = epoll_close},
};
enum { CONTESTANTS = sizeof contestants / sizeof *contestants };

static void make_ready(struct contestant *self, unsigned count, unsigned ready, unsigned round, bool write_it) {
    for (unsigned k = 0; k < ready; k++) {
        uint64_t value = 1;
        int fd = self->fds[(round + k * 7) % count];
        if ((write_it ? write(fd, &value, sizeof value) : read(fd, &value, sizeof value)) != sizeof value)
            check(-1, "eventfd");
    }
}

/* As many as may be open; of a limit that is short for all contestants, the first ones take part. */
static unsigned file_limit(void) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    return (unsigned)files.rlim_max;
}

static void time_collection(unsigned count, unsigned ready, unsigned rounds) {
    unsigned taking_part = file_limit() / (count + 10) < CONTESTANTS ? file_limit() / (count + 10) : CONTESTANTS;
    for (unsigned i = 0; i < taking_part; i++) {
        struct contestant *self = &contestants[i];
        for (unsigned fd = 0; fd < count; fd++)
            check(self->fds[fd] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), "eventfd");
        self->open(self, count);
        self->best = 1e18;
    }
    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned i = 0; i < taking_part; i++) {
            struct contestant *self = &contestants[i];
            make_ready(self, count, ready, round, true);
            double start = now();
            unsigned collected = self->collect(self);
            double each = (now() - start) / ready;
            if (collected != ready)
                check(-1, "an event is missing");
            self->best = each < self->best ? each : self->best;
            make_ready(self, count, ready, round, false);
        }
    }
    for (unsigned i = 0; i < taking_part; i++) {
        struct contestant *self = &contestants[i];
        printf("c %s %u %u %.1f\n", self->name, count, ready, self->best);
        self->close(self);
        for (unsigned fd = 0; fd < count; fd++)
            close(self->fds[fd]);
    }
}

static void time_arming(unsigned count, unsigned rounds) {
    for (unsigned i = 0; i < CONTESTANTS; i++)
        contestants[i].best = 1e18;
    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned i = 0; i < CONTESTANTS; i++) {
            struct contestant *self = &contestants[i];
            for (unsigned fd = 0; fd < count; fd++)
                check(self->fds[fd] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), "eventfd");
            double start = now();
            self->open(self, count);
            double each = (now() - start) / count;
            self->best = each < self->best ? each : self->best;
            self->close(self);
            for (unsigned fd = 0; fd < count; fd++)
                close(self->fds[fd]);
        }
    }
    for (unsigned i = 0; i < CONTESTANTS; i++)
        printf("arm %s %u 0 %.1f\n", contestants[i].name, count, contestants[i].best);
}

int main(int argc, char **argv) {
    file_limit();
    if (argc != 4) {
        fprintf(stderr, "usage: collect N K ROUNDS | collect arm N ROUNDS\n");
        return 2;
    }
    if (!strcmp(argv[1], "arm"))
        time_arming((unsigned)atoi(argv[2]), (unsigned)atoi(argv[3]));
    else
        time_collection((unsigned)atoi(argv[1]), (unsigned)atoi(argv[2]), (unsigned)atoi(argv[3]));
    return (int)(sink & 0); /* so that nothing is optimised away */
}
