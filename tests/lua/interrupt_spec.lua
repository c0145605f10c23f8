-- Signals. lua.c's handler for Ctrl-C sets a debug hook and no more: every wait has to let that run at once.
local fixture = require "tests.lua.fixture"
local uv = require "luv"

local waits = {
  ["ring:wait"] = "for _ in ring:wait() do end",
  ["ring:wait with a timeout"] = "for _ in ring:wait(1000) do end",
  ["poll:wait"] = "poll:wait()",
  ["poll:wait with a timeout"] = "poll:wait(1000)",
  ["ring:watch"] = "for _ in ring:watch(file) do end",
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
  it("ends no wait, and leaves its timeout as it was", function()
    local ring, file = fixture.ring(), fixture.start(fixture.UNTIL_ASLEEP .. ([[
      local uv = require "luv"
      for _ = 1, 3 do
        wait_until_asleep(%d)
        uv.kill(%d, "sigwinch") -- handled by this process
      end
      wait_until_asleep(%d)
      print "a line"
    ]]):gsub("%%d", ("%d"):format(uv.os_getpid())))
    local handler = uv.new_signal()
    handler:start("sigwinch", function() end)
    local poll = ring:poll_add(file)
    assert.equal(poll, fixture.batch(ring, fixture.GUARD)[1].poll)
    assert.equal("a line", file:read())
    handler:close()
    uv.run "nowait"
  end)
end)
