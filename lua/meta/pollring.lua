---@meta pollring
-- Annotations (LuaCATS) for editors and lua-language-server: put this folder into workspace.library. Nothing loads it;
-- tests/api holds it against the module.

--- What counts as a file: an fd, a file of Lua's io library, or an object that tells its fd.
---@alias pollring.File integer|file*|{fileno: fun(self): integer}|{getfd: fun(self): integer}|{pollfd: fun(self): integer}

--- Bits, or their names with bars between them: "in|rdhup".
---@alias pollring.Mask integer|string

---@alias pollring.EndReason "removed"|"hangup"|"error"|"oneshot"|"unpollable"|"overflow"|"closed"

---@class pollring.RingOptions
---@field entries? integer submission queue, 1 to 32768; 256
---@field cq_entries? integer completion queue, up to 65536; 4096
---@field backend? "auto"|"io_uring"|"epoll"
---@field setup? "defer_taskrun"|"coop_taskrun"|"plain" this set-up or an error
---@field sealed? boolean the kernel refuses all but pollring's own operations through the ring's fd
---@field pinned? boolean the ring never changes its thread, which makes each system call cheaper
---@field busy_poll? integer microseconds to spin on completions before sleeping, up to 1,000,000

---@class pollring.PollOptions
---@field multishot? boolean false: one event, then it has ended
---@field exclusive? boolean EPOLLEXCLUSIVE: of several rings on one file not all are woken
---@field rearm? boolean false: a poll that the kernel ended because the completion queue was full stays ended
---@field until_hangup? boolean false: hangup does not end it, for a FIFO or a pty master
---@field data? any poll.data

---@class pollring.Probe
---@field kernel string
---@field backend string the one that "auto" takes
---@field io_uring integer 0, or the negative errno of the first refusal
---@field setups table<string, boolean> those that work
---@field sysctl_disabled integer /proc/sys/kernel/io_uring_disabled; -1: this kernel has no such file
---@field cause string what refuses; "" for nothing
---@field refused_at string the system call
---@field resize boolean whether a ring's queue can be resized
---@field message string what refused and what to do; "" for nothing
---@field lacks string[] what newer kernels have, and what pollring does here instead

---@class pollring
---@field VERSION string
---@field POLLIN integer
---@field POLLPRI integer
---@field POLLOUT integer
---@field POLLERR integer
---@field POLLHUP integer
---@field POLLNVAL integer
---@field POLLRDNORM integer
---@field POLLRDBAND integer
---@field POLLWRNORM integer
---@field POLLWRBAND integer
---@field POLLMSG integer
---@field POLLRDHUP integer
---@field EPOLLEXCLUSIVE integer
---@field AUTO integer as in pollring.h
---@field IO_URING integer
---@field EPOLL integer
---@field SEALED integer
---@field PINNED integer
---@field SETUP_DEFER_TASKRUN integer
---@field SETUP_COOP_TASKRUN integer
---@field SETUP_PLAIN integer
---@field ONESHOT integer
---@field NO_REARM integer
---@field KEEP_HANGUP integer
---@field CAUSE_NONE integer
---@field CAUSE_SYSCTL integer
---@field CAUSE_SECCOMP integer
---@field CAUSE_KERNEL integer
---@field CAUSE_MEMLOCK integer
---@field CAUSE_FD_LIMIT integer
---@field CAUSE_MEMORY integer
---@field CAUSE_UNKNOWN integer
---@field END_NONE integer
---@field END_REMOVED integer
---@field END_HANGUP integer
---@field END_ERROR integer
---@field END_ONESHOT integer
---@field END_UNPOLLABLE integer
---@field END_OVERFLOW integer
---@field END_CLOSED integer
local pollring = {}

--- Opens a ring. nil, message, errno where that fails.
---@param options? pollring.RingOptions
---@return pollring.Ring? ring
---@return string? message
---@return integer? errno
function pollring.ring(options) end

--- The names of a result's bits: "POLLIN|POLLHUP"; "ECANCELED" for a negative one.
---@param result integer
---@return string
function pollring.names(result) end

--- What this machine allows, and why not.
---@return pollring.Probe
function pollring.probe() end

-- The methods and fields of rings and polls that are the core's, as functions.

---@param ring pollring.Ring
function pollring.submit(ring) end
---@param ring pollring.Ring
function pollring.wake(ring) end
---@param ring pollring.Ring
---@return integer
function pollring.fileno(ring) end
---@param ring pollring.Ring
---@return boolean
function pollring.pending(ring) end
---@param ring pollring.Ring
---@return string
function pollring.backend(ring) end
---@param ring pollring.Ring
---@return integer
function pollring.active(ring) end
---@param ring pollring.Ring
---@return table
function pollring.stats(ring) end
---@param poll pollring.Poll
function pollring.poll_arm(poll) end
---@param poll pollring.Poll
---@param mask pollring.Mask
function pollring.poll_update(poll, mask) end
---@param poll pollring.Poll
function pollring.poll_recheck(poll) end
---@param poll pollring.Poll
function pollring.poll_remove(poll) end
---@param poll pollring.Poll
---@return integer
function pollring.poll_fd(poll) end
---@param poll pollring.Poll
---@return integer
function pollring.poll_events(poll) end
---@param poll pollring.Poll
---@return boolean
function pollring.poll_active(poll) end
---@param poll pollring.Poll
---@return pollring.EndReason?
function pollring.poll_end_reason(poll) end

--- One io_uring instance, owned by the thread that first waits with it.
---@class pollring.Ring
---@field active integer armed polls
---@field backend string "io_uring" or "epoll"
---@field closed boolean
local Ring = {}

--- Adds a poll; without a mask "in". The ring keeps it while it is armed.
---@param file pollring.File
---@param mask? pollring.Mask
---@param options? pollring.PollOptions
---@return pollring.Poll
function Ring:poll_add(file, mask, options) end

--- for events, more in ring:watch(fd): break, error and goto out of it remove the poll.
---@param file pollring.File
---@param mask? pollring.Mask
---@param options? pollring.PollOptions
---@return fun(): integer?, boolean?
function Ring:watch(file, mask, options) end

--- for poll, events, more in ring:wait(timeout): one batch, after sleeping up to timeout seconds.
---@param timeout? number
---@return fun(): pollring.Poll?, integer?, boolean?
function Ring:wait(timeout) end

--- Sends queued requests to the kernel, and collects nothing.
function Ring:submit() end

--- Ends the wait that goes on, or the next. From any thread.
function Ring:wake() end

--- Makes the calling thread the owner.
function Ring:adopt() end

--- An fd that is readable when wait(0) would do something.
---@return integer
function Ring:fileno() end

--- As fileno, for cqueues.
---@return integer
function Ring:pollfd() end

--- For cqueues: "r".
---@return string
function Ring:events() end

--- For cqueues: 0 when there is something to do, else nil.
---@return number?
function Ring:timeout() end

--- Whether wait(0) would do something, told from memory.
---@return boolean
function Ring:pending() end

---@return table<string, integer|string>
function Ring:stats() end

--- Removes every poll of a file, before that is closed; of a lent ring only the script's. How many.
---@param file pollring.File
---@return integer
function Ring:remove_fd(file) end

--- Ends every poll.
function Ring:close() end

--- One request.
---@class pollring.Poll
---@field fd integer
---@field events integer the mask that was asked for
---@field active boolean
---@field end_reason pollring.EndReason?
---@field multishot boolean
---@field data any
local Poll = {}

--- Its next event; 0 at the timeout; nil once it has ended.
---@param timeout? number
---@return integer? events
---@return boolean? more
function Poll:wait(timeout) end

--- Asks for other bits.
---@param mask pollring.Mask
function Poll:update(mask) end

--- An event comes if the file is ready now.
function Poll:recheck() end

--- Arms it again after its end.
function Poll:arm() end

--- Its file has been let go on return.
function Poll:remove() end

return pollring
