-- Builds from a source release (make dist), which carries the wrapper that swig generates: swig is not needed.
rockspec_format = "3.0"
package = "pollring"
version = "0.1.0-1"
source = { url = "file://pollring-0.1.0.tar.gz" }
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
