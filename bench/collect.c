/*
 * Collecting: each round makes K of a contestant's N eventfds ready, times the collection alone, and reads the eventfds
 * again outside the time. The contestants take turns of 20 rounds, or ("cold") of one, between which the others drive
 * each one's data out of the caches. The figure is nanoseconds an event, less what reading the clock costs.
 */
#include "bench.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* The least so far: asked before and after, as a machine has slow spells. */
static double clock_cost(void) {
    static double least = 1e9;
    for (int i = 0; i < 5000; i++) {
        double start = now(), cost = now() - start;
        least = cost < least ? cost : least;
    }
    return least;
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
    add_sample(self, now() - start);
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

static void run_turn(struct poller *self, unsigned count, unsigned ready, unsigned from, unsigned to) {
    for (unsigned round = from; round < to; round++)
        run_round(self, count, ready, round);
}

/* All are open at once, each with files of its own. */
static void take_turns(struct poller *pollers, unsigned count, unsigned ready, unsigned rounds, unsigned turn) {
    for (struct poller *self = pollers; self->name; self++) {
        check((self->fds = malloc(count * sizeof *self->fds)) ? 0 : -1, "malloc");
        open_files(self->fds, count);
        start(self, count);
    }
    for (unsigned round = 0; round < rounds; round += turn)
        for (struct poller *self = pollers; self->name; self++)
            run_turn(self, count, ready, round, round + turn < rounds ? round + turn : rounds);
    for (struct poller *self = pollers; self->name; self++)
        end(self, count);
}

/* Where there are not so many files: all have the same ones, and each is opened anew for its turn. */
static void share_files(struct poller *pollers, unsigned count, unsigned ready, unsigned rounds) {
    static int fds[MOST_FILES];
    enum { TURNS = 8 };
    open_files(fds, count);
    for (unsigned turn = 0; turn < TURNS; turn++) {
        for (struct poller *self = pollers; self->name; self++) {
            self->fds = fds;
            start(self, count);
            run_turn(self, count, ready, 0, rounds / TURNS);
            end(self, count);
        }
    }
}

static int measure(const char *workload, unsigned turn, int argument_count, char *arguments[]) {
    unsigned count = (unsigned)atoi(arguments[0]), ready = (unsigned)atoi(arguments[1]),
             rounds = (unsigned)atoi(arguments[2]), limit = file_limit(), contestants = 0;
    struct poller *pollers = pollers_chosen(argument_count - 3, arguments + 3);
    check(count && ready && ready <= count && count <= MOST_FILES ? 0 : -EINVAL, "N and K");
    check(count + 20 <= limit ? 0 : -EMFILE, "so many files");
    pin_to_core(0);
    clock_cost();
    for (struct poller *self = pollers; self->name; self++, contestants++)
        make_samples(self, rounds);
    if (contestants * (count + 10) < limit)
        take_turns(pollers, count, ready, rounds, turn);
    else
        share_files(pollers, count, ready, rounds);
    double clock = clock_cost();
    for (struct poller *self = pollers; self->name; self++) {
        for (unsigned i = 0; i < self->sample_count; i++)
            self->samples[i] = (self->samples[i] - clock) / ready;
        print_figure(workload, self, count, ready);
    }
    return 0;
}

int collect_main(int count, char *arguments[]) {
    return measure("c", 20, count, arguments);
}

int cold_main(int count, char *arguments[]) {
    return measure("c-cold", 1, count, arguments);
}
