-- What `make lint` has luacheck check.
std = "lua54"
max_line_length = 126 -- a line's last word may end past 120
self = false
exclude_files = { "build" }
ignore = {
  "21[23]", -- arguments and loop variables that are only named say what is passed
  "211/busy", "211/clock", -- a <close> variable is there for its end
  "241", -- a table keeps what is in it, or is annotated
  "311", "331", -- a test keeps or drops a reference for the garbage collector
  "512", -- a loop that is left at once: what removes the poll is what is tested
}
files["tests/lua"].std = "+busted"
