-- SPDX-License-Identifier: Apache-2.0
-- The canvas of the dialog: how far the work is, in a bar and in words, and the picture as it comes.

local pixels = require("pixels")

local Preview = {}
Preview.__index = Preview

Preview.WIDTH, Preview.HEIGHT = 160, 150
local BAR, GAP, CHECK = 12, 3, 8

function Preview.new()
  return setmetatable({ fraction = nil, words = "" }, Preview)
end

function Preview:show(picture)
  local image = Image(picture.width, picture.height, ColorMode.RGB)
  image.bytes = pixels.padded(picture.data, picture.width, picture.height, 4, image.rowStride)
  self.image = image
end

--- The largest whole factor at which `width` x `height` fits, or what it has to be shrunk by.
function Preview.factor(width, height, room_width, room_height)
  local factor = math.min(room_width / width, room_height / height)
  return factor >= 1 and math.floor(factor) or factor
end

local function checks(gc, x, y, width, height)
  gc.color = Color{ r = 120, g = 120, b = 120, a = 255 }
  gc:fillRect(Rectangle(x, y, width, height))
  gc.color = Color{ r = 150, g = 150, b = 150, a = 255 }
  for row = 0, (height - 1) // CHECK do
    for column = row % 2, (width - 1) // CHECK, 2 do
      local left, top = column * CHECK, row * CHECK
      gc:fillRect(Rectangle(x + left, y + top, math.min(CHECK, width - left), math.min(CHECK, height - top)))
    end
  end
end

local function bar(gc, fraction, words)
  gc.color = Color{ r = 60, g = 60, b = 60, a = 255 }
  gc:fillRect(Rectangle(0, 0, gc.width, BAR))
  gc.color = Color{ r = 90, g = 140, b = 90, a = 255 }
  gc:fillRect(Rectangle(0, 0, math.floor(gc.width * fraction + 0.5), BAR))
  gc.color = Color{ r = 255, g = 255, b = 255, a = 255 }
  gc:fillText(words, GAP, 2)
end

function Preview:paint(gc)
  if self.fraction then
    bar(gc, self.fraction, self.words)
  end
  local image, top = self.image, BAR + GAP
  if image and gc.height > top then
    local factor = Preview.factor(image.width, image.height, gc.width, gc.height - top)
    local width, height = math.max(1, math.floor(image.width * factor)), math.max(1, math.floor(image.height * factor))
    local x, y = (gc.width - width) // 2, top + (gc.height - top - height) // 2
    checks(gc, x, y, width, height)
    gc:drawImage(image, image.bounds, Rectangle(x, y, width, height))
  end
end

return Preview
