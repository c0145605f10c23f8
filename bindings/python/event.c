/*
 * Events: what one event says, as pollring.Events (python/pollring/_event.py). Nearly all that ever occur are few, so
 * they are made once and handed out again: an event costs no allocation.
 */
#include "binding.h"

enum { CACHED = 0x800 }; /* masks of POLLIN to POLLMSG, and those with POLLRDHUP */

static PyObject *cache[2][2][CACHED]; /* by more, by POLLRDHUP, by the bits below */

static PyObject *make(int result, bool more) {
    static PyObject *type;
    if (!type) {
        PyObject *module = PyImport_ImportModule("pollring._event");
        type = module ? PyObject_GetAttrString(module, "Events") : NULL;
        Py_XDECREF(module);
    }
    return type ? PyObject_CallFunction(type, "iO", result, more ? Py_True : Py_False) : NULL;
}

PyObject *pollring_python_events(int result, bool more) {
    int low = result & ~POLLRDHUP;
    if (low < 0 || low >= CACHED)
        return make(result, more);
    PyObject **place = &cache[more][low != result][low];
    if (!*place)
        *place = make(result, more);
    Py_XINCREF(*place);
    return *place;
}

PyObject *pollring_python_names(PyObject *module, PyObject *arguments) {
    char text[256];
    int result;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "i:names", &result))
        return NULL;
    pollring_strevents(result, text, sizeof text);
    return PyUnicode_FromString(text);
}
