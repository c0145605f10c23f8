-- Watches all that plain Lua can open, with one ring and one request for each file: pipes of child processes, and both
-- ends of a TCP connection. Takes about five seconds. Each event is a line: when, what, which bits, whether more come.
local pollring = require "pollring"
local socket = require "socket"

local listener = assert(socket.bind("127.0.0.1", 0)) -- any free port
local _, port = listener:getsockname()
local client = assert(socket.connect("127.0.0.1", port))
local server = assert(listener:accept())
client:settimeout(0)
server:settimeout(0)

local ring <close> = assert(pollring.ring())
local started, turns = socket.gettime(), 0

local function watch(name, file, on_event)
  ring:poll_add(file, "in|rdhup", { data = { name = name, file = file, on_event = on_event } })
end

local function read_line(file)
  file:read("l")
end

watch("ticks", io.popen("for i in 1 2 3 4 5 6; do sleep 0.8; echo tick; done"), read_line)
watch("burst", io.popen("seq 1 1000"), function() end) -- not read: there is one event, not one for every look
watch("talk", io.popen("for i in 1 2 3 4; do sleep 1.1; echo hello; done"), function(file)
  local line = file:read("l")
  if line then
    client:send(line .. "\n")
  else
    client:shutdown("send")
  end
end)
watch("server", server, function()
  local line = server:receive()
  if line then
    server:send(line:upper() .. "\n")
  else
    server:close()
  end
end)
watch("client", client, function()
  client:receive()
end)

local polls = ring.active
while ring.active > 0 do
  turns = turns + 1
  for poll, events, more in ring:wait() do
    local source = poll.data
    print(("%7.3fs  %-10s %-24s more=%s"):format(socket.gettime() - started, source.name, pollring.names(events), more))
    if not more then
      ring:remove_fd(source.file) -- nothing to do where the poll has ended; before a close() it is a good habit
    end
    source.on_event(source.file)
  end
end

-- With epoll each file costs an epoll_ctl to add it and one to remove it, and each turn of the loop an epoll_wait. Level-
-- triggered it would also report the unread "burst" at every turn; with EPOLLONESHOT each event would cost an epoll_ctl.
local stats = ring:stats()
print(("%d events of %d polls: %d requests in %d system calls; epoll: %d + %d + %d = %d"):format(
  stats.events, polls, stats.requests, stats.enters, polls, polls, turns, 2 * polls + turns))
