/* The module table: SWIG's, with what is written by hand added. */
#define _GNU_SOURCE
#include "binding.h"

#include <lualib.h>
#include <pthread.h>

static void push_global(lua_State *L, const char *name) {
    lua_pushglobaltable(L);
    lua_pushstring(L, name);
    lua_rawget(L, -2);
    lua_remove(L, -2);
}

/* Pops the value at the top. */
static void set_global(lua_State *L, const char *name) {
    lua_pushglobaltable(L);
    lua_insert(L, -2);
    lua_pushstring(L, name);
    lua_insert(L, -2);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

static pthread_mutex_t opening;

static void make_opening(void) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&opening, &attributes);
}

/* SWIG links its static data when it opens, without a thought for other threads that open it in a state of theirs. (A
   finaliser of this thread may come in again, hence recursive.) Pushes SWIG's module, or raises. */
static void open_alone(lua_State *L) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_opening);
    lua_pushcfunction(L, pollring_lua_open_wrapped);
    pthread_mutex_lock(&opening);
    int status = lua_pcall(L, 0, 1, 0);
    pthread_mutex_unlock(&opening);
    if (status != LUA_OK)
        lua_error(L);
}

/* SWIG sets two globals, for types that this module has none of: they get their former values again. */
static void open_wrapped(lua_State *L) {
    push_global(L, "swig_type");
    push_global(L, "swig_equals");
    open_alone(L);
    lua_insert(L, -3);
    set_global(L, "swig_equals");
    set_global(L, "swig_type");
}

__attribute__((visibility("default"))) int luaopen_pollring(lua_State *L) {
    static const luaL_Reg functions[] = {{"names", pollring_lua_names}, {NULL, NULL}};
    lua_settop(L, 0);
    open_wrapped(L);
    lua_pushnil(L);
    lua_setmetatable(L, 1); /* SWIG's, for global variables of C */
    luaL_setfuncs(L, functions, 0);
    lua_pushvalue(L, 1);
    lua_pushcclosure(L, pollring_lua_ring, 1);
    lua_setfield(L, 1, "ring");
    pollring_lua_types_create(L, 1);
    pollring_lua_scheduler_create(L);
    lua_setfield(L, 1, "_scheduler");
    pollring_lua_preload(L);
    return 1;
}
