/*
 * The kernel tests, a program that needs nothing but libc and liburing: it tries each rule on each set-up.
 *
 *   pollring-rules [--json] [PATTERN]     such as "*overflow*", against "setup: rule"; or in TEST_FILTER
 *
 * It writes TAP, or JSON as `pollring rules --json` does; with TEST_RULES=FILE TAP, and the JSON into that file. Exit
 * status 1 where a rule differs or no rule matches.
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

/* Where JSON goes, if it is wanted. */
static FILE *open_json(bool only) {
    const char *path = getenv("TEST_RULES");
    return only ? stdout : path ? fopen(path, "we") : NULL;
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
    bool only_json = count > 1 && strcmp(arguments[1], "--json") == 0;
    const char *pattern = count > 1 + only_json ? arguments[1 + only_json] : getenv("TEST_FILTER");
    FILE *json = open_json(only_json);
    struct utsname kernel;
    struct trial trial;
    struct outcome outcome;
    size_t number = 0;
    bool differs = false;
    setvbuf(stdout, NULL, _IOLBF, 0);
    uname(&kernel);
    if (json)
        fprintf(json, "{\"kernel\": \"%s\", \"rules\": [\n", kernel.release);
    if (!only_json)
        printf("# Linux %s\n1..%zu\n", kernel.release, count_wanted(pattern));
    for (size_t i = 0; find_trial(i, &trial); i++) {
        if (!is_wanted(&trial, pattern))
            continue;
        run_trial(&trial, &outcome);
        differs |= outcome.verdict == DIFFERS;
        if (json && number)
            fputs(",\n", json);
        number++;
        if (json)
            print_json(json, &trial, &outcome);
        if (!only_json)
            print_tap(number, &trial, &outcome);
    }
    if (json) {
        fputs("\n]}\n", json);
        fclose(json);
    }
    return differs || number == 0;
}
