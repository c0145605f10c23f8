-- What may be polled: everything that has a file descriptor, as number or as object.
local fixture = require "tests.lua.fixture"
local pollring = require "pollring"
local uv = require "luv"

local POLLIN = pollring.POLLIN

local function fails(file)
  local ring, bystander = fixture.ring(), fixture.pipe()
  local poll = ring:poll_add(bystander.reader)
  local ok, err = pcall(ring.poll_add, ring, file)
  assert.is_false(ok)
  assert.matches("^ring:poll_add: ", err)
  assert.is_false((pcall(ring.watch, ring, file)))
  assert.is_false((pcall(ring.remove_fd, ring, file)))
  bystander:write()
  assert.same({ { poll = poll, result = POLLIN, more = true } }, fixture.batch(ring))
  assert.equal(1, ring.active)
  return err
end

fixture.describe("A file", function()
  local function is_polled(file, fd)
    local ring = fixture.ring()
    local poll = ring:poll_add(file)
    assert.equal(fd, poll.fd)
    assert.equal(poll, fixture.batch(ring, fixture.GUARD)[1].poll)
    ring:close()
  end

  it("may be a number", function()
    local pipe = fixture.pipe()
    pipe:write()
    is_polled(pipe.reader, pipe.reader)
    is_polled(pipe.reader + 0.0, pipe.reader)
  end)

  it("may be what io.popen opened", function()
    local file, ring = fixture.popen "echo text", fixture.ring()
    local poll = ring:poll_add(file)
    assert.is_true(poll.fd > 2)
    assert.equal(poll, fixture.batch(ring, fixture.GUARD)[1].poll)
    assert.equal("text", file:read())
  end)

  it("may be what io.open opened", function()
    local pipe = fixture.pipe()
    pipe:write "text\n"
    local file <close> = assert(io.open("/proc/self/fd/" .. pipe.reader))
    local ring <close> = fixture.ring()
    local poll = ring:poll_add(file)
    assert.equal(poll, fixture.batch(ring)[1].poll)
    assert.equal("text", file:read())
  end)

  it("may be an object of LuaSocket", function()
    local near, far = fixture.connection()
    far:send "x"
    is_polled(near, near:getfd())
  end)

  it("may be an object of luv", function()
    local pipe = fixture.pipe()
    local handle = uv.new_pipe(false)
    handle:open(pipe.reader)
    pipe:write()
    is_polled(handle, pipe.reader)
    pipe.reader = nil -- the handle's, which closes it
    handle:close()
    uv.run "nowait"
  end)

  for _, method in ipairs { "fileno", "getfd", "pollfd" } do
    it("may be a table with the method " .. method, function()
      local pipe = fixture.pipe()
      pipe:write()
      is_polled({
        [method] = function(self)
          assert.equal("table", type(self))
          return pipe.reader
        end,
      }, pipe.reader)
      is_polled(
        setmetatable({}, {
          __index = function(_, name)
            return name == method and function()
              return pipe.reader
            end or nil
          end,
        }),
        pipe.reader
      )
    end)
  end

  it("may be another ring", function()
    local ring = fixture.ring()
    assert.equal(ring:fileno(), fixture.ring():poll_add(ring).fd)
  end)

  it("is kept from the collector while its poll lives", function()
    local near, far = fixture.connection()
    local ring, weak = fixture.ring(), setmetatable({}, { __mode = "k" })
    do
      local object = setmetatable({}, {
        __index = {
          getfd = function()
            return near:getfd()
          end,
        },
      })
      weak[object] = true
      ring:poll_add(object)
    end
    collectgarbage()
    assert.is_not_nil(next(weak))
    far:send "x"
    assert.equal(1, #fixture.batch(ring))
  end)
end)

fixture.describe("What is no file is refused, and nothing of others is lost:", function()
  local function method(value)
    return {
      fileno = function()
        return value
      end,
    }
  end

  for name, case in pairs {
    ["a negative number"] = { -1, "fd %-1 is out of range %(EBADF%)" },
    ["the least integer"] = { math.mininteger, "out of range %(EBADF%)" },
    ["a huge number"] = { 1 << 31, "fd 2147483648 is out of range %(EBADF%)" },
    ["the largest integer"] = { math.maxinteger, "out of range %(EBADF%)" },
    ["a fraction"] = { 1.5, "fd 1.5 is not an integer" },
    ["NaN"] = { 0 / 0, "not an integer" },
    ["infinity"] = { math.huge, "not an integer" },
    ["nothing"] = { nil, "expected, got nil" },
    ["a boolean"] = { true, "expected, got boolean" },
    ["a string"] = { "3", "got string" },
    ["a function"] = { print, "expected, got function" },
    ["a coroutine"] = { coroutine.create(print), "expected, got thread" },
    ["a table without a method"] = { {}, "the table has no method fileno, getfd or pollfd" },
    ["a method that is none"] = { { fileno = 3 }, "has no method" },
    ["a method that gives nothing"] = { method(nil), "fileno%(%) of the table gave nil" },
    ["a method that gives a string"] = { method "3", "fileno%(%) of the table gave string" },
    ["a method that gives a negative number"] = { method(-1), "fd %-1 is out of range" },
    ["a method that gives a fraction"] = { method(0.5), "fd 0.5 is not an integer" },
  } do
    it(name, function()
      assert.matches(case[2], fails(case[1]))
    end)
  end

  it("a closed file", function()
    local file = assert(io.open "/dev/null")
    file:close()
    assert.matches("the file is closed %(EBADF%)", fails(file))
  end)

  it("a closed socket", function()
    local near = fixture.connection()
    near:close()
    assert.matches("fd %-1 is out of range %(EBADF%)", fails(near))
  end)

  it("a method that raises", function()
    local ring = fixture.ring()
    local ok, err = pcall(ring.poll_add, ring, {
      fileno = function()
        error "mine"
      end,
    })
    assert.is_false(ok)
    assert.matches("mine", err)
    assert.equal(0, ring.active)
  end)

  for _, name in ipairs { "poll_add", "watch", "remove_fd" } do
    it("a method that closes the ring under " .. name, function()
      local ring = fixture.ring()
      local ok, err = pcall(ring[name], ring, {
        fileno = function()
          ring:close()
          collectgarbage()
          return 0
        end,
      })
      assert.is_false(ok)
      assert.matches("^ring:" .. name .. ": .*the ring is closed %(ESHUTDOWN%)", err)
    end)

    it("a method that yields under " .. name, function()
      local ring = fixture.ring()
      local ok, err = coroutine.resume(coroutine.create(ring[name]), ring, { fileno = coroutine.yield })
      assert.is_false(ok)
      assert.matches("yield", err)
      assert.equal(0, ring.active)
    end)
  end
end)
