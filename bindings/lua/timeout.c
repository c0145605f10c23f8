/*
 * Timeouts, and signals that end a sleep.
 *
 * A Lua host serves signals through a debug hook: its signal handler does no more than set one (lua.c does so for
 * Ctrl-C), and the interpreter runs it at the next call or instruction. A wait that went back to sleep at once would
 * never get there. So the wait calls a Lua function that does nothing: the hook runs there, and raises if it wants to;
 * if it doesn't, the wait goes on with what is left of its timeout. lua.c's hook is set on the main thread only, and
 * the wait may be in a coroutine: then that hook is lent to the coroutine meanwhile.
 */
#include "binding.h"
#include "deadline.h"

#define LONGEST_SECONDS 1e9 /* 31 years */

/* Rounded up, so that a short timeout is none at all only if it is 0. */
static struct timespec timespec_of(double seconds) {
    time_t whole = (time_t)seconds;
    double ns = (seconds - (double)whole) * (double)NS_PER_SECOND;
    struct timespec result = {.tv_sec = whole, .tv_nsec = (long)ns};
    result.tv_nsec += (double)result.tv_nsec < ns;
    if (result.tv_nsec >= NS_PER_SECOND) {
        result.tv_sec++;
        result.tv_nsec -= NS_PER_SECOND;
    }
    return result;
}

bool pollring_lua_is_duration(double seconds) {
    return seconds >= 0 && seconds <= LONGEST_SECONDS;
}

void pollring_lua_check_timeout(lua_State *L, int index, const char *function, int fd, struct timeout *timeout) {
    int type = lua_type(L, index);
    timeout->pointer = NULL;
    if (type <= LUA_TNIL)
        return;
    if (type != LUA_TNUMBER)
        pollring_lua_raise(L, function, fd, "timeout: seconds or nil expected, got %s", luaL_typename(L, index));
    double seconds = lua_tonumber(L, index);
    if (!pollring_lua_is_duration(seconds))
        pollring_lua_raise(L, function, fd, "timeout: %g is out of range: 0 to 1e9 seconds, or nil to wait for ever",
                           seconds);
    timeout->value = timespec_of(seconds);
    timeout->pointer = &timeout->value;
    if (seconds > 0)
        timeout->deadline = deadline_of(timeout->value);
}

static void run_nothing(lua_State *L) {
    if (luaL_loadstring(L, "return") != LUA_OK)
        lua_error(L);
    lua_call(L, 0, 0);
}

static void run_hooks(lua_State *L) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
    lua_State *main = lua_tothread(L, -1);
    lua_pop(L, 1);
    if (main == L || !lua_gethookmask(main)) {
        run_nothing(L);
        return;
    }
    lua_Hook hook = lua_gethook(L);
    int mask = lua_gethookmask(L), count = lua_gethookcount(L);
    lua_sethook(L, lua_gethook(main), lua_gethookmask(main), lua_gethookcount(main));
    run_nothing(L);
    lua_sethook(L, hook, mask, count);
}

/* After -EINTR. Whatever the hook did to the ring has to be expected on return. */
void pollring_lua_interrupted(lua_State *L, struct timeout *timeout) {
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    run_hooks(L);
    if (timeout->pointer && (timeout->value.tv_sec || timeout->value.tv_nsec))
        timeout->value = time_until(timeout->deadline);
}
