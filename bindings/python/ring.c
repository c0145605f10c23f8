/*
 * _pollring.Ring: one ring, and the batch: the way of events into a Python list, in one pass.
 */
#include "binding.h"

#include <errno.h>
#include <structmember.h>

struct pollring *pollring_python_ring(PyObject *object) {
    if (!PyObject_TypeCheck(object, &pollring_python_ring_type)) {
        PyErr_Format(PyExc_TypeError, "a Ring is wanted, not %.100s", Py_TYPE(object)->tp_name);
        return NULL;
    }
    struct pollring *ring = ((struct ring_object *)object)->ring;
    if (!ring)
        PyErr_SetString(PyExc_ValueError, "the ring is closed");
    return ring;
}

/* ---- opening and closing ---- */

static int ring_init(PyObject *object, PyObject *arguments, PyObject *keywords) {
    struct ring_object *self = (struct ring_object *)object;
    struct pollring_options options = {0};
    if (keywords && PyDict_GET_SIZE(keywords)) {
        PyErr_SetString(PyExc_TypeError, "_pollring.Ring takes no keyword arguments");
        return -1;
    }
    if (!PyArg_ParseTuple(arguments, "IIIII:Ring", &options.entries, &options.cq_entries, &options.flags,
                          &options.backend, &options.busy_poll_us))
        return -1;
    if (self->ring) {
        PyErr_SetString(PyExc_ValueError, "the ring is open already");
        return -1;
    }
    int error = pollring_open(&self->ring, &options);
    if (error)
        pollring_python_refused(error, &options);
    return error ? -1 : 0;
}

/* The core first, so that no event can name a poll that goes; then the polls, whose finalisers may do anything. Without
   the GIL, as it may sleep: to other threads the ring is closed from the start, and what they free meanwhile is safe.
 */
static void close_ring(struct ring_object *self) {
    struct pollring *ring = self->ring;
    self->ring = NULL;
    if (ring) {
        Py_BEGIN_ALLOW_THREADS;
        pollring_close(ring);
        Py_END_ALLOW_THREADS;
    }
    while (self->kept)
        pollring_python_release(self->kept);
}

static int ring_traverse(PyObject *object, visitproc visit, void *arg) {
    for (struct poll_object *poll = ((struct ring_object *)object)->kept; poll; poll = poll->next_kept)
        Py_VISIT(poll);
    Py_VISIT(((struct ring_object *)object)->driver);
    return 0;
}

static int ring_clear(PyObject *object) {
    close_ring((struct ring_object *)object);
    Py_CLEAR(((struct ring_object *)object)->driver);
    return 0;
}

static void ring_dealloc(PyObject *object) {
    struct ring_object *self = (struct ring_object *)object;
    PyObject_GC_UnTrack(self);
    if (self->weak_references)
        PyObject_ClearWeakRefs(object);
    ring_clear(object);
    Py_TYPE(self)->tp_free(object);
}

PyDoc_STRVAR(close_doc,
             "close($self)\n--\n\n"
             "Ends every poll and releases its file before it returns. Harmless on a closed ring. Iterators over polls "
             "and\nover events() end, also that of the loop it is called in.\n\n"
             "In a forked child it releases the child's memory only. From another thread than the ring's owner "
             "only\nafter that has ended.");

static PyObject *ring_close(PyObject *object, PyObject *unused) {
    struct ring_object *self = (struct ring_object *)object;
    (void)unused;
    if (!self->ring)
        Py_RETURN_NONE;
    if (pollring_check(self->ring) == -EEXIST && !pollring_orphaned(self->ring)) {
        pollring_python_raise(-EEXIST, "close", -1);
        return NULL;
    }
    close_ring(self);
    Py_RETURN_NONE;
}

/* ---- the batch ---- */

enum { AT_ONCE = 128 };

/* Puts (poll, events) into the batch at an index, which is in the list or its end. Takes over the reference to the
 * poll. */
static int put(PyObject *batch, Py_ssize_t index, const struct pollring_event *event) {
    struct poll_object *poll = event->owner;
    PyObject *events = pollring_python_events(event->result, event->more);
    PyObject *pair = events ? PyTuple_New(2) : NULL;
    if (!pair) {
        Py_XDECREF(events);
        Py_DECREF(poll);
        return -1;
    }
    PyTuple_SET_ITEM(pair, 0, (PyObject *)poll);
    PyTuple_SET_ITEM(pair, 1, events);
    if (!event->more)
        pollring_python_release(poll); /* that was its last */
    if (index < PyList_GET_SIZE(batch)) {
        PyList_SET_ITEM(batch, index, pair);
        return 0;
    }
    int failed = PyList_Append(batch, pair);
    Py_DECREF(pair);
    return failed;
}

/* Adds some events to the batch, which is made here if it is NULL. NULL with an error. */
static PyObject *put_many(PyObject *batch, struct pollring_event *events, int count) {
    /* The polls' own references are taken before anything is allocated, which may run finalisers. */
    for (int i = 0; i < count; i++)
        Py_INCREF(events[i].owner);
    Py_ssize_t index = batch ? PyList_GET_SIZE(batch) : 0;
    batch = batch ? batch : PyList_New(count);
    int done = 0;
    while (batch && done < count) {
        if (put(batch, index++, &events[done++]))
            Py_CLEAR(batch);
    }
    for (; done < count; done++)
        Py_DECREF(events[done].owner);
    return batch;
}

/* Takes what is there, into a list: NULL with an error. */
static PyObject *fill(struct ring_object *self, Py_ssize_t max) {
    struct pollring_event events[AT_ONCE];
    PyObject *batch = NULL;
    for (;;) {
        Py_ssize_t left = max ? max - (batch ? PyList_GET_SIZE(batch) : 0) : AT_ONCE;
        int room = left < AT_ONCE ? (int)left : AT_ONCE;
        int taken = room && self->ring ? pollring_take_many(self->ring, NULL, events, (unsigned)room) : 0;
        if (taken < 0) {
            pollring_python_raise(taken, "wait", -1);
            Py_CLEAR(batch);
            return NULL;
        }
        batch = put_many(batch, events, taken);
        if (!batch || taken < AT_ONCE)
            return batch;
    }
}

/* Waits without the GIL, and serves signals, first what came before. 0, or -1 with an error. */
static int sleep_for_events(struct ring_object *self, struct timeout *timeout) {
    timeout->deadline = deadline_of(timeout->timespec);
    for (;;) {
        if (PyErr_CheckSignals())
            return -1;
        struct pollring *ring = pollring_python_ring((PyObject *)self); /* a signal's handler may have closed it */
        if (!ring)
            return -1;
        int error;
        self->sleeping = true;
        Py_BEGIN_ALLOW_THREADS;
        error = pollring_inbox_collect(ring, NULL, timeout->endless ? NULL : &timeout->timespec);
        Py_END_ALLOW_THREADS;
        self->sleeping = false;
        if (error != -EINTR) {
            if (error)
                pollring_python_raise(error, "wait", -1);
            return error ? -1 : 0;
        }
        timeout->timespec = time_until(timeout->deadline);
    }
}

/* On the way of every wait: a call would cost 2% of its instructions. */
static inline __attribute__((always_inline)) PyObject *wait_for_batch(struct ring_object *self, struct timeout *timeout,
                                                                      Py_ssize_t max) {
    static const struct timespec zero;
    struct pollring *ring = pollring_python_ring((PyObject *)self);
    if (!ring)
        return NULL;
    int error = pollring_inbox_collect(ring, NULL, &zero); /* first a look: nothing to give up the GIL for */
    if (error == -EINTR) /* Linux 5.10 says so of a look too; the sleep, or the interpreter, sees to the signal */
        error = 0;
    if (error)
        pollring_python_raise(error, "wait", -1);
    PyObject *batch = error ? NULL : fill(self, max);
    if (!batch || PyList_GET_SIZE(batch) || timeout->zero || !self->ring)
        return batch;
    Py_DECREF(batch);
    return sleep_for_events(self, timeout) ? NULL : fill(self, max);
}

static bool allowed_by(PyObject *driver) {
    PyObject *result = PyObject_CallMethod(driver, "check_wait", NULL);
    Py_XDECREF(result);
    return result;
}

PyDoc_STRVAR(
    wait_doc,
    "wait($self, timeout=None, max_events=0)\n--\n\n"
    "Collects everything that is pending, and waits at most timeout seconds (None: for ever) where nothing is. Other\n"
    "threads run meanwhile; an event loop in this one doesn't.\n\n"
    "Returns a list of (Poll, Events), at most max_events long if that isn't 0; [] at the timeout or after wake().\n"
    "Negative Events are an errno: -ECANCELED for a poll that was removed.\n\n"
    "RuntimeError in an event loop whose tasks iterate over polls of this ring: it would take their events.");

static PyObject *ring_wait(PyObject *object, PyObject *const *arguments, Py_ssize_t count, PyObject *keywords) {
    static const char *const names[] = {"timeout", "max_events"};
    PyObject *values[] = {Py_None, NULL};
    struct timeout timeout;
    struct ring_object *self = (struct ring_object *)object;
    if (pollring_python_arguments("wait", names, 2, arguments, count, keywords, values) ||
        pollring_python_timeout(values[0], &timeout) || (self->driver && !allowed_by(self->driver)))
        return NULL;
    Py_ssize_t max = values[1] ? PyNumber_AsSsize_t(values[1], PyExc_OverflowError) : 0;
    if (max == -1 && PyErr_Occurred())
        return NULL;
    if (max < 0) {
        PyErr_Format(PyExc_ValueError, "max_events %zd is negative: 0 is without a limit", max);
        return NULL;
    }
    return wait_for_batch(self, &timeout, max);
}

PyDoc_STRVAR(take_doc, "_take($self)\n--\n\nWhat wait(0) gives, for the driver.");

static PyObject *ring_take(PyObject *object, PyObject *unused) {
    struct timeout no_time = {.zero = true};
    (void)unused;
    return wait_for_batch((struct ring_object *)object, &no_time, 0);
}

static PyObject *ring_closed(PyObject *object, void *unused) {
    (void)unused;
    return PyBool_FromLong(!((struct ring_object *)object)->ring);
}

static PyMethodDef ring_methods[] = {
    {"wait", (PyCFunction)(void (*)(void))ring_wait, METH_FASTCALL | METH_KEYWORDS, wait_doc},
    {"_take", ring_take, METH_NOARGS, take_doc},
    {"close", ring_close, METH_NOARGS, close_doc},
    {0},
};

static PyMemberDef ring_members[] = {
    {"_driver", T_OBJECT, offsetof(struct ring_object, driver), 0, "Takes its events for tasks, or None."},
    {0},
};

static PyGetSetDef ring_fields[] = {
    {"closed", ring_closed, NULL, "Whether close() was called.", NULL},
    {0},
};

PyTypeObject pollring_python_ring_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "pollring._pollring.Ring",
    .tp_basicsize = sizeof(struct ring_object),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "The C half of pollring.Ring.",
    .tp_new = PyType_GenericNew,
    .tp_init = ring_init,
    .tp_dealloc = ring_dealloc,
    .tp_traverse = ring_traverse,
    .tp_clear = ring_clear,
    .tp_weaklistoffset = offsetof(struct ring_object, weak_references),
    .tp_methods = ring_methods,
    .tp_members = ring_members,
    .tp_getset = ring_fields,
};

static int add_type(PyObject *module, const char *name, PyTypeObject *type) {
    if (PyType_Ready(type))
        return -1;
    Py_INCREF(type);
    if (!PyModule_AddObject(module, name, (PyObject *)type))
        return 0;
    Py_DECREF(type);
    return -1;
}

/*
 * What events are made of (event.c) belongs to one interpreter, and would be left dangling by the end of another.
 * Without the size, Python gives a second interpreter a copy of the module's dict and asks nobody.
 */
static int check_interpreter(PyObject *module) {
    PyModule_GetDef(module)->m_size = 0;
    if (PyInterpreterState_Get() == PyInterpreterState_Main())
        return 0;
    PyErr_SetString(PyExc_ImportError, "pollring works in the main interpreter only, not in a sub-interpreter");
    return -1;
}

int pollring_python_add_types(PyObject *module) {
    if (check_interpreter(module))
        return -1;
    return add_type(module, "Ring", &pollring_python_ring_type) ||
                   add_type(module, "Poll", &pollring_python_poll_type) ||
                   add_type(module, "Loop", &pollring_python_loop_type) || pollring_python_loop_add_methods()
               ? -1
               : 0;
}
