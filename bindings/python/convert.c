/*
 * Between Python's values and the core's: files, masks, timeouts, errors, tables of figures.
 */
#include "binding.h"

#include <errno.h>
#include <math.h>
#include <string.h>

/* ---- errors ---- */

/* What to do about it, for the errors that mean misuse; NULL: the errno's own text says enough. */
static const char *advice(int error) {
    switch (error) {
    case -EEXIST:
        return "the ring belongs to another thread: only wake() may be called from here, or adopt() to take it over";
    case -EOWNERDEAD:
        return "this is a forked child and the ring is its parent's: close() it here, and open another";
    case -ESHUTDOWN:
        return "the ring is closed";
    case -EINVAL:
        return "an argument is out of range";
    case -ENOENT:
        return "the poll has ended";
    case -EALREADY:
        return "the poll is active already";
    case -EBADF:
        return "bad file descriptor: it was closed, or never open";
    case -ELOOP:
        return "the fd is the ring's own";
    case -EBUSY:
        return "the ring's owner is inside a call, or its thread lives and the ring is pinned to it";
    default:
        return NULL;
    }
}

static PyObject *message(int error, const char *function, int fd) {
    const char *text = advice(error);
    text = text ? text : strerror(-error);
    return fd < 0 ? PyUnicode_FromFormat("%s: %s", function, text)
                  : PyUnicode_FromFormat("%s: fd %d: %s", function, fd, text);
}

void pollring_python_raise(int error, const char *function, int fd) {
    PyObject *text = message(error, function, fd);
    if (!text)
        return;
    if (error == -EEXIST || error == -EOWNERDEAD)
        PyErr_SetObject(PyExc_RuntimeError, text);
    else if (error == -ESHUTDOWN || error == -EINVAL)
        PyErr_SetObject(PyExc_ValueError, text);
    else {
        PyObject *arguments = Py_BuildValue("(iO)", -error, text);
        if (arguments)
            PyErr_SetObject(PyExc_OSError, arguments);
        Py_XDECREF(arguments);
    }
    Py_DECREF(text);
}

PyObject *pollring_python_raise_error(PyObject *module, PyObject *arguments) {
    int error, fd;
    (void)module;
    if (PyArg_ParseTuple(arguments, "ii:raise_error", &error, &fd))
        pollring_python_raise(error, "poll", fd);
    return NULL;
}

void pollring_python_refused(int error, const struct pollring_options *options) {
    struct pollring_probe probe;
    if (pollring_explain(&probe, options) || probe.io_uring != error) {
        pollring_python_raise(error, "Ring", -1);
        return;
    }
    PyObject *arguments = Py_BuildValue("(iN)", -error, PyUnicode_FromFormat("Ring: %s", probe.message));
    if (arguments)
        PyErr_SetObject(PyExc_OSError, arguments);
    Py_XDECREF(arguments);
}

PyObject *pollring_python_status(int result, const char *function, int fd) {
    if (result < 0) {
        pollring_python_raise(result, function, fd);
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *pollring_python_number(int result, const char *function, int fd) {
    if (result < 0)
        return pollring_python_status(result, function, fd);
    return PyLong_FromLong(result);
}

/* ---- masks and files ---- */

int pollring_python_mask(PyObject *object, uint32_t *mask) {
    if (!PyLong_Check(object)) {
        PyErr_Format(PyExc_TypeError, "events must be an int, such as POLLIN | POLLOUT, not %.100s",
                     Py_TYPE(object)->tp_name);
        return -1;
    }
    unsigned long value = PyLong_AsUnsignedLong(object);
    if (value > UINT32_MAX) { /* (unsigned long)-1: an exception is set */
        PyErr_Format(PyExc_ValueError, "events %S is out of range", object);
        return -1;
    }
    *mask = (uint32_t)value;
    return 0;
}

static int as_fd(PyObject *number, PyObject *fileobj) {
    int overflow;
    long fd = PyLong_AsLongAndOverflow(number, &overflow);
    if (fd == -1 && PyErr_Occurred())
        return -1;
    if (!overflow && fd >= 0 && fd <= INT_MAX)
        return (int)fd;
    if (number == fileobj)
        PyErr_Format(PyExc_ValueError, "fd %S is out of range", number);
    else
        PyErr_Format(PyExc_ValueError, "fd %S of %.200R is out of range: is it closed?", number, fileobj);
    return -1;
}

int pollring_python_fileno(PyObject *fileobj) {
    if (PyLong_Check(fileobj))
        return as_fd(fileobj, fileobj);
    PyObject *method = PyObject_GetAttrString(fileobj, "fileno");
    if (!method) {
        if (PyErr_ExceptionMatches(PyExc_AttributeError))
            PyErr_Format(PyExc_TypeError, "fileobj must be an int or have a method fileno(), not %.100s",
                         Py_TYPE(fileobj)->tp_name);
        return -1;
    }
    PyObject *number = PyObject_CallNoArgs(method);
    Py_DECREF(method);
    if (!number)
        return -1;
    int fd = -1;
    if (PyLong_Check(number))
        fd = as_fd(number, fileobj);
    else
        PyErr_Format(PyExc_TypeError, "fileno() of %.200R must give an int, not %.100s", fileobj,
                     Py_TYPE(number)->tp_name);
    Py_DECREF(number);
    return fd;
}

/* ---- arguments ---- */

static int index_of(PyObject *name, const char *const names[], Py_ssize_t most) {
    for (int i = 0; i < most; i++)
        if (!PyUnicode_CompareWithASCIIString(name, names[i]))
            return i;
    return -1;
}

int pollring_python_arguments(const char *function, const char *const names[], Py_ssize_t most,
                              PyObject *const *arguments, Py_ssize_t count, PyObject *keywords, PyObject *values[]) {
    Py_ssize_t named = keywords ? PyTuple_GET_SIZE(keywords) : 0;
    if (count > most) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %zd arguments (%zd given)", function, most, count + named);
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++)
        values[i] = arguments[i];
    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *name = PyTuple_GET_ITEM(keywords, i);
        int index = index_of(name, names, most);
        if (index < count) {
            PyErr_Format(PyExc_TypeError,
                         index < 0 ? "%s() got an unexpected keyword argument '%U'"
                                   : "%s() got argument '%U' by its place and by its name",
                         function, name);
            return -1;
        }
        values[index] = arguments[count + i];
    }
    return 0;
}

/* ---- timeouts ---- */

int pollring_python_timeout(PyObject *object, struct timeout *timeout) {
    const double longest = 1e9; /* 32 years */
    *timeout = (struct timeout){.endless = object == Py_None};
    if (timeout->endless)
        return 0;
    double seconds = PyFloat_AsDouble(object);
    if (seconds == -1 && PyErr_Occurred()) {
        if (PyErr_ExceptionMatches(PyExc_TypeError))
            PyErr_Format(PyExc_TypeError, "timeout must be None or a number of seconds, not %.100s",
                         Py_TYPE(object)->tp_name);
        else if (PyErr_ExceptionMatches(PyExc_OverflowError))
            PyErr_SetString(PyExc_ValueError, "timeout is out of range: None waits for ever");
        return -1;
    }
    if (!(seconds >= 0 && seconds <= longest)) {
        PyErr_Format(PyExc_ValueError, "timeout %S is out of range: 0 to 1e9 seconds, or None to wait for ever",
                     object);
        return -1;
    }
    double whole = floor(seconds);
    timeout->timespec.tv_sec = (time_t)whole;
    timeout->timespec.tv_nsec = (long)((seconds - whole) * 1e9);
    timeout->zero = !timeout->timespec.tv_sec && !timeout->timespec.tv_nsec;
    return 0;
}

/* ---- tables of figures ---- */

PyObject *pollring_python_stats(const struct pollring_stats *stats) {
    const char *setup = stats->setup ? pollring_strsetup(stats->setup) : NULL;
    return Py_BuildValue("{sz sI sI sI sI sK sK sK sK sK sK sK}", "setup", setup, "entries", stats->entries,
                         "cq_entries", stats->cq_entries, "active", stats->active, "queued", stats->queued, "enters",
                         (unsigned long long)stats->enters, "requests", (unsigned long long)stats->requests, "events",
                         (unsigned long long)stats->events, "rearmed", (unsigned long long)stats->rearmed, "merged",
                         (unsigned long long)stats->merged, "dropped", (unsigned long long)stats->dropped, "memory",
                         (unsigned long long)stats->memory);
}

static PyObject *setup_names(unsigned setups) {
    PyObject *names = PyList_New(0);
    for (unsigned setup = 1; names && setup; setup <<= 1) {
        PyObject *name = setups & setup ? PyUnicode_FromString(pollring_strsetup(setup)) : NULL;
        if (setups & setup && (!name || PyList_Append(names, name)))
            Py_CLEAR(names);
        Py_XDECREF(name);
    }
    return names;
}

static PyObject *list_of(const char *const *texts) {
    PyObject *list = PyList_New(0);
    for (; list && *texts; texts++) {
        PyObject *text = PyUnicode_FromString(*texts);
        if (!text || PyList_Append(list, text))
            Py_CLEAR(list);
        Py_XDECREF(text);
    }
    return list;
}

PyObject *pollring_python_probe(const struct pollring_probe *probe) {
    PyObject *setups = setup_names(probe->setups), *lacks = list_of(probe->lacks);
    if (!setups || !lacks) {
        Py_XDECREF(setups);
        Py_XDECREF(lacks);
        return NULL;
    }
    return Py_BuildValue("{ss ss si sN si ss sO ss ss sN}", "kernel", probe->kernel, "backend", probe->backend,
                         "io_uring", probe->io_uring, "setups", setups, "sysctl_disabled", probe->sysctl_disabled,
                         "cause", pollring_strcause(probe->cause), "resize", probe->resize ? Py_True : Py_False,
                         "refused_at", probe->refused_at, "message", probe->message, "lacks", lacks);
}
