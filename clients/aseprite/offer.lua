-- SPDX-License-Identifier: Apache-2.0
-- What the server said it has (its `ready`), as lists for the dialog and sentences for the artist. Pure.

local request = require("request")

local offer = {}

local function by_name(items, name)
  for _, item in ipairs(items or {}) do
    if item.name == name then
      return item
    end
  end
end

local function contains(items, value)
  for _, item in ipairs(items or {}) do
    if item == value then
      return true
    end
  end
  return false
end

--- A hint of the server's as a sentence behind another, or nothing.
function offer.hint(words)
  if not words or words == "" then
    return ""
  end
  return " " .. words:gsub("^%l", string.upper):gsub("([^.!?])$", "%1.")
end

--- Names behind `first`, which is the dialog's own entry.
function offer.names(items, first)
  local names = { first }
  for _, item in ipairs(items or {}) do
    if item.name ~= first then
      names[#names + 1] = item.name
    end
  end
  return names
end

--- Titles behind `first`; a name where there is no title.
function offer.titles(items, first)
  local titles = { first }
  for _, item in ipairs(items or {}) do
    titles[#titles + 1] = item.title or item.name
  end
  return titles
end

--- "64 x 64" for each [width, height].
function offer.sizes(items)
  local names = {}
  for index, item in ipairs(items or {}) do
    names[index] = request.size_name(item[1], item[2])
  end
  return names
end

--- LoRAs that fit a model; all of them where the server chooses the model.
function offer.loras(told, model_name)
  local model, fitting = by_name(told.models, model_name), {}
  for _, lora in ipairs(told.loras or {}) do
    if not model or not lora.families or not model.family or contains(lora.families, model.family) then
      fitting[#fitting + 1] = lora
    end
  end
  return offer.names(fitting, request.NONE)
end

local PLAIN_UP_TO_PX = 64

-- Models of small pictures know single things by plain words and read no sentences.
local function is_plain(told, model_name)
  local chosen = told.chosen and told.chosen.model
  local model = by_name(told.models, model_name) or by_name(told.models, chosen) or (told.models or {})[1]
  local size = model and model.base_size
  return size ~= nil and math.max(size[1], size[2]) <= PLAIN_UP_TO_PX
end

--- The prompt of a preset, by its title, for the model that will draw.
function offer.preset(told, title, model_name)
  for _, preset in ipairs(told.presets or {}) do
    if (preset.title or preset.name) == title then
      return is_plain(told, model_name) and preset.plain or preset.prompt
    end
  end
end

--- What an engine can do here, or why it cannot be used; one line.
function offer.engine_words(told, name)
  if name == request.AUTOMATIC then
    return "The server takes what fits the model."
  end
  local engine = by_name(told.engines, name)
  if not engine then
    return "This server has no engine called " .. name .. "."
  elseif engine.available == false then
    return (engine.why_not or "This engine is not available on the server.") .. offer.hint(engine.hint)
  end
  local cannot = {}
  for _, pair in ipairs({ { "lora", "LoRA" }, { "image", "drawing from the canvas" }, { "inpaint", "inpainting" },
    { "preview", "previews" }, { "negative_prompt", "a negative prompt" } }) do
    if engine.can and not contains(engine.can, pair[1]) then
      cannot[#cannot + 1] = pair[2]
    end
  end
  return #cannot == 0 and "Does everything offered here." or "Without " .. table.concat(cannot, ", ") .. "."
end

--- Whether an engine takes LoRAs; unknown ones are given the benefit of the doubt, the server checks.
function offer.takes_loras(told, name)
  local engine = by_name(told.engines, name)
  return not engine or not engine.can or contains(engine.can, "lora")
end

return offer
