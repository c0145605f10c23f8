-- A ring inside another event loop, which polls the ring's fd.
local fixture = require "tests.lua.fixture"
local uv = require "luv"
local has_cqueues, cqueues = pcall(require, "cqueues")

local function in_cqueues(body)
  local controller = cqueues.new()
  local done = false
  controller:wrap(function()
    body()
    done = true
  end)
  assert(controller:loop(fixture.GUARD))
  assert.is_true(done)
  controller:close()
end

fixture.on_each_set_up("A ring in cqueues", function(open)
  if not has_cqueues then
    return pending("skipped: cqueues is not installed (lua-cqueues)")
  end

  it("wakes it from its sleep", function()
    local ring, file = open(), fixture.line_once_asleep()
    local poll = ring:poll_add(file)
    in_cqueues(function()
      repeat
        assert.equal(ring, cqueues.poll(ring, fixture.GUARD))
        local event = fixture.batch(ring)[1]
      until event and event.poll == poll
    end)
    assert.equal("a line", file:read())
  end)

  it("misses nothing that another of its tasks causes", function()
    local ring, pipe, received = open(), fixture.pipe(), 0
    ring:poll_add(pipe.reader)
    in_cqueues(function()
      cqueues.running():wrap(function()
        for i = 1, 20 do
          while received < i - 1 do
            cqueues.sleep(0)
          end
          pipe:write()
        end
      end)
      while received < 20 do
        assert.equal(ring, cqueues.poll(ring, fixture.GUARD))
        for _ in ring:wait(0) do
          received = received + #pipe:read()
        end
      end
    end)
    assert.equal(20, received)
  end)

  it("doesn't sleep on what is there", function()
    local ring, pipe = open(), fixture.pipe()
    ring:poll_add(pipe.reader)
    pipe:write()
    in_cqueues(function()
      assert.equal(ring, cqueues.poll(ring, fixture.GUARD))
    end)
    assert.equal(1, #fixture.batch(ring))
  end)

  it("lets it sleep where there is nothing", function()
    local ring, pipe = open(), fixture.pipe()
    ring:poll_add(pipe.reader)
    ring:submit()
    in_cqueues(function()
      assert.is_not.equal(ring, cqueues.poll(ring, 0.02))
    end)
  end)
end)

fixture.on_each_set_up("A ring in luv", function(open)
  -- Runs libuv's loop until a batch of the ring is what body waits for.
  local function in_luv(ring, body)
    local handle, done = assert(uv.new_poll(ring:fileno())), false
    handle:start("r", function(err)
      assert(not err, err)
      for poll, events in ring:wait(0) do
        done = body(poll, events) or done
      end
      if done then
        handle:stop()
      end
    end)
    local guard = uv.new_timer()
    guard:start(fixture.GUARD * 1000, 0, function()
      handle:stop()
    end)
    guard:unref()
    uv.run()
    handle:close()
    guard:close()
    uv.run "nowait"
    assert.is_true(done)
  end

  it("wakes it from its sleep", function()
    local ring, file = open(), fixture.line_once_asleep()
    local poll = ring:poll_add(file)
    in_luv(ring, function(got)
      return got == poll
    end)
    assert.equal("a line", file:read())
  end)

  it("misses nothing that its callbacks cause", function()
    local ring, pipe, received = open(), fixture.pipe(), 0
    ring:poll_add(pipe.reader)
    pipe:write()
    in_luv(ring, function()
      received = received + #pipe:read()
      if received < 20 then
        pipe:write()
      end
      return received == 20
    end)
    assert.equal(20, received)
  end)
end)
