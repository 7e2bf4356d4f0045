-- SPDX-License-Identifier: Apache-2.0
-- Finished pictures into the sprite: one step of undo, in the sprite's own colour mode, never scaling what is there.

local capture = require("capture")
local pixels = require("pixels")

local place = {}

place.LAYER = "New layer"
place.FRAMES = "New frames"
place.SPRITE = "New sprite"
place.OUTPUTS = { place.LAYER, place.FRAMES, place.SPRITE }
place.WHERE = { "Top left", "Centre", "At the selection" }

local DIRECTIONS = { forward = "FORWARD", reverse = "REVERSE", pingpong = "PING_PONG" }

-- Indexed sprites: colours that their palette lacks are added while it has room.
local function extended_palette(sprite, frames)
  local wanted = nil
  for _, picture in ipairs(frames) do
    wanted = pixels.colors(picture.data, wanted)
  end
  local colors, present, missing = capture.palette(sprite.palettes[1]), {}, {}
  for index, color in pairs(colors) do
    present[color] = present[color] or index ~= sprite.transparentColor
  end
  for _, color in ipairs(wanted.order) do
    if not present[color] then
      missing[#missing + 1] = color
    end
  end
  local count = #sprite.palettes[1]
  local room = math.min(#missing, 256 - count)
  if room <= 0 then
    return colors, 0
  end
  local palette = Palette(sprite.palettes[1])
  palette:resize(count + room)
  for step = 1, room do
    local color = missing[step]
    palette:setColor(count + step - 1, Color{ r = color >> 16, g = color >> 8 & 255, b = color & 255, a = 255 })
    colors[count + step - 1] = color
  end
  sprite:setPalette(palette)
  return colors, room
end

local function counted(colors)
  return colors == 1 and "1 colour was" or colors .. " colours were"
end

-- A converter of pictures for a sprite, and what there is to say about it.
local function converter(sprite, frames, notes)
  local mode = sprite.colorMode
  if mode == ColorMode.RGB then
    return function(picture) return picture.data, 4 end
  elseif mode == ColorMode.GRAY then
    notes[#notes + 1] = "The sprite is grayscale: the colours became grays."
    return function(picture) return pixels.gray(picture.data), 2 end
  end
  local colors, added = extended_palette(sprite, frames)
  if added > 0 then
    notes[#notes + 1] = counted(added) .. " added to the sprite's palette."
  end
  return function(picture)
    local data, strangers = pixels.indexed(picture.data, colors, sprite.transparentColor)
    if strangers > 0 then
      notes[#notes + 1] = counted(strangers) .. " not in the sprite's palette, which is full; the nearest was taken."
    end
    return data, 1
  end
end

local function image_of(sprite, picture, convert)
  local spec = sprite.spec -- a copy: colour mode, transparent index and colour space come along
  spec.width, spec.height = picture.width, picture.height
  local image = Image(spec)
  local data, bytes_per_pixel = convert(picture)
  image.bytes = pixels.padded(data, picture.width, picture.height, bytes_per_pixel, image.rowStride)
  return image
end

local STEPS = { right = { 1, 0 }, left = { -1, 0 }, down = { 0, 1 }, up = { 0, -1 } }

--- The corner of the area that joins `area` on a side; of the area itself where there is no side.
function place.beside(area, side)
  local step = STEPS[side] or { 0, 0 }
  return { x = area.x + step[1] * area.width, y = area.y + step[2] * area.height }
end

local function corner(order, sprite, picture)
  if order.area then
    return order.area.x, order.area.y
  elseif order.where == place.WHERE[3] and not order.fresh then
    order.notes[#order.notes + 1] = "Nothing is selected: the picture is at the top left."
  elseif order.where == place.WHERE[2] then
    return (sprite.width - picture.width) // 2, (sprite.height - picture.height) // 2
  end
  return 0, 0
end

-- The canvas alone grows; `Sprite:resize` would scale the artwork, and setting `Sprite.width` would leave a background
-- layer behind. To the left and upwards everything moves along.
-- @return where the picture then lies
local function grow(order, sprite, x, y, picture)
  local left, top = math.min(0, x), math.min(0, y)
  local right, bottom = math.max(sprite.width, x + picture.width), math.max(sprite.height, y + picture.height)
  local stands_over = left < 0 or top < 0 or right > sprite.width or bottom > sprite.height
  if not stands_over then
    return x, y
  elseif not order.grow then
    order.notes[#order.notes + 1] = "The picture is larger than the canvas: what stands over is kept outside it."
    return x, y
  end
  sprite:crop(left, top, right - left, bottom - top)
  return x - left, y - top
end

local function layers(order, sprite, images, x, y)
  for index = #images, 1, -1 do -- the first ends on top
    local layer = sprite:newLayer()
    layer.name = #images == 1 and order.name or string.format("%s #%d", order.name, index)
    layer.isVisible = index == 1
    sprite:newCel(layer, order.frame, images[index], Point(x, y))
  end
end

-- Aseprite lets a tag that ends with the last frame grow over those which are put behind it.
-- @return a function that gives every tag its end back
local function kept_tags(sprite)
  local ends = {}
  for index = 1, #sprite.tags do
    ends[index] = { tag = sprite.tags[index], last = sprite.tags[index].toFrame.frameNumber }
  end
  return function()
    for _, one in ipairs(ends) do
      if one.tag.toFrame.frameNumber ~= one.last then
        one.tag.toFrame = one.last
      end
    end
  end
end

-- Behind the last frame; a new sprite's own frame is the first.
local function in_frames(order, sprite, images, x, y)
  local layer = order.fresh and sprite.layers[1] or sprite:newLayer()
  layer.name = order.name
  local before = order.fresh and 0 or #sprite.frames
  local keep_tags = kept_tags(sprite)
  for index, image in ipairs(images) do
    local number = before + index
    local frame = number <= #sprite.frames and sprite.frames[number] or sprite:newEmptyFrame(number)
    local duration_ms = order.frames[index].duration_ms
    if duration_ms and duration_ms > 0 then
      frame.duration = duration_ms / 1000
    end
    sprite:newCel(layer, number, image, Point(x, y))
  end
  keep_tags()
  for _, told in ipairs(order.tags or {}) do
    local tag = sprite:newTag(before + 1 + told.from, before + 1 + told.to)
    tag.name = told.name
    tag.aniDir = AniDir[DIRECTIONS[told.direction] or DIRECTIONS.forward]
  end
end

local function set_palette(sprite, names)
  local palette = Palette(#names)
  for index, name in ipairs(names) do
    local r, g, b = name:match("^#(%x%x)(%x%x)(%x%x)$")
    palette:setColor(index - 1,
      Color{ r = tonumber(r, 16), g = tonumber(g, 16), b = tonumber(b, 16), a = 255 })
  end
  sprite:setPalette(palette)
end

local function put(order, sprite)
  if order.fresh and order.palette and #order.palette > 0 then
    set_palette(sprite, order.palette)
  end
  local first = order.frames[1]
  local x, y = corner(order, sprite, first)
  local convert, images = converter(sprite, order.frames, order.notes), {}
  for index, picture in ipairs(order.frames) do
    images[index] = image_of(sprite, picture, convert)
  end
  x, y = grow(order, sprite, x, y, first)
  if order.fresh and #images == 1 or order.in_frames then
    in_frames(order, sprite, images, x, y)
  else
    layers(order, sprite, images, x, y)
    if order.fresh then
      sprite:deleteLayer(sprite.layers[1]) -- the empty one that a new sprite has
    end
  end
end

--- Put finished pictures where they belong. Raises what Aseprite raised; then nothing was changed.
-- @param order  frames {width, height, data, duration_ms}; output, one of `place.OUTPUTS`; animation, whether the
--   frames follow one another; sprite and frame, which were open when the work began; name of the layer; where;
--   grow; area, the corner {x, y} of a selection; mask, what alone may be drawn on; tags; palette, "#rrggbb"
-- @return sentences about what was done otherwise than asked
function place.place(order)
  local before, sprite = app.sprite, order.sprite
  order.notes = {}
  if order.output ~= place.SPRITE and sprite and not capture.is_open(sprite) then
    order.notes[1] = "The sprite was closed in the meantime: the picture is in a new one."
    sprite = nil
  end
  order.fresh = order.output == place.SPRITE or sprite == nil
  order.in_frames = order.animation or order.output == place.FRAMES
  if order.fresh then
    order.area = nil
    sprite = Sprite(order.frames[1].width, order.frames[1].height, ColorMode.RGB)
  end
  order.frame = math.min(order.frame or 1, #sprite.frames)
  app.sprite = sprite -- a transaction is the active sprite's
  local placed, why = pcall(app.transaction, "Inglenook", function() put(order, sprite) end)
  if not order.fresh and before then
    app.sprite = before
  end
  app.refresh()
  if not placed then
    error(why, 0)
  end
  return order.notes
end

--- A finished picture of the whole canvas cut to what was selected: {picture, area}.
function place.inpainted(picture, mask)
  local data = pixels.masked(pixels.cropped(picture.data, picture.width, mask), mask)
  return { width = mask.width, height = mask.height, data = data, duration_ms = picture.duration_ms }
end

return place
