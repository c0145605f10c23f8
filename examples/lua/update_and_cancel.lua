-- Changes what a poll asks for, cancels it, and arms it again:
--
--   lua5.4 update_and_cancel.lua [BYTES]    4,000,000 without
--
-- One end of a connection sends more than fits into it. It asks for "out" only while it has something to send: a socket
-- that is asked for it all the time reports it whenever its peer reads. The other end reads; both are on one ring.
local pollring = require "pollring"
local socket = require "socket"

local listener = assert(socket.bind("127.0.0.1", 0))
local host, port = listener:getsockname()
local near = assert(socket.connect(host, port))
local far = assert(listener:accept())
listener:close()
near:settimeout(0)
far:settimeout(0)

local size = tonumber(arg[1] or 4000000)
local text, sent, received = ("x"):rep(size), 0, 0
local ring <close> = assert(pollring.ring())
local sender, reader = ring:poll_add(near, "in"), ring:poll_add(far, "in")

local function send_some()
  local last, why, partial = near:send(text, sent + 1)
  assert(last or why == "timeout", why) -- "timeout": the connection is full; an event comes when there is room again
  sent = last or partial
end

local function receive_all()
  local part, why, partial
  repeat
    part, why, partial = far:receive(65536)
    received = received + #(part or partial)
  until not part
  assert(why == "timeout", why)
end

sender:update "in|out" -- an event comes, because it is ready now
while received < size do
  for poll in ring:wait() do
    if poll == reader then
      receive_all()
    elseif sent < size then
      send_some()
      if sent == size then
        sender:update "in"
        print "all is sent: asks for POLLIN alone"
      end
    end
  end
end
print(received .. " bytes received")

sender:remove() -- the kernel has let the file go when this returns
assert(far:send "answer\n")
print("removed, end reason " .. sender.end_reason)
for _, result in ring:wait(0) do
  print("its last event is " .. pollring.names(result))
end
sender:arm() -- level-triggered again: what has come meanwhile is reported at once
print("armed again: " .. pollring.names(sender:wait()) .. ", " .. near:receive())
