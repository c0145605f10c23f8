/*
 * Who owns what, and what happens when: each line of docs/lifetime.md that speaks of C and no other file has.
 */
#include "variants.h"

/* ---- file descriptors ---- */

static void *adopt(void *ring) {
    return thread_result(pollring_adopt(ring));
}

TEST(every_fd_closes_on_exec) {
    enum { FDS = 1024 };
    bool before[FDS];
    int fd = make_eventfd(), opened = 0;
    for (int other = 0; other < FDS; other++)
        before[other] = fcntl(other, F_GETFD) >= 0;
    struct pollring *ring = open_ring();
    assert_return_code(pollring_fileno(ring), 0);
    for (int i = 0; i < 3; i++)
        add(ring, fd, POLLIN);
    assert_silence(ring);
    if (!is_pinned()) { /* a new kernel ring in the place of the old one */
        assert_int_equal(in_thread(adopt, ring), 0);
        assert_int_equal(pollring_adopt(ring), 0);
    }
    for (int other = 0; other < FDS; other++) {
        int flags = fcntl(other, F_GETFD);
        if (before[other] || flags < 0)
            continue;
        opened++;
        assert_true(flags & FD_CLOEXEC);
    }
    assert_true(opened >= 2);
}

/* ---- closing in the middle ---- */

static void add_ready(struct pollring *ring, struct pollring_poll *polls[3]) {
    for (int i = 0; i < 3; i++)
        polls[i] = add(ring, make_ready_eventfd(), POLLIN);
}

TEST(a_ring_can_be_closed_between_two_takes) {
    struct pollring *ring = open_ring();
    struct pollring_inbox *inbox = pollring_inbox_open(ring);
    struct pollring_poll *polls[3], *of_inbox = add_to(inbox, make_ready_eventfd(), POLLIN);
    add_ready(ring, polls);
    struct pollring_event event;
    assert_int_equal(pollring_collect(ring, &guard_time), 0);
    assert_int_equal(pollring_take(ring, NULL, &event), 1);
    assert_int_equal(event.result, POLLIN);
    close_ring(ring);
    for (int i = 0; i < 3; i++) {
        assert_ended(polls[i], POLLRING_END_CLOSED);
        assert_next_says(polls[i], NULL, 0);
    }
    assert_ended(of_inbox, POLLRING_END_CLOSED);
    pollring_inbox_close(inbox);
}

TEST(a_ring_can_be_closed_in_a_loop_over_a_batch) {
    struct pollring *ring = open_ring();
    struct pollring_poll *polls[3];
    struct pollring_event events[3];
    add_ready(ring, polls);
    int count = pollring_wait(ring, events, 3, &guard_time);
    assert_true(count >= 1);
    for (int i = 0; i < count; i++) {
        if (i == 0)
            close_ring(ring);
        assert_false(pollring_poll_active(events[i].poll));
        assert_int_equal(pollring_poll_end_reason(events[i].poll), POLLRING_END_CLOSED);
    }
}

TEST(a_poll_that_is_removed_in_a_loop_over_a_batch_tells_so) {
    struct pollring *ring = open_ring();
    struct pollring_poll *polls[3];
    struct pollring_event events[3];
    add_ready(ring, polls);
    int count = pollring_wait(ring, events, 3, &guard_time);
    assert_true(count >= 1);
    for (int i = 0; i < count; i++) {
        assert_int_equal(pollring_poll_active(events[i].poll), i == 0);
        for (int other = 0; other < 3; other++)
            assert_int_equal(pollring_poll_remove(polls[other]), 0);
        assert_ended(events[i].poll, POLLRING_END_REMOVED);
    }
    for (int i = 0; i < 3; i++)
        assert_last_event(ring, polls[i], -ECANCELED);
    assert_silence(ring);
}

static void *close_it(void *ring) {
    pollring_close(ring);
    return NULL;
}

TEST(a_ring_can_be_closed_by_another_thread_while_its_owner_is_in_no_call) {
    if (is_pinned())
        skip_because("the thread holds the kernel's side of a pinned ring until it ends");
    struct pollring *ring;
    struct ends pair = make_socketpair();
    assert_int_equal(pollring_open(&ring, &test.variant->options), 0);
    struct pollring_poll *armed = arm(ring, pair.near, POLLIN);
    in_thread(close_it, ring);
    assert_ended(armed, POLLRING_END_CLOSED);
    close_fd(pair.near);
    struct pollfd peer = {.fd = pair.far, .events = POLLIN};
    while (poll(&peer, 1, GUARD_MS) < 0 && errno == EINTR)
        ;
    assert_true(peer.revents && reads_eof(pair.far));
}

int main(void) {
    static const struct test tests[] = {
        RUN(every_fd_closes_on_exec),
        RUN(a_ring_can_be_closed_between_two_takes),
        RUN(a_ring_can_be_closed_in_a_loop_over_a_batch),
        RUN(a_poll_that_is_removed_in_a_loop_over_a_batch_tells_so),
        RUN(a_ring_can_be_closed_by_another_thread_while_its_owner_is_in_no_call),
    };
    return run_on_variants("lifetime", tests, COUNT_OF(tests));
}
