-- Several processes accept connections, each with a ring of its own:
--
--   prefork_accept.lua exclusive     all on one socket; exclusive = true wakes one of them for each connection
--   prefork_accept.lua reuseport     a socket for each; the kernel shares connections out by their addresses
--
-- Each answers with its number. 200 connections are made here, and how many each process got is printed. Plain Lua
-- can't fork: the processes run this file again, and inherit the socket by its number.
local pollring = require "pollring"
local socket = require "socket"

local WORKERS, CONNECTIONS = 4, 200
local way, number, inherited = arg[1] or "exclusive", arg[2], arg[3]

local function listen(port)
  local listener = assert(socket.tcp4())
  if way == "reuseport" then
    assert(listener:setoption("reuseport", true))
  end
  assert(listener:bind("127.0.0.1", port))
  assert(listener:listen(CONNECTIONS))
  return listener
end

local function adopt(fd)
  local listener = assert(socket.tcp4())
  listener:close()
  listener:setfd(fd)
  assert(listener:listen(CONNECTIONS)) -- it does already: this tells LuaSocket so
  return listener
end

local function work()
  local listener = adopt(tonumber(inherited))
  listener:settimeout(0)
  local ring <close> = assert(pollring.ring())
  local poll = ring:poll_add(listener, "in", { exclusive = way == "exclusive" })
  while poll:wait() do
    local connection = listener:accept()
    while connection do -- until "timeout": there is no more
      connection:send(number .. "\n")
      connection:close()
      connection = listener:accept()
    end
  end
end

if number then
  return work()
end

local first = listen(0)
local _, port = first:getsockname()
local processes, listeners, got = {}, { first }, {}
for i = 2, WORKERS do -- all of them first: connections to one that nobody serves would wait
  listeners[i] = way == "exclusive" and first or listen(port)
end
for i = 1, WORKERS do
  processes[i] = io.popen(("echo $$; exec %s %s %s %d %d"):format(arg[-1], arg[0], way, i, listeners[i]:getfd()))
end
for _ = 1, CONNECTIONS do
  local connection = assert(socket.connect("127.0.0.1", port))
  local by = tonumber(connection:receive())
  got[by] = (got[by] or 0) + 1
  connection:close()
end
for i, process in ipairs(processes) do
  print(("process %d: %d connections"):format(i, got[i] or 0))
  os.execute("kill " .. process:read("l"))
  process:close()
end
