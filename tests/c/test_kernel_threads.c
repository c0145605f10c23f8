/*
 * The kernel's rules about who may use a ring: its owner, other threads, forked children, restrictions; and how a ring
 * comes to its beginning and its end.
 *
 * Raw liburing; it must not know pollring.
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
    int signalled = eventfd(0, EFD_CLOEXEC);
    int refused = (io_uring_enter((unsigned)ring->ring_fd, 0, 0, IORING_ENTER_GETEVENTS, NULL) == -EEXIST) +
                  (io_uring_enter((unsigned)ring->ring_fd, 1, 0, 0, NULL) == -EEXIST) +
                  (io_uring_register((unsigned)ring->ring_fd, IORING_REGISTER_EVENTFD, &signalled, 1) == -EEXIST);
    close(signalled);
    return refused;
}

static int count_refusals_in_child(void *ring) {
    return count_refusals(ring);
}

static void *count_refusals_in_thread(void *ring) {
    return (void *)(intptr_t)count_refusals(ring);
}

static void other_thread_is_refused_with_eexist_when_deferred(void **state) {
    assert_int_equal(in_thread(count_refusals_in_thread, open_ring(state)), defers(state) ? 3 : 0);
}

static void forked_child_is_refused_with_eexist_when_deferred(void **state) {
    assert_int_equal(in_child(count_refusals_in_child, open_ring(state)), defers(state) ? 3 : 0);
}

static void *submit_nop(void *ring) {
    io_uring_get_sqe(ring)->user_data = OTHER_POLL;
    return (void *)(intptr_t)io_uring_submit(ring);
}

static void refused_foreign_submit_goes_out_with_the_owners_next(void **state) {
    struct completion got[3];
    struct io_uring *ring = open_ring(state);
    /* A fresh queue is all zeroes, and so is a NOP but for its user_data. */
    assert_int_equal(in_thread(submit_nop, ring), -EEXIST);
    next_sqe(ring, NOP);
    assert_int_equal(io_uring_submit(ring), 2);
    assert_int_equal(collect(ring, got, COUNT_OF(got)), 2);
    assert_int_equal(got[0].user_data, OTHER_POLL);
    assert_int_equal(got[1].user_data, NOP);
}

static int take_one(void *ring) {
    struct completion got;
    return await_completion(ring, &got) == 0 ? got.res : 0;
}

static void forked_child_can_take_the_parents_cqe(void **state) {
    struct io_uring *ring = open_ring(state);
    int watched = make_eventfd(state);
    arm_multishot(ring, watched, POLLIN, POLL);
    write_some(watched);
    assert_int_equal(in_child(take_one, ring), POLLIN);
    assert_silence(ring);
}

static int exit_ring(void *ring) {
    io_uring_queue_exit(ring);
    return 7;
}

static void child_that_closes_its_copy_leaves_the_parents_polls_alone(void **state) {
    struct io_uring *ring = open_ring(state);
    int watched = make_eventfd(state);
    arm_multishot(ring, watched, POLLIN, POLL);
    assert_int_equal(in_child(exit_ring, ring), 7);
    assert_silence(ring);
    write_some(watched);
    assert_event(ring, POLL, POLLIN);
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

static void disabled_ring_takes_its_owner_when_it_is_enabled(void **state) {
    struct io_uring *ring = open_flagged_ring(state, IORING_SETUP_R_DISABLED, 4, 8);
    next_sqe(ring, NOP);
    assert_int_equal(in_thread(enable_and_submit, ring), NOP);
    assert_int_equal(count_refusals(ring), 3);
}

struct private_page {
    atomic_int *page;
    const void *local_of_parent;
};

static _Thread_local char thread_local_byte;

static int look_at_private_page(void *argument) {
    struct private_page *private = argument;
    return (*private->page == 0) + 2 * (private->local_of_parent == &thread_local_byte);
}

static void *look_at_private_page_in_thread(void *argument) {
    return (void *)(intptr_t)look_at_private_page(argument);
}

static void wiped_page_tells_a_fork_and_a_thread_local_tells_a_thread(void **state) {
    (void)state;
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    atomic_int *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct private_page private = {page, &thread_local_byte};
    assert_true(page != MAP_FAILED);
    assert_return_code(madvise(page, size, MADV_WIPEONFORK), errno);
    *page = 1;
    int in_fork = in_child(look_at_private_page, &private);
    int in_other_thread = in_thread(look_at_private_page_in_thread, &private);
    int here = look_at_private_page(&private);
    munmap(page, size);
    assert_int_equal(in_fork, 1 + 2);
    assert_int_equal(in_other_thread, 0);
    assert_int_equal(here, 2);
}

/* ---- the end of a ring, and of all its polls ---- */

enum { NO_EOF = -1 };

/* Waits for the EOF that says the file was let go. Returns how often the sleep was interrupted, or NO_EOF. */
static int count_interruptions_until_eof(void **state, int peer) {
    int interruptions = 0, count;
    struct epoll_event event = {.events = EPOLLIN};
    int epoll = keep_fd(state, epoll_create1(EPOLL_CLOEXEC));
    assert_return_code(epoll_ctl(epoll, EPOLL_CTL_ADD, peer, &event), errno);
    while ((count = epoll_wait(epoll, &event, 1, GUARD_MS)) < 0 && errno == EINTR)
        interruptions++;
    return count == 1 && reads_eof(peer) ? interruptions : NO_EOF;
}

static void exit_lets_the_files_go_in_the_end(void **state) {
    int ends[2];
    struct io_uring *ring = open_ring(state);
    make_socketpair(state, ends);
    arm_multishot(ring, ends[0], POLLIN, POLL);
    close_fd(state, ends[0]);
    close_last_ring(state);
    bool at_once = reads_eof(ends[1]);
    int interruptions = count_interruptions_until_eof(state, ends[1]);
    print_message("exit let the file go %s, and interrupted the next sleep %d times\n", at_once ? "at once" : "later",
                  interruptions);
    assert_int_not_equal(interruptions, NO_EOF);
}

static void exit_after_cancel_and_reap_has_let_the_files_go(void **state) {
    int ends[2];
    struct io_uring *ring = open_ring(state);
    make_socketpair(state, ends);
    arm_multishot(ring, ends[0], POLLIN, POLL);
    close_fd(state, ends[0]);
    submit_remove(ring, POLL, REMOVE);
    assert_two_ends(ring, REMOVE, 0, POLL, -ECANCELED);
    close_last_ring(state);
    assert_true(reads_eof(ends[1]));
}

static void cancel_of_any_and_all_ends_every_poll(void **state) {
    enum { POLLS = 50 };
    struct completion got[POLLS + 2];
    struct io_uring *ring = open_ring(state);
    int watched = make_eventfd(state), ended = 0;
    for (int i = 0; i < POLLS; i++)
        arm_multishot(ring, watched, POLLIN, POLL);
    submit_cancel(ring, 0, IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY, REMOVE);
    unsigned count = collect(ring, got, COUNT_OF(got));
    for (unsigned i = 0; i < count; i++) {
        if (got[i].user_data == REMOVE && got[i].res == -EINVAL)
            skip_because("no cancel of any");
        assert_int_equal(got[i].res, got[i].user_data == REMOVE ? POLLS : -ECANCELED);
        ended += !got[i].more;
    }
    assert_int_equal(count, POLLS + 1);
    assert_int_equal(ended, POLLS + 1);
}

/* ---- restricted rings ---- */

static const struct io_uring_restriction poll_add_alone[] = {
    {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_POLL_ADD},
    {.opcode = IORING_RESTRICTION_REGISTER_OP, .register_op = IORING_UNREGISTER_EVENTFD},
    {.opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED, .sqe_flags = IOSQE_ASYNC},
};

static struct io_uring *open_restricted_ring(void **state, int signalled, unsigned restriction_count) {
    struct io_uring *ring = open_flagged_ring(state, IORING_SETUP_R_DISABLED, 4, 8);
    if (signalled >= 0)
        assert_int_equal(io_uring_register_eventfd(ring, signalled), 0);
    assert_int_equal(
        io_uring_register((unsigned)ring->ring_fd, IORING_REGISTER_RESTRICTIONS, poll_add_alone, restriction_count), 0);
    assert_int_equal(enable(ring), 0);
    return ring;
}

static void restricted_ring_takes_the_listed_opcodes_alone(void **state) {
    struct io_uring *ring = open_restricted_ring(state, -1, 1);
    int watched = make_eventfd(state);
    arm_multishot(ring, watched, POLLIN, POLL);
    write_some(watched);
    assert_event(ring, POLL, POLLIN);
    next_sqe(ring, NOP);
    assert_int_equal(io_uring_submit(ring), 1);
    assert_end(ring, NOP, -EACCES);
    submit_remove(ring, POLL, REMOVE);
    assert_end(ring, REMOVE, -EACCES);
}

static void restricted_ring_refuses_register_calls_unless_listed(void **state) {
    int signalled = make_eventfd(state);
    assert_int_equal(io_uring_register_eventfd(open_restricted_ring(state, -1, 1), signalled), -EACCES);
    assert_int_equal(io_uring_unregister_eventfd(open_restricted_ring(state, signalled, 1)), -EACCES);
    assert_int_equal(io_uring_unregister_eventfd(open_restricted_ring(state, signalled, 2)), 0);
}

static void restricted_ring_keeps_the_eventfd_registered_before(void **state) {
    int ends[2], signalled = make_eventfd(state);
    struct io_uring *ring = open_restricted_ring(state, signalled, 1);
    make_pipe(state, ends);
    arm_multishot(ring, ends[0], POLLIN, POLL);
    assert_int_equal(state_of(signalled, POLLIN, 0), 0);
    write_some(ends[1]);
    assert_event(ring, POLL, POLLIN);
    assert_int_equal(state_of(signalled, POLLIN, 0), POLLIN);
}

static void submit_with_flags(struct io_uring *ring, int fd, uint8_t flags) {
    struct io_uring_sqe *sqe = next_sqe(ring, POLL);
    io_uring_prep_poll_add(sqe, fd, POLLIN);
    sqe->user_data = POLL;
    sqe->flags = flags;
    assert_int_equal(io_uring_submit(ring), 1);
}

static void restricted_ring_refuses_sqe_flags_unless_allowed(void **state) {
    int ready = make_eventfd(state);
    write_some(ready);
    struct io_uring *without = open_restricted_ring(state, -1, 1);
    struct io_uring *with = open_restricted_ring(state, -1, 3);
    submit_with_flags(without, ready, IOSQE_ASYNC);
    assert_end(without, POLL, -EACCES);
    submit_with_flags(without, ready, IOSQE_CQE_SKIP_SUCCESS);
    assert_end(without, POLL, -EACCES);
    submit_with_flags(with, ready, IOSQE_ASYNC);
    assert_end(with, POLL, POLLIN);
    submit_with_flags(with, ready, IOSQE_CQE_SKIP_SUCCESS);
    assert_end(with, POLL, -EACCES);
}

/* ---- how a set-up fails ---- */

static void unknown_setup_flag_is_einval(void **state) {
    struct io_uring ring;
    assert_int_equal(open_ring_with(&ring, ((struct fixture *)*state)->setup->flags | 1u << 31, 2, 4), -EINVAL);
}

struct attempt {
    const struct setup *setup;
    long filtered; /* the system call that a filter refuses with the error, as a container's does */
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
    const struct attempt *attempt = argument;
    struct io_uring ring;
    if (filter(attempt) < 0)
        return NO_FILTER;
    int error = open_ring_with(&ring, attempt->setup->flags, 2, 4);
    if (error)
        return -error;
    io_uring_prep_nop(io_uring_get_sqe(&ring));
    int submitted = io_uring_submit(&ring);
    io_uring_queue_exit(&ring);
    return SETUP_PASSES + (submitted < 0 ? -submitted : 0);
}

static int result_under_filter(void **state, long filtered, int error) {
    struct attempt attempt = {((struct fixture *)*state)->setup, filtered, error};
    int result = in_child(attempt_under_filter, &attempt);
    if (result == NO_FILTER)
        skip_because("no seccomp filters");
    return result;
}

static void seccomp_filter_of_the_setup_shows_as_its_error(void **state) {
    assert_int_equal(result_under_filter(state, SYS_io_uring_setup, EPERM), EPERM);
    assert_int_equal(result_under_filter(state, SYS_io_uring_setup, ENOSYS), ENOSYS);
}

static void seccomp_filter_of_the_enter_shows_at_the_first_submit_only(void **state) {
    assert_int_equal(result_under_filter(state, SYS_io_uring_enter, EPERM), SETUP_PASSES + EPERM);
    assert_int_equal(result_under_filter(state, SYS_getpid, EPERM), SETUP_PASSES);
}

static int open_ring_without_free_fds(void *setup) {
    struct io_uring ring;
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = 0;
    setrlimit(RLIMIT_NOFILE, &limit);
    return -open_ring_with(&ring, ((struct setup *)setup)->flags, 2, 4);
}

static void setup_without_a_free_fd_is_emfile(void **state) {
    assert_int_equal(in_child(open_ring_without_free_fds, (void *)((struct fixture *)*state)->setup), EMFILE);
}

/* ---- registered ring fds ---- */

static void sixteen_ring_fds_can_be_registered_per_task(void **state) {
    for (int i = 0; i < 16; i++) {
        struct io_uring *ring = open_sized_ring(state, 2, 4);
        assert_int_equal(io_uring_register_ring_fd(ring), 1);
        next_sqe(ring, NOP);
        assert_int_equal(io_uring_submit(ring), 1);
        assert_end(ring, NOP, 0);
    }
    assert_int_equal(io_uring_register_ring_fd(open_sized_ring(state, 2, 4)), -EBUSY);
}

int main(void) {
    const struct rule rules[] = {
        EACH_SETUP(other_thread_is_refused_with_eexist_when_deferred),
        EACH_SETUP(forked_child_is_refused_with_eexist_when_deferred),
        ON_DEFER(refused_foreign_submit_goes_out_with_the_owners_next),
        UNLESS_DEFER(forked_child_can_take_the_parents_cqe),
        EACH_SETUP(child_that_closes_its_copy_leaves_the_parents_polls_alone),
        ON_DEFER(disabled_ring_takes_its_owner_when_it_is_enabled),
        ON_PLAIN(wiped_page_tells_a_fork_and_a_thread_local_tells_a_thread),
        EACH_SETUP(exit_lets_the_files_go_in_the_end),
        EACH_SETUP(exit_after_cancel_and_reap_has_let_the_files_go),
        EACH_SETUP(cancel_of_any_and_all_ends_every_poll),
        EACH_SETUP(restricted_ring_takes_the_listed_opcodes_alone),
        EACH_SETUP(restricted_ring_refuses_register_calls_unless_listed),
        EACH_SETUP(restricted_ring_keeps_the_eventfd_registered_before),
        EACH_SETUP(restricted_ring_refuses_sqe_flags_unless_allowed),
        EACH_SETUP(unknown_setup_flag_is_einval),
        EACH_SETUP(seccomp_filter_of_the_setup_shows_as_its_error),
        EACH_SETUP(seccomp_filter_of_the_enter_shows_at_the_first_submit_only),
        EACH_SETUP(setup_without_a_free_fd_is_emfile),
        EACH_SETUP(sixteen_ring_fds_can_be_registered_per_task),
    };
    return run_rules("kernel: threads", rules, COUNT_OF(rules));
}
