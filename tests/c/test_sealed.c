/*
 * Sealed rings: what somebody who has the ring's fd can ask of the kernel through it.
 *
 * The requests are made with liburing, on queues mapped from the ring's fd, by the thread that owns the ring, before
 * and after pollring used it. They run on all variants: where the ring isn't sealed the kernel does what is asked, so a
 * refusal is the seal's. That the API lacks nothing on a sealed ring is what the sealed variants of all other tests
 * show.
 */
#include "queues.h"
#include "variants.h"

#define REGISTER_RESIZE_RINGS 33 /* newer than liburing 2.3 */
#define NOT_ASKED INT_MIN        /* a result: something before it went wrong */
#define LACKED (INT_MIN + 1)     /* a result: this kernel has no such operation, which comes before any seal */

/* Of a child: its requests go where pollring doesn't look, which breaks the ring. */
static struct io_uring intruder;
static struct io_uring_probe *known; /* what the kernel can do */

static bool is_sealed(void) {
    return test.variant->options.flags & POLLRING_SEALED;
}

static bool has_coop_taskrun(void) {
    struct pollring_probe probe;
    assert_int_equal(pollring_probe(&probe), 0);
    return probe.setups & POLLRING_SETUP_COOP_TASKRUN;
}

static bool can_resize(void) {
    struct pollring_probe probe;
    assert_int_equal(pollring_probe(&probe), 0);
    return probe.resize;
}

static void skip_epoll(void) {
    if (is_epoll())
        skip_because("an epoll has no other operations than those");
}

/* Whether a result, negative where it is an errno, is the seal's where there is one, and of no seal where not. */
static void check_answer(const char *asked, int result) {
    if ((result == -EACCES) == is_sealed() && result != NOT_ASKED)
        return;
    fail_msg("%s: %s", asked, result == NOT_ASKED ? "not asked" : result < 0 ? strerror(-result) : "done");
}

static int request(void (*prepare)(struct io_uring_sqe *), unsigned flags) {
    struct io_uring_sqe *sqe = io_uring_get_sqe(&intruder);
    struct io_uring_cqe *cqe;
    if (!sqe)
        return NOT_ASKED;
    prepare(sqe);
    sqe->flags |= (uint8_t)flags;
    int opcode = sqe->opcode;
    if (io_uring_submit_and_wait(&intruder, 1) != 1 || io_uring_peek_cqe(&intruder, &cqe))
        return NOT_ASKED;
    bool lacked = cqe->res == -EINVAL && !io_uring_opcode_supported(known, opcode);
    int result = lacked ? LACKED : cqe->res;
    io_uring_cqe_seen(&intruder, cqe);
    return result;
}

/* ---- operations ---- */

static int readable, connected, ready;
static char buffer[64];
static struct epoll_event epoll_event = {.events = EPOLLIN};

static void open_file(struct io_uring_sqe *sqe) {
    io_uring_prep_openat(sqe, AT_FDCWD, "/dev/null", O_RDONLY | O_CLOEXEC, 0);
}
static void stat_file(struct io_uring_sqe *sqe) {
    static uint64_t status[32]; /* a struct statx, of which musl tells the name alone */
    io_uring_prep_statx(sqe, AT_FDCWD, "/dev/null", 0, 0, (struct statx *)status);
}
static void read_file(struct io_uring_sqe *sqe) {
    io_uring_prep_read(sqe, readable, buffer, 1, 0);
}
static void write_file(struct io_uring_sqe *sqe) {
    io_uring_prep_write(sqe, connected, buffer, 1, 0);
}
static void send_bytes(struct io_uring_sqe *sqe) {
    io_uring_prep_send(sqe, connected, buffer, 1, 0);
}
static void receive_bytes(struct io_uring_sqe *sqe) {
    io_uring_prep_recv(sqe, connected, buffer, 1, MSG_DONTWAIT);
}
static void make_socket(struct io_uring_sqe *sqe) {
    io_uring_prep_socket(sqe, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, 0);
}
static void connect_socket(struct io_uring_sqe *sqe) {
    static const struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
    io_uring_prep_connect(sqe, connected, &nowhere, sizeof nowhere);
}
static void close_file(struct io_uring_sqe *sqe) {
    io_uring_prep_close(sqe, dup(ready));
}
static void add_to_epoll(struct io_uring_sqe *sqe) {
    io_uring_prep_epoll_ctl(sqe, epoll_create1(EPOLL_CLOEXEC), ready, EPOLL_CTL_ADD, &epoll_event);
}
static void provide_buffer(struct io_uring_sqe *sqe) {
    io_uring_prep_provide_buffers(sqe, buffer, sizeof buffer, 1, 1, 0);
}
static void do_nothing(struct io_uring_sqe *sqe) {
    io_uring_prep_nop(sqe);
}
static void poll_file(struct io_uring_sqe *sqe) {
    io_uring_prep_poll_add(sqe, ready, POLLIN);
}

/* The last is what pollring does. */
static const struct {
    const char *name;
    void (*prepare)(struct io_uring_sqe *);
    unsigned flags; /* IOSQE_* */
} operations[] = {
    {"open", open_file, 0},
    {"stat", stat_file, 0},
    {"read", read_file, 0},
    {"write", write_file, 0},
    {"send", send_bytes, 0},
    {"receive", receive_bytes, 0},
    {"make a socket", make_socket, 0},
    {"connect", connect_socket, 0},
    {"close", close_file, 0},
    {"add to an epoll", add_to_epoll, 0},
    {"provide a buffer", provide_buffer, 0},
    {"do nothing", do_nothing, 0},
    {"poll in a worker thread", poll_file, IOSQE_ASYNC},
    {"poll linked", poll_file, IOSQE_IO_LINK},
    {"poll", poll_file, 0},
};

/* Before the owner's first enter the ring isn't enabled; whoever has its fd may enable it. */
static int open_and_enable(bool by_pollring) {
    static struct pollring *ring; /* never closed, which needs its queues */
    int error = pollring_open(&ring, &test.variant->options);
    if (!error && by_pollring)
        error = pollring_submit(ring);
    else if (!error)
        error = io_uring_register((unsigned)fd_of_the_ring(), IORING_REGISTER_ENABLE_RINGS, NULL, 0);
    return error ? error : map_queues(ring, &intruder);
}

static void ask_in_child(int *results, size_t count, bool by_pollring) {
    struct ends pair = make_socketpair(), pipe = make_pipe();
    readable = pipe.near;
    connected = pair.near;
    ready = make_ready_eventfd();
    write_some(pipe.far);
    pid_t child = fork();
    if (child == 0) {
        alarm((unsigned)GUARD_MS / 1000);
        int error = open_and_enable(by_pollring);
        known = io_uring_get_probe();
        for (size_t i = 0; i < count && !error; i++)
            results[i] = request(operations[i].prepare, operations[i].flags);
        _exit(error != 0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

TEST(the_fd_of_a_sealed_ring_polls_and_does_nothing_else) {
    skip_epoll();
    enum { COUNT = COUNT_OF(operations) };
    int *results = mmap(NULL, sizeof(int[COUNT]), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(results != MAP_FAILED);
    for (int by_pollring = 0; by_pollring < 2; by_pollring++) {
        for (size_t i = 0; i < COUNT; i++)
            results[i] = NOT_ASKED;
        ask_in_child(results, COUNT, by_pollring);
        for (size_t i = 0; i < COUNT - 1; i++)
            if (results[i] != LACKED)
                check_answer(operations[i].name, results[i]);
        assert_int_equal(results[COUNT - 1], POLLIN);
    }
    munmap(results, sizeof(int[COUNT]));
}

/* ---- registering ---- */

TEST(the_fd_of_a_sealed_ring_registers_nothing_but_its_host_and_itself) {
    skip_epoll();
    if (!is_sealed() && !has_coop_taskrun())
        skip_because("before 5.18 registering waits until an unsealed ring has no request left");
    struct iovec memory = {buffer, sizeof buffer};
    struct io_uring_params larger = {.sq_entries = 8, .cq_entries = 16, .flags = IORING_SETUP_CQSIZE};
    struct io_uring_restriction rule = {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_OPENAT};
    struct io_uring_probe probe = {.ops_len = 0};
    int file = make_ready_eventfd();
    const struct {
        const char *name;
        unsigned operation, count;
        void *argument;
    } registrations[] = {
        {"buffers", IORING_REGISTER_BUFFERS, 1, &memory},
        {"files", IORING_REGISTER_FILES, 1, &file},
        {"a personality", IORING_REGISTER_PERSONALITY, 0, NULL},
        {"a probe", IORING_REGISTER_PROBE, 0, &probe},
        {"an async eventfd", IORING_REGISTER_EVENTFD_ASYNC, 1, &file},
        {"an eventfd", IORING_REGISTER_EVENTFD, 1, &file}, /* after an asynchronous one, EBUSY where it isn't sealed */
        {"restrictions", IORING_REGISTER_RESTRICTIONS, 1, &rule},
        {"enabling", IORING_REGISTER_ENABLE_RINGS, 0, NULL},
        {"other sizes", REGISTER_RESIZE_RINGS, 1, &larger},
    };
    struct pollring *ring = open_ring();
    struct pollring_poll *poll = add(ring, make_ready_eventfd(), POLLIN);
    assert_event(ring, poll, POLLIN);
    int fd = fd_of_the_ring();
    assert_return_code(fd, EBADF);
    for (size_t i = 0; i < COUNT_OF(registrations); i++) {
        /* It would make pollring look into the old queues; and a kernel that can't do it answers -EINVAL. */
        if (registrations[i].operation == REGISTER_RESIZE_RINGS && (!is_sealed() || !can_resize()))
            continue;
        /* It wakes the host of such a ring. */
        if (registrations[i].operation == IORING_REGISTER_EVENTFD &&
            stats_of(ring).setup == POLLRING_SETUP_DEFER_TASKRUN)
            continue;
        long result = syscall(SYS_io_uring_register, fd, registrations[i].operation, registrations[i].argument,
                              registrations[i].count);
        check_answer(registrations[i].name, result < 0 ? -errno : 0);
    }
    syscall(SYS_io_uring_register, fd, IORING_UNREGISTER_EVENTFD, NULL, 0);
    assert_int_equal(pollring_poll_update(poll, POLLIN), 0);
    assert_event(ring, poll, POLLIN);
    assert_int_equal(pollring_poll_remove(poll), 0);
}

int main(void) {
    static const struct test tests[] = {
        RUN(the_fd_of_a_sealed_ring_polls_and_does_nothing_else),
        RUN(the_fd_of_a_sealed_ring_registers_nothing_but_its_host_and_itself),
    };
    return run_on_variants("sealed", tests, COUNT_OF(tests));
}
