/*
 * Sends every client back what it sends:
 *
 *   echo_server [PORT]             without one the kernel chooses; Ctrl-C ends it
 *   nc localhost PORT
 *
 * Each connection is polled once, for reading and writing at once: as events are edges, being able to write costs no
 * event until a write has said EAGAIN. Ctrl-C is a file on the ring too: the server ends where its loop does.
 */
#define _GNU_SOURCE
#include <pollring.h>

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

struct client {
    int fd;
    size_t begin, end; /* of what was read and not sent back yet */
    char text[16384];
};

static int check(int result, const char *what) {
    if (result < 0) {
        fprintf(stderr, "%s: %s\n", what, strerror(result == -1 ? errno : -result));
        exit(1);
    }
    return result;
}

static int listen_on(uint16_t port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    int one = 1, listener = check(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
    check(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one), "SO_REUSEADDR");
    check(bind(listener, (struct sockaddr *)&address, size), "bind");
    check(listen(listener, SOMAXCONN), "listen");
    check(getsockname(listener, (struct sockaddr *)&address, &size), "getsockname");
    printf("listening on port %d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

static int catch_interrupt(void) {
    sigset_t interrupt;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    sigprocmask(SIG_BLOCK, &interrupt, NULL);
    return check(signalfd(-1, &interrupt, SFD_NONBLOCK | SFD_CLOEXEC), "signalfd");
}

static void accept_all(struct pollring *ring, int listener) {
    struct pollring_poll *poll;
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) { /* until EAGAIN */
        struct client *client = calloc(1, sizeof *client);
        check(client ? 0 : -ENOMEM, "calloc");
        client->fd = fd;
        check(pollring_poll_add(ring, &poll, fd, POLLIN | POLLOUT, 0, client), "pollring_poll_add");
    }
}

/* Sends and reads until one of them says EAGAIN. Whether the connection lives on. */
static bool echo(struct client *client) {
    for (;;) {
        while (client->begin < client->end) {
            ssize_t sent = send(client->fd, client->text + client->begin, client->end - client->begin, MSG_NOSIGNAL);
            if (sent < 0)
                return errno == EAGAIN;
            client->begin += (size_t)sent;
        }
        ssize_t size = read(client->fd, client->text, sizeof client->text);
        if (size <= 0)
            return size < 0 && errno == EAGAIN;
        client->begin = 0;
        client->end = (size_t)size;
    }
}

int main(int count, char **arguments) {
    int listener = listen_on((uint16_t)(count > 1 ? atoi(arguments[1]) : 0)), interrupt = catch_interrupt();
    struct pollring *ring;
    struct pollring_poll *polls[2];
    check(pollring_open(&ring, NULL), "pollring_open");
    check(pollring_poll_add(ring, &polls[0], listener, POLLIN, 0, &listener), "pollring_poll_add");
    check(pollring_poll_add(ring, &polls[1], interrupt, POLLIN, 0, &interrupt), "pollring_poll_add");

    for (bool running = true; running;) {
        struct pollring_event event;
        int error = pollring_collect(ring, NULL);
        check(error == -EINTR ? 0 : error, "pollring_collect");
        while (pollring_take(ring, NULL, &event) == 1) { /* one by one: none of a client that was freed meanwhile */
            if (event.owner == &interrupt) {
                running = false;
            } else if (event.owner == &listener) {
                accept_all(ring, listener);
            } else if (!echo(event.owner) || !event.more) {
                struct client *client = event.owner;
                pollring_poll_free(event.poll); /* before close(): an armed poll holds the connection open */
                close(client->fd);
                free(client);
                pollring_poll_recheck(polls[0]); /* where accept4() said EMFILE, others wait for this file descriptor */
            }
        }
    }
    pollring_poll_free(polls[0]);
    pollring_poll_free(polls[1]);
    pollring_close(ring); /* connections end with the process */
    return 128 + SIGINT;
}
