/*
 * How a poll's mask reaches the kernel. It is stored as two halves of 16 bits, the low one first, each in the machine's
 * order: where the 16 bits of old programs were. A big-endian machine has to swap them for that.
 *
 * The kernel is the functions below here, which the linker puts in the place of liburing's, so this runs where there is
 * no io_uring too: built for a big-endian machine, in an emulator of its processor (make check-portable). That a real
 * kernel reads it so is one of the kernel's rules (lab/).
 */
#include "variants.h"

#include <liburing.h>

enum { ENTRIES = 4, POLLED = 1000 };

static struct {
    struct io_uring_sqe requests[ENTRIES];
    struct io_uring_cqe completions[ENTRIES];
    unsigned sq_head, sq_tail, cq_head, cq_tail, flags, mask, entries;
    uint64_t polled; /* the user_data of the poll of POLLED */
    int seen;        /* requests that had a mask for it */
    uint32_t events; /* the last one */
} kernel = {.mask = ENTRIES - 1, .entries = ENTRIES};

int __wrap_io_uring_queue_init_params(unsigned entries, struct io_uring *ring, struct io_uring_params *params);
int __wrap_io_uring_queue_init_params(unsigned entries, struct io_uring *ring, struct io_uring_params *params) {
    (void)entries, (void)params;
    *ring = (struct io_uring){.ring_fd = -1,
                              .features = IORING_FEAT_POLL_32BITS | IORING_FEAT_RSRC_TAGS | IORING_FEAT_CQE_SKIP};
    ring->sq = (struct io_uring_sq){.khead = &kernel.sq_head,
                                    .ktail = &kernel.sq_tail,
                                    .kring_mask = &kernel.mask,
                                    .kring_entries = &kernel.entries,
                                    .kflags = &kernel.flags,
                                    .sqes = kernel.requests,
                                    .ring_mask = ENTRIES - 1,
                                    .ring_entries = ENTRIES};
    ring->cq = (struct io_uring_cq){.khead = &kernel.cq_head,
                                    .ktail = &kernel.cq_tail,
                                    .kring_mask = &kernel.mask,
                                    .kring_entries = &kernel.entries,
                                    .cqes = kernel.completions,
                                    .ring_mask = ENTRIES - 1,
                                    .ring_entries = ENTRIES};
    return 0;
}

void __wrap_io_uring_queue_exit(struct io_uring *ring);
void __wrap_io_uring_queue_exit(struct io_uring *ring) {
    (void)ring;
}

int __wrap_io_uring_register(unsigned fd, unsigned operation, const void *argument, unsigned count);
int __wrap_io_uring_register(unsigned fd, unsigned operation, const void *argument, unsigned count) {
    (void)fd, (void)argument, (void)count;
    return operation == IORING_UNREGISTER_EVENTFD ? -ENXIO : 0; /* none is registered */
}

int __wrap_io_uring_enter(unsigned fd, unsigned submit, unsigned wait_for, unsigned flags, sigset_t *set);
int __wrap_io_uring_enter(unsigned fd, unsigned submit, unsigned wait_for, unsigned flags, sigset_t *set) {
    (void)fd, (void)submit, (void)wait_for, (void)flags, (void)set;
    return -EBADFD; /* it isn't enabled yet */
}

static uint32_t mask_in(const struct io_uring_sqe *request) {
    uint16_t halves[2];
    memcpy(halves, &request->poll32_events, sizeof halves);
    assert_int_equal(halves[0], request->poll_events);
    return halves[0] | (uint32_t)halves[1] << 16;
}

static void take(const struct io_uring_sqe *request) {
    bool adds = request->opcode == IORING_OP_POLL_ADD && request->fd == POLLED;
    if (adds)
        kernel.polled = request->user_data;
    if (adds || (request->opcode == IORING_OP_POLL_REMOVE && request->addr == kernel.polled)) {
        kernel.events = mask_in(request);
        kernel.seen++;
    }
}

int __wrap_io_uring_enter2(unsigned fd, unsigned submit, unsigned wait_for, unsigned flags, sigset_t *set, size_t size);
int __wrap_io_uring_enter2(unsigned fd, unsigned submit, unsigned wait_for, unsigned flags, sigset_t *set,
                           size_t size) {
    (void)fd, (void)wait_for, (void)flags, (void)set, (void)size;
    for (unsigned i = 0; i < submit; i++)
        take(&kernel.requests[kernel.sq_head++ & kernel.mask]);
    return (int)submit;
}

static const uint32_t masks[] = {
    POLLIN, POLLIN | POLLRDHUP, POLLOUT | POLLPRI | POLLRDNORM | POLLRDBAND | POLLWRNORM | POLLWRBAND,
    POLLIN | EPOLLEXCLUSIVE, /* bit 28: in the other half */
};

static void assert_kernel_has(uint32_t events, int seen) {
    assert_int_equal(kernel.seen, seen);
    assert_int_equal(kernel.events & events, events);
    assert_int_equal(kernel.events & ~events & ~(uint32_t)(POLLERR | POLLHUP), 0); /* reported unasked */
}

static void a_mask_is_stored_by_halves(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT_OF(masks); i++) {
        static const struct pollring_options options = {.entries = ENTRIES, .backend = POLLRING_IO_URING};
        struct pollring *ring;
        struct pollring_poll *poll;
        kernel.sq_head = kernel.sq_tail = 0;
        kernel.seen = 0;
        assert_int_equal(pollring_open(&ring, &options), 0);
        assert_int_equal(pollring_poll_add(ring, &poll, POLLED, masks[i], 0, NULL), 0);
        assert_int_equal(pollring_submit(ring), 0);
        assert_kernel_has(masks[i], 1);
        assert_int_equal(pollring_poll_update(poll, POLLOUT | POLLRDHUP), 0);
        assert_int_equal(pollring_submit(ring), 0);
        assert_kernel_has(POLLOUT | POLLRDHUP | (masks[i] & EPOLLEXCLUSIVE), 2); /* which an update keeps */
        pollring_close(ring);
        pollring_poll_free(poll);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_mask_is_stored_by_halves)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
