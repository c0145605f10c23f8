/*
 * The kernel's rules about the completion queue: overflow and what it does to polls, how much work an enter runs,
 * growing the queue, its sizes, and how waits end.
 */
#include "kernel.h"

#include <signal.h>
#include <sys/mman.h>

enum { FILES = 100, SMALL_CQ = 8 };

/* user_data counts from FIRST_FILE. */
static void arm_eventfds(struct io_uring *ring, int fds[FILES]) {
    for (int i = 0; i < FILES; i++) {
        fds[i] = make_eventfd();
        arm_multishot(ring, fds[i], POLLIN, (uint64_t)(FIRST_FILE + i));
    }
}

static void write_all(const int fds[FILES]) {
    for (int i = 0; i < FILES; i++)
        write_some(fds[i]);
}

static int file_of(struct completion completion) {
    int file = (int)completion.user_data - FIRST_FILE;
    ensure(file >= 0 && file < FILES);
    return file;
}

/* Collects one event of every file, of which a number ended their poll. */
static void expect_one_of_each(struct io_uring *ring, struct completion got[FILES], int endings) {
    struct completion none_left;
    bool seen[FILES] = {false};
    unsigned files = 0, ended = 0, count = collect(ring, got, FILES);
    for (unsigned i = 0; i < count; i++) {
        int file = file_of(got[i]);
        if (got[i].res != POLLIN)
            expect_completion((struct completion){got[i].user_data, POLLIN, got[i].more}, got[i]);
        files += !seen[file];
        seen[file] = true;
        ended += !got[i].more;
    }
    count += collect(ring, &none_left, 1);
    expect_text(count == FILES && files == FILES && ended == (unsigned)endings,
                text("%d CQEs of %d files, %d without F_MORE", FILES, FILES, endings),
                text("%u CQEs of %u files, %u without F_MORE", count, files, ended));
}

/* A ring with a small queue, and as many files with an event each. */
static struct io_uring *open_overflow(int fds[FILES]) {
    struct io_uring *ring = open_sized_ring(4, SMALL_CQ);
    arm_eventfds(ring, fds);
    write_all(fds);
    return ring;
}

/* All work is run, and nothing is taken. */
static void run_work(struct io_uring *ring) {
    do
        ensure(io_uring_get_events(ring) == 0);
    while (queue_flags(ring) & IORING_SQ_TASKRUN);
}

static void expect_overflow(struct io_uring *ring, bool expected) {
    expect_whether("SQ_CQ_OVERFLOW", expected, queue_flags(ring) & IORING_SQ_CQ_OVERFLOW);
}

/* ---- overflow ---- */

static void full_queue_ends_each_poll_that_fires_and_drops_nothing(void) {
    int fds[FILES];
    struct completion got[FILES];
    struct io_uring *ring = open_overflow(fds);
    expect_one_of_each(ring, got, FILES - SMALL_CQ);
}

static void what_overflowed_comes_a_queueful_an_enter(void) {
    int fds[FILES];
    struct completion got[FILES];
    struct io_uring *ring = open_overflow(fds);
    run_work(ring);
    expect_number("CQEs before an enter", SMALL_CQ, take(ring, got, FILES));
    expect_overflow(ring, true);
    for (unsigned left = FILES - SMALL_CQ, count; left; left -= count) {
        ensure(io_uring_get_events(ring) == 0);
        count = take(ring, got, FILES);
        expect_number("CQEs after an enter", left < SMALL_CQ ? left : SMALL_CQ, count);
    }
    expect_overflow(ring, false);
}

static void poll_that_overflow_ended_is_deaf_and_the_others_go_on(void) {
    int fds[FILES], deaf = 0, going_on = 0;
    struct completion got[FILES], events[FILES];
    require_overflow_to_end_polls();
    struct io_uring *ring = open_overflow(fds);
    expect_one_of_each(ring, got, FILES - SMALL_CQ);
    for (int i = 0; i < FILES; i++) {
        write_some(fds[file_of(got[i])]);
        unsigned count = collect(ring, events, FILES);
        deaf += !got[i].more && count == 0;
        going_on += got[i].more && count == 1;
    }
    expect_number("deaf polls", FILES - SMALL_CQ, deaf);
    expect_number("polls that go on", SMALL_CQ, going_on);
}

static void poll_that_overflow_ended_reports_at_once_when_armed_again(void) {
    int fds[FILES], reported = 0;
    struct completion got[FILES], event;
    require_overflow_to_end_polls();
    struct io_uring *ring = open_overflow(fds);
    expect_one_of_each(ring, got, FILES - SMALL_CQ);
    for (int i = 0; i < FILES; i++) {
        if (got[i].more)
            continue;
        arm_multishot(ring, fds[file_of(got[i])], POLLIN, got[i].user_data);
        reported += await_completion(ring, &event) == 0 && event.user_data == got[i].user_data && event.res == POLLIN &&
                    event.more;
    }
    expect_number("polls armed again that report POLLIN F_MORE", FILES - SMALL_CQ, reported);
}

/* Drains the queue, arms the polls that ended again, before or after the files were read, until there is silence. */
static unsigned count_cqes_until_silence(bool read_first) {
    int fds[FILES];
    bool seen[FILES] = {false};
    struct completion got[FILES];
    struct io_uring *ring = open_overflow(fds);
    unsigned cqes = 0, reported = 0, count;
    while ((count = collect(ring, got, FILES))) {
        cqes += count;
        for (unsigned i = 0; i < count; i++) {
            int file = file_of(got[i]);
            reported += !seen[file];
            seen[file] = true;
            if (read_first)
                read_some(fds[file]);
            if (!got[i].more)
                arm_multishot(ring, fds[file], POLLIN, got[i].user_data);
        }
    }
    expect_number("files that reported", FILES, reported);
    return cqes;
}

static void arming_again_loses_nothing_and_costs_least_after_the_readers_had_read(void) {
    require_overflow_to_end_polls();
    expect_number("CQEs of polls armed again after reading", FILES, count_cqes_until_silence(true));
    unsigned at_once = count_cqes_until_silence(false);
    expect_text(at_once > FILES, text("more than %d CQEs of polls armed again at once", FILES),
                text("%u CQEs of polls armed again at once", at_once));
}

/* Room in the queue doesn't help: what overflowed goes first. So arming again before the drain is over may never end.
 */
static void poll_armed_again_before_the_overflow_is_drained_is_ended_again(void) {
    int fds[FILES];
    struct completion got[FILES];
    require_overflow_to_end_polls();
    struct io_uring *ring = open_overflow(fds);
    run_work(ring);
    expect_number("CQEs taken", SMALL_CQ, take(ring, got, FILES));
    expect_overflow(ring, true);
    arm_multishot(ring, make_ready_eventfd(), POLLIN, POLL);
    expect_number("CQEs then", FILES - SMALL_CQ + 1, collect(ring, got, FILES));
    expect_completion((struct completion){POLL, POLLIN, false}, got[FILES - SMALL_CQ]);
}

static void ending_by_overflow_looks_like_an_unpollable_file_and_epoll_ctl_tells(void) {
    int fds[FILES];
    struct completion got[FILES];
    struct epoll_event event = {.events = EPOLLIN};
    require_overflow_to_end_polls();
    struct io_uring *ring = open_overflow(fds);
    int scratch = need(epoll_create1(EPOLL_CLOEXEC));
    int unpollable = need(open("/dev/null", O_RDONLY | O_CLOEXEC));
    expect_one_of_each(ring, got, FILES - SMALL_CQ);
    struct completion ending = got[FILES - 1];
    ensure(!ending.more);
    arm_multishot(ring, unpollable, POLLIN, POLL);
    expect_end(ring, POLL, ending.res);
    expect_result("epoll_ctl of the overflowed", 0,
                  epoll_ctl(scratch, EPOLL_CTL_ADD, fds[file_of(ending)], &event) < 0 ? -errno : 0);
    expect_result("epoll_ctl of /dev/null", -EPERM,
                  epoll_ctl(scratch, EPOLL_CTL_ADD, unpollable, &event) < 0 ? -errno : 0);
}

/* ---- how much is collected ---- */

static void several_wakeups_before_a_collection_are_one_cqe_when_deferred(void) {
    struct completion got[8];
    struct io_uring *ring = open_ring();
    int watched = make_eventfd();
    arm_multishot(ring, watched, POLLIN, POLL);
    for (int i = 0; i < 5; i++)
        write_some(watched);
    expect_number("CQEs of five wake-ups", defers() ? 1 : 5, collect(ring, got, COUNT_OF(got)));
}

static void expect_taskrun(struct io_uring *ring, bool expected) {
    expect_whether("SQ_TASKRUN", expected, queue_flags(ring) & IORING_SQ_TASKRUN);
}

static void enters_until_taskrun_is_clear_collect_all_that_is_pending(void) {
    int fds[FILES];
    struct completion got[FILES];
    struct io_uring *ring = open_ring();
    arm_eventfds(ring, fds);
    write_all(fds);
    expect_taskrun(ring, true);
    expect_number("CQEs before an enter", 0, io_uring_cq_ready(ring));
    ensure(io_uring_get_events(ring) == 0);
    unsigned batch = io_uring_cq_ready(ring);
    expect_between("CQEs of one enter, with 100 pending", 20, FILES, batch);
    if (batch < FILES)
        expect_taskrun(ring, true);
    run_work(ring);
    expect_number("CQEs of enters until SQ_TASKRUN is clear", FILES, io_uring_cq_ready(ring));
    expect_one_of_each(ring, got, 0);
}

static void min_complete_raises_the_work_items_of_one_enter(void) {
    int fds[FILES];
    struct io_uring *ring = open_ring();
    arm_eventfds(ring, fds);
    write_all(fds);
    expect_result("enter with min_complete 90", 0,
                  io_uring_enter((unsigned)ring->ring_fd, 0, 90, IORING_ENTER_GETEVENTS, NULL));
    expect_between("its CQEs, with 100 pending", 90, FILES, io_uring_cq_ready(ring));
}

static void enter_with_getevents_and_no_min_complete_does_not_wait(void) {
    struct io_uring *ring = open_ring();
    int watched = make_eventfd();
    arm_multishot(ring, watched, POLLIN, POLL);
    for (unsigned pending = 0; pending < 2; pending++) {
        if (pending)
            write_some(watched);
        expect_result("enter", 0, io_uring_enter((unsigned)ring->ring_fd, 0, 0, IORING_ENTER_GETEVENTS, NULL));
        expect_number("CQEs", pending, io_uring_cq_ready(ring));
    }
}

/* ---- growing the queue ---- */

/* Newer than liburing 2.3. */
#define REGISTER_RESIZE_RINGS 33

/* What io_uring_resize_rings() of newer liburings does. 0 or -errno. */
static int resize(struct io_uring *ring, unsigned sq_entries, unsigned cq_entries) {
    struct io_uring_params params = {.flags = IORING_SETUP_CQSIZE, .sq_entries = sq_entries, .cq_entries = cq_entries};
    struct io_uring old = *ring;
    int error = io_uring_register((unsigned)ring->ring_fd, REGISTER_RESIZE_RINGS, &params, 1);
    if (error < 0)
        return error;
    observe(text("resize answers sq_off.array = %u", params.sq_off.array));
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
    expect_allowed("resize", 0, error);
}

static void queue_grows_in_overflow_with_polls_armed_and_nothing_is_lost(void) {
    int fds[FILES];
    struct completion got[FILES];
    struct io_uring *ring = open_overflow(fds);
    run_work(ring);
    expect_overflow(ring, true);
    require_resize(ring, 4, 256);
    expect_number("entries", 256, *ring->cq.kring_entries);
    expect_one_of_each(ring, got, FILES - SMALL_CQ);
    for (int i = 0; i < FILES; i++) {
        int fd = fds[file_of(got[i])];
        read_some(fd);
        if (!got[i].more)
            arm_multishot(ring, fd, POLLIN, got[i].user_data);
    }
    write_all(fds);
    expect_one_of_each(ring, got, 0);
}

/* So a loop that enters until the flag is clear would not end. */
static void resize_may_set_taskrun_with_nothing_pending_and_the_next_work_clears_it(void) {
    struct io_uring *ring = open_sized_ring(4, SMALL_CQ);
    int watched = make_eventfd();
    arm_multishot(ring, watched, POLLIN, POLL);
    expect_taskrun(ring, false);
    require_resize(ring, 4, 64);
    ensure(io_uring_get_events(ring) == 0);
    expect_number("CQEs after the resize", 0, io_uring_cq_ready(ring));
    observe(queue_flags(ring) & IORING_SQ_TASKRUN ? "SQ_TASKRUN: yes" : "SQ_TASKRUN: no");
    write_some(watched);
    step("an event");
    expect_taskrun(ring, true);
    ensure(io_uring_get_events(ring) == 0);
    expect_number("CQEs", 1, io_uring_cq_ready(ring));
    expect_taskrun(ring, false);
}

static void resize_is_refused_unless_deferred(void) {
    struct io_uring_params params = {.sq_entries = 64, .cq_entries = 1024, .flags = IORING_SETUP_CQSIZE};
    struct io_uring *ring = open_ring();
    expect_result("resize", -EINVAL, io_uring_register((unsigned)ring->ring_fd, REGISTER_RESIZE_RINGS, &params, 1));
    expect_number("entries", 256, *ring->cq.kring_entries);
}

/* ---- sizes ---- */

static int sizes_of(unsigned sq_entries, unsigned cq_entries, unsigned given[2]) {
    struct io_uring ring;
    int error = open_ring_with(&ring, setup->flags, sq_entries, cq_entries);
    if (error)
        return error;
    given[0] = *ring.sq.kring_entries;
    given[1] = *ring.cq.kring_entries;
    io_uring_queue_exit(&ring);
    return 0;
}

static void expect_sizes(const unsigned given[2], unsigned sq_entries, unsigned cq_entries) {
    expect_text(given[0] == sq_entries && given[1] == cq_entries, text("SQ %u, CQ %u", sq_entries, cq_entries),
                text("SQ %u, CQ %u", given[0], given[1]));
}

static void sizes_are_rounded_up_to_powers_of_two(void) {
    unsigned given[2] = {0};
    expect_allowed("SQ 5, CQ 100", 0, sizes_of(5, 100, given));
    expect_sizes(given, 8, 128);
}

static void sizes_go_to_32768_and_65536(void) {
    unsigned given[2] = {0};
    int error = sizes_of(32768, 65536, given);
    if (error == -ENOMEM)
        skip_because("rings are charged to RLIMIT_MEMLOCK here");
    expect_allowed("the largest", 0, error);
    expect_sizes(given, 32768, 65536);
    expect_allowed("SQ 32769", -EINVAL, sizes_of(32769, 65536, given));
    expect_allowed("CQ 65537", -EINVAL, sizes_of(8, 65537, given));
}

/* ---- how a wait ends ---- */

/* Queued SQEs become visible to the kernel, for an enter of our own. */
static void publish_one(struct io_uring *ring) {
    struct io_uring_sq *sq = &ring->sq;
    unsigned tail = *sq->ktail;
    ensure(sq->sqe_tail - sq->sqe_head == 1);
    if (sq->array) /* newer liburings go without it */
        sq->array[tail & sq->ring_mask] = sq->sqe_head & sq->ring_mask;
    sq->sqe_head++;
    __atomic_store_n(sq->ktail, tail + 1, __ATOMIC_RELEASE);
}

static int wait_for_one(struct io_uring *ring, unsigned submit, int64_t timeout_ns) {
    struct __kernel_timespec timeout = {.tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000};
    struct io_uring_getevents_arg argument = {.ts = (uint64_t)(uintptr_t)&timeout};
    if (!(ring->features & IORING_FEAT_EXT_ARG))
        skip_because("no timeout of an enter");
    return io_uring_enter2((unsigned)ring->ring_fd, submit, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG,
                           (sigset_t *)&argument, sizeof(argument));
}

static void wait_that_submitted_hides_its_timeout(void) {
    struct io_uring *ring = open_ring();
    expect_result("wait", -ETIME, wait_for_one(ring, 0, 1000));
    queue_multishot(ring, make_eventfd(), POLLIN, POLL);
    publish_one(ring);
    expect_result("wait that submits one", 1, wait_for_one(ring, 1, 1000));
    expect_number("CQEs", 0, io_uring_cq_ready(ring));
}

static void wait_with_a_timeout_of_zero_collects_what_is_pending(void) {
    struct completion got;
    struct io_uring *ring = open_ring();
    int watched = make_eventfd();
    expect_result("wait with nothing pending", -ETIME, wait_for_one(ring, 0, 0));
    arm_multishot(ring, watched, POLLIN, POLL);
    write_some(watched);
    expect_result("wait", 0, wait_for_one(ring, 0, 0));
    expect_number("CQEs", 1, take(ring, &got, 1));
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
    struct sigaction restart = {.sa_handler = ignore_signal, .sa_flags = SA_RESTART};
    require_threads_during_an_enter();
    struct interruption interruption = {.target_tid = (pid_t)syscall(SYS_gettid), .target = pthread_self()};
    need(sigaction(SIGUSR1, &restart, NULL));
    pthread_t thread = start_thread(interrupt_when_asleep, &interruption);
    atomic_store(&interruption.about_to_sleep, true);
    int result = wait_for_one(ring, submit, GUARD_MS * INT64_C(1000000));
    ensure(join_thread(thread));
    return result;
}

static void signal_ends_a_wait_with_eintr_in_spite_of_sa_restart(void) {
    expect_result("wait", -EINTR, wait_until_interrupted(open_ring(), 0));
}

static void wait_that_submitted_hides_the_signal_that_ended_it(void) {
    struct io_uring *ring = open_ring();
    queue_multishot(ring, make_eventfd(), POLLIN, POLL);
    publish_one(ring);
    expect_result("wait that submits one", 1, wait_until_interrupted(ring, 1));
    expect_number("CQEs", 0, io_uring_cq_ready(ring));
}

const struct rule queue_rules[] = {
    RULE(full_queue_ends_each_poll_that_fires_and_drops_nothing, EACH_SETUP, KERNEL,
         "When the completion queue is full, each multishot poll that fires is ended: F_MORE clear, a positive mask. "
         "Its CQE is kept, none is dropped."),
    RULE(what_overflowed_comes_a_queueful_an_enter, EACH_SETUP, KERNEL,
         "What overflowed comes a queueful with each enter; IORING_SQ_CQ_OVERFLOW tells that there is more."),
    RULE(poll_that_overflow_ended_is_deaf_and_the_others_go_on, EACH_SETUP, KERNEL,
         "A poll that overflow ended is deaf; the others go on."),
    RULE(poll_that_overflow_ended_reports_at_once_when_armed_again, EACH_SETUP, KERNEL,
         "A poll that overflow ended reports at once when it is armed again, for its file is still ready."),
    RULE(arming_again_loses_nothing_and_costs_least_after_the_readers_had_read, EACH_SETUP, KERNEL,
         "Arming again loses nothing. After the readers had read it takes one CQE a file; at once, it posts and ends "
         "again and again."),
    RULE(poll_armed_again_before_the_overflow_is_drained_is_ended_again, EACH_SETUP, KERNEL,
         "A poll that is armed again before the overflow is drained is ended again, though the queue has room."),
    RULE(ending_by_overflow_looks_like_an_unpollable_file_and_epoll_ctl_tells, EACH_SETUP, KERNEL,
         "An ending by overflow and a file that can't be polled look alike; epoll_ctl(ADD) tells: EPERM."),
    RULE(several_wakeups_before_a_collection_are_one_cqe_when_deferred, EACH_SETUP, KERNEL,
         "With DEFER_TASKRUN several wake-ups of one file before a collection are one CQE; else each posts."),
    RULE(enters_until_taskrun_is_clear_collect_all_that_is_pending, ON_DEFER, KERNEL,
         "With DEFER_TASKRUN one enter runs at least 20 work items, perhaps not all; enters until SQ_TASKRUN is clear "
         "collect all that is pending."),
    RULE(min_complete_raises_the_work_items_of_one_enter, ON_DEFER, KERNEL,
         "With DEFER_TASKRUN an enter runs as many work items as it waits for."),
    RULE(enter_with_getevents_and_no_min_complete_does_not_wait, EACH_SETUP, KERNEL,
         "An enter with GETEVENTS and min_complete 0 runs pending work and does not wait."),
    RULE(
        queue_grows_in_overflow_with_polls_armed_and_nothing_is_lost, ON_DEFER, KERNEL,
        "IORING_REGISTER_RESIZE_RINGS grows the completion queue with polls armed, even in overflow; nothing is lost."),
    RULE(resize_may_set_taskrun_with_nothing_pending_and_the_next_work_clears_it, ON_DEFER, KERNEL,
         "A resize may set SQ_TASKRUN with nothing pending; the next work clears it."),
    RULE(resize_is_refused_unless_deferred, UNLESS_DEFER, KERNEL,
         "Without DEFER_TASKRUN a resize is EINVAL, and the queue stays as it was."),
    RULE(sizes_are_rounded_up_to_powers_of_two, EACH_SETUP, KERNEL, "Sizes are rounded up to powers of two."),
    RULE(sizes_go_to_32768_and_65536, ON_PLAIN, KERNEL,
         "The submission queue goes to 32768 entries and the completion queue to 65536; more is EINVAL."),
    RULE(wait_that_submitted_hides_its_timeout, EACH_SETUP, KERNEL,
         "A wait that also submitted returns the number submitted and hides ETIME."),
    RULE(wait_with_a_timeout_of_zero_collects_what_is_pending, EACH_SETUP, KERNEL,
         "A wait with a timeout of zero collects what is pending, and is ETIME where nothing is."),
    RULE(signal_ends_a_wait_with_eintr_in_spite_of_sa_restart, EACH_SETUP, KERNEL,
         "A signal ends a wait with EINTR, in spite of SA_RESTART."),
    RULE(wait_that_submitted_hides_the_signal_that_ended_it, EACH_SETUP, KERNEL,
         "A wait that also submitted returns the number submitted and hides EINTR."),
    {0},
};
