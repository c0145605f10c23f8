-- What the specs share: rings of every set-up, files to watch, child processes. What a test opened is closed after it,
-- and it has to leave as many file descriptors as it found.
--
-- Nothing here sleeps to let something happen. What this thread writes is pending when write() returns, so silence is
-- asserted at once. What a child does is waited for, and GUARD only ends what would hang.
local busted = require "busted"
local pollring = require "pollring"
local scheduler = require "pollring.scheduler"
local socket = require "socket"
local uv = require "luv"

local describe, pending = busted.describe, busted.pending
local before_each, after_each = busted.before_each, busted.after_each
local assert = require "luassert"

local fixture = { GUARD = 10 * (tonumber(os.getenv "TEST_PATIENCE") or 1) } -- seconds

fixture.set_ups = {
  { name = "epoll", options = { backend = "epoll" } },
  { name = "epoll, tiny", options = { backend = "epoll", entries = 2, cq_entries = 4 } },
  { name = "default", options = {} },
  { name = "defer_taskrun", options = { setup = "defer_taskrun" } },
  { name = "coop_taskrun", options = { setup = "coop_taskrun" } },
  { name = "plain", options = { setup = "plain" } },
  { name = "tiny", options = { entries = 2, cq_entries = 4 } },
  { name = "sealed", options = { sealed = true } },
  { name = "pinned", options = { pinned = true } },
}

local rings = {} -- to be closed after the test
local closers = {} -- what else is to be done then

local function afterwards(close)
  table.insert(closers, close)
end

local function count_fds()
  local directory, count = uv.fs_scandir("/proc/self/fd"), 0
  while uv.fs_scandir_next(directory) do
    count = count + 1
  end
  return count
end

uv.new_pipe(false):close() -- now, so that libuv opens what it keeps before fds are counted
uv.run "nowait"

-- ---- describing ----

-- A group of tests that clean up after themselves.
function fixture.describe(name, body)
  describe(name, function()
    local before
    before_each(function()
      before = count_fds()
    end)
    after_each(function()
      for ring in pairs(rings) do
        ring:close()
      end
      rings = {}
      while #closers > 0 do
        table.remove(closers)()
      end
      if count_fds() ~= before then
        collectgarbage()
        collectgarbage()
      end
      assert.equal(before, count_fds(), "file descriptors are left open")
    end)
    body()
  end)
end

-- The same group on each set-up; one that this kernel lacks is skipped. body gets a function that opens a ring.
function fixture.on_each_set_up(name, body)
  for _, set_up in ipairs(fixture.set_ups) do
    local title = name .. " [" .. set_up.name .. "]"
    local ring, message, errno = pollring.ring(set_up.options)
    if ring or errno ~= 22 then -- EINVAL; every other failure fails in the tests
      fixture.describe(title, function()
        body(function()
          return fixture.ring(set_up.options)
        end)
      end)
    else
      pending(title .. ": " .. message)
    end
    if ring then
      ring:close()
    end
  end
end

-- ---- things to watch, closed after the test ----

function fixture.ring(options)
  local ring = assert(pollring.ring(options))
  rings[ring] = true
  return ring
end

-- On a ring, or on one of its own.
function fixture.scheduler(ring)
  local opened = assert(scheduler.new(ring))
  afterwards(function()
    opened:close()
  end)
  return opened
end

-- They are the test's alone, which leaves them to the collector.
function fixture.forget_rings()
  rings = {}
end

local Pipe = {}
Pipe.__index = Pipe

-- A pipe that doesn't block: pipe.reader and pipe.writer are fds.
function fixture.pipe()
  local fds = assert(uv.pipe({ nonblock = true }, { nonblock = true }))
  local pipe = setmetatable({ reader = fds.read, writer = fds.write }, Pipe)
  afterwards(function()
    pipe:close "reader"
    pipe:close "writer"
  end)
  return pipe
end

function Pipe:write(text)
  assert(uv.fs_write(self.writer, text or "x"))
end

-- What is there, "" at the end; nil, message where there is nothing.
function Pipe:read()
  return uv.fs_read(self.reader, 65536)
end

function Pipe:close(end_)
  if self[end_] then
    assert(uv.fs_close(self[end_]))
    self[end_] = nil
  end
end

-- Two ends of a TCP connection, as objects of LuaSocket.
function fixture.connection()
  local listener = assert(socket.bind("127.0.0.1", 0))
  local host, port = listener:getsockname()
  local near = assert(socket.connect(host, port))
  local far = assert(listener:accept())
  listener:close()
  near:settimeout(0)
  far:settimeout(fixture.GUARD)
  afterwards(function()
    near:close()
    far:close()
  end)
  return near, far
end

function fixture.popen(command)
  local file = assert(io.popen(command))
  afterwards(function()
    pcall(file.close, file)
  end)
  return file
end

-- ---- child processes ----

local function quoted(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

local function lua(script, wrapper)
  local paths = ("LUA_CPATH_5_4=%s LUA_PATH_5_4=%s "):format(quoted(package.cpath), quoted(package.path))
  local interpreter = quoted(arg[-1] or "lua5.4")
  return ("%sexec timeout %g %s %s -e %s 2>&1"):format(paths, 2 * fixture.GUARD, wrapper or "", interpreter,
    quoted(script))
end

-- Starts a script; what it writes, errors included, can be read from the file returned.
function fixture.start(script)
  return fixture.popen(lua(script))
end

-- Runs a script to its end, after a command of the shell if there is one, and by another program if there is one: its
-- output, and how it ended as io.popen's close() says it, such as "exit", 0.
function fixture.run(script, command, wrapper)
  local file = assert(io.popen((command or ":") .. "; " .. lua(script, wrapper)))
  local output = file:read "a"
  local _, how, code = file:close()
  return output, how, code
end

-- Lua: waits until a process sleeps.
fixture.UNTIL_ASLEEP = ([[
local function wait_until_asleep(pid)
  local deadline = os.time() + GUARD
  repeat
    local file = assert(io.open("/proc/" .. pid .. "/stat"))
    local state = file:read("a"):match("%) (%a)")
    file:close()
  until state == "S" or os.time() > deadline
end
]]):gsub("GUARD", fixture.GUARD)
fixture.wait_until_asleep = load(fixture.UNTIL_ASLEEP .. "return wait_until_asleep")()

-- A file from which a line can be read once this process has gone to sleep.
function fixture.line_once_asleep()
  return fixture.start(fixture.UNTIL_ASLEEP .. ("wait_until_asleep(%d) print 'a line'"):format(uv.os_getpid()))
end

-- ---- events ----

-- What one wait gives, as a list of {poll, result, more}. It sleeps up to seconds, by default not at all.
function fixture.batch(ring, seconds)
  local events = {}
  for poll, result, more in ring:wait(seconds or 0) do
    table.insert(events, { poll = poll, result = result, more = more })
  end
  return events
end

return fixture
