/*
 * _pollring.ready(): what poll(2) says of the files of some polls. For those who promise level-triggered readiness on
 * top of events, which are edges and hints.
 */
#include "binding.h"

#include <errno.h>

/* A list of (Poll, mask) of those that are ready. POLLNVAL, a file that was closed, is no readiness. */
static PyObject *collect(PyObject *const *polls, const struct pollfd *files, Py_ssize_t count) {
    PyObject *ready = PyList_New(0);
    for (Py_ssize_t i = 0; ready && i < count; i++) {
        if (!files[i].revents || files[i].revents & POLLNVAL)
            continue;
        PyObject *pair = Py_BuildValue("(Oi)", polls[i], (int)files[i].revents);
        if (!pair || PyList_Append(ready, pair))
            Py_CLEAR(ready);
        Py_XDECREF(pair);
    }
    return ready;
}

PyObject *pollring_python_ready(PyObject *module, PyObject *arguments) {
    PyObject *iterable;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "O:ready", &iterable))
        return NULL;
    PyObject *sequence = PySequence_Fast(iterable, "polls must be iterable");
    if (!sequence)
        return NULL;
    Py_ssize_t count = PySequence_Fast_GET_SIZE(sequence);
    PyObject **polls = PySequence_Fast_ITEMS(sequence), *ready = NULL;
    struct pollfd *files = PyMem_Calloc((size_t)count + 1, sizeof *files);
    bool usable = files;
    if (!files)
        PyErr_NoMemory();
    for (Py_ssize_t i = 0; usable && i < count; i++) {
        const struct pollring_poll *poll = pollring_python_poll(polls[i]);
        usable = poll;
        if (poll)
            files[i] = (struct pollfd){.fd = pollring_poll_fd(poll), .events = (short)pollring_poll_events(poll)};
    }
    if (usable && poll(files, (nfds_t)count, 0) < 0 && errno != EINTR)
        PyErr_SetFromErrno(PyExc_OSError);
    else if (usable)
        ready = collect(polls, files, count);
    PyMem_Free(files);
    Py_DECREF(sequence);
    return ready;
}
