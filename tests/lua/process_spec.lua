-- Forked children, and several interpreters in one process.
local fixture = require "tests.lua.fixture"
local pollring = require "pollring"
local process = require "process"

local POLLIN = pollring.POLLIN

-- How many mappings of rings this process has; libuv has rings too.
local function mapped_rings()
  local count = 0
  for line in io.lines "/proc/self/maps" do
    count = count + (line:match "io_uring" and 1 or 0)
  end
  return count
end

-- What a function in a forked child returned, or its error, as a string.
local function in_child(body)
  return process.fork(body)
end

fixture.on_each_set_up("In a forked child a scheduler", function(open)
  it("runs nothing, can be closed, and the parent's goes on", function()
    local pipe, closed, got = fixture.pipe(), 0, nil
    local s = fixture.scheduler(open())
    s:spawn(function()
      local _ <close> = setmetatable({}, {
        __close = function()
          closed = closed + 1
        end,
      })
      got = s:wait_fd(pipe.reader)
    end)
    s:step(0)
    assert.equal("1 0", in_child(function()
      for _, call in ipairs { s.run, s.step, s.fileno } do
        local ok, err = pcall(call, s)
        assert(not ok and err:match "forked child", err)
      end
      local removed = s:remove_fd(pipe.reader)
      s:close()
      return closed .. " " .. removed
    end))
    pipe:write()
    s:run()
    assert.equal(POLLIN, got)
  end)
end)

fixture.on_each_set_up("In a forked child a ring", function(open)
  it("refuses every call, and the parent loses nothing", function()
    local ring, pipe = open(), fixture.pipe()
    local poll = ring:poll_add(pipe.reader)
    local iterate = ring:wait(0)
    ring:fileno()
    fixture.batch(ring)
    pipe:write()
    local answer = in_child(function()
      local calls = {
        function() ring:wait(0) end,
        function() iterate() end,
        function() ring:submit() end,
        function() ring:wake() end,
        function() ring:adopt() end,
        function() ring:fileno() end,
        function() ring:remove_fd(pipe.reader) end,
        function() ring:poll_add(pipe.reader) end,
        function() ring:watch(pipe.reader) end,
        function() poll:wait() end,
        function() poll:remove() end,
        function() poll:recheck() end,
        function() poll:update "out" end,
      }
      local refused = 0
      for i, call in ipairs(calls) do
        local ok, err = pcall(call)
        assert(not ok and err:match "forked child .*%(EOWNERDEAD%)$", i .. ": " .. tostring(err))
        refused = refused + 1
      end
      return refused
    end)
    assert.equal("13", answer)
    local event = fixture.batch(ring)[1]
    assert.equal(poll, event.poll)
    assert.equal(POLLIN, event.result)
  end)

  it("can be closed, which releases its memory and leaves the parent's polls alone", function()
    collectgarbage()
    local before = mapped_rings()
    local ring, near, far = open(), fixture.connection()
    local poll = ring:poll_add(near)
    ring:submit()
    assert.equal("closed 0", in_child(function()
      ring:close()
      ring:close()
      return poll.end_reason .. " " .. mapped_rings() - before
    end))
    assert.is_true(poll.active)
    far:send "x"
    assert.equal(POLLIN, poll:wait(fixture.GUARD))
  end)

  it("can be collected, with its polls", function()
    local pipe = fixture.pipe()
    local ring = open()
    local poll = ring:poll_add(pipe.reader, "in", { data = {} })
    table.insert(poll.data, poll)
    ring:submit()
    assert.equal("nil", in_child(function()
      local weak = setmetatable({ ring }, { __mode = "v" })
      fixture.forget_rings()
      ring, poll = nil, nil
      collectgarbage()
      collectgarbage()
      return weak[1]
    end))
    pipe:write()
    assert.equal(POLLIN, poll:wait(fixture.GUARD))
  end)

  it("refuses a loop to go on, and lets it be left", function()
    local ring, pipe = open(), fixture.pipe()
    pipe:write()
    local iterate, _, _, poll = ring:watch(pipe.reader)
    assert.equal(POLLIN, iterate())
    assert.matches("forked child", in_child(iterate))
    assert.equal("left", in_child(function()
      do
        local closing <close> = poll
        assert(closing.active)
      end
      return "left"
    end))
    pipe:write()
    assert.equal(POLLIN, iterate())
  end)

  it("doesn't keep the child from having one of its own", function()
    local ring, pipe = open(), fixture.pipe()
    ring:poll_add(pipe.reader)
    ring:submit()
    pipe:write()
    assert.equal("1", in_child(function()
      local own <close> = pollring.ring()
      own:poll_add(pipe.reader)
      return #fixture.batch(own, fixture.GUARD)
    end))
    assert.equal(1, #fixture.batch(ring))
  end)
end)

fixture.describe("Another interpreter in the same thread", function()
  local script = [[
    local pollring = require "pollring"
    local ring, watched = pollring.ring(), pollring.ring()
    local poll = ring:poll_add(watched)
    for _ in ring:wait(0) do
    end
    left, data = ring:watch(watched), poll
    LEAVE
    return getmetatable(ring) == false and getmetatable(poll) == false and tostring(ring)
  ]]

  it("has rings of its own, which its end closes", function()
    local ring, pipe = fixture.ring(), fixture.pipe()
    local poll = ring:poll_add(pipe.reader)
    for _ = 1, 3 do
      local answer = process.state(script:gsub("LEAVE", ""), package.path, package.cpath)
      assert.matches("^pollring.ring %(%a+_?%a*, 2 active%)$", answer)
      pipe:write()
      assert.equal(POLLIN, poll:wait(fixture.GUARD))
      pipe:read()
    end
  end)

  it("may end by an error", function()
    local answer = process.state(script:gsub("LEAVE", "error 'mine'"), package.path, package.cpath)
    assert.matches("mine", answer)
  end)
end)
