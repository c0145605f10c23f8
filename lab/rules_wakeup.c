/*
 * The kernel's rules about what wakes whom: sleepers on a ring's fd, on its registered eventfd and in the ring itself,
 * woken by events and by other threads.
 */
#include "kernel.h"

#include <signal.h>

enum { ROUNDS = 20, MISSED_MS = 100, FEW_ROUNDS = 5 };

/* ---- sleepers ---- */

enum { BY_NOTHING = 0, BY_RING_FD = 1, BY_EVENTFD = 2, BY_EITHER = BY_RING_FD | BY_EVENTFD };

/*
 * The owner of a ring sleeps in an epoll, while a thread makes an event of the ring by a write. A sleep that may be
 * missed has a release, written MISSED_MS after that unless the owner is awake by then: what only the release ended was
 * missed. Some kernels wake within the write, some a little later.
 */
struct sleep {
    struct io_uring *ring;
    int epoll, signalled, reader, writer, release;
    bool registers_anew;
    pid_t sleeper;
    atomic_bool about_to_sleep, awake;
};

static void give_time_to_wake(const struct sleep *sleep) {
    for (int ms = 0; ms < MISSED_MS && !atomic_load(&sleep->awake); ms++)
        usleep(1000);
}

static void *wake_when_asleep(void *argument) {
    struct sleep *sleep = argument;
    uint64_t one = 1;
    bool asleep = wait_until_asleep(sleep->sleeper, &sleep->about_to_sleep);
    bool written = write(sleep->writer, &one, sizeof(one)) == sizeof(one);
    if (sleep->release >= 0) {
        give_time_to_wake(sleep);
        written &= write(sleep->release, &one, sizeof(one)) == sizeof(one);
    }
    return (void *)(intptr_t)(asleep && written);
}

static void watch_for_sleep(const struct sleep *sleep, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    need(epoll_ctl(sleep->epoll, EPOLL_CTL_ADD, fd, &event));
}

static void prepare_sleep(struct sleep *sleep, unsigned by, const int ends[2], bool released) {
    *sleep = (struct sleep){.ring = open_ring(),
                            .epoll = need(epoll_create1(EPOLL_CLOEXEC)),
                            .signalled = make_eventfd(),
                            .reader = ends[0],
                            .writer = ends[1],
                            .release = released ? make_eventfd() : -1,
                            .sleeper = (pid_t)syscall(SYS_gettid)};
    ensure(io_uring_register_eventfd(sleep->ring, sleep->signalled) == 0);
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
    atomic_store(&sleep->awake, false);
    pthread_t thread = start_thread(wake_when_asleep, sleep);
    atomic_store(&sleep->about_to_sleep, true);
    int count = epoll_wait(sleep->epoll, events, COUNT_OF(events), GUARD_MS);
    atomic_store(&sleep->awake, true);
    if (count < 0 && errno == EINTR)
        outcome = INTERRUPTED;
    ensure(join_thread(thread));
    for (int i = 0; i < count; i++)
        if (events[i].data.fd != sleep->release)
            outcome = WOKEN;
    return outcome;
}

static void register_anew(struct io_uring *ring, int signalled) {
    ensure(io_uring_unregister_eventfd(ring) == 0);
    ensure(io_uring_register_eventfd(ring, signalled) == 0);
}

/* The event itself is never missed, and comes once. */
static void drain_sleep(struct sleep *sleep) {
    expect_event(sleep->ring, POLL, POLLIN);
    ensure(collect(sleep->ring, &(struct completion){0}, 1) == 0);
    read_some(sleep->reader);
    if (sleep->release >= 0)
        read_some(sleep->release);
    if (sleep->registers_anew)
        register_anew(sleep->ring, sleep->signalled);
    clear_eventfd(sleep->signalled);
}

/* Those that may be missed are fewer, for each takes its time then. */
static void sleep_often(struct sleep *sleep, int outcomes[OUTCOMES]) {
    memset(outcomes, 0, sizeof(int[OUTCOMES]));
    for (int round = 0; round < (sleep->release < 0 ? ROUNDS : FEW_ROUNDS); round++) {
        outcomes[sleep_once(sleep)]++;
        drain_sleep(sleep);
        if (outcomes[MISSED] && sleep->release < 0)
            break;
    }
}

static void sleep_often_on_a_pipe(unsigned by, bool released, int outcomes[OUTCOMES]) {
    int ends[2];
    struct sleep sleep;
    make_pipe(ends);
    prepare_sleep(&sleep, by, ends, released);
    sleep_often(&sleep, outcomes);
}

static void expect_none_missed(const int outcomes[OUTCOMES]) {
    expect_number(text("sleeps that were ended, of %d", ROUNDS), ROUNDS, outcomes[WOKEN] + outcomes[INTERRUPTED]);
}

static void epoll_over_ring_fd_and_eventfd_always_wakes_the_sleeper(void) {
    int outcomes[OUTCOMES];
    sleep_often_on_a_pipe(BY_EITHER, false, outcomes);
    expect_none_missed(outcomes);
}

/* Which of the two it is, updates of one stable series have turned round. */
static void ring_fd_or_eventfd_alone_wakes_the_sleeper_but_not_each_of_them(void) {
    int by_ring_fd[OUTCOMES], by_eventfd[OUTCOMES];
    sleep_often_on_a_pipe(BY_RING_FD, true, by_ring_fd);
    sleep_often_on_a_pipe(BY_EVENTFD, true, by_eventfd);
    expect_text(by_ring_fd[MISSED] == 0 || by_eventfd[MISSED] == 0,
                text("0 of %d missed by the ring's fd or by the eventfd", FEW_ROUNDS),
                text("%d of %d missed by the ring's fd, %d by the eventfd", by_ring_fd[MISSED], FEW_ROUNDS,
                     by_eventfd[MISSED]));
}

/*
 * Within the wake-up of one eventfd the kernel can't signal another. It puts the signal off until after the write, and
 * some kernels never do so a second time for the same registration.
 */
static void event_of_an_eventfd_may_signal_the_registered_one_only_once(void) {
    struct io_uring *ring = open_ring();
    int watched = make_eventfd(), signalled = make_eventfd();
    ensure(io_uring_register_eventfd(ring, signalled) == 0);
    arm_multishot(ring, watched, POLLIN, POLL);
    for (int round = 0; round < 3; round++) {
        bool may_miss = round == 1;
        write_some(watched);
        unsigned signal = (unsigned)state_of(signalled, POLLIN, may_miss ? MISSED_MS : GUARD_MS);
        if (may_miss)
            observe(signal ? "the second signals" : "the second does not signal");
        else
            expect_mask("the registered eventfd", POLLIN, signal);
        expect_event(ring, POLL, POLLIN);
        expect_silence(ring);
        read_some(watched);
        if (may_miss) {
            register_anew(ring, signalled);
            step("registered anew");
        }
        clear_eventfd(signalled);
    }
}

struct registration {
    pthread_t thread;
    atomic_bool done;
};

static void do_nothing(int number) {
    (void)number;
}

static void *interrupt_until_done(void *argument) {
    struct registration *registration = argument;
    for (int ms = 0; !atomic_load(&registration->done); ms++) {
        usleep(1000);
        if (ms > MISSED_MS)
            pthread_kill(registration->thread, SIGUSR1);
    }
    return NULL;
}

/* -EINTR: it waits for the poll to end, and signals had to stop that. */
static int register_beside_a_poll(void) {
    struct sigaction interruption = {.sa_handler = do_nothing};
    struct registration registration = {.thread = pthread_self()};
    struct io_uring *ring = open_ring();
    arm_multishot(ring, make_eventfd(), POLLIN, POLL);
    need(sigaction(SIGUSR1, &interruption, NULL));
    pthread_t thread = start_thread(interrupt_until_done, &registration);
    int result = io_uring_register_eventfd(ring, make_eventfd());
    atomic_store(&registration.done, true);
    join_thread(thread);
    return result;
}

static void registering_an_eventfd_does_not_wait_for_polls(void) {
    expect_result("registering an eventfd", 0, register_beside_a_poll());
}

static void epoll_over_ring_fd_and_an_eventfd_registered_anew_wakes_for_an_eventfd_too(void) {
    int watched = make_eventfd(), outcomes[OUTCOMES];
    struct sleep sleep;
    if (register_beside_a_poll() == -EINTR)
        skip_because("registering waits until no poll is armed");
    prepare_sleep(&sleep, BY_EITHER, (int[]){watched, watched}, false);
    sleep.registers_anew = true;
    sleep_often(&sleep, outcomes);
    expect_none_missed(outcomes);
}

static void event_interrupts_the_owner_in_any_sleep_unless_deferred(void) {
    int outcomes[OUTCOMES];
    sleep_often_on_a_pipe(BY_NOTHING, defers(), outcomes);
    expect_number("woken, of sleeps on nothing", 0, outcomes[WOKEN]);
    expect_number("interrupted", defers() ? 0 : ROUNDS, outcomes[INTERRUPTED]);
    expect_number("missed", defers() ? FEW_ROUNDS : 0, outcomes[MISSED]);
}

static void expect_ring_fd(struct io_uring *ring, unsigned mask) {
    expect_mask("poll(2) of the ring's fd", mask, (unsigned)state_of(ring->ring_fd, POLLIN, 0));
}

static void ring_fd_is_readable_when_work_is_pending(void) {
    struct io_uring *ring = open_ring();
    int watched = make_eventfd();
    arm_multishot(ring, watched, POLLIN, POLL);
    expect_ring_fd(ring, 0);
    write_some(watched);
    expect_ring_fd(ring, POLLIN);
    expect_event(ring, POLL, POLLIN);
    expect_ring_fd(ring, 0);
}

/* Whether an event of a pipe and its collection, from silence on, made the eventfd readable. */
static bool signals(struct io_uring *ring, const int ends[2], int signalled) {
    clear_eventfd(signalled);
    write_some(ends[1]);
    expect_event(ring, POLL, POLLIN);
    expect_silence(ring);
    read_some(ends[0]);
    return state_of(signalled, POLLIN, 0) == POLLIN;
}

static void registered_eventfd_is_signalled_unless_switched_off(void) {
    int ends[2], signalled = make_eventfd();
    struct io_uring *ring = open_ring();
    make_pipe(ends);
    ensure(io_uring_register_eventfd(ring, signalled) == 0);
    arm_multishot(ring, ends[0], POLLIN, POLL);
    expect_whether("signalled", true, signals(ring, ends, signalled));
    ensure(io_uring_cq_eventfd_toggle(ring, false) == 0);
    expect_whether("signalled when switched off", false, signals(ring, ends, signalled));
    ensure(io_uring_cq_eventfd_toggle(ring, true) == 0);
    expect_whether("signalled when switched on", true, signals(ring, ends, signalled));
}

/* Whether collecting one pending event signals the eventfd, after the signal of the event itself was read. */
static bool collecting_signals(struct io_uring *ring, const int ends[2], int signalled, bool enabled) {
    write_some(ends[1]);
    clear_eventfd(signalled);
    ensure(io_uring_cq_eventfd_toggle(ring, enabled) == 0);
    expect_event(ring, POLL, POLLIN);
    expect_silence(ring);
    ensure(io_uring_cq_eventfd_toggle(ring, true) == 0);
    read_some(ends[0]);
    return state_of(signalled, POLLIN, 0) == POLLIN;
}

static void collecting_signals_the_eventfd_again_unless_it_is_switched_off(void) {
    int ends[2], signalled = make_eventfd();
    struct io_uring *ring = open_ring();
    make_pipe(ends);
    ensure(io_uring_register_eventfd(ring, signalled) == 0);
    arm_multishot(ring, ends[0], POLLIN, POLL);
    expect_whether("signalled by collecting", true, collecting_signals(ring, ends, signalled, true));
    expect_whether("signalled when switched off", false, collecting_signals(ring, ends, signalled, false));
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
    if (!wait_until_asleep(call->owner, &call->about_to_sleep))
        return (void *)1;
    int refused = open_ring_with(&ring, 0, 2, 4);
    if (refused)
        return (void *)(intptr_t)refused;
    io_uring_prep_msg_ring(io_uring_get_sqe(&ring), call->fd, 42, MESSAGE, 0);
    int submitted = io_uring_submit(&ring);
    int error = submitted == 1 ? await_completion(&ring, &sent) : submitted;
    io_uring_queue_exit(&ring);
    return (void *)(intptr_t)(error ? error : sent.res);
}

/* Sleeps in the ring until a thread calls, which brings this completion. */
static void expect_call(struct io_uring *ring, int fd, void *(*caller)(void *), struct completion expected) {
    struct completion got;
    require_threads_during_an_enter();
    struct call call = {.owner = (pid_t)syscall(SYS_gettid), .fd = fd};
    pthread_t thread = start_thread(caller, &call);
    atomic_store(&call.about_to_sleep, true);
    int error = await_completion(ring, &got), result = join_thread(thread);
    if (result)
        expect_allowed("the caller", 0, result);
    if (error)
        expect_result("the wait", 0, error);
    expect_completion(expected, got);
}

static void write_to_a_watched_eventfd_wakes_the_owner_in_its_wait(void) {
    struct io_uring *ring = open_ring();
    int waker = make_eventfd();
    arm_multishot(ring, waker, POLLIN, POLL);
    for (int i = 0; i < ROUNDS; i++) {
        expect_call(ring, waker, call_by_eventfd, (struct completion){POLL, POLLIN, true});
        read_some(waker);
    }
}

static bool has_msg_ring(struct io_uring *ring) {
    struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
    bool supported = probe && io_uring_opcode_supported(probe, IORING_OP_MSG_RING);
    io_uring_free_probe(probe);
    return supported;
}

static void msg_ring_wakes_the_owner_in_its_wait(void) {
    struct io_uring *ring = open_ring();
    if (!has_msg_ring(ring))
        skip_because("no IORING_OP_MSG_RING");
    expect_call(ring, ring->ring_fd, call_by_msg_ring, (struct completion){MESSAGE, 42, false});
}

static void poll_of_the_waker_is_ended_by_overflow_too(void) {
    struct completion got[3];
    require_overflow_to_end_polls();
    struct io_uring *ring = open_sized_ring(2, 2);
    int waker = make_eventfd();
    arm_multishot(ring, waker, POLLIN, POLL);
    for (int i = 0; i < 2; i++)
        submit_nop(ring);
    expect_number("CQEs before the call", 2, io_uring_cq_ready(ring));
    ensure(in_thread(call_by_eventfd, &(struct call){getpid(), true, waker}) == 0);
    expect_number("CQEs", 3, collect(ring, got, COUNT_OF(got)));
    expect_completion((struct completion){POLL, POLLIN, false}, got[2]);
}

const struct rule wakeup_rules[] = {
    RULE(epoll_over_ring_fd_and_eventfd_always_wakes_the_sleeper, EACH_SETUP, KERNEL,
         "A thread that sleeps in an epoll over the ring's fd and its registered eventfd is woken, or interrupted, by "
         "each event."),
    RULE(ring_fd_or_eventfd_alone_wakes_the_sleeper_but_not_each_of_them, ON_DEFER, KERNEL,
         "With DEFER_TASKRUN one of the ring's fd and the registered eventfd wakes a sleeper each time; which, depends "
         "on the kernel."),
    RULE(event_of_an_eventfd_may_signal_the_registered_one_only_once, ON_DEFER, KERNEL,
         "With DEFER_TASKRUN events of a file that an eventfd wakes may signal the registered eventfd only once; "
         "registered anew it is signalled again."),
    RULE(registering_an_eventfd_does_not_wait_for_polls, EACH_SETUP, KERNEL,
         "An eventfd is registered at once, whatever polls are armed."),
    RULE(epoll_over_ring_fd_and_an_eventfd_registered_anew_wakes_for_an_eventfd_too, EACH_SETUP, KERNEL,
         "Where the eventfd is registered anew after each event, events of a watched eventfd wake the sleeper too."),
    RULE(event_interrupts_the_owner_in_any_sleep_unless_deferred, EACH_SETUP, KERNEL,
         "Without DEFER_TASKRUN each event interrupts the owner's own epoll_wait with EINTR; with it, none does."),
    RULE(ring_fd_is_readable_when_work_is_pending, EACH_SETUP, KERNEL,
         "poll(2) says that the ring's fd is readable while work is pending."),
    RULE(registered_eventfd_is_signalled_unless_switched_off, EACH_SETUP, KERNEL,
         "The registered eventfd is signalled by an event, unless it is switched off in the ring's flags."),
    RULE(collecting_signals_the_eventfd_again_unless_it_is_switched_off, ON_DEFER, KERNEL,
         "With DEFER_TASKRUN collecting an event signals the registered eventfd again, unless it is switched off."),
    RULE(write_to_a_watched_eventfd_wakes_the_owner_in_its_wait, EACH_SETUP, KERNEL,
         "A thread wakes the owner in its wait by a write to an eventfd with a multishot poll."),
    RULE(msg_ring_wakes_the_owner_in_its_wait, EACH_SETUP, KERNEL,
         "A thread wakes the owner in its wait by MSG_RING from a ring of its own."),
    RULE(poll_of_the_waker_is_ended_by_overflow_too, EACH_SETUP, KERNEL,
         "A full completion queue ends the poll of such an eventfd too."),
    {0},
};
