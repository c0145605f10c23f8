/*
 * Threads for the C tests. Knows cmocka, and nothing of what is tested.
 */
#ifndef TESTS_THREAD_H
#define TESTS_THREAD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>

static inline pthread_t start_thread(void *(*function)(void *), void *argument) {
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, function, argument), 0);
    return thread;
}

static inline int join_thread(pthread_t thread) {
    void *result;
    assert_int_equal(pthread_join(thread, &result), 0);
    return (int)(intptr_t)result;
}

static inline int in_thread(void *(*function)(void *), void *argument) {
    return join_thread(start_thread(function, argument));
}

#endif
