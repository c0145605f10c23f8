/*
 * The hot methods of a connection's transport, which is asyncio's _SelectorSocketTransport, derived from in
 * python/pollring/_loop.py: reading for a Protocol, and write() where nothing is buffered. All else is asyncio's Python
 * code, on the same attributes; the methods leave to it what they find unusual: data that has to wait, an end, errors,
 * a socket that isn't exactly a socket.socket, as it may have a recv() of its own.
 */
#include "loop.h"

/* The attributes that they read, slots of the class: no look-up. */
enum slot { CONN_LOST, ENDED, EMPTY_WAITER, BUFFER, PROTOCOL, READ_READY_CB, SOCK, BULK, SLOTS };
static const char *const slots[SLOTS] = {"_conn_lost", "_eof",           "_empty_waiter", "_buffer",
                                         "_protocol",  "_read_ready_cb", "_sock",         "_bulk"};
static Py_ssize_t offsets[SLOTS];

static PyObject *stdlib_transport, *name_data_received, *name_on_eof;

/* Borrowed; NULL where it isn't set. */
static PyObject *get(PyObject *self, enum slot slot) {
    return *(PyObject **)((char *)self + offsets[slot]);
}

static void set(PyObject *self, enum slot slot, PyObject *value) {
    PyObject *old = get(self, slot);
    Py_INCREF(value);
    *(PyObject **)((char *)self + offsets[slot]) = value;
    Py_XDECREF(old);
}

/* Of a truth value, a number, None, or a buffer. */
static bool is_false(PyObject *value) {
    return value && PyObject_Not(value) == 1;
}

/* What asyncio's except clauses do. */
static PyObject *fail(PyObject *self, const char *message) {
    PyObject *exception = pollring_python_caught();
    PyObject *done = exception ? PyObject_CallMethod(self, "_fail", "Os", exception, message) : NULL;
    Py_XDECREF(exception);
    return done;
}

static PyObject *read_ready(PyObject *self, PyObject *unused) {
    PyObject *callback = get(self, READ_READY_CB);
    (void)unused;
    if (!callback)
        return pollring_python_stdlib(stdlib_transport, "_read_ready", self, NULL, 0, NULL);
    Py_INCREF(callback);
    PyObject *done = PyObject_CallNoArgs(callback);
    Py_DECREF(callback);
    return done;
}

/* What there is. A stream that filled the last receive gets a large one, which saves the copy that a small one makes.
 */
static PyObject *receive(PyObject *self) {
    enum { SMALL = POLLRING_PYTHON_QUICK, LARGE = 256 * 1024 };
    bool bulk = get(self, BULK) == Py_True;
    int fd = pollring_python_socket_fd(get(self, SOCK));
    PyObject *data = fd < 0 ? NULL : pollring_python_receive(fd, bulk ? LARGE : SMALL);
    if (data && bulk != (PyBytes_GET_SIZE(data) >= SMALL))
        set(self, BULK, bulk ? Py_False : Py_True);
    return data;
}

static PyObject *read_data(PyObject *self, PyObject *unused) {
    (void)unused;
    if (!is_false(get(self, CONN_LOST)) || !pollring_python_is_socket(get(self, SOCK)) || !get(self, PROTOCOL))
        return pollring_python_stdlib(stdlib_transport, "_read_ready__data_received", self, NULL, 0, NULL);
    PyObject *data = receive(self);
    if (!data && !PyErr_Occurred())
        Py_RETURN_NONE;
    if (!data)
        return fail(self, "Fatal read error on socket transport");
    PyObject *protocol = get(self, PROTOCOL), *done;
    Py_INCREF(protocol);
    if (!PyBytes_GET_SIZE(data))
        done = PyObject_CallMethodNoArgs(self, name_on_eof);
    else if (!(done = PyObject_CallMethodOneArg(protocol, name_data_received, data)))
        done = fail(self, "Fatal error: protocol.data_received() call failed.");
    Py_DECREF(protocol);
    Py_DECREF(data);
    return done;
}

/* What was sent of data at once, in bytes; -1 with an error. */
static Py_ssize_t send_now(PyObject *self, PyObject *data) {
    Py_buffer buffer;
    int fd = pollring_python_socket_fd(get(self, SOCK));
    if (fd < 0 || PyObject_GetBuffer(data, &buffer, PyBUF_SIMPLE))
        return -1;
    Py_ssize_t sent = pollring_python_send(fd, buffer.buf, buffer.len);
    PyBuffer_Release(&buffer);
    return sent;
}

/* asyncio tries what is left once more, and keeps what is left then. */
static PyObject *write_rest(PyObject *self, PyObject *data, Py_ssize_t sent) {
    PyObject *view = PyMemoryView_FromObject(data), *done = NULL;
    PyObject *rest = view ? PySequence_GetSlice(view, sent, PY_SSIZE_T_MAX) : NULL;
    if (rest)
        done = pollring_python_stdlib(stdlib_transport, "write", self, &rest, 1, NULL);
    Py_XDECREF(rest);
    Py_XDECREF(view);
    return done;
}

/* Nothing is buffered, and nothing forbids to write. */
static bool may_send(PyObject *self) {
    return pollring_python_is_socket(get(self, SOCK)) && is_false(get(self, ENDED)) &&
           is_false(get(self, EMPTY_WAITER)) && is_false(get(self, CONN_LOST)) && is_false(get(self, BUFFER));
}

static PyObject *write_data(PyObject *self, PyObject *const *arguments, Py_ssize_t given, PyObject *keywords) {
    PyObject *data = given == 1 && !keywords ? arguments[0] : NULL;
    if (!data || !(PyBytes_CheckExact(data) || PyByteArray_CheckExact(data)) || !Py_SIZE(data) || !may_send(self))
        return pollring_python_stdlib(stdlib_transport, "write", self, arguments, given, keywords);
    Py_ssize_t sent = send_now(self, data);
    if (sent < 0)
        return fail(self, "Fatal write error on socket transport");
    if (sent < Py_SIZE(data))
        return write_rest(self, data, sent);
    Py_RETURN_NONE;
}

#define FAST(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL | METH_KEYWORDS

static PyMethodDef methods[] = {
    {"_read_ready", read_ready, METH_NOARGS, NULL},
    {"_read_ready__data_received", read_data, METH_NOARGS, NULL},
    {"write", FAST(write_data), "write($self, data)\n--\n\nSends data, or keeps it to send it later."},
    {0},
};

/* stream_transport(type): the type, of pollring's _loop.py, with the methods. */
PyObject *pollring_python_stream_transport(PyObject *module, PyObject *arguments) {
    PyTypeObject *type;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "O!:stream_transport", &PyType_Type, &type))
        return NULL;
    for (int i = 0; i < SLOTS; i++)
        if (pollring_python_slot((PyObject *)type, slots[i], &offsets[i]))
            return NULL;
    name_data_received = PyUnicode_InternFromString("data_received");
    name_on_eof = PyUnicode_InternFromString("_read_ready__on_eof");
    if (!name_data_received || !name_on_eof || pollring_python_sockets_prepare() ||
        pollring_python_add_methods(type, methods))
        return NULL;
    Py_INCREF(type->tp_base);
    stdlib_transport = (PyObject *)type->tp_base;
    Py_INCREF(type);
    return (PyObject *)type;
}
