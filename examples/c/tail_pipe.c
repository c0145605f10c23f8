/*
 * Prints what comes down a pipe, as it comes, with the seconds since the start before each line:
 *
 *   ping -c 5 localhost | tail_pipe
 *
 * One poll for as long as the pipe lives: pollring_next() says 0 when the last writer has gone.
 */
#define _GNU_SOURCE
#include <pollring.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void print(const char *text, ssize_t size, double seconds) {
    static char before = '\n';
    for (; size > 0; size--, before = *text++) {
        if (before == '\n')
            printf("%8.3f  ", seconds);
        putchar(*text);
    }
    fflush(stdout);
}

int main(void) {
    double started = now();
    struct pollring *ring;
    struct pollring_poll *poll;
    struct pollring_event event;
    char text[65536];
    ssize_t size;

    if (isatty(STDIN_FILENO)) { /* it would stop to block for the shell too */
        fputs("usage: COMMAND | tail_pipe\n", stderr);
        return 2;
    }
    fcntl(STDIN_FILENO, F_SETFL, fcntl(STDIN_FILENO, F_GETFL) | O_NONBLOCK);
    int result = pollring_open(&ring, NULL);
    if (!result)
        result = pollring_poll_add(ring, &poll, STDIN_FILENO, POLLIN, 0, NULL);
    if (result) {
        fprintf(stderr, "tail_pipe: %s\n", strerror(-result));
        return 1;
    }
    while ((result = pollring_next(poll, &event, NULL)) == 1 || result == -EINTR)
        while ((size = read(STDIN_FILENO, text, sizeof text)) > 0) /* until there is no more, or the end */
            print(text, size, now() - started);
    pollring_poll_free(poll);
    pollring_close(ring);
    return result ? 1 : 0;
}
