/*
 * One ring watches everything at once, each file with one multishot request: a child's output, the child's end, a TCP
 * connection, a file that grows, and a timer. It prints a line an event, and at the end what that took.
 */
#define _GNU_SOURCE
#include <pollring.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FILES = 5 };

static const double SECONDS = 5;

/* Ends the program where a call has failed; else gives its result. */
static int check(int result, const char *what) {
    if (result < 0) {
        perror(what);
        exit(1);
    }
    return result;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Reads until there is no more: an event says that there was something, not how much. */
static void drain(int fd) {
    char buffer[65536];
    while (read(fd, buffer, sizeof buffer) > 0)
        ;
}

/* ---- what there is to watch ---- */

static int start_child(pid_t *child) {
    int ends[2];
    check(pipe2(ends, O_CLOEXEC), "pipe2");
    *child = check(fork(), "fork");
    if (!*child) {
        dup2(ends[1], STDOUT_FILENO);
        execlp("sh", "sh", "-c", "for i in 1 2 3 4 5 6 7 8; do echo line $i; sleep 0.5; done", NULL);
        _exit(127);
    }
    close(ends[1]);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    return ends[0];
}

struct traffic {
    int peer, file;
};

/* Messages on the connection, lines in the file; then it hangs up. */
static void *talk(void *argument) {
    struct traffic *traffic = argument;
    for (int i = 0; i < 12; i++) {
        usleep(300000);
        check((int)write(traffic->peer, "hello", 5), "write");
        if (i % 3 == 0)
            check((int)write(traffic->file, "a line\n", 7), "write");
    }
    close(traffic->peer);
    return NULL;
}

static int connect_to_self(int *peer) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int server = check(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    check(bind(server, (struct sockaddr *)&address, size), "bind");
    check(listen(server, 1), "listen");
    check(getsockname(server, (struct sockaddr *)&address, &size), "getsockname");
    *peer = check(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    check(connect(*peer, (struct sockaddr *)&address, size), "connect");
    int connection = check(accept4(server, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), "accept4");
    close(server);
    return connection;
}

static int watch_file(int *file) {
    char path[] = "/tmp/watch_everything.XXXXXX";
    *file = check(mkstemp(path), "mkstemp");
    int inotify = check(inotify_init1(IN_NONBLOCK | IN_CLOEXEC), "inotify_init1");
    check(inotify_add_watch(inotify, path, IN_MODIFY), "inotify_add_watch");
    unlink(path);
    return inotify;
}

static int start_timer(void) {
    struct itimerspec each_second = {.it_interval.tv_sec = 1, .it_value.tv_sec = 1};
    int timer = check(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC), "timerfd_create");
    check(timerfd_settime(timer, 0, &each_second, NULL), "timerfd_settime");
    return timer;
}

/* ---- the watching ---- */

static void show(const struct pollring_event *event, double started) {
    char names[64];
    pollring_strevents(event->result, names, sizeof names);
    printf("%7.3fs  %-10s %-24s more=%s\n", now() - started, (const char *)event->owner, names,
           event->more ? "True" : "False");
    fflush(stdout);
}

static void handle(const struct pollring_event *event, pid_t child, double started) {
    show(event, started);
    if (!strcmp(event->owner, "child end")) {
        waitpid(child, NULL, WNOHANG);
        pollring_poll_remove(event->poll);
    } else {
        drain(pollring_poll_fd(event->poll));
    }
}

static void watch(struct pollring *ring, pid_t child) {
    double started = now(), left;
    unsigned count = 0, batches = 0;
    while ((left = started + SECONDS - now()) > 0) {
        struct timespec timeout = {.tv_sec = (time_t)left, .tv_nsec = (long)((left - (double)(time_t)left) * 1e9)};
        struct pollring_event events[16];
        int got = check(pollring_wait(ring, events, 16, &timeout), "pollring_wait");
        for (int i = 0; i < got; i++)
            handle(&events[i], child, started);
        count += (unsigned)got;
        batches += got > 0;
    }
    struct pollring_stats stats;
    pollring_stats(ring, &stats);
    /* Level or edge, epoll makes a system call to add each file, one to take it out again, and one a batch. */
    printf(
        "\n%u events in %u batches, from %d requests, each armed once\n"
        "pollring: %llu system calls, the arming among them\n"
        "epoll:    %d to add, %u to wait, %d to remove: %u\n"
        "one-shot polls would have been armed %u times more\n",
        count, batches, FILES, (unsigned long long)stats.enters, FILES, batches + 1, FILES, 2 * FILES + batches + 1,
        count);
}

int main(void) {
    static char *const names[FILES] = {"child", "child end", "tcp", "file", "timer"};
    struct pollring_poll *polls[FILES];
    struct traffic traffic;
    struct pollring *ring;
    pthread_t talker;
    pid_t child;

    int output = start_child(&child);
    int end = check((int)syscall(SYS_pidfd_open, child, 0), "pidfd_open");
    int files[FILES] = {output, end, connect_to_self(&traffic.peer), watch_file(&traffic.file), start_timer()};

    int error = pollring_open(&ring, NULL);
    if (error) {
        fprintf(stderr, "pollring_open: %s\n", strerror(-error));
        return 1;
    }
    for (int i = 0; i < FILES; i++)
        check(pollring_poll_add(ring, &polls[i], files[i], POLLIN, 0, names[i]), "pollring_poll_add");
    pthread_create(&talker, NULL, talk, &traffic);
    watch(ring, child);
    pthread_join(talker, NULL);

    for (int i = 0; i < FILES; i++)
        pollring_poll_free(polls[i]);
    pollring_close(ring);
    return 0;
}
