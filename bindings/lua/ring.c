/* The ring object: its life, and ring:wait(). What is cold, such as ring:submit(), is SWIG's. */
#include "binding.h"

#include <errno.h>

struct ring_object *pollring_lua_check_ring(lua_State *L, int index, const char *function) {
    struct ring_object *object = pollring_lua_test_ring(L, index);
    if (!object)
        pollring_lua_raise(L, function, NO_FD, "%s expected, got %s (called with . instead of : ?)", RING_TYPE,
                           luaL_typename(L, index));
    return object;
}

struct ring_object *pollring_lua_check_open(lua_State *L, int index, const char *function) {
    struct ring_object *object = pollring_lua_check_ring(L, index, function);
    if (!pollring_lua_ring_of(object))
        pollring_lua_raise_errno(L, function, NO_FD, -ESHUTDOWN);
    return object;
}

struct pollring *pollring_lua_ring_of(const struct ring_object *object) {
    if (object->inbox && pollring_check(object->ring) == -ESHUTDOWN)
        return NULL;
    return object->ring;
}

/* ---- waiting ---- */

enum { TAKE_RING = 1, TAKE_POLLS = 2, TAKE_WEAK = 3 };

/* Pushes the poll object of an event. false: there is none any more, and nothing was pushed. */
static bool push_poll(lua_State *L, lua_Integer id) {
    if (lua_rawgeti(L, lua_upvalueindex(TAKE_POLLS), id) == LUA_TUSERDATA)
        return true;
    lua_pop(L, 1);
    if (lua_rawgeti(L, lua_upvalueindex(TAKE_WEAK), id) == LUA_TUSERDATA)
        return true;
    lua_pop(L, 1);
    return false;
}

/* The iterator of ring:wait(): the ring and its tables are upvalues, what the loop hands in is not looked at. */
static int take(lua_State *L) {
    const struct ring_object *object = lua_touserdata(L, lua_upvalueindex(TAKE_RING));
    struct pollring_event event;
    do {
        int result = object->ring ? pollring_take(object->ring, object->inbox, &event) : 0;
        if (result == 0)
            return 0;
        if (result < 0)
            return pollring_lua_raise_errno(L, "ring:wait", NO_FD, result);
    } while (!push_poll(L, (lua_Integer)(uintptr_t)event.owner));
    if (!event.more && !pollring_poll_active(event.poll))
        pollring_lua_polls_forget(L, lua_gettop(L));
    lua_pushinteger(L, event.result);
    lua_pushboolean(L, event.more);
    return 3;
}

static void push_take(lua_State *L, int ring) {
    lua_pushvalue(L, ring);
    lua_getiuservalue(L, ring, RING_POLLS);
    lua_getiuservalue(L, ring, RING_WEAK);
    lua_pushcclosure(L, take, 3);
}

enum { WAIT_RING = 1, WAIT_TAKE = 2 };

/* ring:wait(). Made for one ring: its upvalues are that ring and its iterator; but it may be called with another. */
static int ring_wait(lua_State *L) {
    const struct ring_object *object = lua_touserdata(L, 1);
    bool own = object && object == lua_touserdata(L, lua_upvalueindex(WAIT_RING));
    if (!own || !object->ring)
        object = pollring_lua_check_open(L, 1, "ring:wait");
    struct timeout timeout;
    int result;
    pollring_lua_check_timeout(L, 2, "ring:wait", NO_FD, &timeout);
    while ((result = pollring_inbox_collect(object->ring, object->inbox, timeout.pointer)) == -EINTR) {
        pollring_lua_interrupted(L, &timeout);
        if (!object->ring)
            break;
    }
    if (result < 0 && object->ring)
        return pollring_lua_raise_errno(L, "ring:wait", NO_FD, result);
    if (own)
        lua_pushvalue(L, lua_upvalueindex(WAIT_TAKE));
    else
        push_take(L, 1);
    return 1;
}

/* ---- life ---- */

struct ring_object *pollring_lua_ring_create(lua_State *L) {
    struct ring_object *object = lua_newuserdatauv(L, sizeof *object, RING_VALUES);
    int index = lua_gettop(L);
    *object = (struct ring_object){.ring = NULL};
    pollring_lua_polls_create(L, index);
    lua_pushvalue(L, index);
    push_take(L, index);
    lua_pushcclosure(L, ring_wait, 2);
    pollring_lua_ring_set_type(L, index);
    return object;
}

/* A lent ring: the script's polls are in an inbox of it, and end with that. */
int pollring_lua_push(lua_State *L, struct pollring *ring) {
    struct ring_object *object = pollring_lua_ring_create(L);
    int error = pollring_check(ring);
    if (!error && !(object->inbox = pollring_inbox_open(ring)))
        error = -ENOMEM;
    if (error)
        return pollring_lua_raise_errno(L, "pollring_lua_push", NO_FD, error);
    object->ring = ring;
    return 1;
}

void pollring_lua_ring_close(lua_State *L, int index) {
    struct ring_object *object = lua_touserdata(L, index);
    struct pollring *ring = object->ring;
    object->ring = NULL;
    if (object->inbox)
        pollring_inbox_close(object->inbox);
    else
        pollring_close(ring);
    object->inbox = NULL;
    pollring_lua_polls_clear(L, index);
}

static int ring_close(lua_State *L) {
    pollring_lua_check_ring(L, 1, "ring:close");
    pollring_lua_ring_close(L, 1);
    return 0;
}

static int ring_is_closed(lua_State *L) {
    lua_pushboolean(L, !pollring_lua_ring_of(pollring_lua_check_ring(L, 1, "ring.closed")));
    return 1;
}

static int ring_tostring(lua_State *L) {
    const struct ring_object *object = pollring_lua_check_ring(L, 1, "tostring");
    struct pollring *ring = pollring_lua_ring_of(object);
    if (ring)
        lua_pushfstring(L, "%s (%s, %d active)", RING_TYPE, pollring_backend(ring), (int)pollring_active(ring));
    else
        lua_pushfstring(L, "%s (closed)", RING_TYPE);
    return 1;
}

/* ---- what is not for a lent ring's other users ---- */

/* Of a lent ring only the script's own polls. */
static int ring_remove_fd(lua_State *L) {
    pollring_lua_check_ring(L, 1, "ring:remove_fd");
    int fd = pollring_lua_check_fd(L, 2, "ring:remove_fd");
    const struct ring_object *object = pollring_lua_check_open(L, 1, "ring:remove_fd");
    int removed = object->inbox ? pollring_inbox_remove_fd(object->inbox, fd) : pollring_remove_fd(object->ring, fd);
    return pollring_lua_number(L, "remove_fd", removed);
}

static int ring_adopt(lua_State *L) {
    const struct ring_object *object = pollring_lua_check_open(L, 1, "ring:adopt");
    if (object->inbox)
        return pollring_lua_raise(L, "ring:adopt", NO_FD, "the ring is lent, and its thread is the host's choice");
    return pollring_lua_status(L, "adopt", pollring_adopt(object->ring));
}

/* ---- for cqueues, which polls an object by its pollfd(), events() and timeout() ---- */

static int ring_events(lua_State *L) {
    pollring_lua_check_open(L, 1, "ring:events");
    lua_pushliteral(L, "r");
    return 1;
}

static int ring_timeout(lua_State *L) {
    const struct ring_object *object = pollring_lua_check_open(L, 1, "ring:timeout");
    if (pollring_pending(object->ring))
        lua_pushinteger(L, 0);
    else
        lua_pushnil(L);
    return 1;
}

const luaL_Reg pollring_lua_ring_methods[] = {
    {"wait", ring_wait},           {"watch", pollring_lua_watch}, {"poll_add", pollring_lua_poll_add},
    {"remove_fd", ring_remove_fd}, {"adopt", ring_adopt},         {"close", ring_close},
    {"events", ring_events},       {"timeout", ring_timeout},     {NULL, NULL}};
const luaL_Reg pollring_lua_ring_fields[] = {{"closed", ring_is_closed}, {NULL, NULL}};
const luaL_Reg pollring_lua_ring_metamethods[] = {
    {"__gc", ring_close}, {"__close", ring_close}, {"__tostring", ring_tostring}, {NULL, NULL}};
