-- Who keeps whom alive, and what the garbage collector may do at any moment.
local fixture = require "tests.lua.fixture"
local pollring = require "pollring"

local POLLIN = pollring.POLLIN

-- Runs body with a full collection every few instructions, so that finalisers run everywhere.
local function under_stress(body)
  local thread <const> = coroutine.create(body)
  debug.sethook(thread, function()
    collectgarbage()
  end, "", 20)
  assert(coroutine.resume(thread))
  assert.equal("dead", coroutine.status(thread))
end

fixture.on_each_set_up("A ring", function(open)
  it("keeps an armed poll that the script dropped, with its data and its file", function()
    local ring, near, far = open(), fixture.connection()
    local weak = setmetatable({ near }, { __mode = "v" })
    ring:poll_add(near, "in", { data = { "kept" } })
    collectgarbage()
    far:send "x"
    local event = fixture.batch(ring)[1]
    assert.equal(POLLIN, event.result)
    assert.same({ "kept" }, event.poll.data)
    assert.equal(near, weak[1])
  end)

  it("keeps no poll that has ended", function()
    local ring, pipe = open(), fixture.pipe()
    local weak = setmetatable({}, { __mode = "k" })
    local function round(add)
      for _ = 1, 20 do
        weak[add()] = true
      end
    end
    round(function() -- ended by its event
      return ring:poll_add(pipe.writer, "out", { multishot = false })
    end)
    while ring.active > 0 do
      fixture.batch(ring)
    end
    round(function() -- removed, and told
      local poll = ring:poll_add(pipe.writer, "out")
      poll:remove()
      fixture.batch(ring)
      return poll
    end)
    round(function() -- waited for, then removed: no wait of the ring is to tell its end
      local poll = ring:poll_add(pipe.writer, "out")
      poll:wait(fixture.GUARD)
      poll:remove()
      return poll
    end)
    collectgarbage()
    collectgarbage()
    local kept = 0
    for _ in pairs(weak) do
      kept = kept + 1
    end
    assert.is_true(kept <= 1, kept .. " are kept") -- the last may be in a register
  end)

  it("keeps no poll once it is closed", function()
    local ring, pipe = open(), fixture.pipe()
    local weak = setmetatable({}, { __mode = "k" })
    for _ = 1, 20 do
      weak[ring:poll_add(pipe.reader)] = true
    end
    collectgarbage()
    assert.is_not_nil(next(weak))
    ring:close()
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(weak))
    assert.is_true(ring.closed)
  end)

  it("needs no more memory for polls that come and go", function()
    local ring, pipe, first = open(), fixture.pipe(), nil
    for _ = 1, 20 do
      for _ = 1, 50 do
        ring:poll_add(pipe.writer, "out", { multishot = false })
      end
      while ring.active > 0 do
        fixture.batch(ring)
      end
      collectgarbage()
      collectgarbage()
      fixture.batch(ring)
      first = first or ring:stats().memory
    end
    assert.is_true(ring:stats().memory <= 2 * first)
  end)

  it("is collected with its polls, and lets its files go", function()
    local near, far = fixture.connection()
    do
      local ring = open()
      ring:poll_add(near)
      ring:submit()
    end
    fixture.forget_rings()
    collectgarbage()
    collectgarbage()
    near:close()
    assert.equal("closed", select(2, far:receive(1)))
  end)

  for what, tie in pairs {
    ["a poll's data"] = function(ring, poll)
      table.insert(poll.data, { ring, poll })
    end,
    ["a closure in a poll's data"] = function(ring, poll)
      poll.data[1] = function()
        return ring, poll
      end
    end,
    ["an iterator over a batch"] = function(ring, poll)
      poll.data[1] = ring:wait(0)
    end,
    ["a loop that was left"] = function(ring, poll, near)
      poll.data[1] = coroutine.wrap(function()
        for _ in ring:watch(near, "out") do
          coroutine.yield()
        end
      end)
      poll.data[1]()
    end,
  } do
    it("is collected in a cycle through " .. what, function()
      local near, far = fixture.connection()
      local weak = setmetatable({}, { __mode = "k" })
      do
        local ring = open()
        local poll = ring:poll_add(near, "in", { data = {} })
        tie(ring, poll, near)
        ring:submit()
        weak[ring], weak[poll] = true, true
      end
      fixture.forget_rings()
      collectgarbage()
      collectgarbage()
      assert.is_nil(next(weak))
      near:close()
      assert.equal("closed", select(2, far:receive(1)))
    end)
  end

  it("lets an iterator be collected in a cycle while it lives", function()
    local ring, near, far = open(), fixture.connection()
    do
      local data = {}
      data[1], data[2], data[3], data[4] = ring:watch(near, "in", { data = data })
      assert.equal(data, data[4].data)
    end
    ring:submit()
    assert.equal(1, ring.active)
    collectgarbage()
    collectgarbage()
    assert.equal(0, ring.active)
    near:close()
    assert.equal("closed", select(2, far:receive(1)))
  end)

  it("leaves its iterators at an end when it is closed", function()
    local ring, pipe = open(), fixture.pipe()
    pipe:write()
    local polls = { ring:poll_add(pipe.reader), ring:poll_add(pipe.reader) }
    local batch, watch = ring:wait(0), ring:watch(pipe.reader)
    local poll = batch()
    assert.truthy(poll == polls[1] or poll == polls[2])
    assert.equal(POLLIN, watch())
    ring:close()
    ring:close()
    assert.is_nil(batch())
    assert.is_nil(watch())
    assert.is_nil(poll:wait())
    assert.is_true(poll:remove())
    assert.equal("closed", poll.end_reason)
  end)

  it("hands no file descriptor down to a child", function()
    local ring, near = open(), fixture.connection()
    ring:fileno()
    for _ = 1, 3 do
      ring:poll_add(near)
    end
    fixture.batch(ring)
    local listing = fixture.popen("ls -l /proc/self/fd"):read "a"
    assert.matches("/proc/%d+/fd", listing)
    assert.is_nil(listing:match "anon_inode")
  end)

  it("that was dropped is kept by its poll", function()
    local pipe, poll = fixture.pipe(), nil
    do
      poll = open():poll_add(pipe.reader)
    end
    fixture.forget_rings()
    collectgarbage()
    collectgarbage()
    pipe:write()
    assert.equal(POLLIN, poll:wait(fixture.GUARD))
    poll:remove()
    poll = nil
    collectgarbage()
    collectgarbage()
  end)

  it("makes no garbage for an event", function()
    local ring, pipe = open(), fixture.pipe()
    ring:poll_add(pipe.writer, "out"):recheck()
    for _ in ring:wait(0) do
    end
    local poll <const> = ring:poll_add(pipe.writer, "out")
    local function spend(rounds)
      local seen = 0
      collectgarbage()
      collectgarbage "stop"
      local before = collectgarbage "count"
      for _ = 1, rounds do
        poll:recheck()
        for _ in ring:wait(0) do
          seen = seen + 1
        end
      end
      local spent = collectgarbage "count" - before
      collectgarbage "restart"
      return seen, spent
    end
    spend(10)
    local seen, spent = spend(100)
    assert.is_true(seen >= 100)
    assert.equal(0, spent)
  end)
end)

fixture.describe("A ring whose queues are tiny", function()
  local tiny = { entries = 2, cq_entries = 4 }

  it("gives the numbers of polls that have gone to others", function()
    local ring, pipe, before = fixture.ring(tiny), fixture.pipe(), nil
    for _ = 1, 40 do
      for _ = 1, 250 do
        ring:poll_add(pipe.writer, "out", { multishot = false })
      end
      while ring.active > 0 do
        for _ in ring:wait(0) do
        end
      end
      collectgarbage()
      collectgarbage()
      before = before or collectgarbage "count"
    end
    assert.is_true(collectgarbage "count" - before < 64, "the ring's tables grow") -- KiB; 10000 entries need 160
  end)

  it("loses nothing under a collector that never rests", function()
    local ring, pipes, seen = fixture.ring(tiny), {}, 0
    for i = 1, 10 do
      pipes[i] = fixture.pipe()
    end
    under_stress(function()
      for i, pipe in ipairs(pipes) do
        ring:poll_add(pipe.reader, "in", { data = { i } })
        pipe:write()
      end
      for poll, events in ring:wait(0) do
        assert(events == POLLIN)
        assert(pipes[poll.data[1]]:read() == "x")
        seen = seen + 1
      end
      for _, pipe in ipairs(pipes) do
        pipe:write()
        for _ in ring:watch(pipe.reader) do
          pipe:read()
          seen = seen + 1
          break
        end
      end
      for _ in ring:wait(0) do
        seen = seen + 1
      end
    end)
    assert.equal(30, seen)
  end)

  it("may be closed by any finaliser at any moment", function()
    local pipe = fixture.pipe()
    for nth = 1, 15 do
      local ring = fixture.ring(tiny)
      local calls = 0
      local function trap()
        setmetatable({}, {
          __gc = function()
            calls = calls + 1
            if calls == nth then
              ring:close()
            end
          end,
        })
      end
      under_stress(function()
        pcall(function()
          for _ = 1, 10 do
            trap()
            ring:poll_add(pipe.writer, "out")
            trap()
            for poll in ring:wait(0) do
              trap()
              poll:update "out"
            end
            trap()
            for _ in ring:watch(pipe.writer, "out") do
              trap()
              break
            end
            trap()
            ring:remove_fd(pipe.writer)
            ring:stats()
          end
        end)
      end)
      assert.is_true(calls < nth or ring.closed)
      ring:close()
    end
  end)
end)

fixture.describe("The end of the interpreter", function()
  local everything = [[
    local pollring = require "pollring"
    ring, other = pollring.ring(), pollring.ring { entries = 2, cq_entries = 4 }
    file = io.popen "echo x"
    polls = {}
    for i = 1, 100 do
      polls[i] = ring:poll_add(file)
      other:poll_add(ring)
    end
    iterate, _, _, watched = ring:watch(file)
    task = coroutine.wrap(function()
      for _ in ring:watch(file) do
        coroutine.yield()
      end
    end)
    task()
    setmetatable({}, { __gc = function() polls[1]:remove() ring:close() pcall(iterate) polls[7]:remove() end })
    for _ in ring:wait() do
      io.write "inside "
      LEAVE
      break
    end
  ]]
  for how, leave in pairs {
    ["of its own"] = "",
    ["by os.exit"] = "os.exit(0)",
    ["by os.exit that closes the state"] = "os.exit(0, true)",
  } do
    it(how .. " may come in the middle of everything", function()
      assert.same({ "inside ", "exit", 0 }, { fixture.run((everything:gsub("LEAVE", leave))) })
    end)
  end

  it("by an error leaves a traceback, and no crash", function()
    local output, how, code = fixture.run((everything:gsub("LEAVE", "error 'mine'")))
    assert.matches("mine", output)
    assert.same({ "exit", 1 }, { how, code })
  end)
end)
