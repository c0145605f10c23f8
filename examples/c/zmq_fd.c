/*
 * Answers ZeroMQ requests, by the socket's ZMQ_FD (needs libzmq3-dev):
 *
 *   zmq_fd [ENDPOINT]              tcp://127.0.0.1:* without one; Ctrl-C ends it
 *
 * ZMQ_FD is edge-triggered, as a multishot poll is. That it is readable means that something has happened in the
 * socket; ZMQ_EVENTS tells what. To ask for that, to send and to receive takes the edge away. So ask before the first
 * wait too, and after each event go on until ZMQ_EVENTS has no more.
 */
#include <pollring.h>

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

static void check(int result, const char *what) { /* of pollring's calls */
    if (result < 0) {
        fprintf(stderr, "%s: %s\n", what, strerror(-result));
        exit(1);
    }
}

static int check_zmq(int result, const char *what) {
    if (result < 0) {
        fprintf(stderr, "%s: %s\n", what, zmq_strerror(errno));
        exit(1);
    }
    return result;
}

static bool has_message(void *socket) {
    int events = 0;
    size_t size = sizeof events;
    check_zmq(zmq_getsockopt(socket, ZMQ_EVENTS, &events, &size), "ZMQ_EVENTS");
    return events & ZMQ_POLLIN;
}

static void answer_all(void *socket) {
    while (has_message(socket)) { /* asked again after each send */
        char text[1024];
        int size = check_zmq(zmq_recv(socket, text, sizeof text, ZMQ_DONTWAIT), "zmq_recv");
        size = size < (int)sizeof text ? size : (int)sizeof text; /* what is longer is cut */
        for (int i = 0; i < size; i++)
            text[i] = (char)toupper((unsigned char)text[i]);
        check_zmq(zmq_send(socket, text, (size_t)size, ZMQ_DONTWAIT), "zmq_send");
    }
}

int main(int count, char **arguments) {
    void *context = zmq_ctx_new(), *socket = zmq_socket(context, ZMQ_REP);
    char endpoint[256];
    int fd, result;
    size_t size = sizeof endpoint;
    struct pollring *ring;
    struct pollring_poll *poll;
    struct pollring_event event;
    check_zmq(zmq_bind(socket, count > 1 ? arguments[1] : "tcp://127.0.0.1:*"), "zmq_bind");
    check_zmq(zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, endpoint, &size), "ZMQ_LAST_ENDPOINT");
    printf("listening on %s\n", endpoint);
    fflush(stdout);

    size = sizeof fd;
    check_zmq(zmq_getsockopt(socket, ZMQ_FD, &fd, &size), "ZMQ_FD");
    check(pollring_open(&ring, NULL), "pollring_open");
    check(pollring_poll_add(ring, &poll, fd, POLLIN, 0, NULL), "pollring_poll_add");
    do
        answer_all(socket);
    while ((result = pollring_next(poll, &event, NULL)) == 1 || result == -EINTR);
    check(result, "pollring_next");
    return 0;
}
