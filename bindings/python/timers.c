/*
 * Timers: call_at() and call_later(), and the heap of what they scheduled. A timer knows its place in the heap, so one
 * that is cancelled leaves at once.
 */
#include "loop.h"

static void put(struct loop_object *loop, size_t place, struct scheduled scheduled) {
    loop->timers[place - 1] = scheduled;
    scheduled.timer->position = place;
}

static double when(const struct loop_object *loop, size_t place) {
    return loop->timers[place - 1].when;
}

/* Puts a timer in, from a free place upwards. */
static void rise(struct loop_object *loop, size_t place, struct scheduled scheduled) {
    for (; place > 1 && scheduled.when < when(loop, place / 2); place /= 2)
        put(loop, place, loop->timers[place / 2 - 1]);
    put(loop, place, scheduled);
}

static void sink(struct loop_object *loop, size_t place, struct scheduled scheduled) {
    for (size_t child; (child = 2 * place) <= loop->timer_count; place = child) {
        if (child < loop->timer_count && when(loop, child + 1) < when(loop, child))
            child++;
        if (!(when(loop, child) < scheduled.when))
            break;
        put(loop, place, loop->timers[child - 1]);
    }
    put(loop, place, scheduled);
}

static void set_scheduled(struct timer *timer, PyObject *value) {
    Py_INCREF(value);
    Py_XSETREF(timer->scheduled, value);
}

/* Takes a timer out; the heap's reference becomes the caller's. */
static struct timer *take_out(struct loop_object *loop, size_t place) {
    struct timer *timer = loop->timers[place - 1].timer;
    struct scheduled last = loop->timers[--loop->timer_count];
    if (place <= loop->timer_count) {
        if (place > 1 && last.when < when(loop, place / 2))
            rise(loop, place, last);
        else
            sink(loop, place, last);
    }
    timer->position = 0;
    set_scheduled(timer, Py_False);
    return timer;
}

void pollring_python_timer_remove(struct loop_object *loop, struct timer *timer) {
    if (timer->position)
        Py_DECREF(take_out(loop, timer->position));
}

void pollring_python_timers_clear(struct loop_object *loop) {
    while (loop->timer_count)
        Py_DECREF(take_out(loop, loop->timer_count));
    PyMem_Free(loop->timers);
    loop->timers = NULL;
    loop->timer_room = 0;
}

int pollring_python_timers_due(struct loop_object *loop) {
    const double resolution = 1e-9; /* of the clock */
    if (!loop->timer_count)
        return 0;
    double now = pollring_python_loop_time(loop);
    if (now == -1 && PyErr_Occurred())
        return -1;
    while (loop->timer_count && !(loop->timers[0].when >= now + resolution)) {
        struct timer *timer = take_out(loop, 1);
        int failed = pollring_python_loop_push(loop, (PyObject *)timer);
        Py_DECREF(timer);
        if (failed)
            return -1;
    }
    return 0;
}

/* ---- the methods ---- */

static int check_call(struct loop_object *loop, PyObject *callback, const char *method) {
    PyObject *object = (PyObject *)loop, *done = PyObject_CallMethod(object, "_check_thread", NULL);
    if (done) {
        Py_DECREF(done);
        done = PyObject_CallMethod(object, "_check_callback", "Os", callback, method);
    }
    Py_XDECREF(done);
    return done ? 0 : -1;
}

/* Takes over the call's args. at: as it was given; NULL where the seconds were computed. */
static PyObject *schedule(struct loop_object *loop, PyObject *at, double seconds, struct call *call) {
    if (pollring_python_loop_check(loop) || (loop->debug && check_call(loop, call->named[1], "call_at"))) {
        Py_DECREF(call->args);
        return NULL;
    }
    struct timer *timer = pollring_python_timer(loop, call->named[1], call->args, call->context);
    if (!timer)
        return NULL;
    Py_XINCREF(at);
    timer->when = at ? at : PyFloat_FromDouble(seconds);
    if (!timer->when || (loop->timer_count == loop->timer_room &&
                         pollring_python_grow(&loop->timers, &loop->timer_room, sizeof *loop->timers))) {
        Py_DECREF(timer);
        return NULL;
    }
    set_scheduled(timer, Py_True);
    Py_INCREF(timer);
    rise(loop, ++loop->timer_count, (struct scheduled){seconds, timer});
    return (PyObject *)timer;
}

PyDoc_STRVAR(call_at_doc,
             "call_at($self, when, callback, /, *args, context=None)\n--\n\n"
             "Arranges for a callback to be called at a time of the loop's clock, in seconds.\n"
             "Returns its TimerHandle.");

static PyObject *call_at(PyObject *object, PyObject *const *arguments, Py_ssize_t given, PyObject *keywords) {
    static const char *const names[] = {"when", "callback"};
    struct call call;
    if (pollring_python_call("call_at", names, 2, arguments, given, keywords, &call))
        return NULL;
    double seconds = -1;
    if (call.named[0] == Py_None)
        PyErr_SetString(PyExc_TypeError, "when cannot be None");
    else
        seconds = PyFloat_AsDouble(call.named[0]);
    if (seconds == -1 && PyErr_Occurred()) {
        Py_DECREF(call.args);
        return NULL;
    }
    return schedule((struct loop_object *)object, call.named[0], seconds, &call);
}

PyDoc_STRVAR(call_later_doc,
             "call_later($self, delay, callback, /, *args, context=None)\n--\n\n"
             "Arranges for a callback to be called after a delay in seconds. Returns its TimerHandle.");

static PyObject *call_later(PyObject *object, PyObject *const *arguments, Py_ssize_t given, PyObject *keywords) {
    static const char *const names[] = {"delay", "callback"};
    struct loop_object *loop = (struct loop_object *)object;
    struct call call;
    if (pollring_python_call("call_later", names, 2, arguments, given, keywords, &call))
        return NULL;
    double now = -1, delay = -1;
    if (call.named[0] == Py_None)
        PyErr_SetString(PyExc_TypeError, "delay must not be None");
    else
        delay = PyFloat_AsDouble(call.named[0]);
    if (delay != -1 || !PyErr_Occurred())
        now = pollring_python_loop_time(loop);
    if (now == -1 && PyErr_Occurred()) {
        Py_DECREF(call.args);
        return NULL;
    }
    return schedule(loop, NULL, now + delay, &call);
}

PyMethodDef pollring_python_timer_methods[] = {
    {"call_at", (PyCFunction)(void (*)(void))call_at, METH_FASTCALL | METH_KEYWORDS, call_at_doc},
    {"call_later", (PyCFunction)(void (*)(void))call_later, METH_FASTCALL | METH_KEYWORDS, call_later_doc},
    {0},
};
