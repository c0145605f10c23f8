/*
 * Watches many sockets on one ring, and collects their events in batches:
 *
 *   many_fds [SOCKETS]             1000 without; each is one file descriptor
 *
 * Ten times a tenth of the sockets gets a datagram. A poll's owner comes back with its events, so nothing is looked up.
 */
#define _GNU_SOURCE
#include <pollring.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TURNS = 10, BATCH = 256 };

/* One of the many: a UDP socket, and how many datagrams came. */
struct feed {
    int fd;
    unsigned received;
    struct sockaddr_in address;
    struct pollring_poll *poll;
};

static int check(int result, const char *what) {
    if (result < 0) {
        fprintf(stderr, "%s: %s\n", what, strerror(result == -1 ? errno : -result));
        exit(1);
    }
    return result;
}

static void open_feed(struct pollring *ring, struct feed *feed) {
    socklen_t size = sizeof feed->address;
    feed->address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    feed->fd = check(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
    check(bind(feed->fd, (struct sockaddr *)&feed->address, size), "bind");
    check(getsockname(feed->fd, (struct sockaddr *)&feed->address, &size), "getsockname");
    check(pollring_poll_add(ring, &feed->poll, feed->fd, POLLIN, 0, feed), "pollring_poll_add");
}

/* How many datagrams came: one event stands for all of them. */
static unsigned receive_all(struct feed *feed) {
    char text[2048];
    unsigned before = feed->received;
    while (recv(feed->fd, text, sizeof text, 0) >= 0) /* until EAGAIN */
        feed->received++;
    return feed->received - before;
}

int main(int argument_count, char **arguments) {
    int count = argument_count > 1 ? atoi(arguments[1]) : 1000, batches = 0;
    struct rlimit files;
    struct pollring *ring;
    struct pollring_stats stats;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    struct feed *feeds = calloc((size_t)(count > 0 ? count : 0) + 1, sizeof *feeds);
    check(feeds ? 0 : -ENOMEM, "calloc");
    check(pollring_open(&ring, NULL), "pollring_open");
    for (int i = 0; i < count; i++)
        open_feed(ring, &feeds[i]); /* all go out with the first wait */

    int sender = check(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");
    for (int turn = 0; turn < TURNS; turn++) {
        int missing = 0;
        for (int i = turn; i < count; i += TURNS, missing++)
            check((int)sendto(sender, "news", 4, 0, (struct sockaddr *)&feeds[i].address, sizeof feeds[i].address),
                  "sendto");
        while (missing > 0) {
            struct pollring_event events[BATCH];
            int got = check(pollring_wait(ring, events, BATCH, &(struct timespec){.tv_sec = 1}), "pollring_wait");
            check(got ? 0 : -ETIME, "a datagram");
            for (int i = 0; i < got; i++)
                missing -= (int)receive_all(events[i].owner);
            batches++;
        }
    }
    pollring_stats(ring, &stats);
    printf("%llu events of %d sockets in %d batches, with %llu system calls\n", (unsigned long long)stats.events, count,
           batches, (unsigned long long)stats.enters);
    for (int i = 0; i < count; i++)
        pollring_poll_free(feeds[i].poll);
    pollring_close(ring);
    free(feeds);
    return 0;
}
