/*
 * The modules that are written in Lua, as text inside of this library: so a script needs no path to them, and a host
 * that is linked statically no file. The Makefile makes the table of lua/pollring/.
 */
#include "binding.h"

#include <string.h>

static const struct {
    const char *module, *chunk, *text;
} sources[] = {
#include "sources.inc"
};
enum { SOURCES = sizeof sources / sizeof *sources };

/* The loader of a module; upvalue 1: its place in the table. */
static int load(lua_State *L) {
    lua_Integer place = lua_tointeger(L, lua_upvalueindex(1));
    if (luaL_loadbuffer(L, sources[place].text, strlen(sources[place].text), sources[place].chunk))
        return lua_error(L);
    lua_pushstring(L, sources[place].module);
    lua_call(L, 1, 1);
    return 1;
}

/* For require. */
void pollring_lua_preload(lua_State *L) {
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    for (int i = 0; i < SOURCES; i++) {
        lua_pushinteger(L, i);
        lua_pushcclosure(L, load, 1);
        lua_setfield(L, -2, sources[i].module);
    }
    lua_pop(L, 1);
}

/* For require without "pollring" before it. */
__attribute__((visibility("default"))) int luaopen_pollring_scheduler(lua_State *L) {
    luaL_requiref(L, "pollring", luaopen_pollring, 0);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_getfield(L, -1, "pollring.scheduler");
    lua_call(L, 0, 1);
    return 1;
}
