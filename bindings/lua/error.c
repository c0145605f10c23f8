/*
 * Errors. A script's mistakes are raised: wrong types and ranges, a closed ring, another thread's ring, a poll that has
 * ended. What the system refuses is returned as io.open does: nil, message, errno. Both say "method: fd N: reason".
 *
 * A function is named as a script calls it, "ring:wait"; or, where SWIG names it, "submit" and "poll_update".
 */
#include "binding.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Pushes what every message begins with. */
static void push_place(lua_State *L, const char *function, int fd) {
    if (strpbrk(function, ".:"))
        lua_pushfstring(L, "%s: ", function);
    else if (!strncmp(function, "poll_", strlen("poll_")))
        lua_pushfstring(L, "poll:%s: ", function + strlen("poll_"));
    else
        lua_pushfstring(L, "ring:%s: ", function);
    if (fd != NO_FD) {
        lua_pushfstring(L, "fd %d: ", fd);
        lua_concat(L, 2);
    }
}

static bool is_ours(const char *source) {
    for (const struct pollring_lua_source *own = pollring_lua_sources; own->module; own++)
        if (!strcmp(own->chunk, source))
            return true;
    return false;
}

/* The name that a function of wrap.lua has in its first argument, the wrapper whose method it is. Not the name that it
   was called by, which a tail call loses. */
static const char *name_of_method(lua_State *L, lua_Debug *called) {
    const char *name = "lines"; /* what is no method is an iterator, and this the only one that gives any */
    int top = lua_gettop(L);
    lua_getinfo(L, "f", called);
    if (lua_getlocal(L, called, 1) && luaL_getmetafield(L, -1, "__index") == LUA_TTABLE)
        for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
            if (lua_rawequal(L, -1, top + 1) && lua_type(L, -2) == LUA_TSTRING)
                name = lua_tostring(L, -2);
    lua_settop(L, top);
    return name;
}

/* Pushes the script's line, as luaL_where() does, but not one of our modules in Lua. Where a method of theirs was
   called, of what was wrapped, pushes its name too, else the function's. */
static void push_caller(lua_State *L, const char *function) {
    lua_Debug called;
    int level = 1;
    const char *method = NULL;
    while (lua_getstack(L, level, &called) && lua_getinfo(L, "S", &called) && is_ours(called.source)) {
        method = strcmp(called.source, "@pollring/wrap.lua") ? NULL : name_of_method(L, &called);
        level++;
    }
    luaL_where(L, level);
    if (method)
        lua_pushfstring(L, "wrapped:%s", method);
    else
        lua_pushstring(L, function);
}

int pollring_lua_raise(lua_State *L, const char *function, int fd, const char *format, ...) {
    char reason[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    push_caller(L, function);
    push_place(L, lua_tostring(L, -1), fd);
    lua_remove(L, -2);
    lua_pushstring(L, reason);
    lua_concat(L, 3);
    lua_error(L);
    __builtin_unreachable();
}

static const char *reason_of(int error) {
    switch (-error) {
    case EINVAL:
        return "an argument is out of range";
    case EEXIST:
        return "another thread owns the ring";
    case EOWNERDEAD:
        return "this is a forked child and the ring is its parent's: close it here, and open another";
    case ESHUTDOWN:
        return "the ring is closed";
    case ELOOP:
        return "a ring can't poll itself";
    case ENOENT:
        return "the poll has ended";
    case EALREADY:
        return "the poll is active";
    default:
        return strerror(-error);
    }
}

static bool is_scripts_mistake(int error) {
    switch (-error) {
    case EINVAL:
    case EEXIST:
    case EOWNERDEAD:
    case ESHUTDOWN:
    case ELOOP:
    case ENOENT:
    case EALREADY:
    case EBADF:
        return true;
    default:
        return false;
    }
}

int pollring_lua_raise_errno(lua_State *L, const char *function, int fd, int error) {
    char name[32];
    pollring_strevents(error, name, sizeof name);
    return pollring_lua_raise(L, function, fd, "%s (%s)", reason_of(error), name);
}

/* Raises, or pushes nil, message, errno and returns 3. */
int pollring_lua_failed(lua_State *L, const char *function, int fd, int error) {
    if (is_scripts_mistake(error))
        return pollring_lua_raise_errno(L, function, fd, error);
    char name[32];
    pollring_strevents(error, name, sizeof name);
    lua_pushnil(L);
    push_place(L, function, fd);
    lua_pushfstring(L, "%s (%s)", strerror(-error), name);
    lua_concat(L, 2);
    lua_pushinteger(L, -error);
    return 3;
}

/* The result of a core's function that was given the values at index 1 and 2. */
int pollring_lua_status(lua_State *L, const char *function, int result) {
    if (result < 0)
        return pollring_lua_failed(L, function, pollring_lua_fd_of(L, 1), result);
    lua_pushboolean(L, true);
    return 1;
}

int pollring_lua_number(lua_State *L, const char *function, int result) {
    if (result < 0)
        return pollring_lua_failed(L, function, pollring_lua_fd_of(L, 1), result);
    lua_pushinteger(L, result);
    return 1;
}
