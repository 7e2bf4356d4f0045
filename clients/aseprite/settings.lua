-- SPDX-License-Identifier: Apache-2.0
-- What the dialog remembers from one session of Aseprite to the next, in `plugin.preferences`.

local address = require("address")
local request = require("request")

local settings = {}

--- Every field of the form with what it is before anybody has changed it.
settings.DEFAULTS = {
  address = address.DEFAULT,
  key = "",
  prompt = "",
  negative_prompt = "blurry, smooth, antialiased, realistic, photographic, 3d render, low quality",
  size = "64 x 64",
  width = 64,
  height = 64,
  base_size = request.MODELS_OWN,
  fit = request.FITS[1],
  remove_background = false,
  input = request.INPUTS[1],
  side = request.SIDES[1],
  strength = 60,
  palette_source = request.PALETTES[1],
  colors = 16,
  server_palette = request.NONE,
  palette_file = "",
  style = request.NONE,
  dither = request.DITHERS[1],
  outline = request.OUTLINES[1],
  reduction = request.REDUCTIONS[1],
  tile = request.TILES[1],
  variants = 1,
  output = "New layer",
  place = "Top left",
  grow = true,
  motion = request.MOTIONS[1],
  motion_words = "",
  frames = 4,
  frame_ms = 150,
  engine = request.AUTOMATIC,
  model = request.AUTOMATIC,
  lora = request.NONE,
  lora_strength = 0.8,
  steps = 0, -- the model's own
  guidance = 0.0, -- the model's own
  seed = -1,
}

--- A copy of the defaults with what is kept laid over; what has another type than its default is left out, as another
--- version may have written it.
function settings.load(preferences)
  local found = {}
  for name, default in pairs(settings.DEFAULTS) do
    local kept = preferences[name]
    if type(kept) == type(default) then
      found[name] = kept
    else
      found[name] = default
    end
  end
  return found
end

--- Write the form's values into the preferences; Aseprite writes them to disk when it ends.
function settings.save(preferences, form)
  for name in pairs(settings.DEFAULTS) do
    preferences[name] = form[name]
  end
end

return settings
