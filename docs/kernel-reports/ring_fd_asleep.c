/*
 * io_uring: an event of a DEFER_TASKRUN ring's poll makes the ring's fd readable, but does not wake the ring's owner
 * who sleeps in epoll_wait() on it. cc ring_fd_asleep.c -luring; exit status 1 where it is so.
 */
#include <liburing.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 5, WAIT_MS = 1000 };

static double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

int main(void) {
    int ends[2], woken = 0, readable = 0, epoll = epoll_create1(0);
    double latest = 0;
    uint64_t word = 1;
    struct io_uring ring;
    struct io_uring_cqe *cqe;
    struct epoll_event event = {.events = EPOLLIN};
    if (pipe(ends) || io_uring_queue_init(8, &ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN) < 0)
        return 2;
    io_uring_prep_poll_multishot(io_uring_get_sqe(&ring), ends[0], POLLIN);
    io_uring_submit(&ring);
    epoll_ctl(epoll, EPOLL_CTL_ADD, ring.ring_fd, &event);
    for (int i = 0; i < EVENTS; i++) {
        if (fork() == 0) {
            usleep(100000);
            _exit(write(ends[1], &word, sizeof(word)) != sizeof(word));
        }
        double start = now_ms() + 100;
        if (epoll_wait(epoll, &event, 1, WAIT_MS) == 1) {
            woken++;
            latest = now_ms() - start > latest ? now_ms() - start : latest;
        }
        wait(NULL);
        readable += poll(&(struct pollfd){.fd = ring.ring_fd, .events = POLLIN}, 1, 0);
        io_uring_wait_cqe(&ring, &cqe);
        io_uring_cqe_seen(&ring, cqe);
        if (read(ends[0], &word, sizeof(word)) != sizeof(word))
            return 2;
    }
    printf("of %d events %d woke the sleeper, at most %.0f ms late; then the ring's fd was readable %d times\n", EVENTS,
           woken, latest, readable);
    return woken != EVENTS;
}
