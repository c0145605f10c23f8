/*
 * The contestants of the C benchmarks: pollring in its set-ups, a plain liburing loop as liburing's examples have it,
 * epoll, poll(2), and, where they are installed, libev and libuv.
 */
#include "bench.h"
#include "pollring.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if __has_include(<ev.h>)
#define HAS_LIBEV
#pragma GCC diagnostic ignored "-Wstrict-aliasing" /* of its own header */
#include <ev.h>
#endif
#if __has_include(<uv.h>)
#define HAS_LIBUV
#include <uv.h>
#endif

struct poller_state {
    struct io_uring uring;
    struct pollring *ring;
    struct pollring_poll *polls[MOST_FILES];
    int epoll;
    unsigned count;
    struct pollfd files[MOST_FILES];
    struct pollring_event events[MOST_FILES];
    struct epoll_event epoll_events[MOST_FILES];
#ifdef HAS_LIBEV
    struct ev_loop *ev;
    struct ev_io watchers[MOST_FILES];
#endif
#ifdef HAS_LIBUV
    uv_loop_t uv;
    uv_poll_t handles[MOST_FILES];
#endif
};

/* Kernel rule: some milliseconds after a ring was closed its thread is interrupted, once, and so is who sleeps then. */
static int unless_interrupted(int count, const char *what) {
    check(count < 0 && errno == EINTR ? 0 : count, what);
    return count < 0 ? 0 : count;
}

static _Thread_local uintptr_t sink; /* what a user would do with an event: look whose it is */
#if defined(HAS_LIBEV) || defined(HAS_LIBUV)
static unsigned collected; /* by callbacks */
#endif

/* ---- pollring ---- */

static int pollring_poller_open(struct poller *self) {
    struct pollring_options options = {.flags = self->flags, .busy_poll_us = self->busy_poll_us};
    return pollring_open(&self->state->ring, &options);
}

static void pollring_poller_arm(struct poller *self, unsigned count) {
    for (unsigned i = 0; i < count; i++)
        check(pollring_poll_add(self->state->ring, &self->state->polls[i], self->fds[i], POLLIN | self->bits, 0,
                                (void *)(uintptr_t)i),
              "pollring_poll_add");
    check(pollring_submit(self->state->ring), "pollring_submit");
}

static unsigned pollring_poller_collect(struct poller *self) {
    struct pollring_event *events = self->state->events;
    int count = pollring_wait(self->state->ring, events, MOST_FILES, NULL);
    check(count == -EINTR ? 0 : count, "pollring_wait");
    for (int i = 0; i < count; i++)
        sink += (uintptr_t)events[i].owner + (unsigned)events[i].result + events[i].more;
    return count < 0 ? 0 : (unsigned)count;
}

static void pollring_poller_update(struct poller *self, unsigned count) {
    for (unsigned i = 0; i < count; i++)
        check(pollring_poll_update(self->state->polls[i], POLLIN | POLLPRI), "pollring_poll_update");
    check(pollring_submit(self->state->ring), "pollring_submit");
}

static void pollring_poller_remove(struct poller *self, unsigned count) {
    for (unsigned i = 0; i < count; i++)
        check(pollring_poll_remove(self->state->polls[i]), "pollring_poll_remove");
}

static void pollring_poller_close(struct poller *self) {
    pollring_close(self->state->ring);
}

static void pollring_poller_forget(struct poller *self, unsigned count) {
    for (unsigned i = 0; i < count; i++)
        pollring_poll_free(self->state->polls[i]);
}

static uint64_t pollring_poller_memory(const struct poller *self, unsigned count) {
    struct pollring_stats stats;
    (void)count;
    pollring_stats(self->state->ring, &stats);
    return stats.memory;
}

/* ---- plain liburing ---- */

static int uring_open(struct poller *self) {
    struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                                              IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_CQSIZE,
                                     .cq_entries = 4096};
    return io_uring_queue_init_params(256, &self->state->uring, &params);
}

static struct io_uring_sqe *uring_sqe(struct poller *self) {
    struct io_uring_sqe *sqe = io_uring_get_sqe(&self->state->uring);
    if (!sqe) {
        check(io_uring_submit(&self->state->uring), "io_uring_submit");
        sqe = io_uring_get_sqe(&self->state->uring);
    }
    return sqe;
}

static void uring_arm(struct poller *self, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        struct io_uring_sqe *sqe = uring_sqe(self);
        io_uring_prep_poll_multishot(sqe, self->fds[i], POLLIN);
        sqe->user_data = i;
    }
    check(io_uring_submit(&self->state->uring), "io_uring_submit");
}

static unsigned uring_collect(struct poller *self) {
    struct io_uring *uring = &self->state->uring;
    unsigned total = 0;
    do {
        struct io_uring_cqe *cqe;
        unsigned head, count = 0;
        int submitted = io_uring_submit_and_wait(uring, 1);
        check(submitted == -EINTR ? 0 : submitted, "io_uring_submit_and_wait");
        io_uring_for_each_cqe(uring, head, cqe) {
            sink += cqe->user_data + (unsigned)cqe->res + (cqe->flags & IORING_CQE_F_MORE);
            count++;
        }
        io_uring_cq_advance(uring, count);
        total += count;
    } while (*uring->sq.kflags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW));
    return total;
}

static void uring_update(struct poller *self, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        struct io_uring_sqe *sqe = uring_sqe(self);
        io_uring_prep_poll_update(sqe, i, 0, POLLIN | POLLPRI, IORING_POLL_UPDATE_EVENTS | IORING_POLL_ADD_MULTI);
        sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    }
    check(io_uring_submit(&self->state->uring), "io_uring_submit");
}

static void uring_close(struct poller *self) {
    io_uring_queue_exit(&self->state->uring);
}

/* ---- epoll ---- */

static int epoll_open(struct poller *self) {
    return self->state->epoll = epoll_create1(EPOLL_CLOEXEC);
}

static void epoll_control(struct poller *self, int operation, unsigned count, uint32_t events) {
    for (unsigned i = 0; i < count; i++) {
        struct epoll_event event = {.events = events | self->bits, .data.u64 = i};
        check(epoll_ctl(self->state->epoll, operation, self->fds[i], &event), "epoll_ctl");
    }
}

static void epoll_arm(struct poller *self, unsigned count) {
    epoll_control(self, EPOLL_CTL_ADD, count, EPOLLIN);
}

static unsigned epoll_collect(struct poller *self) {
    struct epoll_event *events = self->state->epoll_events;
    int count = unless_interrupted(epoll_wait(self->state->epoll, events, MOST_FILES, -1), "epoll_wait");
    for (int i = 0; i < count; i++)
        sink += events[i].data.u64 + events[i].events;
    return (unsigned)count;
}

static void epoll_update(struct poller *self, unsigned count) {
    epoll_control(self, EPOLL_CTL_MOD, count, EPOLLIN | EPOLLPRI);
}

static void epoll_remove(struct poller *self, unsigned count) {
    epoll_control(self, EPOLL_CTL_DEL, count, 0);
}

static void epoll_close(struct poller *self) {
    close(self->state->epoll);
}

/* ---- poll(2) ---- */

static int poll_open(struct poller *self) {
    self->state->count = 0;
    return 0;
}

static void poll_arm(struct poller *self, unsigned count) {
    for (unsigned i = 0; i < count; i++)
        self->state->files[i] = (struct pollfd){.fd = self->fds[i], .events = POLLIN};
    self->state->count = count;
}

static unsigned poll_collect(struct poller *self) {
    int count = unless_interrupted(poll(self->state->files, self->state->count, -1), "poll"), left = count;
    for (unsigned i = 0; left > 0; i++) {
        if (self->state->files[i].revents) {
            sink += i + (unsigned)self->state->files[i].revents;
            left--;
        }
    }
    return (unsigned)count;
}

static void nothing_to_close(struct poller *self) {
    (void)self;
}

/* ---- libev ---- */

#ifdef HAS_LIBEV
static void on_ev(struct ev_loop *loop, struct ev_io *watcher, int events) {
    (void)loop;
    sink += (uintptr_t)watcher->data + (unsigned)events;
    collected++;
}

static int ev_open(struct poller *self) {
    self->state->ev = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    return self->state->ev ? 0 : -1;
}

/* Its epoll_ctl calls are made by the next run. */
static void ev_arm(struct poller *self, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        ev_io_init(&self->state->watchers[i], on_ev, self->fds[i], EV_READ);
        ev_io_start(self->state->ev, &self->state->watchers[i]);
    }
    ev_run(self->state->ev, EVRUN_NOWAIT);
}

static unsigned ev_collect(struct poller *self) {
    collected = 0;
    ev_run(self->state->ev, EVRUN_ONCE);
    return collected;
}

static void ev_remove(struct poller *self, unsigned count) {
    for (unsigned i = 0; i < count; i++)
        ev_io_stop(self->state->ev, &self->state->watchers[i]);
    ev_run(self->state->ev, EVRUN_NOWAIT);
}

static void ev_close(struct poller *self) {
    ev_loop_destroy(self->state->ev);
}
#endif

/* ---- libuv ---- */

#ifdef HAS_LIBUV
static void on_uv(uv_poll_t *handle, int status, int events) {
    sink += (uintptr_t)handle->data + (unsigned)(status + events);
    collected++;
}

static int uv_open(struct poller *self) {
    self->state->count = 0;
    return uv_loop_init(&self->state->uv);
}

static void uv_arm(struct poller *self, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        check(uv_poll_init(&self->state->uv, &self->state->handles[i], self->fds[i]), "uv_poll_init");
        check(uv_poll_start(&self->state->handles[i], UV_READABLE, on_uv), "uv_poll_start");
    }
    self->state->count = count;
    uv_run(&self->state->uv, UV_RUN_NOWAIT);
}

static unsigned uv_collect(struct poller *self) {
    collected = 0;
    uv_run(&self->state->uv, UV_RUN_ONCE);
    return collected;
}

static void uv_update(struct poller *self, unsigned count) {
    for (unsigned i = 0; i < count; i++)
        check(uv_poll_start(&self->state->handles[i], UV_READABLE | UV_PRIORITIZED, on_uv), "uv_poll_start");
    uv_run(&self->state->uv, UV_RUN_NOWAIT);
}

static void uv_remove(struct poller *self, unsigned count) {
    for (unsigned i = 0; i < count; i++)
        check(uv_poll_stop(&self->state->handles[i]), "uv_poll_stop");
}

static void uv_end(struct poller *self) {
    for (unsigned i = 0; i < self->state->count; i++)
        uv_close((uv_handle_t *)&self->state->handles[i], NULL);
    uv_run(&self->state->uv, UV_RUN_DEFAULT);
    uv_loop_close(&self->state->uv);
}
#endif

/* ---- all of them ---- */

#define POLLRING                                                                                                       \
    .open = pollring_poller_open, .arm = pollring_poller_arm, .collect = pollring_poller_collect,                      \
    .update = pollring_poller_update, .remove = pollring_poller_remove, .close = pollring_poller_close,                \
    .forget = pollring_poller_forget, .memory = pollring_poller_memory
#define EPOLL                                                                                                          \
    .open = epoll_open, .arm = epoll_arm, .collect = epoll_collect, .update = epoll_update, .remove = epoll_remove,    \
    .close = epoll_close

static struct poller pollers[] = {
    {.name = "pollring", POLLRING},
    {.name = "pinned", .flags = POLLRING_PINNED, POLLRING},
    {.name = "busy", .flags = POLLRING_PINNED, .busy_poll_us = 100, POLLRING},
    {.name = "liburing",
     .open = uring_open,
     .arm = uring_arm,
     .collect = uring_collect,
     .update = uring_update,
     .close = uring_close,
     .closes_later = true},
    {.name = "epoll", EPOLL},
    {.name = "epoll-edge", .bits = EPOLLET, EPOLL},
    {.name = "poll", .open = poll_open, .arm = poll_arm, .collect = poll_collect, .close = nothing_to_close},
#ifdef HAS_LIBEV
    {.name = "libev", .open = ev_open, .arm = ev_arm, .collect = ev_collect, .remove = ev_remove, .close = ev_close},
#endif
#ifdef HAS_LIBUV
    {.name = "libuv",
     .open = uv_open,
     .arm = uv_arm,
     .collect = uv_collect,
     .update = uv_update,
     .remove = uv_remove,
     .close = uv_end},
#endif
    {0},
};

static bool is_named(const char *name, int count, char *const names[]) {
    for (int i = 0; i < count; i++)
        if (!strcmp(name, names[i]))
            return true;
    return !count;
}

struct poller *pollers_chosen(int count, char *const names[]) {
    struct poller *chosen = pollers;
    for (struct poller *poller = pollers; poller->name; poller++) {
        if (!is_named(poller->name, count, names))
            continue;
        *chosen = *poller;
        chosen->state = calloc(1, sizeof *chosen->state);
        check(chosen->state ? 0 : -1, "calloc");
        chosen++;
    }
    *chosen = (struct poller){0};
    return pollers;
}

struct poller another(const struct poller *poller) {
    struct poller copy = *poller;
    copy.samples = NULL;
    copy.sample_count = 0;
    copy.state = calloc(1, sizeof *copy.state);
    check(copy.state ? 0 : -1, "calloc");
    return copy;
}
