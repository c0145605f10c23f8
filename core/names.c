/*
 * Names of what the core tells in numbers: results, reasons, causes, set-ups.
 */
#include "internal.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#ifndef POLLREMOVE /* musl has no name for it */
#define POLLREMOVE 0x1000
#endif

static const struct bit {
    uint32_t bit;
    const char *name;
} bits[] = {
    {POLLIN, "POLLIN"},         {POLLPRI, "POLLPRI"},
    {POLLOUT, "POLLOUT"},       {POLLERR, "POLLERR"},
    {POLLHUP, "POLLHUP"},       {POLLNVAL, "POLLNVAL"},
    {POLLRDNORM, "POLLRDNORM"}, {POLLRDBAND, "POLLRDBAND"},
    {POLLWRNORM, "POLLWRNORM"}, {POLLWRBAND, "POLLWRBAND"},
    {POLLMSG, "POLLMSG"},       {POLLREMOVE, "POLLREMOVE"},
    {POLLRDHUP, "POLLRDHUP"},   {EPOLLEXCLUSIVE, "EPOLLEXCLUSIVE"},
};

#ifdef __GLIBC__
#define error_name strerrorname_np
#else
/* musl has no names of errors. What pollring.h speaks of, and what the kernel tells of files and rings. */
static const char *error_name(int error) {
    static const struct {
        int error;
        const char *name;
    } errors[] = {
#define NAMED(error)                                                                                                   \
    { error, #error }
        NAMED(EACCES),     NAMED(EAGAIN),     NAMED(EALREADY), NAMED(EBADF),     NAMED(EBUSY),
        NAMED(ECANCELED),  NAMED(EEXIST),     NAMED(EFAULT),   NAMED(EINTR),     NAMED(EINVAL),
        NAMED(EIO),        NAMED(ELOOP),      NAMED(EMFILE),   NAMED(ENFILE),    NAMED(ENODEV),
        NAMED(ENOENT),     NAMED(ENOMEM),     NAMED(ENOSPC),   NAMED(ENOSYS),    NAMED(ENXIO),
        NAMED(EOPNOTSUPP), NAMED(EOWNERDEAD), NAMED(EPERM),    NAMED(ESHUTDOWN), NAMED(ETIME),
    };
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (errors[i].error == error)
            return errors[i].name;
    return NULL;
}
#endif

/* As snprintf() would append at position. */
static size_t append(char *buffer, size_t size, size_t position, const char *text) {
    char *end = position < size ? buffer + position : NULL;
    return position + (size_t)snprintf(end, end ? size - position : 0, "%s", text);
}

static size_t append_error(char *buffer, size_t size, int64_t error) {
    const char *name = error <= INT_MAX ? error_name((int)error) : NULL;
    char number[24];
    if (!name) {
        snprintf(number, sizeof number, "error %lld", (long long)error);
        name = number;
    }
    return append(buffer, size, 0, name);
}

int pollring_strevents(int result, char *buffer, size_t size) {
    uint32_t rest = (uint32_t)result;
    size_t length = 0;
    char number[16];
    if (size)
        buffer[0] = '\0';
    if (result < 0)
        return (int)append_error(buffer, size, -(int64_t)result);
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++) {
        if (!(rest & bits[i].bit))
            continue;
        length = append(buffer, size, length, length ? "|" : "");
        length = append(buffer, size, length, bits[i].name);
        rest &= ~bits[i].bit;
    }
    if (rest || !length) {
        snprintf(number, sizeof number, rest ? "0x%x" : "0", rest);
        length = append(buffer, size, length, length ? "|" : "");
        length = append(buffer, size, length, number);
    }
    return (int)length;
}

const char *pollring_strend(int reason) {
    switch (reason) {
    case POLLRING_END_REMOVED:
        return "removed";
    case POLLRING_END_HANGUP:
        return "hangup";
    case POLLRING_END_ERROR:
        return "error";
    case POLLRING_END_ONESHOT:
        return "oneshot";
    case POLLRING_END_UNPOLLABLE:
        return "unpollable";
    case POLLRING_END_OVERFLOW:
        return "overflow";
    case POLLRING_END_CLOSED:
        return "closed";
    default:
        return "";
    }
}

const char *pollring_strcause(int cause) {
    switch (cause) {
    case POLLRING_CAUSE_SYSCTL:
        return "sysctl";
    case POLLRING_CAUSE_SECCOMP:
        return "seccomp";
    case POLLRING_CAUSE_KERNEL:
        return "kernel";
    case POLLRING_CAUSE_MEMLOCK:
        return "memlock";
    case POLLRING_CAUSE_FD_LIMIT:
        return "fd_limit";
    case POLLRING_CAUSE_MEMORY:
        return "memory";
    case POLLRING_CAUSE_UNKNOWN:
        return "unknown";
    default:
        return "";
    }
}

const char *pollring_strsetup(unsigned setup) {
    switch (setup) {
    case POLLRING_SETUP_DEFER_TASKRUN:
        return "defer_taskrun";
    case POLLRING_SETUP_COOP_TASKRUN:
        return "coop_taskrun";
    case POLLRING_SETUP_PLAIN:
        return "plain";
    default:
        return "";
    }
}
