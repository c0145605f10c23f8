-- Sockets of LuaSocket and files of Lua that look blocking in a task, and block no other.
local fixture = require "tests.lua.fixture"
local socket = require "socket"
local http = require "socket.http"
local ltn12 = require "ltn12"

fixture.on_each_set_up("A wrapped", function(open)
  local s, turns
  before_each(function()
    s, turns = fixture.scheduler(open()), 0
    s:on_error(function(_, _, traceback)
      error(traceback, 0)
    end)
  end)

  -- Runs the tasks to the end; while the first runs another takes its turns, so that turns tells that none is blocked.
  local function run(...)
    local bodies = { ... }
    s:spawn(function()
      local busy <close> = s:spawn(function()
        while true do
          turns = turns + 1
          s:sleep(0)
        end
      end)
      local tasks = {}
      for i, body in ipairs(bodies) do
        tasks[i] = s:spawn(body)
      end
      for _, task in ipairs(tasks) do
        task:join()
      end
    end)
    s:run()
  end

  local function listen()
    local server = s:wrap(assert(socket.bind("127.0.0.1", 0)))
    local host, port = server:getsockname()
    return server, host, port
  end

  local function pair()
    local near, far = fixture.connection()
    return s:wrap(near), s:wrap(far)
  end

  it("server accepts clients that connect, and each of them waits for itself", function()
    local server, host, port = listen()
    local got = {}
    local function client(i)
      local c = s:wrap(socket.tcp())
      assert.equal(1, c:connect(host, port))
      for j = 1, 3 do
        local message = ("message %d of %d"):format(j, i)
        assert.equal(#message + 1, c:send(message .. "\n"))
        assert.equal(message .. "!", c:receive())
        s:sleep(0)
      end
      c:close()
      got[i] = true
    end
    run(function()
      for _ = 1, 10 do
        local c = assert(server:accept())
        s:spawn(function()
          local line = c:receive()
          while line do
            c:send(line .. "!\n")
            line = c:receive()
          end
          c:close()
        end)
      end
      server:close()
    end, function()
      for i = 1, 10 do
        s:spawn(client, i)
      end
    end)
    assert.equal(10, #got)
  end)

  it("server accepts in several tasks", function()
    local server, host, port = listen()
    local accepted, clients = {}, {}
    local function accept(i)
      local c = assert(server:accept())
      accepted[i] = true
      c:close()
    end
    run(function() accept(1) end, function() accept(2) end, function() accept(3) end, function()
      s:sleep(0.002)
      for i = 1, 3 do
        clients[i] = s:wrap(socket.tcp())
        assert(clients[i]:connect(host, port))
      end
    end)
    assert.equal(3, #accepted)
    for i = 1, 3 do
      clients[i]:close()
    end
    server:close()
  end)

  it("client is told that nobody listens", function()
    local server, host, port = listen()
    server:close()
    run(function()
      local c = s:wrap(socket.tcp())
      assert.same({ nil, "connection refused" }, { c:connect(host, port) })
      c:close()
    end)
  end)

  local text = "first line\r\nsecond line\n" .. ("x"):rep(100) .. "the rest\nwithout an end"
  for how, size in pairs { ["at once"] = #text, ["in pieces"] = 3, ["byte by byte"] = 1 } do
    it("stream receives by all patterns what comes " .. how, function()
      local near, far = pair()
      run(function()
        assert.equal("first line", near:receive())
        assert.equal("> second line", near:receive("*l", "> "))
        assert.equal(("x"):rep(100), near:receive(100))
        assert.equal("<the", near:receive(4, "<"))
        assert.equal("", near:receive(0))
        assert.equal(" rest\nwithout an end", near:receive "*a")
        assert.same({ nil, "closed", "" }, { near:receive() })
      end, function()
        for i = 1, #text, size do
          far:send(text, i, math.min(i + size - 1, #text))
          s:sleep(0)
        end
        far:close()
      end)
    end)
  end

  it("stream gives what it has of a line when its peer closes", function()
    local near, far = pair()
    run(function()
      assert.same({ nil, "closed", "half" }, { near:receive() })
    end, function()
      far:send "ha"
      s:sleep(0.001)
      far:send "lf"
      far:close()
    end)
  end)

  it("stream does not forget what LuaSocket has in its buffer", function()
    local near, far = pair()
    far:send "one\ntwo\nthree\n"
    run(function()
      assert.equal("one", near:receive())
      assert.equal("two", near:receive())
      assert.is_true(near:dirty())
      assert.equal("three", near:receive())
    end)
  end)

  it("stream sends more than fits, while its peer reads slowly", function()
    local near, far = pair()
    local data = ("0123456789abcdef"):rep(1 << 18) -- 4 MiB
    run(function()
      assert.equal(#data, near:send(data))
      assert.equal(16, near:send(data, 1, 16))
      near:close()
    end, function()
      s:sleep(0.01)
      assert.equal(data, far:receive(#data))
      assert.equal(data:sub(1, 16), far:receive "*a")
    end)
    assert.is_true(turns > 3)
  end)

  it("stream gives up after its timeout, and has lost nothing", function()
    local near, far = pair()
    run(function()
      near:settimeout(0.002)
      far:send "half a li"
      assert.same({ nil, "timeout", "half a li" }, { near:receive() })
      near:settimeout(0)
      assert.same({ nil, "timeout", "" }, { near:receive() })
      near:settimeout(-1)
      far:send "ne\n"
      assert.equal("ne", near:receive())
      local data = ("x"):rep(1 << 24)
      near:settimeout(0.002)
      local last, err, sent = near:send(data)
      assert.same({ nil, "timeout" }, { last, err })
      assert.is_true(sent > 0 and sent < #data)
    end)
  end)

  it("stream has a timeout for the whole call, too", function()
    local near, far = pair()
    run(function()
      near:settimeout(0.05, "t")
      local _, err, partial = near:receive(1000)
      assert.equal("timeout", err)
      assert.is_true(#partial > 0 and #partial < 300)
    end, function()
      for _ = 1, 300 do
        far:send "x"
        s:sleep(0.001)
      end
    end)
  end)

  it("stream that is closed wakes who waits for it, and its peer sees the end", function()
    local near, far = pair()
    local outcome
    run(function()
      outcome = { near:receive() }
    end, function()
      s:sleep(0.001)
      near:close()
      assert.same({ nil, "closed", "" }, { far:receive() })
    end)
    assert.same({ nil, "closed", "" }, outcome)
    assert.same({ nil, "closed", "" }, { near:receive() })
    assert.equal(1, near:close())
  end)

  it("stream whose task was cancelled can be read by another", function()
    local near, far = pair()
    run(function()
      local task = s:spawn(near.receive, near)
      s:sleep(0.001)
      task:cancel()
      far:send "line\n"
      assert.equal("line", near:receive())
    end)
  end)

  it("stream obeys a deadline", function()
    local near = pair()
    run(function()
      assert.same({ nil, "timeout" }, { s:deadline(0.002, near.receive, near) })
    end)
  end)

  it("stream is read and written by two tasks", function()
    local near, far = pair()
    local data, echoed = ("x"):rep(1 << 20), nil
    run(function()
      near:send(data)
      near:shutdown "send"
    end, function()
      echoed = near:receive "*a"
    end, function()
      while true do
        local chunk, err, partial = far:receive(8192)
        far:send(chunk or partial)
        if err then
          break
        end
      end
      far:close()
    end)
    assert.equal(data, echoed)
  end)

  it("datagram socket receives and sends", function()
    local one, other = s:wrap(assert(socket.udp())), s:wrap(assert(socket.udp()))
    assert(one:setsockname("127.0.0.1", 0))
    assert(other:setsockname("127.0.0.1", 0))
    local host, port = one:getsockname()
    run(function()
      local data, from, from_port = one:receivefrom()
      assert.equal("question", data)
      assert.equal(8, #data)
      s:sleep(0.001)
      assert.equal(6, one:sendto("answer", from, from_port))
      one:settimeout(0.001)
      assert.same({ nil, "timeout" }, { one:receivefrom() })
    end, function()
      assert.equal(1, other:setpeername(host, port))
      assert.equal(8, other:send "question")
      assert.equal("answer", other:receive())
    end)
    one:close()
    other:close()
  end)

  it("socket serves LuaSocket's own HTTP client", function()
    local server, host, port = listen()
    local body = {}
    run(function()
      local c = server:accept()
      repeat
        local line = c:receive()
      until line == ""
      c:send "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
      s:sleep(0.002)
      c:send "hello"
      c:close()
      server:close()
    end, function()
      local _, code = http.request {
        url = ("http://%s:%d/"):format(host, port),
        sink = ltn12.sink.table(body),
        create = function()
          return s:wrap(socket.tcp())
        end,
      }
      assert.equal(200, code)
    end)
    assert.equal("hello", table.concat(body))
  end)

  it("file of io.popen is read by lines, as they come", function()
    local file = s:wrap(fixture.popen "for i in 1 2 3; do printf 'li'; sleep 0.01; echo ne $i; done; printf 'no end'")
    local lines = {}
    run(function()
      for line in file:lines() do
        table.insert(lines, line)
      end
      assert.is_nil(file:read())
      assert.equal("", file:read "a")
      assert.is_true(file:close())
    end)
    assert.same({ "line 1", "line 2", "line 3", "no end" }, lines)
    assert.is_true(turns > 5)
  end)

  it("file gives what stdio has read ahead, and each format", function()
    local plain = fixture.popen "echo one; echo two; echo three; echo four; sleep 0.005; printf 56789"
    assert.equal("one", plain:read()) -- the rest is in its buffer
    local file = s:wrap(plain)
    run(function()
      assert.equal("two", file:read "*l")
      assert.same({ "three\n", "fo" }, { file:read("L", 2) })
      assert.equal("", file:read(0))
      assert.equal("ur\n567", file:read(6))
      assert.equal("89", file:read "a")
      assert.same({ nil, n = 1 }, table.pack(file:read(1)))
      assert.error_matches(function()
        file:read "n"
      end, "format 'n'")
      file:close()
      assert.has_error(function()
        file:read()
      end)
    end)
  end)

  it("stream can be closed after its scheduler, and after the ring", function()
    local near, far = pair()
    s:close()
    assert.equal(1, near:close())
    local ring = open()
    local other = fixture.scheduler(ring)
    local wrapped = other:wrap((fixture.connection()))
    ring:close()
    assert.equal(1, wrapped:close())
    assert.equal(1, far:close())
  end)

  it("nil raises why there is none", function()
    local _, host, port = listen()
    local ok, err = pcall(function()
      local _ = s:wrap(socket.bind(host, port))
    end)
    assert.is_false(ok)
    assert.matches("wrap_spec.lua:%d+: scheduler:wrap: address already in use$", err)
  end)

  it("method that waits outside a task is named, with the script's line", function()
    local server <close> = listen()
    local line = debug.getinfo(1, "l").currentline + 2
    local ok, err = pcall(function()
      local _ = server:accept()
    end)
    assert.is_false(ok)
    assert.matches("wrap_spec.lua:" .. line .. ": wrapped:accept: called outside a task of this scheduler", err)
  end)

  it("method is named however it is called", function()
    local server <close>, near = listen(), pair()
    local datagrams <close> = s:wrap(assert(socket.udp()))
    assert(datagrams:setsockname("127.0.0.1", 0))
    local file = s:wrap(assert(io.open("/proc/self/fd/" .. fixture.pipe().reader)))
    local outside = "called outside a task of this scheduler"
    local function named(name, message, call, ...)
      local ok, err = pcall(call, ...)
      assert.is_false(ok)
      assert.matches("wrapped:" .. name .. ": " .. message, err)
    end
    for name, object in pairs { accept = server, receive = near, receivefrom = datagrams, read = file } do
      named(name, outside, object[name], object)
      named(name, outside, function()
        return object[name](object)
      end)
    end
    named("receive", outside, function()
      return datagrams:receive()
    end)
    named("lines", outside, function()
      for _ in file:lines() do
      end
    end)
    named("lines", outside, function()
      return file:lines()()
    end)
    file:close()
    named("read", "the file is closed", function()
      return file:read()
    end)
  end)

  it("thing is what it was: methods, name, fd", function()
    local near = pair()
    local server = listen()
    assert.equal(near, s:wrap(near))
    assert.matches("^wrapped tcp{client}", tostring(near))
    assert.is_true(near:getfd() > 0)
    assert.equal("127.0.0.1", (near:getpeername()))
    run(function()
      assert.same({ nil, "timeout" }, { s:wait_fd(near, "in", 0) })
    end)
    local closed = fixture.popen "true"
    closed:close()
    for _, bad in ipairs { closed, {}, 1, "x", print, s } do
      assert.error_matches(function()
        s:wrap(bad)
      end, "scheduler:wrap: an open socket")
    end
    server:close()
  end)
end)
