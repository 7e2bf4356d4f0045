-- SPDX-License-Identifier: Apache-2.0
-- The widgets of the dialog. What they do is in dialog.lua.

local offer = require("offer")
local place = require("place")
local Preview = require("preview")
local request = require("request")
local settings = require("settings")

local form = {}

form.PRESETS = "Presets"
form.STATUS_WIDTH, form.STATUS_HEIGHT, form.WORDS_HEIGHT = 280, 56, 26
local OFFLINE_SIZES = { { 16, 16 }, { 32, 32 }, { 64, 64 }, { 96, 96 }, { 128, 128 }, { 256, 256 }, { 64, 96 }, { 96, 64 } }
local OFFLINE_BASES = { { 512, 512 }, { 768, 768 }, { 1024, 1024 } }

local function with(items, name)
  for _, item in ipairs(items) do
    if item == name then
      return items
    end
  end
  table.insert(items, 1, name)
  return items
end

--- Sizes to choose from; `told` is the server's offer, or nil.
function form.sizes(told, chosen)
  local names = offer.sizes(told and told.sizes or OFFLINE_SIZES)
  for _, name in ipairs({ request.AS_CANVAS, request.AS_SELECTION, request.OTHER_SIZE }) do
    names[#names + 1] = name
  end
  return with(names, chosen)
end

function form.base_sizes(told, chosen)
  return with(with(offer.sizes(told and told.base_sizes or OFFLINE_BASES), chosen), request.MODELS_OWN)
end

local function picture_tab(dlg, kept, on)
  dlg:tab{ id = "tab_picture", text = "Picture" }
  dlg:combobox{ id = "size", label = "Final size", option = kept.size, options = form.sizes(nil, kept.size),
    onchange = on.changed }
  dlg:number{ id = "width", label = "Width, height", text = tostring(kept.width), decimals = 0 }
  dlg:number{ id = "height", text = tostring(kept.height), decimals = 0 }
  dlg:combobox{ id = "base_size", label = "Drawn at", option = kept.base_size,
    options = form.base_sizes(nil, kept.base_size) }
  dlg:combobox{ id = "fit", label = "Fit", option = kept.fit, options = request.FITS }
  dlg:check{ id = "remove_background", label = "Background", text = "Remove", selected = kept.remove_background }
  dlg:combobox{ id = "input", label = "From", option = kept.input, options = request.INPUTS, onchange = on.changed }
  dlg:combobox{ id = "side", label = "Continue", option = kept.side, options = request.SIDES }
  dlg:slider{ id = "strength", label = "Change, %", min = 1, max = 100, value = kept.strength }
end

local function palette_tab(dlg, kept, on)
  dlg:tab{ id = "tab_palette", text = "Colours" }
  dlg:combobox{ id = "palette_source", label = "Colours", option = kept.palette_source, options = request.PALETTES,
    onchange = on.changed }
  dlg:number{ id = "colors", label = "How many", text = tostring(kept.colors), decimals = 0 }
  dlg:combobox{ id = "server_palette", label = "Palette", option = kept.server_palette,
    options = with({ request.NONE }, kept.server_palette) }
  dlg:file{ id = "palette_file", label = "File", title = "A palette", open = true, filename = kept.palette_file,
    filetypes = { "gpl", "pal", "hex", "act", "ase", "aseprite", "png", "gif" } }
end

local function finish_tab(dlg, kept)
  dlg:tab{ id = "tab_finish", text = "Pixels" }
  dlg:combobox{ id = "reduction", label = "Reduce by", option = kept.reduction, options = request.REDUCTIONS }
  dlg:combobox{ id = "dither", label = "Dither", option = kept.dither, options = request.DITHERS }
  dlg:combobox{ id = "outline", label = "Outline", option = kept.outline, options = request.OUTLINES }
  dlg:combobox{ id = "tile", label = "Tiles in", option = kept.tile, options = request.TILES }
end

local function output_tab(dlg, kept, on)
  dlg:tab{ id = "tab_output", text = "Output" }
  dlg:combobox{ id = "output", label = "Into", option = kept.output, options = place.OUTPUTS }
  dlg:combobox{ id = "place", label = "Where", option = kept.place, options = place.WHERE }
  dlg:check{ id = "grow", label = "Canvas", text = "Grow where the picture is larger", selected = kept.grow }
  dlg:combobox{ id = "motion", label = "Motion", option = kept.motion, options = request.MOTIONS, onchange = on.changed }
  dlg:number{ id = "variants", label = "Variants", text = tostring(kept.variants), decimals = 0 }
  dlg:entry{ id = "motion_words", label = "What moves", text = kept.motion_words }
  dlg:number{ id = "frames", label = "Frames", text = tostring(kept.frames), decimals = 0 }
  dlg:number{ id = "frame_ms", label = "Each, ms", text = tostring(kept.frame_ms), decimals = 0 }
end

local function model_tab(dlg, kept, on)
  dlg:tab{ id = "tab_model", text = "Model" }
  dlg:combobox{ id = "engine", label = "Engine", option = kept.engine, options = with({ request.AUTOMATIC }, kept.engine),
    onchange = on.model_changed }
  dlg:canvas{ id = "engine_words", width = form.STATUS_WIDTH, height = form.WORDS_HEIGHT, vexpand = false,
    onpaint = on.paint_engine }
  dlg:combobox{ id = "model", label = "Model", option = kept.model, options = with({ request.AUTOMATIC }, kept.model),
    onchange = on.model_changed }
  dlg:combobox{ id = "lora", label = "LoRA", option = kept.lora, options = with({ request.NONE }, kept.lora) }
  dlg:number{ id = "lora_strength", label = "Its strength", text = tostring(kept.lora_strength), decimals = 2 }
  dlg:number{ id = "steps", label = "Steps (0: own)", text = tostring(kept.steps), decimals = 0 }
  dlg:number{ id = "guidance", label = "Guidance (0: own)", text = tostring(kept.guidance), decimals = 1 }
  dlg:number{ id = "seed", label = "Seed (-1: any)", text = tostring(kept.seed), decimals = 0 }
  dlg:entry{ id = "negative_prompt", label = "Not wanted", text = kept.negative_prompt }
end

local function server_tab(dlg, kept, on)
  dlg:tab{ id = "tab_server", text = "Server" }
  dlg:entry{ id = "address", label = "Address", text = kept.address }
  dlg:entry{ id = "key", label = "Key", text = kept.key }
  dlg:button{ id = "connect", text = "Connect", onclick = on.connect }
end

--- All widgets, with what was kept from last time.
function form.build(dlg, kept, on)
  dlg:canvas{ id = "status", width = form.STATUS_WIDTH, height = form.STATUS_HEIGHT, vexpand = false,
    onpaint = on.paint_status }
  dlg:entry{ id = "prompt", label = "Prompt", text = kept.prompt, focus = true }
  dlg:combobox{ id = "preset", label = "Preset", option = form.PRESETS, options = { form.PRESETS }, onchange = on.preset }
  dlg:combobox{ id = "style", label = "Style", option = kept.style, options = with({ request.NONE }, kept.style) }
  picture_tab(dlg, kept, on)
  palette_tab(dlg, kept, on)
  finish_tab(dlg, kept)
  output_tab(dlg, kept, on)
  model_tab(dlg, kept, on)
  server_tab(dlg, kept, on)
  dlg:endtabs{ id = "tabs", selected = "tab_picture" }
  dlg:canvas{ id = "preview", width = Preview.WIDTH, height = Preview.HEIGHT, onpaint = on.paint_preview }
  dlg:button{ id = "generate", text = "Generate", enabled = false, focus = true, onclick = on.generate }
  dlg:button{ id = "cancel", text = "Cancel", enabled = false, onclick = on.cancel }
  dlg:button{ id = "close", text = "Close", onclick = on.close }
end

--- The values as they stand; a combobox in which nothing is chosen keeps what it had.
function form.read(dlg, kept)
  local data, values = dlg.data, {}
  for name, default in pairs(settings.DEFAULTS) do
    local value = data[name]
    if value == nil then
      value = kept[name]
    end
    if math.type(default) == "integer" then
      value = math.floor(value)
    end
    values[name] = value
  end
  return values
end

-- What is of no use for the choice that was made is greyed.
local function usable(values)
  local input, source = values.input, values.palette_source
  local continuing, still = input == request.INPUTS[5], values.motion == request.MOTIONS[1]
  local sizeable = input ~= request.INPUTS[4] and not continuing
  return {
    size = sizeable,
    width = values.size == request.OTHER_SIZE and sizeable,
    height = values.size == request.OTHER_SIZE and sizeable,
    side = continuing,
    place = not continuing,
    strength = input ~= request.INPUTS[1] and not continuing,
    colors = source == request.PALETTES[1],
    server_palette = source == request.PALETTES[3],
    palette_file = source == request.PALETTES[4],
    variants = still,
    motion_words = values.motion == request.MOTIONS[5],
    frames = not still,
    frame_ms = not still,
  }
end

function form.refresh(dlg, values)
  for id, enabled in pairs(usable(values)) do
    dlg:modify{ id = id, enabled = enabled }
  end
end

-- The list changes, the choice stays where it is still offered.
local function options(dlg, id, names, chosen)
  local kept = names[1]
  for _, name in ipairs(names) do
    kept = name == chosen and name or kept
  end
  dlg:modify{ id = id, options = names, option = kept }
end

--- Lists from the server's offer.
function form.fill(dlg, told, values)
  options(dlg, "preset", offer.titles(told.presets, form.PRESETS), form.PRESETS)
  options(dlg, "style", offer.names(told.styles, request.NONE), values.style)
  options(dlg, "size", form.sizes(told, values.size), values.size)
  options(dlg, "base_size", form.base_sizes(told, values.base_size), values.base_size)
  options(dlg, "server_palette", offer.names(told.palettes, request.NONE), values.server_palette)
  options(dlg, "engine", offer.names(told.engines, request.AUTOMATIC), values.engine)
  options(dlg, "model", offer.names(told.models, request.AUTOMATIC), values.model)
  form.fit_model(dlg, told, values)
end

--- The LoRAs that go with the engine and the model.
function form.fit_model(dlg, told, values)
  local takes = offer.takes_loras(told, values.engine)
  options(dlg, "lora", takes and offer.loras(told, values.model) or { request.NONE }, values.lora)
end

return form
