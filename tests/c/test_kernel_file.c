/*
 * The kernel's rules about files under a multishot poll: what hangup, errors and ends of each kind of file look like,
 * which files can't be polled, and which bits come without being asked for.
 *
 * Raw liburing; it must not know pollring.
 */
#include "kernel.h"

#include <sys/mman.h>
#include <sys/mount.h>

/* ---- hangup does not end a poll ---- */

static void hangup_of_a_pipe_with_data_posts_in_and_hup_with_f_more_then_nothing(void **state) {
    int ends[2];
    struct io_uring *ring = open_ring(state);
    make_pipe(state, ends);
    write_some(ends[1]);
    close_fd(state, ends[1]);
    arm_multishot(ring, ends[0], POLLIN, POLL);
    assert_event(ring, POLL, POLLIN | POLLHUP);
    assert_silence(ring);
    submit_remove(ring, POLL, REMOVE);
    assert_two_ends(ring, REMOVE, 0, POLL, -ECANCELED);
}

static void hangup_of_an_empty_pipe_posts_hup_with_f_more_then_nothing(void **state) {
    int ends[2];
    struct io_uring *ring = open_ring(state);
    make_pipe(state, ends);
    arm_multishot(ring, ends[0], POLLIN, POLL);
    close_fd(state, ends[1]);
    assert_event(ring, POLL, POLLHUP);
    assert_silence(ring);
    submit_remove(ring, POLL, REMOVE);
    assert_two_ends(ring, REMOVE, 0, POLL, -ECANCELED);
}

/* The FIFO has no name any more: writers open it through the reader's entry in /proc. */
static int open_nameless_fifo(void **state, char *writers_path, size_t size) {
    char directory[] = "/tmp/kernel-XXXXXX", path[64];
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/fifo", directory);
    int made = mkfifo(path, 0600);
    int reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    unlink(path);
    rmdir(directory);
    assert_int_equal(made, 0);
    snprintf(writers_path, size, "/proc/self/fd/%d", reader);
    return keep_fd(state, reader);
}

static void fifo_comes_back_when_a_writer_opens_it_again(void **state) {
    char path[64];
    struct io_uring *ring = open_ring(state);
    int reader = open_nameless_fifo(state, path, sizeof(path));
    int writer = keep_fd(state, open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC));
    arm_multishot(ring, reader, POLLIN, POLL);
    close_fd(state, writer);
    assert_event(ring, POLL, POLLHUP);
    assert_silence(ring);
    writer = keep_fd(state, open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC));
    write_some(writer);
    assert_reports(ring, POLL, POLLIN);
    close_fd(state, writer);
    assert_reports(ring, POLL, POLLHUP);
}

static int open_pty_master(void **state, char *slave, size_t size) {
    int master = keep_fd(state, posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    assert_int_equal(grantpt(master), 0);
    assert_int_equal(unlockpt(master), 0);
    assert_int_equal(ptsname_r(master, slave, size), 0);
    return master;
}

static void pty_master_comes_back_when_its_slave_is_opened_again(void **state) {
    char path[64];
    struct io_uring *ring = open_ring(state);
    int master = open_pty_master(state, path, sizeof(path));
    int slave = keep_fd(state, open(path, O_RDWR | O_NOCTTY | O_CLOEXEC));
    arm_multishot(ring, master, POLLIN, POLL);
    close_fd(state, slave);
    assert_reports(ring, POLL, POLLHUP);
    assert_silence(ring);
    slave = keep_fd(state, open(path, O_RDWR | O_NOCTTY | O_CLOEXEC));
    write_some(slave);
    assert_reports(ring, POLL, POLLIN);
}

/* A FIN wakes twice: for the state of the connection and for the data. Mostly both are collected as one. */
static void fin_posts_in_and_rdhup_with_f_more_then_nothing(void **state) {
    int ends[2];
    struct completion second[2];
    struct io_uring *ring = open_ring(state);
    make_tcp_pair(state, ends);
    arm_multishot(ring, ends[0], POLLIN, POLL);
    assert_int_equal(shutdown(ends[1], SHUT_WR), 0);
    assert_reports(ring, POLL, POLLIN | POLLRDHUP);
    assert_true(collect(ring, second, COUNT_OF(second)) <= 1);
    submit_remove(ring, POLL, REMOVE);
    assert_two_ends(ring, REMOVE, 0, POLL, -ECANCELED);
}

static void fresh_stream_socket_posts_hup_when_armed_and_stays(void **state) {
    struct io_uring *ring = open_ring(state);
    int families[] = {AF_INET, AF_UNIX};
    for (unsigned i = 0; i < COUNT_OF(families); i++) {
        arm_multishot(ring, keep_fd(state, socket(families[i], SOCK_STREAM | SOCK_CLOEXEC, 0)), POLLIN, POLL);
        assert_event(ring, POLL, POLLHUP);
        assert_silence(ring);
        submit_remove(ring, POLL, REMOVE);
        assert_two_ends(ring, REMOVE, 0, POLL, -ECANCELED);
    }
}

/* ---- bits that nobody asked for ---- */

static void reset_connection(void **state, int fd) {
    struct linger at_once = {.l_onoff = 1};
    assert_return_code(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), errno);
    close_fd(state, fd);
}

static void half_close(void **state, int fd) {
    (void)state;
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
}

static void rdhup_comes_unasked_with_fin_close_and_reset(void **state) {
    void (*const ways[])(void **, int) = {half_close, close_fd, reset_connection};
    for (unsigned way = 0; way < COUNT_OF(ways); way++) {
        int ends[2];
        struct io_uring *ring = open_ring(state);
        make_tcp_pair(state, ends);
        arm_multishot(ring, ends[0], POLLIN, POLL);
        ways[way](state, ends[1]);
        assert_reports(ring, POLL, POLLIN | POLLRDHUP);
    }
}

static void rdhup_comes_unasked_from_a_unix_socket(void **state) {
    int ends[2];
    struct io_uring *ring = open_ring(state);
    make_socketpair(state, ends);
    arm_multishot(ring, ends[0], POLLIN, POLL);
    close_fd(state, ends[1]);
    assert_reports(ring, POLL, POLLIN | POLLRDHUP);
}

static void pri_is_reported_with_every_in_of_a_socket_armed_with_it(void **state) {
    int ends[2];
    struct io_uring *ring = open_ring(state);
    make_socketpair(state, ends);
    arm_multishot(ring, ends[0], POLLIN | POLLPRI, POLL);
    write_some(ends[1]);
    assert_event(ring, POLL, POLLIN | POLLPRI);
    assert_int_equal(state_of(ends[0], POLLIN | POLLPRI, 0), POLLIN);
}

static void mask_of_zero_reports_hangup_only(void **state) {
    int ends[2];
    struct io_uring *ring = open_ring(state);
    make_pipe(state, ends);
    arm_multishot(ring, ends[0], 0, POLL);
    write_some(ends[1]);
    assert_silence(ring);
    close_fd(state, ends[1]);
    assert_event(ring, POLL, POLLHUP);
}

static void mask_of_zero_reports_errors_only(void **state) {
    int ends[2];
    struct io_uring *ring = open_ring(state);
    make_pipe(state, ends);
    arm_multishot(ring, ends[1], 0, POLL);
    assert_silence(ring);
    close_fd(state, ends[0]);
    assert_event(ring, POLL, POLLERR);
}

/* ---- an error condition does not end a poll ---- */

static void write_end_of_a_pipe_posts_err_once_with_f_more(void **state) {
    int ends[2];
    struct io_uring *ring = open_ring(state);
    make_pipe(state, ends);
    arm_multishot(ring, ends[1], POLLOUT, POLL);
    assert_event(ring, POLL, POLLOUT);
    close_fd(state, ends[0]);
    assert_reports(ring, POLL, POLLERR);
    assert_silence(ring);
    submit_remove(ring, POLL, REMOVE);
    assert_two_ends(ring, REMOVE, 0, POLL, -ECANCELED);
}

/* Nobody answers there: the port's socket takes datagrams from itself alone, and holds the port meanwhile. */
static struct sockaddr_in deaf_udp_port(void **state) {
    int deaf = keep_fd(state, socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    struct sockaddr_in address = bind_loopback(deaf);
    assert_return_code(connect(deaf, (struct sockaddr *)&address, sizeof(address)), errno);
    return address;
}

static void udp_socket_posts_err_with_f_more_for_each_icmp_error(void **state) {
    int error = 0;
    socklen_t size = sizeof(error);
    struct io_uring *ring = open_ring(state);
    struct sockaddr_in deaf = deaf_udp_port(state);
    int watched = keep_fd(state, socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    assert_return_code(connect(watched, (struct sockaddr *)&deaf, sizeof(deaf)), errno);
    arm_multishot(ring, watched, POLLIN, POLL);
    for (int i = 0; i < 3; i++) {
        write_some(watched);
        assert_reports(ring, POLL, POLLERR);
        assert_int_equal(getsockopt(watched, SOL_SOCKET, SO_ERROR, &error, &size), 0);
        assert_int_equal(error, ECONNREFUSED);
    }
}

enum { MOUNTS_REPORTED, MOUNTS_FORBIDDEN, MOUNTS_SILENT };

/* In mount and user namespaces of its own, so that it needs no privilege and nobody else sees the mounts. */
static int change_mounts_and_count(void *setup) {
    struct io_uring ring;
    struct completion got;
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("/dev/null", "/dev/null", "none", MS_BIND, NULL) < 0)
        return MOUNTS_FORBIDDEN;
    if (open_ring_with(&ring, ((struct setup *)setup)->flags, 4, 8) < 0)
        return MOUNTS_SILENT;
    io_uring_prep_poll_multishot(io_uring_get_sqe(&ring), open("/proc/self/mounts", O_RDONLY | O_CLOEXEC), POLLPRI);
    io_uring_submit(&ring);
    for (int i = 0; i < 4; i++) {
        int changed = i % 2 ? mount("/dev/null", "/dev/null", "none", MS_BIND, NULL) : umount2("/dev/null", MNT_DETACH);
        if (changed < 0 || await_completion(&ring, &got) < 0 || got.res != (POLLERR | POLLPRI) || !got.more)
            return MOUNTS_SILENT;
    }
    io_uring_queue_exit(&ring);
    return MOUNTS_REPORTED;
}

static void proc_mounts_posts_err_and_pri_with_f_more_for_each_change(void **state) {
    int seen = in_child(change_mounts_and_count, (void *)((struct fixture *)*state)->setup);
    if (seen == MOUNTS_FORBIDDEN)
        skip_because("no mount namespace without privileges here");
    assert_int_equal(seen, MOUNTS_REPORTED);
}

/* ---- files that can't be polled ---- */

static void assert_ends_at_once(struct io_uring *ring, int fd) {
    arm_multishot(ring, fd, POLLIN, POLL);
    assert_end(ring, POLL, POLLIN);
    arm_multishot(ring, fd, POLLIN | POLLOUT, POLL);
    assert_end(ring, POLL, POLLIN | POLLOUT);
    assert_silence(ring);
}

static void file_that_cannot_be_polled_ends_at_once_with_one_cqe(void **state) {
    const char *paths[] = {"/proc/self/exe", "/tmp", "/dev/null", "/dev/zero"};
    struct io_uring *ring = open_ring(state);
    for (unsigned i = 0; i < COUNT_OF(paths); i++)
        assert_ends_at_once(ring, keep_fd(state, open(paths[i], O_RDONLY | O_CLOEXEC)));
    assert_ends_at_once(ring, keep_fd(state, memfd_create("kernel", MFD_CLOEXEC)));
}

/* Such a file is always IN and OUT, and there is nothing that could wake a poll for other bits. */
static void file_that_cannot_be_polled_refuses_a_mask_without_in_and_out(void **state) {
    struct io_uring *ring = open_ring(state);
    arm_multishot(ring, keep_fd(state, open("/dev/null", O_RDONLY | O_CLOEXEC)), POLLPRI, POLL);
    assert_end(ring, POLL, -EINVAL);
}

static void fd_that_is_closed_negative_or_a_path_completes_with_ebadf(void **state) {
    struct io_uring *ring = open_ring(state);
    int bad[] = {keep_fd(state, open("/tmp", O_PATH | O_CLOEXEC)), make_eventfd(state), -1};
    close_fd(state, bad[1]);
    for (unsigned i = 0; i < COUNT_OF(bad); i++) {
        arm_multishot(ring, bad[i], POLLIN, POLL);
        assert_end(ring, POLL, -EBADF);
    }
}

static void proc_mounts_stays_armed(void **state) {
    struct io_uring *ring = open_ring(state);
    arm_multishot(ring, keep_fd(state, open("/proc/self/mounts", O_RDONLY | O_CLOEXEC)), POLLIN, POLL);
    assert_event(ring, POLL, POLLIN);
    assert_silence(ring);
}

static void sysfs_attribute_stays_armed(void **state) {
    struct io_uring *ring = open_ring(state);
    int attribute = open("/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY | O_CLOEXEC);
    if (attribute < 0)
        skip_because("no sysfs: %s", strerror(errno));
    arm_multishot(ring, keep_fd(state, attribute), POLLIN, POLL);
    assert_reports(ring, POLL, POLLIN);
    assert_silence(ring);
    submit_remove(ring, POLL, REMOVE);
    assert_two_ends(ring, REMOVE, 0, POLL, -ECANCELED);
}

int main(void) {
    const struct rule rules[] = {
        EACH_SETUP(hangup_of_a_pipe_with_data_posts_in_and_hup_with_f_more_then_nothing),
        EACH_SETUP(hangup_of_an_empty_pipe_posts_hup_with_f_more_then_nothing),
        EACH_SETUP(fifo_comes_back_when_a_writer_opens_it_again),
        EACH_SETUP(pty_master_comes_back_when_its_slave_is_opened_again),
        EACH_SETUP(fin_posts_in_and_rdhup_with_f_more_then_nothing),
        EACH_SETUP(fresh_stream_socket_posts_hup_when_armed_and_stays),
        EACH_SETUP(rdhup_comes_unasked_with_fin_close_and_reset),
        EACH_SETUP(rdhup_comes_unasked_from_a_unix_socket),
        EACH_SETUP(pri_is_reported_with_every_in_of_a_socket_armed_with_it),
        EACH_SETUP(mask_of_zero_reports_hangup_only),
        EACH_SETUP(mask_of_zero_reports_errors_only),
        EACH_SETUP(write_end_of_a_pipe_posts_err_once_with_f_more),
        EACH_SETUP(udp_socket_posts_err_with_f_more_for_each_icmp_error),
        EACH_SETUP(proc_mounts_posts_err_and_pri_with_f_more_for_each_change),
        EACH_SETUP(file_that_cannot_be_polled_ends_at_once_with_one_cqe),
        EACH_SETUP(file_that_cannot_be_polled_refuses_a_mask_without_in_and_out),
        EACH_SETUP(fd_that_is_closed_negative_or_a_path_completes_with_ebadf),
        EACH_SETUP(proc_mounts_stays_armed),
        EACH_SETUP(sysfs_attribute_stays_armed),
    };
    return run_rules("kernel: file", rules, COUNT_OF(rules));
}
