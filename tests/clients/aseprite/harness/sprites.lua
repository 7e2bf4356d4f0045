-- SPDX-License-Identifier: Apache-2.0
-- Sprite, Layer, Cel, Frame, Tag, Palette and Selection over `documents`.

local documents = require("documents")
local images = require("images")
local shapes = require("shapes")
local strict = require("strict")

local sprites = {}

-- Palette: {colors = {{r, g, b, a}, …}} of its own, or {document}, a sprite's.
local function colors_of(palette)
  return palette.document and documents.content(palette.document).palette or palette.colors
end

local palette_methods = {}
local new_palette = strict.class("Palette", {
  methods = palette_methods,
  length = function(palette) return #colors_of(palette) end,
})

sprites.files = {} -- palettes by the name of their file

function sprites.Palette(given)
  if strict.is(given, "Palette") then
    local colors = {}
    for index, color in ipairs(colors_of(strict.state(given, "Palette"))) do
      colors[index] = { table.unpack(color) }
    end
    return new_palette({ colors = colors })
  elseif type(given) == "table" then
    strict.fields("Palette{}", given, { fromFile = "string" })
    strict.asked_by_a_script("Palette{ fromFile }")
    local colors = sprites.files[given.fromFile]
    if colors == "not allowed" then
      error("script doesn't have access to open file " .. given.fromFile)
    end
    return colors and new_palette({ colors = colors }) or nil
  elseif math.type(given) ~= "integer" or given < 1 or given > 256 then
    strict.violate("Palette(%s)", tostring(given))
  end
  local colors = {}
  for index = 1, given do
    colors[index] = { 0, 0, 0, 255 }
  end
  return new_palette({ colors = colors })
end

function palette_methods.getColor(self, index)
  local color = colors_of(strict.state(self, "Palette"))[index + 1] or error("index out of bounds " .. index)
  return shapes.Color{ r = color[1], g = color[2], b = color[3], a = color[4] }
end

local function own(self)
  local palette = strict.state(self, "Palette")
  if palette.document then
    strict.violate("a sprite's palette is changed entry by entry; make one and use Sprite:setPalette()")
  end
  return palette.colors
end

function palette_methods.setColor(self, index, color)
  local colors, new = own(self), strict.state(color, "Color")
  if not colors[index + 1] then
    error("index out of bounds " .. index)
  end
  colors[index + 1] = { new.red, new.green, new.blue, new.alpha }
end

function palette_methods.resize(self, count)
  local colors = own(self)
  if count > 256 then
    strict.violate("a palette of %d entries", count)
  end
  for index = #colors + 1, count do
    colors[index] = { 0, 0, 0, 255 }
  end
end

-- What belongs to a document is found again by its id, as its tables change with every undo.
local function layer_in(state)
  for index, layer in ipairs(documents.content(state.document).layers) do
    if layer.id == state.id then
      return layer, index
    end
  end
  error("Using a nil 'Layer' object")
end

local function changing(state)
  documents.changing(state.document)
  return layer_in(state)
end

local new_layer = strict.class("Layer", {
  get = {
    name = function(state) return layer_in(state).name end,
    isVisible = function(state) return layer_in(state).visible end,
  },
  set = {
    name = function(state, name) changing(state).name = name end,
    isVisible = function(state, visible) changing(state).visible = visible end,
  },
})

local new_frame = strict.class("Frame", {
  get = {
    frameNumber = function(state) return state.number end,
    duration = function(state) return documents.content(state.document).frames[state.number].duration end,
  },
  set = {
    duration = function(state, seconds)
      if type(seconds) ~= "number" or seconds <= 0 then
        strict.violate("Frame.duration is in seconds, not %s", tostring(seconds))
      end
      documents.changing(state.document)
      documents.content(state.document).frames[state.number].duration = seconds
    end,
  },
})

local function tag_set(name, check)
  return function(state, value)
    if type(value) ~= check then
      strict.violate("Tag.%s should be %s", name, check)
    end
    documents.changing(state.document)
    documents.content(state.document).tags[state.index][name] = value
  end
end

local function tag_of(state)
  return documents.content(state.document).tags[state.index]
end

local new_tag = strict.class("Tag", {
  get = { toFrame = function(state) return new_frame({ document = state.document, number = tag_of(state).to }) end },
  set = {
    name = tag_set("name", "string"),
    aniDir = tag_set("aniDir", "number"),
    -- Not in the reference, which tells of reading alone; it can be set since 1.2.10.
    toFrame = function(state, number)
      if math.type(number) ~= "integer" or number < tag_of(state).from then
        strict.violate("Tag.toFrame = %s", tostring(number))
      end
      documents.changing(state.document)
      tag_of(state).to = number
    end,
  },
})
local new_cel = strict.class("Cel", {})

-- Selection: the set {"x,y" = true} of a sprite's, or one of its own.
local function set_of(state)
  return state.document and documents.content(state.document).selection or state.set
end

local selection_methods = { contains = function(self, x, y)
  return set_of(strict.state(self, "Selection"))[x .. "," .. y] == true
end }

local new_selection = strict.class("Selection", {
  get = {
    isEmpty = function(state) return next(set_of(state)) == nil end,
    bounds = function(state)
      local left, top, right, bottom
      for place in pairs(set_of(state)) do
        local x, y = place:match("(-?%d+),(-?%d+)")
        x, y = math.tointeger(x), math.tointeger(y)
        left, right = math.min(left or x, x), math.max(right or x, x)
        top, bottom = math.min(top or y, y), math.max(bottom or y, y)
      end
      if not left then
        return shapes.Rectangle()
      end
      return shapes.Rectangle(left, top, right - left + 1, bottom - top + 1)
    end,
  },
  methods = selection_methods,
})

function sprites.Selection(area)
  local r, set = strict.state(area, "Rectangle"), {}
  for y = r.y, r.y + r.height - 1 do
    for x = r.x, r.x + r.width - 1 do
      set[x .. "," .. y] = true
    end
  end
  return new_selection({ set = set })
end

local function keeping(kept)
  return function(self, other)
    local state, there = strict.state(self, "Selection"), set_of(strict.state(other, "Selection"))
    if state.document then
      strict.violate("the artist's selection is changed")
    end
    for place in pairs(state.set) do
      if (there[place] == true) ~= kept then state.set[place] = nil end
    end
  end
end

selection_methods.intersect = keeping(true)
selection_methods.subtract = keeping(false)

local function listed(count, item)
  return setmetatable({}, {
    __len = count,
    __index = function(_, index) return math.type(index) == "integer" and index >= 1 and index <= count() and item(index) or nil end,
    __newindex = function() strict.violate("a list of Aseprite's is read only") end,
  })
end

local function from_content(name)
  return function(document) return documents.content(document)[name] end
end

local methods = {}
sprites.new = strict.class("Sprite", {
  get = {
    width = from_content("width"),
    height = from_content("height"),
    colorMode = from_content("mode"),
    transparentColor = from_content("transparent"),
    bounds = function(document)
      local content = documents.content(document)
      return shapes.Rectangle(0, 0, content.width, content.height)
    end,
    spec = function(document)
      local content = documents.content(document)
      return shapes.new_spec({ width = content.width, height = content.height, colorMode = content.mode,
        transparentColor = content.transparent })
    end,
    selection = function(document)
      documents.content(document)
      return new_selection({ document = document })
    end,
    palettes = function(document)
      documents.content(document)
      return listed(function() return 1 end, function() return new_palette({ document = document }) end)
    end,
    frames = function(document)
      return listed(function() return #documents.content(document).frames end,
        function(number) return new_frame({ document = document, number = number }) end)
    end,
    tags = function(document)
      return listed(function() return #documents.content(document).tags end,
        function(index) return new_tag({ document = document, index = index }) end)
    end,
    layers = function(document)
      return listed(function() return #documents.content(document).layers end, function(index)
        return new_layer({ document = document, id = documents.content(document).layers[index].id })
      end)
    end,
  },
  set = {}, -- width and height can be set, but that leaves a background layer as it is: `crop` is meant
  methods = methods,
  equal = function(a, b)
    documents.content(a)
    documents.content(b)
    return a == b
  end,
})

local DEFAULT_PALETTE = { { 0, 0, 0, 255 }, { 255, 255, 255, 255 } }

function sprites.Sprite(width, height, mode)
  if math.type(width) ~= "integer" or math.type(height) ~= "integer" or math.type(mode) ~= "integer" then
    strict.violate("Sprite(%s, %s, %s)", tostring(width), tostring(height), tostring(mode))
  end
  return sprites.new(documents.make(width, height, mode, DEFAULT_PALETTE))
end

-- Cels move with the canvas and are not cut; that is what Aseprite does in transparent layers.
function methods.crop(self, x, y, width, height)
  local document = strict.state(self, "Sprite")
  if width < 1 or height < 1 then
    strict.violate("Sprite:crop() to %d x %d", width, height)
  end
  documents.changing(document)
  local content = documents.content(document)
  content.width, content.height = width, height
  for _, layer in ipairs(content.layers) do
    for _, cel in pairs(layer.cels) do
      cel.x, cel.y = cel.x - x, cel.y - y
    end
  end
end

function methods.newLayer(self)
  local document = strict.state(self, "Sprite")
  documents.changing(document)
  local layer = { id = documents.id(), name = "Layer", visible = true, cels = {} }
  table.insert(documents.content(document).layers, layer)
  return new_layer({ document = document, id = layer.id })
end

function methods.deleteLayer(self, layer)
  local document = strict.state(self, "Sprite")
  local _, index = layer_in(strict.state(layer, "Layer"))
  if #documents.content(document).layers == 1 then
    strict.violate("the only layer of a sprite cannot be deleted")
  end
  documents.changing(document)
  table.remove(documents.content(document).layers, index)
end

function methods.newEmptyFrame(self, number)
  local document = strict.state(self, "Sprite")
  local frames = documents.content(document).frames
  if math.type(number) ~= "integer" or number < 1 or number > #frames + 1 then
    strict.violate("Sprite:newEmptyFrame(%s) of %d frames", tostring(number), #frames)
  end
  documents.changing(document)
  table.insert(documents.content(document).frames, number, { duration = 0.1 })
  for _, tag in ipairs(documents.content(document).tags) do -- one that ends right before it grows over it
    if number <= tag.from then tag.from = tag.from + 1 end
    if number <= tag.to + 1 then tag.to = tag.to + 1 end
  end
  for _, layer in ipairs(documents.content(document).layers) do
    local cels = {}
    for at, cel in pairs(layer.cels) do
      cels[at >= number and at + 1 or at] = cel
    end
    layer.cels = cels
  end
  return new_frame({ document = document, number = number })
end

function methods.newCel(self, layer, number, image, position)
  local document = strict.state(self, "Sprite")
  local content, picture = documents.content(document), strict.state(image, "Image")
  local point = strict.state(position, "Point")
  if math.type(number) ~= "integer" or not content.frames[number] then
    strict.violate("Sprite:newCel() in frame %s of %d", tostring(number), #content.frames)
  elseif picture.mode ~= content.mode or (picture.mode == 2 and picture.transparent ~= content.transparent) then
    strict.violate("Sprite:newCel() of an image in another colour mode: Aseprite would show noise")
  end
  documents.changing(document)
  local there = layer_in(strict.state(layer, "Layer"))
  there.cels[number] = { x = point.x, y = point.y, image = { width = picture.width, height = picture.height,
    mode = picture.mode, transparent = picture.transparent, bytes = picture.bytes } }
  return new_cel({})
end

function methods.newTag(self, from, to)
  local document = strict.state(self, "Sprite")
  local content = documents.content(document)
  if not content.frames[from] or not content.frames[to] or from > to then
    strict.violate("Sprite:newTag(%s, %s) of %d frames", tostring(from), tostring(to), #content.frames)
  end
  documents.changing(document)
  content = documents.content(document)
  table.insert(content.tags, { name = "Tag", from = from, to = to, aniDir = 0 })
  return new_tag({ document = document, index = #content.tags })
end

function methods.setPalette(self, palette)
  local document, colors = strict.state(self, "Sprite"), {}
  for index, color in ipairs(colors_of(strict.state(palette, "Palette"))) do
    colors[index] = { table.unpack(color) }
  end
  documents.changing(document)
  documents.content(document).palette = colors
end

sprites.new_frame = new_frame

return sprites
