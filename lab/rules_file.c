/*
 * The kernel's rules about files under a multishot poll: what hangup, errors and ends of each kind of file look like,
 * which files can't be polled, and which bits come without being asked for.
 */
#include "kernel.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <termios.h>

/* ---- hangup does not end a poll ---- */

static void hangup_of_a_pipe_with_data_posts_in_and_hup_with_f_more_then_nothing(void) {
    int ends[2];
    struct io_uring *ring = open_ring();
    make_pipe(ends);
    write_some(ends[1]);
    close_fd(ends[1]);
    arm_multishot(ring, ends[0], POLLIN, POLL);
    expect_event(ring, POLL, POLLIN | POLLHUP);
    expect_silence(ring);
    submit_remove(ring, POLL);
    expect_removed(ring);
}

static void hangup_of_an_empty_pipe_posts_hup_with_f_more_then_nothing(void) {
    int ends[2];
    struct io_uring *ring = open_ring();
    make_pipe(ends);
    arm_multishot(ring, ends[0], POLLIN, POLL);
    close_fd(ends[1]);
    expect_event(ring, POLL, POLLHUP);
    expect_silence(ring);
    submit_remove(ring, POLL);
    expect_removed(ring);
}

/* The FIFO has no name any more: writers open it through the reader's entry in /proc. */
static int open_nameless_fifo(char *writers_path, size_t size) {
    char directory[] = "/tmp/kernel-XXXXXX", path[64];
    ensure(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/fifo", directory);
    int made = mkfifo(path, 0600);
    int reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    unlink(path);
    rmdir(directory);
    ensure(made == 0 && reader >= 0);
    snprintf(writers_path, size, "/proc/self/fd/%d", reader);
    return reader;
}

static void fifo_comes_back_when_a_writer_opens_it_again(void) {
    char path[64];
    struct io_uring *ring = open_ring();
    int reader = open_nameless_fifo(path, sizeof(path));
    int writer = need(open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC));
    arm_multishot(ring, reader, POLLIN, POLL);
    close_fd(writer);
    expect_event(ring, POLL, POLLHUP);
    expect_silence(ring);
    writer = need(open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC));
    write_some(writer);
    expect_reports(ring, POLLIN);
    close_fd(writer);
    expect_reports(ring, POLLHUP);
}

static int open_pty_master(char *slave, size_t size) {
    int master = need(posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
    need(grantpt(master));
    need(unlockpt(master));
    ensure(ptsname_r(master, slave, size) == 0);
    return master;
}

static void pty_master_comes_back_when_its_slave_is_opened_again(void) {
    char path[64];
    struct io_uring *ring = open_ring();
    int master = open_pty_master(path, sizeof(path));
    int slave = need(open(path, O_RDWR | O_NOCTTY | O_CLOEXEC));
    arm_multishot(ring, master, POLLIN, POLL);
    close_fd(slave);
    expect_reports(ring, POLLHUP);
    expect_silence(ring);
    slave = need(open(path, O_RDWR | O_NOCTTY | O_CLOEXEC));
    write_some(slave);
    expect_reports(ring, POLLIN);
}

/* A FIN wakes twice: for the state of the connection and for the data. Mostly both are collected as one. */
static void fin_posts_in_and_rdhup_with_f_more_then_nothing(void) {
    int ends[2];
    struct completion second[2];
    struct io_uring *ring = open_ring();
    make_tcp_pair(ends);
    arm_multishot(ring, ends[0], POLLIN, POLL);
    need(shutdown(ends[1], SHUT_WR));
    expect_reports(ring, POLLIN | POLLRDHUP);
    expect(collect(ring, second, COUNT_OF(second)) <= 1, "at most one completion more");
    submit_remove(ring, POLL);
    expect_removed(ring);
}

static void fresh_stream_socket_posts_hup_when_armed_and_stays(void) {
    struct io_uring *ring = open_ring();
    int families[] = {AF_INET, AF_UNIX};
    for (unsigned i = 0; i < COUNT_OF(families); i++) {
        arm_multishot(ring, need(socket(families[i], SOCK_STREAM | SOCK_CLOEXEC, 0)), POLLIN, POLL);
        expect_event(ring, POLL, POLLHUP);
        expect_silence(ring);
        submit_remove(ring, POLL);
        expect_removed(ring);
    }
}

/* ---- bits that nobody asked for ---- */

static void reset_connection(int fd) {
    struct linger at_once = {.l_onoff = 1};
    need(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)));
    close_fd(fd);
}

static void half_close(int fd) {
    need(shutdown(fd, SHUT_WR));
}

static void rdhup_comes_unasked_with_fin_close_and_reset(void) {
    static const struct {
        const char *name;
        void (*end)(int);
    } ways[] = {{"FIN", half_close}, {"close", close_fd}, {"reset", reset_connection}};
    for (unsigned way = 0; way < COUNT_OF(ways); way++) {
        int ends[2];
        struct io_uring *ring = open_ring();
        make_tcp_pair(ends);
        arm_multishot(ring, ends[0], POLLIN, POLL);
        step(ways[way].name);
        ways[way].end(ends[1]);
        expect_reports(ring, POLLIN | POLLRDHUP);
    }
}

static void rdhup_comes_unasked_from_a_unix_socket(void) {
    int ends[2];
    struct io_uring *ring = open_ring();
    make_socketpair(ends);
    arm_multishot(ring, ends[0], POLLIN, POLL);
    close_fd(ends[1]);
    expect_reports(ring, POLLIN | POLLRDHUP);
}

static void pri_is_reported_with_every_in_of_a_socket_armed_with_it(void) {
    int ends[2];
    struct io_uring *ring = open_ring();
    make_socketpair(ends);
    arm_multishot(ring, ends[0], POLLIN | POLLPRI, POLL);
    for (int i = 0; i < 2; i++) {
        write_some(ends[1]);
        expect_event(ring, POLL, POLLIN | POLLPRI);
        expect_mask("poll(2)", POLLIN, (unsigned)state_of(ends[0], POLLIN | POLLPRI, 0));
        read_some(ends[0]);
    }
}

static void mask_of_zero_reports_hangup_only(void) {
    int ends[2];
    struct io_uring *ring = open_ring();
    make_pipe(ends);
    arm_multishot(ring, ends[0], 0, POLL);
    write_some(ends[1]);
    expect_silence(ring);
    close_fd(ends[1]);
    expect_event(ring, POLL, POLLHUP);
}

static void mask_of_zero_reports_errors_only(void) {
    int ends[2];
    struct io_uring *ring = open_ring();
    make_pipe(ends);
    arm_multishot(ring, ends[1], 0, POLL);
    expect_silence(ring);
    close_fd(ends[0]);
    expect_event(ring, POLL, POLLERR);
}

/* ---- an error condition does not end a poll ---- */

static void write_end_of_a_pipe_posts_err_once_with_f_more(void) {
    int ends[2];
    struct io_uring *ring = open_ring();
    make_pipe(ends);
    arm_multishot(ring, ends[1], POLLOUT, POLL);
    expect_event(ring, POLL, POLLOUT);
    close_fd(ends[0]);
    expect_reports(ring, POLLERR);
    expect_silence(ring);
    submit_remove(ring, POLL);
    expect_removed(ring);
}

/* Nobody answers there: the port's socket takes datagrams from itself alone, and holds the port meanwhile. */
static struct sockaddr_in deaf_udp_port(void) {
    int deaf = need(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    struct sockaddr_in address = bind_loopback(deaf);
    need(connect(deaf, (struct sockaddr *)&address, sizeof(address)));
    return address;
}

static void udp_socket_posts_err_with_f_more_for_each_icmp_error(void) {
    int error = 0;
    socklen_t size = sizeof(error);
    struct io_uring *ring = open_ring();
    struct sockaddr_in deaf = deaf_udp_port();
    int watched = need(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    need(connect(watched, (struct sockaddr *)&deaf, sizeof(deaf)));
    arm_multishot(ring, watched, POLLIN, POLL);
    for (int i = 0; i < 3; i++) {
        write_some(watched);
        expect_reports(ring, POLLERR);
        need(getsockopt(watched, SOL_SOCKET, SO_ERROR, &error, &size));
        ensure(error == ECONNREFUSED);
    }
}

/* In mount and user namespaces of its own, so that it needs no privilege and nobody else sees the mounts. */
static void proc_mounts_posts_err_and_pri_with_f_more_for_each_change(void) {
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("/dev/null", "/dev/null", "none", MS_BIND, NULL) < 0)
        skip_because(text("no mount namespace here: %s", strerror(errno)));
    struct io_uring *ring = open_ring();
    arm_multishot(ring, need(open("/proc/self/mounts", O_RDONLY | O_CLOEXEC)), POLLPRI, POLL);
    for (int i = 0; i < 4; i++) {
        if (i % 2)
            need(mount("/dev/null", "/dev/null", "none", MS_BIND, NULL));
        else
            need(umount2("/dev/null", MNT_DETACH));
        expect_event(ring, POLL, POLLERR | POLLPRI);
    }
}

/* ---- files with two wait queues: a tty has one for its readers and one for its writers ---- */

struct tty {
    int fd, peer;
};

static struct tty open_tty(void) {
    char path[64];
    struct termios raw;
    struct tty tty = {.peer = open_pty_master(path, sizeof(path))};
    tty.fd = need(open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
    need(tcgetattr(tty.fd, &raw));
    cfmakeraw(&raw);
    need(tcsetattr(tty.fd, TCSANOW, &raw));
    return tty;
}

/* Returns the bytes that are on their way to the peer then. */
static size_t fill_output(struct tty tty) {
    static const char output[4096];
    size_t filled = 0;
    ssize_t written;
    while ((written = write(tty.fd, output, sizeof(output))) > 0)
        filled += (size_t)written;
    ensure(errno == EAGAIN);
    return filled;
}

/* The last read of them wakes the writers, if none before has. */
static void empty_output(struct tty tty, size_t filled) {
    char output[4096];
    while (filled) {
        ensure(state_of(tty.peer, POLLIN, GUARD_MS) & POLLIN);
        ssize_t bytes = read(tty.peer, output, sizeof(output));
        ensure(bytes > 0 && (size_t)bytes <= filled);
        filled -= (size_t)bytes;
    }
}

/* Each read and write may have woken the writers. */
static void collect_others(struct io_uring *ring) {
    struct completion others[16];
    while (collect(ring, others, COUNT_OF(others)))
        ;
}

static void file_with_two_wait_queues_reports_from_both_again_and_again(void) {
    struct tty tty = open_tty();
    struct io_uring *ring = open_ring();
    size_t filled = fill_output(tty);
    arm_multishot(ring, tty.fd, POLLIN | POLLOUT, POLL);
    collect_others(ring);
    for (int i = 0; i < 2; i++) {
        step("the peer writes");
        write_some(tty.peer);
        expect_reports(ring, POLLIN);
        read_some(tty.fd);
        collect_others(ring);
        step("the peer reads");
        empty_output(tty, filled);
        expect_reports(ring, POLLOUT);
        filled = fill_output(tty);
        collect_others(ring);
    }
    submit_remove(ring, POLL);
    expect_removed(ring);
    write_some(tty.peer);
    empty_output(tty, filled);
    ensure(state_of(tty.fd, POLLIN, GUARD_MS) & POLLIN);
    expect_silence(ring);
}

static void expect_once(bool peer_reads_first) {
    struct tty tty = open_tty();
    struct io_uring *ring = open_ring();
    size_t filled = fill_output(tty);
    arm_one_shot(ring, tty.fd, peer_reads_first ? POLLOUT | POLLIN : POLLIN, POLL);
    if (peer_reads_first)
        empty_output(tty, filled);
    else
        write_some(tty.peer);
    expect_end(ring, POLL, peer_reads_first ? POLLOUT : POLLIN);
    if (peer_reads_first)
        write_some(tty.peer);
    else
        empty_output(tty, filled);
    ensure(state_of(tty.fd, POLLIN | POLLOUT, GUARD_MS));
    expect_silence(ring);
}

static void one_shot_on_two_wait_queues_completes_once(void) {
    step("the peer reads, then writes");
    expect_once(true);
    step("the peer writes, then reads");
    expect_once(false);
}

/* ---- files that can't be polled ---- */

static void expect_ends_at_once(struct io_uring *ring, int fd) {
    arm_multishot(ring, fd, POLLIN, POLL);
    expect_end(ring, POLL, POLLIN);
    arm_multishot(ring, fd, POLLIN | POLLOUT, POLL);
    expect_end(ring, POLL, POLLIN | POLLOUT);
    expect_silence(ring);
}

static void file_that_cannot_be_polled_ends_at_once_with_one_cqe(void) {
    const char *paths[] = {"/proc/self/exe", "/tmp", "/dev/null", "/dev/zero"};
    struct io_uring *ring = open_ring();
    for (unsigned i = 0; i < COUNT_OF(paths); i++) {
        step(paths[i]);
        expect_ends_at_once(ring, need(open(paths[i], O_RDONLY | O_CLOEXEC)));
    }
    step("memfd");
    expect_ends_at_once(ring, need(memfd_create("kernel", MFD_CLOEXEC)));
}

/* Such a file is always IN and OUT, and there is nothing that could wake a poll for other bits. */
static void file_that_cannot_be_polled_refuses_a_mask_without_in_and_out(void) {
    struct io_uring *ring = open_ring();
    arm_multishot(ring, need(open("/dev/null", O_RDONLY | O_CLOEXEC)), POLLPRI, POLL);
    expect_end(ring, POLL, -EINVAL);
}

static void fd_that_is_closed_negative_or_a_path_completes_with_ebadf(void) {
    struct io_uring *ring = open_ring();
    int bad[] = {need(open("/tmp", O_PATH | O_CLOEXEC)), make_eventfd(), -1};
    close_fd(bad[1]);
    for (unsigned i = 0; i < COUNT_OF(bad); i++) {
        arm_multishot(ring, bad[i], POLLIN, POLL);
        expect_end(ring, POLL, -EBADF);
    }
}

static void proc_mounts_stays_armed(void) {
    struct io_uring *ring = open_ring();
    arm_multishot(ring, need(open("/proc/self/mounts", O_RDONLY | O_CLOEXEC)), POLLIN, POLL);
    expect_event(ring, POLL, POLLIN);
    expect_silence(ring);
}

static void sysfs_attribute_stays_armed(void) {
    struct io_uring *ring = open_ring();
    int attribute = open("/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY | O_CLOEXEC);
    if (attribute < 0)
        skip_because(text("no sysfs: %s", strerror(errno)));
    arm_multishot(ring, attribute, POLLIN, POLL);
    expect_reports(ring, POLLIN);
    expect_silence(ring);
    submit_remove(ring, POLL);
    expect_removed(ring);
}

const struct rule file_rules[] = {
    RULE(hangup_of_a_pipe_with_data_posts_in_and_hup_with_f_more_then_nothing, EACH_SETUP, KERNEL,
         "A pipe with data whose writer is gone posts POLLIN|POLLHUP with F_MORE still set, then nothing."),
    RULE(hangup_of_an_empty_pipe_posts_hup_with_f_more_then_nothing, EACH_SETUP, KERNEL,
         "An empty pipe whose writer goes posts POLLHUP with F_MORE still set, then nothing."),
    RULE(fifo_comes_back_when_a_writer_opens_it_again, EACH_SETUP, KERNEL,
         "A FIFO that hung up goes on when a writer opens it again."),
    RULE(pty_master_comes_back_when_its_slave_is_opened_again, EACH_SETUP, KERNEL,
         "A pty master that hung up goes on when its slave is opened again."),
    RULE(fin_posts_in_and_rdhup_with_f_more_then_nothing, EACH_SETUP, KERNEL,
         "A TCP FIN posts POLLIN|POLLRDHUP with F_MORE, then nothing."),
    RULE(fresh_stream_socket_posts_hup_when_armed_and_stays, EACH_SETUP, KERNEL,
         "A fresh, unconnected TCP or unix stream socket posts POLLHUP when it is armed, and stays armed."),
    RULE(rdhup_comes_unasked_with_fin_close_and_reset, EACH_SETUP, KERNEL,
         "POLLRDHUP comes unasked with a TCP peer's FIN, close and reset."),
    RULE(rdhup_comes_unasked_from_a_unix_socket, EACH_SETUP, KERNEL,
         "POLLRDHUP comes unasked when the peer of a unix socket closes."),
    RULE(pri_is_reported_with_every_in_of_a_socket_armed_with_it, EACH_SETUP, KERNEL,
         "Armed with POLLPRI, a socket reports it with every POLLIN, urgent data or not."),
    RULE(mask_of_zero_reports_hangup_only, EACH_SETUP, KERNEL, "A mask of 0 reports hangup, and no data."),
    RULE(mask_of_zero_reports_errors_only, EACH_SETUP, KERNEL, "A mask of 0 reports errors, and no room to write."),
    RULE(write_end_of_a_pipe_posts_err_once_with_f_more, EACH_SETUP, KERNEL,
         "A pipe's write end posts POLLERR when its reader goes, once and with F_MORE."),
    RULE(udp_socket_posts_err_with_f_more_for_each_icmp_error, EACH_SETUP, KERNEL,
         "A connected UDP socket posts POLLERR with F_MORE for each ICMP error."),
    RULE(proc_mounts_posts_err_and_pri_with_f_more_for_each_change, EACH_SETUP, KERNEL,
         "/proc/self/mounts posts POLLERR|POLLPRI with F_MORE for each change."),
    RULE(file_with_two_wait_queues_reports_from_both_again_and_again, EACH_SETUP,
         COMMIT("[io_poll_double_wake: if (!(poll->events & EPOLLONESHOT)) return poll->wait.func(...)]"),
         "A multishot poll of a file with two wait queues, such as a tty, reports what either wakes, again and again, "
         "and a removal takes it off both."),
    RULE(one_shot_on_two_wait_queues_completes_once, EACH_SETUP,
         COMMIT("[if (error || (req->poll.events & EPOLLONESHOT)) io_poll_remove_double(req)]"),
         "A one-shot poll of a file with two wait queues completes once, whichever wakes first."),
    RULE(file_that_cannot_be_polled_ends_at_once_with_one_cqe, EACH_SETUP, KERNEL,
         "Files that can't be polled (regular file, directory, /dev/null, /dev/zero, memfd) end at once, with one CQE "
         "without F_MORE."),
    RULE(file_that_cannot_be_polled_refuses_a_mask_without_in_and_out, EACH_SETUP, KERNEL,
         "A file that can't be polled is EINVAL for a mask without POLLIN and POLLOUT."),
    RULE(fd_that_is_closed_negative_or_a_path_completes_with_ebadf, EACH_SETUP,
         COMMIT("only cancelation or an error will terminate the poll request, in which case the flag will be cleared"),
         "An fd that is closed, negative or an O_PATH completes with EBADF."),
    RULE(proc_mounts_stays_armed, EACH_SETUP, KERNEL, "/proc/self/mounts stays armed after its first event."),
    RULE(sysfs_attribute_stays_armed, EACH_SETUP, KERNEL, "A sysfs attribute stays armed after its first event."),
    {0},
};
