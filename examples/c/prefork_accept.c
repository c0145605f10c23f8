/*
 * Several processes accept connections, each with a ring of its own:
 *
 *   prefork_accept exclusive     all on one socket; EPOLLEXCLUSIVE wakes one of them for each connection
 *   prefork_accept reuseport     a socket for each; the kernel shares connections out by their addresses
 *
 * Each answers with its number. 200 connections are made here, and how many each process got is printed.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <pollring.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORKERS = 4, CONNECTIONS = 200 };

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

/* The ring is opened after the fork: one that is inherited fails every call. */
static void work(int listener, char number, bool exclusive) {
    struct pollring *ring;
    struct pollring_poll *poll;
    struct pollring_event event;
    int connection;
    if (pollring_open(&ring, NULL) ||
        pollring_poll_add(ring, &poll, listener, POLLIN | (exclusive ? EPOLLEXCLUSIVE : 0), 0, NULL))
        exit(1);
    while (pollring_next(poll, &event, NULL) == 1) {
        while ((connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) { /* until EAGAIN */
            if (write(connection, &number, 1) != 1)
                perror("write");
            close(connection);
        }
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
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int listeners[WORKERS], got[WORKERS] = {0};
    pid_t children[WORKERS];
    for (int i = 0; i < WORKERS; i++) /* all of them first: connections to one that nobody serves would wait */
        listeners[i] = exclusive && i ? listeners[0] : listen_on(&address, !exclusive);
    for (int i = 0; i < WORKERS; i++) {
        children[i] = check(fork(), "fork");
        if (!children[i])
            work(listeners[i], (char)i, exclusive);
    }
    for (int i = 0; i < CONNECTIONS; i++)
        got[(int)ask(&address)]++;
    for (int i = 0; i < WORKERS; i++) {
        printf("process %d: %d connections\n", i, got[i]);
        kill(children[i], SIGTERM);
        waitpid(children[i], NULL, 0);
    }
}
