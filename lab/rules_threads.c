/*
 * The kernel's rules about who may use a ring: its owner, other threads, forked children, restrictions; and how a ring
 * comes to its beginning and its end.
 */
#include "kernel.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

/* ---- owners, other threads and children ---- */

/* How many of three kinds of use are refused because the ring is another's. */
static int count_refusals(const struct io_uring *ring) {
    unsigned fd = (unsigned)ring->ring_fd;
    int signalled = eventfd(0, EFD_CLOEXEC);
    int refused = (io_uring_enter(fd, 0, 0, IORING_ENTER_GETEVENTS, NULL) == -EEXIST) +
                  (io_uring_enter(fd, 1, 0, 0, NULL) == -EEXIST) +
                  (io_uring_register(fd, IORING_REGISTER_EVENTFD, &signalled, 1) == -EEXIST);
    close(signalled);
    return refused;
}

static int count_refusals_in_child(void *ring) {
    return count_refusals(ring);
}

static void *count_refusals_in_thread(void *ring) {
    return (void *)(intptr_t)count_refusals(ring);
}

static void expect_refusals(int seen) {
    expect_number("EEXIST from enter, submit and register", defers() ? 3 : 0, seen);
}

static void other_thread_is_refused_with_eexist_when_deferred(void) {
    expect_refusals(in_thread(count_refusals_in_thread, open_ring()));
}

static void forked_child_is_refused_with_eexist_when_deferred(void) {
    expect_refusals(in_child(count_refusals_in_child, open_ring()));
}

static void *submit_foreign_nop(void *ring) {
    io_uring_get_sqe(ring)->user_data = OTHER_POLL;
    return (void *)(intptr_t)io_uring_submit(ring);
}

static void refused_foreign_submit_goes_out_with_the_owners_next(void) {
    struct completion got[3];
    struct io_uring *ring = open_ring();
    /* A fresh queue is all zeroes, and so is a NOP but for its user_data. */
    expect_result("foreign submit", -EEXIST, in_thread(submit_foreign_nop, ring));
    next_sqe(ring, NOP);
    expect_result("owner's submit", 2, io_uring_submit(ring));
    expect_number("CQEs", 2, collect(ring, got, COUNT_OF(got)));
    expect_completion((struct completion){OTHER_POLL, 0, false}, got[0]);
    expect_completion((struct completion){NOP, 0, false}, got[1]);
}

static int take_one(void *ring) {
    struct completion got;
    return await_completion(ring, &got) == 0 ? got.res : 0;
}

static void forked_child_can_take_the_parents_cqe(void) {
    struct io_uring *ring = open_ring();
    int watched = make_eventfd();
    arm_multishot(ring, watched, POLLIN, POLL);
    write_some(watched);
    expect_mask("the child takes", POLLIN, (unsigned)in_child(take_one, ring));
    expect_silence(ring);
}

static int exit_ring(void *ring) {
    io_uring_queue_exit(ring);
    return 7;
}

static void child_that_closes_its_copy_leaves_the_parents_polls_alone(void) {
    struct io_uring *ring = open_ring();
    int watched = make_eventfd();
    arm_multishot(ring, watched, POLLIN, POLL);
    ensure(in_child(exit_ring, ring) == 7);
    expect_silence(ring);
    write_some(watched);
    expect_event(ring, POLL, POLLIN);
}

static int enable(struct io_uring *ring) {
    return io_uring_register((unsigned)ring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

static void *enable_and_submit(void *ring) {
    struct completion got;
    int error = enable(ring);
    if (error || io_uring_submit(ring) != 1)
        return (void *)-1;
    error = await_completion(ring, &got);
    return (void *)(intptr_t)(error ? error : (int)got.user_data);
}

static void disabled_ring_takes_its_owner_when_it_is_enabled(void) {
    struct io_uring *ring = open_flagged_ring(IORING_SETUP_R_DISABLED, 4, 8);
    next_sqe(ring, NOP);
    expect(in_thread(enable_and_submit, ring) == NOP,
           "another thread enables the ring and submits what this one queued");
    expect_refusals(count_refusals(ring));
}

struct private_page {
    atomic_int *page;
    const void *local_of_parent;
};

static _Thread_local char thread_local_byte;

enum { WIPED = 1, SAME_THREAD_LOCAL = 2 };

static int look_at_private_page(void *argument) {
    struct private_page *private = argument;
    return (*private->page ? 0 : WIPED) | (private->local_of_parent == &thread_local_byte ? SAME_THREAD_LOCAL : 0);
}

static void *look_at_private_page_in_thread(void *argument) {
    return (void *)(intptr_t)look_at_private_page(argument);
}

static void expect_page(const char *where, int expected, int seen) {
    expect_text(expected == seen,
                text("%s: page %s, thread-local %s", where, expected & WIPED ? "wiped" : "kept",
                     expected & SAME_THREAD_LOCAL ? "at its address" : "elsewhere"),
                text("%s: page %s, thread-local %s", where, seen & WIPED ? "wiped" : "kept",
                     seen & SAME_THREAD_LOCAL ? "at its address" : "elsewhere"));
}

static void wiped_page_tells_a_fork_and_a_thread_local_tells_a_thread(void) {
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    atomic_int *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct private_page private = {page, &thread_local_byte};
    ensure(page != MAP_FAILED);
    need(madvise(page, size, MADV_WIPEONFORK));
    *page = 1;
    expect_page("fork", WIPED | SAME_THREAD_LOCAL, in_child(look_at_private_page, &private));
    expect_page("other thread", 0, in_thread(look_at_private_page_in_thread, &private));
    expect_page("here", SAME_THREAD_LOCAL, look_at_private_page(&private));
}

/* ---- the end of a ring, and of all its polls ---- */

/* Waits for the EOF that says the file was let go; a sleep that the end of the ring interrupts, begins again. */
static bool eof_arrives(int peer) {
    return state_of(peer, POLLIN, GUARD_MS) & POLLIN && reads_eof(peer);
}

static void exit_lets_the_files_go_in_the_end(void) {
    int ends[2];
    struct io_uring *ring = open_ring();
    make_socketpair(ends);
    arm_multishot(ring, ends[0], POLLIN, POLL);
    close_fd(ends[0]);
    io_uring_queue_exit(ring);
    expect(eof_arrives(ends[1]), "the peer sees the end");
}

static void exit_after_cancel_and_reap_has_let_the_files_go(void) {
    int ends[2];
    struct io_uring *ring = open_ring();
    make_socketpair(ends);
    arm_multishot(ring, ends[0], POLLIN, POLL);
    close_fd(ends[0]);
    submit_remove(ring, POLL);
    expect_removed(ring);
    io_uring_queue_exit(ring);
    expect(reads_eof(ends[1]), "the peer sees the end at once");
}

static void cancel_of_any_and_all_ends_every_poll(void) {
    enum { POLLS = 50 };
    struct completion got[POLLS + 2];
    struct io_uring *ring = open_ring();
    int watched = make_eventfd(), ended = 0;
    for (int i = 0; i < POLLS; i++)
        arm_multishot(ring, watched, POLLIN, POLL);
    submit_cancel(ring, 0, IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY);
    unsigned count = collect(ring, got, COUNT_OF(got));
    for (unsigned i = 0; i < count; i++) {
        if (got[i].user_data == REMOVE && got[i].res == -EINVAL)
            skip_because("no cancel of any");
        if (got[i].user_data == REMOVE)
            expect_completion((struct completion){REMOVE, POLLS, false}, got[i]);
        else
            ended += got[i].res == -ECANCELED && !got[i].more;
    }
    expect_number("polls that ended with ECANCELED", POLLS, ended);
    expect_number("CQEs", POLLS + 1, count);
}

/* ---- restricted rings ---- */

static const struct io_uring_restriction poll_add_alone[] = {
    {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_POLL_ADD},
    {.opcode = IORING_RESTRICTION_REGISTER_OP, .register_op = IORING_UNREGISTER_EVENTFD},
    {.opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED, .sqe_flags = IOSQE_ASYNC},
};

static struct io_uring *open_restricted_ring(int signalled, unsigned restriction_count) {
    struct io_uring *ring = open_flagged_ring(IORING_SETUP_R_DISABLED, 4, 8);
    if (signalled >= 0)
        ensure(io_uring_register_eventfd(ring, signalled) == 0);
    ensure(io_uring_register((unsigned)ring->ring_fd, IORING_REGISTER_RESTRICTIONS, poll_add_alone,
                             restriction_count) == 0);
    ensure(enable(ring) == 0);
    return ring;
}

static void restricted_ring_takes_the_listed_opcodes_alone(void) {
    struct io_uring *ring = open_restricted_ring(-1, 1);
    int watched = make_eventfd();
    arm_multishot(ring, watched, POLLIN, POLL);
    write_some(watched);
    expect_event(ring, POLL, POLLIN);
    submit_nop(ring);
    expect_end(ring, NOP, -EACCES);
    submit_remove(ring, POLL);
    expect_end(ring, REMOVE, -EACCES);
}

static void restricted_ring_refuses_register_calls_unless_listed(void) {
    int signalled = make_eventfd(), limit[2] = {1, 1};
    struct io_uring *ring = open_restricted_ring(signalled, 2);
    expect_result("unregister an eventfd, which is listed", 0, io_uring_unregister_eventfd(ring));
    expect_result("register one", -EACCES, io_uring_register_eventfd(ring, signalled));
    expect_result("limit workers", -EACCES,
                  io_uring_register((unsigned)ring->ring_fd, IORING_REGISTER_IOWQ_MAX_WORKERS, limit, 2));
    int error = io_uring_unregister_eventfd(open_restricted_ring(signalled, 1));
    expect_text(error == 0 || error == -EACCES, "with none listed: EACCES or 0",
                text("with none listed: %s", result_text(error)));
}

static void restricted_ring_keeps_the_eventfd_registered_before(void) {
    int ends[2], signalled = make_eventfd();
    struct io_uring *ring = open_restricted_ring(signalled, 1);
    make_pipe(ends);
    arm_multishot(ring, ends[0], POLLIN, POLL);
    expect_mask("the registered eventfd", 0, (unsigned)state_of(signalled, POLLIN, 0));
    write_some(ends[1]);
    expect_event(ring, POLL, POLLIN);
    expect_mask("the registered eventfd", POLLIN, (unsigned)state_of(signalled, POLLIN, 0));
}

static void submit_with_flags(struct io_uring *ring, int fd, unsigned char flags) {
    struct io_uring_sqe *sqe = next_sqe(ring, POLL);
    io_uring_prep_poll_add(sqe, fd, POLLIN);
    sqe->user_data = POLL;
    sqe->flags = flags;
    submit_one(ring);
}

static void restricted_ring_refuses_sqe_flags_unless_allowed(void) {
    int ready = make_ready_eventfd();
    struct io_uring *without = open_restricted_ring(-1, 1);
    struct io_uring *with = open_restricted_ring(-1, 3);
    submit_with_flags(without, ready, IOSQE_ASYNC);
    expect_end(without, POLL, -EACCES);
    step("IOSQE_ASYNC is allowed");
    submit_with_flags(with, ready, IOSQE_ASYNC);
    expect_end(with, POLL, POLLIN);
    if (!(with->features & IORING_FEAT_CQE_SKIP))
        return;
    step("IOSQE_CQE_SKIP_SUCCESS");
    submit_with_flags(without, ready, IOSQE_CQE_SKIP_SUCCESS);
    expect_end(without, POLL, -EACCES);
    submit_with_flags(with, ready, IOSQE_CQE_SKIP_SUCCESS);
    expect_end(with, POLL, -EACCES);
}

/* ---- how a set-up fails ---- */

static void unknown_setup_flag_is_einval(void) {
    struct io_uring ring;
    expect_allowed("set-up", -EINVAL, open_ring_with(&ring, setup->flags | 1u << 31, 2, 4));
}

/* The system call that a filter refuses with the error, as a container's does. */
struct attempt {
    long filtered;
    int error;
};

static int filter(const struct attempt *attempt) {
    struct sock_filter instructions[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)attempt->filtered, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)attempt->error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {COUNT_OF(instructions), instructions};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

enum { NO_FILTER = 200, SETUP_PASSES = 100 };

/* The error of the set-up, or SETUP_PASSES plus the error of the first submit. */
static int attempt_under_filter(void *argument) {
    struct io_uring ring;
    if (filter(argument) < 0)
        return NO_FILTER;
    int error = open_ring_with(&ring, setup->flags, 2, 4);
    if (error)
        return -error;
    io_uring_prep_nop(io_uring_get_sqe(&ring));
    int submitted = io_uring_submit(&ring);
    io_uring_queue_exit(&ring);
    return SETUP_PASSES + (submitted < 0 ? -submitted : 0);
}

static int result_under_filter(long filtered, int error) {
    int result = in_child(attempt_under_filter, &(struct attempt){filtered, error});
    if (result == NO_FILTER)
        skip_because("no seccomp filters");
    if (filtered != SYS_io_uring_setup && result < SETUP_PASSES)
        expect_allowed("set-up", 0, -result);
    return result;
}

static void seccomp_filter_of_the_setup_shows_as_its_error(void) {
    expect_allowed("set-up", -EPERM, -result_under_filter(SYS_io_uring_setup, EPERM));
    expect_allowed("set-up", -ENOSYS, -result_under_filter(SYS_io_uring_setup, ENOSYS));
}

static void seccomp_filter_of_the_enter_shows_at_the_first_submit_only(void) {
    expect_result("first submit", -EPERM, SETUP_PASSES - result_under_filter(SYS_io_uring_enter, EPERM));
    expect_result("with another call filtered", 0, SETUP_PASSES - result_under_filter(SYS_getpid, EPERM));
}

static void setup_without_a_free_fd_is_emfile(void) {
    struct io_uring ring;
    struct rlimit limit;
    need(getrlimit(RLIMIT_NOFILE, &limit));
    limit.rlim_cur = 0;
    need(setrlimit(RLIMIT_NOFILE, &limit));
    expect_allowed("set-up", -EMFILE, open_ring_with(&ring, setup->flags, 2, 4));
}

/* ---- registered ring fds ---- */

static void sixteen_ring_fds_can_be_registered_per_task(void) {
    struct completion got;
    int registered = 0;
    for (int i = 0; i < 16; i++) {
        struct io_uring *ring = open_sized_ring(2, 4);
        int result = io_uring_register_ring_fd(ring);
        if (result == -EINVAL)
            skip_because("no IORING_REGISTER_RING_FDS");
        registered += result == 1;
        submit_nop(ring);
        ensure(await_completion(ring, &got) == 0 && got.res == 0);
    }
    expect_number("registered", 16, registered);
    expect_result("one more", -EBUSY, io_uring_register_ring_fd(open_sized_ring(2, 4)));
}

const struct rule thread_rules[] = {
    RULE(other_thread_is_refused_with_eexist_when_deferred, EACH_SETUP, KERNEL,
         "A DEFER_TASKRUN ring is EEXIST for other threads: enter, submit, register; other rings are open to them."),
    RULE(forked_child_is_refused_with_eexist_when_deferred, EACH_SETUP, KERNEL,
         "A DEFER_TASKRUN ring is EEXIST for a forked child; other rings are open to it."),
    RULE(refused_foreign_submit_goes_out_with_the_owners_next, ON_DEFER, KERNEL,
         "What another thread queued and could not submit goes out with the owner's next submit."),
    RULE(forked_child_can_take_the_parents_cqe, UNLESS_DEFER, KERNEL,
         "Without DEFER_TASKRUN a forked child can take its parent's CQEs."),
    RULE(child_that_closes_its_copy_leaves_the_parents_polls_alone, EACH_SETUP, KERNEL,
         "A forked child that closes its copy of a ring leaves the parent's polls alone."),
    RULE(disabled_ring_takes_its_owner_when_it_is_enabled, ON_DEFER, KERNEL,
         "A ring set up with R_DISABLED takes its owner when it is enabled."),
    RULE(wiped_page_tells_a_fork_and_a_thread_local_tells_a_thread, ON_PLAIN, KERNEL,
         "A page with MADV_WIPEONFORK tells a forked child, and the address of a thread-local tells another thread."),
    RULE(exit_lets_the_files_go_in_the_end, EACH_SETUP, KERNEL,
         "io_uring_queue_exit lets the files of armed polls go, perhaps only later, and may interrupt sleeps until "
         "then."),
    RULE(exit_after_cancel_and_reap_has_let_the_files_go, EACH_SETUP, KERNEL,
         "Cancelled and reaped before the exit, a poll's file is let go at once."),
    RULE(cancel_of_any_and_all_ends_every_poll, EACH_SETUP, KERNEL,
         "ASYNC_CANCEL with ALL and ANY ends every poll, and returns their number."),
    RULE(restricted_ring_takes_the_listed_opcodes_alone, EACH_SETUP, KERNEL,
         "A restricted ring takes the listed opcodes; others are EACCES."),
    RULE(restricted_ring_refuses_register_calls_unless_listed, EACH_SETUP, KERNEL,
         "A restricted ring refuses register calls that are not listed, with EACCES; newer kernels take all of them "
         "where "
         "none is listed."),
    RULE(restricted_ring_keeps_the_eventfd_registered_before, EACH_SETUP, KERNEL,
         "A restricted ring keeps the eventfd that was registered before it was enabled."),
    RULE(restricted_ring_refuses_sqe_flags_unless_allowed, EACH_SETUP, KERNEL,
         "A restricted ring refuses IOSQE_ASYNC and IOSQE_CQE_SKIP_SUCCESS unless they are allowed, with EACCES."),
    RULE(unknown_setup_flag_is_einval, EACH_SETUP, KERNEL, "An unknown set-up flag is EINVAL."),
    RULE(seccomp_filter_of_the_setup_shows_as_its_error, EACH_SETUP, KERNEL,
         "A seccomp filter of io_uring_setup shows as its error: EPERM, ENOSYS."),
    RULE(seccomp_filter_of_the_enter_shows_at_the_first_submit_only, EACH_SETUP, KERNEL,
         "A seccomp filter of io_uring_enter lets the set-up pass, and shows at the first submit."),
    RULE(setup_without_a_free_fd_is_emfile, EACH_SETUP, KERNEL, "A set-up without a free fd is EMFILE."),
    RULE(sixteen_ring_fds_can_be_registered_per_task, EACH_SETUP, KERNEL,
         "A task can register 16 ring fds; one more is EBUSY."),
    {0},
};
