/*
 * What watching costs before and after any event: opening an empty one, arming N files, updating them, removing them
 * one by one, and closing with N armed; in nanoseconds a file (opening: as it is). And the memory of an armed file, in
 * bytes: the kernel's, and the contestant's own.
 */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum step { OPEN, ARM, UPDATE, REMOVE, CLOSE, STEPS };
static const char *const names[STEPS] = {"open", "arm", "update", "remove", "close"};

static double started;

static void start(void) {
    started = now();
}

static double elapsed(void) {
    return now() - started;
}

/* Of all the machine, so others that run show too: what is in use of its slabs, in bytes; only root may read that. For
   others the pages of slabs, which also hold what was freed. */
static double kernel_memory(void) {
    char line[256];
    unsigned long objects, size, kilobytes = 0;
    double bytes = 0;
    FILE *file = fopen("/proc/slabinfo", "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "%*s %lu %*u %lu", &objects, &size) == 2)
            bytes += (double)objects * (double)size;
    if (!file) {
        file = fopen("/proc/meminfo", "r");
        check(file ? 0 : -1, "/proc/meminfo");
        while (fgets(line, sizeof line, file) && sscanf(line, "SUnreclaim: %lu", &kilobytes) != 1)
            ;
        bytes = (double)kilobytes * 1024;
    }
    fclose(file);
    return bytes;
}

/* The kernel frees what was closed when no processor may look at it any more, and the rest of a ring after that. */
static void let_the_kernel_free(void) {
    const struct timespec while_it_does = {.tv_nsec = 100000000};
    nanosleep(&while_it_does, NULL);
}

static void open_and_arm(struct poller *self, unsigned count, double times[]) {
    start();
    check(self->open(self), self->name);
    times[OPEN] = elapsed();
    start();
    self->arm(self, count);
    times[ARM] = elapsed() / count;
}

/* Returns what closing took. */
static double end(struct poller *self, unsigned count) {
    start();
    self->close(self);
    double each = elapsed() / count;
    if (self->forget)
        self->forget(self, count);
    return each;
}

/* Twice: once up to the removal of all, once up to the end with all of them armed. */
static void run_round(struct poller *self, unsigned count, double times[]) {
    open_and_arm(self, count, times);
    start();
    if (self->update)
        self->update(self, count);
    times[UPDATE] = self->update ? elapsed() / count : 0;
    start();
    if (self->remove)
        self->remove(self, count);
    times[REMOVE] = self->remove ? elapsed() / count : 0;
    end(self, count);
    open_and_arm(self, count, times);
    times[CLOSE] = end(self, count);
}

static void time_steps(struct poller *pollers, unsigned count, unsigned rounds) {
    enum { MOST_POLLERS = 16 };
    double(*times)[MOST_POLLERS][STEPS] = calloc(rounds, sizeof *times);
    check(times ? 0 : -1, "calloc");
    for (unsigned round = 0; round < rounds; round++)
        for (struct poller *self = pollers; self->name; self++)
            if (self->update || self->remove) /* else it arms nothing */
                run_round(self, count, times[round][self - pollers]);
    for (int step = 0; step < STEPS; step++) {
        for (struct poller *self = pollers; self->name; self++) {
            for (unsigned round = 0; round < rounds; round++)
                if (times[round][self - pollers][step] > 0 && !(step == CLOSE && self->closes_later))
                    add_sample(self, times[round][self - pollers][step]);
            print_figure(names[step], self, step == OPEN ? 0 : count, 0);
        }
    }
    free(times);
}

static void weigh(struct poller *pollers, unsigned count, unsigned rounds) {
    for (struct poller *self = pollers; self->name; self++) {
        uint64_t own = 0;
        for (unsigned round = 0; round < rounds; round++) {
            double times[STEPS];
            let_the_kernel_free();
            double before = kernel_memory();
            open_and_arm(self, count, times);
            double grown = kernel_memory() - before;
            add_sample(self, grown > 0 ? grown / count : 0);
            own = self->memory ? self->memory(self, count) : 0;
            end(self, count);
        }
        print_figure("memory-kernel", self, count, 0);
        if (own)
            printf("memory-own %s %u 0 %.1f\n", self->name, count, (double)own / count);
    }
}

int arm_main(int argument_count, char *arguments[]) {
    static int fds[MOST_FILES];
    unsigned count = (unsigned)atoi(arguments[0]), rounds = (unsigned)atoi(arguments[1]), limit = file_limit();
    struct poller *pollers = pollers_chosen(argument_count - 2, arguments + 2);
    if (count + 20 > limit) {
        fprintf(stderr, "bench: %u files of %u: ulimit -n allows %u\n", limit - 20, count, limit);
        count = limit - 20;
    }
    pin_to_core(0);
    open_files(fds, count);
    for (struct poller *self = pollers; self->name; self++) {
        self->fds = fds;
        make_samples(self, rounds);
    }
    time_steps(pollers, count, rounds);
    weigh(pollers, count, rounds);
    return 0;
}
