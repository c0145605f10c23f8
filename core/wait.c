/*
 * Sleeping until a completion comes: for how long, whether it spins first, and what a signal does to it.
 */
#include "internal.h"

#include "deadline.h"

#include <errno.h>
#include <signal.h>

/* Whether an enter would collect something that memory doesn't show. */
static bool peek(const struct pollring *ring) {
    return ring->backend->peek && ring->backend->peek(ring);
}

bool pollring_pending(const struct pollring *ring) {
    return has_work(ring) || peek(ring);
}

static bool is_time(struct timespec deadline) {
    struct timespec left = time_until(deadline);
    return !left.tv_sec && !left.tv_nsec;
}

static bool is_over(const struct patience *patience) {
    return patience->begun && is_time(patience->deadline);
}

/* What is left of it; NULL: for ever. */
static const struct timespec *time_left(struct patience *patience, struct timespec *left) {
    if (!patience->timeout)
        return NULL;
    *left = patience->begun ? time_until(patience->deadline) : *patience->timeout;
    if (!patience->begun)
        patience->deadline = deadline_of(*patience->timeout);
    patience->begun = true;
    return left;
}

sigset_t signals_hold(void) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    return before;
}

void signals_restore(const sigset_t *before) {
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

bool signal_waits(const sigset_t *before) {
    sigset_t waiting;
    sigpending(&waiting);
    for (int number = 1; number < NSIG; number++)
        if (sigismember(&waiting, number) == 1 && !sigismember(before, number))
            return true;
    return false;
}

/* What a processor wants to be told in a loop that waits for memory: it answers sooner then. */
static inline void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Spins for as long as the ring's user asked for, up to the timeout or a signal. Whether there is something to collect.
 */
static bool spin(const struct pollring *ring, const struct patience *patience, const sigset_t *before) {
    const unsigned signals_every = 256, clock_every = ring->backend->peek ? 1 : 16; /* a peek takes a system call */
    struct timespec end = deadline_of((struct timespec){.tv_sec = (time_t)(ring->busy_poll_us / 1000000),
                                                        .tv_nsec = (long)(ring->busy_poll_us % 1000000) * 1000});
    for (unsigned turn = 1;; turn++) {
        if (is_collectable(ring) || peek(ring))
            return true;
        relax();
        if (turn % clock_every == 0 && (is_time(end) || is_over(patience)))
            return false;
        if (turn % signals_every == 0 && signal_waits(before))
            return false;
    }
}

/* Signals are held back while it spins, and let through by the sleep itself. Else one that comes in the spin would be
   served, and the sleep begin all the same, although its handler may have meant to end it. */
static int spin_and_sleep(struct pollring *ring, struct patience *patience) {
    sigset_t before = signals_hold();
    struct timespec left;
    bool there = spin(ring, patience, &before);
    ring->sleep_signals = there ? NULL : &before;
    int error = ring->backend->enter(ring, there ? 0 : 1, time_left(patience, &left));
    ring->sleep_signals = NULL;
    signals_restore(&before);
    return error;
}

int wait_for_completion(struct pollring *ring, struct patience *patience) {
    struct timespec left;
    const struct timespec *limit = time_left(patience, &left);
    if (limit && !left.tv_sec && !left.tv_nsec)
        return -ETIME;
    if (ring->interrupted)
        return -EINTR;
    atomic_store_explicit(&ring->inside, true, memory_order_relaxed);
    int error = ring->busy_poll_us && !ring->unsubmitted ? spin_and_sleep(ring, patience)
                                                         : ring->backend->enter(ring, 1, limit);
    atomic_store_explicit(&ring->inside, false, memory_order_relaxed);
    /* A sleep that submitted before says -EINTR for both. */
    return error == -EINTR && is_over(patience) ? -ETIME : error;
}
