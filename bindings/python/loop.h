/*
 * What the files of the event loop share: the loop, the two kinds of handles, and the operations on sockets. Knows
 * binding.h and asyncio's Python classes, which pollring.EventLoop (python/pollring/_loop.py) derives from too.
 *
 * An iteration (loop.c) collects events into the queue of ready handles (watch.c, sockets.c), moves due timers there
 * (timers.c), and runs what is in the queue (handle.c). Names that begin with an underscore are asyncio's own: its
 * Python half reads and calls them.
 *
 * All of it runs under the GIL but the sleep in loop.c, during which other threads may add ready handles, and wake it.
 */
#ifndef POLLRING_PYTHON_LOOP_H
#define POLLRING_PYTHON_LOOP_H

#include "binding.h"

/* asyncio.Handle and asyncio.TimerHandle are Python classes with slots, and ours derive from them: the same memory.
   That it is laid out so is checked when the first loop is made. */
struct handle {
    PyObject_HEAD PyObject *args, *callback, *cancelled, *context, *loop, *repr, *source_traceback;
#if PY_VERSION_HEX < 0x030C0000
    PyObject *weak_references;
#endif
};

struct timer {
    struct handle handle;
    PyObject *scheduled, *when;
    size_t position; /* in the heap, counted from 1; 0: not in it */
};

/* What is watched of one fd. */
struct watch {
    struct pollring_poll *poll; /* NULL: nothing, or the fd was closed under it */
    PyObject *reader, *writer;  /* handles, or NULL */
    uint64_t socket;            /* the inode number of a socket, which no other has; 0: no socket */
    bool suspect, told;         /* watch.c */
};

struct scheduled {
    double when;
    struct timer *timer;
};

struct operation;

struct loop_object {
    PyObject_HEAD PyObject *ring; /* pollring.Ring; NULL: not opened, or closed */
    struct pollring_inbox *inbox; /* the loop's polls: those that the user adds to the ring have theirs */
    PyObject *thread_id;          /* of the thread that runs it, or None */
    bool closed, stopping, debug; /* asyncio's _closed, _stopping, _debug */
    bool forever;                 /* _run_once() goes on until _stopping */
    bool skipped;                 /* the last iteration collected nothing */
    bool foreign_clock;           /* a subclass has a time() of its own */
    PyObject **ready;             /* a ring of handles */
    size_t first_ready, ready_count, ready_room;
    struct scheduled *timers; /* a binary heap */
    size_t timer_count, timer_room;
    struct watch *watches; /* by fd */
    size_t watch_room;
    int own_fd;              /* of its own ring, where that is watched; else 0 */
    struct pollfd *suspects; /* watch.c */
    size_t suspect_count, suspect_room;
    struct operation *operations; /* those that wait */
};

/* loop.c */
struct pollring *pollring_python_loop_ring(struct loop_object *loop);      /* for this thread; NULL with an error */
int pollring_python_loop_push(struct loop_object *loop, PyObject *handle); /* makes it ready: 0, or -1 with an error */
int pollring_python_loop_check(struct loop_object *loop);   /* 0; -1 with RuntimeError where it is closed */
double pollring_python_loop_time(struct loop_object *loop); /* now; -1 with an error */
int pollring_python_add_methods(PyTypeObject *type, PyMethodDef *methods); /* 0, or -1 with an error */

/* Doubles the room of an array, from a first size. 0, or -1 with MemoryError. */
int pollring_python_grow(void *array, size_t *room, size_t size);

/* handle.c */
int pollring_python_handle_prepare(void); /* makes the types: 0, or -1 with an error */
PyObject *pollring_python_handle(struct loop_object *loop, PyObject *callback, PyObject *args, PyObject *context);
struct timer *pollring_python_timer(struct loop_object *loop, PyObject *callback, PyObject *args, PyObject *context);
int pollring_python_handle_cancel(PyObject *handle);
int pollring_python_handle_run(struct loop_object *loop, PyObject *handle); /* -1: the exception is to end the loop */
PyObject *pollring_python_caught(void); /* the exception, no longer set; NULL where it is to end the loop: still set */
static inline bool handle_is_cancelled(PyObject *handle) {
    return ((struct handle *)handle)->cancelled == Py_True;
}

/* Where objects of a class have a slot, which *offset tells; where that isn't 0, it is to be there. 0, or -1 with an
   error: ImportError. */
int pollring_python_slot(PyObject *type, const char *name, Py_ssize_t *offset);

/* The arguments of call_soon(callback, *args, context=None) and the like: the first count of them have names. */
struct call {
    PyObject *named[2], *args, *context; /* args: a new reference */
};
int pollring_python_call(const char *function, const char *const *names, Py_ssize_t count, PyObject *const *arguments,
                         Py_ssize_t given, PyObject *keywords, struct call *call);

/* timers.c */
extern PyMethodDef pollring_python_timer_methods[];
int pollring_python_timers_due(struct loop_object *loop); /* 0, or -1 with an error */
void pollring_python_timer_remove(struct loop_object *loop, struct timer *timer);
void pollring_python_timers_clear(struct loop_object *loop);

/* watch.c; where nothing else is said: 0, or -1 with an error */
extern PyMethodDef pollring_python_watch_methods[];
int pollring_python_watch_event(struct loop_object *loop, const struct pollring_event *event);
bool pollring_python_is_watch(const struct pollring_event *event); /* else an operation's */
int pollring_python_watch_peek(struct loop_object *loop);          /* before a collection: 0, or -1 with an error */
int pollring_python_watch_check(struct loop_object *loop, size_t count, bool peeked); /* after it: the first count */
int pollring_python_watch_own(struct loop_object *loop, const struct pollring *ring);
void pollring_python_watches_clear(struct loop_object *loop);
int pollring_python_watches_prepare(void);
int pollring_python_ensure_no_transport(struct loop_object *loop, int fd, PyObject *fileobj);

/* sockets.c; likewise */
extern PyMethodDef pollring_python_socket_methods[];
int pollring_python_sockets_prepare(void);
int pollring_python_operation_event(const struct pollring_event *event);
int pollring_python_operations_visit(struct loop_object *loop, visitproc visit, void *arg);
void pollring_python_operations_clear(struct loop_object *loop);

enum { POLLRING_PYTHON_QUICK = 64 * 1024 };       /* bytes: up to here the GIL is kept in a call that can't block */
bool pollring_python_is_socket(PyObject *object); /* exactly a socket.socket; NULL is none */
int pollring_python_socket_fd(PyObject *socket);  /* of such a one: -1 with an error, OSError where it is closed */
PyObject *pollring_python_receive(int fd, Py_ssize_t size); /* bytes; NULL: it would block, or with an error */
Py_ssize_t pollring_python_send(int fd, const void *buffer, Py_ssize_t size); /* 0: it would block; -1 with an error */

/* asyncio's own: type.name(self, *arguments, **keywords) */
PyObject *pollring_python_stdlib(PyObject *type, const char *name, PyObject *self, PyObject *const *arguments,
                                 Py_ssize_t given, PyObject *keywords);

#endif
