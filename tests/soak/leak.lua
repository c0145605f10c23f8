-- Arms and removes polls through the Lua API, in random order, on pipes that are closed and opened again: every event
-- is its poll's, none is missing, and no memory, file or slot is left behind.
--
--   lua5.4 leak.lua BACKEND SECONDS [SEED]     status 1 where something is wrong; 77: this backend can't be opened here
local pollring = require "pollring"
local uv = require "luv"

local PLACES, WARM_UP = 200, 5
local ECANCELED = 125
local backend, seconds, seed = arg[1], tonumber(arg[2]), math.tointeger(arg[3]) or os.time()
math.randomseed(seed)
print(("%s: lua, seed %d"):format(backend, seed))

-- A place is a pipe (read, write), whether it is full, its poll or none, and `due`: an event has to come.
local function open(place)
  local pipe = assert(uv.pipe({}, {}))
  place.read, place.write, place.full, place.due = pipe.read, pipe.write, false, false
end

local function close(place)
  uv.fs_close(place.read)
  uv.fs_close(place.write)
end

local function disarm(ring, place)
  if math.random(2) == 1 then
    place.poll:remove()
  else
    ring:remove_fd(place.read)
  end
  place.poll, place.due = nil, false
end

-- Returns how many polls it removed.
local function step(ring, place)
  local chosen = math.random()
  if chosen < 0.2 then
    if not place.full then
      assert(uv.fs_write(place.write, "x"))
      place.full, place.due = true, place.poll ~= nil
    end
  elseif chosen < 0.3 then
    if place.full then
      assert(uv.fs_read(place.read, 1))
    end
    place.full, place.due = false, false
  elseif chosen < 0.4 then
    if place.poll then
      disarm(ring, place)
    end
    close(place)
    open(place)
  elseif place.poll then
    disarm(ring, place)
    return 1
  else
    place.poll, place.due = assert(ring:poll_add(place.read, pollring.POLLIN, { data = place })), place.full
  end
  return 0
end

local function collect(ring)
  local any
  repeat
    any = false
    for poll, result in ring:wait(0) do
      any = true
      assert((result == -ECANCELED) == not poll.active, "an end without a removal")
      if poll.active then
        assert(poll.data.poll == poll, "an event of another poll")
        poll.data.due = false
      end
    end
  until not any
end

-- The life of a ring. Returns how many polls were removed.
local function churn(places)
  local ring <close> = assert(pollring.ring { entries = 16, cq_entries = 16, backend = backend })
  local removed = 0
  for _ = 1, 20 do
    for _ = 1, PLACES do
      removed = removed + step(ring, places[math.random(PLACES)])
    end
    collect(ring)
    for _, place in ipairs(places) do
      assert(not place.due, "ready, and no event came")
    end
  end
  for _, place in ipairs(places) do
    place.poll, place.due = nil, false
  end
  return removed
end

-- RSS in KiB, open files, KiB of Lua's own.
local function holdings()
  collectgarbage()
  collectgarbage()
  local directory, files = uv.fs_scandir("/proc/self/fd"), 0
  while uv.fs_scandir_next(directory) do
    files = files + 1
  end
  return uv.resident_set_memory() // 1024, files, collectgarbage "count"
end

local probe, message = pollring.ring { backend = backend }
if not probe then
  print(("%s: can't be opened here: %s"):format(backend, message))
  os.exit(77)
end
probe:close()

local places = {}
for i = 1, PLACES do
  places[i] = {}
  open(places[i])
end
for _ = 1, WARM_UP do
  churn(places)
end
local resident, files, own = holdings()
local start, removed, rings = uv.hrtime(), 0, 0
while uv.hrtime() - start < seconds * 1e9 do
  removed = removed + churn(places)
  rings = rings + 1
end
local resident_after, files_after, own_after = holdings()
print(("%s: lua: %d armed and removed on %d rings, RSS %d KiB before and %d after"):format(backend, removed, rings,
  resident, resident_after))
if resident_after > resident + 1024 or files_after ~= files or own_after > own + 16 then
  print(("%s: FAILED: open files from %d to %d, Lua's memory from %.0f to %.0f KiB"):format(backend, files, files_after,
    own, own_after))
  os.exit(1)
end
