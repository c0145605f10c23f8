/*
 * pollring's Lua module for a host in C that runs scripts.
 *
 * Static: link libpollring_lua.a, libpollring.a, liburing (pkg-config --libs pollring_lua) and Lua. All that a script's
 * require "pollring" and require "pollring.scheduler" need is luaL_requiref(L, "pollring", luaopen_pollring, 0): no
 * file, no path.
 *
 * C++       Include <lua.hpp> for the rest of Lua, and link the Lua that is built as C (pkg-config lua5.4). One that is
 *           built as C++ (Debian's lua5.4-c++) may have other names for its functions.
 *
 * Threads   A ring belongs to the thread that first waits with it, so a lua_State that has one stays in that thread.
 *           Several states in several threads have a ring each.
 */
#ifndef POLLRING_LUA_H
#define POLLRING_LUA_H

#include <pollring.h>

#ifdef __cplusplus
extern "C" {
#endif

#include <lua.h> /* which leaves that to its users */

/* Lua's loaders for require "pollring" and require "pollring.scheduler". The first also preloads the second. */
int luaopen_pollring(lua_State *L);
int luaopen_pollring_scheduler(lua_State *L);

/*
 * Lends a ring to a script: pushes a ring object on an inbox of it, and returns 1. The script polls what it likes, and
 * gets the events of its own polls only; closing the object ends those, and never the host's. The ring stays the
 * host's: who waits collects for all, and what comes for the others is queued for them. luaopen_pollring was called in
 * this state before. Raises a Lua error from a thread that may not use the ring, and where memory is short. Closing the
 * ring first is allowed: the script then gets errors that say so.
 */
int pollring_lua_push(lua_State *L, struct pollring *ring);

#ifdef __cplusplus
}
#endif

#endif
