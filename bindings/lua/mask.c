/* Masks of POLL* bits: as numbers, and as names in a string. */
#include "binding.h"

#include <ctype.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const struct {
    const char *name;
    uint32_t bit;
} names[] = {
    {"in", POLLIN},
    {"out", POLLOUT},
    {"rdhup", EPOLLRDHUP},
    {"pri", POLLPRI},
    {"err", POLLERR},
    {"hup", POLLHUP},
    {"nval", POLLNVAL},
    {"rdnorm", EPOLLRDNORM},
    {"rdband", EPOLLRDBAND},
    {"wrnorm", EPOLLWRNORM},
    {"wrband", EPOLLWRBAND},
    {"msg", EPOLLMSG},
    {"exclusive", EPOLLEXCLUSIVE},
};

static uint32_t bit_of(const char *word, size_t length) {
    static const char *const prefixes[] = {"epoll", "poll"};
    for (unsigned i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        size_t prefix = strlen(prefixes[i]);
        if (length > prefix && !strncasecmp(word, prefixes[i], prefix)) {
            word += prefix;
            length -= prefix;
            break;
        }
    }
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i].name) == length && !strncasecmp(word, names[i].name, length))
            return names[i].bit;
    return 0;
}

/* Words between bars, with spaces around them or not. */
static uint32_t of_names(lua_State *L, const char *text, const char *function, int fd) {
    uint32_t mask = 0;
    for (;;) {
        size_t length = strcspn(text, "|");
        const char *word = text, *end = text + length;
        while (word < end && isspace((unsigned char)*word))
            word++;
        while (end > word && isspace((unsigned char)end[-1]))
            end--;
        uint32_t bit = bit_of(word, (size_t)(end - word));
        if (!bit)
            pollring_lua_raise(L, function, fd, "mask: '%.*s' is no event: in, out, rdhup, pri, err, hup ... expected",
                               (int)(end - word > 40 ? 40 : end - word), word);
        mask |= bit;
        if (!text[length])
            return mask;
        text += length + 1;
    }
}

uint32_t pollring_lua_check_mask(lua_State *L, int index, const char *function, int fd) {
    if (lua_type(L, index) == LUA_TSTRING) {
        size_t length;
        const char *text = lua_tolstring(L, index, &length);
        if (strlen(text) != length)
            pollring_lua_raise(L, function, fd, "mask: a zero byte is no event");
        return of_names(L, text, function, fd);
    }
    if (lua_type(L, index) != LUA_TNUMBER)
        pollring_lua_raise(L, function, fd, "mask: an integer or names expected, got %s", luaL_typename(L, index));
    int exact;
    lua_Integer mask = lua_tointegerx(L, index, &exact);
    if (!exact)
        pollring_lua_raise(L, function, fd, "mask: %g is not an integer", lua_tonumber(L, index));
    if (mask < 0 || mask > UINT32_MAX)
        pollring_lua_raise(L, function, fd, "mask: " LUA_INTEGER_FMT " is out of range", mask);
    return (uint32_t)mask;
}

int pollring_lua_names(lua_State *L) {
    int exact;
    lua_Integer result = lua_tointegerx(L, 1, &exact);
    if (lua_type(L, 1) != LUA_TNUMBER || !exact)
        return pollring_lua_raise(L, "pollring.names", NO_FD, "an integer expected, got %s", luaL_typename(L, 1));
    if (result < INT_MIN || result > INT_MAX)
        return pollring_lua_raise(L, "pollring.names", NO_FD, LUA_INTEGER_FMT " is out of range", result);
    char buffer[512];
    int length = pollring_strevents((int)result, buffer, sizeof buffer);
    lua_pushlstring(L, buffer, length < (int)sizeof buffer ? (size_t)length : sizeof buffer - 1);
    return 1;
}
