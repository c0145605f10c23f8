/*
 * Load on one backend, through the public header alone. Three loads, one after the other; the first thing that is wrong
 * ends the program with a line that says what, and status 1; 77: this backend can't be opened here.
 *
 * soak BACKEND SECONDS [SEED]
 *
 * churn   arms and removes polls in random order, on files that are closed and opened again all the time, so that
 *         numbers come back. Every event has to be its poll's, none may be missing, no file stay held, nothing leak.
 * crowd   as many polls as there may be open files, all ready at once, again and again, with a completion queue that
 *         holds few of them. Every write has to be seen.
 * hammer  a writer process for each processor. A watchdog asks poll(2): a file that stays readable for a second, while
 *         no event came since its reader last hit EAGAIN, is a stall. Every byte has to arrive.
 */
#define _GNU_SOURCE
#include <pollring.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CANNOT_OPEN = 77 };
enum { REMOVALS_A_SECOND = 10000000 / 192 }; /* ten million in the time that `make soak` gives by default */

static const char *backend_name;
static enum pollring_backend_choice backend;

/* ---- failure, time, chance, memory ---- */

__attribute__((format(printf, 1, 2), noreturn)) static void fail(const char *format, ...) {
    va_list arguments;
    printf("\n%s: FAILED: ", backend_name);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
    exit(1);
}

/* A result of libc, whose errno says why. */
static int check(int result, const char *what) {
    if (result < 0)
        fail("%s: %s", what, strerror(errno));
    return result;
}

/* A result of pollring. */
static int expect(int result, const char *what) {
    if (result < 0)
        fail("%s: %s", what, strerror(-result));
    return result;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static uint64_t seed;

/* xorshift: below `limit`. */
static unsigned chance(unsigned limit) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)((seed >> 32) % limit);
}

static long resident_kib(void) {
    long size, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%ld %ld", &size, &resident) != 2)
        fail("/proc/self/statm can't be read");
    fclose(file);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static int open_files(void) {
    int count = 0;
    DIR *directory = opendir("/proc/self/fd");
    while (directory && readdir(directory))
        count++;
    closedir(directory);
    return count - 3; /* ".", ".." and the directory's own */
}

/* ---- progress and figures ---- */

static struct figures {
    const char *load;
    double start, shown;
    unsigned long rounds, events, enters, rearmed;
} figures;

static void begin(const char *load) {
    figures = (struct figures){.load = load, .start = now(), .shown = now()};
}

/* Before the ring is closed, its own figures. */
static void add_figures(const struct pollring *ring) {
    struct pollring_stats stats;
    pollring_stats(ring, &stats);
    figures.events += stats.events;
    figures.enters += stats.enters;
    figures.rearmed += stats.rearmed;
}

/* Twice a second in place on a terminal, else a line every ten seconds. */
__attribute__((format(printf, 1, 2))) static void progress(const char *format, ...) {
    bool terminal = isatty(STDOUT_FILENO);
    if (now() - figures.shown < (terminal ? 0.5 : 10))
        return;
    figures.shown = now();
    va_list arguments;
    va_start(arguments, format);
    printf("%s%s: %s %3.0f s: ", terminal ? "\r\033[K" : "", backend_name, figures.load, now() - figures.start);
    vprintf(format, arguments);
    printf(terminal ? "" : "\n");
    va_end(arguments);
    fflush(stdout);
}

__attribute__((format(printf, 1, 2))) static void end(const char *format, ...) {
    double seconds = now() - figures.start;
    va_list arguments;
    va_start(arguments, format);
    printf("%s%s: %s: ", isatty(STDOUT_FILENO) ? "\r\033[K" : "", backend_name, figures.load);
    vprintf(format, arguments);
    va_end(arguments);
    printf(", %lu rounds, %lu events, %.0f events/s, %lu enters, %lu armed again after overflow, %.1f s\n",
           figures.rounds, figures.events, (double)figures.events / seconds, figures.enters, figures.rearmed, seconds);
    fflush(stdout);
}

/* ---- rings ---- */

static const struct variant {
    const char *name;
    struct pollring_options options;
    bool uring_only;
} variants[] = {
    {"default", {0}, false},
    {"queue of 16", {.entries = 16, .cq_entries = 16}, false},
    {"queue of 4", {.entries = 2, .cq_entries = 4}, false},
    {"coop_taskrun, queue of 16", {.entries = 16, .cq_entries = 16, .flags = POLLRING_SETUP_COOP_TASKRUN}, true},
    {"plain, queue of 16", {.entries = 16, .cq_entries = 16, .flags = POLLRING_SETUP_PLAIN}, true},
    {"pinned, sealed, queue of 64",
     {.entries = 64, .cq_entries = 64, .flags = POLLRING_PINNED | POLLRING_SEALED},
     true},
};

/* The n-th of them that this backend has, over and over. */
static const struct variant *variant(unsigned n) {
    unsigned count = backend == POLLRING_IO_URING ? sizeof variants / sizeof *variants : 3;
    return &variants[n % count];
}

static unsigned variant_count(void) {
    unsigned count = 0;
    while (count < sizeof variants / sizeof *variants && (!count || variant(count) != variant(0)))
        count++;
    return count;
}

static struct pollring *open_ring(const struct variant *variant) {
    struct pollring_options options = variant->options;
    struct pollring *ring;
    options.backend = backend;
    expect(pollring_open(&ring, &options), variant->name);
    return ring;
}

/* ---- files: what a reader polls, and what makes it readable ---- */

enum kind { EVENTFD, DATAGRAM, PIPE, STREAM }; /* the first two need one fd each */

struct file {
    enum kind kind;
    int fd;
    int peer; /* what is written to: the other end of a pipe or a stream, else -1 */
    struct pollring_poll *poll;
    unsigned unread;
    bool due;              /* an event has to come with the next collection */
    bool removed;          /* -ECANCELED has to come */
    _Atomic unsigned seen; /* events, for the watchdog */
};

static void open_file(struct file *file, enum kind kind) {
    int ends[2] = {-1, -1};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t size = sizeof address;
    switch (kind) {
    case EVENTFD:
        ends[0] = check(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd");
        break;
    case DATAGRAM:
        ends[0] = check(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "socket");
        check(bind(ends[0], (struct sockaddr *)&address, sizeof address.sun_family), "bind");
        check(getsockname(ends[0], (struct sockaddr *)&address, &size), "getsockname");
        check(connect(ends[0], (struct sockaddr *)&address, size), "connect"); /* with itself */
        break;
    case PIPE:
        check(pipe2(ends, O_CLOEXEC | O_NONBLOCK), "pipe2");
        break;
    case STREAM:
        check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), "socketpair");
        break;
    }
    file->kind = kind;
    file->fd = ends[0];
    file->peer = ends[1];
    file->unread = 0;
}

static void close_file(struct file *file) {
    close(file->fd);
    if (file->peer >= 0)
        close(file->peer);
}

/* Writes one; false where the file takes no more. */
static bool put(struct file *file) {
    static const uint64_t one = 1;
    int fd = file->peer < 0 ? file->fd : file->peer;
    ssize_t written = write(fd, &one, file->kind == EVENTFD ? sizeof one : 1);
    if (written < 0 && errno != EAGAIN)
        check(-1, "write");
    file->unread += written > 0;
    return written > 0;
}

/* Reads until EAGAIN: how many were written since the last time. */
static unsigned drain(struct file *file) {
    unsigned total = 0;
    uint64_t buffer[64];
    ssize_t length;
    while ((length = read(file->fd, buffer, sizeof buffer)) > 0)
        total += file->kind == EVENTFD ? (unsigned)buffer[0] : (unsigned)length;
    if (length < 0 && errno != EAGAIN)
        check(-1, "read");
    if (total != file->unread)
        fail("fd %d gave %u of %u writes", file->fd, total, file->unread);
    file->unread = 0;
    return total;
}

static void arm(struct pollring *ring, struct file *file) {
    expect(pollring_poll_add(ring, &file->poll, file->fd, POLLIN, 0, file), "pollring_poll_add");
}

/* ---- churn ---- */

enum { PLACES = 1000, A_LIFE = 10 * PLACES };

struct churn {
    struct pollring *ring;
    struct file files[PLACES];
    struct pollring_event events[4 * PLACES];
    unsigned armed;
    unsigned long removals;
};

static void free_poll(struct churn *churn, struct file *file) {
    pollring_poll_free(file->poll);
    file->poll = NULL;
    file->due = file->removed = false;
    churn->armed--;
    churn->removals++;
}

static void collect_all(struct churn *churn) {
    static const struct timespec zero;
    int count;
    while ((count = expect(pollring_wait(churn->ring, churn->events, 4 * PLACES, &zero), "pollring_wait"))) {
        for (int i = 0; i < count; i++) {
            const struct pollring_event *event = &churn->events[i];
            struct file *file = event->owner;
            if (event->poll != file->poll)
                fail("an event of a poll that was freed came, result %d", event->result);
            if (event->more != (event->result > 0) || (event->result < 0) != file->removed)
                fail("fd %d: unexpected result %d, more %d", file->fd, event->result, event->more);
            file->due = false;
            if (file->removed)
                free_poll(churn, file);
            else if (chance(2))
                drain(file);
        }
    }
    for (struct file *file = churn->files; file < churn->files + PLACES; file++)
        if (file->due || file->removed)
            fail("fd %d: %s, and no event came", file->fd, file->removed ? "removed" : "ready");
    if (pollring_active(churn->ring) != churn->armed)
        fail("%u polls are active instead of %u", pollring_active(churn->ring), churn->armed);
}

/* Removes and frees in one of the ways that there are. Half of the polls of files that are to be closed lose their file
   first, whose number has another owner by then: removing such a poll must not touch that one's. */
static void disarm(struct churn *churn, struct file *file) {
    switch (chance(4)) {
    case 0:
        expect(pollring_poll_remove(file->poll), "pollring_poll_remove");
        file->removed = true; /* freed with its -ECANCELED */
        file->due = false;
        return;
    case 1:
        if (expect(pollring_remove_fd(churn->ring, file->fd), "pollring_remove_fd") < 1)
            fail("fd %d: pollring_remove_fd() found nothing", file->fd);
        break;
    case 2:
        expect(pollring_poll_remove(file->poll), "pollring_poll_remove");
        break;
    }
    free_poll(churn, file);
}

static void reopen(struct churn *churn, struct file *file) {
    enum kind kind = chance(4);
    if (file->poll && !file->removed && chance(2)) {
        struct file old = *file;
        close_file(&old);
        open_file(file, kind);
        if (chance(2)) { /* the new file's poll first, then the old one's goes */
            arm(churn->ring, file);
            churn->armed++;
            put(file);
            file->due = true;
        } else {
            file->poll = NULL;
            file->due = false;
        }
        free_poll(churn, &old);
        return;
    }
    if (file->poll)
        free_poll(churn, file);
    if (file->kind == PIPE) { /* released: the writer sees that nobody reads any more */
        struct pollfd writer = {.fd = file->peer};
        close(file->fd);
        if (poll(&writer, 1, 0) != 1 || !(writer.revents & POLLERR))
            fail("fd %d is still held after its poll was freed", file->fd);
        file->fd = -1;
    }
    close_file(file);
    open_file(file, kind);
}

static void churn_once(struct churn *churn, struct file *file) {
    switch (chance(12)) {
    case 0:
    case 1:
        if (put(file) && file->unread == 1 && file->poll && !file->removed)
            file->due = true;
        break;
    case 2:
        drain(file);
        file->due = false;
        break;
    case 3:
        reopen(churn, file);
        break;
    case 4:
        if (file->poll && !file->removed) {
            expect(pollring_poll_recheck(file->poll), "pollring_poll_recheck");
            file->due = file->unread > 0;
        }
        break;
    default:
        if (!file->poll) {
            arm(churn->ring, file);
            churn->armed++;
            file->due = file->unread > 0;
        } else if (!file->removed) {
            disarm(churn, file);
        }
    }
}

/* As many polls and queued events as there can be, so that what the ring keeps for itself grows no more. */
static void fill(struct churn *churn) {
    for (int pass = 0; pass < 2; pass++)
        for (struct file *file = churn->files; file < churn->files + PLACES; file++) {
            if (file->poll)
                free_poll(churn, file);
            arm(churn->ring, file);
            churn->armed++;
        }
    expect(pollring_submit(churn->ring), "pollring_submit");
    for (struct file *file = churn->files; file < churn->files + PLACES; file++) {
        expect(pollring_poll_remove(file->poll), "pollring_poll_remove");
        file->removed = true;
    }
    collect_all(churn);
}

/* A ring's life: A_LIFE removals. */
static void churn_ring(struct churn *churn, const struct variant *variant) {
    struct pollring_stats before, after;
    churn->ring = open_ring(variant);
    churn->armed = 0;
    fill(churn);
    pollring_stats(churn->ring, &before);
    for (unsigned long last = churn->removals + A_LIFE; churn->removals < last; figures.rounds++) {
        for (int i = 0; i < PLACES; i++)
            churn_once(churn, &churn->files[chance(PLACES)]);
        collect_all(churn);
        progress("%lu armed and removed, %s", churn->removals, variant->name);
    }
    pollring_stats(churn->ring, &after);
    if (after.memory != before.memory)
        fail("the ring's memory went from %lu to %lu bytes", before.memory, after.memory);
    add_figures(churn->ring);
    for (struct file *file = churn->files; file < churn->files + PLACES; file++)
        if (file->poll)
            free_poll(churn, file);
    pollring_close(churn->ring);
}

/* Open files but those that are churned. */
static int other_files(const struct churn *churn) {
    int count = open_files();
    for (const struct file *file = churn->files; file < churn->files + PLACES; file++)
        count -= file->peer < 0 ? 1 : 2;
    return count;
}

static void churn(unsigned long removals) {
    static struct churn churn;
    begin("churn");
    for (struct file *file = churn.files; file < churn.files + PLACES; file++)
        open_file(file, chance(4));
    for (unsigned i = 0; i < variant_count(); i++) /* warm-up */
        churn_ring(&churn, variant(i));
    long resident = resident_kib(), grown;
    int others = other_files(&churn);
    removals += churn.removals;
    for (unsigned i = 0; churn.removals < removals; i++)
        churn_ring(&churn, variant(i));
    grown = resident_kib() - resident;
    for (struct file *file = churn.files; file < churn.files + PLACES; file++)
        drain(file); /* nothing was lost on the way */
    if (grown > 1024 || other_files(&churn) != others)
        fail("memory grew by %ld KiB, open files from %d to %d", grown, others, other_files(&churn));
    end("%lu armed and removed, RSS %ld KiB before and %ld after", churn.removals, resident, resident + grown);
    for (struct file *file = churn.files; file < churn.files + PLACES; file++)
        close_file(file);
}

/* ---- crowd ---- */

enum { CROWD = 19000, SPARE_FILES = 100, PATIENCE_S = 20, A_LIFE_S = 5, A_FULL_SOAK_S = 20 };

static void crowd_round(struct pollring *ring, struct file *files, unsigned count, unsigned max) {
    static struct pollring_event events[CROWD];
    const struct timespec patience = {.tv_sec = PATIENCE_S};
    unsigned unread = 0, extra = count / 4;
    for (unsigned i = 0; i < count; i++)
        unread += put(&files[i]);
    while (unread) {
        int got = expect(pollring_wait(ring, events, max, &patience), "pollring_wait");
        for (int i = 0; i < got; i++) {
            struct file *file = events[i].owner;
            if (events[i].result != POLLIN || !events[i].more)
                fail("fd %d: unexpected result %d, more %d", file->fd, events[i].result, events[i].more);
            unread -= drain(file);
            if (extra && chance(2)) { /* while others are still ready */
                extra--;
                unread += put(&files[chance(count)]);
            }
        }
        for (unsigned i = 0; !got && i < count; i++)
            if (files[i].unread)
                fail("fd %d: ready for %d s, and no event came; %u writes are unread", files[i].fd, PATIENCE_S, unread);
    }
}

static void crowd(unsigned wanted, double until) {
    const unsigned sizes[] = {CROWD, 7, 1, 500};
    struct file *files = calloc(wanted, sizeof *files);
    struct rlimit limit;
    check(getrlimit(RLIMIT_NOFILE, &limit), "getrlimit");
    unsigned most = (unsigned)limit.rlim_cur - (unsigned)open_files() - SPARE_FILES;
    unsigned count = most < wanted ? most : wanted;
    long resident = 0;
    begin("crowd");
    for (unsigned i = 0; i < count; i++)
        open_file(&files[i], i % 2 ? EVENTFD : DATAGRAM);
    for (unsigned life = 0; !life || now() < until; life++) {
        const struct variant *chosen = variant(life + 1); /* the small queues first */
        struct pollring *ring = open_ring(chosen);
        double life_until = now() + (double)A_LIFE_S < until ? now() + (double)A_LIFE_S : until;
        for (unsigned i = 0; i < count; i++)
            arm(ring, &files[i]);
        for (unsigned i = 0; i < 4 || now() < life_until; i++, figures.rounds++) {
            crowd_round(ring, files, count, sizes[i % 4]);
            progress("%u polls, %lu rounds, %s", count, figures.rounds, chosen->name);
        }
        add_figures(ring);
        pollring_close(ring);
        for (unsigned i = 0; i < count; i++)
            pollring_poll_free(files[i].poll);
        if (!life)
            resident = resident_kib();
    }
    end("%u polls on one ring%s, RSS %ld KiB before and %ld after", count,
        count < wanted ? " (the limit of open files allows no more)" : "", resident, resident_kib());
    for (unsigned i = 0; i < count; i++)
        close_file(&files[i]);
    free(files);
}

/* ---- hammer ---- */

enum { FILES_A_WRITER = 64, MOST_WRITERS = 64, AT_ONCE = 65536, TICK_MS = 10, WAKES = 3 };
#define STALL_S 1.0

struct hammer {
    struct shared {
        _Atomic bool pause, stop;
        _Atomic unsigned long written; /* bytes, counted by the writers when they end */
    } * shared;
    struct file *files;
    unsigned count;
    pid_t writers[MOST_WRITERS];
    unsigned long bytes;
    pthread_mutex_t lock;  /* of ring */
    struct pollring *ring; /* NULL between two */
    struct pollfd *ready;  /* the reader's */
    _Atomic(const struct variant *) variant;
    _Atomic unsigned long rounds; /* how often the reader came back from the kernel */
    _Atomic bool done;
    double longest_gap;
};

/* Small writes, sometimes a large one, sometimes a pause, so that readers reach EAGAIN often. */
static void write_until_told(struct shared *shared, struct file *files) {
    static const char bytes[AT_ONCE];
    unsigned long total = 0;
    signal(SIGPIPE, SIG_IGN);
    while (!shared->stop) {
        bool large = !chance(100);
        if (shared->pause || !chance(200))
            nanosleep(&(struct timespec){.tv_nsec = chance(200000)}, NULL);
        if (shared->pause)
            continue;
        ssize_t written = write(files[chance(FILES_A_WRITER)].peer, bytes, 1 + chance(large ? AT_ONCE : 64));
        if (written > 0)
            total += (unsigned long)written;
    }
    atomic_fetch_add(&shared->written, total);
}

static void start_writers(struct hammer *hammer, unsigned writers) {
    hammer->count = writers * FILES_A_WRITER;
    hammer->files = calloc(hammer->count, sizeof *hammer->files);
    hammer->ready = calloc(hammer->count, sizeof *hammer->ready);
    hammer->shared = mmap(NULL, sizeof *hammer->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (unsigned i = 0; i < hammer->count; i++) {
        open_file(&hammer->files[i], i % 2 ? PIPE : STREAM);
        hammer->ready[i] = (struct pollfd){.fd = hammer->files[i].fd, .events = POLLIN};
    }
    fflush(stdout);
    for (unsigned i = 0; i < writers; i++) {
        chance(1); /* so that each writer has luck of its own */
        hammer->writers[i] = check(fork(), "fork");
        if (!hammer->writers[i]) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            write_until_told(hammer->shared, &hammer->files[i * FILES_A_WRITER]);
            _exit(0);
        }
    }
}

/* Reads until EAGAIN, or else asks for another look, so that no writer can hold the reader. */
static void read_some(struct hammer *hammer, struct file *file) {
    static char buffer[AT_ONCE / 16];
    for (int i = 0; i < 4; i++) {
        ssize_t length = read(file->fd, buffer, sizeof buffer);
        if (length < 0 && errno == EAGAIN)
            return;
        hammer->bytes += (unsigned long)check((int)length, "read");
    }
    expect(pollring_poll_recheck(file->poll), "pollring_poll_recheck");
}

static void set_ring(struct hammer *hammer, struct pollring *ring) {
    pthread_mutex_lock(&hammer->lock);
    hammer->ring = ring;
    pthread_mutex_unlock(&hammer->lock);
}

/* Since when nothing has changed, as far as the watchdog saw. */
struct history {
    double since;
    unsigned long count;
};

static double unchanged_for(struct history *history, bool quiet, unsigned long count, double time) {
    if (!quiet || count != history->count)
        *history = (struct history){.since = time, .count = count};
    return time - history->since;
}

/* The thread that asks poll(2), shows progress, and wakes the reader, which asks the clock then. */
static void *watch(void *argument) {
    struct hammer *hammer = argument;
    struct pollfd *ready = calloc(hammer->count, sizeof *ready);
    struct history *files = calloc(hammer->count, sizeof *files), reader = {0};
    double last = now();
    memcpy(ready, hammer->ready, hammer->count * sizeof *ready);
    while (!hammer->done) {
        nanosleep(&(struct timespec){.tv_nsec = TICK_MS * 1000000}, NULL);
        check(poll(ready, hammer->count, 0), "poll");
        const char *name = atomic_load(&hammer->variant)->name;
        double time = now();
        bool running = time - last < STALL_S / 2; /* else the machine stood still, and what was seen proves nothing */
        last = time;
        for (unsigned i = 0; i < hammer->count; i++) {
            bool readable = running && ready[i].revents & POLLIN;
            double gap = unchanged_for(&files[i], readable, hammer->files[i].seen, time);
            if (gap > STALL_S)
                fail("stall: fd %d (a %s) has been readable for %.1f s, and no event came; %s", ready[i].fd,
                     hammer->files[i].kind == PIPE ? "pipe" : "socket", gap, name);
            if (gap > hammer->longest_gap)
                hammer->longest_gap = gap;
        }
        if (unchanged_for(&reader, running, hammer->rounds, time) > STALL_S)
            fail("stall: the reader sleeps, whatever wakes it; %s", name);
        pthread_mutex_lock(&hammer->lock);
        if (hammer->ring)
            expect(pollring_wake(hammer->ring), "pollring_wake");
        pthread_mutex_unlock(&hammer->lock);
        progress("%u files, %lu rounds, longest gap %.3f s, %s", hammer->count, hammer->rounds, hammer->longest_gap,
                 name);
    }
    free(ready);
    free(files);
    return NULL;
}

/* Whether all has arrived; asked when the writers have been told to stop. */
static bool is_complete(struct hammer *hammer) {
    for (unsigned i = 0; i < MOST_WRITERS; i++)
        if (hammer->writers[i] && waitpid(hammer->writers[i], NULL, WNOHANG) == hammer->writers[i])
            hammer->writers[i] = 0;
        else if (hammer->writers[i])
            return false;
    return hammer->bytes == hammer->shared->written;
}

/* A ring's life. At its end the writers are silent, so that only being woken can bring the reader back;
   a file that is readable still is waited for, and the watchdog's. */
static void hammer_ring(struct hammer *hammer, double until) {
    static struct pollring_event events[4096];
    struct pollring *ring = open_ring(hammer->variant);
    set_ring(hammer, ring);
    for (unsigned i = 0; i < hammer->count; i++) {
        arm(ring, &hammer->files[i]);
        hammer->files[i].seen++; /* what is in it is reported when it is armed: the clock starts anew */
    }
    hammer->shared->pause = false;
    for (int woken = 0; hammer->shared->stop ? !is_complete(hammer)
                                             : woken < WAKES || check(poll(hammer->ready, hammer->count, 0), "poll");
         hammer->rounds++) {
        int count = expect(pollring_wait(ring, events, 4096, NULL), "pollring_wait");
        if (now() > until)
            hammer->shared->pause = true;
        woken += hammer->shared->pause && !count;
        for (int i = 0; i < count; i++) {
            struct file *file = events[i].owner;
            if (events[i].result != POLLIN || !events[i].more)
                fail("fd %d: unexpected result %d, more %d", file->fd, events[i].result, events[i].more);
            file->seen++;
            read_some(hammer, file);
        }
    }
    set_ring(hammer, NULL);
    add_figures(ring);
    pollring_close(ring);
    for (unsigned i = 0; i < hammer->count; i++)
        pollring_poll_free(hammer->files[i].poll);
}

static void hammer(double until) {
    static struct hammer hammer = {.lock = PTHREAD_MUTEX_INITIALIZER};
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned writers = online < 1              ? 1
                       : online > MOST_WRITERS ? MOST_WRITERS
                                               : (unsigned)online,
             lives = variant_count();
    double start = now(), share = (until - start) / lives;
    pthread_t watchdog;
    begin("hammer");
    start_writers(&hammer, writers);
    hammer.variant = variant(0);
    if (pthread_create(&watchdog, NULL, watch, &hammer))
        fail("pthread_create");
    for (unsigned life = 0; life < lives; life++) {
        hammer.variant = variant(life);
        hammer_ring(&hammer, start + share * (life + 1));
    }
    hammer.shared->stop = true;
    hammer_ring(&hammer, until);
    hammer.done = true;
    pthread_join(watchdog, NULL);
    figures.rounds = hammer.rounds;
    end("%u writers, %u files, %lu MB, longest gap %.3f s", writers, hammer.count, hammer.bytes / 1000000,
        hammer.longest_gap);
    for (unsigned i = 0; i < hammer.count; i++)
        close_file(&hammer.files[i]);
    free(hammer.files);
    free(hammer.ready);
    munmap(hammer.shared, sizeof *hammer.shared);
}

/* ---- all of it ---- */

/* The hard limit of open files becomes the soft one. */
static void raise_limit(void) {
    struct rlimit limit;
    check(getrlimit(RLIMIT_NOFILE, &limit), "getrlimit");
    limit.rlim_cur = limit.rlim_max;
    check(setrlimit(RLIMIT_NOFILE, &limit), "setrlimit");
}

int main(int count, char **arguments) {
    struct pollring *ring;
    double seconds = count > 2 ? atof(arguments[2]) : 0;
    if (seconds <= 0 || (strcmp(arguments[1], "io_uring") && strcmp(arguments[1], "epoll"))) {
        fprintf(stderr, "usage: soak io_uring|epoll SECONDS [SEED]\n");
        return 2;
    }
    backend_name = arguments[1];
    backend = strcmp(backend_name, "epoll") ? POLLRING_IO_URING : POLLRING_EPOLL;
    seed = count > 3 ? strtoull(arguments[3], NULL, 0) : (uint64_t)(now() * 1e9) | 1;
    int error = pollring_open(&ring, &(struct pollring_options){.backend = backend});
    if (error) {
        printf("%s: can't be opened here: %s\n", backend_name, strerror(-error));
        return CANNOT_OPEN;
    }
    pollring_close(ring);
    raise_limit();
    alarm((unsigned)(4 * seconds) + 60); /* what hangs without a word is killed */
    double start = now();
    printf("%s: %.0f seconds, seed %#lx\n", backend_name, seconds, seed);
    churn((unsigned long)(seconds * (double)REMOVALS_A_SECOND));
    double left = start + seconds - now();
    left = left > seconds / 4 ? left : seconds / 4;
    crowd(seconds < (double)A_FULL_SOAK_S ? CROWD / 5 : CROWD, now() + left / 2);
    hammer(now() + left / 2);
    return 0;
}
