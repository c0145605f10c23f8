/*
 * Reading Lua's files (io.popen, io.open) without waiting, for lua/pollring/wrap.lua. What stdio has in its buffer
 * comes first. Lua's own file:read() would lose what it has read of a line when there is no more for now.
 */
#include "binding.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static FILE *check_file(lua_State *L) {
    const luaL_Stream *stream = luaL_checkudata(L, 1, LUA_FILEHANDLE);
    if (!stream->closef)
        pollring_lua_raise(L, "file:read", NO_FD, "the file is closed");
    return stream->f;
}

/* The next character; EOF, and why. */
static int next_character(FILE *file, int *error) {
    for (;;) {
        errno = 0;
        int character = getc_unlocked(file);
        if (character != EOF)
            return character;
        *error = ferror(file) ? errno : 0;
        clearerr(file);
        if (*error != EINTR)
            return EOF;
    }
}

/* read_now(file, most, to_newline): text up to and with a newline, or of so many bytes; or else what there is, and why
   there is no more: "timeout", "closed", or what the system says. */
int pollring_lua_read_now(lua_State *L) {
    FILE *file = check_file(L);
    lua_Integer most = luaL_checkinteger(L, 2), count = 0;
    bool to_newline = lua_toboolean(L, 3);
    int character = 0, error = 0;
    luaL_Buffer text;
    luaL_buffinit(L, &text);
    while (count < most && !(to_newline && character == '\n') && (character = next_character(file, &error)) != EOF) {
        luaL_addchar(&text, (char)character);
        count++;
    }
    luaL_pushresult(&text);
    if (character != EOF)
        return 1;
    lua_pushstring(L, error == EAGAIN ? "timeout" : error ? strerror(error) : "closed");
    return 2;
}

/* set_nonblocking(file) */
int pollring_lua_set_nonblocking(lua_State *L) {
    int fd = fileno(check_file(L));
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return luaL_error(L, "scheduler:wrap: fd %d: %s", fd, strerror(errno));
    return 0;
}
