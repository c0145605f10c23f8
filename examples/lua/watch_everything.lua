-- One ring watches all that plain Lua can open, each file with one multishot request: pipes of child processes, and
-- both ends of a TCP connection. It prints a line an event, and at the end what that took.
--
-- One line is read of a child's pipe for each event, which is enough for children that pause after each. To get all
-- that any child writes, use pollring.scheduler: for line in scheduler:wrap(io.popen(...)):lines() do ... end
local pollring = require "pollring"
local socket = require "socket"

local function connection()
  local listener = assert(socket.bind("127.0.0.1", 0)) -- any free port
  local _, port = listener:getsockname()
  local near, far = assert(socket.connect("127.0.0.1", port)), assert(listener:accept())
  listener:close()
  near:settimeout(0)
  far:settimeout(0)
  return near, far
end

-- An event says that there was something, not how much: sockets are read until there is no more.
local function drain(connected)
  repeat
    local line = connected:receive()
  until not line
end

local near, far = connection()
local ring <close> = assert(pollring.ring())

local function watch(name, file, on_event)
  ring:poll_add(file, "in", { data = { name = name, file = file, on_event = on_event } })
end

watch("child", io.popen "for i in 1 2 3 4 5 6 7 8; do echo line $i; sleep 0.5; done", function(file)
  file:read("l")
end)
watch("clock", io.popen "for i in 1 2 3 4; do sleep 1.1; date; done", function(file, more)
  local line = file:read("l")
  if line then
    far:send(line .. "\n") -- traffic to be watched
  end
  if not more then
    far:shutdown("send")
  end
end)
watch("unread", io.popen "seq 1000", function() end) -- what stays unread is not reported again
watch("near", near, function(_, more)
  drain(near)
  near:send("thank you\n")
  if not more then
    near:close()
  end
end)
watch("far", far, drain)

local files, count, batches, started = ring.active, 0, 0, socket.gettime()
while ring.active > 0 do
  batches = batches + 1
  for poll, events, more in ring:wait() do
    local seconds, watched = socket.gettime() - started, poll.data
    count = count + 1
    print(("%7.3fs  %-10s %-24s more=%s"):format(seconds, watched.name, pollring.names(events), more))
    watched.on_event(watched.file, more)
  end
end

-- Level or edge, epoll makes a system call to add each file, one to take it out again, and one a batch;
-- level-triggered, it would also report "unread" in each of them.
print(("\n%d events in %d batches, from %d requests, each armed once"):format(count, batches, files))
print(("pollring: %d system calls, the arming among them"):format(ring:stats().enters))
print(("epoll:    %d to add, %d to wait, %d to remove: %d"):format(files, batches, files, 2 * files + batches))
print(("one-shot polls would have been armed %d times more"):format(count))
