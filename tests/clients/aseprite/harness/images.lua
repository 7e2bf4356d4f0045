-- SPDX-License-Identifier: Apache-2.0
-- Image: bytes in rows of `rowStride`, which newer versions of Aseprite pad (`images.alignment`).

local documents = require("documents")
local shapes = require("shapes")
local strict = require("strict")

local images = { alignment = 1 }

local function stride_of(width, mode)
  local bytes = width * shapes.BYTES_PER_PIXEL[mode]
  return (bytes + images.alignment - 1) // images.alignment * images.alignment
end

local methods = {}
local new_image = strict.class("Image", {
  get = {
    width = function(image) return image.width end,
    height = function(image) return image.height end,
    colorMode = function(image) return image.mode end,
    rowStride = function(image) return stride_of(image.width, image.mode) end,
    bytesPerPixel = function(image) return shapes.BYTES_PER_PIXEL[image.mode] end,
    bounds = function(image) return shapes.Rectangle(0, 0, image.width, image.height) end,
    bytes = function(image) return image.bytes end,
  },
  set = {
    bytes = function(image, bytes)
      local needed = stride_of(image.width, image.mode) * image.height
      if type(bytes) ~= "string" or #bytes ~= needed then
        error(string.format("Data size does not match: given %d, needed %d.", #bytes, needed))
      end
      image.bytes = bytes
    end,
  },
  methods = methods,
})

function images.Image(first, height, mode)
  local width = first
  local transparent = 0
  if strict.is(first, "ImageSpec") then
    local spec = strict.state(first, "ImageSpec")
    width, height, mode, transparent = spec.width, spec.height, spec.colorMode, spec.transparentColor
  elseif math.type(width) ~= "integer" or math.type(height) ~= "integer" then
    strict.violate("Image() wants whole sides, got %s and %s", tostring(width), tostring(height))
  end
  mode = mode or 0
  width, height = math.max(1, width), math.max(1, height)
  local pixel = mode == 2 and string.char(transparent) or "\0"
  local bytes = pixel:rep(stride_of(width, mode) * height)
  return new_image({ width = width, height = height, mode = mode, transparent = transparent, bytes = bytes })
end

--- RGBA of one pixel of an image, through the palette where it is indexed.
function images.rgba(image, content, x, y)
  local each = shapes.BYTES_PER_PIXEL[image.mode]
  local at = y * stride_of(image.width, image.mode) + x * each + 1
  if image.mode == 0 then
    return image.bytes:byte(at, at + 3)
  elseif image.mode == 1 then
    local gray, alpha = image.bytes:byte(at, at + 1)
    return gray, gray, gray, alpha
  end
  local index = image.bytes:byte(at)
  if index == content.transparent then
    return 0, 0, 0, 0
  end
  return table.unpack(content.palette[index + 1] or { 0, 0, 0, 255 })
end

local function blended(under, r, g, b, a)
  local ur, ug, ub, ua = under[1], under[2], under[3], under[4]
  if a == 255 or ua == 0 then
    return { r, g, b, a }
  elseif a == 0 then
    return under
  end
  local out = a + ua * (255 - a) // 255
  local function mix(over, below) return (over * a + below * (out - a)) // out end
  return { mix(r, ur), mix(g, ug), mix(b, ub), out }
end

--- The frame as it looks, RGBA rows without padding.
function images.rendered(content, frame_number)
  local canvas = {}
  for index = 1, content.width * content.height do
    canvas[index] = { 0, 0, 0, 0 }
  end
  for _, layer in ipairs(content.layers) do
    local cel = layer.visible and layer.cels[frame_number]
    if cel then
      for y = math.max(0, -cel.y), math.min(cel.image.height, content.height - cel.y) - 1 do
        for x = math.max(0, -cel.x), math.min(cel.image.width, content.width - cel.x) - 1 do
          local place = (y + cel.y) * content.width + x + cel.x + 1
          canvas[place] = blended(canvas[place], images.rgba(cel.image, content, x, y))
        end
      end
    end
  end
  local parts = {}
  for index, pixel in ipairs(canvas) do
    parts[index] = string.char(table.unpack(pixel))
  end
  return table.concat(parts)
end

function methods.drawSprite(self, sprite, frame_number, position)
  local image, document = strict.state(self, "Image"), strict.state(sprite, "Sprite")
  local content = documents.content(document)
  if math.type(frame_number) ~= "integer" or not content.frames[frame_number] then
    strict.violate("Image:drawSprite() of frame %s", tostring(frame_number))
  elseif position or image.mode ~= 0 or image.width ~= content.width or image.height ~= content.height then
    strict.violate("the harness draws a whole sprite into an RGB image of its size")
  end
  local flat, rows = images.rendered(content, frame_number), {}
  local row, stride = image.width * 4, stride_of(image.width, 0)
  for y = 0, image.height - 1 do
    rows[y + 1] = flat:sub(y * row + 1, (y + 1) * row) .. ("\xAA"):rep(stride - row) -- padding is not always zero
  end
  image.bytes = table.concat(rows)
end

--- Bytes of an image without the padding, for the tests.
function images.packed(image)
  local row, stride, rows = image.width * shapes.BYTES_PER_PIXEL[image.mode], stride_of(image.width, image.mode), {}
  for y = 0, image.height - 1 do
    rows[y + 1] = image.bytes:sub(y * stride + 1, y * stride + row)
  end
  return table.concat(rows)
end

return images
