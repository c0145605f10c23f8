/*
 * _pollring.Poll: one poll, iterable over its events.
 */
#include "binding.h"

#include <errno.h>

#include <structmember.h>

struct pollring_poll *pollring_python_poll(PyObject *object) {
    if (!PyObject_TypeCheck(object, &pollring_python_poll_type)) {
        PyErr_Format(PyExc_TypeError, "a Poll is wanted, not %.100s", Py_TYPE(object)->tp_name);
        return NULL;
    }
    struct pollring_poll *poll = ((struct poll_object *)object)->poll;
    if (!poll)
        PyErr_SetString(PyExc_ValueError, "this Poll was never added: ring.poll_add() makes them");
    return poll;
}

/* ---- who keeps it alive ---- */

void pollring_python_keep(struct poll_object *self) {
    if (self->kept || !self->ring->ring)
        return;
    self->kept = true;
    self->previous_kept = NULL;
    self->next_kept = self->ring->kept;
    if (self->next_kept)
        self->next_kept->previous_kept = self;
    self->ring->kept = self;
    Py_INCREF(self);
}

void pollring_python_release(struct poll_object *self) {
    if (!self->kept)
        return;
    self->kept = false;
    *(self->previous_kept ? &self->previous_kept->next_kept : &self->ring->kept) = self->next_kept;
    if (self->next_kept)
        self->next_kept->previous_kept = self->previous_kept;
    Py_DECREF(self);
}

static int poll_traverse(PyObject *object, visitproc visit, void *arg) {
    struct poll_object *self = (struct poll_object *)object;
    Py_VISIT(self->ring);
    Py_VISIT(self->fileobj);
    Py_VISIT(self->data);
    return 0;
}

/* The ring stays: what the poll is freed from. Cycles through it are cut at the ring's end. */
static int poll_clear(PyObject *object) {
    struct poll_object *self = (struct poll_object *)object;
    Py_CLEAR(self->fileobj);
    Py_CLEAR(self->data);
    return 0;
}

static void poll_dealloc(PyObject *object) {
    struct poll_object *self = (struct poll_object *)object;
    PyObject_GC_UnTrack(self);
    if (self->weak_references)
        PyObject_ClearWeakRefs(object);
    pollring_poll_free(self->poll); /* first: from here on no event names this object */
    self->poll = NULL;
    poll_clear(object);
    Py_CLEAR(self->ring);
    Py_TYPE(self)->tp_free(object);
}

/* ---- making one ---- */

static PyObject *poll_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords) {
    PyObject *ring, *fileobj, *mask, *data;
    unsigned flags;
    uint32_t events;
    if (keywords && PyDict_GET_SIZE(keywords)) {
        PyErr_SetString(PyExc_TypeError, "Poll takes no keyword arguments: ring.poll_add() does");
        return NULL;
    }
    if (!PyArg_ParseTuple(arguments, "O!OOIO:Poll", &pollring_python_ring_type, &ring, &fileobj, &mask, &flags,
                          &data) ||
        pollring_python_mask(mask, &events))
        return NULL;
    int fd = pollring_python_fileno(fileobj);
    struct poll_object *self = fd < 0 ? NULL : (struct poll_object *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    Py_INCREF(ring);
    self->ring = (struct ring_object *)ring;
    Py_INCREF(fileobj);
    self->fileobj = fileobj;
    Py_INCREF(data);
    self->data = data;
    self->multishot = !(flags & POLLRING_ONESHOT);
    /* Only now, as what came before may have closed it. */
    struct pollring *opened = pollring_python_ring(ring);
    int error = opened ? pollring_poll_add(opened, &self->poll, fd, events, flags, self) : 0;
    if (error == -EINVAL)
        PyErr_Format(PyExc_ValueError, "poll_add: fd %d: events %S is out of range: POLL* bits and EPOLLEXCLUSIVE", fd,
                     mask);
    else if (error)
        pollring_python_raise(error, "poll_add", fd);
    if (!opened || error) {
        Py_DECREF(self);
        return NULL;
    }
    pollring_python_keep(self);
    return (PyObject *)self;
}

/* ---- its events ---- */

/* From here on only its users keep it: what leaves the loop and drops it removes it. Not where it can't be iterated, in
   another thread or a forked child: that changes nothing. */
static void release_to_users(struct poll_object *self) {
    if (self->kept && self->ring->ring && !pollring_check(self->ring->ring))
        pollring_python_release(self);
}

static PyObject *poll_iter(PyObject *object) {
    Py_INCREF(object);
    release_to_users((struct poll_object *)object);
    return object;
}

/* Waits for an event: as pollring_next(), but serves signals, and gives up the GIL where it has to sleep. */
static int next_event(struct poll_object *self, struct pollring_event *event, struct timeout *timeout) {
    static const struct timespec zero;
    for (bool begun = false;; begun = true) {
        int result = pollring_next(self->poll, event, &zero);
        if (result != -ETIME && result != -EINTR) /* Linux 5.10 interrupts a look too */
            return result;
        if (PyErr_CheckSignals())
            return -EINTR;
        if (timeout->zero)
            return -ETIME;
        if (begun)
            timeout->timespec = time_until(timeout->deadline);
        else
            timeout->deadline = deadline_of(timeout->timespec);
        self->ring->sleeping = true;
        Py_BEGIN_ALLOW_THREADS;
        result = pollring_next(self->poll, event, timeout->endless ? NULL : &timeout->timespec);
        Py_END_ALLOW_THREADS;
        self->ring->sleeping = false;
        if (result != -EINTR)
            return result;
    }
}

static PyObject *poll_iternext(PyObject *object) {
    struct poll_object *self = (struct poll_object *)object;
    struct timeout timeout = {.endless = true};
    struct pollring_event event;
    int result;
    if (!pollring_python_poll(object))
        return NULL;
    release_to_users(self);
    do
        result = next_event(self, &event, &timeout);
    while (result == -ETIME); /* woken: that is for waits */
    if (result == 1 && event.result >= 0)
        return pollring_python_events(event.result, event.more);
    if (result == 1)
        result = event.result;
    if (result < 0 && !PyErr_Occurred())
        pollring_python_raise(result, "poll", pollring_poll_fd(self->poll));
    return NULL;
}

PyDoc_STRVAR(wait_doc,
             "wait($self, timeout=None)\n--\n\n"
             "Waits for this poll's next event, at most timeout seconds (None: for ever).\n\n"
             "Returns Events (negative: an errno), 0 at the timeout or after ring.wake(), None when the poll has "
             "ended.\nEvents of other polls that come meanwhile are kept for them.");

static PyObject *poll_wait(PyObject *object, PyObject *const *arguments, Py_ssize_t count, PyObject *keywords) {
    static const char *const names[] = {"timeout"};
    struct poll_object *self = (struct poll_object *)object;
    PyObject *seconds = Py_None;
    struct timeout timeout;
    struct pollring_event event;
    if (pollring_python_arguments("wait", names, 1, arguments, count, keywords, &seconds) ||
        pollring_python_timeout(seconds, &timeout) || !pollring_python_poll(object))
        return NULL;
    int result = next_event(self, &event, &timeout);
    if (result == 1 && !event.more)
        pollring_python_release(self);
    if (result == 1)
        return pollring_python_events(event.result, event.more);
    if (result == -ETIME)
        return pollring_python_events(0, true);
    if (result == 0)
        Py_RETURN_NONE;
    if (!PyErr_Occurred())
        pollring_python_raise(result, "wait", pollring_poll_fd(self->poll));
    return NULL;
}

PyObject *pollring_python_end_reason(int reason) {
    if (reason == POLLRING_END_NONE)
        Py_RETURN_NONE;
    return PyUnicode_InternFromString(pollring_strend(reason));
}

static PyMethodDef poll_methods[] = {
    {"wait", (PyCFunction)(void (*)(void))poll_wait, METH_FASTCALL | METH_KEYWORDS, wait_doc},
    {0},
};

static PyMemberDef poll_members[] = {
    {"ring", T_OBJECT, offsetof(struct poll_object, ring), READONLY, "The Ring."},
    {"fileobj", T_OBJECT, offsetof(struct poll_object, fileobj), READONLY, "The file, as it was given."},
    {"data", T_OBJECT, offsetof(struct poll_object, data), 0, "Whatever the user put there."},
    {"multishot", T_BOOL, offsetof(struct poll_object, multishot), READONLY, "Whether it stays armed after an event."},
    {0},
};

PyTypeObject pollring_python_poll_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "pollring._pollring.Poll",
    .tp_basicsize = sizeof(struct poll_object),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "The C half of pollring.Poll.",
    .tp_new = poll_new,
    .tp_dealloc = poll_dealloc,
    .tp_traverse = poll_traverse,
    .tp_clear = poll_clear,
    .tp_weaklistoffset = offsetof(struct poll_object, weak_references),
    .tp_iter = poll_iter,
    .tp_iternext = poll_iternext,
    .tp_methods = poll_methods,
    .tp_members = poll_members,
};
