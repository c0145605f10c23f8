#!/usr/bin/env python3
"""Whether the C header, the library, Python, Lua, their stubs and annotations, and the documentation agree. Writes TAP.

    tests/api/check.py            # make has built all; some seconds
    tests/api/check.py --record   # writes abi.txt anew, for a release that is to have what is there now

The header is what all are held against:

core/pollring.map      has the header's functions, and the library exports them with the versions it says
tests/api/abi.txt      has what the library exports, and the values, sizes and offsets that programs have compiled in
bindings/pollring.i    wraps the header's functions, all but those that it names
_pollring.pyi          has what the extension module has, with the header's arguments
pollring, in Python    has a member for each of the header's functions, but for those in COUNTERPARTS
lua/meta/              has what the Lua module has (members.lua asks it), and that too a member for each function
README, docs/          speak of nothing that isn't there; docs/reference/ has every public name

In Python, because one of the sides is a Python module, and the header, a stub and a table of symbols are read in a few
lines each. It knows names, arguments and numbers; what all of them do is for the other tests.
"""

import ast
import inspect
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build"
ABI = ROOT / "tests/api/abi.txt"
LUA = os.environ.get("LUA", "lua5.4")
sys.path.insert(0, str(BUILD / "python"))

# Where a function of the header is, in Python and in Lua, if not by its own name: pollring_poll_x() as Poll.x,
# pollring_x() as Ring.x. None: it isn't there, for what it does is done otherwise.
COUNTERPARTS = {
    "open": ("Ring", "pollring.ring"),
    "probe": ("probe", "pollring.probe"),
    "strevents": ("Events", "pollring.names"),
    "next": ("Poll.wait", "pollring.Poll.wait"),
    "pending": (None, "pollring.Ring.pending"),
    "poll_add": ("Ring.poll_add", "pollring.Ring.poll_add"),
    "poll_owner": ("Poll.data", "pollring.Poll.data"),
    # In the messages of errors.
    "check": (None, None), "orphaned": (None, None), "explain": (None, None),
    # Parts of a wait, and of sharing a ring: loops and schedulers are made of them.
    "collect": (None, None), "take": (None, None), "take_many": (None, None), "poll_add_to": (None, None),
    "inbox_open": (None, None), "inbox_close": (None, None), "inbox_collect": (None, None),
    "inbox_remove_fd": (None, None),
    # Their properties have the names in the place of the numbers.
    "strend": (None, None), "strcause": (None, None), "strsetup": (None, None),
    # By the garbage collectors.
    "poll_free": (None, None),
}
# What the extension modules have by hand, besides what SWIG wraps.
PYTHON_TYPES = {"Ring", "Poll", "Loop"}
LUA_FUNCTIONS = {"ring", "names"}


def output_of(*command, **environment):
    return subprocess.run([str(argument) for argument in command], check=True, env={**os.environ, **environment},
                          timeout=100, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout


def read(path):
    return (ROOT / path).read_text()


# ---- the sides ----

class Header:
    """The functions {name: its arguments' names}, constants, and structs {name: its fields} of a C header."""

    def __init__(self, path):
        self.text = read(path)
        code = re.sub(r"/\*.*?\*/", "", self.text, flags=re.DOTALL).replace("\\\n", " ")
        found = re.findall(r"^([a-z][\w\s*]*?)\b(\w+)\(([^()]*)\);", code, re.MULTILINE)
        self.functions = {name: [re.search(r"(\w+)$", argument.strip())[1] for argument in arguments.split(",")]
                          for _, name, arguments in found}
        self.prototypes = {name: " ".join(f"{result}({arguments})".split()) for result, name, arguments in found}
        self.constants = re.findall(r"^#define (POLLRING_\w+) +\S", code, re.MULTILINE)
        self.enums = dict(re.findall(r"^enum (\w+) {(.*?)}", code, re.MULTILINE | re.DOTALL))
        for body in self.enums.values():
            self.constants += re.findall(r"(\w+) *=", body)
        self.structs = {name: re.findall(r"(\w+)(?:\[\d+\])?[,;]", body) for name, body in
                        re.findall(r"^struct (\w+) {(.*?)}", code, re.MULTILINE | re.DOTALL)}
        self.opaque = set(re.findall(r"^struct (\w+);", code, re.MULTILINE))


HEADER = Header("core/pollring.h")
LUA_HEADER = Header("bindings/lua/pollring_lua.h")


def stripped(name):
    return re.sub("^(pollring|POLLRING)_", "", name)


def exported(library):
    """A shared library's symbols: {name: version}."""
    lines = output_of("nm", "-D", "--defined-only", BUILD / library).splitlines()
    symbols = (line.split()[-1] for line in lines if line.split()[-2] == "T")
    return {name: version for name, _, version in (symbol.partition("@@") for symbol in symbols)}


def in_map():
    """The functions of the map, each with its version."""
    text = re.sub(r"/\*.*?\*/", "", read("core/pollring.map"), flags=re.DOTALL)
    return {name: node for node, body in re.findall(r"([\w.]+) {(.*?)}", text, re.DOTALL)
            for name in re.findall(r"(pollring_\w+);", body)}


def compiled():
    """What a program has of the header when it is compiled: {"constant X": its value, "struct S": its size, ...}."""
    with tempfile.TemporaryDirectory() as directory:
        lines = ['#include <pollring.h>', '#include <stdio.h>', 'int main(void) {']
        numbers = [name for name in [*HEADER.constants, *mask_bits()] if name != "POLLRING_VERSION"]
        lines += [f'printf("constant {name} %lld\\n", (long long){name});' for name in numbers]
        for struct, fields in HEADER.structs.items():
            lines += [f'printf("struct {struct} %zu bytes\\n", sizeof(struct {struct}));']
            lines += [f'printf("field {struct}.{field} at %zu, %zu bytes\\n", offsetof(struct {struct}, {field}), '
                      f'sizeof(((struct {struct} *)0)->{field}));' for field in fields]
        Path(directory, "show.c").write_text("\n".join([*lines, "}", ""]))
        output_of(os.environ.get("CC", "cc"), "-D_GNU_SOURCE", "-Icore", "-o", f"{directory}/show",
                  f"{directory}/show.c")
        lines = output_of(f"{directory}/show").splitlines()
    return {" ".join(line.split()[:2]): " ".join(line.split()[2:]) for line in lines}


def mask_bits():
    return re.findall(r"^%constant unsigned (\w+)", read("bindings/pollring.i"), re.MULTILINE)


def wrapped(*interfaces):
    """What the header is for a language: its functions and constants, without their prefix."""
    text = "".join(map(read, ["bindings/pollring.i", *interfaces]))
    ignored = set(re.findall(r"^%ignore (\w+);", text, re.MULTILINE))
    return {stripped(name) for name in {*HEADER.functions, *HEADER.constants} - ignored} | set(mask_bits())


def stub(path):
    """A stub's functions {name: arguments}, values, and classes {name: members}."""
    functions, values, classes = {}, set(), {}
    for node in ast.parse(read(path)).body:
        if isinstance(node, ast.FunctionDef):
            functions[node.name] = [argument.arg for argument in [*node.args.posonlyargs, *node.args.args]]
        elif isinstance(node, ast.AnnAssign):
            values.add(node.target.id)
        elif isinstance(node, ast.ClassDef):
            classes[node.name] = {member.name if hasattr(member, "name") else member.target.id for member in node.body
                                  if isinstance(member, (ast.FunctionDef, ast.AsyncFunctionDef, ast.AnnAssign))}
    return functions, values, classes


def public(names):
    return {name for name in names if not name.startswith("_")}


def annotated():
    """Lua's annotations: {class: its fields and functions}."""
    classes = {}
    for path in ("lua/meta/pollring.lua", "lua/meta/pollring/scheduler.lua"):
        output_of(LUA, "-e", f'assert(type(assert(loadfile "{path}")()) == "table")')
        variables, members = {}, None
        for line in read(path).splitlines():
            if found := re.match(r"---@class ([\w.]+)", line):
                members = classes.setdefault(found[1], set())
            elif found := re.match(r"---@field (\w+)", line):
                members.add(found[1])
            elif found := re.match(r"local (\w+) = {}", line):
                variables[found[1]] = members
            elif found := re.match(r"function (\w+)[.:](\w+)\(", line):
                variables[found[1]].add(found[2])
    return classes


def running_lua():
    """The Lua module as it runs: {class: {member: its value, where that is a number}}."""
    classes = {}
    for line in output_of(LUA, "tests/api/members.lua", LUA_CPATH_5_4=f"{BUILD}/lua/?.so").splitlines():
        name, member, value = line.split("\t")
        classes.setdefault(name, {})[member] = value
    return classes


# ---- the checks: each gives what differs, a line each ----

def differences(left, right, is_in_left, is_in_right):
    yield from (f"{name}: {is_in_left}, not {is_in_right}" for name in sorted(set(left) - set(right)))
    yield from (f"{name}: {is_in_right}, not {is_in_left}" for name in sorted(set(right) - set(left)))


def unequal(left, right, of_left, of_right):
    yield from (f"{name}: {of_left} {left[name]}, {of_right} {right[name]}" for name in sorted(set(left) & set(right))
                if left[name] != right[name])


def check_the_library_exports_the_header(_):
    yield from differences(HEADER.functions, in_map(), "in pollring.h", "in pollring.map")
    library = exported("libpollring.so")
    yield from differences(in_map(), library, "in pollring.map", "exported by libpollring.so")
    yield from unequal(in_map(), library, "pollring.map says", "libpollring.so has")
    module = exported("lua/pollring.so")
    yield from differences(LUA_HEADER.functions, module, "in pollring_lua.h", "exported by lua/pollring.so")


def abi():
    soname = re.search(r"SONAME.*\[(.*)\]", output_of("readelf", "-d", BUILD / "libpollring.so"))[1]
    lines = {f"soname {soname}": ""}
    lines.update({name: value for name, value in compiled().items() if name.split()[1] not in mask_bits()})
    prototypes = {**HEADER.prototypes, **LUA_HEADER.prototypes}
    for library in ("libpollring.so", "lua/pollring.so"):
        lines.update({f"function {name}": f"{version} {prototypes.get(name, '')}".strip()
                      for name, version in exported(library).items()})
    return lines


def check_the_abi_is_the_recorded_one(_):
    recorded = {" ".join(line.split()[:2]): " ".join(line.split()[2:]) for line in ABI.read_text().splitlines()
                if not line.startswith("#")}
    now = abi()
    if sys.maxsize < 2**32:  # sizes are recorded where pointers have 64 bits
        recorded, now = ({name: value for name, value in lines.items() if not name.startswith(("struct", "field"))}
                         for lines in (recorded, now))
    yield from (f"{name}: was in abi.txt and is gone: programs need it" for name in sorted(set(recorded) - set(now)))
    yield from (f"{name}: not in abi.txt: check.py --record adds it" for name in sorted(set(now) - set(recorded)))
    yield from unequal(recorded, now, "in abi.txt", "now")


def check_swig_names_the_header(_):
    for path in ("bindings/pollring.i", "bindings/python/pollring.i", "bindings/lua/pollring.i"):
        text = read(path)
        named = set(re.findall(r"^%ignore (\w+);|^%exception (\w+)", text, re.MULTILINE))
        for name in {name for pair in named for name in pair if name} | set(
                re.findall(r"\b(?:int|unsigned|uint32_t) (pollring_(?!python|lua)\w+)", text)):
            if name not in HEADER.functions and name not in HEADER.structs:
                yield f"{name}: in {path}, not in pollring.h"


def check_the_extension_module_has_what_swig_wraps(_):
    from pollring import _pollring
    by_hand = set(re.findall(r"^%native\((\w+)\)", read("bindings/python/pollring.i"), re.MULTILINE))
    yield from differences(wrapped("bindings/python/pollring.i") | by_hand | PYTHON_TYPES, public(dir(_pollring)),
                           "in pollring.h or pollring.i", "in the running _pollring")


def check_the_stubs_have_what_the_extension_modules_have(_):
    from pollring import _pollring, _rules
    for module, path in ((_pollring, "python/pollring/_pollring.pyi"), (_rules, "python/pollring/_rules.pyi")):
        functions, values, classes = stub(path)
        yield from differences({*functions, *values, *classes}, public(dir(module)), f"in {Path(path).name}",
                               "in the running module")
        for name, members in classes.items():
            type_ = getattr(module, name, None)
            yield from (f"{name}.{member}: in {Path(path).name}, not in the running module"
                        for member in sorted(members) if not hasattr(type_, member))
            if name != "Loop":  # the stub leaves out what asyncio's own has
                yield from (f"{name}.{member}: in the running module, not in {Path(path).name}"
                            for member in sorted(public(vars(type_)) - members))
    results = {"stats", "probe"}  # what SWIG returns and C takes a pointer for
    for name, arguments in stub("python/pollring/_pollring.pyi")[0].items():
        in_c = [argument for argument in HEADER.functions.get(f"pollring_{name}", arguments)
                if argument not in results]
        if in_c != arguments:
            yield f"{name}: its arguments are {in_c} in pollring.h, {arguments} in _pollring.pyi"


def check_the_package_has_what_it_names(_):
    import pollring
    # What __init__ imports for its own use.
    yield from differences(public(dir(pollring)) - {"annotations", "TYPE_CHECKING"}
                           - {name for name in dir(pollring) if inspect.ismodule(getattr(pollring, name))},
                           set(pollring.__all__) - {"__version__"}, "in pollring", "in pollring.__all__")
    if f'"{pollring.__version__}"' not in re.search("POLLRING_VERSION.*", HEADER.text)[0]:
        yield f"__version__: {pollring.__version__}, not the header's"


def check_each_function_has_its_counterparts(lua):
    import pollring
    names = {stripped(function) for function in HEADER.functions}
    yield from (f"pollring_{name}: in COUNTERPARTS, not in pollring.h" for name in sorted(set(COUNTERPARTS) - names))
    for name in sorted(names):
        class_ = "Poll" if name.startswith("poll_") else "Ring"
        member = f"{class_}.{name[5:] if class_ == 'Poll' else name}"
        in_python, in_lua = COUNTERPARTS.get(name, (member, f"pollring.{member}"))
        if in_python:
            found = pollring
            for part in in_python.split("."):
                found = getattr(found, part, None)
            if found is None:
                yield f"pollring_{name}: no {in_python} in Python"
        if in_lua and in_lua.rpartition(".")[2] not in lua.get(in_lua.rpartition(".")[0], ()):
            yield f"pollring_{name}: no {in_lua} in Lua"


def check_the_annotations_have_what_the_lua_module_has(lua):
    classes = annotated()
    yield from differences({name for name in classes if classes[name]}, lua, "in lua/meta", "among the running classes")
    for name in sorted(set(classes) & set(lua)):
        yield from (f"{name}.{line}" for line in
                    differences(classes[name], lua[name], "in lua/meta", "in the running module"))


def check_the_lua_module_has_what_swig_wraps(lua):
    yield from differences(wrapped("bindings/lua/pollring.i") | LUA_FUNCTIONS, lua["pollring"],
                           "in pollring.h or pollring.i", "in the running Lua module")


def check_constants_have_the_values_of_c(lua):
    import pollring
    values = {stripped(name.split()[1]): value for name, value in compiled().items() if name.startswith("constant")}
    for where, names in (("Python", vars(pollring._pollring)), ("pollring in Python", vars(pollring)),
                         ("Lua", lua["pollring"])):
        yield from unequal(values, {name: str(value) for name, value in names.items() if name in values}, "in C",
                           f"in {where}")


# ---- the documentation ----

def documents():
    return [path for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")),
                              *sorted(ROOT.glob("docs/**/*.rst"))] if "kernel-reports" not in path.parts]


def members_of_python():
    """The public names of the package: "Ring", "Ring.wait", ..., of classes their own and the extension module's."""
    import pollring
    for name in pollring.__all__:
        value = getattr(pollring, name)
        yield name
        if inspect.isclass(value):
            for class_ in value.__mro__:
                if class_.__module__.startswith("pollring"):
                    yield from (f"{name}.{member}" for member in public(vars(class_)))


def check_documents_speak_of_what_is_there(lua):
    in_c = {*HEADER.functions, *HEADER.structs, *HEADER.opaque, *HEADER.enums, *HEADER.constants,
            *LUA_HEADER.functions, "pollring_lua"}  # a file's name too
    python = set(members_of_python())
    methods = {name.partition(".")[2] for name in python} | {member for names in lua.values() for member in names}
    modules = {path.stem for path in ROOT.glob("python/pollring/*")} | {path.stem for path in
                                                                        ROOT.glob("lua/pollring/*")}
    of_module = python | set(lua["pollring"]) | modules | {"h", "pc", "so", "map"}
    for path in [ROOT / "core/pollring.h", ROOT / "bindings/lua/pollring_lua.h", *documents()]:
        text = path.read_text()
        for name in set(re.findall(r"(?<![\w.-])(?:pollring|POLLRING)_[a-zA-Z]\w+", text)) - in_c:
            is_prefix = name.endswith("_") and any(known.startswith(name) for known in in_c)
            if not is_prefix and not name.startswith(("POLLRING_TEST_", "POLLRING_H", "POLLRING_LUA_H")):
                yield f"{name}: in {path.relative_to(ROOT)}, not in a header"
        if path.suffix == ".h":
            continue
        for name in set(re.findall(r"(?<![\w/])pollring\.([a-zA-Z_]\w*)", text)) - of_module:
            yield f"pollring.{name}: in {path.relative_to(ROOT)}, neither in Python nor in Lua"
        for name in set(re.findall(r"\b(?:ring|poll)[.:](\w+)\(", text)) - methods:
            yield f"{name}(): in {path.relative_to(ROOT)}, of no ring and no poll"


def check_the_reference_has_every_name(lua, reference=ROOT / "docs/reference"):
    """Its sources, and the pages that `make docs` makes of them, where they name a header or a module to be listed."""
    sources = [path for path in reference.glob("*") if path.suffix in (".md", ".rst")]
    if not sources:
        return f"{reference.relative_to(ROOT)} isn't there"
    text = "".join(path.read_text() for path in sources)
    if re.search(r"^(\.\. |```{)(c-header|python-module|lua-annotations)", text, re.MULTILINE):
        pages = [path for path in (BUILD / "docs").rglob("*.html") if path.parent.name == "reference"]
        if not pages:
            return "make docs has built no pages of the reference"
        text += "".join(path.read_text() for path in pages)
    words = set(re.findall(r"\w+", text))
    names = {*HEADER.functions, *HEADER.constants, *HEADER.structs, *LUA_HEADER.functions, *members_of_python(),
             *(f"{name}.{member}" for name, members in lua.items() for member in members)}
    names -= {"POLLRING_VERSION"}
    return [f"{name}: not in {reference.relative_to(ROOT)}" for name in sorted(names)
            if not set(re.findall(r"\w+", name)) <= words]


def record():
    lines = sorted(f"{name} {value}".rstrip() for name, value in abi().items())
    ABI.write_text("# What programs rely on that were built earlier; sizes where pointers have 64 bits. Written by\n"
                   "# tests/api/check.py --record; a line that goes or changes needs another soname.\n"
                   + "\n".join(lines) + "\n")


def main(arguments):
    if arguments == ["--record"]:
        return record()
    checks = [(name[6:], check) for name, check in globals().items() if name.startswith("check_")]
    print(f"1..{len(checks)}", flush=True)
    lua = running_lua()
    failed = False
    for number, (name, check) in enumerate(checks, 1):
        found = check(lua)
        if isinstance(found, str):
            print(f"ok {number} - {name} # SKIP {found}", flush=True)
            continue
        found = list(found)
        failed = failed or found
        print(f"{'not ok' if found else 'ok'} {number} - {name}", *found, sep="\n# ", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
