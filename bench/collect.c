/*
 * Collecting: each round makes K of N eventfds ready for every contestant in turn, times the collection alone, and
 * reads the eventfds again outside the time. The figure is nanoseconds an event, less what reading the clock costs.
 */
#include "bench.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static double clock_cost;

static void measure_clock(void) {
    clock_cost = 1e9;
    for (int i = 0; i < 1000; i++) {
        double start = now(), cost = now() - start;
        clock_cost = cost < clock_cost ? cost : clock_cost;
    }
}

static void make_ready(const struct poller *self, unsigned count, unsigned ready, unsigned round, bool write_it) {
    for (unsigned k = 0; k < ready; k++) {
        uint64_t value = 1;
        int fd = self->fds[(round + k * 7) % count];
        if ((write_it ? write(fd, &value, sizeof value) : read(fd, &value, sizeof value)) != sizeof value)
            check(-1, "eventfd");
    }
}

/* Not inlined: the profiles name it. More events than were made ready come of those that need a second look. */
__attribute__((noinline)) static void collect_all(struct poller *self, unsigned ready) {
    for (unsigned seen = 0; seen < ready;)
        seen += self->collect(self);
}

static void run_round(struct poller *self, unsigned count, unsigned ready, unsigned round) {
    make_ready(self, count, ready, round, true);
    double start = now();
    collect_all(self, ready);
    add_sample(self, (now() - start - clock_cost) / ready);
    make_ready(self, count, ready, round, false);
}

static void start(struct poller *self, unsigned count) {
    check(self->open(self), self->name);
    self->arm(self, count);
}

static void end(struct poller *self, unsigned count) {
    self->close(self);
    if (self->forget)
        self->forget(self, count);
}

/* All are open at once, each with files of its own, and take turns round by round. */
static void interleave_rounds(struct poller *pollers, unsigned count, unsigned ready, unsigned rounds) {
    for (struct poller *self = pollers; self->name; self++) {
        check((self->fds = malloc(count * sizeof *self->fds)) ? 0 : -1, "malloc");
        open_files(self->fds, count);
        start(self, count);
    }
    for (unsigned round = 0; round < rounds; round++)
        for (struct poller *self = pollers; self->name; self++)
            run_round(self, count, ready, round);
    for (struct poller *self = pollers; self->name; self++)
        end(self, count);
}

/* Where there are not so many files: they take turns with the same ones, some rounds each. */
static void interleave_blocks(struct poller *pollers, unsigned count, unsigned ready, unsigned rounds) {
    static int fds[MOST_FILES];
    enum { BLOCKS = 8 };
    open_files(fds, count);
    for (unsigned block = 0; block < BLOCKS; block++) {
        for (struct poller *self = pollers; self->name; self++) {
            self->fds = fds;
            start(self, count);
            for (unsigned round = 0; round < rounds / BLOCKS; round++)
                run_round(self, count, ready, round);
            end(self, count);
        }
    }
}

int collect_main(int argument_count, char *arguments[]) {
    unsigned count = (unsigned)atoi(arguments[0]), ready = (unsigned)atoi(arguments[1]),
             rounds = (unsigned)atoi(arguments[2]), limit = file_limit(), contestants = 0;
    struct poller *pollers = pollers_chosen(argument_count - 3, arguments + 3);
    check(count && ready && ready <= count && count <= MOST_FILES ? 0 : -EINVAL, "N and K");
    check(count + 20 <= limit ? 0 : -EMFILE, "so many files");
    pin_to_core(0);
    measure_clock();
    for (struct poller *self = pollers; self->name; self++, contestants++)
        make_samples(self, rounds);
    if (contestants * (count + 10) < limit)
        interleave_rounds(pollers, count, ready, rounds);
    else
        interleave_blocks(pollers, count, ready, rounds);
    for (struct poller *self = pollers; self->name; self++)
        print_figure("c", self, count, ready);
    return 0;
}
