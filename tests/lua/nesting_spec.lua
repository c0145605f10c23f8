-- Loops in each other, both ways: the scheduler in luv and in cqueues, and theirs in the scheduler. (A bare ring in
-- theirs is in host_spec.lua.) No edge may be lost, whoever causes it: 200 messages pass from one to the other.
local fixture = require "tests.lua.fixture"
local uv = require "luv"
local has_cqueues, cqueues = pcall(require, "cqueues")

local MESSAGES = 200

fixture.on_each_set_up("A scheduler", function(open)
  local s, there, back, passed
  before_each(function()
    s, there, back, passed = fixture.scheduler(open()), fixture.pipe(), fixture.pipe(), 0
    s:on_error(function(_, _, traceback)
      error(traceback, 0)
    end)
  end)

  -- A task that answers each message, and one that sleeps now and then.
  local function spawn_answerer()
    s:spawn(function()
      for _ in s:watch(there.reader) do
        there:read()
        back:write()
        passed = passed + 1
        if passed == MESSAGES then
          break
        end
      end
    end)
    s:spawn(function()
      for _ = 1, 10 do
        s:sleep(0.001)
      end
    end)
  end

  describe("in luv", function()
    -- The scheduler as luv's handles: one for its fd, one for its timers, one for what is ready.
    local function nest()
      local poll, timer, idle = uv.new_poll(s:fileno()), uv.new_timer(), uv.new_prepare()
      local function stop()
        for _, handle in ipairs { poll, timer, idle } do
          handle:close()
        end
      end
      local function step()
        if not poll:is_closing() and not s:step(0) then
          stop()
        end
      end
      poll:start("r", step)
      idle:start(function()
        while s:timeout() == 0 do
          step()
          if poll:is_closing() then
            return
          end
        end
        local timeout = s:timeout()
        if timeout then
          timer:start(math.ceil(timeout * 1000), 0, step)
        else
          timer:stop()
        end
      end)
    end

    it("answers what luv's callbacks ask, and they get each answer", function()
      spawn_answerer()
      nest()
      local asker, answers = uv.new_poll(back.reader), 0
      asker:start("r", function()
        answers = answers + #back:read()
        if answers == MESSAGES then
          asker:close()
        else
          there:write()
        end
      end)
      there:write()
      uv.run()
      assert.same({ MESSAGES, MESSAGES }, { answers, passed })
      assert.is_false(s:step(0))
    end)

    it("is woken from its sleep", function()
      local file, line = fixture.line_once_asleep(), nil
      s:spawn(function()
        s:wait_fd(file)
        line = file:read()
      end)
      nest()
      uv.run()
      assert.equal("a line", line)
    end)
  end)

  describe("with luv's loop in it", function()
    it("runs its callbacks when its fd says so", function()
      spawn_answerer()
      local asker, timer, answers, ticks = uv.new_poll(back.reader), uv.new_timer(), 0, 0
      asker:start("r", function()
        answers = answers + #back:read()
        if answers == MESSAGES then
          asker:close()
        else
          there:write()
        end
      end)
      timer:start(1, 1, function()
        ticks = ticks + 1
        if ticks == 5 then
          timer:close()
        end
      end)
      s:spawn(function()
        while uv.loop_alive() do
          uv.run "nowait"
          local timeout = uv.backend_timeout()
          s:wait_fd(uv.backend_fd(), "in", timeout >= 0 and timeout / 1000 or nil)
        end
      end)
      there:write()
      s:run()
      assert.same({ MESSAGES, MESSAGES, 5 }, { answers, passed, ticks })
    end)
  end)

  if not has_cqueues then
    return pending("skipped: cqueues is not installed (lua-cqueues)")
  end

  -- cqueues' side: asks, and counts the answers.
  local function wrap_asker(controller)
    local counted = { answers = 0 }
    local file = { pollfd = back.reader, events = "r" }
    controller:wrap(function()
      there:write()
      while true do
        cqueues.poll(file)
        counted.answers = counted.answers + #(back:read() or "")
        if counted.answers == MESSAGES then
          return
        end
        there:write()
      end
    end)
    controller:wrap(function()
      for _ = 1, 5 do
        cqueues.sleep(0.001)
      end
      counted.slept = true
    end)
    return counted
  end

  describe("in cqueues", function()
    it("answers what its tasks ask, and they get each answer", function()
      spawn_answerer()
      local controller = cqueues.new()
      local counted = wrap_asker(controller)
      controller:wrap(function()
        while s:step(0) do
          cqueues.poll(s)
        end
      end)
      assert(controller:loop(fixture.GUARD))
      controller:close()
      assert.same({ answers = MESSAGES, slept = true }, counted)
      assert.equal(MESSAGES, passed)
      assert.is_false(s:step(0))
    end)

    it("is woken from its sleep", function()
      local file, line = fixture.line_once_asleep(), nil
      s:spawn(function()
        s:wait_fd(file)
        line = file:read()
      end)
      local controller = cqueues.new()
      controller:wrap(function()
        while s:step(0) do
          cqueues.poll(s)
        end
      end)
      assert(controller:loop(fixture.GUARD))
      controller:close()
      assert.equal("a line", line)
    end)
  end)

  describe("with a controller of cqueues in it", function()
    it("steps it when its fd or its timeout says so", function()
      spawn_answerer()
      local controller = cqueues.new()
      local counted = wrap_asker(controller)
      s:spawn(function()
        while not controller:empty() do
          assert(controller:step(0))
          if not controller:empty() then
            s:wait_fd(controller, "in", controller:timeout())
          end
        end
      end)
      s:run()
      controller:close()
      assert.same({ answers = MESSAGES, slept = true }, counted)
      assert.equal(MESSAGES, passed)
    end)
  end)
end)
