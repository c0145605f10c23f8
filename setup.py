"""Builds the extension modules: pollring._pollring with the C core inside, and pollring._rules, the kernel's rules
(lab/). All that is text is in pyproject.toml."""

import os
import re
import subprocess
import sys
from glob import glob
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext


def pkg_config(option):
    try:
        return subprocess.check_output(["pkg-config", option, "liburing >= 2.3"], text=True, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        sys.exit("pollring needs liburing 2.3 or newer and pkg-config; "
                 "on Debian and Ubuntu: apt-get install liburing-dev pkgconf")


class BuildExt(build_ext):
    def build_extension(self, extension):
        # As in the Makefile: liburing's archive where there is one, so that the module needs nothing at run time.
        archive = Path(pkg_config("--variable=libdir").strip(), "liburing.a")
        extension.extra_link_args += [str(archive)] if archive.exists() else pkg_config("--libs").split()
        extension.extra_compile_args += pkg_config("--cflags").split()
        super().build_extension(extension)

    def swig_sources(self, sources, *_):
        """What setuptools does for a .i file, but in the build directory instead of beside the source."""
        interface = "bindings/python/pollring.i"
        wrapper = os.path.join(self.build_temp, "pollring_wrap.c")
        self.mkpath(self.build_temp)
        self.spawn([os.environ.get("SWIG", "swig"), "-python", "-interface", "_pollring", "-Ibindings", "-Icore",
                    "-outdir", self.build_temp, "-o", wrapper, interface])
        return [wrapper if source == interface else source for source in sources]


# A module exports its init function alone, none of the core's and liburing's.
FLAGS = dict(extra_compile_args=["-std=gnu11", "-fvisibility=hidden"], extra_link_args=["-Wl,--exclude-libs,ALL"])

# Where there is one: in a source release, or after `make docs`.
MANUAL = glob("generated/pollring.1") or glob("build/man/pollring.1")

setup(
    version=re.search('POLLRING_VERSION "(.*)"', Path("core/pollring.h").read_text()).group(1),
    cmdclass={"build_ext": BuildExt},
    data_files=[("share/man/man1", MANUAL)] if MANUAL else [],
    ext_modules=[
        Extension(
            "pollring._pollring",
            sources=["bindings/python/pollring.i", *sorted(glob("bindings/python/*.c") + glob("core/*.c"))],
            depends=["bindings/pollring.i", *glob("bindings/python/*.h"), *glob("core/*.h"), "setup.py"],
            include_dirs=["core", "bindings/python"],
            **FLAGS,
        ),
        Extension(
            "pollring._rules",
            sources=sorted(set(glob("lab/*.c")) - {"lab/main.c"}),
            depends=[*glob("lab/*.h"), "setup.py"],
            **FLAGS,
        ),
    ],
)
