/*
 * Several processes, or threads, accept connections, each with a ring of its own:
 *
 *   prefork_accept exclusive [--threads]   all on one socket; EPOLLEXCLUSIVE wakes one of them for each connection
 *   prefork_accept reuseport [--threads]   a socket for each; the kernel shares connections out by their addresses
 *
 * Each answers with its number. 200 connections are made here, and how many each worker got is printed.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <pollring.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORKERS = 4, CONNECTIONS = 200 };

struct worker {
    int listener;
    char number;
    bool exclusive;
    pid_t process;
    pthread_t thread;
};

static int check(int result, const char *what) {
    if (result < 0) {
        perror(what);
        exit(1);
    }
    return result;
}

static int listen_on(struct sockaddr_in *address, bool shared) {
    socklen_t length = sizeof *address;
    int one = 1, fd = check(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
    if (shared)
        check(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one), "SO_REUSEPORT");
    check(bind(fd, (struct sockaddr *)address, length), "bind");
    check(listen(fd, CONNECTIONS), "listen");
    check(getsockname(fd, (struct sockaddr *)address, &length), "getsockname");
    return fd;
}

/* The worker opens the ring: it belongs to one thread, and one that is inherited by a fork fails every call. */
static void *work(void *argument) {
    const struct worker *self = argument;
    struct pollring *ring;
    struct pollring_poll *poll;
    struct pollring_event event;
    int connection;
    if (pollring_open(&ring, NULL) ||
        pollring_poll_add(ring, &poll, self->listener, POLLIN | (self->exclusive ? EPOLLEXCLUSIVE : 0), 0, NULL))
        exit(1);
    while (pollring_next(poll, &event, NULL) == 1) {
        while ((connection = accept4(self->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) { /* until EAGAIN */
            if (write(connection, &self->number, 1) != 1)
                perror("write");
            close(connection);
        }
    }
    return NULL;
}

static void start(struct worker *self, bool threads) {
    if (threads) {
        check(-pthread_create(&self->thread, NULL, work, self), "pthread_create");
    } else if (!(self->process = check(fork(), "fork"))) {
        work(self);
        _exit(1);
    }
}

static char ask(const struct sockaddr_in *address) {
    char number = 0;
    int fd = check(socket(AF_INET, SOCK_STREAM, 0), "socket");
    check(connect(fd, (const struct sockaddr *)address, sizeof *address), "connect");
    check((int)read(fd, &number, 1), "read");
    close(fd);
    return number;
}

int main(int count, char **arguments) {
    bool exclusive = count < 2 || strcmp(arguments[1], "reuseport") != 0;
    bool threads = count > 2 && !strcmp(arguments[2], "--threads");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct worker workers[WORKERS] = {0};
    int got[WORKERS] = {0};
    for (int i = 0; i < WORKERS; i++) { /* all of them first: connections to one that nobody serves would wait */
        int listener = exclusive && i ? workers[0].listener : listen_on(&address, !exclusive);
        workers[i] = (struct worker){.listener = listener, .number = (char)i, .exclusive = exclusive};
    }
    for (int i = 0; i < WORKERS; i++)
        start(&workers[i], threads);
    for (int i = 0; i < CONNECTIONS; i++)
        got[(int)ask(&address)]++;
    for (int i = 0; i < WORKERS; i++) {
        printf("%s %d: %d connections\n", threads ? "thread" : "process", i, got[i]);
        if (!threads) {
            kill(workers[i].process, SIGTERM);
            waitpid(workers[i].process, NULL, 0);
        }
    }
    return 0; /* which ends the threads */
}
