/*
 * sock_recv() and its likes: coroutines that try at once, and wait with a one-shot poll where that would block. Then
 * they try again when their task runs, so a task that is cancelled between the two has read nothing.
 *
 * recv, recv_into and sendall make their system calls here; the others call the socket's method, for its addresses.
 * What isn't exactly a socket.socket, or is called with unusual arguments, is asyncio's own coroutine's.
 */
#include "loop.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

static PyObject *future_type, *socket_type, *stdlib_loop;
static PyObject *name_set_result, *names_of_future; /* interned: a lookup by a new string is slow */
static PyCFunction socket_fileno;                   /* socket.fileno(), called without a lookup */

#if PY_VERSION_HEX < 0x030A0000
typedef enum { PYGEN_RETURN = 0, PYGEN_ERROR = -1, PYGEN_NEXT = 1 } PySendResult;
#endif

enum kind { RECV, RECV_INTO, SENDALL, RECVFROM, RECVFROM_INTO, SENDTO, ACCEPT, CONNECT };

static const struct {
    const char *name, *method; /* of the loop; of the socket */
    short events;
    int least, most; /* arguments, the socket included */
} kinds[] = {
    [RECV] = {"sock_recv", NULL, POLLIN, 2, 2},
    [RECV_INTO] = {"sock_recv_into", NULL, POLLIN, 2, 2},
    [SENDALL] = {"sock_sendall", NULL, POLLOUT, 2, 2},
    [RECVFROM] = {"sock_recvfrom", "recvfrom", POLLIN, 2, 2},
    [RECVFROM_INTO] = {"sock_recvfrom_into", "recvfrom_into", POLLIN, 2, 3},
    [SENDTO] = {"sock_sendto", "sendto", POLLOUT, 3, 3},
    [ACCEPT] = {"sock_accept", "accept", POLLIN, 1, 1},
    [CONNECT] = {"_sock_connect_resolved", "connect", POLLOUT, 2, 2},
};

struct operation {
    PyObject_HEAD struct loop_object *loop;
    PyObject *socket, *argument, *second; /* as given */
    Py_buffer buffer;                     /* of recv_into and sendall; obj: NULL where there is none */
    Py_ssize_t size, done;                /* bytes */
    int fd;
    enum kind kind;
    enum { NEW, STARTED, ENDED } state;
    bool waits;                  /* it is in the loop's list, which holds a reference to it */
    struct pollring_poll *poll;  /* while it waits */
    PyObject *future, *iterator; /* likewise, until the task has run */
    struct operation *previous, *next;
};

PyObject *pollring_python_stdlib(PyObject *type, const char *name, PyObject *self, PyObject *const *arguments,
                                 Py_ssize_t given, PyObject *keywords) {
    PyObject *function = PyObject_GetAttrString(type, name);
    PyObject *method = function ? PyMethod_New(function, self) : NULL;
    PyObject *result = method ? PyObject_Vectorcall(method, arguments, (size_t)given, keywords) : NULL;
    Py_XDECREF(method);
    Py_XDECREF(function);
    return result;
}

/* ---- trying ---- */

static bool would_block(void) {
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

bool pollring_python_is_socket(PyObject *object) {
    return object && (PyObject *)Py_TYPE(object) == socket_type;
}

int pollring_python_socket_fd(PyObject *socket) {
    PyObject *number = socket_fileno(socket, NULL);
    int fd = number ? (int)PyLong_AsLong(number) : -1;
    Py_XDECREF(number);
    if (fd < 0 && !PyErr_Occurred()) {
        errno = EBADF;
        PyErr_SetFromErrno(PyExc_OSError);
    }
    return fd;
}

static ssize_t receive(int fd, void *buffer, Py_ssize_t size) {
    ssize_t count;
    if (size <= POLLRING_PYTHON_QUICK)
        return recv(fd, buffer, (size_t)size, MSG_DONTWAIT);
    Py_BEGIN_ALLOW_THREADS;
    count = recv(fd, buffer, (size_t)size, MSG_DONTWAIT);
    Py_END_ALLOW_THREADS;
    return count;
}

/* 0: it would block; -1 with an error. */
static int failed(void) {
    if (would_block())
        return 0;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

PyObject *pollring_python_receive(int fd, Py_ssize_t size) {
    /* Not an object of a size that it will hardly have. The GIL is kept as long as this is used. */
    static char scratch[POLLRING_PYTHON_QUICK];
    PyObject *bytes = size <= POLLRING_PYTHON_QUICK ? NULL : PyBytes_FromStringAndSize(NULL, size);
    if (size > POLLRING_PYTHON_QUICK && !bytes)
        return NULL;
    ssize_t count = receive(fd, bytes ? PyBytes_AS_STRING(bytes) : scratch, size);
    if (count < 0) {
        failed();
        Py_XDECREF(bytes);
        return NULL;
    }
    if (!bytes)
        return PyBytes_FromStringAndSize(scratch, count);
    _PyBytes_Resize(&bytes, count);
    return bytes;
}

Py_ssize_t pollring_python_send(int fd, const void *buffer, Py_ssize_t size) {
    ssize_t count;
    if (size <= POLLRING_PYTHON_QUICK) {
        count = send(fd, buffer, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL);
    } else {
        Py_BEGIN_ALLOW_THREADS;
        count = send(fd, buffer, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL);
        Py_END_ALLOW_THREADS;
    }
    return count < 0 ? failed() : count;
}

/* Each of these: 1: done, with *result; 0: it would block; -1 with an error. */
static int try_recv(struct operation *self, PyObject **result) {
    *result = pollring_python_receive(self->fd, self->size);
    return *result ? 1 : PyErr_Occurred() ? -1 : 0;
}

static int try_recv_into(struct operation *self, PyObject **result) {
    ssize_t count = receive(self->fd, self->buffer.buf, self->buffer.len);
    if (count < 0)
        return failed();
    *result = PyLong_FromSsize_t(count);
    return *result ? 1 : -1;
}

static int try_sendall(struct operation *self, PyObject **result) {
    Py_ssize_t count =
        pollring_python_send(self->fd, (char *)self->buffer.buf + self->done, self->buffer.len - self->done);
    if (count < 0)
        return -1;
    self->done += count;
    if (self->done < self->buffer.len)
        return 0;
    Py_INCREF(Py_None);
    *result = Py_None;
    return 1;
}

static PyObject *call_method(struct operation *self) {
    const char *method = kinds[self->kind].method;
    switch (self->kind) {
    case ACCEPT:
        return PyObject_CallMethod(self->socket, method, NULL);
    case SENDTO:
        return PyObject_CallMethod(self->socket, method, "OO", self->argument, self->second);
    case RECVFROM_INTO:
        return PyObject_CallMethod(self->socket, method, self->second ? "OO" : "O", self->argument, self->second);
    default:
        return PyObject_CallMethod(self->socket, method, "(O)", self->argument);
    }
}

static int set_nonblocking(PyObject *accepted) {
    PyObject *connection = PyTuple_Check(accepted) && PyTuple_GET_SIZE(accepted) ? PyTuple_GET_ITEM(accepted, 0) : NULL;
    PyObject *done = connection ? PyObject_CallMethod(connection, "setblocking", "O", Py_False) : NULL;
    Py_XDECREF(done);
    return done ? 0 : -1;
}

/* A connect that would have blocked goes on in the background; a second one would say so. */
static int try_connect_again(struct operation *self, PyObject **result) {
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(self->fd, SOL_SOCKET, SO_ERROR, &error, &size))
        error = errno;
    if (error) {
        PyObject *text = PyUnicode_FromFormat("Connect call failed %S", self->argument);
        PyObject *exception = text ? PyObject_CallFunction(PyExc_OSError, "iO", error, text) : NULL;
        if (exception)
            PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
        Py_XDECREF(exception);
        Py_XDECREF(text);
        return -1;
    }
    Py_INCREF(Py_None);
    *result = Py_None;
    return 1;
}

static int try_method(struct operation *self, PyObject **result) {
    *result = call_method(self);
    if (*result && self->kind == ACCEPT && set_nonblocking(*result))
        Py_CLEAR(*result);
    if (*result)
        return 1;
    if (!PyErr_ExceptionMatches(PyExc_BlockingIOError) && !PyErr_ExceptionMatches(PyExc_InterruptedError))
        return -1;
    PyErr_Clear();
    return 0;
}

static int try(struct operation *self, bool again, PyObject **result) {
    switch (self->kind) {
    case RECV:
        return try_recv(self, result);
    case RECV_INTO:
        return try_recv_into(self, result);
    case SENDALL:
        return try_sendall(self, result);
    case CONNECT:
        return again ? try_connect_again(self, result) : try_method(self, result);
    default:
        return try_method(self, result);
    }
}

/* ---- waiting ---- */

static void unlist(struct operation *self) {
    if (!self->waits)
        return;
    self->waits = false;
    *(self->previous ? &self->previous->next : &self->loop->operations) = self->next;
    if (self->next)
        self->next->previous = self->previous;
    Py_DECREF(self);
}

/* No longer waits, whatever the reason: an armed poll would hold the file. */
static void stop_waiting(struct operation *self) {
    pollring_poll_free(self->poll);
    self->poll = NULL;
    Py_CLEAR(self->iterator);
    Py_CLEAR(self->future);
    unlist(self);
}

static PyObject *new_future(struct loop_object *loop) {
    PyObject *arguments[] = {(PyObject *)loop};
    return PyObject_Vectorcall(future_type, arguments, 0, names_of_future);
}

static int wait_for_socket(struct operation *self) {
    struct loop_object *loop = self->loop;
    if (pollring_python_loop_check(loop) || pollring_python_ensure_no_transport(loop, self->fd, self->socket) ||
        !pollring_python_loop_ring(loop) || !(self->future = new_future(loop)) ||
        !(self->iterator = Py_TYPE(self->future)->tp_as_async->am_await(self->future)))
        return -1;
    int error = loop->inbox ? pollring_poll_add_to(loop->inbox, &self->poll, self->fd,
                                                   (uint32_t)kinds[self->kind].events, POLLRING_ONESHOT, self)
                            : -ESHUTDOWN;
    if (error) {
        pollring_python_raise(error, kinds[self->kind].name, self->fd);
        return -1;
    }
    self->waits = true;
    self->previous = NULL;
    self->next = loop->operations;
    if (self->next)
        self->next->previous = self;
    loop->operations = self;
    Py_INCREF(self);
    return 0;
}

static bool is_done(PyObject *future) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *done = PyObject_CallMethod(future, "done", NULL);
    bool truth = done == Py_True;
    Py_XDECREF(done);
    PyErr_Restore(type, value, traceback);
    return truth;
}

/* Its poll has ended: the task goes on. */
int pollring_python_operation_event(const struct pollring_event *event) {
    struct operation *self = event->owner;
    PyObject *future = self->future;
    Py_INCREF(future);
    pollring_poll_free(self->poll);
    self->poll = NULL;
    unlist(self);
    PyObject *done = PyObject_CallMethodOneArg(future, name_set_result, Py_None);
    bool cancelled = !done && is_done(future); /* and its task has not run yet */
    if (cancelled)
        PyErr_Clear();
    int failed = done || cancelled ? 0 : -1;
    Py_XDECREF(done);
    Py_DECREF(future);
    return failed;
}

int pollring_python_operations_visit(struct loop_object *loop, visitproc visit, void *arg) {
    for (struct operation *operation = loop->operations; operation; operation = operation->next)
        Py_VISIT((PyObject *)operation);
    return 0;
}

void pollring_python_operations_clear(struct loop_object *loop) {
    while (loop->operations) {
        struct operation *operation = loop->operations;
        pollring_poll_free(operation->poll);
        operation->poll = NULL;
        unlist(operation);
    }
}

/* ---- the coroutine ---- */

static void end(struct operation *self) {
    self->state = ENDED;
    stop_waiting(self);
    if (self->buffer.obj)
        PyBuffer_Release(&self->buffer);
}

static int check_nonblocking(PyObject *socket) {
    PyObject *timeout = PyObject_CallMethod(socket, "gettimeout", NULL);
    double seconds = timeout && timeout != Py_None ? PyFloat_AsDouble(timeout) : -1;
    if (timeout && seconds != 0 && !PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, "the socket must be non-blocking");
    Py_XDECREF(timeout);
    return PyErr_Occurred() ? -1 : 0;
}

static int start(struct operation *self) {
    if (self->loop->debug && check_nonblocking(self->socket))
        return -1;
    self->fd = pollring_python_socket_fd(self->socket);
    if (self->fd < 0)
        return -1;
    switch (self->kind) {
    case RECV:
        self->size = PyNumber_AsSsize_t(self->argument, PyExc_OverflowError);
        if (self->size < 0 && !PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "negative buffersize in recv");
        return PyErr_Occurred() ? -1 : 0;
    case RECV_INTO:
        return PyObject_GetBuffer(self->argument, &self->buffer, PyBUF_WRITABLE);
    case SENDALL:
        return PyObject_GetBuffer(self->argument, &self->buffer, PyBUF_SIMPLE);
    default:
        return 0;
    }
}

/* PyIter_Send(), which Python 3.9 lacks. */
static PySendResult send_to(PyObject *iterator, PyObject *value, PyObject **result) {
#if PY_VERSION_HEX < 0x030A0000
    (void)value;
    *result = Py_TYPE(iterator)->tp_iternext(iterator);
    if (*result)
        return PYGEN_NEXT;
    return _PyGen_FetchStopIterationValue(result) ? PYGEN_ERROR : PYGEN_RETURN;
#else
    return PyIter_Send(iterator, value, result);
#endif
}

static PySendResult operation_send(PyObject *object, PyObject *value, PyObject **result) {
    struct operation *self = (struct operation *)object;
    bool again = self->iterator != NULL;
    *result = NULL;
    if (self->state == ENDED) {
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
        return PYGEN_ERROR;
    }
    if (self->state == STARTED && !self->iterator) {
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
        return PYGEN_ERROR;
    }
    if (self->state == NEW) {
        self->state = STARTED;
        if (start(self)) {
            end(self);
            return PYGEN_ERROR;
        }
    }
    for (;;) {
        if (self->iterator) {
            PySendResult sent = send_to(self->iterator, value, result);
            if (sent == PYGEN_NEXT)
                return PYGEN_NEXT;
            stop_waiting(self);
            if (sent == PYGEN_ERROR)
                break;
            Py_CLEAR(*result);
        }
        int tried = try(self, again, result);
        if (tried) {
            end(self);
            return tried > 0 ? PYGEN_RETURN : PYGEN_ERROR;
        }
        if (wait_for_socket(self))
            break;
        value = Py_None;
    }
    end(self);
    return PYGEN_ERROR;
}

/* What a coroutine returns, it raises. */
static PyObject *by_exception(PySendResult sent, PyObject *result) {
    if (sent != PYGEN_RETURN)
        return result;
    PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, result);
    Py_DECREF(result);
    if (stop)
        PyErr_SetObject(PyExc_StopIteration, stop);
    Py_XDECREF(stop);
    return NULL;
}

static PyObject *operation_next(PyObject *object) {
    PyObject *result;
    PySendResult sent = operation_send(object, Py_None, &result);
    if (sent == PYGEN_RETURN && result == Py_None) { /* no exception at all says the same */
        Py_DECREF(result);
        return NULL;
    }
    return by_exception(sent, result);
}

static PyObject *send_method(PyObject *object, PyObject *value) {
    PyObject *result;
    PySendResult sent = operation_send(object, value, &result);
    return by_exception(sent, result);
}

static PyObject *throw_method(PyObject *object, PyObject *arguments) {
    struct operation *self = (struct operation *)object;
    PyObject *type, *value = NULL, *traceback = NULL;
    if (!PyArg_ParseTuple(arguments, "O|OO:throw", &type, &value, &traceback))
        return NULL;
    end(self);
    if (PyExceptionInstance_Check(type)) {
        PyErr_SetObject((PyObject *)Py_TYPE(type), type);
    } else if (PyExceptionClass_Check(type) && traceback && PyTraceBack_Check(traceback)) {
        Py_INCREF(type);
        Py_XINCREF(value);
        Py_INCREF(traceback);
        PyErr_Restore(type, value, traceback);
    } else if (PyExceptionClass_Check(type)) {
        PyErr_SetObject(type, value == Py_None ? NULL : value);
    } else {
        PyErr_Format(PyExc_TypeError, "exceptions must be classes or instances deriving from BaseException, not %.100s",
                     Py_TYPE(type)->tp_name);
    }
    return NULL;
}

static PyObject *close_method(PyObject *object, PyObject *unused) {
    (void)unused;
    end((struct operation *)object);
    Py_RETURN_NONE;
}

static PyObject *itself(PyObject *object) {
    Py_INCREF(object);
    return object;
}

static PyObject *await_method(PyObject *object, PyObject *unused) {
    (void)unused;
    return itself(object);
}

static PyObject *get_name(PyObject *object, void *unused) {
    (void)unused;
    return PyUnicode_FromString(kinds[((struct operation *)object)->kind].name);
}

static PyObject *get_awaited(PyObject *object, void *unused) {
    PyObject *future = ((struct operation *)object)->future;
    (void)unused;
    future = future ? future : Py_None;
    Py_INCREF(future);
    return future;
}

static int operation_traverse(PyObject *object, visitproc visit, void *arg) {
    struct operation *self = (struct operation *)object;
    Py_VISIT(self->loop);
    Py_VISIT(self->socket);
    Py_VISIT(self->argument);
    Py_VISIT(self->second);
    Py_VISIT(self->future);
    Py_VISIT(self->iterator);
    return 0;
}

/* The loop stays, as it is needed to leave its list. */
static int operation_clear(PyObject *object) {
    struct operation *self = (struct operation *)object;
    end(self);
    Py_CLEAR(self->socket);
    Py_CLEAR(self->argument);
    Py_CLEAR(self->second);
    return 0;
}

static void operation_dealloc(PyObject *object) {
    struct operation *self = (struct operation *)object;
    PyObject_GC_UnTrack(object);
    if (self->state == NEW) {
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        if (PyErr_WarnFormat(PyExc_RuntimeWarning, 1, "coroutine '%s' was never awaited", kinds[self->kind].name))
            PyErr_WriteUnraisable(NULL);
        PyErr_Restore(type, value, traceback);
    }
    operation_clear(object);
    Py_CLEAR(self->loop);
    Py_TYPE(object)->tp_free(object);
}

static PyAsyncMethods operation_async = {
    .am_await = itself,
#if PY_VERSION_HEX >= 0x030A0000
    .am_send = operation_send,
#endif
};

static PyMethodDef operation_methods[] = {
    {"send", send_method, METH_O, NULL},
    {"throw", throw_method, METH_VARARGS, NULL},
    {"close", close_method, METH_NOARGS, NULL},
    {"__await__", await_method, METH_NOARGS, NULL},
    {0},
};

static PyGetSetDef operation_fields[] = {
    {"__name__", get_name, NULL, NULL, NULL},
    {"__qualname__", get_name, NULL, NULL, NULL},
    {"cr_await", get_awaited, NULL, NULL, NULL},
    {0},
};

static PyTypeObject operation_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "pollring._pollring.SocketOperation",
    .tp_basicsize = sizeof(struct operation),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "What EventLoop.sock_recv() and its likes give: a coroutine.",
    .tp_dealloc = operation_dealloc,
    .tp_traverse = operation_traverse,
    .tp_clear = operation_clear,
    .tp_as_async = &operation_async,
    .tp_iter = itself,
    .tp_iternext = operation_next,
    .tp_methods = operation_methods,
    .tp_getset = operation_fields,
};

/* Where somebody has put another socket class in its place, that is none of ours. */
static int find_socket_type(void) {
    PyObject *module = PyImport_ImportModule("socket"), *method = NULL;
    socket_type = module ? PyObject_GetAttrString(module, "socket") : NULL;
    if (socket_type)
        method = PyObject_GetAttrString(socket_type, "fileno");
    if (method && Py_IS_TYPE(method, &PyMethodDescr_Type) && PyType_Check(socket_type) &&
        PyType_IsSubtype((PyTypeObject *)socket_type, PyDescr_TYPE(method)) &&
        ((PyMethodDescrObject *)method)->d_method->ml_flags == METH_NOARGS)
        socket_fileno = ((PyMethodDescrObject *)method)->d_method->ml_meth;
    else
        Py_CLEAR(socket_type);
    Py_XDECREF(module);
    Py_XDECREF(method);
    return method ? 0 : -1;
}

int pollring_python_sockets_prepare(void) {
    PyObject *asyncio;
    if (stdlib_loop)
        return 0;
    name_set_result = PyUnicode_InternFromString("set_result");
    names_of_future = Py_BuildValue("(s)", "loop");
    if (!name_set_result || !names_of_future || PyType_Ready(&operation_type) || find_socket_type() ||
        !(asyncio = PyImport_ImportModule("asyncio.selector_events")))
        return -1;
    future_type = PyObject_GetAttrString(asyncio, "futures");
    if (future_type)
        Py_SETREF(future_type, PyObject_GetAttrString(future_type, "Future"));
    stdlib_loop = future_type ? PyObject_GetAttrString(asyncio, "BaseSelectorEventLoop") : NULL;
    Py_DECREF(asyncio);
    return stdlib_loop ? 0 : -1;
}

/* ---- the methods of the loop ---- */

static PyObject *make(PyObject *loop, PyObject *const *arguments, Py_ssize_t given, enum kind kind) {
    struct operation *self = (struct operation *)operation_type.tp_alloc(&operation_type, 0);
    if (!self)
        return NULL;
    PyObject **const places[] = {&self->socket, &self->argument, &self->second};
    for (Py_ssize_t i = 0; i < given; i++) {
        Py_INCREF(arguments[i]);
        *places[i] = arguments[i];
    }
    Py_INCREF(loop);
    self->loop = (struct loop_object *)loop;
    self->kind = kind;
    return (PyObject *)self;
}

static PyObject *operate(PyObject *loop, PyObject *const *arguments, Py_ssize_t given, PyObject *keywords,
                         enum kind kind) {
    if (!keywords && given >= kinds[kind].least && given <= kinds[kind].most && pollring_python_is_socket(arguments[0]))
        return make(loop, arguments, given, kind);
    return pollring_python_stdlib(stdlib_loop, kinds[kind].name, loop, arguments, given, keywords);
}

#define METHOD(function, kind)                                                                                         \
    static PyObject *function(PyObject *loop, PyObject *const *arguments, Py_ssize_t given, PyObject *keywords) {      \
        return operate(loop, arguments, given, keywords, kind);                                                        \
    }
METHOD(sock_recv, RECV)
METHOD(sock_recv_into, RECV_INTO)
METHOD(sock_sendall, SENDALL)
METHOD(sock_recvfrom, RECVFROM)
METHOD(sock_recvfrom_into, RECVFROM_INTO)
METHOD(sock_sendto, SENDTO)
METHOD(sock_accept, ACCEPT)
METHOD(sock_connect_resolved, CONNECT)

static PyObject *create_future(PyObject *loop, PyObject *unused) {
    (void)unused;
    return new_future((struct loop_object *)loop);
}

#define FAST(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL | METH_KEYWORDS

PyMethodDef pollring_python_socket_methods[] = {
    {"create_future", create_future, METH_NOARGS, "Creates a Future of this loop."},
    {"sock_recv", FAST(sock_recv), "sock_recv($self, sock, n)\n--\n\nReceives up to n bytes."},
    {"sock_recv_into", FAST(sock_recv_into),
     "sock_recv_into($self, sock, buf)\n--\n\nReceives into a buffer; gives the number of bytes."},
    {"sock_sendall", FAST(sock_sendall), "sock_sendall($self, sock, data)\n--\n\nSends all of data."},
    {"sock_recvfrom", FAST(sock_recvfrom),
     "sock_recvfrom($self, sock, bufsize)\n--\n\nReceives a datagram; gives its bytes and its sender's address."},
    {"sock_recvfrom_into", FAST(sock_recvfrom_into),
     "sock_recvfrom_into($self, sock, buf, nbytes=0)\n--\n\nReceives a datagram into a buffer; gives the number of "
     "bytes "
     "and its sender's address."},
    {"sock_sendto", FAST(sock_sendto), "sock_sendto($self, sock, data, address)\n--\n\nSends a datagram."},
    {"sock_accept", FAST(sock_accept),
     "sock_accept($self, sock)\n--\n\nAccepts a connection; gives its socket and its address."},
    {"_sock_connect_resolved", FAST(sock_connect_resolved), NULL},
    {0},
};
