-- Whatever is passed: a clear error that names the method, never a crash, and nothing lost of what others wait for.
local fixture = require "tests.lua.fixture"
local pollring = require "pollring"

local POLLIN = pollring.POLLIN

-- call(ring, poll) has to raise; another poll of the ring still gets its event, and nothing was added.
local function assert_raises(pattern, call)
  local ring, bystander, pipe = fixture.ring(), fixture.pipe(), fixture.pipe()
  local poll, other = ring:poll_add(pipe.reader), ring:poll_add(bystander.reader)
  bystander:write()
  local ok, err = pcall(call, ring, poll)
  assert.is_false(ok)
  assert.equal("string", type(err))
  err = err:gsub("^[%w_/.]+%.lua:%d+: ", "")
  assert.matches(pattern, err)
  assert.equal(2, ring.active)
  assert.same({ { poll = other, result = POLLIN, more = true } }, fixture.batch(ring))
end

local ring_methods = {
  "wait", "watch", "poll_add", "submit", "wake", "adopt", "fileno", "pollfd", "close", "stats", "remove_fd", "pending",
  "events", "timeout",
}
local poll_methods = { "wait", "update", "recheck", "remove", "arm" }
local fakes = {
  ["nothing"] = function() end,
  ["nil"] = function()
    return nil
  end,
  ["a number"] = function()
    return 1
  end,
  ["a string"] = function()
    return "pollring.ring"
  end,
  ["a table"] = function()
    return {}
  end,
  ["a table with a ring's methods"] = function(ring)
    return setmetatable({}, { __index = ring, __name = "pollring.ring" })
  end,
  ["a file"] = function()
    return io.stdout
  end,
  ["a coroutine"] = function()
    return coroutine.create(print)
  end,
  ["the module"] = function()
    return pollring
  end,
}

fixture.describe("A ring's method refuses as its self", function()
  for _, name in ipairs(ring_methods) do
    for what, fake in pairs(fakes) do
      it(what .. ": " .. name, function()
        local named = (name == "pollfd" and "fileno") or name
        local message = ": pollring.ring expected, got [%a ]+ %(called with %. instead of : %?%)$"
        assert_raises("^ring:" .. named .. message, function(ring)
          return ring[name](fake(ring))
        end)
      end)
    end

    it("a poll: " .. name, function()
      assert_raises("pollring.ring expected, got userdata", function(ring, poll)
        return ring[name](poll)
      end)
    end)
  end
end)

fixture.describe("The module's function", function()
  it("ring is called with a colon", function()
    assert.error_matches(function()
      return (pollring:ring())
    end, "^pollring.ring: called with : instead of %.$")
  end)
end)

fixture.describe("A poll's method refuses as its self", function()
  for _, name in ipairs(poll_methods) do
    for what, fake in pairs(fakes) do
      it(what .. ": " .. name, function()
        local message = ": pollring.poll expected, got [%a ]+ %(called with %. instead of : %?%)$"
        assert_raises("^poll:" .. name .. message, function(ring, poll)
          return poll[name](fake(ring))
        end)
      end)
    end

    it("a ring: " .. name, function()
      assert_raises("pollring.poll expected, got userdata", function(ring, poll)
        return poll[name](ring)
      end)
    end)
  end
end)

fixture.describe("The functions that methods are made of refuse", function()
  for name, value in pairs(pollring) do
    if type(value) == "function" and name ~= "probe" and name ~= "ring" and name ~= "names" then
      for what, fake in pairs(fakes) do
        it(what .. ": " .. name, function()
          assert_raises("expected, got", function(ring)
            return value(fake(ring))
          end)
        end)
      end
    end
  end
end)

fixture.describe("A ring and a poll", function()
  it("can't be written to, and their metatables stay theirs", function()
    local ring = fixture.ring()
    local poll = ring:poll_add(fixture.pipe().reader)
    for _, object in ipairs { ring, poll } do
      assert.is_false(getmetatable(object))
      assert.is_false((pcall(setmetatable, object, {})))
      assert.is_false((pcall(function()
        object.active = true
      end)))
      assert.is_nil(object[1])
      assert.is_nil(object[object])
      assert.is_nil(object.__gc)
      assert.is_nil(object.__close)
    end
  end)
end)

fixture.describe("A mask is refused:", function()
  local good = { "in", "IN", "POLLIN", "EPOLLIN", " in ", "in|pri|rdhup|hup|err", "rdnorm | rdband", POLLIN, 1.0, 0 }
  for name, case in pairs {
    ["an unknown word"] = { "inn", "mask: 'inn' is no event" },
    ["an empty string"] = { "", "mask: '' is no event" },
    ["a bar without a word"] = { "in|", "mask: '' is no event" },
    ["commas"] = { "in,out", "mask: 'in,out' is no event" },
    ["a prefix alone"] = { "POLL", "mask: 'POLL' is no event" },
    ["a digit in a string"] = { "1", "mask: '1' is no event" },
    ["a zero byte"] = { "in\0|out", "a zero byte is no event" },
    ["a very long word"] = { ("x"):rep(1e6), "is no event" },
    ["edge-triggering"] = { 1 << 31, "mask 0x80000000 has bits that can't be polled %(EINVAL%)" },
    ["one-shot"] = { 1 << 30, "bits that can't be polled" },
    ["a negative number"] = { -1, "mask: %-1 is out of range" },
    ["33 bits"] = { 1 << 32, "mask: 4294967296 is out of range" },
    ["a fraction"] = { 1.5, "mask: 1.5 is not an integer" },
    ["NaN"] = { 0 / 0, "is not an integer" },
    ["a boolean"] = { true, "mask: an integer or names expected, got boolean" },
    ["a table"] = { {}, "mask: an integer or names expected, got table" },
  } do
    it(name, function()
      assert_raises("^ring:poll_add: fd 0: .*" .. case[2], function(ring)
        return ring:poll_add(0, case[1])
      end)
      assert_raises("^ring:watch: fd 0: .*" .. case[2], function(ring)
        return ring:watch(0, case[1])
      end)
      if not case[2]:match "bits" then
        assert_raises("^poll:update: fd %d+: .*" .. case[2], function(_, poll)
          return poll:update(case[1])
        end)
      end
    end)
  end

  it("but not a good one", function()
    local ring, pipe = fixture.ring(), fixture.pipe()
    for _, mask in ipairs(good) do
      ring:poll_add(pipe.reader, mask):update(mask)
    end
    assert.equal(#good, ring.active)
  end)

  it("by update too, where it can't be polled", function()
    assert_raises("^poll:update: fd %d+: .*EINVAL", function(_, poll)
      return poll:update(1 << 31)
    end)
    assert_raises("^poll:update: fd %d+: mask: .*got nil", function(_, poll)
      return poll:update()
    end)
  end)
end)

fixture.describe("A timeout is refused:", function()
  for name, case in pairs {
    ["negative"] = { -1, "timeout: %-1 is out of range: 0 to 1e9 seconds, or nil to wait for ever" },
    ["a little below zero"] = { -1e-300, "out of range" },
    ["the least integer"] = { math.mininteger, "out of range" },
    ["NaN"] = { 0 / 0, "nan is out of range" },
    ["infinite"] = { math.huge, "inf is out of range: 0 to 1e9 seconds, or nil to wait for ever" },
    ["a little more than 1e9"] = { 1e9 + 1, "out of range" },
    ["the largest integer"] = { math.maxinteger, "out of range" },
    ["a string"] = { "1", "timeout: seconds or nil expected, got string" },
    ["a boolean"] = { true, "timeout: seconds or nil expected, got boolean" },
    ["false"] = { false, "timeout: seconds or nil expected, got boolean" },
    ["a table"] = { {}, "timeout: seconds or nil expected, got table" },
  } do
    it(name, function()
      assert_raises("^ring:wait: .*" .. case[2], function(ring)
        return ring:wait(case[1])
      end)
      assert_raises("^poll:wait: fd %d+: .*" .. case[2], function(_, poll)
        return poll:wait(case[1])
      end)
    end)
  end

  it("but not a good one", function()
    local ring, pipe = fixture.ring(), fixture.pipe()
    local poll = ring:poll_add(pipe.reader)
    for _, timeout in ipairs { 0, 0.0, -0.0, 1e-300, 1e-9, 0.001, 1, 1e9, 1000000000 } do
      pipe:write()
      assert.equal(POLLIN, (poll:wait(timeout)))
      pipe:write()
      assert.equal(1, #fixture.batch(ring, timeout))
    end
  end)
end)

fixture.describe("An option of poll_add is refused:", function()
  for name, case in pairs {
    ["no table"] = { "multishot", "options: a table expected, got string" },
    ["false"] = { false, "options: a table expected, got boolean" },
    ["an unknown name"] = { { multi_shot = true }, "options: 'multi_shot' is unknown" },
    ["a list"] = { { "multishot" }, "options: names expected as keys, got a number" },
    ["a number for a boolean"] = { { multishot = 0 }, "multishot: true or false expected, got number" },
    ["a string for a boolean"] = { { rearm = "no" }, "rearm: true or false expected, got string" },
    ["a table for a boolean"] = { { until_hangup = {} }, "until_hangup: true or false expected, got table" },
    ["a function for a boolean"] = { { exclusive = print }, "exclusive: true or false expected, got function" },
    ["a very long name"] = { { [("x"):rep(1e5)] = 1 }, "is unknown" },
  } do
    it(name, function()
      assert_raises("^ring:poll_add: fd 0: " .. case[2]:gsub("^is unknown", ".*%0"), function(ring)
        return ring:poll_add(0, "in", case[1])
      end)
      assert_raises("^ring:watch: fd 0: " .. case[2]:gsub("^is unknown", ".*%0"), function(ring)
        return ring:watch(0, "in", case[1])
      end)
    end)
  end
end)

fixture.describe("An option of pollring.ring is refused:", function()
  for name, case in pairs {
    ["no table"] = { 256, "options: a table expected, got number" },
    ["an unknown name"] = { { size = 1 }, "options: 'size' is unknown" },
    ["a list"] = { { 256 }, "options: names expected as keys, got a number" },
    ["entries 0"] = { { entries = 0 }, "entries: an integer from 1 to 32768 expected, got 0" },
    ["negative entries"] = { { entries = -1 }, "entries: an integer from 1 to 32768 expected, got %-1" },
    ["too many entries"] = { { entries = 32769 }, "entries: an integer from 1 to 32768 expected" },
    ["entries that wrap"] = { { entries = (1 << 32) + 8 }, "entries: an integer from 1 to 32768 expected" },
    ["half an entry"] = { { entries = 1.5 }, "entries: an integer from 1 to 32768 expected, got 1.5" },
    ["NaN entries"] = { { entries = 0 / 0 }, "entries: an integer" },
    ["entries as a string"] = { { entries = "8" }, "entries: a number expected, got string" },
    ["too many cq_entries"] = { { cq_entries = 65537 }, "cq_entries: an integer from 0 to 65536 expected" },
    ["less cq_entries than entries"] = { { entries = 8, cq_entries = 4 }, "cq_entries: 4 is less than entries, 8" },
    ["a backend"] = { { backend = "kqueue" }, "backend: 'auto', 'io_uring' or 'epoll' expected, got 'kqueue'" },
    ["a backend as a number"] = { { backend = 1 }, "backend: .* expected, got 'number'" },
    ["a set-up"] = { { setup = "fast" }, "setup: 'defer_taskrun', 'coop_taskrun' or 'plain' expected, got 'fast'" },
    ["sealed as a number"] = { { sealed = 1 }, "sealed: true or false expected, got number" },
    ["pinned as a string"] = { { pinned = "yes" }, "pinned: true or false expected, got string" },
    ["a long busy_poll"] = { { busy_poll = 1000001 }, "busy_poll: an integer from 0 to 1000000 expected" },
  } do
    it(name, function()
      local ok, err = pcall(pollring.ring, case[1])
      assert.is_false(ok)
      assert.matches("^pollring.ring: " .. case[2], err)
    end)
  end
end)

fixture.describe("A closed ring", function()
  for _, name in ipairs(ring_methods) do
    if name ~= "close" then
      it("refuses " .. name, function()
        local ring = fixture.ring()
        ring:close()
        local ok, err = pcall(ring[name], ring, name:match "wait" and 0 or 1)
        assert.is_false(ok)
        local named = (name == "pollfd" and "fileno") or name
        assert.matches("^ring:" .. named .. ": .*the ring is closed %(ESHUTDOWN%)$", err)
      end)
    end
  end

  for _, name in ipairs { "active", "backend" } do
    it("refuses " .. name, function()
      local ring = fixture.ring()
      ring:close()
      local ok, err = pcall(function()
        return ring[name]
      end)
      assert.is_false(ok)
      assert.matches("the ring is closed %(ESHUTDOWN%)$", err)
    end)
  end
end)

fixture.describe("A poll that has ended", function()
  local function ended()
    local ring, pipe = fixture.ring(), fixture.pipe()
    local poll = ring:poll_add(pipe.reader)
    poll:remove()
    return poll, pipe.reader, ring
  end

  for _, name in ipairs { "update", "recheck" } do
    it("refuses " .. name, function()
      local poll, fd, ring <const> = ended()
      local ok, err = pcall(poll[name], poll, "in")
      assert.is_false(ok)
      assert.equal(("poll:%s: fd %d: the poll has ended (ENOENT)"):format(name, fd), err)
      assert.equal(0, ring.active)
    end)
  end

  it("says so to wait, as often as it is asked", function()
    local poll = ended()
    assert.is_nil(poll:wait())
    assert.is_nil(poll:wait(1))
  end)
end)

fixture.describe("pollring.names refuses", function()
  local bad = { ["a string"] = "1", ["a fraction"] = 1.5, ["NaN"] = 0 / 0, ["33 bits"] = 1 << 32, ["a table"] = {} }
  for name, value in pairs(bad) do
    it(name, function()
      local ok, err = pcall(pollring.names, value)
      assert.is_false(ok)
      assert.matches("^pollring.names: ", err)
    end)
  end
end)
