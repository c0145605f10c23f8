--- Coroutines on one ring: tasks that wait for files, for time and for each other, and block nobody.
--
-- What is hot is C (bindings/lua/scheduler*.c): the loop, the waits, the tasks. Here is what is nicer in Lua.
-- @module pollring.scheduler
local pollring = require "pollring"

local core = pollring._scheduler
local scheduler = {}

--- A scheduler.
-- @param[opt] ring the ring that it shares with others, a lent one too; without, it opens one, and closes it at its end
-- @return the scheduler; nil, message, errno where no ring can be opened
function scheduler.new(ring)
  if ring == scheduler then
    error("scheduler.new: called with : instead of .", 2)
  elseif ring then
    return core.new(ring, false)
  end
  local own, message, errno = pollring.ring { pinned = true }
  if not own then
    return nil, message, errno
  end
  return core.new(own, true)
end

--- Wraps an object of LuaSocket (TCP, UDP), or a file of Lua (io.popen), so that its calls look blocking in a task.
-- @param object the socket or the file, which doesn't block from then on
-- @param[opt] message why there is no object: what socket.bind() and others give behind nil, and what is raised then
-- @return an object with the same methods; its close() ends what waits for it
function core.scheduler:wrap(object, message)
  return require "pollring.wrap"(self, object, message)
end

return scheduler
