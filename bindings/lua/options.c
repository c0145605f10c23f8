/* Tables of options: a key that is unknown, or a value of the wrong type or range, is an error that names it. */
#include "binding.h"

#include <errno.h>
#include <string.h>

#define MOST_ENTRIES 32768
#define MOST_CQ_ENTRIES 65536
#define LONGEST_BUSY_POLL_US 1000000

/* Where an error happened. */
struct place {
    const char *function;
    int fd;
};

static void check_table(lua_State *L, int index, struct place place) {
    if (!lua_istable(L, index))
        pollring_lua_raise(L, place.function, place.fd, "options: a table expected, got %s", luaL_typename(L, index));
}

/* The key under a value that lua_next() pushed. */
static const char *key_of(lua_State *L, struct place place) {
    if (lua_type(L, -2) != LUA_TSTRING)
        pollring_lua_raise(L, place.function, place.fd, "options: names expected as keys, got a %s",
                           luaL_typename(L, -2));
    return lua_tostring(L, -2);
}

static void unknown(lua_State *L, struct place place, const char *key) {
    pollring_lua_raise(L, place.function, place.fd, "options: '%.60s' is unknown", key);
}

static bool boolean(lua_State *L, struct place place, const char *key) {
    if (!lua_isboolean(L, -1))
        pollring_lua_raise(L, place.function, place.fd, "%s: true or false expected, got %s", key,
                           luaL_typename(L, -1));
    return lua_toboolean(L, -1);
}

static unsigned integer(lua_State *L, struct place place, const char *key, lua_Integer least, lua_Integer most) {
    int exact;
    lua_Integer value = lua_tointegerx(L, -1, &exact);
    if (lua_type(L, -1) != LUA_TNUMBER)
        pollring_lua_raise(L, place.function, place.fd, "%s: a number expected, got %s", key, luaL_typename(L, -1));
    if (!exact || value < least || value > most)
        pollring_lua_raise(L, place.function, place.fd, "%s: an integer from %lld to %lld expected, got %g", key,
                           (long long)least, (long long)most, lua_tonumber(L, -1));
    return (unsigned)value;
}

struct choice {
    const char *name;
    unsigned value;
};

static unsigned one_of(lua_State *L, struct place place, const char *key, const struct choice *choices) {
    const char *word = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : luaL_typename(L, -1);
    for (int i = 0; choices[i].name; i++)
        if (lua_type(L, -1) == LUA_TSTRING && !strcmp(choices[i].name, word))
            return choices[i].value;
    pollring_lua_raise(L, place.function, place.fd, "%s: '%s', '%s' or '%s' expected, got '%.60s'", key,
                       choices[0].name, choices[1].name, choices[2].name, word);
    return 0;
}

/* ---- pollring.ring{...} ---- */

static const struct choice backends[] = {
    {"auto", POLLRING_AUTO}, {"io_uring", POLLRING_IO_URING}, {"epoll", POLLRING_EPOLL}, {NULL, 0}};
static const struct choice setups[] = {{"defer_taskrun", POLLRING_SETUP_DEFER_TASKRUN},
                                       {"coop_taskrun", POLLRING_SETUP_COOP_TASKRUN},
                                       {"plain", POLLRING_SETUP_PLAIN},
                                       {NULL, 0}};

static void set_ring_option(lua_State *L, struct place place, const char *key, struct pollring_options *options) {
    if (!strcmp(key, "entries"))
        options->entries = integer(L, place, key, 1, MOST_ENTRIES);
    else if (!strcmp(key, "cq_entries"))
        options->cq_entries = integer(L, place, key, 0, MOST_CQ_ENTRIES);
    else if (!strcmp(key, "busy_poll"))
        options->busy_poll_us = integer(L, place, key, 0, LONGEST_BUSY_POLL_US);
    else if (!strcmp(key, "backend"))
        options->backend = one_of(L, place, key, backends);
    else if (!strcmp(key, "setup"))
        options->flags |= one_of(L, place, key, setups);
    else if (!strcmp(key, "sealed"))
        options->flags |= boolean(L, place, key) ? POLLRING_SEALED : 0;
    else if (!strcmp(key, "pinned"))
        options->flags |= boolean(L, place, key) ? POLLRING_PINNED : 0;
    else
        unknown(L, place, key);
}

/* nil, message, errno; where io_uring is refused the message says what refused it. */
static int refused(lua_State *L, int error, const struct pollring_options *options) {
    struct pollring_probe probe;
    char name[32];
    pollring_strevents(error, name, sizeof name);
    lua_pushnil(L);
    if (!pollring_explain(&probe, options) && probe.io_uring == error)
        lua_pushfstring(L, "pollring.ring: %s", probe.message);
    else
        lua_pushfstring(L, "pollring.ring: %s (%s)", strerror(-error), name);
    lua_pushinteger(L, -error);
    return 3;
}

int pollring_lua_ring(lua_State *L) {
    struct place place = {"pollring.ring", NO_FD};
    struct pollring_options options = {.entries = 0};
    lua_settop(L, 1);
    if (lua_rawequal(L, 1, lua_upvalueindex(1))) /* the module */
        return pollring_lua_raise(L, place.function, place.fd, "called with : instead of .");
    if (!lua_isnil(L, 1)) {
        check_table(L, 1, place);
        for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1))
            set_ring_option(L, place, key_of(L, place), &options);
    }
    if (options.cq_entries && options.cq_entries < options.entries)
        return pollring_lua_raise(L, "pollring.ring", NO_FD, "cq_entries: %u is less than entries, %u",
                                  options.cq_entries, options.entries);
    struct ring_object *object = pollring_lua_ring_create(L);
    int error = pollring_open(&object->ring, &options);
    return error ? refused(L, error, &options) : 1;
}

/* ---- ring:poll_add(fd, mask, {...}) ---- */

static unsigned flag_if(bool set, unsigned flag) {
    return set ? flag : 0;
}

unsigned pollring_lua_poll_options(lua_State *L, int index, const char *function, int fd, uint32_t *events) {
    struct place place = {function, fd};
    unsigned flags = 0;
    if (lua_isnil(L, index)) {
        lua_pushnil(L);
        return 0;
    }
    check_table(L, index, place);
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        const char *key = key_of(L, place);
        if (!strcmp(key, "multishot"))
            flags |= flag_if(!boolean(L, place, key), POLLRING_ONESHOT);
        else if (!strcmp(key, "rearm"))
            flags |= flag_if(!boolean(L, place, key), POLLRING_NO_REARM);
        else if (!strcmp(key, "until_hangup"))
            flags |= flag_if(!boolean(L, place, key), POLLRING_KEEP_HANGUP);
        else if (!strcmp(key, "exclusive"))
            *events |= flag_if(boolean(L, place, key), EPOLLEXCLUSIVE);
        else if (strcmp(key, "data") != 0)
            unknown(L, place, key);
    }
    lua_pushliteral(L, "data");
    lua_rawget(L, index);
    return flags;
}
