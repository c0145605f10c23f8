-- A ring: its batches, its wake-ups, its end.
local fixture = require "tests.lua.fixture"
local pollring = require "pollring"

local POLLIN, POLLOUT = pollring.POLLIN, pollring.POLLOUT
local ECANCELED, EBADF, EMFILE = 125, 9, 24

fixture.on_each_set_up("ring:wait", function(open)
  it("gives nothing where there is nothing, at once", function()
    local ring, pipe = open(), fixture.pipe()
    ring:poll_add(pipe.reader)
    assert.same({}, fixture.batch(ring, 0))
    assert.same({}, fixture.batch(ring, 0.001))
  end)

  it("gives poll, events, more", function()
    local ring, pipe, seen = open(), fixture.pipe(), 0
    local poll = ring:poll_add(pipe.reader)
    pipe:write()
    for got, events, more in ring:wait() do
      assert.equal(poll, got)
      assert.equal(POLLIN, events)
      assert.equal("integer", math.type(events))
      assert.is_true(more)
      seen = seen + 1
    end
    assert.equal(1, seen)
  end)

  it("reports a file that is ready when it is added, and then each time more comes", function()
    local ring, pipe = open(), fixture.pipe()
    pipe:write()
    ring:poll_add(pipe.reader)
    assert.equal(1, #fixture.batch(ring))
    assert.equal(0, #fixture.batch(ring)) -- unread, but nothing new
    pipe:write()
    assert.equal(1, #fixture.batch(ring))
  end)

  it("sleeps until something comes", function()
    local ring, file = open(), fixture.line_once_asleep()
    local poll = ring:poll_add(file)
    local events = fixture.batch(ring, fixture.GUARD)
    assert.equal(1, #events)
    assert.equal(poll, events[1].poll)
    assert.equal("a line", file:read())
  end)

  it("sleeps for its timeout", function()
    local ring, pipe = open(), fixture.pipe()
    ring:poll_add(pipe.reader)
    local before = os.clock()
    assert.same({}, fixture.batch(ring, 0.05))
    assert.is_true(os.clock() - before < 0.05) -- CPU time: it slept
  end)

  it("gives every one of many files once, however small the queues are", function()
    local ring, pipes, polls, seen = open(), {}, {}, {}
    for i = 1, 100 do
      pipes[i] = fixture.pipe()
      polls[i] = ring:poll_add(pipes[i].reader, "in", { data = i })
    end
    for round = 1, 3 do
      for i = 1, 100 do
        pipes[i]:write()
      end
      seen = {}
      for poll, events in ring:wait(fixture.GUARD) do
        assert.equal(POLLIN, events)
        assert.is_nil(seen[poll.data])
        seen[poll.data] = poll
        assert.equal("x", pipes[poll.data]:read())
      end
      assert.same(polls, seen, "round " .. round)
      assert.same({}, fixture.batch(ring))
    end
  end)

  it("goes on, the next time, with the batch that was left by break", function()
    local ring, pipes, seen = open(), {}, {}
    for i = 1, 10 do
      pipes[i] = fixture.pipe()
      pipes[i]:write()
      ring:poll_add(pipes[i].reader, "in", { data = i })
    end
    for _ = 1, 10 do
      for poll in ring:wait(0) do
        assert.is_nil(seen[poll.data])
        seen[poll.data] = pipes[poll.data]:read()
        break
      end
    end
    assert.equal(10, #seen)
    assert.same({}, fixture.batch(ring))
  end)

  it("nests: the inner one takes what is there, the outer one ends", function()
    local ring, outer, inner = open(), 0, 0
    for _ = 1, 3 do
      local pipe = fixture.pipe()
      pipe:write()
      ring:poll_add(pipe.reader)
    end
    for _ in ring:wait(0) do
      outer = outer + 1
      for _ in ring:wait(0) do
        inner = inner + 1
      end
    end
    assert.equal(1, outer)
    assert.equal(2, inner)
  end)

  it("lets polls be added in its loop", function()
    local ring, first, second, seen = open(), fixture.pipe(), fixture.pipe(), 0
    first:write()
    second:write()
    ring:poll_add(first.reader)
    for _ in ring:wait(0) do
      seen = seen + 1
      if seen == 1 then
        ring:poll_add(second.reader)
      end
    end
    seen = seen + #fixture.batch(ring)
    assert.equal(2, seen)
  end)

  it("drops the events of a poll that is removed in its loop", function()
    local ring, pipes, polls, seen = open(), {}, {}, {}
    for i = 1, 2 do
      pipes[i] = fixture.pipe()
      polls[i] = ring:poll_add(pipes[i].reader)
      pipes[i]:write()
    end
    for poll, result in ring:wait(0) do
      table.insert(seen, result)
      if #seen == 1 then
        polls[poll == polls[1] and 2 or 1]:remove()
      end
    end
    assert.same({ POLLIN, -ECANCELED }, seen)
  end)

  it("ends at once when the ring is closed in its loop", function()
    local ring, seen = open(), 0
    for _ = 1, 3 do
      local pipe = fixture.pipe()
      pipe:write()
      ring:poll_add(pipe.reader)
    end
    for _ in ring:wait(0) do
      seen = seen + 1
      ring:close()
    end
    assert.equal(1, seen)
  end)

  it("gives an iterator that keeps its ring", function()
    local pipe = fixture.pipe()
    pipe:write()
    local iterate
    do
      local ring = pollring.ring()
      ring:poll_add(pipe.reader)
      iterate = ring:wait(0)
    end
    collectgarbage()
    collectgarbage()
    local poll, events = iterate()
    assert.equal(POLLIN, events)
    assert.is_true(poll.active)
    poll:remove()
  end)

  it("works on another ring than the one it was looked up in", function()
    local ring, other, pipe = open(), open(), fixture.pipe()
    local poll = other:poll_add(pipe.reader)
    pipe:write()
    local wait <const> = ring.wait
    local seen = 0
    for got in wait(other, 0) do
      assert.equal(poll, got)
      seen = seen + 1
    end
    assert.equal(1, seen)
  end)
end)

fixture.on_each_set_up("A ring", function(open)
  it("returns early from a wait that was woken, once", function()
    local ring, pipe = open(), fixture.pipe()
    ring:poll_add(pipe.reader)
    assert.is_true(ring:wake())
    assert.same({}, fixture.batch(ring, fixture.GUARD * 10))
    assert.same({}, fixture.batch(ring, 0.01))
    ring:wake()
    pipe:write()
    assert.equal(1, #fixture.batch(ring, fixture.GUARD)) -- nothing is lost to it
  end)

  it("removes every poll of a file by its number", function()
    local ring, near, far = open(), fixture.connection()
    local other = fixture.pipe()
    local first, second = ring:poll_add(near), ring:poll_add(near, "in|rdhup")
    local bystander = ring:poll_add(other.reader)
    ring:submit()
    assert.equal(2, ring:remove_fd(near))
    assert.is_false(first.active)
    assert.equal("removed", second.end_reason)
    near:close()
    assert.equal("closed", select(2, far:receive(1))) -- the file is released
    local ends = {}
    for poll, result, more in ring:wait(0) do
      ends[poll] = result
      assert.is_false(more)
    end
    assert.same({ [first] = -ECANCELED, [second] = -ECANCELED }, ends)
    assert.equal(0, ring:remove_fd(other.writer))
    other:write()
    assert.equal(bystander, fixture.batch(ring)[1].poll)
  end)

  it("counts its active polls", function()
    local ring, pipe = open(), fixture.pipe()
    assert.equal(0, ring.active)
    local poll = ring:poll_add(pipe.reader)
    ring:poll_add(pipe.reader)
    assert.equal(2, ring.active)
    poll:remove()
    assert.equal(1, ring.active)
  end)

  it("submits without collecting", function()
    local ring, pipe = open(), fixture.pipe()
    ring:poll_add(pipe.reader)
    assert.is_true(ring:pending())
    assert.is_true(ring:submit())
    assert.is_false(ring:pending())
    pipe:write()
    assert.is_true(ring:pending())
    assert.equal(1, #fixture.batch(ring))
    assert.is_false(ring:pending())
  end)

  it("has an fd that is always the same, and never its own to poll", function()
    local ring = open()
    local fd = ring:fileno()
    assert.equal("integer", math.type(fd))
    assert.equal(fd, ring:fileno())
    assert.equal(fd, ring:pollfd())
    assert.is_false((pcall(ring.poll_add, ring, ring)))
    assert.is_false((pcall(ring.poll_add, ring, fd)))
  end)

  it("can be polled by another ring", function()
    local inner, outer, pipe = open(), open(), fixture.pipe()
    local poll = inner:poll_add(pipe.reader)
    local nested = outer:poll_add(inner)
    inner:submit()
    outer:submit()
    fixture.batch(outer)
    pipe:write()
    assert.equal(nested, fixture.batch(outer, fixture.GUARD)[1].poll)
    assert.equal(poll, fixture.batch(inner)[1].poll)
  end)

  it("says what cqueues asks", function()
    local ring, pipe = open(), fixture.pipe()
    assert.equal("r", ring:events())
    ring:submit()
    assert.is_nil(ring:timeout())
    ring:poll_add(pipe.reader)
    assert.equal(0, ring:timeout()) -- a request is to be submitted
    ring:submit()
    assert.is_nil(ring:timeout())
    pipe:write()
    assert.equal(0, ring:timeout())
  end)

  it("may be adopted by the thread that owns it", function()
    local ring, pipe = open(), fixture.pipe()
    ring:poll_add(pipe.reader)
    assert.same({}, fixture.batch(ring))
    assert.is_true(ring:adopt())
    pipe:write()
    assert.equal(1, #fixture.batch(ring))
  end)

  it("tells what it did", function()
    local ring, pipe = open(), fixture.pipe()
    ring:poll_add(pipe.reader)
    pipe:write()
    fixture.batch(ring)
    local stats = ring:stats()
    assert.equal(1, stats.active)
    assert.equal(1, stats.events)
    assert.is_true(stats.enters >= 1 and stats.requests >= 1 and stats.cq_entries >= 4)
    assert.equal(ring.backend == "epoll", stats.entries == 0)
    for _, name in ipairs { "queued", "rearmed", "merged", "dropped", "memory" } do
      assert.equal("integer", math.type(stats[name]), name)
    end
  end)

  it("is closed once, and says so", function()
    local ring, near, far = open(), fixture.connection()
    local poll = ring:poll_add(near)
    ring:submit()
    assert.is_false(ring.closed)
    assert.matches("^pollring.ring %(%a+_?%a*, 1 active%)$", tostring(ring))
    ring:close()
    ring:close()
    assert.is_true(ring.closed)
    assert.equal("pollring.ring (closed)", tostring(ring))
    assert.equal("closed", poll.end_reason)
    near:close()
    assert.equal("closed", select(2, far:receive(1)))
  end)

  it("is closed when its <close> variable goes out of scope", function()
    local kept
    do
      local ring <close> = open()
      kept = ring
      assert.is_false(kept.closed)
    end
    assert.is_true(kept.closed)
  end)

  it("gives the kernel's refusal of a number as a negative event, and loses nothing of others", function()
    local ring, pipe = open(), fixture.pipe()
    local bad, good = ring:poll_add(1048000), ring:poll_add(pipe.reader)
    pipe:write()
    local results = {}
    for poll, result in ring:wait(0) do
      results[poll] = result
    end
    assert.same({ [bad] = -EBADF, [good] = POLLIN }, results)
    assert.equal("error", bad.end_reason)
  end)
end)

fixture.describe("pollring.ring", function()
  it("takes its options", function()
    local ring = fixture.ring { entries = 8, cq_entries = 64, backend = "io_uring", busy_poll = 50, sealed = true }
    assert.equal("io_uring", ring.backend)
    assert.equal(8, ring:stats().entries)
    assert.equal(64, ring:stats().cq_entries)
    assert.is_true(pcall(fixture.ring, {}))
  end)

  it("names the set-up that it got", function()
    assert.equal("plain", fixture.ring { setup = "plain" }:stats().setup)
  end)

  it("waits for POLLOUT as well", function()
    local ring, pipe = fixture.ring(), fixture.pipe()
    ring:poll_add(pipe.writer, pollring.POLLOUT)
    assert.equal(POLLOUT, fixture.batch(ring)[1].result)
  end)

  it("and the methods of a ring give nil, message, errno where the system refuses", function()
    local output, how, code = fixture.run([[
      local pollring = require "pollring"
      local ring = assert(pollring.ring())
      local pipe = io.popen "echo text"
      local poll = ring:poll_add(pipe)
      ring:submit()
      local files = {}
      repeat
        local file = io.open "/dev/null"
        files[#files + 1] = file
      until not file
      print(pollring.ring())
      print(ring:fileno())
      for got, events in ring:wait() do
        print(got == poll, pipe:read())
        break
      end
    ]], "ulimit -n 64")
    assert.same({ "exit", 0 }, { how, code }, output)
    local opened, fileno, event = output:match "^([^\n]*)\n([^\n]*)\n([^\n]*)\n$"
    assert.matches("^nil\tpollring.ring: .*%(EMFILE%).*\t" .. EMFILE .. "$", opened)
    assert.matches("^nil\tring:fileno: .*%(EMFILE%)\t" .. EMFILE .. "$", fileno)
    assert.equal("true\ttext", event)
  end)
end)
