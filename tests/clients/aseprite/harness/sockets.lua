-- SPDX-License-Identifier: Apache-2.0
-- WebSocket and Timer. What a socket does is told to the program that runs the harness; what it hears comes from there.

local strict = require("strict")

local sockets = { made = {}, actions = {}, timers = {}, denied = false }

sockets.WebSocketMessageType = strict.names("WebSocketMessageType", { TEXT = 0, OPEN = 1, CLOSE = 2, ERROR = 3, PING = 4,
  PONG = 5, FRAGMENT = 6, BINARY = 16 })

local function act(socket, what, data)
  sockets.actions[#sockets.actions + 1] = { socket.number, what, data or "" }
end

local function joined(what, ...)
  for _, part in ipairs({ ... }) do
    if type(part) ~= "string" then strict.violate("WebSocket:%s() of a %s", what, type(part)) end
  end
  return table.concat({ ... })
end

local function sender(what, name)
  return function(self, ...)
    local socket, data = strict.state(self, "WebSocket"), joined(name, ...)
    if not socket.open then
      error("WebSocket is not connected, can't send " .. what)
    elseif what == "text" and not utf8.len(data) then
      strict.violate("a text message that is not UTF-8")
    end
    act(socket, what, data)
  end
end

local new_socket = strict.class("WebSocket", {
  get = { url = function(socket) return socket.url end },
  methods = {
    connect = function(self) act(strict.state(self, "WebSocket"), "connect", strict.state(self, "WebSocket").url) end,
    close = function(self)
      local socket = strict.state(self, "WebSocket")
      socket.open = false
      act(socket, "close")
    end,
    sendText = sender("text", "sendText"),
    sendBinary = sender("binary", "sendBinary"),
    sendPing = sender("ping", "sendPing"),
  },
})

function sockets.WebSocket(given)
  strict.fields("WebSocket{}", given, { url = "string", onreceive = "function", deflate = "boolean",
    minreconnectwait = "number", maxreconnectwait = "number" })
  strict.asked_by_a_script("WebSocket{}")
  if sockets.denied then
    error("the script doesn't have access to create a WebSocket for '" .. given.url .. "'")
  elseif not given.url:match("^wss?://[^/]+/") then
    strict.violate("%s is no address of a WebSocket", given.url)
  end
  local socket = { number = #sockets.made + 1, url = given.url, onreceive = given.onreceive, open = false }
  sockets.made[socket.number] = socket
  return new_socket(socket)
end

--- An event for a socket: "open", "text", "binary", "close", "error", "pong".
function sockets.hear(number, what, data)
  local socket = sockets.made[number]
  socket.open = what == "open" or (socket.open and what ~= "close" and what ~= "error")
  socket.onreceive(sockets.WebSocketMessageType[what:upper()], data or "")
end

local new_timer = strict.class("Timer", {
  get = { interval = function(timer) return timer.interval end, isRunning = function(timer) return timer.running end },
  methods = {
    start = function(self) strict.state(self, "Timer").running = true end,
    stop = function(self) strict.state(self, "Timer").running = false end,
  },
})

function sockets.Timer(given)
  strict.fields("Timer{}", given, { interval = "number", ontick = "function" })
  local timer = { interval = given.interval, ontick = given.ontick, running = false }
  sockets.timers[#sockets.timers + 1] = timer
  return new_timer(timer)
end

--- So many seconds go by.
function sockets.pass(seconds)
  for _ = 1, seconds do
    for _, timer in ipairs(sockets.timers) do
      if timer.running then timer.ontick() end
    end
  end
end

return sockets
