/* Rings, files, requests, completions, threads and children for the rules. */
#include "kernel.h"

#include <arpa/inet.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

/* ---- rings ---- */

const struct setup setups[SETUPS] = {
    [DEFER] = {"DEFER_TASKRUN", IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG},
    [COOP] = {"COOP_TASKRUN", IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG},
    [PLAIN] = {"plain", 0},
};

const struct setup *setup;

bool defers(void) {
    return setup->flags & IORING_SETUP_DEFER_TASKRUN;
}

int open_ring_with(struct io_uring *ring, unsigned flags, unsigned sq_entries, unsigned cq_entries) {
    struct io_uring_params params = {.flags = flags | IORING_SETUP_CQSIZE, .cq_entries = cq_entries};
    return io_uring_queue_init_params(sq_entries, ring, &params);
}

struct io_uring *open_flagged_ring(unsigned more_flags, unsigned sq_entries, unsigned cq_entries) {
    struct io_uring *ring = calloc(1, sizeof(*ring));
    ensure(ring);
    int error = open_ring_with(ring, setup->flags | more_flags, sq_entries, cq_entries);
    if (error)
        expect_allowed("io_uring_setup", 0, error);
    return ring;
}

struct io_uring *open_sized_ring(unsigned sq_entries, unsigned cq_entries) {
    return open_flagged_ring(0, sq_entries, cq_entries);
}

struct io_uring *open_ring(void) {
    return open_sized_ring(64, 256);
}

/* ---- files to watch ---- */

void close_fd(int fd) {
    need(close(fd));
}

void make_pipe(int ends[2]) {
    need(pipe2(ends, O_NONBLOCK | O_CLOEXEC));
}

void make_socketpair(int ends[2]) {
    need(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends));
}

int make_eventfd(void) {
    return need(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
}

int make_ready_eventfd(void) {
    return need(eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC));
}

struct sockaddr_in bind_loopback(int fd) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    need(bind(fd, (struct sockaddr *)&address, size));
    need(getsockname(fd, (struct sockaddr *)&address, &size));
    return address;
}

void make_tcp_pair(int ends[2]) {
    int listener = need(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    struct sockaddr_in address = bind_loopback(listener);
    need(listen(listener, 1));
    ends[0] = need(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    need(connect(ends[0], (struct sockaddr *)&address, sizeof(address)));
    ends[1] = need(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
    close_fd(listener);
}

void write_some(int fd) {
    ensure(write(fd, &(uint64_t){1}, sizeof(uint64_t)) == sizeof(uint64_t));
}

void read_some(int fd) {
    uint64_t bytes;
    ensure(read(fd, &bytes, sizeof(bytes)) == sizeof(bytes));
}

void clear_eventfd(int fd) {
    uint64_t count;
    while (read(fd, &count, sizeof(count)) > 0)
        ;
}

short state_of(int fd, short mask, int timeout_ms) {
    struct pollfd watched = {.fd = fd, .events = mask};
    while (poll(&watched, 1, timeout_ms) < 0)
        if (errno != EINTR)
            return POLLNVAL;
    return watched.revents;
}

bool reads_eof(int fd) {
    char byte;
    return recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 0;
}

/* ---- requests ---- */

struct io_uring_sqe *next_sqe(struct io_uring *ring, uint64_t user_data) {
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    ensure(sqe);
    io_uring_prep_nop(sqe);
    sqe->user_data = user_data;
    return sqe;
}

void submit_one(struct io_uring *ring) {
    int submitted = io_uring_submit(ring);
    if (submitted != 1)
        expect_result("io_uring_submit", 1, submitted);
}

struct io_uring_sqe *queue_multishot(struct io_uring *ring, int fd, unsigned mask, uint64_t user_data) {
    struct io_uring_sqe *sqe = next_sqe(ring, user_data);
    io_uring_prep_poll_multishot(sqe, fd, mask);
    sqe->user_data = user_data;
    return sqe;
}

void arm_multishot(struct io_uring *ring, int fd, unsigned mask, uint64_t user_data) {
    queue_multishot(ring, fd, mask, user_data);
    submit_one(ring);
}

void arm_one_shot(struct io_uring *ring, int fd, unsigned mask, uint64_t user_data) {
    struct io_uring_sqe *sqe = next_sqe(ring, user_data);
    io_uring_prep_poll_add(sqe, fd, mask);
    sqe->user_data = user_data;
    submit_one(ring);
}

void submit_nop(struct io_uring *ring) {
    next_sqe(ring, NOP);
    submit_one(ring);
}

void submit_remove(struct io_uring *ring, uint64_t target) {
    struct io_uring_sqe *sqe = next_sqe(ring, REMOVE);
    io_uring_prep_poll_remove(sqe, target);
    sqe->user_data = REMOVE;
    submit_one(ring);
}

void submit_cancel(struct io_uring *ring, uint64_t target, int flags) {
    struct io_uring_sqe *sqe = next_sqe(ring, REMOVE);
    io_uring_prep_cancel64(sqe, target, flags);
    sqe->user_data = REMOVE;
    submit_one(ring);
}

/* ---- completions ---- */

unsigned queue_flags(struct io_uring *ring) {
    return __atomic_load_n(ring->sq.kflags, __ATOMIC_ACQUIRE);
}

unsigned take(struct io_uring *ring, struct completion *taken, unsigned size) {
    struct io_uring_cqe *cqe;
    unsigned count = 0;
    while (count < size && io_uring_cq_ready(ring) && io_uring_peek_cqe(ring, &cqe) == 0) {
        taken[count++] = (struct completion){cqe->user_data, cqe->res, cqe->flags & IORING_CQE_F_MORE};
        io_uring_cqe_seen(ring, cqe);
    }
    return count;
}

unsigned collect(struct io_uring *ring, struct completion *collected, unsigned size) {
    unsigned count = 0, before;
    do {
        before = count;
        io_uring_get_events(ring);
        count += take(ring, collected + count, size - count);
    } while (before < count && count < size);
    return count;
}

int await_completion(struct io_uring *ring, struct completion *completion) {
    struct __kernel_timespec guard = {.tv_sec = GUARD_MS / 1000};
    struct io_uring_cqe *cqe;
    int error;
    *completion = (struct completion){0};
    do
        error = io_uring_wait_cqe_timeout(ring, &cqe, &guard);
    while (error == -EINTR);
    return error ? error : (int)take(ring, completion, 1) - 1;
}

static const char *completion_text(struct completion completion) {
    static const char *const names[] = {"none", "poll", "other poll", "remove", "update", "nop", "message"};
    uint64_t id = completion.user_data;
    const char *name = id < FIRST_FILE ? names[id] : text("file %d", (int)(id - FIRST_FILE));
    bool mask = completion.res > 0 && (id == POLL || id == OTHER_POLL || id >= FIRST_FILE);
    return text("%s: %s%s", name, mask ? mask_text((unsigned)completion.res) : result_text(completion.res),
                completion.more ? " F_MORE" : "");
}

static bool equal(struct completion one, struct completion other) {
    return one.user_data == other.user_data && one.res == other.res && one.more == other.more;
}

/* Returns what is wrong where none came within GUARD_MS. */
static const char *await_text(struct io_uring *ring, struct completion *completion) {
    int error = await_completion(ring, completion);
    return error ? text("no completion (%s)", result_text(error)) : completion_text(*completion);
}

void expect_completion(struct completion expected, struct completion seen) {
    expect_text(equal(expected, seen), completion_text(expected), completion_text(seen));
}

static void expect_next(struct io_uring *ring, struct completion expected) {
    struct completion got;
    const char *seen = await_text(ring, &got);
    expect_text(equal(expected, got), completion_text(expected), seen);
}

void expect_event(struct io_uring *ring, uint64_t user_data, unsigned mask) {
    expect_next(ring, (struct completion){user_data, (int)mask, true});
}

void expect_end(struct io_uring *ring, uint64_t user_data, int res) {
    expect_next(ring, (struct completion){user_data, res, false});
}

void expect_silence(struct io_uring *ring) {
    struct completion got;
    bool silent = collect(ring, &got, 1) == 0;
    expect_text(silent, "silence", silent ? "silence" : completion_text(got));
}

void expect_reports(struct io_uring *ring, unsigned mask) {
    const char *expected = text("poll: at least %s F_MORE", mask_text(mask));
    for (unsigned reported = 0; (reported & mask) != mask;) {
        struct completion got;
        const char *seen = await_text(ring, &got);
        if (got.user_data != POLL || got.res < 0 || !got.more)
            expect_text(false, expected, seen);
        reported |= (unsigned)got.res;
    }
    expect_text(true, expected, expected);
}

void expect_both(struct io_uring *ring, struct completion one, struct completion other) {
    struct completion got[2];
    const char *seen[2];
    for (int i = 0; i < 2; i++)
        seen[i] = await_text(ring, &got[i]);
    int first = got[0].user_data == one.user_data ? 0 : 1;
    expect_text(equal(got[first], one) && equal(got[!first], other),
                text("%s and %s", completion_text(one), completion_text(other)),
                text("%s and %s", seen[first], seen[!first]));
}

void expect_removed(struct io_uring *ring) {
    expect_both(ring, (struct completion){REMOVE, 0, false}, (struct completion){POLL, -ECANCELED, false});
}

void require_overflow_to_end_polls(void) {
    struct completion got[3];
    struct io_uring *ring = open_sized_ring(2, 2);
    for (int i = 0; i < 3; i++)
        arm_multishot(ring, make_ready_eventfd(), POLLIN, POLL);
    expect_number("polls that overflow", 3, collect(ring, got, COUNT_OF(got)));
    if (got[2].more)
        skip_because("overflow ends no poll here");
}

/* ---- threads and children ---- */

void require_threads_during_an_enter(void) {
    if (RUNNING_ON_VALGRIND)
        skip_because("valgrind lets no other thread run during an enter");
}

pthread_t start_thread(void *(*function)(void *), void *argument) {
    pthread_t thread;
    ensure(pthread_create(&thread, NULL, function, argument) == 0);
    return thread;
}

int join_thread(pthread_t thread) {
    void *result;
    ensure(pthread_join(thread, &result) == 0);
    return (int)(intptr_t)result;
}

int in_thread(void *(*function)(void *), void *argument) {
    return join_thread(start_thread(function, argument));
}

bool wait_until_asleep(pid_t tid, atomic_bool *about_to_sleep) {
    char path[64], stat[256] = "";
    struct timespec now, start;
    clock_gettime(CLOCK_MONOTONIC, &start);
    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)tid);
    do {
        int fd = atomic_load(about_to_sleep) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        ssize_t size = fd < 0 ? 0 : read(fd, stat, sizeof(stat) - 1);
        if (fd >= 0)
            close(fd);
        stat[size < 0 ? 0 : size] = '\0';
        const char *name_end = strrchr(stat, ')');
        if (name_end && name_end[1] && name_end[2] == 'S')
            return true;
        sched_yield();
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec - start.tv_sec < GUARD_MS / 1000);
    return false;
}

int in_child(int (*function)(void *), void *argument) {
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(function(argument));
    }
    need(child);
    int status;
    while (waitpid(child, &status, 0) < 0)
        ensure(errno == EINTR);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
