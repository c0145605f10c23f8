/*
 * What the machine allows, and who refuses: in children, which install filters and lower limits for themselves.
 *
 * The sysctl of the machine is not touched: a file with another value is mounted over it, in a mount namespace of the
 * child's, and a filter answers as the kernel would.
 */
#include "variants.h"

#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/utsname.h>

#define SYSCTL "/proc/sys/kernel/io_uring_disabled"

/* ---- children ---- */

enum outcome { SUCCEEDED, UNABLE, WRONG };

/* What a child found out. A string constant has the same address there. */
struct findings {
    struct pollring_probe probe;
    int opened; /* what pollring_open() said */
    int fds_left_open;
    bool may_fall_back; /* no set-up was asked for */
};

/* From now on the kernel answers a system call of this thread with an errno, if an argument of it has a value; with
   unless, if it has not. */
struct refusal {
    long system_call;
    int error;
    unsigned argument, value;
    bool unless;
};
#define WHATEVER_THE_ARGUMENTS .value = 0x7fffffff, .unless = true

static int refuse(const void *argument) {
    const struct refusal *refusal = argument;
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)refusal->system_call, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offsetof(struct seccomp_data, args) + 8 * refusal->argument),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, refusal->value, refusal->unless, !refusal->unless),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)refusal->error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {.len = COUNT_OF(program), .filter = program};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter))
        return UNABLE;
    return SUCCEEDED;
}

/* To a user without capabilities, whose /proc can be read all the same. */
static int become_nobody(void) {
    return setuid(65534) || prctl(PR_SET_DUMPABLE, 1) ? UNABLE : SUCCEEDED;
}

/* The sysctl looks as if it had this value, to the calling process. */
static int cover_sysctl(const char *value) {
    char path[] = "/tmp/pollring-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0)
        return UNABLE;
    bool covered = write(fd, value, strlen(value)) > 0 && !fchmod(fd, 0444) && !unshare(CLONE_NEWNS) &&
                   !mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) && !mount(path, SYSCTL, NULL, MS_BIND, NULL);
    close(fd);
    unlink(path);
    return covered ? SUCCEEDED : UNABLE;
}

/* The variant's, with no other backend to fall back on. */
static struct pollring_options insisting(void) {
    struct pollring_options options = test.variant->options;
    options.backend = POLLRING_IO_URING;
    return options;
}

/* Without /proc, which may be hidden. */
static int count_low_fds(void) {
    int count = 0;
    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* Runs prepare in a child, and explains there what a ring of these options would get. */
static struct findings explain_in_child(int (*prepare)(const void *), const void *argument,
                                        struct pollring_options options) {
    if (in_valgrind())
        skip_because(
            "valgrind looks at a system call's arguments before the kernel does, and reports those of a probe");
    struct findings *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0),
                    findings;
    assert_true(shared != MAP_FAILED);
    pid_t child = fork();
    if (child == 0) {
        struct pollring *ring;
        int fds = count_low_fds(), outcome = prepare(argument);
        if (outcome != SUCCEEDED)
            _exit(outcome);
        shared->opened = pollring_open(&ring, &options);
        if (!shared->opened) {
            shared->opened = pollring_submit(ring);
            pollring_close(ring);
        }
        int error = pollring_explain(&shared->probe, &options);
        shared->fds_left_open = count_low_fds() - fds;
        _exit(error ? WRONG : SUCCEEDED);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    findings = *shared;
    munmap(shared, sizeof *shared);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == UNABLE)
        skip_because("not allowed here: to install a seccomp filter, to mount, or to lower a limit");
    assert_int_equal(WEXITSTATUS(status), SUCCEEDED);
    assert_int_equal(findings.fds_left_open, 0);
    findings.may_fall_back = !(options.flags & ~(POLLRING_SEALED | POLLRING_PINNED));
    return findings;
}

/* Nothing can be opened without files, and nothing else where a set-up is insisted on. */
static const char *expected_backend(const struct findings *findings) {
    return findings->may_fall_back && findings->probe.io_uring != -EMFILE ? "epoll" : "";
}

static void check_refusal(const struct findings *findings, int error, int cause, const char *refused_at,
                          const char *advice, const char *file, int line) {
    const struct pollring_probe *probe = &findings->probe;
    if (findings->opened == error && probe->io_uring == error && probe->cause == cause && !probe->setups &&
        !probe->resize && !strcmp(probe->backend, expected_backend(findings)) &&
        !strcmp(probe->refused_at, refused_at) && strstr(probe->message, advice) &&
        strlen(probe->message) < sizeof probe->message - 1)
        return;
    print_error("opened %d, refused %d at \"%s\", cause %d: %s\nexpected %d at \"%s\", cause %d: %s\n",
                findings->opened, probe->io_uring, probe->refused_at, probe->cause, probe->message, error, refused_at,
                cause, advice);
    _fail(file, line);
}

#define assert_refusal(findings, error, cause, refused_at, advice)                                                     \
    check_refusal(findings, error, cause, refused_at, advice, __FILE__, __LINE__)

/* ---- what works ---- */

TEST(a_probe_says_what_opening_a_ring_says) {
    struct pollring_probe probe;
    struct utsname name;
    int fds = count_fds();
    assert_int_equal(pollring_probe(&probe), 0);
    assert_return_code(uname(&name), errno);
    assert_string_equal(probe.kernel, name.release);
    assert_int_equal(probe.io_uring, 0);
    assert_int_equal(probe.cause, POLLRING_CAUSE_NONE);
    assert_string_equal(probe.refused_at, "");
    assert_string_equal(probe.message, "");
    assert_in_range(probe.sysctl_disabled + 1, 0, 3);
    assert_string_equal(probe.backend, "io_uring");
    struct pollring_options options = insisting();
    struct pollring *ring;
    assert_int_equal(pollring_open(&ring, &options), 0);
    keep_ring(ring);
    assert_int_equal(probe.setups & stats_of(ring).setup, stats_of(ring).setup);
    assert_int_equal(pollring_explain(&probe, &options), 0);
    assert_int_equal(probe.setups & stats_of(ring).setup, stats_of(ring).setup);
    close_ring(ring);
    assert_int_equal(count_fds(), fds);
}

TEST(a_probe_refuses_options_that_opening_refuses) {
    struct pollring_probe probe;
    assert_int_equal(pollring_probe(NULL), -EINVAL);
    assert_int_equal(pollring_explain(NULL, NULL), -EINVAL);
    assert_int_equal(pollring_explain(&probe, &(struct pollring_options){.entries = 32769}), -EINVAL);
    assert_int_equal(pollring_explain(&probe, &(struct pollring_options){.flags = 1u << 31}), -EINVAL);
}

/* It is as the kernel says of a ring of the test's. */
TEST(a_probe_tells_whether_the_queue_can_be_resized) {
    struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};
    struct io_uring_params larger = {.sq_entries = 8, .cq_entries = 64, .flags = IORING_SETUP_CQSIZE};
    struct pollring_probe probe;
    int fd = (int)syscall(SYS_io_uring_setup, 8, &params);
    bool resized = fd >= 0 && !syscall(SYS_io_uring_register, keep_fd(fd), 33 /* RESIZE_RINGS */, &larger, 1);
    assert_int_equal(pollring_probe(&probe), 0);
    assert_int_equal(probe.resize, resized);
}

static const char *lack_of(const struct pollring_probe *probe, const char *what) {
    for (size_t i = 0; probe->lacks[i]; i++)
        if (strstr(probe->lacks[i], what))
            return probe->lacks[i];
    return NULL;
}

/* The ring works all the same. */
TEST(a_probe_names_what_the_kernel_lacks) {
    static const struct {
        struct refusal refusal;
        const char *what, *instead;
    } lacking[] = {
        {{SYS_io_uring_register, EINVAL, 1, IORING_REGISTER_RING_FDS, false}, "registered ring fds ", "ordinary fd"},
        {{SYS_epoll_pwait2, ENOSYS, WHATEVER_THE_ARGUMENTS}, "epoll_pwait2() ", "milliseconds"},
    };
    for (size_t i = 0; i < COUNT_OF(lacking); i++) {
        struct findings findings = explain_in_child(refuse, &lacking[i].refusal, insisting());
        const char *sentence = lack_of(&findings.probe, lacking[i].what);
        assert_int_equal(findings.opened, 0);
        assert_int_equal(findings.probe.io_uring, 0);
        assert_non_null(sentence);
        assert_non_null(strstr(sentence, lacking[i].instead));
    }
}

/* ---- seccomp ---- */

TEST(a_filter_is_found_whatever_it_answers_and_at_whichever_system_call) {
    static const struct {
        long system_call;
        const char *refused_at;
    } calls[] = {{SYS_io_uring_setup, "setup"}, {SYS_io_uring_register, "register"}, {SYS_io_uring_enter, "enter"}};
    static const int errors[] = {EPERM, ENOSYS, EOPNOTSUPP, EINVAL, ENOMEM};
    for (size_t i = 0; i < COUNT_OF(calls) * COUNT_OF(errors); i++) {
        const char *refused_at = calls[i / COUNT_OF(errors)].refused_at;
        int error = errors[i % COUNT_OF(errors)];
        const struct refusal refusal = {calls[i / COUNT_OF(errors)].system_call, error, WHATEVER_THE_ARGUMENTS};
        struct findings findings = explain_in_child(refuse, &refusal, insisting());
        char call[64], name[32];
        snprintf(call, sizeof call, "io_uring_%s", refused_at);
        pollring_strevents(-error, name, sizeof name);
        assert_refusal(&findings, -error, POLLRING_CAUSE_SECCOMP, refused_at, call);
        assert_refusal(&findings, -error, POLLRING_CAUSE_SECCOMP, refused_at, name);
        assert_refusal(&findings, -error, POLLRING_CAUSE_SECCOMP, refused_at, "--security-opt seccomp=");
    }
}

/* Without a filter an ENOSYS is the kernel's. Nothing else can take it away here, so this is how it looks: the filter
   answers, and /proc says nothing of it. */
static int hide_proc_and_refuse(const void *argument) {
    if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount("none", "/proc", "tmpfs", 0, NULL) || mkdir("/proc/self", 0700) || mkdir("/proc/self/fd", 0700))
        return UNABLE;
    return refuse(argument);
}

TEST(a_kernel_without_io_uring_is_told_from_a_filter) {
    static const struct refusal refusal = {SYS_io_uring_setup, ENOSYS, WHATEVER_THE_ARGUMENTS};
    struct findings findings = explain_in_child(hide_proc_and_refuse, &refusal, insisting());
    assert_refusal(&findings, -ENOSYS, POLLRING_CAUSE_KERNEL, "setup", findings.probe.kernel);
}

TEST(a_security_module_is_told_from_a_filter) {
    static const struct refusal refusal = {SYS_io_uring_setup, EPERM, WHATEVER_THE_ARGUMENTS};
    struct findings findings = explain_in_child(hide_proc_and_refuse, &refusal, insisting());
    assert_refusal(&findings, -EPERM, POLLRING_CAUSE_UNKNOWN, "setup", "SELinux");
}

/* What looks at the arguments first answers as the kernel's own code would: it is what was asked for. */
#define PARAMETERS_OF_SETUP .system_call = SYS_io_uring_setup, .argument = 1, .value = 0, .unless = true

TEST(a_kernel_that_lacks_what_is_asked_for_is_named) {
    static const struct refusal refusal = {PARAMETERS_OF_SETUP, .error = EINVAL};
    struct findings findings = explain_in_child(refuse, &refusal, insisting());
    assert_refusal(&findings, -EINVAL, POLLRING_CAUSE_KERNEL, "setup",
                   findings.may_fall_back ? "5.13 or newer" : "6.1 or newer");
    findings = explain_in_child(refuse, &refusal, (struct pollring_options){.backend = POLLRING_IO_URING});
    assert_refusal(&findings, -EINVAL, POLLRING_CAUSE_KERNEL, "setup", "5.13 or newer");
}

TEST(a_ring_that_can_not_be_sealed_is_not_opened) {
    static const struct refusal refusal = {SYS_io_uring_register, EACCES, 1, IORING_REGISTER_RESTRICTIONS, false};
    struct findings findings = explain_in_child(refuse, &refusal, insisting());
    if (test.variant->options.flags & POLLRING_SEALED) {
        assert_refusal(&findings, -EACCES, POLLRING_CAUSE_SECCOMP, "register", "io_uring_register");
    } else {
        assert_int_equal(findings.opened, 0);
        assert_int_equal(findings.probe.io_uring, 0);
    }
}

/* ---- the sysctl ---- */

static const struct refusal by_sysctl = {SYS_io_uring_setup, EPERM, WHATEVER_THE_ARGUMENTS};

static int cover_sysctl_for_nobody(const void *value) {
    return cover_sysctl(value) || become_nobody() || refuse(&by_sysctl) ? UNABLE : SUCCEEDED;
}

static int cover_sysctl_for_root(const void *value) {
    return cover_sysctl(value) || refuse(&by_sysctl) ? UNABLE : SUCCEEDED;
}

TEST(the_sysctl_is_told_from_a_filter) {
    struct findings findings = explain_in_child(cover_sysctl_for_root, "2\n", insisting());
    assert_refusal(&findings, -EPERM, POLLRING_CAUSE_SYSCTL, "setup", "sysctl -w kernel.io_uring_disabled=0");
    assert_int_equal(findings.probe.sysctl_disabled, 2);
    findings = explain_in_child(cover_sysctl_for_nobody, "1\n", insisting());
    assert_refusal(&findings, -EPERM, POLLRING_CAUSE_SYSCTL, "setup", "sysctl -w kernel.io_uring_group=GID");
    assert_int_equal(findings.probe.sysctl_disabled, 1);
}

TEST(a_sysctl_that_allows_administrators_is_not_blamed_where_one_is_refused) {
    struct findings findings = explain_in_child(cover_sysctl_for_root, "1\n", insisting());
    assert_refusal(&findings, -EPERM, POLLRING_CAUSE_SECCOMP, "setup", "kernel.io_uring_disabled is 1");
    findings = explain_in_child(cover_sysctl_for_root, "0\n", insisting());
    assert_refusal(&findings, -EPERM, POLLRING_CAUSE_SECCOMP, "setup", "--security-opt");
}

/* ---- limits ---- */

static int lower_fd_limit(const void *argument) {
    struct rlimit limit;
    (void)argument;
    if (getrlimit(RLIMIT_NOFILE, &limit))
        return UNABLE;
    limit.rlim_cur = 0;
    return setrlimit(RLIMIT_NOFILE, &limit) ? UNABLE : SUCCEEDED;
}

TEST(the_limit_of_open_files_is_named) {
    struct findings findings = explain_in_child(lower_fd_limit, NULL, insisting());
    assert_refusal(&findings, -EMFILE, POLLRING_CAUSE_FD_LIMIT, "setup", "ulimit -n");
}

static int lower_memlock(const void *argument) {
    struct rlimit none = {0, 0};
    (void)argument;
    return setrlimit(RLIMIT_MEMLOCK, &none) || become_nobody() ? UNABLE : SUCCEEDED;
}

TEST(the_limit_of_locked_memory_is_named) {
    struct findings findings = explain_in_child(lower_memlock, NULL, insisting());
    if (!findings.opened)
        skip_because("this kernel does not count rings as locked memory");
    assert_refusal(&findings, -ENOMEM, POLLRING_CAUSE_MEMLOCK, "setup", "ulimit -l");
}

static const struct refusal by_memory = {PARAMETERS_OF_SETUP, .error = ENOMEM};

static int run_out_of_memory(const void *argument) {
    return geteuid() ? UNABLE : refuse(argument); /* others may be short of locked memory */
}

TEST(memory_is_not_taken_for_the_limit_of_locked_memory) {
    struct findings findings = explain_in_child(run_out_of_memory, &by_memory, insisting());
    assert_refusal(&findings, -ENOMEM, POLLRING_CAUSE_MEMORY, "setup", "smaller queues");
}

int main(void) {
    static const struct test tests[] = {
        RUN(a_probe_says_what_opening_a_ring_says),
        RUN(a_probe_refuses_options_that_opening_refuses),
        RUN(a_probe_tells_whether_the_queue_can_be_resized),
        RUN(a_probe_names_what_the_kernel_lacks),
        RUN(a_filter_is_found_whatever_it_answers_and_at_whichever_system_call),
        RUN(a_kernel_without_io_uring_is_told_from_a_filter),
        RUN(a_security_module_is_told_from_a_filter),
        RUN(a_kernel_that_lacks_what_is_asked_for_is_named),
        RUN(a_ring_that_can_not_be_sealed_is_not_opened),
        RUN(the_sysctl_is_told_from_a_filter),
        RUN(a_sysctl_that_allows_administrators_is_not_blamed_where_one_is_refused),
        RUN(the_limit_of_open_files_is_named),
        RUN(the_limit_of_locked_memory_is_named),
        RUN(memory_is_not_taken_for_the_limit_of_locked_memory),
    };
    return run_on_variants("probe", tests, COUNT_OF(tests));
}
