/*
 * The kernel's rules about what wakes whom: sleepers on a ring's fd, on its registered eventfd and in the ring itself,
 * woken by events and by other threads.
 *
 * Raw liburing; it must not know pollring.
 */
#include "kernel.h"

enum { ROUNDS = 20, MISSED_MS = 100 };

/* ---- sleepers ---- */

enum { BY_NOTHING = 0, BY_RING_FD = 1, BY_EVENTFD = 2, BY_EITHER = BY_RING_FD | BY_EVENTFD };

/*
 * The owner of a ring sleeps in an epoll, while a thread makes an event of the ring by a write. A sleep that may be
 * missed has a release, written after that: the wake-up by a pipe comes within the write, so what only the release
 * ended was missed.
 */
struct sleep {
    struct io_uring *ring;
    int epoll, signalled, reader, writer, release;
    bool registers_anew;
    pid_t sleeper;
    atomic_bool about_to_sleep;
};

static void *wake_when_asleep(void *argument) {
    struct sleep *sleep = argument;
    uint64_t one = 1;
    bool asleep = wait_until_asleep(sleep->sleeper, &sleep->about_to_sleep);
    bool written = write(sleep->writer, &one, sizeof(one)) == sizeof(one) &&
                   (sleep->release < 0 || write(sleep->release, &one, sizeof(one)) == sizeof(one));
    return (void *)(intptr_t)(asleep && written);
}

static void watch_for_sleep(const struct sleep *sleep, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    assert_return_code(epoll_ctl(sleep->epoll, EPOLL_CTL_ADD, fd, &event), errno);
}

static void prepare_sleep(void **state, struct sleep *sleep, unsigned by, const int ends[2], bool released) {
    *sleep = (struct sleep){.ring = open_ring(state),
                            .epoll = keep_fd(state, epoll_create1(EPOLL_CLOEXEC)),
                            .signalled = make_eventfd(state),
                            .reader = ends[0],
                            .writer = ends[1],
                            .release = released ? make_eventfd(state) : -1,
                            .sleeper = (pid_t)syscall(SYS_gettid)};
    assert_int_equal(io_uring_register_eventfd(sleep->ring, sleep->signalled), 0);
    arm_multishot(sleep->ring, sleep->reader, POLLIN, POLL);
    if (released)
        watch_for_sleep(sleep, sleep->release);
    if (by & BY_RING_FD)
        watch_for_sleep(sleep, sleep->ring->ring_fd);
    if (by & BY_EVENTFD)
        watch_for_sleep(sleep, sleep->signalled);
}

enum { MISSED, WOKEN, INTERRUPTED, OUTCOMES };

static int sleep_once(struct sleep *sleep) {
    struct epoll_event events[4];
    int outcome = MISSED;
    atomic_store(&sleep->about_to_sleep, false);
    pthread_t thread = start_thread(wake_when_asleep, sleep);
    atomic_store(&sleep->about_to_sleep, true);
    int count = epoll_wait(sleep->epoll, events, COUNT_OF(events), GUARD_MS);
    if (count < 0 && errno == EINTR)
        outcome = INTERRUPTED;
    assert_true(join_thread(thread));
    for (int i = 0; i < count; i++)
        if (events[i].data.fd != sleep->release)
            outcome = WOKEN;
    return outcome;
}

static void register_anew(struct io_uring *ring, int signalled) {
    assert_int_equal(io_uring_unregister_eventfd(ring), 0);
    assert_int_equal(io_uring_register_eventfd(ring, signalled), 0);
}

static void drain_sleep(struct sleep *sleep) {
    assert_event(sleep->ring, POLL, POLLIN);
    assert_silence(sleep->ring);
    read_some(sleep->reader);
    if (sleep->release >= 0)
        read_some(sleep->release);
    if (sleep->registers_anew)
        register_anew(sleep->ring, sleep->signalled);
    clear_eventfd(sleep->signalled);
}

static void sleep_often(struct sleep *sleep, int outcomes[OUTCOMES]) {
    memset(outcomes, 0, sizeof(int[OUTCOMES]));
    for (int round = 0; round < ROUNDS; round++) {
        outcomes[sleep_once(sleep)]++;
        drain_sleep(sleep);
        if (outcomes[MISSED] && sleep->release < 0)
            break;
    }
    print_message("of %d sleeps %d were woken, %d interrupted, %d missed\n", ROUNDS, outcomes[WOKEN],
                  outcomes[INTERRUPTED], outcomes[MISSED]);
}

static void sleep_often_on_a_pipe(void **state, unsigned by, bool released, int outcomes[OUTCOMES]) {
    int ends[2];
    struct sleep sleep;
    make_pipe(state, ends);
    prepare_sleep(state, &sleep, by, ends, released);
    sleep_often(&sleep, outcomes);
}

static void epoll_over_ring_fd_and_eventfd_always_wakes_the_sleeper(void **state) {
    int outcomes[OUTCOMES];
    sleep_often_on_a_pipe(state, BY_EITHER, false, outcomes);
    assert_int_equal(outcomes[WOKEN] + outcomes[INTERRUPTED], ROUNDS);
}

/* Which of the two it is, updates of one stable series have turned round. */
static void ring_fd_or_eventfd_alone_wakes_the_sleeper_but_not_each_of_them(void **state) {
    int by_ring_fd[OUTCOMES], by_eventfd[OUTCOMES];
    print_message("on the ring's fd: ");
    sleep_often_on_a_pipe(state, BY_RING_FD, true, by_ring_fd);
    print_message("on the eventfd: ");
    sleep_often_on_a_pipe(state, BY_EVENTFD, true, by_eventfd);
    assert_true(by_ring_fd[MISSED] == 0 || by_eventfd[MISSED] == 0);
}

/*
 * Within the wake-up of one eventfd the kernel can't signal another. It puts the signal off until after the write, and
 * some kernels never do so a second time for the same registration.
 */
static void event_of_an_eventfd_may_signal_the_registered_one_only_once(void **state) {
    struct io_uring *ring = open_ring(state);
    int watched = make_eventfd(state), signalled = make_eventfd(state);
    assert_int_equal(io_uring_register_eventfd(ring, signalled), 0);
    arm_multishot(ring, watched, POLLIN, POLL);
    for (int round = 0; round < 3; round++) {
        bool may_miss = round == 1;
        write_some(watched);
        short state_seen = state_of(signalled, POLLIN, may_miss ? MISSED_MS : GUARD_MS);
        if (may_miss)
            print_message("second event of an eventfd: %s\n", state_seen ? "signalled" : "not signalled");
        else
            assert_int_equal(state_seen, POLLIN);
        assert_event(ring, POLL, POLLIN);
        assert_silence(ring);
        read_some(watched);
        if (may_miss)
            register_anew(ring, signalled);
        clear_eventfd(signalled);
    }
}

static void epoll_over_ring_fd_and_an_eventfd_registered_anew_wakes_for_an_eventfd_too(void **state) {
    int watched = make_eventfd(state), outcomes[OUTCOMES];
    struct sleep sleep;
    prepare_sleep(state, &sleep, BY_EITHER, (int[]){watched, watched}, false);
    sleep.registers_anew = true;
    sleep_often(&sleep, outcomes);
    assert_int_equal(outcomes[WOKEN] + outcomes[INTERRUPTED], ROUNDS);
}

static void event_interrupts_the_owner_in_any_sleep_unless_deferred(void **state) {
    int outcomes[OUTCOMES];
    sleep_often_on_a_pipe(state, BY_NOTHING, defers(state), outcomes);
    assert_int_equal(outcomes[WOKEN], 0);
    /* The end of a ring before this one may interrupt too. */
    assert_in_range(outcomes[INTERRUPTED], defers(state) ? 0 : ROUNDS, defers(state) ? ROUNDS / 2 : ROUNDS);
}

static void ring_fd_is_readable_when_work_is_pending(void **state) {
    struct io_uring *ring = open_ring(state);
    int watched = make_eventfd(state);
    arm_multishot(ring, watched, POLLIN, POLL);
    assert_int_equal(state_of(ring->ring_fd, POLLIN, 0), 0);
    write_some(watched);
    assert_int_equal(state_of(ring->ring_fd, POLLIN, 0), POLLIN);
    assert_event(ring, POLL, POLLIN);
    assert_int_equal(state_of(ring->ring_fd, POLLIN, 0), 0);
}

/* Whether an event of a pipe and its collection, from silence on, made the eventfd readable. */
static bool signals(struct io_uring *ring, const int ends[2], int signalled) {
    clear_eventfd(signalled);
    write_some(ends[1]);
    assert_event(ring, POLL, POLLIN);
    assert_silence(ring);
    read_some(ends[0]);
    return state_of(signalled, POLLIN, 0) == POLLIN;
}

static void registered_eventfd_is_signalled_unless_switched_off(void **state) {
    int ends[2], signalled = make_eventfd(state);
    struct io_uring *ring = open_ring(state);
    make_pipe(state, ends);
    assert_int_equal(io_uring_register_eventfd(ring, signalled), 0);
    arm_multishot(ring, ends[0], POLLIN, POLL);
    assert_true(signals(ring, ends, signalled));
    assert_int_equal(io_uring_cq_eventfd_toggle(ring, false), 0);
    assert_false(signals(ring, ends, signalled));
    assert_int_equal(io_uring_cq_eventfd_toggle(ring, true), 0);
    assert_true(signals(ring, ends, signalled));
}

/* Whether collecting one pending event signals the eventfd, after the signal of the event itself was read. */
static bool collecting_signals(struct io_uring *ring, const int ends[2], int signalled, bool enabled) {
    write_some(ends[1]);
    clear_eventfd(signalled);
    assert_int_equal(io_uring_cq_eventfd_toggle(ring, enabled), 0);
    assert_event(ring, POLL, POLLIN);
    assert_silence(ring);
    assert_int_equal(io_uring_cq_eventfd_toggle(ring, true), 0);
    read_some(ends[0]);
    return state_of(signalled, POLLIN, 0) == POLLIN;
}

static void collecting_signals_the_eventfd_again_unless_it_is_switched_off(void **state) {
    int ends[2], signalled = make_eventfd(state);
    struct io_uring *ring = open_ring(state);
    make_pipe(state, ends);
    assert_int_equal(io_uring_register_eventfd(ring, signalled), 0);
    arm_multishot(ring, ends[0], POLLIN, POLL);
    assert_true(collecting_signals(ring, ends, signalled, true));
    assert_false(collecting_signals(ring, ends, signalled, false));
}

/* ---- waking the owner from another thread ---- */

struct call {
    pid_t owner;
    atomic_bool about_to_sleep;
    int fd;
};

static void *call_by_eventfd(void *argument) {
    struct call *call = argument;
    bool asleep = wait_until_asleep(call->owner, &call->about_to_sleep);
    return (void *)(intptr_t)(write(call->fd, &(uint64_t){1}, sizeof(uint64_t)) < 0 || !asleep);
}

static void *call_by_msg_ring(void *argument) {
    struct call *call = argument;
    struct io_uring ring;
    struct completion sent = {0};
    if (!wait_until_asleep(call->owner, &call->about_to_sleep) || open_ring_with(&ring, 0, 2, 4) < 0)
        return (void *)1;
    io_uring_prep_msg_ring(io_uring_get_sqe(&ring), call->fd, 42, POLL, 0);
    int submitted = io_uring_submit(&ring);
    int error = submitted == 1 ? await_completion(&ring, &sent) : submitted;
    io_uring_queue_exit(&ring);
    return (void *)(intptr_t)(error ? error : sent.res);
}

/* Sleeps in the ring until a thread calls. Returns what the thread says. */
static int await_call(struct io_uring *ring, int fd, void *(*caller)(void *), struct completion *got) {
    require_threads_during_an_enter();
    struct call call = {.owner = (pid_t)syscall(SYS_gettid), .fd = fd};
    pthread_t thread = start_thread(caller, &call);
    atomic_store(&call.about_to_sleep, true);
    int error = await_completion(ring, got);
    int result = join_thread(thread);
    return result ? result : error;
}

static void write_to_a_watched_eventfd_wakes_the_owner_in_its_wait(void **state) {
    struct completion got;
    struct io_uring *ring = open_ring(state);
    int waker = make_eventfd(state);
    arm_multishot(ring, waker, POLLIN, POLL);
    for (int i = 0; i < ROUNDS; i++) {
        assert_int_equal(await_call(ring, waker, call_by_eventfd, &got), 0);
        assert_int_equal(got.res, POLLIN);
        assert_true(got.more);
        read_some(waker);
    }
}

static bool has_msg_ring(struct io_uring *ring) {
    struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
    bool supported = probe && io_uring_opcode_supported(probe, IORING_OP_MSG_RING);
    io_uring_free_probe(probe);
    return supported;
}

static void msg_ring_wakes_the_owner_in_its_wait(void **state) {
    struct completion got;
    struct io_uring *ring = open_ring(state);
    if (!has_msg_ring(ring))
        skip_because("no IORING_OP_MSG_RING");
    assert_int_equal(await_call(ring, ring->ring_fd, call_by_msg_ring, &got), 0);
    assert_int_equal(got.user_data, POLL);
    assert_int_equal(got.res, 42);
    assert_false(got.more);
}

static void poll_of_the_waker_is_ended_by_overflow_too(void **state) {
    struct completion got[3];
    struct io_uring *ring = open_sized_ring(state, 2, 2);
    int waker = make_eventfd(state);
    arm_multishot(ring, waker, POLLIN, POLL);
    for (int i = 0; i < 2; i++) {
        next_sqe(ring, NOP);
        assert_int_equal(io_uring_submit(ring), 1);
    }
    assert_int_equal(io_uring_cq_ready(ring), 2);
    assert_int_equal(in_thread(call_by_eventfd, &(struct call){getpid(), true, waker}), 0);
    assert_int_equal(collect(ring, got, COUNT_OF(got)), 3);
    assert_int_equal(got[2].user_data, POLL);
    assert_int_equal(got[2].res, POLLIN);
    assert_false(got[2].more);
}

int main(void) {
    const struct rule rules[] = {
        EACH_SETUP(epoll_over_ring_fd_and_eventfd_always_wakes_the_sleeper),
        ON_DEFER(ring_fd_or_eventfd_alone_wakes_the_sleeper_but_not_each_of_them),
        ON_DEFER(event_of_an_eventfd_may_signal_the_registered_one_only_once),
        EACH_SETUP(epoll_over_ring_fd_and_an_eventfd_registered_anew_wakes_for_an_eventfd_too),
        EACH_SETUP(event_interrupts_the_owner_in_any_sleep_unless_deferred),
        EACH_SETUP(ring_fd_is_readable_when_work_is_pending),
        EACH_SETUP(registered_eventfd_is_signalled_unless_switched_off),
        ON_DEFER(collecting_signals_the_eventfd_again_unless_it_is_switched_off),
        EACH_SETUP(write_to_a_watched_eventfd_wakes_the_owner_in_its_wait),
        EACH_SETUP(msg_ring_wakes_the_owner_in_its_wait),
        EACH_SETUP(poll_of_the_waker_is_ended_by_overflow_too),
    };
    return run_rules("kernel: wakeup", rules, COUNT_OF(rules));
}
