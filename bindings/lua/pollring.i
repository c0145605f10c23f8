/*
 * The Lua module `pollring`. SWIG wraps the cold half of the core's header, flat: pollring.submit(ring),
 * pollring.poll_update(poll, mask), and the constants. module.c then makes methods and fields of these, beside those
 * written by hand. Here are the typemaps only: what Lua calls a ring, a poll, a file, a mask, an error.
 */
%module pollring
%{
#include "binding.h"

/* module.c has luaopen_pollring() and calls this one. */
#undef SWIG_init
#define SWIG_init pollring_lua_open_wrapped

/* No global variable `pollring`: older SWIGs set one by default. */
#undef SWIG_LUA_MODULE_GLOBAL

/* As everywhere in Lua: an argument that is missing is nil, which the typemaps refuse, and one too many is ignored. */
#undef SWIG_check_num_args
#define SWIG_check_num_args(name, least, most) lua_settop(L, most);
%}

/* Structs reach Lua as tables, and rings and polls as userdata that SWIG does not know. */
%rename("$ignore", %$isclass) "";

/* Whether it is open is looked at last: a file's fileno() may be the script's, and may have closed the ring. */
%typemap(in) struct pollring *, const struct pollring * "pollring_lua_check_ring(L, $input, \"$symname\");"
%typemap(check) struct pollring *, const struct pollring *
    "$1 = pollring_lua_check_open(L, $argnum, \"$symname\")->ring;"
%typemap(in) struct pollring_poll *, const struct pollring_poll *
    "$1 = pollring_lua_check_poll(L, $input, \"$symname\")->poll;"
%typemap(in) int fd "$1 = pollring_lua_check_fd(L, $input, \"$symname\");"
%typemap(in) uint32_t events "$1 = pollring_lua_check_mask(L, $input, \"$symname\", pollring_lua_fd_of(L, 1));"

/* A number, or an error; and true, or an error, where the number would always be 0. */
%typemap(out) int "SWIG_arg += pollring_lua_number(L, \"$symname\", $1);"
%typemap(out) int pollring_submit, int pollring_wake, int pollring_poll_update,
    int pollring_poll_recheck "SWIG_arg += pollring_lua_status(L, \"$symname\", $1);"
%typemap(out) int pollring_poll_arm
    "SWIG_arg += pollring_lua_status(L, \"$symname\", $1); pollring_lua_poll_armed(L, 1);"
%typemap(out) int pollring_poll_remove
    "SWIG_arg += pollring_lua_status(L, \"$symname\", $1); pollring_lua_poll_removed(L, 1);"
%typemap(out) int pollring_poll_end_reason "SWIG_arg += pollring_lua_push_end_reason(L, $1);"
%typemap(out) int pollring_probe "SWIG_arg += pollring_lua_status(L, \"$symname\", $1); lua_pop(L, SWIG_arg--);"
%typemap(out) unsigned, uint32_t "lua_pushinteger(L, $1); SWIG_arg++;"

%typemap(in, numinputs=0) struct pollring_stats *stats (struct pollring_stats fields) "$1 = &fields;"
%typemap(argout) struct pollring_stats *stats "SWIG_arg += pollring_lua_push_stats(L, $1);"
%typemap(in, numinputs=0) struct pollring_probe *probe (struct pollring_probe fields) "$1 = &fields;"
%typemap(argout) struct pollring_probe *probe "SWIG_arg += pollring_lua_push_probe(L, $1);"

/* By hand, because of lent rings. */
%ignore pollring_remove_fd;
%ignore pollring_adopt;

%include "../pollring.i"
