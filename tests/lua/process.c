/*
 * What the specs need and Lua can't do: forked children, and other interpreters in the same thread. Knows lua.h and
 * nothing of pollring.
 */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include <sys/wait.h>
#include <unistd.h>

/* process.fork(f): calls f in a forked child, which ends then. What f returned, or its error, as a string. */
static int run_in_child(lua_State *L) {
    int fds[2];
    if (pipe(fds))
        return luaL_error(L, "pipe failed");
    lua_settop(L, 1);
    pid_t child = fork();
    if (!child) {
        size_t length;
        lua_pcall(L, 0, 1, 0);
        const char *text = luaL_tolstring(L, -1, &length);
        _exit(write(fds[1], text, length) != (ssize_t)length);
    }
    close(fds[1]);
    luaL_Buffer answer;
    luaL_buffinit(L, &answer);
    for (ssize_t size = 1; size > 0;) {
        size = read(fds[0], luaL_prepbuffer(&answer), LUAL_BUFFERSIZE);
        luaL_addsize(&answer, size > 0 ? (size_t)size : 0);
    }
    luaL_pushresult(&answer);
    close(fds[0]);
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) < 0 || status)
        return luaL_error(L, "the child has failed with status 0x%x: %s", status, lua_tostring(L, -1));
    return 1;
}

/* process.state(script, path, cpath): runs a script in a lua_State of its own. What it returned, or its error. */
static int run_in_state(lua_State *L) {
    lua_State *other = luaL_newstate();
    luaL_openlibs(other);
    lua_getglobal(other, "package");
    lua_pushstring(other, luaL_checkstring(L, 2));
    lua_setfield(other, -2, "path");
    lua_pushstring(other, luaL_checkstring(L, 3));
    lua_setfield(other, -2, "cpath");
    if (!luaL_loadstring(other, luaL_checkstring(L, 1)))
        lua_pcall(other, 0, 1, 0);
    lua_pushstring(L, luaL_tolstring(other, -1, NULL));
    lua_close(other);
    return 1;
}

int luaopen_process(lua_State *L);

int luaopen_process(lua_State *L) {
    static const luaL_Reg functions[] = {{"fork", run_in_child}, {"state", run_in_state}, {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}
