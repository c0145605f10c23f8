/*
 * What the core's files share: the ring, the poll, and the table behind which a backend stands.
 *
 * A completion's way: the backend's enter() makes it appear in the completion queue (cq below, with io_uring the
 * kernel's own memory); event.c looks up its poll by user_data and turns it into an event; the event goes straight to
 * the caller, or, where somebody else was asked for, into a queue on its poll (queue.c). Where there is none, wait.c
 * sleeps in enter(). Requests go the other way: poll.c puts a poll on the pending list, event.c's flush hands the list
 * to the backend before it enters.
 */
#ifndef POLLRING_INTERNAL_H
#define POLLRING_INTERNAL_H

#define _GNU_SOURCE
#include "pollring.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/types.h>

#pragma GCC visibility push(hidden)

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define SETUP_FLAGS (POLLRING_SETUP_DEFER_TASKRUN | POLLRING_SETUP_COOP_TASKRUN | POLLRING_SETUP_PLAIN)

enum { POLLS_PER_CHUNK = 64 };

/* The layout of struct io_uring_cqe, so that nobody but the backend needs liburing (checked there). */
struct completion {
    uint64_t user_data;
    int32_t res;
    uint32_t flags;
};
#define COMPLETION_MORE 2u /* IORING_CQE_F_MORE */

/* user_data: the poll's slot in 32 bits, its generation in 30, and what the request was in 2. A poll keeps its own
   value, so one comparison tells a completion of the armed request from one of an earlier life of the slot. */
#define GENERATION_ONE (UINT64_C(1) << 32)
#define KIND_MASK (UINT64_C(3) << 62)
#define KIND_POLL (UINT64_C(0) << 62)
#define KIND_UPDATE (UINT64_C(1) << 62)
#define KIND_CANCEL (UINT64_C(2) << 62)
#define KIND_WAKER (UINT64_C(3) << 62)

enum poll_state {
    POLL_ENDED,   /* not in the kernel; also before it was armed first */
    POLL_PENDING, /* to be armed by the next flush */
    POLL_ARMED,   /* in the kernel */
    POLL_CUT,     /* ended by overflow; becomes pending when its last event has been taken */
};

enum poll_marks {
    MARK_POLLABLE = 1, /* the kernel is known to poll this file */
    MARK_UPDATE = 2,   /* an update is to be sent by the next flush */
    MARK_LISTED = 4,   /* on the pending list */
};

/* One cache line, because an event should touch no more. Slot numbers stand for pointers; 0 (the waker's) means none.
 */
struct pollring_poll {
    _Alignas(64) struct pollring *ring;
    struct pollring_inbox *inbox; /* NULL: freed, or the waker */
    void *owner;
    uint64_t user_data;
    int fd;
    uint32_t events;
    uint8_t flags; /* POLLRING_ONESHOT ... */
    uint8_t state;
    uint8_t end_reason;
    uint8_t marks;
    uint32_t last_event; /* the newest queued event; its next_of_poll is the oldest */
    uint32_t previous_pending, next_pending;
    uint32_t next_of_fd;
    uint32_t next_free; /* of the freed polls, and of those that other threads freed */
};
_Static_assert(sizeof(struct pollring_poll) == 64, "a poll is one cache line");

/* An event that waits for its taker: in the list of its inbox and in the ring of its poll. */
struct queued_event {
    uint32_t poll;
    int32_t result;
    uint32_t sequence; /* counts the events of one poll, so that newest minus oldest is their number */
    uint32_t next_of_poll;
    uint32_t previous, next;
    bool more;
};

struct pollring_inbox {
    struct pollring *ring;
    uint32_t first, last; /* queued events */
};

/* What has to be in a host's epoll besides what the backend's nest() puts there. */
enum host_needs {
    HOST_NEEDS_NO_FILES,
    HOST_NEEDS_EVENTFDS, /* the files of polls whose wake-ups may come from an eventfd, and renest() */
    HOST_NEEDS_FILES,    /* those of all polls */
};

/* What the running kernel lacks of what pollring would use. */
enum lacks {
    LACKS_MULTISHOT = 1,
    LACKS_DEFER_TASKRUN = 2,
    LACKS_COOP_TASKRUN = 4,
    LACKS_SKIP_SUCCESS = 8,
    LACKS_RING_FDS = 16,
    LACKS_WAKING_RING_FD = 32,
    LACKS_WAKING = 64, /* by the ring's fd or by an eventfd */
    LACKS_PWAIT2 = 128,
};

/* On a page that the kernel wipes in a forked child. */
struct guard {
    _Atomic pid_t owner; /* 0: none yet; other threads ask too */
    bool alive;
};

/* The completion queue and the flag word, where the backend (for io_uring: the kernel) keeps them. */
struct completion_queue {
    _Atomic unsigned *head;
    const _Atomic unsigned *tail;
    const struct completion *completions;
    unsigned mask;
    unsigned entries;
    const _Atomic unsigned *flags;
    unsigned work; /* bits of flags: an enter would collect something */
    unsigned task; /* of those, the ones that looks without sleeping clear in the end */
    bool blind;    /* the flags don't tell all, an enter is needed to look */
};

struct pollring {
    struct guard *guard;
    const struct backend *backend;
    void *backend_state;
    struct completion_queue cq;
    struct pollring_poll **chunks;
    struct queued_event *nodes; /* of queued events; nodes[0] is not used */
    uint32_t free_node;
    _Atomic uint32_t freed_elsewhere; /* slots that other threads freed, linked by next_free */
    _Atomic unsigned pokers;          /* other threads that are inside the ring to free a poll */
    unsigned batch_end;               /* completions up to here may be collected without handing the thread back */
    unsigned active;
    uint32_t queued;
    uint32_t first_pending, last_pending;
    unsigned unsubmitted;        /* requests that the backend has queued */
    bool waker_pending;          /* the waker is to be armed by the next flush */
    uint32_t slots, chunk_count; /* slots ever used; slot 0 is the waker */
    uint32_t free_slot, limbo;   /* freed slots: to be reused, and to be reused after the next collect */
    uint32_t *by_fd;             /* a power of two of chains */
    uint32_t by_fd_mask;
    uint32_t node_count;
    struct pollring_inbox inbox;
    int wake_fd;
    _Atomic bool wake_asked;
    bool woken;
    _Atomic bool closed; /* other threads ask too */
    _Atomic bool inside; /* the owner may sleep in the kernel */
    int host_fd;         /* what fileno() gives: an epoll fd, or -1 */
    int host_event_fd;   /* in it: readable where the kernel's side alone would not wake the host */
    bool host_signalled;
    unsigned host_head;          /* of the completion queue, when the host's fd was last settled */
    bool host_watches;           /* host_fd holds files of polls too */
    unsigned host_needs;         /* enum host_needs */
    _Atomic uint32_t references; /* the open ring, its polls, its inboxes */
    unsigned flags;              /* POLLRING_* as asked for */
    unsigned busy_poll_us;
    const sigset_t *sleep_signals; /* those that are held back in a sleep; NULL: as the thread has it */
    bool interrupted;              /* a signal came while the ring was started: this wait doesn't sleep */
    struct pollring_stats stats;
};

/* A backend: what speaks to the kernel. Each returns 0 or -errno. */
struct backend {
    const char *name;
    /* Makes ring->backend_state and ring->cq, for no thread in particular. */
    int (*open)(struct pollring *ring, unsigned entries, unsigned cq_entries);
    /* Binds the calling thread. */
    int (*start)(struct pollring *ring);
    /* As open, start and, where the ring has a host_fd, nest, in the place of another thread's; leaves the old one
       untouched on failure. */
    int (*reopen)(struct pollring *ring);
    /* Queue a request, count it in ring->unsubmitted; may submit those before it. -EAGAIN, -EBUSY: not now (a cancel
       waits for its turn then). */
    int (*arm)(struct pollring *ring, struct pollring_poll *poll, uint64_t user_data);
    int (*update)(struct pollring *ring, struct pollring_poll *poll);
    int (*cancel)(struct pollring *ring, struct pollring_poll *poll);
    int (*submit)(struct pollring *ring);
    /* Submits and collects; sleeps until so many completions are there, up to timeout (NULL: for ever). At the timeout
       -ETIME, or 0 with nothing collected. -EINTR. */
    int (*enter)(struct pollring *ring, unsigned wait_for, const struct timespec *timeout);
    /* Whether an enter would collect something that ring->cq doesn't show. NULL: it shows all. */
    bool (*peek)(const struct pollring *ring);
    /* What nest() leaves to others; enum host_needs. NULL: nothing. */
    unsigned (*host_needs)(const struct pollring *ring);
    /* Of enum lacks, what can be told from a started ring. NULL: nothing. */
    unsigned (*lacks)(const struct pollring *ring);
    /* Adds to an epoll fd what becomes readable with completions. */
    int (*nest)(struct pollring *ring, int epoll_fd, int event_fd);
    /* With HOST_NEEDS_EVENTFDS, after completions were collected: event_fd is to be signalled for the next. */
    int (*renest)(struct pollring *ring, int event_fd);
    /* Whether fd is one of the backend's own. */
    bool (*owns)(const struct pollring *ring, int fd);
    void (*close)(struct pollring *ring);
    bool interrupts; /* the kernel sends the thread an EINTR, some time after close */
};
extern const struct backend uring_backend, epoll_backend;

/* ring.c */
int ring_check_options(const struct pollring_options *options); /* -EINVAL: out of range */
int ring_check_slowly(const struct pollring *ring);
int ring_take_ownership(struct pollring *ring);
void ring_unreference(struct pollring *ring);
void ring_signal_host(struct pollring *ring);
void ring_settle_host_slowly(struct pollring *ring);
int ring_watch_for_host(struct pollring *ring, const struct pollring_poll *poll);
void ring_unwatch_for_host(struct pollring *ring, const struct pollring_poll *ended);
void ring_poke(struct pollring *ring);
void ring_drain_waker(struct pollring *ring);

/* One word, which fits into what glibc spares for such variables of libraries that are loaded late; without a call. */
#define THREAD_LOCAL_MODEL __attribute__((tls_model("initial-exec")))
extern _Thread_local pid_t this_thread_cache THREAD_LOCAL_MODEL;
pid_t this_thread_slowly(void);

static inline pid_t this_thread(void) {
    pid_t id = this_thread_cache;
    return likely(id) ? id : this_thread_slowly();
}

/* 0 where this thread may call: it owns the ring, or nobody does yet. Else -EEXIST, -EOWNERDEAD, -ESHUTDOWN. */
static inline int ring_check(const struct pollring *ring) {
    return likely(ring->guard->owner == this_thread()) ? 0 : ring_check_slowly(ring);
}

/* As ring_check(), for calls that enter the kernel: makes the first thread that does so the owner. */
static inline int ring_check_to_enter(struct pollring *ring) {
    return likely(ring->guard->owner == this_thread()) ? 0 : ring_take_ownership(ring);
}

static inline void ring_settle_host(struct pollring *ring) {
    if (unlikely(ring->host_fd >= 0))
        ring_settle_host_slowly(ring);
}

/* poll.c */
static inline struct pollring_poll *poll_of(const struct pollring *ring, uint32_t slot) {
    return &ring->chunks[slot / POLLS_PER_CHUNK][slot % POLLS_PER_CHUNK];
}
static inline uint32_t slot_of(const struct pollring_poll *poll) {
    return (uint32_t)__atomic_load_n(&poll->user_data, __ATOMIC_RELAXED);
}
static inline bool poll_is_active(const struct pollring_poll *poll) {
    return poll->state != POLL_ENDED;
}
/* The first of a chain by next_of_fd that holds all polls of this fd, and others. */
static inline uint32_t *polls_of_fd(const struct pollring *ring, int fd) {
    return &ring->by_fd[(unsigned)fd & ring->by_fd_mask]; /* fds are small and dense: they hash themselves */
}
int polls_open(struct pollring *ring);
void polls_free(struct pollring *ring);
void polls_end(struct pollring *ring, struct pollring_inbox *inbox);
void polls_reuse_freed(struct pollring *ring);
void polls_free_elsewhere(struct pollring *ring);
void polls_recheck(struct pollring *ring);
void poll_set_pending(struct pollring *ring, struct pollring_poll *poll);
void poll_unlist(struct pollring *ring, struct pollring_poll *poll);
void poll_end(struct pollring *ring, struct pollring_poll *poll, int reason);
void poll_next_generation(struct pollring_poll *poll);

/* queue.c */
int events_grow(struct pollring *ring);
void events_queue(struct pollring *ring, const struct pollring_event *event);
void events_unqueue(struct pollring *ring, struct pollring_poll *poll, struct pollring_event *event); /* the oldest */
void events_drop(struct pollring *ring, struct pollring_poll *poll);
uint32_t events_count(const struct pollring *ring, const struct pollring_poll *poll);

/* Makes sure that one event can be queued: called before a completion is consumed, so that none is lost. */
static inline int events_reserve(struct pollring *ring) {
    return likely(ring->free_node) ? 0 : events_grow(ring);
}

/* wait.c */

/* How long a wait may sleep. The clock is asked when it first does, so that what is ready costs no look at it. */
struct patience {
    const struct timespec *timeout; /* NULL: for ever */
    struct timespec deadline;
    bool begun;
};

/* Submits, and sleeps until a completion comes; look whether it did. 0, -ETIME, -EINTR, -errno. */
int wait_for_completion(struct pollring *ring, struct patience *patience);

/* Holds all signals of the calling thread back; returns what was held back before, which is to be restored. */
sigset_t signals_hold(void);
void signals_restore(const sigset_t *before);

/* Whether a signal came that is held back, and was not before. */
bool signal_waits(const sigset_t *before);

/* event.c */
void events_narrow(struct pollring *ring, struct pollring_poll *poll);
int events_queue_visible(struct pollring *ring);
int events_reach_kernel(struct pollring *ring);

static inline unsigned cq_count(const struct pollring *ring) {
    return atomic_load_explicit(ring->cq.tail, memory_order_acquire) -
           atomic_load_explicit(ring->cq.head, memory_order_relaxed);
}
static inline bool cq_is_empty(const struct pollring *ring) {
    return atomic_load_explicit(ring->cq.head, memory_order_relaxed) ==
           atomic_load_explicit(ring->cq.tail, memory_order_acquire);
}
static inline bool kernel_has_work(const struct pollring *ring) {
    return atomic_load_explicit(ring->cq.flags, memory_order_acquire) & ring->cq.work;
}
static inline bool task_flag_is_set(const struct pollring *ring) {
    return atomic_load_explicit(ring->cq.flags, memory_order_acquire) & ring->cq.task;
}
/* Whether there is something to collect, as far as memory shows. */
static inline bool is_collectable(const struct pollring *ring) {
    return !cq_is_empty(ring) || kernel_has_work(ring);
}
/* Whether there is something to do, likewise. */
static inline bool has_work(const struct pollring *ring) {
    return ring->first_pending || ring->waker_pending || ring->queued || ring->unsubmitted || is_collectable(ring);
}

#pragma GCC visibility pop
#endif
