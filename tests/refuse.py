#!/usr/bin/env python3
r"""Runs a command where io_uring is refused: a seccomp filter answers some of its system calls, and the sysctl looks as
asked for, to the command alone.

    tests/refuse.py [--setup ERRNO] [--enter ERRNO] [--register ERRNO] [--pwait2 ERRNO] [--sysctl VALUE] [--fds N] \
        command...

such as --setup EPERM --enter EPERM. The machine's own setting is not touched. Exits with 77 and a reason where the file of
the sysctl can't be covered.
"""

import argparse
import ctypes
import errno
import os
import resource
import struct
import sys
import tempfile

NUMBERS = {"setup": 425, "enter": 426, "register": 427, "pwait2": 441}  # the same on all architectures but alpha
SYSCTL = "/proc/sys/kernel/io_uring_disabled"
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE = 0x20000, 4096, 16384, 1 << 18

libc = ctypes.CDLL(None, use_errno=True)


def check(result):
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def install_filter(refusals):
    load_number, allow = struct.pack("HBBI", 0x20, 0, 0, 0), struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000)
    program = load_number
    for number, error in refusals.items():
        program += struct.pack("HBBI", 0x15, 0, 1, number) + struct.pack("HBBI", 0x06, 0, 0, 0x50000 | error)
    program += allow
    code = ctypes.create_string_buffer(program, len(program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code)))
    check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    check(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0))


def cover_sysctl(value):
    """Mounts a file over it, in a mount namespace of this process and its children."""
    check(libc.unshare(CLONE_NEWNS))
    check(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(f"{value}\n")
        file.flush()
        check(libc.mount(file.name.encode(), SYSCTL.encode(), None, MS_BIND, None))


def main():
    parser = argparse.ArgumentParser()
    for call in NUMBERS:
        parser.add_argument(f"--{call}", type=lambda name: getattr(errno, name))
    parser.add_argument("--sysctl", type=int)
    parser.add_argument("--fds", type=int)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    if arguments.sysctl is not None:
        try:
            cover_sysctl(arguments.sysctl)
        except OSError as error:
            print(f"{SYSCTL} can't be covered: {error}")
            sys.exit(77)
    if arguments.fds is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (arguments.fds, arguments.fds))
    refusals = {number: error for call, number in NUMBERS.items() if (error := getattr(arguments, call))}
    if refusals:
        install_filter(refusals)
    os.execvp(arguments.command[0], arguments.command)


if __name__ == "__main__":
    main()
