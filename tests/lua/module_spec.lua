-- The module table: constants, names, what the machine allows.
local fixture = require "tests.lua.fixture"
local pollring = require "pollring"

fixture.describe("The module", function()
  it("has the kernel's values as integers", function()
    local values = {
      POLLIN = 0x1, POLLPRI = 0x2, POLLOUT = 0x4, POLLERR = 0x8, POLLHUP = 0x10, POLLNVAL = 0x20, POLLRDNORM = 0x40,
      POLLRDBAND = 0x80, POLLWRNORM = 0x100, POLLWRBAND = 0x200, POLLMSG = 0x400, POLLRDHUP = 0x2000,
      EPOLLEXCLUSIVE = 1 << 28,
    }
    for name, value in pairs(values) do
      assert.equal(value, pollring[name], name)
    end
    for name, value in pairs(pollring) do
      if type(value) == "number" then
        assert.equal("integer", math.type(value), name)
      end
    end
  end)

  it("names the bits of a mask", function()
    assert.equal("POLLIN|POLLHUP", pollring.names(17))
    assert.equal("0", pollring.names(0))
    assert.equal("ECANCELED", pollring.names(-125))
    assert.equal("POLLIN", pollring.names(1.0))
    assert.equal("string", type(pollring.names(math.maxinteger >> 32)))
  end)

  it("tells what this machine allows", function()
    local probe = pollring.probe()
    assert.equal("string", type(probe.kernel))
    assert.equal(0, probe.io_uring)
    assert.is_true(probe.setups.plain)
    assert.equal("integer", math.type(probe.sysctl_disabled))
    assert.equal("", probe.cause)
    assert.equal("", probe.refused_at)
    assert.equal("", probe.message)
    assert.equal("boolean", type(probe.resize))
    for _, sentence in ipairs(probe.lacks) do
      assert.truthy(sentence:find(": ", 1, true))
    end
  end)

  local function refused(how)
    local output = fixture.run([[
      local pollring = require "pollring"
      local probe = pollring.probe()
      local ring, message, errno = pollring.ring { backend = "io_uring" }
      print(probe.backend, probe.cause, probe.refused_at, next(probe.setups))
      print(probe.message)
      print(ring and "open" or message, errno)
    ]], nil, "python3 tests/refuse.py " .. how)
    local what, message, raised = output:match("(.-)\n(.-)\n(.*)")
    return assert(what, output), message, raised
  end

  for _, call in ipairs { "setup", "register", "enter" } do
    for name, errno in pairs { EPERM = 1, ENOSYS = 38, EOPNOTSUPP = 95 } do
      it(("names a filter that answers io_uring_%s with %s"):format(call, name), function()
        local what, message, raised = refused(("--%s %s"):format(call, name))
        assert.equal(("epoll\tseccomp\t%s\tnil"):format(call), what)
        assert.truthy(message:find(("io_uring_%s (%s)"):format(call, name), 1, true))
        assert.truthy(message:find("--security-opt seccomp=", 1, true))
        assert.equal(("pollring.ring: %s\t%d\n"):format(message, errno), raised)
      end)
    end
  end

  it("names the limit of open files", function()
    local output = fixture.run([[
      local uv, pollring = require "luv", require "pollring"
      repeat until not uv.fs_open("/dev/null", "r", 0)
      local ring, message, errno = pollring.ring()
      local probe = pollring.probe()
      print(ring, message:find("ulimit -n", 1, true) ~= nil, errno, probe.cause)
    ]], "ulimit -n 64")
    assert.equal("nil\ttrue\t24\tfd_limit\n", output)
  end)

  it("sets no global, and takes none away", function()
    local output = fixture.run [[
      swig_type = "mine"
      local before = {}
      for name in pairs(_G) do before[name] = true end
      local pollring = require "pollring"
      pollring.ring():close()
      for name in pairs(_G) do assert(before[name], name) end
      print(swig_type, swig_equals)
    ]]
    assert.equal("mine\tnil\n", output)
  end)

  it("may be loaded by two interpreters in one process", function()
    local output = fixture.run [[
      local uv, pollring = require "luv", require "pollring"
      local ring = pollring.ring()
      local thread = uv.new_thread(function()
        local other = require("pollring").ring()
        for poll, events in other:wait(0) do end
        other:close()
      end)
      thread:join()
      ring:poll_add(0)
      print(ring.active)
      os.exit(0) -- luv 1.48 aborts where a thread's object is freed
    ]]
    assert.equal("1\n", output)
  end)
end)
