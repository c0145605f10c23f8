/*
 * What the files of the Python module share: the two types, and the helpers of the typemaps in pollring.i. Knows
 * Python.h and the core's public header, nothing else of the core.
 *
 * _pollring.Ring and _pollring.Poll are the halves of the classes that have to be C: what waits, what hands out events,
 * what decides about lifetimes. pollring.Ring and pollring.Poll (python/pollring) derive from them.
 *
 * Lifetimes. A poll holds its ring. A ring holds ("keeps") the polls that are active and that nobody iterates, in a
 * list through the poll objects; the garbage collector sees both directions. An event's owner is the poll object,
 * borrowed: a poll object that dies frees its poll first, and the core hands out no event of a freed poll.
 *
 * Any allocation may run finalisers that close this very ring: whoever allocates looks again whether it is open.
 */
#ifndef POLLRING_PYTHON_BINDING_H
#define POLLRING_PYTHON_BINDING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "deadline.h"
#include "pollring.h"

struct poll_object;

struct ring_object {
    PyObject_HEAD struct pollring *ring; /* NULL: closed, or not opened */
    struct poll_object *kept;            /* the first of those that the ring keeps alive */
    bool sleeping;                       /* its owner is inside the core without the GIL */
    PyObject *driver;                    /* python/pollring/_async.py: takes its events for tasks; NULL: nobody does */
    PyObject *weak_references;
};

struct poll_object {
    PyObject_HEAD struct pollring_poll *poll; /* NULL: not added */
    struct ring_object *ring;
    PyObject *fileobj, *data;
    struct poll_object *previous_kept, *next_kept;
    bool kept, multishot;
    PyObject *weak_references;
};

extern PyTypeObject pollring_python_ring_type, pollring_python_poll_type, pollring_python_loop_type;

/* ring.c: 0, or -1 with an error: ImportError in a sub-interpreter. */
int pollring_python_add_types(PyObject *module);

/* loop.c: likewise, the methods that are in other files */
int pollring_python_loop_add_methods(void);

/* ring.c: the core's ring; NULL and ValueError where it is closed, TypeError where it is no ring. */
struct pollring *pollring_python_ring(PyObject *object);

/* poll.c: likewise */
struct pollring_poll *pollring_python_poll(PyObject *object);
void pollring_python_keep(struct poll_object *poll);    /* the ring keeps it alive, as long as it is active */
void pollring_python_release(struct poll_object *poll); /* and no longer; may free it */
PyObject *pollring_python_end_reason(int reason);

/* event.c: a new reference to an Events */
PyObject *pollring_python_events(int result, bool more);
PyObject *pollring_python_names(PyObject *module, PyObject *arguments);

/* ready.c */
PyObject *pollring_python_ready(PyObject *module, PyObject *arguments);

/* transport.c */
PyObject *pollring_python_stream_transport(PyObject *module, PyObject *arguments);

/* convert.c */
struct timeout {
    bool endless, zero;
    struct timespec timespec; /* what is left of it */
    struct timespec deadline; /* since the first sleep */
};
int pollring_python_timeout(PyObject *object, struct timeout *timeout); /* 0, or -1 with ValueError or TypeError */
/* Of a METH_FASTCALL | METH_KEYWORDS function with at most so many arguments: fills values, borrowed, where they are
   given. 0, or -1 with TypeError. PyArg_ParseTupleAndKeywords() takes a fifth of a wait's time. */
int pollring_python_arguments(const char *function, const char *const names[], Py_ssize_t most,
                              PyObject *const *arguments, Py_ssize_t count, PyObject *keywords, PyObject *values[]);
int pollring_python_mask(PyObject *object, uint32_t *mask);                      /* likewise, and TypeError */
int pollring_python_fileno(PyObject *fileobj);                                   /* -1 with an error */
void pollring_python_raise(int error, const char *function, int fd);             /* fd: -1 where none is meant */
void pollring_python_refused(int error, const struct pollring_options *options); /* a ring: OSError that says by whom */
PyObject *pollring_python_status(int result, const char *function, int fd);      /* None, or raises */
PyObject *pollring_python_number(int result, const char *function, int fd);      /* an int, or raises */
PyObject *pollring_python_raise_error(PyObject *module, PyObject *arguments); /* raise_error(-errno, fd), of a poll */
PyObject *pollring_python_stats(const struct pollring_stats *stats);
PyObject *pollring_python_probe(const struct pollring_probe *probe);

#endif
