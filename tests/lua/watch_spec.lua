-- ring:watch(): a poll as an iterator, and all the ways out of its loop.
local fixture = require "tests.lua.fixture"
local pollring = require "pollring"

local POLLIN, POLLOUT, POLLHUP, POLLRDHUP = pollring.POLLIN, pollring.POLLOUT, pollring.POLLHUP, pollring.POLLRDHUP

-- The peer sees the end of a connection only if no poll holds the file any more.
local function assert_let_go(near, far)
  near:close()
  assert.equal("closed", select(2, far:receive(1)))
end

-- Each takes a function that gives a loop its values, runs the loop's body once and leaves.
local ways_out = {
  ["break"] = function(iterate)
    for _ in iterate() do
      break
    end
  end,
  ["return"] = function(iterate)
    for _ in iterate() do
      return
    end
  end,
  ["goto"] = function(iterate)
    for _ in iterate() do
      goto out
    end
    ::out::
  end,
  ["an error"] = function(iterate)
    local ok, err = pcall(function()
      for _ in iterate() do
        error("mine", 0)
      end
    end)
    assert.same({ false, "mine" }, { ok, err })
  end,
  ["coroutine.close"] = function(iterate)
    local task = coroutine.create(function()
      for _ in iterate() do
        coroutine.yield()
      end
    end)
    assert(coroutine.resume(task))
    assert.equal("suspended", coroutine.status(task))
    assert(coroutine.close(task))
  end,
}

fixture.on_each_set_up("ring:watch", function(open)
  it("ends by itself at the end of what io.popen reads", function()
    local ring, file, last = open(), fixture.popen "echo one; echo two", nil
    for events, more in ring:watch(file, "in|rdhup") do
      last = events
      assert.equal(events & POLLHUP == 0, more)
    end
    assert.equal(POLLHUP, last & POLLHUP)
    assert.equal("one\ntwo\n", file:read "a")
    assert.equal(0, ring.active)
  end)

  it("gives an event each time something comes", function()
    local ring, pipe, text = open(), fixture.pipe(), ""
    pipe:write "a"
    for events in ring:watch(pipe.reader) do
      text = text .. pipe:read()
      if events & POLLHUP == 0 and #text < 3 then
        pipe:write "b"
      elseif pipe.writer then
        pipe:close "writer"
      end
    end
    assert.equal("abb", text)
  end)

  it("sleeps until something comes", function()
    local ring, file, seen = open(), fixture.line_once_asleep(), 0
    for events in ring:watch(file) do
      seen = seen + 1
      assert.equal(POLLIN, events & POLLIN)
      break
    end
    assert.equal(1, seen)
    assert.equal("a line", file:read())
  end)

  for way, leave in pairs(ways_out) do
    it("removes its poll when left by " .. way, function()
      local ring, near, far = open(), fixture.connection()
      far:send "x"
      leave(function()
        return ring:watch(near)
      end)
      assert.equal(0, ring.active)
      assert_let_go(near, far)
      assert.equal(0, ring:stats().queued) -- no ECANCELED is left behind
      assert.same({}, fixture.batch(ring))
    end)
  end

  it("removes its poll when the iterator is dropped", function()
    local ring, near, far = open(), fixture.connection()
    far:send "x"
    do
      local iterate = ring:watch(near)
      assert.equal(POLLIN, iterate())
      assert.equal(1, ring.active)
    end
    collectgarbage()
    assert.equal(0, ring.active)
    assert_let_go(near, far)
  end)

  it("removes its poll when the coroutine that loops is dropped", function()
    local ring, near, far = open(), fixture.connection()
    far:send "x"
    do
      local task = coroutine.wrap(function()
        for events in ring:watch(near) do
          coroutine.yield(events)
        end
      end)
      assert.equal(POLLIN, task())
    end
    collectgarbage()
    assert.equal(0, ring.active)
    assert_let_go(near, far)
  end)

  it("keeps its poll while the iterator is kept", function()
    local ring, pipe = open(), fixture.pipe()
    local iterate = ring:watch(pipe.reader)
    for _ = 1, 5 do
      collectgarbage()
      pipe:write()
      assert.equal(POLLIN, iterate())
      pipe:read()
    end
  end)

  it("nests, on one ring", function()
    local ring, outer, inner, seen = open(), fixture.pipe(), fixture.pipe(), {}
    outer:write()
    for _ in ring:watch(outer.reader) do
      outer:read()
      table.insert(seen, "outer")
      inner:write()
      for _ in ring:watch(inner.reader) do
        inner:read()
        table.insert(seen, "inner")
        outer:write() -- an event for the outer loop, while the inner one looks
        if #seen % 3 == 0 then
          break
        end
        inner:write()
      end
      if #seen == 9 then
        break
      end
    end
    assert.equal("outer inner inner outer inner inner outer inner inner", table.concat(seen, " "))
    assert.equal(0, ring.active)
  end)

  it("runs in many coroutines on one ring", function()
    local ring, pipes, tasks, seen = open(), {}, {}, 0
    for i = 1, 20 do
      local pipe = fixture.pipe()
      pipe:write()
      pipes[i] = pipe
      tasks[i] = coroutine.wrap(function()
        for _ in ring:watch(pipe.reader) do
          pipe:read()
          seen = seen + 1
          coroutine.yield()
        end
      end)
      tasks[i]()
    end
    for i = 20, 1, -1 do
      pipes[i]:write()
    end
    for i = 1, 20 do
      tasks[i]()
    end
    assert.equal(40, seen)
    assert.equal(20, ring.active)
  end)

  it("queues the events of others for the next wait", function()
    local ring, mine, other = open(), fixture.pipe(), fixture.pipe()
    local poll = ring:poll_add(other.reader)
    other:write()
    mine:write()
    for _ in ring:watch(mine.reader) do
      break
    end
    assert.same({ { poll = poll, result = POLLIN, more = true } }, fixture.batch(ring))
  end)

  it("may share its ring with a wait in its body", function()
    local ring, mine, other, seen = open(), fixture.pipe(), fixture.pipe(), 0
    local poll = ring:poll_add(other.reader)
    mine:write()
    for _ in ring:watch(mine.reader) do
      mine:read()
      other:write()
      for got in ring:wait(0) do
        assert.equal(poll, got)
        other:read()
        seen = seen + 1
      end
      if seen == 3 then
        break
      end
      mine:write()
    end
    assert.equal(3, seen)
  end)

  it("gives its event to a wait that comes first", function()
    local ring, pipe = open(), fixture.pipe()
    local iterate, _, _, poll = ring:watch(pipe.reader)
    pipe:write()
    assert.same({ { poll = poll, result = POLLIN, more = true } }, fixture.batch(ring))
    pipe:write()
    assert.equal(POLLIN, iterate())
  end)

  it("sleeps on after a wake-up", function()
    local ring, file, seen = open(), fixture.line_once_asleep(), 0
    ring:wake()
    for _ in ring:watch(file) do
      seen = seen + 1
      break
    end
    assert.equal(1, seen)
    assert.equal("a line", file:read())
  end)

  it("ends when a hangup comes, with what came before it", function()
    local ring, near, far = open(), fixture.connection()
    far:send "text"
    far:close()
    local last, more
    for events, goes_on in ring:watch(near, "in|rdhup") do
      last, more = events, goes_on
    end
    assert.equal(POLLRDHUP, last & POLLRDHUP)
    assert.is_false(more)
    assert.equal("text", (near:receive(4)))
  end)

  it("ends when its poll is removed in its body", function()
    local ring, pipe, seen = open(), fixture.pipe(), 0
    pipe:write()
    for _ in ring:watch(pipe.reader) do
      seen = seen + 1
      assert.equal(1, ring:remove_fd(pipe.reader))
    end
    assert.equal(1, seen)
    assert.same({}, fixture.batch(ring))
  end)

  it("ends when its ring is closed in its body", function()
    local ring, pipe, seen = open(), fixture.pipe(), 0
    pipe:write()
    for _ in ring:watch(pipe.reader) do
      seen = seen + 1
      ring:close()
    end
    assert.equal(1, seen)
  end)

  it("raises what the kernel says of a number that is no open file, and loses nothing of others", function()
    local ring, bystander = open(), fixture.pipe()
    ring:poll_add(bystander.reader)
    bystander:write()
    local ok, err = pcall(function()
      for _ in ring:watch(1048000) do
      end
    end)
    assert.is_false(ok)
    assert.matches("ring:watch: fd 1048000: Bad file descriptor %(EBADF%)$", err)
    assert.equal(1, #fixture.batch(ring))
  end)
end)

fixture.describe("ring:watch", function()
  it("returns the four values of a generic for, the poll as the closing value", function()
    local ring, pipe = fixture.ring(), fixture.pipe()
    local values = table.pack(ring:watch(pipe.reader))
    assert.equal(4, values.n)
    assert.equal("function", type(values[1]))
    assert.is_nil(values[2])
    assert.is_nil(values[3])
    assert.equal(pipe.reader, values[4].fd)
  end)

  it("takes the options of poll_add", function()
    local ring, pipe, seen = fixture.ring(), fixture.pipe(), {}
    for events, more in ring:watch(pipe.writer, "out", { multishot = false }) do
      table.insert(seen, { events, more })
    end
    assert.same({ { POLLOUT, false } }, seen)
    pipe:close "writer"
    for events, more in ring:watch(pipe.reader, "in", { until_hangup = false }) do
      assert.same({ POLLHUP, true }, { events, more })
      break
    end
  end)

  it("gives one event of a file that can't be polled", function()
    local ring, seen = fixture.ring(), {}
    local file <close> = assert(io.open "/dev/null")
    for _, more in ring:watch(file) do
      table.insert(seen, more)
    end
    assert.same({ false }, seen)
  end)

  it("reads two long outputs, one inside the other", function()
    local ring, outer, inner = fixture.ring(), fixture.popen "seq 1 2000", fixture.popen "seq 1 2000"
    local lines = {}
    for _ in ring:watch(outer) do
      for _ in ring:watch(inner) do
        inner:read "a"
      end
    end
    for line in outer:lines() do
      table.insert(lines, line)
    end
    assert.equal(2000, #lines)
  end)
end)
