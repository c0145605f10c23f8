-- Builds from a checkout: luarocks --lua-version=5.4 make pollring-scm-1.rockspec. Needs liburing, pkg-config and swig.
rockspec_format = "3.0"
package = "pollring"
version = "scm-1"
source = { url = "git+file://." }
description = {
  summary = "Linux's multishot poll (io_uring) as events, and a scheduler of coroutines on it",
  license = "MIT",
}
supported_platforms = { "linux" }
dependencies = { "lua ~> 5.4" }
external_dependencies = { URING = { header = "liburing.h" } }
build = {
  type = "make",
  build_target = "rock",
  build_variables = { CFLAGS = "$(CFLAGS)", LUA_CFLAGS = "-I$(LUA_INCDIR)" },
  install_target = "install-rock",
  install_variables = { ROCK_LIBDIR = "$(LIBDIR)" },
}
