/*
 * What is left of a timeout: for the core's waits, and those of the bindings, which go on after a signal. It knows
 * nothing of the library.
 */
#ifndef POLLRING_DEADLINE_H
#define POLLRING_DEADLINE_H

#include <time.h>

enum { NS_PER_SECOND = 1000000000 };

/* When a timeout that begins now will be over, on CLOCK_MONOTONIC. */
static inline struct timespec deadline_of(struct timespec timeout) {
    const time_t furthest = 1 << 30; /* 34 years: only so that the sum doesn't overflow */
    struct timespec deadline;
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += timeout.tv_sec < furthest ? timeout.tv_sec : furthest;
    deadline.tv_nsec += timeout.tv_nsec;
    if (deadline.tv_nsec >= NS_PER_SECOND) {
        deadline.tv_sec++;
        deadline.tv_nsec -= NS_PER_SECOND;
    }
    return deadline;
}

/* Zero, where it is over. */
static inline struct timespec time_until(struct timespec deadline) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    struct timespec left = {.tv_sec = deadline.tv_sec - now.tv_sec, .tv_nsec = deadline.tv_nsec - now.tv_nsec};
    if (left.tv_nsec < 0) {
        left.tv_sec--;
        left.tv_nsec += NS_PER_SECOND;
    }
    return left.tv_sec < 0 ? (struct timespec){.tv_sec = 0} : left;
}

#endif
