-- Signals. lua.c's handler for Ctrl-C sets a debug hook and no more: every wait has to let that run at once.
local fixture = require "tests.lua.fixture"
local uv = require "luv"

local waits = {
  ["ring:wait"] = "for _ in ring:wait() do end",
  ["ring:wait with a timeout"] = "for _ in ring:wait(1000) do end",
  ["poll:wait"] = "poll:wait()",
  ["poll:wait with a timeout"] = "poll:wait(1000)",
  ["ring:watch"] = "for _ in ring:watch(file) do end",
  ["scheduler:run"] = "s:spawn(s.wait_fd, s, file) s:run()",
  ["scheduler:run with a timer"] = "s:spawn(s.sleep, s, 1000) s:run()",
  ["scheduler:step"] = "s:spawn(s.wait_fd, s, file) s:step(0) s:step(1000)",
}
local callers = {
  ["in the main program"] = "sleep()",
  ["in a coroutine"] = "assert(coroutine.resume(coroutine.create(sleep)))",
  ["in a wrapped coroutine in a coroutine"] = "coroutine.wrap(function() coroutine.wrap(sleep)() end)()",
  ["under pcall"] = "local ok, err = pcall(sleep) print(ok) error(err, 0)",
}

-- Starts a script that prints its number and sleeps; returns its output and its number when it does.
local function start_sleeper(script)
  local output = fixture.start([[
    local pollring = require "pollring"
    local ring, file = pollring.ring(), require("luv").pipe().read
    local poll = ring:poll_add(file)
    local s = require("pollring.scheduler").new(ring)
    io.write(io.open("/proc/self/stat"):read "n", "\n")
    io.flush()
  ]] .. script)
  local pid = math.tointeger(output:read "n")
  fixture.wait_until_asleep(pid)
  return output, pid
end

fixture.describe("Ctrl-C ends at once", function()
  for wait_name, wait in pairs(waits) do
    for caller_name, call in pairs(callers) do
      it(wait_name .. " " .. caller_name, function()
        local output, pid = start_sleeper(("local function sleep() %s end %s print 'not reached'"):format(wait, call))
        local before = uv.hrtime()
        assert(uv.kill(pid, "sigint"))
        local text = output:read "a"
        assert.matches("interrupted!", text)
        assert.is_nil(text:match "not reached")
        assert.is_true(uv.hrtime() - before < fixture.GUARD * 1e9)
      end)
    end
  end

  for caller_name, call in pairs(callers) do
    it("a scheduler whose tasks are always ready, " .. caller_name, function()
      local output = fixture.start([[
        local s = require("pollring.scheduler").new()
        io.write(io.open("/proc/self/stat"):read "n", "\n")
        io.flush()
        local function sleep()
          s:spawn(function() while true do s:sleep(0) end end)
          s:spawn(function() print "busy" io.flush() end)
          s:run()
        end
      ]] .. call .. " print 'not reached'")
      local pid = math.tointeger(output:read "n")
      assert.equal("busy", output:read(5):match "%a+")
      assert(uv.kill(pid, "sigint"))
      local text = output:read "a"
      assert.matches("interrupted!", text)
      assert.is_nil(text:match "not reached")
    end)
  end

  it("a wait that goes on where the script caught it, and ends at the second", function()
    local output, pid = start_sleeper [[
      print(pcall(function() for _ in ring:wait() do end end))
      io.flush()
      for _ in ring:wait() do end
    ]]
    uv.kill(pid, "sigint")
    assert.equal("", output:read())
    assert.matches("^false.*interrupted!$", output:read())
    fixture.wait_until_asleep(pid)
    uv.kill(pid, "sigint") -- lua.c handles the first only: this one kills
    assert.equal("", output:read "a")
  end)
end)

fixture.describe("A signal that raises nothing", function()
  -- A child that runs a script with kill(), which sends this process a signal that it handles.
  local function start_sender(script)
    local pid = uv.os_getpid()
    local handler = uv.new_signal()
    handler:start("sigwinch", function() end)
    local kill = ([[
      local uv = require "luv"
      local function kill()
        wait_until_asleep(%d)
        uv.kill(%d, "sigwinch")
      end
    ]]):format(pid, pid)
    local file = fixture.start(fixture.UNTIL_ASLEEP .. kill .. script)
    return file, function()
      handler:close()
      uv.run "nowait"
    end
  end

  it("ends no wait", function()
    local ring = fixture.ring()
    local file, stop = start_sender "for _ = 1, 3 do kill() end print 'a line'"
    local poll = ring:poll_add(file)
    assert.equal(poll, fixture.batch(ring, fixture.GUARD)[1].poll)
    assert.equal("a line", file:read())
    stop()
  end)

  it("makes no wait longer", function()
    local ring, pipe = fixture.ring(), fixture.pipe()
    local file, stop = start_sender [[
      local seconds = 3e9
      local started = uv.hrtime()
      print "started"
      io.flush()
      while uv.hrtime() - started < seconds do kill() uv.sleep(10) end
    ]]
    local poll = ring:poll_add(pipe.reader)
    assert.equal("started", file:read())
    local started = uv.hrtime()
    assert.same({}, fixture.batch(ring, 0.2))
    assert.equal(0, (poll:wait(0.2)))
    local seconds = (uv.hrtime() - started) / 1e9
    assert.is_true(seconds >= 0.4 and seconds < 2.5, seconds)
    stop()
  end)
end)
