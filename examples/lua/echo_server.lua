-- Sends every client back what it sends, line by line, a task for each:
--
--   lua5.4 echo_server.lua [PORT]       without one the kernel chooses; Ctrl-C ends it
--   nc localhost PORT
--
-- Each call of a wrapped socket looks blocking, and blocks only its task.
local socket = require "socket"
local scheduler = assert(require("pollring.scheduler").new())

local function echo(socket_of_client)
  local client <close> = socket_of_client -- closed however the task ends
  local line, why, rest = client:receive()
  while line and client:send(line .. "\n") do
    line, why, rest = client:receive()
  end
  if why == "closed" and rest then
    client:send(rest) -- the last line had no end
  end
end

local server = scheduler:wrap(socket.bind("127.0.0.1", tonumber(arg[1] or 0)))
print("listening on port " .. select(2, server:getsockname()))
io.stdout:flush()
scheduler:spawn(function()
  while true do
    local client, message = server:accept()
    if client then
      scheduler:spawn(echo, client)
    else -- no file descriptor is left, and clients wait: looks again soon
      io.stderr:write("accept: ", message, "\n")
      scheduler:sleep(0.1)
    end
  end
end)

scheduler:run()
