/*
 * What the C benchmarks share: the contestants, and how figures are taken.
 *
 * A contestant ("poller") watches eventfds for POLLIN through one interface; the workloads in collect.c, arm.c and
 * wakeup.c run all of them in turn. A figure goes out as a line "WORKLOAD NAME N K MINIMUM MEDIAN", which run.py reads.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stdint.h>

enum { MOST_FILES = 20000 };

struct poller {
    const char *name;
    unsigned flags;               /* of pollring's options */
    unsigned busy_poll_us;        /* likewise */
    uint32_t bits;                /* to ask for beside POLLIN: EPOLLET, EPOLLEXCLUSIVE */
    int (*open)(struct poller *); /* an empty one: 0 or -errno */
    void (*arm)(struct poller *, unsigned count);
    unsigned (*collect)(struct poller *); /* sleeps for events; how many came, which may be not all */
    void (*update)(struct poller *,
                   unsigned count); /* all of them, to ask for POLLPRI too; NULL: it has no such thing */
    void (*remove)(struct poller *, unsigned count); /* one by one; NULL */
    void (*close)(struct poller *);                  /* as it stands, with all that is armed */
    void (*forget)(struct poller *, unsigned count); /* after close: frees what its user held; NULL: nothing */
    uint64_t (*memory)(const struct poller *, unsigned count); /* bytes of its own for all of them; NULL: not known */
    bool closes_later;                                         /* close returns before the files are released */
    int *fds;
    double *samples; /* nanoseconds */
    unsigned sample_count;
    struct poller_state *state;
};

/* The pollers, or of them those with these names; ends with one that has no name. */
struct poller *pollers_chosen(int count, char *const names[]);
struct poller another(const struct poller *); /* with a state and samples of its own, such as for another thread */

double now(void);                          /* nanoseconds */
void check(int result, const char *what);  /* exits with a message where result is a negative errno */
void open_files(int *fds, unsigned count); /* eventfds */
void close_files(const int *fds, unsigned count);
unsigned file_limit(void); /* how many may be open, raised as far as that goes */
void make_samples(struct poller *, unsigned most);
void add_sample(struct poller *, double nanoseconds);
double percentile(struct poller *, unsigned percent);
void print_figure(const char *workload, struct poller *, unsigned count, unsigned ready); /* and forgets the samples */
void pin_to_core(int core); /* of those that are allowed, the first, or the second; does nothing where there is none */

int collect_main(int count, char *arguments[]);
int cold_main(int count, char *arguments[]);
int arm_main(int count, char *arguments[]);
int wakeup_main(int count, char *arguments[]);
int accept_main(int count, char *arguments[]);

#endif
