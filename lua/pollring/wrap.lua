--- Sockets and files as scripts write them: a call looks blocking in a task, and blocks no other.
--
-- What is wrapped keeps its methods and their results. Each is tried first, and only when it says "timeout" does the
-- task wait; so what LuaSocket or stdio holds in a buffer of its own is never waited for. For reading there is one
-- multishot poll for as long as the object is open: its edges are enough, as nobody waits before all was read.
-- @module pollring.wrap
local pollring = require "pollring"

local core = pollring._scheduler
local POLLIN, POLLOUT = pollring.POLLIN, pollring.POLLOUT
local read_now, now, wait = core.read_now, core.now, core.watch.wait
local concat = table.concat

-- ---- waiting ----

-- Methods make no tail call to what is here: an error names the method by its function, which has to be on the stack.

-- When the call that begins now has to end; nil where only each of its waits is limited.
local function deadline_of(self)
  return self.total and self.timeout and now() + self.timeout
end

local function left(self, deadline)
  return deadline and math.max(0, deadline - now()) or self.timeout
end

local function open_watch(self)
  self.watch = select(4, self.scheduler:watch(self.object, POLLIN))
  return self.watch
end

local function wait_readable(self, deadline)
  return wait(self.watch or open_watch(self), left(self, deadline))
end

local function wait_writable(self, deadline)
  return self.scheduler:wait_fd(self.object, POLLOUT, left(self, deadline))
end

-- Calls object:method(...) until it says something other than "timeout".
local function persist(self, wait_until, method, ...)
  local object, deadline = self.object, deadline_of(self)
  local result, err, more = object[method](object, ...)
  while not result and err == "timeout" do
    local events, why = wait_until(self, deadline)
    if not events then
      return nil, why
    end
    result, err, more = object[method](object, ...)
  end
  return result, err, more
end

-- ---- what all sockets share ----

local Socket = {}

--- As LuaSocket's: how long each of its calls may wait, for ever without a number.
-- @tparam[opt] number seconds
-- @tparam[opt="b"] string mode "b": for each wait; "t": for the whole call
function Socket:settimeout(seconds, mode)
  if seconds and seconds < 0 then
    seconds = nil
  end
  self.timeout, self.total = seconds, (mode or "b"):find("t", 1, true) ~= nil
  return 1
end

--- Closes it. Tasks that wait for it get nil, "closed".
function Socket:close()
  local fd = self.object:getfd()
  if fd >= 0 then
    self.scheduler:remove_fd(fd)
  end
  self.watch = nil
  return self.object:close()
end

--- Connects; a name is looked up by LuaSocket, which blocks.
function Socket:connect(...)
  local object, deadline = self.object, deadline_of(self)
  local ok, err = object:connect(...)
  if ok or err ~= "timeout" then
    return ok, err
  end
  local events, why = wait_writable(self, deadline)
  if not events then
    return nil, why
  end
  err = object:getoption "error"
  if err then
    return nil, err
  end
  return 1
end

local wrap

function Socket:accept()
  local client, err = persist(self, wait_readable, "accept")
  return client and wrap(self.scheduler, client), err
end

-- ---- streams: TCP, unix stream sockets ----

-- The rest of a line, of so many bytes, or of everything, behind what has been received of it.
local function receive_rest(self, pattern, partial, deadline)
  local object, wanted, parts, size, data, err = self.object, tonumber(pattern), { partial }, #partial, nil, nil
  repeat
    local events, why = wait_readable(self, deadline)
    if not events then
      return nil, why, concat(parts)
    end
    data, err, partial = object:receive(wanted and wanted - size or pattern)
    partial = data or partial
    parts[#parts + 1] = partial
    size = size + #partial
  until err ~= "timeout"
  if data then
    return concat(parts)
  end
  return nil, err, concat(parts)
end

-- Its methods are found in the object's once, not for each message.
local function new_stream(original)
  local Stream, receive, send = {}, original.receive, original.send

  --- As LuaSocket's, with all its patterns.
  function Stream:receive(pattern, prefix)
    local object, deadline = self.object, self.total and deadline_of(self)
    local data, err, partial = receive(object, pattern, prefix)
    while err == "timeout" do
      if partial ~= "" then
        data, err, partial = receive_rest(self, pattern, partial, deadline)
        break
      end
      local events, why = wait(self.watch or open_watch(self), deadline and left(self, deadline) or self.timeout)
      if not events then
        return nil, why, partial
      end
      data, err, partial = receive(object, pattern)
    end
    return data, err, partial
  end

  --- As LuaSocket's: sends all of data, from i to j.
  function Stream:send(data, i, j)
    local object, deadline = self.object, self.total and deadline_of(self)
    local last, err, sent = send(object, data, i, j)
    while err == "timeout" do
      local events, why = wait_writable(self, deadline)
      if not events then
        return nil, why, sent
      end
      last, err, sent = send(object, data, sent + 1, j)
    end
    return last, err, sent
  end

  return Stream
end

-- ---- datagrams: UDP, unix datagram sockets ----

local Datagram = {}

for name, wait_until in pairs {
  receive = wait_readable, receivefrom = wait_readable, send = wait_writable, sendto = wait_writable,
} do
  Datagram[name] = function(self, ...)
    local result, err, more = persist(self, wait_until, name, ...)
    return result, err, more
  end
end

-- ---- Lua's files ----

local File = {}

local formats = { l = true, L = true, a = true }

-- What one format gives.
local function read_one(self, format)
  local wanted = math.tointeger(format)
  format = wanted or tostring(format):gsub("^%*", ""):sub(1, 1)
  if not wanted and not formats[format] then
    error(("file:read: format '%s': 'l', 'L', 'a' or a number of bytes expected"):format(format), 3)
  end
  local parts, size, to_newline = {}, 0, format == "l" or format == "L"
  repeat
    local text, err = read_now(self.object, wanted and wanted - size or math.maxinteger, to_newline)
    parts[#parts + 1] = text
    size = size + #text
    if err == "timeout" then
      if not wait_readable(self) then -- it has ended by hangup; a FIFO may have another writer by now
        self.watch = nil
      end
    elseif err and err ~= "closed" then
      return nil, err
    end
  until err ~= "timeout"
  local text = concat(parts)
  if text == "" and format ~= "a" and wanted ~= 0 then
    return nil -- the end
  end
  return format == "l" and text:gsub("\n$", "") or text
end

--- As Lua's, without the format "n".
function File:read(...)
  if select("#", ...) <= 1 then
    return (read_one(self, ... or "l"))
  end
  local results, count = {}, 0
  for _, format in ipairs { ... } do
    count = count + 1
    results[count] = read_one(self, format)
    if results[count] == nil then
      break
    end
  end
  return table.unpack(results, 1, count)
end

--- As Lua's: for line in file:lines() do
function File:lines(...)
  local format = ... or "l"
  return function()
    return (read_one(self, format))
  end
end

--- As Lua's, which waits for the end of a child of io.popen, and blocks.
function File:close()
  if io.type(self.object) == "file" then
    self.scheduler:remove_fd(self.object)
  end
  self.watch = nil
  return self.object:close()
end

-- ---- wrapping ----

local function to_string(self)
  return "wrapped " .. tostring(self.object)
end

-- From the metatable of what is wrapped to that of its wrapper; and the latter.
local classes, wrappers = setmetatable({}, { __mode = "k" }), setmetatable({}, { __mode = "k" })

-- The object's own methods, called on that; instead of them those of the bases.
local function new_class(original, ...)
  local methods = {}
  for name, method in pairs(original) do
    if type(method) == "function" then
      methods[name] = function(self, ...)
        return method(self.object, ...)
      end
    end
  end
  for _, base in ipairs { ... } do
    for name, method in pairs(base) do
      methods[name] = methods[name] and method
    end
  end
  return { __index = methods, __close = methods.close, __tostring = to_string }
end

local function class_of(object)
  local metatable = getmetatable(object)
  local class = classes[metatable]
  if not class then
    local original = metatable.__index
    if io.type(object) then
      class = new_class(original, File)
    elseif original.receivefrom then
      class = new_class(original, Socket, Datagram)
    else
      class = new_class(original, Socket, new_stream(original))
    end
    classes[metatable], wrappers[class] = class, true
  end
  return class
end

local function is_socket(object)
  local metatable = type(object) == "userdata" and getmetatable(object)
  local methods = type(metatable) == "table" and metatable.__index
  return type(methods) == "table" and methods.getfd and methods.receive and methods.settimeout
end

--- Wraps an object of LuaSocket, or a file of Lua, for tasks of a scheduler. It doesn't block from then on.
function wrap(scheduler, object, message)
  if object == nil and message then
    error("scheduler:wrap: " .. tostring(message), 2)
  elseif wrappers[getmetatable(object)] then
    return object
  elseif io.type(object) == "file" then
    core.set_nonblocking(object)
  elseif is_socket(object) then
    object:settimeout(0)
  else
    local got = io.type(object) or type(object)
    error(("scheduler:wrap: an open socket of LuaSocket or a file expected, got %s"):format(got), 2)
  end
  return setmetatable({ scheduler = scheduler, object = object }, class_of(object))
end

return wrap
