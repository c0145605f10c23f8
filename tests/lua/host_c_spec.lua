-- The examples of hosts in C: each runs to its end, as it is and under AddressSanitizer.
local fixture = require "tests.lua.fixture"

local function sorted(text)
  local lines = {}
  for line in text:gmatch "[^\n]+" do
    table.insert(lines, line)
  end
  table.sort(lines)
  return lines
end

local expected = {
  host_ring = [[
host: 1 poll is active
host: event
script: event from the host
script: the end
script: tick 1
script: tick 2
script: tick 3]],
  host_epoll = [[
host: timer 1
host: timer 2
host: timer 3
script: line 1
script: line 2
script: line 3
script: line 4
script: tick 1
script: tick 2
script: tick 3]],
  host_scheduler = [[
client: pong
client: pong
client: pong
host: all tasks have ended
server: ping
server: ping
server: ping]],
  host_threads = [[
thread 1: 2000 messages
thread 2: 2000 messages
thread 3: 2000 messages
thread 4: 2000 messages]],
}

for _, build in ipairs { "build", "build/asan" } do
  fixture.describe("A host in C, " .. build, function()
    for name, lines in pairs(expected) do
      local program = ("%s/examples/%s"):format(build, name)
      local file = io.open(program)
      if file then
        file:close()
        it(name, function()
          local output = assert(io.popen(("timeout %g %s 2>&1"):format(2 * fixture.GUARD, program)))
          local text = output:read "a"
          assert.same({ true, "exit", 0 }, { output:close() })
          local got = sorted(text)
          if name == "host_epoll" then -- its timer may tick more than three times on a busy machine
            while got[4] and got[4]:match "host: timer" do
              table.remove(got, 4)
            end
          end
          assert.same(sorted(lines), got)
        end)
      else
        pending(("%s skipped: not in %s (make test-programs)"):format(name, build))
      end
    end
  end)
end
