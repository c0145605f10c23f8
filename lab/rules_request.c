/*
 * The kernel's rules about the request: what POLL_ADD accepts, when it posts, what its result means, how it is changed
 * and how it ends. Which file reports what is rules_file.c's.
 */
#include "kernel.h"

/* ---- fields ---- */

static void expect_result_with_len(struct io_uring *ring, int fd, unsigned len, int expected) {
    queue_multishot(ring, fd, POLLIN, POLL)->len = len;
    submit_one(ring);
    step(text("len 0x%x", len));
    if (expected > 0 && len & IORING_POLL_ADD_MULTI)
        expect_event(ring, POLL, (unsigned)expected);
    else
        expect_end(ring, POLL, expected);
}

static void len_is_zero_or_multi_and_other_bits_are_refused(void) {
    const unsigned refused[] = {IORING_POLL_UPDATE_EVENTS,
                                IORING_POLL_UPDATE_USER_DATA,
                                IORING_POLL_UPDATE_EVENTS | IORING_POLL_UPDATE_USER_DATA,
                                IORING_POLL_UPDATE_EVENTS | IORING_POLL_ADD_MULTI,
                                IORING_POLL_UPDATE_USER_DATA | IORING_POLL_ADD_MULTI,
                                1u << 4,
                                1u << 31};
    struct io_uring *ring = open_ring();
    int ready = make_ready_eventfd();
    for (unsigned i = 0; i < COUNT_OF(refused); i++)
        expect_result_with_len(ring, ready, refused[i], -EINVAL);
    expect_result_with_len(ring, ready, 0, POLLIN);
    expect_result_with_len(ring, ready, IORING_POLL_ADD_MULTI, POLLIN);
}

static void level_flag_is_refused_or_still_polls(void) {
    struct completion got;
    struct io_uring *ring = open_ring();
    queue_multishot(ring, make_ready_eventfd(), POLLIN, POLL)->len |= IORING_POLL_ADD_LEVEL;
    submit_one(ring);
    ensure(await_completion(ring, &got) == 0);
    expect_text(
        (got.res == -EINVAL && !got.more) || (got.res == POLLIN && got.more), "EINVAL, or POLLIN F_MORE",
        text("%s%s", got.res > 0 ? mask_text((unsigned)got.res) : result_text(got.res), got.more ? " F_MORE" : ""));
}

enum { ADDR, IOPRIO, OFF, BUF_INDEX, FIELDS };

static void fill_field(struct io_uring *ring, int fd, int field) {
    struct io_uring_sqe *sqe = queue_multishot(ring, fd, POLLIN, POLL);
    sqe->addr = field == ADDR;
    sqe->ioprio = field == IOPRIO;
    sqe->off = field == OFF;
    sqe->buf_index = field == BUF_INDEX;
    submit_one(ring);
}

static void addr_ioprio_off_and_buf_index_must_be_zero(void) {
    static const char *const names[FIELDS] = {"addr 1", "ioprio 1", "off 1", "buf_index 1"};
    struct io_uring *ring = open_ring();
    int ready = make_ready_eventfd();
    for (int field = 0; field < FIELDS; field++) {
        fill_field(ring, ready, field);
        step(names[field]);
        expect_end(ring, POLL, -EINVAL);
    }
    fill_field(ring, ready, FIELDS);
    expect_event(ring, POLL, POLLIN);
}

static void poll_is_refused_on_iopoll_rings(void) {
    struct io_uring *ring = open_flagged_ring(IORING_SETUP_IOPOLL, 4, 8);
    int ready = make_ready_eventfd();
    arm_multishot(ring, ready, POLLIN, POLL);
    expect_end(ring, POLL, -EINVAL);
    arm_one_shot(ring, ready, POLLIN, POLL);
    expect_end(ring, POLL, -EINVAL);
}

static void mask_has_32_bits_with_swapped_halves_on_big_endian(void) {
    const uint32_t mask = POLLIN | EPOLLEXCLUSIVE,
                   stored = __BYTE_ORDER == __BIG_ENDIAN ? mask << 16 | mask >> 16 : mask;
    struct io_uring *ring = open_ring();
    int ready = make_ready_eventfd();
    expect(ring->features & IORING_FEAT_POLL_32BITS, "the ring has IORING_FEAT_POLL_32BITS");
    struct io_uring_sqe *sqe = next_sqe(ring, POLL);
    sqe->opcode = IORING_OP_POLL_ADD;
    sqe->fd = ready;
    sqe->poll32_events = stored;
    submit_one(ring);
    expect_end(ring, POLL, POLLIN);
    io_uring_prep_poll_add(sqe, ready, mask);
    expect(sqe->poll32_events == stored, "liburing stores the mask so too");
}

static void multishot_cannot_skip_its_cqes(void) {
    struct io_uring *ring = open_ring();
    queue_multishot(ring, make_eventfd(), POLLIN, POLL)->flags |= IOSQE_CQE_SKIP_SUCCESS;
    submit_one(ring);
    expect_end(ring, POLL, -EINVAL);
}

/* ---- level when armed, edges afterwards ---- */

static void multishot_reports_readiness_at_arm_then_edges_only(void) {
    int ends[2];
    struct io_uring *ring = open_ring();
    make_pipe(ends);
    write_some(ends[1]);
    arm_multishot(ring, ends[0], POLLIN, POLL);
    expect_event(ring, POLL, POLLIN);
    expect_silence(ring);
    write_some(ends[1]);
    expect_event(ring, POLL, POLLIN);
    expect_silence(ring);
    expect_mask("poll(2)", POLLIN, (unsigned)state_of(ends[0], POLLIN, 0));
}

static void multishot_is_silent_at_arm_when_nothing_is_ready(void) {
    int ends[2];
    struct io_uring *ring = open_ring();
    make_pipe(ends);
    arm_multishot(ring, ends[0], POLLIN, POLL);
    expect_silence(ring);
    write_some(ends[1]);
    expect_event(ring, POLL, POLLIN);
}

static void one_shot_completes_once_without_f_more(void) {
    int ends[2];
    struct io_uring *ring = open_ring();
    make_pipe(ends);
    arm_one_shot(ring, ends[0], POLLIN, POLL);
    expect_silence(ring);
    write_some(ends[1]);
    expect_end(ring, POLL, POLLIN);
    write_some(ends[1]);
    expect_silence(ring);
}

static void one_shot_that_is_ready_completes_at_once_without_f_more(void) {
    struct io_uring *ring = open_ring();
    arm_one_shot(ring, make_ready_eventfd(), POLLIN, POLL);
    expect_end(ring, POLL, POLLIN);
    expect_silence(ring);
}

static void f_more_stays_set_until_a_cancel_ends_the_poll(void) {
    struct io_uring *ring = open_ring();
    int watched = make_eventfd();
    arm_multishot(ring, watched, POLLIN, POLL);
    for (int edge = 0; edge < 1000; edge++) {
        write_some(watched);
        expect_event(ring, POLL, POLLIN);
        read_some(watched);
    }
    submit_remove(ring, POLL);
    expect_removed(ring);
    write_some(watched);
    expect_silence(ring);
}

static void epolloneshot_in_the_mask_ends_a_multishot_after_one_event(void) {
    struct io_uring *ring = open_ring();
    int watched = make_eventfd();
    arm_multishot(ring, watched, POLLIN | EPOLLONESHOT, POLL);
    write_some(watched);
    expect_end(ring, POLL, POLLIN);
    write_some(watched);
    expect_silence(ring);
}

/* ---- what the result means ---- */

static void res_is_the_mask_of_the_wakeup_and_not_the_state(void) {
    int ends[2];
    struct io_uring *ring = open_ring();
    make_socketpair(ends);
    arm_multishot(ring, ends[0], POLLIN | POLLOUT, POLL);
    expect_event(ring, POLL, POLLOUT);
    write_some(ends[1]);
    expect_event(ring, POLL, POLLIN);
    expect_mask("poll(2)", POLLIN | POLLOUT, (unsigned)state_of(ends[0], POLLIN | POLLOUT, 0));
}

static void event_consumed_before_the_collection_is_still_posted(void) {
    int ends[2];
    struct io_uring *ring = open_ring();
    make_pipe(ends);
    arm_multishot(ring, ends[0], POLLIN, POLL);
    write_some(ends[1]);
    read_some(ends[0]);
    expect_event(ring, POLL, POLLIN);
    expect_mask("poll(2)", 0, (unsigned)state_of(ends[0], POLLIN, 0));
}

/* ---- several requests ---- */

static void same_fd_armed_twice_is_two_independent_requests(void) {
    struct io_uring *ring = open_ring();
    int watched = make_eventfd();
    arm_multishot(ring, watched, POLLIN, POLL);
    arm_multishot(ring, watched, POLLIN, OTHER_POLL);
    write_some(watched);
    expect_both(ring, (struct completion){POLL, POLLIN, true}, (struct completion){OTHER_POLL, POLLIN, true});
    expect_silence(ring);
    submit_remove(ring, POLL);
    expect_removed(ring);
    write_some(watched);
    expect_event(ring, OTHER_POLL, POLLIN);
    expect_silence(ring);
}

static void epollexclusive_works_with_both_kinds(void) {
    struct io_uring *ring = open_ring();
    int watched = make_eventfd();
    arm_multishot(ring, watched, POLLIN | EPOLLEXCLUSIVE, POLL);
    write_some(watched);
    expect_event(ring, POLL, POLLIN);
    read_some(watched);
    write_some(watched);
    expect_event(ring, POLL, POLLIN);
    submit_remove(ring, POLL);
    expect_removed(ring);
    arm_one_shot(ring, watched, POLLIN | EPOLLEXCLUSIVE, OTHER_POLL);
    expect_end(ring, OTHER_POLL, POLLIN);
}

/* How often each of two rings was told of ten writes to one fd. */
static void share_ten_writes(unsigned mask, unsigned told[2]) {
    struct io_uring *rings[] = {open_ring(), open_ring()};
    struct completion got[4];
    int watched = make_eventfd();
    for (int i = 0; i < 2; i++)
        arm_multishot(rings[i], watched, mask, POLL);
    for (int i = 0; i < 10; i++) {
        write_some(watched);
        for (int j = 0; j < 2; j++)
            told[j] += collect(rings[j], got, COUNT_OF(got));
        read_some(watched);
    }
}

static void epollexclusive_tells_one_of_two_rings_of_each_write(void) {
    unsigned exclusive[2] = {0}, shared[2] = {0};
    share_ten_writes(POLLIN | EPOLLEXCLUSIVE, exclusive);
    expect_text(exclusive[0] + exclusive[1] == 10, "ten writes told two exclusive polls ten times together",
                text("ten writes told two exclusive polls %u and %u times", exclusive[0], exclusive[1]));
    share_ten_writes(POLLIN, shared);
    expect_text(shared[0] == 10 && shared[1] == 10, "others 10 and 10 times",
                text("others %u and %u times", shared[0], shared[1]));
}

/* Its own completions may wake it. Kernels break that loop in ways of their own, so: never do it. */
static void watching_the_rings_own_fd_brings_at_most_one_event(void) {
    struct io_uring *ring = open_ring();
    struct completion got[8] = {0};
    arm_multishot(ring, ring->ring_fd, POLLIN, POLL);
    expect_silence(ring);
    submit_nop(ring);
    expect_between("completions", 1, 2, collect(ring, got, COUNT_OF(got)));
    expect_completion((struct completion){NOP, 0, false}, got[0]);
    if (got[1].user_data) {
        observe(got[1].more ? "the poll goes on" : "the poll ends");
        expect_completion((struct completion){POLL, POLLIN, got[1].more}, got[1]);
    }
}

/* ---- the request holds the file, the queued request only its number ---- */

static void close_of_the_fd_does_not_end_the_poll(void) {
    int ends[2];
    char bytes[8];
    struct io_uring *ring = open_ring();
    make_socketpair(ends);
    arm_multishot(ring, ends[0], POLLIN, POLL);
    close_fd(ends[0]);
    expect_result("recv of the peer", -EAGAIN, recv(ends[1], bytes, sizeof(bytes), 0) < 0 ? -errno : 0);
    write_some(ends[1]);
    expect_event(ring, POLL, POLLIN);
}

static void cancel_by_fd_after_close_is_ebadf(void) {
    int ends[2];
    struct completion got;
    struct io_uring *ring = open_ring();
    make_socketpair(ends);
    arm_multishot(ring, ends[0], POLLIN, POLL);
    close_fd(ends[0]);
    struct io_uring_sqe *sqe = next_sqe(ring, REMOVE);
    io_uring_prep_cancel_fd(sqe, ends[0], 0);
    sqe->user_data = REMOVE;
    submit_one(ring);
    ensure(await_completion(ring, &got) == 0);
    if (got.res == -EINVAL)
        skip_because("no cancel by fd");
    expect_completion((struct completion){REMOVE, -EBADF, false}, got);
    write_some(ends[1]);
    expect_event(ring, POLL, POLLIN);
}

static void cancel_by_user_data_after_close_lets_the_file_go_at_once(void) {
    int ends[2];
    struct io_uring *ring = open_ring();
    make_socketpair(ends);
    arm_multishot(ring, ends[0], POLLIN, POLL);
    close_fd(ends[0]);
    submit_cancel(ring, POLL, 0);
    expect_removed(ring);
    expect(reads_eof(ends[1]), "the peer sees the end");
}

static void submitted_cancel_holds_the_file_until_deferred_work_ran(void) {
    int ends[2];
    struct io_uring *ring = open_ring();
    make_socketpair(ends);
    arm_multishot(ring, ends[0], POLLIN, POLL);
    close_fd(ends[0]);
    submit_cancel(ring, POLL, 0);
    expect_whether("the peer sees the end after the submit", !defers(), reads_eof(ends[1]));
    ensure(io_uring_get_events(ring) == 0);
    expect_whether("after an enter with GETEVENTS", true, reads_eof(ends[1]));
}

static void queued_add_arms_whatever_file_has_the_number_when_it_is_submitted(void) {
    int ends[2];
    struct io_uring *ring = open_ring();
    make_pipe(ends);
    int number = make_eventfd();
    queue_multishot(ring, number, POLLIN, POLL);
    need(dup3(ends[0], number, O_CLOEXEC));
    submit_one(ring);
    write_some(ends[1]);
    expect_event(ring, POLL, POLLIN);
}

/* ---- removal ---- */

static void remove_posts_its_own_cqe_and_the_polls(void) {
    struct io_uring *ring = open_ring();
    arm_multishot(ring, make_eventfd(), POLLIN, POLL);
    submit_remove(ring, POLL);
    expect_removed(ring);
    expect_silence(ring);
    submit_remove(ring, POLL);
    expect_end(ring, REMOVE, -ENOENT);
}

static void async_cancel_swallows_a_pending_event(void) {
    struct io_uring *ring = open_ring();
    int watched = make_eventfd();
    arm_multishot(ring, watched, POLLIN, POLL);
    write_some(watched);
    if (!defers())
        expect_event(ring, POLL, POLLIN);
    submit_cancel(ring, POLL, 0);
    expect_removed(ring);
    write_some(watched);
    expect_silence(ring);
}

static void poll_remove_is_ealready_while_a_wakeup_is_pending_and_the_poll_stays(void) {
    struct io_uring *ring = open_ring();
    int watched = make_eventfd();
    arm_multishot(ring, watched, POLLIN, POLL);
    write_some(watched);
    submit_remove(ring, POLL);
    expect_end(ring, REMOVE, -EALREADY);
    expect_event(ring, POLL, POLLIN);
    write_some(watched);
    expect_event(ring, POLL, POLLIN);
}

/* ---- update ---- */

static void submit_update(struct io_uring *ring, unsigned mask, unsigned len, uint64_t new_user_data,
                          unsigned char sqe_flags) {
    struct io_uring_sqe *sqe = next_sqe(ring, UPDATE);
    io_uring_prep_poll_update(sqe, POLL, new_user_data, mask, len);
    sqe->user_data = UPDATE;
    sqe->flags |= sqe_flags;
    submit_one(ring);
}

static void update_mask(struct io_uring *ring, unsigned mask) {
    submit_update(ring, mask, IORING_POLL_UPDATE_EVENTS | IORING_POLL_ADD_MULTI, 0, 0);
}

static void update_of_a_silent_poll_posts_its_own_cqe_alone(void) {
    struct io_uring *ring = open_ring();
    arm_multishot(ring, make_eventfd(), POLLIN, POLL);
    update_mask(ring, POLLIN);
    expect_end(ring, UPDATE, 0);
    expect_silence(ring);
}

static void update_reports_what_is_ready_again(void) {
    struct io_uring *ring = open_ring();
    arm_multishot(ring, make_ready_eventfd(), POLLIN, POLL);
    expect_event(ring, POLL, POLLIN);
    expect_silence(ring);
    update_mask(ring, POLLIN);
    expect_both(ring, (struct completion){UPDATE, 0, false}, (struct completion){POLL, POLLIN, true});
    expect_silence(ring);
}

static void update_can_skip_its_own_cqe(void) {
    struct io_uring *ring = open_ring();
    if (!(ring->features & IORING_FEAT_CQE_SKIP))
        skip_because("no IOSQE_CQE_SKIP_SUCCESS");
    arm_multishot(ring, make_ready_eventfd(), POLLIN, POLL);
    expect_event(ring, POLL, POLLIN);
    submit_update(ring, POLLIN, IORING_POLL_UPDATE_EVENTS | IORING_POLL_ADD_MULTI, 0, IOSQE_CQE_SKIP_SUCCESS);
    expect_event(ring, POLL, POLLIN);
    expect_silence(ring);
}

static void update_changes_the_mask(void) {
    int ends[2];
    struct io_uring *ring = open_ring();
    make_socketpair(ends);
    arm_multishot(ring, ends[0], POLLIN, POLL);
    update_mask(ring, POLLOUT);
    expect_both(ring, (struct completion){UPDATE, 0, false}, (struct completion){POLL, POLLOUT, true});
    write_some(ends[1]);
    expect_silence(ring);
}

static void update_takes_new_user_data_only_with_its_flag(void) {
    struct io_uring *ring = open_ring();
    int watched = make_eventfd();
    arm_multishot(ring, watched, POLLIN, POLL);
    submit_update(ring, POLLIN, IORING_POLL_UPDATE_EVENTS | IORING_POLL_ADD_MULTI, OTHER_POLL, 0);
    expect_end(ring, UPDATE, -EINVAL);
    submit_update(ring, 0, IORING_POLL_UPDATE_USER_DATA | IORING_POLL_ADD_MULTI, OTHER_POLL, 0);
    expect_end(ring, UPDATE, 0);
    write_some(watched);
    expect_event(ring, OTHER_POLL, POLLIN);
}

static void update_is_lost_while_an_event_is_pending(void) {
    int ends[2];
    struct io_uring *ring = open_ring();
    make_socketpair(ends);
    arm_multishot(ring, ends[0], POLLIN, POLL);
    write_some(ends[1]);
    update_mask(ring, POLLOUT);
    expect_end(ring, UPDATE, -EALREADY);
    expect_event(ring, POLL, POLLIN);
    expect_silence(ring);
    write_some(ends[1]);
    expect_event(ring, POLL, POLLIN);
}

static void update_of_a_poll_that_is_gone_is_enoent(void) {
    struct io_uring *ring = open_ring();
    arm_multishot(ring, make_eventfd(), POLLIN, POLL);
    submit_remove(ring, POLL);
    expect_removed(ring);
    update_mask(ring, POLLIN);
    expect_end(ring, UPDATE, -ENOENT);
}

static void update_cannot_turn_a_one_shot_into_a_multishot(void) {
    struct io_uring *ring = open_ring();
    int watched = make_eventfd();
    arm_one_shot(ring, watched, POLLIN, POLL);
    update_mask(ring, POLLIN);
    expect_end(ring, UPDATE, 0);
    write_some(watched);
    expect_end(ring, POLL, POLLIN);
    write_some(watched);
    expect_silence(ring);
}

const struct rule request_rules[] = {
    RULE(
        f_more_stays_set_until_a_cancel_ends_the_poll, EACH_SETUP,
        COMMIT("An application should expect more CQEs for the specificed SQE if the CQE is flagged with "
               "IORING_CQE_F_MORE. In multishot mode, only cancelation or an error will terminate the poll request, in "
               "which case the flag will be cleared."),
        "IORING_CQE_F_MORE is set on every CQE of a multishot poll but the last, which a cancel or an error brings."),
    RULE(
        multishot_reports_readiness_at_arm_then_edges_only, EACH_SETUP,
        COMMIT("multishot, where we keep triggering whenever the event becomes true"),
        "A file that is ready when it is armed is reported at once; then there is one CQE a wake-up, and silence while "
        "data stays unread."),
    RULE(multishot_is_silent_at_arm_when_nothing_is_ready, EACH_SETUP,
         COMMIT("multishot, where we keep triggering whenever the event becomes true"),
         "A file that is not ready when it is armed posts nothing until it is."),
    RULE(one_shot_completes_once_without_f_more, EACH_SETUP,
         COMMIT("The default io_uring poll mode is one-shot, where once the event triggers, the poll command is "
                "completed and won't trigger any further events."),
         "Without IORING_POLL_ADD_MULTI a poll completes once, without F_MORE."),
    RULE(one_shot_that_is_ready_completes_at_once_without_f_more, EACH_SETUP,
         COMMIT("The default io_uring poll mode is one-shot"),
         "A one-shot poll of a file that is ready completes at once, without F_MORE."),
    RULE(len_is_zero_or_multi_and_other_bits_are_refused, EACH_SETUP,
         COMMIT("Multishot mode is selected by setting IORING_POLL_ADD_MULTI in sqe->len. "
                "[if (flags & ~IORING_POLL_ADD_MULTI) return -EINVAL]"),
         "len of a POLL_ADD is 0 or IORING_POLL_ADD_MULTI; any other bit is EINVAL."),
    RULE(level_flag_is_refused_or_still_polls, EACH_SETUP, KERNEL,
         "IORING_POLL_ADD_LEVEL, which some kernels of the 6 series took for a while, is refused or polls as usual."),
    RULE(addr_ioprio_off_and_buf_index_must_be_zero, EACH_SETUP,
         COMMIT("[if (sqe->addr || sqe->ioprio || sqe->off || sqe->buf_index) return -EINVAL]"),
         "addr, ioprio, off and buf_index of a POLL_ADD have to be 0, else EINVAL."),
    RULE(poll_is_refused_on_iopoll_rings, EACH_SETUP,
         COMMIT("[if (req->ctx->flags & IORING_SETUP_IOPOLL) return -EINVAL]"),
         "On a ring with IORING_SETUP_IOPOLL a POLL_ADD is EINVAL."),
    RULE(mask_has_32_bits_with_swapped_halves_on_big_endian, EACH_SETUP,
         COMMIT("[events = READ_ONCE(sqe->poll32_events); if big-endian: swahw32(events)]"),
         "The mask has 32 bits; big-endian machines swap its halves."),
    RULE(multishot_cannot_skip_its_cqes, EACH_SETUP, KERNEL,
         "IOSQE_CQE_SKIP_SUCCESS on a multishot POLL_ADD is EINVAL."),
    RULE(epolloneshot_in_the_mask_ends_a_multishot_after_one_event, EACH_SETUP,
         COMMIT("[if (error || (req->poll.events & EPOLLONESHOT)): flags = 0]"),
         "EPOLLONESHOT in the mask ends a multishot poll after one event, without F_MORE."),
    RULE(res_is_the_mask_of_the_wakeup_and_not_the_state, EACH_SETUP, KERNEL,
         "res is the mask of the wake-up, not the state of the file."),
    RULE(event_consumed_before_the_collection_is_still_posted, EACH_SETUP, KERNEL,
         "A wake-up whose data was read before the collection still posts: an event is a hint."),
    RULE(same_fd_armed_twice_is_two_independent_requests, EACH_SETUP, KERNEL,
         "The same fd can be armed several times; each is a request of its own."),
    RULE(epollexclusive_works_with_both_kinds, EACH_SETUP,
         COMMIT("[demangle_poll(events) | (events & (EPOLLEXCLUSIVE|EPOLLONESHOT))]"),
         "EPOLLEXCLUSIVE works in the mask of multishot and one-shot polls."),
    RULE(epollexclusive_tells_one_of_two_rings_of_each_write, EACH_SETUP,
         COMMIT("[demangle_poll(events) | (events & (EPOLLEXCLUSIVE|EPOLLONESHOT))]"),
         "Of two rings with EPOLLEXCLUSIVE polls on one fd, each wake-up tells one; it is not shared fairly."),
    RULE(watching_the_rings_own_fd_brings_at_most_one_event, EACH_SETUP, KERNEL,
         "A poll on its ring's own fd brings at most one event for another completion, and may end with it."),
    RULE(close_of_the_fd_does_not_end_the_poll, EACH_SETUP, KERNEL,
         "close(fd) does not end a poll: the request holds the file, the peer sees no end, and events go on."),
    RULE(cancel_by_fd_after_close_is_ebadf, EACH_SETUP, KERNEL,
         "After close(fd) a cancel by fd is EBADF, and the poll goes on."),
    RULE(cancel_by_user_data_after_close_lets_the_file_go_at_once, EACH_SETUP, KERNEL,
         "After close(fd) a cancel by user_data works; with its completions the file is let go."),
    RULE(
        submitted_cancel_holds_the_file_until_deferred_work_ran, EACH_SETUP, KERNEL,
        "With DEFER_TASKRUN a submitted cancel holds the file until an enter with GETEVENTS; else the submit does it."),
    RULE(queued_add_arms_whatever_file_has_the_number_when_it_is_submitted, EACH_SETUP, KERNEL,
         "A queued POLL_ADD names a number: closed and used again before the submit, it arms the new file."),
    RULE(
        remove_posts_its_own_cqe_and_the_polls, EACH_SETUP, COMMIT("[if (!error && req->poll.canceled): -ECANCELED]"),
        "POLL_REMOVE posts two CQEs: its own with 0, and the poll's with ECANCELED and without F_MORE; for a poll that "
        "is gone, ENOENT."),
    RULE(async_cancel_swallows_a_pending_event, EACH_SETUP, KERNEL,
         "ASYNC_CANCEL by user_data ends a poll whose event is pending, and swallows the event."),
    RULE(poll_remove_is_ealready_while_a_wakeup_is_pending_and_the_poll_stays, ON_DEFER, KERNEL,
         "POLL_REMOVE is EALREADY while a wake-up is pending; the event comes and the poll stays armed."),
    RULE(update_of_a_silent_poll_posts_its_own_cqe_alone, EACH_SETUP, KERNEL,
         "An update of a poll whose file is not ready posts its own CQE alone."),
    RULE(update_reports_what_is_ready_again, EACH_SETUP, KERNEL,
         "An update of a poll whose file is ready posts the poll's CQE too: a recheck."),
    RULE(update_can_skip_its_own_cqe, EACH_SETUP, KERNEL, "IOSQE_CQE_SKIP_SUCCESS leaves the update's own CQE out."),
    RULE(update_changes_the_mask, EACH_SETUP, KERNEL, "An update with IORING_POLL_UPDATE_EVENTS changes the mask."),
    RULE(update_takes_new_user_data_only_with_its_flag, EACH_SETUP, KERNEL,
         "An update takes new user_data with IORING_POLL_UPDATE_USER_DATA only; else it has to be 0."),
    RULE(update_is_lost_while_an_event_is_pending, ON_DEFER, KERNEL,
         "An update is EALREADY while an event is pending: the event comes, the update is lost."),
    RULE(update_of_a_poll_that_is_gone_is_enoent, EACH_SETUP, KERNEL, "An update of a poll that is gone is ENOENT."),
    RULE(update_cannot_turn_a_one_shot_into_a_multishot, EACH_SETUP, KERNEL,
         "An update can't make a one-shot poll multishot: it returns 0, and the poll stays one-shot."),
    {0},
};
