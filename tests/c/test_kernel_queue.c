/*
 * The kernel's rules about the completion queue: overflow and what it does to polls, how much work an enter runs,
 * growing the queue, its sizes, and how waits end.
 *
 * Raw liburing; it must not know pollring.
 */
#include "kernel.h"

#include <signal.h>
#include <sys/mman.h>

enum { FILES = 100, SMALL_CQ = 8 };

/* user_data is the index of the file. */
static void arm_eventfds(void **state, struct io_uring *ring, int fds[FILES]) {
    for (int i = 0; i < FILES; i++) {
        fds[i] = make_eventfd(state);
        arm_multishot(ring, fds[i], POLLIN, (uint64_t)i);
    }
}

static void write_all(const int fds[FILES]) {
    for (int i = 0; i < FILES; i++)
        write_some(fds[i]);
}

/* Collects one event of every file. Returns how many of them ended their poll. */
static unsigned collect_one_of_each(struct io_uring *ring, struct completion got[FILES]) {
    struct completion none_left;
    bool seen[FILES] = {false};
    unsigned ended = 0;
    assert_int_equal(collect(ring, got, FILES), FILES);
    assert_int_equal(collect(ring, &none_left, 1), 0);
    for (int i = 0; i < FILES; i++) {
        assert_int_equal(got[i].res, POLLIN);
        assert_false(seen[got[i].user_data]);
        seen[got[i].user_data] = true;
        ended += !got[i].more;
    }
    return ended;
}

/* ---- overflow ---- */

static void full_queue_ends_each_poll_that_fires_and_drops_nothing(void **state) {
    int fds[FILES];
    struct completion got[FILES];
    struct io_uring *ring = open_sized_ring(state, 4, SMALL_CQ);
    arm_eventfds(state, ring, fds);
    write_all(fds);
    assert_int_equal(collect_one_of_each(ring, got), FILES - SMALL_CQ);
}

static void poll_that_overflow_ended_is_deaf_and_the_others_go_on(void **state) {
    int fds[FILES];
    struct completion got[FILES], events[FILES];
    struct io_uring *ring = open_sized_ring(state, 4, SMALL_CQ);
    arm_eventfds(state, ring, fds);
    write_all(fds);
    collect_one_of_each(ring, got);
    for (int i = 0; i < FILES; i++) {
        write_some(fds[got[i].user_data]);
        assert_int_equal(collect(ring, events, FILES), got[i].more ? 1 : 0);
    }
}

static void poll_that_overflow_ended_reports_at_once_when_armed_again(void **state) {
    int fds[FILES];
    struct completion got[FILES];
    struct io_uring *ring = open_sized_ring(state, 4, SMALL_CQ);
    arm_eventfds(state, ring, fds);
    write_all(fds);
    collect_one_of_each(ring, got);
    for (int i = 0; i < FILES; i++) {
        if (got[i].more)
            continue;
        arm_multishot(ring, fds[got[i].user_data], POLLIN, got[i].user_data);
        assert_event(ring, got[i].user_data, POLLIN);
    }
}

/* Drains the queue, arms the polls that ended again, before or after the files were read, until there is silence. */
static unsigned count_cqes_until_silence(void **state, bool read_first) {
    int fds[FILES];
    bool seen[FILES] = {false};
    struct completion got[FILES];
    struct io_uring *ring = open_sized_ring(state, 4, SMALL_CQ);
    unsigned cqes = 0, reported = 0, count;
    arm_eventfds(state, ring, fds);
    write_all(fds);
    while ((count = collect(ring, got, FILES))) {
        cqes += count;
        for (unsigned i = 0; i < count; i++) {
            int fd = fds[got[i].user_data];
            reported += !seen[got[i].user_data];
            seen[got[i].user_data] = true;
            if (read_first)
                read_some(fd);
            if (!got[i].more)
                arm_multishot(ring, fd, POLLIN, got[i].user_data);
        }
    }
    assert_int_equal(reported, FILES);
    return cqes;
}

static void arming_again_loses_nothing_and_costs_least_after_the_readers_had_read(void **state) {
    unsigned after = count_cqes_until_silence(state, true);
    unsigned at_once = count_cqes_until_silence(state, false);
    print_message("%d ready files: %u CQEs when armed again after reading, %u when armed again at once\n", FILES, after,
                  at_once);
    assert_int_equal(after, FILES);
    assert_true(at_once > FILES);
}

/* Room in the queue doesn't help: what overflowed goes first. So arming again before the drain is over may never end.
 */
static void poll_armed_again_before_the_overflow_is_drained_is_ended_again(void **state) {
    int fds[FILES];
    struct completion got[FILES];
    struct io_uring *ring = open_sized_ring(state, 4, SMALL_CQ);
    arm_eventfds(state, ring, fds);
    write_all(fds);
    do
        assert_int_equal(io_uring_get_events(ring), 0);
    while (queue_flags(ring) & IORING_SQ_TASKRUN);
    assert_int_equal(take(ring, got, FILES), SMALL_CQ);
    assert_true(queue_flags(ring) & IORING_SQ_CQ_OVERFLOW);
    int ready = make_eventfd(state);
    write_some(ready);
    arm_multishot(ring, ready, POLLIN, FILES);
    assert_int_equal(collect(ring, got, FILES), FILES - SMALL_CQ + 1);
    assert_int_equal(got[FILES - SMALL_CQ].user_data, FILES);
    assert_int_equal(got[FILES - SMALL_CQ].res, POLLIN);
    assert_false(got[FILES - SMALL_CQ].more);
}

static void ending_by_overflow_looks_like_an_unpollable_file_and_epoll_ctl_tells(void **state) {
    int fds[FILES];
    struct completion got[FILES];
    struct epoll_event event = {.events = EPOLLIN};
    struct io_uring *ring = open_sized_ring(state, 4, SMALL_CQ);
    int scratch = keep_fd(state, epoll_create1(EPOLL_CLOEXEC));
    int unpollable = keep_fd(state, open("/dev/null", O_RDONLY | O_CLOEXEC));
    arm_eventfds(state, ring, fds);
    write_all(fds);
    collect_one_of_each(ring, got);
    assert_false(got[FILES - 1].more);
    arm_multishot(ring, unpollable, POLLIN, FILES);
    assert_end(ring, FILES, got[FILES - 1].res);
    assert_int_equal(epoll_ctl(scratch, EPOLL_CTL_ADD, fds[got[FILES - 1].user_data], &event), 0);
    assert_int_equal(epoll_ctl(scratch, EPOLL_CTL_ADD, unpollable, &event), -1);
    assert_int_equal(errno, EPERM);
}

/* ---- how much is collected ---- */

static void several_wakeups_before_a_collection_are_one_cqe_when_deferred(void **state) {
    struct completion got[8];
    struct io_uring *ring = open_ring(state);
    int watched = make_eventfd(state);
    arm_multishot(ring, watched, POLLIN, POLL);
    for (int i = 0; i < 5; i++)
        write_some(watched);
    assert_int_equal(collect(ring, got, COUNT_OF(got)), defers(state) ? 1 : 5);
}

static void enters_until_taskrun_is_clear_collect_all_that_is_pending(void **state) {
    int fds[FILES];
    struct completion got[FILES];
    struct io_uring *ring = open_ring(state);
    arm_eventfds(state, ring, fds);
    write_all(fds);
    assert_true(queue_flags(ring) & IORING_SQ_TASKRUN);
    assert_int_equal(io_uring_cq_ready(ring), 0);
    assert_int_equal(io_uring_get_events(ring), 0);
    unsigned batch = io_uring_cq_ready(ring);
    print_message("one enter ran %u of %d work items\n", batch, FILES);
    assert_in_range(batch, 20, FILES);
    assert_true(batch == FILES || queue_flags(ring) & IORING_SQ_TASKRUN);
    while (queue_flags(ring) & IORING_SQ_TASKRUN)
        assert_int_equal(io_uring_get_events(ring), 0);
    assert_int_equal(io_uring_cq_ready(ring), FILES);
    assert_int_equal(collect_one_of_each(ring, got), 0);
}

static void min_complete_raises_the_work_items_of_one_enter(void **state) {
    int fds[FILES];
    struct io_uring *ring = open_ring(state);
    arm_eventfds(state, ring, fds);
    write_all(fds);
    assert_int_equal(io_uring_enter((unsigned)ring->ring_fd, 0, 90, IORING_ENTER_GETEVENTS, NULL), 0);
    assert_in_range(io_uring_cq_ready(ring), 90, FILES);
}

static void enter_with_getevents_and_no_min_complete_does_not_wait(void **state) {
    struct io_uring *ring = open_ring(state);
    int watched = make_eventfd(state);
    arm_multishot(ring, watched, POLLIN, POLL);
    assert_int_equal(io_uring_enter((unsigned)ring->ring_fd, 0, 0, IORING_ENTER_GETEVENTS, NULL), 0);
    assert_int_equal(io_uring_cq_ready(ring), 0);
    write_some(watched);
    assert_int_equal(io_uring_enter((unsigned)ring->ring_fd, 0, 0, IORING_ENTER_GETEVENTS, NULL), 0);
    assert_int_equal(io_uring_cq_ready(ring), 1);
}

/* ---- growing the queue ---- */

/* What io_uring_resize_rings() of newer liburings does. 0 or -errno. */
static int resize(struct io_uring *ring, unsigned sq_entries, unsigned cq_entries) {
    struct io_uring_params params = {.flags = IORING_SETUP_CQSIZE, .sq_entries = sq_entries, .cq_entries = cq_entries};
    struct io_uring old = *ring;
    int error = io_uring_register((unsigned)ring->ring_fd, REGISTER_RESIZE_RINGS, &params, 1);
    if (error < 0)
        return error;
    print_message("resize answers sq_off.array = %u\n", params.sq_off.array);
    if (params.sq_off.array == 0)
        params.sq_off.array =
            (params.cq_off.cqes + (unsigned)sizeof(struct io_uring_cqe) * params.cq_entries + 63) & ~63u;
    params.flags = old.flags;
    params.features = old.features;
    munmap(old.sq.sqes, old.sq.ring_entries * sizeof(struct io_uring_sqe));
    munmap(old.sq.ring_ptr, old.sq.ring_sz);
    error = io_uring_queue_mmap(old.ring_fd, &params, ring);
    if (error < 0)
        return error;
    ring->features = old.features; /* what newer liburings set elsewhere */
    ring->flags = old.flags;
    ring->ring_fd = old.ring_fd;
    ring->enter_ring_fd = old.enter_ring_fd;
    ring->sq.sqe_head = ring->sq.sqe_tail = *ring->sq.ktail;
    for (unsigned i = 0; ring->sq.array && i < ring->sq.ring_entries; i++) /* newer liburings go without the array */
        ring->sq.array[i] = i;
    return 0;
}

static void require_resize(struct io_uring *ring, unsigned sq_entries, unsigned cq_entries) {
    int error = resize(ring, sq_entries, cq_entries);
    if (error == -EINVAL)
        skip_because("no IORING_REGISTER_RESIZE_RINGS");
    assert_int_equal(error, 0);
}

static void queue_grows_in_overflow_with_polls_armed_and_nothing_is_lost(void **state) {
    int fds[FILES];
    struct completion got[FILES];
    struct io_uring *ring = open_sized_ring(state, 4, SMALL_CQ);
    arm_eventfds(state, ring, fds);
    write_all(fds);
    do
        assert_int_equal(io_uring_get_events(ring), 0);
    while (queue_flags(ring) & IORING_SQ_TASKRUN);
    assert_true(queue_flags(ring) & IORING_SQ_CQ_OVERFLOW);
    require_resize(ring, 4, 256);
    assert_int_equal(*ring->cq.kring_entries, 256);
    assert_int_equal(collect_one_of_each(ring, got), FILES - SMALL_CQ);
    for (int i = 0; i < FILES; i++) {
        read_some(fds[got[i].user_data]);
        if (!got[i].more)
            arm_multishot(ring, fds[got[i].user_data], POLLIN, got[i].user_data);
    }
    write_all(fds);
    assert_int_equal(collect_one_of_each(ring, got), 0);
}

/* So a loop that enters until the flag is clear would not end. */
static void resize_may_set_taskrun_with_nothing_pending_and_the_next_work_clears_it(void **state) {
    struct io_uring *ring = open_sized_ring(state, 4, SMALL_CQ);
    int watched = make_eventfd(state);
    arm_multishot(ring, watched, POLLIN, POLL);
    assert_false(queue_flags(ring) & IORING_SQ_TASKRUN);
    require_resize(ring, 4, 64);
    assert_int_equal(io_uring_get_events(ring), 0);
    assert_int_equal(io_uring_cq_ready(ring), 0);
    print_message("TASKRUN after a resize, with nothing pending: %s\n",
                  queue_flags(ring) & IORING_SQ_TASKRUN ? "set" : "clear");
    write_some(watched);
    assert_true(queue_flags(ring) & IORING_SQ_TASKRUN);
    assert_int_equal(io_uring_get_events(ring), 0);
    assert_int_equal(io_uring_cq_ready(ring), 1);
    assert_false(queue_flags(ring) & IORING_SQ_TASKRUN);
}

static void resize_is_refused_unless_deferred(void **state) {
    struct io_uring_params params = {.sq_entries = 64, .cq_entries = 1024, .flags = IORING_SETUP_CQSIZE};
    struct io_uring *ring = open_ring(state);
    assert_int_equal(io_uring_register((unsigned)ring->ring_fd, REGISTER_RESIZE_RINGS, &params, 1), -EINVAL);
    assert_int_equal(*ring->cq.kring_entries, 256);
}

/* ---- sizes ---- */

static int sizes_of(void **state, unsigned sq_entries, unsigned cq_entries, unsigned given[2]) {
    struct io_uring ring;
    int error = open_ring_with(&ring, ((struct fixture *)*state)->setup->flags, sq_entries, cq_entries);
    if (error)
        return error;
    given[0] = *ring.sq.kring_entries;
    given[1] = *ring.cq.kring_entries;
    io_uring_queue_exit(&ring);
    return 0;
}

static void sizes_are_rounded_up_to_powers_of_two(void **state) {
    unsigned given[2];
    assert_int_equal(sizes_of(state, 5, 100, given), 0);
    assert_int_equal(given[0], 8);
    assert_int_equal(given[1], 128);
}

static void sizes_go_to_32768_and_65536(void **state) {
    unsigned given[2];
    int error = sizes_of(state, 32768, 65536, given);
    if (error == -ENOMEM)
        skip_because("rings are charged to RLIMIT_MEMLOCK here");
    assert_int_equal(error, 0);
    assert_int_equal(given[0], 32768);
    assert_int_equal(given[1], 65536);
    assert_int_equal(sizes_of(state, 32769, 65536, given), -EINVAL);
    assert_int_equal(sizes_of(state, 8, 65537, given), -EINVAL);
}

/* ---- how a wait ends ---- */

/* Queued SQEs become visible to the kernel, for an enter of our own. Returns their number. */
static unsigned publish_sqes(struct io_uring *ring) {
    struct io_uring_sq *sq = &ring->sq;
    unsigned tail = *sq->ktail, first = tail;
    for (; sq->sqe_head != sq->sqe_tail; sq->sqe_head++, tail++)
        if (sq->array) /* newer liburings go without it */
            sq->array[tail & sq->ring_mask] = sq->sqe_head & sq->ring_mask;
    __atomic_store_n(sq->ktail, tail, __ATOMIC_RELEASE);
    return tail - first;
}

static int wait_for_one(struct io_uring *ring, unsigned submit, long timeout_ns) {
    struct __kernel_timespec timeout = {.tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000};
    struct io_uring_getevents_arg argument = {.ts = (uint64_t)(uintptr_t)&timeout};
    return io_uring_enter2((unsigned)ring->ring_fd, submit, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG,
                           (sigset_t *)&argument, sizeof(argument));
}

static void wait_that_submitted_hides_its_timeout(void **state) {
    struct io_uring *ring = open_ring(state);
    if (!(ring->features & IORING_FEAT_EXT_ARG))
        skip_because("no timeout of an enter");
    assert_int_equal(wait_for_one(ring, 0, 1000), -ETIME);
    queue_multishot(ring, make_eventfd(state), POLLIN, POLL);
    assert_int_equal(publish_sqes(ring), 1);
    assert_int_equal(wait_for_one(ring, 1, 1000), 1);
    assert_int_equal(io_uring_cq_ready(ring), 0);
}

static void wait_with_a_timeout_of_zero_collects_what_is_pending(void **state) {
    struct completion got;
    struct io_uring *ring = open_ring(state);
    int watched = make_eventfd(state);
    if (!(ring->features & IORING_FEAT_EXT_ARG))
        skip_because("no timeout of an enter");
    assert_int_equal(wait_for_one(ring, 0, 0), -ETIME);
    arm_multishot(ring, watched, POLLIN, POLL);
    write_some(watched);
    assert_int_equal(wait_for_one(ring, 0, 0), 0);
    assert_int_equal(take(ring, &got, 1), 1);
}

struct interruption {
    pid_t target_tid;
    pthread_t target;
    atomic_bool about_to_sleep;
};

static void *interrupt_when_asleep(void *argument) {
    struct interruption *interruption = argument;
    bool asleep = wait_until_asleep(interruption->target_tid, &interruption->about_to_sleep);
    pthread_kill(interruption->target, SIGUSR1);
    return (void *)(intptr_t)asleep;
}

static void ignore_signal(int number) {
    (void)number;
}

/* What a wait returns that a signal ends, whose handler asks for SA_RESTART. */
static int wait_until_interrupted(struct io_uring *ring, unsigned submit) {
    struct sigaction restart = {.sa_handler = ignore_signal, .sa_flags = SA_RESTART}, before;
    require_threads_during_an_enter();
    struct interruption interruption = {.target_tid = (pid_t)syscall(SYS_gettid), .target = pthread_self()};
    sigaction(SIGUSR1, &restart, &before);
    pthread_t thread = start_thread(interrupt_when_asleep, &interruption);
    atomic_store(&interruption.about_to_sleep, true);
    int result = wait_for_one(ring, submit, GUARD_MS * 1000000L);
    assert_true(join_thread(thread));
    sigaction(SIGUSR1, &before, NULL);
    return result;
}

static void signal_ends_a_wait_with_eintr_in_spite_of_sa_restart(void **state) {
    assert_int_equal(wait_until_interrupted(open_ring(state), 0), -EINTR);
}

static void wait_that_submitted_hides_the_signal_that_ended_it(void **state) {
    struct io_uring *ring = open_ring(state);
    queue_multishot(ring, make_eventfd(state), POLLIN, POLL);
    assert_int_equal(publish_sqes(ring), 1);
    assert_int_equal(wait_until_interrupted(ring, 1), 1);
    assert_int_equal(io_uring_cq_ready(ring), 0);
}

int main(void) {
    const struct rule rules[] = {
        EACH_SETUP(full_queue_ends_each_poll_that_fires_and_drops_nothing),
        EACH_SETUP(poll_that_overflow_ended_is_deaf_and_the_others_go_on),
        EACH_SETUP(poll_that_overflow_ended_reports_at_once_when_armed_again),
        EACH_SETUP(arming_again_loses_nothing_and_costs_least_after_the_readers_had_read),
        EACH_SETUP(poll_armed_again_before_the_overflow_is_drained_is_ended_again),
        EACH_SETUP(ending_by_overflow_looks_like_an_unpollable_file_and_epoll_ctl_tells),
        EACH_SETUP(several_wakeups_before_a_collection_are_one_cqe_when_deferred),
        ON_DEFER(enters_until_taskrun_is_clear_collect_all_that_is_pending),
        ON_DEFER(min_complete_raises_the_work_items_of_one_enter),
        EACH_SETUP(enter_with_getevents_and_no_min_complete_does_not_wait),
        ON_DEFER(queue_grows_in_overflow_with_polls_armed_and_nothing_is_lost),
        ON_DEFER(resize_may_set_taskrun_with_nothing_pending_and_the_next_work_clears_it),
        UNLESS_DEFER(resize_is_refused_unless_deferred),
        EACH_SETUP(sizes_are_rounded_up_to_powers_of_two),
        ON_PLAIN(sizes_go_to_32768_and_65536),
        EACH_SETUP(wait_that_submitted_hides_its_timeout),
        EACH_SETUP(wait_with_a_timeout_of_zero_collects_what_is_pending),
        EACH_SETUP(signal_ends_a_wait_with_eintr_in_spite_of_sa_restart),
        EACH_SETUP(wait_that_submitted_hides_the_signal_that_ended_it),
    };
    return run_rules("kernel: queue", rules, COUNT_OF(rules));
}
