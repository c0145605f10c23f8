/*
 * What this machine allows, found by trying; and for a refusal who refused and what to do.
 *
 * A filter refuses a system call before the kernel has looked at its arguments. So the call is made again with
 * arguments that no kernel takes: one that answers as the kernel does was refused by the kernel's own code, for a limit
 * or for what was asked; one that doesn't was refused by the sysctl, a filter or a security module, or is not there.
 */
#include "internal.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/io_uring.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#define REGISTER_RESIZE_RINGS 33             /* newer than the headers of some distributions */
#define MAY_LOCK_MEMORY (UINT64_C(1) << 14)  /* CAP_IPC_LOCK */
#define IS_ADMINISTRATOR (UINT64_C(1) << 21) /* CAP_SYS_ADMIN */

/* What may refuse this thread, and what it may do all the same. */
struct confinement {
    bool filtered; /* by seccomp */
    uint64_t capabilities;
};

/* Opens a ring and gets an event of a multishot poll: a filter may refuse a later system call only, and before 5.13 the
   kernel had no such polls. */
static int try_ring(const struct pollring_options *options, const char **refused_at, unsigned *lacks) {
    const struct timespec no_time = {0};
    struct pollring *ring = NULL;
    struct pollring_poll *poll = NULL;
    struct pollring_event event = {.result = 0};
    int fd = eventfd(0, EFD_CLOEXEC), error = fd < 0 ? -errno : pollring_open(&ring, options);
    *refused_at = error ? "setup" : "enter";
    if (ring) {
        error = pollring_poll_add(ring, &poll, fd, POLLOUT, 0, NULL);
        if (!error)
            error = pollring_wait(ring, &event, 1, &no_time);
        if (error >= 0)
            error = event.result < 0 ? event.result : 0;
        *lacks |= error ? 0 : ring->backend->lacks(ring);
        pollring_close(ring);
        pollring_poll_free(poll);
    }
    if (fd >= 0)
        close(fd);
    return error;
}

/* On a ring without mappings, so that none of them outlives the queues. */
static bool try_resize(void) {
    struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};
    struct io_uring_params larger = {.sq_entries = 4, .cq_entries = 16, .flags = IORING_SETUP_CQSIZE};
    int fd = (int)syscall(SYS_io_uring_setup, 4, &params);
    bool resized = fd >= 0 && !syscall(SYS_io_uring_register, fd, REGISTER_RESIZE_RINGS, &larger, 1);
    if (fd >= 0)
        close(fd);
    return resized;
}

/* The first system call, as opening a ring makes them, that is refused whatever its arguments are; NULL: none. */
static const char *refused_blindly(bool sealed) {
    const int no_fd = -2; /* -1 means "no ring" to some kernels, which then answer otherwise */
    if (syscall(SYS_io_uring_setup, 1, NULL) < 0 && errno != EFAULT)
        return "setup";
    if (syscall(SYS_io_uring_enter, no_fd, 0, 0, 0, NULL, 0) < 0 && errno != EBADF)
        return "enter";
    if (syscall(SYS_io_uring_register, no_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0) < 0 && errno != EBADF)
        return "register";
    if (sealed && syscall(SYS_io_uring_register, no_fd, IORING_REGISTER_RESTRICTIONS, NULL, 0) < 0 && errno != EBADF)
        return "register";
    return NULL;
}

static int read_sysctl(void) {
    int value = -1;
    FILE *file = fopen("/proc/sys/kernel/io_uring_disabled", "re");
    if (file) {
        if (fscanf(file, "%d", &value) != 1)
            value = -1;
        fclose(file);
    }
    return value;
}

/* All zero where /proc can't be read. */
static struct confinement read_confinement(void) {
    struct confinement confinement = {.filtered = false};
    char line[256];
    int mode;
    FILE *file = fopen("/proc/thread-self/status", "re");
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "Seccomp: %d", &mode) == 1)
            confinement.filtered = mode == 2;
        sscanf(line, "CapEff: %" SCNx64, &confinement.capabilities);
    }
    if (file)
        fclose(file);
    return confinement;
}

#ifndef __GLIBC__
typedef int __rlimit_resource_t; /* glibc has an enum */
#endif

static rlim_t limit_of(__rlimit_resource_t resource) {
    struct rlimit limit;
    return getrlimit(resource, &limit) ? RLIM_INFINITY : limit.rlim_cur;
}

/* The sysctl refuses with EPERM: 2 everybody, 1 all but administrators (those of a user namespace too) and a group. */
static bool is_by_sysctl(const struct pollring_probe *probe, struct confinement confinement) {
    if (probe->io_uring != -EPERM || probe->sysctl_disabled <= 0)
        return false;
    return probe->sysctl_disabled > 1 || !confinement.filtered || !(confinement.capabilities & IS_ADMINISTRATOR);
}

static int cause_of(const struct pollring_probe *probe, const char *blindly, struct confinement confinement) {
    if (blindly && !strcmp(blindly, "setup")) {
        if (is_by_sysctl(probe, confinement))
            return POLLRING_CAUSE_SYSCTL;
        if (!confinement.filtered)
            return probe->io_uring == -ENOSYS ? POLLRING_CAUSE_KERNEL : POLLRING_CAUSE_UNKNOWN;
    }
    if (blindly)
        return POLLRING_CAUSE_SECCOMP;
    switch (probe->io_uring) {
    case 0:
        return POLLRING_CAUSE_NONE;
    case -EINVAL:
        return POLLRING_CAUSE_KERNEL;
    case -EMFILE:
    case -ENFILE:
        return POLLRING_CAUSE_FD_LIMIT;
    case -ENOMEM:
        return confinement.capabilities & MAY_LOCK_MEMORY || limit_of(RLIMIT_MEMLOCK) == RLIM_INFINITY
                   ? POLLRING_CAUSE_MEMORY
                   : POLLRING_CAUSE_MEMLOCK;
    default:
        return confinement.filtered ? POLLRING_CAUSE_SECCOMP : POLLRING_CAUSE_UNKNOWN;
    }
}

/* ---- what to do ---- */

static void say(struct pollring_probe *probe, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct pollring_probe *probe, const char *format, ...) {
    va_list arguments;
    size_t length = strlen(probe->message);
    va_start(arguments, format);
    vsnprintf(probe->message + length, sizeof probe->message - length, format, arguments);
    va_end(arguments);
}

static void say_sysctl(struct pollring_probe *probe, bool filtered) {
    say(probe,
        "io_uring is disabled by the sysctl kernel.io_uring_disabled, which is %d. As root: `sysctl -w "
        "kernel.io_uring_disabled=0`",
        probe->sysctl_disabled);
    if (probe->sysctl_disabled == 1)
        say(probe, ", or `sysctl -w kernel.io_uring_group=GID` with a group of this process");
    if (filtered)
        say(probe, ". There is a seccomp filter too, which may refuse it next");
}

static void say_seccomp(struct pollring_probe *probe, const char *error) {
    say(probe,
        "a seccomp filter refuses io_uring_%s (%s), as the default profiles of container runtimes do. Run with a "
        "profile that allows io_uring_setup, io_uring_enter and io_uring_register: `docker run --security-opt "
        "seccomp=PROFILE.json`, in a systemd unit @aio added to `SystemCallFilter=`",
        probe->refused_at, error);
    if (probe->io_uring == -ENOSYS && !strcmp(probe->refused_at, "setup") && probe->sysctl_disabled < 0)
        say(probe, ". Or this kernel (%s) has no io_uring: it needs Linux 5.13 or newer", probe->kernel);
    if (probe->sysctl_disabled > 0)
        say(probe, ". The sysctl kernel.io_uring_disabled is %d, which may refuse it next", probe->sysctl_disabled);
}

static void say_kernel(struct pollring_probe *probe, const char *error, unsigned flags) {
    if (flags & SETUP_FLAGS)
        say(probe,
            "this kernel's io_uring (%s) lacks the set-up that was asked for (%s). Leave the choice open, or run Linux "
            "6.1 or newer",
            probe->kernel, error);
    else
        say(probe,
            "this kernel (%s) lacks io_uring, or what it needs of it (%s). Run Linux 5.13 or newer, built with "
            "CONFIG_IO_URING",
            probe->kernel, error);
}

static void say_fd_limit(struct pollring_probe *probe) {
    if (probe->io_uring == -ENFILE)
        say(probe, "the system has no file descriptors left (ENFILE). As root: `sysctl -w fs.file-max=NUMBER`");
    else
        say(probe,
            "no file descriptors are left (EMFILE), of %llu. Close some, or raise the limit: `ulimit -n NUMBER`, in a "
            "systemd unit `LimitNOFILE=`, `docker run --ulimit nofile=NUMBER`",
            (unsigned long long)limit_of(RLIMIT_NOFILE));
}

static void explain(struct pollring_probe *probe, unsigned flags, bool filtered) {
    char error[32];
    pollring_strevents(probe->io_uring, error, sizeof error);
    switch (probe->cause) {
    case POLLRING_CAUSE_NONE:
        return;
    case POLLRING_CAUSE_SYSCTL:
        say_sysctl(probe, filtered);
        return;
    case POLLRING_CAUSE_SECCOMP:
        say_seccomp(probe, error);
        return;
    case POLLRING_CAUSE_KERNEL:
        say_kernel(probe, error, flags);
        return;
    case POLLRING_CAUSE_MEMLOCK:
        say(probe,
            "the ring's queues don't fit into this user's locked memory (ENOMEM), which is limited to %llu KiB. Raise "
            "it: `ulimit -l unlimited`, in a systemd unit `LimitMEMLOCK=infinity`, `docker run --ulimit memlock=-1`; "
            "or ask for smaller queues (entries, cq_entries)",
            (unsigned long long)limit_of(RLIMIT_MEMLOCK) / 1024);
        return;
    case POLLRING_CAUSE_FD_LIMIT:
        say_fd_limit(probe);
        return;
    case POLLRING_CAUSE_MEMORY:
        say(probe,
            "memory is short (ENOMEM). Raise `ulimit -v` or the container's limit where there is one, or ask for "
            "smaller queues (entries, cq_entries)");
        return;
    default:
        say(probe,
            "io_uring_%s is refused (%s), and by neither a sysctl nor a seccomp filter nor a limit: where a security "
            "module such as SELinux is in use, its log tells (`ausearch -m avc`)",
            probe->refused_at, error);
    }
}

/* ---- all together ---- */

/* Returns what the kernel lacks: of the set-ups, and as the rings tell. */
static unsigned try_setups(struct pollring_probe *probe, const struct pollring_options *options) {
    static const unsigned setups[] = {POLLRING_SETUP_DEFER_TASKRUN, POLLRING_SETUP_COOP_TASKRUN, POLLRING_SETUP_PLAIN};
    struct pollring_options trial = *options;
    unsigned asked = options->flags & SETUP_FLAGS ? options->flags & SETUP_FLAGS : SETUP_FLAGS;
    unsigned lacks = 0;
    const char *refused_at;
    trial.backend = POLLRING_IO_URING;
    for (size_t i = 0; i < sizeof setups / sizeof *setups; i++) {
        if (!(asked & setups[i]))
            continue;
        trial.flags = (options->flags & ~SETUP_FLAGS) | setups[i];
        int error = try_ring(&trial, &refused_at, &lacks);
        if (!error) {
            probe->setups |= setups[i];
        } else if (!probe->io_uring || probe->io_uring == -EINVAL) { /* EINVAL: the kernel lacks this one only */
            probe->io_uring = error;
            probe->refused_at = refused_at;
        }
    }
    if (probe->setups) {
        probe->io_uring = 0;
        probe->refused_at = "";
        if (asked & ~probe->setups & POLLRING_SETUP_DEFER_TASKRUN)
            lacks |= LACKS_DEFER_TASKRUN;
        if (asked & ~probe->setups & POLLRING_SETUP_COOP_TASKRUN)
            lacks |= LACKS_COOP_TASKRUN;
    }
    return lacks;
}

/* Whoever has the call misses the file: there is none of this number. */
static unsigned try_epoll(void) {
    struct epoll_event event;
    return syscall(SYS_epoll_pwait2, -1, &event, 1, NULL, NULL, 0) < 0 && errno != EBADF ? LACKS_PWAIT2 : 0;
}

static void name_lacks(struct pollring_probe *probe, unsigned lacks) {
    static const char *const sentences[] = {
        "io_uring with multishot polls (Linux 5.13): rings poll by epoll",
        "DEFER_TASKRUN (Linux 6.1): the next set-up is taken, and each event interrupts its owner's sleeps elsewhere",
        "COOP_TASKRUN (Linux 5.19): a ring without flags is taken, and each event interrupts its owner",
        "IOSQE_CQE_SKIP_SUCCESS (Linux 5.17): each update and removal posts a completion, which is dropped",
        "registered ring fds (Linux 5.18): a pinned ring enters the kernel by its ordinary fd",
        "a ring's fd that wakes sleepers: fileno() goes by a registered eventfd, and watches polled eventfds itself",
        "a ring's fd or eventfd that wakes sleepers at once: fileno() watches the polled files itself",
        "epoll_pwait2() (Linux 5.11): the epoll backend rounds its timeouts up to milliseconds",
    };
    size_t count = 0;
    for (size_t i = 0; i < sizeof sentences / sizeof *sentences; i++)
        if (lacks & 1u << i)
            probe->lacks[count++] = sentences[i];
}

static const char *automatic_backend(struct pollring_options options) {
    struct pollring *ring;
    const char *name = "";
    options.backend = POLLRING_AUTO;
    if (!pollring_open(&ring, &options)) {
        name = pollring_backend(ring);
        pollring_close(ring);
    }
    return name;
}

int pollring_explain(struct pollring_probe *probe, const struct pollring_options *options) {
    static const struct pollring_options defaults;
    const char *blindly;
    struct confinement confinement;
    struct utsname name;
    options = options ? options : &defaults;
    if (!probe || ring_check_options(options) == -EINVAL)
        return -EINVAL;
    *probe = (struct pollring_probe){.sysctl_disabled = read_sysctl(), .refused_at = ""};
    if (!uname(&name))
        snprintf(probe->kernel, sizeof probe->kernel, "%s", name.release);
    probe->backend = automatic_backend(*options);
    unsigned lacks = try_setups(probe, options) | try_epoll();
    probe->resize = probe->setups & POLLRING_SETUP_DEFER_TASKRUN && try_resize();
    if (!probe->io_uring) {
        name_lacks(probe, lacks);
        return 0;
    }
    blindly = refused_blindly(options->flags & POLLRING_SEALED);
    if (blindly)
        probe->refused_at = blindly;
    confinement = read_confinement();
    probe->cause = cause_of(probe, blindly, confinement);
    if (probe->cause == POLLRING_CAUSE_KERNEL && !(options->flags & SETUP_FLAGS))
        lacks |= LACKS_MULTISHOT;
    name_lacks(probe, lacks);
    explain(probe, options->flags, confinement.filtered);
    return 0;
}

int pollring_probe(struct pollring_probe *probe) {
    return pollring_explain(probe, NULL);
}
