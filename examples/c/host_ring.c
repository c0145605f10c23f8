/*
 * A host in C with a ring of its own, which it lends to a script: both poll on it, each gets its own events, and the
 * host's loop sleeps for both. The script's tasks wait for a fd that the host hands them, and for time.
 */
#include <pollring_lua.h>

#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char script[] =
    "local ring, fd = ...\n"
    "local scheduler = require('pollring.scheduler').new(ring)\n"
    "scheduler:on_error(function(task, message, traceback) error(traceback, 0) end)\n"
    "scheduler:spawn(function()\n"
    "    for events, more in scheduler:watch(fd, 'in') do\n"
    "        if events & 1 ~= 0 then print('script: event ' .. host_read(fd)) end\n"
    "    end\n"
    "    print 'script: the end'\n"
    "end)\n"
    "scheduler:spawn(function()\n"
    "    for i = 1, 3 do scheduler:sleep(0.01) print('script: tick ' .. i) end\n"
    "end)\n"
    "return scheduler\n";

static void die(const char *what, const char *why) {
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static void check(int error, const char *what) {
    if (error < 0)
        die(what, strerror(-error));
}

/* For the script: what can be read from a fd. */
static int host_read(lua_State *L) {
    char buffer[256];
    ssize_t size = read((int)luaL_checkinteger(L, 1), buffer, sizeof buffer);
    lua_pushlstring(L, buffer, size > 0 ? (size_t)size : 0);
    return 1;
}

/* Calls a method of the scheduler at index 1 with a number; its result is at the top. */
static void call(lua_State *L, const char *method, double argument) {
    lua_getfield(L, 1, method);
    lua_pushvalue(L, 1);
    lua_pushnumber(L, argument);
    if (lua_pcall(L, 2, 1, 0))
        die("script", lua_tostring(L, -1));
}

static struct timespec seconds(double value) {
    return (struct timespec){.tv_sec = (time_t)value, .tv_nsec = (long)((value - (double)(time_t)value) * 1e9)};
}

/* Sleeps until there is something for either. */
static void collect(lua_State *L, struct pollring *ring) {
    call(L, "timeout", 0);
    struct timespec timeout = seconds(lua_tonumber(L, -1));
    check(pollring_collect(ring, lua_isnil(L, -1) ? NULL : &timeout), "pollring_collect");
    lua_pop(L, 1);
}

int main(void) {
    struct pollring *ring;
    struct pollring_poll *poll;
    struct pollring_event event;
    int hosts[2], scripts[2];
    bool alive = true;

    if (pipe(hosts) || pipe(scripts))
        die("pipe", "no fds left");
    check(pollring_open(&ring, NULL), "pollring_open");
    check(pollring_poll_add(ring, &poll, hosts[0], POLLIN, 0, NULL), "pollring_poll_add");

    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    luaL_requiref(L, "pollring", luaopen_pollring, 0);
    lua_register(L, "host_read", host_read);
    lua_settop(L, 0);
    luaL_loadstring(L, script);
    pollring_lua_push(L, ring);
    lua_pushinteger(L, scripts[0]);
    if (lua_pcall(L, 2, 1, 0)) /* 1: the scheduler */
        die("script", lua_tostring(L, -1));

    check((int)write(hosts[1], "x", 1), "write");
    while (alive) {
        collect(L, ring);
        while (pollring_take(ring, NULL, &event) == 1) { /* the host's events */
            char byte;
            printf("host: event\n");
            check((int)read(hosts[0], &byte, 1), "read");
            check((int)write(scripts[1], "from the host", 13), "write");
            close(scripts[1]);
        }
        call(L, "step", 0); /* and the script's */
        alive = lua_toboolean(L, -1);
        lua_pop(L, 1);
    }
    lua_close(L); /* ends the script's polls, not the host's */
    printf("host: %u poll is active\n", pollring_active(ring));
    pollring_poll_free(poll);
    pollring_close(ring);
    return 0;
}
