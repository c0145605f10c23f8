/*
 * A libFuzzer target: each input is a list of calls of the C API, a byte for the call and some for its arguments, on a
 * few rings, inboxes, polls and files. The files are written to, hung up, closed and opened again under the same
 * numbers; rings are closed before and after their polls. What comes back is checked: an event is of a poll that lives,
 * an ended poll has a reason, in the end each file that can be read is reported. ASan and UBSan watch the rest.
 *
 * One thread only; nothing sleeps.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pollring.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RINGS = 3, INBOXES = 4, POLLS = 24, FILES = 6, MAX_CALLS = 400, MAX_BATCH = 16, ENOUGH = 500 };

static const struct timespec no_time;

/* ---- what the calls act on; each may be missing ---- */

struct file {
    int near, far;       /* -1: closed */
    unsigned generation; /* counts how often it was opened */
};

struct poll {
    struct pollring_poll *poll; /* NULL: not added, or freed */
    struct pollring *ring;      /* NULL: closed */
    int fd;
    const struct file *file; /* whose near end fd was when it was armed last, NULL: none's */
    unsigned generation;     /* of the file */
    unsigned seen;           /* events */
};

struct inbox {
    struct pollring_inbox *inbox;
    struct pollring *ring; /* NULL: closed */
};

static struct pollring *rings[RINGS];
static struct inbox inboxes[INBOXES];
static struct poll polls[POLLS];
static struct file files[FILES];

/* ---- the input ---- */

static const uint8_t *input;
static size_t input_left;

static unsigned next_byte(void) {
    if (!input_left)
        return 0;
    input_left--;
    return *input++;
}

static uint32_t next_word(void) {
    uint32_t word = 0;
    for (int i = 0; i < 4; i++)
        word = word << 8 | next_byte();
    return word;
}

/* Mostly bits that exist, and what is there to be refused. */
static uint32_t next_mask(void) {
    static const uint32_t masks[] = {POLLIN, POLLIN, POLLOUT, POLLIN | POLLOUT, POLLRDHUP | POLLIN, POLLPRI, 0};
    unsigned byte = next_byte();
    return byte < 0xf0 ? masks[byte % (sizeof masks / sizeof *masks)] : next_word();
}

static int next_fd(void) {
    unsigned byte = next_byte();
    const struct file *file = &files[byte % FILES];
    return byte < 0xf0 ? byte & 0x40 ? file->far : file->near : (int)next_word();
}

/* ---- invariants ---- */

static void require(bool holds, const char *what, int line) {
    if (holds)
        return;
    fprintf(stderr, "fuzz_calls.c:%d: not so: %s\n", line, what);
    abort();
}

#define REQUIRE(condition) require(condition, #condition, __LINE__)

/* What any call may say of itself. */
static void check_status(int status) {
    REQUIRE(status >= 0 || status == -EINVAL || status == -EBADF || status == -ELOOP || status == -EALREADY ||
            status == -ENOENT || status == -ESHUTDOWN || status == -ETIME || status == -EINTR);
}

static void check_poll(const struct poll *poll) {
    bool active = pollring_poll_active(poll->poll);
    int reason = pollring_poll_end_reason(poll->poll);
    REQUIRE(active == (reason == POLLRING_END_NONE));
    REQUIRE(poll->ring || !active);
    REQUIRE(reason >= POLLRING_END_NONE && reason <= POLLRING_END_CLOSED);
    REQUIRE(pollring_poll_fd(poll->poll) == poll->fd);
    REQUIRE(pollring_poll_owner(poll->poll) == poll);
}

static void check_event(const struct pollring *ring, const struct pollring_event *event) {
    struct poll *poll = event->owner;
    REQUIRE(poll >= polls && poll < polls + POLLS);
    REQUIRE(poll->poll == event->poll && poll->ring == ring);
    REQUIRE(event->result != 0 || !event->more); /* an end may have no bits */
    REQUIRE(event->result >= 0 || !event->more);
    check_poll(poll);
    poll->seen++;
}

static void check_ring(const struct pollring *ring) {
    struct pollring_stats stats;
    unsigned active = 0;
    for (const struct poll *poll = polls; poll < polls + POLLS; poll++)
        active += poll->poll && poll->ring == ring && pollring_poll_active(poll->poll);
    pollring_stats(ring, &stats);
    REQUIRE(stats.active == active && pollring_active(ring) == active);
    REQUIRE(pollring_check(ring) == 0);
}

/* ---- calls ---- */

static void open_ring(void) {
    static const unsigned set_ups[] = {0, POLLRING_SETUP_DEFER_TASKRUN, POLLRING_SETUP_COOP_TASKRUN,
                                       POLLRING_SETUP_PLAIN};
    struct pollring **ring = &rings[next_byte() % RINGS];
    unsigned bits = next_byte();
    struct pollring_options options = {.entries = 1 + bits % 4,
                                       .cq_entries = bits & 4 ? 4 : 0,
                                       .flags = set_ups[bits >> 3 & 3] | (bits & 0x20 ? POLLRING_SEALED : 0) |
                                                (bits & 0x40 ? POLLRING_PINNED : 0)};
    if (bits & 0x80)
        options.flags = next_word();
    if (*ring)
        return;
    struct pollring *opened = NULL;
    int error = pollring_open(&opened, &options);
    REQUIRE(error ? error == -EINVAL && !opened : opened != NULL);
    *ring = opened;
}

static void close_ring(struct pollring **ring) {
    if (!*ring)
        return;
    for (struct poll *poll = polls; poll < polls + POLLS; poll++)
        if (poll->ring == *ring)
            poll->ring = NULL;
    for (struct inbox *inbox = inboxes; inbox < inboxes + INBOXES; inbox++)
        if (inbox->ring == *ring)
            inbox->ring = NULL;
    pollring_close(*ring);
    *ring = NULL;
    for (struct poll *poll = polls; poll < polls + POLLS; poll++)
        if (poll->poll)
            check_poll(poll);
}

static void open_inbox(struct pollring *ring) {
    struct inbox *inbox = &inboxes[next_byte() % INBOXES];
    if (ring && !inbox->inbox)
        *inbox = (struct inbox){pollring_inbox_open(ring), ring};
}

static void close_inbox(struct inbox *inbox) {
    pollring_inbox_close(inbox->inbox);
    *inbox = (struct inbox){0};
}

static void note_file(struct poll *poll) {
    poll->file = NULL;
    for (const struct file *file = files; file < files + FILES; file++)
        if (poll->fd >= 0 && file->near == poll->fd) {
            poll->file = file;
            poll->generation = file->generation;
        }
}

static void add(struct pollring *ring) {
    struct poll *poll = &polls[next_byte() % POLLS];
    struct inbox *inbox = &inboxes[next_byte() % INBOXES];
    unsigned flags = next_byte() & 7;
    uint32_t events = next_mask();
    int fd = next_fd(), error;
    bool to_inbox = inbox->inbox && inbox->ring == ring && flags & 1;
    if (poll->poll || !ring)
        return;
    struct pollring_poll *added = NULL;
    error = to_inbox ? pollring_poll_add_to(inbox->inbox, &added, fd, events, flags, poll)
                     : pollring_poll_add(ring, &added, fd, events, flags, poll);
    check_status(error);
    REQUIRE(!error == (added != NULL));
    *poll = (struct poll){.poll = added, .ring = error ? NULL : ring, .fd = fd};
    note_file(poll);
}

static void free_poll(struct poll *poll) {
    pollring_poll_free(poll->poll);
    *poll = (struct poll){0};
}

static void ask_poll(struct poll *poll) {
    struct pollring_event event;
    unsigned what = next_byte() % 5;
    uint32_t mask = next_mask();
    if (!poll->poll)
        return;
    bool active = pollring_poll_active(poll->poll);
    int status = what == 0   ? pollring_poll_arm(poll->poll)
                 : what == 1 ? pollring_poll_update(poll->poll, mask)
                 : what == 2 ? pollring_poll_recheck(poll->poll)
                 : what == 3 ? pollring_poll_remove(poll->poll)
                             : pollring_next(poll->poll, &event, &no_time);
    check_status(status);
    if (what == 0 && poll->ring)
        REQUIRE(status == (active ? -EALREADY : 0));
    if (what == 0 && !status)
        note_file(poll);
    if (what == 3)
        REQUIRE(!status && !pollring_poll_active(poll->poll));
    if (what == 4 && status == 1)
        check_event(poll->ring, &event);
    check_poll(poll);
}

static void remove_fd(struct pollring *ring) {
    int fd = next_fd(), status = ring ? pollring_remove_fd(ring, fd) : 0;
    check_status(status);
    for (const struct poll *poll = polls; status >= 0 && poll < polls + POLLS; poll++)
        REQUIRE(!ring || !poll->poll || poll->ring != ring || poll->fd != fd || !pollring_poll_active(poll->poll));
}

static int wait(struct pollring *ring) {
    struct pollring_event events[MAX_BATCH];
    int count = pollring_wait(ring, events, 1 + next_byte() % MAX_BATCH, &no_time);
    check_status(count);
    for (int i = 0; i < count; i++)
        check_event(ring, &events[i]);
    return count;
}

static int take(struct pollring *ring, struct pollring_inbox *inbox) {
    struct pollring_event event;
    int taken = pollring_take(ring, inbox, &event);
    check_status(taken);
    REQUIRE(taken <= 1);
    if (taken == 1)
        check_event(ring, &event);
    return taken;
}

static void collect(struct pollring *ring) {
    struct inbox *inbox = &inboxes[next_byte() % INBOXES];
    unsigned what = next_byte() % 5;
    if (!ring)
        return;
    if (what == 0)
        wait(ring);
    else if (what == 1)
        take(ring, NULL);
    else if (what == 2)
        check_status(pollring_collect(ring, &no_time));
    else if (what == 3 && inbox->inbox)
        check_status(pollring_inbox_collect(ring, inbox->ring == ring ? inbox->inbox : NULL, &no_time));
    else if (inbox->inbox && inbox->ring) /* of another ring: refused */
        take(ring, inbox->inbox);
}

static void ask_ring(struct pollring *ring) {
    unsigned what = next_byte() % 4;
    if (!ring)
        return;
    check_status(what == 0   ? pollring_submit(ring)
                 : what == 1 ? pollring_wake(ring)
                 : what == 2 ? pollring_adopt(ring)
                             : 0);
    (void)pollring_pending(ring);
}

/* ---- files ---- */

static void close_end(int *fd) {
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void open_file(struct file *file) {
    int ends[2] = {-1, -1};
    unsigned kind = next_byte() % 4;
    if (file->near >= 0 || file->far >= 0)
        return;
    if (kind == 0)
        (void)!pipe2(ends, O_NONBLOCK | O_CLOEXEC);
    else if (kind == 1)
        (void)!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends);
    else if (kind == 2)
        ends[0] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    else
        ends[0] = open("/dev/null", O_RDWR | O_CLOEXEC);
    *file = (struct file){ends[0], ends[1], file->generation + 1};
}

static void use_file(struct file *file) {
    uint64_t bytes = 1;
    unsigned what = next_byte() % 5;
    if (what == 0)
        open_file(file);
    else if (what == 1)
        (void)!write(file->far >= 0 ? file->far : file->near, &bytes, sizeof bytes);
    else if (what == 2)
        (void)!read(file->near, &bytes, sizeof bytes);
    else
        close_end(what == 3 ? &file->near : &file->far);
}

/* ---- one input ---- */

static void make_call(void) {
    unsigned what = next_byte() % 16;
    struct pollring **ring = &rings[what < 12 ? next_byte() % RINGS : 0];
    if (what < 3)
        add(*ring);
    else if (what < 6)
        collect(*ring);
    else if (what < 7)
        ask_ring(*ring);
    else if (what < 8)
        remove_fd(*ring);
    else if (what < 9)
        open_ring();
    else if (what < 10)
        next_byte() & 3 ? open_inbox(*ring) : close_ring(ring);
    else if (what < 12)
        free_poll(&polls[next_byte() % POLLS]);
    else if (what < 13)
        ask_poll(&polls[next_byte() % POLLS]);
    else if (what < 14 && !(next_byte() & 7))
        close_inbox(&inboxes[next_byte() % INBOXES]);
    else
        use_file(&files[next_byte() % FILES]);
}

/* For long enough: more polls of files that nobody reads than the completion queue holds never end. */
static void drain(struct pollring *ring) {
    for (int i = 0; i < ENOUGH && wait(ring) > 0; i++)
        ;
    for (struct inbox *inbox = inboxes; inbox < inboxes + INBOXES; inbox++)
        for (int i = 0; i < ENOUGH && inbox->inbox && inbox->ring == ring && take(ring, inbox->inbox) > 0; i++)
            ;
}

static short poll_now(struct pollfd *state) {
    return poll(state, 1, 0) == 1 ? state->revents : 0;
}

/* Whether a look at the file has to make an event. One that was opened again is another. */
static bool must_report(const struct poll *poll, const struct pollring *ring) {
    struct pollfd state = {.fd = poll->fd, .events = POLLIN};
    return poll->poll && poll->ring == ring && pollring_poll_active(poll->poll) && poll->file &&
           poll->file->near == poll->fd && poll->file->generation == poll->generation &&
           (pollring_poll_events(poll->poll) & (POLLIN | EPOLLEXCLUSIVE)) == POLLIN && poll_now(&state) & POLLIN;
}

static void recheck_all(struct pollring *ring) {
    bool expected[POLLS];
    drain(ring);
    for (int i = 0; i < POLLS; i++) {
        expected[i] = must_report(&polls[i], ring);
        polls[i].seen = 0;
        if (expected[i])
            REQUIRE(pollring_poll_recheck(polls[i].poll) == 0);
    }
    drain(ring);
    for (int i = 0; i < POLLS; i++)
        REQUIRE(!expected[i] || polls[i].seen);
}

static void tear_down(void) {
    bool rings_first = next_byte() & 1;
    for (int i = 0; i < RINGS; i++) {
        if (rings[i])
            recheck_all(rings[i]);
        if (rings_first)
            close_ring(&rings[i]);
    }
    for (int i = 0; i < POLLS; i++)
        free_poll(&polls[i]);
    for (int i = 0; i < INBOXES; i++)
        close_inbox(&inboxes[i]);
    for (int i = 0; i < RINGS; i++)
        close_ring(&rings[i]);
    for (int i = 0; i < FILES; i++) {
        close_end(&files[i].near);
        close_end(&files[i].far);
    }
}

int LLVMFuzzerInitialize(int *count, char ***arguments);
int LLVMFuzzerInitialize(int *count, char ***arguments) {
    (void)count, (void)arguments;
    signal(SIGPIPE, SIG_IGN); /* pipes are written to without a reader */
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    input = data;
    input_left = size;
    for (int i = 0; i < FILES; i++)
        files[i] = (struct file){.near = -1, .far = -1};
    int lowest = dup(STDERR_FILENO);
    close(lowest);
    open_file(&files[0]);
    open_file(&files[1]);
    open_ring();
    for (int i = 0; input_left && i < MAX_CALLS; i++) {
        make_call();
        for (int j = 0; j < RINGS; j++)
            if (rings[j])
                check_ring(rings[j]);
    }
    tear_down();
    int after = dup(STDERR_FILENO);
    close(after);
    REQUIRE(after == lowest); /* no fd was left open */
    return 0;
}
