/*
 * Polls: where they are kept, and what a user may ask of one. Nothing here enters the kernel but removal, which
 * promises that it has arrived; the rest puts the poll on the pending list, which the next flush (event.c) sends.
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>

#define POLL_BITS 0x3fffu /* POLLIN to POLLRDHUP */
#define POLL_FLAGS (POLLRING_ONESHOT | POLLRING_NO_REARM | POLLRING_KEEP_HANGUP)
#define CANCELS_AT_ONCE 64       /* before their work is run */
#define NO_MORE_FREES UINT32_MAX /* in freed_elsewhere: the ring was closed */

/* ---- memory: chunks that never move, found by slot; chains by fd ---- */

static void link_fd(struct pollring *ring, struct pollring_poll *poll) {
    uint32_t *chain = polls_of_fd(ring, poll->fd);
    poll->next_of_fd = *chain;
    *chain = slot_of(poll);
}

static void unlink_fd(struct pollring *ring, struct pollring_poll *poll) {
    uint32_t *link = polls_of_fd(ring, poll->fd);
    while (*link != slot_of(poll))
        link = &poll_of(ring, *link)->next_of_fd;
    *link = poll->next_of_fd;
}

static int grow_chains(struct pollring *ring, uint32_t size) {
    uint32_t *chains = calloc(size, sizeof *chains);
    if (!chains)
        return -ENOMEM;
    free(ring->by_fd);
    ring->by_fd = chains;
    ring->by_fd_mask = size - 1;
    for (uint32_t slot = 1; slot < ring->slots; slot++)
        if (poll_of(ring, slot)->inbox)
            link_fd(ring, poll_of(ring, slot));
    return 0;
}

static int add_chunk(struct pollring *ring) {
    uint32_t count = ring->chunk_count + 1, chains = ring->by_fd ? ring->by_fd_mask + 1 : POLLS_PER_CHUNK;
    struct pollring_poll **chunks = realloc(ring->chunks, count * sizeof *chunks);
    if (!chunks)
        return -ENOMEM;
    ring->chunks = chunks;
    if (!ring->by_fd || chains < count * POLLS_PER_CHUNK) {
        int error = grow_chains(ring, ring->by_fd ? 2 * chains : chains);
        if (error)
            return error;
    }
    struct pollring_poll *chunk = aligned_alloc(64, POLLS_PER_CHUNK * sizeof *chunk);
    if (!chunk)
        return -ENOMEM;
    ring->chunks[ring->chunk_count++] = chunk;
    return 0;
}

/* A slot that nobody uses, its generation kept: completions of its earlier life must not match. */
static int new_slot(struct pollring *ring, struct pollring_poll **poll) {
    if (ring->free_slot) {
        *poll = poll_of(ring, ring->free_slot);
        ring->free_slot = (*poll)->next_free;
        return 0;
    }
    if (ring->slots == ring->chunk_count * POLLS_PER_CHUNK) {
        int error = add_chunk(ring);
        if (error)
            return error;
    }
    *poll = poll_of(ring, ring->slots);
    (*poll)->user_data = ring->slots++;
    return 0;
}

/* Slot 0 is the waker: a poll of the ring's own on wake_fd, in no inbox and on no list. */
int polls_open(struct pollring *ring) {
    struct pollring_poll *waker;
    int error = new_slot(ring, &waker);
    if (error)
        return error;
    ring->waker_pending = true;
    *waker = (struct pollring_poll){
        .ring = ring, .fd = ring->wake_fd, .events = POLLIN, .state = POLL_PENDING, .marks = MARK_POLLABLE};
    return 0;
}

void polls_free(struct pollring *ring) {
    for (uint32_t i = 0; i < ring->chunk_count; i++)
        free(ring->chunks[i]);
    free(ring->chunks);
    free(ring->by_fd);
}

/* ---- the pending list ---- */

static void poll_list(struct pollring *ring, struct pollring_poll *poll) {
    if (poll->marks & MARK_LISTED)
        return;
    poll->marks |= MARK_LISTED;
    poll->previous_pending = ring->last_pending;
    poll->next_pending = 0;
    if (ring->last_pending)
        poll_of(ring, ring->last_pending)->next_pending = slot_of(poll);
    else
        ring->first_pending = slot_of(poll);
    ring->last_pending = slot_of(poll);
    ring_signal_host(ring);
}

void poll_unlist(struct pollring *ring, struct pollring_poll *poll) {
    if (!(poll->marks & MARK_LISTED))
        return;
    poll->marks &= (uint8_t)~MARK_LISTED;
    if (poll->previous_pending)
        poll_of(ring, poll->previous_pending)->next_pending = poll->next_pending;
    else
        ring->first_pending = poll->next_pending;
    if (poll->next_pending)
        poll_of(ring, poll->next_pending)->previous_pending = poll->previous_pending;
    else
        ring->last_pending = poll->previous_pending;
}

/* ---- a poll's life ---- */

/* From here on completions of the request that was armed are nobody's. */
void poll_next_generation(struct pollring_poll *poll) {
    /* Atomic for other threads that free the poll: they look up its slot here, which stays. */
    __atomic_store_n(&poll->user_data, (poll->user_data + GENERATION_ONE) & ~KIND_MASK, __ATOMIC_RELAXED);
}

void poll_set_pending(struct pollring *ring, struct pollring_poll *poll) {
    poll->state = POLL_PENDING;
    poll->marks &= (uint8_t)~MARK_UPDATE;
    poll_next_generation(poll);
    if (poll->inbox)
        poll_list(ring, poll);
    else
        ring->waker_pending = true;
}

void poll_end(struct pollring *ring, struct pollring_poll *poll, int reason) {
    poll_unlist(ring, poll);
    poll_next_generation(poll);
    poll->marks &= (uint8_t)~MARK_UPDATE;
    poll->state = POLL_ENDED;
    poll->end_reason = (uint8_t)reason;
    ring->active--;
    if (unlikely(ring->host_watches))
        ring_unwatch_for_host(ring, poll);
}

/* Ends an active poll whose events nobody wants any more. The cancel is queued, not sent. -ENOMEM: where there is no
   memory for that either, the poll has ended all the same, and its file is held until the ring closes. */
static int poll_stop(struct pollring *ring, struct pollring_poll *poll, int reason) {
    int error = poll->state == POLL_ARMED ? ring->backend->cancel(ring, poll) : 0;
    events_drop(ring, poll);
    poll_end(ring, poll, reason);
    return error;
}

static void poll_activate(struct pollring *ring, struct pollring_poll *poll) {
    poll->end_reason = POLLRING_END_NONE;
    poll->marks &= (uint8_t)~MARK_POLLABLE; /* the number may name another file by now */
    ring->active++;
    poll_set_pending(ring, poll);
}

static int add_check(const struct pollring *ring, int fd, uint32_t events, unsigned flags) {
    int error = ring_check(ring);
    if (error)
        return error;
    if (events & ~(POLL_BITS | EPOLLEXCLUSIVE) || flags & ~POLL_FLAGS)
        return -EINVAL;
    if (fd < 0)
        return -EBADF;
    if (fd == ring->wake_fd || fd == ring->host_fd || fd == ring->host_event_fd || ring->backend->owns(ring, fd))
        return -ELOOP;
    return 0;
}

int pollring_poll_add_to(struct pollring_inbox *inbox, struct pollring_poll **poll, int fd, uint32_t events,
                         unsigned flags, void *owner) {
    struct pollring *ring = inbox->ring;
    struct pollring_poll *added;
    int error = add_check(ring, fd, events, flags);
    if (!error)
        error = new_slot(ring, &added);
    if (error)
        return error;
    *added = (struct pollring_poll){.ring = ring,
                                    .inbox = inbox,
                                    .owner = owner,
                                    .user_data = added->user_data,
                                    .fd = fd,
                                    .events = events,
                                    .flags = (uint8_t)flags};
    link_fd(ring, added);
    atomic_fetch_add_explicit(&ring->references, 1, memory_order_relaxed);
    poll_activate(ring, added);
    *poll = added;
    return 0;
}

int pollring_poll_add(struct pollring *ring, struct pollring_poll **poll, int fd, uint32_t events, unsigned flags,
                      void *owner) {
    return pollring_poll_add_to(&ring->inbox, poll, fd, events, flags, owner);
}

int pollring_poll_arm(struct pollring_poll *poll) {
    int error = ring_check(poll->ring);
    if (error)
        return error;
    if (poll_is_active(poll))
        return -EALREADY;
    poll_activate(poll->ring, poll);
    return 0;
}

static void poll_set_update(struct pollring *ring, struct pollring_poll *poll) {
    poll->marks |= MARK_UPDATE;
    poll_list(ring, poll);
}

int pollring_poll_update(struct pollring_poll *poll, uint32_t events) {
    int error = ring_check(poll->ring);
    if (error)
        return error;
    if (events & ~(POLL_BITS | (poll->events & EPOLLEXCLUSIVE)))
        return -EINVAL;
    if (!poll_is_active(poll))
        return -ENOENT;
    poll->events = events | (poll->events & EPOLLEXCLUSIVE);
    events_narrow(poll->ring, poll);
    if (poll->state == POLL_ARMED) /* otherwise arming will take the new ones along */
        poll_set_update(poll->ring, poll);
    return 0;
}

/* Kernel rule: updating an armed poll looks at the file again, and posts if it is ready. */
int pollring_poll_recheck(struct pollring_poll *poll) {
    return pollring_poll_update(poll, poll->events);
}

/* Completions were lost, and nobody knows whose: all look at their files again. For one that has ended with the loss
   the answer is -ENOENT, and event.c arms it anew. */
void polls_recheck(struct pollring *ring) {
    struct pollring_poll *waker = poll_of(ring, 0);
    for (uint32_t slot = 1; slot < ring->slots; slot++)
        if (poll_of(ring, slot)->state == POLL_ARMED)
            poll_set_update(ring, poll_of(ring, slot));
    if (waker->state == POLL_ARMED) {
        ring->backend->cancel(ring, waker);
        poll_set_pending(ring, waker);
    }
}

/* ---- removal ---- */

static int remove_one(struct pollring *ring, struct pollring_poll *poll) {
    int error = events_reserve(ring);
    if (error)
        return error;
    error = poll_stop(ring, poll, POLLRING_END_REMOVED);
    struct pollring_event event = {.poll = poll, .owner = poll->owner, .result = -ECANCELED, .more = false};
    events_queue(ring, &event);
    return error;
}

int pollring_poll_remove(struct pollring_poll *poll) {
    struct pollring *ring = poll->ring;
    int error = ring_check(ring);
    if (error)
        return error == -ESHUTDOWN ? 0 : error;
    if (poll_is_active(poll))
        error = remove_one(ring, poll);
    return error ? error : events_reach_kernel(ring);
}

/* Of one inbox, or of all. */
static int remove_fd(struct pollring *ring, const struct pollring_inbox *inbox, int fd) {
    int removed = 0, error = ring_check(ring);
    if (error)
        return error;
    if (fd < 0)
        return -EBADF;
    for (uint32_t slot = *polls_of_fd(ring, fd); slot && !error; slot = poll_of(ring, slot)->next_of_fd) {
        struct pollring_poll *poll = poll_of(ring, slot);
        if (poll->fd != fd || !poll_is_active(poll) || (inbox && poll->inbox != inbox))
            continue;
        error = remove_one(ring, poll);
        removed += !error;
    }
    int reached = events_reach_kernel(ring);
    error = error ? error : reached;
    return error ? error : removed;
}

int pollring_remove_fd(struct pollring *ring, int fd) {
    return remove_fd(ring, NULL, fd);
}

int pollring_inbox_remove_fd(struct pollring_inbox *inbox, int fd) {
    return remove_fd(inbox->ring, inbox, fd);
}

/* Gives a stopped poll's slot back; the caller's reference to the ring goes with it. */
static void release(struct pollring *ring, struct pollring_poll *poll) {
    if (poll_is_active(poll))
        poll_stop(ring, poll, POLLRING_END_REMOVED);
    events_drop(ring, poll);
    unlink_fd(ring, poll);
    poll->inbox = NULL;
    poll->next_free = ring->limbo;
    ring->limbo = slot_of(poll);
    ring_unreference(ring);
}

/* At the start of a collect: nobody's batch holds a freed poll any more. */
void polls_reuse_freed(struct pollring *ring) {
    while (ring->limbo) {
        struct pollring_poll *poll = poll_of(ring, ring->limbo);
        ring->limbo = poll->next_free;
        poll->next_free = ring->free_slot;
        ring->free_slot = slot_of(poll);
    }
}

/* Frees what other threads have freed since. */
void polls_free_elsewhere(struct pollring *ring) {
    uint32_t slot = atomic_exchange(&ring->freed_elsewhere, ring->closed ? NO_MORE_FREES : 0);
    while (slot) {
        struct pollring_poll *poll = poll_of(ring, slot);
        slot = poll->next_free;
        if (ring->guard->alive)
            release(ring, poll);
        else
            ring_unreference(ring);
    }
    if (!ring->closed && ring->unsubmitted)
        events_reach_kernel(ring);
}

static void free_elsewhere(struct pollring *ring, struct pollring_poll *poll) {
    atomic_fetch_add(&ring->pokers, 1); /* close waits for us, so that ring and wake_fd stay */
    uint32_t head = atomic_load(&ring->freed_elsewhere);
    do
        poll->next_free = head;
    while (head != NO_MORE_FREES && !atomic_compare_exchange_weak(&ring->freed_elsewhere, &head, slot_of(poll)));
    if (head != NO_MORE_FREES)
        ring_poke(ring);
    atomic_fetch_sub(&ring->pokers, 1);
    if (head == NO_MORE_FREES)
        ring_unreference(ring);
}

void pollring_poll_free(struct pollring_poll *poll) {
    if (!poll)
        return;
    struct pollring *ring = poll->ring;
    int error = ring_check(ring);
    if (error == -EEXIST) {
        free_elsewhere(ring, poll);
    } else if (error) { /* closed, or a forked child's: nothing is armed, the slot goes with the ring */
        ring_unreference(ring);
    } else {
        bool armed = poll->state == POLL_ARMED;
        release(ring, poll);
        if (armed)
            events_reach_kernel(ring);
    }
}

/* In a forked child, at the ring's end. The lists are left alone: they are copies, perhaps of the middle of a call of
   the owner's, and inboxes that they name may be gone. */
static void end_copies(struct pollring *ring) {
    for (uint32_t slot = 1; slot < ring->slots; slot++) {
        struct pollring_poll *poll = poll_of(ring, slot);
        if (poll_is_active(poll))
            poll->end_reason = POLLRING_END_CLOSED;
        poll->state = POLL_ENDED;
    }
}

/*
 * Ends all active polls of an inbox (NULL: of the ring, the waker too) and drops all their events. Kernel rule: a
 * cancel looks for its request among those that share a place in a small hash table (128 places for a completion queue
 * of 4096), the newest first, and those that are cancelled stand there until their work was run. So the newest goes
 * first, and the work is run now and then: else each of 10,000 would be the last of 80.
 */
void polls_end(struct pollring *ring, struct pollring_inbox *inbox) {
    if (!ring->guard->alive) {
        end_copies(ring);
        return;
    }
    if (!inbox && poll_of(ring, 0)->state == POLL_ARMED)
        ring->backend->cancel(ring, poll_of(ring, 0));
    for (uint32_t slot = ring->slots - 1; slot; slot--) {
        struct pollring_poll *poll = poll_of(ring, slot);
        if (!poll->inbox || (inbox && poll->inbox != inbox))
            continue;
        if (poll_is_active(poll))
            poll_stop(ring, poll, POLLRING_END_CLOSED);
        if (ring->unsubmitted >= CANCELS_AT_ONCE && !events_reach_kernel(ring))
            events_queue_visible(ring);
        events_drop(ring, poll);
        poll->inbox = &ring->inbox;
    }
}

/* ---- getters ---- */

int pollring_poll_fd(const struct pollring_poll *poll) {
    return poll->fd;
}

uint32_t pollring_poll_events(const struct pollring_poll *poll) {
    return poll->events;
}

bool pollring_poll_active(const struct pollring_poll *poll) {
    return poll_is_active(poll);
}

int pollring_poll_end_reason(const struct pollring_poll *poll) {
    return poll->end_reason;
}

void *pollring_poll_owner(const struct pollring_poll *poll) {
    return poll->owner;
}
