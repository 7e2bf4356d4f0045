-- SPDX-License-Identifier: Apache-2.0
-- One dialog's connection to the server: `/pixel/ws`, text messages in JSON, pixels as binary messages behind the text
-- that announces them. Nothing here waits: everything is told to `on`, a table of functions.
--
--   on.state(state, words)   offline, connecting, greeting, ready, refused; `words` say what to do where it is not well
--   on.ready(offer)          what the server has: models, loras, engines, palettes, presets, sizes, base_sizes
--   on.queued(message)  on.progress(message)  on.preview(picture)   of the work that runs
--   on.done(work)            work.frames: {width, height, data, duration_ms}; work.told: the server's last message
--   on.failed(error)         {code, error, hint}; the connection may go on or be gone, `state` tells
--
-- At most one piece of work at a time runs on a link.

local address = require("address")
local json = require("json")

local Link = {}
Link.__index = Link

Link.PROTOCOL = 1
local GREETING_S = 10 -- from the open socket to `ready`
local QUIET_S = 30 -- without a message in the middle of work: ask whether anybody is there
local LOST_S = 90 -- … and this is the end

local function offline_words(link)
  return string.format("Offline: nothing answers at %s. Start Inglenook there (make serve), or change the address.",
    link.shown)
end

--- @param on  the functions above; all of them
function Link.new(on)
  return setmetatable({ on = on, state = "offline", seconds = 0, heard = 0 }, Link)
end

function Link:_enter(state, words)
  self.state = state
  self.since = self.seconds
  self.on.state(state, words)
end

-- The work ends without a result.
function Link:_fail(error)
  if self.work then
    self.work, self.expected = nil, nil
    self.on.failed(error)
  end
end

--- Connect, or connect anew with another address or key.
function Link:open(typed, key)
  self:close()
  local url, shown = address.socket(typed)
  if not url then
    self:_enter("refused", shown)
    return
  end
  self.typed, self.shown, self.key = typed, shown, key ~= "" and key or nil
  self:_enter("connecting", "Connecting to " .. shown .. "…")
  local socket
  -- Aseprite asks in the name of the function that calls `WebSocket`, which should not be `pcall` (nor a tail call).
  pcall(function()
    socket = WebSocket{
      url = url,
      deflate = false, -- pixels on the same machine or network; packing them would take longer
      minreconnectwait = 1,
      maxreconnectwait = 10,
      onreceive = function(kind, data) self:_guarded(kind, data) end,
    }
  end)
  if not socket then
    self:_enter("refused", "Aseprite did not allow the connection to " .. shown .. ". Press Connect to be asked again.")
    return
  end
  self.socket = socket
  socket:connect()
end

--- Leave; what runs on the server for this dialog ends with the socket.
function Link:close()
  local socket = self.socket
  self.socket = nil
  if socket then
    socket:close()
  end
  self:_fail({ code = "CANCELED", error = "The connection was closed.", hint = "" })
  self.state = "offline"
end

function Link:_send(message)
  return self.socket ~= nil and (pcall(self.socket.sendText, self.socket, json.encode(message)))
end

--- Upload what the work needs and ask for it.
-- @return whether it was sent; where not, the loss of the connection is told through `on` at once or soon
function Link:generate(order)
  local sent = true
  for _, upload in ipairs(order.uploads) do
    sent = sent
      and self:_send({ type = "upload", name = upload.name, width = upload.width, height = upload.height, format = "rgba" })
      and (pcall(self.socket.sendBinary, self.socket, upload.data))
  end
  sent = sent and self:_send(order.message)
  if sent then
    self.work = { id = order.message.id, frames = {} }
    self.heard = self.seconds
  end
  return sent
end

--- Ask the server to end the work; `failed` with CANCELED follows.
function Link:cancel()
  if self.work and not self.work.cancelled then
    self.work.cancelled = true
    self:_send({ type = "cancel", id = self.work.id })
  end
end

--- Once a second, from a timer.
function Link:tick()
  self.seconds = self.seconds + 1
  if self.state == "greeting" and self.seconds - self.since >= GREETING_S then
    self:_leave("refused", string.format(
      "What answers at %s is no Inglenook that draws pixels, or an older one. Change the address, or update it.", self.shown))
  elseif self.work then
    local quiet = self.seconds - self.heard
    if quiet >= LOST_S then
      self:_lost("has not answered for " .. LOST_S .. " seconds")
      self:open(self.typed, self.key or "")
    elseif quiet >= QUIET_S and quiet % 10 == 0 then
      pcall(self.socket.sendPing, self.socket, "")
    end
  end
end

-- Close for good: the socket would go on trying by itself.
function Link:_leave(state, words)
  local socket = self.socket
  self.socket = nil
  if socket then
    socket:close()
  end
  self:_enter(state, words)
end

function Link:_lost(how)
  self:_fail({
    code = "CONNECTION_LOST",
    error = string.format("%s %s in the middle of the work; nothing was placed.", self.shown or "The server", how),
    hint = "",
  })
end

-- Aseprite closes a socket for good when its function raises; the artist would look at a dialog that says nothing.
function Link:_guarded(kind, data)
  local done, why = pcall(self._received, self, kind, data)
  if done then
    return
  end
  local words = "The extension made a mistake: " .. tostring(why)
  if self.work then
    self:_send({ type = "cancel", id = self.work.id })
    self:_fail({ code = "EXTENSION", error = words, hint = "" })
  else
    self.on.state(self.state, words)
  end
end

function Link:_received(kind, data)
  if not self.socket then
    return -- Aseprite hands on what was still in its queue when the socket was closed
  end
  self.heard = self.seconds
  if kind == WebSocketMessageType.OPEN then
    self:_enter("greeting", "Connected to " .. self.shown .. "…")
    self:_send({ type = "hello", key = self.key or json.null, client = "aseprite", version = Link.PROTOCOL })
  elseif kind == WebSocketMessageType.CLOSE or kind == WebSocketMessageType.ERROR then
    self:_lost("went away")
    self:_enter("offline", offline_words(self))
  elseif kind == WebSocketMessageType.BINARY then
    self:_pixels(data)
  elseif kind == WebSocketMessageType.TEXT then
    self:_text(data)
  end
end

local function broken(words)
  return { code = "PROTOCOL", error = "The server's answer could not be understood: " .. words .. ".",
    hint = "The extension and the server may be of different versions." }
end

-- An answer that makes no sense ends the work on both sides.
function Link:_nonsense(words)
  if self.work then
    self:_send({ type = "cancel", id = self.work.id })
    self:_fail(broken(words))
  end
end

local HANDLERS = {}

function Link:_text(data)
  local read, message = pcall(json.decode, data)
  if not read or type(message) ~= "table" then
    return self:_nonsense(read and "a message that is no object" or message)
  elseif self.expected then
    self.expected = nil
    return self:_nonsense("pixels were announced and text came")
  end
  local handle = HANDLERS[message.type]
  if handle then
    handle(self, message)
  end -- a kind that a later server knows and this extension does not
end

-- Of the work that runs, and not of one that was given up.
function Link:_mine(message)
  return self.work ~= nil and message.id == self.work.id
end

function HANDLERS.ready(link, message)
  link:_enter("ready")
  link.on.ready(message)
end

function HANDLERS.queued(link, message)
  if link:_mine(message) then link.on.queued(message) end
end

function HANDLERS.progress(link, message)
  if link:_mine(message) then link.on.progress(message) end
end

local function announce(link, message)
  link.expected = message
end

HANDLERS.preview = announce
HANDLERS.frame = announce

function HANDLERS.done(link, message)
  if not link:_mine(message) then return end
  local work = link.work
  for index = 1, work.count or 1 do
    if not work.frames[index] then
      return link:_nonsense(string.format("picture %d of %d is missing", index, work.count or 1))
    end
  end
  link.work = nil
  work.told = message
  link.on.done(work)
end

function HANDLERS.error(link, message)
  if link.state ~= "ready" then
    link:_leave("refused", message.code == "UNAUTHORIZED"
      and "The server at " .. link.shown .. " wants another key: write it under Server and press Connect."
      or message.error or "The server refused the connection.")
  elseif message.id == nil or link:_mine(message) then
    link:_fail(message)
  end
end

function Link:_pixels(data)
  local told = self.expected
  self.expected = nil
  if not told then
    return self:_nonsense(string.format("%d bytes came that were not announced", #data))
  elseif not self:_mine(told) then
    return -- of work that was given up
  end
  local width, height = math.tointeger(told.width), math.tointeger(told.height)
  if not width or not height or width < 1 or height < 1 or #data ~= width * height * 4 then
    return self:_nonsense(string.format("%d bytes for a picture of %s x %s", #data, told.width, told.height))
  end
  local picture = { width = width, height = height, data = data, duration_ms = told.duration_ms }
  if told.type == "preview" then
    return self.on.preview(picture)
  end
  local index = math.tointeger(told.index)
  if not index or index < 0 or index > 1023 then
    return self:_nonsense("a picture without its number")
  end
  self.work.count = math.max(math.tointeger(told.count) or 1, index + 1, self.work.count or 1)
  self.work.frames[index + 1] = picture
end

return Link
