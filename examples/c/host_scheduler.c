/*
 * A host in C whose main loop is pollring's scheduler. The host gives it its callbacks as C functions: each is called
 * by a task that watches an fd. A callback may wait too, as any task; here the server's answers late.
 */
#define _GNU_SOURCE
#include <pollring_lua.h>

#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* watch(fd, callback): as a task, callback(fd, events) for each event until it gives false. */
static const char prelude[] =
    "local scheduler = require('pollring.scheduler').new()\n"
    "function watch(fd, callback)\n"
    "    return scheduler:spawn(function()\n"
    "        for events in scheduler:watch(fd, 'in') do\n"
    "            if not callback(fd, events) then break end\n"
    "        end\n"
    "    end)\n"
    "end\n"
    "function sleep(seconds) scheduler:sleep(seconds) end\n"
    "return scheduler\n";

static void die(const char *what, const char *why) {
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

/* Pushes true: go on watching. */
static int go_on(lua_State *L) {
    lua_pushboolean(L, true);
    return 1;
}

static int server_answers(lua_State *L, int status, lua_KContext context) {
    (void)status;
    (void)context;
    if (write((int)lua_tointeger(L, 1), "pong", 4) != 4)
        return 0;
    return go_on(L);
}

/* The server's callback: reads a question, waits a little while the others go on, and answers. */
static int server_readable(lua_State *L) {
    char buffer[16];
    ssize_t size = read((int)luaL_checkinteger(L, 1), buffer, sizeof buffer);
    if (size <= 0)
        return 0;
    printf("server: %.*s\n", (int)size, buffer);
    lua_getglobal(L, "sleep");
    lua_pushnumber(L, 0.005);
    lua_callk(L, 1, 0, 0, server_answers);
    return server_answers(L, LUA_OK, 0);
}

/* The client's callback: asks again, three times in all; upvalue 1 counts. */
static int client_readable(lua_State *L) {
    char buffer[16];
    int fd = (int)luaL_checkinteger(L, 1);
    lua_Integer count = lua_tointeger(L, lua_upvalueindex(1)) + 1;
    ssize_t size = read(fd, buffer, sizeof buffer);
    printf("client: %.*s\n", size > 0 ? (int)size : 0, buffer);
    lua_pushinteger(L, count);
    lua_replace(L, lua_upvalueindex(1));
    if (count == 3) {
        shutdown(fd, SHUT_WR);
        return 0;
    }
    return write(fd, "ping", 4) == 4 ? go_on(L) : 0;
}

static void watch(lua_State *L, int fd, lua_CFunction callback) {
    lua_getglobal(L, "watch");
    lua_pushinteger(L, fd);
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, callback, 1);
    if (lua_pcall(L, 2, 0, 0))
        die("watch", lua_tostring(L, -1));
}

int main(void) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair))
        die("socketpair", "failed");

    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    luaL_requiref(L, "pollring", luaopen_pollring, 0);
    lua_settop(L, 0);
    if (luaL_dostring(L, prelude)) /* 1: the scheduler */
        die("prelude", lua_tostring(L, -1));
    watch(L, pair[0], server_readable);
    watch(L, pair[1], client_readable);
    if (write(pair[1], "ping", 4) != 4)
        die("write", "failed");

    lua_getfield(L, 1, "run");
    lua_pushvalue(L, 1);
    if (lua_pcall(L, 1, 0, 0)) /* returns when no task is left */
        die("run", lua_tostring(L, -1));
    printf("host: all tasks have ended\n");
    lua_close(L);
    close(pair[0]);
    close(pair[1]);
    return 0;
}
