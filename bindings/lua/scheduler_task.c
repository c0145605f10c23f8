/* Tasks: how one begins, becomes ready, and ends: by itself, by an error, cancelled. */
#include "scheduler.h"

#include <errno.h>

/* ---- lists ---- */

static void list_add(struct task_list *list, struct task *task) {
    task->list = list;
    task->previous = list->last;
    task->next = NULL;
    *(list->last ? &list->last->next : &list->first) = task;
    list->last = task;
    list->count++;
}

void pollring_lua_task_list_remove(struct task *task) {
    struct task_list *list = task->list;
    *(task->previous ? &task->previous->next : &list->first) = task->next;
    *(task->next ? &task->next->previous : &list->last) = task->previous;
    list->count--;
    task->list = NULL;
}

void pollring_lua_task_make_ready(struct task *task) {
    task->state = TASK_READY;
    list_add(&task->scheduler->ready, task);
}

void pollring_lua_task_join(struct task *task, struct task *joined) {
    list_add(&joined->joiners, task);
}

/* The task waits for nothing any more. What it asked the kernel for is taken back. */
void pollring_lua_task_wake(struct task *task, enum wake wake) {
    struct source *source = task->source;
    task->wake = wake;
    if (task->timer)
        pollring_lua_timer_stop(task);
    if (task->list)
        pollring_lua_task_list_remove(task);
    if (!source)
        return;
    source->waiter = NULL;
    task->woken_by = source;
    task->source = NULL;
    task->scheduler->waits--;
    if (source == &task->own && pollring_poll_active(source->poll)) {
        pollring_poll_free(source->poll);
        source->poll = NULL;
    }
}

/* ---- the beginning ---- */

static int ended_normally(lua_State *L, int status, lua_KContext context) {
    (void)status;
    (void)context;
    return lua_gettop(L) - 1; /* all but the task */
}

/* A task's coroutine: (task, function, ...). */
static int body(lua_State *L) {
    struct task *task = lua_touserdata(L, 1);
    if (task->scheduler->token != task)
        return luaL_error(L, "a task's coroutine was resumed by hand: only its scheduler may resume it");
    task->scheduler->token = NULL;
    lua_toclose(L, 1);
    lua_callk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, ended_normally);
    return ended_normally(L, LUA_OK, 0);
}

/* Takes an id for the task at index object, in the table at the top. */
static void remember(lua_State *L, struct task *task, int object) {
    struct scheduler *scheduler = task->scheduler;
    lua_Integer id = scheduler->free_id ? scheduler->free_id : scheduler->ids + 1, next = 0;
    if (scheduler->free_id) {
        lua_rawgeti(L, -1, id);
        next = lua_tointeger(L, -1);
        lua_pop(L, 1);
    }
    lua_pushvalue(L, object);
    lua_rawseti(L, -2, id); /* may raise: only then is the id taken */
    if (scheduler->free_id)
        scheduler->free_id = next;
    else
        scheduler->ids = id;
    task->id = id;
    scheduler->tasks++;
}

/* spawn(function, ...): the task, which begins with the scheduler's next turn. */
int pollring_lua_spawn(lua_State *L) {
    struct scheduler *scheduler = pollring_lua_check_scheduler(L, "scheduler:spawn");
    int arguments = lua_gettop(L) - 1; /* and the function */
    if (!lua_isfunction(L, 2))
        return pollring_lua_raise(L, "scheduler:spawn", NO_FD, "a function expected, got %s", luaL_typename(L, 2));
    if (scheduler->closing)
        return pollring_lua_raise(L, "scheduler:spawn", NO_FD, "the scheduler is being closed");
    luaL_checkstack(L, 8, NULL);
    struct task *task = lua_newuserdatauv(L, sizeof *task, TASK_VALUES);
    int object = lua_gettop(L);
    lua_State *thread = lua_newthread(L);
    *task = (struct task){.type = pollring_lua_task_type,
                          .scheduler = scheduler,
                          .thread = thread,
                          .arguments = arguments + 1,
                          .deadline = NEVER,
                          .state = TASK_READY};
    lua_setiuservalue(L, object, TASK_THREAD);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, object, TASK_SCHEDULER);
    lua_pushvalue(L, lua_upvalueindex(UPVALUE_TASK_TYPE));
    lua_setmetatable(L, object);
    if (!lua_checkstack(thread, arguments + LUA_MINSTACK) || pollring_lua_timers_reserve(scheduler))
        return luaL_error(L, "not enough memory");
    lua_pushcfunction(thread, body);
    lua_pushvalue(L, object);
    for (int i = 2; i <= arguments + 1; i++)
        lua_pushvalue(L, i);
    lua_xmove(L, thread, arguments + 1);
    lua_getiuservalue(L, 1, SCHEDULER_TASKS);
    remember(L, task, object);
    lua_settop(L, object);
    pollring_lua_task_make_ready(task);
    return 1;
}

/* ---- the end ---- */

/* It leaves its scheduler, and those who wait for it wake. Allocates nothing. Whether anybody did. */
static bool leave(lua_State *L, struct task *task, int object, enum task_state state) {
    struct scheduler *scheduler = task->scheduler;
    bool joined = task->joiners.first;
    pollring_lua_task_wake(task, WAKE_EVENT);
    pollring_poll_free(task->own.poll);
    task->own.poll = NULL;
    task->state = state;
    while (task->joiners.first) {
        struct task *joiner = task->joiners.first;
        pollring_lua_task_wake(joiner, WAKE_EVENT);
        pollring_lua_task_make_ready(joiner);
    }
    lua_getiuservalue(L, object, TASK_SCHEDULER);
    lua_getiuservalue(L, -1, SCHEDULER_TASKS);
    lua_pushinteger(L, scheduler->free_id);
    lua_rawseti(L, -2, task->id);
    lua_pop(L, 2);
    scheduler->free_id = task->id;
    scheduler->tasks--;
    return joined;
}

/* Keeps the error at index 1 of L, raised on thread, with its traceback, as values of the task at index object. Not
   again where scheduler:deadline() passed it on: its traceback from there tells more. */
void pollring_lua_task_keep_error(lua_State *L, lua_State *thread, int object) {
    lua_getiuservalue(L, object, TASK_ERROR);
    bool kept = lua_rawequal(L, 1, -1) && lua_getiuservalue(L, object, TASK_TRACEBACK) == LUA_TSTRING;
    if (kept)
        return;
    luaL_traceback(L, thread, luaL_tolstring(L, 1, NULL), L == thread);
    lua_setiuservalue(L, object, TASK_TRACEBACK);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, object, TASK_ERROR);
}

/* Of the failed task at index 1, before its stack is unwound. */
static int keep_error(lua_State *L) {
    const struct task *task = lua_touserdata(L, 1);
    lua_State *thread = task->thread;
    if (lua_status(thread) == LUA_YIELD) {
        lua_pushliteral(L, "the task yielded by coroutine.yield: a task waits by its scheduler's functions only");
    } else if (!lua_checkstack(thread, 1)) {
        lua_pushliteral(L, "not enough memory");
    } else {
        lua_pushvalue(thread, -1);
        lua_xmove(thread, L, 1);
    }
    lua_insert(L, 1);
    pollring_lua_task_keep_error(L, thread, 2);
    return 0;
}

/* Pops the error at the top and keeps it. No stack is left, or no memory: a message stands for its traceback. */
static void keep_bare_error(lua_State *L, int object) {
    if (lua_type(L, -1) == LUA_TSTRING)
        lua_pushvalue(L, -1);
    else
        lua_pushnil(L);
    lua_setiuservalue(L, object, TASK_TRACEBACK);
    lua_setiuservalue(L, object, TASK_ERROR);
}

/* Unwinds a task's stack, which closes its <close> variables. Whether they, or the error before, leave an error. */
static bool reset(lua_State *L, struct task *task, int object) {
    lua_State *thread = task->thread;
    struct task *outer = task->scheduler->ending;
    task->scheduler->ending = task;
    int status = lua_resetthread(thread);
    task->scheduler->ending = outer;
    if (status == LUA_OK)
        return false;
    lua_xmove(thread, L, 1);
    lua_getiuservalue(L, object, TASK_ERROR);
    if (lua_rawequal(L, -1, -2))
        lua_pop(L, 2);
    else {
        lua_pop(L, 1);
        keep_bare_error(L, object);
    }
    return true;
}

/* An error that nobody joins goes to the handler; what that raises is raised. */
static void report(lua_State *L, int object) {
    lua_getiuservalue(L, object, TASK_SCHEDULER);
    lua_getiuservalue(L, -1, SCHEDULER_HANDLER);
    lua_pushvalue(L, object);
    lua_getiuservalue(L, object, TASK_ERROR);
    lua_getiuservalue(L, object, TASK_TRACEBACK);
    lua_call(L, 3, 0);
    lua_pop(L, 1);
}

/* lua_resume() has returned, and the task did not wait. Its results stay on its own stack, for join. */
void pollring_lua_task_ended(lua_State *L, int object, int status) {
    struct task *task = lua_touserdata(L, object);
    bool joined = leave(L, task, object, status == LUA_OK ? TASK_RETURNED : TASK_FAILED);
    if (status == LUA_OK)
        return;
    lua_pushcfunction(L, keep_error);
    lua_pushvalue(L, object);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK)
        keep_bare_error(L, object);
    reset(L, task, object);
    if (!joined)
        report(L, object);
}

/* Ends a task that waits or is ready. */
void pollring_lua_task_cancel(lua_State *L, int object) {
    struct task *task = lua_touserdata(L, object);
    bool joined = leave(L, task, object, TASK_CANCELLED);
    if (!reset(L, task, object))
        return;
    task->state = TASK_FAILED;
    if (!joined)
        report(L, object);
}

/* ---- methods ---- */

struct task *pollring_lua_check_task(lua_State *L, const char *function) {
    return pollring_lua_check_type(L, pollring_lua_task_type, sizeof(struct task), function);
}

/* cancel(): false where it has ended already. Its <close> variables are closed on return. */
static int cancel(lua_State *L) {
    struct task *task = pollring_lua_check_task(L, "task:cancel");
    if (task->state == TASK_RUNNING)
        return pollring_lua_raise(L, "task:cancel", NO_FD, "the task is running: it can return, or raise an error");
    bool alive = task->state < TASK_RETURNED && task->scheduler->inbox;
    if (alive)
        pollring_lua_task_cancel(L, 1);
    lua_pushboolean(L, alive);
    return 1;
}

static const char *const states[] = {"ready", "running", "waiting", "returned", "failed", "cancelled"};

static int status(lua_State *L) {
    lua_pushstring(L, states[pollring_lua_check_task(L, "task:status")->state]);
    return 1;
}

static int to_string(lua_State *L) {
    const struct task *task = pollring_lua_check_task(L, "tostring");
    lua_pushfstring(L, "%s %I (%s)", pollring_lua_task_type, (LUAI_UACINT)task->id, states[task->state]);
    return 1;
}

/*
 * The coroutine's outermost to-be-closed variable. In the hands of the scheduler there is nothing to do. Where a script
 * closes the coroutine itself, the task ends with it. As a <close> variable of anybody else, the task is cancelled.
 */
static int closed(lua_State *L) {
    struct task *task = pollring_lua_check_task(L, "task:close");
    if (task->state >= TASK_RETURNED || !task->scheduler->inbox)
        return 0;
    if (L != task->thread)
        return cancel(L);
    if (task->state == TASK_RUNNING)
        return 0;
    lua_settop(L, 1);
    bool joined = leave(L, task, 1, TASK_FAILED);
    lua_pushliteral(L, "a task's coroutine was closed by hand: task:cancel() ends a task");
    lua_pushvalue(L, 2);
    keep_bare_error(L, 1);
    if (!joined)
        report(L, 1);
    return lua_error(L);
}

const luaL_Reg pollring_lua_task_methods[] = {
    {"join", pollring_lua_join}, {"cancel", cancel}, {"status", status}, {NULL, NULL}};
const luaL_Reg pollring_lua_task_metamethods[] = {{"__close", closed}, {"__tostring", to_string}, {NULL, NULL}};
