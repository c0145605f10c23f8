-- A poll: what it tells, how it is changed, how it ends.
local fixture = require "tests.lua.fixture"
local pollring = require "pollring"

local POLLIN, POLLOUT, POLLHUP = pollring.POLLIN, pollring.POLLOUT, pollring.POLLHUP
local ECANCELED = 125

fixture.on_each_set_up("A poll", function(open)
  it("tells what it was asked for", function()
    local ring, pipe, data = open(), fixture.pipe(), {}
    local poll = ring:poll_add(pipe.reader, "in | POLLRDHUP", { data = data })
    assert.equal(pipe.reader, poll.fd)
    assert.equal(POLLIN | pollring.POLLRDHUP, poll.events)
    assert.equal(data, poll.data)
    assert.is_true(poll.multishot)
    assert.is_true(poll.active)
    assert.is_nil(poll.end_reason)
    assert.is_nil(poll.no_such_field)
    assert.equal(("pollring.poll (fd %d, POLLIN|POLLRDHUP, active)"):format(pipe.reader), tostring(poll))
    assert.equal(POLLIN, ring:poll_add(pipe.reader).events)
    assert.is_false(ring:poll_add(pipe.reader, "in", { data = false }).data)
  end)

  it("waits for its next event alone", function()
    local ring, mine, other = open(), fixture.pipe(), fixture.pipe()
    local poll, bystander = ring:poll_add(mine.reader), ring:poll_add(other.reader)
    other:write()
    assert.same({ 0, true }, { poll:wait(0) })
    mine:write()
    assert.same({ POLLIN, true }, { poll:wait() })
    assert.equal(0, (poll:wait(0.001)))
    local events = fixture.batch(ring)
    assert.equal(1, #events)
    assert.equal(bystander, events[1].poll)
  end)

  it("sleeps until its event comes", function()
    local ring, file = open(), fixture.line_once_asleep()
    local poll = ring:poll_add(file)
    assert.equal(POLLIN, poll:wait(fixture.GUARD) & POLLIN)
    assert.equal("a line", file:read())
  end)

  it("is woken from its wait", function()
    local ring, pipe = open(), fixture.pipe()
    local poll = ring:poll_add(pipe.reader)
    ring:wake()
    assert.same({ 0, true }, { poll:wait(fixture.GUARD * 10) })
  end)

  it("says nil where it has ended", function()
    local ring, pipe = open(), fixture.pipe()
    local poll = ring:poll_add(pipe.reader)
    pipe:close "writer"
    assert.same({ POLLHUP, false }, { poll:wait(0) })
    assert.is_nil(poll:wait())
    assert.is_nil(poll:wait(0))
    assert.equal("hangup", poll.end_reason)
    assert.is_false(poll.active)
  end)

  it("listens to other events after an update, and to the former ones no more", function()
    local ring, near, far = open(), fixture.connection()
    local poll = ring:poll_add(near, "in")
    assert.same({}, fixture.batch(ring))
    assert.is_true(poll:update "out")
    assert.equal(POLLOUT, poll.events)
    assert.equal(POLLOUT, fixture.batch(ring)[1].result)
    far:send "x"
    for _, event in ipairs(fixture.batch(ring)) do
      assert.equal(0, event.result & POLLIN)
    end
    assert.is_true(poll:update(POLLIN))
    assert.equal(POLLIN, fixture.batch(ring)[1].result)
  end)

  it("gives an event after a recheck if its file is ready, and none if not", function()
    local ring, pipe = open(), fixture.pipe()
    local poll = ring:poll_add(pipe.reader)
    pipe:write()
    assert.equal(1, #fixture.batch(ring))
    assert.equal(0, #fixture.batch(ring))
    assert.is_true(poll:recheck())
    assert.equal(1, #fixture.batch(ring))
    pipe:read()
    poll:recheck()
    assert.equal(0, #fixture.batch(ring))
  end)

  it("shows its removal as ECANCELED in the ring's wait, once", function()
    local ring, near, far = open(), fixture.connection()
    local poll = ring:poll_add(near)
    ring:submit()
    assert.is_true(poll:remove())
    assert.is_false(poll.active)
    assert.equal("removed", poll.end_reason)
    assert.is_true(poll:remove())
    near:close()
    assert.equal("closed", select(2, far:receive(1)))
    assert.same({ { poll = poll, result = -ECANCELED, more = false } }, fixture.batch(ring))
    assert.same({}, fixture.batch(ring))
    assert.matches(", removed%)$", tostring(poll))
  end)

  it("is removed when its <close> variable goes out of scope", function()
    local ring, near, far = open(), fixture.connection()
    do
      local poll <close> = ring:poll_add(near)
      ring:submit()
      assert.is_true(poll.active)
    end
    assert.equal(0, ring.active)
    near:close()
    assert.equal("closed", select(2, far:receive(1)))
    assert.same({}, fixture.batch(ring))
  end)

  it("ends with one event where it is one-shot", function()
    local ring, pipe = open(), fixture.pipe()
    local poll = ring:poll_add(pipe.reader, "in", { multishot = false })
    assert.is_false(poll.multishot)
    pipe:write()
    assert.same({ { poll = poll, result = POLLIN, more = false } }, fixture.batch(ring))
    assert.equal("oneshot", poll.end_reason)
    pipe:write()
    assert.same({}, fixture.batch(ring))
  end)

  it("can be armed again when it has ended", function()
    local ring, pipe = open(), fixture.pipe()
    local poll = ring:poll_add(pipe.reader, "in", { multishot = false })
    for _ = 1, 5 do
      pipe:write()
      assert.equal(1, #fixture.batch(ring))
      pipe:read()
      collectgarbage()
      assert.is_true(poll:arm())
      assert.is_true(poll.active)
    end
    assert.has_error(function()
      poll:arm()
    end, ("poll:arm: fd %d: the poll is active (EALREADY)"):format(pipe.reader))
  end)

  it("ends by hangup, and stays where until_hangup is off", function()
    local ring, pipe = open(), fixture.pipe()
    local ending = ring:poll_add(pipe.reader)
    local staying = ring:poll_add(pipe.reader, "in", { until_hangup = false })
    pipe:close "writer"
    local more = {}
    for poll, result, goes_on in ring:wait(0) do
      assert.equal(POLLHUP, result)
      more[poll] = goes_on
    end
    assert.same({ [ending] = false, [staying] = true }, more)
    assert.equal("hangup", ending.end_reason)
    assert.is_nil(staying.end_reason)
  end)

  it("ends where its file can't be polled", function()
    local ring = open()
    local file <close> = assert(io.open "/dev/null")
    local poll = ring:poll_add(file, "in|out")
    local events = fixture.batch(ring)
    assert.equal(1, #events)
    assert.is_false(events[1].more)
    assert.equal("unpollable", poll.end_reason)
  end)

  it("outlives its ring, and still tells its end", function()
    local ring, pipe = open(), fixture.pipe()
    local poll = ring:poll_add(pipe.reader, "in", { data = "mine" })
    pipe:write()
    ring:close()
    assert.is_false(poll.active)
    assert.equal("closed", poll.end_reason)
    assert.equal(pipe.reader, poll.fd)
    assert.equal("mine", poll.data)
    assert.is_nil(poll:wait())
    assert.is_true(pcall(tostring, poll))
    local ok, err = pcall(poll.update, poll, "in")
    assert.is_false(ok)
    assert.matches("ring is closed %(ESHUTDOWN%)", err)
  end)

  it("may be one of many of one file", function()
    local ring, pipe, seen = open(), fixture.pipe(), {}
    local polls = {}
    for i = 1, 10 do
      polls[i] = ring:poll_add(pipe.reader)
    end
    pipe:write()
    for poll in ring:wait(0) do
      seen[poll] = (seen[poll] or 0) + 1
    end
    for _, poll in ipairs(polls) do
      assert.is_true(seen[poll] >= 1)
    end
  end)
end)

fixture.describe("A raw poll", function()
  -- The io_uring of 5.15 ends none.
  it("ends where the completion queue is full, with that reason, or goes on", function()
    local ring = fixture.ring { entries = 2, cq_entries = 4 }
    local pipes, polls, goes_on = {}, {}, 0
    for i = 1, 12 do
      pipes[i] = fixture.pipe()
      polls[i] = ring:poll_add(pipes[i].reader, "in", { rearm = false, until_hangup = false, data = i })
    end
    ring:submit()
    for _, pipe in ipairs(pipes) do
      pipe:write()
    end
    for poll, result, more in ring:wait(0) do
      assert.equal(POLLIN, result)
      assert.equal(not more, poll.end_reason == "overflow")
      pipes[poll.data]:read()
      if more then
        goes_on = goes_on + 1
      end
    end
    for _, pipe in ipairs(pipes) do
      pipe:write()
    end
    local told = 0
    for poll in ring:wait(0) do
      pipes[poll.data]:read()
      told = told + 1
    end
    assert.equal(goes_on, told)
  end)
end)

fixture.describe("Exclusive polls", function()
  it("say so in their mask, and hear of their file", function()
    local ring, pipe = fixture.ring(), fixture.pipe()
    local poll = ring:poll_add(pipe.reader, "in", { exclusive = true })
    assert.equal(POLLIN | pollring.EPOLLEXCLUSIVE, poll.events)
    pipe:write()
    assert.equal(POLLIN, fixture.batch(ring)[1].result)
  end)
end)
