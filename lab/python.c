/* The module pollring._rules: run(number) tries one rule on one set-up, for `pollring rules`. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "rules.h"

#include <pthread.h>
#include <stdlib.h>

/* The runner is for one thread at a time. Not the GIL: a trial may take seconds. */
static pthread_mutex_t running = PTHREAD_MUTEX_INITIALIZER;

static PyObject *json_string(const struct trial *trial, const struct outcome *outcome) {
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    if (!file)
        return PyErr_NoMemory();
    print_json(file, trial, outcome);
    PyObject *string = fclose(file) == 0 ? PyUnicode_DecodeUTF8(text, (Py_ssize_t)size, "replace") : PyErr_NoMemory();
    free(text);
    return string;
}

static PyObject *run(PyObject *module, PyObject *argument) {
    struct trial trial;
    struct outcome outcome;
    size_t number = PyLong_AsSize_t(argument);
    (void)module;
    if (PyErr_Occurred())
        return NULL;
    if (!find_trial(number, &trial))
        return PyErr_Format(PyExc_IndexError, "there is no trial %zu", number);
    Py_BEGIN_ALLOW_THREADS;
    pthread_mutex_lock(&running);
    run_trial(&trial, &outcome);
    pthread_mutex_unlock(&running);
    Py_END_ALLOW_THREADS;
    return PyErr_CheckSignals() ? NULL : json_string(&trial, &outcome);
}

static PyObject *count(PyObject *module, PyObject *none) {
    struct trial trial;
    size_t trials = 0;
    (void)module;
    (void)none;
    while (find_trial(trials, &trial))
        trials++;
    return PyLong_FromSize_t(trials);
}

static PyMethodDef methods[] = {
    {"count", count, METH_NOARGS, "count() -> int: the number of trials, one for each rule on each set-up"},
    {"run", run, METH_O, "run(number, /) -> str: runs a trial in a forked child; its outcome as a JSON object"},
    {0},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "_rules",
                                        .m_doc = "The kernel's rules, tried.", .m_methods = methods};

PyMODINIT_FUNC PyInit__rules(void) {
    return PyModule_Create(&definition);
}
