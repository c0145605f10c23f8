/* The scheduler's timers: a binary heap of tasks, each of which knows its place in it, so that it can leave. */
#include "scheduler.h"

#include <errno.h>
#include <stdlib.h>

int64_t pollring_lua_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* When a wait with the timeout at index ends at the latest. */
int64_t pollring_lua_check_until(lua_State *L, int index, const char *function, int fd) {
    struct timeout timeout;
    pollring_lua_check_timeout(L, index, function, fd, &timeout);
    if (!timeout.pointer)
        return NEVER;
    if (!timeout.value.tv_sec && !timeout.value.tv_nsec)
        return pollring_lua_now() + 1; /* later than the look that is going on */
    return (int64_t)timeout.deadline.tv_sec * 1000000000 + timeout.deadline.tv_nsec;
}

/* Room is made when a task begins, so that waiting can't fail. */
int pollring_lua_timers_reserve(struct scheduler *scheduler) {
    size_t room = (size_t)scheduler->tasks + 2; /* entry 0 is not used */
    if (room <= scheduler->timer_room)
        return 0;
    room = 2 * room + 62;
    struct timer *timers = realloc(scheduler->timers, room * sizeof *timers);
    if (!timers)
        return -ENOMEM;
    scheduler->timers = timers;
    scheduler->timer_room = room;
    return 0;
}

static void put(struct timer *timers, size_t place, struct timer timer) {
    timers[place] = timer;
    timer.task->timer = place;
}

/* Puts a timer at a place, or where it belongs above it. */
static void rise(struct timer *timers, size_t place, struct timer timer) {
    for (; place > 1 && timers[place / 2].time > timer.time; place /= 2)
        put(timers, place, timers[place / 2]);
    put(timers, place, timer);
}

void pollring_lua_timer_start(struct task *task, int64_t time) {
    struct scheduler *scheduler = task->scheduler;
    rise(scheduler->timers, ++scheduler->timer_count, (struct timer){time, task});
}

/* The hole that the task leaves sinks to the bottom, and the last timer rises from there. */
void pollring_lua_timer_stop(struct task *task) {
    struct timer *timers = task->scheduler->timers;
    size_t place = task->timer, child;
    size_t count = task->scheduler->timer_count--;
    task->timer = 0;
    struct timer last = timers[count];
    if (last.task == task)
        return;
    while ((child = 2 * place) < count) {
        child += child + 1 < count && timers[child + 1].time < timers[child].time;
        put(timers, place, timers[child]);
        place = child;
    }
    rise(timers, place, last);
}
