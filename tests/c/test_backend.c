/*
 * Where the two backends differ by nature: a test for each line of the table in docs/backends.md, run on both. And how
 * the epoll backend keeps the rest of the contract, where epoll alone would not.
 */
#include "variants.h"

#include <sys/timerfd.h>

/* ---- the table ---- */

TEST(what_was_read_before_the_collection) {
    struct pollring *ring = open_ring();
    struct ends pipe = make_pipe();
    struct pollring_poll *poll = arm(ring, pipe.near, POLLIN);
    write_some(pipe.far);
    read_some(pipe.near);
    if (is_epoll())
        assert_silence(ring);
    else
        assert_event(ring, poll, POLLIN);
}

TEST(the_bits_of_an_event) {
    struct pollring *ring = open_ring();
    struct ends pair = make_socketpair();
    struct pollring_poll *poll = arm(ring, pair.near, POLLIN | POLLOUT);
    assert_event(ring, poll, POLLOUT);
    write_some(pair.far);
    assert_event(ring, poll, is_epoll() ? POLLIN | POLLOUT : POLLIN);
}

TEST(pri_on_a_socket) {
    struct pollring *ring = open_ring();
    struct ends pair = make_tcp_pair();
    struct pollring_poll *poll = arm(ring, pair.near, POLLIN | POLLPRI);
    write_some(pair.far);
    assert_event(ring, poll, is_epoll() ? POLLIN : POLLIN | POLLPRI);
}

/* io_uring's poll goes on: the peer sees no end. */
TEST(a_file_that_is_closed_while_it_is_polled) {
    struct pollring *ring = open_ring();
    struct ends pair = make_socketpair();
    struct pollring_poll *poll = arm(ring, pair.near, POLLIN);
    close_fd(pair.near);
    if (is_epoll()) {
        assert_true(reads_eof(pair.far));
        assert_silence(ring);
        assert_true(pollring_poll_active(poll));
        assert_int_equal(pollring_poll_update(poll, POLLIN), 0);
        assert_last_event(ring, poll, -EBADF);
        assert_ended(poll, POLLRING_END_ERROR);
    } else {
        assert_false(reads_eof(pair.far));
        assert_int_equal(pollring_poll_remove(poll), 0);
        assert_true(reads_eof(pair.far));
    }
}

TEST(a_full_completion_queue) {
    struct pollring *ring = open_ring();
    unsigned number = stats_of(ring).cq_entries + 100, seen = 0;
    if (number > 1000)
        skip_because("only where the queue is small");
    for (unsigned i = 0; i < number; i++)
        add(ring, make_ready_eventfd(), POLLIN);
    struct pollring_event event;
    for (; seen < number; seen++) {
        assert_int_equal(pollring_wait(ring, &event, 1, &no_time), 1);
        read_some(pollring_poll_fd(event.poll));
    }
    assert_int_equal(stats_of(ring).rearmed != 0, full_queue_ends_polls());
}

TEST(other_bits_than_in_and_out_of_an_exclusive_poll) {
    struct pollring *ring = open_ring();
    struct ends pair = make_socketpair();
    struct pollring_poll *poll = arm(ring, pair.near, POLLIN | POLLRDHUP | EPOLLEXCLUSIVE);
    assert_return_code(shutdown(pair.far, SHUT_WR), errno);
    if (is_epoll())
        assert_event(ring, poll, POLLIN);
    else
        assert_last_event(ring, poll, POLLIN | POLLRDHUP);
}

TEST(system_calls_of_a_request) {
    struct pollring *ring = open_ring();
    for (int i = 0; i < 50; i++)
        add(ring, make_eventfd(), POLLIN);
    assert_int_equal(pollring_submit(ring), 0);
    if (is_epoll())
        assert_int_equal(stats_of(ring).enters, 51); /* and the waker's */
    else
        assert_true(stats_of(ring).enters <= 26);
}

/* ---- many polls of one file ---- */

TEST(each_of_many_polls_of_one_file_gets_every_event) {
    struct pollring *ring = open_ring();
    struct ends pipe = make_pipe();
    struct pollring_poll *polls[10];
    struct pollring_event event;
    if (stats_of(ring).cq_entries < COUNT_OF(polls))
        skip_because("unread data is reported again where a full queue ends polls");
    for (int i = 0; i < 10; i++)
        polls[i] = arm(ring, pipe.near, POLLIN);
    for (int left = 10; left; left--) {
        write_some(pipe.far);
        for (int i = 0; i < left; i++)
            assert_int_equal(await_event(ring, &event), 1);
        assert_silence(ring);
        read_some(pipe.near);
        assert_int_equal(pollring_poll_remove(polls[10 - left]), 0);
        assert_last_event(ring, polls[10 - left], -ECANCELED);
    }
}

TEST(many_polls_of_one_file_let_it_go_when_they_are_removed) {
    struct pollring *ring = open_ring();
    struct ends pair = make_socketpair();
    int fds = count_fds();
    for (int i = 0; i < 5; i++)
        arm(ring, pair.near, POLLIN);
    assert_int_equal(pollring_remove_fd(ring, pair.near), 5);
    assert_int_equal(count_fds(), fds);
    close_fd(pair.near);
    assert_true(reads_eof(pair.far));
}

TEST(closing_a_ring_closes_its_duplicates) {
    int fds = count_fds();
    struct pollring *ring = open_ring();
    struct ends pair = make_socketpair();
    for (int i = 0; i < 5; i++)
        arm(ring, pair.near, POLLIN);
    close_ring(ring);
    assert_int_equal(count_fds(), fds + 2);
    close_fd(pair.near);
    assert_true(reads_eof(pair.far));
}

TEST(an_update_of_the_second_poll_of_a_file_is_its_own) {
    struct pollring *ring = open_ring();
    struct ends pair = make_socketpair();
    struct pollring_poll *first = arm(ring, pair.near, POLLIN), *second = arm(ring, pair.near, POLLIN);
    assert_int_equal(pollring_poll_update(second, POLLOUT), 0);
    assert_event(ring, second, POLLOUT);
    assert_int_equal(pollring_poll_remove(first), 0);
    assert_last_event(ring, first, -ECANCELED);
    assert_int_equal(pollring_poll_recheck(second), 0);
    assert_event(ring, second, POLLOUT);
}

/* ---- numbers that come back ---- */

/* What is done to a poll whose file was closed must not reach the poll of the file that has its number now. */
TEST(a_poll_of_a_closed_file_does_no_harm_to_the_next_file) {
    for (int what = 0; what < 4; what++) {
        struct pollring *ring = open_ring();
        struct ends old = make_pipe(), new;
        struct pollring_poll *stale = arm(ring, old.near, POLLIN), *poll;
        close_fd(old.near);
        new = make_pipe();
        assert_int_equal(new.near, pollring_poll_fd(stale));
        poll = arm(ring, new.near, POLLIN);
        if (what == 0)
            assert_int_equal(pollring_poll_remove(stale), 0);
        else if (what == 1)
            free_poll(stale);
        else if (what == 2)
            assert_int_equal(pollring_poll_update(stale, POLLIN | POLLPRI), 0);
        assert_int_equal(pollring_submit(ring), 0);
        struct pollring_event event;
        while (pollring_wait(ring, &event, 1, &no_time) == 1)
            assert_ptr_equal(event.poll, stale);
        write_some(new.far);
        assert_event(ring, poll, POLLIN);
        close_ring(ring);
        close_fd(new.near);
        close_fd(new.far);
        close_fd(old.far);
    }
}

/* The slot of the poll that had it is another poll's next. */
TEST(a_number_that_was_lost_is_forgotten) {
    struct pollring *ring = open_ring();
    struct ends old = make_pipe(), new, other = make_pipe();
    struct pollring_poll *stale = arm(ring, old.near, POLLIN);
    close_fd(old.near);
    new = make_pipe();
    assert_int_equal(pollring_poll_update(stale, POLLIN | POLLPRI), 0);
    if (is_epoll())
        assert_last_event(ring, stale, -EBADF);
    free_poll(stale);
    assert_silence(ring); /* from here on the slot is reused */
    add(ring, other.near, POLLIN);
    close_ring(ring);
    write_some(new.far);
    read_some(new.near);
}

/* Closed, so that it can't be taken out of an epoll, and alive by another number: then it comes back to its own. */
TEST(a_file_that_comes_back_to_its_number_is_polled_anew) {
    struct pollring *ring = open_ring();
    struct ends pipe = make_pipe();
    int near = pipe.near, other = keep_fd(dup(near));
    struct pollring_poll *old = arm(ring, near, POLLIN);
    close_fd(near);
    free_poll(old);
    assert_int_equal(keep_fd(dup2(other, near)), near);
    struct pollring_poll *poll = arm(ring, near, POLLIN);
    write_some(pipe.far);
    assert_event(ring, poll, POLLIN);
    assert_silence(ring);
}

/* ---- what epoll_ctl answers at once comes as an event ---- */

TEST(many_polls_that_fail_at_once_all_say_so) {
    struct pollring *ring = open_ring();
    struct pollring_poll *polls[50];
    int null = keep_fd(open("/dev/null", O_RDWR | O_CLOEXEC)), closed = dup(null);
    close(closed);
    for (int i = 0; i < 50; i++)
        polls[i] = arm(ring, i & 1 ? closed : null, POLLIN);
    for (int i = 0; i < 50; i++) {
        assert_last_next(polls[i], i & 1 ? -EBADF : POLLIN);
        assert_ended(polls[i], i & 1 ? POLLRING_END_ERROR : POLLRING_END_UNPOLLABLE);
    }
}

TEST(the_ring_in_an_epoll_that_it_polls_is_an_event) {
    struct pollring *ring = open_ring();
    int outer = keep_fd(epoll_create1(EPOLL_CLOEXEC));
    struct epoll_event readable = {.events = EPOLLIN};
    assert_return_code(epoll_ctl(outer, EPOLL_CTL_ADD, pollring_fileno(ring), &readable), errno);
    struct pollring_poll *poll = arm(ring, outer, POLLIN);
    if (!is_epoll())
        skip_because("io_uring sees no loop, and it does no harm there");
    assert_last_event(ring, poll, -ELOOP);
}

/* ---- the choice ---- */

TEST(a_set_up_of_io_uring_is_not_to_be_had_from_epoll) {
    struct pollring_options options = {.flags = POLLRING_SETUP_PLAIN, .backend = POLLRING_EPOLL};
    struct pollring *ring = NULL;
    assert_int_equal(pollring_open(&ring, &options), -EINVAL);
    assert_null(ring);
}

/* ---- time ---- */

TEST(a_short_timeout_is_not_cut_to_nothing) {
    skip_with_signals();
    struct pollring *ring = open_ring();
    struct pollring_event event;
    int timer = keep_fd(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
    struct itimerspec in_a_second = {.it_value.tv_sec = 1};
    struct timespec timeout = {.tv_nsec = 300000};
    arm(ring, timer, POLLIN);
    assert_return_code(timerfd_settime(timer, 0, &in_a_second, NULL), errno);
    double start = now_ms();
    assert_int_equal(pollring_wait(ring, &event, 1, &timeout), 0);
    assert_true(now_ms() - start >= 0.3);
}

static const struct test tests[] = {
    RUN(what_was_read_before_the_collection),
    RUN(the_bits_of_an_event),
    RUN(pri_on_a_socket),
    RUN(a_file_that_is_closed_while_it_is_polled),
    RUN(a_full_completion_queue),
    RUN(other_bits_than_in_and_out_of_an_exclusive_poll),
    RUN(system_calls_of_a_request),
    RUN(each_of_many_polls_of_one_file_gets_every_event),
    RUN(many_polls_of_one_file_let_it_go_when_they_are_removed),
    RUN(closing_a_ring_closes_its_duplicates),
    RUN(an_update_of_the_second_poll_of_a_file_is_its_own),
    RUN(a_poll_of_a_closed_file_does_no_harm_to_the_next_file),
    RUN(a_number_that_was_lost_is_forgotten),
    RUN(a_file_that_comes_back_to_its_number_is_polled_anew),
    RUN(many_polls_that_fail_at_once_all_say_so),
    RUN(the_ring_in_an_epoll_that_it_polls_is_an_event),
    RUN(a_set_up_of_io_uring_is_not_to_be_had_from_epoll),
    RUN(a_short_timeout_is_not_cut_to_nothing),
};

int main(void) {
    return run_on_variants("backend", tests, COUNT_OF(tests));
}
