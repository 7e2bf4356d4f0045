-- SPDX-License-Identifier: Apache-2.0
-- From the filled-in form to what is sent. Pure: no Aseprite here.

local json = require("json")
local pixels = require("pixels")

local request = {}

request.NONE = "None"
request.AUTOMATIC = "Automatic"
request.OTHER_SIZE = "Other"
request.AS_CANVAS = "As the canvas"
request.AS_SELECTION = "As the selection"

request.MODELS_OWN = "The model's own"

request.INPUTS = { "Words only", "The canvas", "The selection", "Inpaint the selection", "Continue a tile" }
request.SIDES = { "To the right", "To the left", "Downwards", "Upwards" }
request.PALETTES = { "As many colours as", "Of the sprite", "Of the server", "From a file", "Every colour" }
request.MOTIONS = { "Still", "Walk", "Idle", "Rotate", "In words" }
request.FITS = { "contain", "cover", "stretch" }
request.DITHERS = { "none", "bayer-2", "bayer-4", "bayer-8", "floyd-steinberg", "atkinson" }
request.OUTLINES = { "none", "inside", "outside" }
request.REDUCTIONS = { "dominant", "median", "k-centroid", "edge", "area", "nearest" }
request.TILES = { "none", "x", "y", "both" }

local SIDE = { [request.SIDES[1]] = "right", [request.SIDES[2]] = "left", [request.SIDES[3]] = "down",
  [request.SIDES[4]] = "up" }
local MOTION = { Walk = "walk", Idle = "idle", Rotate = "rotate" }
local MAX_SIDE_PX = 4096
local MAX_VARIANTS = 32
local MAX_UPLOAD_BYTES = 16 * 1024 * 1024

--- "64 x 64" of a width and a height.
function request.size_name(width, height)
  return string.format("%d x %d", width, height)
end

--- Width and height out of "64 x 64"; nil where it is none.
function request.size(name)
  local width, height = tostring(name):match("^(%d+) x (%d+)$")
  return tonumber(width), tonumber(height)
end

--- The side on which a tile is continued, where that is what is asked for.
function request.side(form)
  return form.input == request.INPUTS[5] and SIDE[form.side] or nil
end

--- Whether the selection matters for what is asked.
function request.wants_selection(form)
  return form.size == request.AS_SELECTION or form.input == request.INPUTS[3] or form.input == request.INPUTS[4]
    or form.input == request.INPUTS[5]
end

-- What is drawn from and how it lies on the canvas: the selection, or the whole canvas.
local function source_of(form, scene)
  local whole = form.input == request.INPUTS[2] or form.input == request.INPUTS[4]
    or (form.input == request.INPUTS[5] and not scene.selection)
  return whole and scene.canvas or scene.selection, whole
end

local function sized(form, scene)
  local width, height
  if form.input == request.INPUTS[5] and scene.canvas then
    local source = source_of(form, scene)
    width, height = source.width, source.height
  elseif form.input == request.INPUTS[4] or form.size == request.AS_CANVAS then
    if not scene.canvas then
      return nil, "There is no sprite whose size could be taken: open one, or choose a size."
    end
    width, height = scene.canvas.width, scene.canvas.height
  elseif form.size == request.AS_SELECTION then
    if not scene.selection then
      return nil, scene.no_selection
    end
    width, height = scene.selection.width, scene.selection.height
  elseif form.size == request.OTHER_SIZE then
    width, height = form.width, form.height
  else
    width, height = request.size(form.size)
  end
  if not width or width < 1 or height < 1 or width > MAX_SIDE_PX or height > MAX_SIDE_PX then
    return nil, string.format("A sprite has 1 to %d pixels a side, not %s.", MAX_SIDE_PX,
      width and request.size_name(width, height) or tostring(form.size))
  end
  return { width = width, height = height }
end

local function colors(form, scene)
  local source = form.palette_source
  if source == request.PALETTES[2] then
    if not scene.palette or #scene.palette == 0 then
      return nil, "There is no sprite with a palette: open one, or take the colours from elsewhere."
    end
    return { palette = json.array(scene.palette) }
  elseif source == request.PALETTES[3] then
    if (form.server_palette or request.NONE) == request.NONE then
      return nil, "Choose one of the server's palettes."
    end
    return { palette = form.server_palette }
  elseif source == request.PALETTES[4] then
    if not scene.file_palette or #scene.file_palette == 0 then
      return nil, scene.no_file_palette or "Choose a palette file."
    end
    return { palette = json.array(scene.file_palette) }
  elseif source == request.PALETTES[5] then
    return { colors = 0 }
  end
  if form.colors < 1 or form.colors > 256 then
    return nil, "A sprite has 1 to 256 colours, not " .. form.colors .. "."
  end
  return { colors = form.colors }
end

-- `uploads` in the order in which they are sent, and the fields that name them.
local function inputs(form, scene, limit_bytes)
  if form.input == request.INPUTS[1] then
    return {}, {}
  elseif not scene.canvas then
    return nil, "There is no sprite to draw from: open one, or choose \"" .. request.INPUTS[1] .. "\"."
  end
  local canvas, mask = scene.canvas, scene.selection
  if not mask and (form.input == request.INPUTS[3] or form.input == request.INPUTS[4]) then
    return nil, scene.no_selection
  end
  local sides, whole = source_of(form, scene)
  if sides.width * sides.height * 4 > limit_bytes then
    return nil, string.format("%s is too large to be sent (%s; at most %d pixels in all). Use a smaller selection as input.",
      whole and "The canvas" or "The selection", request.size_name(sides.width, sides.height), limit_bytes // 4)
  end
  local data = canvas.pixels()
  if not whole then
    data = pixels.masked(pixels.cropped(data, canvas.width, mask), mask)
  end
  local uploads = { { name = "canvas", width = sides.width, height = sides.height, data = data } }
  local fields = { init_image = "canvas", continue_tile = request.side(form) }
  if not fields.continue_tile then
    fields.strength = form.strength / 100
  end
  if form.input == request.INPUTS[4] then
    fields.mask = "sel"
    uploads[2] = { name = "sel", width = sides.width, height = sides.height,
      data = pixels.drawn_mask(mask, sides.width, sides.height) }
  end
  return uploads, fields
end

local function motion(form)
  if form.motion == request.MOTIONS[1] then
    return { frames = 1 }
  elseif form.input == request.INPUTS[5] then
    return nil, "A tile is continued by a still picture: choose \"" .. request.MOTIONS[1] .. "\"."
  elseif form.frames < 2 or form.frames > 64 then
    return nil, "An animation has 2 to 64 frames, not " .. form.frames .. "."
  end
  local words = MOTION[form.motion] or form.motion_words
  if words == "" then
    return nil, "Say in words what moves, or choose another motion."
  end
  return { frames = form.frames, motion = words, frame_ms = form.frame_ms }
end

-- How the drawn picture becomes a sprite, where the artist wants it otherwise than the server does it by itself.
local function recipe(form)
  local fields = {}
  for name, usual in pairs({ dither = request.DITHERS[1], outline = request.OUTLINES[1], tile = request.TILES[1],
    reduction = request.REDUCTIONS[1] }) do
    if form[name] ~= usual then
      fields[name] = form[name]
    end
  end
  return next(fields) and fields or nil
end

local function drawing(form)
  local fields = {
    prompt = form.prompt,
    negative_prompt = form.negative_prompt,
    fit_mode = form.fit,
    remove_background = form.remove_background,
    n = form.motion == request.MOTIONS[1] and form.variants or 1,
    engine = form.engine == request.AUTOMATIC and "auto" or form.engine,
    previews = true,
    recipe = recipe(form),
    style = form.style ~= request.NONE and form.style or nil,
  }
  -- null is the model's own; left out, the server would take what PixelAI takes
  fields.width, fields.height = json.null, json.null
  if form.base_size ~= request.MODELS_OWN then
    fields.width, fields.height = request.size(form.base_size)
  end
  fields.steps = form.steps > 0 and form.steps or json.null
  fields.guidance_scale = form.guidance > 0 and form.guidance or json.null
  if form.seed >= 0 then
    fields.seed = form.seed
  end
  if form.model ~= request.AUTOMATIC then
    fields.model = form.model
  end
  if form.lora ~= request.NONE then
    fields.lora_model, fields.lora_strength = form.lora, form.lora_strength
  end
  return fields
end

--- What to send.
-- @param form   the values of the dialog (`settings.DEFAULTS` has them all)
-- @param scene  canvas {width, height, pixels()}, selection, palette, file_palette; each nil where there is none, with
--               no_selection and no_file_palette telling why
-- @param id     of the work, a UUID
-- @param limits of the server, or nil
-- @return {message, uploads}, or nil and a sentence that tells what to change
function request.build(form, scene, id, limits)
  if not form.prompt:find("%S") then
    return nil, "Write what should be drawn, or choose a preset."
  elseif form.variants < 1 or form.variants > MAX_VARIANTS then
    return nil, string.format("1 to %d variants can be drawn at once, not %d.", MAX_VARIANTS, form.variants)
  end
  local message = drawing(form)
  message.type, message.id = "generate", id
  local size, chosen, moving, uploads, named, why
  size, why = sized(form, scene)
  if not size then return nil, why end
  chosen, why = colors(form, scene)
  if not chosen then return nil, why end
  moving, why = motion(form)
  if not moving then return nil, why end
  uploads, named = inputs(form, scene, limits and limits.max_upload_bytes or MAX_UPLOAD_BYTES)
  if not uploads then return nil, named end
  message.pixel_width, message.pixel_height = size.width, size.height
  for _, fields in ipairs({ chosen, moving, named }) do
    for name, value in pairs(fields) do
      message[name] = value
    end
  end
  return { message = message, uploads = uploads }
end

return request
