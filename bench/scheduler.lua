-- What tasks cost beside what others offer: luv with callbacks and with coroutines, cqueues, LuaSocket's select.
--
--   lua5.4 bench/scheduler.lua SCENARIO [N] [K]     prints a line a contestant: "lua-SCENARIO NAME N K ns"
--
-- events    of N pipes that are watched K are made readable: nanoseconds an event, for the collection alone
-- pingpong  two coroutines pass a message to and fro over a socketpair, by bare reads and writes: a message
-- sockets   the same through LuaSocket's objects
-- sleep0    a coroutine that gives up its turn: a turn
-- sleepers  N coroutines that sleep for 1 ms, K times: CPU time a sleep
-- echo      N connections of another process that send 1 KiB, K times: CPU time of the server a message
--
-- Contestants take turns within a round; the figure is the minimum over the rounds. All use the same reads and writes.
local uv = require "luv"
local cqueues = require "cqueues"
local socket = require "socket"
local pollring = require "pollring"
local scheduler = require "pollring.scheduler"

local scenario, N, K = arg[1], tonumber(arg[2] or 1), tonumber(arg[3] or 1)
local hrtime, fs_read, fs_write = uv.hrtime, uv.fs_read, uv.fs_write
local resume, yield, create = coroutine.resume, coroutine.yield, coroutine.create
local nonblocking = { nonblock = true }

local function socketpair()
  return table.unpack(uv.socketpair("stream", nil, nonblocking, nonblocking))
end

local function pipes()
  local list = {}
  for i = 1, N do
    list[i] = assert(uv.pipe(nonblocking, nonblocking))
  end
  return list
end

local function cpu()
  local usage = uv.getrusage()
  return (usage.utime.sec + usage.stime.sec) * 1e9 + (usage.utime.usec + usage.stime.usec) * 1e3
end

-- ---- luv with coroutines ----

local luv = {}

function luv.spawn(body, ...)
  assert(resume(create(body), ...))
end

-- A poll handle, and a function that waits for its next event.
function luv.watch(fd)
  local poll, thread = uv.new_poll(fd), nil
  poll:start("r", function()
    local waiting = thread
    thread = nil
    if waiting then
      assert(resume(waiting))
    end
  end)
  return function()
    thread = coroutine.running()
    yield(poll) -- so that it isn't garbage
  end, poll
end

function luv.sleeper()
  local timer, thread = uv.new_timer(), coroutine.running()
  local function wake()
    assert(resume(thread))
  end
  return function(ms)
    timer:start(ms, 0, wake)
    yield()
  end, timer
end

-- ---- scenarios: each is a list of {name, function that prepares and returns one that gives nanoseconds} ----

local scenarios = {}

-- The time that collect() takes for K events, in rounds; less what reading the clock costs.
local function measure_collection(list, collect, seen)
  local rounds, first = K == 1 and 50 or 1, 0
  local clock = math.huge
  for _ = 1, 100 do
    local started = hrtime()
    clock = math.min(clock, hrtime() - started)
  end
  return function()
    local elapsed, before = 0, seen()
    for _ = 1, rounds do
      for i = first, first + K - 1 do
        fs_write(list[i % N + 1].write, "x")
      end
      local started = hrtime()
      collect()
      elapsed = elapsed + hrtime() - started - clock
      for i = first, first + K - 1 do
        fs_read(list[i % N + 1].read, 64)
      end
      first = first + K
    end
    assert(seen() - before >= rounds * K, "events were lost")
    return elapsed / rounds / K
  end
end

scenarios.events = {
  { "luv-callbacks", function()
    local list, polls, count = pipes(), {}, 0
    for i, pipe in ipairs(list) do
      polls[i] = uv.new_poll(pipe.read)
      polls[i]:start("r", function()
        count = count + 1
      end)
    end
    return measure_collection(list, function() uv.run "nowait" return polls end, function() return count end)
  end },
  { "luv-coroutines", function()
    local list, count = pipes(), 0
    for _, pipe in ipairs(list) do
      luv.spawn(function()
        local wait = luv.watch(pipe.read)
        while true do
          wait()
          count = count + 1
        end
      end)
    end
    return measure_collection(list, function() uv.run "nowait" end, function() return count end)
  end },
  { "cqueues", function()
    local list, count, controller = pipes(), 0, cqueues.new()
    for _, pipe in ipairs(list) do
      controller:wrap(function()
        local file = { pollfd = pipe.read, events = "r" }
        while true do
          cqueues.poll(file)
          count = count + 1
        end
      end)
    end
    controller:step(0)
    return measure_collection(list, function()
      local all = count + K
      repeat
        controller:step(0) -- at most 32 events; some come twice, as they are not read here
      until count >= all
    end, function() return count end)
  end },
  { "ring:wait", function()
    local list, count = pipes(), 0
    local ring = pollring.ring { entries = 1024, cq_entries = 16384 }
    for _, pipe in ipairs(list) do
      ring:poll_add(pipe.read, "in")
    end
    ring:submit()
    return measure_collection(list, function()
      for _, _ in ring:wait(0) do
        count = count + 1
      end
    end, function() return count end)
  end },
  { "scheduler", function()
    local list, count = pipes(), 0
    local s = scheduler.new()
    for _, pipe in ipairs(list) do
      s:spawn(function()
        for _ in s:watch(pipe.read) do
          count = count + 1
        end
      end)
    end
    s:step(0)
    s:step(0)
    return measure_collection(list, function() s:step(0) end, function() return count end)
  end },
}
if N == 1 then -- select can't watch more than 1024 fds
  table.insert(scenarios.events, { "select", function()
    local list, count = pipes(), 0
    local function getfd()
      return list[1].read
    end
    local watched = { setmetatable({ getfd = getfd }, { __index = { dirty = function() return false end } }) }
    return measure_collection(list, function()
      local ready = socket.select(watched, nil, 0)
      count = count + #ready
    end, function() return count end)
  end })
end

local MESSAGES = 1000

-- body(fd, wait, last) of either end; the first one begins.
local function pass(fd, wait, begins)
  if begins then
    fs_write(fd, "x")
  end
  for _ = 1, MESSAGES do
    wait()
    fs_read(fd, 64)
    fs_write(fd, "x")
  end
end

-- open() gives two ends; prepare(near, far) a function that runs the loop, which is timed, and one for the end.
local function passing(open, close, prepare)
  return function()
    return function()
      local near, far = open()
      local run, finish = prepare(near, far)
      local started = hrtime()
      run()
      local elapsed = hrtime() - started
      if finish then
        finish()
      end
      close(near)
      close(far)
      return elapsed / (2 * MESSAGES)
    end
  end
end

local function on_socketpair(prepare)
  return passing(socketpair, uv.fs_close, prepare)
end

scenarios.pingpong = {
  { "luv-callbacks", on_socketpair(function(near, far)
    for _, fd in ipairs { near, far } do
      local poll, count = uv.new_poll(fd), 0
      poll:start("r", function()
        fs_read(fd, 64)
        fs_write(fd, "x")
        count = count + 1
        if count == MESSAGES then
          poll:close()
        end
      end)
    end
    fs_write(near, "x")
    return uv.run
  end) },
  { "luv-coroutines", on_socketpair(function(near, far)
    for _, fd in ipairs { near, far } do
      luv.spawn(function()
        local wait, poll = luv.watch(fd)
        pass(fd, wait, fd == near)
        poll:close()
      end)
    end
    return uv.run
  end) },
  { "cqueues", on_socketpair(function(near, far)
    local controller = cqueues.new()
    for _, fd in ipairs { near, far } do
      controller:wrap(function()
        local file, poll = { pollfd = fd, events = "r" }, cqueues.poll
        pass(fd, function() poll(file) end, fd == near)
      end)
    end
    return function()
      assert(controller:loop())
    end, function()
      controller:close()
    end
  end) },
  { "scheduler", on_socketpair(function(near, far)
    local s = scheduler.new()
    for _, fd in ipairs { near, far } do
      s:spawn(function()
        pass(fd, s:watch(fd), fd == near)
      end)
    end
    return function()
      s:run()
    end, function()
      s:close()
    end
  end) },
  { "scheduler-wait_fd", on_socketpair(function(near, far)
    local s = scheduler.new()
    for _, fd in ipairs { near, far } do
      s:spawn(function()
        pass(fd, function() s:wait_fd(fd, 1) end, fd == near)
      end)
    end
    return function()
      s:run()
    end, function()
      s:close()
    end
  end) },
}

local function connection()
  local listener = assert(socket.bind("127.0.0.1", 0))
  local host, port = listener:getsockname()
  local near = assert(socket.connect(host, port))
  local far = assert(listener:accept())
  listener:close()
  near:setoption("tcp-nodelay", true)
  far:setoption("tcp-nodelay", true)
  near:settimeout(0)
  far:settimeout(0)
  return near, far
end

-- receive(object, size) waits where there is nothing.
local function pass_objects(object, receive, begins)
  if begins then
    object:send "x"
  end
  for i = 1, MESSAGES do
    receive(object, 1)
    if i < MESSAGES or not begins then
      object:send "x"
    end
  end
end

-- LuaSocket's receive for a loop that is given its way to wait.
local function receiver(wait)
  return function(object, size)
    local data, err, partial = object:receive(size)
    while err == "timeout" do
      wait()
      data, err, partial = object:receive(size, partial)
    end
    return data, err
  end
end

local function on_connection(prepare)
  return passing(connection, function(object)
    object:close()
  end, prepare)
end

scenarios.sockets = {
  { "luv", on_connection(function(near, far)
    for _, object in ipairs { near, far } do
      luv.spawn(function()
        local wait, poll = luv.watch(math.tointeger(object:getfd()))
        pass_objects(object, receiver(wait), object == near)
        poll:close()
      end)
    end
    return uv.run
  end) },
  { "cqueues", on_connection(function(near, far)
    local controller = cqueues.new()
    for _, object in ipairs { near, far } do
      controller:wrap(function()
        local file, poll = { pollfd = math.tointeger(object:getfd()), events = "r" }, cqueues.poll
        pass_objects(object, receiver(function() poll(file) end), object == near)
      end)
    end
    return function()
      assert(controller:loop())
    end, function()
      controller:close()
    end
  end) },
  { "scheduler", on_connection(function(near, far)
    local s = scheduler.new()
    for _, object in ipairs { near, far } do
      local wrapped = s:wrap(object)
      s:spawn(pass_objects, wrapped, wrapped.receive, object == near)
    end
    return function()
      s:run()
    end, function()
      s:close()
    end
  end) },
}

local TURNS = 5000

local function timed_turns(run)
  return function()
    return function()
      collectgarbage()
      local started = hrtime()
      run()
      return (hrtime() - started) / TURNS
    end
  end
end

scenarios.sleep0 = {
  { "luv", timed_turns(function()
    luv.spawn(function()
      local sleep, timer = luv.sleeper()
      for _ = 1, TURNS do
        sleep(0)
      end
      timer:close()
    end)
    uv.run()
  end) },
  { "cqueues", timed_turns(function()
    local controller = cqueues.new()
    controller:wrap(function()
      local sleep = cqueues.sleep
      for _ = 1, TURNS do
        sleep(0)
      end
    end)
    assert(controller:loop())
    controller:close()
  end) },
  { "scheduler", timed_turns(function()
    local s <close> = scheduler.new()
    s:spawn(function()
      local sleep = s.sleep
      for _ = 1, TURNS do
        sleep(s, 0)
      end
    end)
    s:run()
  end) },
}

local function cpu_a_sleep(run)
  return function()
    return function()
      collectgarbage()
      local before = cpu()
      run()
      return (cpu() - before) / N / K
    end
  end
end

scenarios.sleepers = {
  { "luv", cpu_a_sleep(function()
    for _ = 1, N do
      luv.spawn(function()
        local sleep, timer = luv.sleeper()
        for _ = 1, K do
          sleep(1)
        end
        timer:close()
      end)
    end
    uv.run()
  end) },
  { "cqueues", cpu_a_sleep(function()
    local controller = cqueues.new()
    for _ = 1, N do
      controller:wrap(function()
        for _ = 1, K do
          cqueues.sleep(0.001)
        end
      end)
    end
    assert(controller:loop())
    controller:close()
  end) },
  { "scheduler", cpu_a_sleep(function()
    local s <close> = scheduler.new()
    for _ = 1, N do
      s:spawn(function()
        for _ = 1, K do
          s:sleep(0.001)
        end
      end)
    end
    s:run()
  end) },
}

local SIZE = 1024
local client = [[
  local socket, data, port, connections, rounds = require "socket", ("x"):rep(%d), %d, %d, %d
  local all = {}
  for i = 1, connections do all[i] = assert(socket.connect("127.0.0.1", port)) all[i]:setoption("tcp-nodelay", true) end
  for _ = 1, rounds do
    for i = 1, connections do all[i]:send(data) end
    for i = 1, connections do assert(all[i]:receive(#data)) end
  end
  for i = 1, connections do all[i]:close() end
]]

-- Serves as many connections as the client makes, which is another process; the CPU time of this one a message.
local function serving(serve)
  return function()
    return function()
      local server = assert(socket.bind("127.0.0.1", 0))
      local _, port = server:getsockname()
      local process = io.popen(("lua5.4 -e '%s'"):format(client:format(SIZE, port, N, K)))
      collectgarbage()
      local before = cpu()
      serve(server)
      local spent = cpu() - before
      server:close()
      process:close()
      return spent / N / K
    end
  end
end

local function accept(server)
  local object = assert(server:accept())
  object:setoption("tcp-nodelay", true)
  object:settimeout(0)
  return object
end

local function echo(object, receive)
  while true do
    local data, err = receive(object, SIZE)
    if err then
      break
    end
    object:send(data)
  end
end

scenarios.echo = {
  { "luv", serving(function(server)
    for _ = 1, N do
      local object = accept(server)
      luv.spawn(function()
        local wait, poll = luv.watch(math.tointeger(object:getfd()))
        echo(object, receiver(wait))
        poll:close()
        object:close()
      end)
    end
    uv.run()
  end) },
  { "cqueues", serving(function(server)
    local controller, poll = cqueues.new(), cqueues.poll
    for _ = 1, N do
      local object = accept(server)
      controller:wrap(function()
        local file = { pollfd = math.tointeger(object:getfd()), events = "r" }
        echo(object, receiver(function() poll(file) end))
        cqueues.cancel(file.pollfd)
        object:close()
      end)
    end
    assert(controller:loop())
    controller:close()
  end) },
  { "select", serving(function(server)
    local objects, open, wait = {}, N, receiver(function() yield() end)
    local threads = {}
    for i = 1, N do
      local object = accept(server)
      objects[i] = object
      threads[object] = create(function()
        echo(object, wait)
      end)
      resume(threads[object])
    end
    while open > 0 do
      for _, object in ipairs((socket.select(objects))) do
        assert(resume(threads[object]))
        if coroutine.status(threads[object]) == "dead" then
          open = open - 1
          for i = #objects, 1, -1 do
            if objects[i] == object then
              table.remove(objects, i)
            end
          end
          object:close()
        end
      end
    end
  end) },
  { "scheduler", serving(function(server)
    local s <close> = scheduler.new()
    for _ = 1, N do
      local object = s:wrap(accept(server))
      s:spawn(function()
        echo(object, object.receive)
        object:close()
      end)
    end
    s:run()
  end) },
}

-- ---- running ----

local ROUNDS = { events = 3000, sleepers = 7, echo = 10 } -- short ones, as anything else that runs spoils a round
local sides = {}
for i, contestant in ipairs(scenarios[scenario]) do
  sides[i] = { name = contestant[1], measure = contestant[2](), least = math.huge }
  sides[i].measure() -- warms up
end
for _ = 1, ROUNDS[scenario] or 60 do
  for _, side in ipairs(sides) do
    side.least = math.min(side.least, side.measure())
  end
end
for _, side in ipairs(sides) do
  print(("lua-%s %s %d %d %.1f"):format(scenario, side.name, N, K, side.least))
end
os.exit(0) -- at once: thousands of handles need not be closed one by one
