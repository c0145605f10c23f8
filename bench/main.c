/*
 * The C benchmarks: one program, a workload each. Figures go to standard output as bench.h says.
 *
 * bench collect|cold N K ROUNDS [NAME ...]
 * bench arm N ROUNDS [NAME ...]
 * bench wakeup ROUNDS [NAME ...]
 * bench accept WORKERS CONNECTIONS
 */
#define _GNU_SOURCE
#include "bench.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

void check(int result, const char *what) {
    if (result >= 0)
        return;
    fprintf(stderr, "bench: %s: %s\n", what, strerror(result == -1 ? errno : -result));
    exit(1);
}

void open_files(int *fds, unsigned count) {
    for (unsigned i = 0; i < count; i++)
        check(fds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), "eventfd");
}

void close_files(const int *fds, unsigned count) {
    for (unsigned i = 0; i < count; i++)
        close(fds[i]);
}

unsigned file_limit(void) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    return (unsigned)files.rlim_max;
}

void make_samples(struct poller *poller, unsigned most) {
    poller->samples = calloc(most + 1, sizeof *poller->samples);
    check(poller->samples ? 0 : -1, "calloc");
}

void add_sample(struct poller *poller, double nanoseconds) {
    poller->samples[poller->sample_count++] = nanoseconds;
}

static int compare(const void *left, const void *right) {
    double difference = *(const double *)left - *(const double *)right;
    return (difference > 0) - (difference < 0);
}

double percentile(struct poller *poller, unsigned percent) {
    qsort(poller->samples, poller->sample_count, sizeof *poller->samples, compare);
    return poller->samples[(poller->sample_count - 1) * percent / 100];
}

void print_figure(const char *workload, struct poller *poller, unsigned count, unsigned ready) {
    if (poller->sample_count)
        printf("%s %s %u %u %.1f %.1f\n", workload, poller->name, count, ready, percentile(poller, 0),
               percentile(poller, 50));
    poller->sample_count = 0;
}

void pin_to_core(int core) {
    static cpu_set_t allowed; /* at the start */
    cpu_set_t chosen;
    CPU_ZERO(&chosen);
    if (!CPU_COUNT(&allowed))
        sched_getaffinity(0, sizeof allowed, &allowed);
    for (size_t cpu = 0; cpu < CPU_SETSIZE && !CPU_COUNT(&chosen); cpu++)
        if (CPU_ISSET(cpu, &allowed) && !core--)
            CPU_SET(cpu, &chosen);
    if (CPU_COUNT(&chosen))
        sched_setaffinity(0, sizeof chosen, &chosen);
}

int main(int count, char *arguments[]) {
    static const struct {
        const char *name;
        int (*main)(int count, char *arguments[]);
        int least; /* arguments */
    } workloads[] = {{"collect", collect_main, 3},
                     {"cold", cold_main, 3},
                     {"arm", arm_main, 2},
                     {"wakeup", wakeup_main, 1},
                     {"accept", accept_main, 2}};
    for (unsigned i = 0; i < sizeof workloads / sizeof *workloads; i++)
        if (count > 1 && !strcmp(arguments[1], workloads[i].name) && count - 2 >= workloads[i].least)
            return workloads[i].main(count - 2, arguments + 2);
    fputs(
        "usage: bench collect|cold N K ROUNDS [NAME ...] | arm N ROUNDS [NAME ...] | wakeup ROUNDS [NAME ...] |\n"
        "       accept WORKERS CONNECTIONS\n",
        stderr);
    return 2;
}
