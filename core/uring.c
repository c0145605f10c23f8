/*
 * The io_uring backend: the only file that knows liburing.
 *
 * The ring is always set up disabled (IORING_SETUP_R_DISABLED) and enabled by the thread that enters first: with
 * SINGLE_ISSUER the kernel takes the enabling thread as the owner, so a ring can be made in one thread and run in
 * another. The submission queue's head and tail are moved here and not by io_uring_submit(), because collecting,
 * submitting and sleeping have to be one system call whose result is told apart: a wait that also submitted returns the
 * submitted count and hides -ETIME and -EINTR.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

_Static_assert(sizeof(struct completion) == sizeof(struct io_uring_cqe), "a completion is a CQE");
_Static_assert(offsetof(struct completion, res) == offsetof(struct io_uring_cqe, res), "a completion is a CQE");
_Static_assert(offsetof(struct completion, flags) == offsetof(struct io_uring_cqe, flags), "a completion is a CQE");
_Static_assert(COMPLETION_MORE == IORING_CQE_F_MORE, "a completion is a CQE");

struct uring {
    struct io_uring ring;
    unsigned enter_fd;    /* the ring's fd, or its number among the thread's registered ones */
    unsigned enter_flags; /* IORING_ENTER_REGISTERED_RING */
    pid_t pinned_to;      /* the thread that the ring's fd is registered with */
    uint64_t *late;       /* requests to cancel, for which the full queue had no room when the kernel took nothing */
    unsigned late_count;
};

static struct uring *uring_of(const struct pollring *ring) {
    return ring->backend_state;
}

/* ---- set-up ---- */

static const struct setup {
    unsigned name, flags;
} setups[] = {
    {POLLRING_SETUP_DEFER_TASKRUN, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG},
    {POLLRING_SETUP_COOP_TASKRUN, IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG},
    {POLLRING_SETUP_PLAIN, 0},
};

/* Before 5.13 a multishot poll is refused when it is submitted, which is too late for another backend. This came with
   it. (5.11 brought the timeouts of an enter.) */
#define FEATURE_OF_MULTISHOT IORING_FEAT_RSRC_TAGS

/* The first set-up that the kernel knows. An unknown flag is -EINVAL; any other errno refuses the rest too. */
static int set_up(struct io_uring *uring, unsigned asked, unsigned entries, unsigned cq_entries, unsigned *stuck) {
    int error = -EINVAL;
    for (size_t i = 0; i < sizeof setups / sizeof *setups && error == -EINVAL; i++) {
        if (asked && asked != setups[i].name)
            continue;
        struct io_uring_params params = {.flags = setups[i].flags | IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE,
                                         .cq_entries = cq_entries};
        error = io_uring_queue_init_params(entries, uring, &params);
        *stuck = setups[i].name;
    }
    return error;
}

/* Kernel rule: registering waited, before Linux 5.18, until nothing of the ring is under way, milliseconds; a signal
   ended that with -EINTR, and the next try would begin anew. So signals are held back meanwhile. */
static int register_at_set_up(const struct io_uring *uring, unsigned operation, const void *argument, unsigned count) {
    sigset_t before = signals_hold();
    int result = io_uring_register((unsigned)uring->ring_fd, operation, argument, count);
    signals_restore(&before);
    return result;
}

/* Leaves what pollring uses; through this ring's fd nothing else can be asked of the kernel. An eventfd is registered
   with DEFER_TASKRUN rings only: see uring_host_needs(). A kernel that can't register a ring's fd (before 5.18), which
   makes no ring cheaper then, is given the rules before that alone. */
static int seal(struct io_uring *uring, unsigned setup) {
    struct io_uring_restriction rules[] = {
        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_POLL_ADD},
        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_POLL_REMOVE},
        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_ASYNC_CANCEL},
        {.opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED, .sqe_flags = IOSQE_CQE_SKIP_SUCCESS},
        {.opcode = IORING_RESTRICTION_REGISTER_OP, .register_op = IORING_REGISTER_RING_FDS},
        {.opcode = IORING_RESTRICTION_REGISTER_OP, .register_op = IORING_UNREGISTER_RING_FDS},
        {.opcode = IORING_RESTRICTION_REGISTER_OP, .register_op = IORING_REGISTER_EVENTFD},
        {.opcode = IORING_RESTRICTION_REGISTER_OP, .register_op = IORING_UNREGISTER_EVENTFD},
    };
    enum { ALL = sizeof rules / sizeof *rules, WITHOUT_EVENTFD = ALL - 2, OF_REQUESTS = ALL - 4 };
    unsigned count = setup == POLLRING_SETUP_DEFER_TASKRUN ? ALL : WITHOUT_EVENTFD;
    /* Not io_uring_register_restrictions(): some distributions' shared liburing doesn't export it. */
    int error = register_at_set_up(uring, IORING_REGISTER_RESTRICTIONS, rules, count);
    if (error == -EINVAL)
        error = register_at_set_up(uring, IORING_REGISTER_RESTRICTIONS, rules, OF_REQUESTS);
    return error;
}

/* The kernel's own queue becomes the ring's. */
static void show_queue(struct pollring *ring, struct io_uring *uring) {
    unsigned setup = ring->stats.setup;
    ring->cq = (struct completion_queue){.head = (_Atomic unsigned *)uring->cq.khead,
                                         .tail = (_Atomic unsigned *)uring->cq.ktail,
                                         .completions = (const struct completion *)uring->cq.cqes,
                                         .mask = *uring->cq.kring_mask,
                                         .entries = *uring->cq.kring_entries,
                                         .flags = (_Atomic unsigned *)uring->sq.kflags,
                                         .work = IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW,
                                         .task = IORING_SQ_TASKRUN,
                                         .blind = setup == POLLRING_SETUP_PLAIN};
    ring->stats.entries = *uring->sq.kring_entries;
}

/*
 * A filter may refuse the two other system calls only, which would show when it is too late for another backend. A ring
 * that isn't enabled yet tells without any effect: the kernel itself says -EBADFD and -ENXIO.
 */
static int try_calls(struct io_uring *uring) {
    int entered = io_uring_enter((unsigned)uring->ring_fd, 0, 0, 0, NULL);
    int registered = register_at_set_up(uring, IORING_UNREGISTER_EVENTFD, NULL, 0);
    if (entered != -EBADFD)
        return entered < 0 ? entered : -EIO;
    return registered == -ENXIO ? 0 : registered < 0 ? registered : -EIO;
}

static int uring_open(struct pollring *ring, unsigned entries, unsigned cq_entries) {
    struct uring *uring = calloc(1, sizeof *uring);
    if (!uring)
        return -ENOMEM;
    unsigned asked = ring->flags & SETUP_FLAGS, stuck = 0;
    int error = set_up(&uring->ring, asked, entries, cq_entries, &stuck);
    bool is_set_up = !error;
    if (!error && !(uring->ring.features & FEATURE_OF_MULTISHOT))
        error = -EINVAL;
    if (!error)
        error = try_calls(&uring->ring);
    if (!error && ring->flags & POLLRING_SEALED)
        error = seal(&uring->ring, stuck);
    if (error) {
        if (is_set_up)
            io_uring_queue_exit(&uring->ring);
        free(uring);
        return error;
    }
    /* Entries are submitted in the order in which they are filled. Newer liburings set up a ring without the array. */
    for (unsigned i = 0; uring->ring.sq.array && i < *uring->ring.sq.kring_entries; i++)
        uring->ring.sq.array[i] = i;
    uring->enter_fd = (unsigned)uring->ring.ring_fd;
    ring->backend_state = uring;
    ring->unsubmitted = 0;
    ring->stats.setup = stuck;
    show_queue(ring, &uring->ring);
    return 0;
}

/* By hand: liburing would unregister it with whatever thread closes the ring, where the number is another ring's.
   Without it the ring does as well, only slower. 0 or -errno. */
static int pin(struct uring *uring) {
    struct io_uring_rsrc_update number = {.offset = UINT_MAX, .data = (unsigned)uring->ring.ring_fd};
    int count = io_uring_register((unsigned)uring->ring.ring_fd, IORING_REGISTER_RING_FDS, &number, 1);
    if (count != 1)
        return count < 0 ? count : -EIO;
    uring->enter_fd = number.offset;
    uring->enter_flags = IORING_ENTER_REGISTERED_RING;
    uring->pinned_to = this_thread();
    return 0;
}

static void unpin(const struct pollring *ring, struct uring *uring) {
    struct io_uring_rsrc_update number = {.offset = uring->enter_fd};
    if (uring->pinned_to == this_thread() && ring->guard->alive) /* a forked child goes by its parent's number */
        io_uring_register((unsigned)uring->ring.ring_fd, IORING_UNREGISTER_RING_FDS, &number, 1);
}

/* As register_at_set_up(). A wait that starts the ring is told of a signal. */
static int uring_start(struct pollring *ring) {
    struct uring *uring = uring_of(ring);
    sigset_t before = signals_hold();
    int error = io_uring_register((unsigned)uring->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
    ring->interrupted = signal_waits(&before);
    signals_restore(&before);
    if (!error && ring->flags & POLLRING_PINNED)
        pin(uring);
    return error;
}

static void tear_down(const struct pollring *ring, struct uring *uring) {
    unpin(ring, uring);
    io_uring_queue_exit(&uring->ring);
    free(uring->late);
    free(uring);
}

static void uring_close(struct pollring *ring) {
    tear_down(ring, uring_of(ring));
}

/* ---- cancels ---- */

/* Success needs no completion; older kernels send it all the same, and event.c ignores it. */
static void skip_success(const struct uring *uring, struct io_uring_sqe *sqe) {
    if (uring->ring.features & IORING_FEAT_CQE_SKIP)
        sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
}

/* Kernel rule: POLL_REMOVE answers -EALREADY while a wake-up is in flight, and the poll stays; ASYNC_CANCEL doesn't. */
static void prepare_cancel(const struct uring *uring, struct io_uring_sqe *sqe, uint64_t target) {
    io_uring_prep_cancel64(sqe, target, 0);
    sqe->user_data = (target & ~KIND_MASK) | KIND_CANCEL;
    skip_success(uring, sqe);
}

static int cancel_late(struct uring *uring, uint64_t target) {
    uint64_t *late = realloc(uring->late, (uring->late_count + 1) * sizeof *late);
    if (!late)
        return -ENOMEM;
    uring->late = late;
    late[uring->late_count++] = target;
    return 0;
}

/* As soon as the queue has room. Some are there only while it is full, so ring->unsubmitted tells of them too. */
static void cancel_the_late(struct pollring *ring, struct uring *uring) {
    struct io_uring_sqe *sqe;
    while (uring->late_count && (sqe = io_uring_get_sqe(&uring->ring))) {
        prepare_cancel(uring, sqe, uring->late[--uring->late_count]);
        ring->unsubmitted++;
    }
}

/* ---- entering ---- */

static int call_enter(struct pollring *ring, unsigned wait_for, unsigned flags, void *argument, size_t size) {
    struct uring *uring = uring_of(ring);
    struct io_uring_sq *sq = &uring->ring.sq;
    atomic_store_explicit((_Atomic unsigned *)sq->ktail, sq->sqe_tail, memory_order_release);
    sq->sqe_head = sq->sqe_tail;
    ring->stats.enters++;
    int result =
        io_uring_enter2(uring->enter_fd, ring->unsubmitted, wait_for, flags | uring->enter_flags, argument, size);
    if (result > 0) {
        ring->stats.requests += (unsigned)result;
        ring->unsubmitted -= (unsigned)result;
        cancel_the_late(ring, uring);
    }
    return result;
}

/* -EBADR: memory was short, and the kernel has dropped completions. It says so once, and that is seen to here. */
static int error_of_enter(struct pollring *ring, int error) {
    if (error != -EBADR)
        return error;
    polls_recheck(ring);
    return 0;
}

static int uring_submit(struct pollring *ring) {
    int result = call_enter(ring, 0, 0, NULL, 0);
    return result < 0 ? result : 0;
}

static int enter_and_wait(struct pollring *ring, unsigned wait_for, const struct timespec *timeout) {
    struct __kernel_timespec limit;
    struct io_uring_getevents_arg argument = {0};
    unsigned flags = IORING_ENTER_GETEVENTS, submitting = ring->unsubmitted;
    if (timeout) {
        limit = (struct __kernel_timespec){.tv_sec = timeout->tv_sec, .tv_nsec = timeout->tv_nsec};
        argument.ts = (uint64_t)(uintptr_t)&limit;
    }
    if (ring->sleep_signals) {
        argument.sigmask = (uint64_t)(uintptr_t)ring->sleep_signals;
        argument.sigmask_sz = _NSIG / 8;
    }
    bool extended = argument.ts || argument.sigmask;
    if (extended)
        flags |= IORING_ENTER_EXT_ARG;
    int result = call_enter(ring, wait_for, flags, extended ? &argument : NULL, extended ? sizeof argument : 0);
    if (result < 0)
        return error_of_enter(ring, result);
    /* It submitted all, slept, and nothing came: a signal, or the timeout, which the caller tells from its clock. */
    return submitting && (unsigned)result == submitting && cq_is_empty(ring) ? -EINTR : 0;
}

/*
 * Kernel rule: who adds work adds it first and sets SQ_TASKRUN then. Where another thread is held up between the two,
 * an enter runs the work, and the flag that is set afterwards stays, with nothing pending, until the next work; a
 * resize leaves one too. Whoever looks for as long as the flag is set would look for ever. So it is cleared here, and
 * the look comes after that: what was added before is found, what is added later sets the flag again.
 */
static int look_without_flag(struct pollring *ring) {
    atomic_fetch_and((_Atomic unsigned *)uring_of(ring)->ring.sq.kflags, ~ring->cq.task);
    return call_enter(ring, 0, IORING_ENTER_GETEVENTS, NULL, 0);
}

static int uring_enter(struct pollring *ring, unsigned wait_for, const struct timespec *timeout) {
    if (wait_for)
        return enter_and_wait(ring, wait_for, timeout);
    unsigned tail = atomic_load_explicit(ring->cq.tail, memory_order_relaxed);
    int result = call_enter(ring, 0, IORING_ENTER_GETEVENTS, NULL, 0);
    if (result >= 0 && unlikely(task_flag_is_set(ring)) && tail == atomic_load(ring->cq.tail))
        result = look_without_flag(ring);
    return result < 0 ? error_of_enter(ring, result) : 0;
}

/* ---- requests ---- */

static int new_sqe(struct pollring *ring, struct io_uring_sqe **sqe) {
    struct io_uring *uring = &uring_of(ring)->ring;
    *sqe = io_uring_get_sqe(uring);
    if (!*sqe) { /* the queue is full */
        int error = uring_submit(ring);
        if (error)
            return error;
        *sqe = io_uring_get_sqe(uring);
    }
    ring->unsubmitted += *sqe != NULL;
    return *sqe ? 0 : -EAGAIN;
}

static int uring_arm(struct pollring *ring, struct pollring_poll *poll, uint64_t user_data) {
    struct io_uring_sqe *sqe;
    int error = new_sqe(ring, &sqe);
    if (error)
        return error;
    if (poll->flags & POLLRING_ONESHOT)
        io_uring_prep_poll_add(sqe, poll->fd, poll->events);
    else
        io_uring_prep_poll_multishot(sqe, poll->fd, poll->events);
    sqe->user_data = user_data;
    return 0;
}

static int uring_update(struct pollring *ring, struct pollring_poll *poll) {
    struct io_uring_sqe *sqe;
    int error = new_sqe(ring, &sqe);
    if (error)
        return error;
    unsigned multishot = poll->flags & POLLRING_ONESHOT ? 0 : IORING_POLL_ADD_MULTI;
    io_uring_prep_poll_update(sqe, poll->user_data, 0, poll->events, IORING_POLL_UPDATE_EVENTS | multishot);
    sqe->user_data = poll->user_data | KIND_UPDATE;
    skip_success(uring_of(ring), sqe);
    return 0;
}

static int uring_cancel(struct pollring *ring, struct pollring_poll *poll) {
    struct uring *uring = uring_of(ring);
    uint64_t target = poll->user_data | (poll->inbox ? KIND_POLL : KIND_WAKER);
    struct io_uring_sqe *sqe;
    if (new_sqe(ring, &sqe))
        return cancel_late(uring, target);
    prepare_cancel(uring, sqe, target);
    return 0;
}

/* ---- a host's loop ---- */

/*
 * What of a DEFER_TASKRUN ring wakes a thread that sleeps in poll or epoll differs more between kernels than anything
 * else here, and updates of one stable series have turned it round:
 *
 *   6.1             the ring's fd: at once; a registered eventfd: at once, late for events that an eventfd makes
 *   6.12.95, 6.18   the ring's fd: never; a registered eventfd: at once, late and once only for those
 *   6.12.118        the ring's fd: late; a registered eventfd: late and once only
 *   7.3             the ring's fd: late; a registered eventfd: late
 *
 * Late is after an RCU grace period, some 15 ms. "Once only", until the eventfd is registered anew, is a bug of those
 * kernels: docs/kernel-reports/.
 *
 * So it is tried, once in a process: a pipe that a ring polls is written to, and what of the two is seen at once tells.
 * In a thread of its own, because the kernel interrupts the thread that used a ring some time after its end.
 */
static void *try_to_wake(void *needs) {
    struct io_uring uring;
    struct io_uring_params params = {.flags = setups[0].flags};
    struct epoll_event readable = {.events = EPOLLIN}, seen;
    uint64_t count = 1;
    int ends[2], event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!pipe2(ends, O_CLOEXEC)) {
        if (!io_uring_queue_init_params(1, &uring, &params)) {
            struct io_uring_sqe *sqe = io_uring_get_sqe(&uring);
            io_uring_prep_poll_multishot(sqe, ends[0], POLLIN);
            if (!io_uring_register((unsigned)uring.ring_fd, IORING_REGISTER_EVENTFD, &event_fd, 1) &&
                !epoll_ctl(epoll_fd, EPOLL_CTL_ADD, uring.ring_fd, &readable) && io_uring_submit(&uring) == 1 &&
                !epoll_wait(epoll_fd, &seen, 1, 0) && write(ends[1], &count, 1) == 1) {
                if (epoll_wait(epoll_fd, &seen, 1, 0) == 1)
                    *(unsigned *)needs = HOST_NEEDS_NO_FILES;
                else if (read(event_fd, &count, sizeof count) == sizeof count)
                    *(unsigned *)needs = HOST_NEEDS_EVENTFDS;
            }
            io_uring_queue_exit(&uring);
        }
        close(ends[0]);
        close(ends[1]);
    }
    close(event_fd);
    close(epoll_fd);
    return NULL;
}

/*
 * Without DEFER_TASKRUN the ring's fd always wakes, after the kernel has interrupted the sleep with EINTR. And no
 * eventfd may be registered: before 5.18 (5.10 with the io_uring of 5.15 too) that waits until the ring has no request
 * left, which with a multishot poll is for ever.
 */
static unsigned uring_host_needs(const struct pollring *ring) {
    static _Atomic unsigned known; /* and one more, so that 0 is "not tried" */
    if (ring->stats.setup != POLLRING_SETUP_DEFER_TASKRUN)
        return HOST_NEEDS_NO_FILES;
    if (!known) {
        unsigned needs = HOST_NEEDS_FILES; /* which also holds where it can't be tried */
        pthread_t thread;
        sigset_t before = signals_hold(); /* the thread takes none of the host's */
        if (!pthread_create(&thread, NULL, try_to_wake, &needs))
            pthread_join(thread, NULL);
        signals_restore(&before);
        known = needs + 1;
    }
    return known - 1;
}

static int uring_nest(struct pollring *ring, int epoll_fd, int event_fd) {
    struct io_uring *uring = &uring_of(ring)->ring;
    struct epoll_event readable = {.events = EPOLLIN};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, uring->ring_fd, &readable))
        return -errno;
    if (ring->host_needs != HOST_NEEDS_EVENTFDS)
        return 0;
    return io_uring_register((unsigned)uring->ring_fd, IORING_REGISTER_EVENTFD, &event_fd, 1);
}

static int uring_renest(struct pollring *ring, int event_fd) {
    unsigned ring_fd = (unsigned)uring_of(ring)->ring.ring_fd;
    io_uring_register(ring_fd, IORING_UNREGISTER_EVENTFD, NULL, 0);
    return io_uring_register(ring_fd, IORING_REGISTER_EVENTFD, &event_fd, 1);
}

/* ---- a new ring for an old one ---- */

static int uring_reopen(struct pollring *ring) {
    struct uring *old = uring_of(ring);
    struct pollring_stats old_stats = ring->stats;
    unsigned old_unsubmitted = ring->unsubmitted;
    struct completion_queue old_queue = ring->cq;
    int error = uring_open(ring, ring->stats.entries, ring->cq.entries);
    if (!error) {
        error = uring_start(ring);
        if (!error && ring->host_fd >= 0)
            error = uring_nest(ring, ring->host_fd, ring->host_event_fd);
        if (error) {
            uring_close(ring);
            ring->backend_state = old;
            ring->stats = old_stats;
            ring->unsubmitted = old_unsubmitted;
            ring->cq = old_queue;
        }
    }
    if (error)
        return error;
    tear_down(ring, old);
    return 0;
}

/* ---- what the kernel lacks ---- */

static unsigned uring_lacks(const struct pollring *ring) {
    static const unsigned of_host[] = {[HOST_NEEDS_EVENTFDS] = LACKS_WAKING_RING_FD, [HOST_NEEDS_FILES] = LACKS_WAKING};
    struct uring *uring = uring_of(ring);
    unsigned lacks = of_host[uring_host_needs(ring)];
    if (!(uring->ring.features & IORING_FEAT_CQE_SKIP))
        lacks |= LACKS_SKIP_SUCCESS;
    if (!uring->pinned_to && pin(uring) == -EINVAL)
        lacks |= LACKS_RING_FDS;
    return lacks;
}

static bool uring_owns(const struct pollring *ring, int fd) {
    return fd == uring_of(ring)->ring.ring_fd;
}

const struct backend uring_backend = {
    .name = "io_uring",
    .open = uring_open,
    .start = uring_start,
    .reopen = uring_reopen,
    .arm = uring_arm,
    .update = uring_update,
    .cancel = uring_cancel,
    .submit = uring_submit,
    .enter = uring_enter,
    .host_needs = uring_host_needs,
    .lacks = uring_lacks,
    .nest = uring_nest,
    .renest = uring_renest,
    .owns = uring_owns,
    .close = uring_close,
    .interrupts = true,
};
