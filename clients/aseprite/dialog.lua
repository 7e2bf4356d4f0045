-- SPDX-License-Identifier: Apache-2.0
-- The dialog: what its buttons do, and what is shown of the work. Each has a connection of its own, so that two
-- dialogs know nothing of each other. Nothing here waits; Aseprite stays usable while the server draws.

local capture = require("capture")
local form = require("form")
local Link = require("link")
local offer = require("offer")
local place = require("place")
local Preview = require("preview")
local request = require("request")
local settings = require("settings")
local textbox = require("textbox")

local Dialogue = {}
Dialogue.__index = Dialogue

function Dialogue:_say(words)
  self.words = words
  self.dlg:repaint()
end

-- Of the connection; that work was lost with it stays to be read until something new is asked for.
function Dialogue:_say_state(words)
  self:_say(self.loss and self.loss .. " " .. words or words)
end

function Dialogue:_buttons()
  local busy = self.link.work ~= nil
  self.dlg:modify{ id = "generate", enabled = self.link.state == "ready" and not busy }
  self.dlg:modify{ id = "cancel", enabled = busy }
end

function Dialogue:_progress(fraction, words)
  self.preview.fraction, self.preview.words = fraction, words
  self.dlg:repaint()
end

function Dialogue:_values()
  self.kept = form.read(self.dlg, self.kept)
  return self.kept
end

-- What the artist has open, for `request.build`; pixels are read only where they are wanted.
local function scene_of(values)
  local sprite, scene = app.sprite, {}
  local selected = request.wants_selection(values) or values.place == place.WHERE[3]
  if sprite then
    local frame = app.frame.frameNumber
    scene.canvas = { width = sprite.width, height = sprite.height,
      pixels = function() return capture.canvas(sprite, frame) end }
    if selected then
      scene.selection, scene.no_selection = capture.selection(sprite)
    end
    scene.palette = capture.hex_colors(sprite.palettes[1],
      sprite.colorMode == ColorMode.INDEXED and sprite.transparentColor or nil)
  else
    scene.no_selection = "There is no sprite with a selection: open one, or choose \"" .. request.INPUTS[1] .. "\"."
  end
  if values.palette_source == request.PALETTES[4] and app.fs.isFile(values.palette_file) then
    local palette
    -- Aseprite asks in the name of the function that calls `Palette`, which should not be `pcall` (nor a tail call).
    pcall(function() palette = Palette{ fromFile = values.palette_file } end)
    if palette then
      scene.file_palette = capture.hex_colors(palette)
    else
      scene.no_file_palette = "The palette could not be read from " .. app.fs.fileName(values.palette_file) .. "."
    end
  end
  return scene
end

-- Where the result will go, settled when the button is pressed: the artist may go on to another sprite.
local function target_of(values, scene)
  local sprite, mask = app.sprite, scene.selection
  local inpainting, from_selection = values.input == request.INPUTS[4], values.input == request.INPUTS[3]
  local side = request.side(values)
  if side then
    mask = mask or { x = 0, y = 0, width = scene.canvas.width, height = scene.canvas.height }
  end
  return {
    sprite = sprite,
    frame = sprite and app.frame.frameNumber,
    output = values.output,
    animation = values.motion ~= request.MOTIONS[1],
    where = values.place,
    grow = values.grow,
    area = mask and (inpainting or from_selection or side or values.place == place.WHERE[3])
      and place.beside(mask, side) or nil,
    mask = inpainting and mask or nil,
    prompt = values.prompt,
    began = os.time(),
  }
end

function Dialogue:generate()
  if self.link.work or self.link.state ~= "ready" then
    return
  end
  local values = self:_values()
  settings.save(self.plugin.preferences, values)
  local scene = scene_of(values)
  local order, why = request.build(values, scene, tostring(Uuid()), self.told.limits)
  if not order then
    self:_say(why)
    return
  end
  self.target, self.loss = target_of(values, scene), nil
  self.preview.image = nil
  if self.link:generate(order) then
    self:_say("Sent; waiting for the server.")
    self:_progress(0, "")
  else
    self:_say("The connection broke while the request was sent; nothing was drawn. Try again.")
  end
  self:_buttons()
end

local function shortened(words, length)
  if (utf8.len(words) or #words) <= length then
    return words
  end
  return words:sub(1, utf8.offset(words, length + 1) - 1) .. "…"
end

local function layer_name(target, told)
  local name = shortened(target.prompt:gsub("%s+", " "):match("^ ?(.-) ?$"), 32)
  return told.seed and string.format("%s | seed %d", name, told.seed) or name
end

local function order_of(target, work)
  local told, frames = work.told, work.frames
  if target.mask and capture.is_open(target.sprite) then
    local sides = target.sprite
    for index, picture in ipairs(frames) do
      if picture.width == sides.width and picture.height == sides.height then
        frames[index] = place.inpainted(picture, target.mask)
      end
    end
  end
  target.frames, target.tags, target.palette = frames, told.tags, told.palette
  target.name = layer_name(target, told)
  return target
end

local function summary(told, notes, seconds)
  local parts = { string.format("Done in %d s", seconds) }
  if told.seed then parts[#parts + 1] = string.format("seed %d", told.seed) end
  if told.proof and told.proof.colors then
    parts[#parts + 1] = string.format("%d colour%s", told.proof.colors, told.proof.colors == 1 and "" or "s")
  end
  if told.model then parts[#parts + 1] = told.model end
  if told.engine then parts[#parts + 1] = told.engine end
  local lines = { table.concat(parts, ", ") .. "." }
  for _, list in ipairs({ notes, told.notes or {} }) do
    for _, note in ipairs(list) do
      lines[#lines + 1] = note
    end
  end
  return table.concat(lines, " ")
end

function Dialogue:_finished(work)
  local target = self.target
  self.target, self.preview.fraction = nil, nil
  self.preview:show(work.frames[1])
  local order = order_of(target, work)
  local placed, notes = pcall(place.place, order)
  if not placed then
    notes = { "It could not be placed in its sprite, and is in a new one: " .. tostring(notes) }
    order.output, order.tags = place.SPRITE, nil
    place.place(order) -- what this raises is said by the link
  end
  self:_say(summary(work.told, notes, os.time() - target.began))
  self:_buttons()
end

function Dialogue:_failed(error)
  self.target = nil
  self.preview.image = nil
  if error.code == "CANCELED" then
    self:_say("Cancelled; nothing was placed.")
  else
    local words = (error.error or "The server could not do it.") .. offer.hint(error.hint)
    self.loss = error.code == "CONNECTION_LOST" and words or nil
    self:_say(words)
  end
  self:_progress(nil, "")
  self:_buttons()
end

local function step_words(message)
  local words = message.stage or "working"
  if message.steps and message.step then
    words = string.format("%s, step %d of %d", words, message.step, message.steps)
  end
  if message.eta_s then
    words = string.format("%s, about %d s more", words, math.ceil(message.eta_s))
  end
  return words
end

function Dialogue:_listen()
  return {
    state = function(state, words)
      if words then self:_say_state(words) end
      self:_buttons()
    end,
    ready = function(told)
      self.told = told
      local values = self:_values()
      self.filling = true -- a list that is changed tells so, as if the artist had chosen its first entry
      form.fill(self.dlg, told, values)
      self.filling = false
      form.refresh(self.dlg, self:_values())
      self:_say_state("Ready: Inglenook " .. (told.version or "") .. " at " .. self.link.shown .. ".")
    end,
    queued = function(message)
      local place_in_line = message.position and string.format("Number %d in the queue", message.position) or "In the queue"
      self:_progress(0, message.why and place_in_line .. ": " .. message.why or place_in_line)
    end,
    progress = function(message)
      self:_progress(math.max(0, math.min(100, message.progress or 0)) / 100, step_words(message))
    end,
    preview = function(picture)
      self.preview:show(picture)
      self.dlg:repaint()
    end,
    done = function(work) self:_finished(work) end,
    failed = function(error) self:_failed(error) end,
  }
end

function Dialogue:_actions()
  return {
    generate = function() self:generate() end,
    cancel = function()
      self.link:cancel()
      self:_say("Cancelling…")
    end,
    connect = function()
      local values = self:_values()
      settings.save(self.plugin.preferences, values)
      self.link:open(values.address, values.key)
    end,
    changed = function()
      if not self.filling then form.refresh(self.dlg, self:_values()) end
    end,
    model_changed = function()
      if self.told and not self.filling then
        form.fit_model(self.dlg, self.told, self:_values())
        self.dlg:repaint()
      end
    end,
    preset = function()
      local data = self.dlg.data
      local prompt = offer.preset(self.told or {}, data.preset, data.model)
      if prompt then self.dlg:modify{ id = "prompt", text = prompt } end
    end,
    paint_status = function(event) textbox.paint(event.context, self.words) end,
    paint_engine = function(event)
      textbox.paint(event.context, self.told and offer.engine_words(self.told, self.dlg.data.engine) or "")
    end,
    paint_preview = function(event) self.preview:paint(event.context) end,
    close = function() self.dlg:close() end,
  }
end

-- Of the window, by whatever way it was closed.
function Dialogue:_ended()
  if self.over then
    return
  end
  settings.save(self.plugin.preferences, self:_values())
  self.over = true
  self.timer:stop()
  self.link.on = setmetatable({}, { __index = function() return function() end end })
  self.link:close()
end

--- Open a dialog and connect. @return the dialogue, whose `close` ends it.
function Dialogue.open(plugin)
  local self = setmetatable({ plugin = plugin, kept = settings.load(plugin.preferences), filling = false, words = "" },
    Dialogue)
  self.preview = Preview.new()
  self.dlg = Dialog{ title = "Inglenook", onclose = function() self:_ended() end }
  self.link = Link.new(self:_listen())
  form.build(self.dlg, self.kept, self:_actions())
  form.refresh(self.dlg, self.kept)
  self.timer = Timer{ interval = 1.0, ontick = function() self.link:tick() end }
  self.timer:start()
  self.dlg:show{ wait = false, autoscrollbars = true }
  self.link:open(self.kept.address, self.kept.key)
  return self
end

function Dialogue:close()
  if not self.over then
    self.dlg:close()
  end
end

return Dialogue
