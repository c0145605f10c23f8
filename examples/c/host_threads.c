/*
 * A host in C with several threads, each with a lua_State and a ring of its own: a ring belongs to the thread that
 * waits with it. Each thread runs two tasks that pass a message to and fro.
 */
#define _GNU_SOURCE
#include <pollring_lua.h>

#include <lauxlib.h>
#include <lualib.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { THREADS = 4, MESSAGES = 1000 };

static const char script[] =
    "local near, far, messages = ...\n"
    "local scheduler <close> = require('pollring.scheduler').new()\n"
    "local function pass(fd)\n"
    "    local passed = 0\n"
    "    for _ in scheduler:watch(fd, 'in') do\n"
    "        passed = passed + host_pass(fd)\n"
    "        if passed == messages then return passed end\n"
    "    end\n"
    "end\n"
    "local one, other = scheduler:spawn(pass, near), scheduler:spawn(pass, far)\n"
    "host_write(far)\n"
    "scheduler:run()\n"
    "return select(2, one:join()) + select(2, other:join())\n";

static int host_write(lua_State *L) {
    lua_pushboolean(L, write((int)luaL_checkinteger(L, 1), "x", 1) == 1);
    return 1;
}

/* Reads a message and sends it back; how many. */
static int host_pass(lua_State *L) {
    char message;
    int fd = (int)luaL_checkinteger(L, 1);
    lua_pushinteger(L, read(fd, &message, 1) == 1 && write(fd, &message, 1) == 1);
    return 1;
}

static void *run(void *number) {
    int pair[2];
    const char *result = NULL;
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    luaL_requiref(L, "pollring", luaopen_pollring, 0);
    lua_register(L, "host_write", host_write);
    lua_register(L, "host_pass", host_pass);
    if (!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) && !luaL_loadstring(L, script)) {
        lua_pushinteger(L, pair[0]);
        lua_pushinteger(L, pair[1]);
        lua_pushinteger(L, MESSAGES);
        lua_pcall(L, 3, 1, 0);
        result = lua_tostring(L, -1);
        close(pair[0]);
        close(pair[1]);
    }
    printf("thread %d: %s messages\n", *(int *)number, result ? result : "no");
    lua_close(L);
    return NULL;
}

int main(void) {
    pthread_t threads[THREADS];
    int numbers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i + 1;
        if (pthread_create(&threads[i], NULL, run, &numbers[i]))
            return 1;
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    return 0;
}
