-- Reads a FIFO whose writers come and go, with one poll for all of them:
--
--   mkfifo fifo
--   lua5.4 hangup.lua fifo [WRITERS]    ends after so many have gone, or with Ctrl-C
--   echo hello > fifo                   in other shells, again and again
--
-- A hangup ends a poll; until_hangup = false keeps this one for the next writer. (To arm it again at each hangup would
-- spin: until somebody writes, the FIFO is still hung up, and a poll is level-triggered when it is armed.)
local pollring = require "pollring"
local scheduler = assert(require("pollring.scheduler").new())

local path, writers = arg[1], tonumber(arg[2] or 0)
if not path then
  io.stderr:write "usage: hangup.lua FIFO [WRITERS]\n"
  os.exit(2)
end

scheduler:on_error(function(_, _, traceback)
  error(traceback, 0)
end)
scheduler:spawn(function()
  local file, gone = assert(io.open(path)), 0 -- Lua can't open it without waiting for the first writer
  local fifo <close> = scheduler:wrap(file)
  for events in scheduler:watch(file, "in", { until_hangup = false }) do
    for line in fifo:lines() do -- until its end, which is when nobody has it open for writing
      print(line)
    end
    if events & pollring.POLLHUP ~= 0 then
      gone = gone + 1
      print "-- the last writer has gone"
    end
    io.stdout:flush()
    if gone == writers then
      return
    end
  end
end)

scheduler:run()
