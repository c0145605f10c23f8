# Builds, tests and installs pollring; `make help` lists the targets. All that is made is under build/.
# The same Makefile with another BUILD and other CFLAGS makes a second build beside the first: see "instrumented".

BUILD  ?= build
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
CFLAGS ?= -O2 -g
CLANG  ?= clang
SWIG   ?= swig
LUA    ?= lua5.4
OBJCOPY ?= objcopy
LUA_CFLAGS ?= $(shell pkg-config --cflags $(LUA) 2>/dev/null)

# The Python to build for: the first of these that has its headers, setuptools and pytest, else the first that has all
# but pytest. A version manager's python3 is often first on PATH and lacks what the distribution's has.
PYTHON_CANDIDATES := python3 /usr/bin/python3
CAN_BUILD = import os, sys, sysconfig; from importlib.util import find_spec as has; \
	has("setuptools") and os.path.exists(sysconfig.get_path("include") + "/Python.h")
first_python = $(firstword $(foreach p,$(PYTHON_CANDIDATES),$(shell $(p) -c '$(1) and print(sys.executable)' 2>/dev/null)))
ifndef PYTHON
PYTHON := $(or $(call first_python,$(CAN_BUILD) and has("pytest")),$(call first_python,$(CAN_BUILD)))
PYTHON_WHY := the first of $(PYTHON_CANDIDATES) with Python.h, setuptools and, where possible, pytest; PYTHON= chooses another
else
PYTHON_WHY := chosen by PYTHON=
endif

# liburing goes into the libraries where it exists as an archive, so that they need nothing of it at run time.
URING_FOUND := $(shell pkg-config --exists 'liburing >= 2.3' && echo yes)
URING_LIBS := $(or $(wildcard $(shell pkg-config --variable=libdir liburing 2>/dev/null)/liburing.a),-luring)
URING_CFLAGS := $(patsubst -I%,-isystem%,$(shell pkg-config --cflags liburing 2>/dev/null))

VERSION := $(shell sed -n 's/^.define POLLRING_VERSION "\(.*\)"/\1/p' core/pollring.h)
WARNINGS := -Wall -Wextra -Wshadow -Wconversion
COMPILE = $(CC) -std=gnu11 -fPIC -pthread -MMD -MP $(CFLAGS) $(CPPFLAGS) -Icore $(URING_CFLAGS)
LINK = $(CC) -pthread $(CFLAGS) $(LDFLAGS)
objects = $(patsubst %.c,$(BUILD)/%.o,$(wildcard $(1)/*.c))
programs = $(patsubst $(1)/%.c,$(BUILD)/$(2)/%,$(wildcard $(1)/*.c))

TESTS    := $(call programs,tests/c,tests)
RULES    := $(BUILD)/lab/pollring-rules
# Examples for a library are built where it is installed.
LIBRARIES := zmq_fd=libzmq multi_socket=libcurl async_query=libpq
INSTALLED := $(foreach pair,$(LIBRARIES),$(shell pkg-config --exists $(lastword $(subst =, ,$(pair))) && echo $(pair)))
MISSING  := $(foreach pair,$(filter-out $(INSTALLED),$(LIBRARIES)),examples/c/$(firstword $(subst =, ,$(pair))).c)
EXAMPLES := $(filter-out $(MISSING:examples/c/%.c=$(BUILD)/examples/%),$(call programs,examples/c,examples))
BENCH_PROGRAM := $(BUILD)/bench/bench
SOAK     := $(BUILD)/soak/soak
LUA_MODULES := $(wildcard lua/pollring/*.lua)

# ---- build ----

all: core python lua    ## Builds the library, the Python package and the Lua module (the default)
# What `make help` lists is for people, and no file; what is for the Makefile itself is told here and below by a .PHONY.
.PHONY: $(shell sed -n 's/^\([a-z-]*\):[^\#]*\#\# .*/\1/p' Makefile)
.PHONY: liburing    # what all that is compiled asks for

liburing:
	@$(if $(URING_FOUND),:,$(error pollring needs liburing 2.3 or newer and pkg-config; on Debian and Ubuntu: apt-get install liburing-dev pkgconf))

# The library: build/libpollring.a, build/libpollring.so

core: $(BUILD)/libpollring.a $(BUILD)/libpollring.so    ## Builds the C library

$(BUILD)/%.o: %.c | liburing
	@mkdir -p $(@D)
	$(COMPILE) $(WARNINGS) -c -o $@ $<

# The header marks nothing for export. What the core's files share among themselves stays out of the archive's symbols
# because it is one object file whose other names are local, and out of a shared object's by a version script. (__x86.*
# are the compiler's, for 32 bits: one copy serves all that is linked.)
archive = $(CC) -r -nostdlib -o $(@:.a=.o) $^ && \
	$(OBJCOPY) --wildcard $(foreach symbol,$(1) __x86.*,--keep-global-symbol='$(symbol)') $(@:.a=.o) && \
	rm -f $@ && $(AR) rcs $@ $(@:.a=.o)

$(BUILD)/libpollring.a: $(call objects,core)
	$(call archive,pollring_*)

$(BUILD)/libpollring.so.0: $(call objects,core) core/pollring.map
	$(LINK) -shared -Wl,--version-script=core/pollring.map -Wl,-soname,$(@F) -o $@ $(filter %.o,$^) $(URING_LIBS)

$(BUILD)/libpollring.so: $(BUILD)/libpollring.so.0
	ln -sf $(<F) $@

# Python: build/python/pollring/

# setuptools decides what is out of date. Tests run on what it makes, so what they test is what pip installs.
python: | liburing    ## Builds the Python package into build/python
	@$(if $(PYTHON),:,$(error no Python has its headers and setuptools; on Debian and Ubuntu: apt-get install python3-dev python3-setuptools))
	@echo "Python: $(PYTHON) ($(PYTHON_WHY))"
	CFLAGS="$(CFLAGS)" SWIG="$(SWIG)" $(PYTHON) -W ignore setup.py -q build --build-base $(BUILD)/setuptools --build-lib $(BUILD)/python

# Lua: build/lua/pollring.so

lua: $(BUILD)/lua/pollring.so $(BUILD)/libpollring_lua.a    ## Builds the Lua module, and the one for hosts in C

LUA_EXPORTS := luaopen_pollring luaopen_pollring_scheduler pollring_lua_push
LUA_OBJECTS := $(BUILD)/lua/pollring_wrap.o $(BUILD)/lua/sources.o $(call objects,bindings/lua)

$(BUILD)/lua/pollring.so: $(LUA_OBJECTS) $(call objects,core)
	echo '{ global: $(LUA_EXPORTS:%=%;) local: *; };' > $@.map
	$(LINK) -shared -Wl,--version-script=$@.map -o $@ $^ $(URING_LIBS)

$(BUILD)/libpollring_lua.a: $(LUA_OBJECTS)
	$(call archive,$(LUA_EXPORTS))

# A source release carries it, so that building needs no swig.
RELEASED_WRAPPER := $(wildcard generated/pollring_wrap.c)
$(BUILD)/lua/pollring_wrap.c: $(or $(RELEASED_WRAPPER),bindings/lua/pollring.i bindings/pollring.i core/pollring.h)
	@mkdir -p $(@D)
	$(if $(RELEASED_WRAPPER),cp $< $@,$(SWIG) -lua -Ibindings -Icore -o $@ $<)

$(BUILD)/bindings/lua/%.o $(BUILD)/lua/%.o: CPPFLAGS += $(LUA_CFLAGS) -Ibindings/lua

# The modules in Lua, each as a string, with a require that source.c gives it.
$(BUILD)/lua/sources.c: $(LUA_MODULES)
	@mkdir -p $(@D)
	{ echo '#include "binding.h"'; echo 'const struct pollring_lua_source pollring_lua_sources[] = {'; \
	for file in $(LUA_MODULES:lua/%.lua=%); do \
		echo "{\"$$file\", \"@$$file.lua\"," | sed '1s|/|.|'; \
		sed 's/[\\"]/\\&/g; 1s/^/local require = ... /; s/^/"/; s/$$/\\n"/' lua/$$file.lua; echo "},"; \
	done; echo '{0}};'; } > $@

GENERATED := $(BUILD)/lua/pollring_wrap.o $(BUILD)/lua/sources.o    # their warnings are nobody's
$(GENERATED): $(BUILD)/lua/%.o: $(BUILD)/lua/%.c
	$(COMPILE) -w -c -o $@ $<

# ---- tests ----

.PHONY: c-programs host-programs    # parts of test-programs
.SECONDARY:    # keeps the object files of programs

$(TESTS): $(BUILD)/tests/%: $(BUILD)/tests/c/%.o $(BUILD)/libpollring.a
	@mkdir -p $(@D)
	$(LINK) -o $@ $(inputs) -lcmocka $(URING_LIBS)

# In the order in which a linker wants them.
inputs = $(filter %.o,$^) $(filter %_lua.a,$^) $(filter %/libpollring.a,$^)

# What holds a lua_State: the modules of hosts in C, and Lua itself.
HOSTED := $(filter $(BUILD)/examples/host_% $(BUILD)/tests/test_lua%,$(EXAMPLES) $(TESTS))
$(HOSTED): $(BUILD)/libpollring_lua.a
$(HOSTED): URING_LIBS += $(shell pkg-config --libs $(LUA) 2>/dev/null) -lm -ldl
$(HOSTED:$(BUILD)/examples/%=$(BUILD)/examples/c/%.o): CPPFLAGS += $(LUA_CFLAGS) -Ibindings/lua
$(HOSTED:$(BUILD)/tests/%=$(BUILD)/tests/c/%.o): CPPFLAGS += $(LUA_CFLAGS) -Ibindings/lua

# Its functions stand in the place of those that the library calls.
wrapped := malloc calloc realloc aligned_alloc mmap eventfd epoll_create1 epoll_ctl \
	io_uring_queue_init_params io_uring_register io_uring_enter2 sigtimedwait syscall
$(BUILD)/tests/test_fault: LDFLAGS += $(wrapped:%=-Wl,--wrap=%)
of_liburing := queue_init_params queue_exit register enter enter2
$(BUILD)/tests/test_mask: LDFLAGS += $(of_liburing:%=-Wl,--wrap=io_uring_%)

LAB_OBJECTS := $(filter-out %/main.o %/python.o,$(call objects,lab))
$(BUILD)/tests/test_rules: $(LAB_OBJECTS)

# It needs liburing and libc alone. LDFLAGS=-static makes it a program that runs anywhere.
$(RULES): $(BUILD)/lab/main.o $(LAB_OBJECTS)
	$(LINK) -o $@ $^ $(URING_LIBS)

rules: $(RULES)    ## Tries the kernel's rules; TEST_FILTER= chooses, such as '*overflow*'
	@$(RULES)

# Includes for EXAMPLE=LIBRARY, and what to link.
define with_library
$(BUILD)/examples/c/$(1).o $(BUILD)/warnings/$(CC)/examples/c/$(1).o: CPPFLAGS += $(shell pkg-config --cflags $(2))
$(BUILD)/examples/$(1): URING_LIBS += $(shell pkg-config --libs $(2))
endef
$(foreach pair,$(INSTALLED),$(eval $(call with_library,$(firstword $(subst =, ,$(pair))),$(lastword $(subst =, ,$(pair))))))

$(EXAMPLES): $(BUILD)/examples/%: $(BUILD)/examples/c/%.o $(BUILD)/libpollring.a
$(BENCH_PROGRAM): $(call objects,bench) $(BUILD)/libpollring.a
$(BENCH_PROGRAM): URING_LIBS += $(call peer,ev.h,-lev) $(call peer,uv.h,-luv)
$(SOAK): $(BUILD)/tests/soak/soak.o $(BUILD)/libpollring.a
$(EXAMPLES) $(BENCH_PROGRAM) $(SOAK):
	@mkdir -p $(@D)
	$(LINK) -o $@ $(inputs) $(URING_LIBS)

# What the Lua specs need and Lua can't do.
$(BUILD)/tests/lua/process.so: tests/lua/process.c
	@mkdir -p $(@D)
	$(COMPILE) $(LUA_CFLAGS) $(WARNINGS) -shared -o $@ $<

# A library to compare with, where it is installed.
peer = $(shell $(CC) -include $(1) -E -x c /dev/null >/dev/null 2>&1 && echo $(2))

c-programs: $(TESTS) $(RULES)
host-programs: $(filter $(BUILD)/examples/host_%,$(EXAMPLES))

test-programs: all c-programs $(BUILD)/tests/lua/process.so instrumented $(EXAMPLES) $(SOAK) $(BENCH_PROGRAM)    ## Builds all that the tests need

RUN_TESTS = LUA="$(LUA)" $(PYTHON) tests/run.py

test: test-programs    ## Runs all tests, some seconds of soak
	$(RUN_TESTS)
test-c: c-programs    ## C tests (cmocka), as they are and with a signal each millisecond
	$(RUN_TESTS) c signals-c
test-python: python    ## Python tests (pytest), likewise
	$(RUN_TESTS) python signals-python
test-asyncio: python    ## CPython's own tests of asyncio on our event loop, as PYTHON has them
	$(RUN_TESTS) asyncio
test-lua: lua host-programs $(BUILD)/tests/lua/process.so    ## Lua tests (busted)
	$(RUN_TESTS) lua
test-project: python    ## Checks of the project itself: targets, version, links, workflows
	$(RUN_TESTS) project
test-examples: python lua $(EXAMPLES)    ## Runs the examples, in all languages
	$(RUN_TESTS) examples
soak: all $(SOAK)    ## Load for ten minutes; SECONDS=60: for as long; BACKEND=io_uring or epoll: on this one only
	@LUA="$(LUA)" $(PYTHON) tests/soak/run.py $(or $(SECONDS),600) $(BACKEND)
test-ecosystem:    ## aiohttp, uvicorn, redis, asyncpg and others on our event loop, from PyPI (needs redis-server, postgresql)
	$(PYTHON) tests/ecosystem/run.py --python $(PYTHON)
check-packages:    ## Builds a source release and wheels, installs and tests them, with tools from PyPI; PYTHONS="python3.9 ..."
	@$(PYTHON) tests/packages/run.py $(PYTHONS)
typecheck: python    ## mypy --strict, stubtest and pyright on the package, its stubs and the examples, from PyPI
	@$(PYTHON) tests/packages/typecheck.py
test-kernels: all c-programs host-programs $(BUILD)/tests/lua/process.so    ## C, Python and Lua tests on Debian's kernels, in qemu (20 minutes); KERNELS="6.1 7": on those; QUICK=1: C only (3)
	@$(PYTHON) tests/kernels/run.py
docs-kernels: python    ## Writes docs/kernels.md from what test-kernels left; KERNELS="... running" adds this machine
	PYTHONPATH=$(BUILD)/python $(PYTHON) tests/kernels/document.py
check-fresh:    ## ./bootstrap demo in a bare Debian 12 and 13 (root, debootstrap); FRESH=test: ./bootstrap test
	@tests/fresh.sh $(or $(FRESH),demo)
check-portable: $(BUILD)/lua/pollring_wrap.c    ## C tests with clang, musl, 32 bits, and big-endian (qemu), as far as those are here
	@$(PYTHON) tests/install/portable.py

# ---- tests in instrumented builds: each in a build of its own: build/asan, ... ----

# Without warnings: under the sanitizers gcc gives some that are false, and the first build has given those that are true.
INSTRUMENTED := asan ubsan tsan fuzz
asan  := CFLAGS="-O1 -g -fno-omit-frame-pointer -fsanitize=address" c-programs host-programs python lua
ubsan := CFLAGS="-O1 -g -fsanitize=undefined -fno-sanitize-recover=undefined" c-programs
tsan  := CFLAGS="-O1 -g -fsanitize=thread" c-programs
fuzz  := CC=$(CLANG) CFLAGS="-O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined" fuzzer

# The fuzzer's program, where a clang with libFuzzer is installed.
$(BUILD)/fuzz_calls: $(BUILD)/tests/fuzz/fuzz_calls.o $(BUILD)/libpollring.a
	$(LINK) -fsanitize=fuzzer -o $@ $^ $(URING_LIBS)
HAS_FUZZER = $(shell echo 'int LLVMFuzzerTestOneInput(void) { return 0; }' | \
	$(CLANG) -fsanitize=fuzzer,address,undefined -x c -o /dev/null - 2>/dev/null && echo yes)
fuzzer: $(if $(filter %/fuzz,$(BUILD)),$(if $(HAS_FUZZER),$(BUILD)/fuzz_calls))

.PHONY: instrumented fuzzer $(INSTRUMENTED:%=%-programs)    # parts of test-programs
instrumented: $(INSTRUMENTED:%=%-programs)
$(INSTRUMENTED:%=%-programs): %-programs: | liburing
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/$* WARNINGS=-w $($*)

valgrind: $(TESTS)    ## C tests under valgrind
	$(RUN_TESTS) valgrind
asan: asan-programs    ## C tests under AddressSanitizer, which finds leaks too
ubsan: ubsan-programs    ## C tests under UndefinedBehaviorSanitizer
tsan: tsan-programs    ## C tests under ThreadSanitizer
asan-python: asan-programs    ## Python tests under AddressSanitizer
asan-lua: asan-programs    ## Lua tests under AddressSanitizer
fuzz: fuzz-programs    ## Random calls of the C API for SECONDS (30) (libFuzzer; needs clang)
asan ubsan tsan asan-python asan-lua fuzz:
	FUZZ_SECONDS="$(SECONDS)" $(RUN_TESTS) $@

# ---- examples and benchmarks ----

export LUA_PATH_5_4 = lua/?.lua;;
export LUA_CPATH_5_4 = $(BUILD)/lua/?.so;;

demo: python    ## Runs the example in Python
	PYTHONPATH=$(BUILD)/python $(PYTHON) examples/python/watch_everything.py
demo-c: $(BUILD)/examples/watch_everything    ## Runs the example in C
	$(BUILD)/examples/watch_everything
demo-lua: lua    ## Runs the example in Lua
	$(LUA) examples/lua/watch_everything.lua

bench: $(BENCH_PROGRAM) python lua    ## Compares with all peers that can be had, in 15 minutes (BENCH=quick: 2): bench/results/
	@LUA="$(LUA)" $(PYTHON) bench/run.py

bench-check: $(BENCH_PROGRAM) python lua    ## Counts instructions an event; fails where one takes 3% more than it did
	$(RUN_TESTS) instructions

# ---- documentation ----

SPHINX = PYTHONPATH=$(BUILD)/python PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -m sphinx -q -W --keep-going -d $(BUILD)/doctrees docs
HAS_SPHINX = $(shell $(PYTHON) -c 'import sphinx, myst_parser, furo' 2>/dev/null && echo yes)

docs: python    ## Builds the pages and the manual pages into build/docs and build/man (needs Sphinx, myst-parser, furo)
	@$(if $(HAS_SPHINX),:,$(error the pages need Sphinx: apt-get install python3-sphinx python3-myst-parser furo))
	$(SPHINX) -E -b html $(BUILD)/docs
	$(SPHINX) -b man $(BUILD)/man

# The manual pages are there in a source release, or once `make docs` has run: installing needs no Sphinx.
.PHONY: install-man uninstall-man    # parts of install and uninstall
install: install-man
uninstall: uninstall-man
MAN_PAGES = $(shell ls generated/pollring.[137] 2>/dev/null || ls $(BUILD)/man/pollring.[137] 2>/dev/null)
MAN_ROOT = $(DESTDIR)$(PREFIX)/share/man
install-man:
	@$(if $(MAN_PAGES),:,echo "left out: the manual pages, which make docs builds")
	$(foreach page,$(MAN_PAGES),install -D -m 644 $(page) $(MAN_ROOT)/man$(subst .,,$(suffix $(page)))/$(notdir $(page)) &&) :
uninstall-man:
	rm -f $(foreach section,1 3 7,$(MAN_ROOT)/man$(section)/pollring.$(section))

# ---- what tools say of the source ----

C_FILES := $(wildcard core/*.[ch] bindings/*/*.[ch] lab/*.[ch] tests/*/*.[ch] examples/c/*.[ch] bench/*.[ch])
PYTHON_CFLAGS = -I$(shell $(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))')
COMPILE_ANY = $(COMPILE) $(LUA_CFLAGS) -Ibindings/lua $(PYTHON_CFLAGS)

# A file is looked at again when it, or the compiler, is another.
$(BUILD)/warnings/$(firstword $(CC))/%.o: %.c | liburing
	@mkdir -p $(@D)
	$(COMPILE_ANY) $(WARNINGS) -Werror -c -o $@ $<

warnings: $(patsubst %.c,$(BUILD)/warnings/$(firstword $(CC))/%.o,$(filter-out $(MISSING),$(filter %.c,$(C_FILES))))    ## Compiles all C, warnings are errors

# The library and what binds it. (Without -O the analyzer follows the source; with it, it takes a realloc() for a leak.)
ANALYZED := $(wildcard core/*.c bindings/*/*.c)
# gcc 12 takes for leaked what is kept behind a void pointer; real leaks show under AddressSanitizer.
$(BUILD)/analyze/%.o: %.c | liburing
	@mkdir -p $(@D)
	$(COMPILE_ANY) -O0 -fanalyzer -Wno-analyzer-malloc-leak -Werror -c -o $@ $<

analyze: $(ANALYZED:%.c=$(BUILD)/analyze/%.o)    ## Checks the library with gcc -fanalyzer and clang-tidy (a minute)
	clang-tidy --quiet $(ANALYZED) -- -std=gnu11 -Icore $(LUA_CFLAGS) $(PYTHON_CFLAGS) $(URING_CFLAGS)

lint_with = if command -v $(1) >/dev/null; then $(1) $(2) || failed=1; else echo "left out, not installed: $(1)"; fi

lint:    ## Checks with clang-format, ruff, luacheck, shellcheck and codespell, as far as they are installed
	@failed=0; \
	$(call lint_with,clang-format,--dry-run -Werror $(C_FILES)); \
	$(call lint_with,ruff,check --quiet .); \
	$(call lint_with,luacheck,--formatter plain lua tests bench examples); \
	$(call lint_with,shellcheck,bootstrap .ci/run tests/fresh.sh); \
	$(call lint_with,codespell,); \
	exit $$failed

# ---- install and release ----

INCLUDE_ROOT = $(DESTDIR)$(PREFIX)/include
LIB_ROOT = $(DESTDIR)$(LIBDIR)
LUA_ROOT = $(LIB_ROOT)/lua/5.4
PC_FILES := core/pollring.pc.in bindings/lua/pollring_lua.pc.in
fill_in = sed 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR:$(PREFIX)/%=$${prefix}/%)|; s|@VERSION@|$(VERSION)|'

install: core lua    ## Installs the library and the Lua module under PREFIX, LIBDIR (PREFIX/lib), both below DESTDIR
	install -d $(INCLUDE_ROOT) $(LIB_ROOT)/pkgconfig $(LUA_ROOT)
	install -m 644 core/pollring.h bindings/lua/pollring_lua.h $(INCLUDE_ROOT)
	install -m 644 $(BUILD)/libpollring.a $(BUILD)/libpollring_lua.a $(LIB_ROOT)
	install -m 755 $(BUILD)/libpollring.so.0 $(LIB_ROOT)
	ln -sf libpollring.so.0 $(LIB_ROOT)/libpollring.so
	$(foreach file,$(PC_FILES),$(fill_in) $(file) > $(LIB_ROOT)/pkgconfig/$(basename $(notdir $(file))) &&) :
	install -m 755 $(BUILD)/lua/pollring.so $(LUA_ROOT)
	@[ -n "$(DESTDIR)" ] || [ "$$(id -u)" != 0 ] || /sbin/ldconfig    # else a new library isn't found until it runs

uninstall:    ## Takes away what install put there; with the same PREFIX, LIBDIR and DESTDIR
	rm -f $(addprefix $(INCLUDE_ROOT)/,pollring.h pollring_lua.h) $(LUA_ROOT)/pollring.so \
		$(addprefix $(LIB_ROOT)/,libpollring.a libpollring_lua.a libpollring.so.0 libpollring.so) \
		$(addprefix $(LIB_ROOT)/pkgconfig/,pollring.pc pollring_lua.pc)

# The module alone, into the directory that LuaRocks names.
.PHONY: rock install-rock    # for the rockspecs
rock: $(BUILD)/lua/pollring.so
install-rock:
	install -d $(ROCK_LIBDIR)
	install -m 755 $(BUILD)/lua/pollring.so $(ROCK_LIBDIR)

RELEASE = pollring-$(VERSION)
RELEASE_URL ?= file://$(CURDIR)/dist/$(RELEASE).tar.gz
dist:    ## Makes dist/pollring-VERSION.tar.gz for every language, and a rockspec that finds it at RELEASE_URL
	$(if $(HAS_SPHINX),$(MAKE) docs,@echo "left out: the manual pages, without Sphinx")
	$(PYTHON) setup.py --quiet sdist --dist-dir dist
	sed 's|file://.*gz|$(RELEASE_URL)|' $(RELEASE)-1.rockspec > dist/$(RELEASE)-1.rockspec

picture: python    ## Draws docs/timeline.svg, the picture in the README, from a run on this machine
	PYTHONPATH=$(BUILD)/python $(PYTHON) docs/timeline.py

release-check: all    ## Tells what is still to do before a release, from the version to the tests
	@$(PYTHON) tests/release_check.py

clean:    ## Removes build/
	rm -rf $(BUILD)

help:    ## Lists the targets
	@awk -F ':[^#]*## ' '/^# ---- / { heading = substr($$0, 8, length - 12) } \
		/^[a-z-]+:[^#]*## / { printf "%s  %-16s%s\n", heading ? "\n" heading "\n" : "", $$1, $$2; heading = "" }' Makefile

-include $(shell find $(BUILD) -path $(BUILD)/fresh -prune -o -name '*.d' -type f -print 2>/dev/null)
