/*
 * Polls: what a user may ask of one, from adding to freeing, and the memory they take.
 */
#include "variants.h"

#include <malloc.h>

#define RAW (POLLRING_NO_REARM | POLLRING_KEEP_HANGUP)

/* An event is in the kernel, or in the completion queue, and not taken. */
static struct pollring_poll *arm_ready(struct pollring *ring) {
    return arm(ring, make_ready_eventfd(), POLLIN);
}

/* An event is in the queue of the poll itself, because another poll was asked for. */
static struct pollring_poll *arm_queued(struct pollring *ring) {
    struct pollring_poll *poll = arm_ready(ring), *asked = arm(ring, make_eventfd(), POLLIN);
    assert_next_says(asked, &no_time, -ETIME);
    assert_int_equal(stats_of(ring).queued, 1);
    return poll;
}

/* ---- adding ---- */

TEST(adding_refuses_events_and_flags_that_it_does_not_know) {
    static const uint32_t events[] = {EPOLLET, EPOLLONESHOT, EPOLLWAKEUP, 1u << 14, 1u << 27, UINT32_MAX};
    struct pollring *ring = open_ring();
    struct pollring_poll *poll = NULL;
    int fd = make_eventfd();
    for (size_t i = 0; i < COUNT_OF(events); i++)
        assert_int_equal(pollring_poll_add(ring, &poll, fd, POLLIN | events[i], 0, NULL), -EINVAL);
    for (unsigned flag = POLLRING_KEEP_HANGUP << 1; flag; flag <<= 1)
        assert_int_equal(pollring_poll_add(ring, &poll, fd, POLLIN, flag, NULL), -EINVAL);
    assert_null(poll);
    assert_int_equal(pollring_active(ring), 0);
}

TEST(adding_refuses_a_negative_fd_at_once) {
    struct pollring *ring = open_ring();
    struct pollring_poll *poll;
    assert_int_equal(pollring_poll_add(ring, &poll, -1, POLLIN, 0, NULL), -EBADF);
    assert_int_equal(pollring_poll_add(ring, &poll, INT_MIN, POLLIN, 0, NULL), -EBADF);
    assert_int_equal(pollring_remove_fd(ring, -1), -EBADF);
}

/* What opening the ring and its fileno() made, and nothing else did. */
TEST(adding_refuses_the_own_fds_of_the_ring) {
    bool before[256];
    int own = 0;
    for (int fd = 0; fd < 256; fd++)
        before[fd] = fcntl(fd, F_GETFD) >= 0;
    struct pollring *ring = open_ring();
    struct pollring_poll *poll;
    assert_return_code(pollring_fileno(ring), 0);
    for (int fd = 0; fd < 256; fd++) {
        if (before[fd] || fcntl(fd, F_GETFD) < 0)
            continue;
        assert_int_equal(pollring_poll_add(ring, &poll, fd, POLLIN, 0, NULL), -ELOOP);
        own++;
    }
    assert_int_equal(own, 4);
}

TEST(an_add_goes_out_with_the_next_wait_and_names_a_number_until_then) {
    struct pollring *ring = open_ring();
    int fd = make_eventfd();
    struct pollring_poll *poll = add(ring, fd, POLLIN);
    close_fd(fd);
    assert_int_equal(make_ready_eventfd(), fd);
    assert_event(ring, poll, POLLIN);
}

TEST(an_armed_poll_holds_its_file_when_the_number_is_another_files) {
    if (is_epoll())
        skip_because("an epoll lets a closed file go: test_backend.c");
    struct pollring *ring = open_ring();
    struct ends pipe = make_pipe(), other;
    struct pollring_poll *poll = arm(ring, pipe.near, POLLIN);
    close_fd(pipe.near);
    other = make_pipe();
    assert_int_equal(other.near, pipe.near);
    write_some(other.far);
    assert_silence(ring);
    write_some(pipe.far);
    assert_event(ring, poll, POLLIN);
}

TEST(a_reused_number_gets_no_event_of_the_poll_before) {
    struct pollring *ring = open_ring();
    for (int i = 0; i < 50; i++) {
        struct ends pipe = make_pipe();
        struct pollring_poll *old = arm(ring, pipe.near, POLLIN), *new;
        write_some(pipe.far);
        if (i & 1)
            free_poll(old);
        else
            assert_int_equal(pollring_remove_fd(ring, pipe.near), 1);
        close_fd(pipe.near);
        assert_int_equal(make_eventfd(), pipe.near);
        new = arm(ring, pipe.near, POLLIN);
        if (!(i & 1))
            assert_last_event(ring, old, -ECANCELED);
        assert_silence(ring);
        write_some(pipe.near);
        assert_event(ring, new, POLLIN);
        assert_int_equal(pollring_remove_fd(ring, pipe.near), 1);
        assert_last_event(ring, new, -ECANCELED);
    }
}

TEST(a_poll_that_is_armed_again_is_of_the_file_that_has_the_number_then) {
    struct pollring *ring = open_ring();
    int fd = make_ready_eventfd(), file = keep_fd(open("/dev/null", O_RDONLY | O_CLOEXEC));
    struct pollring_poll *poll = add(ring, fd, POLLIN);
    assert_event(ring, poll, POLLIN);
    assert_int_equal(pollring_poll_remove(poll), 0);
    assert_last_event(ring, poll, -ECANCELED);
    assert_int_equal(dup3(file, fd, O_CLOEXEC), fd);
    assert_int_equal(pollring_poll_arm(poll), 0);
    assert_last_event(ring, poll, POLLIN);
    assert_ended(poll, POLLRING_END_UNPOLLABLE);
}

TEST(getters_tell_what_was_asked_for) {
    struct pollring *ring = open_ring();
    int owner, fd = make_eventfd();
    struct pollring_poll *poll = add_with(ring, fd, POLLIN | POLLPRI, POLLRING_ONESHOT, &owner);
    assert_int_equal(pollring_poll_fd(poll), fd);
    assert_int_equal(pollring_poll_events(poll), POLLIN | POLLPRI);
    assert_ptr_equal(pollring_poll_owner(poll), &owner);
    assert_true(pollring_poll_active(poll));
    assert_int_equal(pollring_poll_end_reason(poll), POLLRING_END_NONE);
    assert_int_equal(pollring_active(ring), 1);
}

/* ---- updating ---- */

TEST(an_update_asks_for_other_events) {
    struct pollring *ring = open_ring();
    struct ends pair = make_socketpair();
    struct pollring_poll *poll = arm(ring, pair.near, POLLIN);
    assert_silence(ring);
    assert_int_equal(pollring_poll_update(poll, POLLOUT), 0);
    assert_int_equal(pollring_poll_events(poll), POLLOUT);
    assert_event(ring, poll, POLLOUT);
    write_some(pair.far);
    assert_silence(ring);
    assert_int_equal(pollring_poll_update(poll, POLLIN), 0);
    assert_event(ring, poll, POLLIN);
}

TEST(an_update_before_the_add_went_out_goes_with_it) {
    struct pollring *ring = open_ring();
    struct ends pair = make_socketpair();
    struct pollring_poll *poll = add(ring, pair.near, POLLOUT);
    assert_int_equal(pollring_poll_update(poll, POLLIN), 0);
    assert_silence(ring);
    write_some(pair.far);
    assert_event(ring, poll, POLLIN);
    assert_int_equal(stats_of(ring).dropped, 0);
}

/* The OUT of the arming is in the kernel, or in the completion queue. */
TEST(bits_that_are_no_longer_asked_for_are_dropped) {
    struct pollring *ring = open_ring();
    struct ends pair = make_socketpair();
    struct pollring_poll *poll = arm(ring, pair.near, POLLIN | POLLOUT);
    assert_int_equal(pollring_poll_update(poll, POLLIN), 0);
    assert_silence(ring);
    if (!is_epoll()) /* which looks at the file when it collects, and finds nothing to drop */
        assert_in_range(stats_of(ring).dropped, 1, 2);
    write_some(pair.far);
    assert_event(ring, poll, POLLIN);
}

TEST(bits_that_are_no_longer_asked_for_are_dropped_from_queued_events) {
    struct pollring *ring = open_ring();
    struct ends pair = make_socketpair();
    struct pollring_poll *poll = arm(ring, pair.near, POLLIN | POLLOUT), *asked = arm(ring, make_eventfd(), POLLIN);
    assert_next_says(asked, &no_time, -ETIME);
    write_some(pair.far);
    assert_next_says(asked, &no_time, -ETIME);
    assert_int_equal(pollring_poll_update(poll, POLLIN), 0);
    struct pollring_event event;
    while (pollring_wait(ring, &event, 1, &no_time) == 1)
        assert_int_equal(event.result, POLLIN);
    assert_silence(ring);
}

TEST(a_raw_poll_keeps_bits_that_are_no_longer_asked_for) {
    struct pollring *ring = open_ring();
    struct ends pair = make_socketpair();
    struct pollring_poll *poll = add_with(ring, pair.near, POLLIN | POLLOUT, RAW, NULL);
    assert_int_equal(pollring_collect(ring, &guard_time), 0);
    assert_int_equal(pollring_poll_update(poll, POLLIN), 0);
    assert_event(ring, poll, POLLOUT);
}

TEST(an_iterator_is_not_woken_by_bits_that_are_no_longer_asked_for) {
    skip_with_signals();
    struct pollring *ring = open_ring();
    struct ends pair = make_socketpair();
    struct pollring_poll *poll = arm(ring, pair.near, POLLIN | POLLOUT);
    assert_int_equal(pollring_poll_update(poll, POLLIN), 0);
    assert_next_says(poll, &no_time, -ETIME);
    struct timespec timeout = in_ms(2);
    assert_next_says(poll, &timeout, -ETIME);
}

/* Each has been ended by the full queue, and what it said is dropped: it has to be armed again all the same. */
TEST(a_poll_whose_queued_events_are_all_dropped_stays_armed) {
    struct pollring *ring = open_ring();
    struct pollring_poll *polls[100], *asked = arm(ring, make_eventfd(), POLLIN);
    struct ends pairs[100];
    for (int i = 0; i < 100; i++) {
        pairs[i] = make_socketpair();
        polls[i] = add(ring, pairs[i].near, POLLIN | POLLOUT);
    }
    assert_next_says(asked, &no_time, -ETIME);
    assert_int_equal(stats_of(ring).queued, 100);
    for (int i = 0; i < 100; i++)
        assert_int_equal(pollring_poll_update(polls[i], POLLIN), 0);
    assert_int_equal(stats_of(ring).queued, 0);
    assert_silence(ring);
    for (int i = 0; i < 100; i++) {
        write_some(pairs[i].far);
        assert_next(polls[i], POLLIN);
    }
}

TEST(an_end_that_is_queued_survives_an_update) {
    struct pollring *ring = open_ring();
    struct pollring_poll *poll = arm(ring, make_ready_eventfd(), POLLIN);
    assert_int_equal(pollring_poll_remove(poll), 0);
    assert_int_equal(pollring_poll_arm(poll), 0);
    assert_int_equal(pollring_poll_update(poll, POLLIN), 0);
    assert_last_event(ring, poll, -ECANCELED);
    assert_event(ring, poll, POLLIN);
}

/* Ended by a full queue while it said only what is no longer asked for: an end without a bit, on which no wait sleeps.
 */
TEST(an_end_that_says_nothing_else_is_seen) {
    struct pollring *ring = open_ring();
    struct pollring_poll *polls[100];
    struct pollring_event event;
    int ended = 0;
    for (int i = 0; i < 100; i++)
        polls[i] = add_with(ring, make_socketpair().near, POLLIN | POLLOUT, POLLRING_NO_REARM, NULL);
    assert_int_equal(pollring_submit(ring), 0);
    for (int i = 0; i < 100; i++)
        assert_int_equal(pollring_poll_update(polls[i], POLLIN), 0);
    bool overflows = full_queue_ends_polls() && stats_of(ring).cq_entries < 100;
    double start = now_ms();
    while (pollring_wait(ring, &event, 1, overflows && !ended ? &guard_time : &no_time) == 1) {
        assert_int_equal(event.result, 0);
        assert_false(event.more);
        assert_ended(event.poll, POLLRING_END_OVERFLOW);
        ended++;
    }
    assert_true(now_ms() - start < GUARD_MS);
    assert_int_equal(ended > 0, overflows);
    assert_int_equal(pollring_active(ring), 100 - ended);
}

/* A write and an update meet in the kernel; whichever comes first, the update has taken in the end. */
TEST(an_update_takes_though_an_event_is_in_flight) {
    struct pollring *ring = open_ring();
    struct ends pair = make_socketpair();
    struct pollring_poll *poll = arm(ring, pair.near, POLLIN);
    int number = rounds(300);
    for (int i = 0; i < number; i++) {
        write_some(pair.far);
        assert_int_equal(pollring_poll_update(poll, POLLOUT), 0);
        assert_event(ring, poll, POLLOUT);
        read_some(pair.near);
        assert_int_equal(pollring_poll_update(poll, POLLIN), 0);
        assert_silence(ring);
        write_some(pair.far);
        assert_event(ring, poll, POLLIN);
        read_some(pair.near);
    }
}

enum { MANY = 300 };

/* Nobody reads here, so on a full queue a poll reports again each time that it is armed again. */
TEST(many_polls_can_be_updated_at_once) {
    struct pollring *ring = open_ring();
    struct ends pairs[MANY];
    struct pollring_poll *polls[MANY];
    for (int i = 0; i < MANY; i++) {
        pairs[i] = make_socketpair();
        polls[i] = arm(ring, pairs[i].near, POLLIN);
    }
    for (int round = 0; round < 2; round++) {
        int mask = round ? POLLIN : POLLOUT;
        for (int i = 0; i < MANY; i++) {
            write_some(pairs[i].far);
            assert_int_equal(pollring_poll_update(polls[i], (uint32_t)mask), 0);
        }
        for (int i = 0; i < MANY; i++)
            assert_next(polls[i], mask);
    }
}

TEST(an_update_is_lost_on_nobody_when_the_queue_is_full) {
    struct pollring *ring = open_ring();
    static struct pollring_event events[MANY];
    bool seen[MANY] = {false};
    struct ends pairs[MANY];
    for (int i = 0; i < MANY; i++) {
        pairs[i] = make_socketpair();
        struct pollring_poll *poll = add_with(ring, pairs[i].near, POLLIN | POLLOUT, 0, &seen[i]);
        assert_int_equal(pollring_submit(ring), 0);
        assert_int_equal(pollring_poll_update(poll, POLLIN), 0);
    }
    assert_silence(ring);
    for (int i = 0; i < MANY; i++)
        write_some(pairs[i].far);
    int taken;
    while ((taken = pollring_wait(ring, events, MANY, &no_time)) > 0) {
        for (int i = 0; i < taken; i++) {
            assert_int_equal(events[i].result, POLLIN);
            assert_true(events[i].more);
            assert_false(*(bool *)events[i].owner);
            *(bool *)events[i].owner = true;
            read_some(pollring_poll_fd(events[i].poll));
        }
    }
    for (int i = 0; i < MANY; i++)
        assert_true(seen[i]);
}

TEST(an_update_of_a_poll_that_has_ended_is_refused) {
    struct pollring *ring = open_ring();
    struct ends pipe = make_pipe();
    struct pollring_poll *poll = arm(ring, pipe.near, POLLIN);
    close_fd(pipe.far);
    assert_last_event(ring, poll, POLLHUP);
    assert_int_equal(pollring_poll_update(poll, POLLIN), -ENOENT);
    assert_int_equal(pollring_poll_recheck(poll), -ENOENT);
}

TEST(an_update_refuses_events_that_it_does_not_know) {
    static const uint32_t events[] = {EPOLLET, EPOLLONESHOT, EPOLLEXCLUSIVE, 1u << 14};
    struct pollring *ring = open_ring();
    struct pollring_poll *poll = arm(ring, make_eventfd(), POLLIN);
    for (size_t i = 0; i < COUNT_OF(events); i++)
        assert_int_equal(pollring_poll_update(poll, POLLIN | events[i]), -EINVAL);
    assert_int_equal(pollring_poll_events(poll), POLLIN);
}

TEST(an_exclusive_poll_stays_one_when_it_is_updated) {
    struct pollring *ring = open_ring();
    struct ends pair = make_socketpair();
    struct pollring_poll *poll = arm(ring, pair.near, POLLIN | EPOLLEXCLUSIVE);
    assert_int_equal(pollring_poll_update(poll, POLLOUT), 0);
    assert_int_equal(pollring_poll_events(poll), POLLOUT | EPOLLEXCLUSIVE);
    assert_event(ring, poll, POLLOUT);
}

TEST(a_one_shot_that_is_updated_stays_one) {
    struct pollring *ring = open_ring();
    struct ends pair = make_socketpair();
    struct pollring_poll *poll = add_with(ring, pair.near, POLLIN, POLLRING_ONESHOT, NULL);
    assert_silence(ring);
    assert_int_equal(pollring_poll_update(poll, POLLOUT), 0);
    assert_last_event(ring, poll, POLLOUT);
    assert_ended(poll, POLLRING_END_ONESHOT);
    write_some(pair.far);
    assert_silence(ring);
}

/* Its one event said what nobody asks for any more: it has not had one yet. */
TEST(a_one_shot_whose_event_was_dropped_is_still_armed) {
    static const unsigned flags[] = {0, POLLRING_NO_REARM};
    struct pollring *ring = open_ring();
    for (size_t i = 0; i < COUNT_OF(flags); i++) {
        struct ends pair = make_socketpair();
        struct pollring_poll *poll = add_with(ring, pair.near, POLLIN | POLLOUT, POLLRING_ONESHOT | flags[i], NULL);
        assert_int_equal(pollring_submit(ring), 0);
        assert_int_equal(pollring_poll_update(poll, POLLIN), 0);
        assert_silence(ring);
        assert_true(pollring_poll_active(poll));
        write_some(pair.far);
        assert_last_event(ring, poll, POLLIN);
        assert_ended(poll, POLLRING_END_ONESHOT);
    }
}

TEST(a_recheck_reports_a_file_that_is_ready) {
    struct pollring *ring = open_ring();
    int fd = make_ready_eventfd();
    struct pollring_poll *poll = add(ring, fd, POLLIN);
    for (int i = 0; i < 10; i++) {
        assert_event(ring, poll, POLLIN);
        assert_silence(ring);
        assert_int_equal(pollring_poll_recheck(poll), 0);
    }
    assert_event(ring, poll, POLLIN);
    read_some(fd);
    assert_int_equal(pollring_poll_recheck(poll), 0);
    assert_silence(ring);
}

TEST(a_recheck_before_the_add_went_out_is_nothing) {
    struct pollring *ring = open_ring();
    struct pollring_poll *poll = add(ring, make_ready_eventfd(), POLLIN);
    assert_int_equal(pollring_poll_recheck(poll), 0);
    assert_event(ring, poll, POLLIN);
    assert_silence(ring);
}

/* ---- removing ---- */

TEST(a_removal_shows_as_ecanceled_in_a_wait) {
    struct pollring *ring = open_ring();
    struct pollring_poll *poll = arm(ring, make_eventfd(), POLLIN);
    assert_int_equal(pollring_poll_remove(poll), 0);
    assert_ended(poll, POLLRING_END_REMOVED);
    assert_int_equal(pollring_active(ring), 0);
    assert_last_event(ring, poll, -ECANCELED);
    assert_silence(ring);
}

TEST(an_iterator_over_a_poll_that_was_removed_just_stops) {
    struct pollring *ring = open_ring();
    struct pollring_poll *poll = arm(ring, make_eventfd(), POLLIN);
    assert_int_equal(pollring_poll_remove(poll), 0);
    assert_next_says(poll, NULL, 0);
    assert_next_says(poll, NULL, 0);
    assert_silence(ring);
}

TEST(a_removal_before_the_add_went_out_never_reaches_the_kernel) {
    struct pollring *ring = open_ring();
    struct pollring_poll *poll = add(ring, make_ready_eventfd(), POLLIN);
    assert_int_equal(pollring_poll_remove(poll), 0);
    assert_last_event(ring, poll, -ECANCELED);
    assert_silence(ring);
    assert_in_range(stats_of(ring).requests, 0, 1);
}

TEST(a_removal_swallows_events_that_were_not_taken) {
    struct pollring *ring = open_ring();
    struct pollring_poll *(*make[])(struct pollring *) = {arm_ready, arm_queued};
    for (size_t i = 0; i < COUNT_OF(make); i++) {
        struct pollring_poll *poll = make[i](ring);
        assert_int_equal(pollring_poll_remove(poll), 0);
        assert_last_event(ring, poll, -ECANCELED);
        assert_silence(ring);
    }
}

TEST(a_removal_can_be_repeated) {
    struct pollring *ring = open_ring();
    struct pollring_poll *poll = arm(ring, make_eventfd(), POLLIN);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pollring_poll_remove(poll), 0);
    assert_last_event(ring, poll, -ECANCELED);
    assert_silence(ring);
    assert_int_equal(pollring_poll_remove(poll), 0);
    assert_silence(ring);
}

TEST(a_removal_has_let_the_file_go_when_it_returns) {
    struct pollring *ring = open_ring();
    for (int ready = 0; ready < 2; ready++) {
        struct ends pair = make_socketpair();
        struct pollring_poll *poll = arm(ring, pair.near, POLLIN);
        if (ready)
            write_some(pair.far);
        assert_int_equal(pollring_poll_remove(poll), 0);
        if (ready)
            read_some(pair.near);
        close_fd(pair.near);
        assert_true(reads_eof(pair.far));
    }
}

TEST(a_removal_has_let_the_file_go_when_the_queue_is_full) {
    struct pollring *ring = open_ring();
    struct ends pair = make_socketpair();
    struct pollring_poll *poll = add(ring, pair.near, POLLIN);
    for (int i = 0; i < 100; i++)
        add(ring, make_ready_eventfd(), POLLIN);
    assert_int_equal(pollring_submit(ring), 0);
    assert_int_equal(pollring_poll_remove(poll), 0);
    close_fd(pair.near);
    assert_true(reads_eof(pair.far));
}

TEST(a_removal_counts_no_drop_of_its_own) {
    struct pollring *ring = open_ring();
    assert_int_equal(pollring_poll_remove(arm(ring, make_eventfd(), POLLIN)), 0);
    assert_int_equal(pollring_wait(ring, &(struct pollring_event){0}, 1, &no_time), 1);
    assert_silence(ring);
    assert_int_equal(stats_of(ring).dropped, 0);
}

TEST(removing_an_fd_removes_all_its_polls_of_all_inboxes) {
    struct pollring *ring = open_ring();
    struct pollring_inbox *inbox = pollring_inbox_open(ring);
    struct ends pair = make_socketpair();
    struct pollring_poll *own[] = {arm(ring, pair.near, POLLIN), add(ring, pair.near, POLLOUT)};
    struct pollring_poll *others = add_to(inbox, pair.near, POLLIN);
    struct pollring_poll *same_chain = arm(ring, fcntl(pair.near, F_DUPFD_CLOEXEC, pair.near + 64), POLLIN);
    keep_fd(pollring_poll_fd(same_chain));
    close_fd(pollring_poll_fd(same_chain));
    assert_int_equal(pollring_remove_fd(ring, pair.near), 3);
    assert_int_equal(pollring_remove_fd(ring, pair.near), 0);
    for (int i = 0; i < 2; i++)
        assert_next_says(own[i], NULL, 0);
    assert_last_take(ring, inbox, others, -ECANCELED);
    assert_true(pollring_poll_active(same_chain));
    pollring_inbox_close(inbox);
}

TEST(removing_an_fd_from_an_inbox_leaves_the_polls_of_others) {
    struct pollring *ring = open_ring();
    struct pollring_inbox *inbox = pollring_inbox_open(ring);
    struct ends pair = make_socketpair();
    struct pollring_poll *own = arm(ring, pair.near, POLLIN), *others = add_to(inbox, pair.near, POLLIN);
    assert_int_equal(pollring_inbox_remove_fd(inbox, pair.near), 1);
    assert_int_equal(pollring_inbox_remove_fd(inbox, pair.near), 0);
    assert_int_equal(pollring_inbox_remove_fd(inbox, -1), -EBADF);
    assert_true(pollring_poll_active(own));
    assert_int_equal(pollring_poll_end_reason(others), POLLRING_END_REMOVED);
    pollring_inbox_close(inbox);
}

TEST(an_open_inbox_tells_that_its_ring_was_closed) {
    struct pollring *ring;
    assert_int_equal(pollring_open(&ring, NULL), 0);
    struct pollring_inbox *inbox = pollring_inbox_open(ring);
    pollring_close(ring);
    assert_int_equal(pollring_check(ring), -ESHUTDOWN);
    assert_int_equal(pollring_inbox_remove_fd(inbox, 0), -ESHUTDOWN);
    pollring_inbox_close(inbox);
}

TEST(removing_an_fd_has_let_the_file_go_when_it_returns) {
    struct pollring *ring = open_ring();
    struct ends pair = make_socketpair();
    for (int i = 0; i < 100; i++)
        arm(ring, pair.near, POLLIN);
    uint64_t enters = stats_of(ring).enters;
    assert_int_equal(pollring_remove_fd(ring, pair.near), 100);
    if (stats_of(ring).entries >= 100)
        assert_in_range(stats_of(ring).enters - enters, 1, 8);
    close_fd(pair.near);
    assert_true(reads_eof(pair.far));
    assert_int_equal(pollring_remove_fd(ring, INT_MAX), 0);
}

/* ---- freeing ---- */

TEST(freeing_has_let_the_file_go_when_it_returns) {
    struct pollring *ring = open_ring();
    struct ends pair = make_socketpair();
    free_poll(arm(ring, pair.near, POLLIN));
    close_fd(pair.near);
    assert_true(reads_eof(pair.far));
    pollring_poll_free(NULL);
}

TEST(a_poll_can_be_freed_in_every_state_and_is_heard_of_no_more) {
    struct pollring *ring = open_ring();
    struct ends pipe = make_pipe();
    struct pollring_poll *never_armed = add(ring, make_ready_eventfd(), POLLIN), *armed = arm(ring, make_eventfd(), 0),
                         *ready = arm_ready(ring), *removed = arm(ring, make_eventfd(), POLLIN),
                         *hung_up = arm(ring, pipe.near, POLLIN), *updated = arm(ring, make_ready_eventfd(), 0);
    assert_int_equal(pollring_poll_remove(removed), 0);
    assert_int_equal(pollring_poll_update(updated, POLLIN), 0);
    close_fd(pipe.far);
    struct pollring_poll *all[] = {never_armed, armed, ready, removed, hung_up, updated};
    for (size_t i = 0; i < COUNT_OF(all); i++)
        free_poll(all[i]);
    assert_silence(ring);
    assert_int_equal(pollring_active(ring), 0);
    free_poll(arm_queued(ring));
    assert_silence(ring);
    assert_int_equal(stats_of(ring).queued, 0);
    assert_false(pollring_pending(ring));
}

TEST(a_poll_that_a_full_queue_ended_can_be_freed_and_removed) {
    struct pollring *ring = open_ring();
    static struct pollring_poll *polls[300];
    struct pollring_poll *asked = arm(ring, make_eventfd(), POLLIN);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 300; i++)
            polls[i] = add(ring, make_ready_eventfd(), POLLIN);
        assert_next_says(asked, &no_time, -ETIME);
        assert_next_says(asked, &no_time, -ETIME);
        for (int i = 0; i < 300; i++)
            if (round)
                free_poll(polls[i]);
            else
                assert_int_equal(pollring_poll_remove(polls[i]), 0);
        for (int i = 0; i < 300 && !round; i++)
            assert_next_says(polls[i], &no_time, 0);
        assert_silence(ring);
    }
}

/* Earlier in the same batch: its event is collected already. */
TEST(a_poll_that_goes_between_two_takes_is_not_handed_out) {
    struct pollring *ring = open_ring();
    for (int freed = 0; freed < 2; freed++) {
        struct pollring_poll *polls[] = {arm_ready(ring), arm_ready(ring), arm_ready(ring)};
        struct pollring_event first, second;
        assert_int_equal(pollring_collect(ring, &guard_time), 0);
        assert_int_equal(pollring_take(ring, NULL, &first), 1);
        struct pollring_poll *goes = polls[first.poll == polls[1] ? 2 : 1];
        if (freed)
            free_poll(goes);
        else
            assert_int_equal(pollring_poll_remove(goes), 0);
        for (int i = 0; i < 2 - freed; i++) {
            assert_int_equal(pollring_take(ring, NULL, &second), 1);
            assert_true(second.poll != goes || second.result == -ECANCELED);
        }
        assert_nothing_to_take(ring, NULL);
        for (int i = 0; i < 3; i++)
            if (!freed || polls[i] != goes)
                free_poll(polls[i]);
    }
}

TEST(a_freed_poll_of_a_batch_can_be_asked_until_the_next_collect) {
    struct pollring *ring = open_ring();
    struct pollring_poll *poll = arm_ready(ring);
    assert_event(ring, poll, POLLIN);
    free_poll(poll);
    assert_false(pollring_poll_active(poll));
    assert_ptr_not_equal(add(ring, make_eventfd(), POLLIN), poll);
    assert_false(pollring_poll_active(poll));
    assert_silence(ring);
    assert_ptr_equal(add(ring, make_eventfd(), POLLIN), poll);
}

TEST(freed_memory_is_used_again) {
    struct pollring *ring = open_ring();
    int fd = make_eventfd();
    uint64_t memory = stats_of(ring).memory;
    for (int round = 0; round < 20; round++) {
        struct pollring_poll *polls[30];
        for (int i = 0; i < 30; i++)
            polls[i] = add(ring, fd, POLLIN);
        assert_silence(ring);
        for (int i = 0; i < 30; i++)
            free_poll(polls[i]);
    }
    assert_in_range(stats_of(ring).memory, memory, memory + 64 * 128);
}

/* An old life's completions are in the kernel's queue while the new one is armed with the same memory. */
TEST(an_event_for_the_memorys_earlier_poll_is_dropped) {
    struct pollring *ring = open_ring();
    for (int i = 0; i < 50; i++) {
        struct pollring_poll *old = arm_ready(ring), *new;
        assert_int_equal(pollring_collect(ring, &guard_time), 0);
        free_poll(old);
        assert_int_equal(pollring_collect(ring, &no_time), 0);
        new = arm(ring, make_eventfd(), POLLIN);
        assert_silence(ring);
        assert_true(pollring_poll_active(new));
        free_poll(new);
    }
    assert_int_equal(stats_of(ring).dropped, 50);
}

/* ---- the ring's end ---- */

TEST(a_poll_outlives_its_ring_and_tells_its_end) {
    struct pollring *ring = open_ring();
    int owner, fd = make_eventfd();
    struct ends pipe = make_pipe();
    struct pollring_poll *poll = add_with(ring, fd, POLLIN, 0, &owner), *ready = arm_ready(ring),
                         *ended = arm(ring, pipe.near, POLLIN), *untaken = arm_ready(ring);
    close_fd(pipe.far);
    assert_last_next(ended, POLLHUP);
    assert_int_equal(pollring_poll_remove(untaken), 0);
    close_ring(ring);
    struct pollring_poll *closed[] = {poll, ready};
    for (int i = 0; i < 2; i++) {
        assert_ended(closed[i], POLLRING_END_CLOSED);
        assert_next_says(closed[i], NULL, 0);
        assert_int_equal(pollring_poll_remove(closed[i]), 0);
        assert_int_equal(pollring_poll_update(closed[i], POLLIN), -ESHUTDOWN);
        assert_int_equal(pollring_poll_recheck(closed[i]), -ESHUTDOWN);
        assert_int_equal(pollring_poll_arm(closed[i]), -ESHUTDOWN);
    }
    assert_int_equal(pollring_poll_fd(poll), fd);
    assert_int_equal(pollring_poll_events(poll), POLLIN);
    assert_ptr_equal(pollring_poll_owner(poll), &owner);
    assert_ended(ended, POLLRING_END_HANGUP);
    assert_ended(untaken, POLLRING_END_REMOVED);
}

/* ---- memory ---- */

static size_t allocated(void) {
#ifdef __GLIBC__
    return mallinfo2().uordblks;
#else
    return 0; /* musl doesn't count */
#endif
}

TEST(ten_thousand_polls_take_at_most_128_bytes_each) {
    enum { POLLS = 10000 };
    struct pollring *ring = open_ring();
    static struct pollring_poll *polls[POLLS];
    int fd = make_eventfd();
    size_t before = allocated();
    for (int i = 0; i < POLLS; i++)
        assert_int_equal(pollring_poll_add(ring, &polls[i], fd, POLLIN, 0, NULL), 0);
    assert_in_range(stats_of(ring).memory, POLLS * 64, POLLS * 128);
    assert_in_range(allocated() - before, 0, POLLS * 128);
    assert_int_equal(pollring_submit(ring), 0);
    assert_int_equal(pollring_active(ring), POLLS);
    for (int i = 0; i < POLLS; i++)
        keep_poll(polls[i]);
    assert_int_equal(pollring_remove_fd(ring, fd), POLLS);
}

int main(void) {
    static const struct test tests[] = {
        RUN(adding_refuses_events_and_flags_that_it_does_not_know),
        RUN(adding_refuses_a_negative_fd_at_once),
        RUN(adding_refuses_the_own_fds_of_the_ring),
        RUN(an_add_goes_out_with_the_next_wait_and_names_a_number_until_then),
        RUN(an_armed_poll_holds_its_file_when_the_number_is_another_files),
        RUN(a_reused_number_gets_no_event_of_the_poll_before),
        RUN(a_poll_that_is_armed_again_is_of_the_file_that_has_the_number_then),
        RUN(getters_tell_what_was_asked_for),
        RUN(an_update_asks_for_other_events),
        RUN(an_update_before_the_add_went_out_goes_with_it),
        RUN(bits_that_are_no_longer_asked_for_are_dropped),
        RUN(bits_that_are_no_longer_asked_for_are_dropped_from_queued_events),
        RUN(a_raw_poll_keeps_bits_that_are_no_longer_asked_for),
        RUN(an_iterator_is_not_woken_by_bits_that_are_no_longer_asked_for),
        RUN(a_poll_whose_queued_events_are_all_dropped_stays_armed),
        RUN(an_end_that_is_queued_survives_an_update),
        RUN(an_end_that_says_nothing_else_is_seen),
        RUN(an_update_takes_though_an_event_is_in_flight),
        RUN(many_polls_can_be_updated_at_once),
        RUN(an_update_is_lost_on_nobody_when_the_queue_is_full),
        RUN(an_update_of_a_poll_that_has_ended_is_refused),
        RUN(an_update_refuses_events_that_it_does_not_know),
        RUN(an_exclusive_poll_stays_one_when_it_is_updated),
        RUN(a_one_shot_that_is_updated_stays_one),
        RUN(a_one_shot_whose_event_was_dropped_is_still_armed),
        RUN(a_recheck_reports_a_file_that_is_ready),
        RUN(a_recheck_before_the_add_went_out_is_nothing),
        RUN(a_removal_shows_as_ecanceled_in_a_wait),
        RUN(an_iterator_over_a_poll_that_was_removed_just_stops),
        RUN(a_removal_before_the_add_went_out_never_reaches_the_kernel),
        RUN(a_removal_swallows_events_that_were_not_taken),
        RUN(a_removal_can_be_repeated),
        RUN(a_removal_has_let_the_file_go_when_it_returns),
        RUN(a_removal_has_let_the_file_go_when_the_queue_is_full),
        RUN(a_removal_counts_no_drop_of_its_own),
        RUN(removing_an_fd_removes_all_its_polls_of_all_inboxes),
        RUN(removing_an_fd_from_an_inbox_leaves_the_polls_of_others),
        RUN(an_open_inbox_tells_that_its_ring_was_closed),
        RUN(removing_an_fd_has_let_the_file_go_when_it_returns),
        RUN(freeing_has_let_the_file_go_when_it_returns),
        RUN(a_poll_can_be_freed_in_every_state_and_is_heard_of_no_more),
        RUN(a_poll_that_a_full_queue_ended_can_be_freed_and_removed),
        RUN(a_poll_that_goes_between_two_takes_is_not_handed_out),
        RUN(a_freed_poll_of_a_batch_can_be_asked_until_the_next_collect),
        RUN(freed_memory_is_used_again),
        RUN(an_event_for_the_memorys_earlier_poll_is_dropped),
        RUN(a_poll_outlives_its_ring_and_tells_its_end),
        RUN(ten_thousand_polls_take_at_most_128_bytes_each),
    };
    return run_on_variants("poll", tests, COUNT_OF(tests));
}
