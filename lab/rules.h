/*
 * The kernel's rules: each a sentence about multishot poll and the rings around it, and a function that tries it on the
 * running kernel. One table, run by the kernel tests (main.c) and by `pollring rules` (python.c).
 *
 * The rules use liburing alone and know nothing of pollring: when one differs, it is the kernel that does.
 */
#ifndef LAB_RULES_H
#define LAB_RULES_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct setup {
    const char *name;
    unsigned flags;
};

enum { DEFER, COOP, PLAIN, SETUPS };

struct rule {
    const char *name;     /* its function's */
    const char *sentence; /* the rule in words */
    const char *source;   /* KERNEL, or what the commit says */
    void (*run)(void);
    unsigned setups; /* a bit for each that it holds on: EACH_SETUP, ON_DEFER, ... */
};

/* Where a rule is from: seen on kernels, or the commit that brought multishot poll, its message or (in brackets) code.
 */
#define KERNEL "kernel"
#define COMMIT(words) "commit: " words

#define EACH_SETUP (1u << DEFER | 1u << COOP | 1u << PLAIN)
#define ON_DEFER (1u << DEFER)
#define ON_PLAIN (1u << PLAIN)
#define UNLESS_DEFER (1u << COOP | 1u << PLAIN)

#define RULE(function, setups, source, sentence)                                                                       \
    { #function, sentence, source, function, setups }

/* The groups. Each ends with a rule that has no name. */
extern const struct rule request_rules[], file_rules[], queue_rules[], wakeup_rules[], thread_rules[];

/* ---- running them ---- */

/* One rule on one set-up. */
struct trial {
    const char *group;
    const struct rule *rule;
    const struct setup *setup;
};

/* The trial of this number. False past the last. */
bool find_trial(size_t number, struct trial *trial);

enum verdict { DIFFERS, OK, SKIPPED };

struct outcome {
    enum verdict verdict;
    char expected[1024]; /* what was expected, in steps, up to the first that differed */
    char seen[1024];     /* what was seen in these steps; of a skipped one, the reason */
};

/*
 * Tries a rule in a forked child, so that one that crashes or hangs takes nothing with it: that is a verdict too, after
 * 30 seconds at the latest. A set-up that this kernel lacks is a reason to skip. Other threads may run in this process.
 */
void run_trial(const struct trial *trial, struct outcome *outcome);

extern const char *const verdict_names[];

/* One object, without a line end: group, name, rule, source, setup, verdict, expected, seen. */
void print_json(FILE *file, const struct trial *trial, const struct outcome *outcome);

#endif
