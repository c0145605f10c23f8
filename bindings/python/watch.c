/*
 * add_reader() and add_writer(): level-triggered callbacks over edge-triggered polls.
 *
 * One multishot poll an fd, for its reader and its writer. The kernel tells when a file becomes ready, and not that it
 * still is. So an fd whose callback has run is a suspect, until poll(2) said that it isn't ready: the next edge comes
 * by itself then. Each iteration asks poll(2) about all suspects at once, before it runs callbacks: what is ready runs,
 * the others are suspects no longer.
 *
 * That leaves no callback that has nothing to do. An event of a suspect may be stale (the callback has read what it
 * announces), so it is dropped, poll(2) tells. An event of an fd that is no suspect came after poll(2) had said "not
 * ready", or after the poll was armed, and nobody has read since: it is believed. For that the suspects are asked after
 * the completions before were all collected.
 *
 * A few suspects are asked before that too, and where one is ready it runs without a collection, which saves a system
 * call: in one iteration, not in two running. Where none is, only those of which the collection tells are asked again.
 *
 * An armed poll holds its file: what is removed has reached the kernel on return, so a close() after it reaches the
 * peer.
 */
#include "loop.h"

#include <errno.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

/* What calls a reader and a writer: hangup and errors call both. */
#define READING (~(uint32_t)POLLOUT)
#define WRITING (POLLOUT | POLLERR | POLLHUP)

/* A poll's owner is its fd, made odd, so that it is no operation's address. */
static void *owner_of(int fd) {
    return (void *)((uintptr_t)(unsigned)fd << 1 | 1);
}

bool pollring_python_is_watch(const struct pollring_event *event) {
    return (uintptr_t)event->owner & 1;
}

static uint32_t wanted(const struct watch *watch) {
    return (watch->reader ? POLLIN : 0u) | (watch->writer ? POLLOUT : 0u);
}

static struct watch *find(struct loop_object *loop, int fd) {
    return fd >= 0 && (size_t)fd < loop->watch_room ? &loop->watches[fd] : NULL;
}

static int make_room(struct loop_object *loop, int fd) {
    while ((size_t)fd >= loop->watch_room) {
        size_t before = loop->watch_room;
        if (pollring_python_grow(&loop->watches, &loop->watch_room, sizeof *loop->watches))
            return -1;
        memset(loop->watches + before, 0, (loop->watch_room - before) * sizeof *loop->watches);
    }
    return 0;
}

static void drop_poll(struct watch *watch) {
    pollring_poll_free(watch->poll);
    watch->poll = NULL;
}

/* ---- events ---- */

static int suspect(struct loop_object *loop, int fd) {
    if (loop->suspect_count == loop->suspect_room &&
        pollring_python_grow(&loop->suspects, &loop->suspect_room, sizeof *loop->suspects))
        return -1;
    loop->suspects[loop->suspect_count++] = (struct pollfd){.fd = fd};
    loop->watches[fd].suspect = true;
    return 0;
}

static PyObject *remove_side(struct loop_object *loop, int fd, bool writer);

/* Makes a side ready; one whose handle its user has cancelled is removed. */
static int call_side(struct loop_object *loop, int fd, bool writer) {
    struct watch *watch = &loop->watches[fd];
    PyObject *handle = writer ? watch->writer : watch->reader;
    if (!handle_is_cancelled(handle))
        return pollring_python_loop_push(loop, handle);
    PyObject *removed = remove_side(loop, fd, writer);
    Py_XDECREF(removed);
    return removed ? 0 : -1;
}

static int call_sides(struct loop_object *loop, int fd, uint32_t bits) {
    if (bits & READING && loop->watches[fd].reader && call_side(loop, fd, false))
        return -1;
    return bits & WRITING && loop->watches[fd].writer ? call_side(loop, fd, true) : 0;
}

int pollring_python_watch_event(struct loop_object *loop, const struct pollring_event *event) {
    int fd = (int)((uintptr_t)event->owner >> 1);
    struct watch *watch = &loop->watches[fd];
    if (!event->more) /* the fd was closed before its poll was armed, or it is no file that can be polled */
        drop_poll(watch);
    watch->told = true;
    if (event->result < 0 || watch->suspect)
        return 0;
    return suspect(loop, fd) ? -1 : call_sides(loop, fd, (uint32_t)event->result);
}

/* Asks poll(2) about the first count suspects. */
static int ask(struct loop_object *loop, size_t count) {
    for (size_t i = 0; i < count; i++) {
        struct pollfd *entry = &loop->suspects[i];
        entry->events = (short)wanted(&loop->watches[entry->fd]);
    }
    if (poll(loop->suspects, count, 0) >= 0 || errno == EINTR)
        return 0;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

int pollring_python_watch_peek(struct loop_object *loop) {
    int failed = ask(loop, loop->suspect_count);
    for (size_t i = 0; i < loop->suspect_count && !failed; i++) {
        const struct pollfd *entry = &loop->suspects[i];
        struct watch *watch = &loop->watches[entry->fd];
        watch->told = false;
        if (watch->poll && entry->revents && !(entry->revents & POLLNVAL))
            failed = call_sides(loop, entry->fd, (uint32_t)entry->revents);
    }
    return failed;
}

int pollring_python_watch_check(struct loop_object *loop, size_t count, bool peeked) {
    size_t kept = 0;
    for (size_t i = 0; i < loop->suspect_count; i++) {
        struct pollfd entry = loop->suspects[i];
        if (i >= count || !peeked || loop->watches[entry.fd].told)
            loop->suspects[kept++] = entry;
        else
            loop->watches[entry.fd].suspect = false;
    }
    count -= loop->suspect_count - kept;
    loop->suspect_count = kept;
    if (!count)
        return 0;
    int failed = ask(loop, count);
    kept = failed ? kept : 0;
    for (size_t i = 0; i < loop->suspect_count && !failed; i++) {
        struct pollfd entry = loop->suspects[i];
        struct watch *watch = &loop->watches[entry.fd];
        if (i < count && entry.revents & POLLNVAL) /* closed, and not removed: the peer waits for its end */
            drop_poll(watch);
        if (i < count && (!watch->poll || !entry.revents)) {
            watch->suspect = false;
            continue;
        }
        loop->suspects[kept++] = entry;
        if (i < count && call_sides(loop, entry.fd, (uint32_t)entry.revents))
            failed = -1;
    }
    loop->suspect_count = kept;
    return failed;
}

void pollring_python_watches_clear(struct loop_object *loop) {
    struct watch *watches = loop->watches;
    size_t count = loop->watch_room;
    loop->watches = NULL;
    loop->watch_room = loop->suspect_count = loop->suspect_room = 0;
    PyMem_Free(loop->suspects);
    loop->suspects = NULL;
    for (size_t fd = 0; fd < count; fd++)
        drop_poll(&watches[fd]);
    for (size_t fd = 0; fd < count; fd++) {
        Py_CLEAR(watches[fd].reader);
        Py_CLEAR(watches[fd].writer);
    }
    PyMem_Free(watches);
}

/* ---- adding and removing ---- */

/* What epoll_ctl() says of the file, which asyncio's users see from add_reader(): EBADF, EPERM. Sets *socket to the
   inode number of a socket. */
static int check_file(int fd, uint64_t *socket) {
    struct stat status;
    *socket = 0;
    if (fstat(fd, &status))
        return -errno;
    if (S_ISSOCK(status.st_mode)) {
        *socket = status.st_ino;
        return 0;
    }
    if (S_ISFIFO(status.st_mode))
        return 0;
    int scratch = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event nothing = {.events = 0};
    int error = scratch < 0 || epoll_ctl(scratch, EPOLL_CTL_ADD, fd, &nothing) ? -errno : 0;
    if (scratch >= 0)
        close(scratch);
    return error;
}

/* Arms the watch's poll for other events, or for another file: an fd that was closed under its watch may be a new
   file's number by now. Only a socket is known to be the same. */
static int arm(struct loop_object *loop, int fd, uint32_t events, uint64_t socket) {
    struct watch *watch = &loop->watches[fd];
    if (watch->poll && socket && socket == watch->socket && !pollring_poll_update(watch->poll, events))
        return 0;
    drop_poll(watch);
    watch->socket = socket;
    int error = pollring_poll_add_to(loop->inbox, &watch->poll, fd, events, POLLRING_KEEP_HANGUP, owner_of(fd));
    if (error == -ELOOP && fd == pollring_fileno(((struct ring_object *)loop->ring)->ring)) {
        loop->own_fd = fd;
        return 0;
    }
    return error;
}

/* The loop's own ring, watched by its fd: readable while events of the user's polls are queued. */
int pollring_python_watch_own(struct loop_object *loop, const struct pollring *ring) {
    struct pollring_stats stats;
    pollring_stats(ring, &stats);
    return stats.queued ? call_sides(loop, loop->own_fd, POLLIN) : 0;
}

/* Takes over args. Returns the handle. */
static PyObject *add_side(struct loop_object *loop, int fd, bool writer, PyObject *callback, PyObject *args) {
    PyObject *handle = pollring_python_loop_check(loop) || !pollring_python_loop_ring(loop)
                           ? (Py_DECREF(args), NULL)
                           : pollring_python_handle(loop, callback, args, NULL);
    if (!handle)
        return NULL;
    uint64_t socket;
    int error = loop->inbox ? check_file(fd, &socket) : -ESHUTDOWN; /* making the handle may have run anything */
    int no_room = error ? 0 : make_room(loop, fd);
    struct watch *watch = find(loop, fd);
    if (!error && !no_room)
        error = arm(loop, fd, wanted(watch) | (writer ? POLLOUT : POLLIN), socket);
    if (error) {
        errno = -error;
        PyErr_SetFromErrno(PyExc_OSError);
    }
    if (error || no_room) {
        Py_DECREF(handle);
        return NULL;
    }
    PyObject **side = writer ? &watch->writer : &watch->reader, *old = *side;
    *side = handle;
    Py_INCREF(handle);
    if (old && pollring_python_handle_cancel(old))
        Py_CLEAR(handle);
    Py_XDECREF(old);
    return handle;
}

static PyObject *remove_side(struct loop_object *loop, int fd, bool writer) {
    struct watch *watch = find(loop, fd);
    if (loop->closed || !watch || !(writer ? watch->writer : watch->reader))
        Py_RETURN_FALSE;
    PyObject **side = writer ? &watch->writer : &watch->reader, *handle = *side;
    struct pollring *ring = ((struct ring_object *)loop->ring)->ring;
    if (ring && pollring_check(ring) == -EEXIST && !pollring_python_loop_ring(loop)) /* a forked child's may go */
        return NULL;
    *side = NULL;
    if (loop->own_fd == fd)
        loop->own_fd = 0;
    if (!wanted(watch))
        drop_poll(watch);
    else if (watch->poll)
        pollring_poll_update(watch->poll, wanted(watch));
    int failed = pollring_python_handle_cancel(handle);
    Py_DECREF(handle);
    if (failed)
        return NULL;
    Py_RETURN_TRUE;
}

/* ---- the methods ---- */

/* As asyncio and selectors take a file, with their errors. */
static int fd_of(PyObject *fileobj) {
    PyObject *number;
    if (PyLong_Check(fileobj)) {
        number = fileobj;
        Py_INCREF(number);
    } else {
        PyObject *given = PyObject_CallMethod(fileobj, "fileno", NULL);
        number = given ? PyNumber_Long(given) : NULL;
        Py_XDECREF(given);
        if (!number) {
            if (PyErr_ExceptionMatches(PyExc_AttributeError) || PyErr_ExceptionMatches(PyExc_TypeError) ||
                PyErr_ExceptionMatches(PyExc_ValueError))
                PyErr_Format(PyExc_ValueError, "Invalid file object: %R", fileobj);
            return -1;
        }
    }
    int overflow;
    long fd = PyLong_AsLongAndOverflow(number, &overflow);
    if (fd < 0 || overflow)
        PyErr_Format(PyExc_ValueError, "Invalid file descriptor: %S", number);
    else if (fd > INT_MAX / 2) { /* above any limit of the kernel's */
        errno = EBADF;
        PyErr_SetFromErrno(PyExc_OSError);
        fd = -1;
    }
    Py_DECREF(number);
    return overflow ? -1 : (int)fd;
}

static PyObject *name_transports, *name_data;

int pollring_python_watches_prepare(void) {
    name_transports = PyUnicode_InternFromString("_transports");
    name_data = PyUnicode_InternFromString("data");
    return name_transports && name_data ? 0 : -1;
}

/* asyncio's own check, where its dictionary of transports has the fd. */
int pollring_python_ensure_no_transport(struct loop_object *loop, int fd, PyObject *fileobj) {
    PyObject *transports = PyObject_GetAttr((PyObject *)loop, name_transports), *data = NULL, *number = NULL;
    PyObject *done = NULL;
    int known = -1;
    if (transports)
        data = PyObject_GetAttr(transports, name_data);
    if (data && PyDict_Check(data) && !PyDict_GET_SIZE(data))
        known = 0;
    else if (data && (number = PyLong_FromLong(fd)))
        known = PySequence_Contains(data, number);
    if (known == 1) {
        done = PyObject_CallMethod((PyObject *)loop, "_ensure_fd_no_transport", "O", fileobj);
        known = done ? 0 : -1;
    }
    Py_XDECREF(done);
    Py_XDECREF(number);
    Py_XDECREF(data);
    Py_XDECREF(transports);
    return known;
}

/* add_reader(fd, callback, *args) and its three likes. */
static PyObject *add(PyObject *object, PyObject *const *arguments, Py_ssize_t given, const char *method, bool writer,
                     bool users) {
    static const char *const names[] = {"fd", "callback"};
    struct loop_object *loop = (struct loop_object *)object;
    struct call call;
    if (pollring_python_call(method, names, 2, arguments, given, NULL, &call))
        return NULL;
    int fd = fd_of(call.named[0]);
    if (fd < 0 || (users && pollring_python_ensure_no_transport(loop, fd, call.named[0]))) {
        Py_DECREF(call.args);
        return NULL;
    }
    return add_side(loop, fd, writer, call.named[1], call.args);
}

static PyObject *none_for(PyObject *handle) {
    if (!handle)
        return NULL;
    Py_DECREF(handle);
    Py_RETURN_NONE;
}

static PyObject *remove_file(PyObject *object, PyObject *fileobj, bool writer, bool users) {
    struct loop_object *loop = (struct loop_object *)object;
    int fd = fd_of(fileobj);
    if (fd < 0 || (users && pollring_python_ensure_no_transport(loop, fd, fileobj)))
        return NULL;
    return remove_side(loop, fd, writer);
}

static PyObject *add_reader(PyObject *object, PyObject *const *arguments, Py_ssize_t given) {
    return none_for(add(object, arguments, given, "add_reader", false, true));
}
static PyObject *add_writer(PyObject *object, PyObject *const *arguments, Py_ssize_t given) {
    return none_for(add(object, arguments, given, "add_writer", true, true));
}
static PyObject *asyncio_add_reader(PyObject *object, PyObject *const *arguments, Py_ssize_t given) {
    return add(object, arguments, given, "_add_reader", false, false);
}
static PyObject *asyncio_add_writer(PyObject *object, PyObject *const *arguments, Py_ssize_t given) {
    return add(object, arguments, given, "_add_writer", true, false);
}
static PyObject *remove_reader(PyObject *object, PyObject *fileobj) {
    return remove_file(object, fileobj, false, true);
}
static PyObject *remove_writer(PyObject *object, PyObject *fileobj) {
    return remove_file(object, fileobj, true, true);
}
static PyObject *asyncio_remove_reader(PyObject *object, PyObject *fileobj) {
    return remove_file(object, fileobj, false, false);
}
static PyObject *asyncio_remove_writer(PyObject *object, PyObject *fileobj) {
    return remove_file(object, fileobj, true, false);
}

/* _watched(fd): (reader, writer), handles or None each; None where nothing is watched. */
static PyObject *watched(PyObject *object, PyObject *fileobj) {
    int fd = fd_of(fileobj);
    if (fd < 0)
        return NULL;
    const struct watch *watch = find((struct loop_object *)object, fd);
    if (!watch || !wanted(watch))
        Py_RETURN_NONE;
    return PyTuple_Pack(2, watch->reader ? watch->reader : Py_None, watch->writer ? watch->writer : Py_None);
}

/* _watched_fds(): a list of those that are watched. */
static PyObject *watched_fds(PyObject *object, PyObject *unused) {
    const struct loop_object *loop = (struct loop_object *)object;
    PyObject *list = PyList_New(0);
    (void)unused;
    for (size_t fd = 0; list && fd < loop->watch_room; fd++) {
        if (!wanted(&loop->watches[fd]))
            continue;
        PyObject *number = PyLong_FromSize_t(fd);
        if (!number || PyList_Append(list, number))
            Py_CLEAR(list);
        Py_XDECREF(number);
    }
    return list;
}

#define FAST(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL

PyMethodDef pollring_python_watch_methods[] = {
    {"add_reader", FAST(add_reader),
     "add_reader($self, fd, callback, /, *args)\n--\n\nCalls a callback in each iteration in which fd is readable."},
    {"add_writer", FAST(add_writer),
     "add_writer($self, fd, callback, /, *args)\n--\n\nCalls a callback in each iteration in which fd is writable."},
    {"remove_reader", remove_reader, METH_O,
     "remove_reader($self, fd, /)\n--\n\nNo longer watches fd for reading. Returns whether it did. fd is let go: a "
     "close() "
     "after it reaches the peer."},
    {"remove_writer", remove_writer, METH_O,
     "remove_writer($self, fd, /)\n--\n\nNo longer watches fd for writing. Returns whether it did."},
    {"_add_reader", FAST(asyncio_add_reader), NULL},
    {"_add_writer", FAST(asyncio_add_writer), NULL},
    {"_remove_reader", asyncio_remove_reader, METH_O, NULL},
    {"_remove_writer", asyncio_remove_writer, METH_O, NULL},
    {"_watched", watched, METH_O, NULL},
    {"_watched_fds", watched_fds, METH_NOARGS, NULL},
    {0},
};
