-- SPDX-License-Identifier: Apache-2.0
-- JSON texts to Lua tables and back, in time that grows with the length of the text.
--
-- Aseprite has a `json` of its own since 1.3-rc5. It is not used: what it decodes is no table (`pairs` over its
-- arrays yields nothing in some versions), it cuts strings at a NUL, and it cannot write `null` or an empty array.
--
-- `null` in an object is a field that is not there; in an array it is `json.null`, so that places keep their number.

local json = {}

json.null = setmetatable({}, { __tostring = function() return "null" end })

local ARRAY = { __name = "json.array" }
local MAX_DEPTH = 100

--- Mark a table as an array; only an empty one needs it.
function json.array(items)
  return setmetatable(items or {}, ARRAY)
end

-- Writing ------------------------------------------------------------------------------------------------------

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r",
  ["\t"] = "\\t" }

local function escaped(character)
  return ESCAPES[character] or string.format("\\u%04x", character:byte())
end

local function quoted(text)
  if not utf8.len(text) then
    text = text:gsub("[\x80-\xff]", "\u{FFFD}") -- a text message of a WebSocket has to be UTF-8
  end
  return '"' .. text:gsub('[\0-\31"\\]', escaped) .. '"'
end

local function number(value)
  if value ~= value or value == math.huge or value == -math.huge then
    error("JSON has no " .. tostring(value), 0)
  end
  local whole = math.tointeger(value)
  if whole then
    return string.format("%d", whole)
  end
  return (string.format("%.17g", value):gsub(",", ".")) -- some locales write a comma
end

local write

local function array(items, depth)
  local parts = {}
  for index, item in ipairs(items) do
    parts[index] = write(item, depth)
  end
  return "[" .. table.concat(parts, ",") .. "]"
end

local function object(fields, depth)
  local names, parts = {}, {}
  for name in pairs(fields) do
    if type(name) ~= "string" then
      error("a JSON object cannot have the key " .. tostring(name), 0)
    end
    names[#names + 1] = name
  end
  table.sort(names)
  for index, name in ipairs(names) do
    parts[index] = quoted(name) .. ":" .. write(fields[name], depth)
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

function write(value, depth)
  local kind = type(value)
  if value == json.null then
    return "null"
  elseif kind == "string" then
    return quoted(value)
  elseif kind == "number" then
    return number(value)
  elseif kind == "boolean" then
    return tostring(value)
  elseif kind ~= "table" then
    error("JSON has no " .. kind, 0)
  elseif depth > MAX_DEPTH then
    error("the table is nested more than " .. MAX_DEPTH .. " deep", 0)
  end
  local is_array = getmetatable(value) == ARRAY or #value > 0
  return (is_array and array or object)(value, depth + 1)
end

--- The JSON text of a value. Fields are in the order of their names. Raises for what JSON does not have.
function json.encode(value)
  return write(value, 1)
end

-- Reading ------------------------------------------------------------------------------------------------------

local function fail(text, at, what)
  local _, line = text:sub(1, at - 1):gsub("\n", "")
  error(string.format("JSON, line %d, byte %d: %s", line + 1, at, what), 0)
end

local function after_space(text, at)
  return text:find("[^ \t\r\n]", at) or #text + 1
end

local SIMPLE = { ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }

local function unit(text, at)
  local digits = text:match("^u(%x%x%x%x)", at)
  return digits and tonumber(digits, 16)
end

-- `at` is on the `u`; returns the character and where the text goes on. Half of a pair becomes U+FFFD.
local function unicode(text, at)
  local first = unit(text, at)
  if not first then
    fail(text, at, "\\u wants four hexadecimal digits")
  end
  if first < 0xD800 or first > 0xDFFF then
    return utf8.char(first), at + 5
  end
  local second = first < 0xDC00 and text:sub(at + 5, at + 5) == "\\" and unit(text, at + 6)
  if second and second >= 0xDC00 and second <= 0xDFFF then
    return utf8.char(0x10000 + (first - 0xD800) * 0x400 + (second - 0xDC00)), at + 11
  end
  return "\u{FFFD}", at + 5
end

-- `at` is behind the opening quotation mark. Pieces without an escape are taken whole.
local function read_string(text, at)
  local parts = {}
  while true do
    local stop = text:find('[\0-\31"\\]', at)
    if not stop then
      fail(text, at, "the string does not end")
    end
    parts[#parts + 1] = text:sub(at, stop - 1)
    local sign = text:sub(stop, stop)
    if sign == '"' then
      return #parts == 1 and parts[1] or table.concat(parts), stop + 1
    elseif sign ~= "\\" then
      fail(text, stop, "a control character in a string")
    end
    local letter = text:sub(stop + 1, stop + 1)
    if letter == "u" then
      parts[#parts + 1], at = unicode(text, stop + 1)
    else
      parts[#parts + 1] = SIMPLE[letter] or fail(text, stop, "an unknown escape")
      at = stop + 2
    end
  end
end

local function read_number(text, at)
  local digits = text:match("^-?%d+%.?%d*[eE]?[+-]?%d*", at)
  local strict = digits and (digits:match("^-?0") == nil or digits:match("^-?0$") or digits:match("^-?0[.eE]"))
  local value = strict and not digits:find("%.[^%d]") and not digits:find("%.$") and tonumber(digits)
  if not value then
    fail(text, at, "not a number")
  end
  return value, at + #digits
end

local read

local function read_array(text, at, depth)
  local items, count = json.array(), 0
  at = after_space(text, at)
  if text:sub(at, at) == "]" then
    return items, at + 1
  end
  while true do
    local item
    item, at = read(text, at, depth)
    count = count + 1
    items[count] = item
    at = after_space(text, at)
    local sign = text:sub(at, at)
    if sign == "]" then
      return items, at + 1
    elseif sign ~= "," then
      fail(text, at, "an array wants , or ]")
    end
    at = at + 1
  end
end

local function read_object(text, at, depth)
  local fields = {}
  at = after_space(text, at)
  if text:sub(at, at) == "}" then
    return fields, at + 1
  end
  while true do
    at = after_space(text, at)
    if text:sub(at, at) ~= '"' then
      fail(text, at, "an object wants a name in quotation marks")
    end
    local name, value
    name, at = read_string(text, at + 1)
    at = after_space(text, at)
    if text:sub(at, at) ~= ":" then
      fail(text, at, "an object wants : behind a name")
    end
    value, at = read(text, at + 1, depth)
    if value ~= json.null then
      fields[name] = value
    end
    at = after_space(text, at)
    local sign = text:sub(at, at)
    if sign == "}" then
      return fields, at + 1
    elseif sign ~= "," then
      fail(text, at, "an object wants , or }")
    end
    at = at + 1
  end
end

local WORDS = { { "true", true }, { "false", false }, { "null", json.null } }

function read(text, at, depth)
  if depth > MAX_DEPTH then
    fail(text, at, "nested more than " .. MAX_DEPTH .. " deep")
  end
  at = after_space(text, at)
  local sign = text:sub(at, at)
  if sign == '"' then
    return read_string(text, at + 1)
  elseif sign == "{" then
    return read_object(text, at + 1, depth + 1)
  elseif sign == "[" then
    return read_array(text, at + 1, depth + 1)
  end
  for _, word in ipairs(WORDS) do
    if text:sub(at, at + #word[1] - 1) == word[1] then
      return word[2], at + #word[1]
    end
  end
  return read_number(text, at)
end

--- The value of a JSON text. Raises a string that tells line and byte for what is no JSON.
function json.decode(text)
  local value, at = read(text, 1, 1)
  at = after_space(text, at)
  if at <= #text then
    fail(text, at, "something behind the end")
  end
  return value
end

return json
