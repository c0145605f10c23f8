/*
 * Runs PostgreSQL queries at once, a connection for each, by libpq's asynchronous interface (needs libpq-dev):
 *
 *   async_query CONNINFO QUERY...          async_query "host=/var/run/postgresql dbname=postgres" "select 6 * 7"
 *
 * While it connects libpq waits for one thing at a time, and not always for the same socket. A one-shot poll, which is
 * level-triggered, is what it needs: armed for each step anew.
 */
#include <pollring.h>

#include <errno.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct query {
    const char *text;
    PGconn *connection;
    bool connected;
    struct pollring_poll *poll;
};

static int check(int result, const char *what) {
    if (result < 0) {
        fprintf(stderr, "%s: %s\n", what, strerror(-result));
        exit(1);
    }
    return result;
}

static void check_query(const struct query *query, bool done) {
    if (!done) {
        fputs(PQerrorMessage(query->connection), stderr); /* with a line's end */
        exit(1);
    }
}

static void wait_for(struct pollring *ring, struct query *query, uint32_t events) {
    pollring_poll_free(query->poll); /* NULL: nothing */
    check(pollring_poll_add(ring, &query->poll, PQsocket(query->connection), events, POLLRING_ONESHOT, query),
          "pollring_poll_add");
}

static void print_results(const struct query *query) {
    for (PGresult *result; (result = PQgetResult(query->connection)); PQclear(result)) {
        ExecStatusType status = PQresultStatus(result);
        check_query(query, status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK);
        for (int row = 0; row < PQntuples(result); row++) {
            printf("%s: ", query->text);
            for (int column = 0; column < PQnfields(result); column++)
                printf("%s%s", column ? ", " : "", PQgetvalue(result, row, column));
            putchar('\n');
        }
    }
    fflush(stdout);
}

/* One step. Whether there are more. */
static bool advance(struct pollring *ring, struct query *query) {
    if (!query->connected) {
        PostgresPollingStatusType status = PQconnectPoll(query->connection);
        check_query(query, status != PGRES_POLLING_FAILED);
        if (status != PGRES_POLLING_OK) {
            wait_for(ring, query, status == PGRES_POLLING_READING ? POLLIN : POLLOUT);
            return true;
        }
        query->connected = true;
        check_query(query, PQsetnonblocking(query->connection, 1) == 0 && PQsendQuery(query->connection, query->text));
    } else {
        check_query(query, PQconsumeInput(query->connection));
    }
    int unsent = PQflush(query->connection);
    check_query(query, unsent >= 0);
    if (unsent || PQisBusy(query->connection)) {
        wait_for(ring, query, unsent ? POLLIN | POLLOUT : POLLIN);
        return true;
    }
    print_results(query);
    return false;
}

int main(int count, char **arguments) {
    struct pollring *ring;
    struct pollring_event event;
    if (count < 3) {
        fputs("usage: async_query CONNINFO QUERY...\n", stderr);
        return 2;
    }
    int running = count - 2;
    struct query *queries = calloc((size_t)running, sizeof *queries);
    check(queries ? 0 : -ENOMEM, "calloc");
    check(pollring_open(&ring, NULL), "pollring_open");
    for (int i = 0; i < count - 2; i++) {
        queries[i] = (struct query){.text = arguments[i + 2], .connection = PQconnectStart(arguments[1])};
        check_query(&queries[i], PQstatus(queries[i].connection) != CONNECTION_BAD);
        wait_for(ring, &queries[i], POLLOUT); /* as libpq wants it before the first PQconnectPoll() */
    }
    while (running > 0) {
        int got = pollring_wait(ring, &event, 1, NULL);
        if (got == 1 && !advance(ring, event.owner))
            running--;
        check(got == -EINTR ? 0 : got, "pollring_wait");
    }
    for (int i = 0; i < count - 2; i++) {
        pollring_poll_free(queries[i].poll); /* before libpq closes the socket */
        PQfinish(queries[i].connection);
    }
    pollring_close(ring);
    free(queries);
    return 0;
}
