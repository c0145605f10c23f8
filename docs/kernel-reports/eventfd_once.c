/*
 * io_uring: an eventfd that is registered with a DEFER_TASKRUN ring is signalled for one event of a poll, and for no
 * later one, although each is collected. cc eventfd_once.c -luring; exit status 1 where it is so.
 */
#include <liburing.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { EVENTS = 5, WAIT_MS = 1000, GRACE_MS = 200 };

static bool is_signalled(int fd, int timeout_ms) {
    uint64_t count;
    struct pollfd watched = {.fd = fd, .events = POLLIN};
    return poll(&watched, 1, timeout_ms) == 1 && read(fd, &count, sizeof(count)) == sizeof(count);
}

/* Returns how many of the events signalled the eventfd. */
static int count_signals(int reader, int writer) {
    struct io_uring ring;
    struct io_uring_cqe *cqe;
    uint64_t word = 1;
    int signalled = eventfd(0, EFD_NONBLOCK), signals = 0;
    if (io_uring_queue_init(8, &ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN) < 0)
        return -1;
    io_uring_register_eventfd(&ring, signalled);
    io_uring_prep_poll_multishot(io_uring_get_sqe(&ring), reader, POLLIN);
    io_uring_submit(&ring);
    for (int i = 0; i < EVENTS; i++) {
        if (write(writer, &word, sizeof(word)) != sizeof(word))
            return -1;
        signals += is_signalled(signalled, WAIT_MS);
        io_uring_wait_cqe(&ring, &cqe); /* the event is always there */
        io_uring_cqe_seen(&ring, cqe);
        if (read(reader, &word, sizeof(word)) != sizeof(word))
            return -1;
        while (is_signalled(signalled, GRACE_MS)) /* posting the CQE may signal too */
            ;
    }
    io_uring_queue_exit(&ring);
    close(signalled);
    return signals;
}

int main(void) {
    int ends[2], watched = eventfd(0, 0);
    if (pipe(ends))
        return 2;
    int of_pipe = count_signals(ends[0], ends[1]), of_eventfd = count_signals(watched, watched);
    printf("of %d events of a pipe %d were signalled, of %d of an eventfd %d\n", EVENTS, of_pipe, EVENTS, of_eventfd);
    return of_pipe != EVENTS || of_eventfd != EVENTS;
}
