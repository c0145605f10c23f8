/*
 * What a script finds in a ring and in a poll: SWIG's flat functions as methods and fields, beside those written by
 * hand.
 *
 * Both have a table of members: a method as it is, a field's function in a table of its own, so that one look finds
 * either. A poll's metatable is the same for all. A ring has one for itself, because __index as a table is several
 * times faster than as a function, and ring:wait() is looked up for every batch: there stands the ring's own wait,
 * which is made for this ring and knows by one comparison that it was called with it. The rest is found by a function,
 * behind it. What tells a ring's metatable is an entry that no script can make or reach.
 */
#include "binding.h"

struct name {
    const char *name, *wrapped; /* in the object, in SWIG's module */
};

static const struct name ring_methods[] = {{"submit", "submit"}, {"wake", "wake"},   {"fileno", "fileno"},
                                           {"pollfd", "fileno"}, {"stats", "stats"}, {"pending", "pending"},
                                           {NULL, NULL}};
static const struct name ring_fields[] = {{"active", "active"}, {"backend", "backend"}, {NULL, NULL}};
static const struct name poll_methods[] = {{"update", "poll_update"},
                                           {"recheck", "poll_recheck"},
                                           {"remove", "poll_remove"},
                                           {"arm", "poll_arm"},
                                           {NULL, NULL}};
static const struct name poll_fields[] = {{"fd", "poll_fd"},
                                          {"events", "poll_events"},
                                          {"active", "poll_active"},
                                          {"end_reason", "poll_end_reason"},
                                          {NULL, NULL}};

static const char ring_mark; /* its address is the key in a ring's metatable */

/* Pushes the member whose name is at index 2; the members are upvalue 1. */
static int push_member(lua_State *L, int self) {
    lua_settop(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TTABLE)
        return 1;
    lua_rawgeti(L, -1, 1);
    lua_pushvalue(L, self);
    lua_call(L, 1, 1);
    return 1;
}

static int index_poll(lua_State *L) {
    return push_member(L, 1);
}

/* Called for the table of hot methods: upvalue 2 is the ring. */
static int index_ring(lua_State *L) {
    return push_member(L, lua_upvalueindex(2));
}

/* ---- the tables of members ---- */

struct members {
    const luaL_Reg *methods, *fields;
    const struct name *wrapped_methods, *wrapped_fields;
};

static const struct members of_ring = {pollring_lua_ring_methods, pollring_lua_ring_fields, ring_methods, ring_fields};
static const struct members of_poll = {pollring_lua_poll_methods, pollring_lua_poll_fields, poll_methods, poll_fields};

/* Pushes a table of functions, those written by hand with the polls' metatable as their upvalue. */
static void push_functions(lua_State *L, int module, const luaL_Reg *functions, const struct name *wrapped) {
    lua_newtable(L);
    luaL_getmetatable(L, POLL_TYPE);
    luaL_setfuncs(L, functions, 1);
    for (; wrapped->name; wrapped++) {
        lua_getfield(L, module, wrapped->wrapped);
        lua_setfield(L, -2, wrapped->name);
    }
}

static void push_members(lua_State *L, int module, const struct members *members) {
    push_functions(L, module, members->methods, members->wrapped_methods);
    push_functions(L, module, members->fields, members->wrapped_fields);
    for (lua_pushnil(L); lua_next(L, -2);) {
        lua_pushvalue(L, -2); /* the name, the function, the name */
        lua_createtable(L, 1, 0);
        lua_pushvalue(L, -3);
        lua_rawseti(L, -2, 1);
        lua_rawset(L, -6);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void hide_metatable(lua_State *L) {
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
}

/* In the registry: the polls' metatable, and the members of rings. */
void pollring_lua_types_create(lua_State *L, int module) {
    luaL_newmetatable(L, POLL_TYPE);
    luaL_setfuncs(L, pollring_lua_poll_metamethods, 0);
    hide_metatable(L);
    push_members(L, module, &of_poll);
    lua_pushcclosure(L, index_poll, 1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    push_members(L, module, &of_ring);
    lua_setfield(L, LUA_REGISTRYINDEX, RING_TYPE);
}

/* ---- a ring's own metatable ---- */

/* Makes a metatable for the ring at index ring, with the function at the top, which is popped, as its wait. */
void pollring_lua_ring_set_type(lua_State *L, int ring) {
    lua_createtable(L, 0, 1); /* the hot methods, */
    lua_insert(L, -2);
    lua_setfield(L, -2, "wait");
    lua_createtable(L, 0, 1); /* their metatable, */
    lua_getfield(L, LUA_REGISTRYINDEX, RING_TYPE);
    lua_pushvalue(L, ring);
    lua_pushcclosure(L, index_ring, 2);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    lua_newtable(L); /* and the ring's */
    lua_insert(L, -2);
    lua_setfield(L, -2, "__index");
    luaL_setfuncs(L, pollring_lua_ring_metamethods, 0);
    hide_metatable(L);
    lua_pushliteral(L, RING_TYPE);
    lua_setfield(L, -2, "__name");
    lua_pushboolean(L, true);
    lua_rawsetp(L, -2, &ring_mark);
    lua_setmetatable(L, ring);
}

/* The ring at index, or NULL. */
struct ring_object *pollring_lua_test_ring(lua_State *L, int index) {
    struct ring_object *object = lua_touserdata(L, index);
    if (!object || !lua_getmetatable(L, index))
        return NULL;
    bool marked = lua_rawgetp(L, -1, &ring_mark) == LUA_TBOOLEAN;
    lua_pop(L, 2);
    return marked ? object : NULL;
}
