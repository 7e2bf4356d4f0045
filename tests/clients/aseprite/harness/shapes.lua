-- SPDX-License-Identifier: Apache-2.0
-- Point, Size, Rectangle, Color, ImageSpec and the constants, as https://www.aseprite.org/api describes them.

local strict = require("strict")

local shapes = {}

local function fields_of(...)
  local get, set = {}, {}
  for _, name in ipairs({ ... }) do
    get[name] = function(data) return data[name] end
    set[name] = function(data, value)
      if type(value) ~= "number" then
        strict.violate("%s wants a number, got %s", name, tostring(value))
      end
      data[name] = math.floor(value)
    end
  end
  return get, set
end

local function numbers(what, ...)
  local values = { ... }
  for _, value in ipairs(values) do
    if type(value) ~= "number" then
      strict.violate("%s wants numbers, got %s", what, tostring(value))
    end
  end
  return table.unpack(values)
end

local point_get, point_set = fields_of("x", "y")
local new_point = strict.class("Point", { get = point_get, set = point_set })

function shapes.Point(x, y)
  numbers("Point()", x, y)
  return new_point({ x = math.floor(x), y = math.floor(y) })
end

local size_get = fields_of("width", "height")
shapes.new_size = strict.class("Size", { get = size_get })

local get, set = fields_of("x", "y", "width", "height")
get.w, get.h = get.width, get.height
get.isEmpty = function(r) return r.width <= 0 or r.height <= 0 end
local rectangle_methods = {}
local new_rectangle = strict.class("Rectangle", { get = get, set = set, methods = rectangle_methods })

function shapes.Rectangle(x, y, width, height)
  if x == nil then
    return new_rectangle({ x = 0, y = 0, width = 0, height = 0 })
  end
  numbers("Rectangle()", x, y, width, height)
  return new_rectangle({ x = math.floor(x), y = math.floor(y), width = math.floor(width), height = math.floor(height) })
end

function rectangle_methods.intersect(self, other)
  local a, b = strict.state(self, "Rectangle"), strict.state(other, "Rectangle")
  local x, y = math.max(a.x, b.x), math.max(a.y, b.y)
  local width = math.min(a.x + a.width, b.x + b.width) - x
  local height = math.min(a.y + a.height, b.y + b.height) - y
  if width <= 0 or height <= 0 then
    return shapes.Rectangle()
  end
  return shapes.Rectangle(x, y, width, height)
end

local LETTERS = { r = "red", g = "green", b = "blue", a = "alpha", red = "red", green = "green", blue = "blue",
  alpha = "alpha" }
local color_get = fields_of("red", "green", "blue", "alpha")
local new_color = strict.class("Color", { get = color_get })

function shapes.Color(given)
  if type(given) ~= "table" then
    strict.violate("the extension makes colours as Color{ r=, g=, b=, a= }")
  end
  local color = { alpha = 255 }
  for key, value in pairs(given) do
    if not LETTERS[key] or math.type(value) ~= "integer" or value < 0 or value > 255 then
      strict.violate("Color{ %s=%s }", tostring(key), tostring(value))
    end
    color[LETTERS[key]] = value
  end
  return new_color(color)
end

local spec_get, spec_set = fields_of("width", "height", "colorMode", "transparentColor")
shapes.new_spec = strict.class("ImageSpec", { get = spec_get, set = spec_set })

shapes.ColorMode = strict.names("ColorMode", { RGB = 0, GRAY = 1, INDEXED = 2 })
shapes.AniDir = strict.names("AniDir", { FORWARD = 0, REVERSE = 1, PING_PONG = 2, PING_PONG_REVERSE = 3 })
shapes.BYTES_PER_PIXEL = { [0] = 4, [1] = 2, [2] = 1 }

return shapes
