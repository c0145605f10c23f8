/*
 * The Lua module as a host in C uses it, linked in: rings that are lent to scripts, and scripts that run out of memory,
 * are killed, or reach for what isn't theirs. What scripts see is tested in tests/lua/.
 */
#include "variants.h"

#include <pollring_lua.h>

#include <lauxlib.h>
#include <lualib.h>

/* ---- hosts and scripts ---- */

static int panic(lua_State *L) {
    fail_msg("an error outside of a protected call: %s", lua_tostring(L, -1));
    return 0;
}

static int write_to(lua_State *L) {
    write_some((int)luaL_checkinteger(L, 1));
    return 0;
}

static int read_from(lua_State *L) {
    read_some((int)luaL_checkinteger(L, 1));
    return 0;
}

/* To be called in protected mode: what scripts need, and the ring that is given as a light userdata. */
static int prepare(lua_State *L) {
    luaL_openlibs(L);
    luaL_requiref(L, "pollring", luaopen_pollring, 0);
    lua_register(L, "write", write_to);
    lua_register(L, "read", read_from);
    if (lua_touserdata(L, 1)) {
        pollring_lua_push(L, lua_touserdata(L, 1));
        lua_setglobal(L, "ring");
    }
    return 0;
}

static lua_State *open_script(struct pollring *ring) {
    lua_State *L = luaL_newstate();
    lua_atpanic(L, panic);
    lua_pushcfunction(L, prepare);
    lua_pushlightuserdata(L, ring);
    assert_int_equal(lua_pcall(L, 1, 0, 0), LUA_OK);
    return L;
}

static void set(lua_State *L, const char *name, int value) {
    lua_pushinteger(L, value);
    lua_setglobal(L, name);
}

static void run(lua_State *L, const char *script) {
    if (luaL_dostring(L, script))
        fail_msg("%s", lua_tostring(L, -1));
}

/* ---- lent rings ---- */

TEST(a_host_and_a_script_get_their_own_events_on_a_lent_ring) {
    struct pollring *ring = open_ring();
    struct ends hosts = make_pipe(), scripts = make_pipe();
    lua_State *L = open_script(ring);
    struct pollring_poll *poll = add(ring, hosts.near, POLLIN);
    set(L, "fd", scripts.near);
    run(L, "poll = ring:poll_add(fd)");
    for (int i = 0; i < 3; i++) {
        write_some(hosts.far);
        write_some(scripts.far);
        assert_int_equal(pollring_collect(ring, &guard_time), 0);
        run(L,
            "local count = 0\n"
            "for got, events in ring:wait(0) do count = count + 1 assert(got == poll and events == 1) read(fd) end\n"
            "assert(count == 1)");
        assert_event(ring, poll, POLLIN);
        read_some(hosts.near);
        assert_silence(ring);
    }
    lua_close(L);
    assert_int_equal(pollring_active(ring), 1);
}

TEST(a_script_sleeps_for_its_own_events_only_and_keeps_the_hosts) {
    struct pollring *ring = open_ring();
    lua_State *L = open_script(ring);
    struct pollring_poll *poll = add(ring, make_ready_eventfd(), POLLIN);
    run(L, "for _ in ring:wait(0.001) do error 'not mine' end");
    assert_event(ring, poll, POLLIN);
    lua_close(L);
}

TEST(closing_what_was_lent_ends_the_scripts_polls_and_no_others) {
    struct pollring *ring = open_ring();
    struct ends pair = make_socketpair();
    lua_State *L = open_script(ring);
    struct pollring_poll *poll = arm(ring, pair.near, POLLIN);
    set(L, "fd", pair.near);
    run(L,
        "poll = ring:poll_add(fd) ring:submit() ring:close()\n"
        "assert(ring.closed and not poll.active and poll.end_reason == 'closed')\n"
        "assert(not pcall(ring.wait, ring, 0))");
    assert_true(pollring_poll_active(poll));
    write_some(pair.far);
    assert_event(ring, poll, POLLIN);
    lua_close(L);
    assert_true(pollring_poll_active(poll));
}

TEST(a_script_reaches_no_poll_of_its_host_or_of_another_script) {
    struct pollring *ring = open_ring();
    struct ends pair = make_socketpair();
    struct pollring_poll *poll = arm(ring, pair.near, POLLIN);
    lua_State *scripts[] = {open_script(ring), open_script(ring)};
    for (int i = 0; i < 2; i++) {
        set(scripts[i], "fd", pair.near);
        run(scripts[i],
            "poll = ring:poll_add(fd) ring:submit()\n"
            "scheduler = require 'pollring.scheduler'.new(ring)\n"
            "scheduler:spawn(scheduler.wait_fd, scheduler, fd)\n"
            "scheduler:step(0)");
    }
    run(scripts[0],
        "assert(ring:remove_fd(fd) == 1)\n"
        "assert(scheduler:remove_fd(fd) == 1)\n"
        "assert(not pcall(ring.adopt, ring))\n"
        "for got, result in ring:wait(0) do assert(got == poll and result == -125) end\n"
        "assert(ring:remove_fd(fd) == 0)\n"
        "scheduler:close()");
    assert_true(pollring_poll_active(poll));
    run(scripts[1], "assert(poll.active and scheduler:step(0))");
    write_some(pair.far);
    run(scripts[1],
        "assert(not scheduler:step(1))\n"
        "local got, events = ring:wait(0)()\n"
        "assert(got == poll and events == 1)");
    assert_event(ring, poll, POLLIN);
    for (int i = 0; i < 2; i++)
        lua_close(scripts[i]);
}

TEST(closing_a_lent_ring_first_gives_the_script_errors) {
    struct pollring *ring = open_ring();
    lua_State *L = open_script(ring);
    set(L, "fd", make_eventfd());
    run(L,
        "poll = ring:poll_add(fd)\n"
        "scheduler = require 'pollring.scheduler'.new(ring)\n"
        "task = scheduler:spawn(function()\n"
        "    local closes <close> = setmetatable({}, {__close = function() closed = true end})\n"
        "    for _ in scheduler:watch(fd) do end\n"
        "end)\n"
        "scheduler:spawn(scheduler.sleep, scheduler, 0)\n"
        "scheduler:step(0)");
    close_ring(ring);
    run(L,
        "assert(ring.closed)\n"
        "for _, name in ipairs {'wait', 'submit', 'wake', 'fileno', 'timeout', 'events', 'stats', 'adopt', 'pending'} "
        "do\n"
        "    local ok, message = pcall(ring[name], ring)\n"
        "    assert(not ok and message:find 'the ring is closed', name)\n"
        "end\n"
        "for _, name in ipairs {'run', 'step', 'fileno', 'timeout'} do\n"
        "    local ok, message = pcall(scheduler[name], scheduler)\n"
        "    assert(not ok and message:find 'the ring is closed', name)\n"
        "end\n"
        "for _, name in ipairs {'remove_fd', 'poll_add', 'watch'} do\n"
        "    assert(not pcall(ring[name], ring, fd))\n"
        "    assert(name == 'poll_add' or name == 'remove_fd' or not pcall(scheduler[name], scheduler, fd))\n"
        "end\n"
        "assert(not pcall(require 'pollring.scheduler'.new, ring))\n"
        "assert(not poll.active and not pcall(function() return ring.active end))\n"
        "tostring(ring) tostring(scheduler) tostring(poll)\n"
        "scheduler:close()\n"
        "assert(closed and task:status() == 'cancelled')\n"
        "ring:close()");
    lua_close(L);
}

static void *lend(void *ring) {
    lua_State *L = luaL_newstate();
    lua_pushcfunction(L, prepare);
    lua_pushlightuserdata(L, ring);
    bool raised = lua_pcall(L, 1, 0, 0) != LUA_OK && strstr(lua_tostring(L, -1), "another thread owns the ring");
    lua_close(L);
    return raised ? ring : NULL;
}

TEST(a_ring_is_not_lent_in_another_thread) {
    struct pollring *ring = open_ring();
    pthread_t thread;
    void *raised;
    assert_int_equal(pollring_submit(ring), 0);
    assert_int_equal(pthread_create(&thread, NULL, lend, ring), 0);
    pthread_join(thread, &raised);
    assert_ptr_equal(raised, ring);
}

TEST(a_host_needs_no_package_library) {
    lua_State *L = luaL_newstate();
    lua_atpanic(L, panic);
    luaL_requiref(L, "_G", luaopen_base, 1);
    luaL_requiref(L, "pollring", luaopen_pollring, 1);
    luaL_requiref(L, "scheduler", luaopen_pollring_scheduler, 1);
    run(L,
        "assert(not require)\n"
        "local s = scheduler.new()\n"
        "local task = s:spawn(function() s:sleep(0.001) return 1 end)\n"
        "s:run()\n"
        "assert(select(2, task:join()) == 1)\n"
        "s:close()");
    lua_close(L);
}

/* ---- killed, and out of memory ---- */

TEST(a_state_may_be_closed_in_the_middle_of_a_wait) {
    struct pollring *ring = open_ring();
    struct ends pair = make_socketpair();
    struct pollring_poll *poll = arm(ring, pair.near, POLLIN);
    lua_State *L = open_script(ring);
    set(L, "fd", pair.near);
    run(L,
        "scheduler = require 'pollring.scheduler'.new(ring)\n"
        "for _, wait in ipairs {function() scheduler:wait_fd(fd, 'in', 1000) end, function() scheduler:sleep(1000) "
        "end,\n"
        "                       function() for _ in scheduler:watch(fd) do end end,\n"
        "                       function() scheduler:spawn(scheduler.sleep, scheduler, 1000):join() end,\n"
        "                       function() scheduler:deadline(1000, scheduler.sleep, scheduler, 1000) end} do\n"
        "    scheduler:spawn(wait)\n"
        "end\n"
        "scheduler:step(0)");
    write_some(pair.far); /* the events are there, and nobody takes them */
    lua_close(L);
    assert_int_equal(pollring_active(ring), 1);
    assert_event(ring, poll, POLLIN);
}

/* Gives out memory until it has been asked as often as is left; then never again. */
static void *allocate(void *left, void *block, size_t old_size, size_t size) {
    int *count = left;
    if (!size) {
        free(block);
        return NULL;
    }
    if ((!block || size > old_size) && *count >= 0 && --*count < 0) {
        *count = 0;
        return NULL;
    }
    return realloc(block, size);
}

static const char of_everything[] =
    "local pollring, scheduler = require 'pollring', require 'pollring.scheduler'\n"
    "local own <close> = pollring.ring {entries = 2, cq_entries = 4}\n"
    "local poll = ring:poll_add(fd, 'in|rdhup', {data = {}})\n"
    "write(far)\n"
    "for poll, events, more in ring:wait(0) do pollring.names(events) end\n"
    "for events in own:watch(fd) do break end\n"
    "poll:update 'out' poll:recheck() poll:wait(0) poll:remove()\n"
    "pcall(ring.poll_add, ring, -1)\n"
    "local s <close> = scheduler.new(ring)\n"
    "local failed = 0\n"
    "s:on_error(function(task, message, traceback)\n"
    "    failed = failed + 1\n"
    "    if not message:find 'mine' then error(message, 0) end\n"
    "end)\n"
    "local bad = s:spawn(function() s:sleep(0) error 'mine' end)\n"
    "local closed = 0\n"
    "local closing = setmetatable({}, {__close = function() closed = closed + 1 end})\n"
    "local waiting = s:spawn(function() local _ <close> = closing s:sleep(1000) end)\n"
    "local task = s:spawn(function(...)\n"
    "    local _ <close> = closing\n"
    "    s:wait_fd(fd, 'in', 1)\n"
    "    for events in s:watch(fd, 'in') do break end\n"
    "    s:deadline(0, s.sleep, s, 1000)\n"
    "    s:sleep(0.0001)\n"
    "    pcall(s.wait_fd, s, -1)\n"
    "    waiting:cancel()\n"
    "    return bad:join()\n"
    "end, 1, 2, 3)\n"
    "s:run()\n"
    "assert(failed == 1 and closed == 2)\n"
    "return select('#', task:join())\n";

/* Runs the script with so many allocations. Whether they did. */
static bool runs_with(struct pollring *ring, struct ends ends, int allocations) {
    int left = -1;
    lua_State *L = lua_newstate(allocate, &left);
    lua_atpanic(L, panic);
    lua_pushcfunction(L, prepare);
    lua_pushlightuserdata(L, ring);
    assert_int_equal(lua_pcall(L, 1, 0, 0), LUA_OK);
    set(L, "fd", ends.near);
    set(L, "far", ends.far);
    assert_int_equal(luaL_loadstring(L, of_everything), LUA_OK);
    left = allocations;
    int status = lua_pcall(L, 0, 1, 0);
    bool done = status == LUA_OK;
    if (!done && status != LUA_ERRMEM && !strstr(lua_tostring(L, -1), "not enough memory"))
        fail_msg("after %d allocations: %s", allocations, lua_tostring(L, -1));
    lua_close(L);
    return done;
}

TEST(a_script_that_runs_out_of_memory_gets_an_error_wherever_that_is) {
    struct pollring *ring = open_ring();
    struct ends pair = make_socketpair();
    struct pollring_poll *poll = arm(ring, pair.near, POLLIN);
    int fds = count_fds(), step = in_valgrind() ? 17 : 1, allocations = 0;
    while (!runs_with(ring, pair, allocations)) {
        char rest[256];
        while (read(pair.near, rest, sizeof(rest)) > 0)
            ;
        while (pollring_wait(ring, &(struct pollring_event){0}, 1, &no_time) > 0)
            ;
        assert_int_equal(count_fds(), fds);
        assert_int_equal(pollring_active(ring), 1);
        allocations += step;
    }
    assert_true(allocations > 100);
    assert_true(pollring_poll_active(poll));
}

static int open_module(lua_State *L) {
    luaL_openlibs(L);
    luaL_requiref(L, "pollring", luaopen_pollring, 0);
    luaL_requiref(L, "pollring.scheduler", luaopen_pollring_scheduler, 0);
    return 0;
}

TEST(a_host_without_memory_for_the_module_gets_an_error) {
    int step = in_valgrind() ? 97 : 7;
    for (int allocations = 0, status = LUA_ERRMEM; status != LUA_OK; allocations += step) {
        int left = allocations;
        lua_State *L = lua_newstate(allocate, &left);
        if (!L)
            continue;
        lua_atpanic(L, panic);
        lua_pushcfunction(L, open_module);
        status = lua_pcall(L, 0, 0, 0);
        assert_true(status == LUA_OK || status == LUA_ERRMEM);
        lua_close(L);
    }
}

int main(void) {
    static const struct test tests[] = {
        RUN(a_host_and_a_script_get_their_own_events_on_a_lent_ring),
        RUN(a_script_sleeps_for_its_own_events_only_and_keeps_the_hosts),
        RUN(closing_what_was_lent_ends_the_scripts_polls_and_no_others),
        RUN(a_script_reaches_no_poll_of_its_host_or_of_another_script),
        RUN(closing_a_lent_ring_first_gives_the_script_errors),
        RUN(a_ring_is_not_lent_in_another_thread),
        RUN(a_host_needs_no_package_library),
        RUN(a_state_may_be_closed_in_the_middle_of_a_wait),
        RUN(a_script_that_runs_out_of_memory_gets_an_error_wherever_that_is),
        RUN(a_host_without_memory_for_the_module_gets_an_error),
    };
    return run_on_variants("lua", tests, COUNT_OF(tests));
}
