-- Watches many sockets on one ring, and collects their events in batches:
--
--   lua5.4 many_fds.lua [SOCKETS]       500 without; each is one file descriptor
--
-- Ten times a tenth of the sockets gets a datagram. Each poll carries what handles its events, so nothing is looked up.
local pollring = require "pollring"
local socket = require "socket"

local count = tonumber(arg[1] or 500)
local ring <close> = assert(pollring.ring())
local sender = assert(socket.udp4())
local feeds = {}

for i = 1, count do
  local udp = assert(socket.udp4())
  assert(udp:setsockname("127.0.0.1", 0))
  udp:settimeout(0)
  feeds[i] = { socket = udp, port = select(2, udp:getsockname()), received = 0 }
  ring:poll_add(udp, "in", { data = feeds[i] }) -- the ring keeps it; all go out with the first wait
end

-- How many datagrams came: one event stands for all of them.
local function receive_all(feed)
  local before = feed.received
  while feed.socket:receive() do -- until "timeout": there is no more
    feed.received = feed.received + 1
  end
  return feed.received - before
end

local events, batches = 0, 0
for turn = 1, 10 do
  local missing = 0
  for i = turn, count, 10 do
    assert(sender:sendto("news", "127.0.0.1", feeds[i].port))
    missing = missing + 1
  end
  while missing > 0 do
    local before = events
    for poll in ring:wait(1.0) do
      events = events + 1
      missing = missing - receive_all(poll.data)
    end
    assert(events > before, "a datagram was lost")
    batches = batches + 1
  end
end
local calls = ring:stats().enters
print(("%d events of %d sockets in %d batches, with %d system calls"):format(events, count, batches, calls))
