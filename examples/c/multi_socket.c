/*
 * Downloads URLs at once, by libcurl's multi_socket interface on a ring (needs libcurl4-openssl-dev):
 *
 *   multi_socket URL...
 *
 * libcurl tells which sockets to watch for what, and when it wants to be called at the latest. It does not promise to
 * read until there is no more, so it needs level-triggered events: pollring_poll_recheck() asks for one if the socket
 * is still ready.
 */
#define _GNU_SOURCE
#include <pollring.h>

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct downloads {
    CURLM *multi;
    struct pollring *ring;
    double deadline; /* when libcurl wants to be called at the latest; 0: never */
};

static int check(int result, const char *what) {
    if (result < 0) {
        fprintf(stderr, "%s: %s\n", what, strerror(-result));
        exit(1);
    }
    return result;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int on_socket(CURL *transfer, curl_socket_t fd, int what, void *downloads, void *known) {
    static const uint32_t wanted[] = {
        [CURL_POLL_IN] = POLLIN, [CURL_POLL_OUT] = POLLOUT, [CURL_POLL_INOUT] = POLLIN | POLLOUT};
    struct downloads *self = downloads;
    struct pollring_poll *poll = known;
    (void)transfer;
    if (what == CURL_POLL_REMOVE) { /* before libcurl closes it */
        pollring_poll_free(poll);
    } else if (poll) {
        check(pollring_poll_update(poll, wanted[what]), "pollring_poll_update");
    } else { /* a hangup doesn't end it: there may be more to read than libcurl takes at once */
        check(pollring_poll_add(self->ring, &poll, fd, wanted[what], POLLRING_KEEP_HANGUP, NULL), "pollring_poll_add");
        curl_multi_assign(self->multi, fd, poll);
    }
    return 0;
}

static int on_timer(CURLM *multi, long milliseconds, void *downloads) {
    (void)multi;
    ((struct downloads *)downloads)->deadline = milliseconds < 0 ? 0 : now() + (double)milliseconds / 1000;
    return 0;
}

static int wait_for(struct downloads *self, struct pollring_event *events, unsigned most) {
    double left = self->deadline > now() ? self->deadline - now() : 0;
    struct timespec timeout = {.tv_sec = (time_t)left, .tv_nsec = (long)((left - (double)(time_t)left) * 1e9)};
    int got = pollring_wait(self->ring, events, most, self->deadline > 0 ? &timeout : NULL);
    return check(got == -EINTR ? 0 : got, "pollring_wait");
}

static int act(struct downloads *self, const struct pollring_event *event) {
    int fd = pollring_poll_fd(event->poll), running;
    check(pollring_poll_recheck(event->poll), "pollring_poll_recheck");
    curl_multi_socket_action(self->multi, fd,
                             (event->result & (POLLIN | POLLHUP) ? CURL_CSELECT_IN : 0) |
                                 (event->result & POLLOUT ? CURL_CSELECT_OUT : 0) |
                                 (event->result & POLLERR ? CURL_CSELECT_ERR : 0),
                             &running);
    return running;
}

static void run(struct downloads *self) {
    int running = 1;
    while (running) {
        struct pollring_event events[16];
        int got = wait_for(self, events, 16);
        if (self->deadline > 0 && now() >= self->deadline) {
            self->deadline = 0; /* it is for once */
            curl_multi_socket_action(self->multi, CURL_SOCKET_TIMEOUT, 0, &running);
        }
        for (int i = 0; i < got; i++)
            if (pollring_poll_active(events[i].poll)) /* not freed earlier in this batch */
                running = act(self, &events[i]);
    }
}

static size_t count_bytes(char *data, size_t size, size_t count, void *total) {
    (void)data;
    *(size_t *)total += size * count;
    return size * count;
}

int main(int count, char **urls) {
    struct downloads downloads = {.multi = curl_multi_init()};
    int failed = 0;
    check(pollring_open(&downloads.ring, NULL), "pollring_open");
    curl_multi_setopt(downloads.multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(downloads.multi, CURLMOPT_SOCKETDATA, &downloads);
    curl_multi_setopt(downloads.multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(downloads.multi, CURLMOPT_TIMERDATA, &downloads);
    size_t *bytes = calloc((size_t)count, sizeof *bytes);
    for (int i = 1; i < count; i++) {
        CURL *transfer = curl_easy_init();
        curl_easy_setopt(transfer, CURLOPT_URL, urls[i]);
        curl_easy_setopt(transfer, CURLOPT_WRITEFUNCTION, count_bytes);
        curl_easy_setopt(transfer, CURLOPT_WRITEDATA, &bytes[i]);
        curl_easy_setopt(transfer, CURLOPT_PRIVATE, &bytes[i]);
        curl_multi_add_handle(downloads.multi, transfer);
    }
    run(&downloads);

    CURLMsg *message;
    for (int left; (message = curl_multi_info_read(downloads.multi, &left));) {
        CURL *transfer = message->easy_handle;
        long code = 0;
        char *url;
        size_t *size;
        curl_easy_getinfo(transfer, CURLINFO_RESPONSE_CODE, &code);
        curl_easy_getinfo(transfer, CURLINFO_EFFECTIVE_URL, &url);
        curl_easy_getinfo(transfer, CURLINFO_PRIVATE, &size);
        if (message->data.result)
            fprintf(stderr, "failed: %s: %s\n", url, curl_easy_strerror(message->data.result));
        else
            printf("%ld %zu %s\n", code, *size, url);
        failed += message->data.result != CURLE_OK;
        curl_multi_remove_handle(downloads.multi, transfer);
        curl_easy_cleanup(transfer);
    }
    curl_multi_cleanup(downloads.multi); /* connections that were kept open: their polls are freed too */
    pollring_close(downloads.ring);
    free(bytes);
    return failed ? 1 : 0;
}
