/*
 * What a task can wait for: time, an fd once, the events of an fd, another task; and how long.
 *
 * Kernel rules: a multishot poll says nothing while data stays unread, so that a wait on one that is kept would sleep
 * for ever after a partial read. So wait_fd() is a one-shot, which is level-triggered; it is armed again for the next
 * wait, and names the file by its number each time, so that a number that is used again harms nothing.
 */
#include "scheduler.h"

#include <errno.h>
#include <string.h>

#define DEADLINE_EXCEEDED "deadline exceeded"

/* ---- suspending a task ---- */

/* No task runs, or L is not its coroutine. */
static void raise_no_task(lua_State *L, const struct scheduler *scheduler, const char *function) {
    const struct task *ending = scheduler->ending;
    if (ending && ending->thread == L)
        pollring_lua_raise(L, function, NO_FD, "a task that %s can't wait in its <close> variables",
                           ending->state == TASK_CANCELLED ? "is being cancelled" : "has failed");
    if (!scheduler->current)
        pollring_lua_raise(L, function, NO_FD, "called outside a task of this scheduler: spawn one");
    pollring_lua_raise(L, function, NO_FD,
                       "called in another coroutine inside a task: only the task's own can wait (spawn another)");
}

/* The task that calls, if it can wait here. */
static struct task *current_task(lua_State *L, const struct scheduler *scheduler, const char *function) {
    struct task *task = scheduler->current;
    if (!task || task->thread != L)
        raise_no_task(L, scheduler, function);
    if (!lua_isyieldable(L))
        pollring_lua_raise(L, function, NO_FD,
                           "can't wait here: a function that can't be suspended is being called (table.sort, "
                           "string.gsub, require, a finaliser, or a host's)");
    return task;
}

static void raise_deadline(lua_State *L) {
    lua_pushliteral(L, DEADLINE_EXCEEDED);
    lua_error(L);
}

static inline void check_deadline(lua_State *L, const struct task *task) {
    if (task->deadline != NEVER && task->deadline <= pollring_lua_now())
        raise_deadline(L);
}

/* Suspends the task; the continuation is called when it was woken. */
static int pause_until(lua_State *L, struct task *task, int64_t until, lua_KFunction continuation) {
    if (task->deadline < until)
        until = task->deadline;
    if (until != NEVER)
        pollring_lua_timer_start(task, until);
    task->state = TASK_WAITING;
    return lua_yieldk(L, 0, (lua_KContext)task, continuation);
}

/* The source's next event wakes the task. */
static void wait_for(struct task *task, struct source *source) {
    source->waiter = task;
    task->source = source;
    task->scheduler->waits++;
}

/* What every continuation begins with. */
static struct task *woken(lua_State *L, lua_KContext context) {
    struct task *task = (struct task *)context;
    if (task->scheduler->token != task) {
        if (task->state == TASK_WAITING) { /* so that the scheduler finds out how it ends */
            pollring_lua_task_wake(task, WAKE_EVENT);
            pollring_lua_task_make_ready(task);
        }
        luaL_error(L, "a task's coroutine was resumed by hand while it waits: only its scheduler may resume it");
    }
    task->scheduler->token = NULL;
    if (task->wake == WAKE_DEADLINE)
        raise_deadline(L);
    return task;
}

static int timed_out(lua_State *L) {
    lua_pushnil(L);
    lua_pushliteral(L, "timeout");
    return 2;
}

/* ---- time ---- */

static int slept(lua_State *L, int status, lua_KContext context) {
    (void)status;
    woken(L, context);
    return 0;
}

/* sleep(seconds): 0 lets the others have their turn. */
static int scheduler_sleep(lua_State *L) {
    struct task *task = current_task(L, pollring_lua_check_scheduler(L, "scheduler:sleep"), "scheduler:sleep");
    int type = lua_type(L, 2);
    check_deadline(L, task);
    if (type == LUA_TNUMBER && lua_tonumber(L, 2) == 0) {
        task->wake = WAKE_EVENT;
        pollring_lua_task_make_ready(task);
        return lua_yieldk(L, 0, (lua_KContext)task, slept);
    }
    if (type != LUA_TNUMBER)
        return pollring_lua_raise(L, "scheduler:sleep", NO_FD, "seconds expected, got %s", luaL_typename(L, 2));
    if (!pollring_lua_is_duration(lua_tonumber(L, 2)))
        return pollring_lua_raise(L, "scheduler:sleep", NO_FD, "seconds: %g is out of range: 0 to 1e9",
                                  lua_tonumber(L, 2));
    return pause_until(L, task, pollring_lua_check_until(L, 2, "scheduler:sleep", NO_FD), slept);
}

/* ---- one event of an fd ---- */

static int arm(struct task *task, int fd, uint32_t events) {
    struct source *own = &task->own;
    own->arrived = false;
    if (own->poll && pollring_poll_fd(own->poll) == fd && pollring_poll_events(own->poll) == events)
        return pollring_poll_arm(own->poll);
    pollring_poll_free(own->poll);
    own->poll = NULL;
    return pollring_poll_add_to(task->scheduler->inbox, &own->poll, fd, events, POLLRING_ONESHOT, own);
}

static int failed_to_arm(lua_State *L, const char *function, int fd, uint32_t events, int error) {
    if (error == -EINVAL)
        return pollring_lua_raise(L, function, fd, "mask 0x%x has bits that can't be polled (EINVAL)", events);
    return pollring_lua_failed(L, function, fd, error);
}

static int fd_waited(lua_State *L, int status, lua_KContext context) {
    (void)status;
    const struct task *task = woken(L, context);
    if (task->wake == WAKE_TIMEOUT)
        return timed_out(L);
    if (task->own.result == -ECANCELED) {
        lua_pushnil(L);
        lua_pushliteral(L, "closed");
        return 2;
    }
    if (task->own.result < 0)
        return pollring_lua_failed(L, "scheduler:wait_fd", pollring_poll_fd(task->own.poll), task->own.result);
    lua_pushinteger(L, task->own.result);
    return 1;
}

static int wait_once(lua_State *L, struct task *task, int fd, uint32_t events, int64_t until) {
    check_deadline(L, task);
    int error = arm(task, fd, events);
    if (error)
        return failed_to_arm(L, "scheduler:wait_fd", fd, events, error);
    wait_for(task, &task->own);
    return pause_until(L, task, until, fd_waited);
}

/* wait_fd(fd, mask, timeout): the event; nil, "timeout"; nil, "closed" after remove_fd(). */
static int scheduler_wait_fd(lua_State *L) {
    struct scheduler *scheduler = pollring_lua_check_scheduler(L, "scheduler:wait_fd");
    int fd = pollring_lua_check_fd(L, 2, "scheduler:wait_fd");
    uint32_t events = lua_isnoneornil(L, 3) ? POLLIN : pollring_lua_check_mask(L, 3, "scheduler:wait_fd", fd);
    int64_t until = pollring_lua_check_until(L, 4, "scheduler:wait_fd", fd);
    return wait_once(L, current_task(L, scheduler, "scheduler:wait_fd"), fd, events, until);
}

/* ---- all events of an fd ---- */

struct watch {
    const char *type;
    struct source source;
    struct scheduler *scheduler; /* alive: it is a value of this object */
};
enum watch_values { WATCH_SCHEDULER = 1, WATCH_FILE = 2, WATCH_VALUES = 2 };

/* Returns what a loop over the watch gets: the event that arrived; nothing at the end. */
static int push_event(lua_State *L, struct source *source) {
    if (!source->arrived || source->result == -ECANCELED)
        return 0;
    source->arrived = false;
    if (source->result < 0)
        return pollring_lua_raise_errno(L, "scheduler:watch", pollring_poll_fd(source->poll), source->result);
    lua_pushinteger(L, source->result);
    lua_pushboolean(L, source->more);
    return 2;
}

static int watched(lua_State *L, int status, lua_KContext context) {
    (void)status;
    return push_event(L, woken(L, context)->woken_by);
}

static bool can_tell_at_once(const struct source *source) {
    return source->arrived || !source->poll || !pollring_poll_active(source->poll);
}

/* Upvalue 1: the watch. */
static int watch_next(lua_State *L) {
    struct watch *watch = lua_touserdata(L, lua_upvalueindex(1));
    struct source *source = &watch->source;
    if (can_tell_at_once(source))
        return push_event(L, source);
    struct task *task = current_task(L, watch->scheduler, "scheduler:watch");
    if (source->waiter)
        return pollring_lua_raise(L, "scheduler:watch", pollring_poll_fd(source->poll),
                                  "another task waits for the next event of this watch");
    check_deadline(L, task);
    wait_for(task, source);
    return pause_until(L, task, NEVER, watched);
}

static int push_event_or_closed(lua_State *L, struct source *source) {
    int values = push_event(L, source);
    if (values)
        return values;
    lua_pushnil(L);
    lua_pushliteral(L, "closed");
    return 2;
}

static int watch_waited(lua_State *L, int status, lua_KContext context) {
    (void)status;
    const struct task *task = woken(L, context);
    return task->wake == WAKE_TIMEOUT ? timed_out(L) : push_event_or_closed(L, task->woken_by);
}

/* wait(timeout), of the watch itself: its next event; nil, "timeout"; nil, "closed" once it has ended. Where another
   task waits so already, this one waits for the fd with a poll of its own. */
static int watch_wait(lua_State *L) {
    struct watch *watch = pollring_lua_check_type(L, pollring_lua_watch_type, sizeof(struct watch), "watch:wait");
    struct source *source = &watch->source;
    int64_t until = pollring_lua_check_until(L, 2, "watch:wait", NO_FD);
    if (can_tell_at_once(source))
        return push_event_or_closed(L, source);
    struct task *task = current_task(L, watch->scheduler, "watch:wait");
    if (source->waiter)
        return wait_once(L, task, pollring_poll_fd(source->poll), pollring_poll_events(source->poll), until);
    check_deadline(L, task);
    wait_for(task, source);
    return pause_until(L, task, until, watch_waited);
}

/* watch(fd, mask, options): for events, more in ... */
static int scheduler_watch(lua_State *L) {
    const char *function = "scheduler:watch";
    struct scheduler *scheduler = pollring_lua_check_scheduler(L, function);
    lua_settop(L, 4);
    int fd = pollring_lua_check_fd(L, 2, function);
    uint32_t events = lua_isnil(L, 3) ? POLLIN : pollring_lua_check_mask(L, 3, function, fd);
    unsigned flags = pollring_lua_poll_options(L, 4, function, fd, &events);
    lua_settop(L, 4);
    struct watch *watch = lua_newuserdatauv(L, sizeof *watch, WATCH_VALUES); /* 5 */
    *watch = (struct watch){.type = pollring_lua_watch_type, .scheduler = scheduler};
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, 5, WATCH_SCHEDULER);
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, 5, WATCH_FILE);
    lua_pushvalue(L, lua_upvalueindex(UPVALUE_WATCH_TYPE));
    lua_setmetatable(L, 5);
    lua_pushvalue(L, 5);
    lua_pushcclosure(L, watch_next, 1);        /* 6 */
    pollring_lua_check_scheduler(L, function); /* a finaliser may have closed it since */
    int error = pollring_poll_add_to(scheduler->inbox, &watch->source.poll, fd, events, flags, &watch->source);
    if (error && failed_to_arm(L, function, fd, events, error)) { /* nil, message, errno */
        lua_pop(L, 1);
        return lua_error(L);
    }
    lua_pushnil(L);
    lua_pushnil(L);
    lua_pushvalue(L, 5); /* the closing value */
    return 4;
}

/* The end of the loop, or garbage. A task that waits for its next event elsewhere gets the end. */
static int watch_close(lua_State *L) {
    struct watch *watch = lua_touserdata(L, 1);
    struct task *waiter = watch->source.waiter;
    if (waiter) {
        pollring_lua_task_wake(waiter, WAKE_EVENT);
        pollring_lua_task_make_ready(waiter);
    }
    pollring_poll_free(watch->source.poll);
    watch->source.poll = NULL;
    watch->source.arrived = false;
    return 0;
}

/* ---- another task ---- */

/* Pushes true and what the task returned; or false, the error, the traceback. */
static int push_outcome(lua_State *L, struct task *task, int object) {
    if (task->state == TASK_RETURNED) {
        int count = lua_gettop(task->thread);
        luaL_checkstack(L, count + 1, "too many results");
        if (!lua_checkstack(task->thread, count))
            return luaL_error(L, "not enough memory");
        lua_pushboolean(L, true);
        for (int i = 1; i <= count; i++)
            lua_pushvalue(task->thread, i);
        lua_xmove(task->thread, L, count);
        return count + 1;
    }
    lua_pushboolean(L, false);
    if (task->state == TASK_CANCELLED) {
        lua_pushliteral(L, "cancelled");
        return 2;
    }
    lua_getiuservalue(L, object, TASK_ERROR);
    lua_getiuservalue(L, object, TASK_TRACEBACK);
    return 3;
}

static int joined(lua_State *L, int status, lua_KContext context) {
    (void)status;
    if (woken(L, context)->wake == WAKE_TIMEOUT)
        return timed_out(L);
    return push_outcome(L, lua_touserdata(L, 1), 1);
}

/* join(timeout): waits until it has ended. After that anybody may ask, outside tasks too. */
int pollring_lua_join(lua_State *L) {
    struct task *task = pollring_lua_check_task(L, "task:join");
    if (task->state >= TASK_RETURNED)
        return push_outcome(L, task, 1);
    int64_t until = pollring_lua_check_until(L, 2, "task:join", NO_FD);
    struct task *current = current_task(L, task->scheduler, "task:join");
    if (current == task)
        return pollring_lua_raise(L, "task:join", NO_FD, "a task can't wait for its own end");
    check_deadline(L, current);
    pollring_lua_task_join(current, task);
    return pause_until(L, current, until, joined);
}

/* ---- how long ---- */

static bool is_deadline(lua_State *L, int index) {
    return lua_type(L, index) == LUA_TSTRING && !strcmp(lua_tostring(L, index), DEADLINE_EXCEEDED);
}

/* Keeps the traceback of an error that passes through deadline(), whose protected call would lose it. */
static int keep_traceback(lua_State *L) {
    if (!is_deadline(L, 1))
        pollring_lua_task_keep_error(L, L, lua_upvalueindex(1));
    lua_settop(L, 1);
    return 1;
}

enum { DEADLINE_OUTER = 2, DEADLINE_HANDLER = 3 }; /* on the stack; what the function is given or gives comes behind */

static int deadline_ended(lua_State *L, int status, lua_KContext context) {
    struct task *task = (struct task *)context;
    bool failed = status != LUA_OK && status != LUA_YIELD;
    bool passed = failed && is_deadline(L, -1) && task->deadline <= pollring_lua_now();
    task->deadline = lua_tointeger(L, DEADLINE_OUTER);
    if (passed)
        return timed_out(L);
    return failed ? lua_error(L) : lua_gettop(L) - DEADLINE_HANDLER;
}

/* deadline(seconds, function, ...): what the function returns; nil, "timeout" where that takes longer: every wait in it
   that would pass the deadline raises an error, which ends the function. */
static int scheduler_deadline(lua_State *L) {
    const char *function = "scheduler:deadline";
    struct scheduler *scheduler = pollring_lua_check_scheduler(L, function);
    int64_t until = pollring_lua_check_until(L, 2, function, NO_FD);
    if (!lua_isfunction(L, 3))
        return pollring_lua_raise(L, function, NO_FD, "a function expected, got %s", luaL_typename(L, 3));
    struct task *task = current_task(L, scheduler, function);
    lua_getiuservalue(L, 1, SCHEDULER_TASKS);
    lua_rawgeti(L, -1, task->id);
    lua_pushcclosure(L, keep_traceback, 1);
    lua_insert(L, DEADLINE_HANDLER);
    lua_pop(L, 1); /* the table */
    lua_pushinteger(L, task->deadline);
    lua_replace(L, DEADLINE_OUTER);
    if (until < task->deadline)
        task->deadline = until;
    int status = lua_pcallk(L, lua_gettop(L) - DEADLINE_HANDLER - 1, LUA_MULTRET, DEADLINE_HANDLER, (lua_KContext)task,
                            deadline_ended);
    return deadline_ended(L, status, (lua_KContext)task);
}

const luaL_Reg pollring_lua_scheduler_waits[] = {{"sleep", scheduler_sleep},
                                                 {"wait_fd", scheduler_wait_fd},
                                                 {"watch", scheduler_watch},
                                                 {"deadline", scheduler_deadline},
                                                 {NULL, NULL}};
const luaL_Reg pollring_lua_watch_methods[] = {{"wait", watch_wait}, {NULL, NULL}};
const luaL_Reg pollring_lua_watch_metamethods[] = {{"__gc", watch_close}, {"__close", watch_close}, {NULL, NULL}};
