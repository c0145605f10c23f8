/*
 * _pollring.Loop: the half of pollring.EventLoop that is C. Here are the iteration, call_soon(), the sleep, and whose
 * thread the loop's ring is.
 */
#include "loop.h"

#include <errno.h>
#include <structmember.h>

enum { FEW_SUSPECTS = 4 }; /* whose callbacks others may wait for */

static struct loop_object *loop_of(PyObject *object) {
    return (struct loop_object *)object;
}

int pollring_python_grow(void *array, size_t *room, size_t size) {
    void *old, *bigger;
    memcpy(&old, array, sizeof old);
    size_t more = *room ? 2 * *room : 64;
    bigger = PyMem_Realloc(old, more * size);
    if (!bigger) {
        PyErr_NoMemory();
        return -1;
    }
    memcpy(array, &bigger, sizeof bigger);
    *room = more;
    return 0;
}

/* ---- whose it is ---- */

static bool runs_elsewhere(const struct loop_object *loop) {
    return loop->thread_id && loop->thread_id != Py_None &&
           PyLong_AsUnsignedLong(loop->thread_id) != PyThread_get_thread_ident();
}

/* A loop may be made in one thread, run in another, and be closed in the first: the ring goes along. */
static int adopt(struct loop_object *loop, struct pollring *ring) {
    if (runs_elsewhere(loop)) {
        PyErr_SetString(PyExc_RuntimeError,
                        "Non-thread-safe operation invoked on an event loop other than the current one");
        return -1;
    }
    int error = pollring_adopt(ring);
    if (error)
        pollring_python_raise(error, "adopt", -1);
    return error ? -1 : 0;
}

struct pollring *pollring_python_loop_ring(struct loop_object *loop) {
    struct pollring *ring = loop->ring ? ((struct ring_object *)loop->ring)->ring : NULL;
    if (!ring) {
        PyErr_SetString(PyExc_RuntimeError, loop->ring ? "the loop's ring is closed" : "Event loop is closed");
        return NULL;
    }
    int error = pollring_check(ring);
    if (!error || (error == -EEXIST && !adopt(loop, ring)))
        return ring;
    if (error != -EEXIST)
        pollring_python_raise(error, "loop", -1);
    return NULL;
}

int pollring_python_loop_check(struct loop_object *loop) {
    if (!loop->closed && loop->ring)
        return 0;
    PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
    return -1;
}

/* ---- time ---- */

static double monotonic(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)(time.tv_sec * INT64_C(1000000000) + time.tv_nsec) / 1e9; /* as time.monotonic() */
}

double pollring_python_loop_time(struct loop_object *loop) {
    if (!loop->foreign_clock)
        return monotonic();
    PyObject *now = PyObject_CallMethod((PyObject *)loop, "time", NULL);
    double seconds = now ? PyFloat_AsDouble(now) : -1;
    Py_XDECREF(now);
    return seconds;
}

static PyObject *loop_time(PyObject *object, PyObject *unused) {
    (void)object, (void)unused;
    return PyFloat_FromDouble(monotonic());
}

/* ---- ready handles ---- */

static int grow_ready(struct loop_object *loop) {
    size_t room = loop->ready_room, first = loop->first_ready;
    if (pollring_python_grow(&loop->ready, &loop->ready_room, sizeof *loop->ready))
        return -1;
    memcpy(loop->ready + room, loop->ready, first * sizeof *loop->ready); /* what had wrapped around */
    return 0;
}

int pollring_python_loop_push(struct loop_object *loop, PyObject *handle) {
    if (loop->ready_count == loop->ready_room && grow_ready(loop))
        return -1;
    Py_INCREF(handle);
    loop->ready[(loop->first_ready + loop->ready_count++) & (loop->ready_room - 1)] = handle;
    return 0;
}

static PyObject *pop_ready(struct loop_object *loop) {
    PyObject *handle = loop->ready[loop->first_ready];
    loop->first_ready = (loop->first_ready + 1) & (loop->ready_room - 1);
    loop->ready_count--;
    return handle;
}

/* Those that are ready now; what they make ready is for the next iteration. */
static int run_ready(struct loop_object *loop) {
    for (size_t left = loop->ready_count; left && loop->ready_count; left--) {
        PyObject *handle = pop_ready(loop);
        int failed = handle_is_cancelled(handle) ? 0 : pollring_python_handle_run(loop, handle);
        Py_DECREF(handle);
        if (failed)
            return -1;
    }
    return 0;
}

/* The loop sleeps without the GIL only: who has that sees whether it does. */
static void wake(struct loop_object *loop) {
    const struct ring_object *ring = (struct ring_object *)loop->ring;
    if (ring && ring->ring && ring->sleeping)
        pollring_wake(ring->ring);
}

static int check_call(struct loop_object *loop, PyObject *callback, const char *method, bool any_thread) {
    PyObject *object = (PyObject *)loop, *done = Py_None;
    Py_INCREF(done);
    if (!any_thread)
        Py_SETREF(done, PyObject_CallMethod(object, "_check_thread", NULL));
    if (done)
        Py_SETREF(done, PyObject_CallMethod(object, "_check_callback", "Os", callback, method));
    Py_XDECREF(done);
    return done ? 0 : -1;
}

static PyObject *make_ready(PyObject *object, PyObject *const *arguments, Py_ssize_t given, PyObject *keywords,
                            const char *method, bool any_thread) {
    static const char *const names[] = {"callback"};
    struct loop_object *loop = loop_of(object);
    struct call call;
    if (pollring_python_call(method, names, 1, arguments, given, keywords, &call))
        return NULL;
    if (pollring_python_loop_check(loop) || (loop->debug && check_call(loop, call.named[0], method, any_thread))) {
        Py_DECREF(call.args);
        return NULL;
    }
    PyObject *handle = pollring_python_handle(loop, call.named[0], call.args, call.context);
    if (handle && pollring_python_loop_push(loop, handle))
        Py_CLEAR(handle);
    return handle;
}

PyDoc_STRVAR(call_soon_doc,
             "call_soon($self, callback, /, *args, context=None)\n--\n\n"
             "Arranges for a callback to be called as soon as possible. Returns its Handle.");

static PyObject *call_soon(PyObject *object, PyObject *const *arguments, Py_ssize_t given, PyObject *keywords) {
    return make_ready(object, arguments, given, keywords, "call_soon", false);
}

PyDoc_STRVAR(call_soon_threadsafe_doc,
             "call_soon_threadsafe($self, callback, /, *args, context=None)\n--\n\n"
             "As call_soon(), from any thread: wakes the loop.");

static PyObject *call_soon_threadsafe(PyObject *object, PyObject *const *arguments, Py_ssize_t given,
                                      PyObject *keywords) {
    PyObject *handle = make_ready(object, arguments, given, keywords, "call_soon_threadsafe", true);
    if (handle)
        wake(loop_of(object));
    return handle;
}

static PyObject *add_callback(PyObject *object, PyObject *handle) {
    struct loop_object *loop = loop_of(object);
    PyObject *cancelled = PyObject_GetAttrString(handle, "_cancelled"); /* refuses what is no handle */
    int truth = cancelled ? PyObject_IsTrue(cancelled) : -1;
    Py_XDECREF(cancelled);
    if (truth < 0 || (!truth && pollring_python_loop_push(loop, handle)))
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *write_to_self(PyObject *object, PyObject *unused) {
    (void)unused;
    wake(loop_of(object));
    Py_RETURN_NONE;
}

/* ---- the iteration ---- */

/* Other inboxes' events are of interest where somebody watches the ring itself. */
static int collect(struct loop_object *loop, struct pollring *ring, const struct timespec *timeout) {
    return loop->own_fd ? pollring_collect(ring, timeout) : pollring_inbox_collect(ring, loop->inbox, timeout);
}

static int take_events(struct loop_object *loop, struct pollring *ring) {
    struct pollring_event event;
    int taken, failed = 0;
    while (!failed && (taken = pollring_take(ring, loop->inbox, &event)) != 0) {
        if (taken < 0) {
            pollring_python_raise(taken, "loop", -1);
            return -1;
        }
        failed = pollring_python_is_watch(&event) ? pollring_python_watch_event(loop, &event)
                                                  : pollring_python_operation_event(&event);
    }
    return !failed && loop->own_fd ? pollring_python_watch_own(loop, ring) : failed;
}

/* Collects what is there, without a system call where nothing is. peeked: the suspects were asked just before. */
static int look(struct loop_object *loop, struct pollring *ring, bool peeked) {
    static const struct timespec zero;
    size_t suspects = loop->suspect_count;
    int error = collect(loop, ring, &zero);
    if (error && error != -EINTR) {
        pollring_python_raise(error, "loop", -1);
        return -1;
    }
    return take_events(loop, ring) || (suspects && pollring_python_watch_check(loop, suspects, peeked)) ? -1 : 0;
}

/* How long to sleep: until the first timer, at most a day; NULL in *timeout: for ever. */
static int time_left(struct loop_object *loop, struct timespec *limit, const struct timespec **timeout) {
    const double most = 24 * 3600;
    *timeout = loop->timer_count ? limit : NULL;
    if (!loop->timer_count)
        return 0;
    double now = pollring_python_loop_time(loop);
    if (now == -1 && PyErr_Occurred())
        return -1;
    double left = loop->timers[0].when - now;
    left = left > most ? most : left > 0 ? left : 0;
    limit->tv_sec = (time_t)left;
    limit->tv_nsec = (long)((left - (double)limit->tv_sec) * 1e9);
    return 0;
}

static int sleep_for_events(struct loop_object *loop, struct pollring *ring, const struct timespec *timeout) {
    struct ring_object *object = (struct ring_object *)loop->ring;
    int error;
    object->sleeping = true;
    Py_BEGIN_ALLOW_THREADS;
    error = collect(loop, ring, timeout);
    Py_END_ALLOW_THREADS;
    object->sleeping = false;
    if (error == -EINTR)
        return PyErr_CheckSignals();
    if (error) {
        pollring_python_raise(error, "loop", -1);
        return -1;
    }
    return take_events(loop, ring);
}

/* Gathers what is ready. What is ready already is not held up by a look that would show nothing; and where nothing is,
   the sleep submits and collects in one system call. */
static int gather(struct loop_object *loop, struct pollring *ring) {
    struct timespec limit;
    const struct timespec *timeout;
    bool busy = loop->ready_count || loop->stopping;
    if (busy && !loop->suspect_count && !pollring_pending(ring))
        return 0;
    if (PyErr_CheckSignals())
        return -1;
    bool peek = loop->suspect_count && loop->suspect_count <= FEW_SUSPECTS && !loop->skipped && pollring_pending(ring);
    size_t ready_before = loop->ready_count;
    if (peek && pollring_python_watch_peek(loop))
        return -1;
    loop->skipped = loop->ready_count != ready_before;
    if (loop->skipped)
        return 0;
    bool look_first = busy || loop->suspect_count;
    if (look_first && look(loop, ring, peek))
        return -1;
    if (loop->ready_count || loop->stopping)
        return 0;
    if (time_left(loop, &limit, &timeout))
        return -1;
    if (!timeout || timeout->tv_sec || timeout->tv_nsec)
        return sleep_for_events(loop, ring, timeout);
    return look_first ? 0 : look(loop, ring, false);
}

static int iterate(struct loop_object *loop) {
    struct pollring *ring = pollring_python_loop_ring(loop);
    if (!ring || gather(loop, ring))
        return -1;
    return pollring_python_timers_due(loop) || run_ready(loop) ? -1 : 0;
}

static PyObject *run_once(PyObject *object, PyObject *unused) {
    struct loop_object *loop = loop_of(object);
    bool forever = loop->forever;
    int failed;
    (void)unused;
    loop->forever = false; /* a callback that calls this wants one iteration */
    do
        failed = iterate(loop);
    while (forever && !failed && !loop->stopping);
    loop->forever = forever;
    if (failed)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- opening and closing ---- */

static int is_foreign_clock(PyObject *object) {
    PyObject *own = PyObject_GetAttrString((PyObject *)&pollring_python_loop_type, "time");
    PyObject *used = PyObject_GetAttrString((PyObject *)Py_TYPE(object), "time");
    int foreign = own && used ? own != used : -1;
    Py_XDECREF(own);
    Py_XDECREF(used);
    return foreign;
}

static PyObject *loop_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords) {
    PyObject *object = PyType_GenericNew(type, arguments, keywords);
    if (object)
        loop_of(object)->closed = true; /* until its constructor has opened it: nothing to warn about if that fails */
    return object;
}

/* _attach(ring): the loop's ring, before all else. */
static PyObject *attach(PyObject *object, PyObject *ring) {
    struct loop_object *loop = loop_of(object);
    struct pollring *opened = pollring_python_ring(ring);
    int foreign = opened ? is_foreign_clock(object) : -1;
    if (foreign < 0 || pollring_python_handle_prepare() || pollring_python_watches_prepare() ||
        pollring_python_sockets_prepare())
        return NULL;
    if (loop->ring) {
        PyErr_SetString(PyExc_RuntimeError, "the loop is open already");
        return NULL;
    }
    loop->foreign_clock = foreign;
    loop->inbox = pollring_inbox_open(opened);
    if (!loop->inbox)
        return PyErr_NoMemory();
    Py_INCREF(ring);
    loop->ring = ring;
    Py_RETURN_NONE;
}

/* The core's objects first, then the references, whose finalisers may do anything. */
static int loop_clear(PyObject *object) {
    struct loop_object *loop = loop_of(object);
    pollring_python_watches_clear(loop);
    pollring_python_operations_clear(loop);
    pollring_inbox_close(loop->inbox);
    loop->inbox = NULL;
    Py_CLEAR(loop->ring);
    pollring_python_timers_clear(loop);
    while (loop->ready_count)
        Py_DECREF(pop_ready(loop));
    PyMem_Free(loop->ready);
    loop->ready = NULL;
    loop->ready_room = loop->first_ready = 0;
    Py_CLEAR(loop->thread_id);
    return 0;
}

/* _detach(): gives back all that the loop holds, and closes its ring. */
static PyObject *detach(PyObject *object, PyObject *unused) {
    struct loop_object *loop = loop_of(object);
    (void)unused;
    PyObject *ring = loop->ring;
    struct pollring *opened = ring ? ((struct ring_object *)ring)->ring : NULL;
    if (!ring)
        Py_RETURN_NONE;
    if (opened && pollring_check(opened) == -EEXIST && adopt(loop, opened))
        return NULL;
    Py_INCREF(ring);
    loop_clear(object);
    PyObject *done = PyObject_CallMethod(ring, "close", NULL);
    Py_DECREF(ring);
    return done;
}

static int loop_traverse(PyObject *object, visitproc visit, void *arg) {
    struct loop_object *loop = loop_of(object);
    Py_VISIT(loop->ring);
    for (size_t i = 0; i < loop->ready_count; i++)
        Py_VISIT(loop->ready[(loop->first_ready + i) & (loop->ready_room - 1)]);
    for (size_t i = 0; i < loop->timer_count; i++)
        Py_VISIT((PyObject *)loop->timers[i].timer);
    for (size_t fd = 0; fd < loop->watch_room; fd++) {
        Py_VISIT(loop->watches[fd].reader);
        Py_VISIT(loop->watches[fd].writer);
    }
    return pollring_python_operations_visit(loop, visit, arg);
}

static void loop_dealloc(PyObject *object) {
    PyObject_GC_UnTrack(object);
    loop_clear(object);
    Py_TYPE(object)->tp_free(object);
}

/* ---- attributes ---- */

static PyObject *get_flag(PyObject *object, void *offset) {
    return PyBool_FromLong(*(bool *)((char *)object + (size_t)offset));
}

static int set_flag(PyObject *object, PyObject *value, void *offset) {
    int truth = value ? PyObject_IsTrue(value) : 0;
    if (truth >= 0)
        *(bool *)((char *)object + (size_t)offset) = truth;
    return truth < 0 ? -1 : 0;
}

/* Every future asks for it. */
static PyObject *get_debug(PyObject *object, PyObject *unused) {
    (void)unused;
    return PyBool_FromLong(loop_of(object)->debug);
}

static PyObject *get_ready(PyObject *object, void *unused) {
    struct loop_object *loop = loop_of(object);
    PyObject *list = PyList_New(0);
    (void)unused;
    for (size_t i = 0; list && i < loop->ready_count; i++)
        if (PyList_Append(list, loop->ready[(loop->first_ready + i) & (loop->ready_room - 1)]))
            Py_CLEAR(list);
    return list;
}

static PyObject *get_scheduled(PyObject *object, void *unused) {
    struct loop_object *loop = loop_of(object);
    PyObject *list = PyList_New(0);
    (void)unused;
    for (size_t i = 0; list && i < loop->timer_count; i++)
        if (PyList_Append(list, (PyObject *)loop->timers[i].timer))
            Py_CLEAR(list);
    return list;
}

/* asyncio's constructor sets them. */
static int ignore(PyObject *object, PyObject *value, void *unused) {
    (void)object, (void)value, (void)unused;
    return 0;
}

static PyGetSetDef loop_fields[] = {
    {"_closed", get_flag, set_flag, NULL, (void *)offsetof(struct loop_object, closed)},
    {"_stopping", get_flag, set_flag, NULL, (void *)offsetof(struct loop_object, stopping)},
    {"_debug", get_flag, set_flag, NULL, (void *)offsetof(struct loop_object, debug)},
    {"_forever", get_flag, set_flag, "Whether _run_once() goes on until stop().",
     (void *)offsetof(struct loop_object, forever)},
    {"_ready", get_ready, ignore, "The handles that are ready now, as a new list.", NULL},
    {"_scheduled", get_scheduled, ignore, "The timers that are scheduled, as a new list.", NULL},
    {0},
};

static PyMemberDef loop_members[] = {
    {"ring", T_OBJECT, offsetof(struct loop_object, ring), READONLY, "The loop's Ring; None where the loop is closed."},
    {"_thread_id", T_OBJECT, offsetof(struct loop_object, thread_id), 0, NULL},
    {0},
};

static PyMethodDef loop_methods[] = {
    {"_attach", attach, METH_O, NULL},
    {"_detach", detach, METH_NOARGS, NULL},
    {"_run_once", run_once, METH_NOARGS, NULL},
    {"_add_callback", add_callback, METH_O, NULL},
    {"_write_to_self", write_to_self, METH_NOARGS, NULL},
    {"get_debug", get_debug, METH_NOARGS, "get_debug($self)\n--\n\nWhether the loop is in debug mode."},
    {"time", loop_time, METH_NOARGS,
     "time($self)\n--\n\nNow, in seconds of the loop's clock: that of time.monotonic()."},
    {"call_soon", (PyCFunction)(void (*)(void))call_soon, METH_FASTCALL | METH_KEYWORDS, call_soon_doc},
    {"call_soon_threadsafe", (PyCFunction)(void (*)(void))call_soon_threadsafe, METH_FASTCALL | METH_KEYWORDS,
     call_soon_threadsafe_doc},
    {0},
};

PyTypeObject pollring_python_loop_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "pollring._pollring.Loop",
    .tp_basicsize = sizeof(struct loop_object),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "The C half of pollring.EventLoop.",
    .tp_new = loop_new,
    .tp_dealloc = loop_dealloc,
    .tp_traverse = loop_traverse,
    .tp_clear = loop_clear,
    .tp_methods = loop_methods,
    .tp_getset = loop_fields,
    .tp_members = loop_members,
};

int pollring_python_add_methods(PyTypeObject *type, PyMethodDef *methods) {
    for (; methods->ml_name; methods++) {
        PyObject *descriptor = PyDescr_NewMethod(type, methods);
        int failed = !descriptor || PyDict_SetItemString(type->tp_dict, methods->ml_name, descriptor);
        Py_XDECREF(descriptor);
        if (failed)
            return -1;
    }
    PyType_Modified(type);
    return 0;
}

/* The methods of the other files. */
int pollring_python_loop_add_methods(void) {
    PyTypeObject *type = &pollring_python_loop_type;
    return pollring_python_add_methods(type, pollring_python_timer_methods) ||
                   pollring_python_add_methods(type, pollring_python_watch_methods) ||
                   pollring_python_add_methods(type, pollring_python_socket_methods)
               ? -1
               : 0;
}
