/*
 * What the rules share: rings, files to watch, requests, completions as plain values and expectations of them, threads
 * and children. A rule has a process of its own, whose end gives back every ring and fd.
 *
 * Work that is pending in the calling thread is collected without sleeping, so silence is seen at once. Where another
 * thread or the network is at work, rules wait for the thing itself and GUARD_MS only ends what would hang.
 */
#ifndef LAB_KERNEL_H
#define LAB_KERNEL_H

#include "expect.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define GUARD_MS 5000
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* ---- rings ---- */

extern const struct setup setups[SETUPS];
extern const struct setup *setup; /* the one of this trial */

bool defers(void);

/* 0 or -errno. For threads and children too. */
int open_ring_with(struct io_uring *ring, unsigned flags, unsigned sq_entries, unsigned cq_entries);

/* Rings of the set-up, for the whole trial. */
struct io_uring *open_ring(void);
struct io_uring *open_sized_ring(unsigned sq_entries, unsigned cq_entries);
struct io_uring *open_flagged_ring(unsigned more_flags, unsigned sq_entries, unsigned cq_entries);

/* ---- files to watch ---- */

void close_fd(int fd);
void make_pipe(int ends[2]);
void make_socketpair(int ends[2]);
int make_eventfd(void);
int make_ready_eventfd(void);
struct sockaddr_in bind_loopback(int fd);
void make_tcp_pair(int ends[2]);

/* Eight bytes, so that they serve eventfds too. */
void write_some(int fd);
void read_some(int fd);
void clear_eventfd(int fd);

/* What poll(2) says within a time; it waits again when a ring's work interrupts it. */
short state_of(int fd, short mask, int timeout_ms);
bool reads_eof(int fd);

/* ---- requests ---- */

/* Their user_data in most rules. */
enum { POLL = 1, OTHER_POLL, REMOVE, UPDATE, NOP, MESSAGE, FIRST_FILE };

/* A NOP. Preparing it as something else clears the user_data, which has to be set again. */
struct io_uring_sqe *next_sqe(struct io_uring *ring, uint64_t user_data);
void submit_one(struct io_uring *ring);
struct io_uring_sqe *queue_multishot(struct io_uring *ring, int fd, unsigned mask, uint64_t user_data);
void arm_multishot(struct io_uring *ring, int fd, unsigned mask, uint64_t user_data);
void arm_one_shot(struct io_uring *ring, int fd, unsigned mask, uint64_t user_data);
void submit_nop(struct io_uring *ring);
void submit_remove(struct io_uring *ring, uint64_t target);
void submit_cancel(struct io_uring *ring, uint64_t target, int flags);

/* ---- completions ---- */

struct completion {
    uint64_t user_data;
    int res;
    bool more;
};

unsigned queue_flags(struct io_uring *ring);

/* It runs no pending work: what is in the queue now. */
unsigned take(struct io_uring *ring, struct completion *taken, unsigned size);

/* Runs the work that is pending until an enter brings nothing, and never sleeps. */
unsigned collect(struct io_uring *ring, struct completion *collected, unsigned size);

/* Waits for one completion; 0 or -errno. For threads and children too. */
int await_completion(struct io_uring *ring, struct completion *completion);

/* The next completion is this one: of a poll that goes on, or the last. */
void expect_event(struct io_uring *ring, uint64_t user_data, unsigned mask);
void expect_end(struct io_uring *ring, uint64_t user_data, int res);
void expect_silence(struct io_uring *ring);

/* Several completions until all bits of the mask were seen, every one of the poll, which goes on. */
void expect_reports(struct io_uring *ring, unsigned mask);

/* The next two completions, in any order. */
void expect_both(struct io_uring *ring, struct completion one, struct completion other);

/* The two last completions of a poll that was removed, or cancelled. */
void expect_removed(struct io_uring *ring);

/* One that was taken before. */
void expect_completion(struct completion expected, struct completion seen);

/* For a rule about the polls that a full queue ended. The first kernels with multishot polls let them go on. */
void require_overflow_to_end_polls(void);

/* ---- threads and children: they return a number, which the rule expects ---- */

/* For a rule whose owner waits in the ring until another thread does something. */
void require_threads_during_an_enter(void);

pthread_t start_thread(void *(*function)(void *), void *argument);
int join_thread(pthread_t thread);
int in_thread(void *(*function)(void *), void *argument);

/* Whether the thread is blocked, which its own flag says it is about to be. */
bool wait_until_asleep(pid_t tid, atomic_bool *about_to_sleep);

/* A number from 0 to 255, or -1 when the child was killed. */
int in_child(int (*function)(void *), void *argument);

#endif
