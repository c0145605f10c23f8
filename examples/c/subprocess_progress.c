/*
 * Runs a command and shows its progress in one line, which lives on while the command is silent:
 *
 *   subprocess_progress make -j4
 *   subprocess_progress            a command that says how far it is
 *
 * Its exit status is the command's.
 */
#define _GNU_SOURCE
#include <pollring.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char *demo[] = {"sh", "-c", "for i in 10 30 60 80 100; do echo copied $i%; sleep 0.3; done", NULL};

static int check(int result, const char *what) {
    if (result < 0) {
        fprintf(stderr, "%s: %s\n", what, strerror(result == -1 ? errno : -result));
        exit(1);
    }
    return result;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Its output, stdout and stderr. */
static int start(char **command, pid_t *child) {
    int ends[2];
    check(pipe2(ends, O_CLOEXEC), "pipe2");
    *child = check(fork(), "fork");
    if (!*child) {
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        execvp(command[0], command);
        perror(command[0]);
        _exit(127);
    }
    close(ends[1]);
    fcntl(ends[0], F_SETFL, O_NONBLOCK); /* the child's end stays as it is */
    return ends[0];
}

int main(int count, char **arguments) {
    double started = now();
    pid_t child;
    int output = start(count > 1 ? arguments + 1 : demo, &child), lines = 0, status, result;
    struct pollring *ring;
    struct pollring_poll *poll;
    struct pollring_event event;
    struct timespec tick = {.tv_nsec = 100000000};
    char text[4096], line[51] = "", last[51] = ""; /* the one that comes, and the last that is complete */
    size_t length = 0;
    ssize_t size;
    check(pollring_open(&ring, NULL), "pollring_open");
    check(pollring_poll_add(ring, &poll, output, POLLIN, 0, NULL), "pollring_poll_add");

    /* -ETIME, when only the clock goes on; 0 after the hangup */
    while ((result = pollring_next(poll, &event, &tick)) == 1 || result == -ETIME || result == -EINTR) {
        while ((size = read(output, text, sizeof text)) > 0) {
            for (char *byte = text; byte < text + size; byte++) {
                if (*byte == '\n') {
                    memcpy(last, line, sizeof last);
                    memset(line, 0, sizeof line);
                    length = 0;
                    lines++;
                } else if (length < sizeof line - 1) {
                    line[length++] = *byte;
                }
            }
        }
        printf("\r\033[K%5.1f s  %d lines: %s", now() - started, lines, last);
        fflush(stdout);
    }
    putchar('\n');
    check(result, "pollring_next");
    pollring_poll_free(poll);
    pollring_close(ring);
    check(waitpid(child, &status, 0), "waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
