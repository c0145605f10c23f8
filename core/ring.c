/*
 * The ring as its user holds it: opening, closing, whose it is, waking, and the fd that a host's loop watches.
 */
#include "internal.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { DEFAULT_ENTRIES = 256, DEFAULT_CQ_ENTRIES = 4096, MAX_ENTRIES = 32768, MAX_CQ_ENTRIES = 65536 };
enum { MAX_BUSY_POLL_US = 1000000 };

#define RING_FLAGS (POLLRING_SEALED | POLLRING_PINNED | SETUP_FLAGS)

/* ---- whose it is ---- */

_Thread_local pid_t this_thread_cache THREAD_LOCAL_MODEL;

/* The kernel's number of a thread, and not an address: addresses come back with the next thread. */
pid_t this_thread_slowly(void) {
    return this_thread_cache = (pid_t)syscall(SYS_gettid);
}

int ring_check_slowly(const struct pollring *ring) {
    if (ring->closed)
        return -ESHUTDOWN;
    if (!ring->guard->alive)
        return -EOWNERDEAD;
    return ring->guard->owner ? -EEXIST : 0;
}

/* Whoever becomes the owner asks anew: the first thread of a forked child has its parent's number cached. */
int ring_take_ownership(struct pollring *ring) {
    this_thread_slowly();
    int error = ring_check_slowly(ring);
    if (!error)
        error = ring->backend->start(ring);
    if (!error)
        ring->guard->owner = this_thread();
    return error;
}

int pollring_check(const struct pollring *ring) {
    return ring_check(ring);
}

static bool has_ended(pid_t thread) {
    return syscall(SYS_tgkill, getpid(), thread, 0) < 0 && errno == ESRCH;
}

/* A thread that was joined may be on its last few instructions in the kernel, hence the patience. */
bool pollring_orphaned(const struct pollring *ring) {
    const struct timespec millisecond = {.tv_nsec = 1000000};
    pid_t owner = ring->guard->owner;
    if (ring->closed || !owner || owner == this_thread())
        return false;
    for (int tries = 0; tries < 20; tries++) {
        if (has_ended(owner))
            return true;
        nanosleep(&millisecond, NULL);
    }
    return false;
}

int pollring_adopt(struct pollring *ring) {
    pid_t owner = ring->guard->owner, self = this_thread_slowly();
    if (!ring->guard->alive)
        return -EOWNERDEAD;
    if (owner == self || !owner)
        return ring_check_to_enter(ring);
    if (atomic_load(&ring->inside) || (ring->flags & POLLRING_PINNED && !pollring_orphaned(ring)))
        return -EBUSY;
    int error = events_queue_visible(ring);
    if (!error)
        error = ring->backend->reopen(ring);
    if (error)
        return error;
    ring->guard->owner = self;
    for (uint32_t slot = 0; slot < ring->slots; slot++)
        if (poll_of(ring, slot)->state == POLL_ARMED)
            poll_set_pending(ring, poll_of(ring, slot));
    ring_signal_host(ring);
    return 0;
}

/* ---- opening and closing ---- */

static struct guard *guard_open(void) {
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    struct guard *guard = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (guard == MAP_FAILED)
        return NULL;
    if (madvise(guard, size, MADV_WIPEONFORK)) {
        munmap(guard, size);
        return NULL;
    }
    guard->alive = true;
    return guard;
}

static void guard_close(struct guard *guard) {
    if (guard)
        munmap(guard, (size_t)sysconf(_SC_PAGESIZE));
}

static void free_ring(struct pollring *ring) {
    polls_free(ring);
    free(ring->nodes);
    guard_close(ring->guard);
    free(ring);
}

void ring_unreference(struct pollring *ring) {
    if (atomic_fetch_sub_explicit(&ring->references, 1, memory_order_acq_rel) == 1)
        free_ring(ring);
}

int ring_check_options(const struct pollring_options *options) {
    unsigned setup = options->flags & SETUP_FLAGS;
    if (options->flags & ~RING_FLAGS || setup & (setup - 1) || options->backend > POLLRING_EPOLL ||
        options->entries > MAX_ENTRIES || options->cq_entries > MAX_CQ_ENTRIES ||
        options->busy_poll_us > MAX_BUSY_POLL_US || options->reserved[0] || options->reserved[1] ||
        options->reserved[2])
        return -EINVAL;
    return options->backend == POLLRING_EPOLL && setup ? -EINVAL : 0;
}

static int open_backend(struct pollring *ring, const struct pollring_options *options) {
    unsigned entries = options->entries ? options->entries : DEFAULT_ENTRIES;
    unsigned cq_entries = options->cq_entries;
    if (!cq_entries)
        cq_entries = 2 * entries > DEFAULT_CQ_ENTRIES ? 2 * entries : DEFAULT_CQ_ENTRIES;
    else if (entries > cq_entries) /* the kernel wants it so; a small submission queue only submits more often */
        entries = cq_entries;
    ring->backend = options->backend == POLLRING_EPOLL ? &epoll_backend : &uring_backend;
    int error = ring->backend->open(ring, entries, cq_entries);
    if (error && options->backend == POLLRING_AUTO && !(options->flags & SETUP_FLAGS)) {
        ring->backend = &epoll_backend;
        error = ring->backend->open(ring, entries, cq_entries);
    }
    return error;
}

static int open_ring(struct pollring *ring, const struct pollring_options *options) {
    ring->host_fd = ring->host_event_fd = -1;
    ring->references = 1;
    ring->inbox.ring = ring;
    ring->flags = options->flags;
    ring->busy_poll_us = options->busy_poll_us;
    ring->guard = guard_open();
    if (!ring->guard)
        return -ENOMEM;
    ring->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (ring->wake_fd < 0)
        return -errno;
    int error = polls_open(ring);
    if (!error)
        error = open_backend(ring, options);
    if (error)
        close(ring->wake_fd);
    return error;
}

int pollring_open(struct pollring **ring, const struct pollring_options *options) {
    static const struct pollring_options defaults;
    options = options ? options : &defaults;
    int error = ring ? ring_check_options(options) : -EINVAL;
    if (error)
        return error;
    struct pollring *opened = calloc(1, sizeof *opened);
    if (!opened)
        return -ENOMEM;
    error = open_ring(opened, options);
    if (error)
        free_ring(opened);
    else
        *ring = opened;
    return error;
}

/* From here on nobody else comes in: not those that free polls, and not after those that are inside just now. */
static void shut(struct pollring *ring) {
    ring->closed = true;
    ring->guard->owner = -1; /* nobody, so that checking is one comparison */
    polls_free_elsewhere(ring);
    while (ring->guard->alive && atomic_load(&ring->pokers)) /* a forked child has none of those threads */
        sched_yield();
}

/*
 * Kernel rule: some milliseconds after the last fd of a ring is gone, the kernel interrupts the thread that used it,
 * once, whatever was cancelled before. A host would see an EINTR that no signal explains, so it is waited for here.
 */
static void take_interruption(void) {
    const struct timespec patience = {.tv_nsec = 250000000};
    sigset_t none;
    sigemptyset(&none);
    sigtimedwait(&none, NULL, &patience);
}

void pollring_close(struct pollring *ring) {
    if (!ring)
        return;
    bool allowed = ring_check(ring) == 0, own = allowed && ring->guard->owner;
    if (allowed) /* nobody's yet: polls that other threads free from here on are left to this one */
        ring->guard->owner = this_thread();
    bool interrupted = allowed && ring->host_fd >= 0 && ring->backend->interrupts;
    ring->host_watches = false; /* the epoll goes as a whole, or is the parent's too */
    polls_end(ring, NULL);
    if (own)
        events_reach_kernel(ring);
    shut(ring);
    ring->backend->close(ring);
    close(ring->wake_fd);
    if (ring->host_fd >= 0) {
        close(ring->host_fd);
        close(ring->host_event_fd);
    }
    ring_unreference(ring);
    if (interrupted)
        take_interruption();
}

/* ---- waking ---- */

/* Async-signal-safe, as write() is. A full counter (EAGAIN) wakes as well. */
static void poke(int event_fd) {
    static const uint64_t one = 1;
    int saved = errno;
    while (write(event_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
    errno = saved;
}

void ring_poke(struct pollring *ring) {
    poke(ring->wake_fd);
}

int pollring_wake(struct pollring *ring) {
    if (!ring->guard->alive)
        return -EOWNERDEAD;
    if (!atomic_exchange(&ring->wake_asked, true)) /* else the owner hasn't seen the last one yet */
        ring_poke(ring);
    return 0;
}

static void clear(int event_fd) {
    uint64_t count;
    while (read(event_fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
}

/* The waker's completion came. First read, then ask: a wake between the two shows in either. */
void ring_drain_waker(struct pollring *ring) {
    clear(ring->wake_fd);
    if (atomic_exchange(&ring->wake_asked, false))
        ring->woken = true;
}

/* ---- a host's loop ---- */

/*
 * Where the kernel's side alone doesn't wake a host, or not at once (the backend has found that out), files of polls
 * are put into the host's epoll themselves, edge-triggered. (The waker's eventfd is there from the start,
 * level-triggered: nobody but the ring reads it.) Those whose wake-ups may come from an eventfd are eventfds and epoll
 * fds that hold one. They have no file type; nor have timerfds and the like, which this costs some system calls and no
 * more.
 */
int ring_watch_for_host(struct pollring *ring, const struct pollring_poll *poll) {
    /* RDHUP unasked, because POLL_ADD reports it so. Two that are exclusive would take wake-ups from each other. */
    struct epoll_event event = {.events = (poll->events & ~(uint32_t)EPOLLEXCLUSIVE) | EPOLLRDHUP | EPOLLET};
    struct stat status;
    if (ring->host_needs == HOST_NEEDS_NO_FILES)
        return 0;
    if (ring->host_needs == HOST_NEEDS_EVENTFDS && (fstat(poll->fd, &status) || status.st_mode & S_IFMT))
        return 0;
    ring->host_watches = true;
    int failed = epoll_ctl(ring->host_fd, EPOLL_CTL_ADD, poll->fd, &event);
    if (failed && errno == EEXIST) { /* of another poll, or updated */
        event.events = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET;
        failed = epoll_ctl(ring->host_fd, EPOLL_CTL_MOD, poll->fd, &event);
    }
    return failed && (errno == ENOMEM || errno == ENOSPC) ? -errno : 0; /* others are the file's, and its poll's */
}

/* A poll has ended: its file wakes the host no more, unless another poll asks for it. */
void ring_unwatch_for_host(struct pollring *ring, const struct pollring_poll *ended) {
    for (uint32_t slot = *polls_of_fd(ring, ended->fd); slot; slot = poll_of(ring, slot)->next_of_fd)
        if (poll_of(ring, slot)->fd == ended->fd && poll_is_active(poll_of(ring, slot)))
            return;
    epoll_ctl(ring->host_fd, EPOLL_CTL_DEL, ended->fd, NULL);
}

/* Their edges have been seen. (The others in the epoll are level-triggered and come back by themselves.) */
static void forget_edges(const struct pollring *ring) {
    struct epoll_event events[64];
    while (epoll_wait(ring->host_fd, events, 64, 0) == 64)
        ;
}

/* An edge that comes just when they are forgotten is still signalled, late: by the ring's fd, or by the registered
   eventfd once for each time this was done. */
static int rearm_signal(struct pollring *ring) {
    unsigned head = atomic_load_explicit(ring->cq.head, memory_order_relaxed);
    if (ring->host_needs != HOST_NEEDS_EVENTFDS || head == ring->host_head) /* no completion was collected since */
        return 0;
    int error = ring->backend->renest(ring, ring->host_event_fd);
    if (!error)
        ring->host_head = head;
    return error;
}

/* Puts all that may have to wake the host into its epoll. */
static int fill_host(struct pollring *ring) {
    struct epoll_event readable = {.events = EPOLLIN};
    if (epoll_ctl(ring->host_fd, EPOLL_CTL_ADD, ring->host_event_fd, &readable) ||
        epoll_ctl(ring->host_fd, EPOLL_CTL_ADD, ring->wake_fd, &readable))
        return -errno;
    ring->host_needs = ring->backend->host_needs ? ring->backend->host_needs(ring) : (unsigned)HOST_NEEDS_NO_FILES;
    for (uint32_t slot = 1; slot < ring->slots; slot++) {
        const struct pollring_poll *poll = poll_of(ring, slot);
        int error = poll->state == POLL_ARMED ? ring_watch_for_host(ring, poll) : 0;
        if (error)
            return error;
    }
    return ring->backend->nest(ring, ring->host_fd, ring->host_event_fd);
}

static int nest(struct pollring *ring) {
    int event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int epoll_fd = event_fd < 0 ? -1 : epoll_create1(EPOLL_CLOEXEC);
    int error = epoll_fd < 0 ? -errno : 0;
    ring->host_fd = epoll_fd;
    ring->host_event_fd = event_fd;
    if (!error)
        error = fill_host(ring);
    if (!error) {
        ring_settle_host(ring);
        return 0;
    }
    if (event_fd >= 0)
        close(event_fd);
    if (epoll_fd >= 0)
        close(epoll_fd);
    ring->host_fd = ring->host_event_fd = -1;
    ring->host_watches = false;
    return error;
}

int pollring_fileno(const struct pollring *constant) {
    struct pollring *ring = (struct pollring *)constant; /* its address is the user's, its content ours */
    int error = ring_check(ring);
    if (!error && ring->host_fd < 0)
        error = nest(ring);
    return error ? error : ring->host_fd;
}

/* There is something to do that the kernel may not know of. */
void ring_signal_host(struct pollring *ring) {
    if (likely(ring->host_fd < 0) || ring->host_signalled)
        return;
    poke(ring->host_event_fd);
    ring->host_signalled = true;
}

/*
 * Called when the owner is about to go: leaves the host's fd readable exactly if there is something to do. Collecting
 * has signalled the event fd too, so it is cleared; what comes between that and the look is seen by the look, and what
 * comes after it signals again.
 */
void ring_settle_host_slowly(struct pollring *ring) {
    if (!has_work(ring)) {
        int error = ring->host_watches ? rearm_signal(ring) : 0;
        clear(ring->host_event_fd);
        ring->host_signalled = false;
        if (ring->host_watches)
            forget_edges(ring);
        atomic_thread_fence(memory_order_seq_cst);
        if (error) /* a host that is woken for nothing is better than one that sleeps on: it tries again */
            ring_signal_host(ring);
    }
    if (has_work(ring))
        ring_signal_host(ring);
}

/* ---- getters ---- */

const char *pollring_backend(const struct pollring *ring) {
    return ring->backend->name;
}

unsigned pollring_active(const struct pollring *ring) {
    return ring->active;
}

void pollring_stats(const struct pollring *ring, struct pollring_stats *stats) {
    *stats = ring->stats;
    stats->cq_entries = ring->cq.entries;
    stats->active = ring->active;
    stats->queued = ring->queued;
    stats->memory = ring->chunk_count * (POLLS_PER_CHUNK * sizeof(struct pollring_poll) + sizeof *ring->chunks) +
                    (ring->by_fd_mask + 1) * sizeof *ring->by_fd + ring->node_count * sizeof *ring->nodes;
}
