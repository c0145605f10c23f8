-- Prints what the Lua module has, as it runs: a line for each member of each class of the annotations, a number behind
-- it where it is a constant. check.py reads it.
local pollring = require "pollring"
local scheduler = require "pollring.scheduler"

-- The members behind an object's __index: a table, or a function (C's) that has them as its first upvalue.
local function members(object)
  local index = debug.getmetatable(object).__index
  if type(index) == "function" then
    return { select(2, debug.getupvalue(index, 1)) }
  end
  local behind = getmetatable(index) and getmetatable(index).__index
  return behind and { index, (select(2, debug.getupvalue(behind, 1))) } or { index }
end

local function show(class, tables)
  for _, t in ipairs(tables) do
    for name, value in pairs(t) do
      if type(name) == "string" and name:sub(1, 1) ~= "_" then
        print(class, name, math.type(value) and value or "")
      end
    end
  end
end

-- Each option is given to the module, which refuses those that it doesn't know.
local of_ring = { entries = 4, cq_entries = 8, backend = "auto", setup = "plain", sealed = false, pinned = false,
  busy_poll = 0 }
local of_poll = { multishot = true, exclusive = false, rearm = true, until_hangup = true, data = 1 }
local ring = assert(pollring.ring { backend = "epoll" })
of_ring.setup = nil -- it would insist on io_uring, and that may be refused here
assert(pollring.ring(of_ring)):close()
of_ring.setup = "plain"
local reader = assert(io.popen "true")
local poll = ring:poll_add(reader, "in", of_poll)
local s = assert(scheduler.new(ring))

show("pollring", { pollring })
show("pollring.scheduler", { scheduler })
show("pollring.RingOptions", { of_ring })
show("pollring.PollOptions", { of_poll })
show("pollring.Probe", { (pollring.probe()) })
show("pollring.Ring", members(ring))
show("pollring.Poll", members(poll))
show("pollring.Scheduler", members(s))
show("pollring.Task", members(s:spawn(print)))
show("pollring.Watch", members((select(4, s:watch(reader)))))
s:close()
ring:close()
