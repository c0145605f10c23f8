-- What it costs to collect events: luv's uv_poll and pollring, side by side in one process.
--
--   lua5.4 bench/collect.lua [N] [K] [rounds]      prints "lua luv N K ns" and "lua pollring N K ns"
--
-- Of N pipes that are watched, K are made readable, the events are collected (only this is timed), the pipes are drained.
-- The two take turns on pipes of their own, in blocks of rounds; the figure is nanoseconds an event in the fastest block,
-- less what reading the clock costs. Needs 4 * N file descriptors.
local uv = require "luv"
local pollring = require "pollring"

local N, K, rounds = tonumber(arg[1] or 1000), tonumber(arg[2] or 100), tonumber(arg[3] or 200)
local blocks = 15
local hrtime, fs_read, fs_write = uv.hrtime, uv.fs_read, uv.fs_write

local function open_pipes()
  local pipes = {}
  for i = 1, N do
    pipes[i] = assert(uv.pipe({ nonblock = true }, { nonblock = true }))
  end
  return pipes
end

local function collector_of_luv(pipes)
  local seen, polls = 0, {}
  local function callback(err, events)
    seen = seen + 1
  end
  for i, pipe in ipairs(pipes) do
    polls[i] = uv.new_poll(pipe.read)
    polls[i]:start("r", callback)
  end
  local run = uv.run
  return function()
    seen = 0
    local started = hrtime()
    run("nowait")
    return hrtime() - started, seen
  end
end

local function collector_of_pollring(pipes)
  local ring = assert(pollring.ring { entries = 1024, cq_entries = 16384 })
  for _, pipe in ipairs(pipes) do
    ring:poll_add(pipe.read, "in")
  end
  ring:submit()
  return function()
    local seen = 0
    local started = hrtime()
    for poll, events in ring:wait(0) do
      seen = seen + 1
    end
    return hrtime() - started, seen
  end
end

local function round(pipes, first, collect)
  for i = first, first + K - 1 do
    fs_write(pipes[(i - 1) % N + 1].write, "x")
  end
  local elapsed, seen = collect()
  assert(seen == K, seen .. " events instead of " .. K)
  for i = first, first + K - 1 do
    fs_read(pipes[(i - 1) % N + 1].read, 64)
  end
  return elapsed
end

local function block(side)
  local elapsed = 0
  for i = 1, rounds do
    elapsed = elapsed + round(side.pipes, (i - 1) * K + 1, side.collect)
  end
  return elapsed / rounds
end

local function clock_cost()
  local least = math.huge
  for _ = 1, 1000 do
    local started = hrtime()
    least = math.min(least, hrtime() - started)
  end
  return least
end

local sides = {
  { name = "lua luv", pipes = open_pipes(), collector = collector_of_luv, least = math.huge },
  { name = "lua pollring", pipes = open_pipes(), collector = collector_of_pollring, least = math.huge },
}
for _, side in ipairs(sides) do
  side.collect = side.collector(side.pipes)
  block(side) -- warms up
end
for _ = 1, blocks do
  for _, side in ipairs(sides) do
    side.least = math.min(side.least, block(side))
  end
end
local clock = clock_cost()
for _, side in ipairs(sides) do
  print(string.format("%s %d %d %.1f", side.name, N, K, (side.least - clock) / K))
end
os.exit(0) -- at once: thousands of handles need not be closed one by one
