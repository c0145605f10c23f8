-- The annotations in lua/meta/ and the module have the same names, and the annotations are Lua.
local fixture = require "tests.lua.fixture"
local pollring = require "pollring"
local scheduler = require "pollring.scheduler"

-- From the name of a class to the set of its annotated fields and functions.
local function annotated(path)
  local classes, of_variable, class = {}, {}, nil
  for line in io.lines(path) do
    local name = line:match "^%-%-%-@class ([%w_.]+)"
    if name then
      class = {}
      classes[name] = class
    end
    local field, variable = line:match "^%-%-%-@field ([%w_]+)", line:match "^local ([%w_]+) = {}"
    if field then
      class[field] = true
    elseif variable then
      of_variable[variable] = class
    end
    local owner, method = line:match "^function ([%w_]+)[.:]([%w_]+)%("
    if owner then
      of_variable[owner][method] = true
    end
  end
  return classes
end

local function names(...)
  local set = {}
  for _, members in ipairs { ... } do
    for name in pairs(members) do
      if type(name) == "string" and name:sub(1, 1) ~= "_" then
        set[name] = true
      end
    end
  end
  return set
end

-- The members behind an object's __index: a table, or a function (C's) that has them as its first upvalue.
local function members(object)
  local index = debug.getmetatable(object).__index
  if type(index) == "function" then
    return names(select(2, debug.getupvalue(index, 1)))
  end
  local behind = getmetatable(index) and getmetatable(index).__index
  return behind and names(index, select(2, debug.getupvalue(behind, 1))) or names(index)
end

fixture.describe("The annotations", function()
  local of_rings, of_tasks = annotated "lua/meta/pollring.lua", annotated "lua/meta/pollring/scheduler.lua"

  it("are Lua", function()
    for _, path in ipairs { "lua/meta/pollring.lua", "lua/meta/pollring/scheduler.lua" } do
      assert.equal("table", type(assert(loadfile(path))()))
    end
  end)

  it("name what the modules have", function()
    assert.same(names(pollring), of_rings.pollring)
    assert.same(names(scheduler), of_tasks["pollring.scheduler"])
    assert.same(names(pollring.probe()), of_rings["pollring.Probe"])
  end)

  it("name what rings and polls have", function()
    local ring = fixture.ring()
    assert.same(members(ring), of_rings["pollring.Ring"])
    assert.same(members(ring:poll_add(0)), of_rings["pollring.Poll"])
  end)

  it("name what schedulers, tasks and watches have", function()
    local s = fixture.scheduler()
    assert.same(members(s), of_tasks["pollring.Scheduler"])
    assert.same(members(s:spawn(print)), of_tasks["pollring.Task"])
    assert.same(members((select(4, s:watch(0)))), of_tasks["pollring.Watch"])
  end)

  it("name the options", function()
    local options = { entries = 4, cq_entries = 8, backend = "auto", setup = "plain", sealed = false, pinned = false,
      busy_poll = 0 }
    assert.same(names(options), of_rings["pollring.RingOptions"])
    pollring.ring(options):close()
    local of_poll = { multishot = true, exclusive = false, rearm = true, until_hangup = true, data = 1 }
    assert.same(names(of_poll), of_rings["pollring.PollOptions"])
    fixture.ring():poll_add(0, "in", of_poll)
  end)
end)
