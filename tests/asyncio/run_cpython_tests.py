#!/usr/bin/env python3
"""Runs CPython's own tests of asyncio on pollring's event loop, wherever they run on the selector loop.

    tests/asyncio/run_cpython_tests.py [-v] [--backend=epoll] [name ...]     # part of a test's name, as in StreamTests

They come with the Python that runs this (Debian: libpython3.x-testsuite). The last line sums up. What is left out is
listed below, each with its reason; the rest has to pass.
"""

import asyncio
import gc
import importlib
import os
import pkgutil
import re
import sys
import unittest
from asyncio import unix_events

import pollring

BACKEND = "epoll" if "--backend=epoll" in sys.argv else "auto"

# Part of a test's id: why it isn't run.
LEFT_OUT = {
    r"test_(proactor|windows)": "of another system",
    r"\.(Poll|Select)EventLoopTests\.": "asyncio's own loop on a certain selector; that on epoll is what pollring's replaces",
}


class SelectorEventLoop(pollring.EventLoop):
    """In the place of asyncio's, which takes a selector."""

    def __init__(self, selector=None):
        if selector:
            selector.close()
        super().__init__(backend=BACKEND)


def take_the_place():
    """From here on asyncio gives out pollring's loop."""
    asyncio.SelectorEventLoop = unix_events.SelectorEventLoop = SelectorEventLoop
    asyncio.DefaultEventLoopPolicy._loop_factory = SelectorEventLoop
    if hasattr(asyncio, "EventLoop"):
        asyncio.EventLoop = unix_events.EventLoop = SelectorEventLoop
    assert isinstance(asyncio.new_event_loop(), pollring.EventLoop)


def tests_in(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from tests_in(test)
        else:
            yield test


def chosen(names):
    """All tests, or those with such a name; what is left out becomes a skip."""
    package = importlib.import_module("test.test_asyncio")
    loader = unittest.TestLoader()
    for module in sorted(found.name for found in pkgutil.iter_modules(package.__path__)):
        if not module.startswith("test_"):
            continue
        try:
            suite = loader.loadTestsFromName(f"test.test_asyncio.{module}")
        except unittest.SkipTest as skip:
            print(f"skipped: {module}: {skip}")
            continue
        kept = unittest.TestSuite()
        for test in tests_in(suite):
            if names and not any(name in test.id() for name in names):
                continue
            reason = next((reason for part, reason in LEFT_OUT.items() if re.search(part, test.id())), None)
            if reason:
                method = getattr(test, test._testMethodName)
                setattr(test, test._testMethodName, unittest.skip(reason)(method.__func__).__get__(test))
            kept.addTest(test)
        yield kept


def main(arguments):
    try:
        from test import support

        importlib.import_module("test.test_asyncio")
    except ImportError as error:
        print(f"This Python has no test package ({error}); on Debian: apt-get install "
              f"libpython3.{sys.version_info.minor}-testsuite")
        print("0 passed, 0 failed, 1 skipped")
        return 0
    support.use_resources = {}  # nothing of the network, nothing that takes minutes
    os.environ["PYTHONASYNCIODEBUG"] = ""
    take_the_place()
    suite = unittest.TestSuite(chosen([name for name in arguments if not name.startswith("-")]))
    gc.freeze()  # else half of the time goes into tests that collect garbage a hundred times
    result = unittest.TextTestRunner(sys.stdout, verbosity=2 if "-v" in arguments else 0).run(suite)
    for test, reason in result.skipped:
        print(f"skipped: {test}: {reason}")
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    skipped = len(result.skipped)
    print(f"{result.testsRun - failed - skipped} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
