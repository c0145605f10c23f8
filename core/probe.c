/*
 * What this machine allows, found by trying.
 */
#include "internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

/* Opens a ring with one set-up and makes a first system call on it: a filter may refuse that one only. */
static int try_setup(unsigned setup) {
    struct pollring_options options = {.entries = 1, .cq_entries = 2, .flags = setup, .backend = POLLRING_IO_URING};
    struct pollring *ring;
    int error = pollring_open(&ring, &options);
    if (error)
        return error;
    error = pollring_submit(ring);
    pollring_close(ring);
    return error;
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

static const char *explain(int error, int sysctl_disabled) {
    if (sysctl_disabled > 0 && error == -EPERM)
        return "io_uring is disabled by the sysctl kernel.io_uring_disabled; `sysctl kernel.io_uring_disabled=0` "
               "as root allows it";
    switch (error) {
    case 0:
        return "";
    case -EPERM:
        return "io_uring is refused (EPERM), most likely by a seccomp filter such as Docker's default profile; run the "
               "container with a profile that allows io_uring_setup, io_uring_enter and io_uring_register";
    case -ENOSYS:
        return "io_uring is not there (ENOSYS): a kernel before 5.13 or built without it, or a seccomp filter that "
               "says so";
    case -ENOMEM:
        return "memory is short (ENOMEM): kernels before 5.12 count rings against the memlock limit; raise `ulimit -l`";
    case -EMFILE:
    case -ENFILE:
        return "no file descriptors are left; raise `ulimit -n`, or close some";
    default:
        return "io_uring failed in a way that is not known; the errno says more";
    }
}

int pollring_probe(struct pollring_probe *probe) {
    static const unsigned setups[] = {POLLRING_SETUP_DEFER_TASKRUN, POLLRING_SETUP_COOP_TASKRUN, POLLRING_SETUP_PLAIN};
    struct utsname name;
    if (!probe)
        return -EINVAL;
    *probe = (struct pollring_probe){.sysctl_disabled = read_sysctl()};
    if (!uname(&name))
        snprintf(probe->kernel, sizeof probe->kernel, "%s", name.release);
    for (size_t i = 0; i < sizeof setups / sizeof *setups; i++) {
        int error = try_setup(setups[i]);
        if (!error)
            probe->setups |= setups[i];
        else if (error != -EINVAL && !probe->io_uring)
            probe->io_uring = error;
    }
    if (probe->setups)
        probe->io_uring = 0;
    else if (!probe->io_uring)
        probe->io_uring = -EINVAL;
    snprintf(probe->message, sizeof probe->message, "%s", explain(probe->io_uring, probe->sysctl_disabled));
    return 0;
}
