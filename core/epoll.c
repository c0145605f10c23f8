/*
 * The epoll backend: for where io_uring is refused.
 *
 * EPOLLET is what multishot poll is for one file: level when it is added, edges afterwards. What differs is
 * bookkeeping:
 * - Completions come from epoll_wait() into a queue of the ring's own. A full queue ends nothing: the rest stays in the
 *   kernel, as epoll has it.
 * - What a request would answer by a completion of its own (a bad fd, a file that can't be polled) epoll_ctl() answers
 *   at once. It goes to a backlog, which the next enter puts into the queue.
 * - A file is known to the epoll by its number, which only one poll can have: the others get a duplicate.
 * - A file that was closed is gone from the epoll, silently, and its number may name another poll's file by now. So
 *   each poll's number is kept here, and forgotten when the kernel shows that it is another's.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/time_types.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { NOT_REGISTERED = -1, A_DAY = 86400 };

/* What EPOLLEXCLUSIVE goes along with; the kernel refuses the rest. */
#define EXCLUSIVE_BITS (EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP)

/* What POLL_ADD reports for a file that can't be polled, as far as it was asked for. */
#define ALWAYS_READY (POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM)

#define WORK 1u /* of flags: the backlog or the kernel has more than the queue could take */

struct epoll {
    int fd;
    bool in_milliseconds; /* epoll_pwait2() is missing or refused */
    _Atomic unsigned head, tail, flags;
    struct completion *completions; /* the queue */
    struct epoll_event *events;     /* room for as many */
    struct completion *backlog;
    unsigned backlog_count, backlog_size;
    int *registered; /* by slot: the number in the epoll, the poll's own or a duplicate, or NOT_REGISTERED */
    uint32_t slots;  /* in registered */
};

static struct epoll *epoll_of(const struct pollring *ring) {
    return ring->backend_state;
}

/* Whether the poll of this slot is known to the epoll by another number than its own. */
static bool has_duplicate(const struct pollring *ring, const struct epoll *epoll, uint32_t slot) {
    int number = epoll->registered[slot];
    return number != NOT_REGISTERED && number != poll_of(ring, slot)->fd;
}

/* ---- set-up ---- */

static void free_epoll(struct pollring *ring, struct epoll *epoll) {
    for (uint32_t slot = 0; slot < epoll->slots; slot++)
        if (has_duplicate(ring, epoll, slot))
            close(epoll->registered[slot]);
    if (epoll->fd >= 0)
        close(epoll->fd);
    free(epoll->completions);
    free(epoll->events);
    free(epoll->backlog);
    free(epoll->registered);
    free(epoll);
}

static unsigned power_of_two(unsigned at_least) {
    unsigned power = 1;
    while (power < at_least)
        power *= 2;
    return power;
}

static int epoll_open(struct pollring *ring, unsigned entries, unsigned cq_entries) {
    (void)entries; /* there is no submission queue */
    struct epoll *epoll = calloc(1, sizeof *epoll);
    if (!epoll)
        return -ENOMEM;
    cq_entries = power_of_two(cq_entries);
    epoll->completions = calloc(cq_entries, sizeof *epoll->completions);
    epoll->events = calloc(cq_entries, sizeof *epoll->events);
    bool short_of_memory = !epoll->completions || !epoll->events;
    epoll->fd = short_of_memory ? -1 : epoll_create1(EPOLL_CLOEXEC);
    if (epoll->fd < 0) {
        int error = short_of_memory ? -ENOMEM : -errno;
        free_epoll(ring, epoll);
        return error;
    }
    ring->backend_state = epoll;
    ring->cq = (struct completion_queue){.head = &epoll->head,
                                         .tail = &epoll->tail,
                                         .completions = epoll->completions,
                                         .mask = cq_entries - 1,
                                         .entries = cq_entries,
                                         .flags = &epoll->flags,
                                         .work = WORK,
                                         .blind = true};
    return 0;
}

/* An epoll is no thread's in particular. */
static int epoll_start(struct pollring *ring) {
    (void)ring;
    return 0;
}

static void epoll_close(struct pollring *ring) {
    free_epoll(ring, epoll_of(ring));
}

/* ---- requests: carried out at once ---- */

/* Makes sure that the backlog takes one more. */
static int reserve_backlog(struct epoll *epoll) {
    if (epoll->backlog_count < epoll->backlog_size)
        return 0;
    unsigned size = epoll->backlog_size ? 2 * epoll->backlog_size : 16;
    struct completion *backlog = realloc(epoll->backlog, size * sizeof *backlog);
    if (!backlog)
        return -ENOMEM;
    epoll->backlog = backlog;
    epoll->backlog_size = size;
    return 0;
}

static int reserve_slots(struct pollring *ring) {
    struct epoll *epoll = epoll_of(ring);
    uint32_t count = ring->chunk_count * POLLS_PER_CHUNK;
    if (epoll->slots == count)
        return 0;
    int *registered = realloc(epoll->registered, count * sizeof *registered);
    if (!registered)
        return -ENOMEM;
    for (uint32_t slot = epoll->slots; slot < count; slot++)
        registered[slot] = NOT_REGISTERED;
    epoll->registered = registered;
    epoll->slots = count;
    return 0;
}

static int control(struct pollring *ring, int operation, int number, const struct pollring_poll *poll,
                   uint64_t user_data) {
    /* RDHUP unasked, because POLL_ADD reports it so. */
    uint32_t events =
        poll->events & EPOLLEXCLUSIVE ? (poll->events & EXCLUSIVE_BITS) | EPOLLEXCLUSIVE : poll->events | EPOLLRDHUP;
    struct epoll_event event = {.events = events | EPOLLET, .data.u64 = user_data};
    ring->stats.enters++;
    return epoll_ctl(epoll_of(ring)->fd, operation, number, &event) ? -errno : 0;
}

/* The poll that is known to the epoll by the number of poll's own file; NULL: none, or none that we know of. */
static struct pollring_poll *holder_of_number(const struct pollring *ring, const struct pollring_poll *poll) {
    const struct epoll *epoll = epoll_of(ring);
    for (uint32_t slot = *polls_of_fd(ring, poll->fd); slot; slot = poll_of(ring, slot)->next_of_fd)
        if (epoll->registered[slot] == poll->fd && poll_of(ring, slot) != poll)
            return poll_of(ring, slot);
    return NULL;
}

static int add_duplicate(struct pollring *ring, struct pollring_poll *poll, uint64_t user_data) {
    int duplicate = fcntl(poll->fd, F_DUPFD_CLOEXEC, 0);
    if (duplicate < 0)
        return -errno;
    int error = control(ring, EPOLL_CTL_ADD, duplicate, poll, user_data);
    if (error)
        close(duplicate);
    else
        epoll_of(ring)->registered[slot_of(poll)] = duplicate;
    return error;
}

static int add(struct pollring *ring, struct pollring_poll *poll, uint64_t user_data) {
    struct epoll *epoll = epoll_of(ring);
    struct pollring_poll *holder = holder_of_number(ring, poll);
    int error = control(ring, EPOLL_CTL_ADD, poll->fd, poll, user_data);
    if (error == -EEXIST && holder)
        return add_duplicate(ring, poll, user_data);
    if (error == -EEXIST) { /* of a poll that is gone: its file was closed, so that it could not be taken out */
        control(ring, EPOLL_CTL_DEL, poll->fd, poll, 0);
        error = control(ring, EPOLL_CTL_ADD, poll->fd, poll, user_data);
    }
    if (error)
        return error;
    if (holder) /* its file was closed: the number is another file's by now */
        epoll->registered[slot_of(holder)] = NOT_REGISTERED;
    epoll->registered[slot_of(poll)] = poll->fd;
    return 0;
}

/* As a kernel's last completion of a request, one without more. */
static void answer(struct pollring *ring, uint64_t user_data, int result) {
    struct epoll *epoll = epoll_of(ring);
    epoll->backlog[epoll->backlog_count++] = (struct completion){.user_data = user_data, .res = result};
    atomic_store_explicit(&epoll->flags, WORK, memory_order_relaxed);
}

static int epoll_arm(struct pollring *ring, struct pollring_poll *poll, uint64_t user_data) {
    int error = reserve_backlog(epoll_of(ring));
    if (!error)
        error = reserve_slots(ring);
    if (error)
        return error;
    ring->stats.requests++;
    error = add(ring, poll, user_data);
    if (error && !poll->inbox) /* the waker has nobody to tell; it stays pending */
        return error;
    if (error == -EPERM) { /* a file that can't be polled is always ready */
        int ready = (int)(poll->events & ALWAYS_READY);
        answer(ring, user_data, ready ? ready : -EINVAL);
    } else if (error) {
        answer(ring, user_data, error);
    }
    return 0;
}

static void take_out(struct pollring *ring, struct pollring_poll *poll) {
    struct epoll *epoll = epoll_of(ring);
    int number = epoll->registered[slot_of(poll)];
    if (number == NOT_REGISTERED)
        return;
    control(ring, EPOLL_CTL_DEL, number, poll, 0); /* fails where the file was closed, which took it out */
    if (has_duplicate(ring, epoll, slot_of(poll)))
        close(number);
    epoll->registered[slot_of(poll)] = NOT_REGISTERED;
}

static int epoll_update(struct pollring *ring, struct pollring_poll *poll) {
    struct epoll *epoll = epoll_of(ring);
    int number = epoll->registered[slot_of(poll)];
    int error = reserve_backlog(epoll);
    if (error)
        return error;
    ring->stats.requests++;
    if (number == NOT_REGISTERED) {
        error = -EBADF;
    } else if (poll->events & EPOLLEXCLUSIVE) { /* can't be modified */
        error = control(ring, EPOLL_CTL_DEL, number, poll, 0);
        if (!error)
            error = control(ring, EPOLL_CTL_ADD, number, poll, poll->user_data);
    } else {
        error = control(ring, EPOLL_CTL_MOD, number, poll, poll->user_data);
    }
    if (error) { /* ENOENT too: the number is another file's by now */
        take_out(ring, poll);
        answer(ring, poll->user_data, error == -ENOENT ? -EBADF : error);
    }
    return 0;
}

static int epoll_cancel(struct pollring *ring, struct pollring_poll *poll) {
    ring->stats.requests++;
    take_out(ring, poll);
    return 0;
}

static int epoll_submit(struct pollring *ring) {
    (void)ring;
    return 0;
}

/* ---- entering ---- */

/* How many of max events came, or -errno. */
static int wait_for_events(struct pollring *ring, int max, const struct timespec *timeout) {
    struct epoll *epoll = epoll_of(ring);
    ring->stats.enters++;
    if (!epoll->in_milliseconds) {
        struct __kernel_timespec limit = {0};
        if (timeout)
            limit = (struct __kernel_timespec){.tv_sec = timeout->tv_sec, .tv_nsec = timeout->tv_nsec};
        long count = syscall(SYS_epoll_pwait2, epoll->fd, epoll->events, max, timeout ? &limit : NULL,
                             ring->sleep_signals, (size_t)(_NSIG / 8)); /* on the stack, where an int is half of it */
        if (count >= 0 || (errno != ENOSYS && errno != EPERM))
            return count < 0 ? -errno : (int)count;
        epoll->in_milliseconds = true;
    }
    int milliseconds = -1;
    if (timeout) /* rounded up, because a sleep that is too short would spin; the caller comes again after a day */
        milliseconds = timeout->tv_sec < A_DAY ? (int)(timeout->tv_sec * 1000 + (timeout->tv_nsec + 999999) / 1000000)
                                               : A_DAY * 1000;
    int count = epoll_pwait(epoll->fd, epoll->events, max, milliseconds, ring->sleep_signals);
    return count < 0 ? -errno : count;
}

static void append(struct pollring *ring, struct completion completion) {
    struct epoll *epoll = epoll_of(ring);
    unsigned tail = atomic_load_explicit(&epoll->tail, memory_order_relaxed);
    epoll->completions[tail & ring->cq.mask] = completion;
    atomic_store_explicit(&epoll->tail, tail + 1, memory_order_release);
}

/* A one-shot is taken out with its event; its last completion is the one without more. */
static void append_event(struct pollring *ring, const struct epoll_event *event) {
    struct pollring_poll *poll = poll_of(ring, (uint32_t)event->data.u64);
    bool more = !(poll->flags & POLLRING_ONESHOT) || poll->user_data != event->data.u64;
    if (!more)
        take_out(ring, poll);
    append(ring, (struct completion){
                     .user_data = event->data.u64, .res = (int32_t)event->events, .flags = more ? COMPLETION_MORE : 0});
}

static unsigned append_backlog(struct pollring *ring, unsigned space) {
    struct epoll *epoll = epoll_of(ring);
    unsigned count = epoll->backlog_count < space ? epoll->backlog_count : space;
    for (unsigned i = 0; i < count; i++)
        append(ring, epoll->backlog[i]);
    epoll->backlog_count -= count;
    memmove(epoll->backlog, epoll->backlog + count, epoll->backlog_count * sizeof *epoll->backlog);
    return count;
}

static bool epoll_peek(const struct pollring *ring) {
    struct pollfd readable = {.fd = epoll_of(ring)->fd, .events = POLLIN};
    return epoll_of(ring)->backlog_count || poll(&readable, 1, 0) > 0;
}

static int epoll_enter(struct pollring *ring, unsigned wait_for, const struct timespec *timeout) {
    static const struct timespec no_time;
    struct epoll *epoll = epoll_of(ring);
    unsigned space = ring->cq.entries - cq_count(ring);
    if (epoll->backlog_count) {
        space -= append_backlog(ring, space);
        wait_for = 0;
    }
    int count = space ? wait_for_events(ring, (int)space, wait_for ? timeout : &no_time) : 0;
    for (int i = 0; i < count; i++)
        append_event(ring, &epoll->events[i]);
    bool full = count == (int)space;
    atomic_store_explicit(&epoll->flags, full && epoll_peek(ring) ? WORK : 0, memory_order_relaxed);
    return count < 0 ? count : 0;
}

/* ---- a host's loop ---- */

/* An epoll in an epoll wakes it, whatever files it holds. */
static int epoll_nest(struct pollring *ring, int epoll_fd, int event_fd) {
    (void)event_fd;
    struct epoll_event readable = {.events = EPOLLIN};
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, epoll_of(ring)->fd, &readable) ? -errno : 0;
}

/* ---- a new epoll for an old one ---- */

static int epoll_reopen(struct pollring *ring) {
    struct epoll *old = epoll_of(ring);
    struct completion_queue old_queue = ring->cq;
    int error = epoll_open(ring, 0, ring->cq.entries);
    if (error)
        return error;
    if (ring->host_fd >= 0)
        error = epoll_nest(ring, ring->host_fd, ring->host_event_fd);
    free_epoll(ring, error ? epoll_of(ring) : old);
    if (error) {
        ring->backend_state = old;
        ring->cq = old_queue;
    }
    return error;
}

static bool epoll_owns(const struct pollring *ring, int fd) {
    return fd == epoll_of(ring)->fd;
}

const struct backend epoll_backend = {
    .name = "epoll",
    .open = epoll_open,
    .start = epoll_start,
    .reopen = epoll_reopen,
    .arm = epoll_arm,
    .update = epoll_update,
    .cancel = epoll_cancel,
    .submit = epoll_submit,
    .enter = epoll_enter,
    .peek = epoll_peek,
    .nest = epoll_nest,
    .owns = epoll_owns,
    .close = epoll_close,
};
