/*
 * A host in C with an event loop of its own, here epoll; libuv, glib and others do it alike. The script's scheduler is
 * nested in it: the host watches the scheduler's fd, sleeps no longer than its timeout, and then lets it take a step.
 */
#define _GNU_SOURCE
#include <pollring_lua.h>

#include <lauxlib.h>
#include <lualib.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

static const char script[] =
    "local scheduler = require('pollring.scheduler').new()\n"
    "scheduler:spawn(function()\n"
    "    local pipe = scheduler:wrap(io.popen('for i in 1 2 3; do echo line $i; done; sleep 0.02; echo line 4'))\n"
    "    for line in pipe:lines() do print('script: ' .. line) end\n"
    "    pipe:close()\n"
    "end)\n"
    "scheduler:spawn(function()\n"
    "    for i = 1, 3 do scheduler:sleep(0.01) print('script: tick ' .. i) end\n"
    "end)\n"
    "return scheduler\n";

static void die(const char *what, const char *why) {
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

/* Calls a method of the scheduler at index 1; its result is at the top. */
static void call(lua_State *L, const char *method) {
    lua_getfield(L, 1, method);
    lua_pushvalue(L, 1);
    lua_pushinteger(L, 0); /* step's timeout */
    if (lua_pcall(L, 2, 1, 0))
        die("script", lua_tostring(L, -1));
}

static void add(int epoll, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
        die("epoll_ctl", "failed");
}

static int start_timer(void) {
    struct itimerspec often = {.it_interval.tv_nsec = 25000000, .it_value.tv_nsec = 25000000};
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (timer < 0 || timerfd_settime(timer, 0, &often, NULL))
        die("timerfd", "failed");
    return timer;
}

/* Milliseconds, rounded up, for epoll_wait(). */
static int timeout_of(lua_State *L) {
    call(L, "timeout");
    int timeout = lua_isnil(L, -1) ? -1 : (int)(lua_tonumber(L, -1) * 1000 + 0.999);
    lua_pop(L, 1);
    return timeout;
}

int main(void) {
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    luaL_requiref(L, "pollring", luaopen_pollring, 0);
    lua_settop(L, 0);
    if (luaL_dostring(L, script)) /* 1: the scheduler */
        die("script", lua_tostring(L, -1));

    int epoll = epoll_create1(EPOLL_CLOEXEC), timer = start_timer(), ticks = 0;
    call(L, "fileno");
    add(epoll, (int)lua_tointeger(L, -1));
    lua_pop(L, 1);
    add(epoll, timer);

    for (bool alive = true; alive || ticks < 3;) {
        struct epoll_event events[8];
        int count = epoll_wait(epoll, events, 8, alive ? timeout_of(L) : -1);
        for (int i = 0; i < count; i++) {
            uint64_t expired;
            if (events[i].data.fd == timer && read(timer, &expired, sizeof expired) > 0)
                printf("host: timer %d\n", ++ticks);
        }
        call(L, "step");
        alive = lua_toboolean(L, -1);
        lua_pop(L, 1);
    }
    lua_close(L);
    close(timer);
    close(epoll);
    return 0;
}
