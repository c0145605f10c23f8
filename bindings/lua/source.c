/*
 * The modules that are written in Lua, as text inside of this library: so a script needs no path to them, and a host
 * that is linked statically no file. The Makefile makes the table of lua/pollring/.
 */
#include "binding.h"

#include <string.h>

/* What these modules see as require, as a host may have no package library. Pushes the value of the module named at
   index 1, which is "pollring" or one of these. */
static int require(lua_State *L) {
    const char *name = luaL_checkstring(L, 1);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    if (lua_getfield(L, -1, name) != LUA_TNIL)
        return 1;
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_getfield(L, -1, name);
    lua_call(L, 0, 1);
    lua_pushvalue(L, -1);
    lua_setfield(L, 2, name);
    return 1;
}

/* The loader of a module; upvalue 1: its place in the table. */
static int load(lua_State *L) {
    const struct pollring_lua_source *source = &pollring_lua_sources[lua_tointeger(L, lua_upvalueindex(1))];
    if (luaL_loadbuffer(L, source->text, strlen(source->text), source->chunk))
        return lua_error(L);
    lua_pushcfunction(L, require);
    lua_call(L, 1, 1);
    return 1;
}

void pollring_lua_preload(lua_State *L) {
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    for (int i = 0; pollring_lua_sources[i].module; i++) {
        lua_pushinteger(L, i);
        lua_pushcclosure(L, load, 1);
        lua_setfield(L, -2, pollring_lua_sources[i].module);
    }
    lua_pop(L, 1);
}

/* For require without "pollring" before it, and for hosts. */
__attribute__((visibility("default"))) int luaopen_pollring_scheduler(lua_State *L) {
    luaL_requiref(L, "pollring", luaopen_pollring, 0);
    lua_settop(L, 0);
    lua_pushliteral(L, "pollring.scheduler");
    return require(L);
}
