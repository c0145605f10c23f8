/*
 * Events: what comes of a poll and when, how polls end, what a full completion queue changes, and how waiting behaves.
 */
#include "queues.h"
#include "variants.h"

#include <sys/time.h>

#define RAW (POLLRING_NO_REARM | POLLRING_KEEP_HANGUP)

/* A completion queue of four, whatever the variant's is. */
static struct pollring *open_small_ring(void) {
    struct pollring_options options = test.variant->options;
    struct pollring *ring;
    options.entries = 2;
    options.cq_entries = 4;
    assert_int_equal(pollring_open(&ring, &options), 0);
    return keep_ring(ring);
}

/* Socketpairs can be made to say IN and OUT in any order. */
static void make_in(struct ends ends) {
    write_some(ends.far);
}

static void make_out(struct ends ends) {
    write_some(ends.near);
    read_some(ends.far);
}

/* Armed, and the OUT that it says at once is taken. */
static struct pollring_poll *arm_in_out(struct pollring *ring, struct ends ends) {
    struct pollring_poll *poll = add(ring, ends.near, POLLIN | POLLOUT);
    assert_event(ring, poll, POLLOUT);
    return poll;
}

/* What a poll for IN and OUT says of a wake-up by one of them, while there is something to read and room to write. */
static int wake_up(int bits) {
    return is_epoll() ? POLLIN | POLLOUT : bits;
}

static void skip_without_overflow(void) {
    if (!full_queue_ends_polls())
        skip_because("a full queue ends no poll");
}

/* ---- level at arm, edge afterwards ---- */

TEST(a_file_that_is_ready_is_reported_when_it_is_armed) {
    struct pollring *ring = open_ring();
    assert_event(ring, add(ring, make_ready_eventfd(), POLLIN), POLLIN);
}

TEST(nothing_comes_while_data_stays_unread) {
    struct pollring *ring = open_ring();
    struct pollring_poll *poll = add(ring, make_ready_eventfd(), POLLIN);
    assert_event(ring, poll, POLLIN);
    assert_silence(ring);
    assert_true(pollring_poll_active(poll));
}

TEST(each_wake_up_is_an_event_though_data_stays_unread) {
    struct pollring *ring = open_ring();
    struct ends pipe = make_pipe();
    struct pollring_poll *poll = arm(ring, pipe.near, POLLIN);
    for (int i = 0; i < 10; i++) {
        assert_silence(ring);
        write_some(pipe.far);
        assert_event(ring, poll, POLLIN);
    }
}

TEST(an_event_carries_the_owner_of_its_poll) {
    struct pollring *ring = open_ring();
    int owner;
    struct pollring_poll *poll = add_with(ring, make_ready_eventfd(), POLLIN, 0, &owner);
    struct pollring_event event;
    assert_int_equal(await_event(ring, &event), 1);
    assert_ptr_equal(event.owner, &owner);
    assert_ptr_equal(pollring_poll_owner(poll), &owner);
}

TEST(a_mask_of_zero_reports_hangup) {
    struct pollring *ring = open_ring();
    struct ends pipe = make_pipe();
    struct pollring_poll *poll = arm(ring, pipe.near, 0);
    write_some(pipe.far);
    assert_silence(ring);
    close_fd(pipe.far);
    assert_last_event(ring, poll, POLLHUP);
    assert_ended(poll, POLLRING_END_HANGUP);
}

TEST(two_polls_of_one_fd_both_report) {
    struct pollring *ring = open_ring();
    struct ends pipe = make_pipe();
    struct pollring_poll *polls[] = {arm(ring, pipe.near, POLLIN), arm(ring, pipe.near, POLLIN)};
    write_some(pipe.far);
    for (int i = 0; i < 2; i++)
        assert_next(polls[i], POLLIN);
    assert_silence(ring);
}

TEST(an_exclusive_poll_reports) {
    struct pollring *ring = open_ring();
    struct ends pipe = make_pipe();
    struct pollring_poll *poll = arm(ring, pipe.near, POLLIN | EPOLLEXCLUSIVE);
    write_some(pipe.far);
    assert_event(ring, poll, POLLIN);
    assert_int_equal(pollring_poll_events(poll), POLLIN | EPOLLEXCLUSIVE);
}

/* ---- the iterator, and how polls end ---- */

/* The closed end of a pipe whose data was not read. */
TEST(an_iterator_yields_until_more_is_false_and_then_ends) {
    struct pollring *ring = open_ring();
    struct ends pipe = make_pipe();
    struct pollring_poll *poll = add(ring, pipe.near, POLLIN);
    for (int i = 0; i < 3; i++) {
        write_some(pipe.far);
        assert_next(poll, POLLIN);
    }
    assert_next_says(poll, &no_time, -ETIME);
    close_fd(pipe.far);
    assert_last_next(poll, POLLIN | POLLHUP);
    assert_next_says(poll, NULL, 0);
    assert_next_says(poll, NULL, 0);
    assert_ended(poll, POLLRING_END_HANGUP);
    assert_int_equal(pollring_active(ring), 0);
}

TEST(a_fifo_ends_when_its_writer_is_gone) {
    struct pollring *ring = open_ring();
    const char *path = make_path("fifo");
    assert_return_code(mkfifo(path, 0600), errno);
    int reader = keep_fd(open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    int writer = keep_fd(open(path, O_WRONLY | O_CLOEXEC));
    struct pollring_poll *poll = arm(ring, reader, POLLIN);
    close_fd(writer);
    assert_last_next(poll, POLLHUP);
    assert_next_says(poll, NULL, 0);
}

TEST(a_fifo_that_keeps_its_hangup_comes_back_with_the_next_writer) {
    struct pollring *ring = open_ring();
    const char *path = make_path("fifo");
    assert_return_code(mkfifo(path, 0600), errno);
    int reader = keep_fd(open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    struct pollring_poll *poll = add_with(ring, reader, POLLIN, POLLRING_KEEP_HANGUP, NULL);
    assert_int_equal(pollring_submit(ring), 0);
    for (int i = 0; i < 3; i++) {
        int writer = keep_fd(open(path, O_WRONLY | O_CLOEXEC));
        write_some(writer);
        assert_next(poll, POLLIN);
        read_some(reader);
        close_fd(writer);
        assert_next(poll, POLLHUP);
    }
    assert_next_says(poll, &no_time, -ETIME);
    assert_true(pollring_poll_active(poll));
}

TEST(the_fin_of_a_tcp_peer_ends_a_poll) {
    struct pollring *ring = open_ring();
    struct ends tcp = make_tcp_pair();
    struct pollring_poll *poll = arm(ring, tcp.near, POLLIN);
    assert_return_code(shutdown(tcp.far, SHUT_WR), errno);
    assert_last_next(poll, POLLIN | POLLRDHUP);
    assert_next_says(poll, NULL, 0);
    assert_ended(poll, POLLRING_END_HANGUP);
}

TEST(the_fin_of_a_unix_peer_ends_a_poll) {
    struct pollring *ring = open_ring();
    struct ends pair = make_socketpair();
    struct pollring_poll *poll = arm(ring, pair.near, POLLIN);
    assert_return_code(shutdown(pair.far, SHUT_WR), errno);
    assert_last_event(ring, poll, POLLIN | POLLRDHUP);
    assert_ended(poll, POLLRING_END_HANGUP);
    assert_silence(ring);
}

TEST(a_fin_does_not_end_a_poll_that_asks_for_out) {
    struct pollring *ring = open_ring();
    struct ends pair = make_socketpair();
    struct pollring_poll *poll = arm_in_out(ring, pair);
    assert_return_code(shutdown(pair.far, SHUT_WR), errno);
    struct pollring_event event;
    assert_int_equal(await_event(ring, &event), 1);
    assert_true(event.more);
    assert_int_equal(event.result & POLLRDHUP, POLLRDHUP);
    make_out(pair);
    assert_event(ring, poll, is_epoll() ? POLLIN | POLLOUT | POLLRDHUP : POLLOUT);
}

TEST(an_error_on_the_write_end_of_a_pipe_ends_a_poll) {
    struct pollring *ring = open_ring();
    struct ends pipe = make_pipe();
    struct pollring_poll *poll = arm(ring, pipe.far, 0);
    close_fd(pipe.near);
    assert_last_next(poll, POLLERR);
    assert_next_says(poll, NULL, 0);
    assert_ended(poll, POLLRING_END_HANGUP);
}

/* A datagram to a port that nobody has open comes back as an ICMP error. */
TEST(an_error_of_a_udp_socket_does_not_end_a_poll) {
    struct pollring *ring = open_ring();
    int nobody = keep_fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    int socket_fd = keep_fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    struct sockaddr_in address = bind_loopback(nobody);
    assert_return_code(connect(socket_fd, (struct sockaddr *)&address, sizeof(address)), errno);
    struct pollring_poll *poll = arm(ring, socket_fd, 0);
    close_fd(nobody);
    for (int i = 0; i < 2; i++) {
        int error;
        write_some(socket_fd);
        assert_event(ring, poll, POLLERR);
        assert_return_code(getsockopt(socket_fd, SOL_SOCKET, SO_ERROR, &error, &(socklen_t){sizeof(error)}), errno);
    }
}

TEST(a_hangup_that_ended_a_poll_has_let_its_file_go_after_the_batch) {
    struct pollring *ring = open_ring();
    struct ends pair = make_socketpair();
    struct pollring_poll *poll = arm(ring, pair.near, POLLIN);
    assert_return_code(shutdown(pair.far, SHUT_WR), errno);
    assert_last_event(ring, poll, POLLIN | POLLRDHUP);
    close_fd(pair.near);
    assert_true(reads_eof(pair.far));
}

TEST(a_one_shot_ends_after_its_event_and_can_be_armed_again) {
    struct pollring *ring = open_ring();
    struct ends pipe = make_pipe();
    struct pollring_poll *poll = add_with(ring, pipe.near, POLLIN, POLLRING_ONESHOT, NULL);
    write_some(pipe.far);
    assert_last_next(poll, POLLIN);
    assert_ended(poll, POLLRING_END_ONESHOT);
    assert_next_says(poll, NULL, 0);
    uint64_t memory = stats_of(ring).memory;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(pollring_poll_arm(poll), 0);
        assert_true(pollring_poll_active(poll));
        assert_int_equal(pollring_poll_end_reason(poll), POLLRING_END_NONE);
        assert_last_event(ring, poll, POLLIN);
    }
    assert_int_equal(stats_of(ring).memory, memory);
    assert_silence(ring);
}

TEST(a_poll_that_is_active_is_not_armed_again) {
    struct pollring *ring = open_ring();
    struct pollring_poll *poll = add(ring, make_eventfd(), POLLIN);
    assert_int_equal(pollring_poll_arm(poll), -EALREADY);
    assert_int_equal(pollring_submit(ring), 0);
    assert_int_equal(pollring_poll_arm(poll), -EALREADY);
    assert_int_equal(pollring_active(ring), 1);
}

TEST(a_poll_that_was_removed_can_be_armed_again) {
    struct pollring *ring = open_ring();
    struct pollring_poll *poll = arm(ring, make_ready_eventfd(), POLLIN);
    assert_int_equal(pollring_poll_remove(poll), 0);
    assert_last_event(ring, poll, -ECANCELED);
    assert_int_equal(pollring_poll_arm(poll), 0);
    assert_event(ring, poll, POLLIN);
}

struct unpollable {
    const char *name;
    int fd;
};

static size_t open_unpollable(struct unpollable files[4]) {
    size_t count = 0;
    files[count++] =
        (struct unpollable){"regular", keep_fd(open(make_path("file"), O_RDWR | O_CREAT | O_CLOEXEC, 0600))};
    files[count++] = (struct unpollable){"directory", keep_fd(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC))};
    files[count++] = (struct unpollable){"/dev/null", keep_fd(open("/dev/null", O_RDWR | O_CLOEXEC))};
    files[count++] = (struct unpollable){"memfd", keep_fd(memfd_create("test", MFD_CLOEXEC))};
    return count;
}

TEST(a_file_that_cannot_be_polled_ends_with_its_first_event) {
    struct pollring *ring = open_ring();
    struct unpollable files[4];
    size_t count = open_unpollable(files);
    for (size_t i = 0; i < count; i++) {
        struct pollring_poll *poll = add(ring, files[i].fd, POLLIN);
        assert_last_next(poll, POLLIN);
        assert_ended(poll, POLLRING_END_UNPOLLABLE);
        assert_next_says(poll, NULL, 0);
    }
    assert_silence(ring);
}

/* Telling it apart from an overflow takes an fd. Until there is one it reports, as a file does that is always ready. */
TEST(a_file_that_cannot_be_polled_ends_once_an_fd_is_left) {
    struct pollring *ring = open_ring();
    struct pollring_poll *poll = add(ring, keep_fd(open("/dev/null", O_RDONLY | O_CLOEXEC)), POLLIN);
    struct pollring_event event;
    struct rlimit whole, none;
    assert_return_code(getrlimit(RLIMIT_NOFILE, &whole), errno);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = whole.rlim_max};
    setrlimit(RLIMIT_NOFILE, &none);
    int count = pollring_next(poll, &event, &guard_time);
    setrlimit(RLIMIT_NOFILE, &whole);
    assert_int_equal(count, 1);
    assert_int_equal(event.result, POLLIN);
    if (event.more)
        assert_last_next(poll, POLLIN);
    assert_ended(poll, POLLRING_END_UNPOLLABLE);
}

TEST(a_raw_poll_of_a_file_that_cannot_be_polled_says_so_too) {
    struct pollring *ring = open_ring();
    struct pollring_poll *poll = add_with(ring, keep_fd(open("/dev/null", O_RDONLY | O_CLOEXEC)), POLLIN, RAW, NULL);
    assert_last_event(ring, poll, POLLIN);
    assert_ended(poll, POLLRING_END_UNPOLLABLE);
}

/* ---- events that are errors ---- */

TEST(a_closed_fd_is_an_event_of_ebadf_and_an_end) {
    struct pollring *ring = open_ring();
    int fd = make_eventfd();
    close_fd(fd);
    struct pollring_poll *polls[] = {add(ring, fd, POLLIN), add(ring, INT_MAX, POLLIN)};
    for (int i = 0; i < 2; i++) {
        assert_last_next(polls[i], -EBADF);
        assert_ended(polls[i], POLLRING_END_ERROR);
        assert_next_says(polls[i], NULL, 0);
    }
    assert_silence(ring);
    assert_int_equal(pollring_poll_arm(polls[0]), 0);
    assert_last_event(ring, polls[0], -EBADF);
}

TEST(a_path_is_an_event_of_ebadf) {
    struct pollring *ring = open_ring();
    struct pollring_poll *poll = add(ring, keep_fd(open("/", O_PATH | O_CLOEXEC)), POLLIN);
    assert_last_event(ring, poll, -EBADF);
    assert_ended(poll, POLLRING_END_ERROR);
}

/* ---- a full completion queue ---- */

enum { MANY = 1000 };

static void add_many(struct pollring *ring, int fds[MANY], struct pollring_poll *polls[MANY], uint64_t initial) {
    for (int i = 0; i < MANY; i++) {
        fds[i] = keep_fd(eventfd((unsigned)initial, EFD_NONBLOCK | EFD_CLOEXEC));
        polls[i] = add_with(ring, fds[i], POLLIN, 0, &fds[i]);
    }
    assert_int_equal(pollring_submit(ring), 0);
}

/* Reads what each event says. Returns how many events there were. */
static int read_all(struct pollring *ring) {
    struct pollring_event events[64];
    int count, total = 0;
    while ((count = pollring_wait(ring, events, COUNT_OF(events), &no_time)) > 0) {
        for (int i = 0; i < count; i++) {
            assert_int_equal(events[i].result, POLLIN);
            assert_true(events[i].more);
            read_some(*(int *)events[i].owner);
        }
        total += count;
    }
    assert_int_equal(count, 0);
    return total;
}

/* Each is read when its event comes, and a second event of it would find nothing to read: so each was seen once. */
TEST(a_thousand_files_that_are_ready_at_once_are_each_seen_once) {
    struct pollring *ring = open_ring();
    int fds[MANY];
    struct pollring_poll *polls[MANY];
    add_many(ring, fds, polls, 0);
    struct pollring_stats before = stats_of(ring);
    int number = rounds(100);
    for (int round = 0; round < number; round++) {
        for (int i = 0; i < MANY; i++)
            write_some(fds[i]);
        assert_int_equal(read_all(ring), MANY);
    }
    struct pollring_stats after = stats_of(ring);
    assert_int_equal(after.events - before.events, number * MANY);
    assert_in_range(after.enters - before.enters, 0, (uint64_t)number * 2 * MANY);
    assert_int_equal(after.requests - before.requests, after.rearmed - before.rearmed);
    assert_int_equal(after.dropped, 0);
    assert_int_equal(pollring_active(ring), MANY);
}

TEST(one_wait_collects_all_that_is_ready) {
    struct pollring *ring = open_ring();
    static struct pollring_event events[MANY + 1];
    int fds[MANY];
    struct pollring_poll *polls[MANY];
    add_many(ring, fds, polls, 0);
    for (int i = 0; i < MANY; i++)
        write_some(fds[i]);
    uint64_t enters = stats_of(ring).enters;
    assert_int_equal(pollring_wait(ring, events, MANY + 1, &no_time), MANY);
    enters = stats_of(ring).enters - enters;
    assert_in_range(enters, 0, stats_of(ring).cq_entries > MANY ? MANY / 20 + 5 : MANY);
}

TEST(one_wait_collects_all_that_was_ready_when_armed) {
    struct pollring *ring = open_ring();
    static struct pollring_event events[MANY + 1];
    int fds[MANY];
    struct pollring_poll *polls[MANY];
    add_many(ring, fds, polls, 1);
    assert_int_equal(pollring_wait(ring, events, MANY + 1, &no_time), MANY);
}

TEST(a_full_queue_is_no_end_until_its_poll_hangs_up) {
    struct pollring *ring = open_small_ring();
    struct ends pipes[20];
    struct pollring_poll *polls[20];
    for (int i = 0; i < 20; i++) {
        pipes[i] = make_pipe();
        polls[i] = add(ring, pipes[i].near, POLLIN);
    }
    assert_int_equal(pollring_submit(ring), 0);
    for (int i = 0; i < 20; i++)
        close_fd(pipes[i].far);
    for (int i = 0; i < 20; i++) {
        assert_last_next(polls[i], POLLHUP);
        assert_ended(polls[i], POLLRING_END_HANGUP);
    }
    assert_silence(ring);
}

TEST(a_file_that_cannot_be_polled_ends_when_the_queue_is_full_too) {
    struct pollring *ring = open_small_ring();
    struct unpollable files[4];
    struct pollring_poll *polls[4];
    size_t count = open_unpollable(files);
    int ready[40];
    for (size_t i = 0; i < COUNT_OF(ready); i++) {
        ready[i] = make_ready_eventfd();
        add_with(ring, ready[i], POLLIN, 0, &ready[i]);
    }
    for (size_t i = 0; i < count; i++)
        polls[i] = add(ring, files[i].fd, POLLIN);
    assert_int_equal(pollring_submit(ring), 0);
    for (size_t i = 0; i < count; i++) {
        assert_last_next(polls[i], POLLIN);
        assert_ended(polls[i], POLLRING_END_UNPOLLABLE);
    }
    assert_int_equal(read_all(ring), COUNT_OF(ready));
}

TEST(a_poll_that_is_not_to_be_rearmed_ends_by_overflow) {
    skip_without_overflow();
    struct pollring *ring = open_small_ring();
    int fds[40], ended = 0;
    struct pollring_poll *polls[40];
    for (int i = 0; i < 40; i++) {
        fds[i] = make_ready_eventfd();
        polls[i] = add_with(ring, fds[i], POLLIN, POLLRING_NO_REARM, &fds[i]);
    }
    assert_int_equal(pollring_submit(ring), 0);
    for (int i = 0; i < 40; i++) {
        struct pollring_event event;
        assert_int_equal(pollring_next(polls[i], &event, &guard_time), 1);
        assert_int_equal(event.result, POLLIN);
        read_some(fds[i]);
        if (event.more)
            continue;
        ended++;
        assert_ended(polls[i], POLLRING_END_OVERFLOW);
        assert_next_says(polls[i], NULL, 0);
        assert_int_equal(pollring_poll_arm(polls[i]), 0);
    }
    assert_in_range(ended, 30, 40);
    assert_int_equal(stats_of(ring).rearmed, 0);
    assert_int_equal(pollring_active(ring), 40);
    write_some(fds[39]);
    assert_event(ring, polls[39], POLLIN);
}

/* Its rest has been read by the time that it is armed again, so that nothing comes of it: see read_all(). */
TEST(a_poll_that_a_full_queue_ended_is_armed_again_after_its_event_was_taken) {
    skip_without_overflow();
    struct pollring *ring = open_small_ring();
    int fds[40];
    for (int i = 0; i < 40; i++) {
        fds[i] = make_ready_eventfd();
        add_with(ring, fds[i], POLLIN, 0, &fds[i]);
    }
    assert_int_equal(read_all(ring), 40);
    assert_in_range(stats_of(ring).rearmed, 30, 40);
    for (int i = 0; i < 40; i++)
        write_some(fds[i]);
    assert_int_equal(read_all(ring), 40);
}

/* It has an event in its queue and gets another one when the completion queue is full: only after that one was taken
   may it be armed again, or the unread data would make a third. */
TEST(a_poll_that_a_full_queue_ended_is_armed_again_after_its_last_event_was_taken) {
    struct pollring *ring = open_small_ring();
    struct ends pipe = make_pipe();
    struct pollring_poll *poll = arm(ring, pipe.near, POLLIN), *asked = arm(ring, make_eventfd(), POLLIN);
    int fds[40];
    for (int i = 0; i < 40; i++) {
        fds[i] = make_eventfd();
        add_with(ring, fds[i], POLLIN, 0, &fds[i]);
    }
    assert_next_says(asked, &no_time, -ETIME);
    write_some(pipe.far);
    assert_next_says(asked, &no_time, -ETIME);
    for (int i = 0; i < 40; i++)
        write_some(fds[i]);
    write_some(pipe.far);
    assert_next_says(asked, &no_time, -ETIME);
    assert_next(poll, POLLIN);
    assert_next_says(asked, &no_time, -ETIME);
    assert_next(poll, POLLIN);
    read_some(pipe.near);
    read_some(pipe.near);
    assert_next_says(poll, &no_time, -ETIME);
    assert_int_equal(read_all(ring), 40);
}

TEST(a_raw_poll_shows_what_the_kernel_wrote) {
    struct pollring *ring = open_ring();
    struct ends pipe = make_pipe();
    struct pollring_poll *poll = add_with(ring, pipe.near, POLLIN, RAW, NULL);
    write_some(pipe.far);
    assert_event(ring, poll, POLLIN);
    close_fd(pipe.far);
    assert_event(ring, poll, POLLIN | POLLHUP);
    assert_silence(ring);
    assert_true(pollring_poll_active(poll));
}

/* ---- queues: several polls of one ring ---- */

TEST(iterating_over_one_poll_loses_no_event_of_another) {
    struct pollring *ring = open_ring();
    struct ends pipe = make_pipe(), other = make_pipe();
    struct pollring_poll *poll = arm(ring, pipe.near, POLLIN), *queued = arm(ring, other.near, POLLIN);
    write_some(other.far);
    write_some(pipe.far);
    assert_next(poll, POLLIN);
    assert_next_says(poll, &no_time, -ETIME);
    assert_int_equal(stats_of(ring).queued, 1);
    assert_event(ring, queued, POLLIN);
    assert_int_equal(stats_of(ring).queued, 0);
    assert_silence(ring);
}

TEST(a_wait_that_hands_out_a_queued_end_collects_the_rest_too) {
    struct pollring *ring = open_ring();
    struct ends pipe = make_pipe();
    struct pollring_poll *removed = arm(ring, make_eventfd(), POLLIN), *poll = arm(ring, pipe.near, POLLIN);
    struct pollring_event events[2];
    assert_int_equal(pollring_poll_remove(removed), 0);
    write_some(pipe.far);
    assert_int_equal(pollring_wait(ring, events, 2, &no_time), 2);
    assert_ptr_equal(events[0].poll, removed);
    assert_ptr_equal(events[1].poll, poll);
}

TEST(a_wait_hands_out_queued_events_first) {
    struct pollring *ring = open_ring();
    struct ends pipe = make_pipe(), other = make_pipe();
    struct pollring_poll *poll = arm(ring, pipe.near, POLLIN), *queued = arm(ring, other.near, POLLIN);
    write_some(other.far);
    assert_next_says(poll, &no_time, -ETIME);
    write_some(pipe.far);
    assert_event(ring, queued, POLLIN);
    assert_event(ring, poll, POLLIN);
}

/* Takes the next event of a poll in one of three ways; the ring has none of another poll then. */
static int next_somehow(struct pollring *ring, struct pollring_poll *poll, int way) {
    struct pollring_event event = {0};
    int count = way == 0   ? pollring_next(poll, &event, &no_time)
                : way == 1 ? pollring_wait(ring, &event, 1, &no_time)
                           : pollring_take(ring, NULL, &event);
    assert_int_equal(count, 1);
    assert_ptr_equal(event.poll, poll);
    assert_true(event.more);
    return event.result;
}

TEST(next_wait_and_take_can_be_mixed_and_keep_the_order_of_each_poll) {
    struct pollring *ring = open_ring();
    struct ends pair = make_socketpair(), quiet = make_pipe();
    struct pollring_poll *poll = arm_in_out(ring, pair), *asked = arm(ring, quiet.near, POLLIN);
    for (int round = 0; round < 30; round++) {
        void (*make[4])(struct ends) = {make_in, round & 1 ? make_in : make_out, make_out, make_in};
        for (int i = 0; i < 4; i++) {
            make[i](pair);
            assert_next_says(asked, &no_time, -ETIME);
        }
        for (int i = 0; i < 4; i++)
            assert_int_equal(next_somehow(ring, poll, (round + i) % 3), wake_up(make[i] == make_in ? POLLIN : POLLOUT));
    }
    assert_silence(ring);
}

TEST(an_event_in_the_queue_of_a_poll_comes_before_one_in_the_kernel) {
    struct pollring *ring = open_ring();
    struct ends pair = make_socketpair(), quiet = make_pipe();
    struct pollring_poll *poll = arm_in_out(ring, pair), *asked = arm(ring, quiet.near, POLLIN);
    for (int way = 0; way < 3; way++) {
        make_in(pair);
        assert_next_says(asked, &no_time, -ETIME);
        make_out(pair);
        assert_int_equal(next_somehow(ring, poll, way), wake_up(POLLIN));
        assert_int_equal(next_somehow(ring, poll, 0), wake_up(POLLOUT));
    }
}

TEST(two_iterators_on_one_ring_can_take_turns) {
    struct pollring *ring = open_ring();
    struct ends pairs[] = {make_socketpair(), make_socketpair()};
    struct pollring_poll *polls[] = {arm_in_out(ring, pairs[0]), arm_in_out(ring, pairs[1])};
    for (int i = 0; i < 50; i++) {
        make_in(pairs[i & 1]);
        make_in(pairs[!(i & 1)]);
        assert_next(polls[1], wake_up(POLLIN));
        make_out(pairs[1]);
        assert_next(polls[0], wake_up(POLLIN));
        assert_next(polls[1], wake_up(POLLOUT));
    }
    assert_silence(ring);
}

/* Each poll has a pipe full of wake-ups; the inner loop runs to its end within the outer one. */
TEST(iterators_can_be_nested) {
    struct pollring *ring = open_ring();
    struct ends outer = make_pipe(), inner;
    struct pollring_poll *outer_poll = arm(ring, outer.near, POLLIN);
    for (int i = 0; i < 20; i++) {
        write_some(outer.far);
        assert_next(outer_poll, POLLIN);
        inner = make_pipe();
        struct pollring_poll *inner_poll = add(ring, inner.near, POLLIN);
        write_some(inner.far);
        assert_next(inner_poll, POLLIN);
        write_some(outer.far);
        close_fd(inner.far);
        assert_last_next(inner_poll, POLLIN | POLLHUP);
        assert_next_says(inner_poll, NULL, 0);
        assert_next(outer_poll, POLLIN);
    }
    close_fd(outer.far);
    assert_last_next(outer_poll, POLLIN | POLLHUP);
}

/* An iterator over the other poll queues the first one's events, each in the place of its own. */
TEST(a_queue_that_is_full_merges_events_and_loses_no_end) {
    struct pollring *ring = open_ring();
    struct ends pair = make_socketpair(), quiet = make_pipe();
    struct pollring_poll *poll = arm_in_out(ring, pair), *asked = arm(ring, quiet.near, POLLIN);
    int bound = (int)stats_of(ring).cq_entries;
    for (int i = 0; i < bound + 3; i++) {
        make_in(pair);
        read_some(pair.near);
        assert_next_says(asked, &no_time, -ETIME);
    }
    make_out(pair);
    assert_next_says(asked, &no_time, -ETIME);
    assert_int_equal(stats_of(ring).queued, bound);
    assert_int_equal(stats_of(ring).merged, 4);
    close_fd(pair.far);
    assert_next_says(asked, &no_time, -ETIME);
    assert_int_equal(stats_of(ring).queued, bound + 1);
    for (int i = 0; i < bound - 1; i++)
        assert_next(poll, is_epoll() ? POLLOUT : POLLIN); /* it was read before epoll looked */
    assert_next(poll, is_epoll() ? POLLOUT : POLLIN | POLLOUT);
    struct pollring_event event;
    assert_int_equal(pollring_next(poll, &event, &no_time), 1);
    assert_false(event.more);
    assert_int_equal(event.result & POLLHUP, POLLHUP);
    assert_next_says(poll, &no_time, 0);
}

TEST(a_removal_is_not_merged_into_a_full_queue) {
    struct pollring *ring = open_small_ring();
    struct ends pipe = make_pipe(), quiet = make_pipe();
    struct pollring_poll *poll = arm(ring, pipe.near, POLLIN), *asked = arm(ring, quiet.near, POLLIN);
    for (int i = 0; i < 10; i++) {
        write_some(pipe.far);
        assert_next_says(asked, &no_time, -ETIME);
    }
    assert_int_equal(pollring_poll_remove(poll), 0);
    assert_last_event(ring, poll, -ECANCELED);
    assert_silence(ring);
}

/* ---- waiting ---- */

TEST(max_cuts_a_batch_and_the_rest_comes_next) {
    struct pollring *ring = open_ring();
    struct pollring_event events[4];
    int fds[10];
    for (int i = 0; i < 10; i++) {
        fds[i] = make_ready_eventfd();
        add_with(ring, fds[i], POLLIN, 0, &fds[i]);
    }
    static const int expected[] = {4, 4, 2, 0};
    for (int round = 0; round < 4; round++) {
        assert_int_equal(pollring_wait(ring, events, 4, &no_time), expected[round]);
        for (int i = 0; i < expected[round]; i++)
            read_some(*(int *)events[i].owner);
    }
}

TEST(collect_hands_out_nothing_and_take_all) {
    struct pollring *ring = open_ring();
    struct ends pipe = make_pipe();
    struct pollring_poll *poll = add(ring, pipe.near, POLLIN);
    write_some(pipe.far);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pollring_collect(ring, &guard_time), 0);
    assert_int_equal(stats_of(ring).events, 0);
    assert_take(ring, NULL, poll, POLLIN);
    assert_nothing_to_take(ring, NULL);
    assert_int_equal(stats_of(ring).events, 1);
}

TEST(many_are_taken_up_to_max_and_fewer_end_the_batch) {
    struct pollring *ring = open_ring();
    struct pollring_event events[8];
    int seen[10] = {0};
    for (int i = 0; i < 10; i++)
        add_with(ring, make_ready_eventfd(), POLLIN, 0, &seen[i]);
    assert_int_equal(pollring_collect(ring, &guard_time), 0);
    static const int expected[] = {8, 2, 0};
    for (int round = 0; round < 3; round++) {
        assert_int_equal(pollring_take_many(ring, NULL, events, 8), expected[round]);
        for (int i = 0; i < expected[round]; i++) {
            assert_int_equal((*(int *)events[i].owner)++, 0); /* arming makes no order */
            read_some(pollring_poll_fd(events[i].poll));
        }
    }
    assert_int_equal(pollring_take_many(ring, NULL, events, 0), -EINVAL);
    assert_int_equal(pollring_take_many(ring, NULL, NULL, 1), -EINVAL);
}

TEST(between_two_takes_polls_can_be_added_and_collected) {
    struct pollring *ring = open_ring();
    struct pollring_poll *seen[30] = {0};
    struct pollring_event event;
    size_t count = 0;
    add(ring, make_ready_eventfd(), POLLIN);
    add(ring, make_ready_eventfd(), POLLIN);
    assert_int_equal(pollring_collect(ring, &guard_time), 0);
    while (pollring_take(ring, NULL, &event) == 1) {
        assert_int_equal(event.result, POLLIN);
        assert_true(count < COUNT_OF(seen));
        seen[count++] = event.poll;
        read_some(pollring_poll_fd(event.poll));
        if (count <= 10)
            add(ring, make_ready_eventfd(), POLLIN);
        assert_int_equal(pollring_collect(ring, &no_time), 0);
    }
    assert_int_equal(count, 12);
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < i; j++)
            assert_ptr_not_equal(seen[i], seen[j]);
}

static long times_slept(void) {
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nvcsw;
}

TEST(a_timeout_of_zero_never_sleeps) {
    struct pollring *ring = open_ring();
    struct pollring_poll *poll = arm(ring, make_eventfd(), POLLIN);
    struct pollring_event event;
    long before = times_slept();
    for (int i = 0; i < 300; i++) {
        assert_int_equal(pollring_wait(ring, &event, 1, &no_time), 0);
        assert_int_equal(pollring_collect(ring, &no_time), 0);
        assert_int_equal(pollring_next(poll, &event, &no_time), -ETIME);
        assert_int_equal(pollring_take(ring, NULL, &event), 0);
    }
    assert_int_equal(times_slept(), before);
}

/* The first wait sends the request as well, which is another way through the kernel. */
TEST(timeouts_are_kept) {
    skip_with_signals();
    struct pollring *ring = open_ring();
    struct pollring_event event;
    struct pollring_poll *poll = add(ring, make_eventfd(), POLLIN);
    for (int i = 0; i < 3; i++) {
        struct timespec timeout = in_ms(10);
        double start = now_ms();
        int result = i < 2 ? pollring_wait(ring, &event, 1, &timeout) : pollring_next(poll, &event, &timeout);
        assert_int_equal(result, i < 2 ? 0 : -ETIME);
        assert_true(now_ms() - start >= 10);
        assert_true(now_ms() - start < GUARD_MS);
    }
}

/* As the kernel leaves it where the thread that adds work is held up before it sets the flag. */
TEST(a_flag_of_work_with_nothing_pending_holds_nothing_up) {
    static const int timeouts_ms[] = {0, 10};
    struct io_uring queues;
    struct pollring_event event;
    struct ends ends = make_socketpair();
    if (is_epoll())
        skip_because("an epoll has no such flag");
    struct pollring *ring = open_ring();
    struct pollring_poll *poll = add(ring, ends.near, POLLIN);
    assert_int_equal(pollring_submit(ring), 0);
    assert_int_equal(map_queues(ring, &queues), 0);
    for (size_t i = 0; i < COUNT_OF(timeouts_ms); i++) {
        struct timespec timeout = in_ms(timeouts_ms[i]);
        *queues.sq.kflags |= IORING_SQ_TASKRUN;
        int result = pollring_wait(ring, &event, 1, &timeout);
        assert_true(result == 0 || (result == -EINTR && has_signals()));
        assert_false(pollring_pending(ring));
    }
    *queues.sq.kflags |= IORING_SQ_TASKRUN;
    assert_int_equal(pollring_submit(ring), 0);
    write_some(ends.far);
    *queues.sq.kflags |= IORING_SQ_TASKRUN;
    assert_event(ring, poll, POLLIN);
    assert_silence(ring);
    unmap_queues(&queues);
}

TEST(a_timeout_that_is_none_is_refused) {
    static const struct timespec bad[] = {{-1, 0}, {0, -1}, {0, 1000000000}, {LONG_MIN, 0}, {1, LONG_MAX}};
    struct pollring *ring = open_ring();
    struct pollring_poll *poll = arm(ring, make_ready_eventfd(), POLLIN);
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct pollring_event event;
        assert_int_equal(pollring_wait(ring, &event, 1, &bad[i]), -EINVAL);
        assert_int_equal(pollring_collect(ring, &bad[i]), -EINVAL);
        assert_int_equal(pollring_inbox_collect(ring, NULL, &bad[i]), -EINVAL);
        assert_int_equal(pollring_next(poll, &event, &bad[i]), -EINVAL);
    }
    assert_event(ring, poll, POLLIN);
}

TEST(a_wait_without_room_is_refused) {
    struct pollring *ring = open_ring();
    struct pollring_event event;
    assert_int_equal(pollring_wait(ring, &event, 0, &no_time), -EINVAL);
    assert_int_equal(pollring_wait(ring, &event, UINT_MAX, &no_time), -EINVAL);
    assert_int_equal(pollring_wait(ring, NULL, 1, &no_time), -EINVAL);
    assert_int_equal(pollring_take(ring, NULL, NULL), -EINVAL);
}

struct writer {
    _Atomic pid_t sleeper;
    int fd;
};

static void *write_to_sleeper(void *argument) {
    struct writer *writer = argument;
    uint64_t one = 1;
    if (!wait_until_asleep(&writer->sleeper))
        return thread_result(-1);
    return thread_result(write(writer->fd, &one, sizeof(one)) == sizeof(one) ? 0 : -1);
}

/* For ever, for longer than a clock can count, and with a request to submit before. */
TEST(a_sleeping_wait_is_ended_by_an_event) {
    skip_in_valgrind();
    static const struct timespec very_long = {LONG_MAX, 999999999};
    const struct timespec *timeouts[] = {NULL, &very_long, &guard_time};
    struct pollring *ring = open_ring();
    struct writer writer = {.fd = make_eventfd()};
    struct pollring_poll *poll = add(ring, writer.fd, POLLIN);
    for (size_t i = 0; i < COUNT_OF(timeouts); i++) {
        struct pollring_event event;
        pthread_t thread = start_thread(write_to_sleeper, &writer);
        atomic_store(&writer.sleeper, thread_id());
        int count = uninterrupted(i == 1 ? pollring_next(poll, &event, timeouts[i])
                                         : pollring_wait(ring, &event, 1, timeouts[i]));
        atomic_store(&writer.sleeper, 0);
        assert_int_equal(join_thread(thread), 0);
        assert_int_equal(count, 1);
        assert_int_equal(event.result, POLLIN);
        read_some(writer.fd);
    }
}

TEST(a_wait_of_no_longer_than_a_clock_can_count_with_an_event_there_returns_it) {
    struct pollring *ring = open_ring();
    struct pollring_event event;
    add(ring, make_ready_eventfd(), POLLIN);
    assert_int_equal(pollring_wait(ring, &event, 1, &(struct timespec){LONG_MAX, 999999999}), 1);
}

/* ---- signals ---- */

static atomic_int signals;

static void count_signal(__attribute__((unused)) int number) {
    atomic_fetch_add(&signals, 1);
}

struct signaller {
    _Atomic pid_t sleeper;
    atomic_bool done;
};

/* Signals a sleeper until it says that it was woken: it may have slept for another reason the first time. */
static void *signal_sleeper(void *argument) {
    struct signaller *signaller = argument;
    for (double end = now_ms() + GUARD_MS; !atomic_load(&signaller->done) && now_ms() < end; look_again_soon())
        if (wait_until_asleep(&signaller->sleeper) && !atomic_load(&signaller->done))
            syscall(SYS_tgkill, getpid(), atomic_load(&signaller->sleeper), SIGUSR1);
    return NULL;
}

static void start_counting_signals(void) {
    struct sigaction action = {.sa_handler = count_signal, .sa_flags = SA_RESTART};
    atomic_store(&signals, 0);
    assert_return_code(sigaction(SIGUSR1, &action, NULL), errno);
}

TEST(a_signal_ends_a_sleep_with_eintr) {
    skip_in_valgrind();
    skip_with_signals();
    struct pollring *ring = open_ring();
    struct pollring_poll *poll = arm(ring, make_eventfd(), POLLIN);
    start_counting_signals();
    for (int i = 0; i < 6; i++) {
        const struct timespec *timeout = i & 1 ? &guard_time : NULL;
        struct signaller signaller = {.done = false};
        struct pollring_event event;
        pthread_t thread = start_thread(signal_sleeper, &signaller);
        atomic_store(&signaller.sleeper, thread_id());
        int result = i < 2   ? pollring_wait(ring, &event, 1, timeout)
                     : i < 4 ? pollring_next(poll, &event, timeout)
                             : pollring_collect(ring, timeout);
        atomic_store(&signaller.done, true);
        join_thread(thread);
        assert_int_equal(result, -EINTR);
        assert_in_range(atomic_load(&signals), i + 1, INT_MAX);
    }
}

/* It comes while the wait spins, before it sleeps. */
TEST(a_signal_ends_a_spin_with_eintr) {
    skip_in_valgrind();
    struct pollring_options options = test.variant->options;
    struct pollring *ring;
    struct pollring_event event;
    struct sigaction action = {.sa_handler = count_signal};
    struct itimerval every_5_ms = {{0, 5000}, {0, 5000}}, never = {0};
    options.busy_poll_us = 1000000;
    assert_int_equal(pollring_open(&ring, &options), 0);
    keep_ring(ring);
    arm(ring, make_eventfd(), POLLIN);
    assert_return_code(sigaction(SIGALRM, &action, NULL), errno);
    double start = now_ms();
    assert_return_code(setitimer(ITIMER_REAL, &every_5_ms, NULL), errno);
    int result = pollring_wait(ring, &event, 1, &guard_time);
    double elapsed = now_ms() - start;
    setitimer(ITIMER_REAL, &never, NULL);
    assert_int_equal(result, -EINTR);
    assert_true(elapsed < 900); /* the spin alone takes 1000 */
}

TEST(a_signal_ends_a_wait_that_also_submits_with_eintr) {
    skip_in_valgrind();
    struct pollring *ring = open_ring();
    start_counting_signals();
    for (int i = 0; i < 4; i++) {
        struct signaller signaller = {.done = false};
        struct pollring_event event;
        struct pollring_poll *poll = add(ring, make_eventfd(), POLLIN);
        pthread_t thread = start_thread(signal_sleeper, &signaller);
        atomic_store(&signaller.sleeper, thread_id());
        int result = pollring_wait(ring, &event, 1, i & 1 ? &guard_time : NULL);
        atomic_store(&signaller.done, true);
        join_thread(thread);
        assert_int_equal(result, -EINTR);
        write_some(pollring_poll_fd(poll));
        assert_event(ring, poll, POLLIN);
    }
}

/* ---- names ---- */

TEST(strevents_names_results) {
    static const struct {
        int result;
        const char *names;
    } expected[] = {
        {0, "0"},
        {POLLIN, "POLLIN"},
        {POLLIN | POLLHUP, "POLLIN|POLLHUP"},
        {POLLIN | POLLPRI | POLLOUT, "POLLIN|POLLPRI|POLLOUT"},
        {POLLERR | POLLNVAL, "POLLERR|POLLNVAL"},
        {POLLRDNORM | POLLRDBAND | POLLWRNORM | POLLWRBAND, "POLLRDNORM|POLLRDBAND|POLLWRNORM|POLLWRBAND"},
        {POLLMSG | 0x1000 | POLLRDHUP, "POLLMSG|POLLREMOVE|POLLRDHUP"},
        {POLLIN | (int)EPOLLEXCLUSIVE, "POLLIN|EPOLLEXCLUSIVE"},
        {0x10000, "0x10000"},
        {POLLIN | 0x30000, "POLLIN|0x30000"},
        {-ECANCELED, "ECANCELED"},
        {-EBADF, "EBADF"},
        {-4000, "error 4000"},
        {INT_MIN, "error 2147483648"},
    };
    for (size_t i = 0; i < COUNT_OF(expected); i++) {
        char names[160];
        assert_int_equal(pollring_strevents(expected[i].result, names, sizeof(names)), strlen(expected[i].names));
        assert_string_equal(names, expected[i].names);
    }
}

TEST(strevents_cuts_as_snprintf_does) {
    char names[24];
    static const char whole[] = "POLLIN|POLLHUP";
    assert_int_equal(pollring_strevents(POLLIN | POLLHUP, NULL, 0), sizeof(whole) - 1);
    for (size_t size = 0; size < sizeof(names); size++) {
        char expected[24];
        memset(names, '#', sizeof(names));
        memset(expected, '#', sizeof(expected));
        snprintf(expected, size, "%s", whole);
        assert_int_equal(pollring_strevents(POLLIN | POLLHUP, names, size), sizeof(whole) - 1);
        assert_memory_equal(names, expected, sizeof(names));
    }
    assert_int_equal(pollring_strevents(-ECANCELED, names, 5), 9);
    assert_string_equal(names, "ECAN");
}

TEST(numbers_have_names_and_what_is_none_has_an_empty_one) {
    static const char *const reasons[] = {"",           "removed",  "hangup", "error", "oneshot",
                                          "unpollable", "overflow", "closed", ""};
    static const char *const causes[] = {"",         "sysctl", "seccomp", "kernel", "memlock",
                                         "fd_limit", "memory", "unknown", ""};
    for (int i = 0; i < (int)COUNT_OF(reasons); i++)
        assert_string_equal(pollring_strend(i), reasons[i]);
    for (int i = 0; i < (int)COUNT_OF(causes); i++)
        assert_string_equal(pollring_strcause(i), causes[i]);
    assert_string_equal(pollring_strsetup(POLLRING_SETUP_DEFER_TASKRUN), "defer_taskrun");
    assert_string_equal(pollring_strsetup(POLLRING_SETUP_COOP_TASKRUN), "coop_taskrun");
    assert_string_equal(pollring_strsetup(POLLRING_SETUP_PLAIN), "plain");
    assert_string_equal(pollring_strsetup(0), "");
    assert_string_equal(pollring_strsetup(POLLRING_SETUP_PLAIN | POLLRING_SETUP_COOP_TASKRUN), "");
}

int main(void) {
    static const struct test tests[] = {
        RUN(a_file_that_is_ready_is_reported_when_it_is_armed),
        RUN(nothing_comes_while_data_stays_unread),
        RUN(each_wake_up_is_an_event_though_data_stays_unread),
        RUN(an_event_carries_the_owner_of_its_poll),
        RUN(a_mask_of_zero_reports_hangup),
        RUN(two_polls_of_one_fd_both_report),
        RUN(an_exclusive_poll_reports),
        RUN(an_iterator_yields_until_more_is_false_and_then_ends),
        RUN(a_fifo_ends_when_its_writer_is_gone),
        RUN(a_fifo_that_keeps_its_hangup_comes_back_with_the_next_writer),
        RUN(the_fin_of_a_tcp_peer_ends_a_poll),
        RUN(the_fin_of_a_unix_peer_ends_a_poll),
        RUN(a_fin_does_not_end_a_poll_that_asks_for_out),
        RUN(an_error_on_the_write_end_of_a_pipe_ends_a_poll),
        RUN(an_error_of_a_udp_socket_does_not_end_a_poll),
        RUN(a_hangup_that_ended_a_poll_has_let_its_file_go_after_the_batch),
        RUN(a_one_shot_ends_after_its_event_and_can_be_armed_again),
        RUN(a_poll_that_is_active_is_not_armed_again),
        RUN(a_poll_that_was_removed_can_be_armed_again),
        RUN(a_file_that_cannot_be_polled_ends_with_its_first_event),
        RUN(a_file_that_cannot_be_polled_ends_once_an_fd_is_left),
        RUN(a_raw_poll_of_a_file_that_cannot_be_polled_says_so_too),
        RUN(a_closed_fd_is_an_event_of_ebadf_and_an_end),
        RUN(a_path_is_an_event_of_ebadf),
        RUN(a_thousand_files_that_are_ready_at_once_are_each_seen_once),
        RUN(one_wait_collects_all_that_is_ready),
        RUN(one_wait_collects_all_that_was_ready_when_armed),
        RUN(a_full_queue_is_no_end_until_its_poll_hangs_up),
        RUN(a_file_that_cannot_be_polled_ends_when_the_queue_is_full_too),
        RUN(a_poll_that_is_not_to_be_rearmed_ends_by_overflow),
        RUN(a_poll_that_a_full_queue_ended_is_armed_again_after_its_event_was_taken),
        RUN(a_poll_that_a_full_queue_ended_is_armed_again_after_its_last_event_was_taken),
        RUN(a_raw_poll_shows_what_the_kernel_wrote),
        RUN(iterating_over_one_poll_loses_no_event_of_another),
        RUN(a_wait_that_hands_out_a_queued_end_collects_the_rest_too),
        RUN(a_wait_hands_out_queued_events_first),
        RUN(next_wait_and_take_can_be_mixed_and_keep_the_order_of_each_poll),
        RUN(an_event_in_the_queue_of_a_poll_comes_before_one_in_the_kernel),
        RUN(two_iterators_on_one_ring_can_take_turns),
        RUN(iterators_can_be_nested),
        RUN(a_queue_that_is_full_merges_events_and_loses_no_end),
        RUN(a_removal_is_not_merged_into_a_full_queue),
        RUN(max_cuts_a_batch_and_the_rest_comes_next),
        RUN(collect_hands_out_nothing_and_take_all),
        RUN(many_are_taken_up_to_max_and_fewer_end_the_batch),
        RUN(between_two_takes_polls_can_be_added_and_collected),
        RUN(a_timeout_of_zero_never_sleeps),
        RUN(timeouts_are_kept),
        RUN(a_flag_of_work_with_nothing_pending_holds_nothing_up),
        RUN(a_timeout_that_is_none_is_refused),
        RUN(a_wait_without_room_is_refused),
        RUN(a_sleeping_wait_is_ended_by_an_event),
        RUN(a_wait_of_no_longer_than_a_clock_can_count_with_an_event_there_returns_it),
        RUN(a_signal_ends_a_sleep_with_eintr),
        RUN(a_signal_ends_a_spin_with_eintr),
        RUN(a_signal_ends_a_wait_that_also_submits_with_eintr),
        RUN(strevents_names_results),
        RUN(strevents_cuts_as_snprintf_does),
        RUN(numbers_have_names_and_what_is_none_has_an_empty_one),
    };
    return run_on_variants("event", tests, COUNT_OF(tests));
}
