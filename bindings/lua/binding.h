/*
 * What the files of the Lua module share: the two objects, and the helpers of the typemaps in pollring.i. Knows lua.h
 * and the core's public header, nothing else of the core.
 *
 * A ring is a userdata {struct ring_object}, a poll a userdata {struct poll_object}. An event's owner is no pointer but
 * the poll's id, a small integer: polls.c keeps the table from ids to poll objects, and decides there who keeps a poll
 * alive. Every error is raised by error.c, so that all are alike: function, fd, reason.
 *
 * Lua may collect garbage, and so run finalisers that close this very ring, at every allocation. So functions allocate
 * first, then look whether the ring is open, and go into the core with nothing in between.
 */
#ifndef POLLRING_LUA_BINDING_H
#define POLLRING_LUA_BINDING_H

#include "pollring_lua.h"

#include <lauxlib.h>

#define RING_TYPE "pollring.ring"
#define POLL_TYPE "pollring.poll"
#define NO_FD (-1) /* for errors that no fd belongs to */

struct ring_object {
    struct pollring *ring;        /* NULL: closed */
    struct pollring_inbox *inbox; /* a host's ring: the script's part of it. NULL: the ring is the script's own */
    lua_Integer ids;              /* ids given out so far: 1 to ids */
    lua_Integer free_id;          /* the first of those that can be given out again; 0: none */
};
enum ring_values {
    RING_POLLS = 1, /* the tables of polls.c */
    RING_WEAK = 2,
    RING_VALUES = 2,
};

struct poll_object {
    struct pollring_poll *poll; /* NULL: not added yet, or finalised */
    struct ring_object *ring;   /* alive: it is a value of this object */
    lua_Integer id;
    bool multishot;
    bool waited; /* poll:wait() was called: its end is told there, and not in ring:wait() */
};
enum poll_values {
    POLL_RING = 1,
    POLL_FILE = 2, /* what the fd was taken from, so that it isn't collected and closed */
    POLL_DATA = 3,
    POLL_VALUES = 3,
};

/* Members written by hand have the polls' metatable as an upvalue: comparing with it is several times faster than
   luaL_checkudata(), which looks up the type's name in the registry. */
enum { UPVALUE_POLL_TYPE = 1 };

/* module.c */
int pollring_lua_open_wrapped(lua_State *L); /* SWIG's */

/* scheduler.c */
void pollring_lua_scheduler_create(lua_State *L); /* pushes what lua/pollring/scheduler.lua builds on */

/* stdio.c */
int pollring_lua_read_now(lua_State *L);
int pollring_lua_set_nonblocking(lua_State *L);

/* source.c */
struct pollring_lua_source {
    const char *module, *chunk, *text;
};
extern const struct pollring_lua_source pollring_lua_sources[]; /* generated; {NULL} is the last */
void pollring_lua_preload(lua_State *L);

/* members.c */
void pollring_lua_types_create(lua_State *L, int module);
void pollring_lua_ring_set_type(lua_State *L, int ring);
struct ring_object *pollring_lua_test_ring(lua_State *L, int index);

/* ring.c */
extern const luaL_Reg pollring_lua_ring_methods[], pollring_lua_ring_fields[], pollring_lua_ring_metamethods[];
struct ring_object *pollring_lua_check_ring(lua_State *L, int index, const char *function);
struct ring_object *pollring_lua_check_open(lua_State *L, int index, const char *function); /* and not closed */
struct pollring *pollring_lua_ring_of(const struct ring_object *object); /* NULL: closed, maybe by the host */
struct ring_object *pollring_lua_ring_create(lua_State *L);              /* pushes a ring object that is closed */
void pollring_lua_ring_close(lua_State *L, int index);

/* options.c */
int pollring_lua_ring(lua_State *L); /* pollring.ring{...}; upvalue 1: the module */
/* Reads the options of poll_add at index (nil: defaults) and pushes the value of data. */
unsigned pollring_lua_poll_options(lua_State *L, int index, const char *function, int fd, uint32_t *events);

/* poll.c */
extern const luaL_Reg pollring_lua_poll_methods[], pollring_lua_poll_fields[], pollring_lua_poll_metamethods[];
struct poll_object *pollring_lua_check_poll(lua_State *L, int index, const char *function);
int pollring_lua_fd_of(lua_State *L, int index); /* of a poll, NO_FD for all else */
int pollring_lua_poll_add(lua_State *L);         /* ring:poll_add() */
int pollring_lua_watch(lua_State *L);            /* ring:watch() */
void pollring_lua_poll_armed(lua_State *L, int index);
void pollring_lua_poll_removed(lua_State *L, int index);
int pollring_lua_push_end_reason(lua_State *L, int reason);

/* polls.c */
void pollring_lua_polls_create(lua_State *L, int ring);
void pollring_lua_polls_add(lua_State *L, int poll, int ring);
void pollring_lua_polls_keep(lua_State *L, int poll);
void pollring_lua_polls_weaken(lua_State *L, int poll);
void pollring_lua_polls_forget(lua_State *L, int poll);
void pollring_lua_polls_release(lua_State *L, int poll);
void pollring_lua_polls_clear(lua_State *L, int ring);

/* file.c */
int pollring_lua_check_fd(lua_State *L, int index, const char *function);

/* mask.c */
uint32_t pollring_lua_check_mask(lua_State *L, int index, const char *function, int fd);
int pollring_lua_names(lua_State *L); /* pollring.names() */

/* timeout.c */
struct timeout {
    const struct timespec *pointer; /* for the core; NULL: for ever */
    struct timespec value;
    struct timespec deadline; /* on CLOCK_MONOTONIC; set where value isn't zero */
};
void pollring_lua_check_timeout(lua_State *L, int index, const char *function, int fd, struct timeout *timeout);
bool pollring_lua_is_duration(double seconds);
void pollring_lua_interrupted(lua_State *L, struct timeout *timeout);

/* error.c */
int pollring_lua_raise(lua_State *L, const char *function, int fd, const char *format, ...)
    __attribute__((format(printf, 4, 5), noreturn)); /* int, so that it can be returned as luaL_error() is */
int pollring_lua_raise_errno(lua_State *L, const char *function, int fd, int error);
int pollring_lua_failed(lua_State *L, const char *function, int fd, int error);
int pollring_lua_status(lua_State *L, const char *function, int result);
int pollring_lua_number(lua_State *L, const char *function, int result);

/* fields.c */
int pollring_lua_push_stats(lua_State *L, const struct pollring_stats *stats);
int pollring_lua_push_probe(lua_State *L, const struct pollring_probe *probe);

#endif
