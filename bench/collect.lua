-- What it costs to collect events in Lua: luv's uv_poll, cqueues, LuaSocket's select, and pollring, side by side in one
-- process.
--
--   lua5.4 bench/collect.lua N K ROUNDS [NAME ...]      a line each: "lua NAME N K MINIMUM MEDIAN"
--
-- Of N pipes that are watched, K are made readable, the events are collected (only this is timed), the pipes are drained.
-- The contestants take turns of ROUNDS rounds, on pipes of their own; the figures are nanoseconds an event in the fastest
-- turn and in the median one, less what reading the clock costs. Needs 2 * N file descriptors for each.
local uv = require "luv"
local pollring = require "pollring"

local N, K, rounds = tonumber(arg[1]), tonumber(arg[2]), tonumber(arg[3])
local TURNS = 15
local hrtime, fs_read, fs_write = uv.hrtime, uv.fs_read, uv.fs_write

local function open_pipes()
  local pipes = {}
  for i = 1, N do
    pipes[i] = assert(uv.pipe({ nonblock = true }, { nonblock = true }))
  end
  return pipes
end

-- ---- contestants: each is given its pipes, and returns a function that gives the time it took, and how many came ----

local contestants = {}

function contestants.luv(pipes)
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
    run("once")
    return hrtime() - started, seen
  end
end

local function collector(pipes, options)
  local ring = assert(pollring.ring(options))
  for _, pipe in ipairs(pipes) do
    ring:poll_add(pipe.read, "in")
  end
  ring:submit()
  return function()
    local seen = 0
    local started = hrtime()
    for poll, events in ring:wait() do
      seen = seen + 1
    end
    return hrtime() - started, seen
  end
end

function contestants.pollring(pipes)
  return collector(pipes, {})
end

function contestants.pinned(pipes)
  return collector(pipes, { pinned = true })
end

-- A coroutine for each pipe. A step collects at most 32 events, some twice, as nothing is read here.
function contestants.cqueues(pipes)
  local cqueues = require "cqueues"
  local controller, seen = cqueues.new(), 0
  for _, pipe in ipairs(pipes) do
    controller:wrap(function()
      local file = { pollfd = pipe.read, events = "r" }
      while true do
        cqueues.poll(file)
        seen = seen + 1
      end
    end)
  end
  controller:step(0)
  return function()
    seen = 0
    local started = hrtime()
    repeat
      controller:step(0)
    until seen >= K
    return hrtime() - started, K
  end
end

function contestants.select(pipes)
  if N > 400 then
    error("select can't watch fds above 1023")
  end
  local socket, files = require "socket", {}
  for i, pipe in ipairs(pipes) do
    files[i] = { getfd = function() return pipe.read end, dirty = function() return false end }
  end
  return function()
    local started = hrtime()
    local ready = socket.select(files, nil, 0)
    return hrtime() - started, #ready
  end
end

-- ---- turns ----

local function round(side, first)
  local pipes = side.pipes
  for i = first, first + K - 1 do
    fs_write(pipes[(i - 1) % N + 1].write, "x")
  end
  local elapsed, seen = side.collect()
  assert(seen == K, seen .. " events instead of " .. K)
  for i = first, first + K - 1 do
    fs_read(pipes[(i - 1) % N + 1].read, 64)
  end
  return elapsed
end

local function turn(side)
  local elapsed = 0
  for i = 1, rounds do
    elapsed = elapsed + round(side, (i - 1) * K + 1)
  end
  return elapsed / rounds
end

local function clock_cost()
  local least = math.huge
  for _ = 1, 5000 do
    local started = hrtime()
    least = math.min(least, hrtime() - started)
  end
  return least
end

local sides, names = {}, { "pollring", "pinned", "luv", "cqueues", "select" }
for _, name in ipairs(#arg > 3 and table.move(arg, 4, #arg, 1, {}) or names) do
  local pipes = open_pipes()
  local opened, collect = pcall(contestants[name], pipes)
  if opened then
    sides[#sides + 1] = { name = name, pipes = pipes, collect = collect, samples = {} }
    turn(sides[#sides]) -- warms up
  else
    io.stderr:write(("left out: %s: %s\n"):format(name, tostring(collect):match "[^\n]*"))
  end
end
local clock = clock_cost()
for i = 1, TURNS do
  for _, side in ipairs(sides) do
    side.samples[i] = turn(side)
  end
end
clock = math.min(clock, clock_cost()) -- before and after, as a machine has slow spells
for _, side in ipairs(sides) do
  table.sort(side.samples)
  local least, median = side.samples[1], side.samples[(TURNS + 1) // 2]
  print(("lua %s %d %d %.1f %.1f"):format(side.name, N, K, (least - clock) / K, (median - clock) / K))
end
os.exit(0) -- at once: thousands of handles need not be closed one by one
