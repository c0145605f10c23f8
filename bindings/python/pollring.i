/*
 * The Python module _pollring. SWIG wraps the cold half of the core's header as flat functions, which the classes of
 * python/pollring call; the two types that have to be C are made by hand in this folder and added here. Typemaps only.
 */
%module _pollring
%{
#include "binding.h"

#include <errno.h>
%}

/* Structs reach Python as dicts, and rings and polls as objects that SWIG does not know. */
%rename("$ignore", %$isclass) "";

%typemap(in) struct pollring *, const struct pollring * {
    if (!($1 = pollring_python_ring($input)))
        SWIG_fail;
}
%typemap(in) struct pollring_poll *, const struct pollring_poll * {
    if (!($1 = pollring_python_poll($input)))
        SWIG_fail;
}
%typemap(in) int fd {
    if (($1 = pollring_python_fileno($input)) < 0)
        SWIG_fail;
}

%typemap(in) uint32_t events {
    if (pollring_python_mask($input, &$1))
        SWIG_fail;
}

/* The core sees an owner that sleeps in the kernel, not one that is on its way there or back. */
%exception pollring_adopt "if (((struct ring_object *)swig_obj[0])->sleeping) result = -EBUSY; else $action";

/* A number or an exception, and None or an exception where the number would always be 0. */
%typemap(out) int "$result = pollring_python_number($1, \"$symname\", -1);"
%typemap(out) int pollring_remove_fd "$result = pollring_python_number($1, \"$symname\", arg2);"
%typemap(out) int pollring_submit, int pollring_wake, int pollring_adopt
    "$result = pollring_python_status($1, \"$symname\", -1);"
%typemap(out) int pollring_poll_update, int pollring_poll_recheck, int pollring_poll_remove
    "$result = pollring_python_status($1, \"$symname\", pollring_poll_fd(arg1));"
%typemap(out) int pollring_poll_arm {
    $result = pollring_python_status($1, "$symname", pollring_poll_fd(arg1));
    if ($result)
        pollring_python_keep((struct poll_object *)$self);
}
%typemap(out) int pollring_poll_end_reason "$result = pollring_python_end_reason($1);"

%typemap(in, numinputs=0) struct pollring_stats *stats (struct pollring_stats fields) "$1 = &fields;"
%typemap(argout) struct pollring_stats *stats "Py_DECREF($result); $result = pollring_python_stats($1);"
%typemap(in, numinputs=0) struct pollring_probe *probe (struct pollring_probe fields) "$1 = &fields;"
%typemap(argout) struct pollring_probe *probe "Py_DECREF($result); $result = pollring_python_probe($1);"

%native(names) PyObject *pollring_python_names(PyObject *self, PyObject *result);
%native(raise_error) PyObject *pollring_python_raise_error(PyObject *self, PyObject *error_and_fd);
%native(ready) PyObject *pollring_python_ready(PyObject *self, PyObject *polls);
%native(stream_transport) PyObject *pollring_python_stream_transport(PyObject *self, PyObject *type);

%include "../pollring.i"

%init %{
    if (pollring_python_add_types(m))
#if SWIG_VERSION >= 0x040400 /* here this is a function that fills a module, before it was one that makes it */
        return -1;
#else
        return NULL;
#endif
%}
