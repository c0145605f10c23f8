/* The scheduler: its life, and its loop, which resumes tasks straight from the batch, the timers, the ready list. */
#include "scheduler.h"

#include <errno.h>
#include <stdlib.h>

enum { MOST_EVENTS = 256 }; /* taken in one turn, so that timers and ready tasks get theirs */

/* ---- the loop ---- */

/*
 * In run and step the scheduler is at index 1. An error that leaves them has to mark the scheduler as no longer
 * running. A protected call for all of it would cost a fifth of a step, so each of the few calls that may raise has
 * one.
 */
static int leave_by_error(lua_State *L, struct scheduler *scheduler) {
    scheduler->running = false;
    return lua_error(L);
}

static int run_hooks(lua_State *L) {
    struct timeout none = {.pointer = NULL};
    pollring_lua_interrupted(L, &none);
    return 0;
}

/* The debug hooks of L, and lua.c's for Ctrl-C. Whatever they do has to be expected on return. */
static void let_hooks_run(lua_State *L, struct scheduler *scheduler) {
    lua_pushcfunction(L, run_hooks);
    if (lua_pcall(L, 0, 0, 0) != LUA_OK)
        leave_by_error(L, scheduler);
}

/* (the task, the status of its coroutine) */
static int end(lua_State *L) {
    pollring_lua_task_ended(L, 1, (int)lua_tointeger(L, 2));
    return 0;
}

static void ended(lua_State *L, struct task *task, int status) {
    lua_pushcfunction(L, end);
    lua_getiuservalue(L, 1, SCHEDULER_TASKS);
    lua_rawgeti(L, -1, task->id);
    lua_remove(L, -2);
    lua_pushinteger(L, status);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK)
        leave_by_error(L, lua_touserdata(L, 1));
}

static void resume(lua_State *L, struct task *task) {
    struct scheduler *scheduler = task->scheduler;
    int results, status = lua_status(task->thread);
    if (status <= LUA_YIELD) { /* else it died in somebody else's hands */
        int arguments = task->arguments;
        task->arguments = 0;
        task->state = TASK_RUNNING;
        scheduler->current = scheduler->token = task;
        status = lua_resume(task->thread, L, arguments, &results);
        scheduler->current = scheduler->token = NULL;
        if (status == LUA_YIELD && task->state != TASK_RUNNING)
            return;
    }
    ended(L, task, status);
}

static void deliver(lua_State *L, const struct pollring_event *event) {
    struct source *source = event->owner;
    bool both = source->arrived && source->result > 0 && event->result > 0;
    source->result = both ? source->result | event->result : event->result;
    source->more = event->more;
    source->arrived = true;
    struct task *task = source->waiter;
    if (!task)
        return;
    pollring_lua_task_wake(task, WAKE_EVENT);
    resume(L, task);
}

/* Sleeps until there is an event, or until the time. */
static int collect(lua_State *L, struct scheduler *scheduler, int64_t until) {
    for (;;) {
        struct timespec timeout = {0};
        int64_t left = until && until != NEVER ? until - pollring_lua_now() : 0;
        if (left > 0)
            timeout = (struct timespec){.tv_sec = (time_t)(left / 1000000000), .tv_nsec = (long)(left % 1000000000)};
        struct pollring *ring = pollring_lua_ring_of(scheduler->ring);
        int result =
            ring ? pollring_inbox_collect(ring, scheduler->inbox, until == NEVER ? NULL : &timeout) : -ESHUTDOWN;
        if (result != -EINTR)
            return result;
        let_hooks_run(L, scheduler);
    }
}

static int take(lua_State *L, const struct scheduler *scheduler) {
    struct pollring_event event;
    int taken = 0;
    for (int count = 0; count < MOST_EVENTS; count++) {
        struct pollring *ring = pollring_lua_ring_of(scheduler->ring);
        taken = ring ? pollring_take(ring, scheduler->inbox, &event) : 0;
        if (taken != 1)
            break;
        deliver(L, &event);
    }
    return taken < 0 ? taken : 0;
}

/* Timers that were due before the batch was taken: what a task started since then has not been looked for yet. */
static void fire_timers(lua_State *L, struct scheduler *scheduler, int64_t now) {
    while (scheduler->timer_count && scheduler->timers[1].time <= now) {
        struct task *task = scheduler->timers[1].task;
        pollring_lua_task_wake(task, task->deadline <= now ? WAKE_DEADLINE : WAKE_TIMEOUT);
        resume(L, task);
    }
}

/* Those that are ready now; who becomes ready meanwhile has its turn later. */
static void resume_ready(lua_State *L, struct scheduler *scheduler) {
    for (size_t count = scheduler->ready.count; count && scheduler->ready.first; count--) {
        struct task *task = scheduler->ready.first;
        pollring_lua_task_list_remove(task);
        resume(L, task);
    }
}

static int64_t earlier(int64_t one, int64_t other) {
    return one < other ? one : other;
}

static bool nothing_can_come(const struct scheduler *scheduler) {
    return !scheduler->ready.first && !scheduler->timer_count && !scheduler->waits;
}

/* Sleeps up to the time where there is nothing else to do. While tasks are ready the core tells from memory whether
   there is anything to collect. 0, -errno. */
static int turn(lua_State *L, struct scheduler *scheduler, int64_t until) {
    struct pollring *ring = pollring_lua_ring_of(scheduler->ring);
    if (!ring)
        return -ESHUTDOWN;
    bool busy = scheduler->ready.first || nothing_can_come(scheduler), look = !busy || pollring_pending(ring);
    int error = 0;
    if (look) {
        if (scheduler->timer_count)
            until = earlier(until, scheduler->timers[1].time);
        error = collect(L, scheduler, busy ? 0 : until);
    }
    int64_t now = scheduler->timer_count ? pollring_lua_now() : 0;
    if (!error && look)
        error = take(L, scheduler);
    if (error)
        return error;
    if (now)
        fire_timers(L, scheduler, now);
    resume_ready(L, scheduler);
    if (lua_gethookmask(scheduler->main) & LUA_MASKCALL) /* maybe lua.c's for Ctrl-C: no Lua code runs there now */
        let_hooks_run(L, scheduler);
    return 0;
}

/* Raises an error that names the tasks that wait for what can't come: for each other. */
static int report_stuck(lua_State *L) {
    enum { MOST_NAMED = 10 };
    const struct scheduler *scheduler = lua_touserdata(L, 1);
    int named = 0;
    lua_getiuservalue(L, 1, SCHEDULER_TASKS);
    lua_pushfstring(
        L, "scheduler:run: %I of its tasks can never wake, as they join each other:", (LUAI_UACINT)scheduler->tasks);
    for (lua_Integer id = 1; id <= scheduler->ids && named < MOST_NAMED; id++) {
        const struct task *task = lua_rawgeti(L, 2, id) == LUA_TUSERDATA ? lua_touserdata(L, -1) : NULL;
        lua_pop(L, 1);
        if (!task)
            continue;
        luaL_traceback(L, task->thread, NULL, 1); /* 0 is the wait, in C */
        lua_pushfstring(L, "\ntask %I, %s", id, lua_tostring(L, -1));
        lua_remove(L, -2);
        lua_concat(L, 2);
        named++;
    }
    return lua_error(L);
}

static void begin(lua_State *L, struct scheduler *scheduler, const char *function) {
    if (scheduler->running)
        pollring_lua_raise(L, function, NO_FD, "the scheduler is running already");
    scheduler->running = true;
}

static void finish(lua_State *L, struct scheduler *scheduler, const char *function, int error) {
    scheduler->running = false;
    if (error)
        pollring_lua_raise_errno(L, function, NO_FD, error);
}

/* ---- methods ---- */

const char pollring_lua_scheduler_type[] = "pollring.scheduler";
const char pollring_lua_task_type[] = "pollring.task";
const char pollring_lua_watch_type[] = "pollring.watch";

void *pollring_lua_wrong_type(lua_State *L, const char *type, const char *function) {
    pollring_lua_raise(L, function, NO_FD, "%s expected, got %s (called with . instead of : ?)", type,
                       luaL_typename(L, 1));
    return NULL;
}

static struct scheduler *check_self(lua_State *L, const char *function) {
    return pollring_lua_check_type(L, pollring_lua_scheduler_type, sizeof(struct scheduler), function);
}

struct scheduler *pollring_lua_check_scheduler(lua_State *L, const char *function) {
    struct scheduler *scheduler = check_self(L, function);
    if (!scheduler->inbox)
        pollring_lua_raise(L, function, NO_FD, "the scheduler is closed");
    return scheduler;
}

static int scheduler_run(lua_State *L) {
    struct scheduler *scheduler = pollring_lua_check_scheduler(L, "scheduler:run");
    int error = 0;
    lua_settop(L, 1);
    begin(L, scheduler, "scheduler:run");
    while (scheduler->tasks && !error && !nothing_can_come(scheduler))
        error = turn(L, scheduler, NEVER);
    finish(L, scheduler, "scheduler:run", error);
    return scheduler->tasks ? report_stuck(L) : 0;
}

/* step(timeout): true while there are tasks. */
static int scheduler_step(lua_State *L) {
    struct scheduler *scheduler = pollring_lua_check_scheduler(L, "scheduler:step");
    bool look = lua_type(L, 2) == LUA_TNUMBER && lua_tonumber(L, 2) == 0; /* the most frequent by far */
    int64_t until = look ? 0 : pollring_lua_check_until(L, 2, "scheduler:step", NO_FD);
    lua_settop(L, 1);
    begin(L, scheduler, "scheduler:step");
    finish(L, scheduler, "scheduler:step", turn(L, scheduler, until));
    lua_pushboolean(L, scheduler->tasks > 0);
    return 1;
}

static struct pollring *check_ring(lua_State *L, const struct scheduler *scheduler, const char *function) {
    struct pollring *ring = pollring_lua_ring_of(scheduler->ring);
    if (!ring)
        pollring_lua_raise_errno(L, function, NO_FD, -ESHUTDOWN);
    return ring;
}

static int scheduler_fileno(lua_State *L) {
    const struct scheduler *scheduler = pollring_lua_check_scheduler(L, "scheduler:fileno");
    int fd = pollring_fileno(check_ring(L, scheduler, "scheduler:fileno"));
    return pollring_lua_number(L, "scheduler:fileno", fd);
}

static int scheduler_events(lua_State *L) {
    pollring_lua_check_scheduler(L, "scheduler:events");
    lua_pushliteral(L, "r");
    return 1;
}

/* Seconds until step has something to do, whatever fileno shows; nil: fileno will show it. */
static int scheduler_timeout(lua_State *L) {
    const struct scheduler *scheduler = pollring_lua_check_scheduler(L, "scheduler:timeout");
    const struct pollring *ring = check_ring(L, scheduler, "scheduler:timeout");
    if (scheduler->ready.first || pollring_pending(ring)) {
        lua_pushinteger(L, 0);
    } else if (scheduler->timer_count) {
        int64_t left = scheduler->timers[1].time - pollring_lua_now();
        lua_pushnumber(L, left > 0 ? (lua_Number)left / 1e9 : 0);
    } else {
        lua_pushnil(L);
    }
    return 1;
}

/* Before close(fd): ends every wait of this scheduler for the fd. Returns how many: none where there can be none. */
static int scheduler_remove_fd(lua_State *L) {
    struct scheduler *scheduler = check_self(L, "scheduler:remove_fd");
    int fd = pollring_lua_check_fd(L, 2, "scheduler:remove_fd");
    int removed = scheduler->inbox ? pollring_inbox_remove_fd(scheduler->inbox, fd) : 0;
    if (removed == -ESHUTDOWN || removed == -EOWNERDEAD)
        removed = 0;
    return pollring_lua_number(L, "scheduler:remove_fd", removed);
}

/* on_error(f): f(task, error, traceback) for each task that fails while nobody joins it. */
static int scheduler_on_error(lua_State *L) {
    pollring_lua_check_scheduler(L, "scheduler:on_error");
    if (!lua_isfunction(L, 2))
        return pollring_lua_raise(L, "scheduler:on_error", NO_FD, "a function expected, got %s", luaL_typename(L, 2));
    lua_settop(L, 2);
    lua_setiuservalue(L, 1, SCHEDULER_HANDLER);
    return 0;
}

/* ---- life ---- */

static int complain(lua_State *L) {
    luaL_tolstring(L, 1, NULL);
    luaL_tolstring(L, lua_isnil(L, 3) ? 2 : 3, NULL);
    lua_writestringerror("%s: ", lua_tostring(L, -2));
    lua_writestringerror("%s\n", lua_tostring(L, -1));
    return 0;
}

/* (ring, own): a scheduler on a ring object, which is closed with it if it is its own. */
static int scheduler_new(lua_State *L) {
    if (!pollring_lua_test_ring(L, 1))
        return pollring_lua_raise(L, "scheduler.new", NO_FD, "a ring or nothing expected, got %s", luaL_typename(L, 1));
    struct ring_object *ring = pollring_lua_check_open(L, 1, "scheduler.new");
    lua_settop(L, 2);
    struct scheduler *scheduler = lua_newuserdatauv(L, sizeof *scheduler, SCHEDULER_VALUES);
    *scheduler = (struct scheduler){.type = pollring_lua_scheduler_type, .ring = ring, .own_ring = lua_toboolean(L, 2)};
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, 3, SCHEDULER_RING);
    lua_newtable(L);
    lua_setiuservalue(L, 3, SCHEDULER_TASKS);
    lua_pushcfunction(L, complain);
    lua_setiuservalue(L, 3, SCHEDULER_HANDLER);
    lua_pushvalue(L, lua_upvalueindex(UPVALUE_SCHEDULER_TYPE));
    lua_setmetatable(L, 3);
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
    scheduler->main = lua_tothread(L, -1);
    lua_pop(L, 1);
    struct pollring *core = pollring_lua_ring_of(ring);
    int error = core ? pollring_check(core) : -ESHUTDOWN;
    if (!error) {
        scheduler->inbox = pollring_inbox_open(core);
        error = scheduler->inbox ? 0 : -ENOMEM;
    }
    return error ? pollring_lua_failed(L, "scheduler.new", NO_FD, error) : 1;
}

static void release(struct scheduler *scheduler) {
    pollring_inbox_close(scheduler->inbox);
    free(scheduler->timers);
    scheduler->inbox = NULL;
    scheduler->timers = NULL;
    scheduler->timer_count = scheduler->timer_room = 0;
}

/* Ends all tasks. What their <close> variables raise goes to the handler; the first error of that is raised at last. */
static int end_tasks(lua_State *L) {
    struct scheduler *scheduler = lua_touserdata(L, 1);
    lua_getiuservalue(L, 1, SCHEDULER_TASKS);
    for (lua_Integer id = 1; id <= scheduler->ids; id++) {
        if (lua_rawgeti(L, 2, id) == LUA_TUSERDATA)
            pollring_lua_task_cancel(L, lua_gettop(L));
        lua_settop(L, 2);
    }
    return 0;
}

/* Nothing can be called here, as Lua's C stack is used up. The tasks wait for nothing any more; their <close> variables
   are never closed. */
static void abandon_tasks(lua_State *L, struct scheduler *scheduler) {
    lua_getiuservalue(L, 1, SCHEDULER_TASKS);
    for (lua_Integer id = 1; id <= scheduler->ids; id++) {
        if (lua_rawgeti(L, -1, id) == LUA_TUSERDATA) {
            struct task *task = lua_touserdata(L, -1);
            pollring_lua_task_wake(task, WAKE_EVENT);
            pollring_poll_free(task->own.poll);
            task->own.poll = NULL;
        }
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    scheduler->tasks = 0;
}

static int scheduler_close(lua_State *L) {
    struct scheduler *scheduler = check_self(L, "scheduler:close");
    if (!scheduler->inbox)
        return 0;
    if (scheduler->running || scheduler->closing)
        return pollring_lua_raise(L, "scheduler:close", NO_FD, "a task can't close the scheduler that runs it");
    int status = LUA_OK, first = LUA_OK;
    lua_settop(L, 1);
    scheduler->closing = true;
    while (scheduler->tasks) {
        lua_Integer before = scheduler->tasks;
        lua_settop(L, first ? 2 : 1);
        lua_pushcfunction(L, end_tasks);
        lua_pushvalue(L, 1);
        status = lua_pcall(L, 1, 0, 0);
        if (!first)
            first = status;
        if (scheduler->tasks == before)
            abandon_tasks(L, scheduler);
    }
    release(scheduler);
    if (scheduler->own_ring) {
        lua_getiuservalue(L, 1, SCHEDULER_RING);
        pollring_lua_ring_close(L, lua_gettop(L));
    }
    lua_settop(L, 2); /* the first error */
    return first ? lua_error(L) : 0;
}

/* The tasks are not ended: their coroutines are garbage too, whose <close> variables Lua never closes. */
static int scheduler_finalise(lua_State *L) {
    struct scheduler *scheduler = lua_touserdata(L, 1);
    lua_settop(L, 1);
    release(scheduler); /* first, so that the polls end together */
    lua_getiuservalue(L, 1, SCHEDULER_TASKS);
    for (lua_Integer id = 1; id <= scheduler->ids; id++) {
        if (lua_rawgeti(L, 2, id) == LUA_TUSERDATA) {
            struct task *task = lua_touserdata(L, -1);
            pollring_poll_free(task->own.poll);
            task->own.poll = NULL;
        }
        lua_settop(L, 2);
    }
    return 0;
}

static int scheduler_tostring(lua_State *L) {
    const struct scheduler *scheduler = check_self(L, "tostring");
    if (scheduler->inbox)
        lua_pushfstring(L, "%s (%I tasks)", pollring_lua_scheduler_type, (LUAI_UACINT)scheduler->tasks);
    else
        lua_pushfstring(L, "%s (closed)", pollring_lua_scheduler_type);
    return 1;
}

/* ---- the types ---- */

static const luaL_Reg methods[] = {{"spawn", pollring_lua_spawn},
                                   {"run", scheduler_run},
                                   {"step", scheduler_step},
                                   {"fileno", scheduler_fileno},
                                   {"pollfd", scheduler_fileno},
                                   {"events", scheduler_events},
                                   {"timeout", scheduler_timeout},
                                   {"remove_fd", scheduler_remove_fd},
                                   {"on_error", scheduler_on_error},
                                   {"close", scheduler_close},
                                   {NULL, NULL}};
static const luaL_Reg metamethods[] = {
    {"__gc", scheduler_finalise}, {"__close", scheduler_close}, {"__tostring", scheduler_tostring}, {NULL, NULL}};

/* Functions into the table at the top, with the three metatables at index 1 to 3 as upvalues. */
static void set_functions(lua_State *L, int types, const luaL_Reg *functions) {
    for (int i = 0; i < 3; i++)
        lua_pushvalue(L, types + i);
    luaL_setfuncs(L, functions, 3);
}

static void new_type(lua_State *L, const char *name) {
    lua_newtable(L);
    lua_pushstring(L, name);
    lua_setfield(L, -2, "__name");
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
}

/* now(): seconds on the clock of timeouts. */
static int now(lua_State *L) {
    lua_pushnumber(L, (lua_Number)pollring_lua_now() / 1e9);
    return 1;
}

/* Pushes a table of functions, and of each type's methods, to which the Lua part adds its own. */
void pollring_lua_scheduler_create(lua_State *L) {
    static const struct {
        const char *type, *name;
        const luaL_Reg *methods, *metamethods;
    } all[] = {{pollring_lua_scheduler_type, "scheduler", methods, metamethods},
               {pollring_lua_task_type, "task", pollring_lua_task_methods, pollring_lua_task_metamethods},
               {pollring_lua_watch_type, "watch", pollring_lua_watch_methods, pollring_lua_watch_metamethods}};
    static const luaL_Reg functions[] = {{"new", scheduler_new},
                                         {"now", now},
                                         {"read_now", pollring_lua_read_now},
                                         {"set_nonblocking", pollring_lua_set_nonblocking},
                                         {NULL, NULL}};
    int types = lua_gettop(L) + 1;
    for (int i = 0; i < 3; i++)
        new_type(L, all[i].type);
    lua_newtable(L);
    set_functions(L, types, functions);
    for (int i = 0; i < 3; i++) {
        lua_pushvalue(L, types + i);
        set_functions(L, types, all[i].metamethods);
        lua_newtable(L);
        set_functions(L, types, all[i].methods);
        if (i == 0)
            set_functions(L, types, pollring_lua_scheduler_waits);
        lua_pushvalue(L, -1);
        lua_setfield(L, types + 3, all[i].name);
        lua_setfield(L, -2, "__index");
        lua_pop(L, 1);
    }
    lua_replace(L, types);
    lua_settop(L, types);
}
