-- SPDX-License-Identifier: Apache-2.0
-- Stands for Aseprite: runs the extension's real files with the documented API and nothing else, and does what comes on
-- standard input.
--
--   lua5.4 host.lua HARNESS EXTENSION
--
-- Both ways a message is a line with the lengths of its parts, then the parts. In: a piece of Lua and byte strings for
-- it (`blobs`). Out: JSON {ok, value, actions, violations} and byte strings; {"blob": n} stands for the nth.

local HARNESS, EXTENSION = arg[1], arg[2]
package.path = HARNESS .. "/?.lua"

local dialogs = require("dialogs")
local documents = require("documents")
local images = require("images")
local shapes = require("shapes")
local sockets = require("sockets")
local sprites = require("sprites")
local strict = require("strict")

-- What the extension sees ---------------------------------------------------------------------------------------

local new_uuid = strict.class("Uuid", { tostring = function(uuid) return uuid.text end })

local active = {
  apiVersion = function() return 33 end,
  isUIAvailable = function() return true end,
  sprite = function() return documents.active and sprites.new(documents.active) or nil end,
  frame = function()
    local document = documents.active
    return document and sprites.new_frame({ document = document, number = documents.frame[document] }) or nil
  end,
  transaction = function() return documents.transaction end,
  refresh = function() return function() end end,
  alert = function() return function() strict.violate("app.alert() blocks Aseprite until it is answered") end end,
  fs = function()
    return strict.names("app.fs", {
      isFile = function(name) return sprites.files[name] ~= nil end,
      fileName = function(name) return name:match("[^/\\]*$") end,
    })
  end,
}

local app = setmetatable({}, {
  __index = function(_, key)
    if not active[key] then
      strict.violate("app.%s is not in Aseprite's reference, or not in this harness", tostring(key))
    end
    return active[key]()
  end,
  -- The reference tells that app.frame can be set. app.sprite can be as well since 1.2.10, and scripts do it.
  __newindex = function(_, key, value)
    if key ~= "sprite" then
      strict.violate("app.%s cannot be set", tostring(key))
    end
    local document = strict.state(value, "Sprite")
    documents.content(document)
    documents.active = document
  end,
})

local function forbidden(name)
  return function() strict.violate("%s asks the artist for permission or stops Aseprite", name) end
end

local seen = {
  app = app, Dialog = dialogs.Dialog, Timer = sockets.Timer, WebSocket = sockets.WebSocket,
  WebSocketMessageType = sockets.WebSocketMessageType, ColorMode = shapes.ColorMode, AniDir = shapes.AniDir,
  Sprite = sprites.Sprite, Palette = sprites.Palette, Image = images.Image, Point = shapes.Point,
  Rectangle = shapes.Rectangle, Selection = sprites.Selection, Color = shapes.Color,
  Uuid = function()
    local text = ("xxxxxxxx-xxxx-4xxx-8xxx-xxxxxxxxxxxx"):gsub("x", function()
      return string.format("%x", math.random(0, 15))
    end)
    return new_uuid({ text = text })
  end,
  os = strict.names("os", { time = os.time, clock = os.clock, date = os.date, execute = forbidden("os.execute") }),
  io = strict.names("io", { open = forbidden("io.open"), popen = forbidden("io.popen") }),
}
for _, name in ipairs({ "assert", "error", "getmetatable", "ipairs", "math", "next", "pairs", "pcall", "rawequal", "rawget",
  "rawlen", "rawset", "select", "setmetatable", "string", "table", "tonumber", "tostring", "type", "utf8", "xpcall" }) do
  seen[name] = _G[name]
end

local globals = { init = true, exit = true }
local environment = setmetatable({}, {
  __index = function(_, name)
    if globals[name] == true then return nil end
    local value = seen[name] or globals[name]
    if value == nil then strict.violate("the global %s is not in Aseprite's reference", tostring(name)) end
    return value
  end,
  __newindex = function(_, name, value)
    if globals[name] == nil then strict.violate("the global %s is set; a local is meant", tostring(name)) end
    globals[name] = value
  end,
})

-- As Aseprite's: an extension's modules are found only while its first file runs.
local loaded, loading = {}, true
function seen.require(name)
  if not loading then
    strict.violate("require(%q) after the extension was loaded finds nothing", name)
  elseif loaded[name] == nil then
    local chunk = assert(loadfile(EXTENSION .. "/" .. name .. ".lua", "t", environment))
    loaded[name] = chunk(name) or true
  end
  return loaded[name]
end

local commands = {}
local plugin = { preferences = {} }
local new_plugin = strict.class("Plugin", {
  get = { preferences = function() return plugin.preferences end },
  methods = { newCommand = function(_, given)
    strict.fields("Plugin:newCommand{}", given, { id = "string", title = "string", group = "string", onclick = "function",
      onenabled = "function", onchecked = "function" })
    commands[given.id] = given
  end },
})

local host = { dialogs = dialogs, documents = documents, images = images, sockets = sockets, sprites = sprites,
  strict = strict, plugin = plugin, active = active, loaded = loaded }

--- Load the extension as Aseprite does at its start.
function host.start()
  assert(loadfile(EXTENSION .. "/main.lua", "t", environment))()
  loading = false
  globals.init(new_plugin({}))
end

function host.stop()
  globals.exit(new_plugin({}))
end

--- File > Scripts > …; the number of the dialog.
function host.command(id)
  local command = commands[id] or error("no command " .. id)
  command.onclick()
  return #dialogs.open
end

function host.commands()
  local names = {}
  for id in pairs(commands) do
    names[#names + 1] = id
  end
  return names
end

--- Open a sprite: mode 0 RGB, 1 gray, 2 indexed; pixels in the layout of the mode, without padding.
function host.open_sprite(width, height, mode, bytes, palette)
  local document = documents.make(width, height, mode, palette or { { 0, 0, 0, 255 }, { 255, 255, 255, 255 } })
  if bytes then
    local picture = strict.state(images.Image(width, height, mode), "Image")
    local row, rows = width * shapes.BYTES_PER_PIXEL[mode], {}
    local padding = ("\0"):rep(#picture.bytes // height - row)
    for y = 0, height - 1 do
      rows[y + 1] = bytes:sub(y * row + 1, (y + 1) * row) .. padding
    end
    picture.bytes = table.concat(rows)
    document.content.layers[1].cels[1] = { x = 0, y = 0, image = picture }
  end
  return #documents.open
end

--- Everything about an open sprite that a test may want, pixels of cels as they are stored.
function host.sprite(number)
  local document = documents.open[number]
  local content, told = document.content, { layers = {} }
  for index, layer in ipairs(content.layers) do
    local cels = {}
    for frame, cel in pairs(layer.cels) do
      cels[tostring(frame)] = { x = cel.x, y = cel.y, width = cel.image.width, height = cel.image.height,
        bytes = host.blob(images.packed(cel.image)) }
    end
    told.layers[index] = { name = layer.name, visible = layer.visible, cels = cels }
  end
  told.width, told.height, told.mode, told.frames = content.width, content.height, content.mode, content.frames
  told.tags, told.palette, told.undo = content.tags, content.palette, #document.steps
  return told
end

function host.rendered(number, frame)
  return host.blob(images.rendered(documents.open[number].content, frame))
end

function host.select(number, x, y, width, height)
  local selection = documents.open[number].content.selection
  for row = y, y + height - 1 do
    for column = x, x + width - 1 do
      selection[column .. "," .. row] = true
    end
  end
end

function host.deselect(number, x, y)
  documents.open[number].content.selection[x .. "," .. y] = nil
end

-- The line ------------------------------------------------------------------------------------------------------

local blobs_out

function host.blob(bytes)
  blobs_out[#blobs_out + 1] = bytes
  return { blob = #blobs_out }
end

local function written(value)
  local kind = type(value)
  if kind == "table" and (#value > 0 or next(value) == nil) then
    local parts = {}
    for index, item in ipairs(value) do
      parts[index] = written(item)
    end
    return "[" .. table.concat(parts, ",") .. "]"
  elseif kind == "table" then
    local parts = {}
    for name, item in pairs(value) do
      parts[#parts + 1] = written(tostring(name)) .. ":" .. written(item)
    end
    return "{" .. table.concat(parts, ",") .. "}"
  elseif kind == "string" then
    return '"' .. value:gsub('[%c"\\]', function(sign) return string.format("\\u%04x", sign:byte()) end) .. '"'
  elseif kind == "nil" or kind == "function" then
    return "null"
  end
  return tostring(value)
end

local function read_parts()
  local line = io.read("l")
  local parts = {}
  for length in (line or ""):gmatch("%d+") do
    parts[#parts + 1] = length == "0" and "" or io.read(math.tointeger(length))
  end
  return line and parts
end

local function answer(told)
  local parts = { written(told), table.unpack(blobs_out) }
  local lengths = {}
  for index, part in ipairs(parts) do
    lengths[index] = #part
  end
  io.write(table.concat(lengths, " "), "\n", table.concat(parts))
  io.flush()
end

for parts in read_parts do
  blobs_out = {}
  local chunk, why = load(parts[1], "=test", "t", setmetatable({ host = host, blobs = { table.unpack(parts, 2) } }, { __index = _G }))
  local ok, value = false, why
  if chunk then
    ok, value = xpcall(chunk, function(text) return tostring(text) .. "\n" .. debug.traceback("", 2) end)
  end
  local actions = {}
  for index, action in ipairs(sockets.actions) do
    actions[index] = { action[1], action[2], host.blob(action[3]) }
  end
  sockets.actions = {}
  answer({ ok = ok, value = value, actions = actions, violations = strict.violations })
end
