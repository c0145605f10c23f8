-- LuaRocks builds the module by either rockspec: from a checkout with swig, from a source release without.
local fixture = require "tests.lua.fixture"

local has_luarocks = os.execute "command -v luarocks >/dev/null"

local function shell(command)
  local file = assert(io.popen("(" .. command .. ") 2>&1 </dev/null"))
  local output = file:read "a"
  return file:close(), output
end

-- Builds in a copy of the tree; preparation is a command of the shell that runs there first.
local function builds(rockspec, preparation)
  local directory = os.tmpname()
  os.remove(directory)
  local ok, output = shell(([[set -e
    mkdir %s && cp -r Makefile core bindings lua *.rockspec %s
    mkdir %s/generated && cp build/lua/pollring_wrap.c %s/generated && cd %s
    %s
    MAKEFLAGS=-j2 luarocks --lua-version=5.4 --tree=tree make %s CFLAGS='-O0 -fPIC']]):format(
    directory, directory, directory, directory, directory, preparation, rockspec))
  assert.is_true(ok, output)
  local script = [[
    local s = require "pollring.scheduler".new()
    s:spawn(function() s:sleep(0) print "works" end)
    s:run()
    s:close()
  ]]
  ok, output = shell(("cd %s && LUA_CPATH_5_4='tree/lib/lua/5.4/?.so' %s -e '%s'"):format(
    directory, arg[-1] or "lua5.4", script))
  shell("rm -rf " .. directory)
  assert.same({ true, "works\n" }, { ok, output })
end

fixture.describe("A rock", function()
  if not has_luarocks then
    return pending "skipped: luarocks is not installed"
  end

  it("is built from a checkout", function()
    builds("pollring-scm-1.rockspec", "rm -r generated")
  end)

  it("is built from a source release, without swig", function()
    builds("pollring-0.1.0-1.rockspec", "export SWIG=false")
  end)

  it("has the version of the header", function()
    local header = io.open "core/pollring.h"
    local version = header:read("a"):match 'POLLRING_VERSION "([%d.]+)"'
    local rockspec = io.open(("pollring-%s-1.rockspec"):format(version))
    assert.matches(('version = "%s%%-1"'):format(version:gsub("%.", "%%.")), rockspec:read "a")
    rockspec:close()
    header:close()
  end)
end)
