-- SPDX-License-Identifier: Apache-2.0
-- What the artist has open, as plain values: pixels of the canvas, of the selection, colours of the palette.

local pixels = require("pixels")

local capture = {}

--- Whether a sprite that was held on to is still open. Every field of a closed one raises.
function capture.is_open(sprite)
  return sprite ~= nil and (pcall(function() return sprite.width end))
end

--- RGBA rows of a frame as it looks: all visible layers, whatever the sprite's colour mode.
function capture.canvas(sprite, frame_number)
  local image = Image(sprite.width, sprite.height, ColorMode.RGB)
  image:drawSprite(sprite, frame_number)
  return pixels.unpadded(image.bytes, image.width, image.height, 4, image.rowStride)
end

local function is_filled(selection, area)
  local rest = Selection(area)
  rest:subtract(selection)
  return rest.isEmpty
end

-- Pixel by pixel, only for rows with gaps.
local function gapped_runs(selection, y, left, from, to)
  local runs, open = {}, nil
  for x = from, to - 1 do
    local inside = selection:contains(x, y)
    if inside and not open then
      open = { from = x - left, to = to - left }
      runs[#runs + 1] = open
    elseif open and not inside then
      open.to, open = x - left, nil
    end
  end
  return runs
end

-- Runs of a row of `area`. Aseprite itself finds where a row begins and ends, which is all there is to most.
local function runs_of(selection, area, y)
  local row = Selection(Rectangle(area.x, y, area.width, 1))
  row:intersect(selection)
  if row.isEmpty then
    return {}
  end
  local span = row.bounds
  if is_filled(selection, Rectangle(span.x, y, span.width, 1)) then
    return { { from = span.x - area.x, to = span.x - area.x + span.width } }
  end
  return gapped_runs(selection, y, area.x, span.x, span.x + span.width)
end

--- The part of the selection that lies on the canvas: x, y, width, height, and for each row the runs {from, to} of
--- selected pixels (from 0, `to` is behind the last). Nil and why, where there is none.
function capture.selection(sprite)
  local selection = sprite.selection
  if selection.isEmpty then
    return nil, "Nothing is selected: select what should be used (Select > All for the whole canvas)."
  end
  local bounds = selection.bounds:intersect(sprite.bounds)
  if bounds.isEmpty then
    return nil, "The selection lies outside the canvas: nothing of it can be used."
  end
  local mask = { x = bounds.x, y = bounds.y, width = bounds.width, height = bounds.height, rows = {} }
  local found = is_filled(selection, bounds)
  local all = found and { { from = 0, to = bounds.width } }
  for y = 0, mask.height - 1 do
    mask.rows[y + 1] = all or runs_of(selection, bounds, mask.y + y)
    found = found or #mask.rows[y + 1] > 0
  end
  if not found then
    return nil, "The selection has no pixel on the canvas: nothing of it can be used."
  end
  return mask
end

--- Opaque colours of a palette of Aseprite as 0xRRGGBB by index, from 0.
function capture.palette(palette)
  local colors = {}
  for index = 0, #palette - 1 do
    local color = palette:getColor(index)
    if color.alpha == 255 then
      colors[index] = color.red << 16 | color.green << 8 | color.blue
    end
  end
  return colors
end

--- The same as "#rrggbb", each once, in the order of the palette; without the entry that means transparent in an
--- indexed sprite.
function capture.hex_colors(palette, clear)
  local names, seen = {}, {}
  local colors = capture.palette(palette)
  for index = 0, #palette - 1 do
    local color = colors[index]
    if color and index ~= clear and not seen[color] then
      seen[color] = true
      names[#names + 1] = string.format("#%06x", color)
    end
  end
  return names
end

return capture
