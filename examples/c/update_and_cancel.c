/*
 * Changes what a poll asks for, cancels it, and arms it again:
 *
 *   update_and_cancel [BYTES]      4,000,000 without
 *
 * One end of a connection sends more than fits into it. It asks for POLLOUT only while it has something to send: a
 * socket that is asked for it all the time reports it whenever its peer reads. The other end reads; both are on one
 * ring.
 */
#define _GNU_SOURCE
#include <pollring.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int check(int result, const char *what) {
    if (result < 0) {
        fprintf(stderr, "%s: %s\n", what, strerror(result == -1 ? errno : -result));
        exit(1);
    }
    return result;
}

/* Sends what is left, as far as it goes: how much is left then. */
static long send_some(int fd, long left) {
    static char text[65536];
    ssize_t sent;
    while (left && (sent = send(fd, text, left < (long)sizeof text ? (size_t)left : sizeof text, MSG_NOSIGNAL)) > 0)
        left -= sent;
    return left;
}

static long receive_all(int fd) {
    static char text[65536];
    long received = 0;
    for (ssize_t size; (size = recv(fd, text, sizeof text, 0)) > 0;)
        received += size;
    return received;
}

int main(int count, char **arguments) {
    long size = count > 1 ? atol(arguments[1]) : 4000000, unsent = size, received = 0;
    int ends[2];
    struct pollring *ring;
    struct pollring_poll *sender, *reader;
    struct pollring_event event;
    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), "socketpair");
    check(pollring_open(&ring, NULL), "pollring_open");
    check(pollring_poll_add(ring, &sender, ends[0], POLLIN, 0, NULL), "pollring_poll_add");
    check(pollring_poll_add(ring, &reader, ends[1], POLLIN, 0, NULL), "pollring_poll_add");

    check(pollring_poll_update(sender, POLLIN | POLLOUT), "pollring_poll_update"); /* reported: it is ready now */
    while (received < size) {
        check(pollring_wait(ring, &event, 1, NULL), "pollring_wait");
        if (event.poll == reader) {
            received += receive_all(ends[1]);
        } else if (unsent && !(unsent = send_some(ends[0], unsent))) {
            check(pollring_poll_update(sender, POLLIN), "pollring_poll_update");
            puts("all is sent: asks for POLLIN alone");
        }
    }
    printf("%ld bytes received\n", received);

    check(pollring_poll_remove(sender), "pollring_poll_remove"); /* on return the kernel has let the file go */
    check((int)send(ends[1], "answer", 6, MSG_NOSIGNAL), "send");
    check(pollring_wait(ring, &event, 1, &(struct timespec){0}), "pollring_wait");
    printf("removed: its last event is %s\n", strerror(-event.result));
    check(pollring_poll_arm(sender), "pollring_poll_arm");
    check(pollring_wait(ring, &event, 1, NULL), "pollring_wait"); /* level-triggered again: what has come is reported */
    printf("armed again: %ld bytes to read\n", receive_all(ends[0]));

    pollring_poll_free(sender);
    pollring_poll_free(reader);
    pollring_close(ring);
    return 0;
}
