-- SPDX-License-Identifier: Apache-2.0
-- Dialog and its widgets. `dialogs.open` are those on the screen; the tests press and write in them by number.

local strict = require("strict")
local shapes = require("shapes")
local images = require("images")

local dialogs = { open = {}, made = 0 }

local COMMON = { id = "string", label = "string", focus = "boolean", enabled = "boolean", visible = "boolean",
  hexpand = "boolean", vexpand = "boolean" }
local KINDS = {
  label = { text = "string" },
  entry = { text = "string", onchange = "function" },
  number = { text = "string", decimals = "integer", onchange = "function" },
  check = { text = "string", selected = "boolean", onclick = "function" },
  button = { text = "string", selected = "boolean", onclick = "function" },
  slider = { min = "integer", max = "integer", value = "integer", onchange = "function", onrelease = "function" },
  combobox = { option = "string", options = "table", onchange = "function" },
  file = { title = "string", open = "boolean", save = "boolean", filename = "string", filetypes = "table",
    entry = "boolean", onchange = "function" },
  canvas = { width = "integer", height = "integer", autoscaling = "boolean", onpaint = "function" },
}
local MODIFY = { id = "string", visible = "boolean", enabled = "boolean", text = "string", label = "string",
  selected = "boolean", focus = "boolean", option = "string", options = "table", value = "integer", title = "string",
  filename = "string", decimals = "integer", min = "integer", max = "integer" }

local function known(extra)
  local all = {}
  for _, fields in ipairs({ COMMON, extra }) do
    for name, kind in pairs(fields) do
      all[name] = kind
    end
  end
  return all
end

local function said(text)
  if text and not utf8.len(text) then
    strict.violate("a text that is not UTF-8 in a widget: %q", text)
  end
  return text
end

-- A combobox tells of a change whoever makes it; also when its first item is added.
local function choose(widget, option)
  if widget.option ~= option then
    widget.option = option
    if widget.onchange then widget.onchange({}) end
  end
end

local function set_options(widget, options)
  for _, option in ipairs(options) do
    said(option)
  end
  widget.options, widget.option = options, nil
  if options[1] then choose(widget, options[1]) end
end

local function offered(widget, option)
  for _, one in ipairs(widget.options) do
    if one == option then return true end
  end
  return false
end

local methods = {}

for kind, fields in pairs(KINDS) do
  methods[kind] = function(self, given)
    local window = strict.state(self, "Dialog")
    strict.fields("Dialog:" .. kind .. "{}", given, known(fields))
    local widget = { kind = kind, enabled = given.enabled ~= false, visible = given.visible ~= false,
      text = said(given.text) or "" }
    for name, value in pairs(given) do
      widget[name] = value
    end
    if kind == "combobox" then
      local onchange = widget.onchange
      widget.onchange, widget.option = nil, nil
      set_options(widget, given.options)
      if given.option and offered(widget, given.option) then widget.option = given.option end
      widget.onchange = onchange
    end
    widget.enabled = given.enabled ~= false
    if given.id then
      if window.widgets[given.id] then
        strict.violate("two widgets with the id %s", given.id)
      end
      window.widgets[given.id] = widget
    end
    return self
  end
end

function methods.tab(self, given)
  local window = strict.state(self, "Dialog")
  strict.fields("Dialog:tab{}", given, { id = "string", text = "string", onclick = "function" })
  window.tabbing = true
  window.tabs[#window.tabs + 1] = given.id
  return self
end

function methods.endtabs(self, given)
  local window = strict.state(self, "Dialog")
  strict.fields("Dialog:endtabs{}", given, { id = "string", selected = "string", align = "integer", onchange = "function" })
  window.tabbing = false
  return self
end

function methods.modify(self, given)
  local window = strict.state(self, "Dialog")
  strict.fields("Dialog:modify{}", given, MODIFY)
  local widget = window.widgets[given.id]
  if not widget then
    strict.violate("Given id=\"%s\" in Dialog:modify{} not found in dialog", tostring(given.id))
  end
  for _, name in ipairs({ "enabled", "visible", "selected", "value", "filename", "label" }) do
    if given[name] ~= nil then widget[name] = given[name] end
  end
  if given.text then widget.text = said(given.text) end
  if given.options then set_options(widget, given.options) end
  if given.option and offered(widget, given.option) then choose(widget, given.option) end
  return self
end

local DATA = {
  label = function(widget) return widget.text end,
  entry = function(widget) return widget.text end,
  number = function(widget)
    local value = tonumber(widget.text:match("^%s*-?[%d.]+") or "0") or 0
    return (widget.decimals or 0) == 0 and math.tointeger(value // 1) or value + 0.0
  end,
  check = function(widget) return widget.selected == true end,
  button = function(widget) return widget.pressed == true end,
  slider = function(widget) return widget.value end,
  combobox = function(widget) return widget.option end,
  -- Without a file it is the folder that the file dialog would begin in.
  file = function(widget) return widget.filename == "" and "/home/artist/" or widget.filename end,
  canvas = function() return nil end,
}

local function data_of(window)
  local data = {}
  for id, widget in pairs(window.widgets) do
    data[id] = DATA[widget.kind](widget)
  end
  return data
end

function methods.show(self, given)
  local window = strict.state(self, "Dialog")
  strict.fields("Dialog:show{}", given or {}, { wait = "boolean", bounds = "any", autoscrollbars = "boolean", hand = "boolean" })
  if not given or given.wait ~= false then
    strict.violate("Dialog:show() without wait=false blocks Aseprite")
  elseif window.tabbing then
    strict.violate("Dialog:tab() without Dialog:endtabs()")
  end
  window.number = #dialogs.open + 1
  dialogs.open[window.number] = window
  return self
end

function methods.close(self)
  local window = strict.state(self, "Dialog")
  if not window.closed then
    if window.onclose then window.onclose({}) end
    window.closed = true
  end
  return self
end

-- What was painted, for the tests: rectangles, texts and images.
local function context(painted, width, height)
  local state = { color = nil }
  local new = strict.class("GraphicsContext", {
    get = { width = function() return width end, height = function() return height end },
    set = { color = function(_, color) state.color = strict.state(color, "Color") end },
    methods = {
      fillRect = function(_, area)
        local r = strict.state(area, "Rectangle")
        painted[#painted + 1] = { "rect", r.x, r.y, r.width, r.height }
      end,
      fillText = function(_, text, x, y) painted[#painted + 1] = { "text", said(text), x, y } end,
      -- A font whose letters are all as wide as high; Aseprite's own differ from theme to theme.
      measureText = function(_, text) return shapes.new_size({ width = 6 * utf8.len(text), height = 8 }) end,
      drawImage = function(_, image, from, to)
        local a, b = strict.state(from, "Rectangle"), strict.state(to, "Rectangle")
        local picture = strict.state(image, "Image")
        painted[#painted + 1] = { "image", a.width, a.height, b.width, b.height, b.x, b.y }
        painted.pixels = images.packed(picture)
      end,
    },
  })
  return new({})
end

function methods.repaint(self)
  local window = strict.state(self, "Dialog")
  for id, widget in pairs(window.widgets) do
    if widget.kind == "canvas" then
      window.painted[id] = {}
      widget.onpaint({ context = context(window.painted[id], widget.width, widget.height) })
    end
  end
end

local new_dialog = strict.class("Dialog", {
  get = { data = data_of, bounds = function() return shapes.Rectangle(10, 10, 200, 300) end },
  methods = methods,
})

function dialogs.Dialog(given)
  strict.fields("Dialog{}", given, { title = "string", notitlebar = "boolean", parent = "any", onclose = "function" })
  local window = { title = given.title, onclose = given.onclose, widgets = {}, tabs = {}, painted = {} }
  window.object = new_dialog(window)
  return window.object
end

-- For the tests -------------------------------------------------------------------------------------------------

local function widget_of(number, id)
  local window = dialogs.open[number]
  if not window or window.closed then error("dialog " .. number .. " is not on the screen") end
  local widget = window.widgets[id] or error("no widget " .. id)
  return widget, window
end

function dialogs.press(number, id)
  local widget = widget_of(number, id)
  if not widget.enabled then error("the button " .. id .. " is grey") end
  if widget.kind == "check" then widget.selected = not widget.selected end
  if widget.onclick then widget.onclick({}) end
end

function dialogs.write(number, id, value)
  local widget = widget_of(number, id)
  if not widget.enabled then error("the widget " .. id .. " is grey") end
  if widget.kind == "combobox" then
    if not offered(widget, value) then error(id .. " does not offer " .. tostring(value)) end
    choose(widget, value)
  elseif widget.kind == "check" then
    widget.selected = value
  elseif widget.kind == "slider" then
    widget.value = value
  elseif widget.kind == "file" then
    widget.filename = value
  else
    widget.text = tostring(value)
    if widget.onchange then widget.onchange({}) end
  end
end

function dialogs.look(number, id)
  local widget = widget_of(number, id)
  return { value = DATA[widget.kind](widget), enabled = widget.enabled, text = widget.text, options = widget.options }
end

return dialogs
