/*
 * What the files of the scheduler share. scheduler.c runs the loop, scheduler_task.c begins and ends tasks,
 * scheduler_wait.c has what a task can wait for, scheduler_timer.c the timers.
 *
 * A task is a coroutine and a userdata {struct task}; the scheduler's table of tasks keeps it until it has ended. While
 * it waits its coroutine is suspended in a C function of scheduler_wait.c, and it is found from where its wake-up comes
 * from: an event's owner (struct source), the heap of timers, the list of ready tasks, the list of those that join a
 * task. None of these is Lua's memory, so that the loop allocates nothing and pushes nothing: what a wait returns is
 * left in the task, and its continuation pushes it, inside the coroutine, where an error is the task's.
 *
 * A script can get at a task's coroutine (coroutine.running) and resume or close it by hand. So a continuation looks
 * for the scheduler's token, and the task is its coroutine's outermost to-be-closed variable.
 */
#ifndef POLLRING_LUA_SCHEDULER_H
#define POLLRING_LUA_SCHEDULER_H

#include "binding.h"

#define NEVER INT64_MAX /* times are nanoseconds on CLOCK_MONOTONIC */

struct task;

/* Every object begins with its type: a pointer to one of the names below, which no other memory of that size holds.
   Looking for it is several times faster than looking for a metatable. */
struct object {
    const char *type;
};

/* A poll, and the task that waits for its next event. */
struct source {
    struct pollring_poll *poll; /* NULL: none yet, or no more */
    struct task *waiter;
    int result; /* of the event that came, or of several, OR-ed; or a negative errno */
    bool arrived, more;
};

enum task_state {
    TASK_READY,   /* in the list of ready tasks; or new, with arguments on its stack */
    TASK_RUNNING, /* in lua_resume() */
    TASK_WAITING,
    TASK_RETURNED, /* its results are what is on its thread's stack */
    TASK_FAILED,   /* its error and the traceback are values of the object */
    TASK_CANCELLED,
};

enum wake {
    WAKE_EVENT, /* what was waited for came */
    WAKE_TIMEOUT,
    WAKE_DEADLINE,
};

struct task_list {
    struct task *first, *last;
    size_t count;
};

struct task {
    const char *type; /* pollring_lua_task_type */
    lua_State *thread;
    struct scheduler *scheduler; /* alive: it is a value of this object */
    struct source *source;       /* what it waits for: its own, a watch's, or NULL */
    struct source *woken_by;     /* the last one; alive, as the coroutine's stack has it */
    struct task_list *list;      /* the list that it is in: of ready tasks, or of those that join a task */
    size_t timer;                /* its place in the heap, 0: none */
    int64_t deadline;            /* of scheduler:deadline() */
    enum task_state state;
    enum wake wake;
    int arguments; /* for the first resume */
    struct task *previous, *next;
    struct source own;        /* a one-shot, kept for the next wait for the same fd and mask */
    struct task_list joiners; /* those who wait for its end */
    lua_Integer id;           /* in the scheduler's table of tasks */
};
enum task_values {
    TASK_THREAD = 1,
    TASK_SCHEDULER = 2,
    TASK_ERROR = 3,
    TASK_TRACEBACK = 4,
    TASK_VALUES = 4,
};

struct timer {
    int64_t time;
    struct task *task;
};

struct scheduler {
    const char *type;             /* pollring_lua_scheduler_type */
    struct ring_object *ring;     /* alive: it is a value of this object */
    lua_State *main;              /* whose debug hook is lua.c's for Ctrl-C */
    struct pollring_inbox *inbox; /* NULL: closed */
    bool own_ring;                /* closed with the scheduler */
    bool running;                 /* in run or step */
    bool closing;
    struct task *current; /* the task that runs */
    struct task *token;   /* the task that is being resumed, until it has seen this */
    struct task *ending;  /* the task whose <close> variables are being closed after an error or cancel() */
    struct task_list ready;
    unsigned waits; /* tasks that wait for a source */
    lua_Integer tasks, ids, free_id;
    struct timer *timers; /* a heap from 1 on, with room for all tasks */
    size_t timer_count, timer_room;
};
enum scheduler_values {
    SCHEDULER_RING = 1,
    SCHEDULER_TASKS = 2,   /* from id to task; a number: the id is free, and this is the next free one */
    SCHEDULER_HANDLER = 3, /* of errors that nobody joins */
    SCHEDULER_VALUES = 3,
};

enum scheduler_upvalues { UPVALUE_SCHEDULER_TYPE = 1, UPVALUE_TASK_TYPE = 2, UPVALUE_WATCH_TYPE = 3 };

/* scheduler.c */
extern const char pollring_lua_scheduler_type[], pollring_lua_task_type[], pollring_lua_watch_type[]; /* their names */
struct scheduler *pollring_lua_check_scheduler(lua_State *L, const char *function); /* at index 1, and not closed */

/* The object at index 1. */
void *pollring_lua_wrong_type(lua_State *L, const char *type, const char *function);
static inline void *pollring_lua_check_type(lua_State *L, const char *type, size_t size, const char *function) {
    struct object *object = lua_touserdata(L, 1);
    if (object && lua_rawlen(L, 1) == size && object->type == type)
        return object;
    return pollring_lua_wrong_type(L, type, function);
}

/* scheduler_task.c */
extern const luaL_Reg pollring_lua_task_methods[], pollring_lua_task_metamethods[];
int pollring_lua_spawn(lua_State *L);                                     /* scheduler:spawn() */
struct task *pollring_lua_check_task(lua_State *L, const char *function); /* at index 1 */
void pollring_lua_task_wake(struct task *task, enum wake wake);
void pollring_lua_task_make_ready(struct task *task);
void pollring_lua_task_ended(lua_State *L, int object, int status);
void pollring_lua_task_cancel(lua_State *L, int object);
void pollring_lua_task_keep_error(lua_State *L, lua_State *thread, int object);
void pollring_lua_task_join(struct task *task, struct task *joined);
void pollring_lua_task_list_remove(struct task *task);

/* scheduler_wait.c */
extern const luaL_Reg pollring_lua_scheduler_waits[], pollring_lua_watch_methods[], pollring_lua_watch_metamethods[];
int pollring_lua_join(lua_State *L); /* task:join() */

/* scheduler_timer.c */
int64_t pollring_lua_now(void);
int64_t pollring_lua_check_until(lua_State *L, int index, const char *function, int fd);
int pollring_lua_timers_reserve(struct scheduler *scheduler); /* room for one task more: 0 or -ENOMEM */
void pollring_lua_timer_start(struct task *task, int64_t time);
void pollring_lua_timer_stop(struct task *task);

#endif
