-- The scheduler: tasks, what they wait for, how they end, and what a script can do wrong.
local fixture = require "tests.lua.fixture"
local pollring = require "pollring"
local scheduler = require "pollring.scheduler"
local uv = require "luv"

local POLLIN, POLLOUT = pollring.POLLIN, pollring.POLLOUT

-- A table that notes that it was closed.
local function closing(log, name)
  return setmetatable({}, {
    __close = function(_, err)
      table.insert(log, err and name .. ": " .. tostring(err) or name)
    end,
  })
end

-- Runs each function as a task, to the end; whatever fails, fails the test.
local function run(s, ...)
  for _, body in ipairs { ... } do
    s:spawn(body)
  end
  s:on_error(function(_, _, traceback)
    error(traceback, 0)
  end)
  s:run()
end

local function fails(message, ...)
  local ok, err = pcall(...)
  assert.is_false(ok)
  assert.matches(message, err)
end

fixture.on_each_set_up("A scheduler", function(open)
  local s
  before_each(function()
    s = fixture.scheduler(open())
  end)

  describe("runs tasks that", function()
    it("begin in order, with their arguments, and give what they return to join", function()
      local log = {}
      local function body(...)
        table.insert(log, table.concat({ ... }, " "))
        return ...
      end
      local one, two = s:spawn(body, 1, 2), s:spawn(body)
      assert.same({}, log)
      s:run()
      assert.same({ "1 2", "" }, log)
      assert.same({ true, 1, 2 }, { one:join() })
      assert.same({ true }, { two:join() })
      assert.same({ true, 1, 2 }, { one:join() })
      assert.equal("returned", one:status())
    end)

    it("spawn others", function()
      local function tree(depth)
        if depth == 0 then
          return 1
        end
        local left, right = s:spawn(tree, depth - 1), s:spawn(tree, depth - 1)
        return select(2, left:join()) + select(2, right:join())
      end
      local root = s:spawn(tree, 7)
      s:run()
      assert.same({ true, 128 }, { root:join() })
    end)

    it("take turns", function()
      local log = {}
      local function body(name)
        for i = 1, 3 do
          table.insert(log, name .. i)
          s:sleep(0)
        end
      end
      s:spawn(body, "a")
      s:spawn(body, "b")
      s:run()
      assert.same({ "a1", "b1", "a2", "b2", "a3", "b3" }, log)
    end)

    it("sleep for as long as they say, the shorter ones less", function()
      local log, started = {}, uv.hrtime()
      for i = 20, 1, -1 do
        s:spawn(function()
          s:sleep(i / 200)
          table.insert(log, i)
          assert.is_true(uv.hrtime() - started >= i * 5e6)
        end)
      end
      run(s)
      for i = 1, 20 do
        assert.equal(i, log[i])
      end
    end)

    it("watch an fd and get each of its events", function()
      local pipe, got = fixture.pipe(), {}
      run(s, function()
        for events, more in s:watch(pipe.reader, "in") do
          table.insert(got, pollring.names(events) .. tostring(more))
          table.insert(got, pipe:read())
        end
      end, function()
        for i = 1, 3 do
          pipe:write(tostring(i))
          s:sleep(0)
        end
        pipe:close "writer"
      end)
      assert.same({ "POLLINtrue", "1", "POLLINtrue", "2", "POLLINtrue", "3", "POLLHUPfalse", "" }, got)
    end)

    it("watch an fd and miss nothing while they wait for something else", function()
      local pipe, seen = fixture.pipe(), 0
      run(s, function()
        for events in s:watch(pipe.reader) do
          seen = seen + #(pipe:read() or "")
          s:sleep(0)
          s:sleep(0.001)
          if events & pollring.POLLHUP ~= 0 then
            break
          end
        end
      end, function()
        for _ = 1, 50 do
          pipe:write()
          s:sleep(0)
        end
        pipe:close "writer"
      end)
      assert.equal(50, seen)
    end)

    it("get events of different bits that come meanwhile as one", function()
      local fds, got = uv.socketpair("stream", nil, { nonblock = true }, { nonblock = true }), nil
      local near, far = fds[1], fds[2]
      run(s, function()
        for events in s:watch(near, "in|out") do
          if got then
            got = events
            break
          end
          got = 0
          while uv.fs_write(near, ("x"):rep(65536)) do
          end
          uv.fs_write(far, "y")
          s:sleep(0) -- POLLIN comes
          s:sleep(0)
          while uv.fs_read(far, 65536) do
          end
          s:sleep(0) -- POLLOUT comes
          s:sleep(0)
        end
      end)
      assert.equal(POLLIN | POLLOUT, got)
      uv.fs_close(near)
      uv.fs_close(far)
    end)

    it("wait for an fd once, level-triggered", function()
      local pipe = fixture.pipe()
      run(s, function()
        assert.equal(POLLIN, s:wait_fd(pipe.reader, "in"))
        assert.equal(POLLOUT, s:wait_fd(pipe.writer, "out", 0)) -- straight from the batch
        assert.equal("a", uv.fs_read(pipe.reader, 1))
        assert.equal(POLLIN, s:wait_fd(pipe.reader, "in")) -- "b" is still there
        assert.equal("b", uv.fs_read(pipe.reader, 1))
        assert.same({ nil, "timeout" }, { s:wait_fd(pipe.reader, "in", 0.001) })
        assert.equal(POLLOUT, s:wait_fd(pipe.writer, "out", 0))
        assert.same({ nil, "timeout" }, { s:wait_fd(pipe.reader, "in", 0) })
        pipe:write()
        assert.equal(POLLIN, s:wait_fd(pipe.reader, "in", 0))
      end, function()
        pipe:write "ab"
      end)
    end)

    it("wait for a number that another file has taken over", function()
      local one, other = fixture.pipe(), fixture.pipe()
      run(s, function()
        one:write()
        assert.equal(POLLIN, s:wait_fd(one.reader, "in"))
        local number = one.reader
        one:close "reader"
        local fds = uv.pipe({ nonblock = true }, { nonblock = true })
        assert.equal(number, fds.read)
        assert.same({ nil, "timeout" }, { s:wait_fd(number, "in", 0) })
        uv.fs_write(fds.write, "x")
        assert.equal(POLLIN, s:wait_fd(number, "in", fixture.GUARD))
        uv.fs_close(fds.read)
        uv.fs_close(fds.write)
        other:write()
      end)
    end)

    it("are told what is wrong with an fd", function()
      run(s, function()
        assert.error_matches(function()
          s:wait_fd(999, "in")
        end, "scheduler:wait_fd: fd 999: Bad file descriptor %(EBADF%)")
        assert.error_matches(function()
          for _ in s:watch(999) do
          end
        end, "scheduler:watch: fd 999: Bad file descriptor %(EBADF%)")
      end)
    end)

    it("give up a wait that times out, and hold the file no longer", function()
      local near, far = fixture.connection()
      run(s, function()
        assert.same({ nil, "timeout" }, { s:wait_fd(near, "in", 0.001) })
        near:close()
        assert.equal("closed", select(2, far:receive(1)))
      end)
    end)

    it("are woken by remove_fd", function()
      local pipe, log = fixture.pipe(), {}
      run(s, function()
        table.insert(log, { s:wait_fd(pipe.reader, "in") })
      end, function()
        for _ in s:watch(pipe.reader) do
        end
        table.insert(log, { "end" })
      end, function()
        s:sleep(0)
        assert.equal(2, s:remove_fd(pipe.reader))
      end)
      table.sort(log, function(one)
        return one[2]
      end)
      assert.same({ { nil, "closed" }, { "end" } }, log)
    end)

    it("wait in a protected call, a metamethod, an iterator, a __close and a coroutine's place", function()
      local log = {}
      local slow = setmetatable({}, {
        __index = function(_, key)
          s:sleep(0)
          return key
        end,
        __add = function()
          s:sleep(0.001)
          return 3
        end,
        __close = function()
          s:sleep(0)
          table.insert(log, "closed")
        end,
        __call = function(_, _, i)
          s:sleep(0)
          return i < 3 and i + 1 or nil
        end,
      })
      run(s, function()
        local ok, value = pcall(function()
          s:sleep(0)
          return slow.key
        end)
        assert.same({ true, "key" }, { ok, value })
        assert.equal(3, slow + 1)
        local count = 0
        for _ in slow, nil, 0 do
          count = count + 1
        end
        assert.equal(3, count)
        do
          local _ <close> = slow
        end
        assert.same({ "closed" }, log)
        local traced = select(2, xpcall(function()
          s:sleep(0)
          error "mine"
        end, debug.traceback))
        assert.matches("mine\nstack traceback:", traced)
      end)
    end)
  end)

  describe("has tasks that fail", function()
    it("and tell join the error and its traceback, and the others go on", function()
      local object, done = {}, false
      local function deep()
        s:sleep(0)
        error(object)
      end
      local bad = s:spawn(function()
        deep()
      end)
      run(s, function()
        local ok, err, traceback = bad:join()
        assert.is_false(ok)
        assert.equal(object, err)
        assert.matches("in upvalue 'deep'", traceback)
        s:sleep(0)
        done = true
      end)
      assert.is_true(done)
      assert.equal("failed", bad:status())
    end)

    it("and tell the handler where nobody joins", function()
      local got
      s:on_error(function(...)
        got = { ... }
      end)
      local bad = s:spawn(function()
        s:sleep(0)
        error("mine", 0)
      end)
      s:run()
      assert.equal(bad, got[1])
      assert.equal("mine", got[2])
      assert.matches("^mine\nstack traceback:.*scheduler_spec", got[3])
      assert.same({ false, "mine", got[3] }, { bad:join() })
    end)

    it("and raise out of run if the handler does; it can go on", function()
      s:on_error(function(task)
        error(task)
      end)
      local other = s:spawn(function()
        s:sleep(0)
        s:sleep(0)
        return 1
      end)
      local bad = s:spawn(error, "mine")
      local ok, err = pcall(s.run, s)
      assert.same({ false, bad }, { ok, err })
      s:run()
      assert.same({ true, 1 }, { other:join() })
    end)

    it("and close their variables after the traceback was taken", function()
      local log = {}
      s:on_error(function(_, err, traceback)
        table.insert(log, "handler " .. err .. tostring(traceback:find "in function <" ~= nil))
      end)
      s:spawn(function()
        local _ <close> = closing(log, "a")
        s:sleep(0)
        error("mine", 0)
      end)
      s:run()
      assert.same({ "a: mine", "handler minetrue" }, log)
    end)

    it("and the traceback passes through a deadline", function()
      local traceback
      s:on_error(function(_, _, text)
        traceback = text
      end)
      local function deep()
        s:sleep(0)
        error "mine"
      end
      s:spawn(function()
        s:deadline(fixture.GUARD, function()
          deep()
        end)
      end)
      s:run()
      assert.matches("in upvalue 'deep'", traceback)
    end)
  end)

  describe("cancels tasks", function()
    local waits = {
      sleep = function()
        s:sleep(1000)
      end,
      ["sleep(0)"] = function()
        while true do
          s:sleep(0)
        end
      end,
      wait_fd = function(pipe)
        s:wait_fd(pipe.reader, "in")
      end,
      ["wait_fd with a timeout"] = function(pipe)
        s:wait_fd(pipe.reader, "in", 1000)
      end,
      watch = function(pipe)
        for _ in s:watch(pipe.reader) do
        end
      end,
      join = function()
        s:spawn(s.sleep, s, 0.005):join()
      end,
      deadline = function()
        s:deadline(1000, s.sleep, s, 1000)
      end,
      ["a protected call"] = function()
        while true do
          pcall(s.sleep, s, 1000)
        end
      end,
    }
    for name, wait in pairs(waits) do
      it("that wait in " .. name, function()
        local log, pipe = {}, fixture.pipe()
        local task = s:spawn(function()
          local _ <close> = closing(log, "outer")
          local _ <close> = closing(log, "inner")
          wait(pipe)
          table.insert(log, "not reached")
        end)
        run(s, function()
          s:sleep(0)
          assert.is_true(task:cancel())
          assert.same({ "inner", "outer" }, log)
          assert.is_false(task:cancel())
          assert.same({ false, "cancelled" }, { task:join() })
          assert.equal("cancelled", task:status())
        end)
        assert.same({ "inner", "outer" }, log)
        assert.is_true(name == "join" or not s:step(0))
      end)
    end

    it("that have not begun", function()
      local task = s:spawn(error, "not reached")
      assert.is_true(task:cancel())
      run(s)
      assert.same({ false, "cancelled" }, { task:join() })
    end)

    it("and wakes those who join them", function()
      local outcome
      local task = s:spawn(s.sleep, s, 1000)
      run(s, function()
        outcome = { task:join() }
      end, function()
        s:sleep(0)
        task:cancel()
      end)
      assert.same({ false, "cancelled" }, outcome)
    end)

    it("with a task as a <close> variable", function()
      local log = {}
      run(s, function()
        local _ <close> = s:spawn(function()
          local _ <close> = closing(log, "child")
          s:sleep(1000)
        end)
        s:sleep(0)
        s:sleep(0)
        table.insert(log, "parent")
      end)
      assert.same({ "parent", "child" }, log)
    end)

    it("and tells what their variables raise while they are closed", function()
      local got
      s:on_error(function(_, err)
        got = err
      end)
      local task = s:spawn(function()
        local _ <close> = setmetatable({}, {
          __close = function()
            error("mine", 0)
          end,
        })
        s:sleep(1000)
      end)
      s:step(0)
      task:cancel()
      assert.equal("mine", got)
      assert.equal("failed", task:status())
    end)

    it("but not the one that runs", function()
      local task
      task = s:spawn(function()
        assert.error_matches(function()
          task:cancel()
        end, "task:cancel: the task is running")
      end)
      run(s)
      assert.same({ true }, { task:join() })
    end)
  end)

  describe("limits time:", function()
    it("a deadline ends what is in it, and gives what that returned", function()
      local log, pipe = {}, fixture.pipe()
      run(s, function()
        assert.same({ 1, 2 }, { s:deadline(fixture.GUARD, function(...)
          s:sleep(0)
          return ...
        end, 1, 2) })
        local waits = {
          function() s:sleep(1000) end,
          function() s:wait_fd(pipe.reader) end,
          function() for _ in s:watch(pipe.reader) do end end,
          function() local _ <close> = s:spawn(s.sleep, s, 1000) _:join() end,
          function() while true do s:sleep(0) end end,
          function() while true do pcall(s.sleep, s, 0.0001) end end,
        }
        for i = 1, 5 do
          assert.same({ nil, "timeout" }, { s:deadline(0.002, function()
            local _ <close> = closing(log, i)
            waits[i]()
          end) })
        end
        assert.equal(5, #log)
        s:sleep(0.001) -- the deadline is gone
      end)
    end)

    it("the outer deadline ends the inner", function()
      run(s, function()
        local reached
        assert.same({ nil, "timeout" }, { s:deadline(0.002, function()
          s:deadline(1000, s.sleep, s, 1000)
          reached = true
          s:sleep(0)
        end) })
        assert.same({ nil, "timeout" }, { s:deadline(1000, function()
          return s:deadline(0.001, s.sleep, s, 1000)
        end) })
        assert.is_true(reached)
      end)
    end)

    it("an error that only looks like it passes", function()
      local task = s:spawn(function()
        s:deadline(1000, error, "deadline exceeded", 0)
      end)
      s:on_error(function() end)
      s:run()
      assert.same({ false, "deadline exceeded" }, { task:join(), (select(2, task:join())) })
    end)

    it("join has a timeout", function()
      run(s, function()
        local task <close> = s:spawn(s.sleep, s, 1000)
        assert.same({ nil, "timeout" }, { task:join(0.001) })
      end)
    end)
  end)

  describe("ends", function()
    it("by telling which tasks can never wake", function()
      local one, two
      one = s:spawn(function()
        two:join()
      end)
      two = s:spawn(function()
        one:join()
      end)
      local ok, err = pcall(s.run, s)
      assert.is_false(ok)
      assert.matches("2 of its tasks can never wake.*task %d.*scheduler_spec.lua:%d+", err)
      one:cancel()
      s:run()
      assert.equal("returned", two:status())
    end)

    it("by closing, which ends each task, and what it waited for", function()
      local log, pipe = {}, fixture.pipe()
      for i = 1, 5 do
        s:spawn(function()
          local _ <close> = closing(log, i)
          if i < 3 then
            s:wait_fd(pipe.reader)
          elseif i < 5 then
            s:sleep(1000)
          else
            s:spawn(error)
          end
        end)
      end
      s:step(0)
      s:close()
      table.sort(log)
      assert.same({ 1, 2, 3, 4, 5 }, log)
      s:close()
      assert.error_matches(function()
        s:spawn(print)
      end, "scheduler:spawn: the scheduler is closed")
    end)

    it("by closing, whatever its tasks' variables do then", function()
      local errors = 0
      s:on_error(function()
        errors = errors + 1
        error "of the handler"
      end)
      for _ = 1, 3 do
        s:spawn(function()
          local _ <close> = setmetatable({}, {
            __close = function()
              s:spawn(print)
            end,
          })
          s:sleep(1000)
        end)
      end
      s:step(0)
      fails("of the handler", s.close, s)
      assert.equal(3, errors)
      s:close()
    end)

    it("not from within a task", function()
      run(s, function()
        assert.error_matches(function()
          s:close()
        end, "a task can't close the scheduler that runs it")
        assert.error_matches(function()
          s:run()
        end, "scheduler:run: the scheduler is running already")
        assert.error_matches(function()
          s:step()
        end, "scheduler:step: the scheduler is running already")
      end)
    end)

    it("with an error where a task has closed its ring, and can still be closed", function()
      local ring, log = open(), {}
      local other = scheduler.new(ring)
      other:spawn(function()
        local _ <close> = closing(log, "a")
        ring:close()
        assert.error_matches(function()
          other:wait_fd(0)
        end, "scheduler:wait_fd: fd 0: the ring is closed")
        other:sleep(1000)
      end)
      fails("scheduler:run: the ring is closed", other.run, other)
      fails("the ring is closed", other.timeout, other)
      other:close()
      assert.same({ "a" }, log)
    end)
  end)

  describe("is stepped by a host", function()
    it("that learns when, and whether there is more", function()
      local pipe = fixture.pipe()
      assert.is_false(s:step(0))
      s:spawn(function()
        s:sleep(0)
        s:wait_fd(pipe.reader)
        s:sleep(1000)
      end)
      assert.equal(0, s:timeout())
      assert.is_true(s:step(0))
      assert.equal(0, s:timeout())
      assert.is_true(s:step(0))
      assert.is_true(s:step(0))
      assert.is_nil(s:timeout())
      pipe:write()
      assert.is_true(s:step(fixture.GUARD))
      assert.is_true(s:timeout() > 900)
    end)

    it("by an fd that is readable when there is something to do", function()
      local pipe, host = fixture.pipe(), fixture.ring()
      s:spawn(function()
        s:wait_fd(pipe.reader)
      end)
      local poll = host:poll_add(s:fileno(), "in", { multishot = false })
      while s:timeout() == 0 do
        s:step(0)
      end
      pipe:write()
      assert.equal(POLLIN, poll:wait(fixture.GUARD))
      assert.is_false(s:step(0))
    end)
  end)

  it("leaves the ring's other users their events", function()
    local ring, mine, its = open(), fixture.pipe(), fixture.pipe()
    local other = scheduler.new(ring)
    local poll = ring:poll_add(mine.reader)
    mine:write()
    other:spawn(function()
      for _ in other:watch(its.reader) do
        break
      end
    end)
    its:write()
    other:run()
    other:close()
    local event = fixture.batch(ring)[1]
    assert.equal(poll, event.poll)
    assert.equal(1, ring.active)
  end)

  it("loses no event of a task where another waits on the ring itself", function()
    local ring, mine, its = open(), fixture.pipe(), fixture.pipe()
    local other, got = scheduler.new(ring), {}
    run(other, function()
      for events in other:watch(its.reader) do
        table.insert(got, "task " .. pollring.names(events))
        break
      end
    end, function()
      local poll = ring:poll_add(mine.reader)
      its:write()
      mine:write()
      for found, events in ring:wait(fixture.GUARD) do
        assert.equal(poll, found)
        table.insert(got, "ring " .. pollring.names(events))
      end
    end)
    other:close()
    assert.same({ "ring POLLIN", "task POLLIN" }, got)
  end)

  it("keeps a task that waits, and nothing that has ended", function()
    local pipe, weak = fixture.pipe(), setmetatable({}, { __mode = "k" })
    local woken = 0
    for i = 1, 10 do
      weak[s:spawn(function()
        if i > 5 then
          s:wait_fd(pipe.reader)
          woken = woken + 1
        end
      end)] = true
    end
    s:step(0)
    collectgarbage()
    collectgarbage()
    local kept = 0
    for _ in pairs(weak) do
      kept = kept + 1
    end
    assert.equal(5, kept)
    pipe:write()
    s:run()
    assert.equal(5, woken)
  end)
end)

fixture.on_each_set_up("A scheduler that was dropped", function(open)
  it("is collected with its tasks, and lets their files go", function()
    local near, far = fixture.connection()
    do
      local dropped = scheduler.new(open())
      dropped:spawn(function()
        dropped:wait_fd(near)
      end)
      dropped:step(0)
    end
    fixture.forget_rings()
    collectgarbage()
    collectgarbage()
    near:close()
    assert.equal("closed", select(2, far:receive(1)))
  end)
end)

fixture.describe("A scheduler of its own ring", function()
  it("opens one and closes it", function()
    local s <close> = scheduler.new()
    local ran
    s:spawn(function()
      s:sleep(0.001)
      ran = true
    end)
    s:run()
    assert.is_true(ran)
  end)

  it("runs a hundred thousand tasks", function()
    local s <close> = scheduler.new()
    local pipe, done = fixture.pipe(), 0
    for i = 1, 100000 do
      s:spawn(function()
        if i % 50 == 0 then
          s:wait_fd(pipe.reader)
        elseif i % 2 == 0 then
          s:sleep(0.001)
        else
          s:sleep(0)
        end
        done = done + 1
      end)
    end
    pipe:write()
    s:run()
    assert.equal(100000, done)
  end)

  it("makes no garbage for a wait and an event", function()
    local s <close> = scheduler.new()
    local pipe, spent = fixture.pipe(), nil
    s:spawn(function()
      local function rounds()
        for _ = 1, 100 do
          s:sleep(0)
          s:wait_fd(pipe.writer, POLLOUT)
          s:sleep(0.0001)
          s:wait_fd(pipe.reader, POLLIN, 0)
        end
      end
      rounds()
      collectgarbage()
      collectgarbage "stop"
      local before = collectgarbage "count"
      rounds()
      spent = collectgarbage "count" - before
      collectgarbage "restart"
    end)
    s:run()
    assert.equal(0, spent)
  end)
end)

fixture.describe("Garbage collection everywhere", function()
  -- A bit of everything, with a collection every few instructions of its tasks. trap() is called now and then.
  local function of_everything(ring, trap)
    local s <close> = scheduler.new(ring)
    local pipe, done = fixture.pipe(), 0
    local function spawn(body, ...)
      return s:spawn(function(...)
        debug.sethook(function()
          collectgarbage()
        end, "", 20)
        return body(...)
      end, ...)
    end
    s:on_error(function(_, err)
      error(err, 0)
    end)
    spawn(function()
      for _ in s:watch(pipe.reader) do
        trap()
        if pipe:read() == "" then
          break
        end
      end
      done = done + 1
    end)
    spawn(function()
      for _ = 1, 3 do
        trap()
        pipe:write()
        s:wait_fd(pipe.writer, "out")
        s:sleep(0)
      end
      pipe:close "writer"
      done = done + 1
    end)
    spawn(function(...)
      local victim = spawn(s.sleep, s, 1000)
      s:sleep(0.0001)
      trap()
      victim:cancel()
      s:deadline(0.0001, s.sleep, s, 1000)
      local _, value = spawn(function(...)
        trap()
        s:sleep(0)
        return ...
      end, ...):join()
      assert(value.kept)
      done = done + 1
    end, { kept = true })
    local ok, err = pcall(s.run, s)
    return ok, err, done
  end

  it("harms nothing", function()
    assert.same({ true, nil, 3 }, { of_everything(fixture.ring(), function() end) })
  end)

  it("may close the ring at any moment", function()
    for nth = 1, 1000 do
      local ring, calls = fixture.ring(), 0
      local ok, err = of_everything(ring, function()
        setmetatable({}, {
          __gc = function()
            calls = calls + 1
            if calls == nth then
              ring:close()
            end
          end,
        })
      end)
      assert.is_true(ok or tostring(err):find "closed" ~= nil, ("%s: %s"):format(nth, err))
      local finished = not ring.closed
      ring:close()
      if finished then
        return assert.is_true(nth > 5, nth)
      end
    end
  end)
end)

fixture.describe("A bad script", function()
  local s
  before_each(function()
    s = fixture.scheduler()
  end)

  it("waits outside a task", function()
    local pipe, task = fixture.pipe(), s:spawn(s.sleep, s, 1000)
    local message = "called outside a task of this scheduler"
    fails(message, s.sleep, s, 1)
    fails(message, s.wait_fd, s, pipe.reader)
    fails(message, s.deadline, s, 1, print)
    fails(message, task.join, task)
    assert.error_matches(function()
      for _ in s:watch(pipe.reader) do
      end
    end, message)
    local other <close> = scheduler.new()
    run(other, function()
      fails(message, s.sleep, s, 1)
    end)
  end)

  it("waits in a <close> variable of a task that ends", function()
    local messages = {}
    local function body(last)
      local _ <close> = setmetatable({}, {
        __close = function()
          table.insert(messages, select(2, pcall(s.sleep, s, 1)))
        end,
      })
      last()
    end
    local function forever()
      s:sleep(1000)
    end
    s:on_error(function() end)
    s:spawn(body, error)
    local cancelled = s:spawn(body, forever)
    s:spawn(cancelled.cancel, cancelled)
    s:run()
    assert.same({
      "scheduler:sleep: a task that has failed can't wait in its <close> variables",
      "scheduler:sleep: a task that is being cancelled can't wait in its <close> variables",
    }, messages)
  end)

  it("sleeps for less than nothing", function()
    run(s, function()
      fails("^scheduler:sleep: seconds: %-1 is out of range: 0 to 1e9$", s.sleep, s, -1)
    end)
  end)

  it("makes a scheduler of what is no ring", function()
    fails("scheduler.new: called with : instead of %.", scheduler.new, scheduler)
    local line = debug.getinfo(1, "l").currentline + 2
    local ok, err = pcall(function()
      local _ = scheduler.new(5)
    end)
    assert.is_false(ok)
    assert.matches("scheduler_spec.lua:" .. line .. ": scheduler.new: a ring or nothing expected, got number$", err)
  end)

  it("nests schedulers until Lua ends it, and each is closed", function()
    local pipe = fixture.pipe()
    local function nest()
      local inner <close> = scheduler.new()
      inner:on_error(function(_, err)
        error(err, 0)
      end)
      inner:spawn(inner.sleep, inner, 1000)
      inner:spawn(inner.wait_fd, inner, pipe.reader, "in", 1000)
      inner:spawn(function()
        return select(4, inner:watch(pipe.reader)):wait(1000)
      end)
      inner:spawn(nest)
      inner:run()
    end
    fails("C stack overflow", nest)
    collectgarbage()
  end)

  it("waits in a coroutine inside a task", function()
    run(s, function()
      assert.error_matches(coroutine.wrap(function()
        s:sleep(1)
      end), "called in another coroutine inside a task")
    end)
  end)

  it("waits where no function can be suspended", function()
    local message = "can't wait here"
    run(s, function()
      assert.error_matches(function()
        table.sort({ 3, 2, 1 }, function()
          s:sleep(0)
        end)
      end, message)
      assert.error_matches(function()
        ("x"):gsub("x", function()
          s:sleep(0)
        end)
      end, message)
    end)
  end)

  it("yields by itself", function()
    local log, got = {}, nil
    s:on_error(function(...)
      got = { ... }
    end)
    s:spawn(function()
      local _ <close> = closing(log, "a")
      coroutine.yield()
    end)
    s:run()
    assert.matches("the task yielded by coroutine.yield", got[2])
    assert.matches("scheduler_spec", got[3])
    assert.same({ "a" }, log)
  end)

  local meddlers = {
    ["resumes a task's coroutine"] = { coroutine.resume, "resumed by hand" },
    ["closes a task's coroutine"] = { coroutine.close, "closed by hand" },
  }
  for name, meddler in pairs(meddlers) do
    for _, wait in ipairs { "sleep", "sleep0", "wait_fd", "watch", "join" } do
      it(name .. " in " .. wait, function()
        local pipe, thread, log = fixture.pipe(), nil, {}
        local victim = s:spawn(function()
          local _ <close> = closing(log, "victim")
          thread = coroutine.running()
          local one <close> = s:spawn(s.sleep, s, 1000)
          if wait == "sleep" then
            s:sleep(1000)
          elseif wait == "sleep0" then
            s:sleep(0)
          elseif wait == "wait_fd" then
            s:wait_fd(pipe.reader)
          elseif wait == "join" then
            one:join()
          else
            for _ in s:watch(pipe.reader) do
            end
          end
        end)
        run(s, function()
          local ok, err = meddler[1](thread)
          assert.is_false(ok)
          assert.matches(meddler[2], err)
          local joined, why = victim:join()
          assert.is_false(joined)
          assert.matches(meddler[2], why)
        end)
        assert.equal(1, #log)
      end)
    end
  end

  it("resumes and closes coroutines of tasks that have not begun or have ended", function()
    local threads = {}
    local create = s:spawn(function()
      threads[1] = coroutine.running()
    end)
    run(s)
    assert.same({ true }, { create:join() })
    assert.is_false(coroutine.resume(threads[1]))
    assert.is_true(coroutine.close(threads[1]))
    assert.is_true((create:join()))
  end)

  it("catches the error of its being resumed by hand, and goes on", function()
    local thread, log = nil, {}
    local victim = s:spawn(function()
      thread = coroutine.running()
      table.insert(log, (pcall(s.sleep, s, 1000)))
      table.insert(log, (pcall(s.sleep, s, 1000))) -- not the scheduler's turn
      coroutine.yield()
      s:sleep(0)
      return "done"
    end)
    run(s, function()
      assert.is_true(coroutine.resume(thread))
    end)
    assert.same({ false, false }, log)
    assert.same({ true, "done" }, { victim:join() })
  end)

  it("passes what it should not", function()
    local bad = { {}, "x", print, true }
    for _, value in ipairs(bad) do
      assert.has_error(function() s.spawn(value, print) end)
      assert.has_error(function() s.run(value) end)
      assert.has_error(function() s.close(value) end)
      assert.has_error(function() s:step(value) end)
      if value ~= print then
        assert.has_error(function() s:spawn(value) end)
        assert.has_error(function() s:on_error(value) end)
      end
      assert.has_error(function() scheduler.new(value) end)
    end
    local task = s:spawn(function()
      for _, value in ipairs(bad) do
        assert.has_error(function() s:sleep(value) end)
        assert.has_error(function() s:wait_fd(value) end)
        assert.has_error(function() s:wait_fd(0, value == "x" and "in|x" or value) end)
        assert.has_error(function() s:wait_fd(0, "in", value) end)
        assert.has_error(function() s:watch(value) end)
        assert.has_error(function() s:deadline(value, print) end)
      end
      for _, seconds in ipairs { -1, 0 / 0, 1e300, -math.huge } do
        assert.has_error(function() s:sleep(seconds) end)
      end
      assert.has_error(function() s:sleep() end)
      assert.has_error(function() s:wait_fd(-1) end)
      assert.has_error(function() s:wait_fd(0, 1 << 20) end)
    end)
    s:run()
    assert.same({ true }, { task:join() })
    assert.has_error(function() task.join(s) end)
    assert.has_error(function() task.cancel({}) end)
    local closed = pollring.ring()
    closed:close()
    assert.has_error(function() scheduler.new(closed) end)
  end)

  it("raises from a debug hook while its task waits and runs", function()
    local loops = 0
    local stopped = s:spawn(function()
      debug.sethook(function()
        error("too long", 0)
      end, "", 1000)
      while true do
        loops = loops + 1
        s:sleep(0)
      end
    end)
    run(s, function()
      assert.same({ false, "too long" }, { select(1, stopped:join()), (select(2, stopped:join())) })
    end)
    assert.is_true(loops > 0)
  end)

  it("joins itself", function()
    local task
    task = s:spawn(function()
      task:join()
    end)
    s:on_error(function() end)
    s:run()
    assert.matches("can't wait for its own end", select(2, task:join()))
  end)

  it("lets two tasks wait for one watch", function()
    local pipe = fixture.pipe()
    local iterate = s:watch(pipe.reader)
    s:spawn(iterate)
    local bad = s:spawn(iterate)
    s:on_error(function() end)
    s:step(0)
    assert.matches("another task waits for the next event of this watch", select(2, bad:join()))
  end)

  it("ends the interpreter in the middle of everything", function()
    for _, leave in ipairs { "os.exit(0)", "os.exit(0, true)", "error 'mine'" } do
      local script = ([[
        local pollring = require "pollring"
        local scheduler = require "pollring.scheduler"
        s, other = scheduler.new(), scheduler.new(pollring.ring())
        local closer <close> = s
        for i = 1, 20 do
          tasks = s:spawn(function() s:wait_fd(i % 2, "in") end)
          other:spawn(function() for _ in other:watch(0) do end end)
        end
        other:step(0)
        s:on_error(function(_, err) error(err, 0) end)
        s:spawn(function()
          local inner <close> = scheduler.new()
          inner:spawn(function() io.write "inside " LEAVE end)
          inner:on_error(function(_, err) error(err, 0) end)
          inner:run()
        end)
        s:run()
      ]]):gsub("LEAVE", leave)
      local output, how, code = fixture.run(script)
      assert.matches("inside ", output)
      assert.equal("exit", how)
      assert.is_true(code <= 1)
    end
  end)
end)
