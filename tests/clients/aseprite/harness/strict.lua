-- SPDX-License-Identifier: Apache-2.0
-- Objects that know their documented names and nothing else. What is not documented is a violation: it is kept, so that
-- a `pcall` in the extension cannot hide it, and raised.

local strict = { violations = {} }

local states = setmetatable({}, { __mode = "k" })

function strict.violate(...)
  local text = string.format(...)
  strict.violations[#strict.violations + 1] = text .. "\n" .. debug.traceback("", 2)
  error(text, 2)
end

--- The harness's own table behind an object of the extension's.
function strict.state(object, class)
  local state = states[object]
  if not state or (class and state.class ~= class) then
    strict.violate("expected a %s, got %s", class or "object of Aseprite", tostring(object))
  end
  return state.data
end

function strict.is(object, class)
  return states[object] ~= nil and states[object].class == class
end

--- @param members  get, set, methods: tables by name; equal, length: functions
-- @return a function that makes an object around a table
function strict.class(name, members)
  local get, set, methods = members.get or {}, members.set or {}, members.methods or {}
  local meta = { __name = name }
  meta.__index = function(object, key)
    if methods[key] then
      return methods[key]
    elseif get[key] then
      return get[key](strict.state(object, name))
    end
    strict.violate("%s.%s is not in Aseprite's reference", name, tostring(key))
  end
  meta.__newindex = function(object, key, value)
    if not set[key] then
      strict.violate("%s.%s cannot be set", name, tostring(key))
    end
    set[key](strict.state(object, name), value)
  end
  meta.__len = members.length and function(object) return members.length(strict.state(object, name)) end
  meta.__eq = members.equal and function(a, b)
    return members.equal(strict.state(a, name), strict.state(b, name))
  end
  meta.__tostring = members.tostring and function(object) return members.tostring(strict.state(object, name)) end
  return function(data)
    local object = setmetatable({}, meta)
    states[object] = { class = name, data = data }
    return object
  end
end

--- A table whose names are all there are, for constants and namespaces.
function strict.names(name, items)
  return setmetatable({}, {
    __index = function(_, key)
      if items[key] == nil then
        strict.violate("%s.%s is not in Aseprite's reference", name, tostring(key))
      end
      return items[key]
    end,
    __newindex = function(_, key) strict.violate("%s.%s cannot be set", name, tostring(key)) end,
  })
end

--- Aseprite asks the artist for permission in the name of the script that called, which it finds as the caller's
--- source: behind `pcall(WebSocket, …)` or a tail call that is no script. To be called from the constructor.
function strict.asked_by_a_script(what)
  local caller = debug.getinfo(3, "S")
  if caller.source:sub(1, 1) ~= "@" then
    strict.violate("%s is called by %s: Aseprite would ask in the name of that", what, caller.source)
  end
end

--- Check the fields of a table argument against {name = type}.
function strict.fields(what, given, known)
  if type(given) ~= "table" then
    strict.violate("%s wants a table, got %s", what, type(given))
  end
  for key, value in pairs(given) do
    local wanted = known[key]
    local kind = math.type(value) == "integer" and "integer" or type(value)
    if not wanted then
      strict.violate("%s has no field %s", what, tostring(key))
    elseif wanted ~= "any" and kind ~= wanted and not (wanted == "number" and kind == "integer") then
      strict.violate("%s.%s should be %s, is %s", what, key, wanted, kind)
    end
  end
end

return strict
