/*
 * pollring: Linux's multishot poll as events that keep coming from one request.
 *
 * This header is the whole C interface and its manual. It needs no other header of the project and none of liburing.
 *
 * One IORING_OP_POLL_ADD request with IORING_POLL_ADD_MULTI keeps posting completions, each flagged IORING_CQE_F_MORE,
 * until it is cancelled or fails. It is level-triggered at the moment it is armed (a file that is ready then is
 * reported at once) and edge-triggered from there on (one event a wake-up, silence while data stays unread). An event
 * is a hint: it holds the bits of the wake-up, not the state of the file, so read until EAGAIN.
 *
 * Errors    Functions that return int give a negative errno. -EINVAL: an argument is out of range. -EEXIST: another
 *           thread owns the ring. -EOWNERDEAD: this is a forked child. -ESHUTDOWN: the poll's ring was closed. In these
 *           four cases nothing was touched.
 * Threads   A ring belongs to one thread, its owner: the first that enters the kernel with it (submit, collect, wait,
 *           next, take). Until then one thread at a time may fill it. From other threads only pollring_wake(),
 *           pollring_poll_free() and pollring_adopt() are allowed, and pollring_close() while the owner is in no call.
 * Forks     In a forked child every call gives -EOWNERDEAD, but closing and freeing, which release the child's memory
 *           and fds and leave the parent's alone, in any order. Every fd closes on exec.
 * Blocking  Only pollring_wait(), pollring_collect(), pollring_inbox_collect() and pollring_next() wait for events, and
 *           not with timeout {0, 0}. timeout NULL waits for ever. A signal ends a sleep with -EINTR, now and then one
 *           that has no handler, such as SIGCHLD: call again. Two more may sleep for milliseconds, as they say:
 *           pollring_close() and pollring_orphaned().
 * Timeouts  They count from the call on: &(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000} are ms
 *           milliseconds. To keep a deadline, take what is left of it by clock_gettime(CLOCK_MONOTONIC) for each call.
 * Memory    The library allocates; what *_open() and *_add() hand out is given back by *_close() and *_free().
 */
#ifndef POLLRING_H
#define POLLRING_H

#include <poll.h> /* which has POLLRDHUP where _GNU_SOURCE is defined before the first include */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

#define POLLRING_VERSION "0.1.0"

struct pollring;       /* one io_uring instance (or epoll), owned by one thread */
struct pollring_poll;  /* one POLL_ADD request */
struct pollring_inbox; /* the events of some of a ring's polls: where several users share a ring, each takes its own */

/* ---- the ring ---- */

enum pollring_backend_choice {
    POLLRING_AUTO = 0,     /* io_uring; on any error of setting it up epoll: pollring_backend() tells which */
    POLLRING_IO_URING = 1, /* this one or an error; a POLLRING_SETUP_* flag insists on it too */
    POLLRING_EPOLL = 2,    /* EPOLLET: the same contract, for where io_uring is refused; docs/backends.md */
};

/*
 * Ring flags. Of the POLLRING_SETUP_* at most one: that set-up or an error; without, the first that the kernel has.
 * POLLRING_SEALED protects from misuse of the ring's fd, and neither the files nor the process. POLLRING_PINNED
 * registers the ring's fd with its thread, which makes each system call cheaper.
 */
#define POLLRING_SEALED 0x01u              /* through the ring's fd go pollring's own operations only, else -EACCES */
#define POLLRING_SETUP_DEFER_TASKRUN 0x02u /* SINGLE_ISSUER | DEFER_TASKRUN | TASKRUN_FLAG: collected on enter only */
#define POLLRING_SETUP_COOP_TASKRUN 0x04u  /* COOP_TASKRUN | TASKRUN_FLAG: collected on any system call of the owner */
#define POLLRING_SETUP_PLAIN 0x08u         /* no flag: each event interrupts the owner */
#define POLLRING_PINNED 0x10u              /* the ring never changes its thread while that lives (adopt: -EBUSY) */

/* All zero means: all defaults. Unknown flags and a reserved field that isn't 0 are refused with -EINVAL. */
struct pollring_options {
    unsigned entries;    /* submission queue: 1 to 32768, default 256; rounded up to a power of two; it limits nothing,
                            a full queue submits by itself */
    unsigned cq_entries; /* completion queue: entries to 65536, default 4096; more events than this at once cost
                            re-arming, and lose nothing */
    unsigned flags;      /* POLLRING_SEALED, POLLRING_PINNED, POLLRING_SETUP_* */
    unsigned backend;    /* enum pollring_backend_choice */
    unsigned busy_poll_us; /* microseconds to spin on completions before sleeping, at most 1,000,000 */
    unsigned reserved[3];
};

/*
 * Opens a ring; options may be NULL. -EMFILE: no file descriptors left; -ENOMEM: memory or memlock; -EINVAL; where
 * io_uring is insisted on also -EPERM: it is refused (sysctl, seccomp), and -ENOSYS: there is none. A failure leaves
 * nothing behind. pollring_explain() tells what refuses, and what to do.
 */
int pollring_open(struct pollring **ring, const struct pollring_options *options);

/*
 * Ends every poll (POLLRING_END_CLOSED) and releases their files before it returns. Poll objects and inboxes stay valid
 * until they are freed and closed; ring itself is gone. Allowed between two takes and in loops over events: of a batch
 * in an array the polls tell their end, pollring_next() says 0. In a forked child it releases the child's memory and
 * file descriptors only. From a thread that is not the owner (the owner must not be inside a call) the kernel lets the
 * files go some milliseconds later, those of a POLLRING_PINNED ring when its thread ends. Where pollring_fileno() was
 * called, it sleeps up to 250 ms for the EINTR that the kernel sends after a ring, so that none reaches the host's
 * loop. NULL is allowed.
 */
void pollring_close(struct pollring *ring);

/*
 * Makes the calling thread the owner: a new kernel ring in the place of the old one, active polls armed again (so a
 * file that is ready is reported again). 0 too where it is the owner already. -EBUSY: the owner is inside a call, or
 * the ring is POLLRING_PINNED and its thread lives. On failure the ring stays as it was.
 */
int pollring_adopt(struct pollring *ring);

/* What a call of this thread would get now, without touching anything: 0, -EEXIST or -EOWNERDEAD. */
int pollring_check(const struct pollring *ring);

/* Whether the thread that owns the ring has ended, so that it may be closed from another. false: there is none yet, or
   it lives, for which 20 ms are waited: a thread that was joined may be just ending. pollring_adopt() asks this of a
   POLLRING_PINNED ring. */
bool pollring_orphaned(const struct pollring *ring);

/*
 * An fd that is readable whenever pollring_wait() with timeout 0 would do something (events in the kernel, events
 * queued, a batch cut by max, requests not submitted), and wakes a host that is blocked in poll or epoll on it. The fd
 * stays the ring's: watch it, never read or close it. The same one for the ring's whole life; the first call makes it.
 * Kernel rule: a DEFER_TASKRUN ring's own fd wakes a sleeper at once on some kernels, late on others and never on the
 * rest, a registered eventfd likewise. So this is an epoll fd over what proves to wake on this one, and where neither
 * does at once, over the files that are polled. The first call in a process tries that out, which takes a thread.
 */
int pollring_fileno(const struct pollring *ring);

/* Whether a wait with timeout 0 would do something: what pollring_fileno() shows as readable. With io_uring it is read
   from memory, with epoll it can take a system call. */
bool pollring_pending(const struct pollring *ring);

/* Sends queued requests to the kernel and collects nothing. 0 or -errno. wait, collect and next do this by themselves.
 */
int pollring_submit(struct pollring *ring);

/*
 * Makes the owner's running or next wait, collect or next return early, as at its timeout (wait and collect: 0, next:
 * -ETIME). Allowed from any thread and from signal handlers. 0, or -EOWNERDEAD.
 */
int pollring_wake(struct pollring *ring);

/*
 * Removes every poll of one fd, whoever's it is, as pollring_poll_remove() does, with one system call. Call it before
 * close(fd): an armed poll holds the file, and the peer would see no end. Returns how many.
 */
int pollring_remove_fd(struct pollring *ring, int fd);

const char *pollring_backend(const struct pollring *ring); /* "io_uring" or "epoll" */
unsigned pollring_active(const struct pollring *ring);     /* armed polls */

struct pollring_stats {
    uint32_t setup;      /* the POLLRING_SETUP_* that stuck, 0 with epoll */
    uint32_t entries;    /* of the submission queue, 0 with epoll */
    uint32_t cq_entries; /* of the completion queue */
    uint32_t active;     /* armed polls */
    uint32_t queued;     /* events that wait on their polls */
    uint64_t enters;     /* system calls made to submit and to collect */
    uint64_t requests;   /* requests submitted: arming, updates, removals, the waker's own */
    uint64_t events;     /* handed out */
    uint64_t rearmed;    /* polls that the kernel ended because the completion queue was full, armed again */
    uint64_t merged;     /* events OR-ed into the one before, because a poll's queue was full */
    uint64_t dropped;    /* completions of polls that were gone, and of bits that were no longer asked for */
    uint64_t memory;     /* bytes of our own for polls and queued events */
};
void pollring_stats(const struct pollring *ring, struct pollring_stats *stats);

/* The name of one POLLRING_SETUP_*: "defer_taskrun", "coop_taskrun", "plain"; "" for 0 and all else. */
const char *pollring_strsetup(unsigned setup);

/* ---- events ---- */

struct pollring_event {
    struct pollring_poll *poll;
    void *owner; /* the poll's, as given when it was added */
    int result;  /* a mask of POLL* bits, or a negative errno (-ECANCELED: the poll was removed) */
    bool more;   /* the poll stays armed and further events will come (IORING_CQE_F_MORE, as managed polls see it) */
};

/*
 * Collects all that is pending, up to max events, and sleeps up to timeout where there is nothing. Returns how many; 0
 * at the timeout or after pollring_wake(); -EINTR; -errno. Takes from the ring's own inbox. Events of one poll are in
 * order, and there may be several; an event for a poll that was removed or freed is never handed out. So who frees
 * polls in the loop over a batch takes them one by one (pollring_collect(), pollring_take()): what is in the array
 * stays there.
 */
int pollring_wait(struct pollring *ring, struct pollring_event *events, unsigned max, const struct timespec *timeout);

/*
 * The two halves of a wait. collect submits, sleeps up to timeout unless an event of some inbox is there, and hands out
 * nothing: 0, -EINTR, -errno. take hands out one event of an inbox (NULL: the ring's own): 1, or 0 where there is none,
 * -errno; it never sleeps, and between two takes every other call is allowed. A batch has ended when take returns 0;
 * only then have removals of polls that ended by hangup all reached the kernel.
 */
int pollring_collect(struct pollring *ring, const struct timespec *timeout);
int pollring_take(struct pollring *ring, struct pollring_inbox *inbox, struct pollring_event *event);

/* As pollring_take(), up to max events at once: how many. Fewer than max: the batch has ended. */
int pollring_take_many(struct pollring *ring, struct pollring_inbox *inbox, struct pollring_event *events,
                       unsigned max);

/* As pollring_collect(), but sleeps until this inbox has an event; those of others are queued for them meanwhile. */
int pollring_inbox_collect(struct pollring *ring, struct pollring_inbox *inbox, const struct timespec *timeout);

/* Opens an inbox of its own on a ring: NULL where memory is short, or the calling thread may not. While it is open,
   pollring_check() may be asked of the ring even after that was closed: -ESHUTDOWN. */
struct pollring_inbox *pollring_inbox_open(struct pollring *ring);

/* As pollring_remove_fd(), but only this inbox's polls. */
int pollring_inbox_remove_fd(struct pollring_inbox *inbox, int fd);

/* Ends the inbox's polls (POLLRING_END_CLOSED) and frees it; the poll objects stay until they are freed. Allowed after
   the ring was closed too. Owner's thread only. NULL: nothing. */
void pollring_inbox_close(struct pollring_inbox *inbox);

/*
 * Writes a result's names to buffer, as "POLLIN|POLLHUP", "ECANCELED" for a negative one, "0" for none. Returns the
 * length without the final zero, as snprintf does, whatever size is.
 */
int pollring_strevents(int result, char *buffer, size_t size);

/* ---- polls ---- */

/* Poll flags. NO_REARM and KEEP_HANGUP together make a raw poll: each completion as the kernel wrote it. */
#define POLLRING_ONESHOT 0x01u     /* one event, then it has ended */
#define POLLRING_NO_REARM 0x02u    /* a poll that the kernel ended because the completion queue was full stays ended */
#define POLLRING_KEEP_HANGUP 0x04u /* hangup does not end it: for a FIFO or a pty master, whose peer can come back */

enum pollring_end_reason {
    POLLRING_END_NONE = 0,       /* it is active, or was never armed */
    POLLRING_END_REMOVED = 1,    /* pollring_poll_remove(), pollring_remove_fd() */
    POLLRING_END_HANGUP = 2,     /* POLLHUP; POLLRDHUP where POLLOUT wasn't asked for; POLLERR on a pipe or FIFO */
    POLLRING_END_ERROR = 3,      /* its last event was a negative errno, such as -EBADF */
    POLLRING_END_ONESHOT = 4,    /* POLLRING_ONESHOT, after its event */
    POLLRING_END_UNPOLLABLE = 5, /* a regular file, a directory, /dev/null: always ready, the kernel does not poll it */
    POLLRING_END_OVERFLOW = 6,   /* the completion queue was full, with POLLRING_NO_REARM */
    POLLRING_END_CLOSED = 7,     /* its ring or inbox was closed */
};

/* A reason's name in small letters, such as "hangup"; "" for POLLRING_END_NONE and all else. */
const char *pollring_strend(int reason);

/*
 * Adds a poll of fd to the ring's own inbox, or to another. events: POLL* bits, and EPOLLEXCLUSIVE (of several rings on
 * one file not all are woken; EPOLLET and EPOLLONESHOT are refused). 0 events reports hangup and errors only. owner
 * comes back with each event. The request goes out with the next submit, wait, collect or next, and names the file by
 * its number until then. A bad fd shows as -EBADF: at once if negative, else as the poll's first and last event.
 * -ELOOP: the fd is the ring's own. One fd may be added many times.
 */
int pollring_poll_add(struct pollring *ring, struct pollring_poll **poll, int fd, uint32_t events, unsigned flags,
                      void *owner);
int pollring_poll_add_to(struct pollring_inbox *inbox, struct pollring_poll **poll, int fd, uint32_t events,
                         unsigned flags, void *owner);

/* Arms a poll that has ended again, with the same fd, events and flags; allocates nothing. -EALREADY: it is active. */
int pollring_poll_arm(struct pollring_poll *poll);

/* Asks for other events, with the next enter; bits that are no longer asked for are dropped from now on, and an event
   comes if the fd is ready then. -ENOENT: the poll has ended. A one-shot stays one. */
int pollring_poll_update(struct pollring_poll *poll, uint32_t events);

/* An event comes, with the next enter, if the fd is ready then: for a reader that stopped before EAGAIN. -ENOENT. */
int pollring_poll_recheck(struct pollring_poll *poll);

/*
 * Removes a poll: it has reached the kernel on return and the file is released. Events that were not taken are dropped;
 * the poll's last is -ECANCELED in a wait, and a plain end in next. 0 too where the poll has ended already. -errno: the
 * kernel refused for now, such as -EAGAIN; the poll has ended, and the next call that enters, this one too, sees to it.
 */
int pollring_poll_remove(struct pollring_poll *poll);

/*
 * Removes the poll if it is armed, drops its events without an -ECANCELED, and frees it. From another thread the owner
 * carries it out, soon. The memory is reused after the next collect only, so pointers in the current batch may still be
 * asked whether they are active. NULL: nothing.
 */
void pollring_poll_free(struct pollring_poll *poll);

/*
 * The poll as an iterator: sleeps up to timeout for its next event. 1: an event (its result may be a negative errno);
 * 0: the poll has ended and all its events were handed out; -ETIME: timeout or woken; -EINTR; -errno. Events of other
 * polls that come meanwhile are queued on them, in order.
 */
int pollring_next(struct pollring_poll *poll, struct pollring_event *event, const struct timespec *timeout);

/* Plain getters: any time between add and free, the ring's end included. */
int pollring_poll_fd(const struct pollring_poll *poll);
uint32_t pollring_poll_events(const struct pollring_poll *poll); /* asked for; with EPOLLEXCLUSIVE */
bool pollring_poll_active(const struct pollring_poll *poll);
int pollring_poll_end_reason(const struct pollring_poll *poll); /* enum pollring_end_reason */
void *pollring_poll_owner(const struct pollring_poll *poll);

/* ---- what this machine allows ---- */

enum pollring_cause {
    POLLRING_CAUSE_NONE = 0,     /* io_uring works */
    POLLRING_CAUSE_SYSCTL = 1,   /* kernel.io_uring_disabled */
    POLLRING_CAUSE_SECCOMP = 2,  /* a filter on system calls, as container runtimes install them */
    POLLRING_CAUSE_KERNEL = 3,   /* too old, or built without io_uring */
    POLLRING_CAUSE_MEMLOCK = 4,  /* RLIMIT_MEMLOCK, against which most kernels count a ring's queues */
    POLLRING_CAUSE_FD_LIMIT = 5, /* RLIMIT_NOFILE, or the system's own */
    POLLRING_CAUSE_MEMORY = 6,   /* RLIMIT_AS, or there is none */
    POLLRING_CAUSE_UNKNOWN = 7,  /* something else, such as a security module */
};

/* A cause's name in small letters, such as "fd_limit"; "" for POLLRING_CAUSE_NONE and all else. */
const char *pollring_strcause(int cause);

struct pollring_probe {
    char kernel[72];        /* uname -r */
    int io_uring;           /* 0: it works; else the negative errno of the first refusal */
    unsigned setups;        /* POLLRING_SETUP_* that work, tried one by one */
    int sysctl_disabled;    /* /proc/sys/kernel/io_uring_disabled: 0 to 2; -1: there is no such file to be read */
    int cause;              /* enum pollring_cause */
    const char *backend;    /* what POLLRING_AUTO takes, as pollring_backend() says; "" where nothing can be opened */
    bool resize;            /* the kernel can resize the completion queue of a DEFER_TASKRUN ring */
    const char *refused_at; /* the system call that was refused, less its "io_uring_": setup, register, enter; or "" */
    char message[512];      /* for a refusal: what refused and what to do; else empty */
    const char *lacks[8];   /* what newer kernels have, and what pollring does here instead: sentences, up to NULL */
};

/*
 * Tries out rings with the default options and fills probe; takes about a millisecond, in the first call of a process
 * also a thread, and leaves nothing behind. Nothing is concluded from the kernel's version. 0, or -EINVAL.
 */
int pollring_probe(struct pollring_probe *probe);

/* The same for rings with these options: why pollring_open() refused one, which may be for its size or its flags. Their
   backend is not looked at. -EINVAL too where they are out of range. */
int pollring_explain(struct pollring_probe *probe, const struct pollring_options *options);

#ifdef __cplusplus
}
#endif
#endif
