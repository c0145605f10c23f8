/*
 * What the tests of the core share: the variants of a ring that every test runs on, a fixture that gives back all that
 * a test opened, files to watch, and assertions about events.
 *
 * It knows pollring.h and nothing below it. A backend or a set-up more is a row more in the table of variants.
 *
 * Nothing here sleeps to let something happen: work of the calling thread is pending when its system call returns, so
 * silence is asserted at once; for other threads the tests wait for the thing itself, and GUARD_MS only ends what
 * hangs.
 */
#ifndef VARIANTS_H
#define VARIANTS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pollring.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "thread.h"

#define GUARD_MS ((int)(5000 * factor("TEST_PATIENCE")))
#define STUCK_SECONDS 120
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* A test is a function named as a sentence. */
#define TEST(sentence) static void sentence(__attribute__((unused)) void **state)

/* ---- variants ---- */

struct variant {
    const char *name;
    struct pollring_options options;
};

#define TINY .entries = 2, .cq_entries = 4 /* so that a full queue is a daily path */

/* epoll first: the kernel interrupts a thread some time after it has closed an io_uring, and epoll_wait() says so. */
static const struct variant variants[] = {
    {"epoll", {.backend = POLLRING_EPOLL}},
    {"epoll, tiny", {TINY, .backend = POLLRING_EPOLL}},
    {"epoll, pinned, sealed", {.flags = POLLRING_PINNED | POLLRING_SEALED, .backend = POLLRING_EPOLL}},
    {"defer_taskrun", {.flags = POLLRING_SETUP_DEFER_TASKRUN}},
    {"defer_taskrun, tiny", {TINY, .flags = POLLRING_SETUP_DEFER_TASKRUN}},
    {"coop_taskrun", {.flags = POLLRING_SETUP_COOP_TASKRUN}},
    {"coop_taskrun, tiny", {TINY, .flags = POLLRING_SETUP_COOP_TASKRUN}},
    {"plain", {.flags = POLLRING_SETUP_PLAIN}},
    {"plain, tiny", {TINY, .flags = POLLRING_SETUP_PLAIN}},
    {"defer_taskrun, pinned", {.flags = POLLRING_SETUP_DEFER_TASKRUN | POLLRING_PINNED}},
    {"io_uring, sealed", {.flags = POLLRING_SEALED, .backend = POLLRING_IO_URING}}, /* the first set-up there is */
    {"coop_taskrun, pinned, sealed, tiny",
     {TINY, .flags = POLLRING_SETUP_COOP_TASKRUN | POLLRING_PINNED | POLLRING_SEALED}},
};

/* ---- the fixture ---- */

static struct {
    const struct variant *variant;
    struct pollring *rings[4];
    struct pollring_poll **polls;
    int *fds;
    size_t ring_count, poll_count, fd_count;
    char directory[32]; /* for files with a name; empty: none yet */
} test;

#define skip_because(...)                                                                                              \
    do {                                                                                                               \
        print_message("skipped: " __VA_ARGS__);                                                                        \
        print_message("\n");                                                                                           \
        skip();                                                                                                        \
    } while (0)

static inline bool is_epoll(void) {
    return test.variant->options.backend == POLLRING_EPOLL;
}

static inline bool is_pinned(void) {
    return test.variant->options.flags & POLLRING_PINNED;
}

static inline bool in_valgrind(void) {
    const char *preload = getenv("LD_PRELOAD");
    return preload && strstr(preload, "vgpreload");
}

/* A factor from the environment: TEST_ROUNDS for what is done often, TEST_PATIENCE for time limits on slow machines. */
static inline double factor(const char *name) {
    const char *text = getenv(name);
    double value = text ? atof(text) : 0;
    return value > 0 ? value : 1;
}

/* As many rounds as asked for, or few where each instruction costs fifty. */
static inline int rounds(int number) {
    number = (int)(number * factor("TEST_ROUNDS") + 0.99);
    return in_valgrind() ? (number + 49) / 50 : number;
}

/* For tests in which another thread has to run while one sleeps in a wait. */
static inline void skip_in_valgrind(void) {
    if (in_valgrind())
        skip_because("valgrind runs no other thread while one sleeps in io_uring_enter");
}

static inline bool has_signals(void) {
    return getenv("POLLRING_TEST_SIGNALS") != NULL;
}

/* For tests of how long a sleep takes, and what ends it. */
static inline void skip_with_signals(void) {
    if (has_signals())
        skip_because("each sleep is interrupted after a millisecond");
}

/* For a sleep that only an event or a wake-up ends. */
#define uninterrupted(call)                                                                                            \
    ({                                                                                                                 \
        int result_of_call;                                                                                            \
        do                                                                                                             \
            result_of_call = (call);                                                                                   \
        while (result_of_call == -EINTR);                                                                              \
        result_of_call;                                                                                                \
    })

static inline struct pollring *keep_ring(struct pollring *ring) {
    assert_true(test.ring_count < COUNT_OF(test.rings));
    return test.rings[test.ring_count++] = ring;
}

static inline struct pollring *open_ring(void) {
    struct pollring *ring;
    assert_int_equal(pollring_open(&ring, &test.variant->options), 0);
    return keep_ring(ring);
}

static inline void close_ring(struct pollring *ring) {
    for (size_t i = 0; i < test.ring_count; i++)
        if (test.rings[i] == ring)
            test.rings[i] = test.rings[--test.ring_count];
    pollring_close(ring);
}

static inline int keep_fd(int fd) {
    assert_return_code(fd, errno);
    int *grown = realloc(test.fds, (test.fd_count + 1) * sizeof(*grown));
    assert_non_null(grown);
    test.fds = grown;
    return test.fds[test.fd_count++] = fd;
}

static inline void close_fd(int fd) {
    for (size_t i = test.fd_count; i-- > 0;) {
        if (test.fds[i] == fd) {
            test.fds[i] = test.fds[--test.fd_count];
            assert_return_code(close(fd), errno);
            return;
        }
    }
    fail_msg("fd %d is none of the test's", fd);
}

static inline struct pollring_poll *keep_poll(struct pollring_poll *poll) {
    struct pollring_poll **grown = realloc(test.polls, (test.poll_count + 1) * sizeof(*grown));
    assert_non_null(grown);
    test.polls = grown;
    return test.polls[test.poll_count++] = poll;
}

/* The fixture frees it no more. */
static inline struct pollring_poll *forget_poll(struct pollring_poll *poll) {
    for (size_t i = test.poll_count; i-- > 0;) {
        if (test.polls[i] == poll) {
            test.polls[i] = test.polls[--test.poll_count];
            return poll;
        }
    }
    fail_msg("a poll that is none of the test's");
    return NULL;
}

static inline void free_poll(struct pollring_poll *poll) {
    pollring_poll_free(forget_poll(poll));
}

static inline void remove_directory(void) {
    DIR *directory = opendir(test.directory);
    for (struct dirent *entry; directory && (entry = readdir(directory));)
        unlinkat(dirfd(directory), entry->d_name, 0);
    if (directory)
        closedir(directory);
    rmdir(test.directory);
}

static inline int set_up_test(void **state) {
    memset(&test, 0, sizeof(test));
    test.variant = *state;
    return 0;
}

static inline int tear_down_test(__attribute__((unused)) void **state) {
    while (test.ring_count)
        pollring_close(test.rings[--test.ring_count]);
    while (test.poll_count)
        pollring_poll_free(test.polls[--test.poll_count]);
    while (test.fd_count)
        close(test.fds[--test.fd_count]);
    free(test.polls);
    free(test.fds);
    if (*test.directory)
        remove_directory();
    return 0;
}

/* ---- files to watch ---- */

struct ends {
    int near, far; /* watched, and its peer */
};

static inline struct ends make_pipe(void) {
    int fds[2];
    assert_return_code(pipe2(fds, O_NONBLOCK | O_CLOEXEC), errno);
    return (struct ends){keep_fd(fds[0]), keep_fd(fds[1])};
}

static inline struct ends make_socketpair(void) {
    int fds[2];
    assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), errno);
    return (struct ends){keep_fd(fds[0]), keep_fd(fds[1])};
}

static inline int make_eventfd(void) {
    return keep_fd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
}

static inline int make_ready_eventfd(void) {
    return keep_fd(eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC));
}

static inline struct sockaddr_in bind_loopback(int fd) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    assert_return_code(bind(fd, (struct sockaddr *)&address, size), errno);
    assert_return_code(getsockname(fd, (struct sockaddr *)&address, &size), errno);
    return address;
}

static inline struct ends make_tcp_pair(void) {
    int listener = keep_fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    struct sockaddr_in address = bind_loopback(listener);
    assert_return_code(listen(listener, 1), errno);
    struct ends ends = {.near = keep_fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0))};
    assert_return_code(connect(ends.near, (struct sockaddr *)&address, sizeof(address)), errno);
    ends.far = keep_fd(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
    close_fd(listener);
    return ends;
}

static inline const char *make_path(const char *name) {
    static char path[64];
    if (!*test.directory) {
        strcpy(test.directory, "/tmp/pollring-XXXXXX");
        assert_non_null(mkdtemp(test.directory));
    }
    snprintf(path, sizeof(path), "%s/%s", test.directory, name);
    return path;
}

/* Eight bytes, so that it serves eventfds too. */
static inline void write_some(int fd) {
    assert_int_equal(write(fd, &(uint64_t){1}, sizeof(uint64_t)), sizeof(uint64_t));
}

static inline void read_some(int fd) {
    uint64_t bytes;
    assert_int_equal(read(fd, &bytes, sizeof(bytes)), sizeof(bytes));
}

/* Whether the peer of this socket or pipe has been let go, now. */
static inline bool reads_eof(int fd) {
    char byte;
    return read(fd, &byte, 1) == 0;
}

static inline int count_fds(void) {
    int count = 0;
    DIR *directory = opendir("/proc/self/fd");
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

/* ---- time ---- */

static const struct timespec no_time = {0, 0};
static struct timespec guard_time;

static inline struct timespec in_ms(long ms) {
    return (struct timespec){ms / 1000, ms % 1000 * 1000000};
}

static inline double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* ---- polls and events ---- */

static inline struct pollring_poll *add_with(struct pollring *ring, int fd, uint32_t events, unsigned flags,
                                             void *owner) {
    struct pollring_poll *poll;
    assert_int_equal(pollring_poll_add(ring, &poll, fd, events, flags, owner), 0);
    return keep_poll(poll);
}

static inline struct pollring_poll *add(struct pollring *ring, int fd, uint32_t events) {
    return add_with(ring, fd, events, 0, NULL);
}

static inline struct pollring_poll *add_to(struct pollring_inbox *inbox, int fd, uint32_t events) {
    struct pollring_poll *poll;
    assert_int_equal(pollring_poll_add_to(inbox, &poll, fd, events, 0, NULL), 0);
    return keep_poll(poll);
}

/* Added and submitted. */
static inline struct pollring_poll *arm(struct pollring *ring, int fd, uint32_t events) {
    struct pollring_poll *poll = add(ring, fd, events);
    assert_int_equal(pollring_submit(ring), 0);
    return poll;
}

static inline struct pollring_stats stats_of(const struct pollring *ring) {
    struct pollring_stats stats;
    pollring_stats(ring, &stats);
    return stats;
}

/* Without cmocka, for other threads: the next event, its guard only for what would hang. 1, 0 or -errno. */
static inline int await_event(struct pollring *ring, struct pollring_event *event) {
    return uninterrupted(pollring_wait(ring, event, 1, &guard_time));
}

static inline int check_event(const struct pollring_event *event, const struct pollring_poll *poll, int result,
                              bool more) {
    char got[160], expected[160];
    if (event->poll == poll && event->result == result && event->more == more)
        return 0;
    pollring_strevents(event->result, got, sizeof(got));
    pollring_strevents(result, expected, sizeof(expected));
    print_error("%s poll says %s, more %d; expected %s, more %d\n", event->poll == poll ? "the" : "another", got,
                event->more, expected, more);
    return -1;
}

static inline void check_wait(struct pollring *ring, const struct pollring_poll *poll, int result, bool more,
                              const char *file, int line) {
    struct pollring_event event;
    int count = await_event(ring, &event);
    if (count != 1)
        print_error("wait says %d, expected an event\n", count);
    if (count != 1 || check_event(&event, poll, result, more))
        _fail(file, line);
}

static inline void check_next(struct pollring_poll *poll, int result, bool more, const char *file, int line) {
    struct pollring_event event;
    int count = uninterrupted(pollring_next(poll, &event, &guard_time));
    if (count != 1)
        print_error("next says %d, expected an event\n", count);
    if (count != 1 || check_event(&event, poll, result, more))
        _fail(file, line);
}

static inline void check_take(struct pollring *ring, struct pollring_inbox *inbox, const struct pollring_poll *poll,
                              int result, bool more, const char *file, int line) {
    struct pollring_event event;
    int count = pollring_take(ring, inbox, &event);
    if (count != 1)
        print_error("take says %d, expected an event\n", count);
    if (count != 1 || check_event(&event, poll, result, more))
        _fail(file, line);
}

static inline void check_silence(struct pollring *ring, const char *file, int line) {
    struct pollring_event event;
    char got[160];
    int count = pollring_wait(ring, &event, 1, &no_time);
    if (count == 0)
        return;
    if (count < 0)
        print_error("wait says %d, expected silence\n", count);
    else if (pollring_strevents(event.result, got, sizeof(got)))
        print_error("a poll of fd %d says %s, more %d; expected silence\n", pollring_poll_fd(event.poll), got,
                    event.more);
    _fail(file, line);
}

static inline void check_ended(const struct pollring_poll *poll, int reason, const char *file, int line) {
    if (!pollring_poll_active(poll) && pollring_poll_end_reason(poll) == reason)
        return;
    print_error("active %d, end reason %d; expected an end of reason %d\n", pollring_poll_active(poll),
                pollring_poll_end_reason(poll), reason);
    _fail(file, line);
}

/* The next event of the ring, of a poll as an iterator, of an inbox; nothing; how a poll ended. */
#define assert_event(ring, poll, result) check_wait(ring, poll, result, true, __FILE__, __LINE__)
#define assert_last_event(ring, poll, result) check_wait(ring, poll, result, false, __FILE__, __LINE__)
#define assert_next(poll, result) check_next(poll, result, true, __FILE__, __LINE__)
#define assert_last_next(poll, result) check_next(poll, result, false, __FILE__, __LINE__)
#define assert_next_says(poll, timeout, expected)                                                                      \
    assert_int_equal(pollring_next(poll, &(struct pollring_event){0}, timeout), expected)
#define assert_take(ring, inbox, poll, result) check_take(ring, inbox, poll, result, true, __FILE__, __LINE__)
#define assert_last_take(ring, inbox, poll, result) check_take(ring, inbox, poll, result, false, __FILE__, __LINE__)
#define assert_nothing_to_take(ring, inbox) assert_int_equal(pollring_take(ring, inbox, &(struct pollring_event){0}), 0)
#define assert_silence(ring) check_silence(ring, __FILE__, __LINE__)
#define assert_ended(poll, reason) check_ended(poll, reason, __FILE__, __LINE__)

/*
 * Whether the kernel ends polls when the completion queue is full, which is tried with a queue of four. The io_uring of
 * 5.15 (which 5.10 has too) keeps them armed, as an epoll does.
 */
static inline bool full_queue_ends_polls(void) {
    static int ends = -1;
    struct pollring_options options = {TINY, .backend = POLLRING_IO_URING};
    struct pollring *ring;
    struct pollring_poll *polls[8];
    struct pollring_event event;
    if (is_epoll() || ends >= 0)
        return !is_epoll() && ends;
    assert_int_equal(pollring_open(&ring, &options), 0);
    assert_return_code(pollring_fileno(ring), 0); /* so that closing waits for the kernel's interruption */
    for (size_t i = 0; i < COUNT_OF(polls); i++)
        assert_int_equal(pollring_poll_add(ring, &polls[i], make_ready_eventfd(), POLLIN, POLLRING_NO_REARM, NULL), 0);
    while (pollring_wait(ring, &event, 1, &no_time) == 1)
        read_some(pollring_poll_fd(event.poll));
    ends = pollring_active(ring) < COUNT_OF(polls);
    pollring_close(ring);
    for (size_t i = 0; i < COUNT_OF(polls); i++)
        pollring_poll_free(polls[i]);
    return ends;
}

/* ---- threads and children: they return a number, the test asserts it ---- */

static inline pid_t thread_id(void) {
    return (pid_t)syscall(SYS_gettid);
}

static inline char thread_state(pid_t tid) {
    char path[64], text[256] = "";
    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        close(fd);
    text[size < 0 ? 0 : size] = '\0';
    const char *name_end = strrchr(text, ')');
    return name_end && name_end[1] ? name_end[2] : '?';
}

/* How often things are looked at. Not sched_yield(): a spinning thread starves the others under valgrind. */
static inline void look_again_soon(void) {
    nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
}

/* Once the thread has put its number into *tid, which is to be the last thing it does before it sleeps. */
static inline bool wait_until_asleep(_Atomic pid_t *tid) {
    for (double end = now_ms() + GUARD_MS; now_ms() < end; look_again_soon())
        if (atomic_load(tid) && thread_state(atomic_load(tid)) == 'S')
            return true;
    return false;
}

static inline bool wait_until(const atomic_bool *flag) {
    for (double end = now_ms() + GUARD_MS; now_ms() < end; look_again_soon())
        if (atomic_load(flag))
            return true;
    return false;
}

static inline void *thread_result(int result) {
    return (void *)(intptr_t)result;
}

/* ---- the runner ---- */

struct test {
    const char *sentence;
    CMUnitTestFunction function;
};

#define RUN(sentence)                                                                                                  \
    { #sentence, sentence }

static inline int variant_error(const struct variant *variant) {
    struct pollring *ring;
    int error = pollring_open(&ring, &variant->options);
    if (!error)
        pollring_fileno(ring); /* so that closing waits for the kernel's interruption, and no test gets it */
    if (!error)
        pollring_close(ring);
    return error;
}

static inline void skip_missing_variant(__attribute__((unused)) void **state) {
    skip_because("%s: pollring_open says %s", test.variant->name, strerror(-variant_error(test.variant)));
}

/* Tests with a thousand files need more than the usual soft limit. */
static inline void raise_fd_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

#ifndef sigev_notify_thread_id /* glibc has it under its own name only */
#define sigev_notify_thread_id _sigev_un._tid
#endif

static inline void interrupt(__attribute__((unused)) int signal) {
}

/* With POLLRING_TEST_SIGNALS: whatever sleeps in the first thread is interrupted each millisecond. */
static inline void start_signals(void) {
    struct sigaction action = {.sa_handler = interrupt, .sa_flags = SA_RESTART};
    struct sigevent event = {
        .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN, .sigev_notify_thread_id = (pid_t)syscall(SYS_gettid)};
    struct itimerspec each_ms = {in_ms(1), in_ms(1)};
    timer_t timer;
    if (!has_signals())
        return;
    sigaction(SIGRTMIN, &action, NULL);
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) || timer_settime(timer, 0, &each_ms, NULL))
        abort();
}

/* TEST_VARIANTS may name some, as "plain;plain, tiny". */
static inline bool is_wanted(const struct variant *variant) {
    const char *wanted = getenv("TEST_VARIANTS");
    size_t length = strlen(variant->name);
    for (; wanted && *wanted; wanted += strcspn(wanted, ";"), wanted += *wanted == ';')
        if (strcspn(wanted, ";") == length && strncmp(wanted, variant->name, length) == 0)
            return true;
    return !getenv("TEST_VARIANTS");
}

/* Each test on each variant. A set-up that the kernel lacks is skipped; one that is refused otherwise fails in its
 * tests. */
static inline int run_on_variants(const char *group, const struct test *tests, size_t count) {
    size_t all = count * COUNT_OF(variants);
    struct CMUnitTest *units = calloc(all, sizeof(*units));
    char(*names)[160] = calloc(all, sizeof(*names));
    if (!units || !names)
        return 1;
    alarm((unsigned)(STUCK_SECONDS * factor("TEST_PATIENCE")));
    guard_time = in_ms(GUARD_MS);
    raise_fd_limit();
    start_signals();
    cmocka_set_test_filter(getenv("TEST_FILTER")); /* such as "*one_shot*tiny*" */
    struct CMUnitTest *unit = units;
    for (const struct variant *variant = variants; variant < variants + COUNT_OF(variants); variant++) {
        if (!is_wanted(variant))
            continue;
        bool missing = variant_error(variant) == -EINVAL;
        for (size_t i = 0; i < count; i++, unit++) {
            char *name = names[unit - units];
            snprintf(name, sizeof(*names), "%s [%s]", tests[i].sentence, variant->name);
            *unit = (struct CMUnitTest){name, missing ? skip_missing_variant : tests[i].function, set_up_test,
                                        tear_down_test, (void *)variant};
        }
    }
    int failed = _cmocka_run_group_tests(group, units, (size_t)(unit - units), NULL, NULL);
    free(names);
    free(units);
    return failed;
}

#endif
