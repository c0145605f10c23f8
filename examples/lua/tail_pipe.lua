-- Prints what comes down a pipe, as it comes, with the seconds since the start before each line:
--
--   ping -c 5 localhost | lua5.4 tail_pipe.lua
--
-- lines() looks blocking and only waits in its task: others would go on. It ends when the last writer has gone.
local scheduler = assert(require("pollring.scheduler").new())
local gettime = require("socket").gettime

if os.execute "test -t 0" then -- it would stop to block for the shell too
  io.stderr:write "usage: COMMAND | lua5.4 tail_pipe.lua\n"
  os.exit(2)
end

scheduler:on_error(function(_, _, traceback)
  error(traceback, 0)
end)
scheduler:spawn(function()
  local started = gettime()
  for line in scheduler:wrap(io.stdin):lines() do
    print(("%8.3f  %s"):format(gettime() - started, line))
    io.stdout:flush()
  end
end)

scheduler:run()
