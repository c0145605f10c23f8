"""Builds the extension modules: pollring._pollring with the C core inside, and pollring._rules, the kernel's rules
(lab/). All that is text is in pyproject.toml."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from glob import glob
from pathlib import Path
from tempfile import TemporaryDirectory

if not sys.platform.startswith("linux"):
    sys.exit(f"pollring is for Linux: multishot poll is a request of its io_uring, which {sys.platform} has not.")

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist

INTERFACE = "bindings/python/pollring.i"
# What swig makes of Python's interface and of Lua's (the Makefile looks for it); only source releases have it.
RELEASED_WRAPPER, RELEASED_LUA_WRAPPER = "generated/pollring_python_wrap.c", "generated/pollring_wrap.c"
SWIG = os.environ.get("SWIG") or "swig"


def pkg_config(option):
    return subprocess.check_output(["pkg-config", option, "liburing >= 2.3"], text=True, stderr=subprocess.DEVNULL)


def has_liburing():
    try:
        return bool(pkg_config("--modversion"))
    except (OSError, subprocess.CalledProcessError):
        return False


def require(*needs):
    """Of (whether it is there, what it is, its packages): ends with one sentence about all that isn't."""
    lacking = [need[1:] for need in needs if not need[0]]
    if lacking:
        what, packages = (separator.join(texts) for separator, texts in zip((", ", " "), zip(*lacking)))
        sys.exit(f"pollring needs {what}; on Debian and Ubuntu: apt-get install {packages}")


def swig_need():
    return shutil.which(SWIG), f"swig for building from a checkout ({SWIG} isn't there)", "swig"


def run_swig(command, output, language=("-python", "-interface", "_pollring"), interface=INTERFACE):
    command.mkpath(os.path.dirname(output))
    with TemporaryDirectory() as unused:  # for the Python that it writes beside the C
        command.spawn([SWIG, *language, "-Ibindings", "-Icore", "-outdir", unused, "-o", output, interface])
    # SWIG 4.3's runtime has types without a module. Python warns of them, and where that is an error it crashes.
    text = Path(output).read_text()
    Path(output).write_text(re.sub(r'(PyType_Spec spec = {\s*")(?=\w+")', r"\1pollring._pollring.", text))


class BuildExt(build_ext):
    def build_extensions(self):
        compiler = self.compiler.compiler_so[0]
        header = os.path.join(sysconfig.get_path("include"), "Python.h")
        require((shutil.which(compiler), f"a C compiler ({compiler} isn't there, CC= chooses another)", "gcc libc6-dev"),
                (os.path.exists(header), f"this Python's headers ({header} isn't there)",
                 f"python{sysconfig.get_python_version()}-dev"),
                (has_liburing(), "liburing 2.3 or newer and pkg-config", "liburing-dev pkgconf"),
                *[swig_need() for extension in self.extensions if INTERFACE in extension.sources])
        super().build_extensions()

    def build_extension(self, extension):
        # As in the Makefile: liburing's archive where there is one, so that the module needs nothing at run time.
        archive = Path(pkg_config("--variable=libdir").strip(), "liburing.a")
        extension.extra_link_args += [str(archive)] if archive.exists() else pkg_config("--libs").split()
        extension.extra_compile_args += pkg_config("--cflags").split()
        super().build_extension(extension)

    def swig_sources(self, sources, *_):
        """What setuptools does for a .i file, but in the build directory instead of beside the source."""
        if INTERFACE not in sources:
            return sources
        wrapper = os.path.join(self.build_temp, "pollring_wrap.c")
        run_swig(self, wrapper)
        return [wrapper if source == INTERFACE else source for source in sources]


class Sdist(sdist):
    """A source release for every language, which carries what swig makes, and the manual pages after `make docs`. (What
    is left out or may be missing is not in MANIFEST.in, which complains where there is none.)"""

    def make_release_tree(self, base_dir, files):
        files = {file for file in files if not file.endswith((".pyc", ".so"))}.union(glob("generated/*"))
        super().make_release_tree(base_dir, sorted(files))
        if RELEASED_WRAPPER not in files:  # else this is made of a source release
            require(swig_need())
            run_swig(self, os.path.join(base_dir, RELEASED_WRAPPER))
            run_swig(self, os.path.join(base_dir, RELEASED_LUA_WRAPPER), ["-lua"], "bindings/lua/pollring.i")
            for page in glob("build/man/pollring.[137]"):
                self.copy_file(page, os.path.join(base_dir, "generated"))


# A module exports its init function alone, none of the core's and liburing's.
FLAGS = dict(extra_compile_args=["-std=gnu11", "-fvisibility=hidden"], extra_link_args=["-Wl,--exclude-libs,ALL"])

# Where there is one: in a source release, or after `make docs`.
MANUAL = glob("generated/pollring.1") or glob("build/man/pollring.1")

# There is a wheel for each Python, and none for all (abi3): the limited API has no contexts, in which a loop runs its
# callbacks, can't tell the main interpreter, and hides where a class has its slots, by which asyncio's handles are made
# without a call of Python. Lists and tuples would cost a call for each item, and calls by vector came with Python 3.12.
setup(
    version=re.search('POLLRING_VERSION "(.*)"', Path("core/pollring.h").read_text()).group(1),
    license="MIT",  # here because setuptools before 77 and after 76 want it differently in pyproject.toml
    cmdclass={"build_ext": BuildExt, "sdist": Sdist},
    data_files=[("share/man/man1", MANUAL)] if MANUAL else [],
    ext_modules=[
        Extension(
            "pollring._pollring",
            sources=[RELEASED_WRAPPER if os.path.exists(RELEASED_WRAPPER) else INTERFACE,
                     *sorted(glob("bindings/python/*.c") + glob("core/*.c"))],
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
