/*
 * One wake-up: two processes on two cores pass a message to and fro over eventfds; each waits for it with the
 * contestant. The figure is nanoseconds a round trip, and how long 99 of 100 take at most.
 */
#include "bench.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCKS = 10, WARM_UP = 50 };

static const double MOST_NANOSECONDS = 4e8; /* a block */

static void send_to(int fd) {
    uint64_t one = 1;
    check(write(fd, &one, sizeof one) == sizeof one ? 0 : -1, "write");
}

static void receive(struct poller *self) {
    uint64_t value;
    do
        self->collect(self);
    while (read(self->fds[0], &value, sizeof value) < 0); /* a wake-up can come for what was read already */
}

static void start(struct poller *self, int *fd) {
    self->fds = fd;
    check(self->open(self), self->name);
    self->arm(self, 1);
}

static _Noreturn void echo(struct poller *self, int fds[2]) {
    pin_to_core(1);
    start(self, &fds[0]);
    for (;;) {
        receive(self);
        send_to(fds[1]);
    }
}

static void run_block(struct poller *self, unsigned rounds) {
    int fds[2];
    open_files(fds, 2);
    pid_t child = fork();
    check(child, "fork");
    if (!child)
        echo(self, fds);
    start(self, &fds[1]);
    double end = now() + MOST_NANOSECONDS;
    for (unsigned i = 0; i < rounds + WARM_UP && now() < end; i++) {
        double sent = now();
        send_to(fds[0]);
        receive(self);
        if (i >= WARM_UP)
            add_sample(self, now() - sent);
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    self->close(self);
    if (self->forget)
        self->forget(self, 1);
    close_files(fds, 2);
}

int wakeup_main(int argument_count, char *arguments[]) {
    unsigned rounds = (unsigned)atoi(arguments[0]) / BLOCKS;
    struct poller *pollers = pollers_chosen(argument_count - 1, arguments + 1);
    check(sysconf(_SC_NPROCESSORS_ONLN) > 1 ? 0 : -EINVAL, "a wake-up takes two cores");
    pin_to_core(0);
    for (struct poller *self = pollers; self->name; self++)
        make_samples(self, rounds * BLOCKS);
    for (unsigned block = 0; block < BLOCKS; block++)
        for (struct poller *self = pollers; self->name; self++)
            run_block(self, rounds);
    for (struct poller *self = pollers; self->name; self++) {
        if (self->sample_count)
            printf("wakeup-99 %s 1 1 %.1f\n", self->name, percentile(self, 99));
        print_figure("wakeup", self, 1, 1);
    }
    return 0;
}
