/*
 * The kernel's rules about the request: what POLL_ADD accepts, when it posts, what its result means, how it is changed
 * and how it ends. Which file reports what is test_kernel_file.c's.
 *
 * Raw liburing; it must not know pollring.
 */
#include "kernel.h"

/* ---- fields ---- */

static int result_of_poll_with_len(struct io_uring *ring, int fd, unsigned len) {
    struct completion got;
    struct io_uring_sqe *sqe = next_sqe(ring, POLL);
    io_uring_prep_poll_add(sqe, fd, POLLIN);
    sqe->len = len;
    sqe->user_data = POLL;
    assert_int_equal(io_uring_submit(ring), 1);
    assert_int_equal(await_completion(ring, &got), 0);
    assert_true(got.more == (got.res > 0 && (len & IORING_POLL_ADD_MULTI)));
    return got.res;
}

static void len_is_zero_or_multi_and_update_flags_are_refused(void **state) {
    const unsigned refused[] = {IORING_POLL_UPDATE_EVENTS,
                                IORING_POLL_UPDATE_USER_DATA,
                                IORING_POLL_UPDATE_EVENTS | IORING_POLL_UPDATE_USER_DATA,
                                IORING_POLL_UPDATE_EVENTS | IORING_POLL_ADD_MULTI,
                                IORING_POLL_UPDATE_USER_DATA | IORING_POLL_ADD_MULTI,
                                1u << 4,
                                1u << 31};
    struct io_uring *ring = open_ring(state);
    int ready = make_eventfd(state);
    write_some(ready);
    for (unsigned i = 0; i < COUNT_OF(refused); i++)
        assert_int_equal(result_of_poll_with_len(ring, ready, refused[i]), -EINVAL);
    assert_int_equal(result_of_poll_with_len(ring, ready, 0), POLLIN);
    assert_int_equal(result_of_poll_with_len(ring, ready, IORING_POLL_ADD_MULTI), POLLIN);
}

/* Some kernels of the 6 series took it for a while. */
static void level_flag_is_refused_or_still_polls(void **state) {
    struct io_uring *ring = open_ring(state);
    int ready = make_eventfd(state);
    write_some(ready);
    int result = result_of_poll_with_len(ring, ready, IORING_POLL_ADD_MULTI | IORING_POLL_ADD_LEVEL);
    print_message("ADD_LEVEL: %s\n", result < 0 ? strerror(-result) : "accepted");
    if (result != -EINVAL)
        assert_int_equal(result, POLLIN);
}

static int result_of_poll_with_field(struct io_uring *ring, int fd, unsigned field) {
    struct completion got;
    struct io_uring_sqe *sqe = next_sqe(ring, POLL);
    io_uring_prep_poll_multishot(sqe, fd, POLLIN);
    sqe->user_data = POLL;
    sqe->addr = field == 0;
    sqe->ioprio = field == 1;
    sqe->off = field == 2;
    sqe->buf_index = field == 3;
    assert_int_equal(io_uring_submit(ring), 1);
    assert_int_equal(await_completion(ring, &got), 0);
    return got.res;
}

static void addr_ioprio_off_and_buf_index_must_be_zero(void **state) {
    struct io_uring *ring = open_ring(state);
    int ready = make_eventfd(state);
    write_some(ready);
    for (unsigned field = 0; field < 4; field++)
        assert_int_equal(result_of_poll_with_field(ring, ready, field), -EINVAL);
    assert_int_equal(result_of_poll_with_field(ring, ready, 4), POLLIN);
}

static void mask_is_stored_with_swapped_halves_on_big_endian(void **state) {
    const uint32_t mask = POLLIN | EPOLLEXCLUSIVE;
    struct io_uring *ring = open_ring(state);
    int ready = make_eventfd(state);
    write_some(ready);
    struct io_uring_sqe *sqe = next_sqe(ring, POLL);
    sqe->opcode = IORING_OP_POLL_ADD;
    sqe->fd = ready;
    sqe->poll32_events = __BYTE_ORDER == __BIG_ENDIAN ? mask << 16 | mask >> 16 : mask;
    assert_int_equal(io_uring_submit(ring), 1);
    assert_end(ring, POLL, POLLIN);
    io_uring_prep_poll_add(sqe, ready, mask);
    assert_int_equal(sqe->poll32_events, __BYTE_ORDER == __BIG_ENDIAN ? mask << 16 | mask >> 16 : mask);
}

static void multishot_cannot_skip_its_cqes(void **state) {
    struct io_uring *ring = open_ring(state);
    queue_multishot(ring, make_eventfd(state), POLLIN, POLL);
    ring->sq.sqes[0].flags |= IOSQE_CQE_SKIP_SUCCESS;
    assert_int_equal(io_uring_submit(ring), 1);
    assert_end(ring, POLL, -EINVAL);
}

/* ---- level when armed, edges afterwards ---- */

static void multishot_reports_readiness_at_arm_then_edges_only(void **state) {
    int ends[2];
    struct io_uring *ring = open_ring(state);
    make_pipe(state, ends);
    write_some(ends[1]);
    arm_multishot(ring, ends[0], POLLIN, POLL);
    assert_event(ring, POLL, POLLIN);
    assert_silence(ring);
    write_some(ends[1]);
    assert_event(ring, POLL, POLLIN);
    assert_silence(ring);
    assert_int_equal(state_of(ends[0], POLLIN, 0), POLLIN);
}

static void multishot_is_silent_at_arm_when_nothing_is_ready(void **state) {
    int ends[2];
    struct io_uring *ring = open_ring(state);
    make_pipe(state, ends);
    arm_multishot(ring, ends[0], POLLIN, POLL);
    assert_silence(ring);
    write_some(ends[1]);
    assert_event(ring, POLL, POLLIN);
}

static void one_shot_completes_once_without_f_more(void **state) {
    int ends[2];
    struct io_uring *ring = open_ring(state);
    make_pipe(state, ends);
    arm_one_shot(ring, ends[0], POLLIN, POLL);
    assert_silence(ring);
    write_some(ends[1]);
    assert_end(ring, POLL, POLLIN);
    write_some(ends[1]);
    assert_silence(ring);
}

static void one_shot_that_is_ready_completes_at_once_without_f_more(void **state) {
    struct io_uring *ring = open_ring(state);
    int ready = make_eventfd(state);
    write_some(ready);
    arm_one_shot(ring, ready, POLLIN, POLL);
    assert_end(ring, POLL, POLLIN);
}

static void f_more_stays_set_until_a_cancel_ends_the_poll(void **state) {
    struct io_uring *ring = open_ring(state);
    int watched = make_eventfd(state);
    arm_multishot(ring, watched, POLLIN, POLL);
    for (int edge = 0; edge < 1000; edge++) {
        write_some(watched);
        assert_event(ring, POLL, POLLIN);
        read_some(watched);
    }
    submit_remove(ring, POLL, REMOVE);
    assert_two_ends(ring, REMOVE, 0, POLL, -ECANCELED);
    write_some(watched);
    assert_silence(ring);
}

static void epolloneshot_in_the_mask_ends_a_multishot_after_one_event(void **state) {
    struct io_uring *ring = open_ring(state);
    int watched = make_eventfd(state);
    arm_multishot(ring, watched, POLLIN | EPOLLONESHOT, POLL);
    write_some(watched);
    assert_end(ring, POLL, POLLIN);
    write_some(watched);
    assert_silence(ring);
}

/* ---- what the result means ---- */

static void res_is_the_mask_of_the_wakeup_and_not_the_state(void **state) {
    int ends[2];
    struct io_uring *ring = open_ring(state);
    make_socketpair(state, ends);
    arm_multishot(ring, ends[0], POLLIN | POLLOUT, POLL);
    assert_event(ring, POLL, POLLOUT);
    write_some(ends[1]);
    assert_event(ring, POLL, POLLIN);
    assert_int_equal(state_of(ends[0], POLLIN | POLLOUT, 0), POLLIN | POLLOUT);
}

static void event_consumed_before_the_collection_is_still_posted(void **state) {
    int ends[2];
    struct io_uring *ring = open_ring(state);
    make_pipe(state, ends);
    arm_multishot(ring, ends[0], POLLIN, POLL);
    write_some(ends[1]);
    read_some(ends[0]);
    assert_event(ring, POLL, POLLIN);
    assert_int_equal(state_of(ends[0], POLLIN, 0), 0);
}

/* ---- several requests ---- */

static void same_fd_armed_twice_is_two_independent_requests(void **state) {
    struct io_uring *ring = open_ring(state);
    int watched = make_eventfd(state);
    struct completion got[3];
    arm_multishot(ring, watched, POLLIN, POLL);
    arm_multishot(ring, watched, POLLIN, OTHER_POLL);
    write_some(watched);
    assert_int_equal(collect(ring, got, COUNT_OF(got)), 2);
    assert_int_equal(got[0].user_data + got[1].user_data, POLL + OTHER_POLL);
    assert_int_not_equal(got[0].user_data, got[1].user_data);
    submit_remove(ring, POLL, REMOVE);
    assert_two_ends(ring, REMOVE, 0, POLL, -ECANCELED);
    write_some(watched);
    assert_event(ring, OTHER_POLL, POLLIN);
    assert_silence(ring);
}

static void epollexclusive_works_with_both_kinds(void **state) {
    struct io_uring *ring = open_ring(state);
    int watched = make_eventfd(state);
    arm_multishot(ring, watched, POLLIN | EPOLLEXCLUSIVE, POLL);
    write_some(watched);
    assert_event(ring, POLL, POLLIN);
    read_some(watched);
    write_some(watched);
    assert_event(ring, POLL, POLLIN);
    submit_remove(ring, POLL, REMOVE);
    assert_two_ends(ring, REMOVE, 0, POLL, -ECANCELED);
    arm_one_shot(ring, watched, POLLIN | EPOLLEXCLUSIVE, OTHER_POLL);
    assert_end(ring, OTHER_POLL, POLLIN);
}

/* How often each of two rings was told of ten writes to one fd. */
static void share_ten_writes(void **state, unsigned mask, unsigned told[2]) {
    struct io_uring *rings[] = {open_ring(state), open_ring(state)};
    struct completion got[4];
    int watched = make_eventfd(state);
    for (int i = 0; i < 2; i++)
        arm_multishot(rings[i], watched, mask, POLL);
    for (int i = 0; i < 10; i++) {
        write_some(watched);
        for (int j = 0; j < 2; j++)
            told[j] += collect(rings[j], got, COUNT_OF(got));
        read_some(watched);
    }
}

static void epollexclusive_tells_one_of_two_rings_of_each_write(void **state) {
    unsigned exclusive[2] = {0}, shared[2] = {0};
    share_ten_writes(state, POLLIN | EPOLLEXCLUSIVE, exclusive);
    print_message("of 10 writes the rings were told of %u and %u\n", exclusive[0], exclusive[1]);
    assert_int_equal(exclusive[0] + exclusive[1], 10);
    share_ten_writes(state, POLLIN, shared);
    assert_int_equal(shared[0], 10);
    assert_int_equal(shared[1], 10);
}

/* Its own completions wake it: a loop that the kernel breaks. */
static void watching_the_rings_own_fd_ends_after_one_event(void **state) {
    struct io_uring *ring = open_ring(state);
    struct completion got[8];
    arm_multishot(ring, ring->ring_fd, POLLIN, POLL);
    assert_silence(ring);
    next_sqe(ring, NOP);
    assert_int_equal(io_uring_submit(ring), 1);
    assert_int_equal(collect(ring, got, COUNT_OF(got)), 2);
    assert_int_equal(got[0].user_data, NOP);
    assert_int_equal(got[1].user_data, POLL);
    assert_int_equal(got[1].res, POLLIN);
    assert_false(got[1].more);
}

/* ---- the request holds the file, the queued request only its number ---- */

static void close_of_the_fd_does_not_end_the_poll(void **state) {
    int ends[2];
    char bytes[8];
    struct io_uring *ring = open_ring(state);
    make_socketpair(state, ends);
    arm_multishot(ring, ends[0], POLLIN, POLL);
    close_fd(state, ends[0]);
    assert_int_equal(recv(ends[1], bytes, sizeof(bytes), 0), -1);
    assert_int_equal(errno, EAGAIN);
    write_some(ends[1]);
    assert_event(ring, POLL, POLLIN);
}

static void cancel_by_fd_after_close_is_ebadf(void **state) {
    int ends[2];
    struct completion got;
    struct io_uring *ring = open_ring(state);
    make_socketpair(state, ends);
    arm_multishot(ring, ends[0], POLLIN, POLL);
    close_fd(state, ends[0]);
    struct io_uring_sqe *sqe = next_sqe(ring, REMOVE);
    io_uring_prep_cancel_fd(sqe, ends[0], 0);
    sqe->user_data = REMOVE;
    assert_int_equal(io_uring_submit(ring), 1);
    assert_int_equal(await_completion(ring, &got), 0);
    if (got.res == -EINVAL)
        skip_because("no cancel by fd");
    assert_int_equal(got.res, -EBADF);
    write_some(ends[1]);
    assert_event(ring, POLL, POLLIN);
}

static void cancel_by_user_data_after_close_lets_the_file_go_at_once(void **state) {
    int ends[2];
    struct io_uring *ring = open_ring(state);
    make_socketpair(state, ends);
    arm_multishot(ring, ends[0], POLLIN, POLL);
    close_fd(state, ends[0]);
    submit_cancel(ring, POLL, 0, REMOVE);
    assert_two_ends(ring, REMOVE, 0, POLL, -ECANCELED);
    assert_true(reads_eof(ends[1]));
}

static void submitted_cancel_holds_the_file_until_deferred_work_ran(void **state) {
    int ends[2];
    struct io_uring *ring = open_ring(state);
    make_socketpair(state, ends);
    arm_multishot(ring, ends[0], POLLIN, POLL);
    close_fd(state, ends[0]);
    submit_cancel(ring, POLL, 0, REMOVE);
    assert_true(reads_eof(ends[1]) == !defers(state));
    assert_int_equal(io_uring_get_events(ring), 0);
    assert_true(reads_eof(ends[1]));
}

static void queued_add_arms_whatever_file_has_the_number_when_it_is_submitted(void **state) {
    int ends[2];
    struct io_uring *ring = open_ring(state);
    make_pipe(state, ends);
    int number = make_eventfd(state);
    queue_multishot(ring, number, POLLIN, POLL);
    assert_int_equal(dup3(ends[0], number, O_CLOEXEC), number);
    assert_int_equal(io_uring_submit(ring), 1);
    write_some(ends[1]);
    assert_event(ring, POLL, POLLIN);
}

/* ---- removal ---- */

static void remove_posts_its_own_cqe_and_the_polls(void **state) {
    struct io_uring *ring = open_ring(state);
    arm_multishot(ring, make_eventfd(state), POLLIN, POLL);
    submit_remove(ring, POLL, REMOVE);
    assert_two_ends(ring, REMOVE, 0, POLL, -ECANCELED);
    assert_silence(ring);
    submit_remove(ring, POLL, REMOVE);
    assert_end(ring, REMOVE, -ENOENT);
}

static void async_cancel_swallows_a_pending_event(void **state) {
    struct io_uring *ring = open_ring(state);
    int watched = make_eventfd(state);
    arm_multishot(ring, watched, POLLIN, POLL);
    write_some(watched);
    if (!defers(state))
        assert_event(ring, POLL, POLLIN);
    submit_cancel(ring, POLL, 0, REMOVE);
    assert_two_ends(ring, REMOVE, 0, POLL, -ECANCELED);
    write_some(watched);
    assert_silence(ring);
}

static void poll_remove_is_ealready_while_a_wakeup_is_pending_and_the_poll_stays(void **state) {
    struct io_uring *ring = open_ring(state);
    int watched = make_eventfd(state);
    arm_multishot(ring, watched, POLLIN, POLL);
    write_some(watched);
    submit_remove(ring, POLL, REMOVE);
    assert_end(ring, REMOVE, -EALREADY);
    assert_event(ring, POLL, POLLIN);
    write_some(watched);
    assert_event(ring, POLL, POLLIN);
}

/* ---- update ---- */

static void submit_update(struct io_uring *ring, unsigned mask, unsigned len, uint64_t new_user_data,
                          uint8_t sqe_flags) {
    struct io_uring_sqe *sqe = next_sqe(ring, UPDATE);
    io_uring_prep_poll_update(sqe, POLL, new_user_data, mask, len);
    sqe->user_data = UPDATE;
    sqe->flags = sqe_flags;
    assert_int_equal(io_uring_submit(ring), 1);
}

static void update_of_a_silent_poll_posts_its_own_cqe_alone(void **state) {
    struct io_uring *ring = open_ring(state);
    arm_multishot(ring, make_eventfd(state), POLLIN, POLL);
    submit_update(ring, POLLIN, IORING_POLL_UPDATE_EVENTS | IORING_POLL_ADD_MULTI, 0, 0);
    assert_end(ring, UPDATE, 0);
    assert_silence(ring);
}

static void update_reports_what_is_ready_again(void **state) {
    struct completion got[3];
    struct io_uring *ring = open_ring(state);
    int watched = make_eventfd(state);
    write_some(watched);
    arm_multishot(ring, watched, POLLIN, POLL);
    assert_event(ring, POLL, POLLIN);
    assert_silence(ring);
    submit_update(ring, POLLIN, IORING_POLL_UPDATE_EVENTS | IORING_POLL_ADD_MULTI, 0, 0);
    assert_int_equal(collect(ring, got, COUNT_OF(got)), 2);
    struct completion *polls = &got[got[0].user_data == POLL ? 0 : 1];
    assert_int_equal(polls->user_data, POLL);
    assert_int_equal(polls->res, POLLIN);
    assert_true(polls->more);
}

static void update_can_skip_its_own_cqe(void **state) {
    struct io_uring *ring = open_ring(state);
    int watched = make_eventfd(state);
    if (!(ring->features & IORING_FEAT_CQE_SKIP))
        skip_because("no IOSQE_CQE_SKIP_SUCCESS");
    write_some(watched);
    arm_multishot(ring, watched, POLLIN, POLL);
    assert_event(ring, POLL, POLLIN);
    submit_update(ring, POLLIN, IORING_POLL_UPDATE_EVENTS | IORING_POLL_ADD_MULTI, 0, IOSQE_CQE_SKIP_SUCCESS);
    assert_event(ring, POLL, POLLIN);
    assert_silence(ring);
}

static void update_changes_the_mask(void **state) {
    int ends[2];
    struct completion got[3];
    struct io_uring *ring = open_ring(state);
    make_socketpair(state, ends);
    arm_multishot(ring, ends[0], POLLIN, POLL);
    submit_update(ring, POLLOUT, IORING_POLL_UPDATE_EVENTS | IORING_POLL_ADD_MULTI, 0, 0);
    assert_int_equal(collect(ring, got, COUNT_OF(got)), 2);
    assert_int_equal(got[0].res + got[1].res, POLLOUT);
    assert_int_equal(got[0].more + got[1].more, 1);
    write_some(ends[1]);
    assert_silence(ring);
}

static void update_takes_new_user_data_only_with_its_flag(void **state) {
    struct io_uring *ring = open_ring(state);
    int watched = make_eventfd(state);
    arm_multishot(ring, watched, POLLIN, POLL);
    submit_update(ring, POLLIN, IORING_POLL_UPDATE_EVENTS | IORING_POLL_ADD_MULTI, OTHER_POLL, 0);
    assert_end(ring, UPDATE, -EINVAL);
    submit_update(ring, 0, IORING_POLL_UPDATE_USER_DATA | IORING_POLL_ADD_MULTI, OTHER_POLL, 0);
    assert_end(ring, UPDATE, 0);
    write_some(watched);
    assert_event(ring, OTHER_POLL, POLLIN);
}

static void update_is_lost_while_an_event_is_pending(void **state) {
    int ends[2];
    struct io_uring *ring = open_ring(state);
    make_socketpair(state, ends);
    arm_multishot(ring, ends[0], POLLIN, POLL);
    write_some(ends[1]);
    submit_update(ring, POLLOUT, IORING_POLL_UPDATE_EVENTS | IORING_POLL_ADD_MULTI, 0, 0);
    assert_end(ring, UPDATE, -EALREADY);
    assert_event(ring, POLL, POLLIN);
    assert_silence(ring);
    write_some(ends[1]);
    assert_event(ring, POLL, POLLIN);
}

static void update_of_a_poll_that_is_gone_is_enoent(void **state) {
    struct io_uring *ring = open_ring(state);
    arm_multishot(ring, make_eventfd(state), POLLIN, POLL);
    submit_remove(ring, POLL, REMOVE);
    assert_two_ends(ring, REMOVE, 0, POLL, -ECANCELED);
    submit_update(ring, POLLIN, IORING_POLL_UPDATE_EVENTS | IORING_POLL_ADD_MULTI, 0, 0);
    assert_end(ring, UPDATE, -ENOENT);
}

static void update_cannot_turn_a_one_shot_into_a_multishot(void **state) {
    struct io_uring *ring = open_ring(state);
    int watched = make_eventfd(state);
    arm_one_shot(ring, watched, POLLIN, POLL);
    submit_update(ring, POLLIN, IORING_POLL_UPDATE_EVENTS | IORING_POLL_ADD_MULTI, 0, 0);
    assert_end(ring, UPDATE, 0);
    write_some(watched);
    assert_end(ring, POLL, POLLIN);
    write_some(watched);
    assert_silence(ring);
}

int main(void) {
    const struct rule rules[] = {
        EACH_SETUP(len_is_zero_or_multi_and_update_flags_are_refused),
        EACH_SETUP(level_flag_is_refused_or_still_polls),
        EACH_SETUP(addr_ioprio_off_and_buf_index_must_be_zero),
        EACH_SETUP(mask_is_stored_with_swapped_halves_on_big_endian),
        EACH_SETUP(multishot_cannot_skip_its_cqes),
        EACH_SETUP(multishot_reports_readiness_at_arm_then_edges_only),
        EACH_SETUP(multishot_is_silent_at_arm_when_nothing_is_ready),
        EACH_SETUP(one_shot_completes_once_without_f_more),
        EACH_SETUP(one_shot_that_is_ready_completes_at_once_without_f_more),
        EACH_SETUP(f_more_stays_set_until_a_cancel_ends_the_poll),
        EACH_SETUP(epolloneshot_in_the_mask_ends_a_multishot_after_one_event),
        EACH_SETUP(res_is_the_mask_of_the_wakeup_and_not_the_state),
        EACH_SETUP(event_consumed_before_the_collection_is_still_posted),
        EACH_SETUP(same_fd_armed_twice_is_two_independent_requests),
        EACH_SETUP(epollexclusive_works_with_both_kinds),
        EACH_SETUP(epollexclusive_tells_one_of_two_rings_of_each_write),
        EACH_SETUP(watching_the_rings_own_fd_ends_after_one_event),
        EACH_SETUP(close_of_the_fd_does_not_end_the_poll),
        EACH_SETUP(cancel_by_fd_after_close_is_ebadf),
        EACH_SETUP(cancel_by_user_data_after_close_lets_the_file_go_at_once),
        EACH_SETUP(submitted_cancel_holds_the_file_until_deferred_work_ran),
        EACH_SETUP(queued_add_arms_whatever_file_has_the_number_when_it_is_submitted),
        EACH_SETUP(remove_posts_its_own_cqe_and_the_polls),
        EACH_SETUP(async_cancel_swallows_a_pending_event),
        ON_DEFER(poll_remove_is_ealready_while_a_wakeup_is_pending_and_the_poll_stays),
        EACH_SETUP(update_of_a_silent_poll_posts_its_own_cqe_alone),
        EACH_SETUP(update_reports_what_is_ready_again),
        EACH_SETUP(update_can_skip_its_own_cqe),
        EACH_SETUP(update_changes_the_mask),
        EACH_SETUP(update_takes_new_user_data_only_with_its_flag),
        ON_DEFER(update_is_lost_while_an_event_is_pending),
        EACH_SETUP(update_of_a_poll_that_is_gone_is_enoent),
        EACH_SETUP(update_cannot_turn_a_one_shot_into_a_multishot),
    };
    return run_rules("kernel: request", rules, COUNT_OF(rules));
}
