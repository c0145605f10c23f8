/*
 * Queues: events whose taker didn't ask yet. Each stands in two lists, its poll's and its inbox's, because either may
 * be asked next; all are in one array of the ring, in which numbers stand for pointers and 0 means none.
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>

int events_grow(struct pollring *ring) {
    uint32_t count = ring->node_count ? 2 * ring->node_count : 64;
    struct queued_event *nodes = realloc(ring->nodes, count * sizeof *nodes);
    if (!nodes)
        return -ENOMEM;
    ring->nodes = nodes;
    for (uint32_t i = ring->node_count ? ring->node_count : 1; i < count; i++) {
        nodes[i].next = ring->free_node;
        ring->free_node = i;
    }
    ring->node_count = count;
    return 0;
}

uint32_t events_count(const struct pollring *ring, const struct pollring_poll *poll) {
    if (!poll->last_event)
        return 0;
    const struct queued_event *newest = &ring->nodes[poll->last_event];
    return newest->sequence - ring->nodes[newest->next_of_poll].sequence + 1;
}

/* A poll's queue is full: the event becomes part of the one before, unless one of the two says more than a mask. */
static bool merge(struct pollring *ring, struct pollring_poll *poll, const struct pollring_event *event) {
    struct queued_event *newest = &ring->nodes[poll->last_event];
    if (events_count(ring, poll) < ring->cq.entries || !event->more || !newest->more || event->result < 0 ||
        newest->result < 0)
        return false;
    newest->result |= event->result;
    ring->stats.merged++;
    return true;
}

void events_queue(struct pollring *ring, const struct pollring_event *event) {
    struct pollring_poll *poll = event->poll;
    struct pollring_inbox *inbox = poll->inbox;
    if (poll->last_event && merge(ring, poll, event))
        return;
    uint32_t index = ring->free_node;
    struct queued_event *node = &ring->nodes[index];
    ring->free_node = node->next;
    *node = (struct queued_event){.poll = slot_of(poll),
                                  .result = event->result,
                                  .more = event->more,
                                  .next_of_poll = index,
                                  .previous = inbox->last};
    if (poll->last_event) {
        struct queued_event *newest = &ring->nodes[poll->last_event];
        node->sequence = newest->sequence + 1;
        node->next_of_poll = newest->next_of_poll;
        newest->next_of_poll = index;
    }
    poll->last_event = index;
    if (inbox->last)
        ring->nodes[inbox->last].next = index;
    else
        inbox->first = index;
    inbox->last = index;
    ring->queued++;
    ring_signal_host(ring);
}

void events_unqueue(struct pollring *ring, struct pollring_poll *poll, struct pollring_event *event) {
    struct queued_event *newest = &ring->nodes[poll->last_event];
    uint32_t index = newest->next_of_poll;
    struct queued_event *node = &ring->nodes[index];
    struct pollring_inbox *inbox = poll->inbox;
    *event = (struct pollring_event){.poll = poll, .owner = poll->owner, .result = node->result, .more = node->more};
    newest->next_of_poll = node->next_of_poll;
    if (index == poll->last_event)
        poll->last_event = 0;
    *(node->previous ? &ring->nodes[node->previous].next : &inbox->first) = node->next;
    *(node->next ? &ring->nodes[node->next].previous : &inbox->last) = node->previous;
    node->next = ring->free_node;
    ring->free_node = index;
    ring->queued--;
}

void events_drop(struct pollring *ring, struct pollring_poll *poll) {
    struct pollring_event event;
    while (poll->last_event)
        events_unqueue(ring, poll, &event);
}
