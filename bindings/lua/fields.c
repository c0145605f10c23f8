/* The core's plain structs as tables with the same names in them; set-ups by their names. */
#include "binding.h"

static void set_integer(lua_State *L, const char *name, lua_Integer value) {
    lua_pushinteger(L, value);
    lua_setfield(L, -2, name);
}

static void set_string(lua_State *L, const char *name, const char *value) {
    lua_pushstring(L, value);
    lua_setfield(L, -2, name);
}

/* A set: {defer_taskrun = true, ...}. */
static void set_setups(lua_State *L, const char *name, unsigned setups) {
    lua_newtable(L);
    for (unsigned setup = 1; setup; setup <<= 1)
        if (setups & setup) {
            lua_pushboolean(L, true);
            lua_setfield(L, -2, pollring_strsetup(setup));
        }
    lua_setfield(L, -2, name);
}

int pollring_lua_push_stats(lua_State *L, const struct pollring_stats *stats) {
    lua_createtable(L, 0, 12);
    if (stats->setup) /* none with epoll */
        set_string(L, "setup", pollring_strsetup(stats->setup));
    set_integer(L, "entries", stats->entries);
    set_integer(L, "cq_entries", stats->cq_entries);
    set_integer(L, "active", stats->active);
    set_integer(L, "queued", stats->queued);
    set_integer(L, "enters", (lua_Integer)stats->enters);
    set_integer(L, "requests", (lua_Integer)stats->requests);
    set_integer(L, "events", (lua_Integer)stats->events);
    set_integer(L, "rearmed", (lua_Integer)stats->rearmed);
    set_integer(L, "merged", (lua_Integer)stats->merged);
    set_integer(L, "dropped", (lua_Integer)stats->dropped);
    set_integer(L, "memory", (lua_Integer)stats->memory);
    return 1;
}

int pollring_lua_push_probe(lua_State *L, const struct pollring_probe *probe) {
    lua_createtable(L, 0, 10);
    set_string(L, "kernel", probe->kernel);
    set_string(L, "backend", probe->backend);
    set_integer(L, "io_uring", probe->io_uring);
    set_setups(L, "setups", probe->setups);
    set_integer(L, "sysctl_disabled", probe->sysctl_disabled);
    set_string(L, "cause", pollring_strcause(probe->cause));
    lua_pushboolean(L, probe->resize);
    lua_setfield(L, -2, "resize");
    set_string(L, "refused_at", probe->refused_at);
    set_string(L, "message", probe->message);
    lua_newtable(L);
    for (lua_Integer i = 0; probe->lacks[i]; i++) {
        lua_pushstring(L, probe->lacks[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "lacks");
    return 1;
}
