/* Keeps what was expected and what was seen, and ends the rule where they differ. */
#include "expect.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

struct outcome *current_outcome;

const char *text(const char *format, ...) {
    static char buffers[32][256];
    static unsigned used;
    char *buffer = buffers[used++ % 32];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(buffer, sizeof(buffers[0]), format, arguments);
    va_end(arguments);
    return buffer;
}

#define NAMED(number)                                                                                                  \
    { number, #number }

struct named {
    int number;
    const char *name;
};

const char *result_text(long result) {
    static const struct named errors[] = {
        NAMED(EACCES),    NAMED(EAGAIN), NAMED(EALREADY), NAMED(EBADF),  NAMED(EBUSY),
        NAMED(ECANCELED), NAMED(EEXIST), NAMED(EINTR),    NAMED(EINVAL), NAMED(EMFILE),
        NAMED(ENOENT),    NAMED(ENOMEM), NAMED(ENOSYS),   NAMED(EPERM),  NAMED(ETIME),
    };
    if (result >= 0)
        return text("%ld", result);
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
        if (errors[i].number == -result)
            return errors[i].name;
    return strerror((int)-result);
}

const char *mask_text(unsigned mask) {
    static const struct named bits[] = {NAMED(POLLIN),  NAMED(POLLPRI),  NAMED(POLLOUT),  NAMED(POLLERR),
                                        NAMED(POLLHUP), NAMED(POLLNVAL), NAMED(POLLRDHUP)};
    const char *names = "";
    if (!mask)
        return "nothing";
    for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
        if (mask & (unsigned)bits[i].number)
            names = text("%s%s%s", names, *names ? "|" : "", bits[i].name);
        mask &= ~(unsigned)bits[i].number;
    }
    return *names && !mask ? names : text("%s%s0x%x", names, *names ? "|" : "", mask);
}

/* ---- the record ---- */

/* One side of it. Equal steps in a row are one, with their number. */
struct record {
    char last[256];
    size_t last_at;
};

static void append(char *kept, size_t size, struct record *record, const char *step, unsigned times) {
    kept[record->last_at] = '\0';
    const char *item = times > 1 ? text("%u times %s", times, step) : step;
    if (record->last_at + strlen(item) + 6 > size) {
        strcpy(kept, "...");
        record->last_at = 3;
    }
    snprintf(kept + record->last_at, size - record->last_at, "%s%s", record->last_at ? "; " : "", item);
}

static bool repeats(const struct record *record, const char *step) {
    return strncmp(record->last, step, sizeof(record->last) - 1) == 0;
}

static void begin_step(const char *kept, struct record *record, const char *step) {
    record->last_at = strlen(kept);
    snprintf(record->last, sizeof(record->last), "%s", step);
}

static void record_step(const char *expected, const char *seen) {
    static struct record expectation, sight;
    static unsigned times;
    struct outcome *outcome = current_outcome;
    if (times && repeats(&expectation, expected) && repeats(&sight, seen)) {
        times++;
    } else {
        times = 1;
        begin_step(outcome->expected, &expectation, expected);
        begin_step(outcome->seen, &sight, seen);
    }
    if (*expected)
        append(outcome->expected, sizeof(outcome->expected), &expectation, expected, times);
    append(outcome->seen, sizeof(outcome->seen), &sight, seen, times);
}

void expect_text(bool holds, const char *expected, const char *seen) {
    record_step(expected, seen);
    if (holds)
        return;
    current_outcome->verdict = DIFFERS;
    _exit(0);
}

void step(const char *what) {
    record_step(what, what);
}

void observe(const char *seen) {
    record_step("", seen);
}

void skip_because(const char *reason) {
    *current_outcome->expected = '\0';
    snprintf(current_outcome->seen, sizeof(current_outcome->seen), "%s", reason);
    current_outcome->verdict = SKIPPED;
    _exit(0);
}

/* ---- the kinds of expectations ---- */

void expect(bool holds, const char *sentence) {
    expect_text(holds, sentence, holds ? sentence : text("not so: %s", sentence));
}

void expect_number(const char *what, long long expected, long long seen) {
    expect_text(expected == seen, text("%s: %lld", what, expected), text("%s: %lld", what, seen));
}

void expect_whether(const char *what, bool expected, bool seen) {
    expect_text(expected == seen, text("%s: %s", what, expected ? "yes" : "no"),
                text("%s: %s", what, seen ? "yes" : "no"));
}

void expect_between(const char *what, long long least, long long most, long long seen) {
    expect_text(least <= seen && seen <= most, text("%s: %lld to %lld", what, least, most),
                text("%s: %lld", what, seen));
}

void expect_result(const char *what, long expected, long seen) {
    expect_text(expected == seen, text("%s: %s", what, result_text(expected)), text("%s: %s", what, result_text(seen)));
}

/* By a limit, or a policy. EINVAL is neither: the kernel doesn't know what it was asked for. */
static bool is_refused(long result) {
    static const int errors[] = {ENOMEM, EMFILE, ENFILE, EPERM, EACCES, ENOSYS};
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
        if (result == -errors[i])
            return true;
    return false;
}

void expect_allowed(const char *what, long expected, long seen) {
    if (seen != expected && is_refused(seen))
        skip_because(text("%s: %s", what, result_text(seen)));
    expect_result(what, expected, seen);
}

void expect_mask(const char *what, unsigned expected, unsigned seen) {
    expect_text(expected == seen, text("%s: %s", what, mask_text(expected)), text("%s: %s", what, mask_text(seen)));
}

int needed(int result, const char *call) {
    if (result < 0 && is_refused(-errno))
        skip_because(text("%s: %s", call, strerror(errno)));
    if (result < 0)
        expect_text(false, call, text("%s: %s", call, strerror(errno)));
    return result;
}

void ensured(bool holds, const char *condition) {
    if (!holds)
        expect_text(false, condition, text("not so: %s (%s)", condition, strerror(errno)));
}
