/* The table of all rules, and the runner, which tries one of them on one set-up. */
#include "rules.h"
#include "expect.h"
#include "kernel.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define RULE_SECONDS 30

static const struct {
    const char *name;
    const struct rule *rules;
} groups[] = {
    {"request", request_rules}, {"file", file_rules},      {"queue", queue_rules},
    {"wake-up", wakeup_rules},  {"threads", thread_rules},
};

const char *const verdict_names[] = {[DIFFERS] = "differs", [OK] = "ok", [SKIPPED] = "skipped"};

bool find_trial(size_t number, struct trial *trial) {
    for (size_t group = 0; group < COUNT_OF(groups); group++)
        for (const struct rule *rule = groups[group].rules; rule->name; rule++)
            for (unsigned i = 0; i < SETUPS; i++)
                if (rule->setups & 1u << i && number-- == 0) {
                    *trial = (struct trial){groups[group].name, rule, &setups[i]};
                    return true;
                }
    return false;
}

/* ---- one trial ---- */

/* What this kernel lacks, or refuses, of a set-up; NULL where it works. Some filters let the set-up pass alone. */
static const char *try_setup(const struct setup *tried) {
    struct io_uring ring;
    int error = open_ring_with(&ring, tried->flags, 2, 4);
    if (error)
        return text("io_uring_setup: %s", result_text(error));
    io_uring_prep_nop(io_uring_get_sqe(&ring));
    error = io_uring_submit(&ring);
    io_uring_queue_exit(&ring);
    return error < 0 ? text("the first submit: %s", result_text(error)) : NULL;
}

/* Tried once, and not in the rule's process, where the end of the ring could interrupt a sleep of the rule. */
static const char *missing_setup(const struct setup *asked) {
    static char reasons[SETUPS][64];
    static bool known[SETUPS];
    size_t number = (size_t)(asked - setups);
    if (!known[number]) {
        const char *reason = try_setup(asked);
        snprintf(reasons[number], sizeof(reasons[number]), "%s", reason ? reason : "");
        known[number] = true;
    }
    return *reasons[number] ? reasons[number] : NULL;
}

/* Whatever program this is part of, its signals are not the rule's. */
static void forget_signals(void) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
}

noreturn static void try_rule(const struct trial *trial) {
    setup = trial->setup;
    trial->rule->run();
    current_outcome->verdict = OK;
    _exit(0);
}

static int await_child(pid_t child) {
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return status;
}

static void add_end(struct outcome *outcome, const char *end) {
    size_t used = strlen(outcome->seen);
    snprintf(outcome->seen + used, sizeof(outcome->seen) - used, "%s%s", used ? "; " : "", end);
    outcome->verdict = DIFFERS;
}

void run_trial(const struct trial *trial, struct outcome *outcome) {
    const char *missing = missing_setup(trial->setup);
    *outcome = (struct outcome){.verdict = missing ? SKIPPED : DIFFERS};
    if (missing) {
        snprintf(outcome->seen, sizeof(outcome->seen), "%s", missing);
        return;
    }
    current_outcome = mmap(NULL, sizeof(*outcome), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (current_outcome == MAP_FAILED) {
        add_end(outcome, text("not tried: %s", strerror(errno)));
        return;
    }
    pid_t child = fork();
    if (child == 0) {
        forget_signals();
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(RULE_SECONDS);
        try_rule(trial);
    }
    int status = child < 0 ? -errno : await_child(child);
    *outcome = *current_outcome;
    munmap(current_outcome, sizeof(*outcome));
    if (status < 0)
        add_end(outcome, text("not tried: %s", strerror(-status)));
    else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        add_end(outcome, text("no end within %d seconds", RULE_SECONDS));
    else if (WIFSIGNALED(status))
        add_end(outcome, text("killed by signal %d", WTERMSIG(status)));
    else if (WEXITSTATUS(status))
        add_end(outcome, text("ended with status %d", WEXITSTATUS(status)));
}

/* ---- JSON ---- */

static void print_member(FILE *file, const char *name, const char *value, const char *end) {
    fprintf(file, "\"%s\": \"", name);
    for (; *value; value++)
        if ((unsigned char)*value < ' ')
            fprintf(file, "\\u%04x", *value);
        else
            fprintf(file, *value == '"' || *value == '\\' ? "\\%c" : "%c", *value);
    fprintf(file, "\"%s", end);
}

void print_json(FILE *file, const struct trial *trial, const struct outcome *outcome) {
    fputc('{', file);
    print_member(file, "group", trial->group, ", ");
    print_member(file, "name", trial->rule->name, ", ");
    print_member(file, "rule", trial->rule->sentence, ", ");
    print_member(file, "source", trial->rule->source, ", ");
    print_member(file, "setup", trial->setup->name, ", ");
    print_member(file, "verdict", verdict_names[outcome->verdict], ", ");
    print_member(file, "expected", outcome->expected, ", ");
    print_member(file, "seen", outcome->seen, "}");
}
