-- SPDX-License-Identifier: Apache-2.0
-- Words on a canvas, broken into lines. A label would make the whole dialog as wide as its text.

local textbox = {}

local MARGIN, GAP = 3, 2

--- Lines of at most `width` pixels; a word that is longer has a line of its own.
-- @param measure  the width in pixels of a text
function textbox.wrapped(words, width, measure)
  local lines, line = {}, nil
  for word in words:gmatch("%S+") do
    local longer = line and line .. " " .. word or word
    if line and measure(longer) > width then
      lines[#lines + 1] = line
      line = word
    else
      line = longer
    end
  end
  lines[#lines + 1] = line
  return lines
end

--- Paint words on a whole canvas; what does not fit is left out, which three points say.
function textbox.paint(gc, words)
  gc.color = Color{ r = 45, g = 45, b = 45, a = 255 }
  gc:fillRect(Rectangle(0, 0, gc.width, gc.height))
  gc.color = Color{ r = 235, g = 235, b = 235, a = 255 }
  local function measure(text) return gc:measureText(text).width end
  local step = gc:measureText("Ag").height + GAP
  local room = math.max(1, (gc.height - MARGIN) // step)
  local lines = textbox.wrapped(words, gc.width - 2 * MARGIN, measure)
  for number = 1, math.min(room, #lines) do
    local line = lines[number]
    if number == room and #lines > room then
      line = line .. "…"
    end
    gc:fillText(line, MARGIN, MARGIN + (number - 1) * step)
  end
end

return textbox
