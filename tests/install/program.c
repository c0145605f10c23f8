/* A program of somebody else's, in C and in C++: sees one event through the installed library. */
#ifdef __cplusplus
#include <pollring_lua.h>
#else
#define _GNU_SOURCE
#endif
#include <pollring.h>

#include <stdio.h>
#include <unistd.h>

#ifdef __cplusplus
#include <lua.hpp>

static int run_script() {
    lua_State *L = luaL_newstate();
    luaL_requiref(L, "pollring", luaopen_pollring, 0);
    lua_getfield(L, -1, "VERSION");
    const char *version = lua_tostring(L, -1);
    int wrong = !version;
    lua_close(L);
    return wrong;
}
#else
static int run_script(void) {
    return 0;
}
#endif

int main(void) {
    struct pollring_options options = {0, 0, 0, POLLRING_AUTO, 0, {0, 0, 0}};
    struct pollring *ring = NULL;
    struct pollring_poll *poll = NULL;
    struct pollring_event event;
    char names[64];
    int ends[2];
    if (pipe(ends) || write(ends[1], "x", 1) != 1 || pollring_open(&ring, &options))
        return 1;
    if (pollring_poll_add(ring, &poll, ends[0], POLLIN, 0, NULL) || pollring_wait(ring, &event, 1, NULL) != 1)
        return 2;
    pollring_strevents(event.result, names, sizeof names);
    printf("%s%s\n", names, event.more ? " more" : "");
    pollring_poll_free(poll);
    pollring_close(ring);
    return run_script();
}
