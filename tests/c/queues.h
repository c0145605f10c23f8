/*
 * The queues of pollring's ring, mapped a second time from its fd: what somebody who has the fd can see and do, and
 * where a test can leave there what the kernel leaves once in a million times.
 */
#ifndef QUEUES_H
#define QUEUES_H

#include "variants.h"

#include <liburing.h>

static inline int fd_of_the_ring(void) {
    char path[32], target[64];
    for (int fd = 255; fd > 2; fd--) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(path, target, sizeof target - 1);
        target[length > 0 ? length : 0] = '\0';
        if (!strcmp(target, "anon_inode:[io_uring]"))
            return fd;
    }
    return -1;
}

/* Maps the queues of the only ring. Where things are in them depends on their sizes alone, so another ring tells.
   0, -errno. */
static inline int map_queues(const struct pollring *ring, struct io_uring *queues) {
    struct pollring_stats stats = stats_of(ring);
    struct io_uring_params params = {.flags = IORING_SETUP_CQSIZE, .cq_entries = stats.cq_entries};
    struct io_uring twin;
    int fd = fd_of_the_ring(), error = io_uring_queue_init_params(stats.entries, &twin, &params);
    if (error)
        return error;
    error = io_uring_queue_mmap(fd, &params, queues);
    io_uring_queue_exit(&twin);
    if (!error) {
        queues->sq.sqe_head = queues->sq.sqe_tail = *queues->sq.ktail;
        queues->ring_fd = queues->enter_ring_fd = fd; /* newer liburings leave that to who maps */
    }
    return error;
}

static inline void unmap_queues(struct io_uring *queues) {
    munmap(queues->sq.sqes, *queues->sq.kring_entries * sizeof(struct io_uring_sqe));
    if (queues->cq.ring_ptr != queues->sq.ring_ptr)
        munmap(queues->cq.ring_ptr, queues->cq.ring_sz);
    munmap(queues->sq.ring_ptr, queues->sq.ring_sz);
}

#endif
