/*
 * Reads a FIFO whose writers come and go, with one poll for all of them:
 *
 *   mkfifo fifo
 *   hangup fifo [WRITERS]          ends after so many have gone, or with Ctrl-C
 *   echo hello > fifo              in other shells, again and again
 *
 * A hangup ends a poll; POLLRING_KEEP_HANGUP keeps this one for the next writer. (To arm it again at each hangup would
 * spin: until somebody writes, the FIFO is still hung up, and a poll is level-triggered when it is armed.)
 */
#define _GNU_SOURCE
#include <pollring.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int check(int result, const char *what) {
    if (result < 0) {
        fprintf(stderr, "hangup: %s: %s\n", what, strerror(result == -1 ? errno : -result));
        exit(1);
    }
    return result;
}

int main(int count, char **arguments) {
    struct pollring *ring;
    struct pollring_poll *poll;
    struct pollring_event event;
    char text[4096];
    ssize_t size;
    int gone = 0, result;

    if (count < 2) {
        fputs("usage: hangup FIFO [WRITERS]\n", stderr);
        return 2;
    }
    /* O_NONBLOCK: else open() waits for a writer. */
    int fifo = check(open(arguments[1], O_RDONLY | O_NONBLOCK | O_CLOEXEC), arguments[1]);
    check(pollring_open(&ring, NULL), "pollring_open");
    check(pollring_poll_add(ring, &poll, fifo, POLLIN, POLLRING_KEEP_HANGUP, NULL), "pollring_poll_add");
    while ((result = pollring_next(poll, &event, NULL)) == 1 || result == -EINTR) {
        if (result == -EINTR)
            continue;
        check(event.result, arguments[1]);
        while ((size = read(fifo, text, sizeof text)) > 0) /* what was written before the hangup is still there */
            fwrite(text, 1, (size_t)size, stdout);
        if (event.result & POLLHUP) {
            puts("-- the last writer has gone");
            if (++gone == (count > 2 ? atoi(arguments[2]) : 0))
                break;
        }
        fflush(stdout);
    }
    check(result, "pollring_next");
    pollring_poll_free(poll);
    pollring_close(ring);
    close(fifo);
    return 0;
}
