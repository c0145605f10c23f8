/*
 * io_uring: IORING_SQ_TASKRUN of a DEFER_TASKRUN ring stays set though no work is pending, and no enter clears it: a
 * loop until it is clear is one for ever. cc -pthread taskrun_stays.c -luring; exit status 1 where it is so.
 */
#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static atomic_long begun, done;
static int ends[2];

/* Writes once for each round. */
static void *make_events(void *argument) {
    long rounds = *(long *)argument;
    for (long round = 1; round <= rounds; round++) {
        while (atomic_load(&begun) < round)
            ;
        if (write(ends[1], "", 1) != 1)
            abort();
        atomic_store(&done, round); /* nothing of the event is under way any more */
    }
    return NULL;
}

static void enter(struct io_uring *ring) {
    io_uring_enter((unsigned)ring->ring_fd, 0, 0, IORING_ENTER_GETEVENTS, NULL);
}

int main(int count, char **arguments) {
    long rounds = count > 1 ? atol(arguments[1]) : 1000000, stayed = 0;
    struct io_uring ring;
    pthread_t thread;
    char byte;
    unsigned flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
    if (pipe(ends) || io_uring_queue_init(8, &ring, flags) < 0)
        return 2;
    io_uring_prep_poll_multishot(io_uring_get_sqe(&ring), ends[0], POLLIN);
    io_uring_submit(&ring);
    pthread_create(&thread, NULL, make_events, &rounds);
    for (long round = 1; round <= rounds; round++) {
        atomic_store(&begun, round);
        while (!io_uring_cq_ready(&ring))
            enter(&ring);
        io_uring_cq_advance(&ring, io_uring_cq_ready(&ring));
        while (atomic_load(&done) < round)
            ;
        for (int i = 0; i < 3; i++)
            enter(&ring);
        stayed += IO_URING_READ_ONCE(*ring.sq.kflags) & IORING_SQ_TASKRUN && !io_uring_cq_ready(&ring);
        if (read(ends[0], &byte, 1) != 1)
            return 2;
    }
    printf("of %ld events %ld left SQ_TASKRUN set, with nothing pending after three enters\n", rounds, stayed);
    return stayed != 0;
}
