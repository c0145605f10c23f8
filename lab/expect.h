/*
 * Expectations of a rule: what was expected and what was seen, kept as text. The first that does not hold ends the
 * rule, and its process. Only a rule's own thread may expect something, not its threads and children.
 */
#ifndef LAB_EXPECT_H
#define LAB_EXPECT_H

#include "rules.h"

#include <stdnoreturn.h>

/* Where expectations are recorded; in memory that the runner shares. */
extern struct outcome *current_outcome;

/* All others rest on this. Both texts are kept, whether it holds or not. */
void expect_text(bool holds, const char *expected, const char *seen);

/* A text in one of a few buffers, which later calls use again. */
const char *text(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The name of an error, EINVAL for -EINVAL; a number for what is no error. */
const char *result_text(long result);

/* The names of a mask's bits, POLLIN|POLLHUP. */
const char *mask_text(unsigned mask);

void expect(bool holds, const char *sentence);
void expect_whether(const char *what, bool expected, bool seen);
void expect_number(const char *what, long long expected, long long seen);
void expect_between(const char *what, long long least, long long most, long long seen);
void expect_result(const char *what, long expected, long seen);

/* As expect_result(); what a limit or a policy refuses, unexpected, says nothing of the rule, which is skipped. */
void expect_allowed(const char *what, long expected, long seen);

void expect_mask(const char *what, unsigned expected, unsigned seen);

/* What is done next, where expectations alone don't tell. */
void step(const char *what);

/* What may be either way, and is worth knowing. */
void observe(const char *seen);

noreturn void skip_because(const char *reason);

/* What a rule needs before it can be tried; they leave a trace only when they fail. A call that a limit or a policy
 * refuses is a reason to skip. */
#define need(call) needed(call, #call)
#define ensure(condition) ensured(condition, #condition)
int needed(int result, const char *call); /* -1 and errno is the failure */
void ensured(bool holds, const char *condition);

#endif
