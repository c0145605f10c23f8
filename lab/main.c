/*
 * The kernel tests, a program that needs nothing but libc and liburing: it tries each rule on each set-up.
 *
 *   pollring-rules [--json] [PATTERN]     such as "*overflow*", against "setup: rule"; or in TEST_FILTER
 *
 * It writes TAP, or JSON as `pollring rules --json` does. Exit status 1 where a rule differs or no rule matches.
 */
#include "rules.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

static bool is_wanted(const struct trial *trial, const char *pattern) {
    char name[256];
    snprintf(name, sizeof(name), "%s: %s", trial->setup->name, trial->rule->name);
    return !pattern || fnmatch(pattern, name, 0) == 0;
}

static size_t count_wanted(const char *pattern) {
    struct trial trial;
    size_t count = 0;
    for (size_t i = 0; find_trial(i, &trial); i++)
        count += is_wanted(&trial, pattern);
    return count;
}

static void print_tap(size_t number, const struct trial *trial, const struct outcome *outcome) {
    printf("%sok %zu - %s: %s", outcome->verdict == DIFFERS ? "not " : "", number, trial->setup->name,
           trial->rule->name);
    printf(outcome->verdict == SKIPPED ? " # SKIP %s\n" : "\n", outcome->seen);
    if (outcome->verdict == DIFFERS)
        printf("# rule:     %s\n# expected: %s\n# seen:     %s\n", trial->rule->sentence, outcome->expected,
               outcome->seen);
}

int main(int count, char **arguments) {
    bool json = count > 1 && strcmp(arguments[1], "--json") == 0;
    const char *pattern = count > 1 + json ? arguments[1 + json] : getenv("TEST_FILTER");
    struct utsname kernel;
    struct trial trial;
    struct outcome outcome;
    size_t number = 0;
    bool differs = false;
    setvbuf(stdout, NULL, _IOLBF, 0);
    uname(&kernel);
    if (json)
        printf("{\"kernel\": \"%s\", \"rules\": [\n", kernel.release);
    else
        printf("# Linux %s\n1..%zu\n", kernel.release, count_wanted(pattern));
    for (size_t i = 0; find_trial(i, &trial); i++) {
        if (!is_wanted(&trial, pattern))
            continue;
        run_trial(&trial, &outcome);
        differs |= outcome.verdict == DIFFERS;
        if (json && number)
            puts(",");
        number++;
        if (json)
            print_json(stdout, &trial, &outcome);
        else
            print_tap(number, &trial, &outcome);
    }
    if (json)
        puts("\n]}");
    return differs || number == 0;
}
