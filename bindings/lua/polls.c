/*
 * Which poll object an event belongs to, and who keeps it alive.
 *
 * A ring has two tables that map a poll's id, the owner that the core hands out with each event, to the poll object:
 *   polls  strong. The object: the ring keeps it, so that a script may drop what poll_add gave it. false: the id is
 *          taken, but the ring keeps nothing: a poll that has ended, or one of an iterator. A number: the id is free,
 *          and this is the next free one. No nil, so that the table stays an array.
 *   weak   the objects of iterators (ring:watch): only the iterator keeps them, so that dropping it removes the poll.
 * An id belongs to a poll object until that is finalised. Nothing here allocates but create, add and weaken.
 */
#include "binding.h"

void pollring_lua_polls_create(lua_State *L, int ring) {
    lua_newtable(L);
    lua_setiuservalue(L, ring, RING_POLLS);
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_setiuservalue(L, ring, RING_WEAK);
}

/* Sets the entry of the poll at index poll, in one of its ring's tables, to the value at the top and pops that. */
static void set_entry(lua_State *L, int poll, int table) {
    const struct poll_object *object = lua_touserdata(L, poll);
    lua_getiuservalue(L, poll, POLL_RING);
    lua_getiuservalue(L, -1, table);
    lua_pushvalue(L, -3);
    lua_rawseti(L, -2, object->id);
    lua_pop(L, 3);
}

/* Gives the poll an id and lets the ring keep it. */
void pollring_lua_polls_add(lua_State *L, int poll, int ring) {
    struct ring_object *owner = lua_touserdata(L, ring);
    struct poll_object *object = lua_touserdata(L, poll);
    lua_getiuservalue(L, ring, RING_POLLS);
    lua_Integer id = owner->free_id ? owner->free_id : owner->ids + 1, next = 0;
    if (owner->free_id) {
        lua_rawgeti(L, -1, id);
        next = lua_tointeger(L, -1);
        lua_pop(L, 1);
    }
    lua_pushvalue(L, poll);
    lua_rawseti(L, -2, id); /* may raise: only then is the id taken */
    if (owner->free_id)
        owner->free_id = next;
    else
        owner->ids = id;
    object->id = id;
    lua_pop(L, 1);
}

void pollring_lua_polls_keep(lua_State *L, int poll) {
    lua_pushvalue(L, poll);
    set_entry(L, poll, RING_POLLS);
}

/* The ring no longer keeps the poll, but still knows it. */
void pollring_lua_polls_weaken(lua_State *L, int poll) {
    lua_pushvalue(L, poll);
    set_entry(L, poll, RING_WEAK);
    lua_pushboolean(L, false);
    set_entry(L, poll, RING_POLLS);
}

/* No event of the poll will come, or nobody wants one. */
void pollring_lua_polls_forget(lua_State *L, int poll) {
    lua_pushboolean(L, false);
    set_entry(L, poll, RING_POLLS);
    lua_pushnil(L);
    set_entry(L, poll, RING_WEAK);
}

/* The poll is being finalised. */
void pollring_lua_polls_release(lua_State *L, int poll) {
    struct poll_object *object = lua_touserdata(L, poll);
    if (!object->id)
        return;
    pollring_lua_polls_forget(L, poll);
    lua_pushinteger(L, object->ring->free_id);
    set_entry(L, poll, RING_POLLS);
    object->ring->free_id = object->id;
    object->id = 0;
}

/* The ring was closed: it keeps nothing any more. */
void pollring_lua_polls_clear(lua_State *L, int ring) {
    const struct ring_object *object = lua_touserdata(L, ring);
    if (lua_getiuservalue(L, ring, RING_POLLS) == LUA_TTABLE)
        for (lua_Integer id = 1; id <= object->ids; id++) {
            if (lua_rawgeti(L, -1, id) == LUA_TUSERDATA) {
                lua_pushboolean(L, false);
                lua_rawseti(L, -3, id);
            }
            lua_pop(L, 1);
        }
    lua_pop(L, 1);
}
