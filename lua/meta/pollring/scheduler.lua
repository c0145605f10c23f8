---@meta pollring.scheduler
-- Annotations (LuaCATS), as in ../pollring.lua.

---@class pollring.scheduler
local scheduler = {}

--- A scheduler on a ring that it shares with others, or on one of its own. nil, message, errno where none can be opened.
---@param ring? pollring.Ring
---@return pollring.Scheduler? scheduler
---@return string? message
---@return integer? errno
function scheduler.new(ring) end

--- Tasks on one ring.
---@class pollring.Scheduler
local Scheduler = {}

--- A task that begins with the next turn.
---@param body fun(...)
---@param ... any its arguments
---@return pollring.Task
function Scheduler:spawn(body, ...) end

--- Runs until no task is left. Raises an error that names the tasks that can never wake.
function Scheduler:run() end

--- One turn, which sleeps up to timeout seconds where there is nothing to do. True while there are tasks.
---@param timeout? number
---@return boolean
function Scheduler:step(timeout) end

--- Waits; 0 lets the others have their turn.
---@param seconds number
function Scheduler:sleep(seconds) end

--- Waits until the file is ready: level-triggered, once. The bits; or nil and "timeout", or "closed" after remove_fd.
---@param file pollring.File
---@param mask? pollring.Mask
---@param timeout? number
---@return integer? events
---@return string? why
function Scheduler:wait_fd(file, mask, timeout) end

--- for events, more in s:watch(fd): one multishot poll; what comes while the body waits elsewhere is OR-ed into one.
---@param file pollring.File
---@param mask? pollring.Mask
---@param options? pollring.PollOptions
---@return fun(): integer?, boolean?
---@return nil
---@return nil
---@return pollring.Watch
function Scheduler:watch(file, mask, options) end

--- What the function returns; nil, "timeout" where that takes longer than so many seconds.
---@param seconds number
---@param body fun(...): ...
---@param ... any its arguments
---@return any ...
function Scheduler:deadline(seconds, body, ...) end

--- Calls handler(task, error, traceback) for each task that fails while nobody joins it; without, stderr is told.
---@param handler fun(task: pollring.Task, error: any, traceback: string?)
function Scheduler:on_error(handler) end

--- Wraps an object of LuaSocket or a file of Lua, so that its calls look blocking in a task.
---@generic T
---@param object T?
---@param message? any why there is no object, as socket.bind() gives it behind nil; raised then
---@return T
function Scheduler:wrap(object, message) end

--- Before close(fd): ends every wait of this scheduler for the file. How many.
---@param file pollring.File
---@return integer
function Scheduler:remove_fd(file) end

--- For a host's loop: an fd that is readable when step(0) would do something, but for timers and ready tasks.
---@return integer
function Scheduler:fileno() end

--- As fileno, for cqueues.
---@return integer
function Scheduler:pollfd() end

--- For cqueues: "r".
---@return string
function Scheduler:events() end

--- Seconds until step(0) is due, whatever fileno shows; nil: fileno will show it.
---@return number?
function Scheduler:timeout() end

--- Ends each task, which closes its <close> variables, and what it waits for.
function Scheduler:close() end

--- What spawn returns.
---@class pollring.Task
local Task = {}

--- Waits for its end: true and what it returned; false, the error and its traceback; false, "cancelled"; nil, "timeout".
---@param timeout? number
---@return boolean? ok
---@return any ...
function Task:join(timeout) end

--- Ends it; its <close> variables are closed on return. False where it had ended.
---@return boolean
function Task:cancel() end

---@return "ready"|"running"|"waiting"|"returned"|"failed"|"cancelled"
function Task:status() end

--- The fourth value of watch.
---@class pollring.Watch
local Watch = {}

--- Its next event; or nil and "timeout", or "closed" once it has ended.
---@param timeout? number
---@return integer? events
---@return boolean|string? more
function Watch:wait(timeout) end

return scheduler
