/*
 * A ring in somebody else's loop: what pollring_fileno() gives has to wake a host that sleeps on it, whatever it sleeps
 * in, and has to be quiet when there is nothing to do.
 */
#include "variants.h"

/* ---- a host ---- */

struct host {
    struct pollring *ring;
    int ring_fd, epoll_fd;
};

static struct host open_host(void) {
    struct host host = {.ring = open_ring(), .epoll_fd = keep_fd(epoll_create1(EPOLL_CLOEXEC))};
    host.ring_fd = pollring_fileno(host.ring);
    assert_return_code(host.ring_fd, 0);
    struct epoll_event readable = {.events = EPOLLIN};
    assert_return_code(epoll_ctl(host.epoll_fd, EPOLL_CTL_ADD, host.ring_fd, &readable), errno);
    return host;
}

/* As a host sleeps: an EINTR (without DEFER_TASKRUN each event is one) sends it back. Whether it was woken. */
static bool host_sleeps(const struct host *host, bool in_poll, int timeout_ms) {
    struct epoll_event event;
    struct pollfd watched = {.fd = host->ring_fd, .events = POLLIN};
    int count;
    do
        count = in_poll ? poll(&watched, 1, timeout_ms) : epoll_wait(host->epoll_fd, &event, 1, timeout_ms);
    while (count < 0 && errno == EINTR);
    return count == 1;
}

#define assert_readable(host)                                                                                          \
    do {                                                                                                               \
        assert_true(host_sleeps(host, false, 0));                                                                      \
        assert_true(host_sleeps(host, true, 0));                                                                       \
        assert_true(pollring_pending((host)->ring));                                                                   \
    } while (0)

/* After a complete drain. */
#define assert_quiet(host)                                                                                             \
    do {                                                                                                               \
        assert_false(host_sleeps(host, false, 0));                                                                     \
        assert_false(host_sleeps(host, true, 0));                                                                      \
        assert_false(pollring_pending((host)->ring));                                                                  \
    } while (0)

/* Takes all that is there and reads it. Returns how many events. */
static int drain(const struct host *host) {
    struct pollring_event events[8];
    int count, total = 0;
    while ((count = pollring_wait(host->ring, events, COUNT_OF(events), &no_time)) > 0) {
        for (int i = 0; i < count; i++) {
            uint64_t bytes;
            if (read(pollring_poll_fd(events[i].poll), &bytes, sizeof(bytes)) < 0)
                assert_int_equal(errno, EAGAIN);
        }
        total += count;
    }
    assert_int_equal(count, 0);
    return total;
}

/* A kernel may signal late (an event that a write to an eventfd made, with DEFER_TASKRUN), which is one wake-up in
 * vain. */
#define assert_quiet_in_the_end(host)                                                                                  \
    do {                                                                                                               \
        for (int in_vain = 0; host_sleeps(host, false, 0); in_vain++) {                                                \
            assert_true(in_vain < 10);                                                                                 \
            drain(host);                                                                                               \
        }                                                                                                              \
    } while (0)

/* ---- when it is readable ---- */

TEST(the_fd_is_the_same_for_the_whole_life_of_a_ring) {
    struct host host = open_host();
    for (int i = 0; i < 3; i++)
        assert_int_equal(pollring_fileno(host.ring), host.ring_fd);
    assert_return_code(fcntl(host.ring_fd, F_GETFD), errno);
    assert_int_equal(fcntl(host.ring_fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
}

TEST(it_is_readable_while_a_request_is_not_submitted) {
    struct host host = open_host();
    drain(&host);
    assert_quiet(&host);
    struct pollring_poll *poll = add(host.ring, make_eventfd(), POLLIN);
    assert_readable(&host);
    assert_int_equal(pollring_submit(host.ring), 0);
    drain(&host);
    assert_quiet(&host);
    assert_int_equal(pollring_poll_update(poll, POLLPRI), 0);
    assert_readable(&host);
    drain(&host);
    assert_quiet(&host);
}

TEST(a_ring_that_was_filled_before_its_fd_was_asked_for_is_readable) {
    struct host host = {.ring = open_ring(), .epoll_fd = keep_fd(epoll_create1(EPOLL_CLOEXEC))};
    struct epoll_event readable = {.events = EPOLLIN};
    struct ends pipe = make_pipe();
    struct pollring_poll *poll = arm(host.ring, pipe.near, POLLIN);
    write_some(pipe.far);
    host.ring_fd = pollring_fileno(host.ring);
    assert_return_code(epoll_ctl(host.epoll_fd, EPOLL_CTL_ADD, host.ring_fd, &readable), errno);
    assert_readable(&host);
    assert_event(host.ring, poll, POLLIN);
    drain(&host);
    assert_quiet(&host);
}

TEST(it_is_readable_while_an_event_is_in_the_kernel) {
    struct host host = open_host();
    struct ends pipe = make_pipe();
    arm(host.ring, pipe.near, POLLIN);
    drain(&host);
    for (int i = 0; i < 10; i++) {
        assert_quiet(&host);
        write_some(pipe.far);
        assert_readable(&host);
        assert_int_equal(drain(&host), 1);
    }
    assert_quiet(&host);
}

TEST(it_is_readable_while_an_event_is_queued_for_some_inbox) {
    struct host host = open_host();
    struct pollring_inbox *inbox = pollring_inbox_open(host.ring);
    struct ends pipe = make_pipe();
    struct pollring_poll *poll = add_to(inbox, pipe.near, POLLIN);
    drain(&host);
    for (int i = 0; i < 5; i++) {
        write_some(pipe.far);
        drain(&host);
        assert_int_equal(stats_of(host.ring).queued, 1);
        assert_readable(&host);
        assert_take(host.ring, inbox, poll, POLLIN);
        assert_nothing_to_take(host.ring, inbox);
        assert_quiet(&host);
    }
    pollring_inbox_close(inbox);
}

TEST(it_is_readable_while_the_end_of_a_removed_poll_is_queued) {
    struct host host = open_host();
    struct pollring_poll *poll = arm(host.ring, make_eventfd(), POLLIN);
    drain(&host);
    assert_int_equal(pollring_poll_remove(poll), 0);
    assert_readable(&host);
    assert_last_event(host.ring, poll, -ECANCELED);
    drain(&host);
    assert_quiet(&host);
}

TEST(it_is_readable_after_a_batch_that_was_cut) {
    struct host host = open_host();
    struct pollring_event events[7];
    for (int i = 0; i < 20; i++)
        add(host.ring, make_ready_eventfd(), POLLIN);
    for (int left = 20; left > 0; left -= 7) {
        assert_readable(&host);
        int count = pollring_wait(host.ring, events, 7, &no_time);
        assert_int_equal(count, left < 7 ? left : 7);
        for (int i = 0; i < count; i++)
            read_some(pollring_poll_fd(events[i].poll));
    }
    drain(&host);
    assert_quiet(&host);
}

TEST(it_is_readable_between_two_takes) {
    struct host host = open_host();
    struct pollring_event event;
    for (int i = 0; i < 3; i++)
        add(host.ring, make_ready_eventfd(), POLLIN);
    assert_int_equal(pollring_collect(host.ring, &guard_time), 0);
    for (int i = 0; i < 3; i++) {
        assert_readable(&host);
        assert_int_equal(pollring_take(host.ring, NULL, &event), 1);
        read_some(pollring_poll_fd(event.poll));
    }
    assert_nothing_to_take(host.ring, NULL);
    drain(&host);
    assert_quiet(&host);
}

TEST(it_is_quiet_after_a_full_queue_was_drained) {
    struct host host = open_host();
    int fds[200];
    for (int i = 0; i < 200; i++) {
        struct ends pipe = make_pipe();
        arm(host.ring, pipe.near, POLLIN);
        fds[i] = pipe.far;
    }
    drain(&host);
    for (int round = 0; round < 5; round++) {
        assert_quiet(&host);
        for (int i = 0; i < 200; i++)
            write_some(fds[i]);
        assert_readable(&host);
        assert_int_equal(drain(&host), 200);
    }
    assert_quiet(&host);
}

TEST(it_is_quiet_after_an_iterator_and_a_removal) {
    struct host host = open_host();
    struct ends pipe = make_pipe();
    struct pollring_poll *poll = add(host.ring, pipe.near, POLLIN);
    write_some(pipe.far);
    assert_next(poll, POLLIN);
    assert_next_says(poll, &no_time, -ETIME);
    assert_quiet(&host);
    free_poll(poll);
    drain(&host);
    assert_quiet(&host);
}

/* Where the files of polls are in the host's epoll themselves, they leave it with their last poll. */
TEST(it_is_quiet_when_the_file_of_a_removed_poll_is_ready) {
    struct host host = open_host();
    struct ends pipe = make_pipe();
    int watched = make_eventfd();
    struct ends ends[] = {pipe, {watched, watched}};
    for (size_t i = 0; i < COUNT_OF(ends); i++) {
        struct pollring_poll *removed = arm(host.ring, ends[i].near, POLLIN),
                             *other = arm(host.ring, ends[i].near, POLLIN);
        free_poll(removed);
        drain(&host);
        write_some(ends[i].far);
        assert_readable(&host);
        drain(&host);
        free_poll(other);
        drain(&host);
        write_some(ends[i].far);
        assert_quiet(&host);
    }
}

TEST(a_wake_up_wakes_the_host) {
    struct host host = open_host();
    drain(&host);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(pollring_wake(host.ring), 0);
        assert_true(host_sleeps(&host, i & 1, 0));
        drain(&host);
        assert_quiet_in_the_end(&host);
    }
}

/* ---- a host that sleeps while another thread makes events ---- */

enum moment {
    WHILE_IT_SLEEPS,
    JUST_BEFORE_IT_SLEEPS,
    DURING_THE_DRAIN,
    AT_ANY_TIME,
    MOMENTS,
};

/* The other thread writes once for each round that the host has begun. */
struct maker {
    enum moment moment;
    _Atomic pid_t sleeper;
    atomic_int round; /* the host's: begun */
    atomic_int made;  /* the round whose event is made, or about to be */
    int rounds, fd;
    struct pollring *wakes; /* instead of writing */
};

static bool make_event(const struct maker *maker) {
    uint64_t one = 1;
    return maker->wakes ? pollring_wake(maker->wakes) == 0 : write(maker->fd, &one, sizeof(one)) == sizeof(one);
}

static void *make_events(void *argument) {
    struct maker *maker = argument;
    double end = now_ms() + 4 * GUARD_MS * (1 + factor("TEST_ROUNDS"));
    for (int round = 1; round <= maker->rounds; round++) {
        while (atomic_load(&maker->round) < round && now_ms() < end)
            look_again_soon();
        if (maker->moment == WHILE_IT_SLEEPS && !wait_until_asleep(&maker->sleeper))
            return thread_result(-1);
        for (int i = 0; maker->moment == AT_ANY_TIME && i < round % 50 * 20; i++)
            atomic_load(&maker->round);
        atomic_store(&maker->made, round);
        if (!make_event(maker))
            return thread_result(-1);
    }
    return NULL;
}

/* One round: the event that was made since it began is seen, for which the host may wake in vain some times. */
static void see_one_event(const struct host *host, struct maker *maker, int round, int *wake_ups) {
    bool seen = false;
    if (maker->moment != DURING_THE_DRAIN)
        drain(host);
    atomic_store(&maker->round, round);
    if (maker->moment == DURING_THE_DRAIN)
        seen = drain(host) > 0;
    while (!seen) {
        atomic_store(&maker->sleeper, thread_id());
        bool woken = host_sleeps(host, round & 1, GUARD_MS);
        atomic_store(&maker->sleeper, 0);
        assert_true(woken); /* else a wake-up was lost */
        ++*wake_ups;
        seen = drain(host) > 0;
    }
}

static void run_host(struct ends ends, enum moment moment, int number) {
    struct host host = open_host();
    struct maker maker = {.moment = moment, .rounds = number, .fd = ends.far};
    int wake_ups = 0;
    arm(host.ring, ends.near, POLLIN);
    drain(&host);
    pthread_t thread = start_thread(make_events, &maker);
    for (int round = 1; round <= number; round++)
        see_one_event(&host, &maker, round, &wake_ups);
    assert_int_equal(join_thread(thread), 0);
    /* Where an emulator stops the other processor between work and the flag that shows it, the host spins meanwhile. */
    assert_in_range(wake_ups, 0, (factor("TEST_PATIENCE") > 1 ? 300 : 3) * number);
    drain(&host);
    assert_quiet_in_the_end(&host);
}

TEST(an_event_wakes_a_host_that_sleeps) {
    run_host(make_pipe(), WHILE_IT_SLEEPS, rounds(400));
}

TEST(an_event_just_before_it_sleeps_wakes_a_host) {
    run_host(make_pipe(), JUST_BEFORE_IT_SLEEPS, rounds(500));
}

TEST(an_event_during_the_drain_wakes_a_host_or_is_seen) {
    run_host(make_pipe(), DURING_THE_DRAIN, rounds(500));
}

TEST(an_event_at_any_time_wakes_a_host) {
    run_host(make_pipe(), AT_ANY_TIME, rounds(500));
}

/* Within the wake-up of an eventfd kernels signal no other, or late. */
TEST(an_event_of_an_eventfd_wakes_a_host) {
    for (enum moment moment = 0; moment < MOMENTS; moment++) {
        int fd = make_eventfd();
        run_host((struct ends){fd, fd}, moment, rounds(50));
    }
}

TEST(a_wake_up_from_another_thread_wakes_a_host_that_sleeps) {
    struct host host = open_host();
    int number = rounds(100);
    struct maker maker = {.moment = WHILE_IT_SLEEPS, .rounds = number, .wakes = host.ring};
    drain(&host);
    pthread_t thread = start_thread(make_events, &maker);
    for (int round = 1; round <= number; round++) {
        atomic_store(&maker.round, round);
        while (atomic_load(&maker.made) < round) {
            atomic_store(&maker.sleeper, thread_id());
            assert_true(host_sleeps(&host, round & 1, GUARD_MS));
            atomic_store(&maker.sleeper, 0);
            drain(&host);
        }
        assert_quiet_in_the_end(&host);
    }
    assert_int_equal(join_thread(thread), 0);
}

int main(void) {
    static const struct test tests[] = {
        RUN(the_fd_is_the_same_for_the_whole_life_of_a_ring),
        RUN(it_is_readable_while_a_request_is_not_submitted),
        RUN(a_ring_that_was_filled_before_its_fd_was_asked_for_is_readable),
        RUN(it_is_readable_while_an_event_is_in_the_kernel),
        RUN(it_is_readable_while_an_event_is_queued_for_some_inbox),
        RUN(it_is_readable_while_the_end_of_a_removed_poll_is_queued),
        RUN(it_is_readable_after_a_batch_that_was_cut),
        RUN(it_is_readable_between_two_takes),
        RUN(it_is_quiet_after_a_full_queue_was_drained),
        RUN(it_is_quiet_after_an_iterator_and_a_removal),
        RUN(it_is_quiet_when_the_file_of_a_removed_poll_is_ready),
        RUN(a_wake_up_wakes_the_host),
        RUN(an_event_wakes_a_host_that_sleeps),
        RUN(an_event_just_before_it_sleeps_wakes_a_host),
        RUN(an_event_during_the_drain_wakes_a_host_or_is_seen),
        RUN(an_event_at_any_time_wakes_a_host),
        RUN(an_event_of_an_eventfd_wakes_a_host),
        RUN(a_wake_up_from_another_thread_wakes_a_host_that_sleeps),
    };
    return run_on_variants("host", tests, COUNT_OF(tests));
}
