/*
 * Faults: what the system refuses at any one call. One scenario, which uses most of the API, runs again and again; each
 * time one call more goes well before the first that fails. It must end the same: a refusal shows as its errno, what
 * was asked for can be asked for again, no event of another poll is lost, no fd is left open (and no memory: asan).
 *
 * The linker puts the functions below, named __wrap_*, in the place of those that the library calls.
 */
#include "variants.h"

#include <liburing.h>
#include <sys/epoll.h>

/* ---- the system, which refuses ---- */

enum function {
    ALLOCATE = 1, /* malloc and its like, mmap */
    SET_UP = 2,
    REGISTER = 4,
    WATCH = 8,    /* epoll_ctl */
    MAKE_FD = 16, /* eventfd, epoll_create1 */
    ENTER = 32,
    SLEEP = 64, /* an enter that may sleep */
};

struct refusal {
    unsigned functions; /* that are refused */
    int error;          /* 0: an enter takes one request, and leaves the others */
};

static struct {
    struct refusal refusal;
    long calls; /* that go well before it */
    bool lasts; /* refuses until somebody was told so, and not only once */
    bool happened;
    unsigned unknown_flags, missing_features; /* of a ring's set-up: what an older kernel doesn't have */
} fault;

/* Whether this call is refused. */
static bool is_refused(enum function function) {
    if (!(fault.refusal.functions & function) || fault.calls-- > 0)
        return false;
    fault.happened = true;
    if (!fault.lasts)
        fault.refusal.functions = 0;
    return true;
}

static bool is_refused_with_errno(enum function function) {
    bool refused = is_refused(function);
    if (refused)
        errno = fault.refusal.error;
    return refused;
}

#define WRAP(function, returns, failure, name, parameters, ...)                                                        \
    returns __real_##name parameters;                                                                                  \
    returns __wrap_##name parameters;                                                                                  \
    returns __wrap_##name parameters {                                                                                 \
        return is_refused_with_errno(function) ? failure : __real_##name(__VA_ARGS__);                                 \
    }

WRAP(ALLOCATE, void *, NULL, malloc, (size_t size), size)
WRAP(ALLOCATE, void *, NULL, calloc, (size_t count, size_t size), count, size)
WRAP(ALLOCATE, void *, NULL, realloc, (void *old, size_t size), old, size)
WRAP(ALLOCATE, void *, NULL, aligned_alloc, (size_t alignment, size_t size), alignment, size)
WRAP(ALLOCATE, void *, MAP_FAILED, mmap, (void *at, size_t size, int protection, int flags, int fd, off_t offset), at,
     size, protection, flags, fd, offset)
WRAP(MAKE_FD, int, -1, eventfd, (unsigned value, int flags), value, flags)
WRAP(MAKE_FD, int, -1, epoll_create1, (int flags), flags)
WRAP(WATCH, int, -1, epoll_ctl, (int epoll_fd, int operation, int fd, struct epoll_event *event), epoll_fd, operation,
     fd, event)

static int signal_in_register; /* one that the process gets while it registers something; 0: none */
static volatile sig_atomic_t handled;

static void handle(int number) {
    handled = number;
}

int __real_io_uring_register(unsigned fd, unsigned opcode, const void *argument, unsigned count);
int __wrap_io_uring_register(unsigned fd, unsigned opcode, const void *argument, unsigned count);
int __wrap_io_uring_register(unsigned fd, unsigned opcode, const void *argument, unsigned count) {
    if (is_refused(REGISTER))
        return -fault.refusal.error;
    handled = 0;
    if (signal_in_register)
        raise(signal_in_register);
    if (handled) /* before Linux 5.18 it ends that */
        return -EINTR;
    return __real_io_uring_register(fd, opcode, argument, count);
}

/* A kernel that is short of memory: it drops the completions that one enter brings, and the next enter is told so. */
static struct {
    struct io_uring *uring; /* the last that was set up */
    enum { DROP_NOTHING, DROP_COMPLETIONS, TELL_OF_DROPS } next;
} shortage;

int __real_io_uring_queue_init_params(unsigned entries, struct io_uring *uring, struct io_uring_params *params);
int __wrap_io_uring_queue_init_params(unsigned entries, struct io_uring *uring, struct io_uring_params *params);
int __wrap_io_uring_queue_init_params(unsigned entries, struct io_uring *uring, struct io_uring_params *params) {
    if (is_refused(SET_UP))
        return -fault.refusal.error;
    if (params->flags & fault.unknown_flags)
        return -EINVAL;
    int error = __real_io_uring_queue_init_params(entries, uring, params);
    if (!error)
        uring->features &= ~fault.missing_features;
    shortage.uring = uring;
    return error;
}

static void drop_completions(void) {
    unsigned dropped = io_uring_cq_ready(shortage.uring);
    io_uring_cq_advance(shortage.uring, dropped);
    if (dropped)
        shortage.next = TELL_OF_DROPS;
}

/* It waits for an interruption after a ring that had a host was closed; many are closed here. */
int __wrap_sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *timeout);
int __wrap_sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *timeout) {
    (void)set, (void)info, (void)timeout;
    return -1;
}

/* glibc has no epoll_pwait2() where this is built, perhaps. */
long __real_syscall(long number, long one, long two, long three, long four, long five, long six);
long __wrap_syscall(long number, long one, long two, long three, const struct timespec *four, long five, long six);
long __wrap_syscall(long number, long one, long two, long three, const struct timespec *four, long five, long six) {
    bool sleeps = number == SYS_epoll_pwait2 && (!four || four->tv_sec || four->tv_nsec);
    return sleeps && is_refused_with_errno(SLEEP) ? -1 : __real_syscall(number, one, two, three, (long)four, five, six);
}

int __real_io_uring_enter2(unsigned fd, unsigned submit, unsigned wait_for, unsigned flags, sigset_t *set, size_t size);
int __wrap_io_uring_enter2(unsigned fd, unsigned submit, unsigned wait_for, unsigned flags, sigset_t *set, size_t size);
int __wrap_io_uring_enter2(unsigned fd, unsigned submit, unsigned wait_for, unsigned flags, sigset_t *set,
                           size_t size) {
    if (shortage.next == TELL_OF_DROPS && !submit && flags & IORING_ENTER_GETEVENTS) {
        shortage.next = DROP_NOTHING;
        return -EBADR;
    }
    if (shortage.next == DROP_COMPLETIONS) {
        int result = __real_io_uring_enter2(fd, submit, 0, flags & ~IORING_ENTER_EXT_ARG, NULL, 0);
        drop_completions();
        return result;
    }
    if ((!wait_for || !is_refused(SLEEP)) && !is_refused(ENTER))
        return __real_io_uring_enter2(fd, submit, wait_for, flags, set, size);
    if (fault.refusal.error)
        return -fault.refusal.error;
    return submit > 1 ? __real_io_uring_enter2(fd, 1, 0, flags, set, size)
                      : __real_io_uring_enter2(fd, submit, wait_for, flags, set, size);
}

/* ---- what the scenario says ---- */

static void check_that(bool true_one, const char *what, const char *file, int line) {
    if (true_one)
        return;
    print_error("not so: %s; %s %s after %ld calls of 0x%x, %s\n", what,
                fault.refusal.error ? strerror(fault.refusal.error) : "one request an enter",
                fault.happened ? "came" : "did not come", fault.calls, fault.refusal.functions,
                fault.lasts ? "lasting" : "once");
    fault.refusal.functions = 0;
    _fail(file, line);
}

#define check(condition) check_that(condition, #condition, __FILE__, __LINE__)

/* Somebody was told. From here on all is well. */
static bool was_refused(int result) {
    check(fault.happened && fault.refusal.error && result == -fault.refusal.error);
    fault.refusal.functions = 0;
    return true;
}

/* The end of an earlier ring interrupts a sleep too, for it wasn't waited for. */
static bool was_interrupted(int result) {
    return result == -EINTR && fault.refusal.error != EINTR;
}

/* Makes a call once more if it was refused. */
#define persist(call)                                                                                                  \
    ({                                                                                                                 \
        int result_of_call;                                                                                            \
        do                                                                                                             \
            result_of_call = (call);                                                                                   \
        while (was_interrupted(result_of_call) || (result_of_call < 0 && was_refused(result_of_call)));                \
        result_of_call;                                                                                                \
    })

/* ---- the scenario ---- */

/* Memory is asked for with more than 63 polls and queued events. Each third poll is the inbox's. */
enum { MANY_FILES = 70, SOME_FILES = 8, OF_INBOX = 3 };

static struct ends pipes[MANY_FILES];
static int files;

struct stage {
    struct pollring *ring;
    struct pollring_inbox *inbox;
    struct pollring_poll *polls[MANY_FILES];
    int seen[MANY_FILES]; /* events; each is the owner of its poll */
};

static bool is_of_inbox(int i) {
    return i % OF_INBOX == 0;
}

static void empty(int fd) {
    char bytes[64];
    while (read(fd, bytes, sizeof(bytes)) > 0)
        ;
}

static struct pollring_poll *add_persistently(struct stage *stage, int fd, void *owner) {
    struct pollring_poll *poll = NULL;
    check(persist(pollring_poll_add(stage->ring, &poll, fd, POLLIN, 0, owner)) == 0);
    return poll;
}

static void open_all(struct stage *stage) {
    check(persist(pollring_open(&stage->ring, &test.variant->options)) == 0);
    check(persist(pollring_fileno(stage->ring)) >= 0);
    stage->inbox = pollring_inbox_open(stage->ring);
    if (!stage->inbox && was_refused(-ENOMEM))
        stage->inbox = pollring_inbox_open(stage->ring);
    check(stage->inbox != NULL);
    for (int i = 0; i < files; i++) {
        if (is_of_inbox(i))
            check(persist(pollring_poll_add_to(stage->inbox, &stage->polls[i], pipes[i].near, POLLIN, 0,
                                               &stage->seen[i])) == 0);
        else
            stage->polls[i] = add_persistently(stage, pipes[i].near, &stage->seen[i]);
    }
}

static void *submit(void *ring) {
    return thread_result(pollring_submit(ring));
}

static void move_to_this_thread(struct stage *stage) {
    int error = in_thread(submit, stage->ring);
    check(!error || was_refused(error));
    check(persist(pollring_adopt(stage->ring)) == 0);
}

/* The epoll backend refuses with an event what the kernel refuses it. */
static bool armed_again(const struct pollring_event *event) {
    if (event->result >= 0 || !was_refused(event->result))
        return false;
    check(!event->more && pollring_poll_arm(event->poll) == 0);
    return true;
}

static void note(const struct pollring_event *event) {
    if (armed_again(event))
        return;
    check(event->result == POLLIN && event->more);
    ++*(int *)event->owner;
}

static bool all_seen(const struct stage *stage, bool of_inbox) {
    for (int i = 0; i < files; i++)
        if (is_of_inbox(i) == of_inbox && !stage->seen[i])
            return false;
    return true;
}

/* Every file is written to; an iterator has the others queued, then both inboxes are emptied. */
static void see_all(struct stage *stage) {
    struct pollring_event events[16];
    memset(stage->seen, 0, sizeof(stage->seen));
    for (int i = 0; i < files; i++)
        write_some(pipes[i].far);
    while (!stage->seen[files - 1]) {
        check(persist(pollring_next(stage->polls[files - 1], events, &guard_time)) == 1);
        note(events);
    }
    while (!all_seen(stage, false)) {
        int count = persist(pollring_wait(stage->ring, events, COUNT_OF(events), &guard_time));
        check(count > 0);
        while (count)
            note(&events[--count]);
    }
    while (!all_seen(stage, true)) {
        check(persist(pollring_inbox_collect(stage->ring, stage->inbox, &guard_time)) == 0);
        int count = persist(pollring_take(stage->ring, stage->inbox, events));
        check(count == 1);
        note(events);
    }
    for (int i = 0; i < files; i++)
        empty(pipes[i].near);
}

/* The next event of a poll, whatever others have. */
static struct pollring_event next_of(struct pollring_poll *poll) {
    struct pollring_event event;
    do
        check(persist(pollring_next(poll, &event, &guard_time)) == 1);
    while (armed_again(&event));
    check(event.poll == poll);
    return event;
}

/* Ends the events that come without a file having been written to since: of rechecks, and of overflows. */
static void be_silent(struct stage *stage) {
    struct pollring_event event;
    for (int i = 0; persist(pollring_wait(stage->ring, &event, 1, &no_time)) == 1; i++) {
        armed_again(&event);
        check(i < 10 * files);
    }
    while (persist(pollring_take(stage->ring, stage->inbox, &event)) == 1)
        armed_again(&event);
}

static void update(struct stage *stage) {
    be_silent(stage);
    check(persist(pollring_poll_update(stage->polls[1], POLLIN | POLLPRI)) == 0);
    write_some(pipes[1].far);
    check(next_of(stage->polls[1]).result == POLLIN);
    check(persist(pollring_poll_recheck(stage->polls[1])) == 0);
    check(next_of(stage->polls[1]).result == POLLIN);
    empty(pipes[1].near);
}

/* A poll of a socket whose file was let go in some way; its peer hears of the close. */
static void let_go(struct stage *stage, struct pollring_poll **poll,
                   bool (*in_some_way)(struct stage *, int fd, struct pollring_poll *)) {
    int fds[2];
    assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), errno);
    *poll = add_persistently(stage, fds[0], NULL);
    check(persist(pollring_submit(stage->ring)) == 0);
    bool at_once = in_some_way(stage, fds[0], *poll);
    close(fds[0]);
    if (!at_once)
        be_silent(stage);
    check(reads_eof(fds[1]));
    close(fds[1]);
}

static bool by_removal(struct stage *stage, int fd, struct pollring_poll *poll) {
    (void)stage, (void)fd;
    check(persist(pollring_poll_remove(poll)) == 0);
    return true;
}

static bool by_fd(struct stage *stage, int fd, struct pollring_poll *poll) {
    (void)poll;
    check(persist(pollring_remove_fd(stage->ring, fd)) >= 0);
    return true;
}

/* It tells nobody that the kernel took nothing; then the next call that enters makes good for it. */
static bool by_freeing(struct stage *stage, int fd, struct pollring_poll *poll) {
    (void)stage, (void)fd;
    pollring_poll_free(poll);
    return false;
}

static void end_by_removal(struct stage *stage) {
    struct pollring_poll *poll;
    let_go(stage, &poll, by_removal);
    check(!pollring_poll_active(poll) && pollring_poll_end_reason(poll) == POLLRING_END_REMOVED);
    pollring_poll_free(poll);
    let_go(stage, &poll, by_fd);
    check(!pollring_poll_active(poll) && pollring_poll_end_reason(poll) == POLLRING_END_REMOVED);
    pollring_poll_free(poll);
    let_go(stage, &poll, by_freeing);
}

static void end_by_itself(struct stage *stage) {
    int fds[2], null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_return_code(pipe2(fds, O_NONBLOCK | O_CLOEXEC), errno);
    struct pollring_poll *reader = add_persistently(stage, fds[0], NULL), *unpollable;
    check(persist(pollring_submit(stage->ring)) == 0);
    close(fds[1]);
    struct pollring_event event = next_of(reader);
    check(event.result == POLLHUP && !event.more && pollring_poll_end_reason(reader) == POLLRING_END_HANGUP);
    pollring_poll_free(reader);
    close(fds[0]);

    unpollable = add_persistently(stage, null, NULL);
    event = next_of(unpollable);
    if (event.more && fault.happened) { /* it could not be told from an overflow */
        fault.refusal.functions = 0;
        event = next_of(unpollable);
    }
    check(!event.more && pollring_poll_end_reason(unpollable) == POLLRING_END_UNPOLLABLE);
    pollring_poll_free(unpollable);
    close(null);
}

static short state_of_host(struct pollfd *host) {
    while (poll(host, 1, GUARD_MS) < 0 && errno == EINTR)
        ;
    return host->revents;
}

/* A host that sleeps on the ring's fd hears of a wake-up and of an event, of an eventfd's too. */
static void wake_host(struct stage *stage) {
    struct pollfd host = {.fd = persist(pollring_fileno(stage->ring)), .events = POLLIN};
    int event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), others[] = {pipes[1].far, event_fd};
    if (event_fd < 0 && was_refused(-errno))
        others[1] = event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct pollring_poll *poll = add_persistently(stage, event_fd, NULL), *polls[] = {stage->polls[1], poll};
    for (int i = 0; i < 4; i++) {
        be_silent(stage);
        write_some(others[i % 2]);
        check(state_of_host(&host) & POLLIN);
        check(next_of(polls[i % 2]).result == POLLIN);
        empty(pipes[1].near);
        empty(event_fd);
    }
    be_silent(stage);
    double start = now_ms();
    check(pollring_wake(stage->ring) == 0);
    check(state_of_host(&host) & POLLIN);
    check(persist(pollring_collect(stage->ring, &guard_time)) == 0 && now_ms() - start < GUARD_MS);
    pollring_poll_free(poll);
    close(event_fd);
}

static void close_all(struct stage *stage) {
    for (int i = 0; i < files / 2; i++)
        pollring_poll_free(stage->polls[i]);
    pollring_inbox_close(stage->inbox);
    pollring_close(stage->ring);
    for (int i = files / 2; i < files; i++)
        pollring_poll_free(stage->polls[i]);
}

/* Whether something was refused. */
static bool run_scenario(const struct refusal *refusal, long calls, bool lasts) {
    struct stage stage = {0};
    int before = count_fds();
    fault.refusal = *refusal;
    fault.calls = calls;
    fault.lasts = lasts;
    fault.happened = false;
    open_all(&stage);
    move_to_this_thread(&stage);
    see_all(&stage);
    update(&stage);
    end_by_removal(&stage);
    end_by_itself(&stage);
    wake_host(&stage);
    see_all(&stage);
    close_all(&stage);
    check(count_fds() == before);
    fault.refusal.functions = 0;
    return fault.happened;
}

static void run_scenarios(unsigned functions, int error, int number_of_files) {
    const struct refusal refusal = {functions, error};
    files = number_of_files;
    for (int i = 0; i < files; i++)
        pipes[i] = make_pipe();
    long step = in_valgrind() || factor("TEST_ROUNDS") < 1 ? 7 : 1;
    for (int lasts = 0; lasts < 2; lasts++)
        for (long calls = 0; run_scenario(&refusal, calls, lasts); calls += step)
            check(calls < 10000);
}

TEST(no_memory_at_any_one_call) {
    run_scenarios(ALLOCATE | SET_UP | REGISTER | WATCH, ENOMEM, MANY_FILES);
}

TEST(no_fds_at_any_one_call) {
    run_scenarios(SET_UP | MAKE_FD, EMFILE, SOME_FILES);
}

TEST(an_enter_that_is_refused_at_any_one_call) {
    run_scenarios(ENTER, EAGAIN, SOME_FILES);
}

TEST(a_signal_at_any_one_sleep) {
    run_scenarios(SLEEP, EINTR, SOME_FILES);
}

/* Starting a ring takes milliseconds on old kernels. */
TEST(a_signal_that_comes_while_a_wait_starts_the_ring_ends_that_wait) {
    struct sigaction action = {.sa_handler = handle}, before;
    struct pollring *ring = open_ring();
    struct pollring_poll *poll = add(ring, make_eventfd(), POLLIN);
    struct pollring_event event;
    if (is_epoll())
        skip_because("nothing is registered for an epoll");
    sigaction(SIGUSR2, &action, &before);
    signal_in_register = SIGUSR2;
    int result = pollring_wait(ring, &event, 1, &guard_time);
    signal_in_register = 0;
    sigaction(SIGUSR2, &before, NULL);
    assert_int_equal(result, -EINTR);
    assert_int_equal(handled, SIGUSR2);
    write_some(pollring_poll_fd(poll));
    assert_event(ring, poll, POLLIN);
}

TEST(an_enter_that_takes_one_request_only) {
    run_scenarios(ENTER, 0, SOME_FILES);
}

/* Those that have ended unheard too: one-shots, and those for which the queue had no room. */
TEST(events_that_a_kernel_short_of_memory_has_dropped_come_again) {
    struct pollring *ring = open_ring();
    struct pollring_poll *polls[SOME_FILES];
    struct pollring_event event;
    bool seen[SOME_FILES] = {false};
    if (is_epoll())
        skip_because("an epoll keeps no list of events that could be too long");
    for (int i = 0; i < SOME_FILES; i++) {
        struct ends ends = make_pipe();
        polls[i] = add_with(ring, ends.near, POLLIN, i % 2 ? POLLRING_ONESHOT : 0, &seen[i]);
        write_some(ends.far);
    }
    shortage.next = DROP_COMPLETIONS;
    assert_int_equal(pollring_submit(ring), 0);
    for (int i = 0; i < SOME_FILES; i++) {
        while (!seen[i]) {
            assert_int_equal(await_event(ring, &event), 1);
            assert_int_equal(event.result, POLLIN);
            *(bool *)event.owner = true;
        }
        assert_int_equal(pollring_poll_active(polls[i]), !(i % 2));
    }
    assert_int_equal(shortage.next, DROP_NOTHING);
}

TEST(a_wake_that_a_kernel_short_of_memory_has_dropped_comes_again) {
    struct pollring *ring = open_ring();
    struct pollring_event event;
    double start = now_ms();
    if (is_epoll())
        skip_because("an epoll keeps no list of events that could be too long");
    assert_int_equal(pollring_wake(ring), 0);
    shortage.next = DROP_COMPLETIONS;
    assert_int_equal(pollring_submit(ring), 0);
    assert_int_equal(await_event(ring, &event), 0);
    assert_true(now_ms() - start < GUARD_MS);
    assert_int_equal(shortage.next, DROP_NOTHING);
}

/* ---- older kernels ---- */

/* Whether the first sentences begin with these. Others may follow, of what this kernel lacks itself. */
static bool begin_with(const char *const *lacks, const char *const *beginnings) {
    for (; *beginnings; lacks++, beginnings++)
        if (!*lacks || strncmp(*lacks, *beginnings, strlen(*beginnings)) != 0)
            return false;
    return true;
}

static void probe_older_kernel(unsigned unknown_flags, unsigned missing_features, struct pollring_probe *probe) {
    fault.unknown_flags = unknown_flags;
    fault.missing_features = missing_features;
    int error = pollring_probe(probe);
    fault.unknown_flags = fault.missing_features = 0;
    assert_int_equal(error, 0);
}

TEST(a_kernel_without_the_newer_set_ups_is_told_by_trying) {
    struct pollring_probe probe;
    assert_int_equal(pollring_probe(&probe), 0);
    unsigned others = probe.setups & ~(unsigned)POLLRING_SETUP_DEFER_TASKRUN;
    probe_older_kernel(IORING_SETUP_COOP_TASKRUN | IORING_SETUP_DEFER_TASKRUN, IORING_FEAT_CQE_SKIP, &probe);
    assert_int_equal(probe.io_uring, 0);
    assert_int_equal(probe.setups, POLLRING_SETUP_PLAIN);
    const char *const lacks[] = {"DEFER_TASKRUN ", "COOP_TASKRUN ", "IOSQE_CQE_SKIP_SUCCESS ", NULL};
    assert_true(begin_with(probe.lacks, lacks));
    probe_older_kernel(IORING_SETUP_DEFER_TASKRUN, 0, &probe);
    assert_int_equal(probe.setups, others);
    assert_true(begin_with(probe.lacks, (const char *const[]){"DEFER_TASKRUN ", NULL}));
}

TEST(signals_fail_no_set_up_where_they_end_what_it_registers_and_no_later_wait) {
    struct sigaction action = {.sa_handler = handle}, before;
    const struct timespec a_moment = in_ms(1);
    struct pollring *ring;
    struct pollring_event event;
    sigaction(SIGUSR2, &action, &before);
    signal_in_register = SIGUSR2;
    int error = pollring_open(&ring, &test.variant->options), submitted = error ? 0 : pollring_submit(keep_ring(ring));
    signal_in_register = 0;
    sigaction(SIGUSR2, &before, NULL);
    assert_int_equal(error, 0);
    assert_int_equal(submitted, 0);
    assert_true(is_epoll() || handled == SIGUSR2);
    uint64_t enters = stats_of(ring).enters;
    pollring_wait(ring, &event, 1, &a_moment);
    assert_true(stats_of(ring).enters > enters);
}

/* Such a kernel takes the request and refuses it then. */
TEST(a_kernel_without_multishot_polls_gets_an_epoll) {
    struct pollring_options options = {TINY};
    struct pollring *ring;
    struct pollring_probe probe;
    probe_older_kernel(0, IORING_FEAT_RSRC_TAGS, &probe);
    assert_int_equal(probe.io_uring, -EINVAL);
    assert_int_equal(probe.cause, POLLRING_CAUSE_KERNEL);
    assert_string_equal(probe.backend, "epoll");
    assert_true(begin_with(probe.lacks, (const char *const[]){"io_uring with multishot polls ", NULL}));
    fault.missing_features = IORING_FEAT_RSRC_TAGS;
    int error = pollring_open(&ring, &options);
    if (!error)
        keep_ring(ring);
    options.backend = POLLRING_IO_URING;
    int insisting = pollring_open(&ring, &options);
    fault.missing_features = 0;
    assert_int_equal(error, 0);
    assert_string_equal(pollring_backend(test.rings[0]), "epoll");
    assert_int_equal(insisting, -EINVAL);
}

int main(void) {
    static const struct test tests[] = {
        RUN(no_memory_at_any_one_call),
        RUN(no_fds_at_any_one_call),
        RUN(an_enter_that_is_refused_at_any_one_call),
        RUN(a_signal_at_any_one_sleep),
        RUN(a_signal_that_comes_while_a_wait_starts_the_ring_ends_that_wait),
        RUN(an_enter_that_takes_one_request_only),
        RUN(events_that_a_kernel_short_of_memory_has_dropped_come_again),
        RUN(a_wake_that_a_kernel_short_of_memory_has_dropped_comes_again),
        RUN(a_kernel_without_the_newer_set_ups_is_told_by_trying),
        RUN(signals_fail_no_set_up_where_they_end_what_it_registers_and_no_later_wait),
        RUN(a_kernel_without_multishot_polls_gets_an_epoll),
    };
    return run_on_variants("faults", tests, COUNT_OF(tests));
}
