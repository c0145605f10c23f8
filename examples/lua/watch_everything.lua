-- One ring watches everything at once, each file with one multishot request: the output of two children, and a TCP
-- connection. It prints a line an event, and at the end what that took.
local pollring = require "pollring"
local socket = require "socket"

local SECONDS = 5
local CHILD = "for i in 0 1 2 3 4 5 6 7; do echo line $i; sleep 0.5; done"

-- Traffic to be watched: messages on the connection, some of them told in a line; then it hangs up.
local TALKER = [[
  local socket = require "socket"
  local peer = assert(socket.connect("127.0.0.1", %d))
  io.stdout:setvbuf "line"
  for i = 0, 11 do
    socket.sleep(0.3)
    peer:send "hello"
    if i %% 3 == 0 then
      print("sent", i)
    end
  end
]]

-- io.popen's files block. But both children write whole lines, each at once, so an event says that there is a line to
-- read, and with POLLHUP, when the writer has gone, reading all that is left doesn't block either.
local function read_pipe(file, events)
  file:read(events & pollring.POLLHUP ~= 0 and "a" or "l")
end

-- Reads until there is no more: an event says that there was something, not how much.
local function drain(connection)
  repeat
    local _, message = connection:receive(65536)
  until message
end

io.stdout:setvbuf "line"
local server = assert(socket.bind("127.0.0.1", 0))
local _, port = server:getsockname()
local child = assert(io.popen(CHILD))
local talker = assert(io.popen(("%s -e '%s'"):format(arg[-1] or "lua5.4", TALKER:format(port))))
local connection = assert(server:accept())
server:close()
connection:settimeout(0)

local ring <close> = assert(pollring.ring())
ring:poll_add(child, "in", { data = { name = "child", file = child, read = read_pipe } })
ring:poll_add(talker, "in", { data = { name = "talker", file = talker, read = read_pipe } })
ring:poll_add(connection, "in|rdhup", { data = { name = "tcp", file = connection, read = drain } })
local files = ring.active

local started = socket.gettime()
local count, batches = 0, 0
while true do
  local left = started + SECONDS - socket.gettime()
  if left <= 0 then
    break
  end
  local before = count
  for poll, events, more in ring:wait(left) do
    local watched = poll.data
    count = count + 1
    print(
      ("%7.3fs  %-10s %-24s more=%s"):format(
        socket.gettime() - started,
        watched.name,
        pollring.names(events),
        more and "True" or "False"
      )
    )
    watched.read(watched.file, events)
  end
  batches = batches + (count > before and 1 or 0)
end
local stats = ring:stats()

-- Level or edge, epoll makes a system call to add each file, one to take it out again, and one a batch.
print(([[

%d events in %d batches, from %d requests, each armed once
pollring: %d system calls, the arming among them
epoll:    %d to add, %d to wait, %d to remove: %d
one-shot polls would have been armed %d times more]]):format(
  count, batches, files, stats.enters, files, batches + 1, files, 2 * files + batches + 1, count))
