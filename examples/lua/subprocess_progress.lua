-- Runs a command and shows its progress in one line, which lives on while the command is silent:
--
--   lua5.4 subprocess_progress.lua "make -j4"
--   lua5.4 subprocess_progress.lua          a command that says how far it is
--
-- Its exit status is the command's. One task reads, another shows the time.
local gettime = require("socket").gettime
local scheduler = assert(require("pollring.scheduler").new())

local command = arg[1] or "for i in 10 30 60 80 100; do echo copied $i%; sleep 0.3; done"
local started, lines, last, status = gettime(), 0, "", 0

local function show()
  local percent = tonumber(last:match "(%d+)%%")
  local bar = percent and ("[%-20s] "):format(("#"):rep(percent // 5)) or ""
  io.stdout:write(("\r\27[K%5.1f s  %s%d lines: %s"):format(gettime() - started, bar, lines, last:sub(1, 50)))
  io.stdout:flush()
end

scheduler:on_error(function(_, _, traceback)
  error(traceback, 0)
end)
scheduler:spawn(function()
  local clock = scheduler:spawn(function()
    while true do
      scheduler:sleep(0.1)
      show()
    end
  end)
  local output = scheduler:wrap(io.popen(command .. " 2>&1"))
  for line in output:lines() do
    lines, last = lines + 1, line
    show()
  end
  clock:cancel()
  local _, how, code = output:close()
  status = how == "signal" and 128 + code or code
end)

scheduler:run()
print()
os.exit(status, true)
