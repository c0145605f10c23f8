/*
 * The runner of the kernel's rules (lab/): what becomes of a rule that holds, differs, is skipped, crashes or hangs.
 */
#include "../../lab/expect.h"
#include "../../lab/rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct outcome try(void (*run)(void)) {
    struct rule rule = {"name", "A \"rule\" in words.", KERNEL, run, ON_PLAIN};
    struct outcome outcome;
    struct trial plain;
    assert_true(find_trial(2, &plain));
    assert_string_equal(plain.setup->name, "plain");
    run_trial(&(struct trial){"group", &rule, plain.setup}, &outcome);
    if (outcome.verdict == SKIPPED && strstr(outcome.seen, "io_uring_setup"))
        skip();
    return outcome;
}

#define assert_outcome(run, its_verdict, its_expected, its_seen)                                                       \
    do {                                                                                                               \
        struct outcome tried = try(run);                                                                               \
        assert_string_equal(tried.expected, its_expected);                                                             \
        assert_string_equal(tried.seen, its_seen);                                                                     \
        assert_int_equal(tried.verdict, its_verdict);                                                                  \
    } while (0)

static void holds(void) {
    expect_result("call", -EINVAL, -EINVAL);
    expect_mask("file", 0x2001, 0x2001);
    expect_between("number", 2, 5, 3);
    observe("observed");
    expect_whether("flag", true, true);
}

static void what_was_expected_and_seen_is_told_of_a_rule_that_holds(void **state) {
    (void)state;
    assert_outcome(holds, OK, "call: EINVAL; file: POLLIN|POLLRDHUP; number: 2 to 5; flag: yes",
                   "call: EINVAL; file: POLLIN|POLLRDHUP; number: 3; observed; flag: yes");
}

static void differs(void) {
    expect(true, "it begins");
    expect_result("call", -EINVAL, 0);
    abort();
}

static void first_difference_ends_a_rule(void **state) {
    (void)state;
    assert_outcome(differs, DIFFERS, "it begins; call: EINVAL", "it begins; call: 0");
}

static void expect_1(void) {
    expect_number("n", 1, 2);
}
static void expect_2(void) {
    expect_between("n", 3, 4, 2);
}
static void expect_3(void) {
    expect_between("n", 0, 1, 2);
}
static void expect_4(void) {
    expect_mask("m", 1, 0);
}
static void expect_5(void) {
    expect_whether("w", false, true);
}
static void expect_6(void) {
    expect(false, "so");
}
static void expect_7(void) {
    errno = EBADF;
    need(-1);
}
static void expect_8(void) {
    errno = EBADF;
    ensure(1 > 2);
}

static void every_kind_of_expectation_can_fail(void **state) {
    (void)state;
    assert_outcome(expect_1, DIFFERS, "n: 1", "n: 2");
    assert_outcome(expect_2, DIFFERS, "n: 3 to 4", "n: 2");
    assert_outcome(expect_3, DIFFERS, "n: 0 to 1", "n: 2");
    assert_outcome(expect_4, DIFFERS, "m: POLLIN", "m: nothing");
    assert_outcome(expect_5, DIFFERS, "w: no", "w: yes");
    assert_outcome(expect_6, DIFFERS, "so", "not so: so");
    assert_outcome(expect_7, DIFFERS, "-1", "-1: Bad file descriptor");
    assert_outcome(expect_8, DIFFERS, "1 > 2", "not so: 1 > 2 (Bad file descriptor)");
}

static void skips(void) {
    skip_because("reason");
}

static void skipped_rule_tells_its_reason(void **state) {
    (void)state;
    assert_outcome(skips, SKIPPED, "", "reason");
}

static void is_refused(void) {
    step("a step");
    expect_allowed("set-up", -EMFILE, -EMFILE);
    expect_allowed("set-up", 0, -ENOMEM);
}

static void lacks_fds(void) {
    errno = ENFILE;
    need(-1);
}

static void is_invalid(void) {
    expect_allowed("set-up", 0, -EINVAL);
}

static void what_a_limit_refuses_is_skipped_unless_the_rule_is_about_it(void **state) {
    (void)state;
    assert_outcome(is_refused, SKIPPED, "", "set-up: ENOMEM");
    assert_outcome(lacks_fds, SKIPPED, "", "-1: Too many open files in system");
    assert_outcome(is_invalid, DIFFERS, "set-up: 0", "set-up: EINVAL");
}

static void crashes(void) {
    step("a step");
    raise(SIGKILL);
}

static void exits(void) {
    _exit(3);
}

static void hangs(void) {
    alarm(1); /* instead of the runner's */
    for (;;)
        pause();
}

static void handle(int number) {
    (void)number;
}

static void crash_exit_and_hang_are_differences(void **state) {
    sigset_t alarm_alone;
    (void)state;
    sigemptyset(&alarm_alone);
    sigaddset(&alarm_alone, SIGALRM);
    sigprocmask(SIG_BLOCK, &alarm_alone, NULL);
    signal(SIGALRM, handle); /* what a program does with its signals is not the rule's matter */
    assert_outcome(crashes, DIFFERS, "a step", "a step; killed by signal 9");
    assert_outcome(exits, DIFFERS, "", "ended with status 3");
    assert_outcome(hangs, DIFFERS, "", "no end within 30 seconds");
}

static void repeats(void) {
    for (int i = 0; i < 1000; i++)
        expect_number("n", 1, 1);
    for (int i = 0; i < 100; i++)
        step(text("a step that takes some room: %d", i));
}

static void equal_steps_are_counted_and_too_many_are_cut(void **state) {
    (void)state;
    struct outcome outcome = try(repeats);
    assert_int_equal(outcome.verdict, OK);
    assert_int_equal(strncmp(outcome.seen, "...; a step", 11), 0);
    assert_non_null(strstr(outcome.seen, "room: 98; a step that takes some room: 99"));
    outcome = try(holds);
    assert_null(strstr(outcome.seen, "..."));
}

static void repeats_little(void) {
    step("first");
    for (int i = 0; i < 3; i++)
        expect_number("n", 1, 1);
    step("last");
}

static void equal_steps_are_one_with_their_number(void **state) {
    (void)state;
    assert_outcome(repeats_little, OK, "first; 3 times n: 1; last", "first; 3 times n: 1; last");
}

static void json_is_quoted(void **state) {
    struct rule rule = {"name", "A \"rule\" \\ in words.", KERNEL, NULL, ON_PLAIN};
    struct outcome outcome = {.verdict = OK, .expected = "a\nb", .seen = ""};
    struct trial trial;
    char *json = NULL;
    size_t size;
    (void)state;
    find_trial(2, &trial);
    FILE *file = open_memstream(&json, &size);
    print_json(file, &(struct trial){"group", &rule, trial.setup}, &outcome);
    fclose(file);
    assert_string_equal(json,
                        "{\"group\": \"group\", \"name\": \"name\", \"rule\": \"A \\\"rule\\\" \\\\ in words.\", "
                        "\"source\": \"kernel\", \"setup\": \"plain\", \"verdict\": \"ok\", "
                        "\"expected\": \"a\\u000ab\", \"seen\": \"\"}");
    free(json);
}

/* A name, a sentence, a source for each; and no rule twice. */
static void table_is_complete(void **state) {
    struct trial trial, other;
    (void)state;
    for (size_t i = 0; find_trial(i, &trial); i++) {
        const char *sentence = trial.rule->sentence;
        assert_int_equal(sentence[strlen(sentence) - 1], '.');
        assert_true(strcmp(trial.rule->source, KERNEL) == 0 || strncmp(trial.rule->source, "commit: ", 8) == 0);
        assert_non_null(trial.rule->run);
        for (size_t j = 0; j < i && find_trial(j, &other); j++)
            assert_false(other.setup == trial.setup && (strcmp(other.rule->name, trial.rule->name) == 0 ||
                                                        strcmp(other.rule->sentence, sentence) == 0));
    }
    assert_false(find_trial(SIZE_MAX, &trial));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_expected_and_seen_is_told_of_a_rule_that_holds),
        cmocka_unit_test(first_difference_ends_a_rule),
        cmocka_unit_test(every_kind_of_expectation_can_fail),
        cmocka_unit_test(skipped_rule_tells_its_reason),
        cmocka_unit_test(what_a_limit_refuses_is_skipped_unless_the_rule_is_about_it),
        cmocka_unit_test(crash_exit_and_hang_are_differences),
        cmocka_unit_test(equal_steps_are_counted_and_too_many_are_cut),
        cmocka_unit_test(equal_steps_are_one_with_their_number),
        cmocka_unit_test(json_is_quoted),
        cmocka_unit_test(table_is_complete),
    };
    cmocka_set_test_filter(getenv("TEST_FILTER"));
    return cmocka_run_group_tests_name("rules", tests, NULL, NULL);
}
