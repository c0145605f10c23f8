/*
 * What counts as a file: a number, a file of Lua's io library, or an object that can tell its number: fileno (luv,
 * pollring), getfd (LuaSocket), pollfd (cqueues).
 */
#include "binding.h"

#include <limits.h>
#include <stdio.h>

static int checked(lua_State *L, int index, const char *function) {
    int exact;
    lua_Integer fd = lua_tointegerx(L, index, &exact);
    if (!exact)
        return pollring_lua_raise(L, function, NO_FD, "fd %g is not an integer", lua_tonumber(L, index));
    if (fd < 0 || fd > INT_MAX)
        return pollring_lua_raise(L, function, NO_FD, "fd " LUA_INTEGER_FMT " is out of range (EBADF)", fd);
    return (int)fd;
}

static int of_lua_file(lua_State *L, const char *function, const luaL_Stream *stream) {
    if (!stream->closef)
        return pollring_lua_raise(L, function, NO_FD, "the file is closed (EBADF)");
    return fileno(stream->f);
}

static bool can_be_indexed(lua_State *L, int index) {
    if (lua_istable(L, index))
        return true;
    if (!lua_isuserdata(L, index) || !luaL_getmetafield(L, index, "__index"))
        return false;
    lua_pop(L, 1);
    return true;
}

static int of_object(lua_State *L, int index, const char *function) {
    static const char *const methods[] = {"fileno", "getfd", "pollfd", NULL};
    for (const char *const *method = methods; *method; method++) {
        if (lua_getfield(L, index, *method) != LUA_TFUNCTION) {
            lua_pop(L, 1);
            continue;
        }
        lua_pushvalue(L, index);
        lua_call(L, 1, 1);
        if (lua_type(L, -1) != LUA_TNUMBER)
            return pollring_lua_raise(L, function, NO_FD, "fd: %s() of the %s gave %s", *method,
                                      luaL_typename(L, index), luaL_typename(L, -1));
        int fd = checked(L, -1, function);
        lua_pop(L, 1);
        return fd;
    }
    return pollring_lua_raise(L, function, NO_FD, "fd: the %s has no method fileno, getfd or pollfd",
                              luaL_typename(L, index));
}

int pollring_lua_check_fd(lua_State *L, int index, const char *function) {
    if (lua_type(L, index) == LUA_TNUMBER)
        return checked(L, index, function);
    const luaL_Stream *stream = luaL_testudata(L, index, LUA_FILEHANDLE);
    if (stream)
        return of_lua_file(L, function, stream);
    if (can_be_indexed(L, index))
        return of_object(L, index, function);
    return pollring_lua_raise(L, function, NO_FD,
                              "fd: a number, a file or an object with fileno, getfd or pollfd "
                              "expected, got %s",
                              luaL_typename(L, index));
}
