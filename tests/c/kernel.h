/*
 * What the tests of the kernel share: a fixture that gives back every ring and fd, requests, completions as plain
 * values, assertions about them, and the runner that repeats a test on every set-up of a ring.
 *
 * It uses liburing alone and must not know pollring: when one of these tests fails, the kernel has changed.
 *
 * Work that is pending in the calling thread is collected without sleeping, so silence is asserted at once. Where
 * another thread or the network is at work, the tests wait for the thing itself and GUARD_MS only ends what would hang.
 */
#ifndef KERNEL_H
#define KERNEL_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <liburing.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "thread.h"

#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

#define GUARD_MS 5000
#define STUCK_SECONDS 120
#define MAX_RINGS 24
#define MAX_FDS 256
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* Newer than liburing 2.3. */
#define REGISTER_RESIZE_RINGS 33

/* ---- the set-ups ---- */

struct setup {
    const char *name;
    unsigned flags;
};

enum { DEFER, COOP, PLAIN, SETUPS };

/* The ids of the requests in most tests. */
enum { POLL = 1, OTHER_POLL, REMOVE, UPDATE, NOP };

static const struct setup setups[SETUPS] = {
    [DEFER] = {"DEFER_TASKRUN", IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG},
    [COOP] = {"COOP_TASKRUN", IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG},
    [PLAIN] = {"plain", 0},
};

/* ---- the fixture: a test's *state ---- */

struct fixture {
    const struct setup *setup;
    struct io_uring rings[MAX_RINGS];
    unsigned ring_count;
    int fds[MAX_FDS];
    unsigned fd_count;
};

static inline bool defers(void **state) {
    return ((struct fixture *)*state)->setup->flags & IORING_SETUP_DEFER_TASKRUN;
}

#define skip_because(...)                                                                                              \
    do {                                                                                                               \
        print_message("skipped: " __VA_ARGS__);                                                                        \
        print_message("\n");                                                                                           \
        skip();                                                                                                        \
    } while (0)

/* For a test whose owner waits in the ring until another thread does something. */
static inline void require_threads_during_an_enter(void) {
    if (RUNNING_ON_VALGRIND)
        skip_because("valgrind lets no other thread run during an enter");
}

static inline int keep_fd(void **state, int fd) {
    struct fixture *fixture = *state;
    assert_return_code(fd, errno);
    assert_true(fixture->fd_count < MAX_FDS);
    return fixture->fds[fixture->fd_count++] = fd;
}

static inline void close_fd(void **state, int fd) {
    struct fixture *fixture = *state;
    for (unsigned i = 0; i < fixture->fd_count; i++) {
        if (fixture->fds[i] == fd) {
            fixture->fds[i] = fixture->fds[--fixture->fd_count];
            assert_return_code(close(fd), errno);
            return;
        }
    }
    fail_msg("fd %d is none of the fixture's", fd);
}

static inline int open_ring_with(struct io_uring *ring, unsigned flags, unsigned sq_entries, unsigned cq_entries) {
    struct io_uring_params params = {.flags = flags | IORING_SETUP_CQSIZE, .cq_entries = cq_entries};
    return io_uring_queue_init_params(sq_entries, ring, &params);
}

static inline struct io_uring *open_flagged_ring(void **state, unsigned more_flags, unsigned sq_entries,
                                                 unsigned cq_entries) {
    struct fixture *fixture = *state;
    assert_true(fixture->ring_count < MAX_RINGS);
    struct io_uring *ring = &fixture->rings[fixture->ring_count];
    assert_int_equal(open_ring_with(ring, fixture->setup->flags | more_flags, sq_entries, cq_entries), 0);
    fixture->ring_count++;
    return ring;
}

static inline struct io_uring *open_sized_ring(void **state, unsigned sq_entries, unsigned cq_entries) {
    return open_flagged_ring(state, 0, sq_entries, cq_entries);
}

static inline struct io_uring *open_ring(void **state) {
    return open_sized_ring(state, 64, 256);
}

static inline void close_last_ring(void **state) {
    struct fixture *fixture = *state;
    io_uring_queue_exit(&fixture->rings[--fixture->ring_count]);
}

/* ---- files to watch ---- */

static inline void make_pipe(void **state, int ends[2]) {
    assert_return_code(pipe2(ends, O_NONBLOCK | O_CLOEXEC), errno);
    keep_fd(state, ends[0]);
    keep_fd(state, ends[1]);
}

static inline void make_socketpair(void **state, int ends[2]) {
    assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), errno);
    keep_fd(state, ends[0]);
    keep_fd(state, ends[1]);
}

static inline int make_eventfd(void **state) {
    return keep_fd(state, eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
}

static inline struct sockaddr_in any_loopback_port(void) {
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static inline struct sockaddr_in bind_loopback(int fd) {
    struct sockaddr_in address = any_loopback_port();
    socklen_t size = sizeof(address);
    assert_return_code(bind(fd, (struct sockaddr *)&address, size), errno);
    assert_return_code(getsockname(fd, (struct sockaddr *)&address, &size), errno);
    return address;
}

static inline void make_tcp_pair(void **state, int ends[2]) {
    int listener = keep_fd(state, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    struct sockaddr_in address = bind_loopback(listener);
    assert_return_code(listen(listener, 1), errno);
    ends[0] = keep_fd(state, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    assert_return_code(connect(ends[0], (struct sockaddr *)&address, sizeof(address)), errno);
    ends[1] = keep_fd(state, accept4(listener, NULL, NULL, SOCK_CLOEXEC));
    close_fd(state, listener);
}

/* Eight bytes, so that it serves eventfds too. */
static inline void write_some(int fd) {
    assert_int_equal(write(fd, &(uint64_t){1}, sizeof(uint64_t)), sizeof(uint64_t));
}

static inline void read_some(int fd) {
    uint64_t bytes;
    assert_int_equal(read(fd, &bytes, sizeof(bytes)), sizeof(bytes));
}

static inline void clear_eventfd(int fd) {
    uint64_t count;
    while (read(fd, &count, sizeof(count)) > 0)
        ;
}

/* What poll(2) says within a time; it waits again when a ring's work interrupts it. */
static inline short state_of(int fd, short mask, int timeout_ms) {
    struct pollfd watched = {.fd = fd, .events = mask};
    while (poll(&watched, 1, timeout_ms) < 0)
        if (errno != EINTR)
            return POLLNVAL;
    return watched.revents;
}

static inline bool reads_eof(int fd) {
    char byte;
    return recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 0;
}

/* ---- requests ---- */

static inline struct io_uring_sqe *next_sqe(struct io_uring *ring, uint64_t user_data) {
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    assert_non_null(sqe);
    io_uring_prep_nop(sqe);
    sqe->user_data = user_data;
    return sqe;
}

static inline void queue_multishot(struct io_uring *ring, int fd, unsigned mask, uint64_t user_data) {
    struct io_uring_sqe *sqe = next_sqe(ring, user_data);
    io_uring_prep_poll_multishot(sqe, fd, mask);
    sqe->user_data = user_data;
}

static inline void arm_multishot(struct io_uring *ring, int fd, unsigned mask, uint64_t user_data) {
    queue_multishot(ring, fd, mask, user_data);
    assert_int_equal(io_uring_submit(ring), 1);
}

static inline void arm_one_shot(struct io_uring *ring, int fd, unsigned mask, uint64_t user_data) {
    struct io_uring_sqe *sqe = next_sqe(ring, user_data);
    io_uring_prep_poll_add(sqe, fd, mask);
    sqe->user_data = user_data;
    assert_int_equal(io_uring_submit(ring), 1);
}

static inline void submit_remove(struct io_uring *ring, uint64_t target, uint64_t user_data) {
    struct io_uring_sqe *sqe = next_sqe(ring, user_data);
    io_uring_prep_poll_remove(sqe, target);
    sqe->user_data = user_data;
    assert_int_equal(io_uring_submit(ring), 1);
}

static inline void submit_cancel(struct io_uring *ring, uint64_t target, int flags, uint64_t user_data) {
    struct io_uring_sqe *sqe = next_sqe(ring, user_data);
    io_uring_prep_cancel64(sqe, target, flags);
    sqe->user_data = user_data;
    assert_int_equal(io_uring_submit(ring), 1);
}

/* ---- completions ---- */

struct completion {
    uint64_t user_data;
    int res;
    bool more;
};

/* It runs no pending work: what is in the queue now. */
static inline unsigned take(struct io_uring *ring, struct completion *taken, unsigned size) {
    struct io_uring_cqe *cqe;
    unsigned count = 0;
    while (count < size && io_uring_cq_ready(ring) && io_uring_peek_cqe(ring, &cqe) == 0) {
        taken[count++] = (struct completion){cqe->user_data, cqe->res, cqe->flags & IORING_CQE_F_MORE};
        io_uring_cqe_seen(ring, cqe);
    }
    return count;
}

static inline unsigned queue_flags(struct io_uring *ring) {
    return __atomic_load_n(ring->sq.kflags, __ATOMIC_ACQUIRE);
}

/* Runs the work that is pending until an enter brings nothing, and never sleeps. */
static inline unsigned collect(struct io_uring *ring, struct completion *collected, unsigned size) {
    unsigned count = 0, before;
    do {
        before = count;
        io_uring_get_events(ring);
        count += take(ring, collected + count, size - count);
    } while (before < count && count < size);
    return count;
}

/* Waits for one completion; 0 or -errno. For threads and children too, where nothing may be asserted. */
static inline int await_completion(struct io_uring *ring, struct completion *completion) {
    struct __kernel_timespec guard = {.tv_sec = GUARD_MS / 1000};
    struct io_uring_cqe *cqe;
    int error;
    *completion = (struct completion){0};
    do
        error = io_uring_wait_cqe_timeout(ring, &cqe, &guard);
    while (error == -EINTR);
    return error ? error : (int)take(ring, completion, 1) - 1;
}

static inline void check_next(struct io_uring *ring, struct completion expected, const char *file, int line) {
    struct completion got;
    int error = await_completion(ring, &got);
    if (error)
        print_error("no completion: %s\n", strerror(-error));
    else if (got.user_data == expected.user_data && got.res == expected.res && got.more == expected.more)
        return;
    else
        print_error("user_data %llu res %d F_MORE %d, expected %llu %d %d\n", (unsigned long long)got.user_data,
                    got.res, got.more, (unsigned long long)expected.user_data, expected.res, expected.more);
    _fail(file, line);
}

static inline void check_silence(struct io_uring *ring, const char *file, int line) {
    struct completion got;
    if (collect(ring, &got, 1) == 0)
        return;
    print_error("user_data %llu res %d F_MORE %d, expected silence\n", (unsigned long long)got.user_data, got.res,
                got.more);
    _fail(file, line);
}

/* Several completions until all bits of the mask were seen, every one of a poll that goes on. */
static inline void check_reports(struct io_uring *ring, uint64_t user_data, int mask, const char *file, int line) {
    for (int seen = 0; (seen & mask) != mask;) {
        struct completion got;
        int error = await_completion(ring, &got);
        if (error || got.user_data != user_data || got.res < 0 || !got.more) {
            print_error("error %d, or user_data %llu res %d F_MORE %d; seen 0x%x of 0x%x\n", error,
                        (unsigned long long)got.user_data, got.res, got.more, seen, mask);
            _fail(file, line);
        }
        seen |= got.res;
    }
}

#define assert_event(ring, user_data, mask)                                                                            \
    check_next(ring, (struct completion){user_data, mask, true}, __FILE__, __LINE__)
#define assert_end(ring, user_data, res)                                                                               \
    check_next(ring, (struct completion){user_data, res, false}, __FILE__, __LINE__)
#define assert_silence(ring) check_silence(ring, __FILE__, __LINE__)
#define assert_reports(ring, user_data, mask) check_reports(ring, user_data, mask, __FILE__, __LINE__)

/* Collects what there is, which must be one completion of each user_data, in any order, none of a poll that goes on. */
static inline void assert_two_ends(struct io_uring *ring, uint64_t one, int one_res, uint64_t other, int other_res) {
    struct completion got[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(await_completion(ring, &got[i]), 0);
    int first = got[0].user_data == one ? 0 : 1;
    assert_int_equal(got[first].user_data, one);
    assert_int_equal(got[first].res, one_res);
    assert_int_equal(got[!first].user_data, other);
    assert_int_equal(got[!first].res, other_res);
    assert_false(got[0].more || got[1].more);
}

/* ---- threads and children: they return a number, the test asserts it ---- */

/* Whether the thread is blocked, which its own flag says it is about to be. */
static inline bool wait_until_asleep(pid_t tid, atomic_bool *about_to_sleep) {
    char path[64], text[256] = "";
    struct timespec now, end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)tid);
    do {
        int fd = atomic_load(about_to_sleep) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        ssize_t size = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
        if (fd >= 0)
            close(fd);
        text[size < 0 ? 0 : size] = '\0';
        const char *name_end = strrchr(text, ')');
        if (name_end && name_end[1] && name_end[2] == 'S')
            return true;
        sched_yield();
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec - end.tv_sec < GUARD_MS / 1000);
    return false;
}

/* A number from 0 to 255, or -1 when the child was killed. */
static inline int in_child(int (*function)(void *), void *argument) {
    pid_t child = fork();
    if (child == 0)
        _exit(function(argument));
    assert_return_code(child, errno);
    int status;
    while (waitpid(child, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* ---- the runner ---- */

struct rule {
    const char *name;
    CMUnitTestFunction test;
    unsigned setups;
};

#define EACH_SETUP(test)                                                                                               \
    { #test, test, 1u << DEFER | 1u << COOP | 1u << PLAIN }
#define ON_DEFER(test)                                                                                                 \
    { #test, test, 1u << DEFER }
#define ON_PLAIN(test)                                                                                                 \
    { #test, test, 1u << PLAIN }
#define UNLESS_DEFER(test)                                                                                             \
    { #test, test, 1u << COOP | 1u << PLAIN }

static inline int open_fixture(void **state) {
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    if (!fixture)
        return -1;
    fixture->setup = *state;
    *state = fixture;
    return 0;
}

static inline int close_fixture(void **state) {
    struct fixture *fixture = *state;
    while (fixture->ring_count)
        close_last_ring(state);
    while (fixture->fd_count)
        close(fixture->fds[--fixture->fd_count]);
    free(fixture);
    return 0;
}

static inline int setup_error(const struct setup *setup) {
    struct io_uring ring;
    int error = open_ring_with(&ring, setup->flags, 2, 4);
    if (error == 0)
        io_uring_queue_exit(&ring);
    return error;
}

static inline void skip_missing_setup(void **state) {
    const struct setup *setup = ((struct fixture *)*state)->setup;
    skip_because("%s: io_uring_setup says %s", setup->name, strerror(-setup_error(setup)));
}

static inline int run_rules(const char *group, const struct rule *rules, size_t rule_count) {
    struct CMUnitTest *tests = calloc(rule_count * SETUPS, sizeof(*tests));
    char(*names)[160] = calloc(rule_count * SETUPS, sizeof(*names));
    size_t count = 0;
    alarm(STUCK_SECONDS);
    for (size_t i = 0; i < rule_count * SETUPS; i++) {
        const struct rule *rule = &rules[i / SETUPS];
        const struct setup *setup = &setups[i % SETUPS];
        if (!(rule->setups & 1u << i % SETUPS))
            continue;
        snprintf(names[count], sizeof(*names), "%s: %s", setup->name, rule->name);
        tests[count] = (struct CMUnitTest){names[count], setup_error(setup) ? skip_missing_setup : rule->test,
                                           open_fixture, close_fixture, (void *)setup};
        count++;
    }
    int failed = _cmocka_run_group_tests(group, tests, count, NULL, NULL);
    free(names);
    free(tests);
    return failed;
}

#endif
