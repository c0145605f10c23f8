/*
 * Handles: a callback that is to be called, as call_soon() and call_at() give it out. They are asyncio.Handle and
 * asyncio.TimerHandle, derived from in C, so what asyncio's own code and users do with those works on these; made,
 * cancelled and run here without a line of Python. In debug mode asyncio's Python code runs instead.
 */
#include "loop.h"

#include <structmember.h>

static PyTypeObject *handle_type, *timer_type;
static PyObject *empty_tuple, *name_context;

/* Memory of handles that are gone, linked through their callback. */
enum { MOST_SPARE = 1024 }; /* some 100 KiB of each kind */
static struct spare {
    PyObject *first;
    unsigned count;
} spare_handles, spare_timers;

/* ---- the types ---- */

static int handle_traverse(PyObject *object, visitproc visit, void *arg) {
    struct handle *self = (struct handle *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->args);
    Py_VISIT(self->callback);
    Py_VISIT(self->context);
    Py_VISIT(self->loop);
    Py_VISIT(self->repr);
    Py_VISIT(self->source_traceback);
    return 0;
}

static int handle_clear(PyObject *object) {
    struct handle *self = (struct handle *)object;
    Py_CLEAR(self->args);
    Py_CLEAR(self->callback);
    Py_CLEAR(self->cancelled);
    Py_CLEAR(self->context);
    Py_CLEAR(self->loop);
    Py_CLEAR(self->repr);
    Py_CLEAR(self->source_traceback);
    return 0;
}

static int timer_clear(PyObject *object) {
    struct timer *self = (struct timer *)object;
    Py_CLEAR(self->scheduled);
    Py_CLEAR(self->when);
    return handle_clear(object);
}

static void dealloc(PyObject *object, struct spare *spare, inquiry clear) {
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
#if PY_VERSION_HEX < 0x030C0000
    if (((struct handle *)object)->weak_references)
#endif
        PyObject_ClearWeakRefs(object);
    clear(object);
    if (spare->count < MOST_SPARE) {
        ((struct handle *)object)->callback = spare->first;
        spare->first = object;
        spare->count++;
    } else {
        type->tp_free(object);
    }
    Py_DECREF(type);
}

static void handle_dealloc(PyObject *object) {
    dealloc(object, &spare_handles, handle_clear);
}

static void timer_dealloc(PyObject *object) {
    dealloc(object, &spare_timers, timer_clear);
}

static PyObject *handle_cancel(PyObject *object, PyObject *unused) {
    (void)unused;
    if (pollring_python_handle_cancel(object))
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef handle_methods[] = {
    {"cancel", handle_cancel, METH_NOARGS, "Cancels the callback. Does nothing where it is cancelled, or has run."},
    {0},
};

static PyType_Slot handle_slots[] = {
    {Py_tp_dealloc, (void *)handle_dealloc},
    {Py_tp_traverse, (void *)handle_traverse},
    {Py_tp_clear, (void *)handle_clear},
    {Py_tp_methods, handle_methods},
    {0},
};
static PyType_Spec handle_spec = {"pollring.Handle", sizeof(struct handle), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
                                  handle_slots};

static PyType_Slot timer_slots[] = {
    {Py_tp_dealloc, (void *)timer_dealloc},
    {Py_tp_traverse, (void *)handle_traverse},
    {Py_tp_clear, (void *)timer_clear},
    {Py_tp_methods, handle_methods},
    {0},
};
static PyType_Spec timer_spec = {"pollring.TimerHandle", sizeof(struct timer), 0,
                                 Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, timer_slots};

int pollring_python_slot(PyObject *type, const char *name, Py_ssize_t *offset) {
    PyObject *slot = PyObject_GetAttrString(type, name);
    if (!slot)
        return -1;
    Py_ssize_t found = Py_IS_TYPE(slot, &PyMemberDescr_Type) ? ((PyMemberDescrObject *)slot)->d_member->offset : 0;
    Py_DECREF(slot);
    if (!found || (*offset && found != *offset)) {
        PyErr_Format(PyExc_ImportError, "pollring's event loop doesn't know this Python's asyncio: %s.%s",
                     ((PyTypeObject *)type)->tp_name, name);
        return -1;
    }
    *offset = found;
    return 0;
}

static PyTypeObject *derive(PyObject *module, const char *name, PyType_Spec *spec) {
    static struct {
        const char *name;
        Py_ssize_t offset;
    } slots[] = {{"_args", offsetof(struct handle, args)},
                 {"_callback", offsetof(struct handle, callback)},
                 {"_cancelled", offsetof(struct handle, cancelled)},
                 {"_context", offsetof(struct handle, context)},
                 {"_loop", offsetof(struct handle, loop)},
                 {"_repr", offsetof(struct handle, repr)},
                 {"_source_traceback", offsetof(struct handle, source_traceback)},
                 {"_scheduled", offsetof(struct timer, scheduled)},
                 {"_when", offsetof(struct timer, when)}};
    PyObject *base = PyObject_GetAttrString(module, name), *bases = NULL, *type = NULL;
    size_t count = spec == &timer_spec ? 9 : 7, i = 0;
    while (base && i < count && !pollring_python_slot(base, slots[i].name, &slots[i].offset))
        i++;
    if (base && i == count)
        bases = PyTuple_Pack(1, base);
    if (bases)
        type = PyType_FromSpecWithBases(spec, bases);
    Py_XDECREF(bases);
    Py_XDECREF(base);
    return (PyTypeObject *)type;
}

int pollring_python_handle_prepare(void) {
    if (timer_type)
        return 0;
    PyObject *module = PyImport_ImportModule("asyncio.events");
    empty_tuple = PyTuple_New(0);
    name_context = PyUnicode_InternFromString("context");
    if (module && empty_tuple && name_context)
        handle_type = derive(module, "Handle", &handle_spec);
    if (handle_type)
        timer_type = derive(module, "TimerHandle", &timer_spec);
    Py_XDECREF(module);
    return timer_type ? 0 : -1;
}

/* ---- making one ---- */

static PyObject *allocate(PyTypeObject *type, struct spare *spare) {
    PyObject *object = spare->first;
    if (!object)
        return type->tp_alloc(type, 0);
    spare->first = ((struct handle *)object)->callback;
    spare->count--;
    PyObject_Init(object, type);
    return object;
}

/* Where it was made, for asyncio's messages; None outside debug mode. */
static PyObject *source_traceback(const struct loop_object *loop) {
    if (!loop->debug)
        Py_RETURN_NONE;
    PyObject *module = PyImport_ImportModule("asyncio.format_helpers"), *stack = NULL;
    PyFrameObject *frame = PyEval_GetFrame();
    if (module)
        stack = PyObject_CallMethod(module, "extract_stack", "O", frame ? (PyObject *)frame : Py_None);
    Py_XDECREF(module);
    return stack;
}

/* Takes over args. */
static PyObject *fill(PyObject *object, struct loop_object *loop, PyObject *callback, PyObject *args,
                      PyObject *context) {
    struct handle *self = (struct handle *)object;
    if (!object) {
        Py_DECREF(args);
        return NULL;
    }
    bool reused = !PyObject_GC_IsTracked(object);
    self->args = args;
    Py_INCREF(callback);
    self->callback = callback;
    Py_INCREF(loop);
    self->loop = (PyObject *)loop;
    Py_INCREF(Py_False);
    self->cancelled = Py_False;
    Py_INCREF(Py_None);
    self->repr = Py_None;
    self->source_traceback = NULL;
    if (context && context != Py_None)
        Py_INCREF(context);
    else
        context = PyContext_CopyCurrent();
    self->context = context;
    if (reused)
        PyObject_GC_Track(object);
    self->source_traceback = context ? source_traceback(loop) : NULL;
    if (!self->source_traceback)
        Py_CLEAR(object);
    return object;
}

PyObject *pollring_python_handle(struct loop_object *loop, PyObject *callback, PyObject *args, PyObject *context) {
    return fill(allocate(handle_type, &spare_handles), loop, callback, args, context);
}

struct timer *pollring_python_timer(struct loop_object *loop, PyObject *callback, PyObject *args, PyObject *context) {
    struct timer *timer = (struct timer *)allocate(timer_type, &spare_timers);
    if (timer) {
        timer->scheduled = timer->when = NULL;
        timer->position = 0;
    }
    return (struct timer *)fill((PyObject *)timer, loop, callback, args, context);
}

/* 0; -1: there is no such name, or it has a value already. */
static int set_named(const char *const *names, Py_ssize_t count, PyObject *name, PyObject *value, struct call *call) {
    PyObject **place = PyUnicode_CompareWithASCIIString(name, "context") ? NULL : &call->context;
    for (Py_ssize_t i = 0; i < count && !place; i++)
        place = PyUnicode_CompareWithASCIIString(name, names[i]) ? NULL : &call->named[i];
    if (!place || *place)
        return -1;
    *place = value;
    return 0;
}

int pollring_python_call(const char *function, const char *const *names, Py_ssize_t count, PyObject *const *arguments,
                         Py_ssize_t given, PyObject *keywords, struct call *call) {
    *call = (struct call){0};
    for (Py_ssize_t i = 0; i < count && i < given; i++)
        call->named[i] = arguments[i];
    for (Py_ssize_t i = 0; keywords && i < PyTuple_GET_SIZE(keywords); i++) {
        PyObject *name = PyTuple_GET_ITEM(keywords, i);
        if (name == name_context)
            call->context = arguments[given + i];
        else if (set_named(names, count, name, arguments[given + i], call)) {
            PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", function, name);
            return -1;
        }
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        if (!call->named[i]) {
            PyErr_Format(PyExc_TypeError, "%s() missing required positional argument: '%s'", function, names[i]);
            return -1;
        }
    }
    if (given <= count) {
        Py_INCREF(empty_tuple);
        call->args = empty_tuple;
        return 0;
    }
    call->args = PyTuple_New(given - count);
    for (Py_ssize_t i = count; call->args && i < given; i++) {
        Py_INCREF(arguments[i]);
        PyTuple_SET_ITEM(call->args, i - count, arguments[i]);
    }
    return call->args ? 0 : -1;
}

/* ---- cancelling and running one ---- */

static void set(PyObject **place, PyObject *value) {
    PyObject *old = *place;
    Py_INCREF(value);
    *place = value;
    Py_XDECREF(old);
}

/* As asyncio's Handle.cancel(). Any Handle. */
int pollring_python_handle_cancel(PyObject *object) {
    struct handle *self = (struct handle *)object;
    if (Py_TYPE(object) != handle_type && Py_TYPE(object) != timer_type) {
        PyObject *done = PyObject_CallMethod(object, "cancel", NULL);
        Py_XDECREF(done);
        return done ? 0 : -1;
    }
    if (handle_is_cancelled(object))
        return 0;
    set(&self->cancelled, Py_True);
    struct loop_object *loop = self->loop && PyObject_TypeCheck(self->loop, &pollring_python_loop_type)
                                   ? (struct loop_object *)self->loop
                                   : NULL;
    if (loop && loop->debug) { /* for the message about a slow callback, which may come after this */
        PyObject *repr = PyObject_Repr(object);
        if (!repr)
            return -1;
        set(&self->repr, repr);
        Py_DECREF(repr);
    }
    set(&self->callback, Py_None);
    set(&self->args, Py_None);
    if (Py_TYPE(object) == timer_type && loop)
        pollring_python_timer_remove(loop, (struct timer *)object);
    return 0;
}

static PyObject *call(PyObject *callback, PyObject *args, PyObject *context) {
    if (!PyContext_CheckExact(context)) {
        PyObject *run = PyObject_GetAttrString(context, "run"), *all = NULL, *result = NULL;
        PyObject *first = PyTuple_Pack(1, callback);
        if (run && first)
            all = PySequence_Concat(first, args);
        if (all)
            result = PyObject_Call(run, all, NULL);
        Py_XDECREF(all);
        Py_XDECREF(first);
        Py_XDECREF(run);
        return result;
    }
    if (PyContext_Enter(context))
        return NULL;
    PyObject *result = PyObject_Vectorcall(callback, &PyTuple_GET_ITEM(args, 0), (size_t)PyTuple_GET_SIZE(args), NULL);
    if (PyContext_Exit(context))
        Py_CLEAR(result);
    return result;
}

PyObject *pollring_python_caught(void) {
    PyObject *type, *exception, *traceback;
    if (PyErr_ExceptionMatches(PyExc_SystemExit) || PyErr_ExceptionMatches(PyExc_KeyboardInterrupt))
        return NULL;
    PyErr_Fetch(&type, &exception, &traceback);
    PyErr_NormalizeException(&type, &exception, &traceback);
    if (traceback)
        PyException_SetTraceback(exception, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return exception;
}

/* The exception of a callback goes to the loop's exception handler, unless it is to end the loop. */
static int report(struct loop_object *loop, PyObject *callback, PyObject *args, PyObject *handle) {
    PyObject *exception = pollring_python_caught();
    if (!exception)
        return -1;
    PyObject *done =
        PyObject_CallMethod((PyObject *)loop, "_report_exception", "OOOO", exception, callback, args, handle);
    Py_DECREF(exception);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

static int run_by_method(PyObject *object, const char *name, PyObject *argument) {
    PyObject *done = PyObject_CallMethod(object, name, argument ? "O" : NULL, argument);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

int pollring_python_handle_run(struct loop_object *loop, PyObject *object) {
    struct handle *self = (struct handle *)object;
    if (loop->debug)
        return run_by_method((PyObject *)loop, "_run_slowly", object);
    if ((Py_TYPE(object) != handle_type && Py_TYPE(object) != timer_type) || !self->callback || !self->context ||
        !self->args || !PyTuple_Check(self->args)) /* of another class, or somebody wrote into it */
        return run_by_method(object, "_run", NULL);
    /* References of our own, as the callback may cancel its handle. */
    PyObject *callback = self->callback, *args = self->args, *context = self->context;
    Py_INCREF(callback);
    Py_INCREF(args);
    Py_INCREF(context);
    PyObject *result = call(callback, args, context);
    int failed = result ? 0 : report(loop, callback, args, object);
    Py_XDECREF(result);
    Py_DECREF(context);
    Py_DECREF(args);
    Py_DECREF(callback);
    return failed;
}
