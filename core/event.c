/*
 * Events: from the completion queue to whoever asked. This is the hot path, and where the kernel's rules are kept.
 *
 * Some facts about multishot POLL_ADD that the code below relies on:
 * - A completion without F_MORE is the request's last. Besides cancellation and errors there are two more ways to get
 *   one: the completion queue was full when the file became ready (then the poll has to be armed again), and the file
 *   is none that can be polled (a regular file, /dev/null: then arming again would spin). They look alike; epoll_ctl
 *   tells them apart.
 * - After a hangup F_MORE is still set, and nothing more comes: it has to be cancelled, or a reader waits for ever.
 * - A poll that was ended by overflow must not be armed again before its reader has read: arming is level-triggered,
 *   the completion would come at once, and end it again. So that happens when its event is taken, and the request goes
 *   out with the next collect; the enters that only complete a batch send no arming.
 * - Linux 5.10 says -EINTR of an enter that doesn't sleep, too. A wait passes it on; what only looks on the way goes
 *   on.
 * - With DEFER_TASKRUN the kernel runs a limited number of work items an enter. That more is pending shows in the
 *   ring's flags (kernel_has_work), so a batch is complete when those are clear.
 * - Where memory is short the kernel drops completions and says so (-EBADR), not whose. An update of each poll brings
 *   back what is still true: its answer is an event, or -ENOENT where the request's last completion was among the
 *   dropped.
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* On the way of every event: a call costs as much as what is called. */
#define hot_inline inline __attribute__((always_inline))

/* What POLL_ADD reports without being asked. */
#define UNASKED (POLLERR | POLLHUP | POLLNVAL | POLLRDHUP)
#define RAW (POLLRING_NO_REARM | POLLRING_KEEP_HANGUP)

/* ---- from completion to event ---- */

static inline const struct completion *first_completion(const struct pollring *ring) {
    unsigned head = atomic_load_explicit(ring->cq.head, memory_order_relaxed);
    if (head == atomic_load_explicit(ring->cq.tail, memory_order_acquire))
        return NULL;
    return &ring->cq.completions[head & ring->cq.mask];
}

/* Frees its place for the kernel: copy what you need of it before. */
static inline void consume(struct pollring *ring) {
    unsigned head = atomic_load_explicit(ring->cq.head, memory_order_relaxed);
    atomic_store_explicit(ring->cq.head, head + 1, memory_order_release);
}

static bool is_pipe(int fd) {
    struct stat status;
    return fstat(fd, &status) == 0 && S_ISFIFO(status.st_mode);
}

static bool is_hangup(const struct pollring_poll *poll, uint32_t mask) {
    if (poll->flags & POLLRING_KEEP_HANGUP)
        return false;
    return mask & POLLHUP || (mask & POLLRDHUP && !(poll->events & POLLOUT)) || (mask & POLLERR && is_pipe(poll->fd));
}

/* Whether the kernel polls this file at all: epoll refuses the others with EPERM. Without an fd or memory for that: for
   now. */
static bool is_pollable(struct pollring_poll *poll) {
    if (poll->marks & MARK_POLLABLE)
        return true;
    int scratch = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event nothing = {.events = 0};
    if (scratch < 0)
        return true;
    bool taken = !epoll_ctl(scratch, EPOLL_CTL_ADD, poll->fd, &nothing), refused = !taken && errno == EPERM;
    close(scratch);
    if (taken)
        poll->marks |= MARK_POLLABLE;
    return !refused;
}

/* The bits that the poll's user hears of. */
static inline uint32_t wanted_bits(const struct pollring_poll *poll, int result) {
    return (poll->flags & RAW) == RAW ? (uint32_t)result : (uint32_t)result & (poll->events | UNASKED);
}

static bool nothing_wanted(struct pollring *ring) {
    ring->stats.dropped++;
    return false;
}

/* After an update: what is queued tells no more of bits that are no longer asked for. Each event leaves the queue and,
   where something is left of it, comes in again behind. */
void events_narrow(struct pollring *ring, struct pollring_poll *poll) {
    for (uint32_t count = events_count(ring, poll); count; count--) {
        struct pollring_event event;
        events_unqueue(ring, poll, &event);
        if (event.more)
            event.result = (int)wanted_bits(poll, event.result);
        if (event.result)
            events_queue(ring, &event);
        else
            nothing_wanted(ring);
    }
    if (poll->state == POLL_CUT && !poll->last_event)
        poll_set_pending(ring, poll);
}

/* A request's last completion that is no error: finds out why, and ends the poll or lets it be armed again. */
static bool admit_last(struct pollring *ring, struct pollring_poll *poll, struct pollring_event *event) {
    bool oneshot = poll->flags & POLLRING_ONESHOT, rearm = oneshot || !(poll->flags & POLLRING_NO_REARM);
    event->more = false;
    if (rearm && !event->result) { /* none of its bits is asked for any more, so nobody will take it */
        ring->stats.rearmed++;
        poll_set_pending(ring, poll);
        return nothing_wanted(ring);
    }
    if (oneshot) {
        poll_end(ring, poll, POLLRING_END_ONESHOT);
    } else if (!is_pollable(poll)) {
        poll_end(ring, poll, POLLRING_END_UNPOLLABLE);
    } else if (!rearm) {
        poll_end(ring, poll, POLLRING_END_OVERFLOW);
    } else if (is_hangup(poll, (uint32_t)event->result)) {
        poll_end(ring, poll, POLLRING_END_HANGUP);
    } else {
        ring->stats.rearmed++;
        poll->state = POLL_CUT;
        event->more = true;
    }
    return true;
}

static bool admit_unusual(struct pollring *ring, struct pollring_poll *poll, bool more, struct pollring_event *event) {
    if (event->result < 0) {
        event->more = false;
        poll_end(ring, poll, event->result == -ECANCELED ? POLLRING_END_REMOVED : POLLRING_END_ERROR);
        return true;
    }
    event->result = (int)wanted_bits(poll, event->result);
    if (!more)
        return admit_last(ring, poll, event);
    poll->marks |= MARK_POLLABLE;
    if (!event->result)
        return nothing_wanted(ring);
    event->more = !is_hangup(poll, (uint32_t)event->result);
    if (!event->more) {
        ring->backend->cancel(ring, poll);
        poll_end(ring, poll, POLLRING_END_HANGUP);
    }
    return true;
}

/* A completion that is no armed poll's: of the waker, of an update or a removal, or of a poll that is gone. */
static void admit_other(struct pollring *ring, struct completion completion) {
    struct pollring_poll *poll = poll_of(ring, (uint32_t)completion.user_data);
    bool current = poll->user_data == (completion.user_data & ~KIND_MASK);
    switch (completion.user_data & KIND_MASK) {
    case KIND_WAKER:
        if (current && completion.res > 0 && !(completion.flags & COMPLETION_MORE)) /* overflow; else it is broken */
            poll_set_pending(ring, poll);
        ring_drain_waker(ring);
        break;
    case KIND_UPDATE:
        if (!current || poll->state != POLL_ARMED)
            break;
        if (completion.res == -EALREADY) /* an event was in flight, it comes, and the update is lost */
            pollring_poll_recheck(poll);
        else if (completion.res == -ENOENT) /* its last completion would have come before this one: it was lost */
            poll_set_pending(ring, poll);
        break;
    case KIND_POLL:
        ring->stats.dropped += completion.res != -ECANCELED;
        break;
    }
}

/* Nearly every completion: of an armed poll, only bits that were asked for, none of a hangup, and more to come. (A
   negative result has bits that nobody asks for.) */
static inline bool is_usual(const struct pollring_poll *poll, const struct completion *completion) {
    return likely(poll->user_data == completion->user_data && completion->flags & COMPLETION_MORE && completion->res &&
                  !((uint32_t)completion->res & (~poll->events | POLLHUP | POLLRDHUP | POLLERR)) &&
                  poll->marks & MARK_POLLABLE);
}

/* Consumes the first completion. Whether it made an event to hand out. */
static bool admit(struct pollring *ring, const struct completion *first, struct pollring_event *event) {
    struct completion completion = *first;
    struct pollring_poll *poll = poll_of(ring, (uint32_t)completion.user_data);
    bool more = completion.flags & COMPLETION_MORE;
    consume(ring);
    *event = (struct pollring_event){.poll = poll, .owner = poll->owner, .result = completion.res, .more = more};
    if (is_usual(poll, &completion))
        return true;
    if (poll->user_data == completion.user_data)
        return admit_unusual(ring, poll, more, event);
    admit_other(ring, completion);
    return false;
}

/* Consumes up to the first completion that makes an event. 1: it did; 0: there is none; -ENOMEM: the next could not be
   queued for anybody, and stays. */
static int admit_next(struct pollring *ring, struct pollring_event *event) {
    const struct completion *completion;
    while ((completion = first_completion(ring))) {
        if (events_reserve(ring))
            return -ENOMEM;
        if (admit(ring, completion, event))
            return 1;
    }
    return 0;
}

/* Before the completion queue goes: what is in it is queued. 0, -ENOMEM. */
int events_queue_visible(struct pollring *ring) {
    struct pollring_event event;
    int made;
    while ((made = admit_next(ring, &event)) == 1)
        events_queue(ring, &event);
    return made;
}

/* Whether admit() would make an event of it. */
static bool is_event(const struct pollring *ring, const struct completion *completion) {
    const struct pollring_poll *poll = poll_of(ring, (uint32_t)completion->user_data);
    return poll->user_data == completion->user_data && (completion->res < 0 || wanted_bits(poll, completion->res));
}

/* An event leaves for its user. */
static inline void hand_out(struct pollring *ring, struct pollring_poll *poll) {
    ring->stats.events++;
    if (unlikely(poll->state == POLL_CUT) && !poll->last_event)
        poll_set_pending(ring, poll);
}

/* ---- requests ---- */

/* Hands what is pending to the backend, without submitting it. */
static int arm(struct pollring *ring, struct pollring_poll *poll) {
    int error = unlikely(ring->host_fd >= 0) && poll->inbox ? ring_watch_for_host(ring, poll) : 0;
    if (!error)
        error = ring->backend->arm(ring, poll, poll->inbox ? poll->user_data : poll->user_data | KIND_WAKER);
    if (!error)
        poll->state = POLL_ARMED;
    return error;
}

static int update(struct pollring *ring, struct pollring_poll *poll) {
    int error = unlikely(ring->host_watches) ? ring_watch_for_host(ring, poll) : 0;
    return error ? error : ring->backend->update(ring, poll);
}

static int flush(struct pollring *ring) {
    if (unlikely(ring->waker_pending)) {
        int error = arm(ring, poll_of(ring, 0));
        if (error)
            return error;
        ring->waker_pending = false;
    }
    while (ring->first_pending) {
        struct pollring_poll *poll = poll_of(ring, ring->first_pending);
        int error = poll->state == POLL_PENDING ? arm(ring, poll) : update(ring, poll);
        if (error)
            return error;
        poll->marks &= (uint8_t)~MARK_UPDATE;
        poll_unlist(ring, poll);
    }
    return 0;
}

/* Submits what is queued and returns when it has taken effect. Kernel rule: with DEFER_TASKRUN a cancelled poll holds
   its file until an enter has run the work that the cancel left. */
int events_reach_kernel(struct pollring *ring) {
    int error = 0;
    while ((!error || error == -EINTR) && (ring->unsubmitted || task_flag_is_set(ring)))
        error = ring->backend->enter(ring, 0, NULL);
    return error == -EINTR ? 0 : error;
}

int pollring_submit(struct pollring *ring) {
    int error = ring_check_to_enter(ring);
    if (error)
        return error;
    error = flush(ring);
    if (!error && ring->unsubmitted)
        error = ring->backend->submit(ring);
    ring->interrupted = false;
    ring_settle_host(ring);
    return error;
}

/* ---- collecting ---- */

/* Who is waited for: a poll, or an inbox, or anybody. */
struct target {
    struct pollring_inbox *inbox;
    struct pollring_poll *poll;
};

static hot_inline bool is_for(struct target target, const struct pollring_poll *poll) {
    return target.poll ? poll == target.poll : !target.inbox || poll->inbox == target.inbox;
}

/* Whether the target needs no look at the completion queue. */
static bool is_served(const struct pollring *ring, struct target target) {
    if (target.poll)
        return target.poll->last_event || !poll_is_active(target.poll);
    return target.inbox ? target.inbox->first : ring->queued;
}

/* Whether an event for the target is there. Queues those of others that stand before it. 1, 0, -ENOMEM. */
static int is_ready(struct pollring *ring, struct target target) {
    const struct completion *completion;
    if (is_served(ring, target))
        return 1;
    while ((completion = first_completion(ring))) {
        struct pollring_poll *poll = poll_of(ring, (uint32_t)completion->user_data);
        struct pollring_event event;
        if (is_event(ring, completion) && is_for(target, poll))
            return 1;
        if (events_reserve(ring))
            return -ENOMEM;
        if (!admit(ring, completion, &event))
            continue;
        events_queue(ring, &event);
        if (is_served(ring, target)) /* an end says something without a bit that is asked for */
            return 1;
    }
    return 0;
}

static bool is_timeout(const struct timespec *timeout) {
    return !timeout || (timeout->tv_sec >= 0 && timeout->tv_nsec >= 0 && timeout->tv_nsec < 1000000000);
}

/* Their polls come into the cache while the kernel works: where other work has driven them out, a poll costs 15 ns. */
static void prefetch_polls(const struct pollring *ring, unsigned from, unsigned to) {
    unsigned head = atomic_load_explicit(ring->cq.head, memory_order_relaxed);
    for (; from < to; from++) {
        const struct completion *completion = &ring->cq.completions[(head + from) & ring->cq.mask];
        __builtin_prefetch(poll_of(ring, (uint32_t)completion->user_data));
    }
}

/*
 * Collects what else is pending. Kernel rule: with DEFER_TASKRUN an enter runs as many work items as it is to wait for
 * completions, but at least twenty. While there is work, one completion more than is there comes for certain, or
 * nearly: work that makes none lets this sleep for some microseconds. So each enter doubles what is there.
 */
static void complete_batch(struct pollring *ring) {
    static const struct timespec zero;
    unsigned fetched = 0, there = cq_count(ring);
    while (kernel_has_work(ring) && 2 * there + 20 < ring->cq.entries) {
        prefetch_polls(ring, fetched, there);
        fetched = there;
        if (ring->backend->enter(ring, there + 1, &zero))
            break;
        there = cq_count(ring);
        if (there == fetched) /* the flag had nothing behind it: look_without_flag() */
            break;
    }
}

static bool is_sleepy(const struct timespec *timeout) {
    return !timeout || timeout->tv_sec || timeout->tv_nsec;
}

/* Submits, and waits until an event for the target is there. Enters the kernel only where that has a point: something
   to submit, something to collect, or nothing left but to sleep. */
static int collect_whatever(struct pollring *ring, struct target target, const struct timespec *timeout) {
    bool sleepy = is_sleepy(timeout), look = ring->cq.blind;
    struct patience patience = {.timeout = timeout};
    int found, error = 0;

    if (ring->limbo)
        polls_reuse_freed(ring);
    for (;;) {
        if (unlikely(atomic_load_explicit(&ring->freed_elsewhere, memory_order_acquire)))
            polls_free_elsewhere(ring);
        found = is_ready(ring, target);
        if (found < 0)
            return found;
        /* After the look, which makes polls pending: the waker after an overflow, an update that was lost. Sleeping on
           those would be for ever. What is refused stays pending; an enter may help. */
        int refused = ring->first_pending || ring->waker_pending ? flush(ring) : 0;
        bool stay_awake = found || error || refused || ring->woken || !sleepy;
        /* A blind queue is looked at once, unless a sleep does it, or a batch is there already, or one event will do.
         */
        bool blindly = look && stay_awake && cq_is_empty(ring) && !(found && target.poll);
        bool work = blindly || (!found && kernel_has_work(ring));
        if (stay_awake && !work && !ring->unsubmitted) {
            error = refused ? refused : error;
            break;
        }
        int entered = stay_awake || work ? ring->backend->enter(ring, 0, NULL) : wait_for_completion(ring, &patience);
        look = false;
        error = entered ? entered : error;
        if (error && error != -ETIME && error != -EINTR)
            break;
    }
    int result = found ? 0 : error ? error : -ETIME;
    ring->interrupted = false;
    if (sleepy && (!result || result == -ETIME)) /* others leave the wake-up to the next that would sleep */
        ring->woken = false;
    return result;
}

static hot_inline bool is_usual_for(struct target target, const struct pollring_poll *poll,
                                    const struct completion *completion) {
    return is_usual(poll, completion) && is_for(target, poll);
}

/* The usual collect, and all that it takes: there is nothing to send, to free or to hand out first, and the next
   completion, or the work in the kernel, makes a usual event for the target. false: that needs a closer look. */
static hot_inline bool collect_usual(struct pollring *ring, struct target target) {
    if (ring->first_pending | ring->unsubmitted | ring->limbo | ring->queued | ring->waker_pending | ring->woken |
        atomic_load_explicit(&ring->freed_elsewhere, memory_order_acquire))
        return false;
    if (cq_is_empty(ring) && (!kernel_has_work(ring) || ring->backend->enter(ring, 0, NULL)))
        return false;
    const struct completion *completion = first_completion(ring);
    return completion && is_usual_for(target, poll_of(ring, (uint32_t)completion->user_data), completion);
}

/* 0: an event for the target is there; -ETIME: timeout or woken; -EINTR; -errno. Begins a batch. */
static hot_inline int collect(struct pollring *ring, struct target target, const struct timespec *timeout) {
    int error = 0;
    if (!is_timeout(timeout))
        return -EINVAL;
    if (!collect_usual(ring, target))
        error = collect_whatever(ring, target, timeout);
    ring->batch_end = atomic_load_explicit(ring->cq.head, memory_order_relaxed) + ring->cq.entries + ring->active;
    if (!error && kernel_has_work(ring) && is_sleepy(timeout))
        complete_batch(ring);
    return error;
}

/* The hot loop: takes usual completions of one inbox, up to the first that is none. Returns how many. */
static inline unsigned take_usual(struct pollring *ring, const struct pollring_inbox *inbox,
                                  struct pollring_event *events, unsigned max) {
    const struct completion *completions = ring->cq.completions;
    struct pollring_poll *const *chunks = ring->chunks;
    unsigned head = atomic_load_explicit(ring->cq.head, memory_order_relaxed), mask = ring->cq.mask;
    unsigned there = atomic_load_explicit(ring->cq.tail, memory_order_acquire) - head;
    unsigned last = head + (there < max ? there : max), first = head;
    for (; head != last; head++, events++) {
        const struct completion *completion = &completions[head & mask];
        uint32_t slot = (uint32_t)completion->user_data;
        struct pollring_poll *poll = &chunks[slot / POLLS_PER_CHUNK][slot % POLLS_PER_CHUNK];
        if (!is_usual(poll, completion) || poll->inbox != inbox)
            break;
        *events = (struct pollring_event){poll, poll->owner, completion->res, true};
    }
    atomic_store_explicit(ring->cq.head, head, memory_order_release);
    ring->stats.events += head - first;
    return head - first;
}

/* As take_usual(), for one. */
static hot_inline bool take_usual_one(struct pollring *ring, struct target target, struct pollring_event *event) {
    const struct completion *completion = first_completion(ring);
    if (!completion)
        return false;
    struct pollring_poll *poll = poll_of(ring, (uint32_t)completion->user_data);
    if (!is_usual_for(target, poll, completion))
        return false;
    *event = (struct pollring_event){poll, poll->owner, completion->res, true};
    consume(ring);
    ring->stats.events++;
    return true;
}

/* Takes one event of an inbox from the completion queue, whatever it is, and then from what is left in the kernel. */
static int take_any(struct pollring *ring, struct pollring_inbox *inbox, struct pollring_event *event) {
    for (;;) {
        int made = admit_next(ring, event);
        if (made < 0)
            return made;
        if (!made) {
            unsigned head = atomic_load_explicit(ring->cq.head, memory_order_relaxed);
            if (!kernel_has_work(ring) || (int)(ring->batch_end - head) <= 0)
                return 0;
            int error = ring->backend->enter(ring, 0, NULL);
            if (error && error != -EINTR)
                return error;
        } else if (event->poll->inbox == inbox) {
            hand_out(ring, event->poll);
            return 1;
        } else {
            events_queue(ring, event);
        }
    }
}

/* Takes some events of an inbox, what is queued first. Returns how many; 0: the batch has ended; -errno. */
static hot_inline int take(struct pollring *ring, struct pollring_inbox *inbox, struct pollring_event *events,
                           unsigned max) {
    if (unlikely(atomic_load_explicit(&ring->freed_elsewhere, memory_order_acquire)))
        polls_free_elsewhere(ring);
    if (unlikely(inbox->first)) {
        struct pollring_poll *poll = poll_of(ring, ring->nodes[inbox->first].poll);
        events_unqueue(ring, poll, events);
        hand_out(ring, poll);
        return 1;
    }
    unsigned count = take_usual(ring, inbox, events, max);
    return likely(count) ? (int)count : take_any(ring, inbox, events);
}

/* As take(), from one poll: 1, or 0 where it has none in the queue and the completion queue. */
static int take_of(struct pollring *ring, struct pollring_poll *poll, struct pollring_event *event) {
    int made;
    if (poll->last_event) {
        events_unqueue(ring, poll, event);
        hand_out(ring, poll);
        return 1;
    }
    if (likely(take_usual_one(ring, (struct target){.poll = poll}, event)))
        return 1;
    while ((made = admit_next(ring, event)) == 1) {
        if (event->poll == poll) {
            hand_out(ring, poll);
            return 1;
        }
        events_queue(ring, event);
    }
    return made;
}

/* After a batch: the cancels of polls that ended by hangup go out, so that closing their files has its effect. */
static int finish_batch(struct pollring *ring) {
    int error = ring->unsubmitted ? events_reach_kernel(ring) : 0;
    ring_settle_host(ring);
    return error;
}

/* Takes what is there, up to max events. Returns how many; 0: the batch has ended; -errno. */
static hot_inline int take_many(struct pollring *ring, struct pollring_inbox *inbox, struct pollring_event *events,
                                unsigned max) {
    unsigned count = 0;
    int taken = 0;
    while (count < max && (taken = take(ring, inbox, &events[count], max - count)) > 0) {
        count += (unsigned)taken;
        if (cq_is_empty(ring) && !inbox->first && !kernel_has_work(ring))
            break;
    }
    return count ? (int)count : taken;
}

static bool is_room(const struct pollring_event *events, unsigned max) {
    return events && max && max <= INT32_MAX;
}

int pollring_wait(struct pollring *ring, struct pollring_event *events, unsigned max, const struct timespec *timeout) {
    int count = ring_check_to_enter(ring);
    if (count)
        return count;
    if (!is_room(events, max))
        return -EINVAL;
    count = collect(ring, (struct target){.inbox = &ring->inbox}, timeout);
    if (!count)
        count = take_many(ring, &ring->inbox, events, max);
    finish_batch(ring);
    return count == -ETIME ? 0 : count;
}

int pollring_take_many(struct pollring *ring, struct pollring_inbox *inbox, struct pollring_event *events,
                       unsigned max) {
    int count = ring_check_to_enter(ring);
    if (count)
        return count;
    if (!is_room(events, max) || (inbox && inbox->ring != ring))
        return -EINVAL;
    count = take_many(ring, inbox ? inbox : &ring->inbox, events, max);
    if (count >= 0 && (unsigned)count < max) {
        int error = finish_batch(ring);
        count = count ? count : error;
    }
    return count;
}

static __attribute__((noinline)) int take_slowly(struct pollring *ring, struct pollring_inbox *inbox,
                                                 struct pollring_event *event) {
    int error = ring_check_to_enter(ring);
    if (error)
        return error;
    if (!event || (inbox && inbox->ring != ring))
        return -EINVAL;
    int taken = take(ring, inbox ? inbox : &ring->inbox, event, 1);
    return taken ? taken : finish_batch(ring);
}

/* The usual one without a call, which would have registers saved. */
int pollring_take(struct pollring *ring, struct pollring_inbox *inbox, struct pollring_event *event) {
    struct pollring_inbox *from = inbox ? inbox : &ring->inbox;
    pid_t owner = ring->guard->owner;
    if (likely(owner && owner == this_thread_cache && event && from->ring == ring && !from->first) &&
        !atomic_load_explicit(&ring->freed_elsewhere, memory_order_acquire) &&
        likely(take_usual_one(ring, (struct target){.inbox = from}, event)))
        return 1;
    return take_slowly(ring, inbox, event);
}

static int collect_to_take(struct pollring *ring, struct pollring_inbox *inbox, const struct timespec *timeout) {
    int error = ring_check_to_enter(ring);
    if (error)
        return error;
    error = collect(ring, (struct target){.inbox = inbox}, timeout);
    ring_settle_host(ring);
    return error == -ETIME ? 0 : error;
}

int pollring_collect(struct pollring *ring, const struct timespec *timeout) {
    return collect_to_take(ring, NULL, timeout);
}

int pollring_inbox_collect(struct pollring *ring, struct pollring_inbox *inbox, const struct timespec *timeout) {
    return collect_to_take(ring, inbox ? inbox : &ring->inbox, timeout);
}

int pollring_next(struct pollring_poll *poll, struct pollring_event *event, const struct timespec *timeout) {
    struct pollring *ring = poll->ring;
    int error = ring_check_to_enter(ring);
    if (error)
        return error == -ESHUTDOWN ? 0 : error;
    error = collect(ring, (struct target){.poll = poll}, timeout);
    int taken = error ? error : take_of(ring, poll, event);
    finish_batch(ring);
    bool removed = taken == 1 && event->result == -ECANCELED && !event->more;
    return removed ? 0 : taken;
}

/* ---- inboxes ---- */

struct pollring_inbox *pollring_inbox_open(struct pollring *ring) {
    struct pollring_inbox *inbox = ring_check(ring) ? NULL : calloc(1, sizeof *inbox);
    if (!inbox)
        return NULL;
    inbox->ring = ring;
    atomic_fetch_add_explicit(&ring->references, 1, memory_order_relaxed);
    return inbox;
}

void pollring_inbox_close(struct pollring_inbox *inbox) {
    if (!inbox)
        return;
    struct pollring *ring = inbox->ring;
    int error = ring_check(ring);
    if (error == -EEXIST) /* leaking it is better than polls that point nowhere */
        return;
    if (!error) {
        polls_end(ring, inbox);
        finish_batch(ring);
    }
    free(inbox);
    ring_unreference(ring);
}
