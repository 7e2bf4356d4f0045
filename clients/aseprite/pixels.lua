-- SPDX-License-Identifier: Apache-2.0
-- Pixels as byte strings: rows of `width` pixels without padding, red, green, blue and alpha, straight alpha.
-- Nothing here knows Aseprite. All of it takes time that grows with the number of pixels; nothing loops over single
-- pixels in Lua where the string library can (`gsub` with a table: 960 x 540 in well under a tenth of a second).

local pixels = {}

pixels.CLEAR = "\0\0\0\0"

--- Rows as an image of Aseprite wants them: `stride` bytes each, of which the first are pixels.
function pixels.padded(data, width, height, bytes_per_pixel, stride)
  local row = width * bytes_per_pixel
  if row == stride then
    return data
  end
  local rows, padding = {}, ("\0"):rep(stride - row)
  for y = 0, height - 1 do
    rows[y + 1] = data:sub(y * row + 1, (y + 1) * row)
  end
  return table.concat(rows, padding) .. padding
end

--- The pixels of an image's bytes without the padding of its rows.
function pixels.unpadded(bytes, width, height, bytes_per_pixel, stride)
  local row = width * bytes_per_pixel
  if row == stride then
    return bytes
  end
  local rows = {}
  for y = 0, height - 1 do
    rows[y + 1] = bytes:sub(y * stride + 1, y * stride + row)
  end
  return table.concat(rows)
end

--- A rectangle {x, y, width, height} out of RGBA rows; it has to lie within them.
function pixels.cropped(data, width, area)
  local rows = {}
  for y = area.y, area.y + area.height - 1 do
    local first = (y * width + area.x) * 4
    rows[#rows + 1] = data:sub(first + 1, first + area.width * 4)
  end
  return table.concat(rows)
end

--- Only what lies in `mask` (see `selection`): everything else becomes transparent. `data` has the size of the mask.
function pixels.masked(data, mask)
  local parts = {}
  for y, runs in ipairs(mask.rows) do
    local from = 0
    for _, run in ipairs(runs) do
      parts[#parts + 1] = pixels.CLEAR:rep(run.from - from)
      local first = ((y - 1) * mask.width + run.from) * 4
      parts[#parts + 1] = data:sub(first + 1, first + (run.to - run.from) * 4)
      from = run.to
    end
    parts[#parts + 1] = pixels.CLEAR:rep(mask.width - from)
  end
  return table.concat(parts)
end

--- A picture of a mask in the canvas {width, height} in which it lies at mask.x, mask.y: white is selected, the rest
--- transparent.
function pixels.drawn_mask(mask, width, height)
  local white = "\255\255\255\255"
  local rows, empty = {}, pixels.CLEAR:rep(width)
  for y = 0, height - 1 do
    local runs = mask.rows[y - mask.y + 1]
    if not runs or #runs == 0 then
      rows[y + 1] = empty
    else
      local parts, from = {}, 0
      for _, run in ipairs(runs) do
        parts[#parts + 1] = pixels.CLEAR:rep(mask.x + run.from - from)
        parts[#parts + 1] = white:rep(run.to - run.from)
        from = mask.x + run.to
      end
      parts[#parts + 1] = pixels.CLEAR:rep(width - from)
      rows[y + 1] = table.concat(parts)
    end
  end
  return table.concat(rows)
end

--- Gray and alpha, two bytes a pixel, by the weights of ITU-R BT.709 as Aseprite does it.
function pixels.gray(data)
  local known = setmetatable({}, { __index = function(found, pixel)
    local r, g, b, a = pixel:byte(1, 4)
    found[pixel] = string.char((r * 2126 + g * 7152 + b * 722) // 10000, a)
    return found[pixel]
  end })
  return (data:gsub("....", known))
end

--- Opaque colours (alpha at least 128) in the order in which they appear, as integers 0xRRGGBB.
function pixels.colors(data, into)
  local found = into or { order = {}, at = {} }
  local seen = setmetatable({}, { __index = function(known, pixel)
    known[pixel] = pixel
    local r, g, b, a = pixel:byte(1, 4)
    local color = r << 16 | g << 8 | b
    if a >= 128 and not found.at[color] then
      found.order[#found.order + 1] = color
      found.at[color] = #found.order
    end
    return pixel
  end })
  data:gsub("....", seen)
  return found
end

local function nearest(palette, skipped, r, g, b)
  local best, least
  for index, color in pairs(palette) do
    if index ~= skipped then
      local dr, dg, db = r - (color >> 16), g - (color >> 8 & 255), b - (color & 255)
      local distance = 2 * dr * dr + 4 * dg * dg + 3 * db * db
      if not least or distance < least or (distance == least and index < best) then
        best, least = index, distance
      end
    end
  end
  return best, least
end

--- One index a pixel.
-- @param palette  0xRRGGBB by index, from 0; entries that are not there cannot be chosen.
-- @param clear    the index of what is transparent; it is never a colour.
-- @return the bytes, and how many colours were not in the palette and took their nearest.
function pixels.indexed(data, palette, clear)
  local exact, strangers = {}, 0
  for index, color in pairs(palette) do
    if index ~= clear and (exact[color] == nil or index < exact[color]) then
      exact[color] = index
    end
  end
  local known = setmetatable({}, { __index = function(found, pixel)
    local r, g, b, a = pixel:byte(1, 4)
    local index = clear
    if a >= 128 then
      index = exact[r << 16 | g << 8 | b]
      if not index then
        index = nearest(palette, clear, r, g, b) or clear
        strangers = strangers + 1
      end
    end
    found[pixel] = string.char(index)
    return found[pixel]
  end })
  return (data:gsub("....", known)), strangers
end

return pixels
