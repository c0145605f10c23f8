/*
 * Threads and forked children: whose a ring is, how it moves, and what others may do with it.
 */
#include "variants.h"

/* ---- ownership ---- */

/* What every call says, each with arguments that would do something. */
struct intruder {
    struct pollring *ring;
    struct pollring_inbox *inbox;
    struct pollring_poll *poll;
    int fd; /* ready */
    int expected;
};

static int count_refusals(const struct intruder *at) {
    struct pollring_poll *added = NULL;
    struct pollring_event event;
    const int results[] = {
        pollring_check(at->ring),
        pollring_submit(at->ring),
        pollring_collect(at->ring, &no_time),
        pollring_wait(at->ring, &event, 1, &no_time),
        pollring_take(at->ring, NULL, &event),
        pollring_take(at->ring, at->inbox, &event),
        pollring_inbox_collect(at->ring, at->inbox, &no_time),
        pollring_remove_fd(at->ring, pollring_poll_fd(at->poll)),
        pollring_fileno(at->ring),
        pollring_poll_add(at->ring, &added, at->fd, POLLIN, 0, NULL),
        pollring_poll_add_to(at->inbox, &added, at->fd, POLLIN, 0, NULL),
        pollring_poll_update(at->poll, POLLOUT),
        pollring_poll_recheck(at->poll),
        pollring_poll_arm(at->poll),
        pollring_poll_remove(at->poll),
        pollring_next(at->poll, &event, &no_time),
    };
    int refused = 0;
    for (size_t i = 0; i < COUNT_OF(results); i++)
        refused += results[i] == at->expected;
    return added == NULL && pollring_inbox_open(at->ring) == NULL && refused == (int)COUNT_OF(results) ? 0
                                                                                                       : refused + 1;
}

static void *intrude(void *argument) {
    return thread_result(count_refusals(argument));
}

static struct intruder make_intruder(struct pollring *ring, int fd, int expected) {
    struct pollring_inbox *inbox = pollring_inbox_open(ring);
    return (struct intruder){ring, inbox, arm(ring, fd, POLLIN), make_ready_eventfd(), expected};
}

TEST(every_call_from_a_wrong_thread_is_refused_and_touches_nothing) {
    struct pollring *ring = open_ring();
    struct ends pair = make_socketpair();
    struct intruder intruder = make_intruder(ring, pair.near, -EEXIST);
    struct pollring_stats before = stats_of(ring), after;
    assert_int_equal(in_thread(intrude, &intruder), 0);
    after = stats_of(ring);
    assert_int_equal(after.active, before.active);
    assert_int_equal(after.queued, before.queued);
    assert_int_equal(after.enters, before.enters);
    assert_int_equal(after.memory, before.memory);
    assert_false(pollring_pending(ring));
    assert_int_equal(pollring_poll_events(intruder.poll), POLLIN);
    assert_silence(ring);
    assert_int_equal(stats_of(ring).requests, before.requests);
    write_some(pair.far);
    assert_event(ring, intruder.poll, POLLIN);
    pollring_inbox_close(intruder.inbox);
}

static void *close_inbox(void *argument) {
    pollring_inbox_close(argument);
    return NULL;
}

TEST(an_inbox_is_not_closed_by_a_wrong_thread) {
    struct pollring *ring = open_ring();
    struct pollring_inbox *inbox = pollring_inbox_open(ring);
    struct pollring_poll *poll = add_to(inbox, make_ready_eventfd(), POLLIN);
    assert_int_equal(pollring_inbox_collect(ring, inbox, &guard_time), 0);
    in_thread(close_inbox, inbox);
    assert_true(pollring_poll_active(poll));
    assert_take(ring, inbox, poll, POLLIN);
    pollring_inbox_close(inbox);
}

static void *wait_for_one(void *argument) {
    struct pollring_event event;
    int count = await_event(argument, &event);
    return thread_result(count == 1 ? event.result : -1000);
}

TEST(a_ring_can_be_filled_in_one_thread_and_run_in_another) {
    struct pollring *ring = open_ring();
    int host_fd = pollring_fileno(ring);
    assert_return_code(host_fd, 0);
    add(ring, make_ready_eventfd(), POLLIN);
    assert_false(pollring_orphaned(ring));
    assert_int_equal(in_thread(wait_for_one, ring), POLLIN);
    assert_int_equal(pollring_wait(ring, &(struct pollring_event){0}, 1, &no_time), -EEXIST);
    assert_int_equal(pollring_check(ring), -EEXIST);
    assert_true(pollring_orphaned(ring));
}

/* ---- another thread that owns the ring, and does what it is asked for ---- */

enum deed { SLEEP, LOOK, END };

struct owner {
    struct pollring *ring;
    int asked[2], done[2]; /* pipes: a deed each, a result each */
    _Atomic pid_t sleeper; /* while it waits for a deed, or sleeps in a wait */
    pthread_t thread;
};

static void *own(void *argument) {
    struct owner *owner = argument;
    struct pollring_event event;
    enum deed deed;
    do {
        if (read(owner->asked[0], &deed, sizeof(deed)) != sizeof(deed))
            return thread_result(-1);
        atomic_store(&owner->sleeper, thread_id());
        int result;
        do /* glibc's fork() holds signals back since 2.41, and a SIGCHLD in the meantime goes to another thread */
            result = deed == SLEEP  ? pollring_wait(owner->ring, &event, 1, NULL)
                     : deed == LOOK ? pollring_wait(owner->ring, &event, 1, &no_time)
                                    : 0;
        while (result == -EINTR);
        atomic_store(&owner->sleeper, 0);
        if (write(owner->done[1], &result, sizeof(result)) != sizeof(result))
            return thread_result(-1);
    } while (deed != END);
    return NULL;
}

static void ask(struct owner *owner, enum deed deed) {
    assert_int_equal(write(owner->asked[1], &deed, sizeof(deed)), sizeof(deed));
}

static int answer(struct owner *owner) {
    int result;
    assert_int_equal(read(owner->done[0], &result, sizeof(result)), sizeof(result));
    return result;
}

static int answer_to(struct owner *owner, enum deed deed) {
    ask(owner, deed);
    return answer(owner);
}

/* The ring's owner from here on. */
static void start_owner(struct owner *owner, struct pollring *ring) {
    *owner = (struct owner){.ring = ring};
    assert_return_code(pipe2(owner->asked, O_CLOEXEC), errno);
    assert_return_code(pipe2(owner->done, O_CLOEXEC), errno);
    for (int i = 0; i < 2; i++) {
        keep_fd(owner->asked[i]);
        keep_fd(owner->done[i]);
    }
    owner->thread = start_thread(own, owner);
    assert_return_code(answer_to(owner, LOOK), 0);
}

static void end_owner(struct owner *owner) {
    assert_int_equal(answer_to(owner, END), 0);
    assert_int_equal(join_thread(owner->thread), 0);
}

/* ---- adopting ---- */

TEST(the_owner_and_the_first_thread_can_always_adopt) {
    struct pollring *ring = open_ring();
    assert_int_equal(pollring_adopt(ring), 0);
    assert_int_equal(pollring_adopt(ring), 0);
    assert_event(ring, add(ring, make_ready_eventfd(), POLLIN), POLLIN);
    assert_int_equal(pollring_adopt(ring), 0);
    assert_silence(ring);
}

TEST(an_adopted_ring_has_its_polls_armed_and_refuses_the_old_thread) {
    struct pollring *ring = open_ring();
    struct ends pipe = make_pipe(), ready = make_pipe();
    struct pollring_poll *poll = add(ring, pipe.near, POLLIN), *level = add(ring, ready.near, POLLIN);
    struct owner owner;
    start_owner(&owner, ring);
    write_some(ready.far);
    assert_int_equal(answer_to(&owner, LOOK), 1);
    if (is_pinned())
        assert_int_equal(pollring_adopt(ring), -EBUSY);
    else
        assert_int_equal(pollring_adopt(ring), 0);
    if (!is_pinned()) {
        assert_int_equal(answer_to(&owner, LOOK), -EEXIST);
        assert_event(ring, level, POLLIN);
        write_some(pipe.far);
        assert_event(ring, poll, POLLIN);
        assert_silence(ring);
        assert_int_equal(pollring_active(ring), 2);
    } else {
        assert_int_equal(answer_to(&owner, LOOK), 0);
    }
    end_owner(&owner);
}

/* A hangup that nobody took needs a request to end its poll, which the old thread's ring takes along. */
TEST(an_adopted_ring_ends_polls_that_have_hung_up) {
    struct pollring *ring = open_ring();
    struct ends pipes[6];
    struct pollring_poll *polls[6];
    struct owner owner;
    for (int i = 0; i < 6; i++) {
        pipes[i] = make_pipe();
        polls[i] = add(ring, pipes[i].near, POLLIN);
        close_fd(pipes[i].far);
    }
    start_owner(&owner, ring);
    end_owner(&owner);
    assert_int_equal(pollring_adopt(ring), 0);
    for (int i = 0; i < 5; i++) /* one was taken by the owner */
        assert_int_equal(pollring_wait(ring, &(struct pollring_event){0}, 1, &no_time), 1);
    for (int i = 0; i < 6; i++)
        assert_ended(polls[i], POLLRING_END_HANGUP);
    assert_silence(ring);
}

/* Events that the old thread had collected for others, and requests that it had queued. */
TEST(an_adopted_ring_keeps_what_was_queued) {
    struct pollring *ring = open_ring();
    struct pollring_inbox *inbox = pollring_inbox_open(ring);
    struct pollring_poll *polls[10];
    struct owner owner;
    for (int i = 0; i < 10; i++)
        polls[i] = add_to(inbox, make_ready_eventfd(), POLLIN);
    start_owner(&owner, ring);
    end_owner(&owner);
    assert_int_equal(stats_of(ring).queued, 10);
    assert_int_equal(pollring_adopt(ring), 0);
    for (int i = 0; i < 10; i++)
        assert_next(polls[i], POLLIN);
    for (int i = 0; i < 10; i++) {
        free_poll(polls[i]);
        add(ring, make_ready_eventfd(), POLLIN);
    }
    int count = 0;
    while (pollring_wait(ring, &(struct pollring_event){0}, 1, &no_time) == 1 && count < 100)
        count++;
    assert_in_range(count, 10, 100);
    pollring_inbox_close(inbox);
}

/* The thread that is gone had registered the ring's fd with itself, where the variant is pinned. */
TEST(a_ring_can_be_adopted_after_its_thread_has_ended) {
    struct pollring *ring = open_ring();
    struct ends pipe = make_pipe();
    struct pollring_poll *poll = add(ring, pipe.near, POLLIN);
    struct owner owner;
    start_owner(&owner, ring);
    assert_false(pollring_orphaned(ring));
    end_owner(&owner);
    assert_true(pollring_orphaned(ring));
    assert_int_equal(pollring_adopt(ring), 0);
    assert_false(pollring_orphaned(ring));
    for (int i = 0; i < 5; i++) {
        write_some(pipe.far);
        assert_event(ring, poll, POLLIN);
    }
    assert_int_equal(pollring_poll_remove(poll), 0);
}

TEST(closing_the_ring_of_a_thread_that_has_ended_leaves_other_rings_alone) {
    struct pollring *own_ring = open_ring(), *ring = open_ring();
    struct ends pipe = make_pipe();
    struct pollring_poll *poll = arm(own_ring, pipe.near, POLLIN);
    struct owner owner;
    start_owner(&owner, ring);
    end_owner(&owner);
    close_ring(ring);
    for (int i = 0; i < 5; i++) {
        write_some(pipe.far);
        assert_event(own_ring, poll, POLLIN);
    }
}

TEST(a_ring_is_not_adopted_while_its_owner_sleeps) {
    skip_in_valgrind();
    struct pollring *ring = open_ring();
    struct owner owner;
    add(ring, make_eventfd(), POLLIN);
    start_owner(&owner, ring);
    for (int i = 0; i < 5; i++) {
        ask(&owner, SLEEP);
        assert_true(wait_until_asleep(&owner.sleeper));
        assert_int_equal(pollring_adopt(ring), -EBUSY);
        assert_int_equal(pollring_wake(ring), 0);
        assert_int_equal(answer(&owner), 0);
    }
    end_owner(&owner);
    assert_int_equal(pollring_adopt(ring), 0);
}

TEST(the_fd_for_a_host_works_after_adopting) {
    struct pollring *ring = open_ring();
    struct ends pipe = make_pipe();
    struct pollring_poll *watched = add(ring, pipe.near, POLLIN);
    struct pollfd host = {.fd = pollring_fileno(ring), .events = POLLIN};
    struct owner owner;
    start_owner(&owner, ring);
    end_owner(&owner);
    assert_int_equal(pollring_adopt(ring), 0);
    assert_int_equal(pollring_fileno(ring), host.fd);
    assert_int_equal(poll(&host, 1, 0), 1); /* the polls are to be armed again */
    for (int i = 0; i < 5; i++) {
        for (int in_vain = 0; in_vain == 0 || poll(&host, 1, 0); in_vain++) { /* the old ring's end signals, too */
            assert_true(in_vain < 10);
            assert_silence(ring);
        }
        write_some(pipe.far);
        assert_int_equal(poll(&host, 1, GUARD_MS), 1);
        assert_event(ring, watched, POLLIN);
    }
}

/* ---- freeing from other threads ---- */

/* Whether the peer is let go before long. */
static bool reads_eof_soon(int fd) {
    struct pollfd watched = {.fd = fd, .events = POLLIN};
    while (poll(&watched, 1, GUARD_MS) < 0 && errno == EINTR)
        ;
    return watched.revents && reads_eof(fd);
}

TEST(a_poll_that_another_thread_frees_lets_its_file_go_and_the_owner_sleep) {
    skip_in_valgrind();
    struct pollring *ring = open_ring();
    struct ends pairs[5];
    struct pollring_poll *polls[5];
    struct owner owner;
    for (int i = 0; i < 5; i++) {
        pairs[i] = make_socketpair();
        polls[i] = add(ring, pairs[i].near, POLLIN);
    }
    start_owner(&owner, ring);
    ask(&owner, SLEEP);
    for (int i = 0; i < 5; i++) {
        assert_true(wait_until_asleep(&owner.sleeper));
        free_poll(polls[i]);
        close_fd(pairs[i].near);
        assert_true(reads_eof_soon(pairs[i].far));
    }
    assert_true(wait_until_asleep(&owner.sleeper));
    assert_int_equal(poll(&(struct pollfd){.fd = owner.done[0], .events = POLLIN}, 1, 0), 0);
    assert_int_equal(pollring_wake(ring), 0);
    assert_int_equal(answer(&owner), 0);
    end_owner(&owner);
}

static void *free_one(void *argument) {
    pollring_poll_free(argument);
    return NULL;
}

TEST(a_poll_that_another_thread_freed_is_not_handed_out) {
    struct pollring *ring = open_ring();
    struct pollring_poll *poll = arm(ring, make_ready_eventfd(), POLLIN);
    assert_int_equal(pollring_collect(ring, &guard_time), 0);
    in_thread(free_one, forget_poll(poll));
    assert_silence(ring);
    assert_int_equal(pollring_active(ring), 0);
}

enum { POLLS = 60 };

struct heap {
    struct pollring_poll *polls[POLLS];
    atomic_bool started;
};

static void *free_all(void *argument) {
    struct heap *heap = argument;
    atomic_store(&heap->started, true);
    for (int i = 0; i < POLLS; i++)
        pollring_poll_free(heap->polls[i]);
    return NULL;
}

static void fill_heap(struct heap *heap, struct pollring *ring, int fd) {
    for (int i = 0; i < POLLS; i++)
        assert_int_equal(pollring_poll_add(ring, &heap->polls[i], fd, POLLIN, 0, NULL), 0);
    atomic_store(&heap->started, false);
}

TEST(polls_can_be_freed_while_the_owner_collects) {
    struct pollring *ring = open_ring();
    struct heap heaps[2];
    int fd = make_ready_eventfd(), number = rounds(30);
    for (int round = 0; round < number; round++) {
        pthread_t threads[2];
        for (int i = 0; i < 2; i++)
            fill_heap(&heaps[i], ring, fd);
        assert_int_equal(pollring_submit(ring), 0);
        for (int i = 0; i < 2; i++)
            threads[i] = start_thread(free_all, &heaps[i]);
        double end = now_ms() + GUARD_MS;
        for (int i = 0; pollring_active(ring) && now_ms() < end; i++) {
            pollring_wait(ring, (struct pollring_event[16]){{0}}, 16, &no_time);
            if (i % 16 == 15)
                look_again_soon();
        }
        for (int i = 0; i < 2; i++)
            join_thread(threads[i]);
        assert_int_equal(pollring_active(ring), 0);
        assert_silence(ring);
    }
}

TEST(polls_can_be_freed_while_the_owner_closes_the_ring) {
    int fd = make_ready_eventfd(), number = rounds(60);
    for (int round = 0; round < number; round++) {
        struct pollring *ring = open_ring();
        struct heap heap;
        fill_heap(&heap, ring, fd);
        assert_int_equal(pollring_submit(ring), 0);
        pthread_t thread = start_thread(free_all, &heap);
        if (round & 1)
            wait_until(&heap.started);
        close_ring(ring);
        join_thread(thread);
    }
}

/* ---- waking from other threads ---- */

TEST(a_wake_up_ends_the_sleep_of_the_owner) {
    skip_in_valgrind();
    struct pollring *ring = open_ring();
    struct owner owner;
    int number = rounds(50);
    add(ring, make_eventfd(), POLLIN);
    start_owner(&owner, ring);
    for (int i = 0; i < number; i++) {
        ask(&owner, SLEEP);
        if (i & 1)
            assert_true(wait_until_asleep(&owner.sleeper));
        assert_int_equal(pollring_wake(ring), 0);
        assert_int_equal(answer(&owner), 0);
    }
    end_owner(&owner);
}

struct waker {
    struct pollring *ring;
    atomic_int *told;
    int number;
};

static void *tell_and_wake(void *argument) {
    struct waker *waker = argument;
    for (int i = 0; i < waker->number; i++) {
        atomic_fetch_add(waker->told, 1);
        if (pollring_wake(waker->ring))
            return thread_result(-1);
    }
    return NULL;
}

/* Whoever is told before each wake-up sees the last of it: a wake-up that is lost makes this wait for ever. */
TEST(no_wake_up_is_lost_among_many) {
    skip_in_valgrind();
    struct pollring *ring = open_ring();
    struct ends pipe = make_pipe();
    atomic_int told = 0;
    struct waker waker = {ring, &told, rounds(2000)};
    arm(ring, pipe.near, POLLIN);
    pthread_t threads[] = {start_thread(tell_and_wake, &waker), start_thread(tell_and_wake, &waker)};
    double end = now_ms() + GUARD_MS;
    while (atomic_load(&told) < 2 * waker.number && now_ms() < end) {
        struct pollring_event event;
        assert_return_code(uninterrupted(pollring_wait(ring, &event, 1, &guard_time)), 0);
    }
    assert_true(now_ms() < end);
    for (int i = 0; i < 2; i++)
        assert_int_equal(join_thread(threads[i]), 0);
}

/* ---- forked children ---- */

static int exit_status_of(pid_t child) {
    int status;
    while (waitpid(child, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(every_call_in_a_forked_child_is_refused) {
    struct pollring *ring = open_ring();
    struct ends pair = make_socketpair();
    struct intruder intruder = make_intruder(ring, pair.near, -EOWNERDEAD);
    pid_t child = fork();
    if (child == 0)
        _exit(count_refusals(&intruder) + (pollring_wake(ring) != -EOWNERDEAD) + (pollring_adopt(ring) != -EOWNERDEAD) +
              pollring_orphaned(ring));
    assert_int_equal(exit_status_of(child), 0);
    assert_silence(ring);
    write_some(pair.far);
    assert_event(ring, intruder.poll, POLLIN);
    pollring_inbox_close(intruder.inbox);
}

TEST(a_call_that_is_refused_in_a_forked_child_takes_no_wake_up_from_the_host) {
    struct pollring *ring = open_ring();
    struct ends go = make_pipe();
    struct pollfd host = {.fd = pollring_fileno(ring), .events = POLLIN}, told = {.fd = go.near, .events = POLLIN};
    assert_silence(ring);
    pid_t child = fork();
    if (child == 0)
        _exit(poll(&told, 1, GUARD_MS) != 1 || pollring_submit(ring) != -EOWNERDEAD);
    add(ring, make_eventfd(), POLLIN); /* a request to be submitted */
    write_some(go.far);
    assert_int_equal(exit_status_of(child), 0);
    assert_int_equal(poll(&host, 1, 0), 1);
}

enum { FILES = 12 };

/* The ring, its waker, and two for a host. */
enum { FDS_OF_A_RING = 4 };

static int close_in_child(struct pollring *ring, struct pollring_inbox *inbox) {
    int fds = count_fds();
    pollring_poll_free(forget_poll(test.polls[0]));
    close_ring(ring);
    pollring_inbox_close(inbox);
    while (test.poll_count)
        free_poll(test.polls[0]);
    return count_fds() != fds - FDS_OF_A_RING;
}

TEST(closing_in_a_forked_child_leaves_the_polls_of_the_parent_alone) {
    struct ends pipes[FILES];
    struct pollring_poll *polls[FILES];
    for (int i = 0; i < FILES; i++)
        pipes[i] = make_pipe();
    struct pollring *ring = open_ring();
    struct pollring_inbox *inbox = pollring_inbox_open(ring);
    assert_return_code(pollring_fileno(ring), 0);
    for (int i = 0; i < FILES; i++)
        polls[i] = arm(ring, pipes[i].near, POLLIN);
    write_some(pipes[0].far); /* in flight while the child closes */
    pid_t child = fork();
    if (child == 0)
        _exit(close_in_child(ring, inbox));
    assert_int_equal(exit_status_of(child), 0);
    for (int i = 0; i < FILES; i++) {
        if (i)
            write_some(pipes[i].far);
        assert_next(polls[i], POLLIN);
    }
    assert_int_equal(pollring_active(ring), FILES);
    pollring_inbox_close(inbox);
}

static int close_inbox_first(struct pollring *ring, struct pollring_inbox *inbox) {
    pollring_inbox_close(inbox);
    close_ring(ring);
    while (test.poll_count)
        free_poll(test.polls[0]);
    return 0;
}

TEST(a_forked_child_can_close_in_any_order_with_events_queued) {
    struct pollring *ring = open_ring();
    struct pollring_inbox *inbox = pollring_inbox_open(ring);
    struct pollring_poll *queued[4];
    for (int i = 0; i < 4; i++)
        queued[i] = i % 2 ? add_to(inbox, make_ready_eventfd(), POLLIN) : add(ring, make_ready_eventfd(), POLLIN);
    assert_next_says(add(ring, make_eventfd(), POLLIN), &no_time, -ETIME);
    assert_int_equal(stats_of(ring).queued, 4);
    pid_t child = fork();
    if (child == 0)
        _exit(close_inbox_first(ring, inbox));
    assert_int_equal(exit_status_of(child), 0);
    for (int i = 0; i < 4; i++)
        assert_next(queued[i], POLLIN);
    pollring_inbox_close(inbox);
}

TEST(a_child_that_is_forked_while_the_owner_sleeps_takes_nothing_from_it) {
    skip_in_valgrind();
    struct pollring *ring = open_ring();
    struct ends pipe = make_pipe();
    struct owner owner;
    add(ring, pipe.near, POLLIN);
    start_owner(&owner, ring);
    ask(&owner, SLEEP);
    assert_true(wait_until_asleep(&owner.sleeper));
    pid_t child = fork();
    if (child == 0) {
        bool refused = pollring_submit(ring) == -EOWNERDEAD && pollring_adopt(ring) == -EOWNERDEAD;
        pollring_close(ring);
        _exit(!refused);
    }
    assert_int_equal(exit_status_of(child), 0);
    assert_true(wait_until_asleep(&owner.sleeper));
    write_some(pipe.far);
    assert_int_equal(answer(&owner), 1);
    end_owner(&owner);
}

static void *open_into(void *ring) {
    return thread_result(pollring_open(ring, &test.variant->options));
}

static void *ask_for_orphan(void *ring) {
    return thread_result(pollring_orphaned(ring));
}

static int own_what_a_thread_opened(void) {
    struct pollring *ring;
    if (in_thread(open_into, &ring) || pollring_submit(ring))
        return 1;
    int orphaned = in_thread(ask_for_orphan, ring);
    pollring_close(ring);
    return orphaned;
}

TEST(the_first_thread_of_a_forked_child_is_not_taken_for_its_parents) {
    open_ring();
    pid_t child = fork();
    if (child == 0)
        _exit(own_what_a_thread_opened());
    assert_int_equal(exit_status_of(child), 0);
}

static int use_ring_of_its_own(void) {
    struct pollring *ring = NULL;
    struct pollring_poll *poll = NULL;
    struct pollring_event event;
    int fd = eventfd(1, EFD_CLOEXEC), failed = pollring_open(&ring, &test.variant->options) != 0;
    failed = failed || pollring_poll_add(ring, &poll, fd, POLLIN, 0, NULL);
    failed = failed || await_event(ring, &event) != 1 || event.result != POLLIN || pollring_orphaned(ring);
    close_ring(test.rings[0]);
    failed = failed || pollring_poll_recheck(poll) || await_event(ring, &event) != 1;
    pollring_close(ring);
    pollring_poll_free(poll);
    return failed;
}

TEST(a_forked_child_can_have_a_ring_of_its_own) {
    struct pollring *ring = open_ring();
    struct ends pipe = make_pipe();
    struct pollring_poll *poll = arm(ring, pipe.near, POLLIN);
    pid_t child = fork();
    if (child == 0)
        _exit(use_ring_of_its_own());
    assert_int_equal(exit_status_of(child), 0);
    write_some(pipe.far);
    assert_event(ring, poll, POLLIN);
}

int main(void) {
    static const struct test tests[] = {
        RUN(every_call_from_a_wrong_thread_is_refused_and_touches_nothing),
        RUN(an_inbox_is_not_closed_by_a_wrong_thread),
        RUN(a_ring_can_be_filled_in_one_thread_and_run_in_another),
        RUN(the_owner_and_the_first_thread_can_always_adopt),
        RUN(an_adopted_ring_has_its_polls_armed_and_refuses_the_old_thread),
        RUN(an_adopted_ring_ends_polls_that_have_hung_up),
        RUN(an_adopted_ring_keeps_what_was_queued),
        RUN(a_ring_can_be_adopted_after_its_thread_has_ended),
        RUN(closing_the_ring_of_a_thread_that_has_ended_leaves_other_rings_alone),
        RUN(a_ring_is_not_adopted_while_its_owner_sleeps),
        RUN(the_fd_for_a_host_works_after_adopting),
        RUN(a_poll_that_another_thread_frees_lets_its_file_go_and_the_owner_sleep),
        RUN(a_poll_that_another_thread_freed_is_not_handed_out),
        RUN(polls_can_be_freed_while_the_owner_collects),
        RUN(polls_can_be_freed_while_the_owner_closes_the_ring),
        RUN(a_wake_up_ends_the_sleep_of_the_owner),
        RUN(no_wake_up_is_lost_among_many),
        RUN(every_call_in_a_forked_child_is_refused),
        RUN(a_call_that_is_refused_in_a_forked_child_takes_no_wake_up_from_the_host),
        RUN(closing_in_a_forked_child_leaves_the_polls_of_the_parent_alone),
        RUN(a_forked_child_can_close_in_any_order_with_events_queued),
        RUN(a_child_that_is_forked_while_the_owner_sleeps_takes_nothing_from_it),
        RUN(the_first_thread_of_a_forked_child_is_not_taken_for_its_parents),
        RUN(a_forked_child_can_have_a_ring_of_its_own),
    };
    return run_on_variants("thread", tests, COUNT_OF(tests));
}
