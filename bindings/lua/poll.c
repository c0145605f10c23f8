/*
 * The poll object: ring:poll_add(), what a poll can be asked, and the iterator of ring:watch(). Removal, update and
 * recheck are SWIG's.
 */
#include "binding.h"

#include <errno.h>

static const struct timespec no_time;

struct poll_object *pollring_lua_check_poll(lua_State *L, int index, const char *function) {
    struct poll_object *object = luaL_testudata(L, index, POLL_TYPE);
    if (!object)
        pollring_lua_raise(L, function, NO_FD, "%s expected, got %s (called with . instead of : ?)", POLL_TYPE,
                           luaL_typename(L, index));
    if (!object->poll)
        pollring_lua_raise(L, function, NO_FD, "the poll was finalised");
    return object;
}

int pollring_lua_fd_of(lua_State *L, int index) {
    const struct poll_object *object = luaL_testudata(L, index, POLL_TYPE);
    return object && object->poll ? pollring_poll_fd(object->poll) : NO_FD;
}

/* ---- adding ---- */

/* (ring, fd, mask, options): pushes a new poll object that is in the ring's tables, and adds it to the core. */
static int add(lua_State *L, const char *function) {
    struct ring_object *ring = pollring_lua_check_ring(L, 1, function);
    lua_settop(L, 4);
    int fd = pollring_lua_check_fd(L, 2, function);
    uint32_t events = lua_isnil(L, 3) ? POLLIN : pollring_lua_check_mask(L, 3, function, fd);
    unsigned flags = pollring_lua_poll_options(L, 4, function, fd, &events); /* 5: data */

    struct poll_object *object = lua_newuserdatauv(L, sizeof *object, POLL_VALUES); /* 6 */
    *object = (struct poll_object){.ring = ring, .multishot = !(flags & POLLRING_ONESHOT)};
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, 6, POLL_RING);
    if (!lua_isnumber(L, 2)) {
        lua_pushvalue(L, 2);
        lua_setiuservalue(L, 6, POLL_FILE);
    }
    lua_pushvalue(L, 5);
    lua_setiuservalue(L, 6, POLL_DATA);
    lua_pushvalue(L, lua_upvalueindex(UPVALUE_POLL_TYPE));
    lua_setmetatable(L, 6);
    pollring_lua_polls_add(L, 6, 1);

    void *owner = (void *)(uintptr_t)object->id;
    int error = -ESHUTDOWN;
    if (ring->inbox)
        error = pollring_poll_add_to(ring->inbox, &object->poll, fd, events, flags, owner);
    else if (ring->ring)
        error = pollring_poll_add(ring->ring, &object->poll, fd, events, flags, owner);
    if (!error)
        return 1;
    pollring_lua_polls_forget(L, 6);
    if (error == -EINVAL)
        return pollring_lua_raise(L, function, fd, "mask 0x%x has bits that can't be polled (EINVAL)", events);
    return pollring_lua_failed(L, function, fd, error);
}

int pollring_lua_poll_add(lua_State *L) {
    return add(L, "ring:poll_add");
}

/* ---- the iterator ---- */

/* Upvalue 1: the poll. */
static int watch_next(lua_State *L) {
    struct poll_object *object = lua_touserdata(L, lua_upvalueindex(1));
    struct timeout for_ever = {.pointer = NULL};
    struct pollring_event event;
    for (;;) {
        int result = object->poll ? pollring_next(object->poll, &event, NULL) : 0;
        if (result == 1)
            break;
        if (result == 0)
            return 0;
        if (result == -EINTR)
            pollring_lua_interrupted(L, &for_ever);
        else if (result != -ETIME) /* -ETIME: woken, and there is nothing to give the loop's body for that */
            return pollring_lua_raise_errno(L, "ring:watch", pollring_poll_fd(object->poll), result);
    }
    if (event.result < 0)
        return pollring_lua_raise_errno(L, "ring:watch", pollring_poll_fd(object->poll), event.result);
    lua_pushinteger(L, event.result);
    lua_pushboolean(L, event.more);
    return 2;
}

int pollring_lua_watch(lua_State *L) {
    if (add(L, "ring:watch") != 1) { /* nil, message, errno */
        lua_pop(L, 1);
        return lua_error(L);
    }
    pollring_lua_polls_weaken(L, 6);
    lua_pushvalue(L, 6);
    lua_pushcclosure(L, watch_next, 1);
    lua_pushnil(L);
    lua_pushnil(L);
    lua_pushvalue(L, 6); /* the closing value */
    return 4;
}

/* ---- the poll itself ---- */

/* The poll at index 1, quickly, or NULL. */
static struct poll_object *self(lua_State *L) {
    struct poll_object *object = lua_touserdata(L, 1);
    if (!object || !lua_getmetatable(L, 1))
        return NULL;
    bool is_poll = lua_rawequal(L, -1, lua_upvalueindex(UPVALUE_POLL_TYPE));
    lua_pop(L, 1);
    return is_poll && object->poll ? object : NULL;
}

static int poll_wait(lua_State *L) {
    struct poll_object *object = self(L);
    if (!object)
        object = pollring_lua_check_poll(L, 1, "poll:wait");
    struct timeout timeout;
    struct pollring_event event;
    pollring_lua_check_timeout(L, 2, "poll:wait", pollring_poll_fd(object->poll), &timeout);
    object->waited = true;
    int result;
    while ((result = pollring_next(object->poll, &event, timeout.pointer)) == -EINTR)
        pollring_lua_interrupted(L, &timeout);
    if (result == -ETIME) {
        lua_pushinteger(L, 0);
        lua_pushboolean(L, pollring_poll_active(object->poll));
        return 2;
    }
    if (result < 0)
        return pollring_lua_raise_errno(L, "poll:wait", pollring_poll_fd(object->poll), result);
    if (!pollring_poll_active(object->poll) && (result == 0 || !event.more))
        pollring_lua_polls_forget(L, 1);
    if (result == 0) {
        lua_pushnil(L);
        return 1;
    }
    lua_pushinteger(L, event.result);
    lua_pushboolean(L, event.more);
    return 2;
}

/* After poll:arm(). */
void pollring_lua_poll_armed(lua_State *L, int index) {
    const struct poll_object *object = lua_touserdata(L, index);
    if (pollring_poll_active(object->poll))
        pollring_lua_polls_keep(L, index);
}

/* After poll:remove(). Its -ECANCELED is for ring:wait(); where that isn't used it must not be kept for ever. */
void pollring_lua_poll_removed(lua_State *L, int index) {
    const struct poll_object *object = lua_touserdata(L, index);
    if (object->waited && object->ring->ring)
        pollring_lua_polls_weaken(L, index);
}

/* The end of a loop over ring:watch(), or of a <close> variable. Nobody will ask for the -ECANCELED: next takes it. In
   a forked child there is nothing to remove, and leaving a loop is no mistake. */
static int poll_close(lua_State *L) {
    struct poll_object *object = pollring_lua_check_poll(L, 1, "poll:close");
    struct pollring_event event;
    int error = pollring_poll_remove(object->poll);
    if (error == -EOWNERDEAD)
        return 0;
    if (error)
        return pollring_lua_raise_errno(L, "poll:close", pollring_poll_fd(object->poll), error);
    while (pollring_next(object->poll, &event, &no_time) == 1)
        ;
    pollring_lua_polls_forget(L, 1);
    return 0;
}

static int poll_finalise(lua_State *L) {
    struct poll_object *object = luaL_checkudata(L, 1, POLL_TYPE);
    pollring_poll_free(object->poll);
    object->poll = NULL;
    pollring_lua_polls_release(L, 1);
    return 0;
}

int pollring_lua_push_end_reason(lua_State *L, int reason) {
    lua_pushstring(L, reason == POLLRING_END_NONE ? NULL : pollring_strend(reason)); /* nil for NULL */
    return 1;
}

static int poll_multishot(lua_State *L) {
    lua_pushboolean(L, pollring_lua_check_poll(L, 1, "poll.multishot")->multishot);
    return 1;
}

static int poll_data(lua_State *L) {
    pollring_lua_check_poll(L, 1, "poll.data");
    lua_getiuservalue(L, 1, POLL_DATA);
    return 1;
}

static int poll_tostring(lua_State *L) {
    const struct pollring_poll *poll = pollring_lua_check_poll(L, 1, "tostring")->poll;
    char names[256];
    pollring_strevents((int)pollring_poll_events(poll), names, sizeof names);
    pollring_lua_push_end_reason(L, pollring_poll_end_reason(poll));
    const char *reason = lua_tostring(L, -1);
    lua_pushfstring(L, "%s (fd %d, %s, %s)", POLL_TYPE, pollring_poll_fd(poll), names, reason ? reason : "active");
    return 1;
}

const luaL_Reg pollring_lua_poll_methods[] = {{"wait", poll_wait}, {NULL, NULL}};
const luaL_Reg pollring_lua_poll_fields[] = {{"multishot", poll_multishot}, {"data", poll_data}, {NULL, NULL}};
const luaL_Reg pollring_lua_poll_metamethods[] = {
    {"__gc", poll_finalise}, {"__close", poll_close}, {"__tostring", poll_tostring}, {NULL, NULL}};
